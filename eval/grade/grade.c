/* Answer extraction and exact comparison; see grade.h. */
#include "eval/grade/grade.h"

#include <ctype.h>
#include <math.h>
#include <string.h>

static bool copy_range(const char *begin, size_t length, char answer[GRADE_ANSWER_CAP])
{
    while (length > 0 && isspace((unsigned char)*begin)) {
        begin++;
        length--;
    }
    while (length > 0 && isspace((unsigned char)begin[length - 1])) {
        length--;
    }
    if (length == 0 || length >= GRADE_ANSWER_CAP) {
        return false;
    }
    memcpy(answer, begin, length);
    answer[length] = '\0';
    return true;
}

bool grade_boxed(const char *text, char answer[GRADE_ANSWER_CAP])
{
    static const char OPEN[] = "\\boxed{";
    const char *last = NULL;
    for (const char *p = strstr(text, OPEN); p; p = strstr(p + 1, OPEN)) {
        last = p + sizeof OPEN - 1;
    }
    if (!last) {
        return false;
    }
    int depth = 1;
    for (const char *p = last; *p; p++) {
        depth += *p == '{';
        depth -= *p == '}';
        if (depth == 0) {
            return copy_range(last, (size_t)(p - last), answer);
        }
    }
    return false;
}

/* End of the number that starts at the digit `p`: digits and commas, then .digits. */
static const char *number_end(const char *p)
{
    while (isdigit((unsigned char)*p) || *p == ',') {
        p++;
    }
    if (*p == '.' && isdigit((unsigned char)p[1])) {
        p++;
        while (isdigit((unsigned char)*p)) {
            p++;
        }
    }
    return p;
}

bool grade_last_number(const char *text, char answer[GRADE_ANSWER_CAP])
{
    const char *begin = NULL;
    const char *end = NULL;
    for (const char *p = text; *p;) {
        if (!isdigit((unsigned char)*p)) {
            p++;
            continue;
        }
        begin = p > text && p[-1] == '-' ? p - 1 : p;
        end = number_end(p);
        p = end;
    }
    size_t length = 0;
    for (const char *p = begin; p && p < end; p++) {
        if (*p == ',') {
            continue;
        }
        if (length + 1 >= GRADE_ANSWER_CAP) {
            return false;
        }
        answer[length++] = *p;
    }
    answer[length] = '\0';
    return length > 0;
}

bool grade_gold(const json_t *row, char answer[GRADE_ANSWER_CAP])
{
    static const char *const COLUMNS[] = {"solution", "answer"};
    for (size_t i = 0; i < sizeof COLUMNS / sizeof COLUMNS[0]; i++) {
        const char *text = json_string_value(json_object_get(row, COLUMNS[i]));
        if (!text) {
            continue;
        }
        const char *marked = strstr(text, "####");
        if (marked) {
            return copy_range(marked + 4, strlen(marked + 4), answer);
        }
        return grade_boxed(text, answer) || copy_range(text, strlen(text), answer);
    }
    return false;
}

/* A decimal number in normal form: sign, digits without leading zeros, decimals without trailing
 * ones. False when `text` is no number. */
static bool normal_number(const char *text, char out[GRADE_ANSWER_CAP])
{
    char digits[GRADE_ANSWER_CAP];
    size_t n = 0;
    bool seen_digit = false;
    bool seen_point = false;
    const char *p = text;
    const bool negative = *p == '-';
    p += *p == '-' || *p == '+';
    p += *p == '$';
    for (; *p; p++) {
        if (*p == ',') {
            continue;
        }
        if (*p == '.' && !seen_point) {
            seen_point = true;
        } else if (isdigit((unsigned char)*p)) {
            seen_digit = true;
        } else {
            return false;
        }
        if ((*p == '0' && n == 0 && !seen_point) || n + 1 >= GRADE_ANSWER_CAP) {
            continue; /* leading zero */
        }
        digits[n++] = *p;
    }
    while (seen_point && n > 0 && digits[n - 1] == '0') {
        n--;
    }
    n -= seen_point && n > 0 && digits[n - 1] == '.';
    digits[n] = '\0';
    const bool zero = n == 0;
    out[0] = negative && !zero ? '-' : '+';
    memcpy(out + 1, digits, n < GRADE_ANSWER_CAP - 2 ? n + 1 : 0);
    return seen_digit && n < GRADE_ANSWER_CAP - 2;
}

bool grade_equal(const char *a, const char *b)
{
    char na[GRADE_ANSWER_CAP];
    char nb[GRADE_ANSWER_CAP];
    if (strlen(a) >= GRADE_ANSWER_CAP || strlen(b) >= GRADE_ANSWER_CAP) {
        return false;
    }
    if (normal_number(a, na) && normal_number(b, nb)) {
        return strcmp(na, nb) == 0;
    }
    return copy_range(a, strlen(a), na) && copy_range(b, strlen(b), nb) && strcmp(na, nb) == 0;
}

double grade_completion(const char *completion, const json_t *row)
{
    char gold[GRADE_ANSWER_CAP];
    char said[GRADE_ANSWER_CAP];
    if (!grade_gold(row, gold)) {
        return NAN;
    }
    if (!grade_boxed(completion, said) && !grade_last_number(completion, said)) {
        return 0.0;
    }
    return grade_equal(said, gold) ? 1.0 : 0.0;
}
