/*
 * reward: scores of completions by the rewards of a recipe, row by row on all cores.
 *
 * A row is one completion, {"completion", "prompt"?, "solution"?, ...}, or a call of several,
 * {"completions": [..], "solution": [..], ...}, whose lists of the same length are columns. Rewards
 * that compare completions (length) see a call; single rows make one call as long as their column
 * "call" stays the same.
 */
#include <math.h>
#include <string.h>

#include "recipes/commands.h"
#include "recipes/reward_judge.h"
#include "recipes/row_pool.h"
#include "recipes/suggest.h"
#include "rl/reward/remote.h"

struct scoring {
    char *names[REWARD_MAX];
    int64_t count;
    double weights[REWARD_MAX];
    json_t *parameters;
    bool by_call; /* a reward compares completions */
    struct helper *helper; /* NULL: no reward needs a process of its own */
};

static void scoring_close(struct scoring *s)
{
    for (int64_t k = 0; k < s->count; k++) {
        free(s->names[k]);
    }
    json_decref(s->parameters);
}

static enum status read_names(struct scoring *s, const char *list)
{
    for (const char *p = list; p && *p;) {
        const size_t n = strcspn(p, ", ");
        if (n > 0) {
            if (s->count == REWARD_MAX) {
                return FAIL(USAGE, "reward: at most %d rewards", REWARD_MAX);
            }
            s->names[s->count] = strndup(p, n);
            if (!s->names[s->count]) {
                return FAIL(MEMORY, "reward: no memory");
            }
            s->weights[s->count++] = 1.0;
        }
        p += n + strspn(p + n, ", ");
    }
    if (s->count == 0) {
        char known[1024];
        reward_names(known, sizeof known);
        return FAIL(USAGE, "reward: --name is missing: one or more of %s", known);
    }
    for (int64_t k = 0; k < s->count; k++) {
        const struct reward *r = reward_find(s->names[k]);
        s->by_call = s->by_call || (r && r->scope == REWARD_CALL);
    }
    return STATUS_OK;
}

/* Parameter names of the chosen rewards, for a suggestion. */
static const char *parameter_at(const void *ctx, size_t i)
{
    const struct scoring *s = ctx;
    for (int64_t k = 0; k < s->count; k++) {
        const struct reward *r = reward_find(s->names[k]);
        for (const struct reward_parameter *p = r ? r->parameters : NULL; p && p->key; p++) {
            if (i-- == 0) {
                return p->key;
            }
        }
    }
    return NULL;
}

static const struct reward_parameter *find_parameter(const struct scoring *s, const char *key)
{
    for (int64_t k = 0; k < s->count; k++) {
        const struct reward *r = reward_find(s->names[k]);
        const struct reward_parameter *p = r ? reward_parameter_find(r, key) : NULL;
        if (p) {
            return p;
        }
    }
    return NULL;
}

/* "a,b", "[1, 2]": the reward_weights of a recipe. */
static enum status read_weights(struct scoring *s, const char *value)
{
    int64_t n = 0;
    for (const char *p = value + (*value == '['); *p && *p != ']';) {
        char *end;
        const double x = strtod(p, &end);
        if (end == p || !isfinite(x) || n == s->count) {
            break;
        }
        s->weights[n++] = x;
        p = end + strspn(end, ", ");
    }
    return n == s->count ? STATUS_OK
                         : FAIL(USAGE, "reward: reward_weights=%.60s: %lld numbers, one per reward",
                                value, (long long)s->count);
}

/* key=value: JSON where it is some, else a text. */
static enum status read_parameter(struct scoring *s, const char *argument)
{
    char key[96];
    const size_t n = strcspn(argument, "=");
    const char *value = argument + n + 1;
    (void)snprintf(key, sizeof key, "%.*s", (int)n, argument);
    if (strcmp(key, "reward_weights") == 0) {
        return read_weights(s, value);
    }
    const struct reward_parameter *p = find_parameter(s, key);
    if (!p) {
        const char *near = suggest_nearest(key, parameter_at, s);
        return near ? FAIL(USAGE, "reward: no chosen reward has a parameter %s, did you mean %s?",
                           key, near)
                    : FAIL(USAGE, "reward: no chosen reward has a parameter %s", key);
    }
    const bool text = p->type == PARAMETER_TEXT;
    json_t *json = text ? NULL : json_loads(value, JSON_DECODE_ANY, NULL);
    if (!json) {
        json = json_string(value);
    }
    return json_object_set_new(s->parameters, p->key, json) == 0
               ? STATUS_OK
               : FAIL(USAGE, "reward: %s is no UTF-8 text", key);
}

static enum status scoring_open(struct scoring *s, const struct command_args *args)
{
    struct reward_set probe;
    s->parameters = json_object();
    if (!s->parameters) {
        return FAIL(MEMORY, "reward: no memory");
    }
    TRY(read_names(s, args->name));
    /* Unknown names before parameters, which may be theirs. */
    for (int64_t k = 0; k < s->count; k++) {
        if (!reward_find(s->names[k]) && !reward_judge_is_model(s->names[k])) {
            const enum status unknown = reward_set_open(
                &probe, (const char *const *)&s->names[k], 1, NULL);
            reward_set_close(&probe);
            return unknown;
        }
    }
    for (int64_t i = 0; i < args->override_count; i++) {
        TRY(read_parameter(s, args->overrides[i]));
    }
    return STATUS_OK;
}

/* ---- a worker ---- */

struct scorer {
    const struct scoring *scoring;
    struct reward_set set;
};

static void scorer_close(void *state)
{
    struct scorer *w = state;
    if (w) {
        reward_set_close(&w->set);
        free(w);
    }
}

static enum status scorer_open(void *ctx, void **state)
{
    const struct scoring *s = ctx;
    struct scorer *w = calloc(1, sizeof *w);
    *state = w;
    if (!w) {
        return FAIL(MEMORY, "reward: no memory");
    }
    w->scoring = s;
    const struct reward_judge_options options = {.helper = s->helper,
                                                 .parameters = s->parameters,
                                                 .compute = COMPUTE_F32,
                                                 .threads = 1};
    return reward_judge_open(&w->set, &options, (const char *const *)s->names, s->count);
}

static bool joins_call(void *ctx, const json_t *first, const json_t *row)
{
    const struct scoring *s = ctx;
    const json_t *a = json_object_get(first, "call");
    const json_t *b = json_object_get(row, "call");
    return s->by_call && !json_object_get(first, "completions")
           && !json_object_get(row, "completions")
           && (a && b ? json_equal((json_t *)(uintptr_t)a, (json_t *)(uintptr_t)b) : a == b);
}

/* The completions of a job with all their scores. */
struct scored {
    struct reward_input *inputs; /* [count] */
    json_t **rows;               /* [count] owned */
    double *scores;              /* [rewards, count] */
    char (*reasons)[REWARD_REASON_CAP]; /* [rewards, count] */
    int64_t count;
};

static void scored_close(struct scored *s)
{
    for (int64_t i = 0; s->inputs && i < s->count; i++) {
        reward_input_close(&s->inputs[i]);
    }
    for (int64_t i = 0; s->rows && i < s->count; i++) {
        json_decref(s->rows[i]);
    }
    free(s->inputs);
    free(s->rows);
    free(s->scores);
    free(s->reasons);
}

static enum status scored_open(struct scored *s, int64_t count, int64_t rewards)
{
    const size_t n = (size_t)count + 1;
    *s = (struct scored){
        .inputs = calloc(n, sizeof *s->inputs),
        .rows = calloc(n, sizeof(json_t *)),
        .scores = calloc(n * (size_t)rewards, sizeof *s->scores),
        .reasons = calloc(n * (size_t)rewards, sizeof *s->reasons),
        .count = count,
    };
    return s->inputs && s->rows && s->scores && s->reasons
               ? STATUS_OK
               : FAIL(MEMORY, "no memory for %lld completions", (long long)count);
}

/* Text of a completion: itself, or the first message's content. */
static const char *completion_of(const json_t *completion)
{
    const json_t *content = json_object_get(json_array_get(completion, 0), "content");
    return json_string_value(json_is_array(completion) ? content : completion);
}

static enum status read_row(const json_t *row, struct reward_input *in)
{
    const json_t *prompt = json_object_get(row, "prompt");
    json_t *ids = json_object_get(row, "completion_ids");
    json_t *length = json_object_get(row, "completion_length");
    const char *said = completion_of(json_object_get(row, "completion"));
    if (!said) {
        return FAIL(INPUT, "a row needs \"completion\" (text or messages), or \"completions\"");
    }
    /* The form that travels between processes has the checks of ids. */
    json_t *form = json_pack("{s:s}", "completion", said);
    if (ids && !json_is_null(ids)) {
        (void)json_object_set(form, "ids", ids);
    } else if (json_is_integer(length)) {
        (void)json_object_set(form, "tokens", length);
    }
    const enum status status =
        form ? reward_input_from_json(form, in) : FAIL(MEMORY, "no memory for the row");
    json_decref(form);
    TRY(status);
    in->completion = said;
    in->prompt = json_string_value(prompt);
    in->messages = json_is_array(prompt) ? prompt : NULL;
    in->truncated = json_is_true(json_object_get(row, "truncated"));
    in->row = row;
    in->group = json_integer_value(json_object_get(row, "group"));
    in->sample = json_integer_value(json_object_get(row, "sample"));
    return STATUS_OK;
}

/* Row `i` of a call: its place in every list as long as the completions, the rest as it is. */
static json_t *deal_row(const json_t *call, size_t i, size_t count)
{
    json_t *row = json_object();
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)call, key, value) {
        const bool column = json_array_size(value) == count;
        const char *name = strcmp(key, "completions") == 0          ? "completion"
                           : strcmp(key, "prompts") == 0            ? "prompt"
                           : strcmp(key, "completion_lengths") == 0 ? "completion_length"
                                                                    : key;
        (void)json_object_set(row, name, column ? json_array_get(value, i) : value);
    }
    return row;
}

static enum status read_job(const struct scorer *w, struct row_job *job, struct scored *s)
{
    const json_t *first = json_array_get(job->rows, 0);
    const json_t *list = json_object_get(first, "completions");
    const size_t count = list ? json_array_size(list) : json_array_size(job->rows);
    if (list && count == 0) {
        return FAIL(INPUT, "\"completions\" is no list of completions");
    }
    TRY(scored_open(s, (int64_t)count, w->set.count));
    for (size_t i = 0; i < count; i++) {
        s->rows[i] = list ? deal_row(first, i, count) : json_incref(json_array_get(job->rows, i));
        job->bad = list ? 0 : (int64_t)i;
        const enum status status = read_row(s->rows[i], &s->inputs[i]);
        if (status != STATUS_OK && list) {
            return status_prefix(status, "completion %zu: ", i + 1);
        }
        TRY(status);
    }
    job->bad = 0;
    return STATUS_OK;
}

static json_t *number(double x)
{
    return isnan(x) ? json_null() : json_real(x + 0.0); /* no negative zero */
}

/* The weighted sum without null scores; null when all are. */
static double weighted(const struct scorer *w, const struct scored *s, int64_t i)
{
    double sum = 0.0;
    bool any = false;
    for (int k = 0; k < w->set.count; k++) {
        const double x = s->scores[k * s->count + i];
        if (!isnan(x)) {
            sum += w->scoring->weights[k] * x;
            any = true;
        }
    }
    return any ? sum : NAN;
}

static json_t *result_of(const struct scorer *w, const struct scored *s, int64_t i)
{
    json_t *scores = json_object();
    json_t *reasons = json_object();
    for (int k = 0; k < w->set.count; k++) {
        const int64_t at = k * s->count + i;
        (void)json_object_set_new(scores, w->set.items[k].name, number(s->scores[at]));
        if (s->reasons[at][0]) {
            /* A reason may quote a cut text: bytes that are no UTF-8 are dropped with it. */
            json_t *why = json_string(s->reasons[at]);
            (void)json_object_set_new(reasons, w->set.items[k].name,
                                      why ? why : json_string("no score"));
        }
    }
    json_t *result = json_pack("{s:o, s:o}", "scores", scores, "reward", number(weighted(w, s, i)));
    if (result && json_object_size(reasons) > 0) {
        (void)json_object_set(result, "reasons", reasons);
    }
    json_decref(reasons);
    return result;
}

/* The result of a call: lists instead of values. */
static json_t *call_result(const struct scorer *w, const struct scored *s)
{
    json_t *scores = json_object();
    json_t *sums = json_array();
    for (int k = 0; k < w->set.count; k++) {
        json_t *list = json_array();
        for (int64_t i = 0; i < s->count; i++) {
            (void)json_array_append_new(list, number(s->scores[k * s->count + i]));
        }
        (void)json_object_set_new(scores, w->set.items[k].name, list);
    }
    for (int64_t i = 0; i < s->count; i++) {
        (void)json_array_append_new(sums, number(weighted(w, s, i)));
    }
    return json_pack("{s:o, s:o}", "scores", scores, "reward", sums);
}

static enum status score_all(struct scorer *w, struct row_job *job, struct scored *s)
{
    TRY(read_job(w, job, s));
    for (int k = 0; k < w->set.count; k++) {
        const struct reward_call call = {
            .inputs = s->inputs,
            .count = s->count,
            .reasons = s->reasons + k * s->count,
        };
        TRY(reward_set_score(&w->set, k, &call, s->scores + k * s->count));
    }
    const bool whole = json_object_get(json_array_get(job->rows, 0), "completions") != NULL;
    for (int64_t i = 0; i < (whole ? 1 : s->count); i++) {
        json_t *result = whole ? call_result(w, s) : result_of(w, s, i);
        if (!result || json_array_append_new(job->results, result) != 0) {
            return FAIL(MEMORY, "no memory for the result");
        }
    }
    return STATUS_OK;
}

static enum status scorer_run(void *state, struct row_job *job)
{
    struct scored s = {0};
    const enum status status = score_all(state, job, &s);
    scored_close(&s);
    return status;
}

/* Each thread of the pool judges one completion at a time: one worker a thread. */
static enum status start_helper(struct scoring *s)
{
    for (int64_t k = 0; k < s->count; k++) {
        const struct reward *r = reward_find(s->names[k]);
        if (r && r->isolated && !s->helper) {
            TRY(helper_start(&s->helper, reward_remote_work));
            (void)json_object_set_new(s->parameters, "reward_workers", json_integer(1));
        }
    }
    return STATUS_OK;
}

enum status cmd_reward(const struct command_args *args)
{
    struct scoring scoring = {0};
    struct row_stream rows = {0};
    struct row_pool pool = {
        .threads = args->threads,
        .ctx = &scoring,
        .joins = joins_call,
        .open = scorer_open,
        .run = scorer_run,
        .close = scorer_close,
    };
    enum status status = scoring_open(&scoring, args);
    if (status == STATUS_OK) {
        status = start_helper(&scoring);
    }
    if (status == STATUS_OK) {
        status = rows_open(&rows, args);
        if (status == STATUS_OK) {
            status = row_pool_run(&pool, &rows);
        }
        status = rows_close(&rows, status);
    }
    helper_stop(scoring.helper);
    scoring_close(&scoring);
    return status;
}
