/*
 * Golden training runs (golden/grpo/runs, golden/preference): the tiny llama with the run's
 * adapter, or all weights, at the golden start; the settings of the file as Graft's; what the run
 * logged and ended with against what TRL did. Limits: golden/README-training.md.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "adapters/adapter.h"
#include "tests/support/golden_files.h"
#include "tests/support/model_files.h"
#include "trainer/comm/comm.h"
#include "trainer/text/chat_template.h"
#include "trainer/text/tokenizer.h"
#include "trainer/train.h"

struct golden_run {
    const char *name;
    json_t *json;
    const json_t *args;
    struct safetensors *tensors;
    struct model_files files; /* output_dir */
    struct tokenizer *tokenizer;
    struct chat_template *chat;
    struct model *model;
    struct ops_context ops;
    struct comm comm;
    struct param_set params;
    struct adapter *adapter; /* NULL: full training */
    struct adapter_config adapter_config;
    struct optim_config optim;
    double log_floor;   /* logged numbers agree relative to their size and this; 0.1 after open */
    double norm_floor;   /* the same of grad_norm: open */
    double reward_floor; /* the same of rewards/ and kl, which are differences of sums: open */
    double later_limit; /* and this far after the first step; 3e-5 after open */
    int64_t eval_steps; /* steps between evaluations of golden_run_train; 0: none */
    int64_t eval_delay;
    bool eval_on_start;
};

/* What the comparison found at worst; see golden_run_check_*. */
struct golden_worst {
    double grad;   /* relative L2 of the first step's gradients */
    double log; /* |difference| / (|golden| + log_floor), of any logged number, against its limit */
    const char *log_key; /* where (a string of the golden log) */
    double absolute; /* of parameters after the run */
    double l2;       /* relative, of all parameters together */
    double tensor;   /* relative L2 of the worst one: told, not limited, see golden_run_verdict */
    const char *tensor_name;
    int64_t undetermined; /* numbers whose first step is rounding, see golden_run_check_weights */
};

/* Opens run `name` of golden/`sub` (folder). */
void golden_run_open(struct golden_run *r, const char *sub, const char *name);
void golden_run_close(struct golden_run *r);

/* The first step's gradient, clipped, is the golden one; no update is made. */
void golden_run_check_gradient(struct golden_run *r, const struct train_method *m,
                               struct golden_worst *w);

/* Trains `steps` steps in the run's folder; every step is logged. */
void golden_run_train(struct golden_run *r, const struct train_method *m, int64_t steps);

/* Every number that TRL logged at a step, but for `skip` (space-separated keys), is in log.jsonl.
 */
void golden_run_check_log(const struct golden_run *r, int64_t steps, const char *skip,
                          struct golden_worst *w);

/* The same of the evaluations that TRL logged; returns how many there are. */
int golden_run_check_evals(const struct golden_run *r, int64_t steps, struct golden_worst *w);

/*
 * The parameters are those of final.*. Adam's first step is lr g / (|g| + eps): a gradient near eps
 * makes of its own rounding, 1e-6 of its tensor's root mean square, a step that may be off by more
 * than the limit, for TRL under another attention kernel as for Graft. Such a number is counted and
 * need only be within two steps of the golden one.
 */
void golden_run_check_weights(const struct golden_run *r, struct golden_worst *w);

/*
 * Prints the worst differences and fails the test when they are outside the limits: those of the
 * gradients, of the log, of every number after the run and of all of them together. A single
 * tensor's relative L2 is no measure: one step with a visible rounding is 3e-4 of a small one.
 */
void golden_run_verdict(const struct golden_run *r, const struct golden_worst *w);

/* What is done with every run (*.json) of golden/`sub`. */
struct golden_runs {
    const char *sub;
    void (*check)(const char *sub, const char *name);
};

/*
 * Runs `count` tests and then one test for each run of the folders, so that all that fail are
 * reported; a folder that is not there is one skipped test. Returns how many failed, for main.
 */
int golden_run_tests(const struct CMUnitTest *tests, size_t count, const struct golden_runs *runs,
                     size_t run_count);
