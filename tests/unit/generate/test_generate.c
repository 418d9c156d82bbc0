/*
 * Generation: tokens and log-probs don't depend on batch limits, page budgets or order, and equal
 * the training pass over the same tokens bit for bit, in every tier and both compute modes.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "tests/support/tiny_model.h"
#include "trainer/generate/generate.h"
#include "trainer/model/unit_pass.h"

enum { PROMPTS = 3, SAMPLES = 4, NEW_TOKENS = 9 };

struct bench {
    struct tiny tiny;
    struct ops_context ops;
    int32_t ids[PROMPTS][80];
    struct prompt prompts[PROMPTS];
    int32_t stop;
};

static bool bench_open(struct bench *b, enum cpu_tier tier, enum compute compute)
{
    const struct ops_options options = {.threads = 2, .compute = compute};
    if (ops_context_open_tier(&b->ops, &options, tier) != STATUS_OK) {
        return false;
    }
    static const int64_t LENGTHS[PROMPTS] = {5, 70, 33};
    b->tiny = (struct tiny){0};
    tiny_open(&b->tiny, &TINY_CONFIGS[0]);
    tiny_attach_lora(&b->tiny, 0);
    for (int i = 0; i < PROMPTS; i++) {
        tiny_ids(&b->tiny, b->ids[i], LENGTHS[i]);
        b->prompts[i] = (struct prompt){.ids = b->ids[i], .count = LENGTHS[i], .row = (uint32_t)i,
                                        .samples = SAMPLES};
    }
    b->stop = 17;
    return true;
}

static void bench_close(struct bench *b)
{
    tiny_close(&b->tiny);
    ops_context_close(&b->ops);
}

static struct generate_args args_of(struct bench *b)
{
    return (struct generate_args){
        .model = b->tiny.m,
        .ops = &b->ops,
        .hooks = true,
        .prompts = b->prompts,
        .prompt_count = PROMPTS,
        .sample = {.temperature = 0.8, .top_p = 1.0, .max_new_tokens = NEW_TOKENS,
                   .stops = &b->stop, .stop_count = 1, .seed = 9, .purpose = RNG_SAMPLE},
    };
}

static void same_set(const struct completion_set *a, const struct completion_set *b)
{
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const size_t n = (size_t)a->items[i].count;
        assert_int_equal(a->items[i].count, b->items[i].count);
        assert_memory_equal(a->items[i].ids, b->items[i].ids, n * sizeof(int32_t));
        assert_memory_equal(a->items[i].logp, b->items[i].logp, n * sizeof(float));
        assert_memory_equal(a->items[i].entropy, b->items[i].entropy, n * sizeof(float));
    }
}

/* Compares the training pass with what the sampler said. */
struct check {
    const struct completion *items;
    int64_t compared;
};

static void compare(void *ctx, const struct unit_outputs *out)
{
    struct check *c = ctx;
    int64_t at = 0;
    for (int s = 0; s < SAMPLES; s++) {
        const struct completion *done = &c->items[s];
        const size_t bytes = (size_t)done->count * sizeof(float);
        assert_memory_equal(out->head->logp + at, done->logp, bytes);
        assert_memory_equal(out->head->entropy + at, done->entropy, bytes);
        at += done->count;
        c->compared += done->count;
    }
    assert_int_equal(at, out->batch->n_out);
}

static int64_t check_training(struct bench *b, const struct completion_set *set)
{
    struct unit_pass pass = {.model = b->tiny.m, .ops = &b->ops, .temperature = 0.8f,
                             .hooks = true};
    struct check check = {0};
    for (int p = 0; p < PROMPTS; p++) {
        struct pack_branch branches[SAMPLES];
        check.items = &set->items[p * SAMPLES];
        for (int s = 0; s < SAMPLES; s++) {
            branches[s] = (struct pack_branch){.ids = check.items[s].ids,
                                               .count = check.items[s].count};
        }
        const struct pack_unit unit = {.prompt = b->ids[p], .prompt_count = b->prompts[p].count,
                                       .branches = branches, .branch_count = SAMPLES};
        assert_int_equal(unit_pass_run(&pass, &unit, 1, compare, &check), STATUS_OK);
    }
    unit_pass_close(&pass);
    return check.compared;
}

static void run_tier(enum cpu_tier tier, enum compute compute)
{
    struct bench b;
    struct completion_set first;
    struct generate_stats stats;
    if (!bench_open(&b, tier, compute)) {
        print_message("%s: not on this machine\n", cpu_tier_name(tier));
        return;
    }
    struct generate_args args = args_of(&b);
    tiny_need(generate(&args, &first, &stats));
    assert_int_equal(first.count, PROMPTS * SAMPLES);
    assert_true(check_training(&b, &first) > PROMPTS * SAMPLES);
    static const struct generate_limits LIMITS[] = {
        {.max_rows = 1},
        {.max_rows = 3},
        {.max_rows = 64, .cache_pages = 9},
        {.max_rows = 64, .cache_pages = 4, .page = 32},
        {.page = 128},
        {.prefill = 7},
        {.prefill = 16, .preempt_every = 2},
        {.max_rows = 5, .preempt_every = 3, .page = 32},
        {.max_rows = 6, .unshared = true},
        {.drafts = DRAFTS_ALWAYS},
        {.drafts = DRAFTS_ALWAYS, .max_rows = 4, .page = 32},
        {.drafts = DRAFTS_NEVER, .prefill = 5},
    };
    /* Every limit in the reference, every third one, shifted, elsewhere: it is the same scheduler.
     */
    const bool all = tier == TIER_REF && compute == COMPUTE_F32;
    for (size_t i = all ? 0 : (size_t)tier % 3; i < sizeof LIMITS / sizeof LIMITS[0];
         i += all ? 1 : 3) {
        struct completion_set other;
        args.limits = LIMITS[i];
        tiny_need(generate(&args, &other, &stats));
        same_set(&first, &other);
        completion_set_close(&other);
    }
    completion_set_close(&first);
    bench_close(&b);
}

static void sampler_and_training_agree_bit_for_bit(void **state)
{
    (void)state;
    for (int tier = TIER_REF; tier <= TIER_AVX512; tier++) {
        run_tier((enum cpu_tier)tier, COMPUTE_F32);
        run_tier((enum cpu_tier)tier, COMPUTE_BF16);
    }
}

static void stops_and_limits(void **state)
{
    (void)state;
    struct bench b;
    struct completion_set set;
    assert_true(bench_open(&b, TIER_REF, COMPUTE_F32));
    struct generate_args args = args_of(&b);
    args.sample.temperature = 0;
    args.margins = true;
    args.prompts = b.prompts;
    tiny_need(generate(&args, &set, NULL));
    for (int64_t i = 1; i < SAMPLES; i++) { /* greedy: all samples of a prompt are one */
        assert_memory_equal(set.items[i].ids, set.items[0].ids,
                            (size_t)set.items[0].count * sizeof(int32_t));
        assert_true(isfinite(set.items[i].margin) && set.items[i].margin >= 0);
    }
    b.stop = set.items[0].ids[2]; /* the third token ends it now, or an earlier equal one */
    completion_set_close(&set);
    tiny_need(generate(&args, &set, NULL));
    assert_true(set.items[0].stopped && set.items[0].count <= 3);
    assert_int_equal(set.items[0].ids[set.items[0].count - 1], b.stop);
    completion_set_close(&set);
    args.limits = (struct generate_limits){.cache_pages = 2};
    assert_int_equal(generate(&args, &set, NULL), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "pages"));
    args.limits = (struct generate_limits){0};
    args.sample.max_new_tokens = 1 << 20;
    assert_int_equal(generate(&args, &set, NULL), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "context"));
    bench_close(&b);
}

static void filters_keep_what_they_should(void **state)
{
    (void)state;
    const float z[6] = {1.0f, 3.0f, 3.0f, 0.0f, 2.0f, -5.0f};
    float filtered[6];
    float values[6];
    int32_t counts[6] = {0};
    const struct sample_scratch scratch = {filtered, values, counts};
    static const struct {
        struct sample_config s;
        const char *kept; /* one letter per token that may come */
    } CASES[] = {
        {{.temperature = 1, .top_p = 1}, "abcdef"},
        {{.temperature = 1, .top_p = 1, .top_k = 1}, "bc"}, /* ties with the k-th are kept */
        {{.temperature = 1, .top_p = 1, .top_k = 3}, "bce"},
        {{.temperature = 1, .top_p = 0.5}, "bc"},
        {{.temperature = 1, .top_p = 1, .min_p = 0.3}, "bce"},
        {{.temperature = 0, .top_p = 1}, "b"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char seen[7] = {0};
        for (int u = 0; u < 20000; u++) {
            const int32_t id = sample_token(&CASES[i].s, z, 6, NULL, u / 20000.0, &scratch);
            assert_true(id >= 0 && id < 6);
            seen[id] = 1;
        }
        for (int id = 0; id < 6; id++) {
            const bool may = strchr(CASES[i].kept, 'a' + id) != NULL;
            assert_int_equal(seen[id] != 0, may);
        }
    }
}

static void draws_follow_the_distribution(void **state)
{
    (void)state;
    const float z[3] = {0.0f, 1.0f, 2.0f};
    float filtered[3];
    float values[3];
    int32_t counts[3] = {0};
    const struct sample_scratch scratch = {filtered, values, counts};
    int count[3] = {0};
    const struct sample_config s = {.temperature = 1, .top_p = 1};
    for (int u = 0; u < 30000; u++) {
        count[sample_token(&s, z, 3, NULL, (u + 0.5) / 30000.0, &scratch)]++;
    }
    const double total = exp(0) + exp(1) + exp(2);
    for (int i = 0; i < 3; i++) {
        assert_true(fabs(count[i] / 30000.0 - exp(i) / total) < 1e-3);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sampler_and_training_agree_bit_for_bit),
        cmocka_unit_test(stops_and_limits),
        cmocka_unit_test(filters_keep_what_they_should),
        cmocka_unit_test(draws_follow_the_distribution),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
