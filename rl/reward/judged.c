/*
 * Rewards that ask the math judge (spec open-r1.md 2, training.md 2): accuracy, length, cosine of
 * Open-R1 and accuracy, reasoning_accuracy, cosine_scaled of TRL.
 *
 * Quirks of Open-R1 that are kept unless a parameter mends them: length and cosine compare (answer,
 * gold) in the swapped order, take an unreadable gold answer for right, and cosine's curve rises
 * again behind max_len.
 */
#include <math.h>
#include <string.h>

#include "eval/grade/grade.h"
#include "eval/tasks/text.h"
#include "rl/reward/reward_internal.h"

struct judged {
    struct grade *judge;
    bool swapped;   /* judge_swapped, where the table has it */
    bool gold_null; /* unreadable_gold_null */
    struct reward_values values;
};

/* Places in the tables: the rule is the first of each. */
enum { RULE, FIRST_OWN };
enum { DELIMITERS = FIRST_OWN };
enum { BY_GROUP = FIRST_OWN };
enum { MIN_WRONG = FIRST_OWN, MAX_WRONG, MIN_CORRECT, MAX_CORRECT, MAX_LEN, CLAMP };

#define RULE_ROW                                                                                   \
    {                                                                                              \
        .key = "judge_rule", .aliases = "rule", .type = PARAMETER_TEXT, .text = "math-verify",     \
        .doc = "math-verify, or strict: its known errors mended"                                   \
    }
#define SWAPPED_ROW                                                                                \
    {                                                                                              \
        .key = "judge_swapped", .type = PARAMETER_FLAG, .def = 1,                                  \
        .doc = "compare (answer, gold) as Open-R1 does; false: (gold, answer)"                     \
    }
#define GOLD_NULL_ROW                                                                              \
    {                                                                                              \
        .key = "unreadable_gold_null", .type = PARAMETER_FLAG,                                     \
        .doc = "no score where the gold answer can't be read; false: it counts as right"           \
    }
#define BOUND(name, alias, value, text)                                                            \
    {                                                                                              \
        .key = name, .aliases = alias, .def = value, .low = -1e9, .high = 1e9, .doc = text         \
    }
#define COSINE_ROWS                                                                                \
    BOUND("cosine_min_value_wrong", "min_value_wrong", -1.0, "short wrong answer"),                \
        BOUND("cosine_max_value_wrong", "max_value_wrong", -0.5, "long wrong answer"),             \
        BOUND("cosine_min_value_correct", "min_value_correct", 0.5, "long right answer"),          \
        BOUND("cosine_max_value_correct", "max_value_correct", 1.0, "short right answer"),         \
    {                                                                                              \
        .key = "cosine_max_len", .aliases = "max_len", .type = PARAMETER_COUNT, .def = 1000,       \
        .low = 1, .high = 1e15, .doc = "length of a long answer"                                   \
    }

const struct reward_parameter REWARD_JUDGE_PARAMETERS[] = {RULE_ROW, {0}};
const struct reward_parameter REWARD_REASONING_PARAMETERS[] = {
    RULE_ROW,
    {.key = "reasoning_delimiters",
     .type = PARAMETER_TEXTS,
     .doc = "texts that end the reasoning; the first of them that occurs counts"},
    {0},
};
const struct reward_parameter REWARD_LENGTH_PARAMETERS[] = {
    RULE_ROW,
    {.key = "length_by_group",
     .type = PARAMETER_FLAG,
     .doc = "shortest and longest of the prompt's group; false: of the whole call"},
    SWAPPED_ROW,
    GOLD_NULL_ROW,
    {0},
};
const struct reward_parameter REWARD_COSINE_PARAMETERS[] = {
    RULE_ROW,
    COSINE_ROWS,
    {.key = "cosine_clamp",
     .type = PARAMETER_FLAG,
     .doc = "flat behind cosine_max_len; false: the curve rises again"},
    SWAPPED_ROW,
    GOLD_NULL_ROW,
    {0},
};
const struct reward_parameter REWARD_COSINE_SCALED_PARAMETERS[] = {
    RULE_ROW,
    COSINE_ROWS,
    {0},
};

static bool flag_of(const struct reward *r, const struct reward_values *v, const char *key)
{
    const struct reward_parameter *p = reward_parameter_find(r, key);
    return p && v->number[p - r->parameters] != 0;
}

enum status reward_open_judged(const struct reward *r, const json_t *parameters, void **state)
{
    struct judged *j = calloc(1, sizeof *j);
    *state = j;
    if (!j) {
        return FAIL(MEMORY, "%s: no memory", r->name);
    }
    TRY(reward_values_read(r, parameters, &j->values));
    j->swapped = flag_of(r, &j->values, "judge_swapped");
    j->gold_null = flag_of(r, &j->values, "unreadable_gold_null");
    const char *rule = json_string_value(j->values.json[RULE]);
    const bool strict = strcmp(rule, "strict") == 0;
    if (!strict && strcmp(rule, "math-verify") != 0) {
        return FAIL(RECIPE, "%s: judge_rule '%.40s'; use math-verify or strict", r->name, rule);
    }
    return grade_open(strict ? GRADE_STRICT : GRADE_MATH_VERIFY, &j->judge);
}

void reward_close_judged(void *state)
{
    struct judged *j = state;
    if (j) {
        grade_close(j->judge);
        reward_values_clear(&j->values);
        free(j);
    }
}

/* The gold text: column solution, else answer. A number stands for its digits, written to `digits`.
 */
static const char *gold_text(const struct reward_input *in, char digits[64])
{
    static const char *const COLUMNS[] = {"solution", "answer"};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        const json_t *gold = json_object_get(in->row, COLUMNS[i]);
        if (json_is_string(gold)) {
            return json_string_value(gold);
        }
        if (json_is_integer(gold)) {
            (void)snprintf(digits, 64, "%lld", (long long)json_integer_value(gold));
            return digits;
        }
        if (json_is_real(gold)) {
            const double value = json_real_value(gold);
            for (int n = 15; n <= 17; n++) { /* the shortest text that reads back */
                (void)snprintf(digits, 64, "%.*g", n, value);
                if (strtod(digits, NULL) == value) {
                    break;
                }
            }
            return digits;
        }
    }
    return NULL;
}

struct verdict {
    bool readable; /* the gold answer has a value */
    bool equal;
};

/* How a reward asks the judge. */
struct question {
    const struct grade_config *gold;
    const struct grade_config *answer;
    bool swapped; /* verify(answer, gold) */
};

/* False with a reason when there is nothing to compare with, or the judge ran out of memory. */
static bool ask(const struct judged *j, const struct question *q, const struct reward_input *in,
                const char *said, struct verdict *v, char *reason)
{
    char digits[64];
    const struct grade_answer *gold;
    const struct grade_answer *answer;
    const char *text = gold_text(in, digits);
    *v = (struct verdict){0};
    if (!text) {
        reward_explain(reason, "the row has no gold answer");
        return false;
    }
    grade_reset(j->judge);
    enum status status = grade_parse(j->judge, text, strlen(text), q->gold, &gold);
    if (status == STATUS_OK && grade_answer_empty(gold)) {
        reward_explain(reason, "the gold answer cannot be read: %.150s", grade_answer_reason(gold));
        return true;
    }
    if (status == STATUS_OK) {
        status = grade_parse(j->judge, said, strlen(said), q->answer, &answer);
    }
    if (status != STATUS_OK) {
        reward_explain(reason, "%.200s", status_message());
        status_clear();
        return false;
    }
    v->readable = true;
    v->equal = q->swapped ? grade_equal_parsed(j->judge, answer, gold)
                          : grade_equal_parsed(j->judge, gold, answer);
    return true;
}

static double accuracy_of(const struct judged *j, const struct grade_config *gold,
                          const struct grade_config *answer, const struct reward_input *in,
                          const char *said, char *reason)
{
    struct verdict v;
    const struct question q = {.gold = gold, .answer = answer};
    if (!ask(j, &q, in, said, &v, reason) || !v.readable) {
        return NAN;
    }
    return v.equal ? 1.0 : 0.0;
}

double reward_accuracy(const void *state, const struct reward_input *in, char *reason)
{
    return accuracy_of(state, &GRADE_CONFIG_OPEN_R1_GOLD, &GRADE_CONFIG_OPEN_R1_ANSWER, in,
                       in->completion, reason);
}

double reward_accuracy_trl(const void *state, const struct reward_input *in, char *reason)
{
    return accuracy_of(state, &GRADE_CONFIG_DEFAULT, &GRADE_CONFIG_TRL_ANSWER, in, in->completion,
                       reason);
}

/* What follows the last `delimiter`, NULL when it does not occur. */
static const char *behind_last(const char *text, const char *delimiter)
{
    const char *last = NULL;
    const size_t n = strlen(delimiter);
    /* Occurrences that don't overlap, as str.split finds them. */
    for (const char *p = n > 0 ? strstr(text, delimiter) : NULL; p; p = strstr(p + n, delimiter)) {
        last = p + n;
    }
    return last;
}

double reward_reasoning_accuracy(const void *state, const struct reward_input *in, char *reason)
{
    const struct judged *j = state;
    const json_t *list = j->values.json[DELIMITERS];
    const char *said = NULL;
    if (!list) {
        said = behind_last(in->completion, "</think>");
    } else if (json_is_string(list)) {
        said = behind_last(in->completion, json_string_value(list));
    }
    for (size_t i = 0; !said && i < json_array_size(list); i++) {
        said = behind_last(in->completion, json_string_value(json_array_get(list, i)));
    }
    if (!said) {
        return 0.0;
    }
    return accuracy_of(j, &GRADE_CONFIG_DEFAULT, &GRADE_CONFIG_TRL_ANSWER, in, said, reason);
}

/* Open-R1's shared question of length and cosine: 1 right, 0 wrong, NaN no score; *readable tells a
 * right answer from an unreadable gold one. */
static double right_or_wrong(const struct judged *j, const struct reward_input *in, bool *readable,
                             char *reason)
{
    struct verdict v;
    /* boxed=True, as these two say, names none of the judge's ways of opening boxes. */
    struct grade_config answer = GRADE_CONFIG_OPEN_R1_ANSWER;
    answer.boxed = GRADE_BOXED_NONE;
    const struct question q = {
        .gold = &GRADE_CONFIG_LATEX,
        .answer = &answer,
        .swapped = j->swapped,
    };
    if (!ask(j, &q, in, in->completion, &v, reason)) {
        return NAN;
    }
    *readable = v.readable;
    if (!v.readable && j->gold_null) {
        return NAN;
    }
    if (!v.readable && reason) {
        reason[0] = '\0'; /* a score follows */
    }
    return !v.readable || v.equal ? 1.0 : 0.0;
}

static double cosine_curve(const double *p, bool right, double progress)
{
    const double low = right ? p[MIN_CORRECT] : p[MAX_WRONG];
    const double high = right ? p[MAX_CORRECT] : p[MIN_WRONG];
    return low + 0.5 * (high - low) * (1.0 + cos(progress * 3.141592653589793));
}

double reward_cosine(const void *state, const struct reward_input *in, char *reason)
{
    const struct judged *j = state;
    const double *p = j->values.number;
    bool readable = false;
    const double right = right_or_wrong(j, in, &readable, reason);
    if (isnan(right) || !readable) {
        return isnan(right) ? NAN : 1.0;
    }
    double progress = (double)text_length(in->completion) / p[MAX_LEN];
    if (p[CLAMP] != 0) {
        progress = fmin(progress, 1.0);
    }
    return cosine_curve(p, right != 0, progress);
}

double reward_cosine_scaled(const void *state, const struct reward_input *in, char *reason)
{
    const struct judged *j = state;
    const double right = reward_accuracy_trl(state, in, reason);
    if (isnan(right)) {
        return NAN;
    }
    if (in->tokens < 0) {
        reward_explain(reason, "the length in tokens is not known");
        return NAN;
    }
    const double progress = fmin((double)in->tokens / j->values.number[MAX_LEN], 1.0);
    return cosine_curve(j->values.number, right != 0, progress);
}

/* Shortest and longest completion among those compared with input `i`. */
static void length_range(const struct reward_call *call, int64_t i, bool by_group,
                         const double *lengths, double *shortest, double *longest)
{
    *shortest = lengths[i];
    *longest = lengths[i];
    for (int64_t k = 0; k < call->count; k++) {
        if (!by_group || call->inputs[k].group == call->inputs[i].group) {
            *shortest = fmin(*shortest, lengths[k]);
            *longest = fmax(*longest, lengths[k]);
        }
    }
}

enum status reward_length(void *state, const struct reward_call *call, double *scores)
{
    const struct judged *j = state;
    const bool by_group = j->values.number[BY_GROUP] != 0;
    double *lengths = malloc((size_t)call->count * sizeof *lengths + 1);
    double shortest = 0.0;
    double longest = 0.0;
    if (!lengths) {
        return FAIL(MEMORY, "length: no memory for %lld completions", (long long)call->count);
    }
    for (int64_t i = 0; i < call->count; i++) {
        lengths[i] = (double)text_length(call->inputs[i].completion);
    }
    for (int64_t i = 0; i < call->count; i++) {
        bool readable;
        const double right = right_or_wrong(j, &call->inputs[i], &readable,
                                            call->reasons ? call->reasons[i] : NULL);
        if (by_group || i == 0) {
            length_range(call, i, by_group, lengths, &shortest, &longest);
        }
        const double lambda =
            longest > shortest ? 0.5 - (lengths[i] - shortest) / (longest - shortest) : 0.0;
        scores[i] = isnan(right) ? NAN : right != 0 ? lambda : fmin(0.0, lambda);
    }
    free(lengths);
    return STATUS_OK;
}
