/* Methods of strings that ask: find, count, startswith, isdigit and the like. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

static bool begins(const struct jinja_string *s, const struct jinja_string *part)
{
    return part->size <= s->size && memcmp(s->data, part->data, part->size) == 0;
}

static bool ends(const struct jinja_string *s, const struct jinja_string *part)
{
    return part->size <= s->size
           && memcmp(s->data + s->size - part->size, part->data, part->size) == 0;
}

/* The part of the string that (start, end) in arg[1] and arg[2] choose; *offset = code points
 * before it. False in *valid when start lies behind the end. */
static enum status window(struct jinja_render *r, const struct jinja_invocation *in,
                          struct jinja_string *out, int64_t *offset, bool *valid)
{
    const struct jinja_string *s = in->self.string;
    int64_t start;
    int64_t end;
    TRY(jinja_arg_int(r, &in->arg[1], "the start", 0, &start));
    TRY(jinja_arg_int(r, &in->arg[2], "the end", s->chars, &end));
    start += start < 0 ? s->chars : 0;
    end += end < 0 ? s->chars : 0;
    start = start < 0 ? 0 : start;
    end = end < 0 ? 0 : end > s->chars ? s->chars : end;
    *valid = start <= end;
    *offset = start;
    if (*valid) {
        const size_t from = jinja_char_offset(s, start);
        const size_t to = jinja_char_offset(s, end);
        *out = (struct jinja_string){s->data + from, to - from, end - start};
        TRY(jinja_charge_bytes(r, s->size));
    }
    return STATUS_OK;
}

/* Code point index of arg[0] in the window, -1 when absent. */
static enum status find(struct jinja_render *r, const struct jinja_invocation *in, bool last,
                        int64_t *out)
{
    struct jinja_string box;
    const struct jinja_string *part;
    int64_t offset;
    bool valid;
    *out = -1;
    TRY(jinja_arg_string(r, &in->arg[0], "the text to find", &part));
    TRY(window(r, in, &box, &offset, &valid));
    if (!valid || part->size > box.size) {
        return STATUS_OK;
    }
    size_t at;
    if (last) {
        TRY(jinja_text_find_last(r, &box, part, &at));
    } else {
        const char *hit = memmem(box.data, box.size, part->data, part->size);
        at = hit ? (size_t)(hit - box.data) : SIZE_MAX;
    }
    if (at != SIZE_MAX) {
        *out = offset + jinja_char_count(box.data, at);
    }
    return STATUS_OK;
}

enum { LAST = 1, REQUIRED = 2 };

static enum status str_find(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    int64_t at;
    TRY(find(r, in, (in->option & LAST) != 0, &at));
    if ((in->option & REQUIRED) != 0 && at < 0) {
        return RAISE(r, "substring not found");
    }
    *out = jinja_int(at);
    return STATUS_OK;
}

static enum status str_count(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    struct jinja_string box;
    const struct jinja_string *part;
    int64_t offset;
    bool valid;
    int64_t count = 0;
    TRY(jinja_arg_string(r, &in->arg[0], "count: the text", &part));
    TRY(window(r, in, &box, &offset, &valid));
    if (valid && part->size == 0) {
        count = box.chars + 1;
    }
    const char *at = valid ? box.data : NULL;
    const char *end = valid ? box.data + box.size : NULL;
    while (at && part->size > 0) {
        at = memmem(at, (size_t)(end - at), part->data, part->size);
        count += at != NULL;
        at = at ? at + part->size : NULL;
    }
    *out = jinja_int(count);
    return STATUS_OK;
}

/* startswith and endswith (option LAST): one text or a tuple of them. */
static enum status str_edge(struct jinja_render *r, const struct jinja_invocation *in,
                            struct jinja_value *out)
{
    const struct jinja_value *parts = &in->arg[0];
    size_t count = 1;
    struct jinja_string box;
    int64_t offset;
    bool valid;
    bool hit = false;
    TRY(window(r, in, &box, &offset, &valid));
    if (in->arg[0].type == JINJA_TUPLE) {
        parts = in->arg[0].list->items;
        count = in->arg[0].list->count;
    }
    for (size_t i = 0; i < count && !hit; i++) {
        const struct jinja_string *part;
        TRY(jinja_arg_string(r, &parts[i], "the text to look for", &part));
        hit = valid && (in->option == LAST ? ends(&box, part) : begins(&box, part));
    }
    *out = jinja_bool(hit);
    return STATUS_OK;
}

static bool all_chars(const struct jinja_string *s, bool (*test)(uint32_t c))
{
    for (size_t at = 0; at < s->size;) {
        size_t n;
        if (!test(jinja_char(s->data + at, &n))) {
            return false;
        }
        at += n;
    }
    return true;
}

static bool alphanumeric(uint32_t c)
{
    return jinja_alpha(c) || jinja_numeric(c) || jinja_digit(c);
}

static bool decimal(uint32_t c)
{
    return jinja_digit(c) && jinja_numeric(c) && c != 0xB2 && c != 0xB3 && c != 0xB9
           && !(c >= 0x2070 && c <= 0x2089) && !(c >= 0x2460 && c <= 0x2468);
}

static bool ascii(uint32_t c)
{
    return c < 0x80;
}

enum char_class { ALPHA, ALNUM, DIGIT, DECIMAL, NUMERIC, SPACE, ASCII };

/* Whether all characters are of a class (option) and there is one; the empty string is ASCII. */
static enum status str_class(struct jinja_render *r, const struct jinja_invocation *in,
                             struct jinja_value *out)
{
    static bool (*const TESTS[])(uint32_t c) = {
        [ALPHA] = jinja_alpha, [ALNUM] = alphanumeric, [DIGIT] = jinja_digit, [DECIMAL] = decimal,
        [NUMERIC] = jinja_numeric, [SPACE] = jinja_space, [ASCII] = ascii};
    const struct jinja_string *s = in->self.string;
    TRY(jinja_charge_bytes(r, s->size));
    *out = jinja_bool((s->size > 0 || in->option == ASCII) && all_chars(s, TESTS[in->option]));
    return STATUS_OK;
}

const struct jinja_row JINJA_METHODS_STR2[] = {
    {"find", "sub! start end", str_find, 0},
    {"rfind", "sub! start end", str_find, LAST},
    {"index", "sub! start end", str_find, REQUIRED},
    {"rindex", "sub! start end", str_find, LAST | REQUIRED},
    {"count", "sub! start end", str_count, 0},
    {"startswith", "prefix! start end", str_edge, 0},
    {"endswith", "suffix! start end", str_edge, LAST},
    {"isalpha", "", str_class, ALPHA},
    {"isalnum", "", str_class, ALNUM},
    {"isdigit", "", str_class, DIGIT},
    {"isdecimal", "", str_class, DECIMAL},
    {"isnumeric", "", str_class, NUMERIC},
    {"isspace", "", str_class, SPACE},
    {"isascii", "", str_class, ASCII},
    {"islower", "", jinja_case_question, 0},
    {"isupper", "", jinja_case_question, 1},
    {0},
};
