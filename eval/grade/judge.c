/* The math judge: contexts, configurations, verdicts; see grade.h. */
#include "eval/grade/grade.h"

#include <math.h>
#include <string.h>

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

struct grade_answer {
    struct grade_answer *next;
    char text[GRADE_ANSWER_CAP];
    bool found;
};

struct grade {
    enum grade_rule rule;
    struct grade_answer *answers;
};

enum status grade_open(enum grade_rule rule, struct grade **out)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return FAIL(MEMORY, "judge: out of memory");
    }
    (*out)->rule = rule;
    return STATUS_OK;
}

void grade_reset(struct grade *g)
{
    while (g->answers) {
        struct grade_answer *next = g->answers->next;
        free(g->answers);
        g->answers = next;
    }
}

void grade_close(struct grade *g)
{
    if (g) {
        grade_reset(g);
        free(g);
    }
}

enum status grade_parse(struct grade *g, const char *text, size_t length,
                        const struct grade_config *config, const struct grade_answer **out)
{
    struct grade_answer *a = calloc(1, sizeof *a);
    char *copy = strndup(text, length);
    if (!a || !copy) {
        free(a);
        free(copy);
        return FAIL(MEMORY, "judge: out of memory");
    }
    a->found = grade_boxed(copy, a->text) ||
               (config->latex_unanchored && grade_last_number(copy, a->text));
    free(copy);
    a->next = g->answers;
    g->answers = a;
    *out = a;
    return STATUS_OK;
}

bool grade_answer_empty(const struct grade_answer *a)
{
    return !a->found;
}

const char *grade_answer_reason(const struct grade_answer *a)
{
    return a->found ? "" : "no answer found";
}

const char *grade_answer_text(const struct grade_answer *a)
{
    return a->found ? a->text : "";
}

bool grade_equal_parsed(struct grade *g, const struct grade_answer *gold,
                        const struct grade_answer *answer)
{
    (void)g;
    return gold->found && answer->found && grade_equal(gold->text, answer->text);
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
