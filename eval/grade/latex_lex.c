/* Tokens of LaTeX answers; see latex_lex.h. */
#include "eval/grade/latex_lex.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static size_t digits_at(const char *s)
{
    size_t n = 0;
    while (is_digit(s[n])) {
        n++;
    }
    return n;
}

/* Length of a sign: +, - and their relatives. */
static size_t sign_at(const char *s)
{
    const struct latex_word *w = latex_word_at(s);
    return w && (w->type == TOK_ADD || w->type == TOK_SUB) ? strlen(w->text) : 0;
}

/* digits, digits.digits or .digits, with E notation or a percent sign behind. */
static size_t number_at(const char *s, uint8_t *type)
{
    size_t n = digits_at(s);
    if (s[n] == '.' && is_digit(s[n + 1])) {
        n += 1 + digits_at(s + n + 1);
    }
    *type = TOK_NUMBER;
    if (n > 0 && s[n] == 'E') {
        const size_t sign = sign_at(s + n + 1);
        const size_t exponent = digits_at(s + n + 1 + sign);
        if (exponent > 0) {
            *type = TOK_E_NUMBER;
            return n + 1 + sign + exponent;
        }
    }
    const size_t gap = n > 0 && is_space(s[n]) ? 1 : 0;
    const size_t sign = s[n + gap] == '%' ? 1 : strncmp(s + n + gap, "\\%", 2) == 0 ? 2 : 0;
    if (n > 0 && sign > 0) {
        *type = TOK_PERCENT_NUMBER;
        return n + gap + sign;
    }
    return n;
}

/* d and the variable behind it: "dx", "d \theta". 0 when there is none. */
static size_t differential_at(const char *s)
{
    size_t n = 1;
    while (is_space(s[n])) {
        n++;
    }
    if (is_letter(s[n])) {
        return n + 1;
    }
    if (s[n] != '\\' || !is_letter(s[n + 1])) {
        return 0;
    }
    n++;
    while (is_letter(s[n])) {
        n++;
    }
    return n;
}

/* Length of an accent with its braces, 0 when none follow: the first closing brace ends it. */
static size_t accent_at(const char *s, size_t command)
{
    size_t n = command;
    n += is_space(s[n]);
    if (s[n] != '{') {
        return 0;
    }
    const char *end = strchr(s + n, '}');
    return end ? (size_t)(end - s) + 1 : 0;
}

/* \begin{array}{ccr}; 0 when it is none. */
static size_t array_at(const char *s)
{
    static const char OPEN[] = "\\begin{array}{";
    size_t n = sizeof OPEN - 1;
    if (strncmp(s, OPEN, n) != 0) {
        return 0;
    }
    while (s[n] == 'c' || s[n] == 'l' || s[n] == 'r') {
        n++;
    }
    return s[n] == '}' ? n + 1 : 0;
}

/* The token of a literal; its length may grow. TOK_END when the literal alone is no token. */
static struct latex_token word_token(const char *s, const struct latex_word *w)
{
    struct latex_token t = {
        .type = w->type, .detail = w->detail, .length = (uint32_t)strlen(w->text)};
    if (w->type == TOK_ACCENT) {
        t.length = (uint32_t)accent_at(s, t.length);
        /* A bare \mathit is a token that nothing takes; any other accent is none: both end here. */
        t.type = t.length > 0 ? TOK_ACCENT : TOK_END;
    } else if (w->type == TOK_GAMMA && s[t.length] == ' ') {
        t.type = TOK_GREEK; /* with its space it is the longer Greek letter */
    }
    return t;
}

/* The token at `s`, which is no white space; TOK_END when there is none. */
static struct latex_token token_at(const char *s)
{
    struct latex_token t = {.type = TOK_END};
    if (is_digit(*s) || (*s == '.' && is_digit(s[1]))) {
        t.length = (uint32_t)number_at(s, &t.type);
        return t;
    }
    const size_t array = array_at(s);
    if (array > 0) {
        return (struct latex_token){.type = TOK_ARRAY, .length = (uint32_t)array};
    }
    const struct latex_word *w = latex_word_at(s);
    if (w) {
        t = word_token(s, w);
    }
    const size_t differential = *s == 'd' ? differential_at(s) : 0;
    if (differential > t.length) {
        return (struct latex_token){.type = TOK_DIFFERENTIAL, .length = (uint32_t)differential};
    }
    if (t.length == 0 && is_letter(*s)) {
        t = (struct latex_token){.type = TOK_LETTER, .length = 1};
    }
    return t;
}

const char *latex_lex(struct expr_pool *p, const char *text, struct latex_token **tokens,
                      int *count)
{
    const size_t bytes = strnlen(text, LATEX_MAX_BYTES + 1);
    if (bytes > LATEX_MAX_BYTES) {
        return "the LaTeX is too long";
    }
    const size_t most = bytes < LATEX_MAX_TOKENS ? bytes + 1 : LATEX_MAX_TOKENS;
    *tokens = expr_alloc(p, most * sizeof **tokens);
    *count = 0;
    if (!*tokens) {
        return "out of memory";
    }
    for (size_t at = 0; at < bytes;) {
        if (is_space(text[at])) {
            at++;
            continue;
        }
        struct latex_token t = token_at(text + at);
        if (t.type == TOK_END) {
            return "a sign that is no LaTeX mathematics";
        }
        t.start = (uint32_t)at;
        at += t.length;
        if (t.type == TOK_SKIP) {
            continue;
        }
        if ((size_t)*count + 1 >= most) {
            return "the LaTeX has too many parts";
        }
        (*tokens)[(*count)++] = t;
    }
    (*tokens)[(*count)++] = (struct latex_token){.type = TOK_END, .start = (uint32_t)bytes};
    return NULL;
}
