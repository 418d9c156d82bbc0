/* The math judge: contexts, configurations, verdicts; see grade.h. */
#include "eval/grade/grade.h"

#include <math.h>
#include <string.h>
#include <utf8proc.h>

#include "eval/grade/compare.h"
#include "eval/grade/extract.h"

#define LATEX_DEFAULTS                                                                             \
    .latex = true, .boxed = GRADE_BOXED_ALL, .boxed_priority = 50, .units = true,                  \
    .malformed_operators = true, .nits = true

const struct grade_config GRADE_CONFIG_DEFAULT = {
    LATEX_DEFAULTS,
    .expr = true,
    .latex_unanchored = true,
    .expr_unanchored = true,
};

const struct grade_config GRADE_CONFIG_OPEN_R1_GOLD = {
    LATEX_DEFAULTS,
    .expr = true,
    .latex_unanchored = true,
    .expr_unanchored = true,
    .first_match = true,
};

const struct grade_config GRADE_CONFIG_OPEN_R1_ANSWER = {
    .latex = true,
    .boxed = GRADE_BOXED_ALL,
    .units = true,
    .equations = true,
    .first_match = true,
};

const struct grade_config GRADE_CONFIG_LATEX = {
    LATEX_DEFAULTS,
    .latex_unanchored = true,
    .first_match = true,
};

const struct grade_config GRADE_CONFIG_TRL_ANSWER = {
    .latex = true,
    .boxed = GRADE_BOXED_ALL,
    .units = true,
    .first_match = true,
};

enum {
    POOL_BYTES = 32 << 20,
    TEXT_BYTES = 4 << 20,
    COMPARE_STEPS = 60000,
};

struct grade_answer {
    struct reading reading;
};

struct grade {
    enum grade_rule rule;
    struct expr_pool pool;
    struct pattern_set *patterns;
};

enum status grade_open(enum grade_rule rule, struct grade **out)
{
    struct grade *g = calloc(1, sizeof *g);
    *out = NULL;
    if (!g) {
        return FAIL(MEMORY, "judge: out of memory");
    }
    g->rule = rule;
    expr_pool_open(&g->pool, POOL_BYTES);
    const enum status status = pattern_open(&g->patterns);
    if (status != STATUS_OK) {
        grade_close(g);
        return status;
    }
    *out = g;
    return STATUS_OK;
}

void grade_reset(struct grade *g)
{
    expr_pool_reset(&g->pool);
}

void grade_close(struct grade *g)
{
    if (g) {
        expr_pool_close(&g->pool);
        pattern_close(g->patterns);
        free(g);
        flint_cleanup();
    }
}

/* Valid UTF-8 without NUL: every wrong byte becomes a replacement character. */
static struct slice sanitize(struct expr_pool *pool, const char *text, size_t length)
{
    size_t wrong = 0;
    utf8proc_int32_t c;
    for (size_t i = 0; i < length;) {
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                    (utf8proc_ssize_t)(length - i), &c);
        const bool bad = n <= 0 || text[i] == '\0';
        wrong += bad;
        i += bad ? 1 : (size_t)n;
    }
    char *copy = expr_alloc(pool, length + 2 * wrong + 1);
    size_t m = 0;
    for (size_t i = 0; copy && i < length;) {
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)text + i,
                                                    (utf8proc_ssize_t)(length - i), &c);
        if (n <= 0 || text[i] == '\0') {
            memcpy(copy + m, "\xef\xbf\xbd", 3);
            m += 3;
            i++;
        } else {
            memcpy(copy + m, text + i, (size_t)n);
            m += (size_t)n;
            i += (size_t)n;
        }
    }
    return (struct slice){copy, m};
}

enum status grade_parse(struct grade *g, const char *text, size_t length,
                        const struct grade_config *config, const struct grade_answer **out)
{
    static const struct grade_answer TOO_LONG = {{.reason = "the text is too long"}};
    static const struct grade_answer NO_ROOM = {
        {.reason = "no room for it among the answers kept"}};
    struct grade_answer *a = expr_alloc(&g->pool, sizeof *a);
    *out = &TOO_LONG;
    if (length > TEXT_BYTES) {
        return STATUS_OK;
    }
    const struct slice clean = a ? sanitize(&g->pool, text, length) : (struct slice){NULL, 0};
    if (!clean.s) {
        *out = &NO_ROOM; /* one hostile text must not end the run */
        return STATUS_OK;
    }
    struct reader r = {g->patterns, &g->pool, g->rule == GRADE_STRICT};
    extract_answer(&r, clean, config, &a->reading);
    *out = a;
    return STATUS_OK;
}

bool grade_answer_empty(const struct grade_answer *a)
{
    return !a->reading.value && !a->reading.choice && !a->reading.text;
}

const char *grade_answer_reason(const struct grade_answer *a)
{
    return a->reading.reason ? a->reading.reason : "";
}

const char *grade_answer_text(const struct grade_answer *a)
{
    return a->reading.text ? a->reading.text : "";
}

/* Equal texts, not empty, white space around them aside. */
static bool same_text(const char *a, const char *b)
{
    if (!a || !b) {
        return false;
    }
    const struct slice s = slice_trim((struct slice){a, strlen(a)});
    const struct slice t = slice_trim((struct slice){b, strlen(b)});
    return s.n > 0 && s.n == t.n && memcmp(s.s, t.s, s.n) == 0;
}

bool grade_equal_parsed(struct grade *g, const struct grade_answer *gold,
                        const struct grade_answer *answer)
{
    const struct reading *a = &gold->reading;
    const struct reading *b = &answer->reading;
    if (same_text(a->text, b->text) || same_text(a->choice, b->choice) ||
        same_text(a->choice, b->text) || same_text(a->text, b->choice)) {
        return true;
    }
    if (!a->value || !b->value) {
        return false;
    }
    struct comparison c = {
        .pool = &g->pool, .strict = g->rule == GRADE_STRICT, .steps = COMPARE_STEPS};
    return compare_equal(&c, a->value, b->value);
}

enum status grade_verify(struct grade *g, const char *gold, size_t gold_length, const char *answer,
                         size_t answer_length, bool *equal)
{
    const struct grade_answer *a = NULL;
    const struct grade_answer *b = NULL;
    grade_reset(g);
    TRY(grade_parse(g, gold, gold_length, &GRADE_CONFIG_DEFAULT, &a));
    TRY(grade_parse(g, answer, answer_length, &GRADE_CONFIG_DEFAULT, &b));
    *equal = grade_equal_parsed(g, a, b);
    return STATUS_OK;
}

enum status grade_reward(struct grade *g, const char *gold, size_t gold_length, const char *answer,
                         size_t answer_length, double *reward)
{
    const struct grade_answer *a = NULL;
    const struct grade_answer *b = NULL;
    grade_reset(g);
    TRY(grade_parse(g, gold, gold_length, &GRADE_CONFIG_OPEN_R1_GOLD, &a));
    *reward = NAN;
    if (grade_answer_empty(a)) {
        return STATUS_OK;
    }
    TRY(grade_parse(g, answer, answer_length, &GRADE_CONFIG_OPEN_R1_ANSWER, &b));
    *reward = grade_equal_parsed(g, a, b) ? 1.0 : 0.0;
    return STATUS_OK;
}
