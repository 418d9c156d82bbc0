/* JSON helpers; see json.h. */
#include "trainer/format/json.h"

#include <math.h>
#include <string.h>

#include "trainer/format/file.h"

enum status json_load_path(const char *path, size_t cap, json_t **out)
{
    struct file_map m;
    json_error_t error;
    *out = NULL;
    TRY(file_map_open(&m, path));
    if (m.size > cap) {
        const size_t size = m.size;
        file_map_close(&m);
        return FAIL(INPUT, "%s: %zu bytes, more than the %zu such a file may have", path, size,
                    cap);
    }
    *out = json_loadb(m.data ? m.data : "", m.size, JSON_REJECT_DUPLICATES, &error);
    file_map_close(&m);
    if (!*out) {
        return FAIL(INPUT, "%s:%d:%d: %s", path, error.line, error.column, error.text);
    }
    return STATUS_OK;
}

enum status json_write_path(const char *path, const json_t *json)
{
    char *text = json_dumps(json, JSON_INDENT(2) | JSON_SORT_KEYS | JSON_ENCODE_ANY);
    if (!text) {
        return FAIL(MEMORY, "%s: no memory to write it", path);
    }
    const enum status status = file_write_atomic(path, text, strlen(text));
    free(text);
    return status;
}

int64_t json_get_int(const json_t *object, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(object, key);
    if (json_is_integer(value)) {
        return json_integer_value(value);
    }
    const double real = json_is_real(value) ? json_real_value(value) : NAN;
    return real >= -0x1p63 && real < 0x1p63 ? (int64_t)real : fallback; /* else undefined */
}

double json_get_number(const json_t *object, const char *key, double fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_number(value) ? json_number_value(value) : fallback;
}

bool json_get_bool(const json_t *object, const char *key, bool fallback)
{
    const json_t *value = json_object_get(object, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}

const char *json_get_string(const json_t *object, const char *key, const char *fallback)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : fallback;
}

void json_list_keys(const json_t *object, char *out, size_t size)
{
    size_t used = 0;
    (void)snprintf(out, size, "none");
    void *at = json_object_iter((json_t *)(uintptr_t)object);
    for (; at && used < size; at = json_object_iter_next((json_t *)(uintptr_t)object, at)) {
        used += (size_t)snprintf(out + used, size - used, "%s'%s'", used ? ", " : "",
                                 json_object_iter_key(at));
    }
}
