/*
 * Which checkpoints a run saves and which one it ends with: Transformers' rules for the best model
 * (spec training.md 5).
 */
#include <string.h>

#include "recipes/schema_internal.h"
#include "trainer/optim/schedule.h"

static const char *strategy_name(int strategy)
{
    static const char *const NAMES[] = {[STRATEGY_NO] = "no", [STRATEGY_STEPS] = "steps",
                                        [STRATEGY_EPOCH] = "epoch", [STRATEGY_BEST] = "best"};
    return NAMES[strategy];
}

static bool is_multiple(double whole, double part)
{
    const double times = whole / part;
    return fabs(times - rint(times)) < 1e-9 * fmax(times, 1.0);
}

/* The best evaluation must have a checkpoint: every save is at an evaluation. */
static enum status check_load(const struct recipe *r)
{
    if (r->save_strategy == STRATEGY_BEST) {
        return STATUS_OK;
    }
    if (r->save_strategy != r->eval_strategy || r->eval_strategy == STRATEGY_NO) {
        return FAIL(RECIPE, "recipe: load_best_model_at_end needs save_strategy and eval_strategy to be "
                            "the same, steps or epoch, but they are %s and %s; or save_strategy: best",
                    strategy_name(r->save_strategy), strategy_name(r->eval_strategy));
    }
    if (r->save_strategy == STRATEGY_STEPS && (r->save_steps < 1) != (r->eval_steps < 1)) {
        return FAIL(RECIPE, "recipe: load_best_model_at_end needs save_steps %g to be a multiple of "
                            "eval_steps %g: give both as steps or both as shares", r->save_steps,
                    r->eval_steps);
    }
    if (r->save_strategy == STRATEGY_STEPS && !is_multiple(r->save_steps, r->eval_steps)) {
        return FAIL(RECIPE, "recipe: load_best_model_at_end needs save_steps to be a multiple of "
                            "eval_steps, and %g is none of %g", r->save_steps, r->eval_steps);
    }
    return STATUS_OK;
}

enum status schema_resolve_best(struct recipe *r)
{
    struct schedule_config schedule = {.kind = (enum schedule_kind)r->lr_scheduler_type};
    const bool follows = r->load_best_model_at_end || schedule_is_adaptive(&schedule);
    if (r->save_strategy == STRATEGY_BEST && r->eval_strategy == STRATEGY_NO) {
        return FAIL(RECIPE, "recipe: save_strategy: best saves at evaluations, and eval_strategy is no; "
                            "set eval_strategy: steps or epoch");
    }
    if (r->save_strategy == STRATEGY_BEST && !r->metric_for_best_model && !follows) {
        return FAIL(RECIPE, "recipe: save_strategy: best needs metric_for_best_model (loss, reward, ...)");
    }
    if (r->load_best_model_at_end) {
        TRY(check_load(r));
    }
    if (r->metric_for_best_model && r->eval_strategy == STRATEGY_NO) {
        TRY(schema_note(r, "recipe: metric_for_best_model has no effect with eval_strategy: no"));
    }
    if (!r->metric_for_best_model && follows) {
        r->metric_for_best_model = strdup("loss");
        if (!r->metric_for_best_model) {
            return FAIL(MEMORY, "recipe: out of memory");
        }
    }
    if (r->metric_for_best_model && r->greater_is_better == TRISTATE_AUTO) {
        const size_t n = strlen(r->metric_for_best_model);
        const bool loss = n >= 4 && strcmp(r->metric_for_best_model + n - 4, "loss") == 0;
        r->greater_is_better = loss ? TRISTATE_FALSE : TRISTATE_TRUE;
    }
    return STATUS_OK;
}
