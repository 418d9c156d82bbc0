/* Sums, products and powers of LaTeX answers, and the search for a reading; see latex_parse.h. */
#include <string.h>

#include "eval/grade/latex_internal.h"

enum latex_type latex_peek(const struct latex_parser *p, int ahead)
{
    for (int i = 0; i < ahead; i++) {
        if (p->tokens[p->at + i].type == TOK_END) {
            return TOK_END;
        }
    }
    return p->tokens[p->at + ahead].type;
}

bool latex_take(struct latex_parser *p, enum latex_type type)
{
    if (p->tokens[p->at].type != type) {
        return false;
    }
    p->at += type != TOK_END;
    return true;
}

const struct expr *latex_fail(struct latex_parser *p, const char *reason)
{
    p->fatal = reason;
    return NULL;
}

int latex_choose(struct latex_parser *p)
{
    if (p->choice_at < p->choice_count) {
        return p->choices[p->choice_at++];
    }
    if (p->choice_count == LATEX_MAX_CHOICES) {
        return 1;
    }
    p->choices[p->choice_count++] = 0;
    p->choice_at++;
    return 0;
}

char *latex_token_text(struct latex_parser *p, int begin, int end)
{
    size_t length = 0;
    for (int i = begin; i < end; i++) {
        length += p->tokens[i].length;
    }
    char *text = expr_alloc(p->pool, length + 1);
    size_t n = 0;
    for (int i = begin; text && i < end; i++) {
        memcpy(text + n, p->text + p->tokens[i].start, p->tokens[i].length);
        n += p->tokens[i].length;
    }
    return text;
}

const struct expr *latex_negate(struct latex_parser *p, const struct expr *e)
{
    if (!e) {
        return NULL;
    }
    struct expr *minus = NULL;
    switch (e->kind) {
    case EXPR_RATIONAL:
        minus = expr_rational(p->pool, e->q);
        if (minus) {
            fmpq_neg(minus->q, minus->q);
        }
        return minus;
    case EXPR_FLOAT:
        minus = expr_number(p->pool, "0.0", 3);
        if (minus) {
            arf_neg(minus->f, e->f);
            minus->bits = e->bits;
        }
        return minus;
    case EXPR_INFINITY:
        return expr_new(p->pool, EXPR_NEG_INFINITY, 0);
    case EXPR_NEG_INFINITY:
        return expr_new(p->pool, EXPR_INFINITY, 0);
    default:
        return latex_product(p, expr_integer(p->pool, -1), e);
    }
}

const struct expr *latex_product(struct latex_parser *p, const struct expr *a,
                                 const struct expr *b)
{
    if (!a || !b) {
        return NULL;
    }
    const bool matrix = expr_is_matrix(a) || expr_is_matrix(b);
    return expr_flat(p->pool, matrix ? EXPR_MAT_MUL : EXPR_MUL, a, b);
}

const struct expr *latex_quotient(struct latex_parser *p, const struct expr *top,
                                  const struct expr *bottom)
{
    if (!top || !bottom) {
        return NULL;
    }
    if (expr_is_integer(top) && expr_is_integer(bottom)) {
        if (fmpq_is_zero(bottom->q)) {
            return fmpq_is_zero(top->q) ? latex_fail(p, "0/0 is no number")
                                        : expr_new(p->pool, EXPR_ZOO, 0);
        }
        struct expr *e = expr_integer(p->pool, 0);
        if (e) {
            fmpq_div(e->q, top->q, bottom->q);
        }
        return e;
    }
    const bool matrix = expr_is_matrix(top) || expr_is_matrix(bottom);
    return expr_binary(p->pool, matrix ? EXPR_MAT_MUL : EXPR_MUL, top,
                       expr_binary(p->pool, EXPR_POW, bottom, expr_integer(p->pool, -1)));
}

/* What a token can be to the rules below. */
enum { STARTS = 1, STARTS_FUNCTION = 2, OPENS = 4, CLOSES = 8 };

static const uint8_t TRAITS[TOK_TYPES] = {
    [TOK_L_PAREN] = STARTS | OPENS,
    [TOK_L_GROUP] = STARTS | OPENS,
    [TOK_L_BRACE] = STARTS | OPENS,
    [TOK_L_BRACKET] = STARTS | OPENS,
    [TOK_L_BRACE_VISUAL] = STARTS | OPENS,
    [TOK_L_BRACE_CMD] = STARTS | OPENS,
    [TOK_L_BRACK] = STARTS | OPENS,
    [TOK_L_PAREN_VISUAL] = OPENS,
    [TOK_R_PAREN] = CLOSES,
    [TOK_R_GROUP] = CLOSES,
    [TOK_R_BRACE] = CLOSES,
    [TOK_R_BRACKET] = CLOSES,
    [TOK_R_BRACE_VISUAL] = CLOSES,
    [TOK_R_BRACE_CMD] = CLOSES,
    [TOK_R_BRACK] = CLOSES,
    [TOK_R_PAREN_VISUAL] = CLOSES,
    [TOK_PHANTOM] = STARTS,
    [TOK_BOXED] = STARTS,
    [TOK_BAR] = STARTS,
    [TOK_L_VERT] = STARTS,
    [TOK_L_ANGLE] = STARTS,
    [TOK_L_FLOOR] = STARTS,
    [TOK_LL_CORNER] = STARTS,
    [TOK_L_CEIL] = STARTS,
    [TOK_UL_CORNER] = STARTS,
    [TOK_LETTER] = STARTS,
    [TOK_GREEK] = STARTS,
    [TOK_SYMBOL_CMD] = STARTS,
    [TOK_ACCENT] = STARTS,
    [TOK_INFINITY] = STARTS,
    [TOK_PARTIAL] = STARTS,
    [TOK_NUMBER] = STARTS,
    [TOK_PERCENT_NUMBER] = STARTS,
    [TOK_E_NUMBER] = STARTS,
    [TOK_BIG_E] = STARTS,
    [TOK_GAMMA] = STARTS,
    [TOK_FRAC] = STARTS,
    [TOK_BINOM] = STARTS,
    [TOK_MATRIX] = STARTS,
    [TOK_ARRAY] = STARTS,
    [TOK_DET] = STARTS,
    [TOK_FUNCTION] = STARTS_FUNCTION,
    [TOK_FUNCTIONS] = STARTS_FUNCTION,
    [TOK_OPERATORNAME] = STARTS_FUNCTION,
    [TOK_INT] = STARTS_FUNCTION,
    [TOK_SQRT] = STARTS_FUNCTION,
    [TOK_SUM] = STARTS_FUNCTION,
    [TOK_PROD] = STARTS_FUNCTION,
    [TOK_LIM] = STARTS_FUNCTION,
    [TOK_EXP_E] = STARTS_FUNCTION,
};

bool latex_starts_factor(const struct latex_parser *p, bool functions)
{
    const enum latex_type type = p->tokens[p->at].type;
    switch (type) {
    case TOK_VERT:
        return p->verts == 0;
    case TOK_NORM:
        return p->norms == 0;
    case TOK_DIFFERENTIAL:
        return p->integrals == 0;
    default:
        return TRAITS[type] & STARTS || (functions && TRAITS[type] & STARTS_FUNCTION);
    }
}

/* A bar between factors: does it open another absolute value or close the one we are in? */
static bool bar_opens(struct latex_parser *p)
{
    if (p->bars == 0) {
        return true;
    }
    p->at++;
    const enum latex_type next = latex_peek(p, 0);
    const bool could = latex_starts_factor(p, true) || next == TOK_ADD || next == TOK_SUB;
    p->at--;
    return could && latex_choose(p) == 0;
}

/* base^a^b... where the base is no letter (letters take their own superscript). */
static const struct expr *power(struct latex_parser *p, bool functions)
{
    const struct expr *base = latex_compound(p, functions);
    while (base && latex_peek(p, 0) == TOK_CARET) {
        const struct expr *exponent;
        p->at++;
        if (!latex_superscript(p, &exponent)) {
            return NULL;
        }
        int begin;
        int end;
        if (latex_take(p, TOK_UNDERSCORE) && !latex_subscript(p, &begin, &end)) {
            return NULL;
        }
        base = expr_binary(p->pool, EXPR_POW, base, exponent);
    }
    return base;
}

/* f|_{x=a}: no substitution is made, such an answer has no value. */
static bool takes_eval_at(struct latex_parser *p)
{
    const enum latex_type next = latex_peek(p, 1);
    return latex_peek(p, 0) == TOK_BAR && (next == TOK_UNDERSCORE || next == TOK_CARET) &&
           latex_peek(p, 2) == TOK_L_BRACE && p->bars == 0;
}

static const struct expr *postfix(struct latex_parser *p, bool functions)
{
    const struct expr *e = power(p, functions);
    while (e) {
        if (latex_take(p, TOK_BANG)) {
            e = expr_call(p->pool, FN_FACTORIAL, e, NULL);
        } else if (latex_take(p, TOK_TRANSPOSE)) {
            e = expr_is_matrix(e) ? expr_unary(p->pool, EXPR_TRANSPOSE, e) : e;
        } else if (takes_eval_at(p)) {
            return latex_fail(p, "substitution at a bar");
        } else if (!latex_take(p, TOK_DEGREE)) {
            break;
        }
    }
    return e;
}

/* A factor and what is written right behind it, as the reference parser joins them: an integer
 * before a positive rational is a mixed number. */
static const struct expr *join(struct latex_parser *p, const struct expr *left,
                               const struct expr *right)
{
    if (!left || !right) {
        return NULL;
    }
    if (left->kind == EXPR_DERIVATIVE && left->count == 1) {
        return expr_binary(p->pool, EXPR_DERIVATIVE, right, left->args[0]);
    }
    if (!expr_is_matrix(right) && expr_is_integer(left) && right->kind == EXPR_RATIONAL &&
        fmpq_sgn(right->q) > 0 && !(p->strict && expr_is_integer(right))) {
        struct expr *e = expr_integer(p->pool, 0);
        if (e && fmpq_sgn(left->q) < 0) {
            fmpq_sub(e->q, left->q, right->q);
        } else if (e) {
            fmpq_add(e->q, left->q, right->q);
        }
        return e;
    }
    return latex_product(p, left, right);
}

struct factor {
    struct factor *before;
    const struct expr *e;
};

static const struct expr *factors(struct latex_parser *p, bool functions)
{
    struct factor *last = NULL;
    bool allowed = true; /* the first factor may be a function in any case */
    for (;;) {
        if (!latex_starts_factor(p, allowed) ||
            (last && latex_peek(p, 0) == TOK_BAR && !bar_opens(p))) {
            break;
        }
        struct factor *f = expr_alloc(p->pool, sizeof *f);
        if (!f) {
            return latex_fail(p, "out of memory");
        }
        f->before = last;
        f->e = postfix(p, allowed);
        if (!f->e) {
            return NULL;
        }
        last = f;
        allowed = functions;
    }
    if (!last) {
        return NULL;
    }
    const struct expr *e = last->e;
    if (e->kind == EXPR_DERIVATIVE && e->count == 1) {
        return latex_fail(p, "a derivative of nothing");
    }
    for (const struct factor *f = last->before; f && e; f = f->before) {
        e = join(p, f->e, e);
    }
    return e;
}

static const struct expr *unary(struct latex_parser *p, bool functions)
{
    int minus = 0;
    int signs = 0;
    if (++p->steps > LATEX_MAX_STEPS || p->pool->exhausted) {
        return latex_fail(p, "the LaTeX is too complex");
    }
    while (latex_peek(p, 0) == TOK_ADD || latex_peek(p, 0) == TOK_SUB) {
        minus += latex_peek(p, 0) == TOK_SUB;
        p->at++;
        if (++signs > LATEX_MAX_DEPTH) {
            return latex_fail(p, "the LaTeX is nested too deeply");
        }
    }
    const struct expr *e = factors(p, functions);
    for (int i = 0; e && i < minus; i++) {
        e = latex_negate(p, e);
    }
    return e;
}

const struct expr *latex_mp(struct latex_parser *p, bool functions)
{
    const struct expr *left = unary(p, functions);
    while (left) {
        const enum latex_type op = latex_peek(p, 0);
        const bool times = op == TOK_MUL || op == TOK_TIMES || op == TOK_CDOT;
        if (!times && op != TOK_DIV && op != TOK_COLON && op != TOK_MOD) {
            break;
        }
        p->at++;
        const struct expr *right = unary(p, functions);
        if (!right) {
            return NULL;
        }
        if (times) {
            left = latex_product(p, left, right);
        } else if (op == TOK_MOD) {
            left = expr_call(p->pool, FN_MOD, left, right);
        } else {
            left = latex_quotient(p, left, right);
        }
    }
    return left;
}

const struct expr *latex_expr(struct latex_parser *p)
{
    if (++p->depth > LATEX_MAX_DEPTH) {
        return latex_fail(p, "the LaTeX is nested too deeply");
    }
    const struct expr *left = latex_mp(p, true);
    while (left && (latex_peek(p, 0) == TOK_ADD || latex_peek(p, 0) == TOK_SUB)) {
        const bool minus = latex_peek(p, 0) == TOK_SUB;
        p->at++;
        const struct expr *right = latex_mp(p, true);
        if (right && minus) {
            right = latex_negate(p, right);
        }
        if (!right) {
            return NULL;
        }
        const bool matrix = expr_is_matrix(left) || expr_is_matrix(right);
        left = expr_flat(p->pool, matrix ? EXPR_MAT_ADD : EXPR_ADD, left, right);
    }
    p->depth--;
    return left;
}

/* Pairs brackets of any kinds, since intervals mix them, and counts what stands in between. */
static bool find_spans(struct latex_parser *p, int count)
{
    p->spans = expr_alloc(p->pool, (size_t)count * sizeof *p->spans);
    int32_t *stack = expr_alloc(p->pool, (size_t)count * sizeof *stack);
    int open = 0;
    if (!p->spans || !stack) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        const enum latex_type type = p->tokens[i].type;
        p->spans[i].close = -1;
        if (TRAITS[type] & OPENS) {
            stack[open++] = i;
        } else if (open > 0) {
            struct latex_span *in = &p->spans[stack[open - 1]];
            in->commas = (uint16_t)(in->commas + (type == TOK_COMMA));
            in->semicolons = (uint16_t)(in->semicolons + (type == TOK_SEMICOLON));
            in->choose = in->choose || type == TOK_CHOOSE;
            if (TRAITS[type] & CLOSES) {
                in->close = i;
                open--;
            }
        }
    }
    return true;
}

/* The next combination of choices; false when all were tried. */
static bool next_choices(struct latex_parser *p)
{
    while (p->choice_count > 0 && p->choices[p->choice_count - 1] == 1) {
        p->choice_count--;
    }
    if (p->choice_count == 0) {
        return false;
    }
    p->choices[p->choice_count - 1] = 1;
    return true;
}

const struct expr *latex_parse(struct expr_pool *pool, const char *text, bool real, bool strict,
                               const char **reason)
{
    typedef const struct expr *(*reading_fn)(struct latex_parser *);
    static const reading_fn READINGS[] = {
        latex_elements_relation,
        latex_elements,
        latex_set_relation,
    };
    struct latex_parser p = {.pool = pool, .text = text, .real = real, .strict = strict};
    struct latex_token *tokens;
    int count;
    *reason = latex_lex(pool, text, &tokens, &count);
    if (*reason) {
        return NULL;
    }
    p.tokens = tokens;
    *reason = "not readable as LaTeX mathematics";
    if (!find_spans(&p, count)) {
        *reason = "out of memory";
        return NULL;
    }
    for (size_t r = 0; r < sizeof READINGS / sizeof *READINGS; r++) {
        int tries = 0;
        p.choice_count = 0;
        do {
            p.at = p.depth = p.bars = p.verts = p.norms = p.integrals = p.choice_at = 0;
            const struct expr *e = READINGS[r](&p);
            if (e && latex_peek(&p, 0) == TOK_END) {
                return e;
            }
            if (p.fatal) {
                *reason = p.fatal;
                return NULL;
            }
        } while (++tries < LATEX_MAX_TRIES && next_choices(&p));
    }
    return NULL;
}
