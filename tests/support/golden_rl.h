/* Reading golden files in the tests of trainer and rl: paths, JSON, float tensors. */
#pragma once

#include <jansson.h>

#include "trainer/format/safetensors.h"

/* Path of golden/`name` in `out` [4096]; false when ../shared is not there (skip the test). */
bool golden_path(const char *name, char *out);

/* Loads a JSON or JSONL file (JSONL becomes an array); fails the test when it is damaged. */
json_t *golden_json(const char *path);

/* The F32 tensor `name` as floats (malloc'd) and its element count; NULL when it is missing. */
float *golden_floats(const struct safetensors *file, const char *name, int64_t *count);

/* The I64 tensor `name` (malloc'd). */
int64_t *golden_ints(const struct safetensors *file, const char *name, int64_t *count);

/* A number that may be null (NaN). */
double golden_number(const json_t *value);

/* A fresh folder under the temporary directory; remove with golden_scratch_remove. */
void golden_scratch(char *out);
void golden_scratch_remove(const char *folder);
