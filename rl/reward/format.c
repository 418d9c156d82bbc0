/* The two shape rewards of open-r1 (spec open-r1.md), without a regex engine. */
#include <string.h>

#include "rl/reward/reward_internal.h"

/* ^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$ at position 0, DOTALL and MULTILINE: text after a
 * newline behind the closing tag is allowed. */
double reward_format(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    static const char OPEN[] = "<think>\n";
    static const char MIDDLE[] = "\n</think>\n<answer>\n";
    static const char CLOSE[] = "\n</answer>";
    const char *p = in->completion;
    if (strncmp(p, OPEN, sizeof OPEN - 1) != 0) {
        return 0.0;
    }
    p = strstr(p + sizeof OPEN - 1, MIDDLE); /* the earliest leaves the most room for the rest */
    if (!p) {
        return 0.0;
    }
    p += sizeof MIDDLE - 1;
    for (p = strstr(p, CLOSE); p; p = strstr(p + 1, CLOSE)) {
        const char after = p[sizeof CLOSE - 1];
        if (after == '\0' || after == '\n') {
            return 1.0;
        }
    }
    return 0.0;
}

static int occurrences(const char *text, const char *tag)
{
    int n = 0;
    for (const char *p = strstr(text, tag); p; p = strstr(p + strlen(tag), tag)) {
        n++;
    }
    return n;
}

double reward_tag_count(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    static const char *const TAGS[] = {"<think>\n", "\n</think>\n", "\n<answer>\n", "\n</answer>"};
    double score = 0.0;
    for (size_t i = 0; i < sizeof TAGS / sizeof TAGS[0]; i++) {
        score += occurrences(in->completion, TAGS[i]) == 1 ? 0.25 : 0.0;
    }
    return score;
}
