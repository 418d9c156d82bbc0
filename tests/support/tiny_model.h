/*
 * Tiny random models for tests of the graph: a config.json given as text, adapters or full training
 * attached with random values, and passes over packed trees with arenas of the planned size.
 */
#pragma once

#include "trainer/model/model.h"
#include "trainer/model/pack.h"

enum { TINY_VOCAB = 4200, TINY_HOOKS = 64 }; /* the vocabulary: two chunks of the head */

/* One row per kind of decoder; ends with name NULL. */
struct tiny_config {
    const char *name;
    const char *json; /* members of config.json besides the shared ones */
};
extern const struct tiny_config TINY_CONFIGS[];

struct tiny {
    struct model *m;
    struct param_set params;
    struct hook hooks[TINY_HOOKS];
    int hook_count;
    uint32_t stream; /* next random stream */
};

/* Opens the model; norm weights and biases get random values too. */
void tiny_open(struct tiny *t, const struct tiny_config *c);
void tiny_close(struct tiny *t);

/* Random LoRA of rank 3 on every linear but embedding and head, from layer `first_layer` up. */
void tiny_attach_lora(struct tiny *t, int64_t first_layer);
/* Every weight a parameter. */
void tiny_attach_full(struct tiny *t);

/* count floats of N(0, std^2). */
void tiny_fill(struct tiny *t, float *dst, int64_t count, float std);
void tiny_ids(struct tiny *t, int32_t *dst, int64_t count);

/* Fails the test with the status chain. */
void tiny_need(enum status status);

/* A packed batch, its arenas (sized by model_plan) and the head's results. */
struct tiny_run {
    struct arena pack;
    struct arena step;
    struct arena scratch;
    struct arena own;
    struct batch batch;
    struct pass pass;
    float temperature;
    float *hidden;
    struct model_state *state;
    struct head_result head;
    float *dlogp;
    float *dentropy; /* NULL: TINY_NO_ENTROPY */
};
enum { TINY_GRAD = 1, TINY_CHECKPOINT = 2, TINY_NO_HOOKS = 4, TINY_NO_ENTROPY = 8,
       TINY_CHECKPOINT_SOME = 16 };

/* Packs the units and lays out the arenas; dlogp and dentropy are random. */
void tiny_run_open(struct tiny_run *r, struct tiny *t, struct ops_context *ops,
                   const struct pack_unit *units, int64_t count, int flags);
/* Forward and head; results in r->head. */
void tiny_run_forward(struct tiny_run *r, struct tiny *t);
/* Backward of sum dlogp logp + dentropy H; d_embed may be NULL. */
void tiny_run_backward(struct tiny_run *r, struct tiny *t, float *d_embed);
void tiny_run_close(struct tiny_run *r);

/* sum dlogp logp + dentropy H of the last forward, in double. */
double tiny_run_loss(const struct tiny_run *r);

/* Fails unless both arrays have the same bits; says where they differ. */
void tiny_same_bits(const char *what, const float *a, const float *b, int64_t count);
