/*
 * Private parts of the tokenizer. A text goes through: added tokens on the raw text, normalizer
 * steps, added tokens on the normalized text, splitting steps, the model, the template. Every stage
 * works on a tok_text, which carries where each byte came from when spans are wanted.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "trainer/text/tokenizer.h"

enum {
    TOK_MAX_ID = 1 << 24,      /* ids at or above are no vocabulary, but a broken file */
    TOK_MAX_TEXT = 1 << 28,    /* bytes of one encode call */
    TOK_MAX_BUFFER = 1 << 30,  /* bytes of one intermediate text (positions are int32) */
    TOK_MAX_ADDED = 1024,      /* bytes of an added token: bounds the matcher's work per byte */
    TOK_MAX_STEPS = 64,        /* steps of a flattened Sequence */
    TOK_MAX_DEPTH = 16         /* nesting of Sequence components */
};

/* ---- growing memory (tok_text.c) ---- */

/* Makes the array at *(T **)pointer hold `count` items, doubling *capacity. Fails with MEMORY. */
MUST_USE enum status tok_grow(void *pointer, int64_t *capacity, int64_t count, size_t item);

/* Bytes; with `aligned`, origin[i] is the range of the caller's text that byte i stands for. */
struct tok_text {
    char *data;
    int32_t (*origin)[2]; /* [capacity], NULL when not aligned */
    size_t length;
    size_t capacity;
    bool aligned;
};

/* Appends n bytes that all stand for [begin, end). Fails with MEMORY, INPUT past TOK_MAX_BUFFER. */
MUST_USE enum status tok_text_append(struct tok_text *t, const char *bytes, size_t n, int32_t begin,
                                     int32_t end);

/* Appends the bytes [begin, end) of `from` with their origins. */
MUST_USE enum status tok_text_copy(struct tok_text *t, const struct tok_text *from, size_t begin,
                                   size_t end);

/* Appends `n` bytes that stand for the bytes [begin, end) of `from` (an insertion when empty). */
MUST_USE enum status tok_text_replace(struct tok_text *t, const char *bytes, size_t n,
                                      const struct tok_text *from, size_t begin, size_t end);

/* Appends raw bytes as valid UTF-8: each maximal invalid part becomes U+FFFD. Origins are
 * positions in `bytes`. */
MUST_USE enum status tok_text_append_lossy(struct tok_text *t, const char *bytes, size_t n);

/* Frees and zeroes. */
void tok_text_free(struct tok_text *t);

/* Range [begin, end) of bytes in a tok_text. */
struct tok_range {
    int32_t begin;
    int32_t end;
    int32_t id;  /* of the added token matched here, -1: text */
    bool first;  /* starts where the caller's text starts */
};

struct tok_ranges {
    struct tok_range *items;
    int64_t count;
    int64_t capacity;
};

/* Appends one range. Fails with MEMORY. */
MUST_USE enum status tok_ranges_push(struct tok_ranges *list, struct tok_range range);

/* *out = a malloc'd NUL-terminated copy. */
MUST_USE enum status tok_string_copy(struct text *out, const char *bytes, size_t n);

/* *out = the file's bytes (NUL-terminated, free() them); out->data is NULL when there is no such
 * file. Fails with INPUT when it is over `limit` bytes or can't be read. */
MUST_USE enum status tok_file_read(struct text *out, const char *path, size_t limit);

/* ---- Unicode (tok_unicode.c) ---- */

/* Bytes of the character at s (n >= 1 bytes left), or of the maximal invalid part (then *valid is
 * false). */
size_t tok_utf8_step(const char *s, size_t n, bool *valid);

/* Code point of the character at s, which is valid UTF-8; *size its bytes. */
int32_t tok_utf8_get(const char *s, size_t *size);

/* Writes cp to out and returns its bytes, 1..4. */
size_t tok_utf8_put(int32_t cp, char out[4]);

/* A combining mark, by the Unicode data of the tokenizers library's normalizers. */
bool tok_is_mark(int32_t cp);

/* White_Space of the Unicode character database. */
bool tok_is_space(int32_t cp);

/* GPT-2's byte <-> character map; tok_char_byte is -1 outside the map. */
int32_t tok_byte_char(uint8_t byte);

/* The byte a character of the map stands for, -1: none. */
int tok_char_byte(int32_t cp);

/* Appends the normal form (compat: K forms; compose: C forms) of [begin, end) of `in`. */
MUST_USE enum status tok_unicode_normalize(const struct tok_text *in, struct tok_range range,
                                           bool compat, bool compose, struct tok_text *out);

/* ---- hash tables (tok_vocab.c) ---- */

/* Token text <-> id. */
struct tok_entry {
    size_t offset; /* in pool */
    uint32_t length;
    int32_t id;
};

struct tok_vocab {
    char *pool;
    int64_t pool_length;
    int64_t pool_capacity;
    struct tok_entry *entries;
    int64_t count;
    int64_t capacity;
    int32_t *slots; /* entry index + 1, 0 empty; power of two */
    size_t slot_count;
    int32_t *by_id; /* entry index + 1 */
    int64_t id_capacity;
    int32_t size; /* highest id + 1 */
    uint32_t longest; /* bytes of the longest token */
};

/* Adds or moves the token `bytes` to `id`. Fails with INPUT on an id out of range, MEMORY. */
MUST_USE enum status tok_vocab_add(struct tok_vocab *v, const char *bytes, size_t n, int64_t id);

/* Id of a token, -1: none. */
int32_t tok_vocab_find(const struct tok_vocab *v, const char *bytes, size_t n);

/* Text of a token, NULL: no such id. */
const char *tok_vocab_text(const struct tok_vocab *v, int32_t id, size_t *n);

/* Frees and empties. */
void tok_vocab_free(struct tok_vocab *v);

/* (left, right) -> (rank, id). */
struct tok_pair {
    uint64_t key;
    int32_t rank;
    int32_t id;
};

struct tok_pairs {
    struct tok_pair *slots; /* key UINT64_MAX: empty */
    size_t slot_count;
    size_t count;
};

/* Adds or overwrites. Fails with MEMORY. */
MUST_USE enum status tok_pairs_put(struct tok_pairs *p, int32_t left, int32_t right, int32_t rank,
                                   int32_t id);

/* The entry of (left, right), NULL: none. Borrowed until the next put. */
const struct tok_pair *tok_pairs_get(const struct tok_pairs *p, int32_t left, int32_t right);

/* Byte strings -> values, walked byte by byte. Zero-initialised is empty. */
struct tok_trie {
    struct tok_pairs edges;
    int32_t *values; /* [nodes], -1: no string ends here */
    int64_t nodes;
    int64_t capacity;
    bool first[256]; /* bytes some string starts with */
};

/* Adds a string with its value (overwriting an equal string's). Fails with MEMORY. */
MUST_USE enum status tok_trie_add(struct tok_trie *t, const char *bytes, size_t n, int32_t value);

/* Node after `byte`, -1: none. The root is 0. */
int32_t tok_trie_step(const struct tok_trie *t, int32_t node, char byte);

/* Frees and empties. */
void tok_trie_free(struct tok_trie *t);

/* ---- regular expressions (tok_regex.c, tok_regex_translate.c) ---- */

struct tok_regex;

/* Scratch of one encode call; zero-initialise. */
struct tok_regex_run {
    void *data;    /* pcre2_match_data */
    void *context; /* pcre2_match_context */
    void *stack;   /* pcre2_jit_stack */
};

/* Where a search stands; zero-initialise, then set `matched` to false. */
struct tok_regex_cursor {
    size_t position;
    size_t last_end;
    bool matched;
};

/* Compiles `pattern` (Oniguruma syntax, or literal text). Fails with INPUT saying where the pattern
 * is wrong, MEMORY. */
MUST_USE enum status tok_regex_open(struct tok_regex **out, const char *pattern, size_t n,
                                    bool literal);

/* Frees the compiled pattern. NULL is allowed. */
void tok_regex_close(struct tok_regex *r);

/* Frees the scratch and zeroes it. */
void tok_regex_run_close(struct tok_regex_run *run);

/* Next match [*begin, *end) in the n bytes of valid UTF-8; *found false at the end. An empty match
 * right after a match is skipped. Fails with INPUT when the match limit is reached. */
MUST_USE enum status tok_regex_next(const struct tok_regex *r, struct tok_regex_run *run,
                                    const char *subject, size_t n, struct tok_regex_cursor *cursor,
                                    size_t *begin, size_t *end, bool *found);

/* *out = the PCRE2 form of an Oniguruma pattern. Fails with INPUT. */
MUST_USE enum status tok_regex_translate(struct tok_text *out, const char *pattern, size_t n);

/* ---- steps: normalizers, splitters, decoders ---- */

enum tok_kind {
    /* normalizers */
    TOK_NFC,
    TOK_NFD,
    TOK_NFKC,
    TOK_NFKD,
    TOK_REPLACE, /* also a decoder */
    TOK_PREPEND,
    TOK_LOWERCASE,
    TOK_STRIP_SPACE,
    TOK_STRIP_ACCENTS,
    TOK_BYTE_LEVEL, /* bytes to characters: normalizer, splitter; the reverse as a decoder */
    /* splitters */
    TOK_SPLIT,
    TOK_PREFIX_SPACE,
    TOK_METASPACE, /* also a decoder */
    /* decoders */
    TOK_BYTE_FALLBACK,
    TOK_FUSE,
    TOK_STRIP
};

enum tok_behavior {
    TOK_REMOVED,
    TOK_ISOLATED,
    TOK_MERGED_WITH_PREVIOUS,
    TOK_MERGED_WITH_NEXT,
    TOK_CONTIGUOUS
};

enum tok_prepend { TOK_PREPEND_ALWAYS, TOK_PREPEND_FIRST, TOK_PREPEND_NEVER };

struct tok_step {
    enum tok_kind kind;
    struct tok_regex *regex; /* REPLACE, SPLIT */
    struct text content;     /* REPLACE, PREPEND, METASPACE's replacement, STRIP's character */
    enum tok_behavior behavior;
    bool invert;
    bool left; /* STRIP_SPACE */
    bool right;
    bool cut; /* METASPACE: pieces begin at each replacement character */
    enum tok_prepend prepend; /* METASPACE */
    int64_t start; /* STRIP: how many characters at most */
    int64_t stop;
};

struct tok_steps {
    struct tok_step *items;
    int64_t count;
    int64_t capacity;
};

/* Appends a step of `kind`, everything else zero; *out stays valid until the next call. */
MUST_USE enum status tok_steps_add(struct tok_steps *s, enum tok_kind kind, struct tok_step **out);

/* Appends a SPLIT on `pattern`. */
MUST_USE enum status tok_steps_split(struct tok_steps *s, const char *pattern,
                                     enum tok_behavior behavior, bool invert);

/* Appends a REPLACE of literal `from` by `to`. */
MUST_USE enum status tok_steps_replace(struct tok_steps *s, const char *from, const char *to);

/* Appends ByteLevel as a splitter: the optional prefix space, GPT-2's pattern, the byte map. */
MUST_USE enum status tok_steps_byte_level(struct tok_steps *s, bool prefix_space, bool use_regex);

/* Frees the steps with their patterns and texts. */
void tok_steps_free(struct tok_steps *s);

/* Items of \w in Rust's regex crate, which Whitespace and single_word use. */
#define TOK_RUST_WORD "\\p{Alphabetic}\\p{L}\\p{M}\\p{Nd}\\p{Pc}\\x{200c}\\x{200d}"

/* GPT-2's splitting pattern. */
#define TOK_PATTERN_G2                                                                             \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* ---- model ---- */

enum tok_merge_order {
    TOK_BY_RANK,  /* the list of merges */
    TOK_BY_SCORE, /* highest score of the joined token (SentencePiece in GGUF) */
    TOK_BY_ID     /* lowest id of the joined token (Gemma in GGUF) */
};

enum { TOK_SMALL_CHARS = 512, TOK_UNK_NONE = -1, TOK_UNK_MISSING = -2 };

struct tok_bpe {
    enum tok_merge_order order;
    struct tok_pairs merges;
    float *scores;   /* [vocab.size], BY_SCORE */
    int32_t unk;     /* id, TOK_UNK_NONE, or TOK_UNK_MISSING: named but not in the vocabulary */
    bool fuse_unk;
    bool byte_fallback;
    bool ignore_merges;
    struct text prefix; /* continuing_subword_prefix */
    struct text suffix; /* end_of_word_suffix */
    int32_t small[TOK_SMALL_CHARS]; /* ids of single characters below U+0200 */
    int32_t bytes[256];             /* ids of <0x00>..<0xFF>, -1: none */
};

struct tok_unigram {
    struct tok_trie trie;
    double *scores; /* [vocab.size] */
    double unk_score;
    int32_t unk;
    bool byte_fallback;
    int32_t bytes[256];
};

enum tok_model { TOK_MODEL_BPE, TOK_MODEL_UNIGRAM };

/* Ids and, when wanted, their ranges in the caller's text. */
struct tok_sink {
    struct token_list *ids;
    int64_t (*spans)[2];
    int64_t span_count;
    int64_t span_capacity;
    bool want_spans;
};

/* Appends an id and, when wanted, its range [begin, end) of the caller's text. Fails with
 * MEMORY. */
MUST_USE enum status tok_sink_push(struct tok_sink *s, int32_t id, int64_t begin, int64_t end);

/* Pushes id for the bytes [begin, end) of `text`. */
MUST_USE enum status tok_sink_push_text(struct tok_sink *s, int32_t id, const struct tok_text *text,
                                        int32_t begin, int32_t end);

/* Scratch of the models; zero-initialise, free with tok_scratch_free. */
struct tok_symbol;
struct tok_candidate;
struct tok_node;
struct tok_scratch {
    struct tok_symbol *symbols;
    int64_t symbol_count;
    int64_t symbol_capacity;
    struct tok_candidate *heap;
    int64_t heap_count;
    int64_t heap_capacity;
    struct tok_node *nodes;
    int64_t node_capacity;
};

/* Frees the models' scratch. */
void tok_scratch_free(struct tok_scratch *s);

/* Fills m->bytes and m->small from the vocabulary. */
void tok_bpe_prepare(struct tok_bpe *m, const struct tok_vocab *v);

/* ids of <0x00>..<0xFF>. */
void tok_byte_tokens(const struct tok_vocab *v, int32_t out[256]);

/* Ids of one piece, pushed to `sink`. O(n log n). */
MUST_USE enum status tok_bpe_encode(const struct tok_bpe *m, const struct tok_vocab *v,
                                    struct tok_scratch *scratch, const struct tok_text *text,
                                    struct tok_range piece, struct tok_sink *sink);

/* The same for Unigram: the path of the highest summed score (Viterbi). Fails with MEMORY,
 * INPUT. */
MUST_USE enum status tok_unigram_encode(const struct tok_unigram *m, const struct tok_vocab *v,
                                        struct tok_scratch *scratch, const struct tok_text *text,
                                        struct tok_range piece, struct tok_sink *sink);

/* Frees merges and scores. */
void tok_bpe_free(struct tok_bpe *m);

/* Frees trie and scores. */
void tok_unigram_free(struct tok_unigram *m);

/* ---- added tokens (tok_added.c) ---- */

struct tok_added {
    struct text content;
    struct text shown; /* what it decodes to when normalization changes it; else NULL */
    int32_t id;
    bool single_word;
    bool lstrip;
    bool rstrip;
    bool normalized;
    bool special;
};

struct tok_added_set {
    struct tok_added *items;
    int64_t count;
    int64_t capacity;
    struct tok_trie raw;        /* content -> item, normalized == false */
    struct tok_trie normalized; /* normalized content -> item */
    struct tok_vocab names;     /* content -> item */
    int32_t *by_id;             /* [id_count] item + 1 */
    int64_t id_count;
    int64_t size; /* highest id + 1 */
    struct tok_regex *word; /* one word character */
};

/* ---- the tokenizer ---- */

enum tok_special { TOK_BOS, TOK_EOS, TOK_PAD, TOK_UNK, TOK_SPECIALS };

struct tokenizer {
    struct tok_vocab vocab; /* of the model; added tokens may lie outside */
    enum tok_model model;
    struct tok_bpe bpe;
    struct tok_unigram unigram;
    struct tok_steps normalizer;
    struct tok_steps splitter;
    struct tok_steps decoder;
    bool has_decoder;
    struct tok_added_set added;
    struct token_list prefix; /* ids the post-processor puts around a text */
    struct token_list suffix;
    struct token_list stops;
    struct text special_text[TOK_SPECIALS];
    int32_t special_id[TOK_SPECIALS];
    char *chat_template;
};

/* A tokenizer with nothing in it. */
MUST_USE enum status tok_open_empty(struct tokenizer **out);

/* Adds a token; its id is the vocabulary's, else the next free one (or `id` when it is >= 0 and the
 * vocabulary has none). *given is the id it got. Content is copied. Fails with INPUT, MEMORY. */
MUST_USE enum status tok_added_add(struct tokenizer *t, const struct tok_added *token,
                                   int32_t *given);

/* Builds the matchers once the normalizer is known. */
MUST_USE enum status tok_added_build(struct tokenizer *t);

/* Frees the tokens and their matchers. */
void tok_added_free(struct tok_added_set *s);

/* Cuts `range` of `text` at added tokens and appends the parts to `out`. */
struct tok_match_args {
    const struct tok_text *text;
    struct tok_range range;
    bool normalized;      /* which of the two passes */
    bool no_special_text; /* specials written out are text */
    struct tok_regex_run *run;
};

/* Leftmost match first, the longest at a place; parts between matches get id -1. Fails with
 * MEMORY. */
MUST_USE enum status tok_added_match(const struct tokenizer *t, const struct tok_match_args *args,
                                     struct tok_ranges *out);

/* True when `id` is a special token, or one of the vocabulary with a special token's content. */
bool tok_is_special(const struct tokenizer *t, int32_t id);

/* Text of an id, added tokens first; NULL: none. */
const char *tok_id_text(const struct tokenizer *t, int32_t id, size_t *n);

/* Scratch of the normalizer and the splitter. */
struct tok_work {
    struct tok_text clean;
    struct tok_text normal[2];
    struct tok_text split[2];
    struct tok_ranges outer;
    struct tok_ranges inner;
    struct tok_ranges pieces[2];
    struct tok_ranges matches;
    struct tok_regex_run run;
    struct tok_scratch scratch;
};

/* Frees all scratch of an encode call. */
void tok_work_free(struct tok_work *w);

/* Normalizes `range` of `in` into one of w->normal; *out borrows it. */
MUST_USE enum status tok_normalize(const struct tok_steps *steps, struct tok_work *w,
                                   const struct tok_text *in, struct tok_range range,
                                   const struct tok_text **out);

/* Splits `range` of `in`: *text and *pieces borrow from w. */
MUST_USE enum status tok_split(const struct tok_steps *steps, struct tok_work *w,
                               const struct tok_text *in, struct tok_range range,
                               const struct tok_text **text, const struct tok_ranges **pieces);

/* Appends `range` of `in` with every match replaced by `content`. */
MUST_USE enum status tok_replace_matches(const struct tok_step *step, struct tok_regex_run *run,
                                         const struct tok_text *in, struct tok_range range,
                                         struct tok_text *out);

/* Appends the bytes of `range` as byte-level characters. */
MUST_USE enum status tok_byte_level(const struct tok_text *in, struct tok_range range,
                                    struct tok_text *out);

/* ---- tokenizer.json (tokenizer_json.c, tok_component_json.c, tok_model_json.c) ---- */

/* Parses `json` into t; `path` for messages. */
MUST_USE enum status tok_json_load(struct tokenizer *t, const json_t *json, const char *path);

/* The "model" object: vocabulary, merges, options. Fails with INPUT naming the part, MEMORY. */
MUST_USE enum status tok_json_model(struct tokenizer *t, const json_t *model);

/* Appends the steps of a "normalizer"; a Sequence is flattened, `depth` counts its nesting. Fails
 * with INPUT on an unknown type. */
MUST_USE enum status tok_json_normalizer(struct tok_steps *s, const json_t *json, int depth);

/* The same for a "pre_tokenizer". */
MUST_USE enum status tok_json_splitter(struct tok_steps *s, const json_t *json, int depth);

/* The same for a "decoder". */
MUST_USE enum status tok_json_decoder(struct tok_steps *s, const json_t *json, int depth);

/* Ids that a "post_processor" puts around a text, into t->prefix and t->suffix. Fails with
 * INPUT. */
MUST_USE enum status tok_json_template(struct tokenizer *t, const json_t *json, int depth);

/* Values of an object's key; `where` names the component. A missing or null key gives `otherwise`,
 * or fails with INPUT where there is no default. */
MUST_USE enum status tok_json_bool(const json_t *object, const char *where, const char *key,
                                   int otherwise, bool *out);

/* *out is a malloc'd copy the caller frees; the key must be there. Fails with INPUT, MEMORY. */
MUST_USE enum status tok_json_string(const json_t *object, const char *where, const char *key,
                                     struct text *out);

/* Parses a file's bytes; big integers become reals when `reals`. */
MUST_USE enum status tok_json_parse(json_t **out, const struct text *bytes, bool reals);

/* ---- specials and stop ids (tokenizer.c) ---- */

/* Names special `which`: content copied, its id looked up. */
MUST_USE enum status tok_set_special(struct tokenizer *t, enum tok_special which,
                                     const char *content, size_t n);

/* Adds a stop id once; ids outside the vocabulary are ignored. */
MUST_USE enum status tok_add_stop(struct tokenizer *t, int64_t id);
