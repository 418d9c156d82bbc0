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
    {"count", "value!", list_count},
    {"index", "value!", list_index},
    {"copy", "", list_copy},
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

static enum status view(struct jinja_render *r, const struct jinja_invocation *in,
                        enum jinja_view_kind kind, struct jinja_value *out)
{
    struct jinja_view *v;
    TRY(jinja_alloc(&r->pool, sizeof *v, &v));
    *v = (struct jinja_view){in->self.dict, kind};
    *out = (struct jinja_value){.type = JINJA_VIEW, .view = v};
    return STATUS_OK;
}

static enum status dict_keys(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    return view(r, in, VIEW_KEYS, out);
}

static enum status dict_values(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    return view(r, in, VIEW_VALUES, out);
}

static enum status dict_items(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    return view(r, in, VIEW_ITEMS, out);
}

static enum status dict_copy(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    (void)r;
    *out = in->self; /* nothing can change either */
    return STATUS_OK;
}

const struct jinja_row JINJA_METHODS_DICT[] = {
    {"get", "key! default", dict_get},
    {"keys", "", dict_keys},
    {"values", "", dict_values},
    {"items", "", dict_items},
    {"copy", "", dict_copy},
    {0},
};
