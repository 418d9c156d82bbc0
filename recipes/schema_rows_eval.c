/* Schema rows of evaluation and generation; see schema_internal.h. */
#include "recipes/schema_internal.h"

static const struct recipe_field ROWS[] = {
    /* evaluation and generation */
    {"eval_tasks", "benchmarks tasks", FIELD_STRINGS, FIELD_FREE, AT(eval_tasks), "null", NULL, 0,
     0, NULL, 0, "evaluation", "tasks by name; null: the recipe's test split"},
    {"eval_samples", "max_samples", FIELD_INT, FIELD_FREE, AT(eval_samples), "0", NULL, 0, MANY,
     NULL, 0, "evaluation", "problems evaluated; 0: all"},
    {"eval_num_generations", NULL, FIELD_INT, FIELD_FREE, AT(eval_num_generations), "1", NULL, 1,
     1 << 16, NULL, 0, "evaluation", "completions per problem"},
    {"eval_temperature", NULL, FIELD_FLOAT, FIELD_FREE, AT(eval_temperature), "1", NULL, 0, 1e3,
     NULL, 0, "evaluation", "sampling temperature; 0: greedy"},
    {"eval_top_p", NULL, FIELD_FLOAT, FIELD_FREE | FIELD_OPEN_LOW, AT(eval_top_p), "1", NULL, 0, 1,
     NULL, 0, "evaluation", "as top_p"},
    {"eval_top_k", NULL, FIELD_INT, FIELD_FREE, AT(eval_top_k), "0", NULL, 0, 1 << 24, NULL, 0,
     "evaluation", "as top_k"},
    {"eval_max_new_tokens", NULL, FIELD_INT, FIELD_FREE, AT(eval_max_new_tokens), "0", NULL, 0,
     1 << 24, NULL, 0, "evaluation", "most tokens of a completion; 0: max_completion_length"},
    {"output_file", NULL, FIELD_STRING, FIELD_FREE, AT(output_file), "null", NULL, 0, 0, NULL,
     RECIPE_GENERATE, "generation", "JSONL file of the completions"},
    {"prompt", NULL, FIELD_STRING, FIELD_FREE, AT(prompt), "null", NULL, 0, 0, NULL,
     RECIPE_GENERATE, "generation", "one prompt instead of a dataset"},
};

const struct recipe_rows SCHEMA_EVAL = {ROWS, sizeof ROWS / sizeof *ROWS};
