/*
 * Optimizers beyond golden/optim: trajectories of tests/data/optim (its make.py says from which
 * packages), independence of threads and tiers, exact resume, and what is refused.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "recipes/build.h"
#include "tests/support/golden_files.h"
#include "tests/support/golden_rl.h"
#include "trainer/format/json.h"
#include "trainer/optim/optim.h"
#include "trainer/store/checkpoint.h"

enum { TEXT = 512, STEPS = 6 };

static const double LIMIT = 1e-6; /* relative L2, and absolute: values are about 1 */

static void read_numbers(const json_t *list, float *out, int64_t count)
{
    assert_int_equal(json_array_size(list), count);
    for (int64_t i = 0; i < count; i++) {
        out[i] = (float)json_number_value(json_array_get(list, (size_t)i));
    }
}

/* A recipe of the case's keys. */
static struct optim_config config_of(const json_t *keys, double lr)
{
    const char *key;
    json_t *value;
    char text[TEXT];
    struct recipe r;
    struct optim_config optim;
    size_t used = (size_t)snprintf(text, sizeof text, "learning_rate: %.17g\n", lr);
    json_object_foreach((json_t *)(uintptr_t)keys, key, value)
    {
        char *dump = json_dumps(value, JSON_ENCODE_ANY);
        used += (size_t)snprintf(text + used, sizeof text - used, "%s: %s\n", key, dump);
        free(dump);
    }
    assert_true(used < sizeof text);
    golden_files_need(recipe_open_text(&r, RECIPE_SFT, "case", text), text);
    golden_files_need(recipe_optim(&r, &optim), text);
    recipe_close(&r);
    optim.max_grad_norm = 0;
    return optim;
}

static double follow(const json_t *file, const json_t *c)
{
    struct ops_context ops;
    struct param_set p;
    struct param_layout layout;
    const struct ops_options options = {.threads = 2, .compute = COMPUTE_F32};
    const struct optim_config optim = config_of(json_object_get(c, "recipe"),
                                                json_get_number(file, "lr", 0));
    const json_t *grads = json_object_get(file, "grads");
    const char *name;
    json_t *end;
    double worst = 0.0;
    golden_files_need(ops_context_open(&ops, &options), "context");
    param_set_open(&p);
    json_object_foreach(json_object_get(c, "end"), name, end)
    {
        const json_t *dims = json_object_get(json_object_get(file, "shapes"), name);
        int64_t shape[2] = {0};
        int64_t index;
        for (size_t d = 0; d < json_array_size(dims); d++) {
            shape[d] = json_integer_value(json_array_get(dims, d));
        }
        golden_files_need(param_set_add(&p, name, (int)json_array_size(dims), shape,
                                        json_array_size(dims) > 1, &index),
                          name);
        p.params[index].scale = strstr(name, "lora_B") ? json_get_number(c, "scale", 0) : 0;
    }
    golden_files_need(optim_prepare(&optim, &p, &layout), "prepare");
    golden_files_need(param_set_seal(&p, &layout), "seal");
    for (int64_t i = 0; i < p.count; i++) {
        read_numbers(json_object_get(json_object_get(file, "start"), p.params[i].name),
                     param_value(&p, i), p.params[i].count);
    }
    const struct optim_rates rates = optim_rates(&optim, 1.0);
    for (size_t k = 0; k < json_array_size(grads); k++) {
        for (int64_t i = 0; i < p.count; i++) {
            read_numbers(json_object_get(json_array_get(grads, k), p.params[i].name),
                         param_grad(&p, i), p.params[i].count);
        }
        optim_update(&ops, &p, &optim, &rates, optim_grad_norm(&ops, &p), (int64_t)k + 1);
    }
    for (int64_t i = 0; i < p.count; i++) {
        const int64_t count = p.params[i].count;
        float *want = calloc((size_t)count, sizeof *want);
        assert_non_null(want);
        read_numbers(json_object_get(json_object_get(c, "end"), p.params[i].name), want, count);
        const struct golden_files_error e = golden_files_compare(param_value(&p, i), want, count);
        worst = fmax(worst, fmax(e.absolute, e.l2));
        free(want);
    }
    param_set_close(&p);
    ops_context_close(&ops);
    return worst;
}

static void options_follow_the_packages(void **state)
{
    (void)state;
    char path[GOLDEN_PATH];
    const char *source = getenv("GRAFT_SOURCE");
    json_t *file;
    json_t *c;
    size_t i;
    (void)snprintf(path, sizeof path, "%s/tests/data/optim/cases.json", source ? source : ".");
    golden_files_need(json_load_path(path, 1 << 20, &file), path);
    assert_true(json_array_size(json_object_get(file, "cases")) >= 16);
    json_array_foreach(json_object_get(file, "cases"), i, c)
    {
        const double worst = follow(file, c);
        print_message("  %-66s %.1e\n", json_get_string(c, "name", ""), worst);
        if (!(worst <= LIMIT)) {
            fail_msg("%s is off by %g", json_get_string(c, "name", ""), worst);
        }
    }
    json_decref(file);
}

/* Matrices, a vector, an embedding and a pair of factors, of sizes that no vector divides and some
 * of several chunks. */
static void make_params(struct param_set *p, const struct optim_config *optim)
{
    static const struct {
        const char *name;
        int dims;
        int64_t shape[2];
    } ALL[] = {{"embed_tokens.weight", 2, {301, 33}},
               {"a.weight", 2, {70, 131}},
               {"a.bias", 1, {77, 0}},
               {"b.weight", 2, {129, 65}},
               {"c.lora_A.weight", 2, {4, 37}},
               {"c.lora_B.weight", 2, {1031, 4}},
               {"norm.weight", 1, {5003, 0}}};
    struct param_layout layout;
    param_set_open(p);
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        int64_t index;
        if (strstr(ALL[i].name, "lora") && optim->kind == OPTIM_MUON) {
            continue;
        }
        golden_files_need(param_set_add(p, ALL[i].name, ALL[i].dims, ALL[i].shape,
                                        param_name_decays(ALL[i].name), &index),
                          ALL[i].name);
        p->params[index].scale = strstr(ALL[i].name, "lora_B") ? 0.5 : 0;
    }
    golden_files_need(optim_prepare(optim, p, &layout), "prepare");
    golden_files_need(param_set_seal(p, &layout), "seal");
    const struct rng_key key = {.seed = 3};
    for (int64_t i = 0; i < p->count; i++) {
        rng_fill_normal(&key, param_value(p, i), p->params[i].count, 1.0f);
    }
}

static struct optim_config make_config(int kind)
{
    struct optim_config c;
    optim_defaults(&c, (enum optim_kind)kind);
    c.learning_rate = 0.01;
    c.weight_decay = 0.1;
    c.max_grad_norm = 1.0;
    if (kind == OPTIM_SGD || kind == OPTIM_RMSPROP) {
        c.momentum = 0.9;
    }
    c.centered = kind == OPTIM_RMSPROP;
    if (kind == OPTIM_ADAFACTOR) {
        c.mean_beta = 0.9;
        c.scale_parameter = 1;
    }
    return c;
}

/* Updates first + 1 .. last with gradients that follow from the step alone. */
static void advance(struct ops_context *ops, struct param_set *p, const struct optim_config *c,
                    int64_t first, int64_t last)
{
    const struct optim_rates rates = optim_rates(c, 1.0);
    for (int64_t step = first + 1; step <= last; step++) {
        for (int64_t i = 0; i < p->count; i++) {
            const struct rng_key key = {.seed = 9, .module = (uint32_t)(step * 100 + i)};
            rng_fill_normal(&key, param_grad(p, i), p->params[i].count, 0.3f);
        }
        optim_update(ops, p, c, &rates, optim_grad_norm(ops, p), step);
    }
}

static void assert_same_bits(const struct param_set *a, const struct param_set *b, const char *what)
{
    for (int64_t i = 0; i < a->count; i++) {
        const struct param *p = &a->params[i];
        if (memcmp(param_value(a, i), param_value(b, i), (size_t)p->count * sizeof(float)) != 0) {
            fail_msg("%s: '%s' differs", what, p->name);
        }
        for (int k = 0; k < PARAM_SLOTS; k++) {
            const struct param_slot *s = &p->slot[k];
            const size_t bytes = (size_t)s->count * (s->bytes ? 1 : sizeof(float));
            if (s->name && memcmp(s->data, b->params[i].slot[k].data, bytes) != 0) {
                fail_msg("%s: '%s' of '%s' differs", what, s->name, p->name);
            }
        }
    }
}

static void run_with(struct param_set *p, const struct optim_config *c, enum cpu_tier tier,
                     int threads)
{
    struct ops_context ops;
    const struct ops_options options = {.threads = threads, .compute = COMPUTE_F32};
    golden_files_need(ops_context_open_tier(&ops, &options, tier), "context");
    make_params(p, c);
    advance(&ops, p, c, 0, STEPS);
    ops_context_close(&ops);
}

static void threads_do_not_matter(void **state)
{
    (void)state;
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        const struct optim_config c = make_config(kind);
        struct param_set one;
        run_with(&one, &c, cpu_best_tier() > TIER_AVX512 ? TIER_AVX512 : cpu_best_tier(), 1);
        for (int threads = 2; threads <= 5; threads += 3) {
            struct param_set many;
            run_with(&many, &c, cpu_best_tier() > TIER_AVX512 ? TIER_AVX512 : cpu_best_tier(),
                     threads);
            assert_same_bits(&one, &many, optim_name((enum optim_kind)kind));
            param_set_close(&many);
        }
        for (int64_t i = 0; i < one.total; i++) {
            assert_true(isfinite(one.value[i]));
        }
        param_set_close(&one);
    }
}

/* Elementwise rules are the same operations on every tier; the others multiply matrices or sum. */
static void tiers_agree_in_every_bit(void **state)
{
    (void)state;
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        struct optim_config c = make_config(kind);
        struct param_set ref;
        if (kind == OPTIM_LORA_FA || kind == OPTIM_MUON || kind == OPTIM_ADAFACTOR) {
            continue;
        }
        c.max_grad_norm = 0; /* the norm's sum is the tier's own */
        run_with(&ref, &c, TIER_REF, 1);
        for (int tier = TIER_AVX2; tier <= TIER_AVX512 && tier <= (int)cpu_best_tier(); tier++) {
            struct param_set other;
            run_with(&other, &c, (enum cpu_tier)tier, 2);
            assert_same_bits(&ref, &other, optim_name((enum optim_kind)kind));
            param_set_close(&other);
        }
        param_set_close(&ref);
    }
}

/* Six updates at once, or three, a checkpoint into fresh parameters, and three more. */
static void resume_is_exact(void **state)
{
    (void)state;
    struct ops_context ops;
    const struct ops_options options = {.threads = 2, .compute = COMPUTE_F32};
    golden_files_need(ops_context_open(&ops, &options), "context");
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        char folder[64];
        char recipe[] = "";
        const struct optim_config c = make_config(kind);
        struct param_set whole;
        struct param_set half;
        struct param_set rest;
        struct checkpoint_state read;
        json_t *nothing = json_object();
        const struct checkpoint_state saved = {
            .step = 3, .trainer_state = nothing, .method_state = nothing, .recipe = recipe};
        golden_scratch(folder);
        make_params(&whole, &c);
        make_params(&half, &c);
        make_params(&rest, &c);
        advance(&ops, &whole, &c, 0, STEPS);
        advance(&ops, &half, &c, 0, 3);
        golden_files_need(checkpoint_save(folder, &half, &saved, NULL, NULL), "save");
        golden_files_need(checkpoint_load(folder, 3, &rest, &read), "load");
        assert_same_bits(&half, &rest, "loaded");
        advance(&ops, &rest, &c, 3, STEPS);
        assert_same_bits(&whole, &rest, optim_name((enum optim_kind)kind));
        checkpoint_state_close(&read);
        param_set_close(&whole);
        param_set_close(&half);
        param_set_close(&rest);
        json_decref(nothing);
        golden_scratch_remove(folder);
    }
    ops_context_close(&ops);
}

/* State in 8 bits: large parameters only, and never an embedding. */
static void small_and_embedding_states_stay_float(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool codes;
    } WANT[] = {{"embed_tokens.weight", false}, {"a.weight", true}, {"a.bias", false},
                {"b.weight", true},             {"c.lora_A.weight", false},
                {"c.lora_B.weight", true},      {"norm.weight", true}};
    const struct optim_config c = make_config(OPTIM_ADAMW_8BIT);
    struct param_set p;
    make_params(&p, &c);
    for (size_t i = 0; i < sizeof WANT / sizeof *WANT; i++) {
        const int64_t at = param_set_find(&p, WANT[i].name);
        assert_true(at >= 0);
        assert_int_equal(param_find_slot(&p, at, "m.code") != NULL, WANT[i].codes);
        assert_int_equal(param_find_slot(&p, at, "m") == NULL, WANT[i].codes);
    }
    param_set_close(&p);
}

/* A plan says the bytes: two floats, two codes and their magnitudes, or nothing per number. */
static void state_is_as_large_as_planned(void **state)
{
    (void)state;
    static const struct {
        enum optim_kind kind;
        double low;
        double high;
    } WANT[] = {{OPTIM_ADAMW, 8.0, 8.01},        {OPTIM_ADAMW_8BIT, 2.0, 2.2},
                {OPTIM_LION, 4.0, 4.01},         {OPTIM_LION_8BIT, 1.0, 1.2},
                {OPTIM_ADEMAMIX, 12.0, 12.01},   {OPTIM_ADEMAMIX_8BIT, 3.0, 3.3},
                {OPTIM_ADAFACTOR, 0.0, 0.02}};
    const int64_t shape[2] = {1024, 1024};
    for (size_t i = 0; i < sizeof WANT / sizeof *WANT; i++) {
        struct optim_config c;
        struct param_set p;
        struct param_layout layout;
        int64_t index;
        optim_defaults(&c, WANT[i].kind);
        param_set_open(&p);
        golden_files_need(param_set_add(&p, "w.weight", 2, shape, true, &index), "add");
        golden_files_need(optim_prepare(&c, &p, &layout), "prepare");
        const size_t state_bytes = param_set_bytes(&p, &layout) - param_set_bytes(&p, NULL);
        const double each = (double)state_bytes / (double)p.total;
        if (!(each >= WANT[i].low && each <= WANT[i].high)) {
            fail_msg("%s: %g bytes a number", optim_name(WANT[i].kind), each);
        }
        golden_files_need(param_set_seal(&p, &layout), "seal");
        param_set_close(&p);
    }
}

/* lora_fa: A stays, and its gradient is neither in the norm nor clipped with. */
static void lora_fa_leaves_a_alone(void **state)
{
    (void)state;
    struct ops_context ops;
    struct param_set p;
    struct param_set before;
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    const struct optim_config c = make_config(OPTIM_LORA_FA);
    golden_files_need(ops_context_open(&ops, &options), "context");
    make_params(&p, &c);
    make_params(&before, &c);
    advance(&ops, &p, &c, 0, 2);
    const int64_t a = param_set_find(&p, "c.lora_A.weight");
    const int64_t b = param_set_find(&p, "c.lora_B.weight");
    const size_t bytes = (size_t)p.params[a].count * sizeof(float);
    assert_memory_equal(param_value(&p, a), param_value(&before, a), bytes);
    assert_true(param_value(&p, b)[0] != param_value(&before, b)[0]);
    const double norm = optim_grad_norm(&ops, &p);
    param_grad(&p, a)[0] = 1e6f;
    assert_true(optim_grad_norm(&ops, &p) == norm);
    param_grad(&p, b)[0] = NAN;
    assert_true(isnan(optim_grad_norm(&ops, &p)));
    param_set_close(&p);
    param_set_close(&before);
    ops_context_close(&ops);
}

/* Newton-Schulz brings the update's singular values near 1: its squared norm is about the rank. */
static void muon_updates_are_nearly_orthogonal(void **state)
{
    (void)state;
    struct ops_context ops;
    struct param_set p;
    struct param_set before;
    const struct ops_options options = {.threads = 2, .compute = COMPUTE_F32};
    struct optim_config c = make_config(OPTIM_MUON);
    c.weight_decay = 0;
    golden_files_need(ops_context_open(&ops, &options), "context");
    make_params(&p, &c);
    make_params(&before, &c);
    advance(&ops, &p, &c, 0, 1);
    const int64_t at = param_set_find(&p, "a.weight"); /* [70, 131] */
    double square = 0.0;
    for (int64_t k = 0; k < p.params[at].count; k++) {
        const double u = ((double)param_value(&before, at)[k] - (double)param_value(&p, at)[k])
                         / c.learning_rate;
        square += u * u;
    }
    print_message("  squared norm per singular value %.3f\n", square / 70.0);
    assert_true(square > 0.5 * 70.0 && square < 1.5 * 70.0);
    param_set_close(&p);
    param_set_close(&before);
    ops_context_close(&ops);
}

static void bad_options_are_named(void **state)
{
    (void)state;
    static const struct {
        enum optim_kind kind;
        const char *args;
        const char *says;
    } CASES[] = {
        {OPTIM_SGD, "momentun=0.9", "sgd has no option 'momentun'; it has momentum, dampening"},
        {OPTIM_SGD, "momentum", "'momentum' is no key=value"},
        {OPTIM_SGD, "momentum=", "momentum is a number"},
        {OPTIM_SGD, "momentum=0.9x", "not '0.9x'"},
        {OPTIM_SGD, "momentum=nan", "momentum is a number"},
        {OPTIM_SGD, "momentum=-1", "from 0"},
        {OPTIM_SGD, "nesterov=maybe", "nesterov is one of false, true, not 'maybe'"},
        {OPTIM_SGD, "nesterov=true", "nesterov needs momentum"},
        {OPTIM_SGD, "momentum=0.9,dampening=0.1,nesterov=true", "no dampening"},
        {OPTIM_SGD, "weight_decay=0.1", "weight_decay is a key of its own"},
        {OPTIM_ADAMW, "beta1=0.8", "adam_beta1"},
        {OPTIM_RMSPROP_8BIT, "momentum=0.5", "rmsprop_bnb_8bit has no option 'momentum'"},
        {OPTIM_ADAFACTOR, "warmup_init=true", "warmup_init needs relative_step"},
        {OPTIM_MUON, "adjust_lr_fn=moonshot", "original, match_rms_adamw, spectral_unclamped"},
        {OPTIM_MUON, "ns_steps=100", "ns_steps is a number from 1 to 99"},
        {OPTIM_ADEMAMIX, "beta3=1", "beta3"},
        {OPTIM_SGD, ",", "is no key=value"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct optim_config c;
        optim_defaults(&c, CASES[i].kind);
        assert_int_equal(optim_configure(&c, CASES[i].args), STATUS_RECIPE);
        if (!strstr(status_message(), CASES[i].says)) {
            fail_msg("'%s' says: %s", CASES[i].args, status_message());
        }
    }
    struct optim_config c;
    optim_defaults(&c, OPTIM_SGD);
    assert_int_equal(optim_configure(&c, " momentum = 0.5 , nesterov = YES "), STATUS_OK);
    assert_true(c.momentum == 0.5 && c.nesterov == 1);
    assert_int_equal(optim_configure(&c, ""), STATUS_OK);
    assert_int_equal(optim_configure(&c, NULL), STATUS_OK);
}

static void add_one(struct param_set *p, const char *name, int64_t rows, int64_t cols, double scale)
{
    int64_t index;
    param_set_open(p);
    golden_files_need(param_set_add(p, name, 2, (const int64_t[]){rows, cols}, true, &index), name);
    p->params[index].scale = scale;
}

static void misfits_are_refused(void **state)
{
    (void)state;
    static const struct {
        enum optim_kind kind;
        double loraplus;
        const char *name;
        double scale;
        const char *says;
    } CASES[] = {
        {OPTIM_MUON, 0, "x.lora_A.weight", 1, "muon trains whole matrices"},
        {OPTIM_LORA_FA, 0, "x.weight", 1, "lora_fa trains a LoRA adapter"},
        {OPTIM_LORA_FA, 0, "x.lora_B.weight", 1, "has no A beside it"},
        {OPTIM_ADAMW, 16, "x.weight", 1, "loraplus_lr_ratio trains a LoRA adapter"},
        {OPTIM_LORA_FA, 16, "x.lora_B.weight", 1, "does not go with optim: lora_fa"},
        {OPTIM_MUON, 16, "x.lora_B.weight", 1, "does not go with optim: muon"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct optim_config c = make_config(CASES[i].kind);
        struct param_set p;
        struct param_layout layout;
        c.loraplus_lr_ratio = CASES[i].loraplus;
        add_one(&p, CASES[i].name, 3, 4, CASES[i].scale);
        assert_int_equal(optim_prepare(&c, &p, &layout), STATUS_RECIPE);
        if (!strstr(status_message(), CASES[i].says)) {
            fail_msg("%s: %s", CASES[i].name, status_message());
        }
        param_set_close(&p);
    }
}

/* By hand: one update of one number, without any file. */
static void one_update_is_as_computed_by_hand(void **state)
{
    (void)state;
    struct ops_context ops;
    struct param_set p;
    struct param_layout layout;
    struct optim_config c = make_config(OPTIM_ADAMW);
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    const struct optim_rates rates = {.lr = {0.1, 0, 0}};
    c.beta2 = 0.99;
    c.weight_decay = 0.5;
    golden_files_need(ops_context_open(&ops, &options), "context");
    add_one(&p, "w", 1, 1, 0);
    golden_files_need(optim_prepare(&c, &p, &layout), "prepare");
    golden_files_need(param_set_seal(&p, &layout), "seal");
    p.value[0] = 2.0f;
    p.grad[0] = 4.0f; /* clipped to 1; the first step of Adam is lr whatever the gradient */
    optim_update(&ops, &p, &c, &rates, optim_grad_norm(&ops, &p), 1);
    assert_true(fabs((double)p.value[0] - (2.0 * (1.0 - 0.1 * 0.5) - 0.1)) < 1e-6);
    assert_true(fabs((double)*(float *)param_find_slot(&p, 0, "m")->data - 0.1) < 1e-6);
    assert_true(fabs((double)*(float *)param_find_slot(&p, 0, "v")->data - 0.01) < 1e-6);
    param_set_close(&p);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_update_is_as_computed_by_hand),
        cmocka_unit_test(options_follow_the_packages),
        cmocka_unit_test(threads_do_not_matter),
        cmocka_unit_test(tiers_agree_in_every_bit),
        cmocka_unit_test(resume_is_exact),
        cmocka_unit_test(small_and_embedding_states_stay_float),
        cmocka_unit_test(state_is_as_large_as_planned),
        cmocka_unit_test(lora_fa_leaves_a_alone),
        cmocka_unit_test(muon_updates_are_nearly_orthogonal),
        cmocka_unit_test(bad_options_are_named),
        cmocka_unit_test(misfits_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
