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
    int32_t *expand;
    int32_t *wanted_targets;
    int64_t wanted;
    const int32_t **path;  /* [branches of a unit] rows of prompt and branch by position */
    int64_t *first_wanted; /* [branches of a unit] */
};

struct pack_sizes {
    int64_t rows;
    int64_t seqs;
    int64_t keys;
    int64_t outputs;
    int64_t branches; /* of the unit with most */
};

static int64_t branch_rows(const struct pack_branch *b)
{
    return b->count > 0 ? b->count - 1 : 0;
}

/* The earlier branch that agrees with branch i longest (the first of equals; -1: none does). */
struct parent {
    int64_t branch;
    int64_t tokens; /* that agree */
    int64_t rows;   /* of these, with a row */
};

static struct parent find_parent(const struct pack_branch *branches, int64_t i)
{
    struct parent best = {.branch = -1};
    const struct pack_branch *b = &branches[i];
    for (int64_t j = 0; j < i && best.tokens < b->count; j++) {
        const int64_t most = branches[j].count < b->count ? branches[j].count : b->count;
        int64_t n = 0;
        while (n < most && branches[j].ids[n] == b->ids[n]) {
            n++;
        }
        if (n > best.tokens) {
            const int64_t theirs = branch_rows(&branches[j]);
            const int64_t own = branch_rows(b);
            const int64_t rows = own < theirs ? own : theirs;
            best = (struct parent){j, n, n < rows ? n : rows};
        }
    }
    return best;
}

int64_t pack_branch_new_rows(const struct pack_branch *branches, int64_t i)
{
    return branch_rows(&branches[i]) - find_parent(branches, i).rows;
}

int64_t pack_unit_rows(const struct pack_unit *u)
{
    int64_t rows = u->prompt_count;
    for (int64_t i = 0; i < u->branch_count; i++) {
        rows += pack_branch_new_rows(u->branches, i);
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
        s.branches = units[u].branch_count > s.branches ? units[u].branch_count : s.branches;
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
    return (size_t)(s.rows * 2 + s.keys + s.outputs * 4) * sizeof(int32_t)
           + (size_t)s.branches * (sizeof(int32_t *) + sizeof(int64_t))
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

/* The output of a branch's token t, new or the parent's. Outputs with equal rows and targets are
 * one, as long as no loss mask tells them apart. */
static void push_output(struct packer *p, const struct pack_branch *branches, int64_t i, int64_t t,
                        const struct parent *parent, int32_t row)
{
    const struct pack_branch *b = &branches[i];
    const bool plain = !b->loss && parent->branch >= 0 && !branches[parent->branch].loss;
    p->wanted_targets[p->wanted] = b->ids[t];
    if (plain && t < parent->tokens) {
        const int64_t own = p->wanted - p->first_wanted[i];
        p->expand[p->wanted++] = p->expand[p->first_wanted[parent->branch] + own];
        return;
    }
    p->expand[p->wanted++] = (int32_t)p->outputs;
    p->out_rows[p->outputs] = row;
    p->targets[p->outputs++] = b->ids[t];
}

static void push_branch(struct packer *p, const struct pack_unit *u, int64_t i, int64_t prompt_row,
                        int32_t tree)
{
    const struct pack_branch *b = &u->branches[i];
    const struct parent parent = find_parent(u->branches, i);
    const int64_t begin = p->rows;
    const int64_t count = branch_rows(b) - parent.rows;
    int32_t *path = p->key_rows + p->keys;
    push_keys(p, prompt_row, u->prompt_count);
    for (int64_t k = 0; k < parent.rows; k++) {
        p->key_rows[p->keys++] = p->path[parent.branch][u->prompt_count + k];
    }
    push_keys(p, begin, count);
    p->path[i] = path;
    if (count > 0) {
        p->seqs[p->seq_count++] = (struct attn_seq){
            .begin = begin,
            .count = count,
            .pos_begin = u->prompt_count + parent.rows,
            .key_rows = path,
            .tree = tree,
        };
        push_tokens(p, b->ids + parent.rows, count, u->prompt_count + parent.rows);
    }
    p->first_wanted[i] = p->wanted;
    for (int64_t t = 0; t < b->count; t++) {
        if (wanted(u, b, t)) {
            push_output(p, u->branches, i, t, &parent, path[u->prompt_count + t - 1]);
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
        push_branch(p, u, i, prompt_row, tree);
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
    TRY(arena_alloc(arena, (size_t)s.outputs, sizeof(int32_t), &p.expand));
    TRY(arena_alloc(arena, (size_t)s.outputs, sizeof(int32_t), &p.wanted_targets));
    TRY(arena_alloc(arena, (size_t)s.branches, sizeof *p.path, &p.path));
    TRY(arena_alloc(arena, (size_t)s.branches, sizeof *p.first_wanted, &p.first_wanted));
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
        .expand = p.expand,
        .wanted_targets = p.wanted_targets,
        .n_wanted = p.wanted,
    };
    return STATUS_OK;
}
