/* Questions of algebra: linear equations, real roots of polynomials, complex numbers. */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/number.h"
#include "eval/tasks/procedural_internal.h"

enum { ATTEMPTS = 100 };

/* ---- simple_equations ---- */

/* a * x + b as sympy writes it: the variable first, but "5 - 3*x". */
static enum status linear_text(__int128 a, __int128 b, char x, char **out)
{
    char factor[48];
    char rest[48];
    const __int128 size = a < 0 ? -a : a;
    question_wide(size, factor);
    question_wide(b < 0 ? -b : b, rest);
    (void)strncat(factor, "*", 2);
    const char *shown = size == 1 ? "" : factor;
    if (b > 0 && a < 0) {
        return question_set(out, "%s - %s%c", rest, shown, x);
    }
    TRY(question_set(out, "%s%s%c", a < 0 ? "-" : "", shown, x));
    return b == 0 ? STATUS_OK : question_add(out, " %c %s", b < 0 ? '-' : '+', rest);
}

/* Terms from the left; true when a and b fit. */
static bool draw_linear(struct question *q, int64_t terms, __int128 *a, __int128 *b)
{
    const unsigned bits = (unsigned)question_value(q, "operators");
    const int64_t place = question_between(q, 0, terms - 1);
    bool fits = true;
    *a = 0;
    *b = 0;
    for (int64_t i = 0; i < terms; i++) {
        const int64_t x = question_range(q, "min_value", "max_value");
        const __int128 slope = i == place ? (bits & 4 ? x : 1) : 0;
        const __int128 constant = i == place ? 0 : x;
        int op = i == 0 ? 0 : question_weighted(q, 3);
        while (i > 0 && !(bits >> op & 1)) { /* operators that are left out keep no weight */
            op = (op + 1) % 3;
        }
        if (op == 2) { /* one of the two factors is a constant */
            const __int128 left = *b;
            fits = fits && !__builtin_mul_overflow(*a, constant, a)
                   && !__builtin_mul_overflow(*b, constant, b);
            *a = i == place ? left * slope : *a;
        } else {
            *a += op == 1 ? -slope : slope;
            *b += op == 1 ? -constant : constant;
        }
        fits = fits && *a < (__int128)1 << 100 && *a > -((__int128)1 << 100)
               && *b < (__int128)1 << 100 && *b > -((__int128)1 << 100);
        if (!fits) {
            return false;
        }
    }
    return *a != 0;
}

enum status question_equation(struct question *q)
{
    __int128 a = 0;
    __int128 b = 0;
    __int128 right = 0;
    char side[48];
    char *left = NULL;
    bool found = false;
    const char x = (char)('a' + question_below(q, 26));
    const int64_t terms = question_range(q, "min_terms", "max_terms");
    const int64_t solution = question_range(q, "min_value", "max_value");
    for (int i = 0; i < ATTEMPTS && !found; i++) {
        found = draw_linear(q, terms, &a, &b) && !__builtin_mul_overflow(a, solution, &right)
                && !__builtin_add_overflow(right, b, &right);
    }
    if (!found) {
        return FAIL(RECIPE, "procedural: no question of simple_equations has this difficulty");
    }
    question_wide(right, side);
    enum status status = linear_text(a, b, x, &left);
    if (status == STATUS_OK) {
        status = question_add(&left, " = %s", side);
    }
    if (status == STATUS_OK) {
        switch (question_below(q, 3)) {
        case 0:
            status = question_set(&q->text, "Find the value of %c in the equation: %s", x, left);
            break;
        case 1:
            status = question_set(&q->text, "Solve for %c: %s", x, left);
            break;
        default:
            status =
                question_set(&q->text, "Determine the value of %c that satisfies: %s", x, left);
            break;
        }
    }
    if (status == STATUS_OK) {
        status = question_note(q, "equation", json_string(left));
    }
    free(left);
    TRY(status);
    TRY(question_set(&q->answer, "%" PRId64, solution));
    const char name[2] = {x, '\0'};
    TRY(question_note(q, "variable", json_string(name)));
    TRY(question_difficulty(q, "terms", "min_terms", "max_terms"));
    return question_difficulty(q, "value", "min_value", "max_value");
}

/* ---- polynomial_equations ---- */

enum { MOST_DEGREE = 8 };

struct polynomial {
    int64_t c[MOST_DEGREE + 1]; /* of x^i */
    int degree;                 /* -1: zero */
};

static void trim(struct polynomial *p)
{
    while (p->degree >= 0 && p->c[p->degree] == 0) {
        p->degree--;
    }
}

static long double evaluate(const long double *c, int degree, long double x, long double *size)
{
    long double y = 0;
    long double s = 0;
    for (int i = degree; i >= 0; i--) {
        y = y * x + c[i];
        s = s * fabsl(x) + fabsl(c[i]);
    }
    *size = s;
    return y;
}

/* Root between a and b, where the signs differ. */
static long double bisect(const long double *c, int degree, long double a, long double b)
{
    long double size;
    const bool rising = evaluate(c, degree, a, &size) < 0;
    for (int i = 0; i < 200; i++) {
        const long double middle = (a + b) / 2;
        const bool low = (evaluate(c, degree, middle, &size) < 0) == rising;
        *(low ? &a : &b) = middle;
    }
    return (a + b) / 2;
}

/* Real roots of c, ascending, each once; between the roots of the derivative c is monotonic. */
static int real_roots(const long double *c, int degree, long double *roots)
{
    static const long double TOUCH = 1e-13L; /* a double root shows as a value of rounding size */
    long double derivative[MOST_DEGREE + 1] = {0};
    long double turns[MOST_DEGREE + 2];
    long double size;
    int count = 0;
    if (degree < 1) {
        return 0;
    }
    long double bound = 0; /* of Cauchy */
    for (int i = 0; i < degree; i++) {
        bound = fmaxl(bound, fabsl(c[i] / c[degree]));
        derivative[i] = c[i + 1] * (long double)(i + 1);
    }
    turns[0] = -bound - 1;
    const int inner = real_roots(derivative, degree - 1, turns + 1);
    turns[inner + 1] = bound + 1;
    for (int i = 0; i <= inner; i++) {
        const long double left = evaluate(c, degree, turns[i], &size);
        if (i > 0 && fabsl(left) <= TOUCH * size) {
            roots[count++] = turns[i];
            continue;
        }
        const long double right = evaluate(c, degree, turns[i + 1], &size);
        const bool touches = i < inner && fabsl(right) <= TOUCH * size;
        if (!touches && (left < 0) != (right < 0)) {
            roots[count++] = bisect(c, degree, turns[i], turns[i + 1]);
        }
    }
    return count;
}

static int polynomial_roots(const struct polynomial *p, long double *roots)
{
    long double c[MOST_DEGREE + 1] = {0};
    int zeros = 0;
    while (p->c[zeros] == 0) {
        zeros++;
    }
    for (int i = zeros; i <= p->degree; i++) {
        c[i - zeros] = (long double)p->c[i];
    }
    int count = real_roots(c, p->degree - zeros, roots);
    if (zeros > 0) { /* 0 goes to its place */
        int at = count;
        for (; at > 0 && roots[at - 1] > 0; at--) {
            roots[at] = roots[at - 1];
        }
        roots[at] = 0;
        count++;
    }
    return count;
}

/* As sympy writes it: -3*x**2 + x - 2, but "5 - 3*x" for two terms of which one is constant. */
static enum status polynomial_text(const struct polynomial *p, char x, char **out)
{
    int terms = 0;
    int top = -1;
    for (int i = 0; i <= p->degree; i++) {
        terms += p->c[i] != 0;
        top = i > 0 && p->c[i] != 0 ? i : top;
    }
    const bool constant_first = terms == 2 && p->c[0] > 0 && top > 0 && p->c[top] < 0;
    TRY(question_set(out, "%s", ""));
    if (constant_first) {
        TRY(question_add(out, "%" PRId64, p->c[0]));
    }
    for (int i = p->degree; i >= (constant_first ? 1 : 0); i--) {
        const int64_t c = p->c[i];
        const bool first = **out == '\0';
        if (c == 0) {
            continue;
        }
        TRY(question_add(out, "%s", first ? (c < 0 ? "-" : "") : c < 0 ? " - " : " + "));
        if (i == 0 || (c != 1 && c != -1)) {
            TRY(question_add(out, "%" PRId64 "%s", c < 0 ? -c : c, i > 0 ? "*" : ""));
        }
        if (i > 1) {
            TRY(question_add(out, "%c**%d", x, i));
        } else if (i == 1) {
            TRY(question_add(out, "%c", x));
        }
    }
    return STATUS_OK;
}

static void draw_polynomial(struct question *q, int64_t degree, int64_t terms, struct polynomial *p)
{
    const bool minus = (unsigned)question_value(q, "operators") & 2U;
    *p = (struct polynomial){.degree = (int)degree};
    for (int64_t i = 0; i < terms; i++) {
        const int64_t power = i == 0 ? degree : question_between(q, 0, degree);
        const int64_t c = question_range(q, "min_value", "max_value");
        p->c[power] += minus && question_flip(q) ? -c : c;
    }
    trim(p);
}

static enum status polynomial_question(struct question *q, const char *text, char x)
{
    static const char RULES[] =
        "\nIn solving equations, please follow these instructions:\n"
        "1. Provide all answers as comma-separated decimal values. For example: \"-0.3773, 0.4005\"\n"
        "2. For solutions that can be expressed in exact form (like \"u = 2 + sqrt(4560)/172\" and "
        "\"u = 2 - sqrt(4560)/172\"), convert them to decimal form in your final answer.\n"
        "3. If there are no real values that satisfy the equation, report your answer as an empty "
        "string: \"\"\n"
        "4. Format your answer based on the number of solutions:\n"
        "   - For 1 solution: a single decimal number\n"
        "   - For 2 solutions: two comma-separated decimal numbers\n"
        "   - For 3 or more solutions: all values as comma-separated decimal numbers\n"
        "5. Round all decimal values to 4 decimal places (rounding down when the 5th decimal place is "
        "5 or greater).\n";
    switch (question_below(q, 4)) {
    case 0:
        TRY(question_set(&q->text, "Find the real value(s) of %c in the equation: ", x));
        break;
    case 1:
        TRY(question_set(&q->text, "Solve for real %c: ", x));
        break;
    case 2:
        TRY(question_set(&q->text, "Determine the real value(s) of %c that satisfies: ", x));
        break;
    default:
        TRY(question_set(&q->text, "Solve the polynomial equation for real %c:\n", x));
        break;
    }
    return question_add(&q->text, "%s = 0%s", text, RULES);
}

enum status question_polynomial(struct question *q)
{
    enum { TRIES = 20 };
    struct polynomial p = {.degree = -1};
    long double roots[MOST_DEGREE + 1];
    int count = 0;
    int64_t degree = 0;
    int64_t terms = 0;
    const char x = "abcdefghklmnopqrstuvwxyz"[question_below(q, 24)];
    for (int i = 0; i < TRIES && (count == 0 || p.degree < 1); i++) {
        degree = question_range(q, "min_degree", "max_degree");
        terms = question_range(q, "min_terms", "max_terms");
        draw_polynomial(q, degree, terms, &p);
        count = p.degree < 1 ? 0 : polynomial_roots(&p, roots);
    }
    if (p.degree < 1) { /* terms that cancel out each time */
        p = (struct polynomial){.c = {-1, 1}, .degree = 1};
        count = polynomial_roots(&p, roots);
    }
    char *text = NULL;
    json_t *list = json_array();
    enum status status = polynomial_text(&p, x, &text);
    if (status == STATUS_OK) {
        status = polynomial_question(q, text, x);
    }
    TRY(question_set(&q->answer, "%s", ""));
    for (int i = 0; i < count && status == STATUS_OK; i++) {
        char digits[32];
        const double rounded = round((double)roots[i] * 1e4) / 1e4 + 0.0;
        number_repr(rounded, digits);
        (void)json_array_append_new(list, json_real(rounded));
        status = question_add(&q->answer, "%s%s", i ? ", " : "", digits);
    }
    if (status == STATUS_OK) {
        status = question_note(q, "polynomial_expr", json_string(text));
    }
    free(text);
    if (status != STATUS_OK) {
        json_decref(list);
        return status;
    }
    TRY(question_note(q, "real_solutions", list));
    const char name[2] = {x, '\0'};
    TRY(question_note(q, "variable", json_string(name)));
    TRY(question_note(q, "degree", json_integer(degree)));
    TRY(question_note(q, "num_terms", json_integer(terms)));
    TRY(question_difficulty(q, "terms", "min_terms", "max_terms"));
    return question_difficulty(q, "degree", "min_degree", "max_degree");
}

/* ---- complex_arithmetic ---- */

/* "4.0 - 5.0i", "4.00" and "5.00i", as the package shows them. */
static void complex_shown(double real, double imaginary, char out[96])
{
    char a[32];
    char b[32];
    if (imaginary == 0) {
        (void)snprintf(out, 96, "%.2f", real);
    } else if (real == 0) {
        (void)snprintf(out, 96, "%.2fi", imaginary);
    } else {
        number_repr(real, a);
        number_repr(fabs(imaginary), b);
        (void)snprintf(out, 96, "%s %c %si", a, imaginary < 0 ? '-' : '+', b);
    }
}

static json_t *complex_json(double real, double imaginary)
{
    return json_pack("[f, f]", real, imaginary);
}

enum status question_complex(struct question *q)
{
    static const char *const VERBS[] = {"Add", "Subtract", "Multiply", "Divide"};
    static const char *const SIGNS[] = {"+", "-", "\xc3\x97", "\xc3\xb7"};
    static const char *const NAMES[] = {"+", "-", "*", "/"};
    int op = question_weighted(q, 4);
    while (!((unsigned)question_value(q, "operations") >> op & 1)) {
        op = (op + 1) % 4;
    }
    double n[3][2]; /* left, right, result */
    for (int i = 0; i < 2; i++) {
        n[i][0] = (double)question_range(q, "min_real", "max_real");
        n[i][1] = (double)question_range(q, "min_imag", "max_imag");
    }
    for (int i = 0; i < ATTEMPTS && op == 3 && n[1][0] == 0 && n[1][1] == 0; i++) {
        n[1][0] = (double)question_range(q, "min_real", "max_real");
        n[1][1] = (double)question_range(q, "min_imag", "max_imag");
    }
    if (op == 3 && n[1][0] == 0 && n[1][1] == 0) {
        return FAIL(RECIPE, "procedural: complex_arithmetic can divide by 0 alone; widen its ranges");
    }
    const double product[2] = {n[0][0] * n[1][0] - n[0][1] * n[1][1],
                               n[0][0] * n[1][1] + n[0][1] * n[1][0]};
    for (int part = 0; part < 2; part++) {
        if (op < 2) {
            n[2][part] = op == 0 ? n[0][part] + n[1][part] : n[0][part] - n[1][part];
        } else if (op == 2) {
            n[2][part] = product[part];
        } else { /* the quotient was drawn; the dividend follows */
            n[2][part] = n[0][part];
            n[0][part] = product[part];
        }
    }
    char shown[3][96];
    for (int i = 0; i < 3; i++) {
        complex_shown(n[i][0], n[i][1], shown[i]);
    }
    TRY(question_set(&q->text, "%s the complex numbers: (%s) %s (%s)", VERBS[op], shown[0],
                     SIGNS[op], shown[1]));
    TRY(question_set(&q->answer, "%s", shown[2]));
    TRY(question_note(q, "num1", complex_json(n[0][0], n[0][1])));
    TRY(question_note(q, "num2", complex_json(n[1][0], n[1][1])));
    TRY(question_note(q, "operation", json_string(NAMES[op])));
    TRY(question_note(q, "result", json_pack("[I, I]", (json_int_t)n[2][0], (json_int_t)n[2][1])));
    TRY(question_difficulty(q, "real", "min_real", "max_real"));
    return question_difficulty(q, "imag", "min_imag", "max_imag");
}
