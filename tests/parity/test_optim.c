/*
 * Optimizers against torch and Transformers (golden/optim): trajectories, schedules, warm-up
 * lengths, clipping. What Graft does not have is listed. Limits: golden/README-training.md.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/golden_files.h"
#include "trainer/format/json.h"
#include "trainer/model/model.h"
#include "trainer/optim/optim.h"

static const double TRAJECTORY_LIMIT = 1e-6; /* relative L2, and absolute: values are about 1 */
static const double SCHEDULE_LIMIT = 1e-12;  /* of the base learning rate: both are doubles */
static const double NORM_LIMIT = 1e-6;

enum { NAME = 128 };

static void context_open(struct ops_context *ops)
{
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    golden_files_need(ops_context_open(ops, &options), "context");
}

/* Parameters named and shaped as the file's tensors "<prefix><name>", values zero. */
static void params_open(struct param_set *p, const struct safetensors *s, const char *prefix,
                        const json_t *decayed, int moments)
{
    param_set_open(p);
    for (int64_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const size_t n = strlen(prefix);
        if (strncmp(e->name, prefix, n) == 0) {
            bool decay = false;
            int64_t index;
            for (size_t k = 0; k < json_array_size(decayed); k++) {
                decay |= strcmp(json_string_value(json_array_get(decayed, k)), e->name + n) == 0;
            }
            const int64_t count = tensor_count(&e->view);
            golden_files_need(param_set_add(p, e->name + n, 1, &count, decay, &index), e->name);
        }
    }
    assert_true(p->count > 0);
    golden_files_need(param_set_seal(p, moments), "seal");
}

/* dst [total] of the set = scale * tensors "<prefix><name>". */
static void read_all(const struct param_set *p, const struct safetensors *s, const char *prefix,
                     float scale, float *dst)
{
    for (int64_t i = 0; i < p->count; i++) {
        char name[NAME];
        (void)snprintf(name, sizeof name, "%s%s", prefix, p->params[i].name);
        float *values = golden_files_floats(s, name, p->params[i].count);
        for (int64_t k = 0; k < p->params[i].count; k++) {
            dst[p->params[i].offset + k] = scale * values[k];
        }
        free(values);
    }
}

/* Worst difference of values [total] from tensors "<prefix><name>". */
static double compare_all(const struct param_set *p, const struct safetensors *s,
                          const char *prefix, const float *values)
{
    double worst = 0.0;
    for (int64_t i = 0; i < p->count; i++) {
        char name[NAME];
        (void)snprintf(name, sizeof name, "%s%s", prefix, p->params[i].name);
        float *golden = golden_files_floats(s, name, p->params[i].count);
        const struct golden_files_error e = golden_files_compare(values + p->params[i].offset,
                                                                 golden, p->params[i].count);
        worst = fmax(worst, fmax(e.absolute, e.l2));
        free(golden);
    }
    return worst;
}

/* Why a case is out of scope; NULL: it is in scope. */
static const char *optimizer_missing(const json_t *c)
{
    const json_t *resolved = json_object_get(c, "resolved");
    const char *name = json_get_string(json_object_get(c, "training_args"), "optim", "");
    if (strcmp(name, "sgd") == 0) {
        return json_get_number(resolved, "momentum", 0) != 0 ? "sgd has no momentum" : NULL;
    }
    return strcmp(name, "adamw_torch") == 0 || strcmp(name, "adamw_torch_fused") == 0
               ? NULL
               : "AdamW of torch and sgd only";
}

static struct optim_config case_config(const json_t *c)
{
    const json_t *args = json_object_get(c, "training_args");
    const json_t *built = json_object_get(c, "constructor");
    const json_t *betas = json_object_get(built, "betas");
    return (struct optim_config){
        .kind = strcmp(json_get_string(args, "optim", ""), "sgd") == 0 ? OPTIM_SGD : OPTIM_ADAMW,
        .learning_rate = json_get_number(built, "lr", 0),
        .beta1 = json_number_value(json_array_get(betas, 0)),
        .beta2 = json_number_value(json_array_get(betas, 1)),
        .eps = json_get_number(built, "eps", 0),
        .weight_decay = json_get_number(args, "weight_decay", 0),
    };
}

/* Where all steps end. The generator stored references to one live tensor, so p1 ... p9 hold p10's
 * values: only the last step can be compared. */
static double follow(const json_t *c, const struct safetensors *problem,
                     const struct safetensors *golden)
{
    struct ops_context ops;
    struct param_set p;
    const struct optim_config config = case_config(c);
    const json_t *lr = json_object_get(c, "lr");
    double worst = 0.0;
    context_open(&ops);
    params_open(&p, problem, "p0.", json_object_get(c, "decayed"), optim_moments(&config));
    read_all(&p, problem, "p0.", 1.0f, p.value);
    for (size_t k = 0; k < json_array_size(lr); k++) {
        char prefix[NAME];
        (void)snprintf(prefix, sizeof prefix, "g%zu.", k + 1);
        read_all(&p, problem, prefix, 1.0f, p.grad);
        optim_update(&ops, &p, &config, json_number_value(json_array_get(lr, k)),
                     optim_grad_norm(&ops, &p), (int64_t)k + 1);
        prefix[0] = 'p';
        if (k + 1 == json_array_size(lr)) {
            worst = compare_all(&p, golden, prefix, p.value);
        }
    }
    param_set_close(&p);
    ops_context_close(&ops);
    return worst;
}

static void trajectories_follow_torch(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + NAME];
    int done = 0;
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "cases.json");
    json_array_foreach(cases, i, c)
    {
        const char *name = json_get_string(c, "name", "");
        const char *missing = optimizer_missing(c);
        struct safetensors *problem;
        struct safetensors *golden;
        if (missing) {
            print_message("  %-24s not in scope: %s\n", name, missing);
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/problem_%s.safetensors", folder,
                       json_get_string(c, "problem", ""));
        golden_files_need(safetensors_open(&problem, path), path);
        (void)snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
        golden_files_need(safetensors_open(&golden, path), path);
        const double worst = follow(c, problem, golden);
        print_message("  %-24s %.1e\n", name, worst);
        if (!(worst <= TRAJECTORY_LIMIT)) {
            fail_msg("%s leaves the trajectory by %g", name, worst);
        }
        safetensors_close(problem);
        safetensors_close(golden);
        done++;
    }
    json_decref(cases);
    assert_true(done > 0);
}

/* False: Graft has no such schedule. */
static bool schedule_config(const json_t *c, struct optim_config *out)
{
    static const struct {
        const char *name;
        enum schedule_kind kind;
    } KINDS[] = {{"linear", SCHEDULE_LINEAR},
                 {"cosine", SCHEDULE_COSINE},
                 {"constant", SCHEDULE_CONSTANT},
                 {"constant_with_warmup", SCHEDULE_CONSTANT_WITH_WARMUP},
                 {"cosine_with_min_lr", SCHEDULE_COSINE_WITH_MIN_LR}};
    const json_t *kwargs = json_object_get(c, "kwargs");
    const double base = json_get_number(c, "base_lr", 0);
    for (size_t i = 0; i < sizeof KINDS / sizeof KINDS[0]; i++) {
        if (strcmp(KINDS[i].name, json_get_string(c, "name", "")) == 0) {
            *out = (struct optim_config){
                .learning_rate = base,
                .schedule = KINDS[i].kind,
                .warmup_steps = json_get_number(c, "warmup_steps", 0),
                .min_lr_rate = json_get_number(kwargs, "min_lr_rate",
                                               json_get_number(kwargs, "min_lr", 0) / base)};
            return !json_object_get(kwargs, "num_cycles");
        }
    }
    return false;
}

static void schedules_follow_transformers(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    int done = 0;
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "schedules.json");
    json_array_foreach(cases, i, c)
    {
        struct optim_config config;
        const json_t *lr = json_object_get(c, "lr");
        const char *name = json_get_string(c, "name", "");
        double worst = 0.0;
        if (!schedule_config(c, &config)) {
            char *kwargs = json_dumps(json_object_get(c, "kwargs"), 0);
            print_message("  not in scope: %s %s\n", name, kwargs);
            free(kwargs);
            continue;
        }
        for (size_t t = 0; t < json_array_size(lr); t++) {
            const double mine = optim_schedule(&config, (int64_t)t,
                                               json_get_int(c, "total_steps", 0));
            const double golden = json_number_value(json_array_get(lr, t));
            worst = fmax(worst, fabs(mine * config.learning_rate - golden));
        }
        if (!(worst <= SCHEDULE_LIMIT * config.learning_rate)) {
            fail_msg("%s, case %zu: off by %g", name, i, worst);
        }
        done++;
    }
    print_message("  %d of %zu schedules\n", done, json_array_size(cases));
    json_decref(cases);
    assert_true(done > 0);
}

/* The warm-up ends at the first step with the full rate. */
static void warmup_lengths_follow_transformers(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "warmup_steps.json");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        const struct optim_config config = {.schedule = SCHEDULE_CONSTANT_WITH_WARMUP,
                                            .warmup_steps = json_get_number(c, "warmup_steps", 0)};
        int64_t t = 0;
        while (t < 1000 && optim_schedule(&config, t, json_get_int(c, "total", 0)) < 1.0) {
            t++;
        }
        assert_int_equal(t, json_get_int(c, "resolved", -1));
    }
    json_decref(cases);
}

/* Plain sgd at rate 1 from zero shows the clipped gradient. */
static void clipping_follows_torch(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + NAME];
    struct safetensors *problem;
    struct safetensors *golden;
    struct ops_context ops;
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "clip.json");
    (void)snprintf(path, sizeof path, "%s/problem_small.safetensors", folder);
    golden_files_need(safetensors_open(&problem, path), path);
    (void)snprintf(path, sizeof path, "%s/clip.safetensors", folder);
    golden_files_need(safetensors_open(&golden, path), path);
    context_open(&ops);
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        const struct optim_config config = {.kind = OPTIM_SGD,
                                            .max_grad_norm = json_get_number(c, "max_norm", 0)};
        const char *grad = json_get_string(c, "grad", ""); /* "g4 * 2" */
        const char *times = strstr(grad, " * ");
        char prefix[NAME];
        struct param_set p;
        assert_non_null(times);
        (void)snprintf(prefix, sizeof prefix, "%.*s.", (int)(times - grad), grad);
        params_open(&p, problem, "p0.", NULL, 0);
        read_all(&p, problem, prefix, strtof(times + 3, NULL), p.grad);
        const double norm = optim_grad_norm(&ops, &p);
        optim_update(&ops, &p, &config, -1.0, norm, 1);
        (void)snprintf(prefix, sizeof prefix, "case%zu.", i);
        const double worst = compare_all(&p, golden, prefix, p.value);
        const double off = golden_files_relative(norm, json_get_number(c, "norm", 0));
        print_message("  max_grad_norm %-6g norm %.1e clipped %.1e\n", config.max_grad_norm, off,
                      worst);
        assert_true(off <= NORM_LIMIT && worst <= TRAJECTORY_LIMIT);
        param_set_close(&p);
    }
    ops_context_close(&ops);
    safetensors_close(problem);
    safetensors_close(golden);
    json_decref(cases);
}

/* Full training decays the weights that the Trainer decays. Only names count, so another model of
 * the same type will do; a tied head has no parameter of its own. */
static void decay_follows_the_trainer(void **state)
{
    (void)state;
    static const char *const TYPES[] = {"llama", "qwen2", "qwen3", "gemma3_text"};
    char folder[GOLDEN_PATH];
    char sub[NAME];
    size_t i;
    json_t *c;
    int done = 0;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "decay_names.json");
    json_array_foreach(cases, i, c)
    {
        for (size_t t = 0; t < sizeof TYPES / sizeof TYPES[0]; t++) {
            struct model *m;
            struct param_set p;
            const char *name;
            json_t *decayed;
            if (strcmp(json_get_string(c, "model", ""), TYPES[t]) != 0
                || !json_is_null(json_object_get(c, "adapter"))) {
                continue;
            }
            (void)snprintf(sub, sizeof sub, "models/%s", TYPES[t]);
            golden_files_need(model_open(&m, golden_files_folder(sub, folder), NULL), sub);
            param_set_open(&p);
            golden_files_need(model_full_attach(m, &p), sub);
            json_object_foreach(json_object_get(c, "decayed"), name, decayed)
            {
                const int64_t at = param_set_find(&p, name);
                if (at < 0 ? strcmp(name, "lm_head.weight") != 0
                           : p.params[at].decay != json_is_true(decayed)) {
                    fail_msg("%s: %s %s", TYPES[t], name, at < 0 ? "is missing" : "decays wrongly");
                }
            }
            param_set_close(&p);
            model_close(m);
            done++;
        }
    }
    json_decref(cases);
    assert_true(done > 0);
}

/* By hand: one update of one number, without golden files. */
static void one_update_is_as_computed_by_hand(void **state)
{
    (void)state;
    struct ops_context ops;
    struct param_set p;
    const int64_t one = 1;
    int64_t index;
    const struct optim_config adamw = {.kind = OPTIM_ADAMW, .beta1 = 0.9, .beta2 = 0.99,
                                       .eps = 1e-8, .weight_decay = 0.5, .max_grad_norm = 1.0};
    context_open(&ops);
    param_set_open(&p);
    golden_files_need(param_set_add(&p, "w", 1, &one, true, &index), "add");
    golden_files_need(param_set_seal(&p, 2), "seal");
    p.value[0] = 2.0f;
    p.grad[0] = 4.0f; /* clipped to 1; the first step of Adam is lr whatever the gradient */
    optim_update(&ops, &p, &adamw, 0.1, optim_grad_norm(&ops, &p), 1);
    assert_true(fabs((double)p.value[0] - (2.0 * (1.0 - 0.1 * 0.5) - 0.1)) < 1e-6);
    assert_true(fabs((double)p.m[0] - 0.1) < 1e-6 && fabs((double)p.v[0] - 0.01) < 1e-6);
    param_set_close(&p);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_update_is_as_computed_by_hand),
        cmocka_unit_test(trajectories_follow_torch),
        cmocka_unit_test(schedules_follow_transformers),
        cmocka_unit_test(warmup_lengths_follow_transformers),
        cmocka_unit_test(clipping_follows_torch),
        cmocka_unit_test(decay_follows_the_trainer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
