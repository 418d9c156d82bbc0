/* Private to the jinja_*.c files: characters, string work and formatting. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "trainer/text/jinja_value_internal.h"

struct jinja_render;

/* ---- jinja_unicode.c ---- */
/* Code point at p (valid UTF-8, at least one byte); *length = its bytes. */
uint32_t jinja_char(const char *p, size_t *length);
/* UTF-8 of a code point; its bytes, 0 when it is none. */
size_t jinja_char_put(uint32_t c, char out[4]);
/* Code points in valid UTF-8. */
int64_t jinja_char_count(const char *p, size_t size);
/* Byte offset of code point `index` (<= count). */
size_t jinja_char_offset(const struct jinja_string *s, int64_t index);
/* True when all `size` bytes are well-formed UTF-8. */
bool jinja_valid_utf8(const char *p, size_t size);
/* str.isspace(). */
bool jinja_space(uint32_t c);
/* Where str.splitlines() cuts. */
bool jinja_line_break(uint32_t c);
/* str.isalpha(): a letter of any script. */
bool jinja_alpha(uint32_t c);
/* str.isdigit(): decimal digits, superscripts, circled digits. */
bool jinja_digit(uint32_t c);
/* Unicode's numbers: digits, letter numbers, others. */
bool jinja_numeric(uint32_t c);
/* A lower-case letter, ordinal, circled letter or small numeral. */
bool jinja_lower_case(uint32_t c);
/* An upper-case letter, circled letter or numeral. */
bool jinja_upper_case(uint32_t c);
bool jinja_word(uint32_t c);      /* \w */
bool jinja_printable(uint32_t c); /* shown by repr as it is */
enum jinja_case { CASE_UPPER, CASE_LOWER, CASE_TITLE, CASE_FOLD };
/* Full case mapping of one code point: 1 to 3 of them. */
int jinja_case_map(uint32_t c, enum jinja_case to, uint32_t out[3]);
/* Code points with upper-case mappings of several code points: jinja_case.c. */
struct jinja_case_row {
    uint16_t from;
    uint16_t upper[3];
    uint16_t title[3];
};
/* The row of c; NULL when its mapping is one code point. */
const struct jinja_case_row *jinja_case_find(uint32_t c);

/* ---- jinja_text.c: string work shared by filters and methods; results keep v's markup ---- */
/* Appends c, the code point at byte `at` of s, in another case (its neighbours decide on the small
 * form of a final sigma). */
MUST_USE enum status jinja_case_add(struct jinja_buffer *text, const struct jinja_string *s,
                                    size_t at, uint32_t c, enum jinja_case to);
/* v, a string, in another case. */
MUST_USE enum status jinja_text_case(struct jinja_render *r, const struct jinja_value *v,
                                     enum jinja_case to, struct jinja_value *out);
/* First character title case, the rest lower. */
MUST_USE enum status jinja_text_capitalize(struct jinja_render *r, const struct jinja_value *v,
                                           struct jinja_value *out);
/* `chars`: MISSING or None for whitespace. */
MUST_USE enum status jinja_text_strip(struct jinja_render *r, const struct jinja_value *v,
                                      const struct jinja_value *chars, bool left, bool right,
                                      struct jinja_value *out);
/* The first `count` occurrences, all when negative. */
MUST_USE enum status jinja_text_replace(struct jinja_render *r, const struct jinja_value *v,
                                        const struct jinja_string *from,
                                        const struct jinja_string *to, int64_t count,
                                        struct jinja_value *out);
/* To `width` code points with `fill`; align '<', '>' or '^' (as str.center). */
MUST_USE enum status jinja_text_pad(struct jinja_render *r, const struct jinja_value *v,
                                    int64_t width, uint32_t fill, char align,
                                    struct jinja_value *out);
/* List of lines, with their ends when `keep`. */
MUST_USE enum status jinja_text_lines(struct jinja_render *r, const struct jinja_value *v,
                                      bool keep, struct jinja_value *out);
/* str.split and str.rsplit; `separator`: MISSING or None for whitespace; limit < 0: all. */
MUST_USE enum status jinja_text_split(struct jinja_render *r, const struct jinja_value *v,
                                      const struct jinja_value *separator, int64_t limit,
                                      bool from_right, struct jinja_value *out);
/* *out = byte offset of the last occurrence of `part`, SIZE_MAX when absent. */
MUST_USE enum status jinja_text_find_last(struct jinja_render *r, const struct jinja_string *box,
                                          const struct jinja_string *part, size_t *out);
/* Bytes [begin, end) of v as a string of its own. */
MUST_USE enum status jinja_text_part(struct jinja_render *r, const struct jinja_value *v,
                                     size_t begin, size_t end, struct jinja_value *out);
/* separator.join(str(item) for item in items); `strict`: items that are no strings are an error. */
MUST_USE enum status jinja_text_join(struct jinja_render *r, const struct jinja_string *separator,
                                     const struct jinja_value *items, bool strict,
                                     struct jinja_value *out);

/* ---- jinja_format.c, jinja_time.c ---- */
/* format % argument. */
MUST_USE enum status jinja_percent(struct jinja_render *r, const struct jinja_value *format,
                                   const struct jinja_value *argument, struct jinja_value *out);
/* format.format(*args, **kwargs). */
enum status jinja_method_format(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out);
struct jinja_spec {
    uint32_t fill;
    char align; /* '<', '>', '^', '=' or 0 */
    char sign;  /* '+', ' ' or '-' */
    bool alternate;
    char grouping; /* ',' or '_' or 0 */
    int64_t width;
    int64_t precision; /* -1: none */
    char type;         /* 0: none */
};
/* Appends v formatted as a spec of str.format says. INPUT when the type does not fit. */
MUST_USE enum status jinja_format_spec(struct jinja_render *r, const struct jinja_value *v,
                                       const struct jinja_spec *spec, struct jinja_buffer *out);
/* r->now, UTC, as C's strftime formats it; zones empty, %f zeros. INPUT on a time out of range. */
MUST_USE enum status jinja_strftime(struct jinja_render *r, const struct jinja_string *format,
                                    struct jinja_value *out);
