/* The commands of this folder's cmd_*.c files. Each fails as its parts do; results go to standard
 * output or --output, messages to standard error. */
#pragma once

#include "recipes/cli.h"

MUST_USE enum status cmd_tokenize(const struct command_args *args); /* {"text"} -> {"ids", "text"} */
MUST_USE enum status cmd_template(const struct command_args *args); /* {"messages"} -> {"prompt"} */
MUST_USE enum status cmd_score(const struct command_args *args);    /* rows -> {"logprobs", "nll"} */
MUST_USE enum status cmd_inspect(const struct command_args *args);  /* what a file or folder holds */
MUST_USE enum status cmd_estimate(const struct command_args *args); /* memory before a run */
MUST_USE enum status cmd_doctor(const struct command_args *args);   /* what this machine offers */
MUST_USE enum status cmd_validate(const struct command_args *args); /* checks a recipe */
MUST_USE enum status cmd_recipes(const struct command_args *args);  /* lists or copies recipes */
MUST_USE enum status cmd_plot(const struct command_args *args);     /* redraws report.html */
