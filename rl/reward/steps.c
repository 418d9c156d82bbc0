/*
 * Open-R1's reasoning_steps: matches of Step \d+:|^\d+\.|\n-|\n\*|First,|Second,|Next,|Finally,
 * that don't overlap, three of them for the full score. Its ^ is the start of the text alone, so a
 * numbered list counts once; reasoning_steps_multiline counts every line.
 */
#include <math.h>
#include <string.h>

#include "eval/tasks/text.h"
#include "rl/reward/reward_internal.h"

enum { MULTILINE };

const struct reward_parameter REWARD_STEPS_PARAMETERS[] = {
    {.key = "reasoning_steps_multiline",
     .type = PARAMETER_FLAG,
     .doc = "a number at the start of any line is a step; false: of the text alone"},
    {0},
};

/* Bytes of \d+ at p. */
static size_t digits(const char *p)
{
    const char *end = p;
    for (const char *next = p; text_digit(text_next(&next)) >= 0; end = next) {
    }
    return (size_t)(end - p);
}

/* Bytes of the mark at p, 0: none. */
static size_t mark_at(const char *p, bool line_start)
{
    static const char *const WORDS[] = {"\n-", "\n*", "First,", "Second,", "Next,", "Finally,"};
    if (strncmp(p, "Step ", 5) == 0) {
        const size_t n = digits(p + 5);
        if (n > 0 && p[5 + n] == ':') {
            return 5 + n + 1;
        }
    }
    if (line_start) {
        const size_t n = digits(p);
        if (n > 0 && p[n] == '.') {
            return n + 1;
        }
    }
    for (size_t i = 0; i < sizeof WORDS / sizeof WORDS[0]; i++) {
        if (strncmp(p, WORDS[i], strlen(WORDS[i])) == 0) {
            return strlen(WORDS[i]);
        }
    }
    return 0;
}

double reward_reasoning_steps(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    const bool multiline = v->number[MULTILINE] != 0;
    int64_t count = 0;
    (void)reason;
    for (const char *p = in->completion; *p;) {
        const bool start = p == in->completion || (multiline && p[-1] == '\n');
        const size_t n = mark_at(p, start);
        count += n > 0;
        p += n > 0 ? n : 1;
    }
    return fmin(1.0, (double)count / 3.0);
}
