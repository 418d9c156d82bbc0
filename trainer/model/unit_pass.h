/*
 * One forward (and backward) over packed units: pack -> forward -> head -> objective -> backward.
 * Every training method and every scoring command runs through here; only the objective differs.
 */
#pragma once

#include "trainer/model/model.h"
#include "trainer/model/pack.h"
#include "trainer/model/reference.h"
#include "trainer/model/work.h"

/* Sees the log-probs, entropies and best ids of a micro-batch, in output order (unit, branch,
 * token), and, when asked for, the reference's log-probs and the vocabulary means; writes dlogp
 * [n_out] when there is a backward, and dmean where the means have a derivative. */
struct unit_outputs {
    const struct batch *batch;
    const struct head_result *head;
    const float *ref; /* [n_out] or NULL */
    const float *log_sum_squares; /* [n_out] log of sum p^2, when asked for; else NULL */
    const double *divergence; /* [n_out] from the teacher, when there is one; dlogp takes weights */
    const float *score; /* [n_out] of the scalar head, when asked for; then head is NULL */
    float *dscore;    /* [n_out] to fill, NULL: no backward or no score */
    float *dlogp;     /* [n_out] to fill, NULL: no backward */
    float *dentropy;  /* [n_out] to fill, NULL: no backward or not asked for */
    float *dmean;     /* [n_out] to fill, NULL: no backward or no mean_grad */
};
typedef void (*unit_objective_fn)(void *ctx, const struct unit_outputs *out);

/* Settings and arenas; zero-initialise, set the first block, close when done. */
struct unit_pass {
    const struct model *model;
    struct ops_context *ops;
    float temperature;
    bool hooks;      /* adapters on */
    bool grad;       /* run the backward */
    bool reference;  /* also the reference's log-probs */
    struct model_reference *full; /* the reference in full training; NULL: the bare base */
    bool squares;    /* also log sum p^2 */
    bool entropy_grad; /* the objective has a derivative in the entropies */
    const struct model *teacher; /* the divergence from it in place of the log-probs, of plain rows;
                                    NULL: none */
    double beta;     /* of that divergence */
    int64_t recompute; /* blocks that save their input only (struct pass) */
    bool score;      /* the scalar head in place of the log-probs; masked branches alone */
    bool mean;       /* also the mean of log p over the vocabulary (head->mean) */
    bool mean_grad;  /* the objective has a derivative in these means */
    const struct pass_noise *noise; /* of passes with grad; aligned with the units of the call */
    struct work work; /* done so far; who reads it clears it */
    struct arena pack;
    struct arena step;
    struct arena scratch;
    struct arena teacher_step;
    struct arena teacher_scratch;
};

/* Runs `count` units as one micro-batch. Fails with MEMORY. */
MUST_USE enum status unit_pass_run(struct unit_pass *p, const struct pack_unit *units,
                                   int64_t count, unit_objective_fn objective, void *ctx);

/* Runs `count` units under the reference alone: head->logp and the rest are the reference's, there
 * is no backward. Fails with MEMORY. */
MUST_USE enum status unit_pass_reference(struct unit_pass *p, const struct pack_unit *units,
                                         int64_t count, unit_objective_fn objective, void *ctx);

/* Releases the arenas. */
void unit_pass_close(struct unit_pass *p);
