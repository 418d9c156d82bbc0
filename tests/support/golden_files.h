/* Golden folders for tests: where they are, their tensors as floats, and how far values are off. */
#pragma once

#include <jansson.h>

#include "trainer/format/safetensors.h"

enum { GOLDEN_PATH = 1024 };

/* "golden/<sub>" of the shared folder into buf; returns buf. */
const char *golden_files_path(const char *sub, char buf[GOLDEN_PATH]);

/* The same; skips the running test, saying why,
 * when it is not there. */
const char *golden_files_folder(const char *sub, char buf[GOLDEN_PATH]);

/* Fails the test with the status chain. */
void golden_files_need(enum status status, const char *what);

/* "folder/name<ending>" as JSON: a new reference. */
json_t *golden_files_json(const char *folder, const char *name);

/* An F32 tensor copied out, count floats; the caller frees. Fails the test on another shape. */
float *golden_files_floats(const struct safetensors *s, const char *name, int64_t count);

/* Differences of a from b. */
struct golden_files_error {
    double absolute; /* max |a - b| */
    double l2;       /* |a - b| / |b|, or |a - b| where b is 0 */
};
struct golden_files_error golden_files_compare(const float *a, const float *b, int64_t count);

/* |a - b| / max(|b|, tiny). */
double golden_files_relative(double a, double b);
