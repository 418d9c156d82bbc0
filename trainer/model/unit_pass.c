/* Packed units through the model; see unit_pass.h. */
#include "trainer/model/unit_pass.h"

#include <string.h>

/* Makes sure an arena holds `bytes`; grows only when a larger micro-batch than ever comes, so a
 * steady run allocates nothing. */
static enum status arena_ensure(struct arena *a, const char *name, size_t bytes)
{
    if (a->base && a->size >= bytes) {
        arena_rewind(a, 0);
        return STATUS_OK;
    }
    arena_close(a);
    return arena_open(a, name, bytes);
}

static struct pass make_pass(struct unit_pass *p, const struct batch *b)
{
    return (struct pass){
        .ops = p->ops,
        .step = &p->step,
        .scratch = &p->scratch,
        .hooks = p->hooks,
        .grad = p->grad,
        .recompute = p->recompute,
        .unit_begin = b->unit_begin,
        .units = b->units,
        .noise = p->grad ? p->noise : NULL,
    };
}

static enum status prepare_arenas(struct unit_pass *p, const struct batch *b)
{
    struct pass pass = make_pass(p, b);
    size_t step_bytes;
    size_t scratch_bytes;
    TRY(model_plan(p->model, &pass, b->tokens, b->n_out, &step_bytes, &scratch_bytes));
    const size_t outputs = ((size_t)b->n_wanted * sizeof(float) + ARENA_ALIGN) * 21;
    TRY(arena_ensure(&p->step, "activations", step_bytes + outputs));
    const size_t both = p->teacher ? model_divergence_scratch() + outputs : 0;
    return arena_ensure(&p->scratch, "step scratch", scratch_bytes + both);
}

/* Head results under the bare base (adapters off), or the reference's own weights. */
static enum status reference_forward(struct unit_pass *p, const struct batch *b,
                                     const struct head_result *head)
{
    struct pass pass = make_pass(p, b);
    pass.hooks = p->full && p->full->adapter;
    pass.grad = false;
    pass.noise = NULL;
    float *hidden;
    const size_t mark = arena_mark(&p->step);
    model_reference_enter(p->full);
    enum status status = model_forward(p->model, &pass, b, &hidden, NULL);
    if (status == STATUS_OK) {
        status = model_head(p->model, &pass, hidden, b->n_out, b->targets, p->temperature, head);
    }
    model_reference_leave(p->full);
    TRY(status);
    arena_rewind(&p->step, mark);
    arena_rewind(&p->scratch, 0);
    return STATUS_OK;
}

static enum status alloc_head(struct unit_pass *p, size_t n, struct head_result *head)
{
    TRY(arena_alloc(&p->step, n, sizeof(float), &head->logp));
    TRY(arena_alloc(&p->step, n, sizeof(float), &head->entropy));
    TRY(arena_alloc(&p->step, n, sizeof(float), &head->lse));
    if (p->mean) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &head->mean));
    }
    return arena_alloc(&p->step, n, sizeof(int32_t), &head->best);
}

/* values[n_out] as the objective sees them: one per wanted log-prob. */
static enum status spread(struct unit_pass *p, const struct batch *b, const void *values, void *out)
{
    int32_t *words;
    TRY(arena_alloc(&p->step, (size_t)b->n_wanted, sizeof *words, &words));
    for (int64_t i = 0; i < b->n_wanted; i++) {
        memcpy(&words[i], (const char *)values + (size_t)b->expand[i] * sizeof *words,
               sizeof *words);
    }
    memcpy(out, &words, sizeof words);
    return STATUS_OK;
}

static enum status spread_head(struct unit_pass *p, const struct batch *b,
                               const struct head_result *head, struct head_result *out)
{
    TRY(spread(p, b, head->logp, &out->logp));
    TRY(spread(p, b, head->entropy, &out->entropy));
    TRY(spread(p, b, head->lse, &out->lse));
    if (head->mean) {
        TRY(spread(p, b, head->mean, &out->mean));
    }
    return spread(p, b, head->best, &out->best);
}

/* Derivatives of wanted log-probs, added where they are one output, in order. */
static void gather(const struct batch *b, const float *wanted, float *out)
{
    memset(out, 0, (size_t)b->n_out * sizeof *out);
    for (int64_t i = 0; i < b->n_wanted; i++) {
        out[b->expand[i]] += wanted[i];
    }
}

/* The batch with one output per wanted log-prob, for the objective's eyes. */
static struct batch wanted_view(const struct batch *b)
{
    struct batch view = *b;
    view.n_out = b->n_wanted;
    view.targets = b->wanted_targets;
    view.out_rows = NULL;
    return view;
}

/* Lets the objective see a batch whose outputs stand for several wanted log-probs. */
static enum status run_objective(struct unit_pass *p, const struct unit_outputs *out,
                                 unit_objective_fn objective, void *ctx)
{
    const struct batch *b = out->batch;
    if (b->n_wanted == b->n_out) {
        objective(ctx, out);
        return STATUS_OK;
    }
    const struct batch view = wanted_view(b);
    struct head_result head = {0};
    struct unit_outputs wide = {.batch = &view, .head = &head};
    float *ref = NULL;
    TRY(spread_head(p, b, out->head, &head));
    if (out->ref) {
        TRY(spread(p, b, out->ref, &ref));
    }
    wide.ref = ref;
    if (out->log_sum_squares) {
        float *squares;
        TRY(spread(p, b, out->log_sum_squares, &squares));
        wide.log_sum_squares = squares;
    }
    if (out->dlogp) {
        TRY(arena_alloc(&p->step, (size_t)b->n_wanted, sizeof(float), &wide.dlogp));
    }
    if (out->dentropy) {
        TRY(arena_alloc(&p->step, (size_t)b->n_wanted, sizeof(float), &wide.dentropy));
    }
    if (out->dmean) {
        TRY(arena_alloc(&p->step, (size_t)b->n_wanted, sizeof(float), &wide.dmean));
    }
    objective(ctx, &wide);
    if (out->dlogp) {
        gather(b, wide.dlogp, out->dlogp);
    }
    if (out->dentropy) {
        gather(b, wide.dentropy, out->dentropy);
    }
    if (out->dmean) {
        gather(b, wide.dmean, out->dmean);
    }
    return STATUS_OK;
}

/* log sum p^2 = lse(2z) - 2 lse(z): the head at half the temperature has the first. */
static enum status sum_squares(struct unit_pass *p, const struct batch *b, const struct pass *pass,
                               const float *hidden, const float *lse, float **out)
{
    TRY(arena_alloc(&p->step, (size_t)b->n_out, sizeof(float), out));
    TRY(model_head(p->model, pass, hidden, b->n_out, NULL, 0.5f * p->temperature,
                   &(struct head_result){.lse = *out}));
    for (int64_t i = 0; i < b->n_out; i++) {
        (*out)[i] -= 2.0f * lse[i];
    }
    return STATUS_OK;
}

/* The pass of a reward model: scores and their derivatives. */
static enum status run_scores(struct unit_pass *p, const struct batch *b,
                              unit_objective_fn objective, void *ctx)
{
    const struct pass pass = make_pass(p, b);
    const struct head_result head = {0};
    struct model_state *state = NULL;
    float *hidden;
    float *score;
    float *dscore = NULL;
    ASSERT(b->n_wanted == b->n_out);
    TRY(arena_alloc(&p->step, (size_t)b->n_out, sizeof(float), &score));
    if (p->grad) {
        TRY(arena_alloc(&p->step, (size_t)b->n_out, sizeof(float), &dscore));
    }
    TRY(model_forward(p->model, &pass, b, &hidden, &state));
    TRY(model_score(p->model, &pass, hidden, b->n_out, score));
    objective(ctx, &(struct unit_outputs){.batch = b, .score = score, .dscore = dscore});
    if (!p->grad) {
        return STATUS_OK;
    }
    const struct model_backward_args backward = {.batch = b, .hidden = hidden, .state = state,
                                                 .temperature = 1.0f, .head = &head,
                                                 .dscore = dscore};
    return model_backward(p->model, &pass, &backward);
}

/* The teacher's hidden states and normalisers of a batch. */
static enum status teacher_forward(struct unit_pass *p, const struct batch *b, struct distill *d)
{
    struct pass pass = make_pass(p, b);
    size_t step_bytes;
    size_t scratch_bytes;
    float *hidden;
    float *lse;
    pass.hooks = false;
    pass.grad = false;
    pass.noise = NULL;
    pass.step = &p->teacher_step;
    pass.scratch = &p->teacher_scratch;
    TRY(model_plan(p->teacher, &pass, b->tokens, b->n_out, &step_bytes, &scratch_bytes));
    const size_t own = (size_t)b->n_out * sizeof(float) + ARENA_ALIGN;
    TRY(arena_ensure(&p->teacher_step, "teacher", step_bytes + own));
    TRY(arena_ensure(&p->teacher_scratch, "teacher scratch", scratch_bytes));
    TRY(arena_alloc(&p->teacher_step, (size_t)b->n_out, sizeof(float), &lse));
    TRY(model_forward(p->teacher, &pass, b, &hidden, NULL));
    TRY(model_head(p->teacher, &pass, hidden, b->n_out, NULL, 1.0f,
                   &(struct head_result){.lse = lse}));
    d->teacher_hidden = hidden;
    d->teacher_lse = lse;
    return STATUS_OK;
}

/* The pass of distillation: divergences and the weights of their derivatives. */
static enum status run_distill(struct unit_pass *p, const struct batch *b,
                               unit_objective_fn objective, void *ctx)
{
    const struct pass pass = make_pass(p, b);
    const size_t n = (size_t)b->n_out;
    struct distill d = {.teacher = p->teacher, .beta = p->beta};
    struct head_result head = {0};
    struct model_state *state = NULL;
    float *hidden;
    float *weight = NULL;
    ASSERT(b->n_wanted == b->n_out);
    TRY(teacher_forward(p, b, &d));
    TRY(alloc_head(p, n, &head));
    TRY(arena_alloc(&p->step, n, sizeof(double), &d.loss));
    TRY(arena_alloc(&p->step, n, sizeof(double), &d.self));
    if (p->grad) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &weight));
    }
    TRY(model_forward(p->model, &pass, b, &hidden, &state));
    TRY(model_head(p->model, &pass, hidden, b->n_out, b->targets, 1.0f, &head));
    d.lse = head.lse;
    TRY(model_divergence(p->model, &pass, hidden, b->n_out, &d));
    objective(ctx, &(struct unit_outputs){.batch = b, .head = &head, .divergence = d.loss,
                                          .dlogp = weight});
    if (!p->grad) {
        return STATUS_OK;
    }
    const struct model_backward_args backward = {.batch = b, .hidden = hidden, .state = state,
                                                 .temperature = 1.0f, .head = &head,
                                                 .distill = &d, .dlogp = weight};
    return model_backward(p->model, &pass, &backward);
}

static enum status run_built(struct unit_pass *p, const struct batch *b,
                             unit_objective_fn objective, void *ctx)
{
    const size_t n = (size_t)b->n_out;
    struct head_result head = {0};
    float *ref = NULL;
    float *dlogp = NULL;
    float *dentropy = NULL;
    float *dmean = NULL;
    TRY(alloc_head(p, n, &head));
    if (p->grad) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &dlogp));
    }
    if (p->grad && p->entropy_grad) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &dentropy));
    }
    if (p->grad && p->mean_grad) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &dmean));
    }
    if (p->reference) {
        TRY(arena_alloc(&p->step, n, sizeof(float), &ref));
        TRY(reference_forward(p, b, &(struct head_result){.logp = ref}));
    }
    const struct pass pass = make_pass(p, b);
    float *hidden;
    struct model_state *state = NULL;
    TRY(model_forward(p->model, &pass, b, &hidden, &state));
    if (!dentropy && !dmean) {
        TRY(model_head_slope(p->model, &pass, b->n_out, &head));
    }
    TRY(model_head(p->model, &pass, hidden, b->n_out, b->targets, p->temperature, &head));
    float *squares = NULL;
    if (p->squares) {
        TRY(sum_squares(p, b, &pass, hidden, head.lse, &squares));
    }
    const struct unit_outputs out = {
        .batch = b,
        .head = &head,
        .ref = ref,
        .log_sum_squares = squares,
        .dlogp = dlogp,
        .dentropy = dentropy,
        .dmean = dmean,
    };
    TRY(run_objective(p, &out, objective, ctx));
    if (!p->grad) {
        return STATUS_OK;
    }
    const struct model_backward_args backward = {
        .batch = b,
        .hidden = hidden,
        .state = state,
        .temperature = p->temperature,
        .head = &head,
        .dlogp = dlogp,
        .dentropy = dentropy,
        .dmean = dmean,
    };
    return model_backward(p->model, &pass, &backward);
}

static enum status build(struct unit_pass *p, const struct pack_unit *units, int64_t count,
                         struct batch *batch)
{
    TRY(arena_ensure(&p->pack, "packed rows", pack_bytes(units, count)));
    TRY(pack_build(&p->pack, units, count, batch));
    return prepare_arenas(p, batch);
}

static void count_work(struct unit_pass *p, const struct batch *b, bool trained)
{
    *(trained ? &p->work.trained_rows : &p->work.scored_rows) += (double)b->tokens;
    *(trained ? &p->work.trained_outputs : &p->work.scored_outputs) += (double)b->n_out;
    if (trained && p->reference) {
        p->work.scored_rows += (double)b->tokens;
        p->work.scored_outputs += (double)b->n_out;
    }
}

enum status unit_pass_run(struct unit_pass *p, const struct pack_unit *units, int64_t count,
                          unit_objective_fn objective, void *ctx)
{
    struct batch batch;
    TRY(build(p, units, count, &batch));
    count_work(p, &batch, p->grad);
    return p->score     ? run_scores(p, &batch, objective, ctx)
           : p->teacher ? run_distill(p, &batch, objective, ctx)
                        : run_built(p, &batch, objective, ctx);
}

enum status unit_pass_reference(struct unit_pass *p, const struct pack_unit *units, int64_t count,
                                unit_objective_fn objective, void *ctx)
{
    struct batch batch;
    struct head_result head = {0};
    TRY(build(p, units, count, &batch));
    count_work(p, &batch, false);
    TRY(alloc_head(p, (size_t)batch.n_out, &head));
    TRY(reference_forward(p, &batch, &head));
    return run_objective(p, &(struct unit_outputs){.batch = &batch, .head = &head}, objective, ctx);
}

void unit_pass_close(struct unit_pass *p)
{
    arena_close(&p->pack);
    arena_close(&p->step);
    arena_close(&p->scratch);
    arena_close(&p->teacher_step);
    arena_close(&p->teacher_scratch);
}
