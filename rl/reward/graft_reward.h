/*
 * The C interface of a reward in a shared library: `reward_funcs: library`, `reward_library:
 * my.so`.
 *
 * The library exports one function, graft_reward, that returns its table. Build it with
 *     cc -shared -fPIC -I GRAFT my.c -o my.so
 * Graft opens it in worker processes, one thread each: a crash or a hang costs one null score.
 * This header stands alone, so that it can be copied.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Grows when a member changes its meaning; a library of another version is refused. */
#define GRAFT_REWARD_ABI 1u

/* One completion; texts are NUL-terminated UTF-8 and valid during the call. */
struct graft_reward_input {
    const char *completion;
    const char *prompt;     /* NULL: unknown */
    const char *row;        /* the dataset row as a JSON object, "{}" when there is none */
    int64_t tokens;         /* length of the completion, -1: unknown */
    int32_t truncated;      /* nonzero: cut off at max_completion_length */
};

struct graft_reward_api {
    uint32_t abi; /* GRAFT_REWARD_ABI */

    /* Makes the state from the recipe's reward parameters (a JSON object); NULL when there is none.
     * *failed set to nonzero ends the run; may be NULL. */
    void *(*open)(const char *parameters, int *failed);

    /* The score; NaN: no score, with why in reason [reason_size], which holds "". */
    double (*score)(void *state, const struct graft_reward_input *in, char *reason,
                    size_t reason_size);

    /* Frees the state; may be NULL. */
    void (*close)(void *state);
};

/* Returns the library's table, which must stay valid until the process ends. */
const struct graft_reward_api *graft_reward(void);
