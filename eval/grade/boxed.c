/* Contents of \boxed and \fbox, searched from the right; see extract.h. */
#include <string.h>

#include "eval/grade/extract.h"

enum { MAX_BOXES = 256, NEAR = 10, FAR = 70 };

struct boxes {
    struct slice list[MAX_BOXES]; /* from right to left */
    int count;
};

/* Start of the last `what` that ends before `limit`, SIZE_MAX when there is none. */
static size_t find_last(struct slice text, const char *what, size_t limit)
{
    const size_t n = strlen(what);
    for (size_t at = limit < n ? 0 : limit - n + 1; at-- > 0;) {
        if (text.s[at] == '\\' && memcmp(text.s + at, what, n) == 0) {
            return at;
        }
    }
    return SIZE_MAX;
}

static size_t characters(struct slice t)
{
    size_t n = 0;
    for (size_t i = 0; i < t.n; i++) {
        n += ((unsigned char)t.s[i] & 0xc0) != 0x80;
    }
    return n;
}

/* Index of the brace that closes the one at `open`, SIZE_MAX when none does before `limit`. */
static size_t closing_brace(struct slice text, size_t open, size_t limit)
{
    size_t depth = 0;
    for (size_t i = open; i < limit; i++) {
        depth += text.s[i] == '{';
        depth -= text.s[i] == '}';
        if (depth == 0) {
            return i;
        }
    }
    return SIZE_MAX;
}

/* Does a box still belong to those to its right? */
static bool belongs(struct reader *r, struct slice between, struct slice content,
                    struct slice next)
{
    const size_t gap = characters(between);
    if (gap < NEAR) {
        return true;
    }
    struct pattern_match m;
    const bool same = content.n == next.n && memcmp(content.s, next.s, next.n) == 0;
    return !same && gap < FAR && pattern_find(r->patterns, PATTERN_SEPARATOR, between, 0, &m);
}

static void add(struct boxes *b, struct slice content)
{
    const struct slice *last = b->count > 0 ? &b->list[b->count - 1] : NULL;
    if (last && last->n == content.n && memcmp(last->s, content.s, content.n) == 0) {
        return;
    }
    if (b->count < MAX_BOXES) {
        b->list[b->count++] = content;
    }
}

static void collect(struct reader *r, struct slice text, enum grade_boxed mode, struct boxes *b)
{
    size_t limit = text.n;     /* the search ends here */
    size_t max = text.n;       /* so do the contents */
    size_t right = SIZE_MAX;   /* start of the box to the right */
    size_t boxed = find_last(text, "\\boxed", limit);
    size_t fbox = find_last(text, "\\fbox", limit);
    for (;;) {
        /* Only what was used up is searched again, so that the text is read once. */
        if (boxed != SIZE_MAX && boxed >= limit) {
            boxed = find_last(text, "\\boxed", limit);
        }
        if (fbox != SIZE_MAX && fbox >= limit) {
            fbox = find_last(text, "\\fbox", limit);
        }
        if (boxed == SIZE_MAX && fbox == SIZE_MAX) {
            return;
        }
        const bool is_boxed = boxed != SIZE_MAX && (fbox == SIZE_MAX || boxed > fbox);
        const size_t start = is_boxed ? boxed : fbox;
        size_t at = start + (is_boxed ? 6 : 5);
        const struct slice rest = slice_trim((struct slice){text.s + at, max > at ? max - at : 0});
        if (rest.n == 0) {
            return;
        }
        at = (size_t)(rest.s - text.s);
        const size_t close = text.s[at] == '{' ? closing_brace(text, at, max) : SIZE_MAX;
        if (close == SIZE_MAX) {
            if (b->count == 0) {
                add(b, (struct slice){text.s + at, text.n - at});
            }
            return;
        }
        const struct slice content = slice_trim((struct slice){text.s + at + 1, close - at - 1});
        if (mode == GRADE_BOXED_LAST && right != SIZE_MAX) {
            const struct slice between = {text.s + close + 1, right - close - 1};
            if (!belongs(r, between, content, b->list[b->count - 1])) {
                return;
            }
        }
        add(b, content);
        right = max = limit = start;
        if (b->count == MAX_BOXES) {
            return;
        }
    }
}

struct slice boxed_content(struct reader *r, struct slice text, enum grade_boxed mode)
{
    struct boxes b;
    b.count = 0;
    collect(r, text, mode, &b);
    if (b.count == 0) {
        return text;
    }
    size_t bytes = 0;
    for (int i = 0; i < b.count; i++) {
        bytes += b.list[i].n + 1;
    }
    char *joined = expr_alloc(r->pool, bytes + 1);
    size_t n = 0;
    if (!joined) {
        return (struct slice){"", 0};
    }
    for (int i = b.count - 1; i >= 0; i--) {
        memcpy(joined + n, b.list[i].s, b.list[i].n);
        n += b.list[i].n;
        joined[n] = ',';
        n += i > 0;
    }
    joined[n] = '\0';
    return (struct slice){joined, n};
}
