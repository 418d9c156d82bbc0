/* Scores of short texts and single numbers, as reasoning-gym's scorers give them. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural_internal.h"
#include "eval/tasks/text.h"

const char *procedural_answer(const json_t *entry)
{
    const char *text = json_string_value(json_object_get(entry, "answer"));
    return text ? text : "";
}

/* Equal, or holding the gold text among others. */
static double hold_score(const char *answer, const char *gold)
{
    if (strcmp(answer, gold) == 0) {
        return 1.0;
    }
    return strstr(answer, gold) ? (double)text_length(gold) / (double)text_length(answer) : 0.0;
}

double procedural_score_text(const char *answer, const json_t *entry)
{
    return answer && *answer ? hold_score(answer, procedural_answer(entry)) : 0.0;
}

static char *without_commas(const char *text)
{
    char *copy = malloc(strlen(text) + 1);
    char *to = copy;
    for (; copy && *text; text++) {
        if (*text != ',') {
            *to++ = *text;
        }
    }
    if (copy) {
        *to = '\0';
    }
    return copy;
}

double procedural_score_decimal(const char *answer, const json_t *entry)
{
    struct number_decimal a;
    struct number_decimal b;
    if (!answer || !*answer) {
        return 0.0;
    }
    char *said = without_commas(answer);
    char *gold = without_commas(procedural_answer(entry));
    double score = NAN;
    if (said && gold) {
        const bool equal =
            number_decimal(said, &a) && number_decimal(gold, &b) && number_decimal_equal(&a, &b);
        /* Only commas: Python divides by zero when the gold text is empty as well. */
        score = equal ? 1.0 : *said || *gold ? hold_score(said, gold) : NAN;
    }
    free(said);
    free(gold);
    return score;
}

double procedural_score_places(const char *answer, const json_t *entry)
{
    enum { PRECISION = 12 }; /* of the package's default context */
    struct number_decimal a;
    struct number_decimal b;
    const json_t *metadata = json_object_get(entry, "metadata");
    const json_t *places = json_array_get(
        json_object_get(json_object_get(metadata, "difficulty"), "decimal_places"), 1);
    const int64_t n = json_is_integer(places) ? json_integer_value(places) : 3;
    if (!answer || n < 0 || n > 64) {
        return 0.0;
    }
    return number_decimal(answer, &a) && number_decimal(procedural_answer(entry), &b)
                   && number_decimal_close(&a, &b, n, PRECISION)
               ? 1.0
               : 0.0;
}

/* ---- fractions ---- */

/* Digits of any script at *p, copied; moves *p behind them. */
static bool take_digits(const char **p, char out[NUMBER_INT_DIGITS + 2])
{
    size_t n = 0;
    for (const char *next = *p;; *p = next) {
        const int digit = text_digit(text_next(&next));
        if (digit < 0) {
            break;
        }
        if (n > NUMBER_INT_DIGITS) {
            return false;
        }
        out[n++] = (char)('0' + digit);
    }
    out[n] = '\0';
    return n > 0;
}

static void skip_space(const char **p)
{
    for (const char *next = *p; text_is_space(text_next(&next)); next = *p) {
        (void)text_next(p);
    }
}

/* \s*{\s*(\d+)\s*} */
static bool take_group(const char **p, struct number_int *out)
{
    char digits[NUMBER_INT_DIGITS + 2];
    skip_space(p);
    if (**p != '{') {
        return false;
    }
    (*p)++;
    skip_space(p);
    if (!take_digits(p, digits)) {
        return false;
    }
    skip_space(p);
    if (**p != '}') {
        return false;
    }
    (*p)++;
    return number_int(digits, out);
}

static bool latex_fraction(const char *p, struct number_int *a, struct number_int *b)
{
    if (*p != '\\') {
        return false;
    }
    p++;
    const size_t d = *p == 'd' || *p == 'D';
    if (strncasecmp(p + d, "frac", 4) != 0) {
        return false;
    }
    p += d + 4;
    return take_group(&p, a) && take_group(&p, b);
}

/* answer.strip().strip("$").strip(), in new memory. */
static char *cleaned(const char *answer)
{
    size_t n = text_strip(&answer);
    for (; n > 0 && *answer == '$'; n--) {
        answer++;
    }
    while (n > 0 && answer[n - 1] == '$') {
        n--;
    }
    char *copy = strndup(answer, n);
    if (copy) {
        const char *begin = copy;
        const size_t length = text_strip(&begin);
        memmove(copy, begin, length);
        copy[length] = '\0';
    }
    return copy;
}

static bool extract_fraction(char *text, struct number_int *a, struct number_int *b)
{
    if (latex_fraction(text, a, b)) {
        return true;
    }
    char *slash = strchr(text, '/');
    if (!slash) {
        return false;
    }
    *slash = '\0';
    return number_int(text, a) && number_int(slash + 1, b);
}

static bool equals_member(const struct number_int *n, const json_t *metadata, const char *key)
{
    int64_t x;
    const json_t *member = json_object_get(metadata, key);
    return json_is_integer(member) && number_int_small(n, &x) && x == json_integer_value(member);
}

double procedural_score_fraction(const char *answer, const json_t *entry)
{
    static const double NOT_READ = 0.01;
    struct number_int a;
    struct number_int b;
    const json_t *m = json_object_get(entry, "metadata");
    char *text = answer ? cleaned(answer) : NULL;
    const bool read = text && extract_fraction(text, &a, &b);
    free(text);
    if (!read) {
        return NOT_READ;
    }
    if (equals_member(&a, m, "simplified_numerator")
        && equals_member(&b, m, "simplified_denominator")) {
        return 1.0;
    }
    return equals_member(&a, m, "numerator") || equals_member(&b, m, "denominator") ? 0.1 : 0.05;
}

/* ---- letters ---- */

double procedural_score_letters(const char *answer, const json_t *entry)
{
    if (!answer) {
        return 0.0;
    }
    char *gold = text_lower(procedural_answer(entry));
    char *said = text_lower(answer);
    double score = gold && said ? 0.0 : NAN;
    if (gold && said && strcmp(gold, said) == 0) {
        score = 1.0;
    } else if (gold && said) {
        const double length = (double)text_length(gold);
        const char *p = gold;
        const char *q = said;
        while (*p && *q) {
            score += text_next(&p) == text_next(&q) ? 1 / length : 0.0;
        }
        score -= score == 1.0 ? 0.2 : 0.0; /* more behind a right answer */
    }
    free(gold);
    free(said);
    return score;
}

/* ---- prime factors ---- */

enum { MOST_FACTORS = 64 };

struct factors {
    int64_t values[MOST_FACTORS];
    int64_t count; /* may be over MOST_FACTORS */
    int64_t product;
    bool beyond; /* a factor or the product doesn't fit */
    bool zero;
};

static void add_factor(struct factors *f, const struct number_int *n)
{
    int64_t x = 0;
    f->zero = f->zero || n->count == 0;
    if (!number_int_small(n, &x) || __builtin_mul_overflow(f->product, x, &f->product)) {
        f->beyond = true;
    }
    if (f->count < MOST_FACTORS) {
        f->values[f->count] = x;
    }
    f->count++;
}

/* False where int() raises. */
static bool read_factors(const char *text, struct factors *f)
{
    static const char TIMES[] = "\xc3\x97"; /* U+00D7 */
    *f = (struct factors){.product = 1};
    for (const char *p = text;;) {
        const char *end = strstr(p, TIMES);
        const size_t length = end ? (size_t)(end - p) : strlen(p);
        char *part = strndup(p, length);
        struct number_int n;
        const char *begin = part;
        const bool empty = part && text_strip(&begin) == 0;
        const bool good = part && (empty || number_int(part, &n));
        free(part);
        if (!good) {
            return false;
        }
        if (!empty) {
            add_factor(f, &n);
        }
        if (!end) {
            return true;
        }
        p = end + strlen(TIMES);
    }
}

static int compare_values(const void *a, const void *b)
{
    const int64_t x = *(const int64_t *)a;
    const int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double procedural_score_factors(const char *answer, const json_t *entry)
{
    struct factors gold;
    struct factors said;
    if (!answer) {
        return 0.0;
    }
    if (!read_factors(procedural_answer(entry), &gold) || !read_factors(answer, &said)) {
        return NAN;
    }
    if (gold.count == said.count && gold.count <= MOST_FACTORS && !said.beyond) {
        const size_t n = (size_t)gold.count;
        qsort(gold.values, n, sizeof *gold.values, compare_values);
        qsort(said.values, n, sizeof *said.values, compare_values);
        if (memcmp(gold.values, said.values, n * sizeof *gold.values) == 0) {
            return 1.0;
        }
    }
    const bool same = gold.zero || said.zero ? gold.zero && said.zero
                                             : !said.beyond && gold.product == said.product;
    return same ? 0.5 : 0.01;
}
