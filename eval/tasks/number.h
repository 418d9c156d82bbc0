/*
 * Numbers as Python reads them from text: float(), int(), Decimal(), complex(). Scores of
 * procedural tasks depend on what these accept: white space around, digits of any script,
 * underscores.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    NUMBER_TEXT_CAP = 8192,  /* longer texts are no numbers; int() itself ends at 4,300 digits */
    NUMBER_INT_DIGITS = 4300, /* of int(), as CPython limits it */
    DECIMAL_WINDOW = 120      /* places kept on either side of the decimal point */
};

/* float(text). False where Python raises ValueError. */
bool number_float(const char *text, double *out);

/* A whole number of any size. */
struct number_int {
    bool negative; /* never with 0 */
    int64_t count; /* digits without leading zeros; 0: the number is 0 */
    char digits[NUMBER_INT_DIGITS + 1];
};

/* int(text). False where Python raises ValueError (or the text is over the limit). */
bool number_int(const char *text, struct number_int *out);

/* The value when it fits. */
bool number_int_small(const struct number_int *n, int64_t *out);

/* The value rounded to a double, infinite beyond. */
double number_int_double(const struct number_int *n);

/* complex(text). False where Python raises ValueError. */
bool number_complex(const char *text, double *real, double *imaginary);

/* A Decimal: digits around the point, most significant first. */
struct number_decimal {
    bool negative;
    bool huge;   /* nonzero digits left of the window: larger than any number in it */
    bool sticky; /* nonzero digits right of the window */
    int8_t digits[2 * DECIMAL_WINDOW]; /* [0 .. WINDOW) before, then behind the point */
};

/* Decimal(text) of a finite number. False for texts where Decimal raises, and for nan and infinity.
 */
bool number_decimal(const char *text, struct number_decimal *out);

/* a == b. */
bool number_decimal_equal(const struct number_decimal *a, const struct number_decimal *b);

/* |a - b| <= 10^-places * (1 + 10^(1 - precision) / 2): the comparison of a difference that is
 * first rounded half-even to `precision` significant digits. places + precision < DECIMAL_WINDOW.
 */
bool number_decimal_close(const struct number_decimal *a, const struct number_decimal *b,
                          int64_t places, int64_t precision);

/* Text of a double as Python's str() writes it: the shortest that reads back, ".0" behind whole
 * numbers; at most 32 bytes. */
void number_repr(double x, char out[32]);
