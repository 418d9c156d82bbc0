/* Filters that order or compare: sort, dictsort, unique, groupby, min, max. Text is compared
 * without case unless asked otherwise. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

static enum status fold(struct jinja_render *r, bool case_sensitive, struct jinja_value *key)
{
    if (case_sensitive || key->type != JINJA_STRING) {
        return STATUS_OK;
    }
    const struct jinja_value text = *key;
    return jinja_text_case(r, &text, CASE_LOWER, key);
}

/* Key of an item: its attribute (path; None or MISSING: the item), folded. */
static enum status key_of(struct jinja_render *r, const struct jinja_value *item,
                          const struct jinja_value *attribute, const struct jinja_value *fallback,
                          bool case_sensitive, struct jinja_value *out)
{
    *out = *item;
    if (attribute->type != JINJA_MISSING) {
        TRY(jinja_get_path(r, item, attribute, fallback, out));
    }
    return fold(r, case_sensitive, out);
}

/* Keys for sort: a list, one entry per attribute of "a,b". */
static enum status sort_key(struct jinja_render *r, const struct jinja_value *item,
                            const struct jinja_value *attribute, bool case_sensitive,
                            struct jinja_value *out)
{
    struct jinja_value key;
    struct jinja_value list;
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    *out = list;
    if (attribute->type != JINJA_STRING) {
        TRY(key_of(r, item, attribute, NULL, case_sensitive, &key));
        return jinja_list_push(r, list.list, &key);
    }
    const struct jinja_string *s = attribute->string;
    size_t begin = 0;
    while (begin <= s->size) {
        const char *comma = memchr(s->data + begin, ',', s->size - begin);
        const size_t end = comma ? (size_t)(comma - s->data) : s->size;
        struct jinja_value part;
        TRY(jinja_text_part(r, attribute, begin, end, &part));
        TRY(key_of(r, item, &part, NULL, case_sensitive, &key));
        TRY(jinja_list_push(r, list.list, &key));
        begin = end + 1;
    }
    return STATUS_OK;
}

static enum status filter_sort(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value *keys;
    TRY(jinja_collect(r, &in->self, &items));
    TRY(jinja_alloc(&r->pool, items.list->count * sizeof *keys, &keys));
    for (size_t i = 0; i < items.list->count; i++) {
        TRY(sort_key(r, &items.list->items[i], &in->arg[2], jinja_truth(&in->arg[1]), &keys[i]));
    }
    TRY(jinja_sort(r, items.list->items, keys, items.list->count, jinja_truth(&in->arg[0])));
    *out = items;
    return STATUS_OK;
}

static enum status filter_dictsort(struct jinja_render *r, const struct jinja_invocation *in,
                                   struct jinja_value *out)
{
    size_t by = 0;
    struct jinja_value items;
    struct jinja_value *keys;
    if (in->self.type == JINJA_UNDEFINED) {
        return jinja_undefined_fail(r, &in->self);
    }
    if (in->self.type != JINJA_DICT) {
        return RAISE(r, "dictsort: '%s' is no mapping", jinja_type_name(&in->self));
    }
    if (in->arg[1].type != JINJA_MISSING) {
        const struct jinja_string *name;
        TRY(jinja_arg_string(r, &in->arg[1], "dictsort: by", &name));
        by = strcmp(name->data, "value") == 0;
        if (!by && strcmp(name->data, "key") != 0) {
            return RAISE(r, "dictsort: by must be 'key' or 'value'");
        }
    }
    struct jinja_view all = {in->self.dict, VIEW_ITEMS};
    const struct jinja_value view = {.type = JINJA_VIEW, .view = &all};
    TRY(jinja_collect(r, &view, &items));
    TRY(jinja_alloc(&r->pool, items.list->count * sizeof *keys, &keys));
    for (size_t i = 0; i < items.list->count; i++) {
        keys[i] = items.list->items[i].list->items[by];
        TRY(fold(r, jinja_truth(&in->arg[0]), &keys[i]));
    }
    TRY(jinja_sort(r, items.list->items, keys, items.list->count, jinja_truth(&in->arg[2])));
    *out = items;
    return STATUS_OK;
}

static enum status filter_unique(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value kept;
    struct jinja_value seen;
    TRY(jinja_collect(r, &in->self, &items));
    TRY(jinja_list_new(r, JINJA_LIST, &kept));
    TRY(jinja_dict_new(r, JINJA_DICT, &seen));
    for (size_t i = 0; i < items.list->count; i++) {
        struct jinja_value key;
        const struct jinja_value *before;
        const struct jinja_value mark = jinja_none();
        TRY(key_of(r, &items.list->items[i], &in->arg[1], NULL, jinja_truth(&in->arg[0]), &key));
        TRY(jinja_dict_get(r, seen.dict, &key, &before));
        if (!before) {
            TRY(jinja_dict_set(r, seen.dict, &key, &mark));
            TRY(jinja_list_push(r, kept.list, &items.list->items[i]));
        }
    }
    return jinja_iter_value(r, &kept, "generator", out);
}

static enum status group_new(struct jinja_render *r, const struct jinja_value *key,
                             struct jinja_value *groups, struct jinja_list **members)
{
    struct jinja_value list;
    struct jinja_value pair;
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    TRY(jinja_pair_new(r, key, &list, &pair));
    pair.list->group = true;
    *members = list.list;
    return jinja_list_push(r, groups->list, &pair);
}

/* Items sorted by key, then runs of equal keys; a group shows the key its first item has. */
static enum status filter_groupby(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    struct jinja_value items;
    struct jinja_value groups;
    struct jinja_value *keys;
    struct jinja_list *members = NULL;
    const bool case_sensitive = jinja_truth(&in->arg[2]);
    TRY(jinja_collect(r, &in->self, &items));
    TRY(jinja_list_new(r, JINJA_LIST, &groups));
    TRY(jinja_alloc(&r->pool, items.list->count * sizeof *keys, &keys));
    for (size_t i = 0; i < items.list->count; i++) {
        TRY(key_of(r, &items.list->items[i], &in->arg[0], &in->arg[1], case_sensitive, &keys[i]));
    }
    TRY(jinja_sort(r, items.list->items, keys, items.list->count, false));
    for (size_t i = 0; i < items.list->count; i++) {
        bool same = false;
        if (i > 0) {
            TRY(jinja_equal(r, &keys[i - 1], &keys[i], &same));
        }
        if (!same) {
            struct jinja_value shown;
            TRY(key_of(r, &items.list->items[i], &in->arg[0], &in->arg[1], true, &shown));
            TRY(group_new(r, &shown, &groups, &members));
        }
        TRY(jinja_list_push(r, members, &items.list->items[i]));
        /* The group was put into its pair while empty: its nesting shows up only now. */
        struct jinja_list *pair = groups.list->items[groups.list->count - 1].list;
        pair->depth = members->depth + 1 > pair->depth ? members->depth + 1 : pair->depth;
        groups.list->depth = pair->depth + 1 > groups.list->depth ? pair->depth + 1
                                                                  : groups.list->depth;
    }
    *out = groups;
    return STATUS_OK;
}

/* The first item with the smallest (option 0) or largest (1) key. */
static enum status filter_extreme(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    const bool largest = in->option == 1;
    struct jinja_value items;
    struct jinja_value best = {0};
    TRY(jinja_collect(r, &in->self, &items));
    for (size_t i = 0; i < items.list->count; i++) {
        struct jinja_value key;
        bool better = true;
        TRY(key_of(r, &items.list->items[i], &in->arg[1], NULL, jinja_truth(&in->arg[0]), &key));
        if (i > 0) {
            TRY(largest ? jinja_less(r, &best, &key, &better)
                        : jinja_less(r, &key, &best, &better));
        }
        if (better) {
            best = key;
            *out = items.list->items[i];
        }
    }
    return items.list->count > 0
               ? STATUS_OK
               : jinja_undefined_new(r, "No aggregated item, sequence was empty.", NULL, NULL, out);
}

const struct jinja_row JINJA_FILTERS_SORT[] = {
    {"sort", "reverse case_sensitive attribute", filter_sort, 0},
    {"dictsort", "case_sensitive by reverse", filter_dictsort, 0},
    {"unique", "case_sensitive attribute", filter_unique, 0},
    {"groupby", "attribute! default case_sensitive", filter_groupby, 0},
    {"min", "case_sensitive attribute", filter_extreme, 0},
    {"max", "case_sensitive attribute", filter_extreme, 1},
    {0},
};
