/*
 * The LaTeX parser's state. Functions return NULL when they fail; `fatal` then says that no other
 * reading may be tried, since the reading was right and the value does not exist.
 */
#pragma once

#include "eval/grade/latex_parse.h"

enum { LATEX_MAX_DEPTH = 120, LATEX_MAX_STEPS = 20000, LATEX_MAX_CHOICES = 24, LATEX_MAX_TRIES = 64 };

/* What stands between a bracket and its partner. */
struct latex_span {
    int32_t close; /* index of the partner, -1: none */
    uint16_t commas, semicolons;
    bool choose; /* \choose at this level */
    bool plus_minus;
};

struct latex_parser {
    struct expr_pool *pool;
    const char *text;
    const struct latex_token *tokens;
    struct latex_span *spans; /* per token; of openers */
    int at;
    int depth;
    int steps;
    int bars;  /* open | | */
    int verts; /* open \vert */
    int norms; /* open \| */
    int integrals; /* the differential of an integral is still to come */
    bool real;
    bool strict;
    const char *fatal;
    uint8_t choices[LATEX_MAX_CHOICES]; /* 0 or 1, in the order they were met */
    int choice_count, choice_at;
};

/* Type of the token `ahead` of the next one. */
enum latex_type latex_peek(const struct latex_parser *p, int ahead);

/* Takes the next token when it is of this type. */
bool latex_take(struct latex_parser *p, enum latex_type type);

/* Gives up for good; returns NULL. */
const struct expr *latex_fail(struct latex_parser *p, const char *reason);

/* The first of two readings, the second after the first came to no end. */
int latex_choose(struct latex_parser *p);

/* Text of tokens [begin, end) without the white space between them. */
char *latex_token_text(struct latex_parser *p, int begin, int end);

/* Grammar rules. Each takes its tokens and returns the value, or NULL when they do not fit. */

/* A sum. */
const struct expr *latex_expr(struct latex_parser *p);
/* A product; without `functions` only its first factor may be one. */
const struct expr *latex_mp(struct latex_parser *p, bool functions);
/* Can a factor begin at the next token? */
bool latex_starts_factor(const struct latex_parser *p, bool functions);
/* A number or symbol. */
const struct expr *latex_atom(struct latex_parser *p);
/* A named function with its argument, a root, sum, limit, integral or power of e. */
const struct expr *latex_function(struct latex_parser *p);
/* f(x); NULL and nothing taken when no such call stands here. */
const struct expr *latex_apply(struct latex_parser *p);
/* A factor without powers and postfix signs. */
const struct expr *latex_compound(struct latex_parser *p, bool functions);
/* { sum } */
const struct expr *latex_braced(struct latex_parser *p);
/* A matrix, or the determinant that vmatrix stands for. */
const struct expr *latex_matrix(struct latex_parser *p);
/* What follows ^, into *power; false when it does not fit. */
bool latex_superscript(struct latex_parser *p, const struct expr **power);
/* What follows _: its tokens are [*begin, *end); false when it does not fit. */
bool latex_subscript(struct latex_parser *p, int *begin, int *end);

/* The symbol or constant of this name. */
const struct expr *latex_symbol(struct latex_parser *p, const char *text);
/* top / bottom: a rational of integers, else a product with a power. */
const struct expr *latex_quotient(struct latex_parser *p, const struct expr *top,
                                  const struct expr *bottom);
/* a * b, of matrices when one is. */
const struct expr *latex_product(struct latex_parser *p, const struct expr *a,
                                 const struct expr *b);
/* -e. */
const struct expr *latex_negate(struct latex_parser *p, const struct expr *e);

/* The three readings of a whole text, in the order they are tried (latex_sets.c). */

/* symbols = list, symbols \\in list */
const struct expr *latex_elements_relation(struct latex_parser *p);
/* A list of values, sets and relations. */
const struct expr *latex_elements(struct latex_parser *p);
/* Sets joined by their operations, maybe behind symbols and = or \\in. */
const struct expr *latex_set_relation(struct latex_parser *p);
