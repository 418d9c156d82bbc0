/* Private state of the GRPO method, shared by the grpo_*.c files. */
#pragma once

#include "rl/grpo.h"
#include "rl/ref_sync.h"
#include "trainer/model/unit_pass.h"

/* Metric sums of a unit that the loop adds over units; the rest goes by rows (struct grpo_record).
 */
enum { METRIC_LOSS, METRIC_COUNT };

/* A round that is trained on, or drawn ahead. */
struct live_round {
    int64_t index;
    int64_t born;      /* optimizer step whose adapter drew it */
    int64_t used;      /* first step that trains it, -1: drawn ahead */
    int64_t as_of;     /* step whose policy its log-probs and entropies are of */
    bool late; /* trained in this step alone: rows with a gradient take log-probs, entropies and
                  corrections from their training forward */
    struct rollout_pending *pending; /* verdicts outstanding; NULL: none */
    double tokens;     /* loss tokens of the round */
    int64_t *slice;    /* [rows] which slice each row belongs to */
    float *correction; /* [tokens of all rows] sampler importance ratios; NULL: none */
    int64_t *token;    /* [rows] where a row's corrections begin */
    struct correction_sums *sampling; /* [rows] of the corrections; NULL: none */
    struct round data;
};

/* A micro-step of this window: one slice of one round. */
struct grpo_slice {
    int64_t live;
    int64_t slice;
    double times;      /* how often the window visits it */
    double tokens;     /* loss tokens, all virtual ranks */
    double floor;      /* entropy floor, 0: none */
    double idle_tokens;  /* of rows that need no forward, and their entropy */
    double idle_entropy;
    int64_t idle_rows;   /* with loss tokens */
    double *kept;      /* [world] tokens at or above the floor */
};

/* A group's rows in this optimizer step. */
struct grpo_unit {
    int64_t live;      /* index into grpo.live */
    int64_t group;
    int64_t first_row; /* into grpo.rows */
    int64_t row_count;
};

struct grpo_row {
    struct rollout_row *row;
    int64_t slice;   /* into grpo.slices */
    double weight;   /* of each loss token in this step's loss */
    double bonus;    /* of each kept token's entropy */
    uint32_t key;    /* of its dropout: the row's number in the run */
    float *correction; /* NULL: none */
};

/* What a trained row adds to the metrics; gathered from all ranks for the log. */
struct grpo_record {
    int64_t row; /* into grpo.rows */
    double entropy;
    struct objective_sums sums;
    struct correction_sums sampling; /* of a row of a late round */
};

/* What fills a micro-batch; grows to the largest that came and lasts for the run. */
struct grpo_lists {
    struct grpo_piece *pieces; /* [capacity], as all of them */
    struct pack_unit *trees;
    struct pack_branch *branches;
    uint32_t *keys; /* of the pieces, when there is dropout */
    int64_t capacity;
};

struct grpo {
    const struct grpo_config *config;
    const struct rollout_env *env;
    struct grpo_orders *orders;
    struct live_round *live;
    int64_t live_count;
    struct grpo_slice *slices;
    double *kept; /* [window, world], the slices' */
    int64_t slice_count;
    int64_t capacity_slices;
    struct grpo_unit *units;
    int64_t *cost; /* [unit_count] predicted, UNIT_COST_SCALE a token row */
    struct pack_branch *branches; /* [group_size] scratch */
    struct grpo_row *rows;
    struct grpo_record *records; /* of the rows that this rank ran */
    int64_t unit_count;
    int64_t row_count;
    int64_t record_count;
    int64_t capacity_rows;
    struct ref_sync sync;
    int64_t step;            /* being prepared, -1: none yet */
    int64_t first;           /* its first micro-step */
    int64_t window;          /* micro-steps of this optimizer step */
    int64_t skipped_groups;
    bool on_policy;          /* every old log-prob of the step is of the policy before it */
    int64_t waves;           /* of replacements in this step, and groups replaced */
    int64_t replaced_groups;
    int64_t saved_rounds;    /* rounds before this are in a checkpoint: their journals can go */
    double score_seconds;    /* of this step's scoring passes */
    double num_tokens;       /* running total, TRL's num_tokens */
    struct entropy_control entropy;
    struct unit_pass pass;
    struct grpo_lists lists;
    struct pass_noise noise; /* of the passes with backward, when there is dropout */
};

/* Frees the lists. */
void grpo_lists_close(struct grpo_lists *l);

/* Loss tokens of a row: none when it is masked. */
int64_t grpo_loss_tokens(const struct rollout_row *row);

/* True when tokens are filtered by their entropy. */
bool grpo_filters(const struct grpo *g);

/* True when the row's gradient is zero whatever the model says. */
bool grpo_row_idle(const struct grpo *g, const struct rollout_row *row);

/* Units, rows and slices of the window [first, first + g->window): grpo_step.c. Fails with MEMORY.
 */
MUST_USE enum status grpo_step_build(struct grpo *g, int64_t first);

/* Some rows of some units through the model, in micro-batches under the token budget. */
typedef void (*grpo_row_fn)(void *ctx, int64_t unit, int64_t row, int64_t at,
                            const struct unit_outputs *out);
struct grpo_work {
    const struct grpo_unit *units;
    const struct grpo_row *rows;
    bool reference;   /* under the reference, without backward */
    grpo_row_fn each; /* unit: place in `order`; row: into rows; at: its first output */
    void *ctx;
};

/* Rows of a unit from `from` on until the token budget is full, as branches; returns how many. The
 * rule sees nothing but the unit and the budget. The prompt comes on top of the budget: a long one
 * would else be computed once per row. Without sharing every row is a piece. */
int64_t grpo_cut_piece(const struct grpo *g, const struct grpo_row *rows, const struct grpo_unit *u,
                       int64_t from, struct pack_branch *branches);

/* Runs units order[0 .. count): grpo_run.c. Fails with MEMORY. */
MUST_USE enum status grpo_work_run(struct grpo *g, const struct grpo_work *w, const int64_t *order,
                                   int64_t count);

/* train_method.run: gradients of a run of units. */
MUST_USE enum status grpo_run(void *ctx, const int64_t *units, int64_t count, double *sums);

/* Scores live round `live` under the policy as it is: logp and entropy, groups dealt to ranks;
 * every rank ends with all of them. Collective. Fails with MEMORY. */
MUST_USE enum status grpo_score_policy(struct grpo *g, int64_t live);

/* The same for the rows that get no training forward (grpo_row_idle). */
MUST_USE enum status grpo_score_idle(struct grpo *g, int64_t live);

/* The entropies alone, of the rows of the window from micro-step `first` that need them before or
 * instead of a training forward: all when tokens are filtered by entropy, else the idle ones. */
MUST_USE enum status grpo_score_entropies(struct grpo *g, int64_t live, int64_t first);

/* Fills row.ref with the reference's log-probs in the same way. */
MUST_USE enum status grpo_score_reference(struct grpo *g, int64_t live);

/* Importance ratios of a round that has its sampler's log-probs; of a late one those of idle rows,
 * the others are made by their training forward. Fails with MEMORY. */
MUST_USE enum status grpo_correct(struct grpo *g, struct live_round *live);

/* Replaces the round's groups of equal rewards (grpo_dynamic.c). Collective. Fails as
 * rollout_round. */
MUST_USE enum status grpo_replace_flat(struct grpo *g, int64_t round, struct round *r);

/* Log fields of a step (collective). */
MUST_USE enum status grpo_log(void *ctx, const double *totals, json_t *line);

/* train_method.work: what this rank decoded, scored and trained in the step. */
void grpo_take_work(void *ctx, struct work *w);

/* Appends a new round's rows to completions.jsonl; rank 0 only. */
MUST_USE enum status grpo_write_completions(const struct grpo *g, const struct live_round *live);

/* Drops the rounds before the window. */
void grpo_rounds_drop(struct grpo *g);

/* Keeps the judges of a round that was drawn ahead busy; between micro-batches. */
MUST_USE enum status grpo_rounds_poll(struct grpo *g);

/* train_method.settle: waits for the judges of a round that was drawn ahead. */
MUST_USE enum status grpo_rounds_settle(void *ctx);

/* Frees a live round and closes the gap. */
void grpo_live_drop(struct grpo *g, int64_t at);

/* RLOO: advantages again under `c`, now that the rows' sums of old - ref are known. Fails with
 * MEMORY. */
MUST_USE enum status grpo_penalize(const struct grpo *g, const struct rollout_config *c,
                                   struct round *r);

/* Means of metrics by name. */
struct meters;

/* No values yet; free() frees it. NULL: no memory. */
struct meters *grpo_meters_new(void);

/* A scored evaluation batch under the policy that drew it: its metrics into *m, its loss into
 * *loss. Fails with MEMORY. */
MUST_USE enum status grpo_meter_eval(const struct grpo *g, const struct live_round *live,
                                     struct meters *m, double *loss);

/* The means as eval_NAME. */
void grpo_meters_put_eval(const struct meters *m, json_t *line);

/* Evaluation at `step` (grpo_eval.c): eval_loss and the metrics of training as eval_NAME.
 * Collective. Fails as rollout_round. */
MUST_USE enum status grpo_evaluate(struct grpo *g, int64_t step, json_t *line);

/* Frees all rounds. */
void grpo_rounds_close(struct grpo *g);

/* Slices, corrections and token count of a round that has its data. Fails with MEMORY. */
MUST_USE enum status grpo_live_finish(struct grpo *g, struct live_round *live);

/* Makes room for one more round at the end of g->live, zeroed. */
MUST_USE enum status grpo_live_grow(struct grpo *g, struct live_round **out);

/* train_method.save_state: rounds, cursor and controller go into `state`. Fails with MEMORY. */
MUST_USE enum status grpo_save_state(void *ctx, json_t *state);

/* train_method.load_state: takes them back. Fails with INPUT on a damaged state, MEMORY. */
MUST_USE enum status grpo_load_state(void *ctx, const json_t *state);
