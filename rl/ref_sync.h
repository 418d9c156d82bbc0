/*
 * A reference that follows the policy in full training (TR-DPO, Gorbatovski et al. 2024, arXiv
 * 2404.09656): after every so many steps it moves towards it. The run saves its copy with each
 * checkpoint.
 */
#pragma once

#include <jansson.h>

#include "trainer/model/reference.h"

struct ref_sync {
    struct model_reference *reference; /* NULL: the bare base, which never moves */
    int64_t every;                     /* steps; 0: never */
    double alpha;                      /* ref = (1 - alpha) ref + alpha policy */
    const char *output_dir;            /* where its checkpoints lie */
    int64_t last;                      /* step of the last move; 0 at first */
};

/* Moves the reference when that is due after `done` steps and has not happened yet. */
void ref_sync_step(struct ref_sync *s, int64_t done);

/* Adds to a method's state what load needs: `step` is the checkpoint's. */
void ref_sync_save(const struct ref_sync *s, int64_t step, json_t *state);

/* Reads the checkpoint's copy when the reference moves. Fails with IO, INPUT. */
MUST_USE enum status ref_sync_load(struct ref_sync *s, const json_t *state);
