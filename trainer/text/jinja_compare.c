/* Equality, order, membership and stable sorting, as Python defines them for these types. */
#include <math.h>
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* Sign of a - b for numbers; integers are compared exactly, also with reals (the x87 long double
 * holds every int64 and every double). NaN compares as "neither": *ordered = false. */
static int number_order(const struct jinja_value *a, const struct jinja_value *b, bool *ordered)
{
    int64_t i;
    int64_t j;
    const long double x = jinja_is_int(a, &i) ? (long double)i : (long double)a->real;
    const long double y = jinja_is_int(b, &j) ? (long double)j : (long double)b->real;
    *ordered = x <= y || x >= y;
    return (x > y) - (x < y);
}

static int string_order(const struct jinja_string *a, const struct jinja_string *b)
{
    const size_t n = a->size < b->size ? a->size : b->size;
    const int order = n ? memcmp(a->data, b->data, n) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static enum status lists_equal(struct jinja_render *r, const struct jinja_list *a,
                               const struct jinja_list *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; i < a->count && *out; i++) {
        TRY(jinja_equal(r, &a->items[i], &b->items[i], out));
    }
    return STATUS_OK;
}

static enum status dicts_equal(struct jinja_render *r, const struct jinja_dict *a,
                               const struct jinja_dict *b, bool *out)
{
    *out = a->count == b->count;
    for (size_t i = 0; i < a->count && *out; i++) {
        const struct jinja_value *other;
        TRY(jinja_dict_get(r, b, &a->entries[i].key, &other));
        *out = other != NULL;
        if (other) {
            TRY(jinja_equal(r, &a->entries[i].value, other, out));
        }
    }
    return STATUS_OK;
}

static bool ranges_equal(const struct jinja_range *a, const struct jinja_range *b)
{
    return a->count == b->count
           && (a->count == 0
               || (a->start == b->start && (a->count == 1 || a->step == b->step)));
}

enum status jinja_equal(struct jinja_render *r, const struct jinja_value *a,
                        const struct jinja_value *b, bool *out)
{
    double x;
    double y;
    TRY(jinja_charge(r, 1));
    if (jinja_is_number(a, &x) && jinja_is_number(b, &y)) {
        bool ordered;
        *out = number_order(a, b, &ordered) == 0 && ordered;
        return STATUS_OK;
    }
    *out = false;
    if (a->type != b->type) {
        return STATUS_OK;
    }
    switch (a->type) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
        *out = true;
        return STATUS_OK;
    case JINJA_STRING:
        TRY(jinja_charge_bytes(r, a->string->size));
        *out = string_order(a->string, b->string) == 0;
        return STATUS_OK;
    case JINJA_LIST:
    case JINJA_TUPLE:
        return lists_equal(r, a->list, b->list, out);
    case JINJA_DICT:
        return dicts_equal(r, a->dict, b->dict, out);
    case JINJA_RANGE_TYPE:
        *out = ranges_equal(a->range, b->range);
        return STATUS_OK;
    default:
        *out = a->iter == b->iter; /* identity of whatever it points at */
        return STATUS_OK;
    }
}

static enum status no_order(struct jinja_render *r, const char *op, const struct jinja_value *a,
                            const struct jinja_value *b)
{
    if (a->type == JINJA_UNDEFINED || b->type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, a->type == JINJA_UNDEFINED ? a : b);
    }
    return RAISE(r, "'%s' not supported between instances of '%s' and '%s'", op,
                 jinja_type_name(a), jinja_type_name(b));
}

/* a op b for an order operator. */
static enum status ordered(struct jinja_render *r, enum jinja_op op, const struct jinja_value *a,
                           const struct jinja_value *b, bool *out)
{
    static const char *const TEXT[] = {
        [OP_LT] = "<", [OP_LE] = "<=", [OP_GT] = ">", [OP_GE] = ">="};
    double x;
    double y;
    int order = 0;
    bool comparable = true;
    TRY(jinja_charge(r, 1));
    if (jinja_is_number(a, &x) && jinja_is_number(b, &y)) {
        order = number_order(a, b, &comparable);
    } else if (a->type == JINJA_STRING && b->type == JINJA_STRING) {
        order = string_order(a->string, b->string);
    } else if ((a->type == JINJA_LIST || a->type == JINJA_TUPLE) && a->type == b->type) {
        const struct jinja_list *p = a->list;
        const struct jinja_list *q = b->list;
        for (size_t i = 0; i < p->count && i < q->count; i++) {
            bool same;
            TRY(jinja_equal(r, &p->items[i], &q->items[i], &same));
            if (!same) {
                return ordered(r, op, &p->items[i], &q->items[i], out);
            }
        }
        order = (p->count > q->count) - (p->count < q->count);
    } else {
        return no_order(r, TEXT[op], a, b);
    }
    const bool result[] = {
        [OP_LT] = order < 0, [OP_LE] = order <= 0, [OP_GT] = order > 0, [OP_GE] = order >= 0};
    *out = comparable && result[op];
    return STATUS_OK;
}

enum status jinja_less(struct jinja_render *r, const struct jinja_value *a,
                       const struct jinja_value *b, bool *out)
{
    return ordered(r, OP_LT, a, b, out);
}

enum status jinja_compare(struct jinja_render *r, enum jinja_op op, const struct jinja_value *a,
                          const struct jinja_value *b, bool *out)
{
    switch (op) {
    case OP_EQ:
    case OP_NE:
        TRY(jinja_equal(r, a, b, out));
        *out = *out == (op == OP_EQ);
        return STATUS_OK;
    case OP_IN:
    case OP_NOT_IN:
        TRY(jinja_contains(r, b, a, out));
        *out = *out == (op == OP_IN);
        return STATUS_OK;
    default:
        return ordered(r, op, a, b, out);
    }
}

static enum status string_contains(struct jinja_render *r, const struct jinja_value *box,
                                   const struct jinja_value *item, bool *out)
{
    if (item->type != JINJA_STRING) {
        return RAISE(r, "'in <string>' requires string as left operand, not %s",
                     jinja_type_name(item));
    }
    TRY(jinja_charge_bytes(r, box->string->size));
    *out = memmem(box->string->data, box->string->size, item->string->data, item->string->size)
           != NULL;
    return STATUS_OK;
}

enum status jinja_contains(struct jinja_render *r, const struct jinja_value *box,
                           const struct jinja_value *item, bool *out)
{
    if (box->type == JINJA_STRING) {
        return string_contains(r, box, item, out);
    }
    if (box->type == JINJA_DICT) {
        if (!jinja_hashable(item)) {
            return RAISE(r, "unhashable type: '%s'", jinja_type_name(item));
        }
        const struct jinja_value *found;
        TRY(jinja_dict_get(r, box->dict, item, &found));
        *out = found != NULL;
        return STATUS_OK;
    }
    if (!jinja_iterable(box)) {
        return RAISE(r, "argument of type '%s' is not iterable", jinja_type_name(box));
    }
    struct jinja_iter *it;
    TRY(jinja_iter_open(r, box, &it));
    *out = false;
    for (;;) {
        struct jinja_value v;
        bool more;
        TRY(jinja_iter_next(r, it, &v, &more));
        if (!more) {
            return STATUS_OK;
        }
        TRY(jinja_equal(r, &v, item, out));
        if (*out) {
            return STATUS_OK;
        }
    }
}

struct sort_run {
    struct jinja_value *items, *keys;
    struct jinja_value *spare_items, *spare_keys;
    bool reverse;
};

/* Merges [low, middle) and [middle, high); the left run wins ties, so equal keys keep their order,
 * also in reverse, as Python's sort does. */
static enum status merge(struct jinja_render *r, struct sort_run *s, size_t low, size_t middle,
                         size_t high)
{
    size_t i = low;
    size_t j = middle;
    for (size_t k = low; k < high; k++) {
        bool right = i == middle;
        if (i < middle && j < high) {
            TRY(s->reverse ? jinja_less(r, &s->keys[i], &s->keys[j], &right)
                           : jinja_less(r, &s->keys[j], &s->keys[i], &right));
        }
        const size_t from = right ? j++ : i++;
        s->spare_items[k] = s->items[from];
        s->spare_keys[k] = s->keys[from];
    }
    memcpy(s->items + low, s->spare_items + low, (high - low) * sizeof *s->items);
    memcpy(s->keys + low, s->spare_keys + low, (high - low) * sizeof *s->keys);
    return STATUS_OK;
}

enum status jinja_sort(struct jinja_render *r, struct jinja_value *items, struct jinja_value *keys,
                       size_t count, bool reverse)
{
    struct sort_run s = {.items = items, .keys = keys, .reverse = reverse};
    TRY(jinja_alloc(&r->pool, count * sizeof *items, &s.spare_items));
    TRY(jinja_alloc(&r->pool, count * sizeof *items, &s.spare_keys));
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t low = 0; low + width < count; low += 2 * width) {
            const size_t high = low + 2 * width < count ? low + 2 * width : count;
            TRY(merge(r, &s, low, low + width, high));
        }
    }
    return STATUS_OK;
}
