/*
 * Text as Python's str sees it, for rewards and scorers that were defined in Python: characters are
 * code points, \d any decimal digit, lower() the full mapping. A byte that is no UTF-8 counts as
 * one character, as with the surrogateescape handler.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Code point at *p, which moves behind it; 0 at the terminator, where *p stays. */
uint32_t text_next(const char **p);

/* len(text): code points. */
int64_t text_length(const char *text);

/* str.isspace(), what split() and strip() cut at. */
bool text_is_space(uint32_t c);

/* Value of a decimal digit of any script (category Nd), -1 for others. */
int text_digit(uint32_t c);

/* str.isalnum() of one character. */
bool text_is_alnum(uint32_t c);

/* Writes the code point as UTF-8 (0xDC80..0xDCFF as the byte it stands for); bytes written, at most
 * 4. */
size_t text_put(uint32_t c, char out[4]);

/* text.lower(): new memory, NULL when there is none. */
char *text_lower(const char *text);

/* The range of text.strip(): *begin moves forward, the length is returned. */
size_t text_strip(const char **begin);
