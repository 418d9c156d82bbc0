/*
 * The policy objectives against TRL's own _compute_loss (golden/grpo/loss): loss, d loss / d
 * log-prob, d loss / d entropy and metrics of every case; the adaptive entropy coefficient; the
 * sampler's importance ratios. Limits: golden/README-training.md.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "rl/correction.h"
#include "rl/entropy.h"
#include "rl/objective.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"

static const double LIMIT = 1e-6; /* absolute: losses, gradients, metrics */

enum { MOST_TOKENS = 512 };

/* Worst differences of a test, printed at its end. */
static struct {
    double loss;
    double dlogp;
    double dentropy;
    double metric;
} worst;

static void within(const char *what, const char *name, double got, double want, double limit,
                   double *most)
{
    const double difference = fabs(got - want);
    *most = fmax(*most, difference);
    if (!(difference <= limit)) {
        fail_msg("%s: %s %.9g, expected %.9g", name, what, got, want);
    }
}

static enum loss_type type_of(const json_t *args)
{
    const char *name = json_get_string(args, "loss_type", "");
    for (int k = 0; k < LOSS_TYPES; k++) {
        if (strcmp(objective_kind((enum loss_type)k)->name, name) == 0) {
            return (enum loss_type)k;
        }
    }
    fail_msg("loss_type %s is not in the table", name);
    return LOSS_TYPES;
}

/* TRL's defaults where the case says nothing. */
static struct objective_config config_of(const json_t *args)
{
    const double low = json_get_number(args, "epsilon", 0.2);
    const char *level = json_get_string(args, "importance_sampling_level", "token");
    return (struct objective_config){
        .loss_type = type_of(args),
        .level = strcmp(level, "token") == 0 ? RATIO_TOKEN : RATIO_SEQUENCE,
        .epsilon_low = low,
        .epsilon_high = json_get_number(args, "epsilon_high", low),
        .delta = json_get_number(args, "delta", 0.0),
        .beta = json_get_number(args, "beta", 0.0),
        .bias_correction_kl = json_get_bool(args, "use_bias_correction_kl", true),
        .off_policy_mask = json_object_get(args, "off_policy_mask_threshold") != NULL,
        .off_policy_threshold = json_get_number(args, "off_policy_mask_threshold", 0.0),
        .sapo_temperature_pos = json_get_number(args, "sapo_temperature_pos", 1.0),
        .sapo_temperature_neg = json_get_number(args, "sapo_temperature_neg", 1.05),
        .vespo_k_pos = json_get_number(args, "vespo_k_pos", 2.0),
        .vespo_lambda_pos = json_get_number(args, "vespo_lambda_pos", 3.0),
        .vespo_k_neg = json_get_number(args, "vespo_k_neg", 3.0),
        .vespo_lambda_neg = json_get_number(args, "vespo_lambda_neg", 2.0),
    };
}

/* One case's tensors: rows without the tokens that have no loss. */
struct inputs {
    int64_t rows;
    int64_t columns;
    int64_t *count;  /* [rows] loss tokens */
    int64_t *column; /* [rows, columns] where a loss token stood */
    float *logp, *entropy, *old, *ref, *sampling,
        *correction; /* [rows, columns], NULL: not given */
    float *advantages;
    float *outside; /* [rows] vespo: product of the ratios where there is no loss token */
    float *dlogps, *dentropies; /* [rows, columns] as in the file */
};

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

static float *named_floats(const struct safetensors *f, const char *first, const char *second,
                           int64_t *count)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s.%s", first, second);
    return golden_floats(f, name, count);
}

static void find_tokens(const json_t *c, const struct safetensors *batches, struct inputs *in)
{
    char name[128];
    int64_t n;
    const char *batch = json_get_string(c, "batch", "");
    (void)snprintf(name, sizeof name, "%s.completion_mask", batch);
    int64_t *mask = golden_ints(batches, name, &n);
    (void)snprintf(name, sizeof name, "%s.tool_mask", batch);
    int64_t *tool = golden_ints(batches, name, &n);
    assert_true(mask && tool);
    in->count = calloc((size_t)in->rows, sizeof *in->count);
    in->column = calloc((size_t)n, sizeof *in->column);
    for (int64_t i = 0; i < n; i++) {
        if (mask[i] && (!has_input(c, "tool_mask") || tool[i])) {
            const int64_t r = i / in->columns;
            in->column[r * in->columns + in->count[r]++] = i % in->columns;
        }
    }
    free(mask);
    free(tool);
}

/* Moves the loss tokens of every row to its front. A [rows, 1] tensor is spread over the row. */
static void gather(const struct inputs *in, float **values, int64_t count)
{
    float *out = calloc((size_t)(in->rows * in->columns), sizeof *out);
    const bool shared = count == in->rows;
    assert_true(out && *values);
    for (int64_t r = 0; r < in->rows; r++) {
        for (int64_t t = 0; t < in->count[r]; t++) {
            const int64_t at = r * in->columns;
            out[at + t] = (*values)[shared ? r : at + in->column[at + t]];
        }
    }
    free(*values);
    *values = out;
}

/* vespo multiplies the ratios of a whole row, padding included. Real ratios are 1 there, those of
 * the golden batches are not: the first loss token takes them over, or a token without weight in a
 * row that has none. */
static void fold_outside(struct inputs *in, float *ratio)
{
    in->outside = calloc((size_t)in->rows, sizeof *in->outside);
    assert_non_null(in->outside);
    for (int64_t r = 0; r < in->rows; r++) {
        const int64_t at = r * in->columns;
        in->outside[r] = 1.0f;
        for (int64_t t = 0, next = 0; t < in->columns; t++) {
            const bool there = next < in->count[r] && in->column[at + next] == t;
            in->outside[r] *= there ? 1.0f : ratio[at + t];
            next += there;
        }
        ratio[at + in->column[at]] *= in->count[r] > 0 ? in->outside[r] : 1.0f;
    }
}

/* vespo's weight of a row that has no loss token. */
static double empty_phi(const struct objective_config *config, const struct inputs *in, int64_t r)
{
    const float zero = 0.0f;
    float unused;
    struct objective_sums sums;
    const struct objective_row row = {.count = 1, .logp = &zero, .old = &zero, .ref = &zero,
                                      .correction = in->outside ? &in->outside[r] : NULL,
                                      .advantage = (double)in->advantages[r]};
    objective_row(config, &row, &unused, &unused, &sums);
    return sums.phi;
}

static void load_inputs(const json_t *c, const struct safetensors *batches,
                        const struct safetensors *grads, struct inputs *in)
{
    char name[64];
    int64_t n;
    int64_t ratios;
    const char *batch = json_get_string(c, "batch", "");
    const char *id = json_get_string(c, "name", "");
    const char *is_level = json_get_string(c, "is_level", NULL);
    *in = (struct inputs){0};
    in->advantages = named_floats(batches, batch, "advantages", &in->rows);
    in->dlogps = named_floats(grads, id, "d_logps", &n);
    in->columns = n / in->rows;
    in->dentropies = named_floats(grads, id, "d_entropies", &n);
    find_tokens(c, batches, in);
    (void)snprintf(name, sizeof name, "%s.T%.1f", batch,
                   json_get_number(json_object_get(c, "args"), "temperature", 1.0));
    in->logp = named_floats(grads, name, "logps", &n);
    in->entropy = named_floats(grads, name, "entropies", &n);
    gather(in, &in->logp, n);
    gather(in, &in->entropy, n);
    struct {
        const char *what;
        float **values;
    } const given[] = {{"old_per_token_logps", &in->old},
                       {"ref_per_token_logps", &in->ref},
                       {"sampling_per_token_logps", &in->sampling}};
    for (size_t i = 0; i < sizeof given / sizeof given[0]; i++) {
        if (has_input(c, given[i].what)) {
            *given[i].values = named_floats(batches, batch, given[i].what, &n);
            gather(in, given[i].values, n);
        }
    }
    if (has_input(c, "importance_sampling_ratio")) {
        const char *what = strcmp(is_level, "token") == 0 ? "is_ratio_token" : "is_ratio_sequence";
        in->correction = named_floats(batches, batch, what, &ratios);
        if (type_of(json_object_get(c, "args")) == LOSS_VESPO) {
            fold_outside(in, in->correction);
        }
        gather(in, &in->correction, ratios);
    }
}

static void free_inputs(struct inputs *in)
{
    float *const all[] = {in->logp, in->entropy, in->old,    in->ref,       in->sampling,
                          in->correction, in->advantages, in->dlogps, in->dentropies,
                          in->outside};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        free(all[i]);
    }
    free(in->count);
    free(in->column);
}

static int64_t loss_tokens(const struct inputs *in)
{
    int64_t n = 0;
    for (int64_t r = 0; r < in->rows; r++) {
        n += in->count[r];
    }
    return n;
}

/* The floor of the case's one micro-batch. */
static double floor_of(const struct inputs *in, double share)
{
    float all[MOST_TOKENS];
    int64_t n = 0;
    assert_true(loss_tokens(in) <= MOST_TOKENS);
    for (int64_t r = 0; r < in->rows; r++) {
        memcpy(all + n, in->entropy + r * in->columns, (size_t)in->count[r] * sizeof *all);
        n += in->count[r];
    }
    return share < 1.0 ? objective_entropy_floor(all, n, share) : 0.0;
}

static int64_t kept_tokens(const struct inputs *in, double floor)
{
    int64_t n = 0;
    for (int64_t r = 0; r < in->rows; r++) {
        for (int64_t t = 0; t < in->count[r]; t++) {
            n += (double)in->entropy[r * in->columns + t] >= floor;
        }
    }
    return n;
}

static struct objective_scale scale_of(const json_t *c, const struct inputs *in, double window)
{
    const json_t *args = json_object_get(c, "args");
    const bool eval = strcmp(json_get_string(c, "mode", "train"), "eval") == 0;
    return (struct objective_scale){
        .rows = in->rows * (int64_t)window,
        .round_tokens = json_get_number(c, "num_items_in_batch", 1),
        .rounds = eval ? 1.0 : window / json_get_number(args, "steps_per_generation", 1),
        .micro_tokens = (double)loss_tokens(in),
        .micro_batches = window,
        .max_completion_length = json_get_int(args, "max_completion_length", 0),
    };
}

/* What the rows of a case add up to. */
struct totals {
    struct objective_sums sums;
    double tokens;
    double low_min;
    double high_max;
};

/* A row's derivatives at the places of the file; what is masked has none there. */
static void check_row(const char *name, const struct inputs *in, int64_t r, const float *dlogp,
                      const float *dentropy)
{
    const int64_t at = r * in->columns;
    double most = 0.0;
    for (int64_t t = 0, next = 0; t < in->columns; t++) {
        const bool there = next < in->count[r] && in->column[at + next] == t;
        const double d = there ? (double)dlogp[next] : 0.0;
        const double e = there ? (double)dentropy[next] : 0.0;
        within("d logp", name, d, (double)in->dlogps[at + t], LIMIT, &worst.dlogp);
        within("d entropy", name, e, in->dentropies ? (double)in->dentropies[at + t] : 0.0, LIMIT,
               in->dentropies ? &worst.dentropy : &most);
        next += there;
    }
}

static void add_row(struct totals *all, const struct objective_sums *s, double count, bool shared)
{
    all->sums.loss += s->loss;
    all->sums.policy += s->policy;
    all->sums.kl += s->kl;
    all->sums.clip_low += s->clip_low;
    all->sums.clip_high += s->clip_high;
    all->sums.phi += s->phi;
    all->tokens += count;
    if (shared || count > 0) {
        all->low_min = fmin(all->low_min, s->clip_low / (shared ? 1.0 : count));
        all->high_max = fmax(all->high_max, s->clip_high / (shared ? 1.0 : count));
    }
}

/* Every metric that TRL recorded is Graft's. */
static void check_metrics(const json_t *c, const struct objective_config *config,
                          const struct inputs *in, const struct totals *all, double window)
{
    const char *name = json_get_string(c, "name", "");
    const bool shared = config->level != RATIO_TOKEN;
    const double over = fmax(shared ? (double)in->rows : all->tokens, 1.0);
    const enum loss_normalizer norm = objective_kind(config->loss_type)->normalizer;
    double entropy = 0.0;
    for (int64_t i = 0; i < in->rows * in->columns; i++) {
        entropy += (double)in->entropy[i];
    }
    const struct {
        const char *key;
        double value;
    } got[] = {
        {"entropy", entropy / fmax(all->tokens, 1.0)},
        {"kl", all->sums.kl / fmax(all->tokens, 1.0)},
        {"clip_ratio/low_mean", all->sums.clip_low / over},
        {"clip_ratio/high_mean", all->sums.clip_high / over},
        {"clip_ratio/region_mean", (all->sums.clip_low + all->sums.clip_high) / over},
        {"clip_ratio/low_min", all->low_min},
        {"clip_ratio/high_max", all->high_max},
        {"cispo_clip_ratio", all->sums.clip_high / over},
        {"vespo/phi_seq_mean", all->sums.phi / (double)in->rows},
        {"policy_loss", all->sums.policy * (norm == NORM_ROUND ? 1.0 : window)},
        {"entropy_coef", json_get_number(json_object_get(c, "args"), "entropy_coef", 0.0)},
    };
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(c, "metrics"), key, value)
    {
        size_t k = 0;
        while (k < sizeof got / sizeof got[0] && strcmp(got[k].key, key) != 0) {
            k++;
        }
        if (k == sizeof got / sizeof got[0]) {
            fail_msg("%s: metric %s is not known", name, key);
        }
        const double want = golden_number(value);
        within(key, name, got[k].value, want, 2 * LIMIT * fmax(1.0, fabs(want)), &worst.metric);
    }
}

static void run_case(const json_t *c, const struct inputs *in)
{
    const json_t *args = json_object_get(c, "args");
    const char *name = json_get_string(c, "name", "");
    const bool eval = strcmp(json_get_string(c, "mode", "train"), "eval") == 0;
    const double window = eval ? 1.0 : json_get_number(c, "window", 1);
    const struct objective_config config = config_of(args);
    const struct objective_scale scale = scale_of(c, in, window);
    const double floor = floor_of(in, json_get_number(args, "top_entropy_quantile", 1.0));
    const double coef = json_get_number(args, "entropy_coef", 0.0);
    struct totals all = {.low_min = INFINITY, .high_max = -INFINITY};
    float dlogp[MOST_TOKENS];
    float dentropy[MOST_TOKENS];
    for (int64_t r = 0; r < in->rows; r++) {
        const int64_t at = r * in->columns;
        const struct objective_row row = {
            .count = in->count[r],
            .logp = in->logp + at,
            .old = in->old ? in->old + at : NULL,
            .ref = in->ref ? in->ref + at : NULL,
            .sampling = in->sampling ? in->sampling + at : NULL,
            .entropy = in->entropy + at,
            .correction = in->correction ? in->correction + at : NULL,
            .advantage = (double)in->advantages[r],
            .weight = objective_token_weight(config.loss_type, &scale, in->count[r]),
            .entropy_floor = floor,
            .entropy_bonus = coef / (fmax((double)kept_tokens(in, floor), 1.0) * window),
        };
        struct objective_sums sums;
        objective_row(&config, &row, dlogp, dentropy, &sums);
        check_row(name, in, r, dlogp, dentropy);
        sums.phi = row.count > 0 ? sums.phi : empty_phi(&config, in, r);
        add_row(&all, &sums, (double)row.count, config.level != RATIO_TOKEN);
    }
    const double want = golden_number(json_object_get(c, "loss"));
    within("loss", name, all.sums.loss, want, LIMIT * fmax(1.0, fabs(want)), &worst.loss);
    check_metrics(c, &config, in, &all, window);
}

/* The two tensor files of golden/grpo/loss; false when they aren't there. */
static bool open_golden(struct safetensors **batches, struct safetensors **grads)
{
    char path[4096];
    if (!golden_path("grpo/loss/batches.safetensors", path)) {
        print_message("golden/grpo is not here\n");
        return false;
    }
    assert_int_equal(safetensors_open(batches, path), STATUS_OK);
    (void)golden_path("grpo/loss/grads.safetensors", path);
    assert_int_equal(safetensors_open(grads, path), STATUS_OK);
    return true;
}

static void losses_are_trls(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *batches;
    struct safetensors *grads;
    if (!open_golden(&batches, &grads)) {
        skip();
    }
    (void)golden_path("grpo/loss/cases.json", path);
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        const json_t *c = json_array_get(cases, i);
        struct inputs in;
        load_inputs(c, batches, grads, &in);
        run_case(c, &in);
        free_inputs(&in);
    }
    print_message("%zu cases: loss %.1e, d logp %.1e, d entropy %.1e, metrics %.1e\n",
                  json_array_size(cases), worst.loss, worst.dlogp, worst.dentropy, worst.metric);
    safetensors_close(batches);
    safetensors_close(grads);
    json_decref(cases);
}

/* The controller walks as TRL's does, from the entropies that TRL logged: micro-batches of a step
 * have as many tokens as their batch. */
static void walk_entropy(const json_t *run, const double tokens[2])
{
    struct entropy_control e;
    const struct entropy_config config = {
        .coef = json_get_number(run, "entropy_coef", 0),
        .adaptive = true,
        .min = json_get_number(run, "entropy_coef_min", 0),
        .max = json_get_number(run, "entropy_coef_max", 0),
        .delta = json_get_number(run, "entropy_coef_delta", 0),
        .target = json_get_number(run, "entropy_target", 0),
    };
    const json_t *steps = json_object_get(run, "steps");
    double sum = 0.0;
    double count = 0.0;
    entropy_control_open(&e, &config);
    assert_true(isinf(e.last) && entropy_control_coef(&e) == 0.0);
    for (size_t i = 0; i < json_array_size(steps); i++) {
        const json_t *s = json_array_get(steps, i);
        const bool plain = strcmp(json_get_string(s, "batch", ""), "plain") == 0;
        sum += json_get_number(s, "entropy", 0) * tokens[plain];
        count += tokens[plain];
        if (json_get_int(s, "micro", 0) == 1) {
            entropy_control_update(&e, sum, count);
            sum = 0.0;
            count = 0.0;
            assert_true(fabs(e.last - json_get_number(s, "last_world_entropy", 0)) < 1e-5);
        }
        assert_true(fabs(e.coef - json_get_number(s, "coef_after", 0)) < 1e-9);
    }
}

static void the_entropy_coefficient_follows_its_target(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *batches;
    struct safetensors *grads;
    double tokens[2] = {0}; /* of aligned, plain */
    if (!open_golden(&batches, &grads)) {
        skip();
    }
    for (int k = 0; k < 2; k++) {
        int64_t n;
        int64_t *mask =
            golden_ints(batches, k ? "plain.completion_mask" : "aligned.completion_mask", &n);
        for (int64_t i = 0; i < n; i++) {
            tokens[k] += (double)mask[i];
        }
        free(mask);
    }
    (void)golden_path("grpo/loss/entropy_control.json", path);
    json_t *runs = golden_json(path);
    assert_true(json_array_size(runs) > 0);
    for (size_t i = 0; i < json_array_size(runs); i++) {
        walk_entropy(json_array_get(runs, i), tokens);
    }
    safetensors_close(batches);
    safetensors_close(grads);
    json_decref(runs);
}

/* Ratios and metrics of one mode over all rows. */
static void check_correction(const json_t *c, const struct safetensors *f)
{
    static const char *const MODES[] = {"token_truncate", "token_mask", "sequence_truncate",
                                        "sequence_mask"};
    const char *name = json_get_string(c, "name", "");
    const json_t *rows = json_object_get(c, "sampling_logps");
    struct correction_config config = {
        .on = true,
        .clip_min = golden_number(json_object_get(c, "clip_min")),
        .clip_max = golden_number(json_object_get(c, "clip_max")),
    };
    for (int k = 0; k < 4; k++) {
        config.mode = strcmp(MODES[k], json_get_string(c, "mode", "")) == 0
                          ? (enum correction_mode)k
                          : config.mode;
    }
    int64_t n;
    int64_t ratios;
    float *old = named_floats(f, name, "old_per_token_logps", &n);
    float *want = named_floats(f, name, "importance_sampling_ratio", &ratios);
    const int64_t count = (int64_t)json_array_size(rows);
    const int64_t columns = n / count;
    struct correction_sums sums = {0};
    assert_true(old && want && columns <= MOST_TOKENS);
    for (int64_t r = 0; r < count; r++) {
        const json_t *row = json_array_get(rows, (size_t)r);
        float sampling[MOST_TOKENS];
        float ratio[MOST_TOKENS];
        const int64_t tokens = (int64_t)json_array_size(row);
        for (int64_t t = 0; t < tokens; t++) {
            sampling[t] = (float)golden_number(json_array_get(row, (size_t)t));
        }
        correction_row(&config, old + r * columns, sampling, tokens, ratio, &sums);
        for (int64_t t = 0; t < tokens; t++) {
            const float golden = ratios == count ? want[r] : want[r * columns + t];
            within("ratio", name, (double)ratio[t], (double)golden, 2e-6, &worst.metric);
        }
    }
    const struct {
        const char *key;
        double value;
    } got[] = {{"sampling/sampling_logp_difference/mean", sums.difference / sums.scored},
               {"sampling/sampling_logp_difference/max", sums.difference_max},
               {"sampling/importance_sampling_ratio/min", sums.ratio_min},
               {"sampling/importance_sampling_ratio/mean", sums.ratio / sums.ratios},
               {"sampling/importance_sampling_ratio/max", sums.ratio_max}};
    for (size_t k = 0; k < sizeof got / sizeof got[0]; k++) {
        const json_t *value = json_object_get(json_object_get(c, "metrics"), got[k].key);
        within(got[k].key, name, got[k].value, golden_number(value), 2e-6, &worst.metric);
    }
    free(old);
    free(want);
}

static void corrections_are_trls(void **state)
{
    (void)state;
    char path[4096];
    struct safetensors *f;
    if (!golden_path("grpo/is_correction.safetensors", path)) {
        print_message("golden/grpo is not here\n");
        skip();
    }
    assert_int_equal(safetensors_open(&f, path), STATUS_OK);
    (void)golden_path("grpo/is_correction.json", path);
    json_t *cases = golden_json(path);
    assert_true(json_array_size(cases) > 0);
    for (size_t i = 0; i < json_array_size(cases); i++) {
        check_correction(json_array_get(cases, i), f);
    }
    print_message("%zu cases of sampler correction\n", json_array_size(cases));
    safetensors_close(f);
    json_decref(cases);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(losses_are_trls),
        cmocka_unit_test(the_entropy_coefficient_follows_its_target),
        cmocka_unit_test(corrections_are_trls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
