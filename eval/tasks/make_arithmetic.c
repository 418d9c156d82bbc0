/* Questions of whole numbers: expressions, sums, products, divisors, factors, fractions, bases. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"

enum { ATTEMPTS = 100 };

static int64_t power_of(int64_t base, int64_t n)
{
    int64_t x = 1;
    for (int64_t i = 0; i < n; i++) {
        x *= base;
    }
    return x;
}

static enum status no_question(const struct question *q)
{
    return FAIL(RECIPE, "procedural: no question of %s has this difficulty; widen its ranges",
                procedural_name(q->config.task));
}

static int64_t gcd(int64_t a, int64_t b)
{
    while (b != 0) {
        const int64_t t = a % b;
        a = b;
        b = t;
    }
    return a < 0 ? -a : a;
}

/* A list of whole numbers, "3, 4" and as metadata. */
static enum status note_numbers(struct question *q, const int64_t *numbers, int64_t count,
                                char **text)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < count; i++) {
        (void)json_array_append_new(list, json_integer(numbers[i]));
        TRY(question_add(text, "%s%" PRId64, i ? ", " : "", numbers[i]));
    }
    return question_note(q, "numbers", list);
}

/* ---- basic_arithmetic ---- */

struct expression {
    struct question *q;
    char *text;
    const char *gap; /* between parts; NULL: at random */
    char operators[4];
    int operator_count;
    int64_t largest;
    bool brackets;
    bool negation;
    bool overflow;
};

static enum status put_part(struct expression *e, const char *part)
{
    const char *gap = e->gap ? e->gap : question_below(e->q, 7) == 0 ? " " : "";
    return question_add(&e->text, "%s%s", e->text ? gap : "", part);
}

static enum status put_number(struct expression *e, __int128 x)
{
    char digits[48];
    question_wide(x, digits);
    return put_part(e, digits);
}

static enum status put_sum(struct expression *e, int64_t terms, __int128 *value);

/* A number, or a bracket that uses up to `most` terms; *used of them. */
static enum status put_operand(struct expression *e, int64_t most, __int128 *value, int64_t *used)
{
    *used = 1;
    if (e->brackets && most > 1 && question_flip(e->q)) {
        const bool minus = e->negation && question_flip(e->q);
        *used = question_between(e->q, 2, most);
        TRY(put_part(e, minus ? "-(" : "("));
        TRY(put_sum(e, *used, value));
        *value = minus ? -*value : *value;
        return put_part(e, ")");
    }
    *value = question_between(e->q, e->brackets ? -e->largest : 0, e->largest);
    return put_number(e, *value);
}

/* A divisor of x, at most the largest operand; any where x is 0. */
static int64_t draw_divisor(struct expression *e, __int128 x)
{
    enum { TRIALS = 10000 };
    const int64_t most = e->largest < TRIALS ? e->largest : TRIALS;
    int64_t chosen = 1;
    int64_t seen = 0;
    if (x == 0) {
        return question_between(e->q, 1, e->largest);
    }
    for (int64_t d = 2; d <= most; d++) { /* each with the same chance */
        if (x % d == 0 && question_below(e->q, (uint64_t)++seen) == 0) {
            chosen = d;
        }
    }
    return chosen;
}

/* `terms` operands with operators between them; divisions have no remainder. */
static enum status put_sum(struct expression *e, int64_t terms, __int128 *value)
{
    __int128 sum = 0;
    __int128 product;
    int sign = 1;
    int64_t used;
    TRY(put_operand(e, terms > 1 ? terms - 1 : 1, &product, &used));
    for (int64_t left = terms - used; left > 0; left -= used) {
        const char op[2] = {e->operators[question_below(e->q, (uint64_t)e->operator_count)], '\0'};
        __int128 operand;
        TRY(put_part(e, op));
        if (*op == '/') {
            operand = draw_divisor(e, product);
            used = 1;
            TRY(put_number(e, operand));
            product /= operand;
            continue;
        }
        TRY(put_operand(e, left, &operand, &used));
        if (*op == '*') {
            e->overflow = e->overflow || __builtin_mul_overflow(product, operand, &product);
            continue;
        }
        e->overflow = e->overflow || __builtin_add_overflow(sum, sign * product, &sum);
        sign = *op == '-' ? -1 : 1;
        product = operand;
    }
    e->overflow = e->overflow || __builtin_add_overflow(sum, sign * product, value);
    return STATUS_OK;
}

static void take_operators(const struct question *q, struct expression *e)
{
    static const char ALL[] = "+-*/";
    const unsigned bits = (unsigned)question_value(q, "operators");
    for (int i = 0; i < 4; i++) {
        if (bits >> i & 1) {
            e->operators[e->operator_count++] = ALL[i];
        }
    }
}

enum status question_basic_arithmetic(struct question *q)
{
    static const char *const QUESTIONS[] = {"What is %s?", "Solve %s.", "Compute %s.",
                                            "Evaluate: %s."};
    static const char *const GAPS[] = {"", " ", NULL};
    const int64_t terms = question_range(q, "min_terms", "max_terms");
    const int64_t digits = question_range(q, "min_digits", "max_digits");
    const bool natural = question_value(q, "format_style") != 0;
    struct expression e = {
        .q = q,
        .gap = GAPS[(int)question_value(q, "whitespace")],
        .largest = power_of(10, digits) - 1,
        .brackets = question_value(q, "allow_parentheses") != 0,
        .negation = question_value(q, "allow_negation") != 0,
    };
    __int128 value = 0;
    enum status status = STATUS_OK;
    char answer[48];
    take_operators(q, &e);
    int tries = 0;
    do {
        free(e.text);
        e.text = NULL;
        e.overflow = false;
        status = put_sum(&e, terms, &value);
    } while (status == STATUS_OK && e.overflow && ++tries < ATTEMPTS);
    if (status == STATUS_OK && e.overflow) {
        status = no_question(q);
    }
    question_wide(value, answer);
    const char *form = natural ? QUESTIONS[question_below(q, 4)] : "Calculate %s.";
    const size_t before = strcspn(form, "%");
    if (status == STATUS_OK) {
        status = question_set(&q->text, "%.*s%s%s", (int)before, form, e.text, form + before + 2);
    }
    if (status == STATUS_OK) {
        status = question_note(q, "expression", json_string(e.text));
    }
    free(e.text);
    TRY(status);
    TRY(question_set(&q->answer, "%s", answer));
    TRY(question_note(q, "num_terms", json_integer(terms)));
    TRY(question_note(q, "num_digits", json_integer(digits)));
    TRY(question_difficulty(q, "num_terms", "min_terms", "max_terms"));
    return question_difficulty(q, "num_digits", "min_digits", "max_digits");
}

/* ---- chain_sum and products ---- */

/* An operand of `digits` digits; 0 is one of one digit. */
static int64_t draw_operand(struct question *q, int64_t digits)
{
    const int64_t largest = power_of(10, digits) - 1;
    const int64_t smallest = digits == 1 ? 0 : power_of(10, digits - 1);
    const bool negative = question_value(q, "allow_negation") != 0;
    return question_between(q, negative ? -largest : smallest, largest);
}

static enum status note_operands(struct question *q, const char *expression, int64_t terms,
                                 int64_t digits)
{
    TRY(question_note(q, "expression", json_string(expression)));
    TRY(question_note(q, "num_terms", json_integer(terms)));
    TRY(question_note(q, "num_digits", json_integer(digits)));
    TRY(question_difficulty(q, "num_terms", "min_terms", "max_terms"));
    return question_difficulty(q, "num_digits", "min_digits", "max_digits");
}

enum status question_chain_sum(struct question *q)
{
    const int64_t terms = question_range(q, "min_terms", "max_terms");
    const int64_t digits = question_range(q, "min_digits", "max_digits");
    char *text = NULL;
    int64_t sum = 0;
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < terms && status == STATUS_OK; i++) {
        const bool minus = i > 0 && question_flip(q);
        const int64_t x = draw_operand(q, digits);
        sum += minus ? -x : x;
        status = question_add(&text, "%s%" PRId64, i == 0 ? "" : minus ? " - " : " + ", x);
    }
    if (status == STATUS_OK) {
        status = question_set(
            &q->text, "State the final answer to the following arithmetic problem: %s =", text);
    }
    if (status == STATUS_OK) {
        status = note_operands(q, text, terms, digits);
    }
    free(text);
    TRY(status);
    return question_set(&q->answer, "%" PRId64, sum);
}

/* A natural number in base 10^9, least significant first. */
struct large {
    uint32_t limbs[64];
    int count;
};

static void large_multiply(struct large *x, uint64_t factor)
{
    enum { BASE = 1000000000 };
    unsigned __int128 carry = 0;
    for (int i = 0; i < x->count || carry > 0; i++) {
        if (i == x->count) {
            x->limbs[x->count++] = 0;
        }
        carry += (unsigned __int128)x->limbs[i] * factor;
        x->limbs[i] = (uint32_t)(carry % BASE);
        carry /= BASE;
    }
}

static enum status large_text(const struct large *x, bool negative, char **out)
{
    int top = x->count - 1;
    while (top > 0 && x->limbs[top] == 0) {
        top--;
    }
    TRY(question_set(out, "%s%" PRIu32, negative && (top > 0 || x->limbs[0] > 0) ? "-" : "",
                     x->limbs[top]));
    while (top > 0) {
        TRY(question_add(out, "%09" PRIu32, x->limbs[--top]));
    }
    return STATUS_OK;
}

enum status question_products(struct question *q)
{
    const int64_t terms = question_range(q, "min_terms", "max_terms");
    const int64_t digits = question_range(q, "min_digits", "max_digits");
    struct large product = {.limbs = {1}, .count = 1};
    bool negative = false;
    char *text = NULL;
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < terms && status == STATUS_OK; i++) {
        const int64_t x = draw_operand(q, digits);
        large_multiply(&product, (uint64_t)(x < 0 ? -x : x));
        negative = negative != (x < 0);
        status = question_add(&text, "%s%" PRId64, i ? " * " : "", x);
    }
    if (status == STATUS_OK) {
        status = question_set(&q->text, "Solve the following multiplication: %s. Give only the "
                                        "result as your final answer.", text);
    }
    if (status == STATUS_OK) {
        status = note_operands(q, text, terms, digits);
    }
    free(text);
    TRY(status);
    return large_text(&product, negative, &q->answer);
}

/* ---- divisors and multiples ---- */

enum { MOST_NUMBERS = 8 };

static int64_t draw_numbers(struct question *q, int64_t *numbers)
{
    const int64_t count = question_range(q, "min_numbers", "max_numbers");
    for (int64_t i = 0; i < count; i++) {
        numbers[i] = question_range(q, "min_value", "max_value");
    }
    return count;
}

enum status question_gcd(struct question *q)
{
    int64_t numbers[MOST_NUMBERS];
    int64_t count = 0;
    int64_t result = 0;
    for (int i = 0; i < 3 && result <= 1; i++) { /* better one above 1 */
        count = draw_numbers(q, numbers);
        result = 0;
        for (int64_t k = 0; k < count; k++) {
            result = gcd(result, numbers[k]);
        }
    }
    TRY(question_set(&q->text, "Find the Greatest Common Divisor (GCD) of these numbers: "));
    TRY(note_numbers(q, numbers, count, &q->text));
    TRY(question_add(&q->text, ". Give only the GCD as your final answer."));
    TRY(question_set(&q->answer, "%" PRId64, result));
    TRY(question_note(q, "result", json_integer(result)));
    TRY(question_note(q, "num_terms", json_integer(count)));
    TRY(question_difficulty(q, "num_terms", "min_numbers", "max_numbers"));
    return question_difficulty(q, "value", "min_value", "max_value");
}

enum status question_lcm(struct question *q)
{
    int64_t numbers[MOST_NUMBERS];
    int64_t count = 0;
    __int128 multiple = 1;
    bool shared = false;
    char answer[48];
    for (int i = 0; i < 3 && !shared; i++) { /* better one below the product */
        count = draw_numbers(q, numbers);
        multiple = 1;
        for (int64_t k = 0; k < count; k++) {
            const int64_t divisor = gcd((int64_t)(multiple % numbers[k]), numbers[k]);
            shared = shared || divisor > 1;
            multiple *= numbers[k] / divisor;
        }
    }
    question_wide(multiple, answer);
    TRY(question_set(&q->text, "Find the Least Common Multiple (LCM) of these numbers: "));
    TRY(note_numbers(q, numbers, count, &q->text));
    TRY(question_set(&q->answer, "%s", answer));
    if (multiple <= INT64_MAX) {
        TRY(question_note(q, "result", json_integer((json_int_t)multiple)));
    }
    TRY(question_difficulty(q, "numbers", "min_numbers", "max_numbers"));
    return question_difficulty(q, "value", "min_value", "max_value");
}

enum status question_factors(struct question *q)
{
    const int64_t number = question_range(q, "min_value", "max_value");
    json_t *factors = json_array();
    int64_t n = number;
    enum status status = STATUS_OK;
    for (int64_t d = 2; n > 1 && status == STATUS_OK; d++) {
        d = d * d > n ? n : d; /* what is left is a prime */
        for (; n % d == 0 && status == STATUS_OK; n /= d) {
            const bool first = json_array_size(factors) == 0;
            (void)json_array_append_new(factors, json_integer(d));
            status = question_add(&q->answer, "%s%" PRId64, first ? "" : " \xc3\x97 ", d);
        }
    }
    if (status != STATUS_OK) {
        json_decref(factors);
        return status;
    }
    TRY(question_note(q, "number", json_integer(number)));
    TRY(question_note(q, "factors", factors));
    TRY(question_difficulty(q, "value", "min_value", "max_value"));
    return question_set(
        &q->text,
        "Find the prime factorization of %" PRId64 ". Write the factors separated "
        "by \xc3\x97 (Example: for 12 the answer would be: 2 \xc3\x97 2 \xc3\x97 3)",
        number);
}

/* ---- fractions ---- */

enum status question_fraction(struct question *q)
{
    const int64_t smallest = (int64_t)question_value(q, "min_value");
    int64_t a = 0;
    int64_t b = 0;
    for (int i = 0; i < ATTEMPTS && (i == 0 || a < smallest || b < smallest); i++) {
        a = question_range(q, "min_value", "max_value");
        b = question_range(q, "min_value", "max_value");
        const int64_t divisor = gcd(a, b);
        a /= divisor;
        b /= divisor;
    }
    const int64_t top = a < b ? a : b;
    const int64_t bottom = a < b ? b : a;
    const int64_t factor = question_range(q, "min_factor", "max_factor");
    const unsigned bits = (unsigned)question_value(q, "styles");
    char style[16];
    question_word(q, question_words(q, "styles"), bits, style);
    static const char *const NAMES[] = {"plain", "latex_inline", "latex_frac", "latex_dfrac"};
    int form = 0;
    while (strcmp(NAMES[form], style) != 0) {
        form++;
    }
    char shown[96];
    char answer[96];
    const long long pairs[4] = {(long long)(top * factor), (long long)(bottom * factor),
                                (long long)top, (long long)bottom};
    switch (form) { /* formats are literal for the compiler's check */
#define FORM(n, text)                                                                              \
    case n:                                                                                        \
        (void)snprintf(shown, sizeof shown, text, pairs[0], pairs[1]);                             \
        (void)snprintf(answer, sizeof answer, text, pairs[2], pairs[3]);                           \
        break
        FORM(0, "%lld/%lld");
        FORM(1, "$%lld/%lld$");
        FORM(2, "$\\frac{%lld}{%lld}$");
    default:
        FORM(3, "$\\dfrac{%lld}{%lld}$");
#undef FORM
    }
    TRY(question_set(&q->text, "Simplify the fraction %s to its lowest terms. Give only the "
                               "simplified fraction as your final answer.", shown));
    TRY(question_set(&q->answer, "%s", answer));
    TRY(question_note(q, "numerator", json_integer(pairs[0])));
    TRY(question_note(q, "denominator", json_integer(pairs[1])));
    TRY(question_note(q, "simplified_numerator", json_integer(pairs[2])));
    TRY(question_note(q, "simplified_denominator", json_integer(pairs[3])));
    TRY(question_note(q, "reduction_factor", json_integer(factor)));
    TRY(question_note(q, "factor", json_integer(factor)));
    TRY(question_note(q, "style", json_string(style)));
    TRY(question_difficulty(q, "value", "min_value", "max_value"));
    return question_difficulty(q, "factor", "min_factor", "max_factor");
}

/* ---- base_conversion ---- */

static void in_base(int64_t x, int64_t base, char out[72])
{
    char digits[72];
    int n = 0;
    do {
        digits[n++] = "0123456789abcdefghijklmnopqrstuvwxyz"[x % base];
        x /= base;
    } while (x > 0);
    for (int i = 0; i < n; i++) {
        out[i] = digits[n - 1 - i];
    }
    out[n] = '\0';
}

static void base_name(int64_t base, char out[24])
{
    (void)snprintf(out, 24, base == 2 ? "binary" : base == 16 ? "hexadecimal" : "base-%d", (int)base);
}

enum status question_base(struct question *q)
{
    const int64_t value = question_range(q, "min_value", "max_value");
    const int64_t source = question_range(q, "min_base", "max_base");
    int64_t target = source;
    char from[72];
    char to[72];
    char names[2][24];
    if (question_value(q, "min_base") == question_value(q, "max_base")) {
        return FAIL(RECIPE, "procedural: base_conversion needs two bases; widen min_base..max_base");
    }
    while (target == source) {
        target = question_range(q, "min_base", "max_base");
    }
    in_base(value, source, from);
    in_base(value, target, to);
    base_name(source, names[0]);
    base_name(target, names[1]);
    TRY(question_set(&q->text,
                     "Your task is to convert a number between two different bases.\n\n"
                     "If the target base is > 10, use lowercase letters a-z for digits above 9.\n\n"
                     "Now, convert the %s number %s to %s\n", names[0], from, names[1]));
    TRY(question_set(&q->answer, "%s", to));
    TRY(question_note(q, "decimal_value", json_integer(value)));
    TRY(question_note(q, "source_base", json_integer(source)));
    TRY(question_note(q, "target_base", json_integer(target)));
    TRY(question_note(q, "source_repr", json_string(from)));
    TRY(question_note(q, "target_repr", json_string(to)));
    TRY(question_difficulty(q, "base", "min_base", "max_base"));
    return question_difficulty(q, "value", "min_value", "max_value");
}

/* ---- countdown ---- */

/* Value of `a op b` when it is whole and not far beyond the targets. */
static bool apply(char op, int64_t a, int64_t b, int64_t most, int64_t *out)
{
    if (op == '/' && a % b != 0) {
        return false;
    }
    if (op == '*' && __builtin_mul_overflow(a, b, out)) {
        return false;
    }
    if (op != '*') {
        *out = op == '/' ? a / b : op == '-' ? a - b : a + b;
    }
    return *out <= most && *out >= -most;
}

/* One candidate: `text` [256] combines the numbers from the left; false when it ends outside the
 * targets. */
static bool combine(struct question *q, int64_t *numbers, int64_t count, char *text,
                    int64_t *target)
{
    enum { DRAWS = 16 };
    const unsigned bits = (unsigned)question_value(q, "operators");
    const int64_t most = 4 * (int64_t)question_value(q, "max_target");
    size_t used = (size_t)snprintf(text, 256, "%" PRId64, numbers[0]);
    bool sum = false; /* the text is a sum: brackets before * and / */
    *target = numbers[0];
    for (int64_t i = 1; i < count; i++) {
        char op[16];
        int64_t value = 0;
        bool fits = false;
        for (int k = 0; k < DRAWS && !fits; k++) {
            question_word(q, "+ - * /", bits, op);
            fits = apply(*op, *target, numbers[i], most, &value);
        }
        if (!fits) {
            return false;
        }
        const bool product = *op == '*' || *op == '/';
        if (product && sum) {
            memmove(text + 1, text, used + 1);
            text[0] = '(';
            used += 1 + (size_t)snprintf(text + used + 1, 3, ")");
        }
        sum = !product;
        *target = value;
        used += (size_t)snprintf(text + used, 256 - used, product ? "%s%" PRId64 : " %s %" PRId64,
                                 op, numbers[i]);
    }
    return *target >= (int64_t)question_value(q, "min_target")
           && *target <= (int64_t)question_value(q, "max_target");
}

enum status question_countdown(struct question *q)
{
    enum { MOST = 16, TRIES = 2000 };
    int64_t numbers[MOST];
    int64_t target = 0;
    char text[256];
    const int64_t count = question_range(q, "min_numbers", "max_numbers");
    bool found = false;
    for (int i = 0; i < TRIES && !found; i++) {
        for (int64_t k = 0; k < count; k++) {
            numbers[k] = question_range(q, "min_value", "max_value");
        }
        found = combine(q, numbers, count, text, &target);
    }
    if (!found) {
        return no_question(q);
    }
    for (int64_t k = count - 1; k > 0 && question_value(q, "shuffle") != 0; k--) {
        const int64_t j = question_between(q, 0, k);
        const int64_t t = numbers[k];
        numbers[k] = numbers[j];
        numbers[j] = t;
    }
    char *list = NULL;
    enum status status = note_numbers(q, numbers, count, &list);
    if (status == STATUS_OK) {
        switch (question_below(q, 3)) {
        case 0:
            status = question_set(&q->text,
                                  "Using all the numbers %s, create an expression that "
                                  "equals %" PRId64 ".\nYou can only use each number once.",
                                  list, target);
            break;
        case 1:
            status = question_set(&q->text, "Find a way to make %" PRId64 " using all of these "
                                            "numbers: %s.\nEach number can only be used once.",
                                  target, list);
            break;
        default:
            status = question_set(&q->text,
                                  "Calculate %" PRId64 " using all of these numbers: %s.\n"
                                  "Each number may be used at most once.",
                                  target, list);
            break;
        }
    }
    free(list);
    TRY(status);
    TRY(question_add(&q->text,
                     "\n\nFinal answer format instructions:\n"
                     "1. Provide your solution as a arithmetic expression (no '=' sign).\n"
                     "2. Do not include the target number in the expression.\n"
                     "3. Use '*' for multiplication.\n4. Use '/' for division.\n"
                     "5. Do not include any other text or formatting.\n"));
    TRY(question_set(&q->answer, "%s", text));
    TRY(question_note(q, "target", json_integer(target)));
    TRY(question_note(q, "expression", json_string(text)));
    TRY(question_difficulty(q, "numbers", "min_numbers", "max_numbers"));
    TRY(question_difficulty(q, "target", "min_target", "max_target"));
    return question_difficulty(q, "value", "min_value", "max_value");
}
