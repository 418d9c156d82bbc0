/*
 * Tokens of LaTeX answers: longest match, and among equals the first rule, as the reference
 * grammar's lexer (spec/open-r1.md 3.2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eval/grade/expr.h"

enum latex_type {
    TOK_END, TOK_UNUSED, /* a token that no rule takes */
    TOK_ADD, TOK_SUB, TOK_MUL, TOK_TIMES, TOK_CDOT, TOK_DIV, TOK_COLON, TOK_MOD,
    TOK_L_PAREN, TOK_R_PAREN, TOK_L_PAREN_VISUAL, TOK_R_PAREN_VISUAL, TOK_L_GROUP, TOK_R_GROUP,
    TOK_L_BRACE, TOK_R_BRACE, TOK_L_BRACE_VISUAL, TOK_R_BRACE_VISUAL, TOK_L_BRACE_CMD,
    TOK_R_BRACE_CMD, TOK_L_BRACKET, TOK_R_BRACKET, TOK_L_BRACK, TOK_R_BRACK,
    TOK_BAR, TOK_L_VERT, TOK_R_VERT, TOK_VERT, TOK_NORM, TOK_L_ANGLE, TOK_R_ANGLE,
    TOK_L_FLOOR, TOK_R_FLOOR, TOK_LL_CORNER, TOK_LR_CORNER, TOK_L_CEIL, TOK_R_CEIL, TOK_UL_CORNER,
    TOK_UR_CORNER,
    TOK_PHANTOM, TOK_BOXED, TOK_FRAC, TOK_BINOM, TOK_CHOOSE, TOK_OPERATORNAME,
    TOK_LIM, TOK_TO, TOK_INT, TOK_SUM, TOK_PROD, TOK_SQRT, TOK_EXP_E, TOK_FUNCTION, TOK_FUNCTIONS,
    TOK_GAMMA, /* also a function when brackets follow */
    TOK_NAME, TOK_NAMES, /* of \operatorname, one and several arguments */
    TOK_MATRIX, TOK_MATRIX_END, TOK_ARRAY, TOK_ARRAY_END, TOK_DET, TOK_DET_END, TOK_COLUMN, TOK_ROW,
    TOK_UNDERSCORE, TOK_CARET, TOK_SEMICOLON, TOK_COMMA, TOK_BANG, TOK_TRANSPOSE, TOK_DEGREE,
    TOK_DIFFERENTIAL, TOK_BIG_E, TOK_LETTER, TOK_GREEK, TOK_SYMBOL_CMD, TOK_ACCENT, TOK_INFINITY,
    TOK_PARTIAL, TOK_NUMBER, TOK_E_NUMBER, TOK_PERCENT_NUMBER,
    TOK_IN, TOK_ASSIGN, TOK_EQUAL, TOK_APPROX, TOK_LT, TOK_LE, TOK_GT, TOK_GE, TOK_NE, TOK_NOT_IN,
    TOK_UNION, TOK_INTERSECTION, TOK_SET_MINUS, TOK_PLUS_MINUS, TOK_SUPSET, TOK_SUBSET,
    TOK_NATURALS, TOK_INTEGERS, TOK_RATIONALS, TOK_REALS, TOK_COMPLEXES, TOK_PRIMES, TOK_EMPTY_SET,
    TOK_SKIP,
    TOK_TYPES,
};

struct latex_token {
    uint8_t type;
    uint16_t detail; /* enum expr_fn of functions */
    uint32_t start, length;
};

/* A literal of the lexer. */
struct latex_word {
    const char *text;
    uint8_t type;
    uint8_t detail;
};

enum { LATEX_MAX_TOKENS = 4096, LATEX_MAX_BYTES = 65536 };

/* The longest literal that begins at `text` (the table of latex_words.c), NULL when none. */
const struct latex_word *latex_word_at(const char *text);

/* Cuts `text` (NUL-terminated UTF-8) into tokens, the last is TOK_END, in memory of `p`. Returns
 * NULL or why it cannot. */
const char *latex_lex(struct expr_pool *p, const char *text, struct latex_token **tokens,
                      int *count);
