/*
 * Preference rows for a reward model (spec training.md 4, TRL's RewardTrainer): both sides as whole
 * sequences, {"prompt"?, "chosen", "rejected", "margin"?} as text (the end-of-sequence token is
 * added) or messages. The score of a sequence stands at its last token that is no padding token:
 * where a tokenizer pads with its end token, that is the token before it, as in Transformers.
 */
#pragma once

#include "rl/tree_rows.h"
#include "trainer/data/examples.h"

/* A sequence up to the token its score stands at, and one more that is never read: it only gives
 * the last one a row in a packed batch. */
struct scored_text {
    int32_t *ids;    /* [count] */
    uint8_t *loss;   /* [count] only the last is nonzero */
    int64_t count;
    int64_t tokens;  /* of the whole sequence */
};

struct ranked {
    struct scored_text side[2]; /* chosen, rejected */
    double margin;              /* 0 without a column */
};

struct ranked_set {
    struct ranked *items;
    int64_t count;
    int64_t capacity;
    int64_t dropped; /* rows with a side longer than max_length */
};

/* Makes a scored text of whole ids, `pad` being the padding token (-1: none). Fails with MEMORY. */
MUST_USE enum status scored_text_make(const int32_t *ids, int64_t count, int32_t pad,
                                      struct scored_text *out);

/* Frees its memory. */
void scored_text_close(struct scored_text *t);

/* The token sequences are padded with: the tokenizer's pad token, else its end token; -1: none. */
int32_t ranked_pad_token(const struct tokenizer *tokenizer);

/* Appends the row; rows with a side over max_length (0: no limit) are left out. `where` names the
 * row in messages. Fails with INPUT, MEMORY. */
MUST_USE enum status ranked_add(const struct prompt_format *format, int64_t max_length,
                                const json_t *row, const char *where, struct ranked_set *set);

/* The pair as a tree whose two outputs are the rows of the scores. */
struct tree_row ranked_tree(const struct ranked *r);

/* Frees the rows and empties the set. */
void ranked_set_close(struct ranked_set *set);
