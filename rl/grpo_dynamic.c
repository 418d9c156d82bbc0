/*
 * Dynamic sampling (Yu et al. 2025, DAPO, arXiv 2503.14476, section 3.2): groups whose rewards are
 * all equal teach nothing and are replaced by fresh prompts. A wave rolls out one candidate per
 * flat group; after its last verdict the candidates that are not flat take the flat places, both in
 * the order of their indices, so that the order of arrival decides nothing.
 */
#include <math.h>
#include <string.h>

#include "kernels/base/rng.h"
#include "rl/grpo_internal.h"

enum { ATTEMPTS = 64 };

static bool is_flat(const struct rollout_group *group)
{
    return !(group->reward_std > 1e-8); /* no score at all is flat, too */
}

static int64_t flat_count(const struct round *r)
{
    int64_t n = 0;
    for (int64_t g = 0; g < r->groups; g++) {
        n += is_flat(&r->group[g]);
    }
    return n;
}

static bool is_used(const int64_t *used, int64_t count, int64_t row)
{
    for (int64_t i = 0; i < count; i++) {
        if (used[i] == row) {
            return true;
        }
    }
    return false;
}

/* A dataset row that is not in used[0 .. count), -1: there is none. A draw decides, then the next
 * free row behind the last draw. */
static int64_t fresh_row(const struct grpo *g, const struct rng_key *key, const int64_t *used,
                         int64_t count)
{
    const uint64_t rows = (uint64_t)g->config->plan.rows;
    uint64_t row = 0;
    for (uint32_t k = 0; k < ATTEMPTS; k++) {
        uint32_t word[4];
        struct rng_key draw = *key;
        draw.position = k;
        rng_draw4(&draw, word);
        row = ((uint64_t)word[0] << 32 | word[1]) % rows;
        if (!is_used(used, count, (int64_t)row)) {
            return (int64_t)row;
        }
    }
    for (uint64_t k = 0; k < rows; k++) {
        if (!is_used(used, count, (int64_t)((row + k) % rows))) {
            return (int64_t)((row + k) % rows);
        }
    }
    return -1;
}

static void swap_group(struct round *a, int64_t i, struct round *b, int64_t j)
{
    const struct rollout_group group = a->group[i];
    a->group[i] = b->group[j];
    b->group[j] = group;
    for (int64_t k = 0; k < a->group_size; k++) {
        struct rollout_row *x = &a->row[i * a->group_size + k];
        struct rollout_row *y = &b->row[j * b->group_size + k];
        const struct rollout_row row = *x;
        *x = *y;
        *y = row;
        x->group = i;
        y->group = j;
    }
}

/* Puts the wave's groups that are not flat in the round's flat places. */
static int64_t replace_flat(struct round *r, struct round *wave)
{
    int64_t replaced = 0;
    int64_t next = 0;
    for (int64_t g = 0; g < r->groups; g++) {
        if (!is_flat(&r->group[g])) {
            continue;
        }
        while (next < wave->groups && is_flat(&wave->group[next])) {
            next++;
        }
        if (next == wave->groups) {
            break;
        }
        swap_group(r, g, wave, next++);
        replaced++;
    }
    return replaced;
}

/* The candidates of a wave; *count falls short when the dataset has no more rows. */
static void choose(const struct grpo *g, int64_t round, int64_t wave, int64_t *used,
                   int64_t used_count, int64_t *count)
{
    for (int64_t i = 0; i < *count; i++) {
        const struct rng_key key = {.seed = g->config->plan.seed, .purpose = RNG_SHUFFLE,
                                    .step = (uint32_t)round, .row = (uint32_t)wave,
                                    .sample = (uint32_t)i};
        const int64_t row = fresh_row(g, &key, used, used_count + i);
        if (row < 0) {
            *count = i;
            return;
        }
        used[used_count + i] = row;
    }
}

static void add_stats(struct generate_stats *sum, const struct generate_stats *more)
{
    const double steps = (double)(sum->decode_steps + more->decode_steps);
    sum->occupancy = steps > 0 ? (sum->occupancy * (double)sum->decode_steps
                                  + more->occupancy * (double)more->decode_steps) / steps
                               : 0.0;
    sum->steps += more->steps;
    sum->decode_steps += more->decode_steps;
    sum->decoded_tokens += more->decoded_tokens;
    sum->rows += more->rows;
    sum->prompt_tokens += more->prompt_tokens;
    sum->saved_rows += more->saved_rows;
    sum->preemptions += more->preemptions;
    sum->drafted += more->drafted;
    sum->accepted += more->accepted;
    sum->seconds += more->seconds;
}

enum status grpo_replace_flat(struct grpo *g, int64_t round, struct round *r)
{
    const int64_t waves = g->config->dynamic_waves;
    const int64_t groups = r->groups;
    int64_t used_count = groups;
    int64_t *used = malloc((size_t)(groups * (waves + 1)) * sizeof *used + 1);
    enum status status = used ? STATUS_OK : FAIL(MEMORY, "round: no memory");
    for (int64_t i = 0; used && i < groups; i++) {
        used[i] = r->group[i].index;
    }
    for (int64_t w = 1; status == STATUS_OK && w <= waves && flat_count(r) > 0; w++) {
        struct rollout_config config = g->config->rollout;
        struct round wave = {0};
        int64_t count = flat_count(r);
        choose(g, round, w, used, used_count, &count);
        if (count == 0) {
            break;
        }
        config.first_row = w * groups;
        config.wave = w;
        config.call_rows = 0;
        status = rollout_round(&config, g->env, used + used_count, count, round, &wave);
        used_count += count;
        if (status == STATUS_OK) {
            g->waves++;
            g->replaced_groups += replace_flat(r, &wave);
            add_stats(&r->stats, &wave.stats);
            r->judge_seconds += wave.judge_seconds;
        }
        round_close(&wave);
    }
    free(used);
    TRY(status);
    return used_count > groups ? rollout_advantages(&g->config->rollout, NULL, r) : STATUS_OK;
}
