/*
 * GRPO objectives against TRL's own _compute_loss (golden/grpo/loss): loss, d loss / d log-prob, KL and
 * clip metrics of every case whose settings are in scope.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/objective.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

static const struct {
    const char *name;
    enum loss_type type;
} TYPES[] = {{"grpo", LOSS_GRPO}, {"bnpo", LOSS_BNPO}, {"dr_grpo", LOSS_DR_GRPO}, {"dapo", LOSS_DAPO}};

/* Keys that change the loss and that Graft refuses in a recipe. */
static bool in_scope(const json_t *c, struct objective_config *out)
{
    static const char *const REFUSED[] = {"top_entropy_quantile", "entropy_coef",
                                          "off_policy_mask_threshold", "use_adaptive_entropy"};
    const json_t *args = json_object_get(c, "args");
    const json_t *inputs = json_object_get(c, "inputs");
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        if (json_object_get(args, REFUSED[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        const char *name = json_string_value(json_array_get(inputs, i));
        if (strcmp(name, "importance_sampling_ratio") == 0 || strcmp(name, "tool_mask") == 0
            || strcmp(name, "sampling_per_token_logps") == 0) {
            return false;
        }
    }
    const double low = json_get_number(args, "epsilon", 0.2);
    *out = (struct objective_config){
        .level = strcmp(json_get_string(args, "importance_sampling_level", "token"), "token") == 0
                     ? RATIO_TOKEN
                     : RATIO_SEQUENCE,
        .epsilon_low = low,
        .epsilon_high = json_get_number(args, "epsilon_high", low),
        .delta = json_get_number(args, "delta", 0.0),
        .beta = json_get_number(args, "beta", 0.0),
        .bias_correction_kl = json_get_bool(args, "use_bias_correction_kl", true),
    };
    const char *type = json_get_string(args, "loss_type", "");
    for (size_t i = 0; i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (strcmp(type, TYPES[i].name) == 0) {
            out->loss_type = TYPES[i].type;
            return true;
        }
    }
    return false;
}

static bool has_input(const json_t *c, const char *name)
{
    const json_t *inputs = json_object_get(c, "inputs");
    for (size_t i = 0; i < json_array_size(inputs); i++) {
        if (strcmp(json_string_value(json_array_get(inputs, i)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* One case's tensors, rows padded to C columns. */
struct inputs {
    float *logps, *old, *ref, *advantages, *dlogps;
    int64_t *mask;
    int64_t rows, columns;
};

static float *batch_floats(const struct safetensors *f, const char *batch, const char *what,
                           int64_t *count)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s.%s", batch, what);
    return golden_floats(f, name, count);
}

static void load_inputs(const json_t *c, const struct safetensors *batches,
                        const struct safetensors *grads, struct inputs *in)
{
    char name[128];
    int64_t n;
    const char *batch = json_get_string(c, "batch", "");
    const char *id = json_get_string(c, "name", "");
    const double t = json_get_number(json_object_get(c, "args"), "temperature", 1.0);
    (void)snprintf(name, sizeof name, "%s.T%.1f.logps", batch, t);
    in->logps = golden_floats(grads, name, &n);
    (void)snprintf(name, sizeof name, "%s.d_logps", id);
    in->dlogps = golden_floats(grads, name, &n);
    in->advantages = batch_floats(batches, batch, "advantages", &in->rows);
    in->columns = n / in->rows;
    (void)snprintf(name, sizeof name, "%s.completion_mask", batch);
    in->mask = golden_ints(batches, name, &n);
    in->old = has_input(c, "old_per_token_logps")
                  ? batch_floats(batches, batch, "old_per_token_logps", &n)
                  : NULL;
    in->ref = has_input(c, "ref_per_token_logps")
                  ? batch_floats(batches, batch, "ref_per_token_logps", &n)
                  : NULL;
    assert_non_null(in->logps);
    assert_non_null(in->dlogps);
    assert_non_null(in->mask);
}

static void free_inputs(struct inputs *in)
{
    free(in->logps);
    free(in->old);
    free(in->ref);
    free(in->advantages);
    free(in->dlogps);
    free(in->mask);
}

static int64_t row_tokens(const struct inputs *in, int64_t r)
{
    int64_t n = 0;
    for (int64_t t = 0; t < in->columns; t++) {
        n += in->mask[r * in->columns + t] != 0;
    }
    return n;
}

static struct objective_scale scale_of(const json_t *c, const struct inputs *in)
{
    const json_t *args = json_object_get(c, "args");
    const double window = json_get_number(c, "window", 1);
    double tokens = 0;
    for (int64_t r = 0; r < in->rows; r++) {
        tokens += (double)row_tokens(in, r);
    }
    const bool eval = strcmp(json_get_string(c, "mode", "train"), "eval") == 0;
    return (struct objective_scale){
        .rows = in->rows * (eval ? 1 : (int64_t)window),
        .round_tokens = json_get_number(c, "num_items_in_batch", 1),
        .rounds = eval ? 1.0 : window / json_get_number(args, "steps_per_generation", 1),
        .micro_tokens = tokens,
        .micro_batches = eval ? 1.0 : window,
        .max_completion_length = json_get_int(args, "max_completion_length", 0),
    };
}

/* Runs all rows; returns the loss and checks every derivative. */
static void run_case(const json_t *c, const struct objective_config *config,
                     const struct inputs *in)
{
    const struct objective_scale scale = scale_of(c, in);
    struct objective_sums total = {0};
    double tokens = 0;
    float dlogp[512];
    assert_true(in->columns <= 512);
    for (int64_t r = 0; r < in->rows; r++) {
        const int64_t at = r * in->columns;
        const struct objective_row row = {
            .count = row_tokens(in, r),
            .logp = in->logps + at,
            .old = in->old ? in->old + at : NULL,
            .ref = in->ref ? in->ref + at : NULL,
            .advantage = (double)in->advantages[r],
            .weight = objective_token_weight(config->loss_type, &scale, row_tokens(in, r)),
        };
        struct objective_sums sums;
        objective_row(config, &row, dlogp, &sums);
        total.loss += sums.loss;
        total.kl += sums.kl;
        total.clip_low += sums.clip_low;
        total.clip_high += sums.clip_high;
        tokens += (double)row.count;
        for (int64_t t = 0; t < row.count; t++) {
            if (fabs((double)(dlogp[t] - in->dlogps[at + t])) > 1e-6) {
                fail_msg("%s: row %lld token %lld: %g, expected %g", json_get_string(c, "name", ""),
                         (long long)r, (long long)t, (double)dlogp[t],
                         (double)in->dlogps[at + t]);
            }
        }
    }
    const double want = golden_number(json_object_get(c, "loss"));
    if (fabs(total.loss - want) > 1e-6 * fmax(1.0, fabs(want))) {
        fail_msg("%s: loss %.9g, expected %.9g", json_get_string(c, "name", ""), total.loss, want);
    }
    const json_t *metrics = json_object_get(c, "metrics");
    const double over = config->level == RATIO_SEQUENCE ? (double)in->rows : tokens;
    assert_true(fabs(total.clip_low / over - json_get_number(metrics, "clip_ratio/low_mean", 0))
                < 1e-6);
    assert_true(fabs(total.clip_high / over - json_get_number(metrics, "clip_ratio/high_mean", 0))
                < 1e-6);
    if (config->beta > 0) {
        assert_true(fabs(total.kl / tokens - json_get_number(metrics, "kl", 0)) < 1e-5);
    }
}

static void losses_are_trls(void **state)
{
    (void)state;
    char path[4096];
    if (!golden_path("grpo/loss/cases.json", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    json_t *cases = golden_json(path);
    struct safetensors *batches;
    struct safetensors *grads;
    (void)golden_path("grpo/loss/batches.safetensors", path);
    assert_int_equal(safetensors_open(&batches, path), STATUS_OK);
    (void)golden_path("grpo/loss/grads.safetensors", path);
    assert_int_equal(safetensors_open(&grads, path), STATUS_OK);
    int run = 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        struct objective_config config;
        if (!in_scope(c, &config)) {
            continue;
        }
        struct inputs in = {0};
        load_inputs(c, batches, grads, &in);
        run_case(c, &config, &in);
        free_inputs(&in);
        run++;
    }
    print_message("%d of %zu cases are in scope (four losses, no entropy terms or corrections)\n",
                  run, json_array_size(cases));
    assert_true(run >= 60);
    safetensors_close(batches);
    safetensors_close(grads);
    json_decref(cases);
}

/* Without golden data: derivatives by central differences, both levels, clipped and not. */
static void derivatives_are_slopes(void **state)
{
    (void)state;
    const float old[3] = {-1.0f, -0.5f, -2.0f};
    const float ref[3] = {-1.2f, -0.6f, -1.7f};
    for (int level = 0; level < 2; level++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            const struct objective_config config = {
                .level = (enum ratio_level)level, .epsilon_low = 0.2, .epsilon_high = 0.3,
                .delta = 1.6, .beta = 0.1, .bias_correction_kl = true};
            float logp[3] = {-0.93f, -0.42f, -1.4f};
            float d[3];
            float unused[3];
            struct objective_sums s;
            struct objective_row row = {.count = 3, .logp = logp, .old = old, .ref = ref,
                                        .advantage = sign * 0.7, .weight = 0.25};
            objective_row(&config, &row, d, &s);
            for (int t = 0; t < 3; t++) {
                struct objective_sums up;
                struct objective_sums down;
                const float keep = logp[t];
                logp[t] = keep + 0x1p-10f;
                objective_row(&config, &row, unused, &up);
                logp[t] = keep - 0x1p-10f;
                objective_row(&config, &row, unused, &down);
                logp[t] = keep;
                const double slope = (up.loss - down.loss) / 0x1p-9;
                assert_true(fabs(slope - (double)d[t]) < 1e-5);
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
    objective_row(&config, &row, d, &s);
    assert_true(d[0] == -0.75f && d[1] == -0.75f && s.max_delta == 0.0 && s.loss == -1.5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_trls),
        cmocka_unit_test(derivatives_are_slopes),
        cmocka_unit_test(equal_logps_give_ratio_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
