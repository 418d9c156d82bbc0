/*
 * The reference policy of full training: a second copy of all weights, which the model reads in place
 * of the trained ones while a reference pass runs (with adapters the reference is the bare base and
 * needs no copy). sync_ref_model moves it towards the policy (Gorbatovski et al. 2024, TR-DPO,
 * arXiv 2404.09656).
 */
#pragma once

#include "trainer/model/model.h"

struct model_reference {
    struct model *model;
    const struct param_set *params;
    float *values; /* [params->total], laid out like params->value */
};

/* Copies the weights as they are; model_full_bind came before. Fails with MEMORY. */
MUST_USE enum status model_reference_open(struct model_reference *r, struct model *m,
                                          const struct param_set *params);

/* The model reads the copy until leave. NULL is allowed and does nothing. */
void model_reference_enter(struct model_reference *r);

/* The model reads the trained weights again. */
void model_reference_leave(struct model_reference *r);

/* copy = (1 - alpha) copy + alpha policy. */
void model_reference_mix(struct model_reference *r, double alpha);

/* Frees the copy. */
void model_reference_close(struct model_reference *r);
