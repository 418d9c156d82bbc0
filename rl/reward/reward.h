/*
 * Rewards: scores of completions, one const row each in reward_table.c.
 *
 * Add your own in three steps: write a row function `double my_reward(const void *state, const
 * struct reward_input *in, char *reason)` in rl/reward/my.c, declare it in reward_internal.h, add a
 * row to the table. Parameters are rows too (struct reward_parameter); reward_open_values turns
 * them into the state. NaN means "no score" (TRL's None).
 *
 * Two vocabularies meet here (spec open-r1.md 2, training.md 2): Open-R1's names are those of its
 * registry (accuracy, cosine, ...), TRL's are its functions' names (accuracy_reward,
 * cosine_scaled_reward, ...). Where both mean the same they are names of one row.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum { REWARD_MAX = 16, REWARD_MAX_PARAMETERS = 12, REWARD_REASON_CAP = 256 };

struct reward_input {
    const char *completion; /* text without special tokens, NUL-terminated */
    const char *prompt;     /* text of the prompt as the model saw it, NULL: unknown */
    const json_t *messages; /* the prompt as messages, NULL: plain text (borrowed) */
    const int32_t *ids;     /* [tokens] ids of the completion, EOS included; NULL: unknown */
    int64_t tokens;         /* completion length in tokens, EOS included; -1: unknown */
    bool truncated;         /* cut off at max_completion_length */
    const json_t *row;      /* the dataset row: "solution", "answer", ... (borrowed); may be NULL */
    int64_t group;          /* prompt of the round, samples of a group share it */
    int64_t sample;         /* index in the group */
};

/* What is scored together. */
struct reward_call {
    const struct reward_input *inputs; /* [count] */
    int64_t count;
    char (*reasons)[REWARD_REASON_CAP]; /* [count] why a score is null, "" else; NULL: not wanted */
};

enum reward_scope {
    REWARD_ROW, /* a score depends on its completion alone: any order, any process */
    REWARD_CALL /* needs every completion of a virtual rank's generation call at once */
};

enum reward_parameter_type {
    PARAMETER_NUMBER,
    PARAMETER_COUNT, /* whole number */
    PARAMETER_FLAG,  /* true or false */
    PARAMETER_TEXT,
    PARAMETER_TEXTS  /* list of texts, or one */
};

/* One parameter; the names are keys of the recipe and, behind them, of the original functions. */
struct reward_parameter {
    const char *key;     /* NULL ends a table */
    const char *aliases; /* space-separated, NULL: none */
    enum reward_parameter_type type;
    double def;          /* numbers and flags; as the original function's */
    double low;          /* range of numbers */
    double high;
    const char *text;    /* default of PARAMETER_TEXT, NULL: none; others: unused */
    const char *doc;
};

/* Parameters after reward_open_values, by their place in the table. */
struct reward_values {
    double number[REWARD_MAX_PARAMETERS];
    json_t *json[REWARD_MAX_PARAMETERS]; /* PARAMETER_TEXT(S): owned; NULL: not given */
};

struct reward {
    const char *name;
    const char *aliases; /* other names, space-separated, NULL: none */
    const char *needs;   /* column the row must have, NULL: none */
    enum reward_scope scope;
    bool isolated; /* needs a process of its own: it forks, loads foreign code, or may hang */
    const struct reward_parameter *parameters; /* NULL: none */

    /* Checks parameters (an object of any rewards' keys, or NULL) and makes the state; NULL: no
     * state. Fails with RECIPE, naming the key, MEMORY, DEVICE. */
    enum status (*open)(const struct reward *r, const json_t *parameters, void **state);

    /* One score, for rewards that look at one completion; exactly one of row and score is set. Must
     * not fail, block or allocate without bound. `reason` [REWARD_REASON_CAP] holds "" and takes
     * why the score is NaN; it may be NULL. */
    double (*row)(const void *state, const struct reward_input *in, char *reason);

    /* Scores of a whole call: scores[0 .. count). A completion that cannot be scored is NaN, not a
     * failure; what fails ends the run. Called by one thread at a time for a state. */
    enum status (*score)(void *state, const struct reward_call *call, double *scores);

    void (*close)(void *state); /* NULL: nothing to free */
    const char *doc;
};

/* Row by name or alias; NULL when there is none. */
const struct reward *reward_find(const char *name);

/* Row `i`, NULL past the end. */
const struct reward *reward_at(int64_t i);

/* Every reward's name, "accuracy, format, ..."; cut at `size`. */
void reward_names(char *out, size_t size);

/* The parameter of `r` that `key` names, or NULL. */
const struct reward_parameter *reward_parameter_find(const struct reward *r, const char *key);

/* Rewards with their states, opened for one thread; the names are borrowed. */
struct reward_use {
    const struct reward *reward;
    const char *name; /* as the recipe wrote it */
    void *state;
    struct reward_remote *remote; /* NULL: judged here */
};

struct helper;

struct reward_set {
    struct reward_use items[REWARD_MAX];
    int count;
};

/* Opens `count` rewards by name with one object of parameters (borrowed, may be NULL); a key that
 * no reward of the set knows is left alone. Fails with RECIPE: an unknown name, a wrong parameter.
 * Close with reward_set_close also after a failure. */
MUST_USE enum status reward_set_open(struct reward_set *set, const char *const *names,
                                     int64_t count, const json_t *parameters);

/* The same; rewards that are `isolated` are judged by worker processes of `helper` (NULL: here, in
 * a process that must have one thread). Of the parameters, reward_workers (2) says how many workers
 * each gets, reward_timeout (300 s) how long one completion may take. */
MUST_USE enum status reward_set_open_isolated(struct reward_set *set, struct helper *helper,
                                              const char *const *names, int64_t count,
                                              const json_t *parameters);

/* Adds one reward by name to a set that starts zeroed, likewise. */
MUST_USE enum status reward_set_add_named(struct reward_set *set, struct helper *helper,
                                          const char *name, const json_t *parameters);

/* Adds a reward that is no row of the table, with its opened state, which the set then closes. The
 * set has room. */
void reward_set_add(struct reward_set *set, const struct reward *reward, const char *name,
                    void *state);

/* Scores of reward `k` for a call: scores[call->count]. Reasons, when wanted, are cleared first. */
MUST_USE enum status reward_set_score(struct reward_set *set, int k, const struct reward_call *call,
                                      double *scores);

/* Closes states; the set is empty afterwards. */
void reward_set_close(struct reward_set *set);

/* An input as JSON, to judge it in another process (new reference, NULL: no memory). */
json_t *reward_input_to_json(const struct reward_input *in);

/* Reads what reward_input_to_json wrote. Texts, messages and row are borrowed from `json`, which
 * must outlive the input; ids are new: free them with reward_input_close. Fails with INPUT, MEMORY.
 */
MUST_USE enum status reward_input_from_json(const json_t *json, struct reward_input *out);

/* Frees the ids of an input that reward_input_from_json made. */
void reward_input_close(struct reward_input *in);
