/*
 * Dataset rows to training examples: ids and which of them carry loss (spec training.md 3).
 *
 * Row forms: {"input_ids", "labels"? or else "assistant_masks"?, "completion_mask"?}, {"text"},
 * {"messages"}, {"prompt", "completion"} (text or messages).
 */
#pragma once

#include "trainer/data/prompt.h"

struct example {
    int32_t *ids;
    uint8_t *loss;  /* [count] nonzero: this token's log-prob is trained */
    int64_t count;
    int64_t labels; /* tokens that carry loss (the first token of a sequence never does) */
    int64_t *parts; /* [part_count] lengths of the sequences of a packed row; NULL: it is one */
    int64_t part_count;
};

struct example_set {
    struct example *items;
    int64_t count;
    int64_t capacity;
    int64_t dropped; /* rows without any label after truncation */
};

struct example_config {
    struct prompt_format format;
    const char *text_column;       /* "text" when NULL */
    int64_t max_length;            /* tokens kept; 0: no limit */
    bool keep_end;                 /* the last max_length tokens stay, not the first */
    bool keep_all;                 /* rows without a label stay too: they are packed later */
    bool completion_only_loss;     /* prompt+completion rows: train the completion only */
    bool completion_needed;        /* and other rows are errors; completion_mask is read */
    bool assistant_only_loss;      /* messages: train {% generation %} spans only */
};

/* Appends the example of one row. `where` names the row in messages. Rows without any label are
 * counted in `dropped` and left out, unless keep_all. Fails with INPUT: the needed columns and
 * those the row has. */
MUST_USE enum status example_add(const struct example_config *c, const json_t *row,
                                 const char *where, struct example_set *set);

/* Sets e->labels from its mask and parts. */
void example_count_labels(struct example *e);

/* Appends an example, whose memory the set then owns. Fails with MEMORY. */
MUST_USE enum status example_set_push(struct example_set *set, const struct example *e);

/* Frees an example's memory. */
void example_close(struct example *e);

/* Frees the examples and empties the set. */
void example_set_close(struct example_set *set);
