/* dataset_name: procedural - questions of procedural tasks as rows, with a curriculum. */
#pragma once

#include "eval/tasks/curriculum.h"
#include "eval/tasks/procedural.h"
#include "recipes/schema.h"
#include "rl/grpo.h"
#include "trainer/data/dataset.h"

struct procedural_source {
    const struct recipe *recipe;
    const struct procedural_task *tasks[CURRICULUM_MOST_TASKS];
    struct curriculum curriculum; /* .count tasks; levels stay when there is no curriculum */
    bool adaptive;
};

/* Reads the recipe's tasks, difficulty and curriculum. Fails with RECIPE. */
MUST_USE enum status procedural_source_open(struct procedural_source *s, const struct recipe *r);

/* The held-out rows (may be none: *test NULL) and the training rows at the first level. Fails with
 * RECIPE when a task has no question of its difficulty, MEMORY. */
MUST_USE enum status procedural_source_rows(const struct procedural_source *s,
                                            struct dataset **train, struct dataset **test);

/* Training row `i` at the present level (new reference); NULL with a message. */
json_t *procedural_source_row(const struct procedural_source *s, int64_t i);

/* What the GRPO method calls after each round and for checkpoints; valid while `s` lives. */
struct grpo_follower procedural_source_follower(struct procedural_source *s,
                                                const struct reward_set *rewards);
