/* Numbers, symbols, brackets, fractions and matrices of LaTeX answers. */
#include <string.h>

#include "eval/grade/compare.h"
#include "eval/grade/latex_internal.h"

/* Greek letters written as themselves or by number, by the command's name. */
static const char *greek_name(const char *text)
{
    static const struct {
        const char *text, *name;
    } GREEK[] = {
        {"α", "alpha"},      {"β", "beta"},     {"γ", "gamma"},    {"Γ", "Gamma"},   {"δ", "delta"},
        {"Δ", "Delta"},      {"ε", "epsilon"},  {"ϵ", "varepsilon"}, {"ζ", "zeta"},  {"η", "eta"},
        {"θ", "theta"},      {"Θ", "Theta"},    {"ϑ", "vartheta"}, {"ι", "iota"},    {"κ", "kappa"},
        {"λ", "lambda"},     {"Λ", "Lambda"},   {"μ", "mu"},       {"ν", "nu"},      {"ξ", "xi"},
        {"Ξ", "Xi"},         {"ο", "omicron"},  {"π", "pi"},       {"Π", "Pi"},      {"ϖ", "varpi"},
        {"ρ", "rho"},        {"ϱ", "varrho"},   {"σ", "sigma"},    {"Σ", "Sigma"},   {"ς", "varsigma"},
        {"τ", "tau"},        {"υ", "upsilon"},  {"Υ", "Upsilon"},  {"φ", "phi"},     {"Φ", "Phi"},
        {"ϕ", "varphi"},     {"χ", "chi"},      {"ψ", "psi"},      {"Ψ", "Psi"},     {"ω", "omega"},
        {"Ω", "Omega"},      {"\\char000391", "alpha"}, {"\\char000392", "beta"},
        {"\\char000190", "epsilon"}, {"\\char000396", "zeta"},
    };
    for (size_t i = 0; i < sizeof GREEK / sizeof *GREEK; i++) {
        if (strcmp(text, GREEK[i].text) == 0) {
            return GREEK[i].name;
        }
    }
    return text;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

const struct expr *latex_symbol(struct latex_parser *p, const char *text)
{
    const char *known = greek_name(text);
    known += *known == '\\';
    if (strcmp(known, "gamma") == 0 || strcmp(known, "Gamma") == 0) {
        return expr_new(p->pool, EXPR_EULER, 0);
    }
    struct expr *e = expr_symbol(p->pool, known, strlen(known), p->real);
    if (!e) {
        return NULL;
    }
    char *name = expr_copy_text(p->pool, known, strlen(known));
    for (char *c = name; c && *c; c++) {
        *c = lower(*c);
    }
    e->name = name;
    if (p->strict && name && strcmp(name, "i") == 0) {
        return expr_new(p->pool, EXPR_I, 0);
    }
    if (name && strcmp(name, "pi") == 0) {
        return expr_new(p->pool, EXPR_PI, 0);
    }
    if (name && strcmp(name, "gamma") == 0) {
        return expr_new(p->pool, EXPR_EULER, 0);
    }
    return name ? e : NULL;
}

const struct expr *latex_braced(struct latex_parser *p)
{
    if (!latex_take(p, TOK_L_BRACE)) {
        return NULL;
    }
    const struct expr *e = latex_expr(p);
    return e && latex_take(p, TOK_R_BRACE) ? e : NULL;
}

bool latex_superscript(struct latex_parser *p, const struct expr **power)
{
    if (++p->depth > LATEX_MAX_DEPTH) {
        (void)latex_fail(p, "the LaTeX is nested too deeply");
        return false;
    }
    *power = latex_peek(p, 0) == TOK_L_BRACE ? latex_braced(p) : latex_atom(p);
    p->depth--;
    return *power != NULL;
}

bool latex_subscript(struct latex_parser *p, int *begin, int *end)
{
    if (++p->depth > LATEX_MAX_DEPTH) {
        (void)latex_fail(p, "the LaTeX is nested too deeply");
        return false;
    }
    bool ok;
    *begin = p->at;
    if (latex_take(p, TOK_L_BRACE)) {
        *begin = p->at;
        do {
            ok = latex_expr(p) != NULL;
        } while (ok && latex_take(p, TOK_COMMA));
        *end = p->at;
        ok = ok && latex_take(p, TOK_R_BRACE);
    } else {
        ok = latex_atom(p) != NULL;
        *end = p->at;
    }
    p->depth--;
    return ok;
}

/* The name inside an accent: \text{..} is its content, others keep the command. */
static char *accent_name(struct latex_parser *p, const struct latex_token *t)
{
    static const struct {
        const char *command, *name;
    } NAMES[] = {
        {"overline", "bar"}, {"overrightarrow", "vec"}, {"widetilde", "tilde"},
    };
    const char *text = p->text + t->start;
    const char *brace = memchr(text, '{', t->length);
    size_t command = (size_t)(brace - text) - 1;
    const char *name = text + 1;
    const bool plain = strncmp(name, "text", 4) == 0 || strncmp(name, "mbox", 4) == 0;
    if (strncmp(name, "math", 4) == 0) {
        command = 4;
    }
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (strlen(NAMES[i].command) == command && strncmp(name, NAMES[i].command, command) == 0) {
            name = NAMES[i].name;
            command = strlen(name);
            break;
        }
    }
    char *out = expr_alloc(p->pool, t->length + 8);
    size_t n = 0;
    if (!out) {
        return NULL;
    }
    if (!plain) {
        memcpy(out, name, command);
        n = command;
        out[n++] = '{';
    }
    for (const char *c = brace + 1; c < text + t->length - 1; c++) {
        if (*c != ' ' && !(plain && (*c == '(' || *c == ')'))) {
            out[n++] = *c;
        }
    }
    if (!plain) {
        out[n++] = '}';
    }
    out[n] = '\0';
    return out;
}

static char *symbol_text(struct latex_parser *p, const struct latex_token *t)
{
    if (t->type == TOK_ACCENT) {
        return accent_name(p, t);
    }
    return expr_copy_text(p->pool, p->text + t->start,
                          t->length - (p->text[t->start + t->length - 1] == ' '));
}

/* name and "_x" or "_{xy}". */
static char *with_subscript(struct latex_parser *p, const char *name, int begin, int end)
{
    const char *sub = latex_token_text(p, begin, end);
    if (!name || !sub) {
        return NULL;
    }
    const size_t n = strlen(name);
    const size_t m = strlen(sub);
    char *out = expr_alloc(p->pool, n + m + 4);
    if (out) {
        (void)snprintf(out, n + m + 4, m > 1 ? "%s_{%s}" : "%s_%s", name, sub);
    }
    return out;
}

/* A symbol with its scripts. The capital I is the imaginary unit, whatever stands on it. */
static const struct expr *scripted_symbol(struct latex_parser *p)
{
    const struct latex_token *t = &p->tokens[p->at++];
    const bool imaginary = t->length == 1 && p->text[t->start] == 'I';
    const char *name = symbol_text(p, t);
    const struct expr *power = NULL;
    int begin = 0;
    int end = 0;
    for (int i = 0; i < 2; i++) {
        if (latex_peek(p, 0) == TOK_CARET && !power) {
            p->at++;
            if (!latex_superscript(p, &power)) {
                return NULL;
            }
        } else if (latex_peek(p, 0) == TOK_UNDERSCORE && end == 0) {
            p->at++;
            if (!latex_subscript(p, &begin, &end)) {
                return NULL;
            }
            name = with_subscript(p, name, begin, end);
        }
    }
    if (imaginary) {
        return expr_new(p->pool, EXPR_I, 0);
    }
    const struct expr *e = name ? latex_symbol(p, name) : NULL;
    return e && power ? expr_binary(p->pool, EXPR_POW, e, power) : e;
}

static const struct expr *number(struct latex_parser *p, const struct latex_token *t)
{
    size_t length = t->length;
    const char *text = p->text + t->start;
    if (t->type == TOK_PERCENT_NUMBER) {
        length = strspn(text, "0123456789.");
    }
    const struct expr *e = expr_number(p->pool, text, length);
    if (!e) {
        return latex_fail(p, "a number with too many digits");
    }
    return t->type == TOK_PERCENT_NUMBER ? expr_percent(p->pool, e) : e;
}

/* The symbol of a differential: "dx". */
static const struct expr *differential(struct latex_parser *p, const struct latex_token *t)
{
    char *name = expr_alloc(p->pool, t->length + 2);
    if (!name) {
        return NULL;
    }
    size_t n = 0;
    name[n++] = 'd';
    for (uint32_t i = 1; i < t->length; i++) {
        const char c = p->text[t->start + i];
        if (c != ' ' && c != '\t' && c != '\n' && c != '\r' && c != '\\') {
            name[n++] = c;
        }
    }
    return expr_symbol(p->pool, name, n, p->real);
}

const struct expr *latex_atom(struct latex_parser *p)
{
    const struct latex_token *t = &p->tokens[p->at];
    int begin;
    int end;
    if (p->pool->exhausted || ++p->steps > LATEX_MAX_STEPS) {
        return latex_fail(p, "the LaTeX is too complex");
    }
    switch (t->type) {
    case TOK_LETTER: case TOK_GREEK: case TOK_SYMBOL_CMD: case TOK_ACCENT:
        return scripted_symbol(p);
    case TOK_NUMBER:
        p->at++;
        if (latex_take(p, TOK_UNDERSCORE) && !latex_subscript(p, &begin, &end)) {
            return NULL;
        }
        return number(p, t);
    case TOK_PERCENT_NUMBER: case TOK_E_NUMBER:
        p->at++;
        return number(p, t);
    case TOK_INFINITY:
        p->at++;
        return expr_new(p->pool, EXPR_INFINITY, 0);
    case TOK_PARTIAL:
        return latex_fail(p, "a lone partial sign");
    case TOK_BIG_E:
        p->at++;
        return expr_symbol(p->pool, "e", 1, p->real);
    case TOK_DIFFERENTIAL:
        p->at++;
        return differential(p, t);
    case TOK_GAMMA:
        p->at++;
        return expr_new(p->pool, EXPR_EULER, 0);
    default:
        return NULL;
    }
}

/* d/dx and dy/dx are no quotients. */
static bool is_derivative(const struct latex_parser *p, int top, int bottom)
{
    const struct latex_token *t = p->tokens;
    return t[bottom].type == TOK_DIFFERENTIAL && t[bottom + 1].type == TOK_R_BRACE &&
           p->text[t[top].start] == 'd';
}

/* The symbol behind the d of a differential. */
static const struct expr *differentiated(struct latex_parser *p, const struct expr *d)
{
    return d->kind == EXPR_SYMBOL && d->name[0] == 'd' && d->name[1] != '\0'
               ? expr_symbol(p->pool, d->name + 1, strlen(d->name + 1), p->real)
               : NULL;
}

static const struct expr *derivative(struct latex_parser *p, const struct expr *top,
                                     const struct expr *bottom, bool bare)
{
    const struct expr *by = differentiated(p, bottom);
    if (bare) {
        return by ? expr_unary(p->pool, EXPR_DERIVATIVE, by) : NULL;
    }
    const struct expr *of = differentiated(p, top);
    return of && by ? expr_binary(p->pool, EXPR_DERIVATIVE, of, by)
                    : latex_fail(p, "a derivative of what is no symbol");
}

static const struct expr *fraction(struct latex_parser *p)
{
    p->at++;
    const int top_at = p->at + 1;
    const struct expr *top = latex_braced(p);
    const int top_end = p->at - 1;
    const int bottom_at = p->at + 1;
    const struct expr *bottom = top ? latex_braced(p) : NULL;
    if (bottom && is_derivative(p, top_at, bottom_at)) {
        const bool bare = top_end == top_at + 1 && p->tokens[top_at].type == TOK_LETTER;
        return derivative(p, top, bottom, bare);
    }
    return latex_quotient(p, top, bottom);
}

/* Binomials of small integers are evaluated, as the reference does at once. */
static const struct expr *binomial(struct latex_parser *p, const struct expr *n,
                                   const struct expr *k)
{
    if (!n || !k) {
        return NULL;
    }
    if (expr_is_integer(n) && expr_is_integer(k) && fmpz_sgn(fmpq_numref(n->q)) >= 0 &&
        fmpz_cmp_ui(fmpq_numref(n->q), 2000) <= 0) {
        struct expr *e = expr_integer(p->pool, 0);
        if (e && fmpz_sgn(fmpq_numref(k->q)) >= 0 &&
            fmpz_cmp(fmpq_numref(k->q), fmpq_numref(n->q)) <= 0) {
            fmpz_bin_uiui(fmpq_numref(e->q), fmpz_get_ui(fmpq_numref(n->q)),
                          fmpz_get_ui(fmpq_numref(k->q)));
        }
        return e;
    }
    return expr_call(p->pool, FN_BINOMIAL, n, k);
}

static const struct expr *choose_group(struct latex_parser *p)
{
    p->at++;
    const struct expr *n = latex_expr(p);
    if (!n || !latex_take(p, TOK_CHOOSE)) {
        return NULL;
    }
    const struct expr *k = latex_expr(p);
    return k && latex_take(p, TOK_R_BRACE) ? binomial(p, n, k) : NULL;
}

static const struct expr *binomial_command(struct latex_parser *p)
{
    p->at++;
    const struct expr *n = latex_braced(p);
    const struct expr *k = n ? latex_braced(p) : NULL;
    return binomial(p, n, k);
}

static const struct expr *matrix_cells(struct latex_parser *p, enum latex_type end)
{
    struct expr *m = expr_new(p->pool, EXPR_MATRIX, 0);
    const struct expr *cells[256];
    int count = 0;
    int cols = 0;
    if (!m) {
        return NULL;
    }
    for (;;) {
        int in_row = 0;
        do {
            if (count == (int)(sizeof cells / sizeof *cells)) {
                return latex_fail(p, "the matrix is too large");
            }
            cells[count] = latex_expr(p);
            if (!cells[count]) {
                return NULL;
            }
            count++;
            in_row++;
        } while (latex_take(p, TOK_COLUMN));
        if (m->rows > 0 && in_row != cols) {
            return latex_fail(p, "the rows of the matrix differ in length");
        }
        cols = in_row;
        m->rows++;
        if (latex_take(p, end)) {
            break;
        }
        if (!latex_take(p, TOK_ROW)) {
            return NULL;
        }
        if (latex_take(p, end)) {
            break;
        }
    }
    m->cols = cols;
    m->count = count;
    m->args = expr_alloc(p->pool, (size_t)count * sizeof *m->args);
    if (!m->args) {
        return NULL;
    }
    memcpy(m->args, cells, (size_t)count * sizeof *cells);
    return m;
}

const struct expr *latex_matrix(struct latex_parser *p)
{
    const enum latex_type open = latex_peek(p, 0);
    p->at++;
    switch (open) {
    case TOK_MATRIX:
        return matrix_cells(p, TOK_MATRIX_END);
    case TOK_ARRAY:
        return matrix_cells(p, TOK_ARRAY_END);
    default: {
        const struct expr *m = matrix_cells(p, TOK_DET_END);
        return m ? compare_determinant(p->pool, m) : NULL;
    }
    }
}

/* open expr close. */
static const struct expr *group(struct latex_parser *p, enum latex_type close)
{
    p->at++;
    const struct expr *e = latex_expr(p);
    return e && latex_take(p, close) ? e : NULL;
}

static const struct expr *called(struct latex_parser *p, enum expr_fn fn, enum latex_type close)
{
    const struct expr *e = group(p, close);
    return e ? expr_call(p->pool, fn, e, NULL) : NULL;
}

/* |..| and its relatives whose two ends look alike; `open` counts those we are in. */
static const struct expr *fenced(struct latex_parser *p, int *open, enum latex_type close)
{
    (*open)++;
    const struct expr *e = group(p, close);
    (*open)--;
    return e;
}


/* Brackets start a fresh level for bars: | ( |x| ) |. */
static const struct expr *bracket_group(struct latex_parser *p, enum latex_type close)
{
    const int bars = p->bars;
    const int integrals = p->integrals;
    p->bars = 0;
    p->integrals = 0;
    const struct expr *e = group(p, close);
    p->bars = bars;
    p->integrals = integrals;
    return e;
}

/* |x| */
static const struct expr *bars(struct latex_parser *p, int *open, enum latex_type bar)
{
    const struct expr *e = fenced(p, open, bar);
    return e ? expr_call(p->pool, FN_ABS, e, NULL) : NULL;
}

/* What stands between two marks that differ; *taken is false when the token is no such mark. */
static const struct expr *bracketed(struct latex_parser *p, bool *taken)
{
    static const struct mark {
        uint8_t close; /* 0: no mark */
        bool call;     /* the marks are a function's */
        uint8_t fn;
    } MARKS[TOK_TYPES] = {
        [TOK_L_PAREN] = {.close = TOK_R_PAREN},
        [TOK_L_GROUP] = {.close = TOK_R_GROUP},
        [TOK_L_BRACE] = {.close = TOK_R_BRACE},
        [TOK_L_BRACKET] = {.close = TOK_R_BRACKET},
        [TOK_L_BRACE_VISUAL] = {.close = TOK_R_BRACE_VISUAL},
        [TOK_L_BRACE_CMD] = {.close = TOK_R_BRACE_CMD},
        [TOK_L_BRACK] = {.close = TOK_R_BRACK},
        [TOK_L_VERT] = {.close = TOK_R_VERT, .call = true, .fn = FN_ABS},
        [TOK_L_FLOOR] = {.close = TOK_R_FLOOR, .call = true, .fn = FN_FLOOR},
        [TOK_LL_CORNER] = {.close = TOK_LR_CORNER, .call = true, .fn = FN_FLOOR},
        [TOK_L_CEIL] = {.close = TOK_R_CEIL, .call = true, .fn = FN_CEIL},
        [TOK_UL_CORNER] = {.close = TOK_UR_CORNER, .call = true, .fn = FN_CEIL},
    };
    const enum latex_type type = latex_peek(p, 0);
    const struct mark *m = &MARKS[type];
    *taken = m->close != 0;
    if (!*taken) {
        return NULL;
    }
    if (type == TOK_L_BRACE && p->spans[p->at].choose) {
        return choose_group(p);
    }
    return m->call ? called(p, m->fn, m->close) : bracket_group(p, m->close);
}

const struct expr *latex_compound(struct latex_parser *p, bool functions)
{
    bool taken;
    const struct expr *inner = bracketed(p, &taken);
    if (taken) {
        return inner;
    }
    switch (latex_peek(p, 0)) {
    case TOK_PHANTOM: case TOK_BOXED:
        p->at++;
        return latex_peek(p, 0) == TOK_L_BRACE ? bracket_group(p, TOK_R_BRACE) : NULL;
    case TOK_NORM:
        return fenced(p, &p->norms, TOK_NORM) ? latex_fail(p, "a norm of what is no matrix") : NULL;
    case TOK_L_ANGLE:
        return group(p, TOK_R_ANGLE) ? latex_fail(p, "a dot product of one part") : NULL;
    case TOK_BAR:
        return bars(p, &p->bars, TOK_BAR);
    case TOK_VERT:
        return bars(p, &p->verts, TOK_VERT);
    case TOK_FRAC:
        return fraction(p);
    case TOK_BINOM:
        return binomial_command(p);
    case TOK_MATRIX: case TOK_ARRAY: case TOK_DET:
        return latex_matrix(p);
    default:
        break;
    }
    if (functions) {
        const int start = p->at;
        const struct expr *e = latex_apply(p);
        if (!e && !p->fatal) {
            e = latex_function(p);
        }
        if (e || p->fatal) {
            return e;
        }
        p->at = start;
    }
    return latex_atom(p);
}
