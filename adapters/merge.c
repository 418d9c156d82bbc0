/* Merging by rows: W + scale B A in F32, rounded once by whoever writes the row (spec adapters.md
 * 2.2). */
#include "adapters/adapter_internal.h"

enum status adapter_merge_row(void *adapter, const struct linear *l, int64_t row, float *values)
{
    const struct adapter *a = adapter;
    for (const struct hook *h = l->hooks; h; h = h->next) {
        if (h->kind != HOOK_LOW_RANK || h->params != a->params) {
            return FAIL(RECIPE, "%s: only LoRA can be merged into the weights", l->name);
        }
        const float *pa = param_value(h->params, h->a);
        const float *pb = param_value(h->params, h->b) + row * h->rank;
        for (int64_t k = 0; k < h->rank; k++) {
            const float factor = h->scale * pb[k];
            for (int64_t i = 0; i < l->in; i++) {
                values[i] += factor * pa[k * l->in + i];
            }
        }
    }
    return STATUS_OK;
}
