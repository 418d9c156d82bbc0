#include "tests/support/golden_rl.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>


bool golden_path(const char *name, char *out)
{
    const char *shared = getenv("GRAFT_SHARED");
    (void)snprintf(out, 4096, "%s/golden/%s", shared ? shared : "../shared", name);
    return access(out, R_OK) == 0;
}

json_t *golden_json(const char *path)
{
    json_error_t error;
    const size_t n = strlen(path);
    if (strcmp(path + n - 6, ".jsonl") != 0) {
        json_t *json = json_load_file(path, 0, &error);
        assert_non_null(json);
        return json;
    }
    FILE *f = fopen(path, "re");
    assert_non_null(f);
    json_t *rows = json_array();
    char *line = NULL;
    size_t capacity = 0;
    while (getline(&line, &capacity, f) > 0) {
        json_t *row = json_loads(line, JSON_DECODE_ANY, &error);
        assert_non_null(row);
        assert_int_equal(json_array_append_new(rows, row), 0);
    }
    free(line);
    (void)fclose(f);
    return rows;
}

float *golden_floats(const struct safetensors *file, const char *name, int64_t *count)
{
    const struct safetensors_entry *e = safetensors_find(file, name);
    if (!e || strcmp(e->dtype_name, "F32") != 0) {
        return NULL;
    }
    *count = (int64_t)(e->bytes / sizeof(float));
    float *values = malloc(e->bytes + 1);
    assert_non_null(values);
    memcpy(values, e->data, e->bytes);
    return values;
}

int64_t *golden_ints(const struct safetensors *file, const char *name, int64_t *count)
{
    const struct safetensors_entry *e = safetensors_find(file, name);
    if (!e || strcmp(e->dtype_name, "I64") != 0) {
        return NULL;
    }
    *count = (int64_t)(e->bytes / sizeof(int64_t));
    int64_t *values = malloc(e->bytes + 1);
    assert_non_null(values);
    memcpy(values, e->data, e->bytes);
    return values;
}

double golden_number(const json_t *value)
{
    return json_is_number(value) ? json_number_value(value) : NAN;
}

void golden_scratch(char *out)
{
    (void)snprintf(out, 64, "/tmp/graft-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

void golden_scratch_remove(const char *folder)
{
    char command[256];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}
