/* The plain judge of sums and short answers that evaluation uses, too. */
#include <math.h>

#include "eval/grade/grade.h"
#include "rl/reward/reward_internal.h"

double reward_last_number(const void *state, const struct reward_input *in, char *reason)
{
    (void)state;
    const double score = grade_completion(in->completion, in->row);
    if (isnan(score)) {
        reward_explain(reason, "the row has no gold answer");
    }
    return score;
}
