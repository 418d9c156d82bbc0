/* Copying a tokenizer's keys from one GGUF file to another; see save.h. */
#include <string.h>

#include "trainer/model/save.h"

enum { KEY_BYTES = 256 };

static enum status copy_strings(struct gguf_writer *w, const struct gguf *g, const char *key,
                                int64_t count)
{
    enum status status = STATUS_OK;
    struct gguf_string *values = calloc(count ? (size_t)count : 1, sizeof *values);
    if (!values) {
        return FAIL(MEMORY, "%s: no memory for key '%s'", gguf_path(g), key);
    }
    for (int64_t i = 0; i < count; i++) {
        TRY_TO(status, done, gguf_array_string(g, key, i, &values[i]));
    }
    TRY_TO(status, done, gguf_write_strings(w, key, count, values));
done:
    free(values);
    return status;
}

static enum status copy_integers(struct gguf_writer *w, const struct gguf *g, const char *key,
                                 int64_t count)
{
    enum status status = STATUS_OK;
    int32_t *values = calloc(count ? (size_t)count : 1, sizeof *values);
    if (!values) {
        return FAIL(MEMORY, "%s: no memory for key '%s'", gguf_path(g), key);
    }
    for (int64_t i = 0; i < count; i++) {
        int64_t v = 0;
        TRY_TO(status, done, gguf_array_int(g, key, i, &v));
        if (v < INT32_MIN || v > INT32_MAX) {
            TRY_TO(status, done,
                   FAIL(INPUT, "%s: key '%s' holds large numbers", gguf_path(g), key));
        }
        values[i] = (int32_t)v;
    }
    TRY_TO(status, done, gguf_write_i32s(w, key, count, values));
done:
    free(values);
    return status;
}

static enum status copy_array(struct gguf_writer *w, const struct gguf *g, const char *key,
                              enum gguf_type element, int64_t count)
{
    switch (element) {
    case GGUF_STRING:
        return copy_strings(w, g, key, count);
    case GGUF_U8:
    case GGUF_I8:
    case GGUF_U16:
    case GGUF_I16:
    case GGUF_U32:
    case GGUF_I32:
        return copy_integers(w, g, key, count);
    default:
        return FAIL(INPUT, "%s: key '%s' is a list that Graft does not write", gguf_path(g), key);
    }
}

static enum status copy_key(struct gguf_writer *w, const struct gguf *g, const char *key,
                            enum gguf_type type)
{
    struct gguf_string text;
    int64_t number;
    double real;
    bool truth;
    switch (type) {
    case GGUF_STRING:
        TRY(gguf_string(g, key, &text));
        return gguf_write_string(w, key, text.data, text.length);
    case GGUF_BOOL:
        TRY(gguf_bool(g, key, &truth));
        return gguf_write_bool(w, key, truth);
    case GGUF_F32:
    case GGUF_F64:
        TRY(gguf_float(g, key, &real));
        return gguf_write_f32(w, key, (float)real);
    default:
        TRY(gguf_int(g, key, &number));
        if (number < 0 || number > UINT32_MAX) {
            return FAIL(INPUT, "%s: key '%s' does not fit 32 bits", gguf_path(g), key);
        }
        return gguf_write_u32(w, key, (uint32_t)number);
    }
}

enum status model_copy_tokenizer_keys(void *ctx, struct gguf_writer *w)
{
    const struct gguf *g = ctx;
    static const char PREFIX[] = "tokenizer.";
    for (int64_t i = 0; i < gguf_key_count(g); i++) {
        enum gguf_type type;
        enum gguf_type element;
        uint64_t count;
        char key[KEY_BYTES];
        const struct gguf_string name = gguf_key_at(g, i, &type, &element, &count);
        if (name.length < sizeof PREFIX || memcmp(name.data, PREFIX, sizeof PREFIX - 1) != 0) {
            continue;
        }
        if (name.length >= sizeof key) {
            return FAIL(INPUT, "%s: a key of %zu bytes is too long", gguf_path(g), name.length);
        }
        memcpy(key, name.data, name.length);
        key[name.length] = '\0';
        if (type == GGUF_ARRAY) {
            TRY(copy_array(w, g, key, element, gguf_array_count(g, key)));
        } else {
            TRY(copy_key(w, g, key, type));
        }
    }
    return STATUS_OK;
}
