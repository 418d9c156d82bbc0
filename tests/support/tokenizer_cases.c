#include "tests/support/tokenizer_cases.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "trainer/text/tokenizer_internal.h"

bool tokenizer_golden_path(char *path, size_t size, const char *folder, const char *file)
{
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    if (shared != NULL) {
        (void)snprintf(path, size, "%s/golden/tokenizers/%s/%s", shared, folder, file);
    } else {
        (void)snprintf(path, size, "%s/../shared/golden/tokenizers/%s/%s",
                       source == NULL ? "." : source, folder, file);
    }
    return access(path, R_OK) == 0;
}

static void print_ids(const char *name, const int32_t *ids, int64_t count)
{
    (void)fprintf(stderr, "  %s:", name);
    for (int64_t i = 0; i < count && i < 60; i++) {
        (void)fprintf(stderr, " %d", ids[i]);
    }
    (void)fprintf(stderr, "\n");
}

/* Reads a JSON list of integers into `list`. */
static void read_ids(const json_t *array, struct token_list *list)
{
    size_t i;
    const json_t *item;
    list->count = 0;
    json_array_foreach(array, i, item) {
        if (token_list_push(list, (int32_t)json_integer_value(item)) != STATUS_OK) {
            abort();
        }
    }
}

static bool same_ids(const struct token_list *a, const struct token_list *b)
{
    return a->count == b->count &&
           (a->count == 0 || memcmp(a->ids, b->ids, (size_t)a->count * sizeof(*a->ids)) == 0);
}

/* May the bytes [begin, end) be without a token? Only when the vocabulary lacks each of them. */
static bool may_drop(const struct tokenizer *t, const char *text, int64_t begin, int64_t end)
{
    for (int64_t i = begin; i < end; i++) {
        char character[5] = "";
        (void)tok_utf8_put(tok_byte_char((uint8_t)text[i]), character);
        if (tokenizer_find(t, character) >= 0) {
            return false;
        }
    }
    return true;
}

static bool check_spans(const struct tokenizer *t, const char *text, int64_t length,
                        int64_t (*spans)[2], int64_t count)
{
    int64_t begin = 0;
    int64_t covered = 0;
    for (int64_t i = 0; i < count; i++) {
        if (spans[i][0] < begin || spans[i][1] < spans[i][0] || spans[i][1] > length ||
            (spans[i][0] > covered && !may_drop(t, text, covered, spans[i][0]))) {
            return false;
        }
        begin = spans[i][0];
        covered = spans[i][1] > covered ? spans[i][1] : covered;
    }
    return may_drop(t, text, covered, length);
}

bool tokenizer_spans_sane(const struct tokenizer *t, const char *text, size_t length,
                          const char *what)
{
    struct token_list ids = {0};
    int64_t(*spans)[2] = NULL;
    if (tokenizer_encode_spans(t, text, length, TOKENIZE_SPECIALS, &ids, &spans) != STATUS_OK) {
        (void)fprintf(stderr, "%s: %s\n", what, status_message());
        return false;
    }
    const bool sane = check_spans(t, text, (int64_t)length, spans, ids.count);
    if (!sane) {
        (void)fprintf(stderr, "%s: spans\n", what);
        for (int64_t i = 0; i < ids.count && i < 60; i++) {
            (void)fprintf(stderr, "  %d [%lld, %lld)\n", ids.ids[i], (long long)spans[i][0],
                          (long long)spans[i][1]);
        }
    }
    token_list_free(&ids);
    free(spans);
    return sane;
}

bool tokenizer_gives(const struct tokenizer *t, const char *text, unsigned flags,
                     const int32_t *ids, int64_t count)
{
    struct token_list got = {0};
    const struct token_list wanted = {.ids = (int32_t *)(uintptr_t)ids, .count = count};
    const enum status status = tokenizer_encode(t, text, strlen(text), flags, &got);
    const bool same = status == STATUS_OK && same_ids(&got, &wanted);
    if (!same) {
        (void)fprintf(stderr, "'%s': %s\n", text, status == STATUS_OK ? "" : status_message());
        print_ids("wanted", ids, count);
        print_ids("got", got.ids, got.count);
    }
    token_list_free(&got);
    return same;
}

/* Does decoding `ids` give the string? */
static bool decodes_to(const struct tokenizer *t, const struct token_list *ids, bool skip_special,
                       const json_t *wanted)
{
    struct text text;
    if (tokenizer_decode(t, ids->ids, ids->count, skip_special, &text) != STATUS_OK) {
        (void)fprintf(stderr, "decode: %s\n", status_message());
        return false;
    }
    const bool same = text.length == json_string_length(wanted) &&
                      memcmp(text.data, json_string_value(wanted), text.length) == 0;
    if (!same) {
        (void)fprintf(stderr, "decode (skip %d): wanted '%s', got '%s'\n", skip_special,
                      json_string_value(wanted), text.data);
    }
    free(text.data);
    return same;
}

static bool run_case(const struct tokenizer *t, const json_t *row, bool either)
{
    struct token_list wanted = {0};
    struct token_list other = {0};
    struct token_list got = {0};
    const json_t *text = json_object_get(row, "text");
    bool good = true;
    read_ids(json_object_get(row, "ids"), &wanted);
    read_ids(json_object_get(row, "llama_cpp_ids"), &other);
    if (text != NULL) {
        const char *bytes = json_string_value(text);
        const size_t n = json_string_length(text);
        const enum status status = tokenizer_encode(t, bytes, n, TOKENIZE_SPECIALS, &got);
        good = status == STATUS_OK && (same_ids(&got, &wanted) || (either && other.count > 0 &&
                                                                   same_ids(&got, &other)));
        if (!good) {
            (void)fprintf(stderr, "encode '%s': %s\n", bytes,
                          status == STATUS_OK ? "" : status_message());
            print_ids("wanted", wanted.ids, wanted.count);
            print_ids("got", got.ids, got.count);
        }
        good = tokenizer_spans_sane(t, bytes, n, bytes) && good;
    }
    good = decodes_to(t, &wanted, false, json_object_get(row, "decoded")) && good;
    good = decodes_to(t, &wanted, true, json_object_get(row, "decoded_skip_special")) && good;
    token_list_free(&wanted);
    token_list_free(&other);
    token_list_free(&got);
    return good;
}

static int run_file(const struct tokenizer *t, const char *path, bool either, int *total)
{
    FILE *file = fopen(path, "rb");
    char *line = NULL;
    size_t size = 0;
    int failed = 0;
    if (file == NULL) {
        (void)fprintf(stderr, "%s: can't be opened\n", path);
        return 1;
    }
    while (getline(&line, &size, file) > 0) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
        if (row == NULL || !run_case(t, row, either)) {
            failed++;
        }
        ++*total;
        json_decref(row);
    }
    free(line);
    (void)fclose(file);
    return failed;
}

int tokenizer_run_golden(const struct tokenizer *t, const char *folder, bool either, int *total)
{
    char path[4096];
    int failed = 0;
    static const char *const FILES[] = {"encode.jsonl", "decode.jsonl"};
    for (int i = 0; i < 2; i++) {
        failed += tokenizer_golden_path(path, sizeof(path), folder, FILES[i])
                      ? run_file(t, path, either, total)
                      : 1;
    }
    return failed;
}
