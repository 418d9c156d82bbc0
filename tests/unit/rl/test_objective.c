/*
 * The policy objectives without golden data: every loss type's derivatives are its slopes, masks
 * and corrections by hand, the quantile of torch, bounds of the sampler's ratios.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/correction.h"
#include "rl/entropy.h"
#include "rl/objective.h"

enum { TOKENS = 3 };

static const float OLD[TOKENS] = {-1.0f, -0.5f, -2.0f};
static const float REF[TOKENS] = {-1.2f, -0.6f, -1.7f};
static const float CORRECTION[TOKENS] = {0.75f, 1.5f, 1.25f};

static struct objective_config config_of(int type, int level)
{
    return (struct objective_config){
        .loss_type = (enum loss_type)type,
        .level = (enum ratio_level)level,
        .epsilon_low = 0.2,
        .epsilon_high = 0.3,
        .delta = 1.6,
        .beta = 0.1,
        .bias_correction_kl = true,
        .sapo_temperature_pos = 0.8,
        .sapo_temperature_neg = 1.2,
        .vespo_k_pos = 2,
        .vespo_lambda_pos = 3,
        .vespo_k_neg = 3,
        .vespo_lambda_neg = 2,
    };
}

/* The loss where cispo and vespo weigh their tokens as they did at the original log-probs. */
static double frozen_loss(const struct objective_config *c, const struct objective_row *row,
                          const float *weights)
{
    double loss = 0.0;
    struct objective_config kl_only = *c;
    struct objective_row idle = *row;
    struct objective_sums s;
    float unused[TOKENS];
    float unused_entropy[TOKENS];
    kl_only.loss_type = LOSS_GRPO;
    idle.advantage = 0.0;
    objective_row(&kl_only, &idle, unused, unused_entropy, &s);
    for (int t = 0; t < TOKENS; t++) {
        loss += (double)weights[t] * (double)row->logp[t];
    }
    return s.loss + loss;
}

/* Compares d with central differences of the row's loss in one input. */
static void check_slopes(const struct objective_config *c, struct objective_row *row, float *input,
                         const float *d, const float *weights)
{
    float unused[TOKENS];
    float unused_entropy[TOKENS];
    for (int t = 0; t < TOKENS; t++) {
        struct objective_sums at[2];
        double loss[2];
        const float keep = input[t];
        for (int k = 0; k < 2; k++) {
            input[t] = keep + (k ? -0x1p-10f : 0x1p-10f);
            objective_row(c, row, unused, unused_entropy, &at[k]);
            loss[k] = weights ? frozen_loss(c, row, weights) : at[k].loss;
        }
        input[t] = keep;
        const double slope = (loss[0] - loss[1]) / 0x1p-9;
        if (fabs(slope - (double)d[t]) > 2e-5) {
            fail_msg("%s level %d token %d: %g, slope %g", objective_kind(c->loss_type)->name,
                     (int)c->level, t, (double)d[t], slope);
        }
    }
}

/* d loss / d logp of the policy term alone: the stopped weights of cispo and vespo. */
static void policy_weights(const struct objective_config *c, const struct objective_row *row,
                           float *weights)
{
    struct objective_config plain = *c;
    struct objective_sums s;
    float unused[TOKENS];
    plain.beta = 0.0;
    objective_row(&plain, row, weights, unused, &s);
}

static void derivatives_are_slopes(void **state)
{
    (void)state;
    for (int type = 0; type < LOSS_TYPES; type++) {
        for (int level = RATIO_TOKEN; level <= RATIO_SUM; level++) {
            for (int sign = -1; sign <= 1; sign += 2) {
                const struct objective_config c = config_of(type, level);
                const bool stopped = type == LOSS_CISPO || type == LOSS_VESPO;
                float logp[TOKENS] = {-0.93f, -0.42f, -1.4f};
                float entropy[TOKENS] = {0.5f, 0.25f, 1.0f};
                float d[TOKENS];
                float de[TOKENS];
                float weights[TOKENS];
                struct objective_sums s;
                struct objective_row row = {.count = TOKENS, .logp = logp, .old = OLD, .ref = REF,
                                            .entropy = entropy, .correction = CORRECTION,
                                            .advantage = sign * 0.7, .weight = 0.25,
                                            .entropy_floor = 0.4, .entropy_bonus = 0.5};
                policy_weights(&c, &row, weights);
                objective_row(&c, &row, d, de, &s);
                check_slopes(&c, &row, logp, d, stopped ? weights : NULL);
                check_slopes(&c, &row, entropy, de, NULL);
                assert_true(de[0] == -0.5f && de[1] == 0.0f && de[2] == -0.5f);
                assert_true(s.kept == 2.0 && fabs(s.entropy - 1.5) < 1e-6);
                assert_true(fabs(s.loss - (s.policy - 0.75)) < 1e-12);
            }
        }
    }
}

static void equal_logps_give_ratio_one(void **state)
{
    (void)state;
    const float logp[2] = {-0.7f, -1.3f};
    const struct objective_config config = {.epsilon_low = 0.2, .epsilon_high = 0.2};
    const struct objective_row row = {.count = 2, .logp = logp, .old = logp, .advantage = 1.5,
                                      .weight = 0.5};
    float d[2];
    struct objective_sums s;
    objective_row(&config, &row, d, NULL, &s);
    assert_true(d[0] == -0.75f && d[1] == -0.75f && s.max_delta == 0.0 && s.loss == -1.5);
}

/* A row to move away from is dropped when the policy has left it; one to move to never is. */
static void off_policy_rows_are_dropped(void **state)
{
    (void)state;
    const float logp[2] = {-3.0f, -1.0f};
    const float old[2] = {-1.0f, -1.0f};
    const float unknown[2] = {NAN, -1.0f};
    const struct {
        double advantage;
        double threshold;
        const float *sampling;
        bool kept;
    } cases[] = {{-1, 0.9, NULL, false}, {-1, 1.1, NULL, true}, {1, 0.9, NULL, true},
                 {-1, 0.9, unknown, true}, {-1, 0.9, old, false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct objective_config config = {.epsilon_low = 0.2, .epsilon_high = 0.2,
                                                .off_policy_mask = true,
                                                .off_policy_threshold = cases[i].threshold};
        const struct objective_row row = {.count = 2, .logp = logp, .old = old,
                                          .sampling = cases[i].sampling,
                                          .advantage = cases[i].advantage, .weight = 1.0};
        float d[2];
        struct objective_sums s;
        objective_row(&config, &row, d, NULL, &s);
        assert_int_equal(d[1] != 0.0f, cases[i].kept);
        assert_int_equal(s.loss != 0.0, cases[i].kept);
    }
}

/* By hand: quantile 1 - share at rank (1 - share)(n - 1), linear between neighbours. */
static void the_floor_is_a_quantile(void **state)
{
    (void)state;
    float five[5] = {4, 0, 3, 1, 2};
    float two[2] = {8, 4};
    float one[1] = {0.5f};
    assert_true(objective_entropy_floor(five, 5, 0.5) == 2.0);
    assert_true(fabs(objective_entropy_floor(five, 5, 0.2) - 3.2) < 1e-6);
    assert_true(objective_entropy_floor(five, 5, 1.0) == 0.0);
    assert_true(objective_entropy_floor(two, 2, 0.75) == 5.0);
    assert_true(objective_entropy_floor(one, 1, 0.1) == 0.5);
    assert_true(objective_entropy_floor(one, 0, 0.1) == 0.0);
}

static void weights_add_up_to_the_window(void **state)
{
    (void)state;
    /* Two micro-batches of one rank with two rows each of 3 and 1 tokens; loss 1 for every token.
     */
    const struct objective_scale s = {.rows = 4, .round_tokens = 8, .rounds = 1, .micro_tokens = 4,
                                      .micro_batches = 2, .max_completion_length = 5};
    static const struct {
        enum loss_type type;
        double loss;
    } cases[] = {{LOSS_GRPO, 1.0}, {LOSS_BNPO, 1.0},  {LOSS_DR_GRPO, 8.0 / 20}, {LOSS_DAPO, 1.0},
                 {LOSS_CISPO, 1.0}, {LOSS_SAPO, 1.0}, {LOSS_VESPO, 1.0},        {LOSS_LUSPO, 2.0},
                 {LOSS_RLOO, 1.0}};
    assert_int_equal(sizeof cases / sizeof cases[0], LOSS_TYPES);
    for (size_t i = 0; i < LOSS_TYPES; i++) {
        const double three = objective_token_weight(cases[i].type, &s, 3);
        const double single = objective_token_weight(cases[i].type, &s, 1);
        assert_true(fabs(2 * (3 * three + single) - cases[i].loss) < 1e-12);
        assert_true(isfinite(objective_token_weight(cases[i].type, &s, 0)));
    }
}

static void ratios_are_bounded(void **state)
{
    (void)state;
    const float old[3] = {-1.0f, -2.0f, -1.0f};
    const float sampling[3] = {-2.0f, -1.0f, NAN}; /* ratios e, 1/e, 1 */
    static const struct {
        enum correction_mode mode;
        double low, high;
        float ratio[3];
    } cases[] = {{CORRECTION_TOKEN_TRUNCATE, 0.5, 2, {2, 0.5f, 1}},
                 {CORRECTION_TOKEN_MASK, 0.5, 2, {0, 0, 1}},
                 {CORRECTION_TOKEN_TRUNCATE, NAN, NAN, {2.7182818f, 0.36787944f, 1}},
                 {CORRECTION_SEQUENCE_TRUNCATE, 1.5, 2, {1.5f, 1.5f, 1.5f}},
                 {CORRECTION_SEQUENCE_MASK, NAN, 0.9, {0, 0, 0}},
                 {CORRECTION_SEQUENCE_MASK, 0.9, NAN, {1, 1, 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct correction_config c = {.on = true, .mode = cases[i].mode,
                                            .clip_min = cases[i].low, .clip_max = cases[i].high};
        struct correction_sums s = {0};
        float ratio[3];
        correction_row(&c, old, sampling, 3, ratio, &s);
        for (int t = 0; t < 3; t++) {
            assert_true(fabsf(ratio[t] - cases[i].ratio[t]) < 1e-6f);
        }
        assert_true(s.scored == 2 && s.difference == 2.0 && s.difference_max == 1.0);
        assert_true(s.ratios == (correction_of_rows(cases[i].mode) ? 1.0 : 3.0));
        assert_true(s.ratio_min <= s.ratio_max);
    }
}

static void the_bonus_goes_by_the_step_before(void **state)
{
    (void)state;
    const struct entropy_config config = {.coef = 0.1, .adaptive = true, .max = 0.25, .delta = 0.1,
                                          .target = 1.0};
    const struct entropy_config fixed = {.coef = 0.3};
    struct entropy_control e;
    entropy_control_open(&e, &config);
    assert_true(entropy_control_on(&e) && entropy_control_coef(&e) == 0.0);
    entropy_control_update(&e, 8.0, 10.0); /* below the target: up */
    assert_true(fabs(entropy_control_coef(&e) - 0.2) < 1e-12);
    entropy_control_update(&e, 8.0, 10.0);
    assert_true(e.coef == 0.25); /* clamped */
    entropy_control_update(&e, 20.0, 10.0);
    assert_true(entropy_control_coef(&e) == 0.0 && fabs(e.coef - 0.15) < 1e-12);
    entropy_control_update(&e, 0.0, 0.0); /* a window without tokens has no entropy */
    assert_true(e.last == 0.0);
    entropy_control_open(&e, &fixed);
    entropy_control_update(&e, 1.0, 1.0);
    assert_true(entropy_control_coef(&e) == 0.3);
    entropy_control_open(&e, &(struct entropy_config){0});
    assert_false(entropy_control_on(&e));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(derivatives_are_slopes),
        cmocka_unit_test(equal_logps_give_ratio_one),
        cmocka_unit_test(off_policy_rows_are_dropped),
        cmocka_unit_test(the_floor_is_a_quantile),
        cmocka_unit_test(weights_add_up_to_the_window),
        cmocka_unit_test(ratios_are_bounded),
        cmocka_unit_test(the_bonus_goes_by_the_step_before),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
