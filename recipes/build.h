/* From a resolved recipe to the configurations of the modules it joins. */
#pragma once

#include "adapters/adapter.h"
#include "recipes/schema.h"
#include "rl/advantage.h"
#include "rl/correction.h"
#include "rl/dpo_loss.h"
#include "rl/entropy.h"
#include "rl/kto_loss.h"
#include "rl/objective.h"
#include "trainer/data/mixture.h"
#include "trainer/data/sums.h"
#include "trainer/train.h"

/* Steps that `value` means: itself, or below 1 that share of max_steps (ceil, at least 1). */
int64_t recipe_steps(double value, int64_t max_steps);

/* Optimizer, schedule and clipping. Fails with RECIPE on a bad optim_args or lr_scheduler_kwargs;
 * recipe_resolve has checked both. */
MUST_USE enum status recipe_optim(const struct recipe *r, struct optim_config *out);

/* The loop, for a run of `max_steps`; `steps_per_epoch` turns strategy epoch into steps. Strings
 * are borrowed from the recipe. */
MUST_USE enum status recipe_train(const struct recipe *r, int64_t max_steps,
                                  int64_t steps_per_epoch, struct train_config *out);

/* A new LoRA configuration; one word that is all-linear or a regex becomes target_regex. Close with
 * adapter_config_close. Fails with MEMORY. */
MUST_USE enum status recipe_adapter(const struct recipe *r, struct adapter_config *out);

/* Objective and advantages of grpo. */
void recipe_objective(const struct recipe *r, struct objective_config *out);

/* dpo's losses. Fails with RECIPE: an unknown loss, or weights that are not one for each. */
MUST_USE enum status recipe_dpo(const struct recipe *r, struct dpo_config *out);

/* The importance correction of completions that an older policy drew: on with async_rounds. */
void recipe_correction(const struct recipe *r, struct correction_config *out);

/* kto's loss. */
struct kto_config recipe_kto(const struct recipe *r);

/* The entropy bonus. */
void recipe_entropy(const struct recipe *r, struct entropy_config *out);

/* Scaling and aggregation of the rewards, for advantage_compute. */
void recipe_advantage(const struct recipe *r, struct advantage_config *out);

/* Parameters of the rewards as a new object, every key of the group rewards that has a value:
 * {"cosine_max_len": 1000, ...}. Fails with MEMORY. */
MUST_USE enum status recipe_reward_parameters(const struct recipe *r, json_t **out);

/* A mixture as the recipe tells it; texts are borrowed from the recipe, the rest is owned. */
struct recipe_mixture {
    struct mixture_config config;
    struct mixture_part *parts; /* [config.count] */
    const char ***files;        /* [config.count] data_files, NULL: none */
    char **folders;             /* [config.count] path/data_dir, NULL: none */
};

/* Reads dataset_mixture or datasets, one of which is given. Close also after a failure. Fails with
 * RECIPE: the place in the mixture, the key and what it may be. */
MUST_USE enum status recipe_mixture(const struct recipe *r, struct recipe_mixture *out);

/* Frees and zeroes. */
void recipe_mixture_close(struct recipe_mixture *m);

/* dataset_name: sums. `messages`: prompts as chat messages. Strings are borrowed. */
void recipe_sums(const struct recipe *r, bool messages, struct sums_config *out);

/* Sets the variables of env in this process; call before ranks and threads start. */
MUST_USE enum status recipe_apply_env(const struct recipe *r);
