/*
 * Optimizers against torch, Transformers, bitsandbytes and PEFT (golden/optim): trajectories with
 * their states, clipping, decay names, LoRA+ groups. Limits: golden/README-training.md.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "tests/support/golden_files.h"
#include "trainer/format/json.h"
#include "trainer/model/model.h"
#include "trainer/optim/optim.h"

static const double TRAJECTORY_LIMIT = 1e-6; /* relative L2, and absolute: values are about 1 */
static const double NORM_LIMIT = 1e-6;
/* A code that falls to the other side of a boundary moves what it stands for by up to a
 * sixty-fourth, and a parameter by that share of a learning rate of 0.01. */
static const double LIMIT_8BIT = 2e-4;
static const double CODES_LIMIT = 1e-3; /* share of codes that may be one off */

enum { NAME = 160, TEXT = 512 };

static void context_open(struct ops_context *ops)
{
    const struct ops_options options = {.threads = 2, .compute = COMPUTE_F32};
    golden_files_need(ops_context_open(ops, &options), "context");
}

static bool listed(const json_t *names, const char *name)
{
    for (size_t k = 0; k < json_array_size(names); k++) {
        if (strcmp(json_string_value(json_array_get(names, k)), name) == 0) {
            return true;
        }
    }
    return false;
}

/* Parameters named and shaped as the file's tensors "<prefix><name>", values zero. */
static void params_open(struct param_set *p, const struct safetensors *s, const char *prefix,
                        const json_t *decayed, const struct optim_config *optim)
{
    struct param_layout layout;
    param_set_open(p);
    for (int64_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const size_t n = strlen(prefix);
        if (strncmp(e->name, prefix, n) == 0) {
            int64_t index;
            golden_files_need(param_set_add(p, e->name + n, e->view.dims, e->view.shape,
                                            listed(decayed, e->name + n), &index),
                              e->name);
        }
    }
    assert_true(p->count > 0);
    golden_files_need(optim_prepare(optim, p, &layout), "optimizer");
    golden_files_need(param_set_seal(p, &layout), "seal");
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

/* The case's TrainingArguments as a recipe, read as a user's would be. */
static struct optim_config case_config(const json_t *c)
{
    const char *key;
    json_t *value;
    char text[TEXT];
    struct recipe r;
    struct optim_config optim;
    const json_t *built = json_object_get(c, "constructor");
    size_t used = (size_t)snprintf(text, sizeof text, "learning_rate: %.17g\n",
                                   json_get_number(built, "lr", 0));
    json_object_foreach(json_object_get(c, "training_args"), key, value)
    {
        char *dump = json_dumps(value, JSON_ENCODE_ANY);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s: %s\n", key, dump);
        free(dump);
    }
    assert_true(used < sizeof text);
    golden_files_need(recipe_open_text(&r, RECIPE_SFT, "case", text), text);
    golden_files_need(recipe_optim(&r, &optim), text);
    recipe_close(&r);
    optim.max_grad_norm = 0; /* the trajectories are not clipped */
    return optim;
}

struct found {
    double params; /* worst over the steps compared */
    double states; /* worst of the float states */
    int64_t codes; /* that differ by one */
    int64_t all_codes;
    int steps;
};

/* Names of the packages' states. */
static const struct {
    const char *theirs;
    const char *mine;
    enum optim_kind kind; /* OPTIM_KINDS: any */
    int part;             /* of a stacked pair; -1: not stacked */
} STATES[] = {
    {"exp_avg", "m", OPTIM_KINDS, -1},         {"exp_avg_sq", "v", OPTIM_KINDS, -1},
    {"momentum_buffer", "buf", OPTIM_KINDS, -1}, {"sum", "sum", OPTIM_KINDS, -1},
    {"square_avg", "v", OPTIM_KINDS, -1},      {"grad_avg", "mean", OPTIM_KINDS, -1},
    {"exp_avg_sq_row", "row", OPTIM_KINDS, -1}, {"exp_avg_sq_col", "col", OPTIM_KINDS, -1},
    {"state1", "m", OPTIM_ADAMW, -1},          {"state2", "v", OPTIM_ADAMW, -1},
    {"state1", "m", OPTIM_ADAMW_8BIT, -1},     {"state2", "v", OPTIM_ADAMW_8BIT, -1},
    {"state1", "m", OPTIM_ADEMAMIX, 0},        {"state1", "slow", OPTIM_ADEMAMIX, 1},
    {"state2", "v", OPTIM_ADEMAMIX, -1},       {"state1", "m", OPTIM_ADEMAMIX_8BIT, 0},
    {"state1", "slow", OPTIM_ADEMAMIX_8BIT, 1}, {"state2", "v", OPTIM_ADEMAMIX_8BIT, -1},
    {"state1", "m", OPTIM_LION, -1},           {"state1", "m", OPTIM_LION_8BIT, -1},
    {"state1", "v", OPTIM_RMSPROP_8BIT, -1},
};

static void compare_codes(const struct safetensors_entry *e, const struct param_slot *slot,
                          int64_t skip, struct found *f)
{
    const uint8_t *mine = slot->data;
    for (int64_t i = 0; i < slot->count; i++) {
        int64_t code;
        memcpy(&code, (const uint8_t *)e->data + (size_t)(skip + i) * sizeof code, sizeof code);
        const int64_t off = code - mine[i];
        if (off < -1 || off > 1) {
            fail_msg("%s: code %d of %s, golden %d", e->name, mine[i], slot->name, (int)code);
        }
        f->codes += off != 0;
        f->all_codes++;
    }
}

static void compare_floats(const struct safetensors_entry *e, const struct param_slot *slot,
                           int64_t skip, struct found *f)
{
    double difference = 0.0;
    double norm = 0.0;
    const float *mine = slot->data;
    for (int64_t i = 0; i < slot->count; i++) {
        float golden;
        memcpy(&golden, (const uint8_t *)e->data + (size_t)(skip + i) * sizeof golden,
               sizeof golden);
        difference += pow((double)golden - (double)mine[i], 2);
        norm += pow((double)golden, 2);
    }
    f->states = fmax(f->states, sqrt(difference / fmax(norm, 1e-60)));
}

/* One state array of one parameter, after the last step; true when the file has it. */
static bool compare_state(const struct param_set *p, int64_t i, const struct safetensors *golden,
                          size_t row, struct found *f)
{
    char name[NAME];
    (void)snprintf(name, sizeof name, "state.%s.%s", p->params[i].name, STATES[row].theirs);
    const struct safetensors_entry *e = safetensors_find(golden, name);
    if (!e) {
        return false;
    }
    const struct param_slot *slot = param_find_slot(p, i, STATES[row].mine);
    const int part = STATES[row].part > 0 ? STATES[row].part : 0;
    if (!slot) {
        char code[NAME];
        (void)snprintf(code, sizeof code, "%s.code", STATES[row].mine);
        slot = param_find_slot(p, i, code);
    }
    assert_non_null(slot);
    const int64_t skip = part * slot->count;
    const size_t width = slot->bytes ? sizeof(int64_t) : sizeof(float);
    assert_true(e->bytes >= (size_t)(skip + slot->count) * width);
    (slot->bytes ? compare_codes : compare_floats)(e, slot, skip, f);
    if (slot->bytes) {
        char absmax[NAME];
        (void)snprintf(absmax, sizeof absmax, "%s.absmax", STATES[row].mine);
        (void)snprintf(name, sizeof name, "state.%s.absmax%c", p->params[i].name,
                       STATES[row].theirs[5]);
        const struct param_slot *largest = param_find_slot(p, i, absmax);
        e = safetensors_find(golden, name);
        assert_true(e && largest);
        compare_floats(e, largest, part * largest->count, f);
    }
    return true;
}

static void compare_states(const struct param_set *p, const struct safetensors *golden,
                           enum optim_kind kind, struct found *f)
{
    for (int64_t i = 0; i < p->count; i++) {
        for (size_t row = 0; row < sizeof STATES / sizeof *STATES; row++) {
            if (STATES[row].kind == kind || STATES[row].kind == OPTIM_KINDS) {
                (void)compare_state(p, i, golden, row, f);
            }
        }
    }
}

/* The generator once kept references to one live tensor, so that every p<k> held the last one's
 * values; then only the last step can be compared. */
static bool steps_are_live(const struct param_set *p, const struct safetensors *golden,
                           const json_t *saved)
{
    char name[NAME];
    bool same = true;
    for (int64_t i = 0; i < p->count; i++) {
        (void)snprintf(name, sizeof name, "p1.%s", p->params[i].name);
        const struct safetensors_entry *a = safetensors_find(golden, name);
        (void)snprintf(name, sizeof name, "p%d.%s",
                       (int)json_integer_value(json_array_get(saved, json_array_size(saved) - 1)),
                       p->params[i].name);
        const struct safetensors_entry *b = safetensors_find(golden, name);
        assert_true(a && b);
        same = same && memcmp(a->data, b->data, a->bytes) == 0;
    }
    return same;
}

static bool has_number(const json_t *list, int64_t number)
{
    for (size_t k = 0; k < json_array_size(list); k++) {
        if (json_integer_value(json_array_get(list, k)) == number) {
            return true;
        }
    }
    return false;
}

/* Every step, compared where the file is right. */
static struct found follow(const json_t *c, const struct safetensors *problem,
                           const struct safetensors *golden)
{
    struct ops_context ops;
    struct param_set p;
    struct found f = {0};
    const struct optim_config config = case_config(c);
    const json_t *lr = json_object_get(c, "lr");
    const json_t *saved = json_object_get(c, "steps_saved");
    context_open(&ops);
    params_open(&p, problem, "p0.", json_object_get(c, "decayed"), &config);
    read_all(&p, problem, "p0.", 1.0f, p.value);
    const bool live = steps_are_live(&p, golden, saved);
    const int64_t last = (int64_t)json_array_size(lr);
    for (int64_t k = 1; k <= last; k++) {
        char prefix[NAME];
        const double rate = json_number_value(json_array_get(lr, (size_t)k - 1));
        const struct optim_rates rates = {.lr = {rate, rate, rate}};
        (void)snprintf(prefix, sizeof prefix, "g%d.", (int)k);
        read_all(&p, problem, prefix, 1.0f, p.grad);
        optim_update(&ops, &p, &config, &rates, optim_grad_norm(&ops, &p), k);
        prefix[0] = 'p';
        if (k == last || (!live && has_number(saved, k))) {
            f.params = fmax(f.params, compare_all(&p, golden, prefix, p.value));
            f.steps++;
        }
    }
    compare_states(&p, golden, config.kind, &f);
    param_set_close(&p);
    ops_context_close(&ops);
    return f;
}

static void trajectories_follow_the_packages(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + NAME];
    size_t i;
    json_t *c;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "cases.json");
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        const char *name = json_get_string(c, "name", "");
        struct safetensors *problem;
        struct safetensors *golden;
        (void)snprintf(path, sizeof path, "%s/problem_%s.safetensors", folder,
                       json_get_string(c, "problem", ""));
        golden_files_need(safetensors_open(&problem, path), path);
        (void)snprintf(path, sizeof path, "%s/%s.safetensors", folder, name);
        golden_files_need(safetensors_open(&golden, path), path);
        const struct found f = follow(c, problem, golden);
        print_message("  %-24s %2d steps %.1e states %.1e codes %d of %d\n", name, f.steps,
                      f.params, f.states, (int)f.codes, (int)f.all_codes);
        const double limit = f.codes > 0 ? LIMIT_8BIT : TRAJECTORY_LIMIT;
        if (!(f.params <= limit && f.states <= limit)
            || (double)f.codes > CODES_LIMIT * (double)f.all_codes) {
            fail_msg("%s leaves the trajectory by %g, states %g", name, f.params, f.states);
        }
        safetensors_close(problem);
        safetensors_close(golden);
    }
    json_decref(cases);
}

/* Plain sgd at rate -1 from zero shows the clipped gradient. */
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
    const struct optim_rates rates = {.lr = {-1.0, -1.0, -1.0}};
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "clip.json");
    (void)snprintf(path, sizeof path, "%s/problem_small.safetensors", folder);
    golden_files_need(safetensors_open(&problem, path), path);
    (void)snprintf(path, sizeof path, "%s/clip.safetensors", folder);
    golden_files_need(safetensors_open(&golden, path), path);
    context_open(&ops);
    assert_true(json_array_size(cases) > 0);
    json_array_foreach(cases, i, c)
    {
        struct optim_config config;
        const char *grad = json_get_string(c, "grad", ""); /* "g4 * 2" */
        const char *times = strstr(grad, " * ");
        char prefix[NAME];
        struct param_set p;
        optim_defaults(&config, OPTIM_SGD);
        config.max_grad_norm = json_get_number(c, "max_norm", 0);
        assert_non_null(times);
        (void)snprintf(prefix, sizeof prefix, "%.*s.", (int)(times - grad), grad);
        params_open(&p, problem, "p0.", NULL, &config);
        read_all(&p, problem, prefix, strtof(times + 3, NULL), p.grad);
        const double norm = optim_grad_norm(&ops, &p);
        optim_update(&ops, &p, &config, &rates, norm, 1);
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

/* The names alone say what decays; gpt2's norms are known by their type, which Graft has not. */
static void decay_names_follow_the_trainer(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    size_t i;
    json_t *c;
    int done = 0;
    json_t *cases = golden_files_json(golden_files_folder("optim", folder), "decay_names.json");
    json_array_foreach(cases, i, c)
    {
        const char *name;
        json_t *decayed;
        if (strcmp(json_get_string(c, "model", ""), "gpt2") == 0) {
            continue;
        }
        json_object_foreach(json_object_get(c, "decayed"), name, decayed)
        {
            if (param_name_decays(name) != json_is_true(decayed)) {
                fail_msg("%s: %s", json_get_string(c, "model", ""), name);
            }
            done++;
        }
    }
    json_decref(cases);
    assert_true(done > 40);
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

/* PEFT's create_loraplus_optimizer: groups, their rates and decay, and five steps of AdamW. */
static void loraplus_follows_peft(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + NAME];
    struct safetensors *golden;
    struct param_set p;
    struct ops_context ops;
    struct optim_config c;
    size_t i;
    json_t *group;
    json_t *json = golden_files_json(golden_files_folder("optim", folder), "loraplus.json");
    (void)snprintf(path, sizeof path, "%s/loraplus.safetensors", folder);
    golden_files_need(safetensors_open(&golden, path), path);
    optim_defaults(&c, OPTIM_ADAMW);
    c.learning_rate = json_get_number(json, "lr", 0);
    c.max_grad_norm = 0;
    c.weight_decay = 0.5; /* has no say */
    c.loraplus_lr_ratio = json_get_number(json, "loraplus_lr_ratio", 0);
    c.loraplus_lr_embedding = json_get_number(json, "loraplus_lr_embedding", 0);
    c.loraplus_weight_decay = json_get_number(json, "loraplus_weight_decay", 0);
    context_open(&ops);
    params_open(&p, golden, "p0.", NULL, &c);
    for (int64_t k = 0; k < p.count; k++) {
        p.params[k].decay = param_name_decays(p.params[k].name);
    }
    const struct optim_rates rates = optim_rates(&c, 1.0);
    int grouped = 0;
    json_array_foreach(json_object_get(json, "groups"), i, group)
    {
        const json_t *names = json_object_get(group, "params");
        for (size_t k = 0; k < json_array_size(names); k++) {
            const int64_t at = param_set_find(&p, json_string_value(json_array_get(names, k)));
            assert_true(at >= 0);
            const double lr = rates.lr[p.params[at].group];
            assert_true(fabs(lr - json_get_number(group, "lr", 0)) < 1e-15);
            assert_int_equal(p.params[at].decay, json_get_number(group, "weight_decay", 0) > 0);
            grouped++;
        }
    }
    assert_int_equal(grouped, p.count);
    read_all(&p, golden, "p0.", 1.0f, p.value);
    double worst = 0.0;
    for (int k = 1; k <= 5; k++) {
        char prefix[NAME];
        (void)snprintf(prefix, sizeof prefix, "g%d.", k);
        read_all(&p, golden, prefix, 1.0f, p.grad);
        optim_update(&ops, &p, &c, &rates, optim_grad_norm(&ops, &p), k);
        prefix[0] = 'p';
        worst = fmax(worst, compare_all(&p, golden, prefix, p.value));
    }
    print_message("  LoRA+ %.1e\n", worst);
    assert_true(worst <= TRAJECTORY_LIMIT);
    param_set_close(&p);
    ops_context_close(&ops);
    safetensors_close(golden);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(trajectories_follow_the_packages),
        cmocka_unit_test(clipping_follows_torch),
        cmocka_unit_test(decay_names_follow_the_trainer),
        cmocka_unit_test(decay_follows_the_trainer),
        cmocka_unit_test(loraplus_follows_peft),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
