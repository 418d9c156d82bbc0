/*
 * Linears serialized by bitsandbytes in NF4 (spec formats.md 4): codes, scales and a JSON text lie
 * in tensors named after the weight. The codes stay mapped; the scales go to the base arena.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "kernels/tensor/quant.h"
#include "trainer/model/load_internal.h"

enum { NESTED_BLOCK = 256, NAME_BYTES = 3 * SITE_NAME_BYTES };

/* What the JSON text says. */
struct bnb_state {
    int64_t blocksize;
    bool nested;
    double offset;
};

/* A tensor of `bytes` bytes named `name``suffix`; type checked by name. */
static enum status part(const struct loader *ld, const char *name, const char *suffix,
                        const char *type, int64_t count, struct weight_place *out)
{
    char full[NAME_BYTES];
    (void)snprintf(full, sizeof full, "%s%s", name, suffix);
    if (!ld->find(ld, full, out)) {
        return FAIL(INPUT, "%s: tensor '%s' is missing beside the 4-bit weight", ld->where, full);
    }
    if (strcmp(out->type, type) != 0 || tensor_count(&out->view) != count) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %" PRIu64 ": expected %s with %" PRId64
                           " elements, found %s with %" PRId64, ld->where, full, out->offset, type,
                    count, out->type, tensor_count(&out->view));
    }
    return STATUS_OK;
}

static enum status check_state(const struct loader *ld, const char *name, const json_t *json,
                               const struct linear *l, struct bnb_state *out)
{
    const json_t *shape = json_object_get(json, "shape");
    const json_t *block = json_object_get(json, "blocksize");
    const json_t *nested = json_object_get(json, "nested_blocksize");
    const json_t *offset = json_object_get(json, "nested_offset");
    if (json_array_size(shape) != 2 || json_integer_value(json_array_get(shape, 0)) != l->out
        || json_integer_value(json_array_get(shape, 1)) != l->in) {
        return FAIL(INPUT, "%s: quant_state of '%s': expected shape [%" PRId64 ", %" PRId64 "]",
                    ld->where, name, l->out, l->in);
    }
    out->blocksize = json_integer_value(block);
    const bool power = out->blocksize > 0 && (out->blocksize & (out->blocksize - 1)) == 0;
    if (!power || out->blocksize < 32 || out->blocksize > 4096) {
        return FAIL(INPUT, "%s: quant_state of '%s': blocksize %" PRId64 " is impossible",
                    ld->where, name, out->blocksize);
    }
    out->nested = nested != NULL;
    out->offset = json_number_value(offset);
    if (out->nested
        && (json_integer_value(nested) != NESTED_BLOCK || !json_is_number(offset)
            || !isfinite(out->offset))) {
        return FAIL(INPUT, "%s: quant_state of '%s': nested_blocksize or nested_offset is "
                           "impossible", ld->where, name);
    }
    return STATUS_OK;
}

static enum status read_state(const struct loader *ld, const char *name,
                              const struct weight_place *p, const struct linear *l,
                              struct bnb_state *out)
{
    json_error_t error;
    if (strcmp(p->type, "U8") != 0 || p->view.dims != 1 || p->view.shape[0] > 4096) {
        return FAIL(INPUT, "%s: quant_state of '%s' is no text", ld->where, name);
    }
    json_t *json = json_loadb(p->view.data, (size_t)p->view.shape[0], 0, &error);
    if (!json) {
        return FAIL(INPUT, "%s: quant_state of '%s': %s", ld->where, name, error.text);
    }
    const enum status status = check_state(ld, name, json, l, out);
    json_decref(json);
    return status;
}

/* An F32 copy in the arena, since the file promises no alignment. */
static enum status copy_floats(struct loader *ld, const struct weight_place *p, float **out)
{
    const size_t count = (size_t)tensor_count(&p->view);
    TRY(arena_alloc(ld->arena, count, sizeof(float), out));
    if (*out) {
        memcpy(*out, p->view.data, count * sizeof(float));
    }
    return STATUS_OK;
}

static enum status read_scales(struct loader *ld, const char *name, const struct bnb_state *state,
                               int64_t count, struct quant_nf4 *q)
{
    struct weight_place p;
    float *floats;
    const int64_t blocks = (count + state->blocksize - 1) / state->blocksize;
    *q = (struct quant_nf4){.blocksize = state->blocksize, .offset = (float)state->offset};
    if (!state->nested) {
        TRY(part(ld, name, ".absmax", "F32", blocks, &p));
        TRY(copy_floats(ld, &p, &floats));
        q->absmax = floats;
        return STATUS_OK;
    }
    TRY(part(ld, name, ".absmax", "U8", blocks, &p));
    q->absmax_q = p.view.data;
    TRY(part(ld, name, ".nested_absmax", "F32", (blocks + NESTED_BLOCK - 1) / NESTED_BLOCK, &p));
    TRY(copy_floats(ld, &p, &floats));
    q->nested = floats;
    TRY(part(ld, name, ".nested_quant_map", "F32", 256, &p));
    TRY(copy_floats(ld, &p, &floats));
    q->map = floats;
    return STATUS_OK;
}

/* The codes: the storage type only groups the bytes, it converts nothing. */
static enum status read_codes(const struct loader *ld, const char *name, struct linear *l,
                              const void **codes)
{
    struct weight_place p;
    static const struct {
        const char *type;
        int64_t bytes;
    } STORAGE[] = {{"U8", 1}, {"I8", 1}, {"BF16", 2}, {"F16", 2}, {"F32", 4}};
    if (!ld->find(ld, name, &p)) {
        return FAIL(INPUT, "%s: tensor '%s' is missing", ld->where, name);
    }
    int64_t item = 0;
    for (size_t i = 0; i < sizeof STORAGE / sizeof STORAGE[0]; i++) {
        item = strcmp(p.type, STORAGE[i].type) == 0 ? STORAGE[i].bytes : item;
    }
    const int64_t bytes = (l->out * l->in + 1) / 2;
    if (item == 0 || tensor_count(&p.view) != (bytes + item - 1) / item || l->in % 2 != 0) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %" PRIu64 ": expected the 4-bit codes of [%"
                           PRId64 ", %" PRId64 "], found %s with %" PRId64 " elements", ld->where,
                    name, p.offset, l->out, l->in, p.type, tensor_count(&p.view));
    }
    *codes = p.view.data;
    return STATUS_OK;
}

enum status load_bnb_linear(struct loader *ld, const char *name, struct linear *l, bool *found)
{
    char full[NAME_BYTES];
    struct weight_place p;
    struct bnb_state state = {0};
    struct quant_nf4 *q;
    const void *codes = NULL;
    (void)snprintf(full, sizeof full, "%s.quant_state.bitsandbytes__nf4", name);
    *found = ld->find(ld, full, &p);
    if (!*found) {
        (void)snprintf(full, sizeof full, "%s.quant_state.bitsandbytes__fp4", name);
        if (ld->find(ld, full, &p)) {
            return FAIL(INPUT, "%s: tensor '%s' is FP4, which Graft does not read; use NF4",
                        ld->where, name);
        }
        return STATUS_OK;
    }
    TRY(read_state(ld, name, &p, l, &state));
    TRY(read_codes(ld, name, l, &codes));
    TRY(part(ld, name, ".quant_map", "F32", 16, &p));
    if (memcmp(p.view.data, QUANT_NF4_VALUES, sizeof(float[16])) != 0) {
        return FAIL(INPUT, "%s: the code table of '%s' is not NF4's", ld->where, name);
    }
    struct quant_nf4 scales;
    TRY(read_scales(ld, name, &state, l->out * l->in, &scales));
    TRY(arena_alloc(ld->arena, 1, sizeof *q, &q));
    if (q) {
        *q = scales;
    }
    l->w = (struct tensor){.dtype = DTYPE_NF4,
                           .dims = 2,
                           .shape = {l->out, l->in},
                           .row_bytes = (size_t)l->in / 2,
                           .data = codes,
                           .aux = q};
    return STATUS_OK;
}
