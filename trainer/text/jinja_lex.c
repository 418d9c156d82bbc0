/*
 * Template text to tokens. Whitespace control as the reference lexer with trim_blocks and
 * lstrip_blocks: a newline after a block or comment tag goes, blanks before one that starts a line
 * go, '-' strips all whitespace on its side, '+' strips nothing.
 */
#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

struct lexer {
    struct jinja_pool *pool;
    const char *text; /* newlines normalised */
    size_t size;
    size_t at;
    int line;
    bool line_starting; /* the last match ended with a newline */
    char open[JINJA_DEPTH];
    int open_count;
    struct jinja_token *tokens;
    size_t count;
    size_t capacity;
};

enum status jinja_source_fail(const char *file, int code_line, int line, const char *fmt, ...)
{
    char text[1024];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    return status_fail(STATUS_INPUT, file, code_line, "chat template, line %d: %s", line, text);
}

#define LEX_FAIL(x, ...) jinja_source_fail(__FILE__, __LINE__, (x)->line, __VA_ARGS__)

static enum status add(struct lexer *x, struct jinja_token token)
{
    if (x->count == x->capacity) {
        const size_t capacity = x->capacity ? x->capacity * 2 : 64;
        struct jinja_token *grown;
        TRY(jinja_alloc(x->pool, capacity * sizeof *grown, &grown));
        if (x->count > 0) {
            memcpy(grown, x->tokens, x->count * sizeof *grown);
        }
        x->tokens = grown;
        x->capacity = capacity;
    }
    token.line = x->line;
    x->tokens[x->count++] = token;
    return STATUS_OK;
}

/* Moves to `end`, counting lines. */
static void move(struct lexer *x, size_t end)
{
    for (; x->at < end; x->at++) {
        x->line += x->text[x->at] == '\n';
    }
    x->line_starting = end > 0 && x->text[end - 1] == '\n';
}

static bool starts(const struct lexer *x, size_t at, const char *word)
{
    const size_t n = strlen(word);
    return at <= x->size && n <= x->size - at && memcmp(x->text + at, word, n) == 0;
}

static size_t skip_space(const struct lexer *x, size_t at)
{
    while (at < x->size) {
        size_t n;
        if (!jinja_space(jinja_char(x->text + at, &n))) {
            break;
        }
        at += n;
    }
    return at;
}

/* End of [begin, end) without the whitespace at its end. */
static size_t strip_end(const struct lexer *x, size_t begin, size_t end)
{
    while (end > begin) {
        size_t start = end - 1;
        while (start > begin && ((unsigned char)x->text[start] & 0xC0) == 0x80) {
            start--;
        }
        size_t n;
        if (!jinja_space(jinja_char(x->text + start, &n))) {
            break;
        }
        end = start;
    }
    return end;
}

/* End of the text [begin, end) in front of a tag with this sign ('-', '+' or 0). */
static size_t data_end(const struct lexer *x, size_t begin, size_t end, char sign, bool variable)
{
    if (sign == '-') {
        return strip_end(x, begin, end);
    }
    if (sign == '+' || variable) {
        return end;
    }
    size_t line = end;
    while (line > begin && x->text[line - 1] != '\n') {
        line--;
    }
    if ((line > begin || x->line_starting) && strip_end(x, line, end) == line) {
        return line;
    }
    return end;
}

static enum status add_data(struct lexer *x, size_t begin, size_t end)
{
    if (end <= begin) {
        return STATUS_OK;
    }
    struct jinja_token t = {.type = TOKEN_DATA};
    TRY(jinja_string_in(x->pool, x->text + begin, end - begin, &t.value));
    return add(x, t);
}

static char sign_at(const struct lexer *x, size_t at)
{
    const char c = at < x->size ? x->text[at] : 0;
    return c == '-' || c == '+' ? c : 0;
}

/* Length of the tag end at `at` ("-%}" with blanks, "+%}", "%}" with a newline when `trim`);
 * 0 when there is none. */
static size_t tag_end(const struct lexer *x, size_t at, const char *end, bool plus, bool trim)
{
    if (at < x->size && x->text[at] == '-' && starts(x, at + 1, end)) {
        return skip_space(x, at + 3) - at;
    }
    if (plus && at < x->size && x->text[at] == '+' && starts(x, at + 1, end)) {
        return 3;
    }
    if (starts(x, at, end)) {
        return 2 + (size_t)(trim && at + 2 < x->size && x->text[at + 2] == '\n');
    }
    return 0;
}

static enum status lex_comment(struct lexer *x, size_t at)
{
    for (; at < x->size; at++) {
        const size_t n = tag_end(x, at, "#}", true, true);
        if (n > 0) {
            move(x, at + n);
            return STATUS_OK;
        }
    }
    return LEX_FAIL(x, "missing end of comment tag '#}'");
}

/* After "{% raw %}": text up to "{% endraw %}". */
static enum status lex_raw(struct lexer *x)
{
    const size_t begin = x->at;
    for (size_t at = begin; at < x->size; at++) {
        if (!starts(x, at, "{%")) {
            continue;
        }
        const char sign = sign_at(x, at + 2);
        size_t word = skip_space(x, at + 2 + (sign ? 1 : 0));
        if (!starts(x, word, "endraw")) {
            continue;
        }
        word = skip_space(x, word + 6);
        const size_t n = tag_end(x, word, "%}", true, true);
        if (n > 0) {
            TRY(add_data(x, begin, data_end(x, begin, at, sign, false)));
            move(x, word + n);
            return STATUS_OK;
        }
    }
    return LEX_FAIL(x, "missing end of raw block: '{%% endraw %%}'");
}

/* End of "{% raw %}" at `at`, 0 when something else begins there. */
static size_t raw_begin(const struct lexer *x, size_t at)
{
    if (!starts(x, at, "{%")) {
        return 0;
    }
    size_t word = skip_space(x, at + 2 + (sign_at(x, at + 2) ? 1 : 0));
    if (!starts(x, word, "raw")) {
        return 0;
    }
    word = skip_space(x, word + 3);
    const size_t n = tag_end(x, word, "%}", false, false);
    return n > 0 ? word + n : 0;
}

static bool name_start(uint32_t c)
{
    return c == '_' || jinja_alpha(c);
}

static bool digit_run(const struct lexer *x, size_t *at)
{
    size_t i = *at;
    bool any = false;
    while (i < x->size) {
        const bool under = any && x->text[i] == '_' && i + 1 < x->size
                           && x->text[i + 1] >= '0' && x->text[i + 1] <= '9';
        if (!under && (x->text[i] < '0' || x->text[i] > '9')) {
            break;
        }
        any = true;
        i++;
    }
    *at = i;
    return any;
}

/* Length of a float literal at the current place, 0 when there is none. */
static size_t float_length(const struct lexer *x)
{
    size_t at = x->at;
    if ((at > 0 && x->text[at - 1] == '.') || !digit_run(x, &at)) {
        return 0;
    }
    size_t end = 0;
    if (at < x->size && x->text[at] == '.') {
        size_t fraction = at + 1;
        if (digit_run(x, &fraction)) {
            at = end = fraction;
        }
    }
    if (at < x->size && (x->text[at] == 'e' || x->text[at] == 'E')) {
        size_t exponent = at + 1;
        exponent += exponent < x->size && (x->text[exponent] == '+' || x->text[exponent] == '-');
        if (digit_run(x, &exponent)) {
            end = exponent;
        }
    }
    return end ? end - x->at : 0;
}

/* Copies digits without '_' to out; false when they do not fit. */
static bool plain_digits(const char *text, size_t size, char *out, size_t cap)
{
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '_') {
            continue;
        }
        if (n + 1 >= cap) {
            return false;
        }
        out[n++] = text[i];
    }
    out[n] = '\0';
    return true;
}

static enum status lex_float(struct lexer *x, size_t length)
{
    char digits[128];
    if (!plain_digits(x->text + x->at, length, digits, sizeof digits)) {
        return LEX_FAIL(x, "a number of %zu digits", length);
    }
    TRY(add(x, (struct jinja_token){.type = TOKEN_FLOAT,
                                    .value = jinja_real(strtod(digits, NULL))}));
    move(x, x->at + length);
    return STATUS_OK;
}

static bool digit_of_base(char c, int base)
{
    const int value = c >= '0' && c <= '9'   ? c - '0'
                      : c >= 'a' && c <= 'f' ? c - 'a' + 10
                      : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                             : 99;
    return value < base;
}

/* Base that the prefix at `text` names when a digit of it follows, else 10. */
static int literal_base(const char *text, size_t left)
{
    const char kind = left > 2 && text[0] == '0' ? (char)(text[1] | 0x20) : 0;
    const int base = kind == 'x' ? 16 : kind == 'o' ? 8 : kind == 'b' ? 2 : 10;
    const size_t first = 2 + (size_t)(left > 2 && text[2] == '_');
    return base != 10 && first < left && digit_of_base(text[first], base) ? base : 10;
}

static enum status lex_integer(struct lexer *x)
{
    const char *text = x->text + x->at;
    const size_t left = x->size - x->at;
    const int base = literal_base(text, left);
    const bool zero = base == 10 && text[0] == '0'; /* only more zeros may follow */
    const size_t begin = base == 10 ? 0 : 2;
    size_t end = begin;
    while (end < left) {
        const bool under = end > 0 && text[end] == '_' && end + 1 < left
                           && digit_of_base(text[end + 1], base);
        if (!under && !(zero ? text[end] == '0' : digit_of_base(text[end], base))) {
            break;
        }
        end++;
    }
    char digits[80];
    errno = 0;
    const bool fits = plain_digits(text + begin, end - begin, digits, sizeof digits);
    const long long value = fits ? strtoll(digits, NULL, base) : 0;
    if (!fits || errno == ERANGE) {
        return LEX_FAIL(x, "the integer %.*s does not fit 64 bits", (int)(end < 60 ? end : 60),
                        text);
    }
    TRY(add(x, (struct jinja_token){.type = TOKEN_INTEGER, .value = jinja_int(value)}));
    move(x, x->at + end);
    return STATUS_OK;
}

static enum status lex_name(struct lexer *x)
{
    size_t end = x->at;
    while (end < x->size) {
        size_t n;
        const uint32_t c = jinja_char(x->text + end, &n);
        if (!jinja_word(c)) {
            break;
        }
        end += n;
    }
    struct jinja_token t = {.type = TOKEN_NAME};
    TRY(jinja_string_in(x->pool, x->text + x->at, end - x->at, &t.value));
    TRY(add(x, t));
    move(x, end);
    return STATUS_OK;
}

static enum status lex_string(struct lexer *x)
{
    const char quote = x->text[x->at];
    size_t end = x->at + 1;
    while (end < x->size && x->text[end] != quote) {
        end += x->text[end] == '\\' ? 2 : 1;
    }
    if (end >= x->size) {
        return LEX_FAIL(x, "a string without its closing %c", quote);
    }
    struct jinja_token t = {.type = TOKEN_STRING};
    TRY(jinja_unescape(x->pool, x->text + x->at + 1, end - x->at - 1, x->line, &t.value));
    TRY(add(x, t));
    move(x, end + 1);
    return STATUS_OK;
}

/* Tracks brackets, so that "}}" inside a dict is no tag end. */
static enum status balance(struct lexer *x, char c)
{
    static const char PAIRS[] = "(){}[]";
    const char *found = strchr(PAIRS, c);
    if (!found || !c) {
        return STATUS_OK;
    }
    if ((found - PAIRS) % 2 == 0) {
        if (x->open_count == JINJA_DEPTH) {
            return LEX_FAIL(x, "brackets nested more than %d deep", JINJA_DEPTH);
        }
        x->open[x->open_count++] = found[1];
        return STATUS_OK;
    }
    if (x->open_count == 0) {
        return LEX_FAIL(x, "unexpected '%c'", c);
    }
    const char expected = x->open[--x->open_count];
    return expected == c ? STATUS_OK : LEX_FAIL(x, "unexpected '%c', expected '%c'", c, expected);
}

static enum status lex_operator(struct lexer *x)
{
    static const char *const OPERATORS[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/",
                                            "*",  "%",  "~",  "[",  "]",  "(",  ")", "{", "}",
                                            ">",  "<",  "=",  ".",  ":",  "|",  ",", ";"};
    for (size_t i = 0; i < sizeof OPERATORS / sizeof OPERATORS[0]; i++) {
        if (starts(x, x->at, OPERATORS[i])) {
            struct jinja_token t = {.type = TOKEN_OPERATOR};
            const size_t n = strlen(OPERATORS[i]);
            memcpy(t.op, OPERATORS[i], n);
            TRY(balance(x, n == 1 ? t.op[0] : 0));
            TRY(add(x, t));
            move(x, x->at + n);
            return STATUS_OK;
        }
    }
    size_t n;
    (void)jinja_char(x->text + x->at, &n);
    return LEX_FAIL(x, "unexpected character '%.*s'", (int)n, x->text + x->at);
}

/* One token inside a tag. */
static enum status lex_inside(struct lexer *x)
{
    size_t n;
    const uint32_t c = jinja_char(x->text + x->at, &n);
    if (jinja_space(c)) {
        move(x, skip_space(x, x->at));
        return STATUS_OK;
    }
    const size_t real = float_length(x);
    if (real > 0) {
        return lex_float(x, real);
    }
    if (c >= '0' && c <= '9') {
        return lex_integer(x);
    }
    if (name_start(c)) {
        return lex_name(x);
    }
    return c == '\'' || c == '"' ? lex_string(x) : lex_operator(x);
}

/* From behind "{{" or "{%" to its end. */
static enum status lex_tag(struct lexer *x, bool variable)
{
    const char *end = variable ? "}}" : "%}";
    x->open_count = 0;
    while (x->at < x->size) {
        const size_t n = x->open_count ? 0 : tag_end(x, x->at, end, !variable, !variable);
        if (n > 0) {
            TRY(add(x, (struct jinja_token){.type = variable ? TOKEN_VARIABLE_END
                                                             : TOKEN_BLOCK_END}));
            move(x, x->at + n);
            return STATUS_OK;
        }
        TRY(lex_inside(x));
    }
    return STATUS_OK; /* the parser tells what was expected */
}

/* Text up to the next tag, and the tag. */
static enum status lex_root(struct lexer *x)
{
    size_t at = x->at;
    while (at < x->size
           && !(x->text[at] == '{' && at + 1 < x->size && strchr("{%#", x->text[at + 1]))) {
        at++;
    }
    if (at == x->size) {
        TRY(add_data(x, x->at, at));
        move(x, at);
        return STATUS_OK;
    }
    const char kind = x->text[at + 1];
    const char sign = sign_at(x, at + 2);
    TRY(add_data(x, x->at, data_end(x, x->at, at, sign, kind == '{')));
    const size_t raw = raw_begin(x, at);
    const size_t inside = raw ? raw : at + 2 + (sign ? 1 : 0);
    move(x, inside);
    if (raw) {
        return lex_raw(x);
    }
    if (kind == '#') {
        return lex_comment(x, inside);
    }
    TRY(add(x, (struct jinja_token){.type = kind == '{' ? TOKEN_VARIABLE_BEGIN
                                                        : TOKEN_BLOCK_BEGIN}));
    return lex_tag(x, kind == '{');
}

/* "\r\n" and "\r" become "\n"; one newline at the very end goes. */
static enum status normalise(struct lexer *x, const char *source, size_t size)
{
    char *copy;
    TRY(jinja_alloc(x->pool, size + 1, &copy));
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        if (source[i] == '\r') {
            copy[n++] = '\n';
            i += i + 1 < size && source[i + 1] == '\n';
        } else {
            copy[n++] = source[i];
        }
    }
    n -= n > 0 && copy[n - 1] == '\n';
    copy[n] = '\0';
    x->text = copy;
    x->size = n;
    return STATUS_OK;
}

enum status jinja_lex(struct jinja_pool *p, const char *source, size_t size,
                      const struct jinja_token **tokens)
{
    struct lexer x = {.pool = p, .line = 1, .line_starting = true};
    TRY(normalise(&x, source, size));
    while (x.at < x.size) {
        TRY(lex_root(&x));
    }
    TRY(add(&x, (struct jinja_token){.type = TOKEN_END}));
    *tokens = x.tokens;
    return STATUS_OK;
}
