/* Penalties, lists, min tokens and the two ways of drawing, on small rows made by hand. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/ops.h"
#include "trainer/generate/sampler.h"
#include "trainer/model/model.h"

enum { VOCAB = 6 };

static float kept[VOCAB];
static float values[VOCAB];
static int32_t counts[VOCAB];
static const struct sample_scratch SCRATCH = {kept, values, counts};
static const float Z[VOCAB] = {1.0f, -2.0f, 3.0f, 0.0f, 2.0f, -5.0f};

static void filter(struct sample_config c, const struct sample_history *h)
{
    c.temperature = c.temperature > 0 ? c.temperature : 1.0;
    sample_filter(&c, Z, VOCAB, h, &SCRATCH);
    for (int i = 0; i < VOCAB; i++) {
        assert_int_equal(counts[i], 0); /* the scratch is clean again */
    }
}

static void near(float a, double b)
{
    if (fabs((double)a - b) > 1e-6) {
        fail_msg("%g, expected %g", (double)a, b);
    }
}

static void repetition_penalty_counts_an_id_once(void **state)
{
    (void)state;
    const int32_t prompt[] = {0, 0, 1};
    const int32_t ids[] = {1, 2};
    filter((struct sample_config){.repetition_penalty = 2.0},
           &(struct sample_history){prompt, 3, ids, 2, NULL});
    near(kept[0], 0.5);
    near(kept[1], -4.0);
    near(kept[2], 1.5);
    near(kept[3], 0.0);
    near(kept[4], 2.0);
}

static void presence_and_frequency_count_generated_ids(void **state)
{
    (void)state;
    const int32_t prompt[] = {4};
    const int32_t ids[] = {2, 0, 2, 2};
    filter((struct sample_config){.presence_penalty = 0.5, .frequency_penalty = 0.25,
                                  .temperature = 2.0},
           &(struct sample_history){prompt, 1, ids, 4, NULL});
    near(kept[2], 3.0 - (0.5 + 3 * 0.25) / 2.0); /* logits are divided by T already */
    near(kept[0], 1.0 - (0.5 + 0.25) / 2.0);
    near(kept[4], 2.0);
}

static void lists_and_minimum_drop_ids(void **state)
{
    (void)state;
    const int32_t stops[] = {2, 77};
    const int32_t suppress[] = {4};
    const int32_t ids[] = {0, 0};
    struct sample_config c = {.stops = stops, .stop_count = 2, .min_new_tokens = 3,
                              .suppress = suppress, .suppress_count = 1};
    struct sample_history h = {.ids = ids, .count = 2};
    filter(c, &h);
    assert_true(isinf(kept[2]) && isinf(kept[4]) && kept[0] > 0);
    c.min_new_tokens = 2;
    filter(c, &h);
    assert_true(kept[2] > -INFINITY);
    const uint64_t allowed = UINT64_C(1) << 1 | UINT64_C(1) << 5;
    h.allowed = &allowed;
    filter(c, &h);
    assert_true(isinf(kept[0]) && isinf(kept[2]) && kept[1] > -9 && kept[5] > -9);
}

static void everything_dropped_still_draws_an_id(void **state)
{
    (void)state;
    const uint64_t allowed = 0;
    const struct sample_history h = {.allowed = &allowed};
    const struct sample_config c = {.temperature = 1.0};
    const int32_t id = sample_token(&c, Z, VOCAB, &h, 0.5, &SCRATCH);
    assert_true(id >= 0 && id < VOCAB);
}

static void settings_are_checked(void **state)
{
    (void)state;
    const int32_t far = 99;
    const struct {
        struct sample_config c;
        const char *key;
    } BAD[] = {
        {{.temperature = -1}, "temperature"},
        {{.temperature = 1, .top_p = 1.5}, "top_p"},
        {{.temperature = 1, .min_p = NAN}, "min_p"},
        {{.temperature = 1, .repetition_penalty = -1}, "repetition_penalty"},
        {{.temperature = 1, .suppress = &far, .suppress_count = 1}, "suppress_tokens"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(sample_check(&BAD[i].c, VOCAB), STATUS_RECIPE);
        assert_non_null(strstr(status_message(), BAD[i].key));
    }
    const struct sample_config good = {.temperature = 1};
    assert_int_equal(sample_check(&good, VOCAB), STATUS_OK);
    assert_true(sample_is_plain(&good, 0));
    const struct sample_config late = {.temperature = 1, .min_new_tokens = 2};
    assert_true(!sample_is_plain(&late, 1) && sample_is_plain(&late, 2));
}

/* The draw from chunk marks takes the same id as the draw over the whole row. */
static void plain_draws_equal_full_ones(void **state)
{
    (void)state;
    enum { N = 1000, CHUNK = 64, CHUNKS = (N + CHUNK - 1) / CHUNK };
    static float z[N];
    static float a[N];
    static float b[N];
    static int32_t c[N];
    const struct sample_scratch scratch = {a, b, c};
    const struct sample_config plain = {.temperature = 1.0};
    struct logit_mark marks[CHUNKS];
    int differ = 0;
    for (uint32_t row = 0; row < 50; row++) {
        const struct rng_key key = {.seed = 3, .purpose = RNG_DATA, .row = row};
        rng_fill_normal(&key, z, N, 3.0f);
        float max = -INFINITY;
        float sum = 0.0f;
        for (int i = 0; i < N; i++) { /* the head's own recurrence, chunk by chunk */
            const float top = z[i] > max ? z[i] : max;
            sum = sum * expf(max - top) + expf(z[i] - top);
            max = top;
            marks[i / CHUNK] = (struct logit_mark){max, sum};
        }
        for (int k = 0; k < 200; k++) {
            const double u = (k + 0.37) / 200.0;
            const int32_t id = sample_plain(z, N, CHUNK, marks, u);
            differ += id != sample_token(&plain, z, N, NULL, u, &scratch);
            assert_true(id >= 0 && id < N);
        }
        assert_int_equal(sample_plain(z, N, CHUNK, marks, 0.0), 0);
    }
    assert_true(differ <= 2); /* of 10,000: a border moved by the rounding of the sums */
}

/* Without mass at the end: u close to 1 must not fall off. */
static void draws_end_inside_the_vocabulary(void **state)
{
    (void)state;
    const float z[4] = {0.0f, -300.0f, -300.0f, -300.0f};
    const struct logit_mark marks[2] = {{0.0f, 1.0f}, {0.0f, 1.0f}};
    assert_int_equal(sample_plain(z, 4, 2, marks, 0.999999999), 0);
    float a[4];
    float b[4];
    int32_t c[4] = {0};
    const struct sample_scratch scratch = {a, b, c};
    const struct sample_config plain = {.temperature = 1.0};
    assert_int_equal(sample_token(&plain, z, 4, NULL, 0.999999999, &scratch), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(repetition_penalty_counts_an_id_once),
        cmocka_unit_test(presence_and_frequency_count_generated_ids),
        cmocka_unit_test(lists_and_minimum_drop_ids),
        cmocka_unit_test(everything_dropped_still_draws_an_id),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(plain_draws_equal_full_ones),
        cmocka_unit_test(draws_end_inside_the_vocabulary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
