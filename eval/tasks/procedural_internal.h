/* Rows and parts of the procedural tasks. */
#pragma once

#include "eval/tasks/procedural.h"
#include "kernels/base/rng.h"

enum procedural_key_type {
    KEY_NUMBER,  /* whole number */
    KEY_REAL,
    KEY_FLAG,
    KEY_LIST,    /* some of the words: bits */
    KEY_CHOICE,  /* one of the words: its place */
    KEY_WEIGHTS  /* as many numbers as words, sum 1 */
};

struct procedural_key {
    const char *name; /* NULL ends a table */
    enum procedural_key_type type;
    double def;
    double low;
    double high;
    const char *words;          /* space-separated, of lists, choices and weights */
    double weights[PROCEDURAL_MOST_WEIGHTS]; /* defaults of KEY_WEIGHTS */
};

/* What a curriculum raises: a range up to a level's value, or one value. */
struct procedural_attribute {
    const char *lower; /* NULL ends a table */
    const char *upper; /* NULL: one value, of key `lower` */
    bool interval;     /* level 0 spans the first two values already */
    int count;
    double levels[36];
};

/* A question under construction. */
struct question {
    struct procedural_config config;
    struct rng_key key; /* of the next four words */
    uint32_t words[4];
    int left;
    char *text;         /* question */
    char *answer;
    json_t *metadata;
    json_t *difficulty;
};

struct procedural_task {
    const char *name;
    double (*score)(const char *answer, const json_t *entry);
    enum status (*make)(struct question *q); /* fills text, answer, metadata */
    const struct procedural_key *keys;
    const struct procedural_attribute *attributes;
};

/* ---- draws: each takes the next numbers of the question's stream ---- */
/* Uniform in [0, n), n > 0. */
uint64_t question_below(struct question *q, uint64_t n);
/* Uniform in [low, high]. */
int64_t question_between(struct question *q, int64_t low, int64_t high);
/* Uniform between the values of two keys, a minimum and a maximum. */
int64_t question_range(struct question *q, const char *low, const char *high);
/* True once in two. */
bool question_flip(struct question *q);
/* One of the space-separated words whose bit is set; `word` [16]. */
void question_word(struct question *q, const char *words, unsigned bits, char *word);
/* Place of a weighted choice. */
int question_weighted(struct question *q, int count);

/* ---- parts ---- */
/* Value of a key the task has. */
double question_value(const struct question *q, const char *key);
/* Words of a list or choice key. */
const char *question_words(const struct question *q, const char *key);
/* Replaces *text by formatted text. Fails with MEMORY. */
MUST_USE enum status question_set(char **text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Appends formatted text. Fails with MEMORY. */
MUST_USE enum status question_add(char **text, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* Adds to the metadata; takes the reference. Fails with MEMORY. */
MUST_USE enum status question_note(struct question *q, const char *key, json_t *value);
/* Adds the pair of two keys to the difficulty, under the package's name. */
MUST_USE enum status question_difficulty(struct question *q, const char *name, const char *low,
                                         const char *high);
/* A 128-bit number as text. */
void question_wide(__int128 x, char out[48]);

/* Generators by file. */
enum status question_countdown(struct question *q);
/* The rows' makers; each fills text, answer and metadata. */
enum status question_basic_arithmetic(struct question *q);
enum status question_chain_sum(struct question *q);   /* a + b - c */
enum status question_products(struct question *q);    /* a * b */
enum status question_gcd(struct question *q);         /* greatest common divisor */
enum status question_lcm(struct question *q);         /* least common multiple */
enum status question_factors(struct question *q);     /* prime factors */
enum status question_fraction(struct question *q);    /* lowest terms */
enum status question_base(struct question *q);        /* base conversion */
enum status question_equation(struct question *q);    /* linear equations */
enum status question_polynomial(struct question *q);  /* real roots */
enum status question_complex(struct question *q);     /* complex arithmetic */
enum status question_sorting(struct question *q);     /* sorted numbers */
enum status question_letters(struct question *q);     /* letters in a text */
enum status question_backward(struct question *q);    /* words backward */
enum status question_legs(struct question *q);        /* legs of animals */
enum status question_decimal(struct question *q);     /* Decimal arithmetic */
enum status question_calendar(struct question *q);    /* dates */

/* Text of the entry's answer, "" when it has none. */
const char *procedural_answer(const json_t *entry);

/* 1 when equal, length(gold) / length(answer) when the answer holds the gold text, else 0. */
double procedural_score_text(const char *answer, const json_t *entry);

/* 1 when equal as Decimals without commas, else as procedural_score_text without commas. */
double procedural_score_decimal(const char *answer, const json_t *entry);

/* The scores of single tasks; as in the package. */
double procedural_score_countdown(const char *answer, const json_t *entry);
/* Product and order of prime factors. */
double procedural_score_factors(const char *answer, const json_t *entry);
/* Distances of roots. */
double procedural_score_roots(const char *answer, const json_t *entry);
/* A sorted list. */
double procedural_score_sorted(const char *answer, const json_t *entry);
/* A Decimal within the last place. */
double procedural_score_places(const char *answer, const json_t *entry);
/* Numerator and denominator. */
double procedural_score_fraction(const char *answer, const json_t *entry);
/* Letters at their places. */
double procedural_score_letters(const char *answer, const json_t *entry);
/* Weekdays, counts, leap years. */
double procedural_score_calendar(const char *answer, const json_t *entry);
/* Distance in the complex plane. */
double procedural_score_complex(const char *answer, const json_t *entry);
