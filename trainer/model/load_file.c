/*
 * Weights from files: every tensor is checked against the configuration before it is used; what can
 * stay in the mapping stays there, packed. Copied into the base arena are q/k rows whose GGUF
 * permutation is undone (lossless: no block crosses a row), misaligned data, norms and biases (to
 * F32), and linears quantized at load.
 */
#include <inttypes.h>
#include <string.h>

#include "kernels/base/checked.h"
#include "kernels/tensor/quant.h"
#include "trainer/model/load_internal.h"

enum { SHAPE_BYTES = 128 };

static const char *shape_text(int dims, const int64_t *shape, char buf[SHAPE_BYTES])
{
    size_t used = 0;
    buf[used++] = '[';
    for (int i = 0; i < dims && used < SHAPE_BYTES - 24; i++) {
        used += (size_t)snprintf(buf + used, SHAPE_BYTES - used, "%s%" PRId64, i ? ", " : "",
                                 shape[i]);
    }
    buf[used++] = ']';
    buf[used] = '\0';
    return buf;
}

/* Finds a tensor that must be there and be readable with this shape. */
static enum status require(const struct loader *ld, const char *name, int dims,
                           const int64_t *shape, struct weight_place *out)
{
    char expected[SHAPE_BYTES];
    char found[SHAPE_BYTES];
    (void)shape_text(dims, shape, expected);
    if (!ld->find(ld, name, out)) {
        return FAIL(INPUT, "%s: tensor '%s' %s is missing", ld->where, name, expected);
    }
    if (!out->supported) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %" PRIu64 " has type %s, which Graft does not "
                           "read; convert the model to another type", ld->where, name, out->offset,
                    out->type);
    }
    bool same = out->view.dims == dims;
    for (int i = 0; same && i < dims; i++) {
        same = out->view.shape[i] == shape[i];
    }
    if (!same) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %" PRIu64 ": expected shape %s, found %s",
                    ld->where, name, out->offset, expected,
                    shape_text(out->view.dims, out->view.shape, found));
    }
    return STATUS_OK;
}

/* Row of the file that holds Hugging Face row `row`: (h, j d/2 + i) lies at (h, 2i + j). */
static int64_t permuted_row(int64_t row, int64_t head_dim)
{
    const int64_t in_head = row % head_dim;
    const int64_t half = head_dim / 2;
    return row - in_head + 2 * (in_head % half) + in_head / half;
}

static bool aligned(const struct tensor *t)
{
    return (uintptr_t)t->data % (t->dtype == DTYPE_F32 ? sizeof(float) : sizeof(uint16_t)) == 0;
}

/* Copies the packed rows into the arena, the permutation undone. */
static enum status copy_rows(struct loader *ld, struct tensor *t, bool permuted)
{
    const int64_t rows = tensor_rows(t);
    const uint8_t *from = t->data;
    uint8_t *to;
    TRY(arena_alloc(ld->arena, (size_t)rows, t->row_bytes, &to));
    for (int64_t r = 0; to && r < rows; r++) {
        const int64_t source = permuted ? permuted_row(r, ld->model->config.head_dim) : r;
        memcpy(to + (size_t)r * t->row_bytes, from + (size_t)source * t->row_bytes, t->row_bytes);
    }
    t->data = to;
    return STATUS_OK;
}

/* A vector of norms or biases as F32 in the arena. */
static enum status load_vector(struct loader *ld, const char *name, int64_t length, bool permuted,
                               const float **out)
{
    struct weight_place p;
    float *to;
    TRY(require(ld, name, 1, &length, &p));
    if (dtype_row(p.view.dtype)->block != 1) {
        return FAIL(INPUT, "%s: tensor '%s' at byte %" PRIu64 " is packed as %s; a vector must be "
                           "F32, F16 or BF16", ld->where, name, p.offset, p.type);
    }
    TRY(arena_alloc(ld->arena, (size_t)length, sizeof(float), &to));
    *out = to;
    const size_t item = (size_t)dtype_row(p.view.dtype)->bytes;
    for (int64_t i = 0; to && i < length; i++) {
        const int64_t source = permuted ? permuted_row(i, ld->model->config.head_dim) : i;
        uint32_t bits = 0; /* an aligned copy: the file promises nothing */
        memcpy(&bits, (const uint8_t *)p.view.data + (size_t)source * item, item);
        dtype_row(p.view.dtype)->decode(&bits, &to[i], 1);
    }
    return STATUS_OK;
}

/* Values of a plain (one value per block) matrix of any alignment. */
static void decode_plain(const struct tensor *t, float *values)
{
    const size_t item = (size_t)dtype_row(t->dtype)->bytes;
    const int64_t count = tensor_count(t);
    const uint8_t *from = t->data;
    for (int64_t i = 0; i < count; i++) {
        uint32_t bits = 0;
        memcpy(&bits, from + (size_t)i * item, item);
        dtype_row(t->dtype)->decode(&bits, &values[i], 1);
    }
}

/* NF4 with double quantization, as bitsandbytes makes it from the F32 weight. */
static enum status quantize_nf4(struct loader *ld, const char *name, struct linear *l)
{
    const int64_t count = l->out * l->in;
    size_t bytes;
    void *buffer;
    if (l->in % 2 != 0) {
        return FAIL(RECIPE, "%s: tensor '%s' has %" PRId64 " columns; NF4 needs an even number",
                    ld->where, name, l->in);
    }
    TRY(quant_nf4_bytes(count, &bytes));
    TRY(arena_alloc(ld->arena, bytes, 1, &buffer));
    if (!buffer) {
        return STATUS_OK;
    }
    float *values = malloc((size_t)count * sizeof(float));
    if (!values) {
        return FAIL(MEMORY, "%s: no memory to quantize tensor '%s'", ld->where, name);
    }
    decode_plain(&l->w, values);
    quant_nf4_encode(values, l->out, l->in, buffer, &l->w);
    free(values);
    return STATUS_OK;
}

static enum status load_matrix(struct loader *ld, const struct site *s, int64_t layer,
                               const char *name, struct linear *l)
{
    struct weight_place p;
    const bool permuted = ld->permuted_qk && s->permuted != DIM_HIDDEN;
    const bool quantize = ld->options && ld->options->quantize == QUANTIZE_NF4 && layer >= 0
                          && ld->model->gguf == NULL;
    if (ld->packed_source) {
        bool found;
        TRY(load_bnb_linear(ld, name, l, &found));
        if (found) {
            return STATUS_OK;
        }
    }
    TRY(require(ld, name, 2, (const int64_t[]){l->out, l->in}, &p));
    l->w = p.view;
    if (quantize) {
        return quantize_nf4(ld, name, l);
    }
    return permuted || !aligned(&l->w) ? copy_rows(ld, &l->w, permuted) : STATUS_OK;
}

enum status file_linear(struct loader *ld, const struct site *s, int64_t layer, struct linear *l)
{
    char name[2 * SITE_NAME_BYTES];
    ld->tensor_name(ld, s, layer, ".weight", name, sizeof name);
    TRY(load_matrix(ld, s, layer, name, l));
    if (site_has_bias(s, &ld->model->config)) {
        ld->tensor_name(ld, s, layer, ".bias", name, sizeof name);
        TRY(load_vector(ld, name, l->out, ld->permuted_qk && s->permuted != DIM_HIDDEN, &l->bias));
    }
    return STATUS_OK;
}

enum status file_norm(struct loader *ld, const struct site *s, int64_t layer, struct norm *n)
{
    char name[2 * SITE_NAME_BYTES];
    ld->tensor_name(ld, s, layer, ".weight", name, sizeof name);
    return load_vector(ld, name, site_size(s->out, &ld->model->config), false, &n->w);
}
