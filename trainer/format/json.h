/* Small helpers over jansson: loading with places in messages, saving atomically. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

/* Loads a JSON file of at most `cap` bytes; *out is a new reference. Fails with INPUT:
 * file:line:column and what is wrong. Duplicate keys are refused. */
MUST_USE enum status json_load_path(const char *path, size_t cap, json_t **out);

/* Writes `json` to `path` (indent 2, sorted keys) by file_write_atomic. */
MUST_USE enum status json_write_path(const char *path, const json_t *json);

/* Members of an object with a default for a missing or null one (any type of number accepted; an
 * integer beyond 64 bits gives the default). */
int64_t json_get_int(const json_t *object, const char *key, int64_t fallback);

/* Integer or real as a double. */
double json_get_number(const json_t *object, const char *key, double fallback);

/* true or false only; anything else gives the default. */
bool json_get_bool(const json_t *object, const char *key, bool fallback);

/* The keys of an object for a message: "'prompt', 'answer'", cut off at `size`, or "none". */
void json_list_keys(const json_t *object, char *out, size_t size);

/* Borrowed from the object. */
const char *json_get_string(const json_t *object, const char *key, const char *fallback);
