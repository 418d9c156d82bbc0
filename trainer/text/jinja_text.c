/* String work shared by filters and methods: case, strip, replace, split, pad, lines, join. */
#include <string.h>
#include <utf8proc.h>

#include "trainer/text/jinja_internal.h"

/* Finishes `text` (freed in any case) as the result of `status`, marked like v. */
static enum status finish(struct jinja_render *r, enum status status, struct jinja_buffer *text,
                          bool markup, struct jinja_value *out)
{
    if (status != STATUS_OK) {
        free(text->data);
        return status;
    }
    TRY(jinja_string_take(r, text, out));
    out->markup = markup;
    return STATUS_OK;
}

enum status jinja_text_part(struct jinja_render *r, const struct jinja_value *v, size_t begin,
                            size_t end, struct jinja_value *out)
{
    const bool markup = v->markup;
    TRY(jinja_string_wrap(r, v->string->data + begin, end - begin, out));
    out->markup = markup;
    return STATUS_OK;
}

static bool cased(uint32_t c)
{
    return jinja_lower_case(c) || jinja_upper_case(c)
           || utf8proc_category((utf8proc_int32_t)c) == UTF8PROC_CATEGORY_LT;
}

/* Characters that do not end a word for the final-sigma rule. */
static bool case_ignorable(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)c)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
        return true;
    default:
        return c == '\'' || c == '.' || c == ':' || c == 0xB7 || c == 0x2019;
    }
}

/* True for a capital sigma at byte `at` that ends a word: its small form is the final one. */
static bool final_sigma(const struct jinja_string *s, size_t at)
{
    size_t n;
    bool before = false;
    for (size_t i = at; i > 0;) {
        i--;
        if (((unsigned char)s->data[i] & 0xC0) == 0x80) {
            continue;
        }
        const uint32_t c = jinja_char(s->data + i, &n);
        if (!case_ignorable(c)) {
            before = cased(c);
            break;
        }
    }
    if (!before) {
        return false;
    }
    for (size_t i = at + 2; i < s->size; i += n) {
        const uint32_t c = jinja_char(s->data + i, &n);
        if (!case_ignorable(c)) {
            return !cased(c);
        }
    }
    return true;
}

enum status jinja_case_add(struct jinja_buffer *text, const struct jinja_string *s, size_t at,
                           uint32_t c, enum jinja_case to)
{
    uint32_t mapped[3];
    int n = jinja_case_map(c, to, mapped);
    if (to == CASE_LOWER && c == 0x3A3 && final_sigma(s, at)) {
        mapped[0] = 0x3C2;
        n = 1;
    }
    for (int i = 0; i < n; i++) {
        char bytes[4];
        TRY(jinja_buffer_add(text, bytes, jinja_char_put(mapped[i], bytes)));
    }
    return STATUS_OK;
}

static enum status case_all(const struct jinja_string *s, enum jinja_case first,
                            enum jinja_case rest, struct jinja_buffer *text)
{
    for (size_t at = 0; at < s->size;) {
        size_t n;
        const uint32_t c = jinja_char(s->data + at, &n);
        TRY(jinja_case_add(text, s, at, c, at == 0 ? first : rest));
        at += n;
    }
    return STATUS_OK;
}

enum status jinja_text_case(struct jinja_render *r, const struct jinja_value *v,
                            enum jinja_case to, struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    return finish(r, case_all(v->string, to, to, &text), &text, v->markup, out);
}

enum status jinja_text_capitalize(struct jinja_render *r, const struct jinja_value *v,
                                  struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    return finish(r, case_all(v->string, CASE_TITLE, CASE_LOWER, &text), &text, v->markup, out);
}

static bool strippable(uint32_t c, const struct jinja_string *chars)
{
    if (!chars) {
        return jinja_space(c);
    }
    for (size_t at = 0; at < chars->size;) {
        size_t n;
        if (jinja_char(chars->data + at, &n) == c) {
            return true;
        }
        at += n;
    }
    return false;
}

/* Start of the code point that ends at byte `end` > 0. */
static size_t char_before(const struct jinja_string *s, size_t end)
{
    size_t start = end - 1;
    while (((unsigned char)s->data[start] & 0xC0) == 0x80) {
        start--;
    }
    return start;
}

enum status jinja_text_strip(struct jinja_render *r, const struct jinja_value *v,
                             const struct jinja_value *chars, bool left, bool right,
                             struct jinja_value *out)
{
    const struct jinja_string *s = v->string;
    const struct jinja_string *set = NULL;
    if (chars->type != JINJA_MISSING && chars->type != JINJA_NONE) {
        TRY(jinja_arg_string(r, chars, "strip: the characters", &set));
        TRY(jinja_charge_bytes(r, set->size));
    }
    const size_t cost = set ? set->size / JINJA_BYTES_PER_STEP : 0; /* of one test */
    size_t begin = 0;
    size_t end = s->size;
    size_t n;
    while (left && begin < end && strippable(jinja_char(s->data + begin, &n), set)) {
        TRY(jinja_charge(r, cost));
        begin += n;
    }
    while (right && end > begin
           && strippable(jinja_char(s->data + char_before(s, end), &n), set)) {
        TRY(jinja_charge(r, cost));
        end = char_before(s, end);
    }
    return jinja_text_part(r, v, begin, end, out);
}

static enum status replace_all(const struct jinja_string *s, const struct jinja_string *from,
                               const struct jinja_string *to, int64_t count,
                               struct jinja_buffer *text)
{
    size_t at = 0;
    while (count != 0) {
        const char *hit = memmem(s->data + at, s->size - at, from->data, from->size);
        if (!hit) {
            break;
        }
        TRY(jinja_buffer_add(text, s->data + at, (size_t)(hit - s->data) - at));
        TRY(jinja_buffer_add(text, to->data, to->size));
        at = (size_t)(hit - s->data) + from->size;
        count -= count > 0;
    }
    return jinja_buffer_add(text, s->data + at, s->size - at);
}

/* "".replace("", x) puts x before every character and at the end. */
static enum status replace_empty(const struct jinja_string *s, const struct jinja_string *to,
                                 int64_t count, struct jinja_buffer *text)
{
    for (size_t at = 0; at < s->size;) {
        size_t n;
        (void)jinja_char(s->data + at, &n);
        if (count != 0) {
            TRY(jinja_buffer_add(text, to->data, to->size));
            count -= count > 0;
        }
        TRY(jinja_buffer_add(text, s->data + at, n));
        at += n;
    }
    return count != 0 ? jinja_buffer_add(text, to->data, to->size) : STATUS_OK;
}

enum status jinja_text_replace(struct jinja_render *r, const struct jinja_value *v,
                               const struct jinja_string *from, const struct jinja_string *to,
                               int64_t count, struct jinja_value *out)
{
    struct jinja_buffer text = {0};
    const enum status status = from->size ? replace_all(v->string, from, to, count, &text)
                                          : replace_empty(v->string, to, count, &text);
    return finish(r, status, &text, v->markup, out);
}

enum status jinja_text_pad(struct jinja_render *r, const struct jinja_value *v, int64_t width,
                           uint32_t fill, char align, struct jinja_value *out)
{
    if (width <= v->string->chars) {
        *out = *v;
        return STATUS_OK;
    }
    if (width > JINJA_OUTPUT) {
        return RAISE(r, "a string of %lld characters", (long long)width);
    }
    const int64_t pad = width - v->string->chars;
    const int64_t left = align == '<' ? 0 : align == '>' ? pad : pad / 2 + (pad & width & 1);
    char unit[4];
    const size_t n = jinja_char_put(fill, unit);
    struct jinja_buffer text = {0};
    enum status status = STATUS_OK;
    for (int64_t i = 0; i < pad + 1 && status == STATUS_OK; i++) {
        if (i == left) {
            status = jinja_buffer_add(&text, v->string->data, v->string->size);
        }
        if (i < pad && status == STATUS_OK) {
            status = jinja_buffer_add(&text, unit, n);
        }
    }
    return finish(r, status, &text, v->markup, out);
}

static enum status push_part(struct jinja_render *r, const struct jinja_value *v, size_t begin,
                             size_t end, struct jinja_list *list)
{
    struct jinja_value part;
    TRY(jinja_text_part(r, v, begin, end, &part));
    return jinja_list_push(r, list, &part);
}

enum status jinja_text_lines(struct jinja_render *r, const struct jinja_value *v, bool keep,
                             struct jinja_value *out)
{
    const struct jinja_string *s = v->string;
    struct jinja_value list;
    size_t begin = 0;
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    for (size_t at = 0; at < s->size;) {
        size_t n;
        if (!jinja_line_break(jinja_char(s->data + at, &n))) {
            at += n;
            continue;
        }
        const size_t end = at;
        at += n;
        at += s->data[end] == '\r' && at < s->size && s->data[at] == '\n';
        TRY(push_part(r, v, begin, keep ? at : end, list.list));
        begin = at;
    }
    if (begin < s->size) {
        TRY(push_part(r, v, begin, s->size, list.list));
    }
    *out = list;
    return STATUS_OK;
}

static size_t skip(const struct jinja_string *s, size_t at, bool spaces)
{
    while (at < s->size) {
        size_t n;
        if (jinja_space(jinja_char(s->data + at, &n)) != spaces) {
            break;
        }
        at += n;
    }
    return at;
}

static enum status split_space(struct jinja_render *r, const struct jinja_value *v, int64_t limit,
                               struct jinja_list *list)
{
    const struct jinja_string *s = v->string;
    size_t at = skip(s, 0, true);
    for (; at < s->size && limit != 0; limit--) {
        const size_t end = skip(s, at, false);
        TRY(push_part(r, v, at, end, list));
        at = skip(s, end, true);
    }
    /* The rest keeps the blanks at its end, as Python's does. */
    return at < s->size ? push_part(r, v, at, s->size, list) : STATUS_OK;
}

static enum status rsplit_space(struct jinja_render *r, const struct jinja_value *v, int64_t limit,
                                struct jinja_list *list)
{
    const struct jinja_string *s = v->string;
    size_t end = s->size;
    size_t n;
    for (;;) {
        while (end > 0 && jinja_space(jinja_char(s->data + char_before(s, end), &n))) {
            end = char_before(s, end);
        }
        if (end == 0) {
            return STATUS_OK;
        }
        if (limit-- == 0) {
            return push_part(r, v, 0, end, list);
        }
        size_t begin = end;
        while (begin > 0 && !jinja_space(jinja_char(s->data + char_before(s, begin), &n))) {
            begin = char_before(s, begin);
        }
        TRY(push_part(r, v, begin, end, list));
        end = begin;
    }
}

static enum status split_at(struct jinja_render *r, const struct jinja_value *v,
                            const struct jinja_string *separator, int64_t limit,
                            struct jinja_list *list)
{
    const struct jinja_string *s = v->string;
    size_t begin = 0;
    for (; limit != 0; limit--) {
        const char *hit = memmem(s->data + begin, s->size - begin, separator->data,
                                 separator->size);
        if (!hit) {
            break;
        }
        TRY(push_part(r, v, begin, (size_t)(hit - s->data), list));
        begin = (size_t)(hit - s->data) + separator->size;
    }
    return push_part(r, v, begin, s->size, list);
}

enum status jinja_text_find_last(struct jinja_render *r, const struct jinja_string *box,
                                 const struct jinja_string *part, size_t *out)
{
    *out = SIZE_MAX;
    if (part->size > box->size) {
        return STATUS_OK;
    }
    const size_t places = box->size - part->size + 1;
    for (size_t at = places; at-- > 0;) {
        if ((places - at) % 32 == 0) { /* memcmp may read all of `part` at each place */
            TRY(jinja_charge(r, 1 + part->size / JINJA_BYTES_PER_STEP));
        }
        if (memcmp(box->data + at, part->data, part->size) == 0) {
            *out = at;
            return STATUS_OK;
        }
    }
    return STATUS_OK;
}

static enum status rsplit_at(struct jinja_render *r, const struct jinja_value *v,
                             const struct jinja_string *separator, int64_t limit,
                             struct jinja_list *list)
{
    struct jinja_string left = *v->string; /* what is not handed out yet */
    for (; limit != 0; limit--) {
        size_t at;
        TRY(jinja_text_find_last(r, &left, separator, &at));
        if (at == SIZE_MAX) {
            break;
        }
        TRY(push_part(r, v, at + separator->size, left.size, list));
        left.size = at;
    }
    return push_part(r, v, 0, left.size, list);
}

static void reverse(struct jinja_list *list)
{
    for (size_t i = 0; i < list->count / 2; i++) {
        const struct jinja_value v = list->items[i];
        list->items[i] = list->items[list->count - 1 - i];
        list->items[list->count - 1 - i] = v;
    }
}

enum status jinja_text_split(struct jinja_render *r, const struct jinja_value *v,
                             const struct jinja_value *separator, int64_t limit, bool from_right,
                             struct jinja_value *out)
{
    struct jinja_value list;
    TRY(jinja_list_new(r, JINJA_LIST, &list));
    if (separator->type == JINJA_MISSING || separator->type == JINJA_NONE) {
        TRY(from_right ? rsplit_space(r, v, limit, list.list)
                       : split_space(r, v, limit, list.list));
    } else {
        const struct jinja_string *text;
        TRY(jinja_arg_string(r, separator, "split: the separator", &text));
        if (text->size == 0) {
            return RAISE(r, "empty separator");
        }
        TRY(from_right ? rsplit_at(r, v, text, limit, list.list)
                       : split_at(r, v, text, limit, list.list));
    }
    if (from_right) {
        reverse(list.list);
    }
    *out = list;
    return STATUS_OK;
}

static enum status join_all(struct jinja_render *r, const struct jinja_string *separator,
                            struct jinja_iter *it, bool strict, struct jinja_buffer *text)
{
    for (int64_t i = 0;; i++) {
        struct jinja_value item;
        bool more;
        TRY(jinja_iter_next(r, it, &item, &more));
        if (!more) {
            return STATUS_OK;
        }
        if (strict && item.type != JINJA_STRING) {
            return RAISE(r, "sequence item %lld: expected str instance, %s found", (long long)i,
                         jinja_type_name(&item));
        }
        if (i > 0) {
            TRY(jinja_buffer_add(text, separator->data, separator->size));
        }
        TRY(jinja_str(r, &item, text));
    }
}

enum status jinja_text_join(struct jinja_render *r, const struct jinja_string *separator,
                            const struct jinja_value *items, bool strict, struct jinja_value *out)
{
    struct jinja_iter *it;
    struct jinja_buffer text = {0};
    TRY(jinja_iter_open(r, items, &it));
    return finish(r, join_all(r, separator, it, strict, &text), &text, false, out);
}
