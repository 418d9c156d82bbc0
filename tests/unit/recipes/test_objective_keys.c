/* Keys of the objective: what they resolve to, and pairs that exclude each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/build.h"
#include "recipes/schema.h"

enum { MOST = 16 };

static const char *const BASE[] = {"model=m.gguf", "dataset_name=sums", "output_dir=out"};

/* Opens a recipe of BASE and the space-separated `keys`, resolved for one rank. */
static enum status open_keys(struct recipe *r, enum recipe_method method, const char *keys)
{
    char text[512];
    char *words[MOST];
    int64_t count = 0;
    for (size_t i = 0; i < sizeof BASE / sizeof *BASE; i++) {
        words[count++] = (char *)(uintptr_t)BASE[i];
    }
    (void)snprintf(text, sizeof text, "%s", keys);
    for (char *at = strtok(text, " "); at && count < MOST; at = strtok(NULL, " ")) {
        words[count++] = at;
    }
    TRY(recipe_open(r, method, NULL, count, words));
    return recipe_resolve(r, 1);
}

static void pairs_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        enum recipe_method method;
        const char *keys;
        const char *first;
        const char *second;
    } cases[] = {
        {RECIPE_GRPO, "loss_type=cispo delta=2", "delta", "cispo"},
        {RECIPE_GRPO, "loss_type=vespo delta=2", "delta", "vespo"},
        {RECIPE_GRPO, "sapo_temperature_pos=2", "sapo_temperature_pos", "dapo"},
        {RECIPE_GRPO, "loss_type=sapo vespo_k_neg=2", "vespo_k_neg", "sapo"},
        {RECIPE_GRPO, "loss_type=vespo importance_sampling_level=sequence",
         "importance_sampling_level", "vespo"},
        {RECIPE_GRPO, "sync_ref_model=true beta=0.1 use_peft=true", "sync_ref_model", "use_peft"},
        {RECIPE_GRPO, "sync_ref_model=true", "sync_ref_model", "beta"},
        {RECIPE_GRPO, "async_rounds=1 dynamic_sampling=true", "async_rounds", "dynamic_sampling"},
        {RECIPE_GRPO, "async_rounds=1 loss_type=vespo", "async_rounds", "token_truncate"},
        {RECIPE_GRPO, "sampling_correction_min=4", "sampling_correction_min",
         "sampling_correction_max"},
        {RECIPE_GRPO, "async_rounds=2", "async_rounds", "1"},
        {RECIPE_RLOO, "async_rounds=1", "async_rounds", "rloo"},
        {RECIPE_GRPO, "entropy_target=1", "entropy_target", "use_adaptive_entropy"},
        {RECIPE_GRPO, "use_adaptive_entropy=true entropy_coef_min=2", "entropy_coef_min",
         "entropy_coef_max"},
        {RECIPE_GRPO, "loss_type=rloo", "loss_type", "grpo"},
        {RECIPE_GRPO, "normalize_advantages=true", "normalize_advantages", "rloo"},
        {RECIPE_GRPO, "top_entropy_quantile=0", "top_entropy_quantile", "0"},
        {RECIPE_RLOO, "loss_type=dapo", "loss_type", "rloo"},
        {RECIPE_RLOO, "delta=2", "delta", "rloo"},
        {RECIPE_RLOO, "scale_rewards=none", "scale_rewards", "rloo"},
        {RECIPE_RLOO, "reward_clip_range=1,0", "reward_clip_range", "low"},
        {RECIPE_RLOO, "reward_clip_range=1", "reward_clip_range", "low"},
        {RECIPE_SFT, "loss_type=cispo", "loss_type", "sft"},
        {RECIPE_DPO, "loss_type=dapo", "loss_type", "sigmoid"},
        {RECIPE_DPO, "loss_type=aot use_weighting=true", "use_weighting", "aot"},
        {RECIPE_DPO, "loss_type=hinge use_weighting=true", "use_weighting", "hinge"},
        {RECIPE_DPO, "loss_type=exo_pair", "label_smoothing", "exo_pair"},
        {RECIPE_DPO, "loss_type=sigmoid,sft loss_weights=1", "loss_weights", "loss_type"},
        {RECIPE_DPO, "beta=0", "beta", "dpo"},
        {RECIPE_DPO, "num_generations=4", "num_generations", "grpo"},
        {RECIPE_GRPO, "ld_alpha=0.5", "ld_alpha", "dpo"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r = {0};
        const enum status status = open_keys(&r, cases[i].method, cases[i].keys);
        if (status != STATUS_RECIPE || !strstr(status_message(), cases[i].first)
            || !strstr(status_message(), cases[i].second)) {
            fail_msg("%s: status %d, %s", cases[i].keys, (int)status, status_message());
        }
        status_clear();
        recipe_close(&r);
    }
}

static void a_resolved_recipe_resolves_again(void **state)
{
    (void)state;
    static const struct {
        enum recipe_method method;
        const char *keys;
    } cases[] = {{RECIPE_GRPO, "loss_type=sapo sapo_temperature_neg=2"},
                 {RECIPE_GRPO, "loss_type=vespo off_policy_mask_threshold=0.5"},
                 {RECIPE_GRPO, "sync_ref_model=true beta=0.1 ref_model_sync_steps=3"},
                 {RECIPE_RLOO, "reward_clip_range=-1,1 normalize_advantages=true"},
                 {RECIPE_DPO, "loss_type=sigmoid,bco_pair loss_weights=0.8,0.2 ld_alpha=0.5"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r = {0};
        struct recipe again = {0};
        char *text;
        char *differs;
        assert_int_equal(open_keys(&r, cases[i].method, cases[i].keys), STATUS_OK);
        assert_int_equal(recipe_dump(&r, &text), STATUS_OK);
        assert_int_equal(recipe_open_text(&again, cases[i].method, "dump", text), STATUS_OK);
        assert_int_equal(recipe_resolve(&again, 1), STATUS_OK);
        assert_int_equal(recipe_diff(&r, &again, &differs), STATUS_OK);
        assert_null(differs);
        free(text);
        recipe_close(&r);
        recipe_close(&again);
    }
}

static void rloo_has_its_own_defaults(void **state)
{
    (void)state;
    struct recipe r = {0};
    struct objective_config objective;
    struct advantage_config advantage;
    assert_int_equal(open_keys(&r, RECIPE_RLOO, "reward_clip_range=-1,2"), STATUS_OK);
    assert_int_equal(r.num_generations, 2);
    assert_true(r.beta == 0.05);
    recipe_objective(&r, &objective);
    recipe_advantage(&r, &advantage);
    assert_int_equal(objective.loss_type, LOSS_RLOO);
    assert_int_equal(objective.level, RATIO_SUM);
    assert_true(objective.beta == 0 && advantage.leave_one_out && advantage.clip);
    assert_true(advantage.clip_low == -1 && advantage.clip_high == 2);
    recipe_close(&r);
}

static void dpo_sums_a_list(void **state)
{
    (void)state;
    struct recipe r = {0};
    struct dpo_config c;
    assert_int_equal(open_keys(&r, RECIPE_DPO,
                               "loss_type=sigmoid,sft loss_weights=0.8,0.2 "
                               "f_divergence_type=js_divergence"),
                     STATUS_OK);
    assert_int_equal(recipe_dpo(&r, &c), STATUS_OK);
    assert_int_equal(c.count, 2);
    assert_int_equal(c.losses[1], DPO_SFT);
    assert_true(c.weights[0] == 0.8 && c.weights[1] == 0.2 && c.beta == 0.1);
    assert_int_equal(c.divergence, DPO_JS);
    assert_true(isnan(c.ld_alpha) && r.max_length == 1024);
    recipe_close(&r);
}

static void options_reach_the_objective(void **state)
{
    (void)state;
    struct recipe r = {0};
    struct objective_config o;
    struct entropy_config e;
    assert_int_equal(open_keys(&r, RECIPE_GRPO,
                               "loss_type=cispo epsilon_high=5 off_policy_mask_threshold=0.25 "
                               "use_adaptive_entropy=true entropy_target=1.5 entropy_coef=0.1"),
                     STATUS_OK);
    recipe_objective(&r, &o);
    recipe_entropy(&r, &e);
    assert_int_equal(o.loss_type, LOSS_CISPO);
    assert_true(o.epsilon_high == 5 && o.off_policy_mask && o.off_policy_threshold == 0.25);
    assert_true(o.vespo_lambda_pos == 3 && o.sapo_temperature_neg == 1.05);
    assert_true(e.adaptive && e.coef == 0.1 && e.target == 1.5 && e.delta == 0.005);
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_are_refused_by_name),
        cmocka_unit_test(a_resolved_recipe_resolves_again),
        cmocka_unit_test(rloo_has_its_own_defaults),
        cmocka_unit_test(dpo_sums_a_list),
        cmocka_unit_test(options_reach_the_objective),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
