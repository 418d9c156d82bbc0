/* Methods of strings that make strings or lists of them, as Python's str has them. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* option: enum jinja_case. */
static enum status str_case(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    return jinja_text_case(r, &in->self, (enum jinja_case)in->option, out);
}

static enum status str_capitalize(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    return jinja_text_capitalize(r, &in->self, out);
}

/* Every character by a rule that sees whether the one before it was a letter. */
static enum status recase(struct jinja_render *r, const struct jinja_value *v, bool swap,
                          struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    enum status status = STATUS_OK;
    bool inside = false;
    for (size_t at = 0; at < v->string->size && status == STATUS_OK;) {
        size_t n;
        const uint32_t c = jinja_char(v->string->data + at, &n);
        const bool lower = swap ? jinja_upper_case(c) : inside;
        const enum jinja_case upper = swap ? CASE_UPPER : CASE_TITLE;
        status = jinja_case_add(&text, v->string, at, c, lower ? CASE_LOWER : upper);
        inside = jinja_lower_case(c) || jinja_upper_case(c);
        at += n;
    }
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    TRY(jinja_string_take(r, &text, out));
    out->markup = v->markup;
    return STATUS_OK;
}

/* option 0: title; 1: swapcase. */
static enum status str_recase(struct jinja_render *r, const struct jinja_invocation *in,
                              struct jinja_value *out)
{
    return recase(r, &in->self, in->option == 1, out);
}

enum { LEFT = 1, RIGHT = 2 };

static enum status str_strip(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    return jinja_text_strip(r, &in->self, &in->arg[0], (in->option & LEFT) != 0,
                            (in->option & RIGHT) != 0, out);
}

static enum status str_split(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    int64_t limit;
    TRY(jinja_arg_int(r, &in->arg[1], "split: maxsplit", -1, &limit));
    return jinja_text_split(r, &in->self, &in->arg[0], limit, in->option == RIGHT, out);
}

static enum status str_splitlines(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    return jinja_text_lines(r, &in->self, jinja_truth(&in->arg[0]), out);
}

static enum status str_replace(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    const struct jinja_string *from;
    const struct jinja_string *to;
    int64_t count;
    struct jinja_value safe = in->arg[1];
    TRY(jinja_arg_string(r, &in->arg[0], "replace: the old text", &from));
    TRY(jinja_arg_string(r, &in->arg[1], "replace: the new text", &to));
    TRY(jinja_arg_int(r, &in->arg[2], "replace: count", -1, &count));
    if (in->self.markup) {
        TRY(jinja_escape(r, &in->arg[1], &safe));
    }
    return jinja_text_replace(r, &in->self, from, safe.string, count, out);
}

static enum status str_join(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    if (!in->self.markup) {
        return jinja_text_join(r, in->self.string, &in->arg[0], true, out);
    }
    struct jinja_value items;
    TRY(jinja_collect(r, &in->arg[0], &items));
    for (size_t i = 0; i < items.list->count; i++) {
        const struct jinja_value item = items.list->items[i];
        TRY(jinja_escape(r, &item, &items.list->items[i]));
    }
    TRY(jinja_text_join(r, in->self.string, &items, true, out));
    out->markup = true;
    return STATUS_OK;
}

/* (before, separator, after); what is missing is empty. */
static enum status str_partition(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    const bool last = in->option == RIGHT;
    const struct jinja_string *s = in->self.string;
    const struct jinja_string *separator;
    struct jinja_value parts;
    TRY(jinja_arg_string(r, &in->arg[0], "partition: the separator", &separator));
    if (separator->size == 0) {
        return RAISE(r, "empty separator");
    }
    size_t at;
    if (last) {
        TRY(jinja_text_find_last(r, s, separator, &at));
    } else {
        const char *hit = memmem(s->data, s->size, separator->data, separator->size);
        at = hit ? (size_t)(hit - s->data) : SIZE_MAX;
    }
    const size_t width = at == SIZE_MAX ? 0 : separator->size;
    at = at != SIZE_MAX ? at : (last ? 0 : s->size);
    const size_t cuts[4] = {0, at, at + width, s->size};
    TRY(jinja_list_new(r, JINJA_TUPLE, &parts));
    for (int i = 0; i < 3; i++) {
        struct jinja_value part;
        TRY(jinja_text_part(r, &in->self, cuts[i], cuts[i + 1], &part));
        TRY(jinja_list_push(r, parts.list, &part));
    }
    *out = parts;
    return STATUS_OK;
}

static bool begins(const struct jinja_string *s, const struct jinja_string *part)
{
    return part->size <= s->size && memcmp(s->data, part->data, part->size) == 0;
}

static bool ends(const struct jinja_string *s, const struct jinja_string *part)
{
    return part->size <= s->size
           && memcmp(s->data + s->size - part->size, part->data, part->size) == 0;
}

static enum status str_removeprefix(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    const struct jinja_string *s = in->self.string;
    const struct jinja_string *part;
    TRY(jinja_arg_string(r, &in->arg[0], "removeprefix: the prefix", &part));
    return jinja_text_part(r, &in->self, begins(s, part) ? part->size : 0, s->size, out);
}

static enum status str_removesuffix(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    const struct jinja_string *s = in->self.string;
    const struct jinja_string *part;
    TRY(jinja_arg_string(r, &in->arg[0], "removesuffix: the suffix", &part));
    return jinja_text_part(r, &in->self, 0, ends(s, part) ? s->size - part->size : s->size, out);
}

/* option: the alignment, '<', '>' or '^'. */
static enum status str_pad(struct jinja_render *r, const struct jinja_invocation *in,
                           struct jinja_value *out)
{
    int64_t width;
    uint32_t fill = ' ';
    TRY(jinja_arg_int(r, &in->arg[0], "the width", 0, &width));
    if (in->arg[1].type != JINJA_MISSING) {
        const struct jinja_string *text;
        size_t n;
        TRY(jinja_arg_string(r, &in->arg[1], "the fill character", &text));
        if (text->chars != 1) {
            return RAISE(r, "the fill character must be exactly one character long");
        }
        fill = jinja_char(text->data, &n);
    }
    return jinja_text_pad(r, &in->self, width, fill, (char)in->option, out);
}

static enum status str_zfill(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    const struct jinja_string *s = in->self.string;
    const bool sign = s->size > 0 && (s->data[0] == '-' || s->data[0] == '+');
    struct jinja_value digits;
    int64_t width;
    TRY(jinja_arg_int(r, &in->arg[0], "zfill: the width", 0, &width));
    TRY(jinja_text_part(r, &in->self, sign, s->size, &digits));
    TRY(jinja_text_pad(r, &digits, width - sign, '0', '>', &digits));
    if (!sign) {
        *out = digits;
        return STATUS_OK;
    }
    struct jinja_value head;
    TRY(jinja_text_part(r, &in->self, 0, 1, &head));
    return jinja_math(r, OP_ADD, &head, &digits, out);
}

const struct jinja_row JINJA_METHODS_STR[] = {
    {"upper", "", str_case, CASE_UPPER},
    {"lower", "", str_case, CASE_LOWER},
    {"casefold", "", str_case, CASE_FOLD},
    {"capitalize", "", str_capitalize, 0},
    {"title", "", str_recase, 0},
    {"swapcase", "", str_recase, 1},
    {"strip", "chars", str_strip, LEFT | RIGHT},
    {"lstrip", "chars", str_strip, LEFT},
    {"rstrip", "chars", str_strip, RIGHT},
    {"split", "sep maxsplit", str_split, LEFT},
    {"rsplit", "sep maxsplit", str_split, RIGHT},
    {"splitlines", "keepends", str_splitlines, 0},
    {"replace", "old! new! count", str_replace, 0},
    {"join", "iterable!", str_join, 0},
    {"partition", "sep!", str_partition, LEFT},
    {"rpartition", "sep!", str_partition, RIGHT},
    {"removeprefix", "prefix!", str_removeprefix, 0},
    {"removesuffix", "suffix!", str_removesuffix, 0},
    {"center", "width! fillchar", str_pad, '^'},
    {"ljust", "width! fillchar", str_pad, '<'},
    {"rjust", "width! fillchar", str_pad, '>'},
    {"zfill", "width!", str_zfill, 0},
    {"format", NULL, jinja_method_format, 0},
    {0},
};
