/* Trees through the model; see tree_rows.h. */
#include "rl/tree_rows.h"

#include <string.h>

int64_t tree_row_tokens(const struct tree_row *r)
{
    int64_t tokens = r->prompt_count;
    for (int64_t k = 0; k < r->branch_count; k++) {
        tokens += r->branches[k].count;
    }
    return tokens;
}

int64_t tree_row_outputs(const struct tree_row *r, int64_t k)
{
    const struct pack_unit unit = {.prompt_count = r->prompt_count,
                                   .branches = &r->branches[k],
                                   .branch_count = 1};
    return pack_unit_outputs(&unit);
}

/* The rows of the micro-batch that runs. */
struct running {
    const struct tree_row *rows;
    int64_t first;
    int64_t count;
    tree_row_fn each;
    void *ctx;
};

static void each_row(void *ctx, const struct unit_outputs *out)
{
    const struct running *b = ctx;
    int64_t at = 0;
    for (int64_t i = 0; i < b->count; i++) {
        const struct tree_row *r = &b->rows[b->first + i];
        b->each(b->ctx, b->first + i, at, out);
        for (int64_t k = 0; k < r->branch_count; k++) {
            at += tree_row_outputs(r, k);
        }
    }
}

static enum status run(struct tree_runner *t, const struct tree_row *rows, int64_t count,
                       bool reference, tree_row_fn each, void *ctx)
{
    struct pack_unit *units = malloc((size_t)count * sizeof *units + 1);
    uint32_t *keys = malloc((size_t)count * sizeof *keys + 1);
    struct pass_noise noise = {.seed = t->dropout.seed, .step = t->step};
    enum status status =
        units && keys ? STATUS_OK : FAIL(MEMORY, "step: no memory for %lld rows", (long long)count);
    for (int64_t i = 0; status == STATUS_OK && i < count; i++) {
        units[i] = (struct pack_unit){.prompt = rows[i].prompt,
                                      .prompt_count = rows[i].prompt_count,
                                      .branches = rows[i].branches,
                                      .branch_count = rows[i].branch_count};
        keys[i] = rows[i].key;
    }
    for (int64_t begin = 0, end = 0; status == STATUS_OK && begin < count; begin = end) {
        int64_t tokens = 0;
        int64_t outputs = 0;
        do {
            outputs += pack_unit_outputs(&units[end]);
            tokens += tree_row_tokens(&rows[end++]);
        } while (end < count && tokens + tree_row_tokens(&rows[end]) <= t->micro_batch_tokens);
        if (outputs == 0) {
            continue; /* single tokens without a prompt: nothing to predict */
        }
        struct running b = {rows, begin, end - begin, each, ctx};
        noise.unit_key = keys + begin;
        t->pass.noise = t->dropout.on ? &noise : NULL;
        status = reference
                     ? unit_pass_reference(&t->pass, units + begin, end - begin, each_row, &b)
                     : unit_pass_run(&t->pass, units + begin, end - begin, each_row, &b);
    }
    t->pass.noise = NULL;
    free(units);
    free(keys);
    return status;
}

enum status tree_rows_run(struct tree_runner *t, const struct tree_row *rows, int64_t count,
                          tree_row_fn each, void *ctx)
{
    return run(t, rows, count, false, each, ctx);
}

/* This rank's share of a scoring. */
struct share {
    int64_t rank;
    int64_t step;
    tree_score_fn fill;
    void *ctx;
    char *records;
    size_t size;
};

static void fill_record(void *ctx, int64_t i, int64_t at, const struct unit_outputs *out)
{
    const struct share *s = ctx;
    s->fill(s->ctx, s->rank + i * s->step, at, out, s->records + (size_t)i * s->size);
}

enum status tree_rows_score(struct tree_runner *t, const struct tree_row *rows, int64_t count,
                            bool reference, tree_score_fn fill, void *ctx, void *records,
                            size_t size)
{
    const struct comm *comm = t->comm;
    const bool grad = t->pass.grad;
    struct tree_row *mine = malloc((size_t)count * sizeof *mine + 1);
    char *own = calloc((size_t)count + 1, size);
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    void *all = NULL;
    int64_t n = 0;
    enum status status = mine && own && offsets
                             ? STATUS_OK
                             : FAIL(MEMORY, "scores: no memory for %lld rows", (long long)count);
    TRY_TO(status, out, comm_agree(comm, status));
    for (int64_t i = comm->rank; i < count; i += comm->size) {
        mine[n++] = rows[i];
    }
    struct share share = {comm->rank, comm->size, fill, ctx, own, size};
    t->pass.grad = false;
    status = comm_agree(comm, run(t, mine, n, reference, fill_record, &share));
    TRY_TO(status, out, status);
    TRY_TO(status, out, comm_gather_all(comm, own, (size_t)n * size, &all, offsets));
    for (int rank = 0; rank < comm->size; rank++) {
        const char *at = (const char *)all + offsets[rank];
        for (int64_t i = rank; i < count; i += comm->size, at += size) {
            memcpy((char *)records + (size_t)i * size, at, size);
        }
    }
out:
    t->pass.grad = grad;
    free(mine);
    free(own);
    free(offsets);
    free(all);
    return status;
}
