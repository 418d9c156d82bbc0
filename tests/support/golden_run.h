/*
 * Golden training runs (golden/grpo/runs, golden/preference): the tiny llama with the run's adapter,
 * or all weights, at the golden start; the settings of the file as Graft's; what the run logged and
 * ended with against what TRL did. Limits: golden/README-training.md.
 */
#pragma once

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
    int64_t eval_steps; /* steps between evaluations of golden_run_train; 0: none */
    int64_t eval_delay;
    bool eval_on_start;
};

/* What the comparison found at worst; see golden_run_check_*. */
struct golden_worst {
    double grad;   /* relative L2 of the first step's gradients */
    double log;    /* |difference| / (|golden| + 0.1), over every logged number, step 1's times 3 */
    const char *log_key; /* where (a string of the golden log) */
    double absolute; /* of parameters after the run */
    double l2;       /* relative, of all parameters together */
    bool noise;    /* the reference trains on rounding errors; set by the test that knows */
};

/* Opens run `name` of golden/`sub` (folder). */
void golden_run_open(struct golden_run *r, const char *sub, const char *name);
void golden_run_close(struct golden_run *r);

/* The first step's gradient, clipped, is the golden one; no update is made. */
void golden_run_check_gradient(struct golden_run *r, const struct train_method *m,
                               struct golden_worst *w);

/* Trains `steps` steps in the run's folder; every step is logged. */
void golden_run_train(struct golden_run *r, const struct train_method *m, int64_t steps);

/* Every number that TRL logged at a step, but for `skip` (space-separated keys), is in log.jsonl. */
void golden_run_check_log(const struct golden_run *r, int64_t steps, const char *skip,
                          struct golden_worst *w);

/* The same of the evaluations that TRL logged; returns how many there are. */
int golden_run_check_evals(const struct golden_run *r, int64_t steps, struct golden_worst *w);

/* The parameters are those of final.*. */
void golden_run_check_weights(const struct golden_run *r, struct golden_worst *w);

/* Prints the worst differences and fails the test when they are outside the limits. */
void golden_run_verdict(const struct golden_run *r, const struct golden_worst *w);

/* Calls each for every run (*.json) in golden/`sub`; skips the test when there is none. */
void golden_run_each(const char *sub, void (*each)(const char *sub, const char *name));
