/*
 * The training loop that SFT and GRPO share: units -> shards -> gradients -> exact sum -> clip ->
 * optimizer -> log -> checkpoint, with resume, signals and skipped non-finite steps.
 *
 * A method (SFT, GRPO) supplies three functions: what the units of a step are, the gradient of a
 * run of units, and what to log. Everything that decides bits is in the loop, once.
 */
#pragma once

#include <jansson.h>

#include "trainer/best.h"
#include "trainer/comm/comm.h"
#include "trainer/comm/shards.h"
#include "trainer/model/model.h"
#include "trainer/model/work.h"
#include "trainer/optim/optim.h"

struct train_config {
    const char *output_dir;
    const char *label;          /* in front of progress lines, "member 2: "; NULL: nothing */
    int64_t max_steps;          /* > 0 after resolution by the stage */
    int64_t logging_steps;
    int64_t save_steps;         /* 0: only at the end */
    int64_t save_total_limit;   /* 0: keep all */
    int64_t eval_steps;         /* 0: no evaluation during training */
    int64_t eval_delay;         /* no evaluation before this step */
    int64_t steps_per_epoch;    /* 0: not known, then the log has no epoch */
    double epochs;              /* of the whole run, for trainer_state.json */
    int64_t batch;              /* per device, for trainer_state.json */
    bool eval_on_start;         /* evaluate before step 1, logged as step 0 */
    bool logging_first_step;    /* show step 1 too */
    bool tensorboard;           /* also write TensorBoard's event file */
    int shards;
    int64_t max_nonfinite_steps;
    bool resume;                /* resume=auto (default) or never */
    struct optim_config optim;
    struct best_rule best;      /* an adaptive schedule follows its metric too */
    int64_t step_rows;          /* of an optimizer step, all ranks; 0: not known */
};

/* Metrics of a step: named sums that are added over units in unit order. */
enum { TRAIN_MAX_METRICS = 48 };

struct train_units {
    int64_t count;
    const int64_t *cost; /* [count] predicted, in any unit; decides shards */
    int64_t padded;      /* tokens of the step as Transformers pads its batches; 0: not counted */
};

struct train_method {
    const char *name; /* "sft", "grpo" */
    void *ctx;
    /* Collective: makes the units of step `step` (0 for the first) known on every rank. May roll
     * out and judge. Pointers stay valid until the next call. */
    enum status (*prepare)(void *ctx, int64_t step, struct train_units *units);
    /* Adds the gradients of units[0 .. count) (indices, ascending, one shard) to the param set's
     * grad, packing them into micro-batches; sums[i * metrics + k] receives unit units[i]'s metric
     * k. */
    enum status (*run)(void *ctx, const int64_t *units, int64_t count, double *sums);
    int metrics;  /* number of metric sums per unit; metric 0 is the loss */
    /* Optional: sees and may change the sums of all units [count, metrics], in unit order, before
     * they are added: for what is no sum. */
    void (*combine)(void *ctx, double *by_unit, int64_t count);
    /* Turns the totals of the step into log fields (adds to `line`). */
    enum status (*log)(void *ctx, const double *totals, json_t *line);
    /* Collective, optional: evaluation at `step`, adds eval_ fields. */
    enum status (*evaluate)(void *ctx, int64_t step, json_t *line);
    int64_t eval_rows;    /* of an evaluation, and its batches; 0: not known */
    int64_t eval_batches;
    /* Collective, optional: ends work that goes on beside the steps, before save_state. */
    enum status (*settle)(void *ctx);
    /* Optional: data cursor and random state for the checkpoint, and back. */
    enum status (*save_state)(void *ctx, json_t *state);
    enum status (*load_state)(void *ctx, const json_t *state);
    /* Optional: moves the work that this rank did since the last call into *w. */
    void (*work)(void *ctx, struct work *w);
};

/* The machine's limits for the model's products, for limit_fraction in the log. */
struct train_limits {
    struct work_costs costs;
    struct work_peaks peaks;
};

/* Writes the weights a checkpoint or the final folder holds (adapter or model files). */
typedef enum status (*train_export_fn)(void *ctx, const char *folder);
/* Reads them back into the param set. */
typedef enum status (*train_import_fn)(void *ctx, const char *folder);

struct train_args {
    const struct train_config *config;
    const struct comm *comm;
    struct ops_context *ops;
    struct param_set *params;
    const struct train_method *method;
    train_export_fn export_fn;
    void *export_ctx;
    const char *recipe_text; /* resolved recipe, saved as recipe.yaml */
    int64_t world_size;      /* virtual ranks */
    int64_t weights;         /* of the model but for embeddings, for total_flos; 0: not known */
    const struct train_limits *limits; /* NULL: not measured */
};

/* What a finished run says. */
struct train_result {
    int64_t steps;
    int64_t skipped;       /* non-finite steps */
    double train_loss;     /* mean of logged losses */
    double seconds;
    struct best_state best;
    bool already_finished;
};

/* Runs to max_steps. Fails with INTERRUPTED after a signal (checkpoint saved), NUMERIC after
 * max_nonfinite_steps, IO when a checkpoint can't be written (the previous one stays intact). */
MUST_USE enum status train_run(const struct train_args *a, struct train_result *out);

/* The same in pieces, for several trainings side by side. */
struct trainer;

/* Resumes, or starts with the evaluation of eval_on_start. `a` and what it points to are borrowed
 * until trainer_close, which is due after a failure as well. */
MUST_USE enum status trainer_open(struct trainer **out, const struct train_args *a);

/* True when max_steps are done. */
bool trainer_done(const struct trainer *t);

/* Steps done. */
int64_t trainer_at(const struct trainer *t);

/* One step with its log line and, when due or asked for by a signal, its checkpoint. Fails as
 * train_run; after INTERRUPTED the checkpoint is there. */
MUST_USE enum status trainer_step(struct trainer *t);

/* A checkpoint of the step at hand, when there is none yet. */
MUST_USE enum status trainer_save(struct trainer *t);

/* The run's final files. */
MUST_USE enum status trainer_finish(struct trainer *t);

/* Frees; *out says how it went. NULL is allowed and leaves *out alone. */
void trainer_close(struct trainer *t, struct train_result *out);

/* Installs the handlers: SIGTERM, SIGINT, SIGUSR1 ask for a checkpoint and exit 5; a second signal
 * stops at once. */
void train_signals_install(void);

/* True once a signal asked to stop. */
bool train_stop_requested(void);
