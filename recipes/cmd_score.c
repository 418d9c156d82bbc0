/*
 * score: log-probabilities of given tokens. Rows are packed into micro-batches of --tokens tokens;
 * results do not depend on how they are packed (design 1.2). Continuations are cut as lm-eval cuts
 * them (spec open-r1.md 4).
 */
#include <inttypes.h>
#include <string.h>

#include "recipes/commands.h"
#include "recipes/rows.h"
#include "recipes/session.h"
#include "trainer/model/unit_pass.h"

enum { MAX_PENDING = 256, DEFAULT_TOKENS = 2048 };

/* A row waiting for its micro-batch. */
struct pending {
    struct token_list ids;
    uint8_t *loss;      /* [ids.count] wanted tokens, NULL: all */
    int64_t number;     /* line of the input */
    bool continuation;
};

struct scorer {
    const struct command_args *args;
    struct session session;
    struct row_stream rows;
    struct unit_pass pass;
    struct pending pending[MAX_PENDING];
    int64_t count;
    int64_t tokens;     /* rows of the forward so far */
    enum status status; /* of the writer inside the pass */
};

static void drop_pending(struct scorer *s)
{
    for (int64_t i = 0; i < s->count; i++) {
        token_list_free(&s->pending[i].ids);
        free(s->pending[i].loss);
        s->pending[i] = (struct pending){0};
    }
    s->count = 0;
    s->tokens = 0;
}

static bool wanted(const struct pending *p, int64_t t)
{
    return t > 0 && (!p->loss || p->loss[t]);
}

/* Writes the rows of a micro-batch; `out` NULL: none of them has an output. */
static enum status write_results(struct scorer *s, const struct unit_outputs *out)
{
    int64_t at = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const struct pending *p = &s->pending[i];
        json_t *logprobs = json_array();
        double nll = 0;
        bool greedy = true;
        for (int64_t t = 1; t < p->ids.count; t++) {
            if (!wanted(p, t)) {
                continue;
            }
            const double logp = out->head->logp[at];
            greedy = greedy && out->head->best[at] == p->ids.ids[t];
            at++;
            nll -= logp;
            if (!logprobs || json_array_append_new(logprobs, json_real(logp)) != 0) {
                json_decref(logprobs);
                return rows_blame(&s->rows, p->number,
                                  FAIL(NUMERIC, "a log-probability is not finite"));
            }
        }
        json_t *row = json_pack("{s:o, s:f}", "logprobs", logprobs, "nll", nll);
        if (row && p->continuation) {
            (void)json_object_set_new(row, "greedy", json_boolean(greedy));
        }
        TRY(rows_write(&s->rows, row));
    }
    return STATUS_OK;
}

static void take_outputs(void *ctx, const struct unit_outputs *out)
{
    struct scorer *s = ctx;
    s->status = write_results(s, out);
}

static enum status flush(struct scorer *s)
{
    struct pack_branch branch[MAX_PENDING];
    struct pack_unit unit[MAX_PENDING];
    int64_t units = 0;
    for (int64_t i = 0; i < s->count; i++) {
        const struct pending *p = &s->pending[i];
        branch[units] = (struct pack_branch){p->ids.ids, p->ids.count, p->loss};
        unit[units] = (struct pack_unit){.branches = &branch[units], .branch_count = 1};
        units += pack_unit_outputs(&unit[units]) > 0;
    }
    s->status = STATUS_OK;
    if (units > 0) {
        TRY(unit_pass_run(&s->pass, unit, units, take_outputs, s));
    } else {
        s->status = write_results(s, NULL);
    }
    TRY(s->status);
    drop_pending(s);
    return STATUS_OK;
}

static enum status encode(struct scorer *s, const json_t *text, unsigned flags,
                          struct token_list *list)
{
    TRY(session_tokenizer(&s->session, s->args));
    return tokenizer_encode(s->session.tokenizer, json_string_value(text),
                            json_string_length(text), flags, list);
}

/* lm-eval's request: spaces at the end of the context belong to the continuation; the pair is
 * encoded together and cut at the length of the context's own ids; the last tokens that fit
 * stay. */
static enum status read_continuation(struct scorer *s, const json_t *row, struct pending *p)
{
    const char *context = json_string_value(json_object_get(row, "context"));
    const char *continuation = json_string_value(json_object_get(row, "continuation"));
    size_t n = strlen(context);
    while (n > 0 && (context[n - 1] == ' ' || context[n - 1] == '\n' || context[n - 1] == '\t')) {
        n--;
    }
    TRY(session_tokenizer(&s->session, s->args));
    const struct tokenizer *t = s->session.tokenizer;
    struct token_list alone = {0};
    int64_t cut = 1;
    if (*context == '\0') {
        const int32_t bos = tokenizer_bos(t) >= 0 ? tokenizer_bos(t) : tokenizer_eos(t);
        if (bos < 0) {
            return FAIL(INPUT, "an empty context needs a BOS or EOS token, the tokenizer has none");
        }
        TRY(token_list_push(&p->ids, bos));
        TRY(tokenizer_encode(t, continuation, strlen(continuation), 0, &p->ids));
    } else {
        enum status status = tokenizer_encode(t, context, n, TOKENIZE_SPECIALS, &alone);
        cut = alone.count;
        token_list_free(&alone);
        TRY(status);
        char *whole;
        const int length = asprintf(&whole, "%s%s", context, continuation);
        if (length < 0) {
            return FAIL(MEMORY, "out of memory");
        }
        status = tokenizer_encode(t, whole, (size_t)length, TOKENIZE_SPECIALS, &p->ids);
        free(whole);
        TRY(status);
    }
    const int64_t most = s->session.model->rope_positions + 1;
    if (p->ids.count > most) {
        const int64_t drop = p->ids.count - most;
        memmove(p->ids.ids, p->ids.ids + drop, (size_t)most * sizeof *p->ids.ids);
        p->ids.count = most;
        cut = cut > drop ? cut - drop : 0;
    }
    p->loss = calloc((size_t)p->ids.count + 1, 1);
    if (!p->loss) {
        return FAIL(MEMORY, "out of memory");
    }
    for (int64_t i = cut; i < p->ids.count; i++) {
        p->loss[i] = 1;
    }
    p->continuation = true;
    return STATUS_OK;
}

static enum status read_id_array(const json_t *array, struct token_list *list)
{
    size_t i;
    json_t *item;
    json_array_foreach (array, i, item) {
        const json_int_t id = json_integer_value(item);
        if (!json_is_integer(item) || id < 0 || id > INT32_MAX) {
            return FAIL(INPUT, "ids[%zu] is no token id", i);
        }
        TRY(token_list_push(list, (int32_t)id));
    }
    return STATUS_OK;
}

static enum status read_row(struct scorer *s, const json_t *row, struct pending *p)
{
    const json_t *ids = json_object_get(row, "ids");
    const json_t *text = json_object_get(row, "text");
    const struct model *m = s->session.model;
    if (json_is_array(ids)) {
        TRY(read_id_array(ids, &p->ids));
    } else if (json_is_string(text)) {
        TRY(encode(s, text, TOKENIZE_SPECIALS, &p->ids));
    } else if (json_is_string(json_object_get(row, "context")) &&
               json_is_string(json_object_get(row, "continuation"))) {
        TRY(read_continuation(s, row, p));
    } else {
        return FAIL(INPUT, "a row needs \"ids\", \"text\" or \"context\" and \"continuation\"");
    }
    for (int64_t i = 0; i < p->ids.count; i++) {
        if (p->ids.ids[i] >= m->config.vocab) {
            return FAIL(INPUT,
                        "id %" PRId32 " at %" PRId64 " is outside the vocabulary of %" PRId64,
                        p->ids.ids[i], i, m->config.vocab);
        }
    }
    if (p->ids.count > m->rope_positions + 1) {
        return FAIL(INPUT, "%" PRId64 " tokens are over the context of %" PRId64
                           "; raise --context or cut the row",
                    p->ids.count, m->rope_positions);
    }
    return STATUS_OK;
}

static enum status score_rows(struct scorer *s)
{
    const int64_t budget = s->args->tokens ? s->args->tokens : DEFAULT_TOKENS;
    for (;;) {
        json_t *row;
        TRY(rows_next(&s->rows, &row));
        if (!row) {
            return s->count ? flush(s) : STATUS_OK;
        }
        struct pending fresh = {.number = s->rows.number};
        const enum status status = read_row(s, row, &fresh);
        json_decref(row);
        const bool full = s->count == MAX_PENDING || s->tokens + fresh.ids.count > budget;
        enum status flushed = STATUS_OK;
        if (status == STATUS_OK && s->count > 0 && full) {
            flushed = flush(s);
        }
        if (status != STATUS_OK || flushed != STATUS_OK) {
            token_list_free(&fresh.ids);
            free(fresh.loss);
        }
        TRY(rows_blame(&s->rows, fresh.number, status));
        TRY(flushed);
        s->pending[s->count++] = fresh;
        s->tokens += fresh.ids.count;
    }
}

enum status cmd_score(const struct command_args *args)
{
    struct scorer *s = calloc(1, sizeof *s);
    enum status status;
    if (!s) {
        return FAIL(MEMORY, "score: out of memory");
    }
    s->args = args;
    TRY_TO(status, done, session_open(&s->session, args));
    s->pass = (struct unit_pass){.model = s->session.model,
                                 .ops = &s->session.ops,
                                 .temperature = 1,
                                 .hooks = args->adapter != NULL};
    TRY_TO(status, done, rows_open(&s->rows, args));
    TRY_TO(status, done, score_rows(s));
done:
    drop_pending(s);
    unit_pass_close(&s->pass);
    session_close(&s->session);
    status = rows_close(&s->rows, status);
    free(s);
    return status;
}
