/* Distributed accuracy; see run.h. Problem p is generated and judged by rank p % size. */
#include "eval/run.h"

#include <math.h>
#include <string.h>

#include "eval/grade/grade.h"
#include "eval/tasks/procedural.h"
#include "kernels/base/clock.h"
#include "kernels/base/rng.h"
#include "trainer/report/report.h"

/* Verdict on one sample, as it travels between ranks. */
struct verdict {
    int64_t problem;
    double score; /* NaN: no gold answer */
    int64_t tokens;
    int64_t stopped;
};

/* This rank's share. */
struct share {
    struct prompt *prompts;
    int64_t *problem;
    json_t **rows;
    int64_t count;
    struct verdict *verdicts;
    int64_t verdict_count;
    json_t *lines; /* per-sample records, NULL when not wanted */
};

static void share_close(struct share *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        free((void *)(uintptr_t)s->prompts[i].ids);
        json_decref(s->rows[i]);
    }
    free(s->prompts);
    free(s->problem);
    free(s->rows);
    free(s->verdicts);
    json_decref(s->lines);
}

static enum status share_open(const struct eval_config *c, const struct eval_env *env,
                              struct share *s)
{
    const size_t most = (size_t)(c->rows / env->comm->size + 1);
    s->prompts = calloc(most, sizeof *s->prompts);
    s->problem = calloc(most, sizeof *s->problem);
    s->rows = calloc(most, sizeof(json_t *));
    s->verdicts = calloc(most * (size_t)c->samples, sizeof *s->verdicts);
    s->lines = c->samples_file ? json_array() : NULL;
    if (!s->prompts || !s->problem || !s->rows || !s->verdicts) {
        return FAIL(MEMORY, "evaluation: no memory for %zu problems", most);
    }
    for (int64_t p = env->comm->rank; p < c->rows; p += env->comm->size) {
        char where[512];
        struct token_list list = {0};
        (void)snprintf(where, sizeof where, "%s: row %lld", env->where, (long long)p + 1);
        json_t *row = env->row(env->row_ctx, p);
        if (!row) {
            return FAIL(INPUT, "%s: cannot be read", where);
        }
        const enum status status = prompt_ids(&env->format, row, where, &list, NULL);
        s->rows[s->count] = row;
        s->problem[s->count] = p;
        s->prompts[s->count++] = (struct prompt){
            .ids = list.ids,
            .count = list.count,
            .row = (uint32_t)p,
            .samples = c->samples,
        };
        TRY(status);
    }
    return STATUS_OK;
}

static enum status judge(const struct eval_config *c, const struct eval_env *env, struct share *s,
                         const struct completion *done)
{
    struct text said = {0};
    TRY(completion_text(env->format.tokenizer, done->ids, done->count, &said));
    double score;
    if (!procedural_judge(said.data, s->rows[done->prompt], &score)) {
        score = grade_completion(said.data, s->rows[done->prompt]);
    }
    s->verdicts[s->verdict_count++] = (struct verdict){
        .problem = s->problem[done->prompt],
        .score = score,
        .tokens = done->count,
        .stopped = done->stopped,
    };
    if (s->lines) {
        json_t *line = json_pack("{s:s?, s:I, s:I, s:s%}", "label", c->label, "problem",
                                 (json_int_t)s->problem[done->prompt], "sample",
                                 (json_int_t)done->sample, "completion", said.data, said.length);
        if (line) {
            (void)json_object_set_new(line, "score", isnan(score) ? json_null() : json_real(score));
            (void)json_array_append_new(s->lines, line);
        }
    }
    free(said.data);
    return STATUS_OK;
}

static enum status run_share(const struct eval_config *c, const struct eval_env *env,
                             struct share *s)
{
    struct generate_args args = {
        .model = env->model,
        .ops = env->ops,
        .hooks = c->hooks,
        .prompts = s->prompts,
        .prompt_count = s->count,
        .sample = c->sample,
        .limits = c->limits,
    };
    args.sample.purpose = RNG_EVAL;
    args.sample.step = 0;
    struct completion_set set = {0};
    TRY(share_open(c, env, s));
    args.prompts = s->prompts;
    args.prompt_count = s->count;
    enum status status = generate(&args, &set, NULL);
    for (int64_t i = 0; status == STATUS_OK && i < set.count; i++) {
        status = judge(c, env, s, &set.items[i]);
    }
    completion_set_close(&set);
    return status;
}

/* Adds the verdicts up in problem order, so that the sum doesn't depend on the ranks. */
static enum status add_up(const struct eval_config *c, const struct verdict *all, int64_t count,
                          struct eval_result *out)
{
    double *sum = calloc((size_t)c->rows + 1, sizeof *sum);
    double *judged = calloc((size_t)c->rows + 1, sizeof *judged);
    if (!sum || !judged) {
        free(sum);
        free(judged);
        return FAIL(MEMORY, "evaluation: no memory for %lld problems", (long long)c->rows);
    }
    for (int64_t i = 0; i < count; i++) {
        out->mean_length += (double)all[i].tokens / (double)count;
        out->truncated += (double)(all[i].stopped == 0) / (double)count;
        if (!isnan(all[i].score)) {
            sum[all[i].problem] += all[i].score;
            judged[all[i].problem] += 1.0;
        }
    }
    double total = 0.0;
    double squares = 0.0;
    for (int64_t p = 0; p < c->rows; p++) {
        if (judged[p] > 0) {
            const double mean = sum[p] / judged[p];
            total += mean;
            squares += mean * mean;
            out->judged += (int64_t)judged[p];
            out->problems++;
        }
    }
    const double n = (double)out->problems;
    out->accuracy = n > 0 ? total / n : NAN;
    out->stderr_ = n > 1 ? sqrt(fmax(0.0, squares / n - out->accuracy * out->accuracy) / (n - 1))
                         : 0.0;
    free(sum);
    free(judged);
    return STATUS_OK;
}

/* Per-sample lines of all ranks, appended by rank 0 in rank order. */
static enum status write_lines(const struct eval_config *c, const struct comm *comm,
                               const json_t *lines)
{
    void *all = NULL;
    char *mine = json_dumps(lines, JSON_COMPACT);
    size_t *offsets = malloc(((size_t)comm->size + 1) * sizeof *offsets);
    enum status status = mine && offsets ? STATUS_OK : FAIL(MEMORY, "evaluation: no memory");
    status = comm_agree(comm, status);
    if (status == STATUS_OK) {
        status = comm_gather_all(comm, mine, strlen(mine), &all, offsets);
    }
    for (int r = 0; status == STATUS_OK && comm->rank == 0 && r < comm->size; r++) {
        json_t *part =
            json_loadb((const char *)all + offsets[r], offsets[r + 1] - offsets[r], 0, NULL);
        for (size_t i = 0; status == STATUS_OK && i < json_array_size(part); i++) {
            status = report_append(c->output_dir, c->samples_file, json_array_get(part, i));
        }
        json_decref(part);
    }
    free(all);
    free(mine);
    free(offsets);
    return comm_agree(comm, status);
}

enum status eval_accuracy(const struct eval_config *c, const struct eval_env *env,
                          struct eval_result *out)
{
    struct share s = {0};
    void *all = NULL;
    const double start = clock_seconds();
    *out = (struct eval_result){0};
    size_t *offsets = malloc(((size_t)env->comm->size + 1) * sizeof *offsets);
    enum status status = offsets ? run_share(c, env, &s) : FAIL(MEMORY, "evaluation: no memory");
    status = comm_agree(env->comm, status);
    if (status == STATUS_OK) {
        status = comm_gather_all(env->comm, s.verdicts,
                                 (size_t)s.verdict_count * sizeof *s.verdicts, &all, offsets);
    }
    if (status == STATUS_OK) {
        status = add_up(c, all, (int64_t)(offsets[env->comm->size] / sizeof *s.verdicts), out);
    }
    if (status == STATUS_OK && c->samples_file) {
        status = write_lines(c, env->comm, s.lines);
    }
    free(all);
    free(offsets);
    share_close(&s);
    out->seconds = clock_seconds() - start;
    return status;
}

json_t *eval_result_json(const struct eval_result *r)
{
    return json_pack("{s:f, s:f, s:I, s:I, s:f, s:f, s:f}", "accuracy",
                     isnan(r->accuracy) ? 0.0 : r->accuracy, "stderr", r->stderr_, "samples",
                     (json_int_t)r->judged, "problems", (json_int_t)r->problems, "mean_length",
                     r->mean_length, "truncated", r->truncated, "seconds", r->seconds);
}
