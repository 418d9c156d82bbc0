/* Walking and encoding weights for writing; see save_internal.h. */
#include "trainer/model/save_internal.h"

#include <string.h>

#include "kernels/tensor/quant.h"

/* One row as F32. */
static enum status read_row(const struct save_source *s, int64_t row, float *values)
{
    if (!s->linear) {
        for (int64_t i = 0; i < s->columns; i++) {
            const int64_t from = s->permute_head ? site_row_from_gguf(i, s->permute_head) : i;
            values[i] = s->values[from] + s->add;
        }
        return STATUS_OK;
    }
    const int64_t from = s->permute_head ? site_row_from_gguf(row, s->permute_head) : row;
    quant_decode(&s->linear->w, from, 0, s->columns, values);
    return s->edit ? s->edit(s->edit_ctx, s->linear, from, values) : STATUS_OK;
}

static enum status encode_rows(const struct save_source *s, size_t row_bytes, uint8_t *data)
{
    enum status status = STATUS_OK;
    float *values = malloc((size_t)s->columns * sizeof(float));
    if (!values) {
        return FAIL(MEMORY, "no memory for a row of %zu bytes", row_bytes);
    }
    for (int64_t r = 0; r < s->rows; r++) {
        TRY_TO(status, done, read_row(s, r, values));
        if (s->dtype == DTYPE_F32) {
            memcpy(data + (size_t)r * row_bytes, values, row_bytes);
        } else {
            dtype_row(s->dtype)->encode(values, data + (size_t)r * row_bytes, s->columns);
        }
    }
done:
    free(values);
    return status;
}

enum status save_encode(struct arena *arena, const struct save_source *s, struct tensor *out)
{
    size_t row_bytes;
    uint8_t *data;
    if (s->linear && s->linear->w.dtype == s->dtype && !s->edit && !s->permute_head) {
        *out = s->linear->w;
        return STATUS_OK;
    }
    if (s->dtype != DTYPE_F32 && !dtype_row(s->dtype)->encode) {
        return FAIL(RECIPE, "weights cannot be written as %s", dtype_row(s->dtype)->name);
    }
    TRY(dtype_row_bytes(s->dtype, s->columns, &row_bytes));
    TRY(arena_alloc(arena, (size_t)s->rows, row_bytes, &data));
    *out = (struct tensor){.dtype = s->dtype,
                           .dims = s->dims,
                           .shape = {s->dims == 1 ? s->columns : s->rows, s->columns},
                           .row_bytes = row_bytes,
                           .data = data};
    return data ? encode_rows(s, row_bytes, data) : STATUS_OK;
}

enum status save_walk(const struct model *m, save_visit_fn fn, void *ctx)
{
    TRY(fn(ctx, site_embed(), -1, &m->embed, NULL));
    for (int64_t i = 0; i < m->config.layers; i++) {
        for (int k = 0; site_at(k); k++) {
            const struct site *s = site_at(k);
            if (!site_present(s, &m->config)) {
                continue;
            }
            TRY(fn(ctx, s, i, s->linear ? site_linear(s, &m->layer[i]) : NULL,
                   s->linear ? NULL : site_norm(s, &m->layer[i])));
        }
    }
    TRY(fn(ctx, site_final_norm(), -1, NULL, &m->final_norm));
    return m->config.tied ? STATUS_OK : fn(ctx, site_head(), -1, &m->head, NULL);
}
