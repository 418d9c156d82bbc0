/*
 * tokenizer.json's normalizer, pre_tokenizer, decoder and post_processor. One table row per
 * component type; Sequences are flattened into one list of steps.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

enum status tok_json_bool(const json_t *object, const char *where, const char *key, int otherwise,
                          bool *out)
{
    const json_t *value = json_object_get(object, key);
    if (value == NULL || json_is_null(value)) {
        if (otherwise < 0) {
            return FAIL(INPUT, "%s: '%s' is missing", where, key);
        }
        *out = otherwise != 0;
        return STATUS_OK;
    }
    if (!json_is_boolean(value)) {
        return FAIL(INPUT, "%s: '%s' is not true or false", where, key);
    }
    *out = json_is_true(value);
    return STATUS_OK;
}

enum status tok_json_string(const json_t *object, const char *where, const char *key,
                            struct text *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_string(value)) {
        return FAIL(INPUT, "%s: '%s' is not a string", where, key);
    }
    return tok_string_copy(out, json_string_value(value), json_string_length(value));
}

static enum status json_count(const json_t *object, const char *where, const char *key,
                              int64_t *out)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < 0) {
        return FAIL(INPUT, "%s: '%s' is not a count", where, key);
    }
    *out = json_integer_value(value);
    return STATUS_OK;
}

typedef enum status (*component_fn)(struct tok_steps *s, const json_t *json, int depth);

struct component {
    const char *type;
    component_fn parse;
};

/* Finds the row of json's type and lets it add its steps; null adds none. */
static enum status parse_component(const struct component *table, const char *what,
                                   struct tok_steps *s, const json_t *json, int depth)
{
    if (json == NULL || json_is_null(json)) {
        return STATUS_OK;
    }
    const char *type = json_string_value(json_object_get(json, "type"));
    if (type == NULL || depth > TOK_MAX_DEPTH) {
        return FAIL(INPUT, "%s: %s", what,
                    type == NULL ? "no object with a 'type'" : "Sequences nested too deep");
    }
    for (const struct component *c = table; c->type != NULL; c++) {
        if (strcmp(c->type, type) == 0) {
            const enum status status = c->parse(s, json, depth);
            if (status != STATUS_OK) {
                return status_prefix(status, "%s '%.40s': ", what, type);
            }
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "%s '%.40s' is not supported", what, type);
}

static enum status parse_sequence(const struct component *table, const char *what,
                                  struct tok_steps *s, const json_t *list, int depth)
{
    size_t i;
    const json_t *item;
    if (!json_is_array(list)) {
        return FAIL(INPUT, "no list of components");
    }
    json_array_foreach(list, i, item) {
        if (!json_is_object(item)) {
            return FAIL(INPUT, "item %zu is no component", i);
        }
        TRY(parse_component(table, what, s, item, depth + 1));
    }
    return STATUS_OK;
}

/* "pattern": {"String": ...} or {"Regex": ...} */
static enum status parse_pattern(const json_t *json, struct tok_regex **out)
{
    const json_t *pattern = json_object_get(json, "pattern");
    const json_t *string = json_object_get(pattern, "String");
    const json_t *regex = json_object_get(pattern, "Regex");
    const json_t *value = string != NULL ? string : regex;
    if (!json_is_string(value)) {
        return FAIL(INPUT, "'pattern' is neither {\"String\": ...} nor {\"Regex\": ...}");
    }
    return tok_regex_open(out, json_string_value(value), json_string_length(value),
                          string != NULL);
}

static enum status parse_behavior(const json_t *json, const char *key, int otherwise,
                                  enum tok_behavior *out)
{
    static const char *const NAMES[] = {
        [TOK_REMOVED] = "Removed", [TOK_ISOLATED] = "Isolated",
        [TOK_MERGED_WITH_PREVIOUS] = "MergedWithPrevious",
        [TOK_MERGED_WITH_NEXT] = "MergedWithNext", [TOK_CONTIGUOUS] = "Contiguous"};
    const char *name = json_string_value(json_object_get(json, key));
    if (name == NULL && otherwise >= 0) {
        *out = (enum tok_behavior)otherwise;
        return STATUS_OK;
    }
    for (size_t i = 0; name != NULL && i < sizeof(NAMES) / sizeof(NAMES[0]); i++) {
        if (strcmp(name, NAMES[i]) == 0) {
            *out = (enum tok_behavior)i;
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "'%s' is '%.40s'; use Removed, Isolated, MergedWithPrevious, "
                       "MergedWithNext or Contiguous", key, name == NULL ? "" : name);
}

static enum status parse_replace(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    (void)depth;
    TRY(tok_steps_add(s, TOK_REPLACE, &step));
    TRY(tok_json_string(json, "Replace", "content", &step->content));
    return parse_pattern(json, &step->regex);
}

/* ---- normalizers ---- */

static enum status norm_form(struct tok_steps *s, const json_t *json, int depth)
{
    static const struct {
        const char *type;
        enum tok_kind kind;
    } FORMS[] = {{"NFC", TOK_NFC},
                 {"NFD", TOK_NFD},
                 {"NFKC", TOK_NFKC},
                 {"NFKD", TOK_NFKD},
                 {"Lowercase", TOK_LOWERCASE},
                 {"StripAccents", TOK_STRIP_ACCENTS},
                 {"ByteLevel", TOK_BYTE_LEVEL}};
    const char *type = json_string_value(json_object_get(json, "type"));
    struct tok_step *step;
    (void)depth;
    for (size_t i = 0; i < sizeof(FORMS) / sizeof(FORMS[0]); i++) {
        if (strcmp(type, FORMS[i].type) == 0) {
            return tok_steps_add(s, FORMS[i].kind, &step);
        }
    }
    return FAIL(INTERNAL, "normalizer '%s' has a row but no kind", type);
}

static enum status norm_prepend(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    (void)depth;
    TRY(tok_steps_add(s, TOK_PREPEND, &step));
    return tok_json_string(json, "Prepend", "prepend", &step->content);
}

static enum status norm_strip(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    (void)depth;
    TRY(tok_steps_add(s, TOK_STRIP_SPACE, &step));
    TRY(tok_json_bool(json, "Strip", "strip_left", 1, &step->left));
    return tok_json_bool(json, "Strip", "strip_right", 1, &step->right);
}

static enum status norm_sequence(struct tok_steps *s, const json_t *json, int depth);

static const struct component NORMALIZERS[] = {
    {"Sequence", norm_sequence}, {"NFC", norm_form},         {"NFD", norm_form},
    {"NFKC", norm_form},         {"NFKD", norm_form},        {"Lowercase", norm_form},
    {"StripAccents", norm_form}, {"ByteLevel", norm_form},   {"Replace", parse_replace},
    {"Prepend", norm_prepend},   {"Strip", norm_strip},      {NULL, NULL}};

static enum status norm_sequence(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_sequence(NORMALIZERS, "normalizer", s, json_object_get(json, "normalizers"),
                          depth);
}

enum status tok_json_normalizer(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_component(NORMALIZERS, "normalizer", s, json, depth);
}

/* ---- pre-tokenizers ---- */

static enum status split_split(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    (void)depth;
    TRY(tok_steps_add(s, TOK_SPLIT, &step));
    TRY(parse_behavior(json, "behavior", -1, &step->behavior));
    TRY(tok_json_bool(json, "Split", "invert", -1, &step->invert));
    return parse_pattern(json, &step->regex);
}

static enum status split_byte_level(struct tok_steps *s, const json_t *json, int depth)
{
    bool prefix = false;
    bool use_regex = true;
    (void)depth;
    TRY(tok_json_bool(json, "ByteLevel", "add_prefix_space", -1, &prefix));
    TRY(tok_json_bool(json, "ByteLevel", "use_regex", 1, &use_regex));
    return tok_steps_byte_level(s, prefix, use_regex);
}

static enum status split_digits(struct tok_steps *s, const json_t *json, int depth)
{
    bool individual = false;
    (void)depth;
    TRY(tok_json_bool(json, "Digits", "individual_digits", 0, &individual));
    return tok_steps_split(s, "\\p{N}", individual ? TOK_ISOLATED : TOK_CONTIGUOUS, false);
}

static enum status split_whitespace(struct tok_steps *s, const json_t *json, int depth)
{
    (void)json;
    (void)depth;
    return tok_steps_split(s, "[" TOK_RUST_WORD "]+|[^" TOK_RUST_WORD "\\s]+", TOK_REMOVED, true);
}

static enum status split_spaces(struct tok_steps *s, const json_t *json, int depth)
{
    (void)json;
    (void)depth;
    return tok_steps_split(s, "\\s", TOK_REMOVED, false);
}

static enum status split_punctuation(struct tok_steps *s, const json_t *json, int depth)
{
    enum tok_behavior behavior;
    (void)depth;
    TRY(parse_behavior(json, "behavior", TOK_ISOLATED, &behavior));
    return tok_steps_split(s, "[\\p{P}!-/:-@\\[-`{-~]", behavior, false);
}

static enum status split_delimiter(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    struct text delimiter = {0};
    (void)depth;
    TRY(tok_steps_add(s, TOK_SPLIT, &step));
    step->behavior = TOK_REMOVED;
    TRY(tok_json_string(json, "CharDelimiterSplit", "delimiter", &delimiter));
    const enum status status =
        tok_regex_open(&step->regex, delimiter.data, delimiter.length, true);
    free(delimiter.data);
    return status;
}

/* Metaspace of pre-tokenizers and decoders; older files say add_prefix_space. */
static enum status parse_metaspace(struct tok_steps *s, const json_t *json, int depth)
{
    static const char *const SCHEMES[] = {[TOK_PREPEND_ALWAYS] = "always",
                                          [TOK_PREPEND_FIRST] = "first",
                                          [TOK_PREPEND_NEVER] = "never"};
    struct tok_step *step;
    bool prefix = false;
    (void)depth;
    TRY(tok_steps_add(s, TOK_METASPACE, &step));
    TRY(tok_json_string(json, "Metaspace", "replacement", &step->content));
    TRY(tok_json_bool(json, "Metaspace", "add_prefix_space", 1, &prefix));
    TRY(tok_json_bool(json, "Metaspace", "split", 1, &step->cut));
    if (step->content.length == 0) {
        return FAIL(INPUT, "'replacement' is empty");
    }
    step->prepend = prefix ? TOK_PREPEND_ALWAYS : TOK_PREPEND_NEVER;
    const json_t *scheme = json_object_get(json, "prepend_scheme");
    if (scheme == NULL) {
        return STATUS_OK;
    }
    for (int i = 0; json_is_string(scheme) && i <= TOK_PREPEND_NEVER; i++) {
        if (strcmp(json_string_value(scheme), SCHEMES[i]) == 0) {
            step->prepend = (enum tok_prepend)i;
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "'prepend_scheme' is not always, first or never");
}

static enum status split_sequence(struct tok_steps *s, const json_t *json, int depth);

static const struct component SPLITTERS[] = {{"Sequence", split_sequence},
                                             {"Split", split_split},
                                             {"ByteLevel", split_byte_level},
                                             {"Digits", split_digits},
                                             {"Metaspace", parse_metaspace},
                                             {"Whitespace", split_whitespace},
                                             {"WhitespaceSplit", split_spaces},
                                             {"Punctuation", split_punctuation},
                                             {"CharDelimiterSplit", split_delimiter},
                                             {NULL, NULL}};

static enum status split_sequence(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_sequence(SPLITTERS, "pre_tokenizer", s, json_object_get(json, "pretokenizers"),
                          depth);
}

enum status tok_json_splitter(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_component(SPLITTERS, "pre_tokenizer", s, json, depth);
}

/* ---- decoders ---- */

static enum status decode_simple(struct tok_steps *s, const json_t *json, int depth)
{
    const char *type = json_string_value(json_object_get(json, "type"));
    struct tok_step *step;
    (void)depth;
    const enum tok_kind kind = strcmp(type, "ByteLevel") == 0 ? TOK_BYTE_LEVEL
                               : strcmp(type, "Fuse") == 0    ? TOK_FUSE
                                                              : TOK_BYTE_FALLBACK;
    return tok_steps_add(s, kind, &step);
}

static enum status decode_strip(struct tok_steps *s, const json_t *json, int depth)
{
    struct tok_step *step;
    (void)depth;
    TRY(tok_steps_add(s, TOK_STRIP, &step));
    TRY(tok_json_string(json, "Strip", "content", &step->content));
    TRY(json_count(json, "Strip", "start", &step->start));
    TRY(json_count(json, "Strip", "stop", &step->stop));
    return step->content.length > 0 ? STATUS_OK : FAIL(INPUT, "'content' is empty");
}

static enum status decode_sequence(struct tok_steps *s, const json_t *json, int depth);

static const struct component DECODERS[] = {{"Sequence", decode_sequence},
                                            {"ByteLevel", decode_simple},
                                            {"ByteFallback", decode_simple},
                                            {"Fuse", decode_simple},
                                            {"Replace", parse_replace},
                                            {"Strip", decode_strip},
                                            {"Metaspace", parse_metaspace},
                                            {NULL, NULL}};

static enum status decode_sequence(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_sequence(DECODERS, "decoder", s, json_object_get(json, "decoders"), depth);
}

enum status tok_json_decoder(struct tok_steps *s, const json_t *json, int depth)
{
    return parse_component(DECODERS, "decoder", s, json, depth);
}
