/*
 * Tokenizers from tokenizer.ggml.* keys. model=gpt2 is byte-level BPE with the splitter that .pre
 * names; llama and gemma4 are SentencePiece BPE with byte fallback. Where llama.cpp approximates
 * (case classes in ASCII, no normal form), the Hugging Face behaviour of the same model counts.
 */
#include <math.h>
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES_TAIL "|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define LETTER_LEAD "[^\\r\\n\\p{L}\\p{N}]?"
#define UPPER "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"

#define L3_FORM(numbers)                                                                           \
    CONTRACTIONS "|" LETTER_LEAD "\\p{L}+|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*" SPACES_TAIL
#define O2_FORM(contractions, numbers)                                                             \
    LETTER_LEAD UPPER "*" LOWER "+" contractions "|" LETTER_LEAD UPPER "+" LOWER "*" contractions  \
                "|" numbers "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*" SPACES_TAIL

static const char L3[] = L3_FORM("\\p{N}{1,3}");
static const char Q2[] = L3_FORM("\\p{N}");
static const char Q35[] = CONTRACTIONS "|" LETTER_LEAD
                                       "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*"
                                       SPACES_TAIL;
static const char TK[] = O2_FORM("", "\\p{N}");
static const char O2[] = O2_FORM(CONTRACTIONS "?", "\\p{N}{1,3}");
static const char DS3_DIGITS[] = "\\p{N}{1,3}";
static const char DS3_CJK[] = "[\\x{4E00}-\\x{9FA5}\\x{3040}-\\x{309F}\\x{30A0}-\\x{30FF}]+";
static const char DS3_WORDS[] =
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?"
    "[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*" SPACES_TAIL;
static const char OLD_PUNCTUATION[] = "[\\p{P}\\$\\+<=>\\^~\\|]+";
static const char OLD_THREE[] = "[0-9][0-9][0-9]";
static const char ONE_NUMBER[] = "\\p{N}";
static const char NUMBERS[] = "\\p{N}+";

/* What a value of tokenizer.ggml.pre means. */
struct pre_rule {
    const char *names;       /* " name name " */
    const char *patterns[4]; /* Isolated splits, in order */
    bool nfc;
    bool ignore_merges;
    bool bos; /* when add_bos_token is missing */
};

static const struct pre_rule PRE_RULES[] = {
    {.names = " llama3 llama-v3 llama-bpe falcon3 pixtral lfm2 ", .patterns = {L3},
     .ignore_merges = true, .bos = true},
    {.names = " dbrx smaug-bpe glm4 chatglm-bpe ", .patterns = {L3}},
    {.names = " qwen2 stablelm2 ", .patterns = {Q2}, .nfc = true},
    {.names = " deepseek-r1-qwen megrez ", .patterns = {Q2}},
    {.names = " qwen35 ", .patterns = {Q35}, .nfc = true},
    {.names = " gpt-2 phi-2 olmo mpt jais ", .patterns = {TOK_PATTERN_G2}},
    {.names = " smollm starcoder refact command-r exaone ",
     .patterns = {ONE_NUMBER, TOK_PATTERN_G2}},
    {.names = " tekken ", .patterns = {TK}, .ignore_merges = true, .bos = true},
    {.names = " gpt-4o llama4 ", .patterns = {O2}},
    {.names = " deepseek-v3 ", .patterns = {DS3_DIGITS, DS3_CJK, DS3_WORDS}},
    /* no .pre: what the first converters wrote */
    {.names = " default ", .patterns = {OLD_PUNCTUATION, TOK_PATTERN_G2, NUMBERS, OLD_THREE}},
};

enum token_type { TYPE_UNKNOWN = 2, TYPE_CONTROL = 3, TYPE_USER = 4, TYPE_BYTE = 6 };

static const char BLANK[] = "\xE2\x96\x81"; /* U+2581 */

/* A flag that may be missing. */
static enum status optional_bool(const struct gguf *g, const char *key, bool otherwise, bool *out)
{
    *out = otherwise;
    return gguf_has(g, key) ? gguf_bool(g, key, out) : STATUS_OK;
}

static enum status find_rule(const struct gguf *g, const struct pre_rule **out)
{
    struct gguf_string pre = {.data = "default", .length = 7};
    char name[64];
    if (gguf_has(g, "tokenizer.ggml.pre")) {
        TRY(gguf_string(g, "tokenizer.ggml.pre", &pre));
    }
    if (pre.length + 3 > sizeof(name) || memchr(pre.data, ' ', pre.length) != NULL ||
        memchr(pre.data, '\0', pre.length) != NULL || pre.length == 0) {
        return FAIL(INPUT, "tokenizer.ggml.pre is no name");
    }
    (void)snprintf(name, sizeof(name), " %.*s ", (int)pre.length, pre.data);
    for (size_t i = 0; i < sizeof(PRE_RULES) / sizeof(PRE_RULES[0]); i++) {
        if (strstr(PRE_RULES[i].names, name) != NULL) {
            *out = &PRE_RULES[i];
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "tokenizer.ggml.pre '%.*s' is not supported; put the model's tokenizer.json "
                       "beside it and name that folder", (int)pre.length, pre.data);
}

static enum status byte_level_steps(struct tokenizer *t, const struct pre_rule *rule)
{
    struct tok_step *step;
    if (rule->nfc) {
        TRY(tok_steps_add(&t->normalizer, TOK_NFC, &step));
    }
    for (size_t i = 0; i < 4 && rule->patterns[i] != NULL; i++) {
        TRY(tok_steps_split(&t->splitter, rule->patterns[i], TOK_ISOLATED, false));
    }
    TRY(tok_steps_byte_level(&t->splitter, false, false));
    t->bpe.ignore_merges = rule->ignore_merges;
    t->has_decoder = true;
    return tok_steps_add(&t->decoder, TOK_BYTE_LEVEL, &step);
}

static enum status sentencepiece_steps(struct tokenizer *t, bool prefix)
{
    struct tok_step *step;
    if (prefix) {
        TRY(tok_steps_add(&t->normalizer, TOK_PREPEND, &step));
        TRY(tok_string_copy(&step->content, BLANK, strlen(BLANK)));
    }
    TRY(tok_steps_replace(&t->normalizer, " ", BLANK));
    TRY(tok_steps_replace(&t->decoder, BLANK, " "));
    TRY(tok_steps_add(&t->decoder, TOK_BYTE_FALLBACK, &step));
    TRY(tok_steps_add(&t->decoder, TOK_FUSE, &step));
    if (prefix) {
        TRY(tok_steps_add(&t->decoder, TOK_STRIP, &step));
        step->start = 1;
        TRY(tok_string_copy(&step->content, " ", 1));
    }
    t->bpe.byte_fallback = true;
    t->bpe.fuse_unk = true;
    t->has_decoder = true;
    return STATUS_OK;
}

/* Token i; runs of real spaces (Gemma stores them so) become runs of U+2581. */
static enum status token_text(const struct gguf *g, int64_t i, bool sentencepiece,
                              struct tok_text *out)
{
    struct gguf_string s;
    TRY(gguf_array_string(g, "tokenizer.ggml.tokens", i, &s));
    out->length = 0;
    bool spaces = sentencepiece && s.length > 0;
    for (size_t k = 0; k < s.length && spaces; k++) {
        spaces = s.data[k] == ' ';
    }
    for (size_t k = 0; k < s.length && spaces; k++) {
        TRY(tok_text_append(out, BLANK, strlen(BLANK), 0, 0));
    }
    if (!spaces) {
        TRY(tok_text_append_lossy(out, s.data, s.length));
    }
    return tok_text_append(out, "", 1, 0, 0); /* ends in NUL for messages */
}

/* The vocabulary, then control, unknown and user-defined tokens as added ones. */
static enum status read_tokens(struct tokenizer *t, const struct gguf *g, bool sentencepiece,
                               struct tok_text *buffer)
{
    const int64_t count = gguf_array_count(g, "tokenizer.ggml.tokens");
    const int64_t types = gguf_array_count(g, "tokenizer.ggml.token_type");
    if (count == 0 || count > TOK_MAX_ID || (types != 0 && types != count)) {
        return FAIL(INPUT, "tokenizer.ggml.tokens: %lld tokens, %lld types", (long long)count,
                    (long long)types);
    }
    for (int64_t i = 0; i < count; i++) {
        TRY(token_text(g, i, sentencepiece, buffer));
        TRY(tok_vocab_add(&t->vocab, buffer->data, buffer->length - 1, i));
    }
    for (int64_t i = 0; i < types; i++) {
        int64_t type;
        int32_t given;
        TRY(gguf_array_int(g, "tokenizer.ggml.token_type", i, &type));
        if (type != TYPE_CONTROL && type != TYPE_USER && type != TYPE_UNKNOWN) {
            continue;
        }
        TRY(token_text(g, i, sentencepiece, buffer));
        const struct tok_added token = {
            .content = {.data = buffer->data, .length = buffer->length - 1}, .id = (int32_t)i,
            .special = type != TYPE_USER};
        TRY(tok_added_add(t, &token, &given));
    }
    return STATUS_OK;
}

static enum status read_merge(struct tokenizer *t, const struct gguf *g, int64_t i,
                              struct tok_text *joined)
{
    struct gguf_string m;
    TRY(gguf_array_string(g, "tokenizer.ggml.merges", i, &m));
    const char *space = m.length > 1 ? memchr(m.data + 1, ' ', m.length - 1) : NULL;
    if (space == NULL) {
        return FAIL(INPUT, "tokenizer.ggml.merges[%lld] is not two tokens", (long long)i);
    }
    const size_t left = (size_t)(space - m.data);
    const size_t right = m.length - left - 1;
    joined->length = 0;
    TRY(tok_text_append(joined, m.data, left, 0, 0));
    TRY(tok_text_append(joined, space + 1, right, 0, 0));
    const int32_t ids[3] = {tok_vocab_find(&t->vocab, m.data, left),
                            tok_vocab_find(&t->vocab, space + 1, right),
                            tok_vocab_find(&t->vocab, joined->data, joined->length)};
    if (ids[0] < 0 || ids[1] < 0 || ids[2] < 0) {
        return FAIL(INPUT, "tokenizer.ggml.merges[%lld]: '%.*s' or its result is not in the "
                           "vocabulary", (long long)i, (int)(m.length < 80 ? m.length : 80),
                    m.data);
    }
    return tok_pairs_put(&t->bpe.merges, ids[0], ids[1], (int32_t)i, ids[2]);
}

static enum status read_scores(struct tokenizer *t, const struct gguf *g)
{
    const int64_t count = gguf_array_count(g, "tokenizer.ggml.scores");
    if (count < t->vocab.size) {
        return FAIL(INPUT, "tokenizer.ggml: neither merges nor a score per token");
    }
    t->bpe.order = TOK_BY_SCORE;
    t->bpe.scores = calloc((size_t)t->vocab.size, sizeof(*t->bpe.scores));
    if (t->bpe.scores == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for %d scores", t->vocab.size);
    }
    for (int32_t i = 0; i < t->vocab.size; i++) {
        double score;
        TRY(gguf_array_float(g, "tokenizer.ggml.scores", i, &score));
        if (!isfinite(score)) {
            return FAIL(INPUT, "tokenizer.ggml.scores[%d] is not a number", i);
        }
        t->bpe.scores[i] = (float)score;
    }
    return STATUS_OK;
}

/* Gemma's SentencePiece scores in GGUF are no ranks; its ids are. */
static bool is_gemma(const struct gguf *g)
{
    struct gguf_string name;
    if (!gguf_has(g, "general.architecture") ||
        gguf_string(g, "general.architecture", &name) != STATUS_OK) {
        return false;
    }
    return name.length >= 5 && memcmp(name.data, "gemma", 5) == 0;
}

static enum status read_merges(struct tokenizer *t, const struct gguf *g, bool sentencepiece,
                               struct tok_text *buffer)
{
    const int64_t count = gguf_array_count(g, "tokenizer.ggml.merges");
    t->bpe.order = TOK_BY_RANK;
    if (count == 0 && sentencepiece) {
        if (is_gemma(g)) {
            t->bpe.order = TOK_BY_ID;
            return STATUS_OK;
        }
        return read_scores(t, g);
    }
    if (count > INT32_MAX) {
        return FAIL(INPUT, "tokenizer.ggml.merges: %lld entries", (long long)count);
    }
    for (int64_t i = 0; i < count; i++) {
        TRY(read_merge(t, g, i, buffer));
    }
    return STATUS_OK;
}

/* The token of an id key: its text and id as special `which` (or none), and as a stop id. */
static enum status read_special(struct tokenizer *t, const struct gguf *g, const char *key,
                                int which, bool stops)
{
    int64_t id;
    size_t n = 0;
    if (!gguf_has(g, key)) {
        return STATUS_OK;
    }
    TRY(gguf_int(g, key, &id));
    const char *text = id >= 0 && id < t->vocab.size ? tok_id_text(t, (int32_t)id, &n) : NULL;
    if (text == NULL) {
        return STATUS_OK; /* -1 and the like: none */
    }
    if (which >= 0) {
        TRY(tok_set_special(t, (enum tok_special)which, text, n));
        t->special_id[which] = (int32_t)id;
    }
    return stops ? tok_add_stop(t, id) : STATUS_OK;
}

static enum status read_specials(struct tokenizer *t, const struct gguf *g, bool bos_default)
{
    bool bos;
    bool eos;
    TRY(read_special(t, g, "tokenizer.ggml.bos_token_id", TOK_BOS, false));
    TRY(read_special(t, g, "tokenizer.ggml.eos_token_id", TOK_EOS, true));
    TRY(read_special(t, g, "tokenizer.ggml.padding_token_id", TOK_PAD, false));
    TRY(read_special(t, g, "tokenizer.ggml.unknown_token_id", TOK_UNK, false));
    TRY(read_special(t, g, "tokenizer.ggml.eot_token_id", -1, true));
    TRY(read_special(t, g, "tokenizer.ggml.eom_token_id", -1, true));
    TRY(optional_bool(g, "tokenizer.ggml.add_bos_token", bos_default, &bos));
    TRY(optional_bool(g, "tokenizer.ggml.add_eos_token", false, &eos));
    if (bos && t->special_id[TOK_BOS] >= 0) {
        TRY(token_list_push(&t->prefix, t->special_id[TOK_BOS]));
    }
    if (eos && t->special_id[TOK_EOS] >= 0) {
        TRY(token_list_push(&t->suffix, t->special_id[TOK_EOS]));
    }
    if (gguf_has(g, "tokenizer.chat_template")) {
        struct gguf_string source;
        struct text copy;
        TRY(gguf_string(g, "tokenizer.chat_template", &source));
        TRY(tok_string_copy(&copy, source.data, source.length));
        t->chat_template = copy.data;
    }
    return STATUS_OK;
}

static enum status load(struct tokenizer *t, const struct gguf *g, struct tok_text *buffer)
{
    struct gguf_string model;
    TRY(gguf_string(g, "tokenizer.ggml.model", &model));
    const bool byte_level = model.length == 4 && memcmp(model.data, "gpt2", 4) == 0;
    const bool gemma4 = model.length == 6 && memcmp(model.data, "gemma4", 6) == 0;
    const bool llama = model.length == 5 && memcmp(model.data, "llama", 5) == 0;
    if (!byte_level && !gemma4 && !llama) {
        return FAIL(INPUT, "tokenizer.ggml.model '%.*s' is not supported; gpt2, llama and gemma4 "
                           "are", (int)(model.length < 40 ? model.length : 40), model.data);
    }
    bool bos = llama;
    TRY(read_tokens(t, g, !byte_level, buffer));
    if (byte_level) {
        const struct pre_rule *rule = NULL;
        TRY(find_rule(g, &rule));
        TRY(byte_level_steps(t, rule));
        bos = rule->bos;
    } else {
        bool prefix;
        TRY(optional_bool(g, "tokenizer.ggml.add_space_prefix", llama && !is_gemma(g), &prefix));
        TRY(sentencepiece_steps(t, prefix));
    }
    TRY(read_merges(t, g, !byte_level, buffer));
    TRY(read_specials(t, g, bos));
    t->bpe.unk = byte_level || t->special_id[TOK_UNK] < 0 ? TOK_UNK_NONE : t->special_id[TOK_UNK];
    tok_bpe_prepare(&t->bpe, &t->vocab);
    return tok_added_build(t);
}

enum status tokenizer_open_gguf(struct tokenizer **out, const struct gguf *g)
{
    struct tok_text buffer = {0};
    *out = NULL;
    TRY(tok_open_empty(out));
    const enum status status = load(*out, g, &buffer);
    tok_text_free(&buffer);
    if (status != STATUS_OK) {
        tokenizer_close(*out);
        *out = NULL;
        return status_prefix(status, "%s: ", gguf_path(g));
    }
    return STATUS_OK;
}
