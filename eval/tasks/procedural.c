/* The table of procedural tasks; see procedural.h. A new task is a row, a judge and a generator. */
#include "eval/tasks/procedural.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"
#include "eval/tasks/text.h"

/* Difficulty keys and curricula, named and valued as the package's config classes. */
#define NUMBER(key, value, from, to)                                                               \
    {                                                                                              \
        .name = key, .def = value, .low = from, .high = to                                         \
    }
#define REAL(key, value, from, to)                                                                 \
    {                                                                                              \
        .name = key, .type = KEY_REAL, .def = value, .low = from, .high = to                       \
    }
#define RANGE(key, low_value, high_value, from, to)                                                \
    NUMBER("min_" key, low_value, from, to), NUMBER("max_" key, high_value, from, to)
#define FLAG(key, value)                                                                           \
    {                                                                                              \
        .name = key, .type = KEY_FLAG, .def = value                                                \
    }
#define LIST(key, bits, list)                                                                      \
    {                                                                                              \
        .name = key, .type = KEY_LIST, .def = bits, .words = list                                  \
    }
#define CHOICE(key, place, list)                                                                   \
    {                                                                                              \
        .name = key, .type = KEY_CHOICE, .def = place, .words = list                               \
    }
/* A range that grows; one that spans two levels from the start; a value. */
#define GROWS(key, n, ...)                                                                         \
    {                                                                                              \
        .lower = "min_" key, .upper = "max_" key, .count = n, .levels = {__VA_ARGS__}              \
    }
#define SPANS(key, n, ...)                                                                         \
    {                                                                                              \
        .lower = "min_" key, .upper = "max_" key, .interval = true, .count = n,                    \
        .levels = {__VA_ARGS__}                                                                    \
    }
#define STEPS(key, n, ...)                                                                         \
    {                                                                                              \
        .lower = key, .count = n, .levels = {__VA_ARGS__}                                          \
    }

static const struct procedural_key COUNTDOWN_KEYS[] = {
    RANGE("numbers", 4, 6, 2, 16),
    RANGE("value", 1, 100, 1, 1e6),
    RANGE("target", 100, 999, 1, 1e12),
    LIST("operators", 15, "+ - * /"),
    FLAG("shuffle", 1),
    {0},
};
static const struct procedural_attribute COUNTDOWN_LEVELS[] = {
    SPANS("numbers", 5, 3, 6, 9, 12, 15),
    SPANS("target", 5, 100, 500, 1000, 5000, 10000),
    SPANS("value", 4, 1, 100, 200, 300),
    {0},
};

static const struct procedural_key BASIC_KEYS[] = {
    RANGE("terms", 2, 6, 1, 64),
    RANGE("digits", 1, 4, 1, 9),
    LIST("operators", 15, "+ - * /"),
    FLAG("allow_parentheses", 1),
    FLAG("allow_negation", 1),
    CHOICE("format_style", 0, "simple natural"),
    CHOICE("whitespace", 1, "no_space single random"),
    {0},
};
static const struct procedural_attribute BASIC_LEVELS[] = {
    GROWS("terms", 5, 2, 3, 4, 5, 6),
    GROWS("digits", 4, 1, 2, 3, 4),
    {0},
};

static const struct procedural_key CHAIN_KEYS[] = {
    RANGE("terms", 2, 6, 1, 64),
    RANGE("digits", 1, 4, 1, 15),
    FLAG("allow_negation", 0),
    {0},
};
static const struct procedural_key PRODUCT_KEYS[] = {
    RANGE("terms", 2, 2, 1, 32),
    RANGE("digits", 1, 5, 1, 15),
    FLAG("allow_negation", 0),
    {0},
};
static const struct procedural_attribute CHAIN_LEVELS[] = {
    GROWS("terms", 11, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12),
    GROWS("digits", 10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    {0},
};

static const struct procedural_key GCD_KEYS[] = {
    RANGE("numbers", 2, 2, 2, 8),
    RANGE("value", 1, 1000, 1, 1e12),
    {0},
};
static const struct procedural_key LCM_KEYS[] = {
    RANGE("numbers", 2, 2, 2, 6),
    RANGE("value", 1, 100, 1, 1e6),
    {0},
};
static const struct procedural_attribute NUMBERS_LEVELS[] = {
    GROWS("numbers", 4, 2, 3, 4, 5),
    SPANS("value", 4, 100, 1000, 10000, 100000),
    {0},
};

static const struct procedural_key FACTOR_KEYS[] = {RANGE("value", 2, 1000, 2, 1e12), {0}};
static const struct procedural_attribute FACTOR_LEVELS[] = {
    SPANS("value", 4, 10, 1000, 5000, 10000),
    {0},
};

static const struct procedural_key EQUATION_KEYS[] = {
    RANGE("terms", 2, 4, 1, 64),
    RANGE("value", 1, 100, 1, 1e9),
    LIST("operators", 7, "+ - *"),
    {.name = "operators_weights", .type = KEY_WEIGHTS, .weights = {0.4, 0.4, 0.2}},
    {0},
};
static const struct procedural_attribute EQUATION_LEVELS[] = {
    STEPS("min_terms", 4, 2, 3, 4, 5),
    STEPS("max_terms", 4, 5, 10, 15, 20),
    STEPS("min_value", 4, 1, 10, 100, 1000),
    STEPS("max_value", 4, 100, 1e4, 1e6, 1e8),
    {0},
};

static const struct procedural_key POLYNOMIAL_KEYS[] = {
    RANGE("terms", 2, 4, 1, 64),
    RANGE("value", 1, 100, 1, 1e6),
    RANGE("degree", 1, 3, 1, 6),
    LIST("operators", 3, "+ -"),
    {0},
};
static const struct procedural_attribute POLYNOMIAL_LEVELS[] = {
    SPANS("degree", 4, 1, 2, 3, 4),
    GROWS("terms", 4, 2, 3, 4, 5),
    {0},
};

static const struct procedural_key SORTING_KEYS[] = {
    RANGE("numbers", 3, 10, 1, 10000),
    RANGE("decimals", 0, 2, 0, 8),
    REAL("min_value", -100, -1e7, 1e7),
    REAL("max_value", 100, -1e7, 1e7),
    {0},
};
static const struct procedural_attribute SORTING_LEVELS[] = {
    SPANS("numbers", 4, 10, 100, 500, 1000),
    SPANS("decimals", 8, 0, 1, 2, 3, 4, 5, 6, 7),
    STEPS("min_value", 4, -100, -500, -1000, -10000),
    STEPS("max_value", 4, 100, 500, 1000, 10000),
    {0},
};

static const struct procedural_key LETTER_KEYS[] = {RANGE("words", 5, 15, 1, 200), {0}};
static const struct procedural_attribute LETTER_LEVELS[] = {
    SPANS("words", 8, 5, 7, 9, 11, 13, 15, 17, 19),
    {0},
};

static const struct procedural_key LEG_KEYS[] = {
    RANGE("animals", 3, 10, 1, 37),
    RANGE("instances", 1, 15, 1, 1e6),
    {0},
};
static const struct procedural_attribute LEG_LEVELS[] = {
    GROWS("animals", 36, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
          22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36),
    SPANS("instances", 10, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
    {0},
};

static const struct procedural_key DECIMAL_KEYS[] = {
    RANGE("num_decimal_places", 3, 3, 0, 8),
    RANGE("terms", 2, 6, 1, 16),
    NUMBER("precision", 12, 3, 17),
    {0},
};
static const struct procedural_attribute DECIMAL_LEVELS[] = {
    SPANS("num_decimal_places", 4, 2, 4, 6, 8),
    STEPS("precision", 4, 6, 8, 10, 12),
    GROWS("terms", 4, 2, 5, 8, 10),
    {0},
};

static const struct procedural_key FRACTION_KEYS[] = {
    RANGE("value", 1, 1000, 1, 1e9),
    RANGE("factor", 1, 100, 1, 1e6),
    LIST("styles", 15, "plain latex_inline latex_frac latex_dfrac"),
    {0},
};
static const struct procedural_attribute FRACTION_LEVELS[] = {
    SPANS("value", 4, 1, 100, 1000, 10000),
    SPANS("factor", 4, 1, 10, 100, 1000),
    {0},
};

static const struct procedural_key BACKWARD_KEYS[] = {RANGE("word_len", 3, 10, 1, 32), {0}};
static const struct procedural_attribute BACKWARD_LEVELS[] = {
    GROWS("word_len", 5, 3, 5, 7, 9, 11),
    {0},
};

static const struct procedural_key CALENDAR_KEYS[] = {
    NUMBER("year", 2022, 400, 9000),
    LIST("tasks", 127,
         "weekday_offset weekday_of_date weekday_of_date_from_first_date recurring_event_day "
         "count_days count_business_days is_leap_year"),
    NUMBER("offset_upper_bound", 100, 1, 100000),
    NUMBER("leap_year_range", 200, 0, 8000),
    {0},
};
static const struct procedural_attribute CALENDAR_LEVELS[] = {
    STEPS("tasks", 4, 2, 67, 115, 127), /* bits of the words above */
    STEPS("offset_upper_bound", 4, 30, 100, 250, 365),
    {0},
};

static const struct procedural_key COMPLEX_KEYS[] = {
    RANGE("real", -10, 10, -1e9, 1e9),
    RANGE("imag", -10, 10, -1e9, 1e9),
    LIST("operations", 15, "+ - * /"),
    {.name = "operations_weights", .type = KEY_WEIGHTS, .weights = {0.4, 0.4, 0.1, 0.1}},
    {0},
};
static const struct procedural_attribute COMPLEX_LEVELS[] = {
    STEPS("min_real", 4, -10, -100, -1e4, -1e8),
    STEPS("max_real", 4, 10, 100, 1e4, 1e8),
    STEPS("min_imag", 4, -10, -100, -1e4, -1e8),
    STEPS("max_imag", 4, 10, 100, 1e4, 1e8),
    {0},
};

static const struct procedural_key BASE_KEYS[] = {
    RANGE("base", 2, 16, 2, 36),
    RANGE("value", 0, 1000, 0, 1e15),
    {0},
};
static const struct procedural_attribute BASE_LEVELS[] = {
    SPANS("base", 5, 2, 9, 18, 27, 36),
    SPANS("value", 4, 1000, 1e4, 1e5, 1e6),
    {0},
};

static const struct procedural_task TASKS[] = {
    {"countdown", procedural_score_countdown, question_countdown, COUNTDOWN_KEYS, COUNTDOWN_LEVELS},
    {"basic_arithmetic", procedural_score_text, question_basic_arithmetic, BASIC_KEYS,
     BASIC_LEVELS},
    {"chain_sum", procedural_score_decimal, question_chain_sum, CHAIN_KEYS, CHAIN_LEVELS},
    {"gcd", procedural_score_text, question_gcd, GCD_KEYS, NUMBERS_LEVELS},
    {"lcm", procedural_score_text, question_lcm, LCM_KEYS, NUMBERS_LEVELS},
    {"prime_factorization", procedural_score_factors, question_factors, FACTOR_KEYS, FACTOR_LEVELS},
    {"simple_equations", procedural_score_text, question_equation, EQUATION_KEYS, EQUATION_LEVELS},
    {"polynomial_equations", procedural_score_roots, question_polynomial, POLYNOMIAL_KEYS,
     POLYNOMIAL_LEVELS},
    {"number_sorting", procedural_score_sorted, question_sorting, SORTING_KEYS, SORTING_LEVELS},
    {"letter_counting", procedural_score_text, question_letters, LETTER_KEYS, LETTER_LEVELS},
    {"leg_counting", procedural_score_text, question_legs, LEG_KEYS, LEG_LEVELS},
    {"products", procedural_score_decimal, question_products, PRODUCT_KEYS, CHAIN_LEVELS},
    {"decimal_arithmetic", procedural_score_places, question_decimal, DECIMAL_KEYS, DECIMAL_LEVELS},
    {"fraction_simplification", procedural_score_fraction, question_fraction, FRACTION_KEYS,
     FRACTION_LEVELS},
    {"spell_backward", procedural_score_letters, question_backward, BACKWARD_KEYS, BACKWARD_LEVELS},
    {"calendar_arithmetic", procedural_score_calendar, question_calendar, CALENDAR_KEYS,
     CALENDAR_LEVELS},
    {"complex_arithmetic", procedural_score_complex, question_complex, COMPLEX_KEYS,
     COMPLEX_LEVELS},
    {"base_conversion", procedural_score_text, question_base, BASE_KEYS, BASE_LEVELS},
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

void procedural_names(char *out, size_t size)
{
    size_t used = 0;
    out[0] = '\0';
    for (int64_t i = 0; procedural_at(i) && used < size; i++) {
        const int n = snprintf(out + used, size - used, "%s%s", i ? ", " : "", TASKS[i].name);
        used += n > 0 ? (size_t)n : 0;
    }
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

const struct procedural_task *procedural_entry(const json_t *row, json_t **entry)
{
    json_t *metadata = json_object_get(row, "metadata");
    json_t *parsed = json_is_string(metadata) /* as data sets keep it */
                         ? json_loads(json_string_value(metadata), 0, NULL)
                         : json_incref(metadata);
    *entry =
        json_pack("{s:O*, s:o*}", "answer", json_object_get(row, "answer"), "metadata", parsed);
    const json_t *name = json_object_get(row, "task");
    if (!json_is_string(name)) {
        name = json_object_get(json_object_get(*entry, "metadata"), "source_dataset");
    }
    return json_is_string(name) ? procedural_find(json_string_value(name)) : NULL;
}

bool procedural_judge(const char *completion, const json_t *row, double *score)
{
    json_t *entry;
    const struct procedural_task *t = procedural_entry(row, &entry);
    const bool known = t && json_is_object(json_object_get(entry, "metadata"));
    if (known) {
        char *answer = procedural_extract(completion);
        if (!answer) {
            const size_t n = text_strip(&completion);
            answer = strndup(completion, n);
        }
        *score = procedural_score(t, answer, entry);
        free(answer);
    }
    json_decref(entry);
    return known;
}
