/*
 * The scheduler of a generation: continuous batching over branches.
 *
 * A branch is a set of completions of one prompt that drew the same tokens so far: one row of the
 * batch, one sequence of pages. When its members draw different tokens it splits; the parts share
 * the pages behind them. A waiting branch has no pages: all members of a prompt before their start,
 * or a preempted branch, whose K/V are computed anew from its tokens (the same bits).
 */
#pragma once

#include "trainer/generate/draft.h"
#include "trainer/generate/generate.h"

enum { SPECULATION_MOST = 8, SPECULATION_CLASSES = 4 };

/* What steps cost and how many guesses are kept (speculate.c). */
struct speculation {
    double n; /* sums over steps, fading: their number, rows, seconds, squares, products */
    double r;
    double t;
    double rr;
    double rt;
    double tried[SPECULATION_CLASSES];
    double kept[SPECULATION_CLASSES];
};

/* A step of `rows` decoded and guessed rows took `seconds`. */
void speculation_note_step(struct speculation *p, int64_t rows, double seconds);

/* A guess after `match` known tokens was checked; `kept`: share of the members that drew it. */
void speculation_note_guess(struct speculation *p, int64_t match, double kept);

/* Tokens to guess after `match` known ones in a step of `rows` rows. */
int64_t speculation_length(const struct speculation *p, enum generate_drafts mode, int64_t match,
                           int64_t rows);

struct branch {
    int64_t prompt;
    int64_t first;   /* member, linked by member.next; -1: none */
    int64_t members;
    int64_t seq;     /* cache sequence; -1: waiting */
    int64_t fed;     /* tokens of prompt and completion whose K/V are in the cache */
    int64_t again;   /* tokens below this were fed before: a recomputation */
    int64_t next_free;
    int32_t text;    /* state of its tokens in the drafts' automaton, -1: not in it */
};

/* State of a completion besides its tokens. */
struct member {
    int64_t next;
    int64_t most;  /* tokens it may have */
    int32_t state; /* of the constraint */
};

struct prompt_state {
    int64_t waiting; /* members without pages */
    int64_t anchor;  /* sequence that holds the prompt for them, -1: none */
};

/* What a running branch feeds in this step, and where its outputs are. */
struct feed {
    int64_t branch;
    int64_t count;  /* tokens, drafts included */
    int64_t drafts; /* of these */
    int64_t out;    /* first output row; -1: the end is not reached in this step */
    const int32_t *draft; /* [drafts] */
    int64_t match;  /* tokens the guesses are based on */
    int64_t path;   /* members whose draws equal the drafts so far, linked; -1: none */
};

/* One draw of a wave. */
struct draw {
    int64_t item;
    int64_t out; /* output row */
};

/* Members that drew the same token at one depth, linked. */
struct group {
    int32_t id;
    int64_t first;
    int64_t last;
    int64_t members;
};

struct scheduler {
    const struct generate_args *a;
    struct completion_set *set;
    struct kv_cache *cache;
    struct arena step;
    struct arena scratch;
    struct arena own;        /* the arrays below */
    int64_t rows;            /* slots: most members with pages */
    int64_t used;            /* members with pages */
    int64_t sequences;       /* in use */
    int64_t sequence_cap;
    int64_t finished;
    struct branch *branches; /* [items] */
    int64_t free_branch;     /* linked by next_free */
    struct member *members;  /* [items] */
    struct prompt_state *prompts;
    int64_t *running;        /* [rows] branches with pages, oldest first */
    int64_t running_count;
    int64_t *waiting;        /* [items] stack: the last is next */
    int64_t waiting_count;
    struct feed *feeds;      /* [rows] */
    int64_t feed_count;
    int64_t step_prompt_rows; /* rows of this step that are no next token of a running branch */
    struct draft *drafts;    /* NULL: none */
    struct speculation speculation;
    int64_t draft_cap;       /* guessed rows of a step */
    int64_t step_drafts;
    int32_t *draft_ids;      /* [draft_cap] */
    struct draw *draws;      /* [rows] */
    int32_t *states;         /* [rows] constraint states of a wave */
    struct group *groups;    /* [rows] */
    int64_t out_cap;         /* output rows of a step */
    int64_t batch_cap;       /* token rows of a step */
    float *logits;           /* [out_cap, vocab] */
    struct logit_stats *stats;
    struct logit_mark *marks;
    struct sample_scratch *thread; /* [threads] */
    int32_t *ids;            /* batch arrays, [batch_cap] */
    int32_t *position;
    int32_t *cache_rows;
    int32_t *out_rows;       /* [out_cap] */
    struct attn_seq *seqs;   /* [rows] */
    int64_t *slot_begin;     /* [slots + 1] token rows of each policy; NULL: one policy */
    struct generate_stats stat;
};

/* How the scheduler calls the model. */
struct pass scheduler_pass(struct scheduler *s);

/* Tokens of prompt and completion that a branch has. */
int64_t branch_total(const struct scheduler *s, const struct branch *b);

/* Token `i` of a branch, i < branch_total. */
int32_t branch_token(const struct scheduler *s, const struct branch *b, int64_t i);

/* Gives waiting branches free slots and pages (scheduler_admit.c). */
MUST_USE enum status scheduler_admit(struct scheduler *s);

/* Reserves pages for what every running branch feeds next and fills s->feeds; branches that find no
 * page make the newest ones wait. */
MUST_USE enum status scheduler_plan_feeds(struct scheduler *s);

/* Takes the pages of running[i] away; it waits. */
void scheduler_preempt(struct scheduler *s, int64_t i);

/* A group's members leave their branch with `fed` tokens in the cache of `from`: a new branch,
 * running on shared pages or, without pages, waiting. `text`: its tokens in the drafts' automaton.
 */
MUST_USE enum status scheduler_fork(struct scheduler *s, const struct branch *from,
                                    const struct group *group, int32_t text, int64_t fed);

/* Ends a running branch: its sequence is freed or kept for the members of its prompt that wait. */
void scheduler_release(struct scheduler *s, int64_t branch);

/* Draws for the outputs of this step; branches split, completions end (scheduler_draw.c). */
MUST_USE enum status scheduler_draw(struct scheduler *s, const float *hidden, int64_t n_out);
