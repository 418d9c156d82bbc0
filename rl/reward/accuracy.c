/* Accuracy: the judge that evaluation uses, too. */
#include "eval/grade/grade.h"
#include "rl/reward/reward_internal.h"

double reward_accuracy(const struct reward_input *in)
{
    return grade_completion(in->completion, in->row);
}
