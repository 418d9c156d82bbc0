/* Tests: the words after "is". */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

#define OF(type) (1U << (type))

/* option: the types that pass. */
static enum status test_type(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool((in->option >> in->self.type & 1U) != 0);
    return STATUS_OK;
}

/* option: the boolean it must be. */
static enum status test_boolean_is(struct jinja_render *r, const struct jinja_invocation *in,
                                   struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool(in->self.type == JINJA_BOOL && in->self.boolean == (in->option == 1));
    return STATUS_OK;
}

static enum status test_iterable(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool(jinja_iterable(&in->self));
    return STATUS_OK;
}

/* value % divisor == rest */
static enum status remainder_is(struct jinja_render *r, const struct jinja_value *v,
                                const struct jinja_value *divisor, int64_t rest,
                                struct jinja_value *out)
{
    const struct jinja_value expected = jinja_int(rest);
    struct jinja_value got;
    bool same;
    TRY(jinja_math(r, OP_MOD, v, divisor, &got));
    TRY(jinja_equal(r, &got, &expected, &same));
    *out = jinja_bool(same);
    return STATUS_OK;
}

/* option: what division by two leaves. */
static enum status test_parity(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    const struct jinja_value two = jinja_int(2);
    return remainder_is(r, &in->self, &two, in->option, out);
}

static enum status test_divisible(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    return remainder_is(r, &in->self, &in->arg[0], 0, out);
}

enum status jinja_case_question(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    const bool upper = in->option == 1;
    struct jinja_value text;
    bool any = false;
    bool other = false;
    TRY(jinja_to_string(r, &in->self, &text));
    TRY(jinja_charge_bytes(r, text.string->size));
    for (size_t at = 0; at < text.string->size;) {
        size_t n;
        const uint32_t c = jinja_char(text.string->data + at, &n);
        any = any || (upper ? jinja_upper_case(c) : jinja_lower_case(c));
        other = other || (upper ? jinja_lower_case(c) : jinja_upper_case(c));
        at += n;
    }
    *out = jinja_bool(any && !other);
    return STATUS_OK;
}

static enum status test_same(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    const struct jinja_value *a = &in->self;
    const struct jinja_value *b = &in->arg[0];
    bool same = a->type == b->type;
    if (same && (a->type <= JINJA_FLOAT || a->type == JINJA_STRING)) {
        TRY(jinja_equal(r, a, b, &same));
    } else if (same) {
        same = a->iter == b->iter; /* whatever they point at */
    }
    *out = jinja_bool(same);
    return STATUS_OK;
}

static enum status test_escaped(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool(in->self.type == JINJA_STRING && in->self.markup);
    return STATUS_OK;
}

/* option 0: is it the name of a filter; 1: of a test. */
static enum status test_known(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    const struct jinja_string *name;
    TRY(jinja_arg_string(r, &in->self, "the name of a filter or test", &name));
    const struct jinja_row *row = in->option == 0 ? jinja_filter_find(name->data, name->size)
                                                  : jinja_test_find(name->data, name->size);
    *out = jinja_bool(row != NULL);
    return STATUS_OK;
}

/* option: enum jinja_op. */
static enum status test_compare(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    bool result;
    TRY(jinja_compare(r, (enum jinja_op)in->option, &in->self, &in->arg[0], &result));
    *out = jinja_bool(result);
    return STATUS_OK;
}

enum {
    NUMBERS = OF(JINJA_INT) | OF(JINJA_FLOAT) | OF(JINJA_BOOL),
    SEQUENCES = OF(JINJA_STRING) | OF(JINJA_LIST) | OF(JINJA_TUPLE) | OF(JINJA_DICT)
                | OF(JINJA_RANGE_TYPE) | OF(JINJA_UNDEFINED),
    CALLABLES = OF(JINJA_MACRO) | OF(JINJA_METHOD) | OF(JINJA_FUNCTION) | OF(JINJA_LOOP)
                | OF(JINJA_JOINER) | OF(JINJA_UNDEFINED)
};

const struct jinja_row JINJA_TESTS[] = {
    {"defined", "", test_type, ~OF(JINJA_UNDEFINED)},
    {"undefined", "", test_type, OF(JINJA_UNDEFINED)},
    {"none", "", test_type, OF(JINJA_NONE)},
    {"boolean", "", test_type, OF(JINJA_BOOL)},
    {"integer", "", test_type, OF(JINJA_INT)},
    {"float", "", test_type, OF(JINJA_FLOAT)},
    {"number", "", test_type, NUMBERS},
    {"string", "", test_type, OF(JINJA_STRING)},
    {"mapping", "", test_type, OF(JINJA_DICT)},
    {"sequence", "", test_type, SEQUENCES},
    {"callable", "", test_type, CALLABLES},
    {"iterable", "", test_iterable, 0},
    {"false", "", test_boolean_is, 0},
    {"true", "", test_boolean_is, 1},
    {"even", "", test_parity, 0},
    {"odd", "", test_parity, 1},
    {"divisibleby", "num!", test_divisible, 0},
    {"lower", "", jinja_case_question, 0},
    {"upper", "", jinja_case_question, 1},
    {"sameas", "other!", test_same, 0},
    {"escaped", "", test_escaped, 0},
    {"filter", "", test_known, 0},
    {"test", "", test_known, 1},
    {"in", "seq!", test_compare, OP_IN},
    {"==", "other!", test_compare, OP_EQ},
    {"eq", "other!", test_compare, OP_EQ},
    {"equalto", "other!", test_compare, OP_EQ},
    {"!=", "other!", test_compare, OP_NE},
    {"ne", "other!", test_compare, OP_NE},
    {"<", "other!", test_compare, OP_LT},
    {"lt", "other!", test_compare, OP_LT},
    {"lessthan", "other!", test_compare, OP_LT},
    {"<=", "other!", test_compare, OP_LE},
    {"le", "other!", test_compare, OP_LE},
    {">", "other!", test_compare, OP_GT},
    {"gt", "other!", test_compare, OP_GT},
    {"greaterthan", "other!", test_compare, OP_GT},
    {">=", "other!", test_compare, OP_GE},
    {"ge", "other!", test_compare, OP_GE},
    {0},
};
