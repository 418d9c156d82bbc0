/*
 * LoRA and rsLoRA (Hu et al. 2021, arXiv 2106.09685; Kalajdzievski 2023, 2312.03732):
 * y = W x + scale * B (A x), scale = alpha / r or alpha / sqrt(r). A [r, in], B [out, r].
 *
 * To write another family: fill an adapter_family like this one, add it to registry.c.
 */
#include <math.h>
#include <string.h>

#include "adapters/adapter_internal.h"
#include "kernels/base/rng.h"

static enum status lora_attach(struct adapter *a, struct adapter_site *site, int64_t rank,
                               double alpha)
{
    const struct linear *l = site->linear;
    char name[512];
    const int64_t shape_a[2] = {rank, l->in};
    const int64_t shape_b[2] = {l->out, rank};
    (void)snprintf(name, sizeof name, "base_model.model.%s.lora_A.weight", l->name);
    TRY(param_set_add(a->params, name, 2, shape_a, true, &site->hook.a));
    (void)snprintf(name, sizeof name, "base_model.model.%s.lora_B.weight", l->name);
    TRY(param_set_add(a->params, name, 2, shape_b, true, &site->hook.b));
    site->hook.kind = HOOK_LOW_RANK;
    site->hook.slot = -1;
    site->hook.params = a->params;
    site->hook.rank = rank;
    site->hook.dropout = (float)a->config.lora_dropout;
    site->hook.scale = (float)(a->config.use_rslora ? alpha / sqrt((double)rank)
                                                    : alpha / (double)rank);
    a->params->params[site->hook.b].scale = (double)site->hook.scale;
    return STATUS_OK;
}

static void lora_initialize(struct adapter *a, const struct adapter_site *site, uint64_t seed,
                            uint32_t index)
{
    const struct param *pa = &a->params->params[site->hook.a];
    const struct param *pb = &a->params->params[site->hook.b];
    float *value_a = param_value(a->params, site->hook.a);
    float *value_b = param_value(a->params, site->hook.b);
    const struct rng_key key_a = {.seed = seed, .purpose = RNG_INIT, .module = 2 * index};
    const struct rng_key key_b = {.seed = seed, .purpose = RNG_INIT, .module = 2 * index + 1};
    const float bound_a = 1.0f / sqrtf((float)pa->shape[1]);
    memset(value_b, 0, (size_t)pb->count * sizeof(float));
    if (a->config.init == ADAPTER_INIT_GAUSSIAN) {
        rng_fill_normal(&key_a, value_a, pa->count, 1.0f / (float)pa->shape[0]);
        return;
    }
    rng_fill_uniform(&key_a, value_a, pa->count, -bound_a, bound_a);
    if (a->config.init == ADAPTER_INIT_RANDOM_B) {
        const float bound_b = 1.0f / sqrtf((float)pb->shape[1]);
        rng_fill_uniform(&key_b, value_b, pb->count, -bound_b, bound_b);
    }
}

const struct adapter_family ADAPTER_LORA = {
    .name = "lora",
    .peft_type = "LORA",
    .attach = lora_attach,
    .initialize = lora_initialize,
};
