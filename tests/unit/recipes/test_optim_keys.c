/*
 * Keys of optimizers and schedules: every name of Transformers 5.23 is offered or refused with a
 * reason, and recipe_optim builds what the recipe says.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"

enum { TEXT = 512 };

/* training_args.OptimizerNames, and what each one is here; OPTIM_KINDS: refused. */
static const struct {
    const char *name;
    enum optim_kind kind;
} NAMES[] = {
    {"adamw_torch", OPTIM_ADAMW},
    {"adamw_torch_fused", OPTIM_ADAMW},
    {"adamw_torch_xla", OPTIM_ADAMW},
    {"adamw_torch_npu_fused", OPTIM_ADAMW},
    {"adafactor", OPTIM_ADAFACTOR},
    {"adamw_anyprecision", OPTIM_KINDS},
    {"adamw_torch_4bit", OPTIM_KINDS},
    {"adamw_torch_8bit", OPTIM_KINDS},
    {"ademamix", OPTIM_ADEMAMIX},
    {"sgd", OPTIM_SGD},
    {"adagrad", OPTIM_ADAGRAD},
    {"adamw_bnb_8bit", OPTIM_ADAMW_8BIT},
    {"adamw_8bit", OPTIM_ADAMW_8BIT},
    {"ademamix_8bit", OPTIM_ADEMAMIX_8BIT},
    {"lion_8bit", OPTIM_LION_8BIT},
    {"lion_32bit", OPTIM_LION},
    {"paged_adamw_32bit", OPTIM_ADAMW},
    {"paged_adamw_8bit", OPTIM_ADAMW_8BIT},
    {"paged_ademamix_32bit", OPTIM_ADEMAMIX},
    {"paged_ademamix_8bit", OPTIM_ADEMAMIX_8BIT},
    {"paged_lion_32bit", OPTIM_LION},
    {"paged_lion_8bit", OPTIM_LION_8BIT},
    {"rmsprop", OPTIM_RMSPROP},
    {"rmsprop_bnb", OPTIM_RMSPROP_BNB},
    {"rmsprop_bnb_8bit", OPTIM_RMSPROP_8BIT},
    {"rmsprop_bnb_32bit", OPTIM_RMSPROP_BNB},
    {"galore_adamw", OPTIM_KINDS},
    {"galore_adamw_8bit", OPTIM_KINDS},
    {"galore_adafactor", OPTIM_KINDS},
    {"galore_adamw_layerwise", OPTIM_KINDS},
    {"galore_adamw_8bit_layerwise", OPTIM_KINDS},
    {"galore_adafactor_layerwise", OPTIM_KINDS},
    {"lomo", OPTIM_KINDS},
    {"adalomo", OPTIM_KINDS},
    {"grokadamw", OPTIM_KINDS},
    {"schedule_free_radam", OPTIM_KINDS},
    {"schedule_free_adamw", OPTIM_KINDS},
    {"schedule_free_sgd", OPTIM_KINDS},
    {"apollo_adamw", OPTIM_KINDS},
    {"apollo_adamw_layerwise", OPTIM_KINDS},
    {"stable_adamw", OPTIM_KINDS},
};

static void every_name_is_known(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        struct recipe r;
        char text[TEXT];
        (void)snprintf(text, sizeof text, "optim: %s\n", NAMES[i].name);
        const enum status status = recipe_open_text(&r, RECIPE_SFT, "x", text);
        if (NAMES[i].kind == OPTIM_KINDS) {
            assert_int_equal(status, STATUS_RECIPE);
            assert_non_null(strstr(status_message(), NAMES[i].name));
            assert_non_null(strstr(status_message(), "is not supported; "));
        } else if (status != STATUS_OK || r.optim != (int)NAMES[i].kind) {
            fail_msg("%s: %s", NAMES[i].name, status == STATUS_OK ? "another" : status_message());
        }
        const bool paged = strncmp(NAMES[i].name, "paged_", 6) == 0;
        assert_true(!paged || (r.notes.count == 1 && strstr(r.notes.items[0], "never paged")));
        recipe_close(&r);
    }
}

/* The saved recipe has the optimizer's own name, and a name for it is the first choice. */
static void rows_and_choices_agree(void **state)
{
    (void)state;
    const struct recipe_field *optims = schema_find("optim");
    const struct recipe_field *schedules = schema_find("lr_scheduler_type");
    assert_true(optims && schedules);
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        const struct recipe_choice *c = optims->choices;
        while (c->name && c->value != kind) {
            c++;
        }
        assert_non_null(c->name);
        assert_string_equal(c->name, optim_name((enum optim_kind)kind));
    }
    for (int kind = 0; kind < SCHEDULE_KINDS; kind++) {
        const struct recipe_choice *c = schedules->choices;
        while (c->name && c->value != kind) {
            c++;
        }
        assert_non_null(c->name);
        assert_string_equal(c->name, schedule_name((enum schedule_kind)kind));
    }
}

static const char BASE[] =
    "model_name_or_path: m\noutput_dir: o\ndataset_name: d\nuse_peft: true\n";

static void open_resolved(struct recipe *r, const char *more)
{
    char text[TEXT];
    (void)snprintf(text, sizeof text, "%s%s", BASE, more);
    if (recipe_open_text(r, RECIPE_SFT, "x", text) != STATUS_OK
        || recipe_resolve(r, 1) != STATUS_OK) {
        fail_msg("%s: %s", more, status_message());
    }
}

static void keys_reach_the_optimizer(void **state)
{
    (void)state;
    struct recipe r;
    struct optim_config c;
    open_resolved(&r, "optim: ademamix\nadam_beta1: 0.8\nadam_epsilon: 1e-6\nlearning_rate: 3e-4\n"
                      "optim_args: \"alpha=2, t_alpha=10\"\nweight_decay: 0.1\nmax_grad_norm: 0\n"
                      "lr_scheduler_type: polynomial\nlr_scheduler_kwargs: {power: 2}\n"
                      "warmup_ratio: 0.1\n");
    assert_int_equal(recipe_optim(&r, &c), STATUS_OK);
    assert_int_equal(c.kind, OPTIM_ADEMAMIX);
    assert_true(c.learning_rate == 3e-4 && c.beta1 == 0.8 && c.beta2 == 0.999 && c.eps == 1e-6);
    assert_true(c.alpha == 2 && c.t_alpha == 10 && c.t_beta3 == 0 && c.beta3 == 0.9999);
    assert_true(c.weight_decay == 0.1 && c.max_grad_norm == 0 && c.loraplus_lr_ratio == 0);
    assert_int_equal(c.schedule.kind, SCHEDULE_POLYNOMIAL);
    assert_true(c.schedule.power == 2 && c.schedule.lr_end == 1e-7);
    assert_true(c.schedule.warmup_steps == 0.1);
    recipe_close(&r);

    open_resolved(&r, "optim: adagrad\nadam_epsilon: 1e-3\n"); /* its eps is its own */
    assert_int_equal(recipe_optim(&r, &c), STATUS_OK);
    assert_true(c.eps == 1e-10);
    recipe_close(&r);

    open_resolved(&r, "loraplus_lr_ratio: 16\nloraplus_lr_embedding: 1e-4\nweight_decay: 0.1\n"
                      "loraplus_weight_decay: 0.05\nlearning_rate: 2e-3\n");
    assert_int_equal(recipe_optim(&r, &c), STATUS_OK);
    const struct optim_rates half = optim_rates(&c, 0.5);
    assert_true(fabs(half.lr[OPTIM_GROUP_BASE] - 1e-3) < 1e-15);
    assert_true(fabs(half.lr[OPTIM_GROUP_B] - 1.6e-2) < 1e-15);
    assert_true(fabs(half.lr[OPTIM_GROUP_EMBEDDING] - 5e-5) < 1e-15);
    assert_true(c.loraplus_weight_decay == 0.05);
    assert_true(r.notes.count == 1 && strstr(r.notes.items[0], "weight_decay has no effect"));
    recipe_close(&r);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    static const struct {
        enum recipe_method method;
        const char *text;
        const char *says;
    } CASES[] = {
        {RECIPE_SFT, "optim: muon\n", "muon trains whole matrices"},
        {RECIPE_SFT, "use_peft: false\noptim: lora_fa\n", "lora_fa trains LoRA adapters"},
        {RECIPE_SFT, "use_peft: false\nloraplus_lr_ratio: 4\n", "loraplus_lr_ratio trains LoRA"},
        {RECIPE_SFT, "loraplus_lr_ratio: 0\n", "loraplus_lr_ratio"},
        {RECIPE_SFT, "lr_scheduler_type: reduce_lr_on_plateau\n", "set eval_strategy: steps"},
        {RECIPE_GRPO, "lr_scheduler_type: greedy\nreward_funcs: accuracy\n", "set eval_strategy"},
        {RECIPE_SFT, "optim: sgd\noptim_args: momentum\n", "'momentum' is no key=value"},
        {RECIPE_SFT, "lr_scheduler_type: cosine_with_min_lr\n", "min_lr_rate"},
        {RECIPE_SFT, "lr_scheduler_type: warmup_stable_decay\n", "needs num_decay_steps"},
        {RECIPE_SFT, "lr_scheduler_kwargs: {num_cycles: 2}\n", "linear has no key 'num_cycles'"},
        {RECIPE_SFT, "adafactor: true\n", "use optim: adafactor"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        struct recipe r;
        char text[TEXT];
        const bool full = strstr(CASES[i].text, "use_peft") != NULL;
        (void)snprintf(text, sizeof text, "%.*s%s",
                       (int)(full ? strstr(BASE, "use_peft") - BASE : (ptrdiff_t)strlen(BASE)),
                       BASE, CASES[i].text);
        enum status status = recipe_open_text(&r, CASES[i].method, "x", text);
        if (status == STATUS_OK) {
            status = recipe_resolve(&r, 1);
        }
        assert_int_equal(status, STATUS_RECIPE);
        if (!strstr(status_message(), CASES[i].says)) {
            fail_msg("%s: %s", CASES[i].text, status_message());
        }
        recipe_close(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_is_known),
        cmocka_unit_test(rows_and_choices_agree),
        cmocka_unit_test(keys_reach_the_optimizer),
        cmocka_unit_test(what_does_not_fit_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
