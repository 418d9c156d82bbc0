/* Schema rows of logs, checkpoints, evaluation while training, and Graft's own keys; see
 * schema_internal.h. */
#include "kernels/ops.h"
#include "recipes/schema_internal.h"
#include "trainer/generate/generate.h"

static const struct recipe_choice STRATEGIES[] = {
    {"no", STRATEGY_NO, 0}, {"steps", STRATEGY_STEPS, 0}, {"epoch", STRATEGY_EPOCH, 0},
    {NULL, 0, 0}};
static const struct recipe_choice SAVES[] = {
    {"no", STRATEGY_NO, 0}, {"steps", STRATEGY_STEPS, 0}, {"epoch", STRATEGY_EPOCH, 0},
    {"best", STRATEGY_BEST, 0}, {NULL, 0, 0}};
static const struct recipe_choice TRISTATES[] = {
    {"auto", TRISTATE_AUTO, 0}, {"true", TRISTATE_TRUE, 0}, {"false", TRISTATE_FALSE, 0},
    {"null", TRISTATE_AUTO, 0}, {"none", TRISTATE_AUTO, 0}, {NULL, 0, 0}};
static const struct recipe_choice RESUMES[] = {
    {"auto", RESUME_AUTO, 0}, {"never", RESUME_NEVER, 0}, {NULL, 0, 0}};
static const struct recipe_choice COMPUTES[] = {
    {"bfloat16", COMPUTE_BF16, 0}, {"float32", COMPUTE_F32, 0}, {"bf16", COMPUTE_BF16, 0},
    {"fp32", COMPUTE_F32, 0}, {NULL, 0, 0}};
static const struct recipe_choice BASE_CACHES[] = {
    {"none", BASE_CACHE_NONE, 0}, {"bf16", BASE_CACHE_BF16, 0}, {NULL, 0, 0}};
static const struct recipe_choice COMPATS[] = {
    {"trl-1.16", COMPAT_TRL_1_16, 0}, {"trl-0.18", COMPAT_TRL_0_18, 0}, {NULL, 0, 0}};

static const struct recipe_choice DRAFTS[] = {{"auto", DRAFTS_AUTO, 0},
                                              {"never", DRAFTS_NEVER, 0},
                                              {"always", DRAFTS_ALWAYS, 0},
                                              {NULL, 0, 0}};

static const struct recipe_field ROWS[] = {
    /* run */
    {"output_dir", NULL, FIELD_STRING, FIELD_FREE, AT(output_dir), "null", NULL, 0, 0, NULL, 0,
     "run", "folder for checkpoints, logs and the result"},
    {"seed", NULL, FIELD_INT, 0, AT(seed), "42", NULL, 0, 4294967295.0, NULL, 0, "run",
     "seed of every random number"},
    {"resume", NULL, FIELD_CHOICE, FIELD_FREE, AT(resume), "auto", NULL, 0, 0, RESUMES, 0, "run",
     "auto: go on from the newest checkpoint of output_dir"},
    {"logging_steps", NULL, FIELD_FLOAT, FIELD_FREE | FIELD_OPEN_LOW, AT(logging_steps), "10", NULL,
     0, MANY, NULL, 0, "run", "steps between log lines; below 1: share of all steps"},
    {"logging_first_step", NULL, FIELD_BOOL, FIELD_FREE, AT(logging_first_step), "false", NULL, 0,
     0, NULL, 0, "run", "log step 1 too"},
    {"save_strategy", NULL, FIELD_CHOICE, FIELD_FREE, AT(save_strategy), "steps", NULL, 0, 0,
     SAVES, 0, "run", "when to save checkpoints, best: at each best evaluation; the end always does"},
    {"save_steps", NULL, FIELD_FLOAT, FIELD_FREE | FIELD_OPEN_LOW, AT(save_steps), "500", NULL, 0,
     MANY, NULL, 0, "run", "steps between checkpoints; below 1: share of all steps"},
    {"save_total_limit", NULL, FIELD_INT, FIELD_NULLABLE | FIELD_FREE, AT(save_total_limit), "null",
     NULL, 0, MANY, NULL, 0, "run", "checkpoints kept, the newest and the best in any case; null or 0: all"},
    {"load_best_model_at_end", NULL, FIELD_BOOL, FIELD_FREE, AT(load_best_model_at_end), "false",
     NULL, 0, 0, NULL, 0, "run", "end with the weights of the best checkpoint"},
    {"metric_for_best_model", NULL, FIELD_STRING, 0, AT(metric_for_best_model), "null", NULL, 0, 0,
     NULL, 0, "run", "metric of an evaluation, with or without eval_; null: loss, where one is "
     "needed. reduce_lr_on_plateau and greedy follow it too"},
    {"greater_is_better", NULL, FIELD_CHOICE, 0, AT(greater_is_better), "auto", NULL, 0, 0,
     TRISTATES, 0, "run", "whether the best metric is the greatest; auto: unless its name ends with "
     "loss"},
    {"eval_strategy", "evaluation_strategy", FIELD_CHOICE, FIELD_FREE, AT(eval_strategy), "no",
     NULL, 0, 0, STRATEGIES, 0, "run", "when to evaluate while training"},
    {"eval_steps", NULL, FIELD_FLOAT, FIELD_NULLABLE | FIELD_FREE | FIELD_OPEN_LOW, AT(eval_steps),
     "null", NULL, 0, MANY, NULL, 0, "run", "steps between evaluations; null: logging_steps"},
    {"eval_on_start", NULL, FIELD_BOOL, FIELD_FREE, AT(eval_on_start), "false", NULL, 0, 0, NULL, 0,
     "run", "evaluate before the first step"},
    {"eval_delay", NULL, FIELD_FLOAT, FIELD_NULLABLE | FIELD_FREE, AT(eval_delay), "null", NULL, 0,
     MANY, NULL, 0, "run", "no evaluation before this step (eval_strategy epoch: epoch)"},
    {"per_device_eval_batch_size", "eval_batch_size", FIELD_INT, FIELD_FREE,
     AT(per_device_eval_batch_size), "8", NULL, 1, 1 << 20, NULL, 0, "run",
     "rows per evaluation batch"},
    {"tensorboard", NULL, FIELD_BOOL, FIELD_FREE, AT(tensorboard), "false", NULL, 0, 0, NULL, 0,
     "run", "write TensorBoard's event files to output_dir/runs (report_to: tensorboard)"},
    {"log_completions", NULL, FIELD_BOOL, FIELD_FREE, AT(log_completions), "false", NULL, 0, 0,
     NULL, RECIPE_GRPO, "run", "write completions.jsonl"},
    {"num_completions_to_print", NULL, FIELD_INT, FIELD_NULLABLE | FIELD_FREE,
     AT(num_completions_to_print), "null", NULL, 0, MANY, NULL, RECIPE_GRPO, "run",
     "completions a logged step writes; null: all"},
    {"population", NULL, FIELD_MAPS, 0, AT(population), "null", NULL, 0, 0, NULL, RECIPE_GRPO,
     "run", "[{seed: 1}, {learning_rate: 1.0e-4}, ...]: an adapter for each, trained side by side on "
     "one base, each as its own run in output_dir/member-N"},
    {"env", NULL, FIELD_DICT, FIELD_FREE, AT(env), "null", NULL, 0, 0, NULL, 0, "run",
     "environment variables to set"},

    /* Graft's own */
    {"compute", NULL, FIELD_CHOICE, 0, AT(compute), "bfloat16", NULL, 0, 0, COMPUTES, 0, "graft",
     "products in bfloat16 with float32 sums, or everything in float32"},
    {"shards", NULL, FIELD_INT, 0, AT(shards), "8", NULL, 1, 64, NULL, 0, "graft",
     "a power of two; the run ends in the same bits on up to this many ranks"},
    {"k_slices", NULL, FIELD_INT, 0, AT(k_slices), "1", NULL, 1, 64, NULL, 0, "graft",
     "a power of two; slices in which products are summed"},
    {"world_size", NULL, FIELD_INT, 0, AT(world_size), "0", NULL, 0, 1 << 16, NULL, 0, "graft",
     "virtual ranks of the batch arithmetic; 0: the ranks at first start"},
    {"threads", NULL, FIELD_INT, FIELD_FREE, AT(threads), "0", NULL, 0, 4096, NULL, 0, "graft",
     "threads per rank; 0: all cores this rank may use"},
    {"memory", NULL, FIELD_SIZE, FIELD_FREE, AT(memory), "0", NULL, 0, 0, NULL, 0, "graft",
     "memory a rank may hold (8GiB): honoured, or refused before the run; 0: what is free"},
    {"base_cache", NULL, FIELD_CHOICE, 0, AT(base_cache), "none", NULL, 0, 0, BASE_CACHES, 0,
     "graft", "bf16: the frozen weights once more in memory (shared by the ranks of a node), rounded and in "
     "the order of the products, which are quicker then"},
    {"micro_batch_tokens", NULL, FIELD_INT, 0, AT(micro_batch_tokens), "2048", NULL, 1, 1 << 24,
     NULL, 0, "graft", "tokens of one forward and backward; a grpo group beyond it (without its prompt) is split"},
    {"max_nonfinite_steps", NULL, FIELD_INT, FIELD_FREE, AT(max_nonfinite_steps), "3", NULL, 0,
     MANY, NULL, 0, "graft", "steps with non-finite gradients that are skipped before giving up"},
    {"rollout_rows", NULL, FIELD_INT, FIELD_FREE, AT(rollout_rows), "64", NULL, 1, 1 << 16, NULL, 0,
     "graft", "sequences decoded at once"},
    {"rollout_pages", NULL, FIELD_INT, FIELD_FREE, AT(rollout_pages), "0", NULL, 0, MANY, NULL, 0,
     "graft", "pages in the K/V cache; 0: enough for rollout_rows"},
    {"rollout_page_size", NULL, FIELD_INT, FIELD_FREE, AT(rollout_page_size), "32", NULL, 32, 4096,
     NULL, 0, "graft", "positions of a K/V page, a multiple of 32"},
    {"speculation", NULL, FIELD_CHOICE, FIELD_FREE, AT(speculation), "auto", NULL, 0, 0, DRAFTS, 0,
     "graft", "guess tokens from siblings and check them together: auto: when it pays, never, always"},
    {"rollout_history", NULL, FIELD_INT, FIELD_FREE, AT(rollout_history), "1048576", NULL, 0,
     1 << 28, NULL, 0, "graft", "tokens of earlier completions kept for guesses and expected lengths; 0: none"},
    {"prefix_sharing", NULL, FIELD_BOOL, 0, AT(prefix_sharing), "true", NULL, 0, 0, NULL, 0,
     "graft", "compute what completions of a prompt have in common once; false: to measure it"},
    {"compat", NULL, FIELD_CHOICE, FIELD_FREE, AT(compat), "trl-1.16", NULL, 0, 0, COMPATS, 0,
     "graft", "whose defaults the keys that are left out take"},
};

const struct recipe_rows SCHEMA_RUN = {ROWS, sizeof ROWS / sizeof *ROWS};
