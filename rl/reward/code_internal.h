/* What the code rewards share: state, finding the program, test cases. */
#pragma once

#include "eval/sandbox/program.h"
#include "rl/reward/reward_internal.h"

/* Parameters and the sandbox; sandbox_profile is the first parameter of every table. */
struct code_state {
    struct reward_values values;
    struct sandbox *sandbox;
};

/* A piece of a text; `found` is false when there is none (size 0). */
struct code_text {
    const char *text;
    size_t size;
    bool found;
};

/* The last fenced block ```language\n ... ``` of a completion. */
struct code_text code_block(const char *completion, const char *language);

/* Without white space on both ends. */
struct code_text code_trim(const char *text, size_t size);

/* True when a run ended at its time limit. */
bool code_out_of_time(const struct sandbox_result *r);
