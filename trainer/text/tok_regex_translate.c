/*
 * Oniguruma patterns (what tokenizer.json holds) to PCRE2's syntax.
 *
 * Both share most of it. Differences handled here: \s, \w, \h, \v, \u and (?m); nested character
 * sets; {,n}; an interval followed by +; the Unicode version (the tokenizers library's Oniguruma
 * knows 16, Debian's PCRE2 14: NEW_CHARACTERS adds the rest, found by comparing every code point).
 * What has no counterpart (set intersection, absence operators) is an error, not a guess.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

enum { MAX_PATTERN = 1 << 14, MAX_GROUPS = 100 };

/* General categories (M, P, S whole; N without Nd) of characters newer than Unicode 14. */
static const struct new_range {
    char category[3];
    int32_t first;
    int32_t last;
} NEW_CHARACTERS[] = {
    {"Lu", 0x1c89, 0x1c89}, {"Lu", 0xa7cb, 0xa7cc}, {"Lu", 0xa7da, 0xa7da},
    {"Lu", 0xa7dc, 0xa7dc}, {"Lu", 0x10d50, 0x10d65}, {"Ll", 0x1c8a, 0x1c8a},
    {"Ll", 0xa7cd, 0xa7cd}, {"Ll", 0xa7db, 0xa7db}, {"Ll", 0x10d70, 0x10d85},
    {"Ll", 0x1df25, 0x1df2a}, {"Lm", 0x10d4e, 0x10d4e}, {"Lm", 0x10d6f, 0x10d6f},
    {"Lm", 0x16d40, 0x16d42}, {"Lm", 0x16d6b, 0x16d6c}, {"Lm", 0x1e030, 0x1e06d},
    {"Lm", 0x1e4eb, 0x1e4eb}, {"Lo", 0x105c0, 0x105f3}, {"Lo", 0x10d4a, 0x10d4d},
    {"Lo", 0x10d4f, 0x10d4f}, {"Lo", 0x10ec2, 0x10ec4}, {"Lo", 0x1123f, 0x11240},
    {"Lo", 0x11380, 0x11389}, {"Lo", 0x1138b, 0x1138b}, {"Lo", 0x1138e, 0x1138e},
    {"Lo", 0x11390, 0x113b5}, {"Lo", 0x113b7, 0x113b7}, {"Lo", 0x113d1, 0x113d1},
    {"Lo", 0x113d3, 0x113d3}, {"Lo", 0x11bc0, 0x11be0}, {"Lo", 0x11f02, 0x11f02},
    {"Lo", 0x11f04, 0x11f10}, {"Lo", 0x11f12, 0x11f33}, {"Lo", 0x1342f, 0x1342f},
    {"Lo", 0x13441, 0x13446}, {"Lo", 0x13460, 0x143fa}, {"Lo", 0x16100, 0x1611d},
    {"Lo", 0x16d43, 0x16d6a}, {"Lo", 0x18cff, 0x18cff}, {"Lo", 0x1b132, 0x1b132},
    {"Lo", 0x1b155, 0x1b155}, {"Lo", 0x1e4d0, 0x1e4ea}, {"Lo", 0x1e5d0, 0x1e5ed},
    {"Lo", 0x1e5f0, 0x1e5f0}, {"Lo", 0x2b739, 0x2b739}, {"Lo", 0x2ebf0, 0x2ee5d},
    {"Lo", 0x31350, 0x323af}, {"M", 0x0897, 0x0897}, {"M", 0x0cf3, 0x0cf3},
    {"M", 0x0ece, 0x0ece}, {"M", 0x10d69, 0x10d6d}, {"M", 0x10efc, 0x10eff},
    {"M", 0x11241, 0x11241}, {"M", 0x113b8, 0x113c0}, {"M", 0x113c2, 0x113c2},
    {"M", 0x113c5, 0x113c5}, {"M", 0x113c7, 0x113ca}, {"M", 0x113cc, 0x113d0},
    {"M", 0x113d2, 0x113d2}, {"M", 0x113e1, 0x113e2}, {"M", 0x11f00, 0x11f01},
    {"M", 0x11f03, 0x11f03}, {"M", 0x11f34, 0x11f3a}, {"M", 0x11f3e, 0x11f42},
    {"M", 0x11f5a, 0x11f5a}, {"M", 0x13440, 0x13440}, {"M", 0x13447, 0x13455},
    {"M", 0x1611e, 0x1612f}, {"M", 0x1e08f, 0x1e08f}, {"M", 0x1e4ec, 0x1e4ef},
    {"M", 0x1e5ee, 0x1e5ef}, {"Nd", 0x10d40, 0x10d49}, {"Nd", 0x116d0, 0x116e3},
    {"Nd", 0x11bf0, 0x11bf9}, {"Nd", 0x11f50, 0x11f59}, {"Nd", 0x16130, 0x16139},
    {"Nd", 0x16d70, 0x16d79}, {"Nd", 0x1ccf0, 0x1ccf9}, {"Nd", 0x1e4f0, 0x1e4f9},
    {"Nd", 0x1e5f1, 0x1e5fa}, {"N", 0x1d2c0, 0x1d2d3}, {"P", 0x1b4e, 0x1b4f},
    {"P", 0x1b7f, 0x1b7f}, {"P", 0x10d6e, 0x10d6e}, {"P", 0x113d4, 0x113d5},
    {"P", 0x113d7, 0x113d8}, {"P", 0x11b00, 0x11b09}, {"P", 0x11be1, 0x11be1},
    {"P", 0x11f43, 0x11f4f}, {"P", 0x16d6d, 0x16d6f}, {"P", 0x1e5ff, 0x1e5ff},
    {"S", 0x2427, 0x2429}, {"S", 0x2ffc, 0x2fff}, {"S", 0x31e4, 0x31e5}, {"S", 0x31ef, 0x31ef},
    {"S", 0x10d8e, 0x10d8f}, {"S", 0x1cc00, 0x1ccef}, {"S", 0x1cd00, 0x1ceb3},
    {"S", 0x1f6dc, 0x1f6dc}, {"S", 0x1f774, 0x1f776}, {"S", 0x1f77b, 0x1f77f},
    {"S", 0x1f7d9, 0x1f7d9}, {"S", 0x1f8b2, 0x1f8bb}, {"S", 0x1f8c0, 0x1f8c1},
    {"S", 0x1fa75, 0x1fa77}, {"S", 0x1fa87, 0x1fa89}, {"S", 0x1fa8f, 0x1fa8f},
    {"S", 0x1faad, 0x1faaf}, {"S", 0x1fabb, 0x1fabf}, {"S", 0x1fac6, 0x1fac6},
    {"S", 0x1face, 0x1facf}, {"S", 0x1fada, 0x1fadc}, {"S", 0x1fadf, 0x1fadf},
    {"S", 0x1fae8, 0x1fae9}, {"S", 0x1faf7, 0x1faf8}, {"S", 0x1fbcb, 0x1fbef},
};

static const char SPACES[] = "\\x09-\\x0d\\x20\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}"
                             "\\x{2029}\\x{202f}\\x{205f}\\x{3000}";
static const char NO_SPACES[] =
    "\\x00-\\x08\\x0e-\\x1f\\x21-\\x{84}\\x{86}-\\x{9f}\\x{a1}-\\x{167f}\\x{1681}-\\x{1fff}"
    "\\x{200b}-\\x{2027}\\x{202a}-\\x{202e}\\x{2030}-\\x{205e}\\x{2060}-\\x{2fff}"
    "\\x{3001}-\\x{10ffff}";
static const char HEX[] = "0-9A-Fa-f";

struct translation {
    const char *pattern;
    size_t n;
    size_t i; /* next byte of the pattern */
    struct tok_text *out;
    size_t atom; /* where in `out` the last item starts: what a quantifier repeats */
    size_t groups[MAX_GROUPS];
    size_t inside[MAX_GROUPS]; /* where in `out` the group's content starts */
    int depth;
};

static enum status put(struct translation *t, const char *bytes, size_t n)
{
    return tok_text_append(t->out, bytes, n, 0, 0);
}

static enum status put_string(struct translation *t, const char *string)
{
    return put(t, string, strlen(string));
}

static int peek(const struct translation *t, size_t ahead)
{
    return t->i + ahead < t->n ? (uint8_t)t->pattern[t->i + ahead] : -1;
}

static enum status fail(const struct translation *t, const char *what)
{
    return FAIL(INPUT, "pattern, byte %zu: %s", t->i, what);
}

/* Does \p{name} contain the category of a new character? */
static bool category_is_in(const char *category, const char *name, size_t n)
{
    if (n == 2 && name[1] == '&') { /* L& */
        return category[0] == 'L' && (category[1] == 'u' || category[1] == 'l');
    }
    if (n == 1) {
        return name[0] == category[0];
    }
    return n == 2 && category[1] != '\0' && memcmp(name, category, 2) == 0;
}

/* \p{name} and the new characters in it, as items of a set. */
static enum status put_property(struct translation *t, const char *name, size_t n)
{
    TRY(put_string(t, "\\p{"));
    TRY(put(t, name, n));
    TRY(put_string(t, "}"));
    for (size_t i = 0; i < sizeof(NEW_CHARACTERS) / sizeof(NEW_CHARACTERS[0]); i++) {
        const struct new_range *r = &NEW_CHARACTERS[i];
        if (category_is_in(r->category, name, n)) {
            char item[40];
            const int size = snprintf(item, sizeof(item), "\\x{%x}-\\x{%x}", (unsigned)r->first,
                                      (unsigned)r->last);
            TRY(put(t, item, (size_t)size));
        }
    }
    return STATUS_OK;
}

static enum status put_word(struct translation *t)
{
    TRY(put_string(t, "\\p{Alphabetic}\\p{Pc}\\x{b2}\\x{b3}\\x{b9}\\x{bc}-\\x{be}"));
    TRY(put_property(t, "L", 1));
    TRY(put_property(t, "M", 1));
    return put_property(t, "Nd", 2);
}

/* The property at \p: name and length, *negated for \P or ^; moves behind it. */
static enum status take_property(struct translation *t, const char **name, size_t *n,
                                 bool *negated)
{
    *negated = t->pattern[t->i + 1] == 'P';
    if (peek(t, 2) != '{') {
        return fail(t, "\\p without {name}");
    }
    const char *start = t->pattern + t->i + 3;
    const char *end = memchr(start, '}', t->n - t->i - 3);
    if (end == NULL) {
        return fail(t, "\\p{ without }");
    }
    t->i = (size_t)(end + 1 - t->pattern);
    if (*start == '^') {
        *negated = !*negated;
        start++;
    }
    *name = start;
    *n = (size_t)(end - start);
    return STATUS_OK;
}

/* \uHHHH */
static enum status put_code_point(struct translation *t)
{
    TRY(put_string(t, "\\x{"));
    for (size_t k = 2; k < 6; k++) {
        const int c = peek(t, k);
        if (c < 0 || strchr("0123456789abcdefABCDEF", c) == NULL || c == 0) {
            return fail(t, "\\u needs four hexadecimal digits");
        }
        TRY(put(t, &t->pattern[t->i + k], 1));
    }
    t->i += 6;
    return put_string(t, "}");
}

/* A backslash and one character as they stand. */
static enum status put_escape(struct translation *t)
{
    bool valid;
    const size_t size = tok_utf8_step(t->pattern + t->i + 1, t->n - t->i - 1, &valid);
    TRY(put(t, t->pattern + t->i, 1 + size));
    t->i += 1 + size;
    return STATUS_OK;
}

/* An escape inside a set. */
static enum status set_escape(struct translation *t)
{
    const int c = peek(t, 1);
    const char *name;
    size_t n;
    bool negated;
    switch (c) {
    case 'p':
    case 'P':
        TRY(take_property(t, &name, &n, &negated));
        if (negated) {
            TRY(put_string(t, "\\P{"));
            TRY(put(t, name, n));
            return put_string(t, "}");
        }
        return put_property(t, name, n);
    case 's':
    case 'S':
        t->i += 2;
        return put_string(t, c == 's' ? SPACES : NO_SPACES);
    case 'w':
        t->i += 2;
        return put_word(t);
    case 'd':
        t->i += 2;
        return put_property(t, "Nd", 2);
    case 'h':
        t->i += 2;
        return put_string(t, HEX);
    case 'v':
        t->i += 2;
        return put_string(t, "\\x0b");
    case 'u':
        return put_code_point(t);
    case 'W':
    case 'D':
    case 'H':
    case -1:
        return fail(t, "this escape is not supported inside a set");
    default:
        return put_escape(t);
    }
}

/* [:name:] inside a set. */
static enum status set_posix(struct translation *t)
{
    static const struct {
        const char *name;
        const char *items;
    } CLASSES[] = {{"[:alpha:]", "\\p{Alphabetic}"}, {"[:digit:]", "\\p{Nd}"},
                   {"[:alnum:]", "\\p{Alphabetic}\\p{Nd}"}, {"[:space:]", SPACES},
                   {"[:upper:]", "\\p{Uppercase}"}, {"[:lower:]", "\\p{Lowercase}"},
                   {"[:xdigit:]", HEX}};
    for (size_t i = 0; i < sizeof(CLASSES) / sizeof(CLASSES[0]); i++) {
        const size_t n = strlen(CLASSES[i].name);
        if (t->n - t->i >= n && memcmp(t->pattern + t->i, CLASSES[i].name, n) == 0) {
            t->i += n;
            return put_string(t, CLASSES[i].items);
        }
    }
    return fail(t, "this [:class:] is not supported");
}

/* The items of a set up to and with its ]; a nested set's items join the outer one's. */
static enum status set_items(struct translation *t, int depth)
{
    if (depth > TOK_MAX_DEPTH) {
        return fail(t, "sets nested too deep");
    }
    bool any = false;
    for (;; any = true) {
        const int c = peek(t, 0);
        if (c < 0) {
            return fail(t, "set without ]");
        }
        if (c == ']' && any) {
            t->i++;
            return STATUS_OK;
        }
        if (c == ']') {
            t->i++;
            TRY(put_string(t, "\\]"));
        } else if (c == '[' && peek(t, 1) == ':') {
            TRY(set_posix(t));
        } else if (c == '[' && peek(t, 1) == '^') {
            return fail(t, "a negated set inside a set is not supported");
        } else if (c == '[') {
            t->i++;
            TRY(set_items(t, depth + 1));
        } else if (c == '&' && peek(t, 1) == '&') {
            return fail(t, "set intersection is not supported");
        } else if (c == '\\') {
            TRY(set_escape(t));
        } else {
            TRY(put(t, t->pattern + t->i++, 1));
        }
    }
}

static enum status set(struct translation *t)
{
    t->atom = t->out->length;
    t->i++;
    const bool negated = peek(t, 0) == '^';
    t->i += negated;
    TRY(put_string(t, negated ? "[^" : "["));
    TRY(set_items(t, 0));
    return put_string(t, "]");
}

/* A character class outside a set, as a set of its own. */
static enum status class_escape(struct translation *t, int c)
{
    const bool negated = c == 'S' || c == 'W' || c == 'D' || c == 'H';
    t->i += 2;
    TRY(put_string(t, negated ? "[^" : "["));
    if (c == 's' || c == 'S') {
        TRY(put_string(t, SPACES));
    } else if (c == 'w' || c == 'W') {
        TRY(put_word(t));
    } else if (c == 'd' || c == 'D') {
        TRY(put_property(t, "Nd", 2));
    } else {
        TRY(put_string(t, HEX));
    }
    return put_string(t, "]");
}

static enum status escape(struct translation *t)
{
    const int c = peek(t, 1);
    t->atom = t->out->length;
    if (c < 0) {
        return fail(t, "\\ at the end");
    }
    if (c == 'p' || c == 'P') {
        const char *name;
        size_t n;
        bool negated;
        TRY(take_property(t, &name, &n, &negated));
        TRY(put_string(t, negated ? "[^" : "["));
        TRY(put_property(t, name, n));
        return put_string(t, "]");
    }
    if (c != 0 && strchr("sSwWdDhH", c) != NULL) {
        return class_escape(t, c);
    }
    if (c == 'u') {
        return put_code_point(t);
    }
    if (c == 'v') {
        t->i += 2;
        return put_string(t, "\\x0b");
    }
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (letter && strchr("abefgknrtxABGKRXZz", c) == NULL) {
        return fail(t, "unknown escape");
    }
    return put_escape(t);
}

/* (?imx-imx) and (?imx-imx: : Oniguruma's m is PCRE2's s. */
static enum status group_options(struct translation *t)
{
    size_t end = t->i;
    while (end < t->n && strchr("imx-", t->pattern[end]) != NULL && t->pattern[end] != '\0') {
        end++;
    }
    const int stop = end < t->n ? t->pattern[end] : -1;
    if (end == t->i || (stop != ':' && stop != ')')) {
        return STATUS_OK; /* (?= (?! (?< (?> (?: ... go through as they are */
    }
    const size_t outer = t->depth > 1 ? t->inside[t->depth - 2] : 0;
    if (stop == ')' && t->groups[t->depth - 1] != outer) {
        return fail(t, "options in the middle of a group reach over its alternatives; "
                       "write (?i:...)");
    }
    for (; t->i < end; t->i++) {
        TRY(put(t, t->pattern[t->i] == 'm' ? "s" : &t->pattern[t->i], 1));
    }
    return STATUS_OK;
}

static enum status open_group(struct translation *t)
{
    if (peek(t, 1) == '*' || t->depth == MAX_GROUPS) {
        return fail(t, "(*...) and over 100 nested groups are not supported");
    }
    t->groups[t->depth++] = t->out->length;
    t->i++;
    TRY(put_string(t, "("));
    if (peek(t, 0) == '?') {
        t->i++;
        TRY(put_string(t, "?"));
        TRY(group_options(t));
    }
    t->inside[t->depth - 1] = t->out->length + (peek(t, 0) == ':');
    return STATUS_OK;
}

static enum status close_group(struct translation *t)
{
    if (t->depth == 0) {
        return fail(t, ") without (");
    }
    t->atom = t->groups[--t->depth];
    t->i++;
    return put_string(t, ")");
}

/* "(?:" before the last item and ")" behind it. */
static enum status wrap_atom(struct translation *t)
{
    TRY(put_string(t, "(?:)"));
    char *atom = t->out->data + t->atom;
    const size_t n = t->out->length - 4 - t->atom;
    memmove(atom + 3, atom, n);
    memcpy(atom, "(?:", 3);
    atom[3 + n] = ')';
    return STATUS_OK;
}

/* {n}, {n,}, {n,m}, {,m}; any other { is a character. */
static enum status interval(struct translation *t)
{
    size_t end = t->i + 1;
    int commas = 0;
    while (end < t->n && ((t->pattern[end] >= '0' && t->pattern[end] <= '9') ||
                          (t->pattern[end] == ',' && commas == 0))) {
        commas += t->pattern[end++] == ',';
    }
    if (end >= t->n || t->pattern[end] != '}' || end - t->i - 1 == (size_t)commas) {
        t->atom = t->out->length;
        t->i++;
        return put_string(t, "\\{");
    }
    TRY(put_string(t, t->pattern[t->i + 1] == ',' ? "{0" : "{"));
    TRY(put(t, t->pattern + t->i + 1, end - t->i));
    t->i = end + 1;
    return peek(t, 0) == '+' ? wrap_atom(t) : STATUS_OK;
}

enum status tok_regex_translate(struct tok_text *out, const char *pattern, size_t n)
{
    struct translation t = {.pattern = pattern, .n = n, .out = out};
    if (n > MAX_PATTERN) {
        return FAIL(INPUT, "pattern: %zu bytes; at most %d", n, MAX_PATTERN);
    }
    while (t.i < n) {
        const char c = pattern[t.i];
        if (c == '\\') {
            TRY(escape(&t));
        } else if (c == '[') {
            TRY(set(&t));
        } else if (c == '(') {
            TRY(open_group(&t));
        } else if (c == ')') {
            TRY(close_group(&t));
        } else if (c == '{') {
            TRY(interval(&t));
        } else if (strchr("*+?|", c) != NULL && c != '\0') {
            t.i++;
            TRY(put(&t, &c, 1));
        } else {
            bool valid;
            const size_t size = tok_utf8_step(pattern + t.i, n - t.i, &valid);
            t.atom = out->length;
            TRY(put(&t, pattern + t.i, size));
            t.i += size;
        }
    }
    return t.depth == 0 ? STATUS_OK : FAIL(INPUT, "pattern: ( without )");
}
