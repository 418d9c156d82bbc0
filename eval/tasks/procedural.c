/* The table of procedural tasks; see procedural.h. A new task is a row, a judge and a generator. */
#include "eval/tasks/procedural.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"
#include "eval/tasks/text.h"

static const struct procedural_task TASKS[] = {
    {"countdown", procedural_score_countdown},
    {"basic_arithmetic", procedural_score_text},
    {"chain_sum", procedural_score_decimal},
    {"gcd", procedural_score_text},
    {"lcm", procedural_score_text},
    {"prime_factorization", procedural_score_factors},
    {"simple_equations", procedural_score_text},
    {"polynomial_equations", procedural_score_roots},
    {"number_sorting", procedural_score_sorted},
    {"letter_counting", procedural_score_text},
    {"leg_counting", procedural_score_text},
    {"products", procedural_score_decimal},
    {"decimal_arithmetic", procedural_score_places},
    {"fraction_simplification", procedural_score_fraction},
    {"spell_backward", procedural_score_letters},
    {"calendar_arithmetic", procedural_score_calendar},
    {"complex_arithmetic", procedural_score_complex},
    {"base_conversion", procedural_score_text},
};

const struct procedural_task *procedural_at(int64_t i)
{
    return i >= 0 && (size_t)i < sizeof TASKS / sizeof TASKS[0] ? &TASKS[i] : NULL;
}

const struct procedural_task *procedural_find(const char *name)
{
    for (int64_t i = 0; procedural_at(i); i++) {
        if (strcmp(TASKS[i].name, name) == 0) {
            return &TASKS[i];
        }
    }
    return NULL;
}

const char *procedural_name(const struct procedural_task *t)
{
    return t->name;
}

double procedural_score(const struct procedural_task *t, const char *answer, const json_t *entry)
{
    if (!json_is_string(json_object_get(entry, "answer"))
        || !json_is_object(json_object_get(entry, "metadata"))) {
        return NAN;
    }
    return t->score(answer, entry);
}

char *procedural_extract(const char *completion)
{
    static const char OPEN[] = "<answer>";
    static const char CLOSE[] = "</answer>";
    const char *begin = NULL;
    const char *end = NULL;
    /* Matches from the left that don't overlap, the last of them. */
    for (const char *p = strstr(completion, OPEN); p; p = strstr(p, OPEN)) {
        const char *body = p + sizeof OPEN - 1;
        const char *close = strstr(body, CLOSE);
        if (!close) {
            break;
        }
        begin = body;
        end = close;
        p = close + sizeof CLOSE - 1;
    }
    char *text = begin ? strndup(begin, (size_t)(end - begin)) : NULL;
    if (text) {
        const char *from = text;
        const size_t n = text_strip(&from);
        memmove(text, from, n);
        text[n] = '\0';
    }
    return text;
}
