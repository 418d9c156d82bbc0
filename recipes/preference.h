/* What the stages of preference training share: order, reference, checks, the run itself. */
#pragma once

#include "recipes/run.h"
#include "rl/ref_sync.h"
#include "trainer/sft.h"

/* Order of `rows` rows by the recipe. */
struct sft_plan preference_plan(const struct recipe *r, int64_t rows);

/* The reference: a copy of what is trained, unless a new adapter's is the bare base. Borrowed from
 * the run. Collective. Fails with MEMORY. */
MUST_USE enum status preference_reference(struct run *r, struct ref_sync *sync);

/* Ids are the model's, and `longest` tokens of a row fit its context. `data` names the file. */
MUST_USE enum status preference_check_row(const struct run *r, const struct run_data *data,
                                          const int32_t *ids, int64_t count, int64_t longest);

/* True when held-out rows are to be read: there are some and eval_strategy asks for them. */
bool preference_evaluates(const struct run *r);

/* Says on rank 0 how many rows were left out, if any. */
void preference_note_dropped(const struct run *r, const struct run_data *data, int64_t dropped);

/* Trains and reports. Collective. */
MUST_USE enum status preference_train(struct run *r, const struct sft_plan *plan,
                                      const struct train_method *method);

/* Reads the data of a stage into `ctx`; after it, what is trained is attached. */
typedef enum status (*preference_read_fn)(struct run *r, void *ctx);

/* Resume check, data, attachment: what comes before training. Collective. */
MUST_USE enum status preference_prepare(struct run *r, preference_read_fn read, void *ctx);
