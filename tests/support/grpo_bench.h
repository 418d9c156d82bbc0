/*
 * GRPO on the embedded model without the program around it: sums that a made-up reward judges, one
 * rank, one thread, rounds of GRPO_BENCH_ROWS rows that one step trains.
 */
#pragma once

#include "adapters/adapter.h"
#include "rl/grpo_internal.h"

enum { GRPO_BENCH_SIZE = 4, GRPO_BENCH_ROWS = 8 };

struct grpo_bench {
    struct ops_context ops;
    struct comm comm;
    struct model *model;
    struct tokenizer *tokenizer;
    struct param_set params;
    struct adapter *adapter;
    struct rollout_env env;
    struct reward_set rewards;
    double weights[1];
    struct grpo_config config;
    struct grpo *g;
};

/* Fails the test, with the message, when it is not STATUS_OK. */
void grpo_bench_need(enum status status);

/* Opens all of it; async_rounds and correction go into the config. Close with grpo_bench_close. */
void grpo_bench_open(struct grpo_bench *b, int64_t steps, int64_t async_rounds,
                     const struct correction_config *correction);

void grpo_bench_close(struct grpo_bench *b);

/* Brings `step` to where its units can be run: rounds drawn, judged, scored. */
void grpo_bench_prepare(struct grpo_bench *b, int64_t step);

/* Gradients of the step that is prepared, from zeros, in b->params.grad. */
void grpo_bench_run(struct grpo_bench *b);
