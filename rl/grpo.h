/*
 * Group Relative Policy Optimization as a training method (Shao et al. 2024, arXiv 2402.03300;
 * semantics: spec training.md 1): rollouts, rewards, advantages, and the gradient of the objective
 * over each group's tree. Run it with train_run.
 */
#pragma once

#include "rl/correction.h"
#include "rl/entropy.h"
#include "rl/objective.h"
#include "rl/plan.h"
#include "rl/rollout.h"
#include "trainer/model/reference.h"
#include "trainer/train.h"

/* Something that follows the rounds and travels in checkpoints: a curriculum. Every rank calls it
 * with the same rounds in the same order. */
struct grpo_follower {
    void *ctx;
    int score; /* reward to look at, -1: the weighted sum */
    enum status (*observe)(void *ctx, const struct round *r, int score); /* NULL: no follower */
    json_t *(*save)(void *ctx);                                          /* new reference */
    enum status (*load)(void *ctx, const json_t *state);
    void (*note)(void *ctx, json_t *line); /* fields of the log line */
};

/* Evaluation as TRL's trainer does it: completions of held-out prompts, judged, with the
 * objective's loss. The prompts come in one permutation, the same at every evaluation. */
struct grpo_eval {
    int64_t rows;       /* prompts, 0: no evaluation */
    int64_t group_size; /* completions of each */
    int64_t per_device; /* completions of a batch per virtual rank; batches hold whole groups */
    row_fn row;
    void *row_ctx;
    const char *where;
};

/* Random keys of evaluations: a prompt's row number starts here. */
enum { GRPO_EVAL_ROW = 1 << 30 };

struct grpo_config {
    struct grpo_plan plan;
    struct rollout_config rollout;
    struct objective_config objective;
    struct entropy_config entropy;
    double top_entropy_quantile; /* share of tokens that stay in the loss; 0 or 1: all */
    struct correction_config correction; /* of a sampler that is not the policy */
    double reward_beta;          /* RLOO: beta times (old - ref) off the reward; 0: none */
    struct model_reference *reference; /* full training with beta; NULL: the bare base */
    int64_t ref_sync_steps;      /* reference moves to the policy every so many steps; 0: never */
    double ref_mixup_alpha;
    int64_t async_rounds; /* 1: a round is drawn in the step that takes up the one before it */
    int64_t max_steps;           /* optimizer steps of the run; async_rounds draws none beyond */
    int64_t dynamic_waves;       /* times flat groups are replaced by fresh prompts; 0: never */
    int64_t micro_batch_tokens;  /* token budget of a forward/backward, prompts of groups that
                                    are split come on top */
    int64_t batch_tokens;        /* of several groups in one forward/backward: no bit depends on it;
                                    0: micro_batch_tokens */
    int64_t recompute; /* blocks that the backward computes again, see struct pass */
    struct dropout_config dropout; /* of training forwards: then every row runs alone */
    bool log_completions;        /* write completions.jsonl */
    const char *output_dir;
    struct grpo_follower follower;
    struct grpo_eval eval;
    /* Optional, the stage's own evaluation beside it. */
    enum status (*evaluate)(void *ctx, int64_t step, json_t *line);
    void *evaluate_ctx;
};

struct grpo;

/* Checks the plan and prepares; config and env are borrowed. Free with grpo_close. */
MUST_USE enum status grpo_open(struct grpo **out, const struct grpo_config *config,
                               const struct rollout_env *env);

/* The method for train_run; valid while `g` lives. */
struct train_method grpo_method(struct grpo *g);

/* The rounds of a step in pieces, for methods that draw together; train_method.prepare does the
 * rest.
 *
 *   grpo_begin each; while some draw: grpo_draw those, grpo_take_up each of them
 *
 * The rounds of step `step`: older ones are dropped, those drawn ahead come into use. Collective,
 * as all of these. Nothing happens when the step has begun. Fails as grpo_take_up. */
MUST_USE enum status grpo_begin(struct grpo *g, int64_t step);

/* True when the step still needs a round. */
bool grpo_draws(const struct grpo *g);

/* Draws the next round of `count` methods that draw, in one batch: completions of methods[i] by the
 * hooks of adapter slot i when there are several (hook.slot). Fails as rollout_open and
 * rollout_draw. */
MUST_USE enum status grpo_draw(struct grpo *const *methods, int64_t count);

/* Brings the drawn rounds of the step into use: verdicts, replaced groups, scores; with
 * async_rounds not before all are drawn. Fails as rollout_finish. */
MUST_USE enum status grpo_take_up(struct grpo *g);

/* Gives the memory of one method's activations to another, so that methods that take turns hold one
 * set. */
void grpo_hand_over(struct grpo *from, struct grpo *to);

/* Frees the rounds and the pass; config, env and params stay the caller's. NULL is allowed. */
void grpo_close(struct grpo *g);
