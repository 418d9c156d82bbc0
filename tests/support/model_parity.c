/* Golden inputs, a pass over them and comparisons; see model_parity.h. */
#include "tests/support/model_parity.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* Golden integers are I64 at any alignment. */
static int64_t read_i64(const struct safetensors_entry *e, int64_t i)
{
    int64_t v;
    memcpy(&v, (const uint8_t *)e->data + (size_t)i * sizeof v, sizeof v);
    return v;
}

static float read_f32(const struct safetensors_entry *e, int64_t i)
{
    float v;
    memcpy(&v, (const uint8_t *)e->data + (size_t)i * sizeof v, sizeof v);
    return v;
}

struct golden_ids {
    const struct safetensors_entry *ids, *mask, *position, *labels;
};

static bool kept(const struct golden_ids *g, int64_t i)
{
    return !g->mask || read_i64(g->mask, i) != 0;
}

/* True when token i goes on the sequence of token i - 1 of the same row. */
static bool follows(const struct golden_ids *g, int64_t i, int64_t width)
{
    return i % width > 0 && kept(g, i) && kept(g, i - 1)
           && (!g->position || read_i64(g->position, i) != 0);
}

static int32_t target_of(const struct golden_ids *g, int64_t i, int64_t width)
{
    if ((i + 1) % width == 0 || !follows(g, i + 1, width)) {
        return -1;
    }
    if (!g->labels) {
        return (int32_t)read_i64(g->ids, i + 1);
    }
    const int64_t label = read_i64(g->labels, i + 1);
    return label >= 0 ? (int32_t)label : -1;
}

static enum status allocate_input(struct parity_input *in, size_t n)
{
    TRY(arena_open(&in->arena, "parity input", n * 128 + 16 * ARENA_ALIGN));
    TRY(arena_alloc(&in->arena, n, sizeof *in->ids, &in->ids));
    TRY(arena_alloc(&in->arena, n, sizeof *in->position, &in->position));
    TRY(arena_alloc(&in->arena, n, sizeof *in->targets, &in->targets));
    TRY(arena_alloc(&in->arena, n, sizeof *in->golden, &in->golden));
    TRY(arena_alloc(&in->arena, n, sizeof *in->rows, &in->rows));
    TRY(arena_alloc(&in->arena, n, sizeof *in->seqs, &in->seqs));
    return arena_alloc(&in->arena, n + 1, sizeof *in->unit_begin, &in->unit_begin);
}

static void push_token(struct parity_input *in, const struct golden_ids *g, int64_t i)
{
    const int64_t t = in->tokens++;
    if (!follows(g, i, in->width)) {
        in->unit_begin[in->n_seq] = t;
        in->seqs[in->n_seq] = (struct attn_seq){.begin = t, .key_rows = in->rows + t,
                                                .tree = (int32_t)in->n_seq};
        in->n_seq++;
    }
    struct attn_seq *seq = &in->seqs[in->n_seq - 1];
    in->rows[t] = (int32_t)t;
    in->ids[t] = (int32_t)read_i64(g->ids, i);
    in->position[t] = (int32_t)seq->count++;
    in->targets[t] = target_of(g, i, in->width);
    in->n_targets += in->targets[t] >= 0;
    in->golden[t] = i;
    in->unit_begin[in->n_seq] = in->tokens;
}

enum status parity_input_open(struct parity_input *in, const struct safetensors *golden)
{
    const struct golden_ids g = {safetensors_find(golden, "input_ids"),
                                 safetensors_find(golden, "attention_mask"),
                                 safetensors_find(golden, "position_ids"),
                                 safetensors_find(golden, "labels")};
    *in = (struct parity_input){0};
    if (!g.ids || g.ids->view.dims < 1) {
        return FAIL(INPUT, "golden file without input_ids");
    }
    const int64_t count = tensor_count(&g.ids->view);
    in->width = tensor_columns(&g.ids->view);
    TRY(allocate_input(in, (size_t)count));
    for (int64_t i = 0; i < count; i++) {
        if (kept(&g, i)) {
            push_token(in, &g, i);
        }
    }
    return STATUS_OK;
}

enum status parity_input_ids(struct parity_input *in, const int32_t *ids, int64_t count)
{
    *in = (struct parity_input){.tokens = count, .width = count, .n_seq = 1};
    TRY(allocate_input(in, (size_t)count));
    for (int64_t t = 0; t < count; t++) {
        in->ids[t] = ids[t];
        in->position[t] = (int32_t)t;
        in->targets[t] = t + 1 < count ? ids[t + 1] : -1;
        in->golden[t] = t;
        in->rows[t] = (int32_t)t;
    }
    in->n_targets = count - 1;
    in->seqs[0] = (struct attn_seq){.count = count, .key_rows = in->rows};
    in->unit_begin[1] = count;
    return STATUS_OK;
}

void parity_input_close(struct parity_input *in)
{
    arena_close(&in->arena);
}

static struct batch make_batch(const struct parity_input *in)
{
    return (struct batch){.tokens = in->tokens,
                          .ids = in->ids,
                          .position = {in->position, in->position, in->position},
                          .seqs = in->seqs,
                          .n_seq = in->n_seq,
                          .unit_begin = in->unit_begin,
                          .units = in->n_seq,
                          .out_rows = in->rows,
                          .targets = in->targets,
                          .n_out = in->tokens};
}

static enum status allocate_output(const struct model *m, const struct parity_input *in, bool grad,
                                   struct parity_output *out)
{
    const size_t n = (size_t)in->tokens;
    const size_t vocab = (size_t)m->config.vocab;
    const size_t hidden = (size_t)m->config.hidden;
    *out = (struct parity_output){0};
    TRY(arena_open(&out->arena, "parity output",
                   n * (vocab + hidden + 4) * sizeof(float) + 8 * ARENA_ALIGN));
    TRY(arena_alloc(&out->arena, n * vocab, sizeof(float), &out->logits));
    TRY(arena_alloc(&out->arena, n, sizeof(float), &out->logp));
    return grad ? arena_alloc(&out->arena, n * hidden, sizeof(float), &out->d_embed) : STATUS_OK;
}

/* Everything that lives in the pass's arenas. */
static enum status run_pass(const struct model *m, const struct pass *pass,
                            const struct parity_input *in, struct parity_output *out)
{
    const struct batch b = make_batch(in);
    const size_t n = (size_t)b.n_out;
    struct head_result head = {.logp = out->logp};
    struct model_state *state = NULL;
    struct logit_stats *stats;
    float *hidden;
    float *dlogp;
    TRY(arena_alloc(pass->step, n, sizeof(float), &head.lse));
    TRY(arena_alloc(pass->step, n, sizeof(float), &head.entropy));
    TRY(arena_alloc(pass->step, n, sizeof(float), &dlogp));
    TRY(arena_alloc(pass->step, n, sizeof *stats, &stats));
    TRY(model_forward(m, pass, &b, &hidden, &state));
    TRY(model_logits(m, pass, hidden, b.n_out, 1.0f, out->logits, stats, NULL));
    TRY(model_head(m, pass, hidden, b.n_out, b.targets, 1.0f, &head));
    for (int64_t t = 0; t < b.n_out; t++) {
        const bool used = b.targets[t] >= 0;
        dlogp[t] = used ? -1.0f / (float)in->n_targets : 0.0f;
        out->loss -= used ? (double)out->logp[t] / (double)in->n_targets : 0.0;
    }
    if (!pass->grad) {
        return STATUS_OK;
    }
    return model_backward(m, pass,
                          &(struct model_backward_args){.batch = &b,
                                                        .hidden = hidden,
                                                        .state = state,
                                                        .temperature = 1.0f,
                                                        .head = &head,
                                                        .dlogp = dlogp,
                                                        .d_embed = out->d_embed});
}

enum status parity_run(const struct model *m, struct ops_context *ops,
                       const struct parity_input *in, unsigned flags,
                       struct parity_output *out)
{
    enum status status = STATUS_OK;
    struct arena step = {0};
    struct arena scratch = {0};
    size_t step_bytes;
    size_t scratch_bytes;
    struct pass pass = {.ops = ops,
                        .step = &step,
                        .scratch = &scratch,
                        .hooks = (flags & PARITY_HOOKS) != 0,
                        .grad = (flags & PARITY_GRAD) != 0,
                        .recompute = flags & PARITY_CHECKPOINT ? INT64_MAX : 0,
                        .unit_begin = in->unit_begin,
                        .units = in->n_seq};
    TRY(allocate_output(m, in, pass.grad, out));
    TRY_TO(status, done,
           model_plan(m, &pass, in->tokens, in->tokens, &step_bytes, &scratch_bytes));
    step_bytes += (size_t)in->tokens * 64 + 16 * ARENA_ALIGN;
    TRY_TO(status, done, arena_open(&step, "step", step_bytes));
    TRY_TO(status, done, arena_open(&scratch, "scratch", scratch_bytes));
    TRY_TO(status, done, run_pass(m, &pass, in, out));
done:
    arena_close(&step);
    arena_close(&scratch);
    return status;
}

void parity_output_close(struct parity_output *out)
{
    arena_close(&out->arena);
}

static void keep_worst(double *worst, double error)
{
    if (!(error <= *worst)) { /* a NaN is the worst */
        *worst = isnan(error) ? INFINITY : error;
    }
}

/* max |ours - golden| over [tokens, columns], golden rows by in->golden; *scale = max |golden|. */
static enum status compare_rows(const struct parity_input *in, const float *ours, int64_t columns,
                                const struct safetensors_entry *e, double *error, double *scale)
{
    const int64_t needed = (in->golden[in->tokens - 1] + 1) * columns;
    if (strcmp(e->dtype_name, "F32") != 0 || tensor_count(&e->view) < needed
        || tensor_columns(&e->view) != columns) {
        return FAIL(INPUT, "golden '%s' has another shape", e->name);
    }
    *error = 0.0;
    *scale = 0.0;
    for (int64_t t = 0; t < in->tokens; t++) {
        for (int64_t j = 0; j < columns; j++) {
            const double a = (double)ours[t * columns + j];
            const double b = (double)read_f32(e, in->golden[t] * columns + j);
            keep_worst(error, fabs(a - b));
            keep_worst(scale, fabs(b));
        }
    }
    return STATUS_OK;
}

static void compare_logp(const struct parity_input *in, const float *logp,
                         const struct safetensors_entry *e, struct parity_worst *worst)
{
    for (int64_t t = 0; t < in->tokens; t++) {
        if (in->targets[t] >= 0) {
            const int64_t row = in->golden[t] / in->width;
            const int64_t column = in->golden[t] % in->width;
            const double b = (double)read_f32(e, row * (in->width - 1) + column);
            keep_worst(&worst->logp, fabs((double)logp[t] - b));
        }
    }
}

enum status parity_compare(const struct model *m, const struct parity_input *in,
                           const struct parity_output *out, const struct safetensors *golden,
                           struct parity_worst *worst)
{
    double error;
    double scale;
    const struct safetensors_entry *e = safetensors_find(golden, "logits");
    if (!e) {
        return FAIL(INPUT, "golden file without logits");
    }
    TRY(compare_rows(in, out->logits, m->config.vocab, e, &error, &scale));
    keep_worst(&worst->logits, error);
    if ((e = safetensors_find(golden, "logprobs"))) {
        compare_logp(in, out->logp, e, worst);
    }
    if ((e = safetensors_find(golden, "loss"))) {
        keep_worst(&worst->loss, fabs(out->loss - (double)read_f32(e, 0)));
    }
    if (out->d_embed && (e = safetensors_find(golden, "d_embed"))) {
        TRY(compare_rows(in, out->d_embed, m->config.hidden, e, &error, &scale));
        keep_worst(&worst->d_embed, error / scale);
    }
    return STATUS_OK;
}

static enum status compare_grad(const struct param_set *params, const struct safetensors_entry *e,
                                struct parity_worst *worst)
{
    const char *name = e->name + strlen("grad.");
    const int64_t index = param_set_find(params, name);
    if (index < 0 || params->params[index].count != tensor_count(&e->view)) {
        return FAIL(INPUT, "golden '%s': no parameter of this name and size", e->name);
    }
    const float *ours = param_grad(params, index);
    double error = 0.0;
    double scale = 0.0;
    for (int64_t i = 0; i < params->params[index].count; i++) {
        keep_worst(&error, fabs((double)ours[i] - (double)read_f32(e, i)));
        keep_worst(&scale, fabs((double)read_f32(e, i)));
    }
    const double relative = scale > 0.0 ? error / scale : error;
    if (!(relative <= worst->grad)) {
        (void)snprintf(worst->grad_name, sizeof worst->grad_name, "%s", name);
    }
    keep_worst(&worst->grad, relative);
    return STATUS_OK;
}

enum status parity_compare_grads(const struct param_set *params, const struct safetensors *golden,
                                 struct parity_worst *worst)
{
    int64_t compared = 0;
    for (int64_t i = 0; i < safetensors_count(golden); i++) {
        const struct safetensors_entry *e = safetensors_at(golden, i);
        if (strncmp(e->name, "grad.", strlen("grad.")) == 0) {
            TRY(compare_grad(params, e, worst));
            compared++;
        }
    }
    if (compared != params->count) {
        return FAIL(INPUT, "%" PRId64 " golden gradients for %" PRId64 " parameters", compared,
                    params->count);
    }
    return STATUS_OK;
}
