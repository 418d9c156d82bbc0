/*
 * The reference policy of full training: a second copy of all weights, which the model reads in
 * place of the trained ones while a reference pass runs (a new adapter's reference is the bare base
 * and needs no copy; one that training starts from is copied too). sync_ref_model moves it towards
 * the policy (Gorbatovski et al. 2024, TR-DPO, arXiv 2404.09656).
 */
#pragma once

#include "trainer/model/model.h"

struct model_reference {
    struct model *model;
    const struct param_set *params;
    float *values; /* [params->total], laid out like params->value */
    bool adapter;  /* the copy is of an adapter: hooks stay on and read it */
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

/* Writes the copy to folder/reference.bin for a checkpoint, and reads it back. Fails with IO; INPUT
 * when the file is missing or has another size. */
MUST_USE enum status model_reference_save(const struct model_reference *r, const char *folder);

/* Reads what save wrote into the opened copy. */
MUST_USE enum status model_reference_load(struct model_reference *r, const char *folder);

/* Frees the copy. */
void model_reference_close(struct model_reference *r);
