/* Patterns to syntax trees by recursive descent; see regex.h for the language. */
#include <string.h>

#include "trainer/generate/regex_internal.h"

enum { MOST_DEPTH = 100, MOST_REPEAT = 4096, LAST_POINT = 0x10FFFF, NO_CHAR = -1 };

struct parser {
    struct regex_tree *t;
    const char *pattern;
    size_t length;
    size_t at;
    int depth;
};

#define REGEX_ERROR(p, ...) regex_error((p), FAIL(RECIPE, __VA_ARGS__))

static enum status regex_error(const struct parser *p, enum status status)
{
    return status_prefix(status, "regular expression '%.60s', byte %zu: ", p->pattern, p->at + 1);
}

void regex_tree_close(struct regex_tree *t)
{
    free(t->nodes);
    free(t->ranges);
    *t = (struct regex_tree){0};
}

static enum status add_node(struct parser *p, struct regex_node node, int32_t *out)
{
    if (p->t->count >= REGEX_NODES) {
        return REGEX_ERROR(p, "more than %d parts", REGEX_NODES);
    }
    *out = p->t->count;
    p->t->nodes[p->t->count++] = node;
    return STATUS_OK;
}

static enum status add_range(struct parser *p, int32_t low, int32_t high)
{
    if (p->t->range_count >= REGEX_NODES) {
        return REGEX_ERROR(p, "more than %d character ranges", REGEX_NODES);
    }
    p->t->ranges[p->t->range_count++] = (struct regex_range){low, high};
    return STATUS_OK;
}

static bool more(const struct parser *p)
{
    return p->at < p->length;
}

static bool take(struct parser *p, char c)
{
    const bool hit = more(p) && p->pattern[p->at] == c;
    p->at += hit;
    return hit;
}

/* The next code point of the pattern. */
static enum status next_point(struct parser *p, int32_t *out)
{
    const uint8_t *s = (const uint8_t *)p->pattern + p->at;
    const size_t left = p->length - p->at;
    static const uint8_t FIRST_BITS[5] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const size_t size = s[0] < 0x80 ? 1 : s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (size > left || (s[0] >= 0x80 && s[0] < 0xC0)) {
        return REGEX_ERROR(p, "no UTF-8");
    }
    int32_t point = s[0] & FIRST_BITS[size];
    for (size_t i = 1; i < size; i++) {
        if ((s[i] & 0xC0) != 0x80) {
            return REGEX_ERROR(p, "no UTF-8");
        }
        point = point << 6 | (s[i] & 0x3F);
    }
    if (point > LAST_POINT) {
        return REGEX_ERROR(p, "no UTF-8");
    }
    p->at += size;
    *out = point;
    return STATUS_OK;
}

/* Ranges of \d, \w and \s, pairs of first and last character. */
static const char *named_class(char name)
{
    switch (name) {
    case 'd':
    case 'D':
        return "09";
    case 'w':
    case 'W':
        return "09AZ__az";
    case 's':
    case 'S':
        return "\t\r  ";
    default:
        return NULL;
    }
}

/* Adds the code points between the ranges of `pairs` (ascending). */
static enum status add_complement(struct parser *p, const struct regex_range *r, int32_t count)
{
    int32_t low = 0;
    for (int32_t i = 0; i < count; i++) {
        if (r[i].low > low) {
            TRY(add_range(p, low, r[i].low - 1));
        }
        low = r[i].high >= low ? r[i].high + 1 : low;
    }
    return low <= LAST_POINT ? add_range(p, low, LAST_POINT) : STATUS_OK;
}

static enum status add_named(struct parser *p, char name)
{
    const char *pairs = named_class(name);
    struct regex_range r[4];
    int32_t n = 0;
    for (; pairs[2 * n]; n++) {
        r[n] = (struct regex_range){pairs[2 * n], pairs[2 * n + 1]};
    }
    if (name < 'a') {
        return add_complement(p, r, n);
    }
    for (int32_t i = 0; i < n; i++) {
        TRY(add_range(p, r[i].low, r[i].high));
    }
    return STATUS_OK;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9'                 ? c - '0'
           : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10
                                                : -1;
}

/* The character of an escape behind its backslash: *point, or NO_CHAR after adding a named class.
 */
static enum status escape(struct parser *p, int32_t *point)
{
    static const char FROM[] = "nrtfv";
    static const char TO[] = "\n\r\t\f\v";
    if (!more(p)) {
        return REGEX_ERROR(p, "a backslash at the end");
    }
    const char c = p->pattern[p->at++];
    const char *plain = strchr(FROM, c);
    if (named_class(c)) {
        *point = NO_CHAR;
        return add_named(p, c);
    }
    if (plain) {
        *point = TO[plain - FROM];
        return STATUS_OK;
    }
    if (c == 'x' && p->at + 2 <= p->length && hex_value(p->pattern[p->at]) >= 0
        && hex_value(p->pattern[p->at + 1]) >= 0) {
        *point = hex_value(p->pattern[p->at]) * 16 + hex_value(p->pattern[p->at + 1]);
        p->at += 2;
        return STATUS_OK;
    }
    const bool word = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                      || (c & 0x80);
    if (word) {
        p->at--;
        return REGEX_ERROR(p, "\\%c is not supported", c);
    }
    *point = c;
    return STATUS_OK;
}

/* One end of a class range or a single character; NO_CHAR: a named class was added. */
static enum status class_point(struct parser *p, int32_t *point)
{
    return take(p, '\\') ? escape(p, point) : next_point(p, point);
}

static int compare_ranges(const void *a, const void *b)
{
    const struct regex_range *x = a;
    const struct regex_range *y = b;
    return (x->low > y->low) - (x->low < y->low);
}

/* Replaces the ranges from `first` on by their complement. */
static enum status negate(struct parser *p, int32_t first)
{
    struct regex_range *copy = NULL;
    const int32_t count = p->t->range_count - first;
    if (count > 0) {
        copy = malloc((size_t)count * sizeof *copy);
        if (!copy) {
            return FAIL(MEMORY, "regular expression: no memory");
        }
        memcpy(copy, p->t->ranges + first, (size_t)count * sizeof *copy);
        qsort(copy, (size_t)count, sizeof *copy, compare_ranges);
    }
    p->t->range_count = first;
    const enum status status = add_complement(p, copy, count);
    free(copy);
    return status;
}

/* Behind '[': the ranges up to ']'. */
static enum status parse_class(struct parser *p, int32_t *out)
{
    const int32_t first = p->t->range_count;
    const bool negated = take(p, '^');
    for (bool start = true; start || !take(p, ']'); start = false) {
        int32_t low;
        int32_t high;
        if (!more(p)) {
            return REGEX_ERROR(p, "[ without ]");
        }
        TRY(class_point(p, &low));
        if (low == NO_CHAR) {
            continue;
        }
        high = low;
        if (p->at + 1 < p->length && p->pattern[p->at] == '-' && p->pattern[p->at + 1] != ']') {
            p->at++;
            TRY(class_point(p, &high));
            if (high == NO_CHAR || high < low) {
                return REGEX_ERROR(p, "a range that ends before it begins");
            }
        }
        TRY(add_range(p, low, high));
    }
    if (negated) {
        TRY(negate(p, first));
    }
    return add_node(p, (struct regex_node){.kind = REGEX_SET, .a = first,
                                           .b = p->t->range_count - first}, out);
}

static enum status parse_choice(struct parser *p, int32_t *out);

static enum status parse_group(struct parser *p, int32_t *out)
{
    if (take(p, '?') && !take(p, ':')) {
        return REGEX_ERROR(p, "(? is followed by : alone; look-around, names and flags are not "
                              "supported");
    }
    if (++p->depth > MOST_DEPTH) {
        return REGEX_ERROR(p, "groups deeper than %d", MOST_DEPTH);
    }
    TRY(parse_choice(p, out));
    p->depth--;
    return take(p, ')') ? STATUS_OK : REGEX_ERROR(p, "( without )");
}

static enum status parse_single(struct parser *p, int32_t *out)
{
    const int32_t first = p->t->range_count;
    const char c = p->pattern[p->at];
    if (strchr("*+?{", c)) {
        return REGEX_ERROR(p, "'%c' has nothing to repeat; write \\%c", c, c);
    }
    if (c == '^' || c == '$') {
        return REGEX_ERROR(p, "'%c' stands at an end of the pattern alone; write \\%c", c, c);
    }
    if (take(p, '.')) {
        TRY(add_complement(p, &(struct regex_range){'\n', '\n'}, 1));
    } else {
        int32_t point;
        TRY(class_point(p, &point));
        if (point != NO_CHAR) {
            TRY(add_range(p, point, point));
        }
    }
    return add_node(p, (struct regex_node){.kind = REGEX_SET, .a = first,
                                           .b = p->t->range_count - first}, out);
}

/* A number of at most MOST_REPEAT; -1: none. */
static int32_t parse_number(struct parser *p)
{
    int32_t n = -1;
    while (more(p) && p->pattern[p->at] >= '0' && p->pattern[p->at] <= '9') {
        n = (n < 0 ? 0 : n) * 10 + (p->pattern[p->at++] - '0');
        n = n > MOST_REPEAT ? MOST_REPEAT + 1 : n;
    }
    return n;
}

/* Behind '{'. */
static enum status parse_counts(struct parser *p, int32_t *min, int32_t *max)
{
    *min = parse_number(p);
    *max = *min;
    if (take(p, ',')) {
        *max = parse_number(p);
    }
    if (!take(p, '}') || *min < 0 || (*max >= 0 && *max < *min)) {
        return REGEX_ERROR(p, "{ wants {m}, {m,} or {m,n}; write \\{ for the character");
    }
    if (*min > MOST_REPEAT || *max > MOST_REPEAT) {
        return REGEX_ERROR(p, "more than %d repetitions", MOST_REPEAT);
    }
    return STATUS_OK;
}

static enum status parse_repeat(struct parser *p, int32_t *out)
{
    if (take(p, '(')) {
        TRY(parse_group(p, out));
    } else if (take(p, '[')) {
        TRY(parse_class(p, out));
    } else {
        TRY(parse_single(p, out));
    }
    int32_t min = 0;
    int32_t max = -1;
    if (take(p, '+')) {
        min = 1;
    } else if (take(p, '?')) {
        max = 1;
    } else if (take(p, '{')) {
        TRY(parse_counts(p, &min, &max));
    } else if (!take(p, '*')) {
        return STATUS_OK;
    }
    (void)take(p, '?'); /* lazy: the same texts match */
    if (more(p) && strchr("*+?{", p->pattern[p->at])) { /* a second + would be possessive */
        return REGEX_ERROR(p, "'%c' after a repetition; put that in a group, or write \\%c",
                           p->pattern[p->at], p->pattern[p->at]);
    }
    return add_node(p, (struct regex_node){REGEX_REPEAT, *out, 0, min, max}, out);
}

static bool ends_choice(const struct parser *p)
{
    const bool end = p->at + 1 == p->length && p->pattern[p->at] == '$';
    return !more(p) || p->pattern[p->at] == '|' || end
           || (p->pattern[p->at] == ')' && p->depth > 0);
}

static enum status parse_sequence(struct parser *p, int32_t *out)
{
    TRY(add_node(p, (struct regex_node){.kind = REGEX_EMPTY}, out));
    while (!ends_choice(p)) {
        int32_t next;
        if (p->pattern[p->at] == ')') {
            return REGEX_ERROR(p, ") without (");
        }
        TRY(parse_repeat(p, &next));
        if (p->t->nodes[*out].kind == REGEX_EMPTY) {
            *out = next;
        } else {
            TRY(add_node(p, (struct regex_node){.kind = REGEX_CAT, .a = *out, .b = next}, out));
        }
    }
    return STATUS_OK;
}

static enum status parse_choice(struct parser *p, int32_t *out)
{
    TRY(parse_sequence(p, out));
    while (take(p, '|')) {
        int32_t next;
        TRY(parse_sequence(p, &next));
        TRY(add_node(p, (struct regex_node){.kind = REGEX_ALT, .a = *out, .b = next}, out));
    }
    return STATUS_OK;
}

enum status regex_parse(struct regex_tree *t, const char *pattern)
{
    struct parser p = {.t = t, .pattern = pattern, .length = strlen(pattern)};
    *t = (struct regex_tree){0};
    if (p.length > REGEX_PATTERN_BYTES) {
        return FAIL(RECIPE, "regular expression: %zu bytes, at most %d", p.length,
                    REGEX_PATTERN_BYTES);
    }
    t->nodes = malloc(REGEX_NODES * sizeof *t->nodes);
    t->ranges = malloc(REGEX_NODES * sizeof *t->ranges);
    if (!t->nodes || !t->ranges) {
        return FAIL(MEMORY, "regular expression: no memory");
    }
    (void)take(&p, '^');
    TRY(parse_choice(&p, &t->root));
    (void)take(&p, '$');
    return more(&p) ? REGEX_ERROR(&p, "unexpected '%c'", pattern[p.at]) : STATUS_OK;
}
