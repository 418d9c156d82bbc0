/* Stop strings; see stop_strings.h. */
#include "trainer/generate/stop_strings.h"

#include <string.h>

struct stop_strings {
    const struct token_bytes *bytes;
    int64_t count;
    size_t length[STOP_STRING_COUNT];
    char text[STOP_STRING_COUNT][STOP_STRING_BYTES];
};

enum status stop_strings_open(struct stop_strings **out, const char *const *strings, int64_t count,
                              const struct token_bytes *bytes)
{
    *out = NULL;
    if (count > STOP_STRING_COUNT) {
        return FAIL(RECIPE, "stop_strings: %lld strings, at most %d", (long long)count,
                    STOP_STRING_COUNT);
    }
    for (int64_t i = 0; i < count; i++) {
        const size_t n = strlen(strings[i]);
        if (n == 0 || n > STOP_STRING_BYTES) {
            return FAIL(RECIPE, "stop_strings: string %lld has %zu bytes; 1 to %d are possible",
                        (long long)i + 1, n, STOP_STRING_BYTES);
        }
    }
    struct stop_strings *s = calloc(1, sizeof *s);
    if (!s) {
        return FAIL(MEMORY, "stop_strings: no memory");
    }
    s->bytes = bytes;
    s->count = count;
    for (int64_t i = 0; i < count; i++) {
        s->length[i] = strlen(strings[i]);
        memcpy(s->text[i], strings[i], s->length[i]);
    }
    *out = s;
    return STATUS_OK;
}

void stop_strings_close(struct stop_strings *s)
{
    free(s);
}

/* True when the bytes before position `at` of token `token` end with the string; walks back over
 * the tokens. */
static bool ends_with(const struct stop_strings *s, int64_t which, const int32_t *ids,
                      int64_t token, int64_t at)
{
    const struct token_bytes *b = s->bytes;
    for (size_t left = s->length[which]; left > 0; left--) {
        while (at == 0) {
            if (--token < 0) {
                return false;
            }
            at = ids[token] < b->vocab ? b->begin[ids[token] + 1] - b->begin[ids[token]] : 0;
        }
        if (b->data[b->begin[ids[token]] + --at] != (uint8_t)s->text[which][left - 1]) {
            return false;
        }
    }
    return true;
}

bool stop_strings_hit(const struct stop_strings *s, const int32_t *ids, int64_t count)
{
    const int64_t last = count - 1;
    if (last < 0 || ids[last] < 0 || ids[last] >= s->bytes->vocab) {
        return false;
    }
    const int64_t added = s->bytes->begin[ids[last] + 1] - s->bytes->begin[ids[last]];
    for (int64_t end = 1; end <= added; end++) {
        for (int64_t i = 0; i < s->count; i++) {
            if (ends_with(s, i, ids, last, end)) {
                return true;
            }
        }
    }
    return false;
}
