/*
 * Datasets: rows of JSON objects from a JSONL or JSON file, a folder with one file per split, or
 * rows made in memory. A JSONL file is mapped and indexed by line; rows are parsed when asked for.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"

struct dataset;

/* Opens `path`: a .jsonl or .json file, or a folder that holds SPLIT.jsonl, SPLIT.json or the
 * shards SPLIT-00000-of-00002.jsonl (also under data/ or `config`/). `split` may carry a slice:
 * train[:100], train[50:100], train[-200:], train[:10%]. A file opened directly takes the slice
 * only. Fails with INPUT: path, line, what is wrong, which splits a folder has; Parquet and other
 * formats with how to convert them. */
MUST_USE enum status dataset_open(struct dataset **out, const char *path, const char *config,
                                  const char *split);

/* Opens the files that the patterns match, relative to `folder` (NULL: as they stand), and joins
 * them in that order; `split` gives the slice alone. Fails with INPUT, RECIPE, MEMORY. */
MUST_USE enum status dataset_open_files(struct dataset **out, const char *folder,
                                        const char *const *patterns, int64_t count,
                                        const char *split);

/* The rows of `count` datasets one after the other. Takes the datasets over, also when it fails
 * with MEMORY. */
MUST_USE enum status dataset_join(struct dataset **out, const char *name, struct dataset **parts,
                                  int64_t count);

/* Rows made in memory: takes the reference of `rows`, an array of objects. */
MUST_USE enum status dataset_from_rows(struct dataset **out, const char *name, json_t *rows);

/* Unmaps the file or drops the rows. NULL is allowed. */
void dataset_close(struct dataset *d);

/* Rows after slicing. */
int64_t dataset_count(const struct dataset *d);

/* Name for messages: the file's path. */
const char *dataset_name(const struct dataset *d);

/* "file: row 12" of row `i` into `out`: for joined datasets the row's own file. */
void dataset_where(const struct dataset *d, int64_t i, char *out, size_t size);

/* Row `i` as a new reference; NULL with a message (file:line:column) when it is no JSON object. */
json_t *dataset_row(void *dataset, int64_t i);

/* Fails with INPUT, naming row number, the needed column and the columns it has, when the first row
 * lacks `column`. */
MUST_USE enum status dataset_need_column(struct dataset *d, const char *column);
