/*
 * Finished completions and verdicts of a round in journals, one file per round and rank, so that an
 * interrupted round is neither lost nor repeated (design 4). A file's key is a hash of all that
 * decides its completions: adapter, round, prompts, sampling.
 */
#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rl/rollout_internal.h"
#include "trainer/format/file.h"

enum { RECORD_ROW = 1, RECORD_VERDICT = 2, PATH_CAP = 4096 };

/* Fixed part of a record; a row's ids, log-probs and entropies follow. */
struct row_record {
    int64_t place;
    int64_t count;
    int64_t stopped;
};

struct verdict_record {
    int64_t place;
    double rewards[REWARD_MAX];
};

uint64_t rollout_hash(uint64_t hash, const void *data, size_t bytes)
{
    const uint8_t *at = data;
    for (; bytes >= 8; bytes -= 8, at += 8) {
        uint64_t word;
        memcpy(&word, at, sizeof word);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    for (; bytes > 0; bytes--, at++) {
        hash = (hash ^ *at) * 0x100000001B3u;
    }
    return hash;
}

static uint64_t round_key(const struct rollout_config *c, const struct round *r,
                          int64_t round_index)
{
    const struct sample_config *s = &c->sample;
    const double numbers[] = {
        (double)round_index, (double)c->first_row, (double)r->groups, (double)r->group_size,
        (double)c->max_completion_length, s->temperature, (double)s->top_k, s->top_p, s->min_p,
        s->repetition_penalty, s->presence_penalty, s->frequency_penalty,
        (double)s->min_new_tokens, (double)s->suppress_count, (double)s->stop_count,
        s->stop_strings != NULL, s->constraint != NULL};
    uint64_t hash = c->journal->fingerprint ? c->journal->fingerprint(c->journal->ctx) : 1;
    hash = rollout_hash(hash, numbers, sizeof numbers);
    hash = rollout_hash(hash, &s->seed, sizeof s->seed);
    hash = rollout_hash(hash, s->stops, (size_t)s->stop_count * sizeof *s->stops);
    for (int64_t g = 0; g < r->groups; g++) {
        hash = rollout_hash(hash, r->group[g].prompt,
                            (size_t)r->group[g].prompt_count * sizeof(int32_t));
    }
    return hash;
}

/* A round being filled from journals. */
struct loader {
    const struct rollout_config *c;
    const struct comm *comm;
    struct round *r;
};

static bool is_mine(const struct loader *l, int64_t place)
{
    return place >= 0 && place < l->r->groups * l->r->group_size
           && l->r->owner[place / l->r->group_size] == l->comm->rank;
}

static enum status load_row(struct loader *l, const void *data, size_t bytes)
{
    struct row_record head;
    if (bytes < sizeof head) {
        return STATUS_OK;
    }
    memcpy(&head, data, sizeof head);
    const char *at = (const char *)data + sizeof head;
    const size_t n = (bytes - sizeof head) / 12;
    if (!is_mine(l, head.place) || head.count < 1 || (uint64_t)head.count != n
        || (bytes - sizeof head) % 12 != 0 || l->r->row[head.place].ids) {
        return STATUS_OK;
    }
    struct rollout_row *row = &l->r->row[head.place];
    *row = (struct rollout_row){
        .group = head.place / l->r->group_size,
        .sample = (uint32_t)(head.place % l->r->group_size),
        .count = head.count,
        .ids = malloc(n * sizeof(int32_t)),
        .logp = malloc(n * sizeof(float)),
        .entropy = malloc(n * sizeof(float)),
        .stopped = head.stopped != 0,
        .masked = l->c->mask_truncated && !head.stopped,
        .replayed = true,
    };
    if (!row->ids || !row->logp || !row->entropy) {
        return FAIL(MEMORY, "rollout: no memory for a completion");
    }
    memcpy(row->ids, at, n * sizeof(int32_t));
    memcpy(row->logp, at + 4 * n, n * sizeof(float));
    memcpy(row->entropy, at + 8 * n, n * sizeof(float));
    return STATUS_OK;
}

static enum status load_record(void *ctx, uint32_t kind, const void *data, size_t bytes)
{
    struct loader *l = ctx;
    struct verdict_record verdict;
    if (kind == RECORD_ROW) {
        return load_row(l, data, bytes);
    }
    if (kind == RECORD_VERDICT && bytes == sizeof verdict) {
        memcpy(&verdict, data, sizeof verdict);
        if (is_mine(l, verdict.place) && l->r->row[verdict.place].ids) {
            struct rollout_row *row = &l->r->row[verdict.place];
            memcpy(row->rewards, verdict.rewards, sizeof row->rewards);
            row->judged = true;
        }
    }
    return STATUS_OK;
}

/* The round of a journal's file name, -1: another file. */
static int64_t round_of_name(const char *name)
{
    char *end;
    if (strncmp(name, "round-", 6) != 0) {
        return -1;
    }
    const long long round = strtoll(name + 6, &end, 10);
    return end > name + 6 && strncmp(end, "-rank-", 6) == 0 ? round : -1;
}

/* Calls fn with the path of every journal. */
static enum status each_journal(const char *folder,
                                enum status (*fn)(void *ctx, int64_t round, const char *path),
                                void *ctx)
{
    DIR *dir = opendir(folder);
    enum status status = STATUS_OK;
    for (struct dirent *e; status == STATUS_OK && dir && (e = readdir(dir)) != NULL;) {
        char path[PATH_CAP];
        const int64_t round = round_of_name(e->d_name);
        if (round >= 0) {
            (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
            status = fn(ctx, round, path);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    return status;
}

struct reading {
    struct loader loader;
    int64_t round;
    uint64_t key;
};

static enum status read_journal(void *ctx, int64_t round, const char *path)
{
    struct reading *r = ctx;
    return round == r->round ? journal_replay(path, r->key, load_record, &r->loader) : STATUS_OK;
}

enum status rollout_journal_open(const struct rollout_config *c, const struct rollout_env *env,
                                 int64_t round_index, struct round *r, struct journal **out)
{
    char path[PATH_CAP];
    *out = NULL;
    if (!c->journal || c->source) {
        return STATUS_OK;
    }
    struct reading reading = {{c, env->comm, r}, round_index, round_key(c, r, round_index)};
    TRY(file_mkdirs(c->journal->folder));
    TRY(each_journal(c->journal->folder, read_journal, &reading));
    (void)snprintf(path, sizeof path, "%s/round-%lld-rank-%d-wave-%lld.bin", c->journal->folder,
                   (long long)round_index, env->comm->rank, (long long)c->wave);
    return journal_open(out, path, reading.key);
}

enum status rollout_journal_row(struct journal *j, int64_t place, const struct completion *done)
{
    const size_t n = (size_t)done->count;
    const size_t bytes = sizeof(struct row_record) + 12 * n;
    const struct row_record head = {place, done->count, done->stopped};
    char *data = malloc(bytes);
    if (!data) {
        return FAIL(MEMORY, "rollout: no memory for a journal record");
    }
    memcpy(data, &head, sizeof head);
    memcpy(data + sizeof head, done->ids, n * sizeof(int32_t));
    memcpy(data + sizeof head + 4 * n, done->logp, n * sizeof(float));
    memcpy(data + sizeof head + 8 * n, done->entropy, n * sizeof(float));
    const enum status status = journal_append(j, RECORD_ROW, data, bytes);
    free(data);
    return status;
}

enum status rollout_journal_verdict(struct journal *j, int64_t place, const double *rewards)
{
    struct verdict_record record = {.place = place};
    memcpy(record.rewards, rewards, sizeof record.rewards);
    return journal_append(j, RECORD_VERDICT, &record, sizeof record);
}

static enum status drop_journal(void *ctx, int64_t round, const char *path)
{
    const int64_t *floor = ctx;
    if (round < *floor) {
        (void)unlink(path);
    }
    return STATUS_OK;
}

void rollout_journal_drop(const struct rollout_journal *j, int64_t before)
{
    if (j) {
        (void)each_journal(j->folder, drop_journal, &before);
    }
}

void rollout_journal_end(const struct rollout_journal *j, int64_t before)
{
    if (j) {
        rollout_journal_drop(j, before);
        (void)rmdir(j->folder); /* stays while a journal is in it */
    }
}
