/* Preference losses without golden data: slopes of every loss, matching by hand, refusals. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/dpo_loss.h"
#include "rl/kto_loss.h"

static struct dpo_config one(enum dpo_loss loss)
{
    return (struct dpo_config){.losses = {loss}, .weights = {0.5}, .count = 1, .beta = 0.3,
                               .label_smoothing = 0.1, .alpha = 0.5, .ld_alpha = NAN,
                               .discopop_tau = 0.4};
}

static const struct dpo_pair PAIR = {.chosen = -7.5, .rejected = -6.25, .ref_chosen = -8.0,
                                     .ref_rejected = -6.0, .chosen_tokens = 4, .rejected_tokens = 3,
                                     .chosen_plain = -7.5, .sft_scale = 0.25, .weight = 0.7,
                                     .ref_gap = -1.5, .rejected_partner = -0.4,
                                     .chosen_partner = 0.9};

static double loss_at(const struct dpo_config *c, double chosen, double rejected)
{
    struct dpo_pair p = PAIR;
    p.chosen += chosen;
    p.chosen_plain += chosen;
    p.rejected += rejected;
    return dpo_pair_terms(c, &p).loss;
}

static void slopes_are_derivatives(void **state)
{
    (void)state;
    const double h = 1e-5;
    for (int k = 0; k < DPO_LOSSES; k++) {
        for (int f = DPO_REVERSE_KL; f <= DPO_ALPHA; f++) {
            struct dpo_config c = one((enum dpo_loss)k);
            c.divergence = (enum dpo_divergence)f;
            c.use_weighting = f == DPO_JS;
            const struct dpo_terms t = dpo_pair_terms(&c, &PAIR);
            const double up = (loss_at(&c, h, 0) - loss_at(&c, -h, 0)) / (2 * h);
            const double down = (loss_at(&c, 0, h) - loss_at(&c, 0, -h)) / (2 * h);
            if (fabs(up - t.d_chosen - t.d_chosen_token) > 1e-6) {
                fail_msg("%s: %g, slope %g", dpo_loss_name((enum dpo_loss)k),
                         t.d_chosen + t.d_chosen_token, up);
            }
            if (k != DPO_AOT_UNPAIRED) { /* its rejected side belongs to another pair's loss */
                assert_true(fabs(down - t.d_rejected) < 1e-6);
            }
        }
    }
    assert_null(dpo_loss_name(DPO_LOSSES));
}

static void lists_are_weighted_sums(void **state)
{
    (void)state;
    struct dpo_config both = one(DPO_SIGMOID);
    both.losses[1] = DPO_IPO;
    both.weights[1] = 2.0;
    both.count = 2;
    const struct dpo_config first = one(DPO_SIGMOID);
    const struct dpo_config second = one(DPO_IPO);
    const double want =
        dpo_pair_terms(&first, &PAIR).loss + 4.0 * dpo_pair_terms(&second, &PAIR).loss;
    assert_true(fabs(dpo_pair_terms(&both, &PAIR).loss - want) < 1e-12);
}

static void sorted_sides_meet_by_rank(void **state)
{
    (void)state;
    /* gaps 3, 1, 2 of the policy; 30, 10, 20 of the reference */
    struct dpo_pair p[3] = {{.chosen = 3, .ref_chosen = 10}, {.chosen = 1, .ref_chosen = 30},
                            {.chosen = 2, .ref_chosen = 20}};
    assert_int_equal(dpo_match(p, 3), STATUS_OK);
    assert_true(p[0].ref_gap == 30 && p[1].ref_gap == 10 && p[2].ref_gap == 20);
    struct dpo_pair q[2] = {{.chosen = 5, .rejected = 1}, {.chosen = 2, .rejected = 4}};
    assert_int_equal(dpo_match(q, 2), STATUS_OK);
    assert_true(q[0].rejected_partner == 4 && q[1].rejected_partner == 1);
    assert_true(q[0].chosen_partner == 2 && q[1].chosen_partner == 5);
}

static void settings_are_refused_by_name(void **state)
{
    (void)state;
    struct dpo_config none = one(DPO_SIGMOID);
    none.count = 0;
    struct dpo_config weighted = one(DPO_AOT);
    weighted.use_weighting = true;
    struct dpo_config hinge = one(DPO_HINGE);
    hinge.use_weighting = true;
    struct dpo_config exo = one(DPO_EXO_PAIR);
    exo.label_smoothing = 0;
    struct dpo_config robust = one(DPO_ROBUST);
    robust.label_smoothing = 0.5;
    const struct {
        const struct dpo_config *c;
        const char *names;
    } cases[] = {{&none, "loss_type"}, {&weighted, "use_weighting"}, {&hinge, "hinge"},
                 {&exo, "label_smoothing"}, {&robust, "label_smoothing"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(dpo_check(cases[i].c), STATUS_RECIPE);
        assert_non_null(strstr(status_message(), cases[i].names));
        status_clear();
    }
    const struct dpo_config fine = one(DPO_AOT_UNPAIRED);
    assert_true(dpo_check(&fine) == STATUS_OK);
    assert_true(dpo_needs_match(&fine) && !dpo_needs_match(&hinge));
}

static void tails_weigh_less(void **state)
{
    (void)state;
    struct dpo_config c = one(DPO_SIGMOID);
    assert_true(dpo_token_weight(&c, 9, 2) == 1.0);
    c.ld_alpha = 0.25;
    assert_true(dpo_token_weight(&c, 1, 2) == 1.0 && dpo_token_weight(&c, 2, 2) == 0.25);
}

static void kto_slopes_are_derivatives(void **state)
{
    (void)state;
    const double h = 1e-5;
    for (int loss = 0; loss < 2; loss++) {
        for (int good = 0; good < 2; good++) {
            const struct kto_config c = {.loss = (enum kto_loss)loss, .beta = 0.4,
                                         .desirable_weight = 1.5, .undesirable_weight = 0.5};
            double slope;
            double unused;
            const double at = kto_row_loss(&c, 0.8, 0.3, good, &slope);
            const double up = kto_row_loss(&c, 0.8 + h, 0.3, good, &unused);
            const double down = kto_row_loss(&c, 0.8 - h, 0.3, good, &unused);
            assert_true(fabs((up - down) / (2 * h) - slope) < 1e-8);
            assert_true(at > 0 && at < (good ? 1.5 : 0.5) && (slope < 0) == (good != 0));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slopes_are_derivatives),
        cmocka_unit_test(lists_are_weighted_sums),
        cmocka_unit_test(sorted_sides_meet_by_rank),
        cmocka_unit_test(settings_are_refused_by_name),
        cmocka_unit_test(tails_weigh_less),
        cmocka_unit_test(kto_slopes_are_derivatives),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
