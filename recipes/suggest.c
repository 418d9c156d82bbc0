/* Optimal string alignment distance over short names; see suggest.h. */
#include "recipes/suggest.h"

#include <ctype.h>
#include <stdint.h>
#include <string.h>

enum { WORD_CAP = 64 };

static size_t min2(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t suggest_distance(const char *a, const char *b)
{
    const size_t n = strlen(a);
    const size_t m = strlen(b);
    size_t rows[3][WORD_CAP]; /* the last two rows and the current one, by i % 3 */
    if (n >= WORD_CAP || m >= WORD_CAP) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= m; j++) {
        rows[0][j] = j;
    }
    for (size_t i = 1; i <= n; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i - 1) % 3];
        const size_t *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            const int x = tolower((unsigned char)a[i - 1]);
            const int y = tolower((unsigned char)b[j - 1]);
            now[j] = min2(min2(now[j - 1], last[j]) + 1, last[j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2])) {
                now[j] = min2(now[j], before[j - 2] + 1);
            }
        }
    }
    return rows[n % 3][m];
}

const char *suggest_nearest(const char *word, suggest_fn candidates, const void *ctx)
{
    size_t allowed = strlen(word) / 3;
    allowed = allowed < 1 ? 1 : min2(allowed, 4);
    const char *best = NULL;
    size_t best_distance = allowed + 1;
    for (size_t i = 0;; i++) {
        const char *name = candidates(ctx, i);
        if (!name) {
            return best;
        }
        const size_t distance = suggest_distance(word, name);
        if (distance < best_distance) {
            best = name;
            best_distance = distance;
        }
    }
}
