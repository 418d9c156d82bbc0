/* Tests: the words after "is". */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status type_test(const struct jinja_invocation *in, unsigned types,
                             struct jinja_value *out)
{
    *out = jinja_bool((types >> in->self.type & 1U) != 0);
    return STATUS_OK;
}

/* A test that only asks for the type. */
#define TYPE_TEST(name, types)                                                                     \
    static enum status name(struct jinja_render *r, const struct jinja_invocation *in,             \
                            struct jinja_value *out)                                               \
    {                                                                                              \
        (void)r;                                                                                   \
        return type_test(in, types, out);                                                          \
    }
#define OF(type) (1U << (type))

TYPE_TEST(test_defined, ~OF(JINJA_UNDEFINED))
TYPE_TEST(test_undefined, OF(JINJA_UNDEFINED))
TYPE_TEST(test_none, OF(JINJA_NONE))
TYPE_TEST(test_boolean, OF(JINJA_BOOL))
TYPE_TEST(test_integer, OF(JINJA_INT))
TYPE_TEST(test_float, OF(JINJA_FLOAT))
TYPE_TEST(test_number, OF(JINJA_INT) | OF(JINJA_FLOAT) | OF(JINJA_BOOL))
TYPE_TEST(test_string, OF(JINJA_STRING))
TYPE_TEST(test_mapping, OF(JINJA_DICT))
TYPE_TEST(test_sequence, OF(JINJA_STRING) | OF(JINJA_LIST) | OF(JINJA_TUPLE) | OF(JINJA_DICT)
                             | OF(JINJA_RANGE_TYPE) | OF(JINJA_UNDEFINED))
TYPE_TEST(test_callable, OF(JINJA_MACRO) | OF(JINJA_METHOD) | OF(JINJA_FUNCTION) | OF(JINJA_LOOP)
                             | OF(JINJA_JOINER) | OF(JINJA_UNDEFINED))

static enum status test_true(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool(in->self.type == JINJA_BOOL && in->self.boolean);
    return STATUS_OK;
}

static enum status test_false(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    (void)r;
    *out = jinja_bool(in->self.type == JINJA_BOOL && !in->self.boolean);
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

static enum status test_odd(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    const struct jinja_value two = jinja_int(2);
    return remainder_is(r, &in->self, &two, 1, out);
}

static enum status test_even(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    const struct jinja_value two = jinja_int(2);
    return remainder_is(r, &in->self, &two, 0, out);
}

static enum status test_divisible(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    return remainder_is(r, &in->self, &in->arg[0], 0, out);
}

/* All cased characters are of this case, and there is one. */
static enum status case_test(struct jinja_render *r, const struct jinja_value *v, bool upper,
                             struct jinja_value *out)
{
    struct jinja_value text;
    bool any = false;
    bool other = false;
    TRY(jinja_to_string(r, v, &text));
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

static enum status test_lower(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    return case_test(r, &in->self, false, out);
}

static enum status test_upper(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    return case_test(r, &in->self, true, out);
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

static enum status test_filter(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    const struct jinja_string *name;
    TRY(jinja_arg_string(r, &in->self, "filter: the name", &name));
    *out = jinja_bool(jinja_filter_find(name->data, name->size) != NULL);
    return STATUS_OK;
}

static enum status test_test(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    const struct jinja_string *name;
    TRY(jinja_arg_string(r, &in->self, "test: the name", &name));
    *out = jinja_bool(jinja_test_find(name->data, name->size) != NULL);
    return STATUS_OK;
}

/* A test that is a comparison with its argument. */
#define COMPARE_TEST(name, op)                                                                     \
    static enum status name(struct jinja_render *r, const struct jinja_invocation *in,             \
                            struct jinja_value *out)                                               \
    {                                                                                              \
        bool result;                                                                               \
        TRY(jinja_compare(r, op, &in->self, &in->arg[0], &result));                                \
        *out = jinja_bool(result);                                                                 \
        return STATUS_OK;                                                                          \
    }

COMPARE_TEST(test_eq, OP_EQ)
COMPARE_TEST(test_ne, OP_NE)
COMPARE_TEST(test_lt, OP_LT)
COMPARE_TEST(test_le, OP_LE)
COMPARE_TEST(test_gt, OP_GT)
COMPARE_TEST(test_ge, OP_GE)
COMPARE_TEST(test_in, OP_IN)

const struct jinja_row JINJA_TESTS[] = {
    {"defined", "", test_defined},
    {"undefined", "", test_undefined},
    {"none", "", test_none},
    {"boolean", "", test_boolean},
    {"true", "", test_true},
    {"false", "", test_false},
    {"integer", "", test_integer},
    {"float", "", test_float},
    {"number", "", test_number},
    {"string", "", test_string},
    {"mapping", "", test_mapping},
    {"sequence", "", test_sequence},
    {"iterable", "", test_iterable},
    {"callable", "", test_callable},
    {"odd", "", test_odd},
    {"even", "", test_even},
    {"divisibleby", "num!", test_divisible},
    {"lower", "", test_lower},
    {"upper", "", test_upper},
    {"sameas", "other!", test_same},
    {"escaped", "", test_escaped},
    {"filter", "", test_filter},
    {"test", "", test_test},
    {"in", "seq!", test_in},
    {"==", "other!", test_eq},
    {"eq", "other!", test_eq},
    {"equalto", "other!", test_eq},
    {"!=", "other!", test_ne},
    {"ne", "other!", test_ne},
    {"<", "other!", test_lt},
    {"lt", "other!", test_lt},
    {"lessthan", "other!", test_lt},
    {"<=", "other!", test_le},
    {"le", "other!", test_le},
    {">", "other!", test_gt},
    {"gt", "other!", test_gt},
    {"greaterthan", "other!", test_gt},
    {">=", "other!", test_ge},
    {"ge", "other!", test_ge},
    {0},
};
