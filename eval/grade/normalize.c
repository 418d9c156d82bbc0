/* Normal form of LaTeX answers; see extract.h. The order of the steps is the reference's. */
#include <ctype.h>
#include <string.h>

#include "eval/grade/extract.h"

enum { MAX_REPEATS = 512, MAX_BYTES = 16384 };

static struct slice spaces(struct expr_pool *pool, struct slice text)
{
    if (!memchr(text.s, '\n', text.n) && !memchr(text.s, '\t', text.n)) {
        return text;
    }
    char *copy = expr_copy_text(pool, text.s, text.n);
    for (size_t i = 0; copy && i < text.n; i++) {
        if (copy[i] == '\n' || copy[i] == '\t') {
            copy[i] = ' ';
        }
    }
    return (struct slice){copy ? copy : "", copy ? text.n : 0};
}

static struct slice basic(struct reader *r, struct slice t)
{
    struct expr_pool *p = r->pool;
    if (slice_has(t, "\\mathrm{") || slice_has(t, "{\\rm d}")) {
        t = slice_replace(p, t, "\\mathrm{T}", "T");
        t = slice_replace(p, t, "\\mathrm{d}", "d");
        t = slice_replace(p, t, "{\\rm d}", "d");
    }
    if (slice_has(t, "matrix")) {
        t = slice_replace(p, t, "\\left[\\begin{matrix}", "\\begin{bmatrix}");
        t = slice_replace(p, t, "\\end{matrix}\\right]", "\\end{bmatrix}");
    }
    if (slice_has(t, "left") || slice_has(t, "right")) {
        t = pattern_replace(r->patterns, p, PATTERN_LEFT, t, "\\1");
        t = pattern_replace(r->patterns, p, PATTERN_RIGHT, t, "\\1");
    }
    if (slice_has(t, ")_{")) {
        t = pattern_replace(r->patterns, p, PATTERN_PERMUTATION, t,
                            "\\frac{(\\1)!}{((\\1)-(\\2))!}");
    }
    t = pattern_replace(r->patterns, p, PATTERN_REMOVE, t, "");
    t = pattern_replace_words(r->patterns, p, t);
    t = spaces(p, t);
    if (slice_has(t, "\\\\") && !slice_has(t, "matrix")) {
        t = pattern_replace(r->patterns, p, PATTERN_DOUBLE_SLASH, t, "\\");
    }
    return t;
}

/* Starts of equals signs; their number. */
static int equals_signs(struct reader *r, struct slice t, size_t *last)
{
    struct pattern_match m;
    int count = 0;
    for (size_t at = 0; pattern_find(r->patterns, PATTERN_EQUALS, t, at, &m);
         at = m.group[0].end) {
        *last = m.group[0].end;
        count++;
    }
    return count;
}

struct slice normalize_last_equation(struct reader *r, struct slice t)
{
    size_t last = 0;
    if (memchr(t.s, ',', t.n) || memchr(t.s, ';', t.n) || equals_signs(r, t, &last) < 2) {
        return t;
    }
    return (struct slice){t.s + last, t.n - last};
}

/* A single letter that the reference takes for a unit may be a variable: strict keeps it when the
 * text holds an operator. */
static bool is_variable(struct slice before, struct slice t)
{
    const struct slice unit = slice_trim((struct slice){t.s + before.n, t.n - before.n});
    if (unit.n != 1) {
        return false;
    }
    for (size_t i = 0; i < before.n; i++) {
        if (strchr("+-*/^=<>", before.s[i]) && i > 0) {
            return true;
        }
    }
    return false;
}

static struct slice units(struct reader *r, struct slice t)
{
    struct pattern_match m;
    /* Strict looks behind the space that hides the unit from the reference. */
    struct slice whole = r->strict ? slice_trim(t) : t;
    if ((slice_has(t, "\\text{") || slice_has(t, "\\mbox{")) &&
        pattern_find(r->patterns, PATTERN_UNIT_TEXT, whole, 0, &m)) {
        const struct slice cut = slice_trim((struct slice){whole.s, m.group[0].begin});
        t = cut.n > 0 ? cut : t;
    } else {
        const struct slice cut = slice_trim(t);
        t = cut.n > 0 ? cut : t;
    }
    for (int i = 0; i < 2; i++) {
        if (!pattern_find(r->patterns, PATTERN_UNIT_WORD, t, 0, &m)) {
            break;
        }
        const struct slice cut = {t.s, m.group[1].end};
        if (r->strict && is_variable(cut, t)) {
            break;
        }
        t = cut.n > 0 ? cut : t;
    }
    return t;
}

static struct slice joined(struct expr_pool *pool, struct slice a, const char *middle,
                           struct slice b)
{
    const size_t n = strlen(middle);
    char *s = expr_alloc(pool, a.n + n + b.n + 1);
    if (!s) {
        return (struct slice){"", 0};
    }
    memcpy(s, a.s, a.n);
    memcpy(s + a.n, middle, n);
    memcpy(s + a.n + n, b.s, b.n);
    return (struct slice){s, a.n + n + b.n};
}

static size_t character(struct slice t)
{
    size_t n = t.n > 0;
    while (n < t.n && ((unsigned char)t.s[n] & 0xc0) == 0x80) {
        n++;
    }
    return n;
}

/* What follows a command, without the space before it. */
static struct slice after_spaces(struct slice t)
{
    while (t.n > 0 && isspace((unsigned char)*t.s)) {
        t.s++;
        t.n--;
    }
    return t;
}

/* \sqrt3 is \sqrt{3}. */
static struct slice mend_sqrt(struct expr_pool *pool, struct slice t)
{
    static const char COMMAND[] = "\\sqrt";
    size_t from = 0;
    for (int i = 0; i < MAX_REPEATS; i++) {
        const char *found = memmem(t.s + from, t.n - from, COMMAND, sizeof COMMAND - 1);
        if (!found) {
            break;
        }
        const size_t start = (size_t)(found - t.s) + sizeof COMMAND - 1;
        const struct slice rest = after_spaces((struct slice){t.s + start, t.n - start});
        const size_t n = character(rest);
        const bool bare = n > 0 && *rest.s != '{' && *rest.s != '[' &&
                          !(rest.n >= 5 && memcmp(rest.s, COMMAND, 5) == 0);
        from = start;
        if (bare) {
            const struct slice head = joined(pool, (struct slice){t.s, start}, "{",
                                             (struct slice){rest.s, n});
            t = joined(pool, head, "}", (struct slice){rest.s + n, rest.n - n});
            from = start + n + 2;
        } else if (rest.s != t.s + start) {
            t = joined(pool, (struct slice){t.s, start}, "", rest);
        }
    }
    return t;
}

/* \frac12 is \frac{1}{2}; a \frac with less than two characters behind it leaves all as it was. */
static struct slice mend_frac(struct expr_pool *pool, struct slice t)
{
    static const char COMMAND[] = "\\frac";
    const struct slice original = t;
    size_t from = 0;
    for (int i = 0; i < MAX_REPEATS; i++) {
        const char *found = memmem(t.s + from, t.n - from, COMMAND, sizeof COMMAND - 1);
        if (!found) {
            break;
        }
        const size_t start = (size_t)(found - t.s) + sizeof COMMAND - 1;
        struct slice rest = {t.s + start, t.n - start};
        const char *next = memmem(rest.s, rest.n, COMMAND, sizeof COMMAND - 1);
        const struct slice tail = {next ? next : rest.s + rest.n,
                                   next ? (size_t)(rest.s + rest.n - next) : 0};
        rest.n = (size_t)(tail.s - rest.s);
        rest = after_spaces(rest);
        const struct slice head = {t.s, start};
        const size_t a = character(rest);
        const size_t b = character((struct slice){rest.s + a, rest.n - a});
        if (rest.n > 0 && *rest.s == '{') {
            t = joined(pool, joined(pool, head, "", rest), "", tail);
            from = start + rest.n;
            continue;
        }
        if (b == 0) {
            return original;
        }
        const bool braced = rest.s[a] == '{';
        struct slice out = joined(pool, head, "{", (struct slice){rest.s, a});
        out = braced ? joined(pool, out, "}{", (struct slice){"", 0})
                     : joined(pool, out, "}{", (struct slice){rest.s + a, b});
        out = joined(pool, out, braced ? "" : "}",
                     (struct slice){rest.s + a + b, rest.n - a - b});
        from = out.n;
        t = joined(pool, out, "", tail);
    }
    return t;
}

/* Digits as Python prints an integer: no leading zeros, an optional minus. */
static bool is_plain_integer(struct slice t)
{
    const size_t sign = t.n > 0 && *t.s == '-';
    if (t.n == sign || t.n > EXPR_MAX_DIGITS || (t.s[sign] == '0' && (t.n > sign + 1 || sign))) {
        return false;
    }
    for (size_t i = sign; i < t.n; i++) {
        if (!isdigit((unsigned char)t.s[i])) {
            return false;
        }
    }
    return true;
}

/* a/b of two integers is \frac{a}{b}. */
static struct slice mend_slash(struct expr_pool *pool, struct slice t)
{
    const char *slash = memchr(t.s, '/', t.n);
    if (!slash) {
        return t;
    }
    const struct slice a = {t.s, (size_t)(slash - t.s)};
    const struct slice b = {slash + 1, t.n - a.n - 1};
    if (!is_plain_integer(a) || !is_plain_integer(b)) {
        return t;
    }
    const struct slice head =
        joined(pool, joined(pool, (struct slice){"\\frac{", 6}, "", a), "}{", b);
    return joined(pool, head, "}", (struct slice){"", 0});
}

static struct slice mend_operators(struct reader *r, struct slice t)
{
    static const struct {
        enum pattern_id id;
        const char *needs, *with;
    } MENDS[] = {
        {PATTERN_CARET_PAREN, "^", "^{\\1}"},
        {PATTERN_SQRT_PAREN, "sqrt", "\\sqrt{\\1}"},
        {PATTERN_FRAC_DIGITS, "\\frac", "\\frac{\\1}{\\2}"},
        {PATTERN_LOG_DIGITS, "\\log_", "\\log_{\\1}{\\2}"},
        {PATTERN_FRAC_BRACE_DIGIT, "\\frac", "\\frac{\\1}{\\2}"},
        {PATTERN_FRAC_DIGIT_BRACE, "\\frac", "\\frac{\\1}{\\2}"},
        {PATTERN_SQRT_DIGIT, "\\sqrt", "\\sqrt{\\1}"},
    };
    for (size_t i = 0; i < sizeof MENDS / sizeof *MENDS; i++) {
        if (slice_has(t, MENDS[i].needs)) {
            t = pattern_replace(r->patterns, r->pool, MENDS[i].id, t, MENDS[i].with);
        }
    }
    t = slice_replace(r->pool, t, " sqrt", "\\sqrt");
    return mend_slash(r->pool, mend_frac(r->pool, mend_sqrt(r->pool, t)));
}

static struct slice nits(struct expr_pool *pool, struct slice t)
{
    if (t.n > 0 && *t.s == '.') {
        t = joined(pool, (struct slice){"0", 1}, "", t);
    }
    return t.n == 3 && memcmp(t.s, "0.5", 3) == 0 ? (struct slice){"\\frac{1}{2}", 11} : t;
}

struct slice normalize_latex(struct reader *r, struct slice t, const struct grade_config *config,
                             enum grade_boxed boxed)
{
    if (boxed != GRADE_BOXED_NONE) {
        t = boxed_content(r, t, boxed);
    }
    if (t.n > MAX_BYTES) {
        return (struct slice){"", 0}; /* no answer is that long, and patterns take squares of it */
    }
    t = basic(r, t);
    if (config->equations) {
        t = normalize_last_equation(r, t);
    }
    if (config->units) {
        t = units(r, t);
    }
    if (config->nits) {
        t = nits(r->pool, t);
    }
    if (config->malformed_operators) {
        t = mend_operators(r, t);
    }
    t = slice_trim(t);
    /* Strict drops the full stop of a sentence. */
    while (r->strict && t.n > 1 && (t.s[t.n - 1] == '.' || t.s[t.n - 1] == ',')) {
        t = slice_trim((struct slice){t.s, t.n - 1});
    }
    return t;
}
