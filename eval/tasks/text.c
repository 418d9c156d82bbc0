/* Text as Python's str sees it; see text.h. */
#include "eval/tasks/text.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

enum { LONE_BYTE = 0xDC00, SIGMA = 0x3A3, DOTTED_I = 0x130 };

uint32_t text_next(const char **p)
{
    const unsigned char *at = (const unsigned char *)*p;
    utf8proc_int32_t c;
    if (*at == 0) {
        return 0;
    }
    if (*at < 0x80) {
        (*p)++;
        return *at;
    }
    const utf8proc_ssize_t n = utf8proc_iterate(at, -1, &c);
    if (n <= 0 || c < 0) {
        (*p)++;
        return (uint32_t)LONE_BYTE + *at;
    }
    *p += n;
    return (uint32_t)c;
}

int64_t text_length(const char *text)
{
    int64_t n = 0;
    while (text_next(&text) != 0) {
        n++;
    }
    return n;
}

bool text_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1C && c <= 0x20) || c == 0x85 || c == 0xA0 || c == 0x1680
           || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F
           || c == 0x205F || c == 0x3000;
}

int text_digit(uint32_t c)
{
    if (c < 0x80) {
        return c >= '0' && c <= '9' ? (int)(c - '0') : -1;
    }
    if (utf8proc_category((utf8proc_int32_t)c) != UTF8PROC_CATEGORY_ND) {
        return -1;
    }
    /* Digits of a script are ten in a row, but for the mathematical ones that follow each other. */
    if (c >= 0x1D7CE && c <= 0x1D7FF) {
        return (int)((c - 0x1D7CE) % 10);
    }
    int value = 0;
    while (value < 9
           && utf8proc_category((utf8proc_int32_t)(c - (uint32_t)value - 1))
                  == UTF8PROC_CATEGORY_ND) {
        value++;
    }
    return value;
}

static bool is_letter(utf8proc_category_t k)
{
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT
           || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_LO;
}

bool text_is_alnum(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return is_letter(k) || k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL
           || k == UTF8PROC_CATEGORY_NO;
}

size_t text_put(uint32_t c, char out[4])
{
    if (c >= LONE_BYTE + 0x80 && c <= LONE_BYTE + 0xFF) {
        out[0] = (char)(c - LONE_BYTE);
        return 1;
    }
    unsigned char bytes[4];
    const utf8proc_ssize_t n = utf8proc_encode_char((utf8proc_int32_t)c, bytes);
    memcpy(out, bytes, (size_t)n);
    return (size_t)n;
}

/* Characters the final-sigma rule looks through (Case_Ignorable, near enough: marks, modifiers,
 * format characters and the punctuation inside words). */
static bool is_ignorable(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF
           || k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK || c == '\'' || c == '.'
           || c == ':' || c == 0xB7 || c == 0x2018 || c == 0x2019 || c == 0x2024 || c == 0x2027;
}

static bool is_cased(uint32_t c)
{
    const utf8proc_category_t k = utf8proc_category((utf8proc_int32_t)c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* True when a cased character follows at `p`, ignorable ones aside. */
static bool cased_follows(const char *p)
{
    for (uint32_t c = text_next(&p); c != 0; c = text_next(&p)) {
        if (!is_ignorable(c)) {
            return is_cased(c);
        }
    }
    return false;
}

char *text_lower(const char *text)
{
    /* Lower case takes at most three bytes for two: U+0130, U+023A and U+023E grow by one. */
    char *out = malloc(strlen(text) * 3 / 2 + 5);
    size_t used = 0;
    bool after_cased = false;
    if (!out) {
        return NULL;
    }
    for (const char *p = text;;) {
        const uint32_t c = text_next(&p);
        if (c == 0) {
            break;
        }
        if (c == DOTTED_I) {
            used += text_put('i', out + used);
            used += text_put(0x307, out + used);
        } else if (c == SIGMA) {
            const bool final = after_cased && !cased_follows(p);
            used += text_put(final ? 0x3C2 : 0x3C3, out + used);
        } else {
            used += text_put((uint32_t)utf8proc_tolower((utf8proc_int32_t)c), out + used);
        }
        after_cased = is_ignorable(c) ? after_cased : is_cased(c);
    }
    out[used] = '\0';
    return out;
}

size_t text_strip(const char **begin)
{
    const char *p = *begin;
    const char *end;
    for (const char *next = p; text_is_space(text_next(&next)); next = p) {
        (void)text_next(&p);
    }
    *begin = p;
    end = p;
    for (uint32_t c = text_next(&p); c != 0; c = text_next(&p)) {
        end = text_is_space(c) ? end : p;
    }
    return (size_t)(end - *begin);
}
