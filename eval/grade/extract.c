/* Extraction of answers by anchors and priorities; see extract.h. */
#include "eval/grade/extract.h"

#include <string.h>

#include "eval/grade/latex_parse.h"

enum { MAX_MATCHES = 512, MAX_PARTS = 6, MAX_TRIES = 64 };

enum source { FROM_LATEX, FROM_BOX, FROM_EXPR, FROM_NUMBER, FROM_EXPR_OR_NUMBER, FROM_CHOICE };

/* A pattern of the extraction: where it stands in the order, what must be in the text for it. */
struct extraction {
    enum pattern_id id;
    int priority; /* -1: that of boxes */
    enum source source;
    bool unanchored;
    bool anchored; /* the text must hold "answer" */
};

static const struct extraction EXTRACTIONS[] = {
    {.id = PATTERN_LATEX_HOPE, .priority = 0, .source = FROM_LATEX, .anchored = true},
    {.id = PATTERN_LATEX_IS, .priority = 50, .source = FROM_LATEX, .anchored = true},
    {.id = PATTERN_LATEX_COLON, .priority = 100, .source = FROM_LATEX, .anchored = true},
    {.id = PATTERN_LATEX_ANSWER, .priority = 200, .source = FROM_LATEX, .anchored = true},
    {.id = PATTERN_LATEX_PLAIN, .priority = 300, .source = FROM_LATEX, .unanchored = true},
    {.id = PATTERN_BOXED_LATEX, .priority = -1, .source = FROM_LATEX},
    {.id = PATTERN_BOXED_RAW, .priority = -1, .source = FROM_BOX},
    {.id = PATTERN_EXPR_HOPE, .priority = 0, .source = FROM_EXPR_OR_NUMBER, .anchored = true},
    {.id = PATTERN_EXPR_IS, .priority = 50, .source = FROM_EXPR_OR_NUMBER, .anchored = true},
    {.id = PATTERN_EXPR_COLON, .priority = 100, .source = FROM_EXPR_OR_NUMBER, .anchored = true},
    {.id = PATTERN_EXPR_ANSWER, .priority = 200, .source = FROM_EXPR_OR_NUMBER, .anchored = true},
    {.id = PATTERN_EXPR_PLAIN, .priority = 300, .source = FROM_EXPR, .unanchored = true},
    {.id = PATTERN_NUMBER_PLAIN, .priority = 300, .source = FROM_NUMBER, .unanchored = true},
    {.id = PATTERN_CHOICE_HOPE, .priority = 0, .source = FROM_CHOICE, .anchored = true},
    {.id = PATTERN_CHOICE_IS, .priority = 50, .source = FROM_CHOICE, .anchored = true},
    {.id = PATTERN_CHOICE_COLON, .priority = 100, .source = FROM_CHOICE, .anchored = true},
    {.id = PATTERN_CHOICE_ANSWER, .priority = 200, .source = FROM_CHOICE, .anchored = true},
    {.id = PATTERN_CHOICE_START, .priority = 250, .source = FROM_CHOICE, .unanchored = true},
    {.id = PATTERN_CHOICE_PLAIN, .priority = 300, .source = FROM_CHOICE, .unanchored = true},
};

enum { EXTRACTION_COUNT = sizeof EXTRACTIONS / sizeof *EXTRACTIONS };

/* A match, by its place. */
struct candidate {
    struct pattern_group whole;
    int extraction, serial;
};

/* What the text holds at all: most patterns need not be tried. */
struct contents {
    bool answer, latex, boxed, digit;
};

static struct contents look(struct slice t)
{
    struct contents has = {0};
    for (size_t i = 0; i < t.n; i++) {
        const char c = t.s[i];
        has.latex = has.latex || c == '$' || c == '[' || c == '\\';
        has.digit = has.digit || (c >= '0' && c <= '9') || (unsigned char)c >= 0xc0;
        has.answer = has.answer || ((c == 'a' || c == 'A') && t.n - i >= 6 &&
                                    strncasecmp(t.s + i, "answer", 6) == 0);
    }
    has.boxed = has.latex && slice_has(t, "\\boxed{");
    return has;
}

static int priority_of(const struct extraction *e, const struct grade_config *config)
{
    return e->priority < 0 ? config->boxed_priority : e->priority;
}

static bool wanted(const struct extraction *e, const struct grade_config *c,
                   const struct contents *has)
{
    if (e->anchored && !has->answer) {
        return false;
    }
    switch (e->source) {
    case FROM_LATEX: case FROM_BOX:
        if (e->priority < 0 && (c->boxed_priority < 0 || !has->boxed)) {
            return false;
        }
        return c->latex && has->latex && (!e->unanchored || c->latex_unanchored);
    case FROM_CHOICE:
        return c->choices && (!e->unanchored || c->choices_unanchored);
    default:
        return c->expr && has->digit && (!e->unanchored || c->expr_unanchored);
    }
}

/* Rightmost end first, then the earlier start, then the order of the table. */
static int by_place(const void *x, const void *y)
{
    const struct candidate *a = x;
    const struct candidate *b = y;
    if (a->whole.end != b->whole.end) {
        return a->whole.end > b->whole.end ? -1 : 1;
    }
    if (a->whole.begin != b->whole.begin) {
        return a->whole.begin < b->whole.begin ? -1 : 1;
    }
    return a->serial < b->serial ? -1 : a->serial > b->serial;
}

static char *text_of(struct reader *r, struct slice t)
{
    return expr_copy_text(r->pool, t.s, t.n);
}

/* 1,000 is a thousand and 0,125 an eighth: behind a leading 0 the comma is a decimal one. The
 * reference cannot read 0,125,000 (two points) nor -0,125 (the zeros stay behind the sign). */
static const struct expr *comma_number(struct reader *r, struct slice t, const char **reason)
{
    t = slice_trim(slice_replace(r->pool, t, ",", t.n > 0 && t.s[0] == '0' ? "." : ""));
    const bool zeros = t.n > 2 && t.s[0] == '-' && t.s[1] == '0' && !memchr(t.s, '.', t.n)
                       && strspn(t.s + 1, "0") < t.n - 1;
    const struct expr *e = zeros && !r->strict ? NULL : expr_number(r->pool, t.s, t.n);
    *reason = e ? *reason : "a number with commas, a leading 0 and more than one of them";
    return e;
}

/* Normal LaTeX to a value, the part behind the last equals sign when the whole has none. */
static const struct expr *parse_latex(struct reader *r, struct slice t, const char **reason)
{
    struct pattern_match m;
    char *text = text_of(r, t);
    if (!text) {
        return NULL;
    }
    bool real = r->strict || !pattern_find(r->patterns, PATTERN_COMPLEX, t, 0, &m);
    if (memchr(t.s, ',', t.n) && pattern_find(r->patterns, PATTERN_COMMA_NUMBER, t, 0, &m)) {
        return comma_number(r, t, reason);
    }
    const struct expr *e = latex_parse(r->pool, text, real, r->strict, reason);
    if (!e) {
        const struct slice last = normalize_last_equation(r, t);
        if (last.n != t.n) {
            const char *ignored;
            real = r->strict || !pattern_find(r->patterns, PATTERN_COMPLEX, last, 0, &m);
            text = text_of(r, last);
            e = text ? latex_parse(r->pool, text, real, r->strict, &ignored) : NULL;
        }
    }
    return e;
}

static struct slice group(struct slice text, const struct pattern_match *m, int k)
{
    const struct pattern_group g = m->group[k];
    return g.begin == SIZE_MAX ? (struct slice){NULL, 0}
                               : (struct slice){text.s + g.begin, g.end - g.begin};
}

/* Several parts that all have values are one set. */
static const struct expr *join_parts(struct reader *r, const struct expr *const *parts, int count)
{
    int total = 0;
    for (int i = 0; i < count; i++) {
        total += parts[i]->kind == EXPR_SET ? parts[i]->distinct : 1;
    }
    const struct expr **all = expr_alloc(r->pool, (size_t)total * sizeof *all);
    int n = 0;
    for (int i = 0; all && i < count; i++) {
        if (parts[i]->kind == EXPR_SET) {
            for (int j = 0; j < parts[i]->distinct; j++) {
                all[n++] = parts[i]->args[parts[i]->count + j];
            }
        } else {
            all[n++] = parts[i];
        }
    }
    return all ? expr_set(r->pool, all, total) : NULL;
}

static char *join_texts(struct reader *r, const char *const *texts, int count)
{
    size_t bytes = 1;
    for (int i = 0; i < count; i++) {
        bytes += strlen(texts[i]) + 5;
    }
    char *joined = expr_alloc(r->pool, bytes);
    size_t n = 0;
    for (int i = 0; joined && i < count; i++) {
        n += (size_t)snprintf(joined + n, bytes - n, "%s%s", i ? " and " : "", texts[i]);
    }
    return joined;
}

static void read_latex(struct reader *r, struct slice text, const struct pattern_match *m,
                       const struct grade_config *config, enum grade_boxed boxed,
                       struct reading *out)
{
    const struct expr *parts[MAX_PARTS];
    const char *texts[MAX_PARTS];
    int count = 0;
    bool all = true;
    for (int k = 0; k < MAX_PARTS; k++) {
        const struct slice content = group(text, m, 2 * k + 1);
        if (content.n == 0) {
            continue;
        }
        const struct slice normal = normalize_latex(r, content, config, boxed);
        texts[count] = text_of(r, normal);
        if (!texts[count]) {
            return;
        }
        parts[count] = parse_latex(r, normal, &out->reason);
        if (normal.n == 0 && content.n > 0 && !parts[count]) {
            out->reason = "the LaTeX is empty or too long";
        }
        if (parts[count] && boxed != GRADE_BOXED_LAST && group(text, m, 2 * k + 2).n > 0) {
            parts[count] = expr_percent(r->pool, parts[count]);
        }
        all = all && parts[count];
        count++;
    }
    if (count == 0) {
        return;
    }
    out->text = texts[0];
    out->value = parts[0];
    if (count > 1 && all) {
        out->value = join_parts(r, parts, count);
        out->text = join_texts(r, texts, count);
    }
}

/* The digits of a number: separators and leading zeros dropped, a decimal comma made a point. */
static char *number_text(struct reader *r, struct slice whole, struct slice decimal)
{
    char *s = expr_alloc(r->pool, whole.n + decimal.n + 2);
    size_t n = 0;
    if (!s) {
        return NULL;
    }
    for (size_t i = 0; i < whole.n; i++) {
        const char c = whole.s[i];
        if (c != ',' && c != ' ' && (c != '0' || n > 0)) {
            s[n++] = c;
        }
    }
    if (n == 0) {
        s[n++] = '0';
    }
    for (size_t i = 0; i < decimal.n; i++) {
        s[n++] = decimal.s[i] == ',' ? '.' : decimal.s[i];
    }
    return s;
}

/* False when the reference would give up on the whole text. */
static bool read_number(struct reader *r, struct slice text, const struct pattern_match *m, int at,
                        struct reading *out)
{
    struct slice whole = {NULL, 0};
    struct slice decimal = {NULL, 0};
    static const int WHOLE[] = {0, 2, 5};
    static const int DECIMAL[] = {1, 3, 4};
    for (int i = 2; i >= 0; i--) {
        const struct slice w = group(text, m, at + WHOLE[i]);
        const struct slice d = group(text, m, at + DECIMAL[i]);
        whole = w.n > 0 ? w : whole;
        decimal = d.n > 0 ? d : decimal;
    }
    char *s = number_text(r, whole, decimal);
    if (!s) {
        return false;
    }
    const bool zeros =
        s[0] == '-' && s[1] == '0' && decimal.n == 0 && strspn(s + 1, "0") < strlen(s + 1);
    const struct expr *e = zeros && !r->strict ? NULL : expr_number(r->pool, s, strlen(s));
    if (!e) {
        out->reason = "a number with too many digits or with zeros behind its minus sign";
        return false;
    }
    out->text = s;
    out->value = group(text, m, at + 6).n > 0 ? expr_percent(r->pool, e) : e;
    return true;
}

static bool read_expr(struct reader *r, struct slice text, const struct pattern_match *m,
                      enum source source, struct reading *out)
{
    const int number = source == FROM_NUMBER ? 1 : 2;
    if (source != FROM_EXPR) {
        bool any = false;
        for (int k = 0; k < 6; k++) {
            any = any || group(text, m, number + k).n > 0;
        }
        if (any) {
            return read_number(r, text, m, number, out);
        }
    }
    const struct slice e = group(text, m, 1);
    out->text = e.n > 0 ? text_of(r, e) : NULL;
    out->value = e.n > 0 ? plain_parse(r->pool, e) : NULL;
    out->reason = "not readable as a plain expression";
    return true;
}

static void read_choice(struct reader *r, struct slice text, const struct pattern_match *m,
                        struct reading *out)
{
    const struct slice letter = group(text, m, 1);
    char *lower = text_of(r, letter);
    if (lower) {
        *lower = (char)(*lower + 32);
    }
    out->choice = lower;
    out->text = text_of(r, letter);
}

/* Reads one match; false: the reference gives up on the text. */
static bool read_match(struct reader *r, struct slice text, const struct candidate *c,
                       const struct grade_config *config, struct reading *out)
{
    struct pattern_match m;
    const struct extraction *e = &EXTRACTIONS[c->extraction];
    if (!pattern_find(r->patterns, e->id, text, c->whole.begin, &m)) {
        return true;
    }
    switch (e->source) {
    case FROM_LATEX:
        read_latex(r, text, &m, config, config->boxed, out);
        return true;
    case FROM_BOX:
        read_latex(r, text, &m, config, GRADE_BOXED_LAST, out);
        return true;
    case FROM_CHOICE:
        read_choice(r, text, &m, out);
        return true;
    default:
        return read_expr(r, text, &m, e->source, out);
    }
}

static int find_candidates(struct reader *r, struct slice text, const struct grade_config *config,
                           const struct contents *has, int priority, struct candidate *list)
{
    int count = 0;
    for (int i = 0; i < EXTRACTION_COUNT; i++) {
        const struct extraction *e = &EXTRACTIONS[i];
        struct pattern_match m;
        if (priority_of(e, config) != priority || !wanted(e, config, has)) {
            continue;
        }
        const int first = count;
        for (size_t at = 0; at <= text.n && pattern_find(r->patterns, e->id, text, at, &m);
             at = m.group[0].end > at ? m.group[0].end : at + 1) {
            if (count == MAX_MATCHES) {
                /* Only the last matches can win: let the earliest of this pattern go. */
                const int keep = (count - first) / 2;
                memmove(list + first, list + count - keep, (size_t)keep * sizeof *list);
                count = first + keep;
                if (keep == 0) {
                    break;
                }
            }
            list[count] = (struct candidate){m.group[0], i, count};
            count++;
        }
    }
    qsort(list, (size_t)count, sizeof *list, by_place);
    return count;
}

static int next_priority(const struct grade_config *config, int above)
{
    int next = INT32_MAX;
    for (int i = 0; i < EXTRACTION_COUNT; i++) {
        const int p = priority_of(&EXTRACTIONS[i], config);
        next = p > above && p < next ? p : next;
    }
    return next;
}

void extract_answer(struct reader *r, struct slice text, const struct grade_config *config,
                    struct reading *out)
{
    const struct contents has = look(text);
    struct candidate list[MAX_MATCHES];
    int tries = 0;
    *out = (struct reading){.reason = "no answer found"};
    for (int p = next_priority(config, -1); p != INT32_MAX; p = next_priority(config, p)) {
        const int count = find_candidates(r, text, config, &has, p, list);
        for (int i = 0; i < count; i++) {
            struct reading one = {.reason = NULL};
            const bool goes_on = read_match(r, text, &list[i], config, &one);
            if (!goes_on || ++tries > MAX_TRIES || r->pool->exhausted) {
                *out = (struct reading){.reason = one.reason ? one.reason : "too much to read"};
                return;
            }
            if (!out->text && one.text && *one.text) {
                out->text = one.text;
            }
            if (one.value || one.choice) {
                out->value = one.value;
                out->choice = one.choice;
                out->reason = "";
                return;
            }
            out->reason = one.reason ? one.reason : out->reason;
            if (config->first_match) {
                return;
            }
        }
    }
}
