/*
 * RLOO against TRL's RLOOTrainer (golden/preference/rloo): loss, gradient in the logits and clip
 * metrics; rewards, sequence divergences and clipping to leave-one-out advantages.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/advantage.h"
#include "rl/objective.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

static const double LIMIT = 1e-6;

enum { MOST = 512 };

static struct {
    double loss;
    double grad;
    double advantage;
    double rounding; /* of TRL's loss */
} worst;

/* Rows of a batch: logits [rows, columns, vocab], ids and mask [rows, columns]. */
struct batch {
    int64_t rows, columns, vocab;
    float *logits, *advantages, *old_logps;
    int64_t *ids, *mask;
};

static double log_prob(const float *z, int64_t vocab, int64_t id)
{
    double sum = 0.0;
    for (int64_t v = 0; v < vocab; v++) {
        sum += exp((double)z[v]);
    }
    return (double)z[id] - log(sum);
}

/* One row's loss; its derivative in the logits is d logp (1[v = id] - p_v). */
static double run_row(const struct batch *b, const struct objective_config *c, bool on_policy,
                      int64_t r, const float *grad, struct objective_sums *sums)
{
    float logp[MOST];
    float old[MOST] = {0};
    float dlogp[MOST];
    int64_t count = 0;
    double sum = 0.0;
    for (int64_t t = 0; t < b->columns && b->mask[r * b->columns + t]; t++, count++) {
        const int64_t at = r * b->columns + t;
        logp[t] = (float)log_prob(b->logits + at * b->vocab, b->vocab, b->ids[at]);
        sum += (double)logp[t];
    }
    /* TRL keeps the sum alone: the first token takes all of the difference. */
    memcpy(old, logp, (size_t)count * sizeof *old);
    if (!on_policy) {
        old[0] = (float)((double)logp[0] - (sum - (double)b->old_logps[r]));
    }
    /* TRL's ratio is the exponential of a difference of F32 sums. */
    worst.rounding = fmax(worst.rounding, fabs(sum) * 0x1p-23 * fabs((double)b->advantages[r])
                                              * exp(sum - (double)b->old_logps[r]));
    const struct objective_scale scale = {.rows = b->rows};
    const struct objective_row row = {.count = count, .logp = logp, .old = old,
                                      .advantage = (double)b->advantages[r],
                                      .weight = objective_token_weight(LOSS_RLOO, &scale, count)};
    objective_row(c, &row, dlogp, NULL, sums);
    for (int64_t t = 0; t < count; t++) {
        const int64_t at = r * b->columns + t;
        for (int64_t v = 0; v < b->vocab; v++) {
            const double p = exp(log_prob(b->logits + at * b->vocab, b->vocab, v));
            const double d = (double)dlogp[t] * ((v == b->ids[at]) - p);
            worst.grad = fmax(worst.grad, fabs(d - (double)grad[at * b->vocab + v]));
        }
    }
    return sums->loss;
}

static void check_case(const json_t *c, const struct batch *b, const struct safetensors *grads)
{
    const char *name = json_get_string(c, "name", "");
    const double low = json_get_number(c, "epsilon", 0.2);
    const struct objective_config config = {
        .loss_type = LOSS_RLOO, .level = RATIO_SUM, .epsilon_low = low,
        .epsilon_high = json_get_number(c, "epsilon_high", low)};
    const json_t *metrics = json_object_get(c, "metrics");
    char key[128];
    int64_t n;
    double loss = 0.0;
    double clipped[2] = {0};
    (void)snprintf(key, sizeof key, "%s.d_logits", name);
    float *grad = golden_floats(grads, key, &n);
    assert_non_null(grad);
    for (int64_t r = 0; r < b->rows; r++) {
        struct objective_sums sums;
        loss += run_row(b, &config, json_get_bool(c, "on_policy", false), r, grad, &sums);
        clipped[0] += sums.clip_low / (double)b->rows;
        clipped[1] += sums.clip_high / (double)b->rows;
    }
    worst.loss = fmax(worst.loss, fabs(loss - json_get_number(c, "loss", NAN)));
    assert_true(fabs(clipped[0] - json_get_number(metrics, "clip_ratio/low_mean", NAN)) < LIMIT);
    assert_true(fabs(clipped[1] - json_get_number(metrics, "clip_ratio/high_mean", NAN)) < LIMIT);
    if (!(worst.loss <= LIMIT + worst.rounding && worst.grad <= LIMIT + worst.rounding)) {
        fail_msg("%s: loss %.2g, gradient %.2g", name, worst.loss, worst.grad);
    }
    free(grad);
}

static void losses_are_trls(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *f;
    struct safetensors *grads;
    struct batch b;
    int64_t n;
    if (!golden_path("preference/rloo/batch.safetensors", path)) {
        print_message("golden/preference is not here\n");
        skip();
    }
    assert_int_equal(safetensors_open(&f, path), STATUS_OK);
    (void)golden_path("preference/rloo/grads.safetensors", path);
    assert_int_equal(safetensors_open(&grads, path), STATUS_OK);
    (void)golden_path("preference/rloo/cases.json", path);
    json_t *cases = golden_json(path);
    b.advantages = golden_floats(f, "advantages", &b.rows);
    b.old_logps = golden_floats(f, "old_logps", &b.rows);
    b.ids = golden_ints(f, "completion_ids", &n);
    b.mask = golden_ints(f, "completion_mask", &n);
    b.columns = n / b.rows;
    b.logits = golden_floats(f, "logits", &n);
    b.vocab = n / (b.rows * b.columns);
    assert_true(b.columns <= MOST && json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_case(json_array_get(cases, i), &b, grads);
    }
    print_message("%zu cases: loss %.1e, gradient %.1e\n", json_array_size(cases), worst.loss,
                  worst.grad);
    free(b.advantages);
    free(b.old_logps);
    free(b.ids);
    free(b.mask);
    free(b.logits);
    safetensors_close(f);
    safetensors_close(grads);
    json_decref(cases);
}

static void check_advantages(const json_t *c)
{
    const json_t *rows = json_object_get(c, "rewards");
    const json_t *clip = json_object_get(c, "reward_clip_range");
    const json_t *weights = json_object_get(c, "reward_weights");
    const int64_t n = (int64_t)json_array_size(rows);
    const int64_t k = (int64_t)json_array_size(json_array_get(rows, 0));
    const int64_t size = json_get_int(c, "num_generations", 2);
    double rewards[MOST];
    double weight[16];
    double penalty[MOST];
    double advantage[MOST];
    double flat;
    assert_true(n * k <= MOST && k <= 16);
    for (int64_t i = 0; i < n * k; i++) {
        rewards[i] = golden_number(
            json_array_get(json_array_get(rows, (size_t)(i / k)), (size_t)(i % k)));
    }
    for (int64_t i = 0; i < k; i++) {
        weight[i] = json_is_array(weights) ? golden_number(json_array_get(weights, (size_t)i)) : 1;
    }
    for (int64_t i = 0; i < n; i++) {
        penalty[i] = json_get_number(c, "beta", 0)
                     * golden_number(json_array_get(json_object_get(c, "sequence_k1"), (size_t)i));
    }
    const struct advantage_config config = {
        .leave_one_out = true,
        .normalize = json_get_bool(c, "normalize_advantages", false),
        .clip = json_is_array(clip),
        .clip_low = golden_number(json_array_get(clip, 0)),
        .clip_high = golden_number(json_array_get(clip, 1)),
    };
    const struct advantage_args args = {.rewards = rewards, .weights = weight, .groups = n / size,
                                        .group_size = size, .functions = k, .penalty = penalty,
                                        .advantage = advantage, .flat = &flat};
    assert_int_equal(advantage_compute(&config, &args), STATUS_OK);
    for (int64_t i = 0; i < n; i++) {
        const double want =
            golden_number(json_array_get(json_object_get(c, "advantages"), (size_t)i));
        worst.advantage =
            fmax(worst.advantage, fabs(advantage[i] - want) / fmax(1.0, fabs(want)));
    }
    assert_true(fabs(flat - json_get_number(json_object_get(c, "metrics"), "frac_reward_zero_std",
                                            NAN)) < LIMIT);
    assert_true(worst.advantage < LIMIT);
}

static void advantages_are_trls(void **state)
{
    (void)state;
    char path[4096];
    if (!golden_path("preference/rloo/advantages.jsonl", path)) {
        print_message("golden/preference is not here\n");
        skip();
    }
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_advantages(json_array_get(cases, i));
    }
    print_message("%zu cases: advantage %.1e\n", json_array_size(cases), worst.advantage);
    json_decref(cases);
}

/* Siblings 1, 2, 6 and one unscorable: baselines are the means of the other two. */
static void a_group_by_hand(void **state)
{
    (void)state;
    const double rewards[4] = {1, 2, 6, NAN};
    const double penalty[4] = {0, 0, 1, 0};
    const double weight = 1.0;
    double advantage[4];
    const struct advantage_config config = {.leave_one_out = true, .clip = true, .clip_low = 0,
                                            .clip_high = 5};
    const struct advantage_args args = {.rewards = rewards, .weights = &weight, .groups = 1,
                                        .group_size = 4, .functions = 1, .penalty = penalty,
                                        .advantage = advantage};
    assert_int_equal(advantage_compute(&config, &args), STATUS_OK); /* 1, 2, 5 - 1 */
    assert_true(advantage[0] == -2.0 && advantage[1] == -0.5 && advantage[2] == 2.5);
    assert_true(advantage[3] == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_trls),
        cmocka_unit_test(advantages_are_trls),
        cmocka_unit_test(a_group_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
