/*
 * Accuracy of a model on a set of problems: sampled or greedy completions, judged exactly; shared
 * over ranks, the same on any number of them.
 */
#pragma once

#include "trainer/comm/comm.h"
#include "trainer/data/prompt.h"
#include "trainer/generate/generate.h"

struct eval_config {
    int64_t rows;                /* problems: 0 .. rows - 1 */
    int64_t samples;             /* completions per problem */
    struct sample_config sample; /* purpose and step are set here */
    struct generate_limits limits;
    bool hooks;                  /* adapters on */
    const char *samples_file;    /* per-sample JSONL to append to (rank 0), NULL: none */
    const char *output_dir;
    const char *label;           /* "before", "after": written into the lines */
};

struct eval_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    struct prompt_format format;
    json_t *(*row)(void *ctx, int64_t i); /* new reference, NULL past the end */
    void *row_ctx;
    const char *where;
};

struct eval_result {
    double accuracy;   /* mean over judged samples */
    double stderr_;    /* standard error of the mean over problems */
    int64_t judged;
    int64_t problems;
    double mean_length; /* tokens */
    double truncated;   /* share cut off at max_new_tokens */
    double seconds;
};

/* Runs the evaluation (collective). Fails with INPUT on a bad row, MEMORY. */
MUST_USE enum status eval_accuracy(const struct eval_config *c, const struct eval_env *env,
                                   struct eval_result *out);

/* The result as a JSON object (new reference). */
json_t *eval_result_json(const struct eval_result *r);
