/* CPU contexts: pool, scratch and the table of a tier. */
#include "kernels/base/checked.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/select_internal.h"

enum { MAX_K_SLICES = 64 };

static enum status check_options(const struct ops_options *o)
{
    const int slices = o->k_slices ? o->k_slices : 1;
    if (slices < 1 || slices > MAX_K_SLICES || (slices & (slices - 1)) != 0) {
        return FAIL(USAGE, "k_slices: %d is not a power of two in 1..%d", o->k_slices,
                    MAX_K_SLICES);
    }
    return STATUS_OK;
}

/* The table lives with the context's scratch: no global is ever written. */
static enum status open_scratch(struct ops_context *c, struct ops **table)
{
    const size_t threads = (size_t)pool_threads(c->pool);
    size_t cut;
    size_t size;
    if (!checked_mul(threads, SCRATCH_THREAD_BYTES, &cut)
        || !checked_add(cut, SCRATCH_SHARED_BYTES, &size)) {
        return FAIL(MEMORY, "scratch: %zu threads overflow the address space", threads);
    }
    void *slices;
    TRY(arena_open(&c->scratch, "scratch", size));
    TRY(arena_alloc(&c->scratch, threads, SCRATCH_THREAD_BYTES, &slices));
    return arena_alloc(&c->scratch, 1, sizeof **table, table);
}

enum status ops_context_open_tier(struct ops_context *c, const struct ops_options *options,
                                  enum cpu_tier tier)
{
    enum status status = STATUS_OK;
    struct ops *table = NULL;
    *c = (struct ops_context){0};
    TRY(check_options(options));
    if (tier > cpu_best_tier()) {
        return FAIL(DEVICE, "tier %s: this machine only has %s", cpu_tier_name(tier),
                    cpu_tier_name(cpu_best_tier()));
    }
    *c = (struct ops_context){
        .tier = tier,
        .has_bf16_dot = tier >= TIER_AVX512 && cpu_has_avx512_bf16(),
        .compute = options->compute,
        .k_slices = options->k_slices ? options->k_slices : 1,
    };
    TRY_TO(status, fail, pool_open_pinned(&c->pool, options->threads, options->cpus));
    TRY_TO(status, fail, open_scratch(c, &table));
    if (!select_fill(tier, table)) {
        TRY_TO(status, fail, FAIL(DEVICE, "tier %s: no kernels for it; use %s",
                                  cpu_tier_name(tier), cpu_tier_name(TIER_AVX512)));
    }
    c->ops = table;
    return STATUS_OK;
fail:
    ops_context_close(c);
    return status;
}

enum status ops_context_open(struct ops_context *c, const struct ops_options *options)
{
    enum cpu_tier tier;
    *c = (struct ops_context){0};
    TRY(cpu_choose_tier(TIER_AMX, &tier));
    TRY(ops_context_open_tier(c, options, tier));
    return STATUS_OK;
}

void ops_context_close(struct ops_context *c)
{
    pool_close(c->pool);
    arena_close(&c->scratch);
    *c = (struct ops_context){0};
}
