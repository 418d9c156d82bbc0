/* Scores of lists of numbers, dates and complex numbers, as reasoning-gym's scorers give them. */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural_internal.h"
#include "eval/tasks/text.h"

/* A growing list of doubles. */
struct numbers {
    double *items;
    int64_t count;
    int64_t capacity;
};

static bool push(struct numbers *n, double x)
{
    if (n->count == n->capacity) {
        const int64_t capacity = n->capacity > 0 ? 2 * n->capacity : 16;
        double *items = realloc(n->items, (size_t)capacity * sizeof *items);
        if (!items) {
            return false;
        }
        n->items = items;
        n->capacity = capacity;
    }
    n->items[n->count++] = x;
    return true;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* sorted() of Python for short lists, nan included: a first run, then binary insertion. */
static void python_sort(struct numbers *n)
{
    enum { SHORT = 64 }; /* beyond, Python merges runs; without nan any sort is the same */
    double *a = n->items;
    int64_t run = 1;
    if (n->count >= SHORT) {
        qsort(a, (size_t)n->count, sizeof *a, compare_doubles);
        return;
    }
    if (n->count > 1 && a[1] < a[0]) {
        for (run = 2; run < n->count && a[run] < a[run - 1]; run++) {
        }
        for (int64_t i = 0; i < run / 2; i++) {
            const double t = a[i];
            a[i] = a[run - 1 - i];
            a[run - 1 - i] = t;
        }
    } else {
        for (; run < n->count && !(a[run] < a[run - 1]); run++) {
        }
    }
    for (int64_t i = run; i < n->count; i++) {
        const double pivot = a[i];
        int64_t low = 0;
        int64_t high = i;
        while (low < high) {
            const int64_t middle = (low + high) / 2;
            if (pivot < a[middle]) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        memmove(a + low + 1, a + low, (size_t)(i - low) * sizeof *a);
        a[low] = pivot;
    }
}

/* ---- roots ---- */

/* The numbers between commas, sorted; what is no number is passed over. False without memory. */
static bool read_roots(const char *text, struct numbers *out)
{
    *out = (struct numbers){0};
    while (text && *text) {
        const size_t length = strcspn(text, ",");
        char *part = strndup(text, length);
        double x;
        const bool number = part && number_float(part, &x);
        free(part);
        if (!part || (number && !push(out, x))) {
            return false;
        }
        text += length + (text[length] == ',');
    }
    if (out->count > 1) {
        python_sort(out);
    }
    return true;
}

/* Takes the gold root nearest to x out of the list; its distance, infinite when there is none. */
static double match_root(double x, struct numbers *gold)
{
    double nearest = INFINITY;
    int64_t index = -1;
    for (int64_t i = 0; i < gold->count; i++) {
        if (nearest > fabs(x - gold->items[i])) {
            nearest = fabs(x - gold->items[i]);
            index = i;
        }
    }
    if (index >= 0) {
        gold->count--;
        memmove(gold->items + index, gold->items + index + 1,
                (size_t)(gold->count - index) * sizeof *gold->items);
    }
    return nearest;
}

double procedural_score_roots(const char *answer, const json_t *entry)
{
    struct numbers gold;
    struct numbers said = {0};
    double score = NAN;
    if (read_roots(procedural_answer(entry), &gold) && read_roots(answer, &said)) {
        double total = 0.0;
        int64_t matched = 0;
        score = gold.count == 0 && said.count == 0 ? 1.0 : NAN;
        for (int64_t i = 0; i < said.count; i++) {
            const double distance = match_root(said.items[i], &gold);
            if (isfinite(distance)) {
                total += exp(distance * -10.0);
                matched++;
            }
        }
        if (isnan(score)) {
            const double penalty = 0.5 * (double)gold.count + 0.5 * (double)(said.count - matched);
            total = matched > 0 ? total / (double)matched : total;
            score = total - penalty > 0 ? total - penalty : 0.0;
        }
    }
    free(gold.items);
    free(said.items);
    return score;
}

/* ---- sorted lists ---- */

/* One JSON string at *p as text (quotes are ' or "); false when it is none. */
static bool take_string(const char **p, char out[NUMBER_TEXT_CAP])
{
    size_t used = 0;
    for ((*p)++; **p != '"' && **p != '\''; (*p)++) {
        unsigned char c = (unsigned char)**p;
        if (c < 0x20 || used + 5 >= NUMBER_TEXT_CAP) {
            return false;
        }
        if (c == '\\') {
            static const char FROM[] = "\\/bfnrt";
            static const char TO[] = "\\/\b\f\n\r\t";
            (*p)++;
            const char *at = **p ? strchr(FROM, **p) : NULL;
            if (**p == '"' || **p == '\'') {
                c = '"';
            } else if (at) {
                c = (unsigned char)TO[at - FROM];
            } else if (**p == 'u' && strspn(*p + 1, "0123456789abcdefABCDEF") >= 4) {
                const char hex[5] = {(*p)[1], (*p)[2], (*p)[3], (*p)[4], '\0'};
                const uint32_t code = (uint32_t)strtoul(hex, NULL, 16);
                /* A surrogate or NUL is no digit either: any such character will do. */
                used += text_put(code == 0 || (code >= 0xD800 && code < 0xE000) ? '?' : code,
                                 out + used);
                *p += 4;
                continue;
            } else {
                return false;
            }
        }
        out[used++] = (char)c;
    }
    out[used] = '\0';
    (*p)++;
    return true;
}

/* A JSON number, or one of the words that become a float; false: none of them. */
static bool take_number(const char **p, double *out)
{
    static const struct {
        const char *word;
        double value;
    } WORDS[] = {
        {"true", 1.0},          {"false", 0.0},           {"NaN", NAN},
        {"Infinity", INFINITY}, {"-Infinity", -INFINITY},
    };
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strncmp(*p, WORDS[i].word, strlen(WORDS[i].word)) == 0) {
            *p += strlen(WORDS[i].word);
            *out = WORDS[i].value;
            return true;
        }
    }
    const char *s = *p + (**p == '-');
    const size_t whole = strspn(s, "0123456789");
    if (whole == 0 || (s[0] == '0' && whole > 1)) {
        return false;
    }
    s += whole;
    const bool fraction = *s == '.' && s[1] >= '0' && s[1] <= '9';
    if (fraction) {
        s += 1 + strspn(s + 1, "0123456789");
    }
    bool exponent = false;
    if (*s == 'e' || *s == 'E') {
        const char *e = s + 1 + (s[1] == '+' || s[1] == '-');
        exponent = *e >= '0' && *e <= '9';
        s = exponent ? e + strspn(e, "0123456789") : s;
    }
    const size_t n = (size_t)(s - *p);
    char copy[NUMBER_TEXT_CAP];
    if (n >= sizeof copy || (!fraction && !exponent && whole > NUMBER_INT_DIGITS)) {
        return false;
    }
    memcpy(copy, *p, n);
    copy[n] = '\0';
    *out = strtod(copy, NULL);
    *p = s;
    return fraction || exponent || isfinite(*out); /* float() of a huge int raises */
}

static void skip_json_space(const char **p)
{
    *p += strspn(*p, " \t\n\r");
}

/* A flat JSON list of what float() takes; ' reads as ". False for anything else. */
static bool read_list(const char *p, struct numbers *out)
{
    *out = (struct numbers){0};
    skip_json_space(&p);
    if (*p++ != '[') {
        return false;
    }
    skip_json_space(&p);
    while (*p != ']' || out->count > 0) {
        char text[NUMBER_TEXT_CAP];
        double x = 0.0;
        const bool quoted = *p == '"' || *p == '\'';
        if (quoted ? !take_string(&p, text) || !number_float(text, &x) : !take_number(&p, &x)) {
            return false;
        }
        if (!push(out, x)) {
            return false;
        }
        skip_json_space(&p);
        if (*p == ']') {
            break;
        }
        if (*p++ != ',') {
            return false;
        }
        skip_json_space(&p);
    }
    p++;
    skip_json_space(&p);
    return *p == '\0';
}

static bool list_is_right(const struct numbers *said, const struct numbers *gold, bool ascending)
{
    if (said->count != gold->count) {
        return false;
    }
    for (int64_t i = 0; i < said->count; i++) {
        /* sorted() leaves a list alone when no pair of neighbours is out of order. */
        const bool broken = i > 0 && (ascending ? said->items[i] < said->items[i - 1]
                                                : said->items[i - 1] < said->items[i]);
        if (broken || fabs(said->items[i] - gold->items[i]) > 1) {
            return false;
        }
    }
    return true;
}

double procedural_score_sorted(const char *answer, const json_t *entry)
{
    struct numbers said = {0};
    struct numbers gold = {0};
    const char *direction = json_string_value(
        json_object_get(json_object_get(entry, "metadata"), "direction"));
    if (!answer) {
        return 0.0;
    }
    const bool right = direction && read_list(answer, &said)
                       && read_list(procedural_answer(entry), &gold)
                       && list_is_right(&said, &gold, strcmp(direction, "ascending") == 0);
    free(said.items);
    free(gold.items);
    return right ? 1.0 : 0.0;
}

/* ---- calendar ---- */

/* True when `text` [length] is one of the weekdays, as it is or, with `title`, in title case. */
static bool is_weekday(const char *text, size_t length, bool title)
{
    static const char *const DAYS[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                       "Friday", "Saturday", "Sunday"};
    char made[64];
    size_t used = 0;
    bool first = true;
    if (length >= sizeof made / 2) {
        return false;
    }
    char copy[sizeof made];
    memcpy(copy, text, length);
    copy[length] = '\0';
    for (const char *p = copy;;) {
        const uint32_t c = text_next(&p);
        if (c == 0) {
            break;
        }
        const utf8proc_int32_t cased = !title ? (utf8proc_int32_t)c
                                       : first ? utf8proc_totitle((utf8proc_int32_t)c)
                                               : utf8proc_tolower((utf8proc_int32_t)c);
        used += text_put((uint32_t)cased, made + used);
        first = false;
    }
    made[used] = '\0';
    for (size_t i = 0; i < sizeof DAYS / sizeof DAYS[0]; i++) {
        if (strcmp(made, DAYS[i]) == 0) {
            return true;
        }
    }
    return false;
}

static double score_weekday(const char *answer, const char *gold)
{
    const size_t n = text_strip(&answer);
    if (n == strlen(gold) && memcmp(answer, gold, n) == 0) {
        return 1.0;
    }
    return is_weekday(answer, n, false) ? 0.1 : is_weekday(answer, n, true) ? 0.05 : 0.0;
}

static double score_count(const char *answer, const char *gold)
{
    struct number_int a;
    struct number_int b;
    int64_t want;
    int64_t said;
    if (!number_int(answer, &a) || !number_int(gold, &b) || !number_int_small(&b, &want)) {
        return 0.0;
    }
    if (want == 0) {
        return a.count == 0 ? 1.0 : 0.0;
    }
    double error = fabs(number_int_double(&a));
    if (number_int_small(&a, &said)) {
        error = fabs((double)said - (double)want);
    }
    error /= (double)want;
    if (!isfinite(error)) { /* too long for a double: Python's division may raise */
        return strtold(a.digits, NULL) / fabsl((long double)want) > (long double)DBL_MAX ? NAN
                                                                                         : 0.0;
    }
    const double score = exp(-5 * error);
    return isfinite(score) ? score : NAN;
}

double procedural_score_calendar(const char *answer, const json_t *entry)
{
    static const char *const COUNTS[] = {"count_business_days", "count_days",
                                         "recurring_event_day"};
    const char *gold = procedural_answer(entry);
    const char *task =
        json_string_value(json_object_get(json_object_get(entry, "metadata"), "task"));
    if (!answer || !*answer || !task) {
        return task ? 0.0 : NAN;
    }
    if (strncmp(task, "weekday_of", 10) == 0) {
        return score_weekday(answer, gold);
    }
    for (size_t i = 0; i < sizeof COUNTS / sizeof COUNTS[0]; i++) {
        if (strcmp(task, COUNTS[i]) == 0) {
            return score_count(answer, gold);
        }
    }
    if (strcmp(task, "is_leap_year") != 0) {
        return 0.0;
    }
    const size_t n = text_strip(&answer);
    char *said = strndup(answer, n);
    char *lower = said ? text_lower(said) : NULL;
    char *want = text_lower(gold);
    const double score = lower && want ? (double)(strcmp(lower, want) == 0) : NAN;
    free(said);
    free(lower);
    free(want);
    return score;
}

/* ---- complex numbers ---- */

/* answer.replace(" ", "").lower() without outer brackets, i as j; new memory. */
static char *complex_text(const char *answer)
{
    char *s = text_lower(answer);
    size_t n = 0;
    for (const char *p = s; p && *p; p++) {
        if (*p != ' ') {
            s[n++] = *p;
        }
    }
    if (!s) {
        return NULL;
    }
    s[n] = '\0';
    size_t from = 0;
    for (; n - from > 1 && s[from] == '(' && s[n - 1] == ')'; n--) {
        from++;
    }
    memmove(s, s + from, n - from);
    s[n - from] = '\0';
    for (char *p = s; *p; p++) {
        *p = *p == 'i' ? 'j' : *p;
    }
    return s;
}

static bool has_sign(const char *begin, const char *end)
{
    for (const char *p = begin; p < end; p++) {
        if (*p == '+' || *p == '-') {
            return true;
        }
    }
    return false;
}

/* parse_string_to_complex of the package, on complex_text. */
static bool parse_complex(char *s, double *real, double *imaginary)
{
    const size_t n = strlen(s);
    *real = 0.0;
    *imaginary = 0.0;
    if (!strchr(s, 'j')) {
        return number_float(s, real);
    }
    const bool ends = s[n - 1] == 'j';
    const char *last = s + n - 1;
    if ((ends && !has_sign(s, last)) || (*s == '-' && !has_sign(s + 1, last))) {
        s[n - 1] = '\0';
        if (n == 1 || strcmp(s, "-") == 0) {
            *imaginary = n == 1 ? 1.0 : -1.0;
            return true;
        }
        return number_float(s, imaginary);
    }
    return ends && number_complex(s, real, imaginary); /* "+j" is read as "+1j" there, too */
}

double procedural_score_complex(const char *answer, const json_t *entry)
{
    const json_t *result = json_object_get(json_object_get(entry, "metadata"), "result");
    double real;
    double imaginary;
    if (!answer) {
        return 0.0;
    }
    if (json_array_size(result) != 2) {
        return NAN;
    }
    char *s = complex_text(answer);
    const bool read = s && parse_complex(s, &real, &imaginary);
    free(s);
    if (!read) {
        return 0.0;
    }
    real -= json_number_value(json_array_get(result, 0));
    imaginary -= json_number_value(json_array_get(result, 1));
    const double distance = hypot(real, imaginary);
    if (isinf(distance) && isfinite(real) && isfinite(imaginary)) {
        return NAN; /* abs() overflows */
    }
    const double score = exp(-distance);
    return score < 1.0 ? score : 1.0; /* min(1.0, nan) is 1.0 */
}
