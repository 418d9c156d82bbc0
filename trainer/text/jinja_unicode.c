/*
 * UTF-8 and character classes as Python's str knows them (space, line breaks, case). Unicode data:
 * utf8proc; the mappings to several code points it lacks are in jinja_case.c.
 */
#include <string.h>
#include <utf8proc.h>

#include "trainer/text/jinja_internal.h"

uint32_t jinja_char(const char *p, size_t *length)
{
    const unsigned char *s = (const unsigned char *)p;
    if (s[0] < 0x80) {
        *length = 1;
        return s[0];
    }
    if (s[0] < 0xE0) {
        *length = 2;
        return (uint32_t)(s[0] & 0x1F) << 6 | (s[1] & 0x3FU);
    }
    if (s[0] < 0xF0) {
        *length = 3;
        return (uint32_t)(s[0] & 0x0F) << 12 | (uint32_t)(s[1] & 0x3F) << 6 | (s[2] & 0x3FU);
    }
    *length = 4;
    return (uint32_t)(s[0] & 0x07) << 18 | (uint32_t)(s[1] & 0x3F) << 12
           | (uint32_t)(s[2] & 0x3F) << 6 | (s[3] & 0x3FU);
}

size_t jinja_char_put(uint32_t c, char out[4])
{
    utf8proc_uint8_t bytes[4] = {0};
    const utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, bytes);
    memcpy(out, bytes, sizeof bytes);
    return n > 0 ? (size_t)n : 0;
}

int64_t jinja_char_count(const char *p, size_t size)
{
    int64_t count = 0;
    for (size_t i = 0; i < size; i++) {
        count += ((unsigned char)p[i] & 0xC0) != 0x80;
    }
    return count;
}

size_t jinja_char_offset(const struct jinja_string *s, int64_t index)
{
    if ((int64_t)s->size == s->chars) {
        return (size_t)index; /* ASCII */
    }
    size_t at = 0;
    while (index > 0 && at < s->size) {
        size_t n;
        (void)jinja_char(s->data + at, &n);
        at += n;
        index--;
    }
    return at;
}

bool jinja_valid_utf8(const char *p, size_t size)
{
    size_t at = 0;
    while (at < size) {
        utf8proc_int32_t c;
        const utf8proc_ssize_t n = utf8proc_iterate((const utf8proc_uint8_t *)p + at,
                                                    (utf8proc_ssize_t)(size - at), &c);
        if (n <= 0) {
            return false;
        }
        at += (size_t)n;
    }
    return true;
}

bool jinja_line_break(uint32_t c)
{
    return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028
           || c == 0x2029;
}

bool jinja_space(uint32_t c)
{
    return c == ' ' || (c >= 0x09 && c <= 0x0D) || (c >= 0x1C && c <= 0x1F) || c == 0x85
           || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028
           || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

static utf8proc_category_t category(uint32_t c)
{
    return utf8proc_category((utf8proc_int32_t)c);
}

bool jinja_alpha(uint32_t c)
{
    const utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_LO;
}

bool jinja_digit(uint32_t c)
{
    const bool superscript = c == 0xB2 || c == 0xB3 || c == 0xB9 || c == 0x2070
                             || (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
    return category(c) == UTF8PROC_CATEGORY_ND || superscript || (c >= 0x2460 && c <= 0x2468);
}

bool jinja_numeric(uint32_t c)
{
    const utf8proc_category_t k = category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

bool jinja_lower_case(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LL || c == 0xAA || c == 0xBA
           || (c >= 0x2170 && c <= 0x217F) || (c >= 0x24D0 && c <= 0x24E9)
           || (c >= 0x2B0 && c <= 0x2B8);
}

bool jinja_upper_case(uint32_t c)
{
    return category(c) == UTF8PROC_CATEGORY_LU || (c >= 0x2160 && c <= 0x216F)
           || (c >= 0x24B6 && c <= 0x24CF);
}

bool jinja_word(uint32_t c)
{
    return c == '_' || jinja_alpha(c) || jinja_numeric(c);
}

bool jinja_printable(uint32_t c)
{
    if (c < 0x7F) {
        return c >= ' ';
    }
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CN:
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
    case UTF8PROC_CATEGORY_ZS:
        return false;
    default:
        return true;
    }
}

static int case_fold(uint32_t c, uint32_t out[3])
{
    utf8proc_int32_t folded[4];
    int bound = 0;
    const utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, folded, 4,
                                                       UTF8PROC_CASEFOLD, &bound);
    if (n < 1 || n > 3) {
        out[0] = c;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        out[i] = (uint32_t)folded[i];
    }
    return (int)n;
}

int jinja_case_map(uint32_t c, enum jinja_case to, uint32_t out[3])
{
    const utf8proc_int32_t signed_c = (utf8proc_int32_t)c;
    if (to == CASE_FOLD) {
        return case_fold(c, out);
    }
    if (to == CASE_LOWER) {
        out[0] = c == 0x130 ? 'i' : (uint32_t)utf8proc_tolower(signed_c);
        out[1] = 0x307;
        return c == 0x130 ? 2 : 1;
    }
    const struct jinja_case_row *row = c < 0x80 ? NULL : jinja_case_find(c);
    if (!row) {
        out[0] = (uint32_t)(to == CASE_UPPER ? utf8proc_toupper(signed_c)
                                             : utf8proc_totitle(signed_c));
        return 1;
    }
    int n = 0;
    for (int i = 0; i < 3; i++) {
        const uint16_t mapped = to == CASE_UPPER ? row->upper[i] : row->title[i];
        if (mapped) {
            out[n++] = mapped;
        }
    }
    return n;
}
