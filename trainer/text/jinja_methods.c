/* Methods of lists, tuples, ranges and dicts that change nothing. */
#include "trainer/text/jinja_internal.h"

static enum status list_count(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    const int64_t length = jinja_length(&in->self);
    int64_t count = 0;
    for (int64_t i = 0; i < length; i++) {
        struct jinja_value item;
        bool same;
        TRY(jinja_sequence_at(r, &in->self, i, &item));
        TRY(jinja_equal(r, &item, &in->arg[0], &same));
        count += same;
    }
    *out = jinja_int(count);
    return STATUS_OK;
}

static enum status list_index(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    const int64_t length = jinja_length(&in->self);
    for (int64_t i = 0; i < length; i++) {
        struct jinja_value item;
        bool same;
        TRY(jinja_sequence_at(r, &in->self, i, &item));
        TRY(jinja_equal(r, &item, &in->arg[0], &same));
        if (same) {
            *out = jinja_int(i);
            return STATUS_OK;
        }
    }
    return RAISE(r, "index: the value is not in the %s", jinja_type_name(&in->self));
}

static enum status list_copy(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    return jinja_collect(r, &in->self, out);
}

const struct jinja_row JINJA_METHODS_LIST[] = {
    {"count", "value!", list_count, 0},
    {"index", "value!", list_index, 0},
    {"copy", "", list_copy, 0},
    {0},
};

static enum status dict_get(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    const struct jinja_value *found;
    if (!jinja_hashable(&in->arg[0])) {
        return RAISE(r, "unhashable type: '%s'", jinja_type_name(&in->arg[0]));
    }
    TRY(jinja_dict_get(r, in->self.dict, &in->arg[0], &found));
    *out = found ? *found : in->arg[1].type == JINJA_MISSING ? jinja_none() : in->arg[1];
    return STATUS_OK;
}

/* option: enum jinja_view_kind. */
static enum status dict_view(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    return jinja_view_new(r, in->self.dict, (enum jinja_view_kind)in->option, out);
}

static enum status dict_copy(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    (void)r;
    *out = in->self; /* nothing can change either */
    return STATUS_OK;
}

const struct jinja_row JINJA_METHODS_DICT[] = {
    {"get", "key! default", dict_get, 0},
    {"keys", "", dict_view, VIEW_KEYS},
    {"values", "", dict_view, VIEW_VALUES},
    {"items", "", dict_view, VIEW_ITEMS},
    {"copy", "", dict_copy, 0},
    {0},
};
