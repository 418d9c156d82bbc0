/* The judge of procedural tasks as a reward: the row names its task. */
#include <math.h>
#include <string.h>

#include "eval/tasks/procedural.h"
#include "eval/tasks/text.h"
#include "rl/reward/reward_internal.h"

enum { ANSWER };

const struct reward_parameter REWARD_PROCEDURAL_PARAMETERS[] = {
    {.key = "procedural_answer",
     .type = PARAMETER_TEXT,
     .text = "auto",
     .doc = "tagged: what stands in <answer> tags, or no answer; whole: the completion, stripped; "
            "raw: as it is; auto: tagged, else whole"},
    {0},
};

enum status reward_open_procedural(const struct reward *r, const json_t *parameters, void **state)
{
    static const char *const WAYS[] = {"auto", "tagged", "whole", "raw"};
    TRY(reward_open_values(r, parameters, state));
    const char *way = json_string_value(((struct reward_values *)*state)->json[ANSWER]);
    for (size_t i = 0; i < sizeof WAYS / sizeof WAYS[0]; i++) {
        if (strcmp(way, WAYS[i]) == 0) {
            return STATUS_OK;
        }
    }
    return FAIL(RECIPE, "%s: procedural_answer '%.40s'; use auto, tagged, whole or raw", r->name,
                way);
}

/* The answer in new memory, NULL: none was given. */
static char *answer_of(const char *way, const char *completion)
{
    char *text = strcmp(way, "auto") == 0 || strcmp(way, "tagged") == 0
                     ? procedural_extract(completion)
                     : NULL;
    if (text || strcmp(way, "tagged") == 0) {
        return text;
    }
    if (strcmp(way, "raw") == 0) {
        return strdup(completion);
    }
    const size_t n = text_strip(&completion);
    return strndup(completion, n);
}

double reward_procedural(const void *state, const struct reward_input *in, char *reason)
{
    const struct reward_values *v = state;
    json_t *entry;
    const struct procedural_task *task = procedural_entry(in->row, &entry);
    double score = NAN;
    if (task) {
        char *answer = answer_of(json_string_value(v->json[ANSWER]), in->completion);
        score = procedural_score(task, answer, entry);
        free(answer);
        if (isnan(score)) {
            reward_explain(reason, "the judge of %s cannot score this answer",
                           procedural_name(task));
        }
    } else {
        reward_explain(reason, "the row names no procedural task");
    }
    json_decref(entry);
    return score;
}
