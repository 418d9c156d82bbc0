/* Trees to packed batches; see pack.h. */
#include "trainer/model/pack.h"

/* Cursor over the arrays being filled. */
struct packer {
    int32_t *ids;
    int32_t *position;
    struct attn_seq *seqs;
    int32_t *key_rows;
    int64_t *unit_begin;
    int32_t *out_rows;
    int32_t *targets;
    int64_t rows;
    int64_t seq_count;
    int64_t keys;
    int64_t outputs;
};

struct pack_sizes {
    int64_t rows;
    int64_t seqs;
    int64_t keys;
    int64_t outputs;
};

static int64_t branch_rows(const struct pack_branch *b)
{
    return b->count > 0 ? b->count - 1 : 0;
}

int64_t pack_unit_rows(const struct pack_unit *u)
{
    int64_t rows = u->prompt_count;
    for (int64_t i = 0; i < u->branch_count; i++) {
        rows += branch_rows(&u->branches[i]);
    }
    return rows;
}

static bool wanted(const struct pack_unit *u, const struct pack_branch *b, int64_t t)
{
    return (!b->loss || b->loss[t]) && (t > 0 || u->prompt_count > 0);
}

int64_t pack_unit_outputs(const struct pack_unit *u)
{
    int64_t n = 0;
    for (int64_t i = 0; i < u->branch_count; i++) {
        for (int64_t t = 0; t < u->branches[i].count; t++) {
            n += wanted(u, &u->branches[i], t);
        }
    }
    return n;
}

static struct pack_sizes measure(const struct pack_unit *units, int64_t count)
{
    struct pack_sizes s = {0};
    for (int64_t u = 0; u < count; u++) {
        s.rows += pack_unit_rows(&units[u]);
        s.outputs += pack_unit_outputs(&units[u]);
        s.seqs += 1 + units[u].branch_count;
        s.keys += units[u].prompt_count;
        for (int64_t i = 0; i < units[u].branch_count; i++) {
            s.keys += units[u].prompt_count + branch_rows(&units[u].branches[i]);
        }
    }
    return s;
}

size_t pack_bytes(const struct pack_unit *units, int64_t count)
{
    const struct pack_sizes s = measure(units, count);
    return (size_t)(s.rows * 2 + s.keys + s.outputs * 2) * sizeof(int32_t)
           + (size_t)s.seqs * sizeof(struct attn_seq) + (size_t)(count + 1) * sizeof(int64_t)
           + 16 * ARENA_ALIGN;
}

static void push_tokens(struct packer *p, const int32_t *ids, int64_t count, int64_t position)
{
    for (int64_t i = 0; i < count; i++) {
        p->ids[p->rows] = ids[i];
        p->position[p->rows] = (int32_t)(position + i);
        p->rows++;
    }
}

static void push_keys(struct packer *p, int64_t first_row, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        p->key_rows[p->keys++] = (int32_t)(first_row + i);
    }
}

static void push_branch(struct packer *p, const struct pack_unit *u, const struct pack_branch *b,
                        int64_t prompt_row, int32_t tree)
{
    const int64_t begin = p->rows;
    const int64_t count = branch_rows(b);
    if (count > 0) {
        p->seqs[p->seq_count++] = (struct attn_seq){
            .begin = begin,
            .count = count,
            .pos_begin = u->prompt_count,
            .key_rows = p->key_rows + p->keys,
            .tree = tree,
        };
        push_keys(p, prompt_row, u->prompt_count);
        push_keys(p, begin, count);
        push_tokens(p, b->ids, count, u->prompt_count);
    }
    for (int64_t t = 0; t < b->count; t++) {
        if (wanted(u, b, t)) {
            const int64_t row = t > 0 ? begin + t - 1 : prompt_row + u->prompt_count - 1;
            p->out_rows[p->outputs] = (int32_t)row;
            p->targets[p->outputs] = b->ids[t];
            p->outputs++;
        }
    }
}

static void push_unit(struct packer *p, const struct pack_unit *u, int32_t tree)
{
    const int64_t prompt_row = p->rows;
    if (u->prompt_count > 0) {
        p->seqs[p->seq_count++] = (struct attn_seq){
            .begin = prompt_row,
            .count = u->prompt_count,
            .key_rows = p->key_rows + p->keys,
            .tree = tree,
        };
        push_keys(p, prompt_row, u->prompt_count);
        push_tokens(p, u->prompt, u->prompt_count, 0);
    }
    for (int64_t i = 0; i < u->branch_count; i++) {
        push_branch(p, u, &u->branches[i], prompt_row, tree);
    }
}

enum status pack_build(struct arena *arena, const struct pack_unit *units, int64_t count,
                       struct batch *out)
{
    const struct pack_sizes s = measure(units, count);
    struct packer p = {0};
    TRY(arena_alloc(arena, (size_t)s.rows, sizeof(int32_t), &p.ids));
    TRY(arena_alloc(arena, (size_t)s.rows, sizeof(int32_t), &p.position));
    TRY(arena_alloc(arena, (size_t)s.seqs, sizeof(struct attn_seq), &p.seqs));
    TRY(arena_alloc(arena, (size_t)s.keys, sizeof(int32_t), &p.key_rows));
    TRY(arena_alloc(arena, (size_t)count + 1, sizeof(int64_t), &p.unit_begin));
    TRY(arena_alloc(arena, (size_t)s.outputs, sizeof(int32_t), &p.out_rows));
    TRY(arena_alloc(arena, (size_t)s.outputs, sizeof(int32_t), &p.targets));
    for (int64_t u = 0; u < count; u++) {
        p.unit_begin[u] = p.rows;
        push_unit(&p, &units[u], (int32_t)u);
    }
    p.unit_begin[count] = p.rows;
    *out = (struct batch){
        .tokens = p.rows,
        .ids = p.ids,
        .position = {p.position, p.position, p.position},
        .seqs = p.seqs,
        .n_seq = p.seq_count,
        .unit_begin = p.unit_begin,
        .units = count,
        .out_rows = p.out_rows,
        .targets = p.targets,
        .n_out = p.outputs,
    };
    return STATUS_OK;
}
