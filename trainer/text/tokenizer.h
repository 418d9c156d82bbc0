/*
 * Tokenizers: byte-level BPE and SentencePiece-style BPE, from tokenizer.json or from GGUF keys.
 * Behaviour: spec formats.md 6 (the tokenizers library 0.23.3).
 */
#pragma once

#include "kernels/base/status.h"
#include "trainer/format/gguf.h"

struct tokenizer;

/* A growing list of ids; zero-initialise, free with token_list_free. */
struct token_list {
    int32_t *ids;
    int64_t count;
    int64_t capacity;
};

/* Appends; fails with MEMORY. */
MUST_USE enum status token_list_push(struct token_list *list, int32_t id);

/* Frees the ids and empties the list. */
void token_list_free(struct token_list *list);

/* Text that the caller frees with free(); NUL-terminated, `length` without the NUL. */
struct text {
    char *data;
    size_t length;
};

/* From a Hugging Face folder (tokenizer.json, tokenizer_config.json, generation_config.json).
 * Fails with INPUT naming file and component when a part is unknown. */
MUST_USE enum status tokenizer_open_folder(struct tokenizer **out, const char *folder);

/* From one tokenizer.json file alone. */
MUST_USE enum status tokenizer_open_file(struct tokenizer **out, const char *path);

/* From tokenizer.ggml.* keys. The strings are copied; `g` may be closed afterwards. */
MUST_USE enum status tokenizer_open_gguf(struct tokenizer **out, const struct gguf *g);

/* Frees everything. NULL is allowed. */
void tokenizer_close(struct tokenizer *t);

enum tokenize_flags {
    TOKENIZE_SPECIALS = 1,     /* run the post-processor: BOS/EOS as the file says */
    TOKENIZE_NO_SPECIAL_TEXT = 2 /* special tokens written out in the text are plain text */
};

/* Appends the ids of `length` bytes of UTF-8 (invalid bytes: as the reference, U+FFFD). */
MUST_USE enum status tokenizer_encode(const struct tokenizer *t, const char *text, size_t length,
                                      unsigned flags, struct token_list *out);

/* Same, and for each id appended the byte range [begin, end) of `text` it covers (spans has room
 * for nothing on entry: *spans is malloc'd [count][2] for the ids appended; caller frees). */
MUST_USE enum status tokenizer_encode_spans(const struct tokenizer *t, const char *text,
                                            size_t length, unsigned flags, struct token_list *out,
                                            int64_t (**spans)[2]);

/* Text of `count` ids; skip_special leaves special tokens out. Invalid UTF-8 becomes U+FFFD as the
 * reference does. Ids outside the vocabulary fail with INPUT. */
MUST_USE enum status tokenizer_decode(const struct tokenizer *t, const int32_t *ids, int64_t count,
                                      bool skip_special, struct text *out);

/* The raw bytes a token adds to a text that goes on (a part of a UTF-8 character, too); none for a
 * special id or one without text. The caller frees out->data. Fails with MEMORY. */
MUST_USE enum status tokenizer_token_bytes(const struct tokenizer *t, int32_t id, struct text *out);

/* Highest id + 1. */
int32_t tokenizer_vocab_size(const struct tokenizer *t);

/* Id of a token's exact content ("<|im_end|>"), -1 when there is none. */
int32_t tokenizer_find(const struct tokenizer *t, const char *content);

/* Special ids, -1: none. */
int32_t tokenizer_bos(const struct tokenizer *t);

/* The end-of-text id. */
int32_t tokenizer_eos(const struct tokenizer *t);

/* The padding id. */
int32_t tokenizer_pad(const struct tokenizer *t);

/* All ids that end a completion: generation_config's eos_token_id list, the tokenizer's eos, and
 * GGUF's eot/eom. Borrowed. */
const int32_t *tokenizer_stop_ids(const struct tokenizer *t, int64_t *count);

/* The chat template's source, NULL when the model has none. Borrowed. */
const char *tokenizer_chat_template(const struct tokenizer *t);

/* Content of special token "bos_token", "eos_token", "pad_token" or "unk_token"; NULL: none. */
const char *tokenizer_special_text(const struct tokenizer *t, const char *name);
