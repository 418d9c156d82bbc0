/*
 * One round of GRPO: prompts -> completions -> rewards -> advantages, known on every rank.
 *
 * Groups are dealt to ranks for generation and judging by the tokens that their completions are
 * expected to have; the finished rows are exchanged, so that the loop may train any group on any
 * rank.
 */
#pragma once

#include "rl/advantage.h"
#include "rl/reward/reward.h"
#include "trainer/comm/comm.h"
#include "trainer/data/prompt.h"
#include "trainer/generate/generate.h"

struct rollout_row {
    int64_t group;
    uint32_t sample;
    int64_t count;      /* tokens, the stop id included */
    int32_t *ids;       /* [count] */
    float *logp;        /* [count] behaviour log-probs: the sampler's own, or scored when foreign */
    float *entropy;     /* [count] */
    float *sampling;    /* [count] a foreign sampler's log-probs, NaN: unknown; NULL: none given */
    float *ref;         /* [count] the reference's log-probs, when scored; NULL: not yet */
    bool stopped;
    bool replayed;      /* came out of a journal */
    bool judged;        /* so did its verdict */
    bool masked;        /* truncated and mask_truncated_completions: no loss tokens */
    double rewards[REWARD_MAX];
    double reward;      /* weighted sum, NaN: unscorable */
    double advantage;
};

struct rollout_group {
    int64_t index;      /* row of the dataset */
    int32_t *prompt;    /* [prompt_count] */
    int64_t prompt_count;
    double reward_std;
};

struct round {
    int64_t groups;
    int64_t group_size;
    struct rollout_group *group; /* [groups] */
    struct rollout_row *row;     /* [groups * group_size], group-major */
    int *owner; /* [groups] rank that draws and judges it; NULL: a round of a checkpoint */
    struct generate_stats stats; /* this rank's decoder */
    double judge_seconds;        /* this rank waited for verdicts behind its decoder */
    double flat;                 /* share of rows whose rewards don't spread */
};

/* Dataset access: row `i` (a new reference), or NULL past the end. */
typedef json_t *(*row_fn)(void *ctx, int64_t i);

/* Where completions come from instead of generate(); same contract. A foreign source samples with
 * another engine or from a table: its log-probs (NULL where it has none) become row.sampling, and
 * row.logp and row.entropy are zeros until the caller scores the rows. */
struct completion_source {
    enum status (*complete)(void *ctx, const struct generate_args *args,
                            struct completion_set *out, struct generate_stats *stats);
    void *ctx;
    bool foreign;
};

struct rollout_history; /* rollout_history.h */

/* Where finished completions and verdicts are kept while a round runs. */
struct rollout_journal {
    const char *folder;
    uint64_t (*fingerprint)(void *ctx); /* of the weights that sample, alike on all ranks */
    void *ctx;
};

/* FNV-like hash of `bytes` bytes on top of `hash`, for fingerprints. */
uint64_t rollout_hash(uint64_t hash, const void *data, size_t bytes);

/* Removes the journals of the rounds before `before`; NULL is allowed. One rank calls it. */
void rollout_journal_drop(const struct rollout_journal *j, int64_t before);

/* The same, and the folder when it is empty then: no rank opens a journal any more. */
void rollout_journal_end(const struct rollout_journal *j, int64_t before);

struct rollout_config {
    int64_t group_size;
    int64_t max_completion_length;
    bool mask_truncated;
    struct sample_config sample;     /* step is set per round */
    struct generate_limits limits;
    struct advantage_config advantage;
    struct reward_set *rewards;
    const double *weights; /* [rewards->count] */
    int64_t call_rows;     /* rows of a virtual rank's generation call; 0: the whole round */
    int64_t first_row;     /* random keys: a group's index is first_row + its place */
    int64_t wave;          /* of the round, 0 the first; tells journals apart */
    const struct rollout_journal *journal; /* NULL: none */
    struct rollout_history *history;        /* of earlier rounds, decides time alone; NULL: none */
    const struct completion_source *source; /* NULL: the engine samples (generate) */
};

struct rollout_env {
    const struct model *model;
    struct ops_context *ops;
    const struct comm *comm;
    struct prompt_format format;
    row_fn row;
    void *row_ctx;
    const char *where; /* names the dataset in messages */
};

/* Rolls out round `round_index` for the dataset rows indices[0 .. groups). Collective; every rank
 * ends with the same *out. Free with round_close. */
MUST_USE enum status rollout_round(const struct rollout_config *c, const struct rollout_env *env,
                                   const int64_t *indices, int64_t groups, int64_t round_index,
                                   struct round *out);

/* A round in pieces: opened, drawn, finished. After the draw anything may run, the policy may move,
 * too; judges work meanwhile. */
struct rollout_pending;

/* Prompts, journals and judges of a round. Collective; after a failure *out is closed and *pending
 * NULL. Goes on with rollout_draw and rollout_finish for the same round (the struct may have been
 * moved), or rollout_cancel. c is copied, what it points to and env are borrowed. */
MUST_USE enum status rollout_open(const struct rollout_config *c, const struct rollout_env *env,
                                  const int64_t *indices, int64_t groups, int64_t round_index,
                                  struct round *out, struct rollout_pending **pending);

struct rollout_drawn {
    struct rollout_pending *pending;
    struct round *round;
};

/* This rank's completions of one round, or of `count` rounds of as many policies in one batch:
 * round i is drawn by the hooks of adapter slot i (hook.slot). The rounds have one model, length
 * and sampling, but for the seed. Collective. After a failure the rounds are the caller's to cancel
 * and close. */
MUST_USE enum status rollout_draw(const struct rollout_drawn *rounds, int64_t count);

/* Takes the verdicts that are there and hands waiting completions to idle judges; never waits.
 * Fails as a reward does. */
MUST_USE enum status rollout_poll(struct rollout_pending *pending);

/* Verdicts, exchange, advantages. Collective. Frees `pending`; after a failure *r is closed. */
MUST_USE enum status rollout_finish(struct rollout_pending *pending, struct round *r);

/* Gives the second half up and frees; the round stays the caller's. NULL is allowed. */
void rollout_cancel(struct rollout_pending *pending);

/* Advantages of a round whose rewards are there, alike on every rank; rollout_round has done it.
 * Again when a penalty [rows] (RLOO's beta k1) is known. Fails with MEMORY. */
MUST_USE enum status rollout_advantages(const struct rollout_config *c, const double *penalty,
                                        struct round *r);

/* Frees groups and rows and zeroes the round. */
void round_close(struct round *r);

/* A round as JSON (ids, log-probs, rewards) and back, for a checkpoint in the middle of a round. */
MUST_USE enum status round_to_json(const struct round *r, json_t **out);

/* Reads what round_to_json wrote. Fails with INPUT on a damaged one, MEMORY; round_close in either
 * case. */
MUST_USE enum status round_from_json(const json_t *json, struct round *out);
