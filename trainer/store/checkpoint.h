/*
 * Checkpoints: `checkpoint-N/` folders that Hugging Face users know (adapter files,
 * trainer_state.json) plus state.h5 (parameters, optimizer state, step; HDF5 with fletcher32) and
 * manifest.json (SHA-256 of every file).
 *
 * Written by rank 0 into .tmp-checkpoint-N, fsync, one rename, fsync of the parent: a crash or a
 * full disk leaves the previous checkpoint intact. Opened only when the manifest matches.
 */
#pragma once

#include <jansson.h>

#include "trainer/model/params.h"

/* Extra files: called with the temporary folder. */
typedef enum status (*checkpoint_files_fn)(void *ctx, const char *folder);

struct checkpoint_state {
    int64_t step;            /* updates done */
    json_t *trainer_state;   /* trainer_state.json's object (borrowed on save, new on load) */
    json_t *method_state;    /* cursor and random state (borrowed on save, new on load) */
    char *recipe;            /* resolved recipe text (borrowed on save, malloc'd on load) */
};

/* Saves `output_dir`/checkpoint-N. Fails with IO; the folder of the failed attempt is removed. */
MUST_USE enum status checkpoint_save(const char *output_dir, const struct param_set *params,
                                     const struct checkpoint_state *state,
                                     checkpoint_files_fn files, void *files_ctx);

/* Newest N with a valid manifest in *step (-1: none). Broken or unfinished ones are passed over
 * with a note in *skipped (malloc'd text, or NULL). */
MUST_USE enum status checkpoint_latest(const char *output_dir, int64_t *step, char **skipped);

/* Reads state.h5 of checkpoint-N into sealed params (names and shapes must match) and `state`.
 * Fails with INPUT naming what differs. */
MUST_USE enum status checkpoint_load(const char *output_dir, int64_t step,
                                     struct param_set *params, struct checkpoint_state *state);

/* Reads only the state (recipe, step), not the parameters. */
MUST_USE enum status checkpoint_peek(const char *output_dir, int64_t step,
                                     struct checkpoint_state *state);

/* Frees what load or peek made. */
void checkpoint_state_close(struct checkpoint_state *state);

/* True when `output_dir`/checkpoint-N is a folder. */
bool checkpoint_exists(const char *output_dir, int64_t step);

/* Removes the oldest checkpoints beyond `limit` (0: keep all), never the newest, nor `best` (-1:
 * none): with limit 1 both stay. */
MUST_USE enum status checkpoint_prune(const char *output_dir, int64_t limit, int64_t best);
