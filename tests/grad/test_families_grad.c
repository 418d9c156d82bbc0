/*
 * Whole models without golden data: for a random model of every family, the gradient of all weights
 * along a random direction against a central difference, recomputation against saved activations
 * (equal bits), and a packed batch against its sequences alone (equal bits).
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "tests/support/model_files.h"
#include "tests/support/model_parity.h"

#define SIZES                                                                                      \
    "\"num_hidden_layers\":3,\"hidden_size\":24,\"intermediate_size\":40,"                         \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"head_dim\":6,\"vocab_size\":37,"        \
    "\"max_position_embeddings\":64,\"initializer_range\":0.3"
#define MODEL(type, rest) "{\"model_type\":\"" type "\"," SIZES rest "}"

static const char *const CONFIGS[] = {
    MODEL("llama", ",\"attention_bias\":true,\"mlp_bias\":true"),
    MODEL("llama", ",\"tie_word_embeddings\":true,\"rope_scaling\":{\"type\":\"llama3\","
                   "\"factor\":8.0,\"original_max_position_embeddings\":16}"),
    MODEL("mistral", ",\"sliding_window\":4"),
    MODEL("qwen2", ""),
    MODEL("qwen3", ",\"tie_word_embeddings\":true"),
    MODEL("gemma", ""),
    MODEL("gemma2", ",\"query_pre_attn_scalar\":7,\"sliding_window\":4"),
    MODEL("gemma3_text", ",\"query_pre_attn_scalar\":7,\"sliding_window\":3,"
                         "\"sliding_window_pattern\":2"),
};

static void need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

struct trained {
    struct model *model;
    struct param_set params;
    struct model_files files;
};

static void trained_open(struct trained *t, const char *config)
{
    model_files_make(&t->files);
    t->model = model_files_random(&t->files, config, 11);
    param_set_open(&t->params);
    need(model_full_attach(t->model, &t->params), config);
    need(param_set_seal(&t->params, NULL), config);
    need(model_full_bind(t->model, &t->params), config);
    /* Norms and biases start as constants; move everything off its special place. */
    const struct rng_key key = {.seed = 5, .purpose = RNG_INIT, .module = 1000};
    float *noise = calloc((size_t)t->params.total, sizeof *noise);
    assert_non_null(noise);
    rng_fill_normal(&key, noise, t->params.total, 0.1f);
    for (int64_t i = 0; i < t->params.total; i++) {
        t->params.value[i] += noise[i];
    }
    free(noise);
}

static void trained_close(struct trained *t)
{
    model_close(t->model);
    param_set_close(&t->params);
    model_files_remove(&t->files);
}

/* Tokens of a fixed pattern over the vocabulary. */
static void sequence(struct parity_input *in, int64_t count, int32_t start)
{
    int32_t ids[64];
    for (int64_t i = 0; i < count; i++) {
        ids[i] = (int32_t)((start + i * i * 7 + i * 3) % 37);
    }
    need(parity_input_ids(in, ids, count), "sequence");
}

static double loss_at(struct trained *t, struct ops_context *ops, const struct parity_input *in)
{
    struct parity_output out;
    need(parity_run(t->model, ops, in, PARITY_HOOKS, &out), "loss");
    parity_output_close(&out);
    return out.loss;
}

/* The loss moves along a random direction as the gradient says. */
static void check_direction(struct trained *t, struct ops_context *ops,
                            const struct parity_input *in, const char *config)
{
    const int64_t n = t->params.total;
    const double h = 2e-3;
    struct parity_output out;
    float *start = malloc((size_t)n * sizeof *start);
    float *direction = calloc((size_t)n, sizeof *direction);
    assert_true(start && direction);
    memset(t->params.grad, 0, (size_t)n * sizeof(float));
    need(parity_run(t->model, ops, in, PARITY_HOOKS | PARITY_GRAD, &out), config);
    parity_output_close(&out);
    /* Half along the gradient, so that the change is well above the noise of float losses. */
    const struct rng_key key = {.seed = 6, .purpose = RNG_INIT, .module = 1001};
    rng_fill_normal(&key, direction, n, 1.0f);
    double norm = 0.0;
    for (int64_t i = 0; i < n; i++) {
        norm += (double)t->params.grad[i] * (double)t->params.grad[i];
    }
    norm = sqrt(norm);
    double expected = 0.0;
    for (int64_t i = 0; i < n; i++) {
        direction[i] = direction[i] / (float)sqrt((double)n)
                       + (float)((double)t->params.grad[i] / norm);
        expected += (double)direction[i] * (double)t->params.grad[i];
    }
    memcpy(start, t->params.value, (size_t)n * sizeof(float));
    double loss[2];
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < n; i++) {
            t->params.value[i] = start[i] + (float)(k ? h : -h) * direction[i];
        }
        loss[k] = loss_at(t, ops, in);
    }
    memcpy(t->params.value, start, (size_t)n * sizeof(float));
    const double measured = (loss[1] - loss[0]) / (2.0 * h);
    if (!(fabs(measured - expected) <= 2e-3 * fabs(expected))) {
        fail_msg("slope %.6g, gradient says %.6g: %s", measured, expected, config);
    }
    free(start);
    free(direction);
}

/* The gradient of each parameter alone, so that no small tensor hides behind a large one. */
static void check_each_parameter(struct trained *t, struct ops_context *ops,
                                 const struct parity_input *in, const char *config)
{
    for (int64_t k = 0; k < t->params.count; k++) {
        const struct param *p = &t->params.params[k];
        const float *grad = t->params.grad + p->offset;
        float *value = t->params.value + p->offset;
        double norm = 0.0;
        for (int64_t i = 0; i < p->count; i++) {
            norm += (double)grad[i] * (double)grad[i];
        }
        norm = sqrt(norm);
        float *start = malloc((size_t)p->count * sizeof *start);
        assert_non_null(start);
        memcpy(start, value, (size_t)p->count * sizeof *start);
        double loss[2];
        const double h = 4e-3;
        for (int side = 0; side < 2; side++) {
            for (int64_t i = 0; i < p->count; i++) {
                const double step = norm > 0.0 ? h * (double)grad[i] / norm : 0.0;
                value[i] = start[i] + (float)(side ? step : -step);
            }
            loss[side] = loss_at(t, ops, in);
        }
        memcpy(value, start, (size_t)p->count * sizeof *start);
        free(start);
        /* Losses near 5 carry about 1e-6 of rounding: 2e-4 on the slope; 1% for curvature. */
        const double slope = (loss[1] - loss[0]) / (2.0 * h);
        if (!(fabs(slope - norm) <= 0.01 * norm + 2e-4)) {
            fail_msg("%s: slope %.6g, gradient norm %.6g: %s", p->name, slope, norm, config);
        }
    }
}

static void gradients_match_differences(void **state)
{
    (void)state;
    struct ops_context ops;
    need(ops_context_open(&ops, &(struct ops_options){.threads = 1}), "context");
    for (size_t k = 0; k < sizeof CONFIGS / sizeof CONFIGS[0]; k++) {
        struct trained t;
        struct parity_input in;
        trained_open(&t, CONFIGS[k]);
        sequence(&in, 11, 3);
        check_direction(&t, &ops, &in, CONFIGS[k]);
        check_each_parameter(&t, &ops, &in, CONFIGS[k]);
        parity_input_close(&in);
        trained_close(&t);
    }
    ops_context_close(&ops);
}

static void recomputation_changes_no_bit(void **state)
{
    (void)state;
    struct ops_context ops;
    need(ops_context_open(&ops, &(struct ops_options){.threads = 2}), "context");
    for (size_t k = 0; k < sizeof CONFIGS / sizeof CONFIGS[0]; k++) {
        struct trained t;
        struct parity_input in;
        struct parity_output saved;
        struct parity_output again;
        trained_open(&t, CONFIGS[k]);
        sequence(&in, 40, 5);
        const size_t bytes = (size_t)t.params.total * sizeof(float);
        float *first = malloc(bytes);
        assert_non_null(first);
        need(parity_run(t.model, &ops, &in, PARITY_HOOKS | PARITY_GRAD, &saved), CONFIGS[k]);
        memcpy(first, t.params.grad, bytes);
        memset(t.params.grad, 0, bytes);
        need(parity_run(t.model, &ops, &in, PARITY_HOOKS | PARITY_GRAD | PARITY_CHECKPOINT,
                        &again), CONFIGS[k]);
        assert_memory_equal(first, t.params.grad, bytes);
        assert_memory_equal(saved.d_embed, again.d_embed, (size_t)in.tokens * 24 * sizeof(float));
        assert_memory_equal(saved.logp, again.logp, (size_t)in.tokens * sizeof(float));
        free(first);
        parity_output_close(&saved);
        parity_output_close(&again);
        parity_input_close(&in);
        trained_close(&t);
    }
    ops_context_close(&ops);
}

/* Two sequences in one batch. */
static void join(struct parity_input *both, const struct parity_input *a,
                 const struct parity_input *b)
{
    int32_t ids[64];
    memcpy(ids, a->ids, (size_t)a->tokens * sizeof *ids);
    memcpy(ids + a->tokens, b->ids, (size_t)b->tokens * sizeof *ids);
    need(parity_input_ids(both, ids, a->tokens + b->tokens), "join");
    both->targets[a->tokens - 1] = -1;
    both->n_targets--;
    both->n_seq = 2;
    both->seqs[0].count = a->tokens;
    both->seqs[1] = (struct attn_seq){.begin = a->tokens,
                                      .count = b->tokens,
                                      .key_rows = both->rows + a->tokens,
                                      .tree = 1};
    both->unit_begin[1] = a->tokens;
    both->unit_begin[2] = a->tokens + b->tokens;
    for (int64_t t = 0; t < b->tokens; t++) {
        both->position[a->tokens + t] = (int32_t)t;
    }
}

static void packing_changes_no_bit(void **state)
{
    (void)state;
    struct ops_context ops;
    need(ops_context_open(&ops, &(struct ops_options){.threads = 2}), "context");
    for (size_t k = 0; k < sizeof CONFIGS / sizeof CONFIGS[0]; k++) {
        struct trained t;
        struct parity_input in[3];
        struct parity_output out[3];
        trained_open(&t, CONFIGS[k]);
        sequence(&in[0], 19, 5);
        sequence(&in[1], 12, 8);
        join(&in[2], &in[0], &in[1]);
        for (int i = 0; i < 3; i++) {
            need(parity_run(t.model, &ops, &in[i], PARITY_HOOKS, &out[i]), CONFIGS[k]);
        }
        const size_t row = 37 * sizeof(float);
        assert_memory_equal(out[2].logits, out[0].logits, 19 * row);
        assert_memory_equal(out[2].logits + 19 * 37, out[1].logits, 12 * row);
        for (int i = 0; i < 3; i++) {
            parity_output_close(&out[i]);
            parity_input_close(&in[i]);
        }
        trained_close(&t);
    }
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gradients_match_differences),
        cmocka_unit_test(recomputation_changes_no_bit),
        cmocka_unit_test(packing_changes_no_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
