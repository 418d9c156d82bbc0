/* GRPO in checkpoints: rounds in use, counters, the entropy coefficient. */
#include <math.h>

#include "rl/grpo_internal.h"
#include "trainer/format/json.h"

/* True when the rounds at hand are still needed by the step after the current one. */
static bool in_mid_round(const struct grpo *g, const struct live_round *live)
{
    int64_t first;
    int64_t count;
    grpo_plan_window(&g->config->plan, g->step + 1, &first, &count);
    return live->index >= grpo_plan_round_of(&g->config->plan, first);
}

enum status grpo_save_state(void *ctx, json_t *state)
{
    struct grpo *g = ctx;
    json_t *rounds = json_array();
    (void)json_object_set_new(state, "step", json_integer(g->step + 1));
    (void)json_object_set_new(state, "num_tokens", json_real(g->num_tokens));
    ref_sync_save(&g->sync, g->step + 1, state);
    if (g->entropy.config.adaptive) { /* JSON knows no infinity: no entropy yet */
        (void)json_object_set_new(state, "entropy_coef", json_real(g->entropy.coef));
        (void)json_object_set_new(state, "last_world_entropy",
                                  isfinite(g->entropy.last) ? json_real(g->entropy.last)
                                                            : json_null());
    }
    const struct grpo_follower *follower = &g->config->follower;
    if (follower->observe) {
        (void)json_object_set_new(state, "follower", follower->save(follower->ctx));
    }
    (void)json_object_set_new(state, "rounds", rounds);
    for (int64_t i = 0; i < g->live_count; i++) {
        g->saved_rounds = g->live[i].index >= g->saved_rounds ? g->live[i].index + 1
                                                              : g->saved_rounds;
        if (in_mid_round(g, &g->live[i])) {
            json_t *data;
            TRY(round_to_json(&g->live[i].data, &data));
            (void)json_array_append_new(
                rounds, json_pack("{s:I, s:I, s:I, s:I, s:o}", "index",
                                  (json_int_t)g->live[i].index, "born",
                                  (json_int_t)g->live[i].born, "used",
                                  (json_int_t)g->live[i].used, "as_of",
                                  (json_int_t)g->live[i].as_of, "data", data));
        }
    }
    return STATUS_OK;
}

enum status grpo_load_state(void *ctx, const json_t *state)
{
    struct grpo *g = ctx;
    g->num_tokens = json_real_value(json_object_get(state, "num_tokens"));
    const json_t *rounds = json_object_get(state, "rounds");
    const json_t *coef = json_object_get(state, "entropy_coef");
    const json_t *last = json_object_get(state, "last_world_entropy");
    if (g->entropy.config.adaptive && json_is_number(coef)) {
        g->entropy.coef = json_number_value(coef);
        g->entropy.last = json_is_number(last) ? json_number_value(last) : INFINITY;
    }
    TRY(ref_sync_load(&g->sync, state));
    if (g->config->follower.observe) {
        TRY(g->config->follower.load(g->config->follower.ctx, json_object_get(state, "follower")));
    }
    for (size_t i = 0; i < json_array_size(rounds); i++) {
        const json_t *saved = json_array_get(rounds, i);
        struct live_round *live;
        TRY(grpo_live_grow(g, &live));
        live->index = json_integer_value(json_object_get(saved, "index"));
        live->born = json_integer_value(json_object_get(saved, "born"));
        live->used = json_get_int(saved, "used", live->born);
        live->as_of = json_get_int(saved, "as_of", live->born);
        TRY(round_from_json(json_object_get(saved, "data"), &live->data));
        g->live_count++;
        if (live->data.groups * live->data.group_size != grpo_plan_round_rows(&g->config->plan)) {
            return FAIL(INPUT, "checkpoint: a round of %lld rows, the recipe has %lld",
                        (long long)(live->data.groups * live->data.group_size),
                        (long long)grpo_plan_round_rows(&g->config->plan));
        }
        if (live->used >= 0) {
            TRY(grpo_live_finish(g, live));
        }
    }
    return STATUS_OK;
}
