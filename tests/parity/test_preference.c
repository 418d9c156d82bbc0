/*
 * Preference objectives against TRL's DPOTrainer and KTOTrainer (golden/preference): loss, d loss /
 * d log-prob and rewards of every case; those that TRL refuses are refused with a reason.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rl/dpo_loss.h"
#include "rl/kto_loss.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

/* 1e-6 absolute and 1e-5 relative: TRL sums log-probs of -30 in float32, which is 2e-6 of a
 * log-ratio before any loss squares or exponentiates it. */
static double limit_of(double value)
{
    return 1e-6 + 1e-5 * fabs(value);
}

enum { MOST_PAIRS = 16 };

static struct {
    double loss;
    double grad;
} worst;

/* A batch of rows [rows, columns] of shifted positions: log-prob of the id at t + 1. */
struct batch {
    int64_t rows, columns, vocab;
    float *logits, *log_probs;
    int64_t *ids, *mask; /* [rows, columns + 1] */
};

static void open_batch(struct batch *b, const struct safetensors *f)
{
    int64_t n;
    int64_t rows_times_length;
    b->log_probs = golden_floats(f, "log_probs", &n);
    b->ids = golden_ints(f, "input_ids", &rows_times_length);
    b->mask = golden_ints(f, "completion_mask", &rows_times_length);
    b->rows = rows_times_length - n;
    b->columns = n / b->rows;
    b->logits = golden_floats(f, "logits", &n);
    b->vocab = n / (b->rows * b->columns);
    assert_true(b->log_probs && b->ids && b->mask && b->logits);
}

static void close_batch(struct batch *b)
{
    free(b->log_probs);
    free(b->ids);
    free(b->mask);
    free(b->logits);
}

static bool is_loss(const struct batch *b, int64_t row, int64_t t)
{
    return b->mask[row * (b->columns + 1) + t + 1] != 0;
}

static int64_t tokens_of(const struct batch *b, int64_t row)
{
    int64_t n = 0;
    for (int64_t t = 0; t < b->columns; t++) {
        n += is_loss(b, row, t);
    }
    return n;
}

/* log sum p^2 at a position. */
static double log_sum_squares(const struct batch *b, int64_t at)
{
    double sum = 0.0;
    double squares = 0.0;
    for (int64_t v = 0; v < b->vocab; v++) {
        const double z = (double)b->logits[at * b->vocab + v];
        sum += exp(z);
        squares += exp(2.0 * z);
    }
    return log(squares) - 2.0 * log(sum);
}

/* Sums over a completion; `weight`, when not NULL, multiplies in WPO's factor. */
static double row_sum(const struct batch *b, const struct dpo_config *c, int64_t row,
                      int64_t shorter, double *plain, double *weight)
{
    double sum = 0.0;
    double aligned = 0.0;
    int64_t n = 0;
    *plain = 0.0;
    for (int64_t t = 0; t < b->columns; t++) {
        const int64_t at = row * b->columns + t;
        if (is_loss(b, row, t)) {
            const double lp = (double)b->log_probs[at];
            sum += dpo_token_weight(c, n++, shorter) * lp;
            *plain += lp;
            aligned += lp - log_sum_squares(b, at);
        }
    }
    *weight *= exp(aligned / fmax((double)n, 1.0));
    return sum;
}

static struct dpo_config dpo_config_of(const json_t *settings)
{
    static const char *const DIVERGENCES[] = {"reverse_kl", "forward_kl", "js_divergence",
                                              "alpha_divergence"};
    const json_t *losses = json_object_get(settings, "loss_type");
    const json_t *weights = json_object_get(settings, "loss_weights");
    const char *f = json_get_string(settings, "f_divergence_type", "reverse_kl");
    struct dpo_config c = {
        .count = (int)json_array_size(losses),
        .beta = json_get_number(settings, "beta", 0.1),
        .label_smoothing = json_get_number(settings, "label_smoothing", 0),
        .alpha = json_get_number(settings, "f_alpha_divergence_coef", 0.5),
        .ld_alpha = golden_number(json_object_get(settings, "ld_alpha")),
        .use_weighting = json_get_bool(settings, "use_weighting", false),
        .discopop_tau = json_get_number(settings, "discopop_tau", 0.05),
    };
    for (int i = 0; i < 4; i++) {
        c.divergence = strcmp(DIVERGENCES[i], f) == 0 ? (enum dpo_divergence)i : c.divergence;
    }
    for (int i = 0; i < c.count; i++) {
        const char *name = json_string_value(json_array_get(losses, (size_t)i));
        int k = 0;
        while (k < DPO_LOSSES && strcmp(dpo_loss_name((enum dpo_loss)k), name) != 0) {
            k++;
        }
        assert_true(k < DPO_LOSSES);
        c.losses[i] = (enum dpo_loss)k;
        c.weights[i] = weights ? json_number_value(json_array_get(weights, (size_t)i)) : 1.0;
    }
    return c;
}

static void make_pairs(const struct batch *b, const struct dpo_config *c, const float *ref_chosen,
                       const float *ref_rejected, struct dpo_pair *pairs)
{
    const int64_t n = b->rows / 2;
    double chosen_tokens = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const int64_t chosen = tokens_of(b, i);
        const int64_t rejected = tokens_of(b, n + i);
        const int64_t shorter = chosen < rejected ? chosen : rejected;
        double unused;
        pairs[i] = (struct dpo_pair){.ref_chosen = (double)ref_chosen[i],
                                     .ref_rejected = (double)ref_rejected[i],
                                     .chosen_tokens = (double)chosen,
                                     .rejected_tokens = (double)rejected,
                                     .weight = 1.0};
        pairs[i].chosen = row_sum(b, c, i, shorter, &pairs[i].chosen_plain, &pairs[i].weight);
        pairs[i].rejected = row_sum(b, c, n + i, shorter, &unused, &pairs[i].weight);
        chosen_tokens += (double)chosen;
    }
    for (int64_t i = 0; i < n; i++) {
        pairs[i].sft_scale = (double)n / chosen_tokens;
    }
    assert_int_equal(dpo_match(pairs, n), STATUS_OK);
}

/* A case's gradient by log-probs as one vector. */
struct apart {
    double off; /* sums of squares: of the differences */
    double all; /* of the file's */
    double ratio; /* what F32 leaves open of a log-ratio of sums as large as these */
};

static void add_row_gradient(const struct batch *b, const struct dpo_config *c, int64_t row,
                             int64_t shorter, double sum_slope, double token_slope,
                             const float *grad, struct apart *e)
{
    int64_t n = 0;
    for (int64_t t = 0; t < b->columns; t++) {
        if (!is_loss(b, row, t)) {
            continue; /* the file has slopes of constant zeros there */
        }
        const double want = (double)grad[row * b->columns + t];
        const double d = sum_slope * dpo_token_weight(c, n++, shorter) + token_slope - want;
        e->off += d * d;
        e->all += want * want;
    }
}

static void check_gradient(const char *name, const struct apart *e)
{
    const double size = sqrt(e->all);
    const double off = sqrt(e->off);
    worst.grad = fmax(worst.grad, off / fmax(0.1, size));
    if (!(off <= limit_of(size) + size * e->ratio)) {
        fail_msg("%s: the gradient of norm %.9g is %.2g off", name, size, off);
    }
}

static void check_dpo_metrics(const json_t *c, const struct dpo_config *config,
                              const struct dpo_pair *pairs, int64_t n)
{
    const json_t *m = json_object_get(c, "metrics");
    double chosen = 0.0;
    double rejected = 0.0;
    double right = 0.0;
    double logp = 0.0;
    for (int64_t i = 0; i < n; i++) {
        const double up = config->beta * (pairs[i].chosen - pairs[i].ref_chosen);
        const double down = config->beta * (pairs[i].rejected - pairs[i].ref_rejected);
        chosen += up / (double)n;
        rejected += down / (double)n;
        right += (up > down) / (double)n;
        logp += pairs[i].chosen / (double)n;
    }
    assert_true(fabs(chosen - json_get_number(m, "rewards/chosen", NAN)) < 1e-5);
    assert_true(fabs(rejected - json_get_number(m, "rewards/rejected", NAN)) < 1e-5);
    assert_true(fabs(right - json_get_number(m, "rewards/accuracies", NAN)) < 1e-6);
    assert_true(fabs(chosen - rejected - json_get_number(m, "rewards/margins", NAN)) < 1e-5);
    assert_true(fabs(logp - json_get_number(m, "logps/chosen", NAN)) < 2e-5);
}

static void check_dpo(const json_t *c, const struct batch *b, const struct safetensors *f,
                      const struct safetensors *grads)
{
    const char *name = json_get_string(c, "name", "");
    const struct dpo_config config = dpo_config_of(json_object_get(c, "settings"));
    struct dpo_pair pairs[MOST_PAIRS];
    const int64_t n = b->rows / 2;
    char key[128];
    int64_t count;
    double loss = 0.0;
    assert_true(n <= MOST_PAIRS);
    if (json_object_get(c, "raises")) {
        if (dpo_check(&config) != STATUS_RECIPE) {
            fail_msg("%s is not refused", name);
        }
        assert_non_null(strstr(status_message(), "use_weighting"));
        status_clear();
        return;
    }
    assert_true(dpo_check(&config) == STATUS_OK);
    float *ref_chosen = golden_floats(f, "ref_chosen_logps", &count);
    float *ref_rejected = golden_floats(f, "ref_rejected_logps", &count);
    make_pairs(b, &config, ref_chosen, ref_rejected, pairs);
    free(ref_chosen);
    free(ref_rejected);
    (void)snprintf(key, sizeof key, "%s.d_logps", name);
    float *grad = golden_floats(grads, key, &count);
    struct apart apart = {0};
    assert_non_null(grad);
    for (int64_t i = 0; i < n; i++) {
        const struct dpo_terms t = dpo_pair_terms(&config, &pairs[i]);
        const double each = 1.0 / (double)n;
        const int64_t shorter =
            (int64_t)fmin(pairs[i].chosen_tokens, pairs[i].rejected_tokens);
        loss += each * t.loss;
        apart.ratio =
            fmax(apart.ratio, 0x1p-23 * fmax(fabs(pairs[i].chosen), fabs(pairs[i].rejected)));
        add_row_gradient(b, &config, i, shorter, each * t.d_chosen, each * t.d_chosen_token, grad,
                         &apart);
        add_row_gradient(b, &config, n + i, shorter, each * t.d_rejected, 0.0, grad, &apart);
    }
    check_gradient(name, &apart);
    const double want = json_get_number(c, "loss", NAN);
    worst.loss = fmax(worst.loss, fabs(loss - want) / fmax(1.0, fabs(want)));
    if (!(fabs(loss - want) <= limit_of(want))) {
        fail_msg("%s: loss %.9g, expected %.9g", name, loss, want);
    }
    check_dpo_metrics(c, &config, pairs, n);
    free(grad);
}

/* Opens folder/batch and folder/grads; false when they aren't there. */
static bool open_files(const char *folder, struct safetensors **batch, struct safetensors **grads,
                       json_t **cases)
{
    char path[4096];
    char name[128];
    (void)snprintf(name, sizeof name, "preference/%s/batch.safetensors", folder);
    if (!golden_path(name, path)) {
        print_message("golden/preference is not here\n");
        return false;
    }
    assert_int_equal(safetensors_open(batch, path), STATUS_OK);
    (void)snprintf(name, sizeof name, "preference/%s/grads.safetensors", folder);
    (void)golden_path(name, path);
    assert_int_equal(safetensors_open(grads, path), STATUS_OK);
    (void)snprintf(name, sizeof name, "preference/%s/cases.json", folder);
    (void)golden_path(name, path);
    *cases = golden_json(path);
    assert_true(json_array_size(*cases) > 0);
    return true;
}

/* Mean of policy - reference over the mismatched rows, at least 0. */
static double mismatched(const json_t *c, const struct batch *b, const struct safetensors *f)
{
    int64_t n;
    int64_t *ids = golden_ints(f, "KL_input_ids", &n);
    int64_t *mask = golden_ints(f, "KL_completion_mask", &n);
    const json_t *ref = json_object_get(c, "ref_KL_logps");
    double mean = 0.0;
    for (int64_t r = 0; r < b->rows; r++) {
        double sum = 0.0;
        for (int64_t t = 0; t < b->columns; t++) {
            const int64_t at = r * (b->columns + 1) + t + 1;
            const float *z = b->logits + (r * b->columns + t) * b->vocab;
            double total = 0.0;
            for (int64_t v = 0; v < b->vocab; v++) {
                total += exp((double)z[v]);
            }
            sum += mask[at] ? (double)z[ids[at]] - log(total) : 0.0;
        }
        mean += (sum - json_number_value(json_array_get(ref, (size_t)r))) / (double)b->rows;
    }
    free(ids);
    free(mask);
    return fmax(mean, 0.0);
}

static void check_kto(const json_t *c, const struct batch *b, const struct safetensors *f,
                      const struct safetensors *grads)
{
    const char *name = json_get_string(c, "name", "");
    const struct kto_config config = {
        .loss = strcmp(json_get_string(c, "loss_type", ""), "kto") == 0 ? KTO_KTO
                                                                        : KTO_APO_ZERO_UNPAIRED,
        .beta = json_get_number(c, "beta", 0),
        .desirable_weight = json_get_number(c, "desirable_weight", 1),
        .undesirable_weight = json_get_number(c, "undesirable_weight", 1),
    };
    const struct dpo_config plain = {.ld_alpha = NAN};
    const double z = mismatched(c, b, f);
    char key[128];
    int64_t n;
    double loss = 0.0;
    (void)snprintf(key, sizeof key, "%s.d_logps", name);
    float *grad = golden_floats(grads, key, &n);
    struct apart apart = {0};
    assert_non_null(grad);
    float *ref = golden_floats(f, "ref_logps", &n);
    for (int64_t r = 0; r < b->rows; r++) {
        const bool good =
            json_is_true(json_array_get(json_object_get(c, "label"), (size_t)r));
        double sum;
        double unused = 1.0;
        double slope;
        (void)row_sum(b, &plain, r, 0, &sum, &unused);
        loss += kto_row_loss(&config, sum - (double)ref[r], z, good, &slope) / (double)b->rows;
        add_row_gradient(b, &plain, r, 0, slope / (double)b->rows, 0.0, grad, &apart);
    }
    check_gradient(name, &apart);
    if (config.loss == KTO_KTO) {
        assert_true(fabs(z - json_get_number(json_object_get(c, "metrics"), "kl", NAN)) < 2e-6);
    }
    const double want = json_get_number(c, "loss", NAN);
    worst.loss = fmax(worst.loss, fabs(loss - want));
    if (!(fabs(loss - want) <= limit_of(want))) {
        fail_msg("%s: loss %.9g, expected %.9g", name, loss, want);
    }
    free(ref);
    free(grad);
}

static void losses_are_trls(void **state)
{
    static const struct {
        const char *name;
        void (*check)(const json_t *c, const struct batch *b, const struct safetensors *f,
                      const struct safetensors *grads);
    } SETS[] = {{"dpo", check_dpo}, {"kto", check_kto}};
    (void)state;
    for (size_t k = 0; k < sizeof SETS / sizeof *SETS; k++) {
        struct safetensors *f;
        struct safetensors *grads;
        json_t *cases;
        struct batch b;
        if (!open_files(SETS[k].name, &f, &grads, &cases)) {
            skip();
        }
        open_batch(&b, f);
        worst.loss = worst.grad = 0.0;
        for (size_t i = 0; i < json_array_size(cases); i++) {
            SETS[k].check(json_array_get(cases, i), &b, f, grads);
        }
        print_message("%zu %s cases: loss %.1e, gradient %.1e\n", json_array_size(cases),
                      SETS[k].name, worst.loss, worst.grad);
        close_batch(&b);
        safetensors_close(f);
        safetensors_close(grads);
        json_decref(cases);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_trls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
