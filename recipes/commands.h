/* The commands of this folder's cmd_*.c files. Each fails as its parts do; results go to standard
 * output or --output, messages to standard error. */
#pragma once

#include "recipes/cli.h"

/* Rows {"text"} to {"ids", "text"}, rows {"ids"} to {"text"}. */
MUST_USE enum status cmd_tokenize(const struct command_args *args);
/* Rows {"messages"} to {"prompt"}. */
MUST_USE enum status cmd_template(const struct command_args *args);
/* Rows of tokens or text to {"logprobs", "nll"}. */
MUST_USE enum status cmd_score(const struct command_args *args);
/* Rows {"completion", ..} to {"scores", "reward"}. */
MUST_USE enum status cmd_reward(const struct command_args *args);
/* Rows {"gold", "answer"} to {"equal", "reward"}. */
MUST_USE enum status cmd_grade(const struct command_args *args);
/* What a file or folder holds. */
MUST_USE enum status cmd_inspect(const struct command_args *args);
/* Memory of a run before it starts. */
MUST_USE enum status cmd_estimate(const struct command_args *args);
/* What this machine offers. */
MUST_USE enum status cmd_doctor(const struct command_args *args);
/* *out: the method of a command's name, for --method. Fails with USAGE naming those there are. */
MUST_USE enum status command_named_method(const char *name, enum recipe_method *out);
/* Checks a recipe. */
MUST_USE enum status cmd_validate(const struct command_args *args);
/* Lists or copies the shipped recipes. */
MUST_USE enum status cmd_recipes(const struct command_args *args);
/* Redraws report.html. */
MUST_USE enum status cmd_plot(const struct command_args *args);
MUST_USE enum status cmd_convert(const struct command_args *args); /* formats and types of a model */
