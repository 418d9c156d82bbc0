/* Commands that run whole stages, one file each (stage_*.c); their rows stand in commands.c. */
#pragma once

#include "recipes/cli.h"

MUST_USE enum status stage_sft(const struct command_args *args);
MUST_USE enum status stage_grpo(const struct command_args *args);
MUST_USE enum status stage_eval(const struct command_args *args);
MUST_USE enum status stage_generate(const struct command_args *args);
MUST_USE enum status stage_export(const struct command_args *args);
MUST_USE enum status stage_bench(const struct command_args *args);
