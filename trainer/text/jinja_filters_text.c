/* Filters over text. Like the reference they take any value and work on its text. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* option: enum jinja_case. */
static enum status filter_case(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    struct jinja_value text;
    TRY(jinja_to_string(r, &in->self, &text));
    return jinja_text_case(r, &text, (enum jinja_case)in->option, out);
}

static enum status filter_capitalize(struct jinja_render *r, const struct jinja_invocation *in,
                                     struct jinja_value *out)
{
    struct jinja_value text;
    TRY(jinja_to_string(r, &in->self, &text));
    return jinja_text_capitalize(r, &text, out);
}

/* Words begin after blanks and - ( { [ <: their first character upper, the rest lower case, each
 * rest as a text of its own. */
static enum status title_words(const struct jinja_string *s, struct jinja_buffer *text)
{
    bool first = true;
    size_t rest = 0; /* where the rest of this word begins */
    for (size_t at = 0; at < s->size;) {
        size_t n;
        const uint32_t c = jinja_char(s->data + at, &n);
        const struct jinja_string tail = {s->data + rest, s->size - rest, 0};
        rest = first ? at + n : rest;
        TRY(first ? jinja_case_add(text, s, at, c, CASE_UPPER)
                  : jinja_case_add(text, &tail, at - rest, c, CASE_LOWER));
        first = jinja_space(c) || (c < 0x80 && c && strchr("-({[<", (int)c));
        at += n;
    }
    return STATUS_OK;
}

static enum status filter_title(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct jinja_value v;
    struct jinja_buffer text = {0};
    TRY(jinja_to_string(r, &in->self, &v));
    const enum status status = title_words(v.string, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}

static enum status filter_trim(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    struct jinja_value text;
    TRY(jinja_to_string(r, &in->self, &text));
    return jinja_text_strip(r, &text, &in->arg[0], true, true, out);
}

static enum status filter_string(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    return jinja_to_string(r, &in->self, out);
}

static enum status filter_replace(struct jinja_render *r, const struct jinja_invocation *in,
                                  struct jinja_value *out)
{
    struct jinja_value text;
    struct jinja_value from;
    struct jinja_value to;
    int64_t count;
    TRY(jinja_to_string(r, &in->self, &text));
    TRY(jinja_to_string(r, &in->arg[0], &from));
    TRY(jinja_to_string(r, &in->arg[1], &to));
    TRY(jinja_arg_int(r, &in->arg[2], "replace: count", -1, &count));
    TRY(jinja_text_replace(r, &text, from.string, to.string, count, out));
    out->markup = false;
    return STATUS_OK;
}

static enum status filter_escape(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    return jinja_escape(r, &in->self, out);
}

static enum status filter_forceescape(struct jinja_render *r, const struct jinja_invocation *in,
                                      struct jinja_value *out)
{
    struct jinja_value text;
    TRY(jinja_to_string(r, &in->self, &text));
    text.markup = false;
    return jinja_escape(r, &text, out);
}

static enum status filter_safe(struct jinja_render *r, const struct jinja_invocation *in,
                               struct jinja_value *out)
{
    TRY(jinja_to_string(r, &in->self, out));
    out->markup = true;
    return STATUS_OK;
}

static enum status filter_center(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    struct jinja_value text;
    int64_t width;
    TRY(jinja_to_string(r, &in->self, &text));
    TRY(jinja_arg_int(r, &in->arg[0], "center: the width", 80, &width));
    return jinja_text_pad(r, &text, width, ' ', '^', out);
}

static enum status filter_wordcount(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    struct jinja_value text;
    int64_t count = 0;
    bool inside = false;
    TRY(jinja_to_string(r, &in->self, &text));
    TRY(jinja_charge_bytes(r, text.string->size));
    for (size_t at = 0; at < text.string->size;) {
        size_t n;
        const bool word = jinja_word(jinja_char(text.string->data + at, &n));
        count += word && !inside;
        inside = word;
        at += n;
    }
    *out = jinja_int(count);
    return STATUS_OK;
}

struct indent {
    const struct jinja_string *margin;
    bool first;
    bool blank;
};

static enum status indent_lines(const struct jinja_list *lines, const struct indent *how,
                                struct jinja_buffer *text)
{
    for (size_t i = 0; i < lines->count; i++) {
        const struct jinja_string *line = lines->items[i].string;
        const bool margin = i == 0 ? how->first : (how->blank || line->size > 0);
        if (i > 0) {
            TRY(jinja_buffer_add(text, "\n", 1));
        }
        if (margin) {
            TRY(jinja_buffer_add(text, how->margin->data, how->margin->size));
        }
        TRY(jinja_buffer_add(text, line->data, line->size));
    }
    return STATUS_OK;
}

static enum status filter_indent(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    const struct jinja_value newline = {.type = JINJA_STRING,
                                        .string = &(const struct jinja_string){"\n", 1, 1}};
    const struct jinja_string *s;
    struct indent how = {.first = jinja_truth(&in->arg[1]), .blank = jinja_truth(&in->arg[2])};
    struct jinja_value margin = in->arg[0];
    struct jinja_value text;
    struct jinja_value lines;
    TRY(jinja_arg_string(r, &in->self, "indent: the value", &s));
    if (margin.type != JINJA_STRING) {
        int64_t width;
        TRY(jinja_arg_int(r, &margin, "indent: the width", 4, &width));
        TRY(jinja_string_literal(r, "", &margin));
        TRY(jinja_text_pad(r, &margin, width, ' ', '<', &margin));
    }
    how.margin = margin.string;
    /* With a newline at the end the last line is split off even when it is empty. */
    TRY(jinja_math(r, OP_ADD, &in->self, &newline, &text));
    TRY(jinja_text_lines(r, &text, false, &lines));
    struct jinja_buffer indented = {0};
    const enum status status = indent_lines(lines.list, &how, &indented);
    if (status != STATUS_OK) {
        free(indented.data);
        return status;
    }
    TRY(jinja_string_take(r, &indented, out));
    out->markup = in->self.markup;
    return STATUS_OK;
}

static enum status filter_truncate(struct jinja_render *r, const struct jinja_invocation *in,
                                   struct jinja_value *out)
{
    const struct jinja_string *s;
    struct jinja_value end = in->arg[2];
    int64_t length;
    int64_t leeway;
    TRY(jinja_arg_string(r, &in->self, "truncate: the value", &s));
    TRY(jinja_arg_int(r, &in->arg[0], "truncate: length", 255, &length));
    TRY(jinja_arg_int(r, &in->arg[3], "truncate: leeway", 5, &leeway));
    if (end.type == JINJA_MISSING) {
        TRY(jinja_string_literal(r, "...", &end));
    }
    const struct jinja_string *tail;
    TRY(jinja_arg_string(r, &end, "truncate: the end", &tail));
    if (length < tail->chars || leeway < 0) {
        return RAISE(r, "truncate: the length must be at least %lld", (long long)tail->chars);
    }
    if (s->chars <= leeway || s->chars - leeway <= length) {
        *out = in->self;
        return STATUS_OK;
    }
    struct jinja_value head;
    TRY(jinja_text_part(r, &in->self, 0, jinja_char_offset(s, length - tail->chars), &head));
    if (!jinja_truth(&in->arg[1])) { /* back to the last whole word */
        const struct jinja_string blank = {" ", 1, 1};
        size_t at;
        TRY(jinja_text_find_last(r, head.string, &blank, &at));
        TRY(jinja_text_part(r, &head, 0, at == SIZE_MAX ? head.string->size : at, &head));
    }
    return jinja_math(r, OP_ADD, &head, &end, out);
}

static enum status filter_format(struct jinja_render *r, const struct jinja_invocation *in,
                                 struct jinja_value *out)
{
    struct jinja_value format;
    struct jinja_value argument;
    const struct jinja_args *a = in->raw;
    if (a->count > 0 && a->named_count > 0) {
        return RAISE(r, "format takes positional or keyword arguments, not both");
    }
    TRY(jinja_to_string(r, &in->self, &format));
    if (a->named_count > 0) {
        TRY(jinja_dict_new(r, JINJA_DICT, &argument));
        for (size_t i = 0; i < a->named_count; i++) {
            const struct jinja_value key = {.type = JINJA_STRING, .string = a->named[i].name};
            TRY(jinja_dict_set(r, argument.dict, &key, &a->named[i].value));
        }
    } else {
        TRY(jinja_list_new(r, JINJA_TUPLE, &argument));
        for (size_t i = 0; i < a->count; i++) {
            TRY(jinja_list_push(r, argument.list, &a->pos[i]));
        }
    }
    return jinja_percent(r, &format, &argument, out);
}

/* Percent-encodes what is neither unreserved nor in `safe`; a query writes blanks as '+'. */
static enum status quote(const struct jinja_string *s, bool query, struct jinja_buffer *text)
{
    for (size_t i = 0; i < s->size; i++) {
        const unsigned char c = (unsigned char)s->data[i];
        const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
                            || (c >= '0' && c <= '9');
        char code[8] = {(char)c, 0};
        if (query && c == ' ') {
            code[0] = '+';
        } else if (!letter && (c == 0 || !strchr(query ? "_.-~" : "_.-~/", c))) {
            (void)snprintf(code, sizeof code, "%%%02X", c);
        }
        TRY(jinja_buffer_add(text, code, strlen(code)));
    }
    return STATUS_OK;
}

/* key=value&key=value of a dict or pairs. */
static enum status quote_pairs(struct jinja_render *r, const struct jinja_value *v,
                               struct jinja_buffer *text)
{
    struct jinja_value pairs;
    struct jinja_view all = {v->dict, VIEW_ITEMS};
    const struct jinja_value view = {.type = JINJA_VIEW, .view = &all};
    TRY(jinja_collect(r, v->type == JINJA_DICT ? &view : v, &pairs));
    for (size_t i = 0; i < pairs.list->count; i++) {
        const struct jinja_value *pair = &pairs.list->items[i];
        if ((pair->type != JINJA_TUPLE && pair->type != JINJA_LIST) || pair->list->count != 2) {
            return RAISE(r, "urlencode: item %zu is no pair", i);
        }
        for (int k = 0; k < 2; k++) {
            struct jinja_value part;
            TRY(jinja_to_string(r, &pair->list->items[k], &part));
            TRY(jinja_buffer_add(text, k ? "=" : "&", k || i ? 1 : 0));
            TRY(quote(part.string, true, text));
        }
    }
    return STATUS_OK;
}

static enum status filter_urlencode(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    enum status status;
    if (in->self.type == JINJA_STRING || !jinja_iterable(&in->self)) {
        struct jinja_value v;
        TRY(jinja_to_string(r, &in->self, &v));
        status = quote(v.string, false, &text);
    } else {
        status = quote_pairs(r, &in->self, &text);
    }
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}

/* Without <...> and <!--...-->, entities of escape() undone, runs of blanks as one. */
static enum status strip_tags(struct jinja_render *r, const struct jinja_string *s,
                              struct jinja_value *out)
{
    static const char *const FROM[] = {"&lt;", "&gt;", "&#39;", "&#34;", "&quot;", "&amp;"};
    static const char *const TO[] = {"<", ">", "'", "\"", "\"", "&"};
    const struct jinja_value none = jinja_none();
    struct jinja_buffer text = {0};
    struct jinja_value words;
    enum status status = STATUS_OK;
    for (size_t at = 0; at < s->size && status == STATUS_OK;) {
        const bool comment = s->size - at >= 4 && memcmp(s->data + at, "<!--", 4) == 0;
        const char *end = NULL;
        if (s->data[at] == '<') {
            end = comment ? memmem(s->data + at, s->size - at, "-->", 3)
                          : memchr(s->data + at, '>', s->size - at);
        }
        if (end) {
            at = (size_t)(end - s->data) + (comment ? 3 : 1);
        } else {
            status = jinja_charge_bytes(r, s->data[at] == '<' ? s->size - at : 0);
            status = status ? status : jinja_buffer_add(&text, s->data + at, 1);
            at++;
        }
    }
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    TRY(jinja_string_take(r, &text, out));
    TRY(jinja_text_split(r, out, &none, -1, false, &words));
    TRY(jinja_text_join(r, &(const struct jinja_string){" ", 1, 1}, &words, true, out));
    for (size_t i = 0; i < sizeof FROM / sizeof FROM[0]; i++) {
        const struct jinja_string from = {FROM[i], strlen(FROM[i]), (int64_t)strlen(FROM[i])};
        const struct jinja_string to = {TO[i], 1, 1};
        const struct jinja_value v = *out;
        TRY(jinja_text_replace(r, &v, &from, &to, -1, out));
    }
    return STATUS_OK;
}

static enum status filter_striptags(struct jinja_render *r, const struct jinja_invocation *in,
                                    struct jinja_value *out)
{
    struct jinja_value text;
    TRY(jinja_to_string(r, &in->self, &text));
    return strip_tags(r, text.string, out);
}

const struct jinja_row JINJA_FILTERS_TEXT[] = {
    {"upper", "", filter_case, CASE_UPPER},
    {"lower", "", filter_case, CASE_LOWER},
    {"capitalize", "", filter_capitalize, 0},
    {"title", "", filter_title, 0},
    {"trim", "chars", filter_trim, 0},
    {"string", "", filter_string, 0},
    {"replace", "old! new! count", filter_replace, 0},
    {"e", "", filter_escape, 0},
    {"escape", "", filter_escape, 0},
    {"forceescape", "", filter_forceescape, 0},
    {"safe", "", filter_safe, 0},
    {"center", "width", filter_center, 0},
    {"wordcount", "", filter_wordcount, 0},
    {"indent", "width first blank", filter_indent, 0},
    {"truncate", "length killwords end leeway", filter_truncate, 0},
    {"format", NULL, filter_format, 0},
    {"urlencode", "", filter_urlencode, 0},
    {"striptags", "", filter_striptags, 0},
    {"tojson", "ensure_ascii indent separators sort_keys", jinja_filter_tojson, 0},
    {0},
};
