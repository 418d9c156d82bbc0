/*
 * Several adapters that draw in one batch: each one's completions, log-probs and entropies have the
 * bits of a generation of its own, whatever shares the batch with them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "kernels/base/rng.h"
#include "tests/support/tiny_model.h"
#include "trainer/generate/generate.h"

enum { SLOTS = 6, PROMPTS = 3, SAMPLES = 4, NEW_TOKENS = 10, MOST_PROMPT = 80 };

struct scene {
    struct tiny tiny;
    struct ops_context ops;
    struct param_set params[SLOTS];
    struct adapter *adapter[SLOTS];
    struct generate_policy policies[SLOTS];
    int32_t ids[SLOTS][PROMPTS][MOST_PROMPT];
    struct prompt prompts[SLOTS * PROMPTS]; /* by slot; slot k has PROMPTS - k % 2 */
    int64_t begin[SLOTS + 1];
};

static void open_adapter(struct scene *s, int k)
{
    char all[] = "all-linear";
    const struct adapter_config config = {.family = "lora", .r = 2 + k, .lora_alpha = 40,
                                          .init = ADAPTER_INIT_RANDOM_B, .target_regex = all};
    param_set_open(&s->params[k]);
    tiny_need(adapter_attach(&s->adapter[k], s->tiny.m, &s->params[k], &config));
    tiny_need(param_set_seal(&s->params[k], NULL));
    adapter_initialize(s->adapter[k], (uint64_t)k + 1);
    adapter_take_off(s->adapter[k]);
}

static void scene_open(struct scene *s, enum compute compute)
{
    static const int64_t LENGTHS[PROMPTS] = {7, 64, 35};
    const struct ops_options options = {.threads = 1, .compute = compute};
    int64_t n = 0;
    *s = (struct scene){0};
    tiny_need(ops_context_open(&s->ops, &options));
    tiny_open(&s->tiny, &TINY_CONFIGS[0]);
    for (int k = 0; k < SLOTS; k++) {
        open_adapter(s, k);
        s->policies[k] = (struct generate_policy){.seed = 11 + (uint64_t)(k / 2),
                                                  .step = (uint32_t)(k % 2)};
        s->begin[k] = n;
        for (int i = 0; i < PROMPTS - k % 2; i++) {
            tiny_ids(&s->tiny, s->ids[k][i], LENGTHS[i]);
            s->prompts[n++] = (struct prompt){.ids = s->ids[k][i], .count = LENGTHS[i],
                                              .slot = k, .row = (uint32_t)i, .samples = SAMPLES};
        }
    }
    s->begin[SLOTS] = n;
}

static void scene_close(struct scene *s)
{
    for (int k = 0; k < SLOTS; k++) {
        adapter_close(s->adapter[k]);
        param_set_close(&s->params[k]);
    }
    tiny_close(&s->tiny);
    ops_context_close(&s->ops);
}

static struct generate_args args_of(const struct scene *s)
{
    return (struct generate_args){
        .model = s->tiny.m,
        .ops = (struct ops_context *)(uintptr_t)&s->ops,
        .hooks = true,
        .prompts = s->prompts,
        .prompt_count = s->begin[SLOTS],
        .sample = {.temperature = 0.8, .max_new_tokens = NEW_TOKENS, .purpose = RNG_SAMPLE},
        .policies = s->policies,
        .slots = SLOTS,
    };
}

/* Slot k on its own: one hook for all rows, its seed in the sample's place. */
static void generate_alone(struct scene *s, int k, struct completion_set *out)
{
    struct generate_args a = args_of(s);
    a.prompts = s->prompts + s->begin[k];
    a.prompt_count = s->begin[k + 1] - s->begin[k];
    a.sample.seed = s->policies[k].seed;
    a.sample.step = s->policies[k].step;
    a.policies = NULL;
    a.slots = 0;
    adapter_hang(s->adapter[k], -1);
    tiny_need(generate(&a, out, NULL));
    adapter_take_off(s->adapter[k]);
}

static void hang_all(struct scene *s)
{
    for (int k = 0; k < SLOTS; k++) {
        adapter_hang(s->adapter[(k + 2) % SLOTS], (k + 2) % SLOTS); /* the order is free */
    }
}

static void take_off_all(struct scene *s)
{
    for (int k = 0; k < SLOTS; k++) {
        adapter_take_off(s->adapter[k]);
    }
}

/* The joint set from `from` on against a set of its own. */
static void same_part(const struct completion_set *joint, int64_t from,
                      const struct completion_set *own)
{
    for (int64_t i = 0; i < own->count; i++) {
        const struct completion *x = &joint->items[from + i];
        const struct completion *y = &own->items[i];
        const size_t bytes = (size_t)y->count * sizeof(float);
        assert_int_equal(x->count, y->count);
        assert_int_equal(x->sample, y->sample);
        assert_int_equal(x->stopped, y->stopped);
        assert_memory_equal(x->ids, y->ids, bytes);
        assert_memory_equal(x->logp, y->logp, bytes);
        assert_memory_equal(x->entropy, y->entropy, bytes);
    }
}

static void batch_mates_change_no_bit(struct scene *s)
{
    static const struct generate_limits LIMITS[] = {
        {0},
        {.max_rows = 3, .page = 32},
        {.max_rows = 100, .drafts = DRAFTS_ALWAYS},
        {.max_rows = 7, .page = 32, .prefill = 5, .preempt_every = 4, .drafts = DRAFTS_ALWAYS},
        {.cache_pages = 10, .page = 32, .drafts = DRAFTS_NEVER},
        {.max_rows = 9, .unshared = true},
    };
    struct completion_set own[SLOTS];
    for (int k = 0; k < SLOTS; k++) {
        generate_alone(s, k, &own[k]);
    }
    for (size_t l = 0; l < sizeof LIMITS / sizeof *LIMITS; l++) {
        struct completion_set joint;
        struct generate_args a = args_of(s);
        int64_t from = 0;
        a.limits = LIMITS[l];
        hang_all(s);
        tiny_need(generate(&a, &joint, NULL));
        take_off_all(s);
        for (int k = 0; k < SLOTS; k++) {
            same_part(&joint, from, &own[k]);
            from += own[k].count;
        }
        assert_int_equal(from, joint.count);
        completion_set_close(&joint);
    }
    /* The adapters matter: two slots with one seed, step and prompt do not say the same. */
    assert_memory_not_equal(own[0].items[0].logp, own[1].items[0].logp, sizeof(float));
    for (int k = 0; k < SLOTS; k++) {
        completion_set_close(&own[k]);
    }
}

static void slots_in_float32(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, COMPUTE_F32);
    batch_mates_change_no_bit(&s);
    scene_close(&s);
}

static void slots_in_bfloat16(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s, COMPUTE_BF16);
    batch_mates_change_no_bit(&s);
    scene_close(&s);
}

/* Taken off, an adapter leaves the bare base; hung again, its bits come back. */
static void hanging_is_undone(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set first;
    struct completion_set bare[2];
    struct completion_set again;
    scene_open(&s, COMPUTE_F32);
    struct generate_args a = args_of(&s);
    a.policies = NULL;
    a.slots = 0;
    tiny_need(generate(&a, &bare[0], NULL));
    generate_alone(&s, 3, &first);
    tiny_need(generate(&a, &bare[1], NULL));
    same_part(&bare[1], 0, &bare[0]);
    generate_alone(&s, 3, &again);
    same_part(&again, 0, &first);
    assert_memory_not_equal(first.items[0].logp, bare[0].items[0].logp, sizeof(float));
    completion_set_close(&first);
    completion_set_close(&again);
    completion_set_close(&bare[0]);
    completion_set_close(&bare[1]);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slots_in_float32),
        cmocka_unit_test(slots_in_bfloat16),
        cmocka_unit_test(hanging_is_undone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
