/*
 * Append-only journals: records with a CRC each, so that what a killed process had finished is
 * found again, and a torn end is known as such (design 4).
 *
 * File: 8 bytes "GRAFTJ1\n", 8 bytes key; then records: kind and size (uint32 each, little endian
 * as the machine), the bytes, CRC-32 of all of these.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct journal; /* opaque */

enum { JOURNAL_MOST_BYTES = 1 << 30 }; /* of a record */

/* Opens for appending. Good records under the same key stay; a torn end, or a file under another
 * key, is cut off. Fails with IO, MEMORY. */
MUST_USE enum status journal_open(struct journal **out, const char *path, uint64_t key);

/* Appends a record in one write: it is there whole or, after a crash, not at all. Fails with IO. */
MUST_USE enum status journal_append(struct journal *j, uint32_t kind, const void *data,
                                    size_t bytes);

/* NULL is allowed. */
void journal_close(struct journal *j);

/* Sees a good record; `data` is borrowed. */
typedef enum status (*journal_fn)(void *ctx, uint32_t kind, const void *data, size_t bytes);

/* Calls fn for the good records of a file from the start, up to the first damaged one; none when
 * there is no file or it has another key. Fails with IO, MEMORY, or as fn does. */
MUST_USE enum status journal_replay(const char *path, uint64_t key, journal_fn fn, void *ctx);
