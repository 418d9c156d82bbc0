/*
 * One sequence, every way the program computes it: alone, packed with others, as a branch of a
 * tree, prefilled into the paged cache at once or in pieces, forked, decoded token by token.
 * Log-probs and entropies must agree bit for bit, on every tier and in both compute modes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tiny_model.h"
#include "trainer/model/cache.h"

/* The prompt ends inside a page and inside an attention block; a completion crosses both. */
enum { PROMPT = 61, COMPLETION = 9, BRANCHES = 3, OUTPUTS = BRANCHES * COMPLETION };

struct scene {
    struct tiny t;
    struct ops_context ops;
    int32_t prompt[PROMPT];
    int32_t completion[BRANCHES][COMPLETION];
    float logp[OUTPUTS]; /* of the tree: what all others must equal */
    float entropy[OUTPUTS];
    const char *name;
};

static void run_units(struct scene *s, const struct pack_unit *units, int64_t count, float *logp,
                      float *entropy)
{
    struct tiny_run r;
    tiny_run_open(&r, &s->t, &s->ops, units, count, 0);
    tiny_run_forward(&r, &s->t);
    memcpy(logp, r.head.logp, (size_t)r.batch.n_out * sizeof *logp);
    memcpy(entropy, r.head.entropy, (size_t)r.batch.n_out * sizeof *entropy);
    tiny_run_close(&r);
}

/* The tree of all branches: `s->logp`. */
static void run_tree(struct scene *s)
{
    struct pack_branch branch[BRANCHES];
    for (int i = 0; i < BRANCHES; i++) {
        branch[i] = (struct pack_branch){.ids = s->completion[i], .count = COMPLETION};
    }
    const struct pack_unit unit = {
        .prompt = s->prompt, .prompt_count = PROMPT, .branches = branch, .branch_count = BRANCHES};
    run_units(s, &unit, 1, s->logp, s->entropy);
}

/* Each branch as a sequence of its own, alone or packed together. */
static void check_sequences(struct scene *s, bool together)
{
    struct pack_branch branch[BRANCHES];
    struct pack_unit unit[BRANCHES];
    int32_t ids[BRANCHES][PROMPT + COMPLETION];
    uint8_t loss[PROMPT + COMPLETION] = {0};
    float logp[OUTPUTS];
    float entropy[OUTPUTS];
    memset(loss + PROMPT, 1, COMPLETION);
    for (int i = 0; i < BRANCHES; i++) {
        memcpy(ids[i], s->prompt, sizeof s->prompt);
        memcpy(ids[i] + PROMPT, s->completion[i], sizeof s->completion[i]);
        branch[i] = (struct pack_branch){ids[i], PROMPT + COMPLETION, loss};
        unit[i] = (struct pack_unit){.branches = &branch[i], .branch_count = 1};
    }
    for (int i = 0; !together && i < BRANCHES; i++) {
        run_units(s, &unit[i], 1, logp + i * COMPLETION, entropy + i * COMPLETION);
    }
    if (together) {
        run_units(s, unit, BRANCHES, logp, entropy);
    }
    tiny_same_bits(s->name, logp, s->logp, OUTPUTS);
    tiny_same_bits(s->name, entropy, s->entropy, OUTPUTS);
}

/* A rollout: cache, arenas, and the arrays of one batch. */
struct rollout {
    struct scene *s;
    struct kv_cache *cache;
    struct arena step;
    struct arena scratch;
    float *logits;
    int64_t tokens;
    int64_t sequences;
    int32_t ids[PROMPT + BRANCHES];
    int32_t position[PROMPT + BRANCHES];
    int32_t cache_rows[PROMPT + BRANCHES];
    int32_t out_rows[BRANCHES];
    struct attn_seq seqs[BRANCHES];
    struct logit_stats stats[BRANCHES];
};

static void rollout_open(struct rollout *r, struct scene *s)
{
    const struct model_config *c = &s->t.m->config;
    const struct kv_cache_shape shape = {.layers = c->layers,
                                         .kv_dim = c->kv_heads * c->head_dim,
                                         .pages = 12,
                                         .sequences = BRANCHES + 1,
                                         .length = PROMPT + COMPLETION,
                                         .rounded = s->ops.compute == COMPUTE_BF16};
    const struct pass pass = {.ops = &s->ops, .hooks = true};
    size_t step;
    size_t scratch;
    *r = (struct rollout){.s = s};
    tiny_need(kv_cache_open(&r->cache, &shape));
    tiny_need(model_plan(s->t.m, &pass, PROMPT, BRANCHES, &step, &scratch));
    tiny_need(arena_open(&r->step, "step", step));
    tiny_need(arena_open(&r->scratch, "scratch", scratch));
    r->logits = calloc((size_t)BRANCHES * TINY_VOCAB, sizeof(float));
    assert_non_null(r->logits);
}

static void rollout_close(struct rollout *r)
{
    kv_cache_close(r->cache);
    arena_close(&r->step);
    arena_close(&r->scratch);
    free(r->logits);
}

/* Adds `count` tokens of a cache sequence to the batch; the last one is an output. */
static void stage(struct rollout *r, int64_t seq, const int32_t *ids, int64_t count)
{
    const int64_t start = kv_cache_length(r->cache, seq);
    tiny_need(kv_cache_append(r->cache, seq, count));
    const int32_t *rows = kv_cache_rows(r->cache, seq);
    r->seqs[r->sequences] = (struct attn_seq){.begin = r->tokens,
                                              .count = count,
                                              .pos_begin = start,
                                              .key_rows = rows,
                                              .tree = (int32_t)r->sequences};
    for (int64_t i = 0; i < count; i++) {
        r->ids[r->tokens] = ids[i];
        r->position[r->tokens] = (int32_t)(start + i);
        r->cache_rows[r->tokens++] = rows[start + i];
    }
    r->out_rows[r->sequences++] = (int32_t)(r->tokens - 1);
}

/* Runs what was staged: logits and statistics of each sequence's next token. */
static void run_staged(struct rollout *r)
{
    struct scene *s = r->s;
    const struct batch batch = {.tokens = r->tokens,
                                .ids = r->ids,
                                .position = {r->position, r->position, r->position},
                                .seqs = r->seqs,
                                .n_seq = r->sequences,
                                .out_rows = r->out_rows,
                                .n_out = r->sequences,
                                .cache = r->cache,
                                .cache_rows = r->cache_rows};
    const struct pass pass = {
        .ops = &s->ops, .step = &r->step, .scratch = &r->scratch, .hooks = true};
    float *hidden;
    arena_rewind(&r->step, 0);
    arena_rewind(&r->scratch, 0);
    tiny_need(model_forward(s->t.m, &pass, &batch, &hidden, NULL));
    tiny_need(model_logits(s->t.m, &pass, hidden, r->sequences, 0.8f, r->logits, r->stats, NULL));
    r->tokens = 0;
    r->sequences = 0;
}

/* The sampler's log-prob and entropy of a staged row's next token against the tree's. */
static void check_token(const struct rollout *r, int64_t row, int branch, int i)
{
    const struct scene *s = r->s;
    const float z = r->logits[row * TINY_VOCAB + s->completion[branch][i]];
    const float logp = z - logit_stats_lse(&r->stats[row]);
    const float entropy = logit_stats_entropy(&r->stats[row]);
    tiny_same_bits(s->name, &logp, &s->logp[branch * COMPLETION + i], 1);
    tiny_same_bits(s->name, &entropy, &s->entropy[branch * COMPLETION + i], 1);
}

/* Prefill in pieces of `piece` tokens, one fork per branch, then all branches token by token. */
static void check_rollout(struct scene *s, int64_t piece)
{
    struct rollout r;
    int64_t prompt;
    int64_t seq[BRANCHES];
    rollout_open(&r, s);
    tiny_need(kv_cache_new(r.cache, &prompt));
    for (int64_t at = 0; at < PROMPT; at += piece) {
        stage(&r, prompt, s->prompt + at, PROMPT - at < piece ? PROMPT - at : piece);
        run_staged(&r);
    }
    for (int b = 0; b < BRANCHES; b++) {
        check_token(&r, 0, b, 0);
        tiny_need(kv_cache_fork(r.cache, prompt, PROMPT, &seq[b]));
    }
    kv_cache_free(r.cache, prompt);
    for (int i = 1; i < COMPLETION; i++) {
        for (int b = 0; b < BRANCHES; b++) {
            stage(&r, seq[b], &s->completion[b][i - 1], 1);
        }
        run_staged(&r);
        for (int b = 0; b < BRANCHES; b++) {
            check_token(&r, b, b, i);
        }
    }
    rollout_close(&r);
}

static void check_scene(const struct tiny_config *c, enum cpu_tier tier, enum compute compute)
{
    struct scene *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->name = c->name;
    const struct ops_options options = {.threads = 2, .compute = compute};
    tiny_need(ops_context_open_tier(&s->ops, &options, tier));
    tiny_open(&s->t, c);
    tiny_attach_lora(&s->t, 0);
    tiny_ids(&s->t, s->prompt, PROMPT);
    tiny_ids(&s->t, s->completion[0], OUTPUTS);
    run_tree(s);
    check_sequences(s, true);
    check_sequences(s, false);
    check_rollout(s, PROMPT);
    check_rollout(s, 23);
    tiny_close(&s->t);
    ops_context_close(&s->ops);
    free(s);
}

static void every_way_gives_the_same_bits(void **state)
{
    (void)state;
    for (int tier = TIER_REF; tier <= TIER_AVX512 && tier <= (int)cpu_best_tier(); tier++) {
        for (int compute = COMPUTE_F32; compute <= COMPUTE_BF16; compute++) {
            for (int i = 0; TINY_CONFIGS[i].name; i++) {
                check_scene(&TINY_CONFIGS[i], (enum cpu_tier)tier, (enum compute)compute);
            }
            print_message("  %s %s: equal\n", cpu_tier_name((enum cpu_tier)tier),
                          compute ? "bfloat16" : "float32");
        }
    }
}

/* What a user's rows may hold: refused, never read out of bounds. */
static void bad_batches_are_refused(void **state)
{
    (void)state;
    struct tiny t;
    struct tiny_run r;
    struct ops_context ops;
    int32_t ids[4] = {1, 2, 3, 4};
    const struct pack_branch branch = {.ids = ids, .count = 4};
    const struct pack_unit unit = {.branches = &branch, .branch_count = 1};
    tiny_need(ops_context_open(&ops, &(struct ops_options){.threads = 1}));
    tiny_open(&t, &TINY_CONFIGS[0]);
    tiny_run_open(&r, &t, &ops, &unit, 1, 0);
    int32_t *row_ids = (int32_t *)(uintptr_t)r.batch.ids;
    int32_t *position = (int32_t *)(uintptr_t)r.batch.position[0];
    for (int i = 0; i < 2; i++) {
        row_ids[1] = i ? -1 : TINY_VOCAB;
        assert_int_equal(model_forward(t.m, &r.pass, &r.batch, &r.hidden, NULL), STATUS_INPUT);
        row_ids[1] = 2;
        position[2] = i ? -1 : (int32_t)t.m->rope_positions;
        assert_int_equal(model_forward(t.m, &r.pass, &r.batch, &r.hidden, NULL), STATUS_INPUT);
        position[2] = 2;
    }
    r.batch.adapter_slot = row_ids;
    assert_int_equal(model_forward(t.m, &r.pass, &r.batch, &r.hidden, NULL), STATUS_RECIPE);
    r.batch.adapter_slot = NULL;
    tiny_run_forward(&r, &t);
    const int32_t target[3] = {2, TINY_VOCAB, 1};
    assert_int_equal(model_head(t.m, &r.pass, r.hidden, 3, target, 1.0f, &r.head), STATUS_INPUT);
    r.step.size /= 2; /* a full arena is a message, not a crash */
    r.step.used = 0;
    assert_int_equal(model_forward(t.m, &r.pass, &r.batch, &r.hidden, NULL), STATUS_MEMORY);
    r.step.size *= 2;
    tiny_run_close(&r);
    tiny_close(&t);
    ops_context_close(&ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_way_gives_the_same_bits),
        cmocka_unit_test(bad_batches_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
