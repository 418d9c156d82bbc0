/* The shape rewards of Open-R1 and TRL (spec open-r1.md 2, training.md 2), without a regex engine.
 */
#include <string.h>

#include "rl/reward/reward_internal.h"

enum { STRICT, LANGUAGE };

#define STRICT_ROW                                                                                 \
    {                                                                                              \
        .key = "format_strict", .type = PARAMETER_FLAG,                                            \
        .doc = "nothing may follow the closing tag; false: new lines may, as in Open-R1"           \
    }

const struct reward_parameter REWARD_FORMAT_PARAMETERS[] = {STRICT_ROW, {0}};
const struct reward_parameter REWARD_CODE_FORMAT_PARAMETERS[] = {
    STRICT_ROW,
    {.key = "code_language",
     .aliases = "language",
     .type = PARAMETER_TEXT,
     .text = "python",
     .doc = "language of the code block; a row's column language goes before it"},
    {0},
};

/* Behind <think>\n.*?\n</think>\n<answer>\n at position 0; NULL when it isn't there. The earliest
 * match leaves the most room for what follows. */
static const char *behind_head(const char *text)
{
    static const char OPEN[] = "<think>\n";
    static const char MIDDLE[] = "\n</think>\n<answer>\n";
    if (strncmp(text, OPEN, sizeof OPEN - 1) != 0) {
        return NULL;
    }
    const char *p = strstr(text + sizeof OPEN - 1, MIDDLE);
    return p ? p + sizeof MIDDLE - 1 : NULL;
}

/* .*?\n</answer>$ from `p` on; $ is the end of any line, or of the text when strict. */
static double has_end(const char *p, bool strict)
{
    static const char CLOSE[] = "\n</answer>";
    for (p = strstr(p, CLOSE); p; p = strstr(p + 1, CLOSE)) {
        const char after = p[sizeof CLOSE - 1];
        if (after == '\0' || (after == '\n' && !strict)) {
            return 1.0;
        }
    }
    return 0.0;
}

/* ^<think>\n.*?\n</think>\n<answer>\n.*?\n</answer>$ at position 0, DOTALL and MULTILINE: text
 * after a newline behind the closing tag is allowed. */
double reward_format(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    (void)reason;
    const char *body = behind_head(in->completion);
    return body ? has_end(body, v->number[STRICT] != 0) : 0.0;
}

/* ...<answer>\n.*?```LANGUAGE.*?```.*?\n</answer>$ with the same flags. */
double reward_code_format(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    const json_t *column = json_object_get(in->row, "language");
    const char *language = json_string_value(column ? column : v->json[LANGUAGE]);
    char fence[64];
    (void)reason;
    if (!language || snprintf(fence, sizeof fence, "```%s", language) >= (int)sizeof fence) {
        return 0.0;
    }
    const char *p = behind_head(in->completion);
    p = p ? strstr(p, fence) : NULL;
    p = p ? strstr(p + strlen(fence), "```") : NULL;
    return p ? has_end(p + 3, v->number[STRICT] != 0) : 0.0;
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

/* ^<think>(?!.*<think>)(.*?)</think>.*$ */
double reward_think_format(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    (void)reason;
    static const char OPEN[] = "<think>";
    if (strncmp(in->completion, OPEN, sizeof OPEN - 1) != 0) {
        return 0.0;
    }
    const char *body = in->completion + sizeof OPEN - 1;
    return !strstr(body, OPEN) && strstr(body, "</think>") ? 1.0 : 0.0;
}
