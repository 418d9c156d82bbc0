/*
 * Rows of very unequal length, as reasoning has them: 1,024 completions of geometric length (mean
 * 64, at most 503: the tiny model's context) over 32 slots. The slots stay busy without knowing any
 * length.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "tests/support/tiny_model.h"
#include "trainer/generate/generate.h"

enum { PROMPTS = 128, SAMPLES = 8, SLOTS = 32, MEAN = 64, PROMPT_TOKENS = 9,
       CAP = 512 - PROMPT_TOKENS };

static void slots_stay_busy(void **state)
{
    (void)state;
    static int64_t most[PROMPTS][SAMPLES];
    static int32_t ids[PROMPT_TOKENS];
    static struct prompt prompts[PROMPTS];
    struct tiny tiny = {0};
    struct ops_context ops;
    struct completion_set set;
    struct generate_stats stats;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    int64_t wanted = 0;
    tiny_need(ops_context_open(&ops, &options));
    tiny_open(&tiny, &TINY_CONFIGS[0]);
    tiny_ids(&tiny, ids, PROMPT_TOKENS);
    for (uint32_t p = 0; p < PROMPTS; p++) {
        prompts[p] = (struct prompt){.ids = ids, .count = PROMPT_TOKENS, .row = p,
                                     .samples = SAMPLES, .most = most[p]};
        for (uint32_t s = 0; s < SAMPLES; s++) {
            const struct rng_key key = {.seed = 64, .purpose = RNG_DATA, .row = p, .sample = s};
            const int64_t n = 1 + (int64_t)(log1p(-rng_uniform53(&key)) / log1p(-1.0 / MEAN));
            most[p][s] = n < CAP ? n : CAP;
            wanted += most[p][s];
        }
    }
    const struct generate_args args = {
        .model = tiny.m,
        .ops = &ops,
        .prompts = prompts,
        .prompt_count = PROMPTS,
        .sample = {.temperature = 1.0, .seed = 1, .purpose = RNG_SAMPLE},
        .limits = {.max_rows = SLOTS},
    };
    tiny_need(generate(&args, &set, &stats));
    print_message("%lld tokens in %lld steps, occupancy %.3f\n", (long long)wanted,
                  (long long)stats.decode_steps, stats.occupancy);
    assert_int_equal(stats.decoded_tokens, wanted);
    assert_true(stats.occupancy >= 0.85);
    completion_set_close(&set);
    tiny_close(&tiny);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(slots_stay_busy)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
