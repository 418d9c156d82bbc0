/*
 * Unicode: UTF-8, white space, the byte-level character map and normal forms with origins.
 *
 * utf8proc gives decompositions, combining classes and pair compositions; ordering and composition
 * are done here because each result must know which source characters it came from. The tokenizers
 * library normalizes by Unicode 9 data: characters that decompose or combine only since then stay
 * as they are (LATE_CHARACTERS, found by comparing every code point with the library).
 */
#include <string.h>

#include <utf8proc.h>

#include "trainer/text/tokenizer_internal.h"

static const int32_t LATE_CHARACTERS[][2] = {
    {0x07fd, 0x07fd}, {0x0898, 0x089f}, {0x08ca, 0x08d3}, {0x09fe, 0x09fe}, {0x0afa, 0x0aff},
    {0x0b55, 0x0b55}, {0x0c04, 0x0c04}, {0x0c3c, 0x0c3c}, {0x0cf3, 0x0cf3}, {0x0d00, 0x0d00},
    {0x0d3b, 0x0d3c}, {0x0d81, 0x0d81}, {0x0eba, 0x0eba}, {0x0ece, 0x0ece}, {0x1715, 0x1715},
    {0x180f, 0x180f}, {0x1abf, 0x1ace}, {0x1cf7, 0x1cf7}, {0x1df6, 0x1dfa}, {0x32ff, 0x32ff},
    {0xa7f2, 0xa7f4}, {0xa82c, 0xa82c}, {0xa8ff, 0xa8ff}, {0xab69, 0xab69}, {0x10781, 0x10785},
    {0x10787, 0x107b0}, {0x107b2, 0x107ba}, {0x10d24, 0x10d27}, {0x10eab, 0x10eac},
    {0x10efd, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x11073, 0x11074}, {0x110c2, 0x110c2}, {0x11145, 0x11146}, {0x111c9, 0x111c9},
    {0x111ce, 0x111cf}, {0x11241, 0x11241}, {0x1133b, 0x1133b}, {0x1145e, 0x1145e},
    {0x1182c, 0x1183a}, {0x11930, 0x11935}, {0x11937, 0x11938}, {0x1193b, 0x1193e},
    {0x11940, 0x11940}, {0x11942, 0x11943}, {0x119d1, 0x119d7}, {0x119da, 0x119e0},
    {0x119e4, 0x119e4}, {0x11a01, 0x11a0a}, {0x11a33, 0x11a39}, {0x11a3b, 0x11a3e},
    {0x11a47, 0x11a47}, {0x11a51, 0x11a5b}, {0x11a8a, 0x11a99}, {0x11d31, 0x11d36},
    {0x11d3a, 0x11d3a}, {0x11d3c, 0x11d3d}, {0x11d3f, 0x11d45}, {0x11d47, 0x11d47},
    {0x11d8a, 0x11d8e}, {0x11d90, 0x11d91}, {0x11d93, 0x11d97}, {0x11ef3, 0x11ef6},
    {0x11f00, 0x11f01}, {0x11f03, 0x11f03}, {0x11f34, 0x11f3a}, {0x11f3e, 0x11f42},
    {0x13440, 0x13440}, {0x13447, 0x13455}, {0x16f4f, 0x16f4f}, {0x16f7f, 0x16f87},
    {0x16fe4, 0x16fe4}, {0x16ff0, 0x16ff1}, {0x1cf00, 0x1cf2d}, {0x1cf30, 0x1cf46},
    {0x1e030, 0x1e06d}, {0x1e08f, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1f16c, 0x1f16c}, {0x1fbf0, 0x1fbf9},
};

static bool is_late(int32_t cp)
{
    for (size_t i = 0; i < sizeof(LATE_CHARACTERS) / sizeof(LATE_CHARACTERS[0]); i++) {
        if (cp < LATE_CHARACTERS[i][0]) {
            return false;
        }
        if (cp <= LATE_CHARACTERS[i][1]) {
            return true;
        }
    }
    return false;
}

bool tok_is_mark(int32_t cp)
{
    const utf8proc_category_t category = utf8proc_category(cp);
    return (category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC ||
            category == UTF8PROC_CATEGORY_ME) && !is_late(cp);
}

size_t tok_utf8_step(const char *s, size_t n, bool *valid)
{
    const uint8_t *b = (const uint8_t *)s;
    *valid = b[0] < 0x80;
    if (*valid || b[0] < 0xC2 || b[0] > 0xF4) {
        return 1;
    }
    const size_t size = b[0] < 0xE0 ? 2 : b[0] < 0xF0 ? 3 : 4;
    /* the second byte excludes overlong forms, surrogates and code points over U+10FFFF */
    const uint8_t low = b[0] == 0xE0 ? 0xA0 : b[0] == 0xF0 ? 0x90 : 0x80;
    const uint8_t high = b[0] == 0xED ? 0x9F : b[0] == 0xF4 ? 0x8F : 0xBF;
    if (n < 2 || b[1] < low || b[1] > high) {
        return 1;
    }
    for (size_t i = 2; i < size; i++) {
        if (i >= n || (b[i] & 0xC0) != 0x80) {
            return i;
        }
    }
    *valid = true;
    return size;
}

int32_t tok_utf8_get(const char *s, size_t *size)
{
    const uint8_t *b = (const uint8_t *)s;
    if (b[0] < 0x80) {
        *size = 1;
        return b[0];
    }
    if (b[0] < 0xE0) {
        *size = 2;
        return (b[0] & 0x1F) << 6 | (b[1] & 0x3F);
    }
    if (b[0] < 0xF0) {
        *size = 3;
        return (b[0] & 0x0F) << 12 | (b[1] & 0x3F) << 6 | (b[2] & 0x3F);
    }
    *size = 4;
    return (b[0] & 0x07) << 18 | (b[1] & 0x3F) << 12 | (b[2] & 0x3F) << 6 | (b[3] & 0x3F);
}

size_t tok_utf8_put(int32_t cp, char out[4])
{
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xC0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3F));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xE0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3F));
        out[2] = (char)(0x80 | (cp & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3F));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3F));
    out[3] = (char)(0x80 | (cp & 0x3F));
    return 4;
}

bool tok_is_space(int32_t cp)
{
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xA0 || cp == 0x1680 ||
           (cp >= 0x2000 && cp <= 0x200A) || cp == 0x2028 || cp == 0x2029 || cp == 0x202F ||
           cp == 0x205F || cp == 0x3000;
}

/* The 68 bytes without a printable character of their own go to U+0100.. in ascending order. */
int32_t tok_byte_char(uint8_t byte)
{
    if (byte <= 0x20) {
        return 0x100 + byte;
    }
    if (byte >= 0x7F && byte <= 0xA0) {
        return 0x121 + (byte - 0x7F);
    }
    return byte == 0xAD ? 0x143 : byte;
}

int tok_char_byte(int32_t cp)
{
    if (cp >= 0x100 && cp <= 0x120) {
        return cp - 0x100;
    }
    if (cp >= 0x121 && cp <= 0x142) {
        return cp - 0x121 + 0x7F;
    }
    if (cp == 0x143) {
        return 0xAD;
    }
    return cp >= 0 && cp <= 0xFF && tok_byte_char((uint8_t)cp) == cp ? cp : -1;
}

/* A code point on its way through the normal form. */
struct unit {
    int32_t cp;
    int32_t order; /* place before sorting: keeps equal classes stable */
    int32_t begin; /* bytes of the input it stands for */
    int32_t end;
    int32_t class;
};

struct units {
    struct unit *items;
    int64_t count;
    int64_t capacity;
};

static enum status push_unit(struct units *u, int32_t cp, int32_t begin, int32_t end)
{
    TRY(tok_grow(&u->items, &u->capacity, u->count + 1, sizeof(*u->items)));
    const int32_t class = is_late(cp) ? 0 : utf8proc_get_property(cp)->combining_class;
    u->items[u->count] = (struct unit){.cp = cp, .order = (int32_t)u->count, .begin = begin,
                                       .end = end, .class = class};
    u->count++;
    return STATUS_OK;
}

static enum status decompose(const struct tok_text *in, struct tok_range range, bool compat,
                             struct units *u)
{
    const utf8proc_option_t options =
        UTF8PROC_DECOMPOSE | UTF8PROC_STABLE | (compat ? UTF8PROC_COMPAT : 0);
    for (int32_t i = range.begin; i < range.end;) {
        size_t size;
        const int32_t cp = tok_utf8_get(in->data + i, &size);
        const int32_t next = i + (int32_t)size;
        utf8proc_int32_t parts[32]; /* the longest decomposition has 18 */
        int boundary = 0;
        utf8proc_ssize_t count = 0;
        if (cp >= 0xA0 && !is_late(cp)) {
            count = utf8proc_decompose_char(cp, parts, 32, options, &boundary);
        }
        if (count <= 0 || count > 32) {
            parts[0] = cp;
            count = 1;
        }
        for (utf8proc_ssize_t k = 0; k < count; k++) {
            TRY(push_unit(u, parts[k], i, next));
        }
        i = next;
    }
    return STATUS_OK;
}

static int compare_units(const void *a, const void *b)
{
    const struct unit *x = a;
    const struct unit *y = b;
    if (x->class != y->class) {
        return x->class < y->class ? -1 : 1;
    }
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Sorts a run of marks by class. Each then stands for the whole run, so that spans never run
 * backwards. */
static void sort_run(struct unit *run, int64_t count)
{
    const int32_t begin = run[0].begin;
    const int32_t end = run[count - 1].end;
    qsort(run, (size_t)count, sizeof(*run), compare_units);
    for (int64_t i = 0; i < count; i++) {
        run[i].begin = begin;
        run[i].end = end;
    }
}

static void order_marks(struct units *u)
{
    for (int64_t i = 0; i < u->count; i++) {
        int64_t end = i;
        bool sorted = true;
        while (end < u->count && u->items[end].class != 0) {
            sorted = sorted && (end == i || u->items[end - 1].class <= u->items[end].class);
            end++;
        }
        if (!sorted) {
            sort_run(u->items + i, end - i);
        }
        i = end > i ? end - 1 : i;
    }
}

/* The primary composite of a pair, -1: none. No second part lies below U+0300. */
static int32_t compose_pair(int32_t first, int32_t second)
{
    if (second < 0x300 || is_late(first) || is_late(second)) {
        return -1;
    }
    utf8proc_int32_t pair[2] = {first, second};
    const utf8proc_option_t options = UTF8PROC_COMPOSE | UTF8PROC_STABLE;
    const utf8proc_ssize_t count = utf8proc_normalize_utf32(pair, 2, options);
    return count == 1 && !is_late(pair[0]) ? pair[0] : -1;
}

static void compose(struct units *u)
{
    int64_t starter = -1;
    int64_t kept = 0;
    for (int64_t i = 0; i < u->count; i++) {
        const struct unit unit = u->items[i];
        const bool adjacent = starter == kept - 1;
        const bool blocked = !adjacent && u->items[kept - 1].class >= unit.class;
        const int32_t joined =
            starter >= 0 && !blocked ? compose_pair(u->items[starter].cp, unit.cp) : -1;
        if (joined >= 0) {
            struct unit *s = &u->items[starter];
            s->cp = joined;
            s->begin = unit.begin < s->begin ? unit.begin : s->begin;
            s->end = unit.end > s->end ? unit.end : s->end;
            continue;
        }
        if (unit.class == 0) {
            starter = kept;
        }
        u->items[kept++] = unit;
    }
    u->count = kept;
}

/* Below U+0300 the C form changes nothing, and no form changes ASCII. */
static bool is_plain(const struct tok_text *in, struct tok_range range, uint8_t limit)
{
    for (int32_t i = range.begin; i < range.end; i++) {
        if ((uint8_t)in->data[i] >= limit) {
            return false;
        }
    }
    return true;
}

enum status tok_unicode_normalize(const struct tok_text *in, struct tok_range range, bool compat,
                                  bool compose_it, struct tok_text *out)
{
    if (is_plain(in, range, compose_it && !compat ? 0xCC : 0x80)) {
        return tok_text_copy(out, in, (size_t)range.begin, (size_t)range.end);
    }
    struct units units = {0};
    enum status status;
    TRY_TO(status, done, decompose(in, range, compat, &units));
    order_marks(&units);
    if (compose_it) {
        compose(&units);
    }
    for (int64_t i = 0; i < units.count; i++) {
        const struct unit *u = &units.items[i];
        char bytes[4];
        const size_t size = tok_utf8_put(u->cp, bytes);
        TRY_TO(status, done, tok_text_replace(out, bytes, size, in, (size_t)u->begin,
                                              (size_t)u->end));
    }
done:
    free(units.items);
    return status;
}
