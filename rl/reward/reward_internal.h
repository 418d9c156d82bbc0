/* The reward functions behind the table; add yours here (see reward.h). */
#pragma once

#include "rl/reward/reward.h"

/* State of rewards whose parameters are a table: struct reward_values. Fails with RECIPE. */
MUST_USE enum status reward_open_values(const struct reward *r, const json_t *parameters,
                                        void **state);

/* Reads the table's parameters into *v; fails with RECIPE. reward_values_clear in any case. */
MUST_USE enum status reward_values_read(const struct reward *r, const json_t *parameters,
                                        struct reward_values *v);

/* Drops the JSON values. */
void reward_values_clear(struct reward_values *v);

/* Frees what reward_open_values made. */
void reward_close_values(void *state);

/* Writes why a score is null; `reason` may be NULL. */
void reward_explain(char *reason, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* 1 when the answer equals the gold answer (boxed, else the last number), else 0. */
double reward_last_number(const void *state, const struct reward_input *in, char *reason);

/* ---- judged.c: rewards with a math judge; state struct judged ---- */
extern const struct reward_parameter REWARD_JUDGE_PARAMETERS[];
extern const struct reward_parameter REWARD_REASONING_PARAMETERS[];
extern const struct reward_parameter REWARD_LENGTH_PARAMETERS[];
extern const struct reward_parameter REWARD_COSINE_PARAMETERS[];
extern const struct reward_parameter REWARD_COSINE_SCALED_PARAMETERS[];

/* Opens the judge and reads the parameters. Fails with RECIPE, MEMORY. */
MUST_USE enum status reward_open_judged(const struct reward *r, const json_t *parameters,
                                        void **state);

/* Closes the judge. */
void reward_close_judged(void *state);

/* Open-R1 accuracy: 1 or 0 by Math-Verify's verdict, NaN when the gold answer can't be read. */
double reward_accuracy(const void *state, const struct reward_input *in, char *reason);

/* TRL accuracy_reward: as above with TRL's settings of the judge. */
double reward_accuracy_trl(const void *state, const struct reward_input *in, char *reason);

/* TRL reasoning_accuracy_reward: the text behind the last delimiter; 0 without one. */
double reward_reasoning_accuracy(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 cosine: lo + (hi - lo)(1 + cos(pi n / max_len)) / 2 of n characters. */
double reward_cosine(const void *state, const struct reward_input *in, char *reason);

/* TRL cosine_scaled_reward: the same of min(n, max_len) tokens. */
double reward_cosine_scaled(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 length (Kimi k1.5, arXiv 2501.12599): lambda = 1/2 - (n - min) / (max - min) over the
 * call, min(0, lambda) when wrong. */
MUST_USE enum status reward_length(void *state, const struct reward_call *call, double *scores);

/* ---- format.c ---- */
extern const struct reward_parameter REWARD_FORMAT_PARAMETERS[];
extern const struct reward_parameter REWARD_CODE_FORMAT_PARAMETERS[];

/* 1 when the completion is <think>\n...\n</think>\n<answer>\n...\n</answer> (open-r1 format). */
double reward_format(const void *state, const struct reward_input *in, char *reason);

/* The same with a ```LANGUAGE block in the answer (open-r1 code_format). */
double reward_code_format(const void *state, const struct reward_input *in, char *reason);

/* 0.25 for each of the four tags that occurs exactly once (open-r1 tag_count). */
double reward_tag_count(const void *state, const struct reward_input *in, char *reason);

/* TRL think_format_reward: <think> at the start, once, and closed. */
double reward_think_format(const void *state, const struct reward_input *in, char *reason);

/* ---- steps.c, repetition.c, overlong.c ---- */
extern const struct reward_parameter REWARD_STEPS_PARAMETERS[];
extern const struct reward_parameter REWARD_REPETITION_PARAMETERS[];
extern const struct reward_parameter REWARD_TOKEN_REPETITION_PARAMETERS[];
extern const struct reward_parameter REWARD_OVERLONG_PARAMETERS[];

/* Open-R1 reasoning_steps: min(1, marks of steps / 3). */
double reward_reasoning_steps(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 repetition_penalty: (1 - unique / all n-grams of words) * max_penalty. */
double reward_repetition(const void *state, const struct reward_input *in, char *reason);

/* TRL repetition_penalty_reward: the same of token ids. */
double reward_token_repetition(const void *state, const struct reward_input *in, char *reason);

/* DAPO's soft overlong punishment (arXiv 2503.14476, equation 13), of tokens. */
double reward_overlong(const void *state, const struct reward_input *in, char *reason);

/* ---- procedural.c ---- */
extern const struct reward_parameter REWARD_PROCEDURAL_PARAMETERS[];

/* Checks procedural_answer. Fails with RECIPE, MEMORY. */
MUST_USE enum status reward_open_procedural(const struct reward *r, const json_t *parameters,
                                            void **state);

/* Score of the row's procedural task (eval/tasks); NaN where its judge raises. */
double reward_procedural(const void *state, const struct reward_input *in, char *reason);

/* ---- code.c, contest.c: programs run in a sandbox; state struct code_state ---- */
extern const struct reward_parameter REWARD_CODE_PARAMETERS[];
extern const struct reward_parameter REWARD_CONTEST_PARAMETERS[];

/* Reads the parameters and opens the sandbox. Fails with RECIPE, DEVICE (a missing layer), MEMORY.
 */
MUST_USE enum status reward_open_code(const struct reward *r, const json_t *parameters,
                                      void **state);

/* The same for contest rewards, whose scoring mode is checked as well. */
MUST_USE enum status reward_open_contest(const struct reward *r, const json_t *parameters,
                                         void **state);

/* Closes the sandbox. */
void reward_close_code(void *state);

/* Open-R1 code: share of the row's verification_info.test_cases that the program passes. */
double reward_code(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 binary_code: 1 when code is over 0.99, else 0. */
double reward_binary_code(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 ioi_code: least score of a subtask's tests. */
double reward_ioi(const void *state, const struct reward_input *in, char *reason);

/* Open-R1 cf_code: Codeforces' tests and checkers. */
double reward_codeforces(const void *state, const struct reward_input *in, char *reason);

/* ---- program.c, library.c: rewards of the user's ---- */
extern const struct reward_parameter REWARD_PROGRAM_PARAMETERS[];
extern const struct reward_parameter REWARD_LIBRARY_PARAMETERS[];

/* Starts the program. Fails with RECIPE, DEVICE, MEMORY. */
MUST_USE enum status reward_open_program(const struct reward *r, const json_t *parameters,
                                         void **state);

/* What the program answers; NaN when it fails. */
double reward_program(const void *state, const struct reward_input *in, char *reason);

/* Kills the program. */
void reward_close_program(void *state);

/* Loads the library and opens its state. Fails with RECIPE (no such file, another interface
 * version), MEMORY. */
MUST_USE enum status reward_open_library(const struct reward *r, const json_t *parameters,
                                         void **state);

/* The library's score. */
double reward_library(const void *state, const struct reward_input *in, char *reason);

/* Closes its state and unloads it. */
void reward_close_library(void *state);
