/* Expression trees; see expr.h. */
#include "eval/grade/expr.h"

#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 1 << 16, DOUBLE_BITS = 53, MAX_EXPONENT = 20000 };

static const double BITS_PER_DIGIT = 3.3219280948873626;

struct expr_block {
    struct expr_block *next;
    size_t used, size;
    _Alignas(16) uint8_t bytes[];
};

void expr_pool_open(struct expr_pool *p, size_t limit)
{
    *p = (struct expr_pool){.limit = limit};
}

void expr_pool_reset(struct expr_pool *p)
{
    for (struct expr *e = p->numbers; e; e = e->owned) {
        if (e->kind == EXPR_RATIONAL) {
            fmpq_clear(e->q);
        } else {
            arf_clear(e->f);
        }
    }
    struct expr_block *keep = NULL;
    while (p->blocks) {
        struct expr_block *next = p->blocks->next;
        if (!keep && p->blocks->size == BLOCK_BYTES) {
            keep = p->blocks;
        } else {
            free(p->blocks);
        }
        p->blocks = next;
    }
    if (keep) {
        keep->next = NULL;
        keep->used = 0;
    }
    *p = (struct expr_pool){.limit = p->limit, .blocks = keep};
}

void expr_pool_close(struct expr_pool *p)
{
    expr_pool_reset(p);
    free(p->blocks);
    *p = (struct expr_pool){0};
}

void *expr_alloc(struct expr_pool *p, size_t size)
{
    if (size > p->limit || p->used > p->limit - size) {
        p->exhausted = true;
        return NULL;
    }
    const size_t rounded = (size + 15) & ~(size_t)15;
    struct expr_block *b = p->blocks;
    if (!b || b->size - b->used < rounded) {
        const size_t bytes = rounded > BLOCK_BYTES ? rounded : BLOCK_BYTES;
        b = malloc(sizeof *b + bytes);
        if (!b) {
            p->exhausted = true;
            return NULL;
        }
        *b = (struct expr_block){.next = p->blocks, .size = bytes};
        p->blocks = b;
    }
    void *at = b->bytes + b->used;
    b->used += rounded;
    p->used += rounded;
    memset(at, 0, rounded);
    return at;
}

char *expr_copy_text(struct expr_pool *p, const char *text, size_t length)
{
    char *copy = expr_alloc(p, length + 1);
    if (copy) {
        memcpy(copy, text, length);
    }
    return copy;
}

struct expr *expr_new(struct expr_pool *p, enum expr_kind kind, int count)
{
    if (count < 0 || count > EXPR_MAX_NODES_ARGS) {
        p->exhausted = true;
        return NULL;
    }
    struct expr *e = expr_alloc(p, sizeof *e);
    if (!e) {
        return NULL;
    }
    e->kind = kind;
    e->count = count;
    if (count > 0) {
        e->args = expr_alloc(p, (size_t)count * sizeof(void *));
        if (!e->args) {
            return NULL;
        }
    }
    return e;
}

struct expr *expr_nary(struct expr_pool *p, enum expr_kind kind, const struct expr *const *args,
                       int count)
{
    struct expr *e = expr_new(p, kind, count);
    for (int i = 0; e && i < count; i++) {
        if (!args[i]) {
            return NULL;
        }
        e->args[i] = args[i];
    }
    return e;
}

struct expr *expr_unary(struct expr_pool *p, enum expr_kind kind, const struct expr *a)
{
    return expr_nary(p, kind, &a, 1);
}

struct expr *expr_binary(struct expr_pool *p, enum expr_kind kind, const struct expr *a,
                         const struct expr *b)
{
    const struct expr *args[2] = {a, b};
    return expr_nary(p, kind, args, 2);
}

struct expr *expr_call(struct expr_pool *p, enum expr_fn fn, const struct expr *a,
                       const struct expr *b)
{
    const struct expr *args[2] = {a, b};
    struct expr *e = expr_nary(p, EXPR_CALL, args, b ? 2 : 1);
    if (e) {
        e->fn = fn;
    }
    return e;
}

static struct expr *new_rational(struct expr_pool *p)
{
    struct expr *e = expr_new(p, EXPR_RATIONAL, 0);
    if (e) {
        fmpq_init(e->q);
        e->owned = p->numbers;
        p->numbers = e;
    }
    return e;
}

struct expr *expr_integer(struct expr_pool *p, int64_t n)
{
    struct expr *e = new_rational(p);
    if (e) {
        fmpq_set_si(e->q, n, 1);
    }
    return e;
}

struct expr *expr_rational(struct expr_pool *p, const fmpq_t q)
{
    struct expr *e = new_rational(p);
    if (e) {
        fmpq_set(e->q, q);
    }
    return e;
}

/* q = digits * 10^exponent as a fraction. */
static void scale_decimal(fmpq_t q, const fmpz_t digits, int64_t exponent)
{
    fmpz_t power;
    fmpz_init(power);
    fmpz_set_ui(power, 10);
    fmpz_pow_ui(power, power, (ulong)(exponent < 0 ? -exponent : exponent));
    fmpz_set(fmpq_numref(q), digits);
    fmpz_one(fmpq_denref(q));
    if (exponent < 0) {
        fmpz_set(fmpq_denref(q), power);
        fmpq_canonicalise(q);
    } else {
        fmpz_mul(fmpq_numref(q), fmpq_numref(q), power);
    }
    fmpz_clear(power);
}

/* The parts of a written number. */
struct decimal {
    char digits[EXPR_MAX_DIGITS + 2]; /* sign and digits, no point */
    int64_t significant;              /* digits without leading zeros */
    int64_t exponent;                 /* of the last digit */
    bool is_float;
};

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Sign, digits and at most one point; returns the bytes taken, 0 when there is no digit or too
 * many. */
static size_t read_digits(const char *text, size_t length, struct decimal *d)
{
    size_t i = 0;
    size_t n = 0;
    bool any = false;
    if (length > 0 && (text[0] == '-' || text[0] == '+')) {
        i = 1;
        d->digits[n] = '-';
        n += text[0] == '-';
    }
    for (; i < length && (is_digit(text[i]) || (text[i] == '.' && !d->is_float)); i++) {
        if (text[i] == '.') {
            d->is_float = true;
            continue;
        }
        if (n > EXPR_MAX_DIGITS) {
            return 0;
        }
        any = true;
        d->digits[n++] = text[i];
        d->exponent -= d->is_float;
        d->significant += d->significant > 0 || text[i] != '0';
    }
    d->digits[n] = '\0';
    return any ? i : 0;
}

static bool read_decimal(const char *text, size_t length, struct decimal *d)
{
    size_t i = read_digits(text, length, d);
    if (i == 0 || i == length) {
        return i > 0;
    }
    if (text[i] != 'E' && text[i] != 'e') {
        return false;
    }
    i++;
    const bool negative = i < length && text[i] == '-';
    i += negative || (i < length && text[i] == '+');
    if (i == length) {
        return false;
    }
    int64_t written = 0;
    for (; i < length && is_digit(text[i]); i++) {
        written = written * 10 + (text[i] - '0');
        if (written > MAX_EXPONENT) {
            return false;
        }
    }
    d->is_float = true;
    d->exponent += negative ? -written : written;
    return i == length;
}

struct expr *expr_number(struct expr_pool *p, const char *text, size_t length)
{
    struct decimal d = {0};
    if (!read_decimal(text, length, &d)) {
        return NULL;
    }
    fmpz_t digits;
    fmpz_init(digits);
    fmpz_set_str(digits, d.digits, 10);
    struct expr *e = NULL;
    if (!d.is_float) {
        e = new_rational(p);
        if (e) {
            fmpz_set(fmpq_numref(e->q), digits);
        }
    } else if ((e = expr_new(p, EXPR_FLOAT, 0))) {
        fmpq_t exact;
        fmpq_init(exact);
        scale_decimal(exact, digits, d.exponent);
        /* 15 decimal digits are 53 bits; more digits ask for more. */
        e->bits = d.significant <= 15
                      ? DOUBLE_BITS
                      : (int64_t)((double)(d.significant + 1) * BITS_PER_DIGIT + 0.5);
        arf_init(e->f);
        arf_fmpz_div_fmpz(e->f, fmpq_numref(exact), fmpq_denref(exact), e->bits, ARF_RND_NEAR);
        fmpq_clear(exact);
        e->owned = p->numbers;
        p->numbers = e;
    }
    fmpz_clear(digits);
    return e;
}

struct expr *expr_relate(struct expr_pool *p, enum expr_relation relation, const struct expr *lhs,
                         const struct expr *rhs)
{
    struct expr *e = expr_binary(p, EXPR_RELATION, lhs, rhs);
    if (e) {
        e->relation = relation;
    }
    return e;
}

struct expr *expr_symbol(struct expr_pool *p, const char *name, size_t length, bool real)
{
    struct expr *e = expr_new(p, EXPR_SYMBOL, 0);
    if (e) {
        e->name = expr_copy_text(p, name, length);
        e->real = real;
    }
    return e && e->name ? e : NULL;
}

struct expr *expr_flat(struct expr_pool *p, enum expr_kind kind, const struct expr *a,
                       const struct expr *b)
{
    if (!a || !b) {
        return NULL;
    }
    const int na = a->kind == kind ? a->count : 1;
    const int nb = b->kind == kind ? b->count : 1;
    struct expr *e = expr_new(p, kind, na + nb);
    for (int i = 0; e && i < na; i++) {
        e->args[i] = a->kind == kind ? a->args[i] : a;
    }
    for (int i = 0; e && i < nb; i++) {
        e->args[na + i] = b->kind == kind ? b->args[i] : b;
    }
    return e;
}

struct expr *expr_set(struct expr_pool *p, const struct expr *const *args, int count)
{
    if (count == 0) {
        struct expr *empty = expr_new(p, EXPR_NAMED_SET, 0);
        if (empty) {
            empty->name = "EmptySet";
        }
        return empty;
    }
    /* The written list, and after it the distinct elements. */
    struct expr *e = count > EXPR_MAX_NODES_ARGS / 4 ? NULL : expr_new(p, EXPR_SET, 2 * count);
    if (!e) {
        p->exhausted = true;
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        if (!args[i]) {
            return NULL;
        }
        e->args[i] = args[i];
        bool seen = false;
        for (int j = 0; j < e->distinct && !seen; j++) {
            seen = expr_same(e->args[count + j], args[i]);
        }
        if (!seen) {
            e->args[count + e->distinct++] = args[i];
        }
    }
    e->count = count;
    return e;
}

struct expr *expr_percent(struct expr_pool *p, const struct expr *a)
{
    return expr_binary(p, EXPR_MUL, a, expr_new(p, EXPR_PERCENT, 0));
}

const struct expr *expr_percent_of(const struct expr *e)
{
    return e->kind == EXPR_MUL && e->count == 2 && e->args[1]->kind == EXPR_PERCENT ? e->args[0]
                                                                                  : NULL;
}

bool expr_is_integer(const struct expr *e)
{
    return e->kind == EXPR_RATIONAL && fmpz_is_one(fmpq_denref(e->q));
}

bool expr_is_number(const struct expr *e)
{
    return e->kind == EXPR_RATIONAL || e->kind == EXPR_FLOAT || e->kind == EXPR_INFINITY ||
           e->kind == EXPR_NEG_INFINITY;
}

bool expr_is_matrix(const struct expr *e)
{
    return e->kind == EXPR_MATRIX || e->kind == EXPR_MAT_ADD || e->kind == EXPR_MAT_MUL ||
           e->kind == EXPR_TRANSPOSE;
}

bool expr_is_set(const struct expr *e)
{
    return e->kind == EXPR_SET || (e->kind >= EXPR_INTERVAL && e->kind <= EXPR_NAMED_SET);
}

/* Same members in any order; both hold distinct elements. */
static bool same_members(const struct expr *a, const struct expr *b)
{
    if (a->distinct != b->distinct) {
        return false;
    }
    for (int i = 0; i < a->distinct; i++) {
        bool found = false;
        for (int j = 0; j < b->distinct && !found; j++) {
            found = expr_same(a->args[a->count + i], b->args[b->count + j]);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

/* Sets written as operations do not keep an order. */
static bool same_in_any_order(const struct expr *a, const struct expr *b)
{
    for (int i = 0; i < a->count; i++) {
        bool found = false;
        for (int j = 0; j < b->count && !found; j++) {
            found = expr_same(a->args[i], b->args[j]);
        }
        if (!found) {
            return false;
        }
    }
    return true;
}

bool expr_same(const struct expr *a, const struct expr *b)
{
    if (a == b) {
        return true;
    }
    if (a->kind != b->kind) {
        return false;
    }
    switch (a->kind) {
    case EXPR_RATIONAL:
        return fmpq_equal(a->q, b->q);
    case EXPR_FLOAT:
        return arf_equal(a->f, b->f);
    case EXPR_SYMBOL:
        return a->real == b->real && strcmp(a->name, b->name) == 0;
    case EXPR_SET:
        return same_members(a, b);
    case EXPR_UNION:
    case EXPR_INTERSECTION:
        return a->count == b->count && same_in_any_order(a, b);
    default:
        break;
    }
    if (a->count != b->count || a->relation != b->relation || a->fn != b->fn ||
        a->left_open != b->left_open || a->right_open != b->right_open || a->rows != b->rows ||
        (a->name && strcmp(a->name, b->name) != 0)) {
        return false;
    }
    for (int i = 0; i < a->count; i++) {
        if (!expr_same(a->args[i], b->args[i])) {
            return false;
        }
    }
    return true;
}
