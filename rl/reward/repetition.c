/*
 * Repetition penalties ("Demystifying Long Chain-of-Thought Reasoning", arXiv 2502.03373, C.2):
 * (1 - unique / all n-grams) * max_penalty; 0 for fewer than n items. Open-R1 takes words of the
 * lower-cased text, TRL token ids.
 */
#include <math.h>
#include <string.h>

#include "eval/tasks/text.h"
#include "rl/reward/reward_internal.h"

enum { SIZE, PENALTY, UNIT };

#define SIZE_ROW                                                                                   \
    {                                                                                              \
        .key = "repetition_n_grams", .aliases = "ngram_size", .type = PARAMETER_COUNT, .def = 3,   \
        .low = 1, .high = 1024, .doc = "items of an n-gram"                                        \
    }
#define PENALTY_ROW                                                                                \
    {                                                                                              \
        .key = "repetition_max_penalty", .aliases = "max_penalty", .def = -1, .low = -1e9,         \
        .high = 0, .doc = "score of pure repetition"                                               \
    }

const struct reward_parameter REWARD_REPETITION_PARAMETERS[] = {
    SIZE_ROW,
    PENALTY_ROW,
    {.key = "repetition_unit",
     .type = PARAMETER_TEXT,
     .text = "words",
     .doc = "words, or characters for scripts without spaces between words"},
    {0},
};
const struct reward_parameter REWARD_TOKEN_REPETITION_PARAMETERS[] = {SIZE_ROW, PENALTY_ROW, {0}};

/* A word of the text. */
struct word {
    const char *text;
    size_t length;
    int64_t place;
};

static int compare_words(const void *a, const void *b)
{
    const struct word *x = a;
    const struct word *y = b;
    const size_t n = x->length < y->length ? x->length : y->length;
    const int order = memcmp(x->text, y->text, n);
    return order ? order : (x->length > y->length) - (x->length < y->length);
}

struct grams {
    const int32_t *items;
    int64_t n;
};

static int compare_grams(const void *a, const void *b, void *ctx)
{
    const struct grams *g = ctx;
    const int32_t *x = g->items + *(const int64_t *)a;
    const int32_t *y = g->items + *(const int64_t *)b;
    for (int64_t i = 0; i < g->n; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

/* The penalty of `count` items; NaN with a reason without memory. */
static double penalty_of(const struct reward_values *v, const int32_t *items, int64_t count,
                         char *reason)
{
    struct grams g = {.items = items, .n = (int64_t)v->number[SIZE]};
    if (count < g.n) {
        return 0.0;
    }
    const int64_t total = count - g.n + 1;
    int64_t *at = malloc((size_t)total * sizeof *at);
    if (!at) {
        reward_explain(reason, "no memory for %lld n-grams", (long long)total);
        return NAN;
    }
    for (int64_t i = 0; i < total; i++) {
        at[i] = i;
    }
    qsort_r(at, (size_t)total, sizeof *at, compare_grams, &g);
    int64_t unique = 1;
    for (int64_t i = 1; i < total; i++) {
        unique += compare_grams(&at[i - 1], &at[i], &g) != 0;
    }
    free(at);
    const double scaling = 1.0 - (double)unique / (double)total;
    return scaling != 0 ? scaling * v->number[PENALTY] : 0.0;
}

/* Words of `text` (split at white space, or every other character when `single`); at most `most`.
 */
static int64_t find_words(const char *text, bool single, struct word *words)
{
    int64_t count = 0;
    bool inside = false;
    for (const char *p = text;;) {
        const char *begin = p;
        const uint32_t c = text_next(&p);
        if (c == 0) {
            return count;
        }
        if (text_is_space(c)) {
            inside = false;
            continue;
        }
        if (!inside || single) {
            words[count] = (struct word){.text = begin, .place = count};
            count++;
        }
        words[count - 1].length += (size_t)(p - begin);
        inside = true;
    }
}

/* Numbers the words: equal words, equal numbers. */
static void number_words(struct word *words, int64_t count, int32_t *items)
{
    int32_t number = 0;
    qsort(words, (size_t)count, sizeof *words, compare_words);
    for (int64_t i = 0; i < count; i++) {
        number += i > 0 && compare_words(&words[i - 1], &words[i]) != 0;
        items[words[i].place] = number;
    }
}

double reward_repetition(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    const bool single = strcmp(json_string_value(v->json[UNIT]), "characters") == 0;
    char *text = text_lower(in->completion);
    const size_t most = text ? strlen(text) + 1 : 0;
    struct word *words = text ? malloc(most * sizeof *words) : NULL;
    int32_t *items = text ? malloc(most * sizeof *items) : NULL;
    double score = NAN;
    if (words && items) {
        const int64_t count = find_words(text, single, words);
        number_words(words, count, items);
        score = penalty_of(v, items, count, reason);
    } else {
        reward_explain(reason, "no memory for the words");
    }
    free(text);
    free(words);
    free(items);
    return score;
}

double reward_token_repetition(const void *state, const struct reward_input *in, char *reason)
{
    if (!in->ids) {
        reward_explain(reason, "the token ids are not known");
        return NAN;
    }
    return penalty_of(state, in->ids, in->tokens, reason);
}
