/*
 * What every stage opens: ranks, backend, model, tokenizer, template, data, trainable parameters. A
 * stage reads setup, train, cleanup; this is the setup.
 */
#pragma once

#include "adapters/adapter.h"
#include "eval/run.h"
#include "kernels/base/places.h"
#include "recipes/cli.h"
#include "recipes/measure.h"
#include "recipes/procedural.h"
#include "trainer/comm/node_memory.h"
#include "trainer/data/dataset.h"
#include "trainer/data/prompt.h"
#include "trainer/model/reference.h"
#include "trainer/train.h"

/* A dataset as the recipe names its columns: rows come with "prompt", "solution" and "completion".
 */
struct run_data {
    const struct procedural_source *source; /* makes the rows of a curriculum; NULL: set has them */
    struct dataset *set;
    const struct recipe *recipe;
    bool conversation; /* text prompts become a user's message (Open-R1), for models with a template
                        */
};

struct memory_plan;

struct run {
    struct recipe recipe;
    struct memory_plan *plan_only; /* the stage fills it in and ends before it trains; NULL: it runs */
    struct measure_memory process; /* before anything is attached */
    int64_t cache_pages;           /* of the memory plan: K/V pages, 0: the recipe's */
    int64_t batch_tokens;          /* micro-batches */
    int64_t recompute;             /* blocks */
    struct helper *helper; /* starts judges' processes; NULL: no reward needs one */
    const struct run *leader; /* a member of a population: helper, ranks, backend, model and
                                 tokenizer are the leader's; NULL: its own */
    struct places places; /* CPUs of this rank and its node */
    struct comm comm;
    bool comm_open;
    struct ops_context *ops;
    struct ops_context own_ops;
    bool ops_open;
    struct model *model;
    struct node_memory panels; /* of the model, with base_cache: bf16 */
    struct tokenizer *tokenizer;
    char tokenizer_folder[4096]; /* where its files lie, "" when it came from a GGUF */
    struct chat_template *chat;
    struct prompt_format format;
    struct procedural_source procedural; /* dataset_name: procedural */
    struct run_data train;
    bool borrows_data;     /* train and test are the leader's */
    struct run_data test;  /* set NULL: the recipe has no held-out rows */
    struct param_set params;
    struct adapter *adapter; /* NULL: full training */
    struct model_reference reference; /* values NULL: none */
    bool reference_moves;             /* then checkpoints hold it */
    struct train_limits limits;
    int32_t stops[64];
    int64_t stop_count;
    char *recipe_text;
};

/* Opens recipe (resolved), judges' helper, ranks, backend, model and tokenizer. `args->model`
 * overrides the recipe's model. Close with run_close, also after a failure. */
MUST_USE enum status run_open(struct run *r, const struct command_args *args,
                              enum recipe_method method);

/* Opens a run over the leader's ranks, backend, model and tokenizer. `recipe` is unresolved and
 * taken over; it becomes resolved. Close the member before its leader. */
MUST_USE enum status run_open_member(struct run *r, const struct run *leader,
                                     struct recipe *recipe);

/* Opens the train split and, when there is one, the test split. Fails with RECIPE or INPUT. */
MUST_USE enum status run_open_data(struct run *r);

/* Loads what writes checkpoints on the rank that does, before hours of work and not after, and takes
 * r->process with it in. Collective. Fails with DEVICE. */
MUST_USE enum status run_load_store(struct run *r);

/* Attaches what is trained: a new adapter, adapter_name_or_path, or all weights; seals and
 * initialises the parameters. Fails with RECIPE when the optimizer cannot train them. */
MUST_USE enum status run_attach(struct run *r, const struct optim_config *optim);

/* Row `i` of a run_data (new reference) in the columns above; NULL with a message. For row_fn. */
json_t *run_row(void *data, int64_t i);

/* Takes in one row of a dataset; `where` is its place for messages. */
typedef enum status (*run_row_fn)(void *ctx, const json_t *row, const char *where);

/* Hands `each` the rows of data in order, the first `most` of them, until it fails. Fails as it and
 * run_row do. */
MUST_USE enum status run_each_row(struct run_data *data, int64_t most, run_row_fn each, void *ctx);

/* Writes the adapter, or the full model, with its model card: train_export_fn over a struct run. */
MUST_USE enum status run_export(void *run, const char *folder);

/* Refuses to resume another recipe (names the keys that differ) and takes world_size from the
 * checkpoint. Call before run_train. */
MUST_USE enum status run_check_resume(struct run *r);

/* The run's folder, and a trainer over the method: train_run in pieces. *args is filled and, like
 * config and method, stays alive until trainer_close, which is due after a failure, too. */
MUST_USE enum status run_train_open(struct run *r, const struct train_config *config,
                                    const struct train_method *method, struct train_args *args,
                                    struct trainer **out);

/* Runs the method over the loop. */
MUST_USE enum status run_train(struct run *r, const struct train_config *config,
                               const struct train_method *method, struct train_result *out);

/* The result of sft and dpo: report.html, and one JSON line on standard output. Rank 0 calls it.
 * Fails with IO, MEMORY. */
MUST_USE enum status run_summarize(const struct run *r, const struct train_result *result);

/* Batch limits of rollouts and evaluations, with the pages that the memory plan allows. */
struct generate_limits run_limits(const struct run *r);

/* Accuracy on the test split (collective); `label` names it in eval_samples.jsonl. hooks: adapters
 * on. */
MUST_USE enum status run_evaluate(struct run *r, const char *label, bool hooks,
                                  struct eval_result *out);

/* Dropout of a method other than sft: the attached adapter's, unless disable_dropout. */
struct dropout_config run_dropout(const struct run *r);

/* Steps of the whole run: max_steps, or epochs x steps_per_epoch. */
int64_t run_max_steps(const struct recipe *recipe, int64_t steps_per_epoch);

/* Closes what is open, in reverse order; ranks last. Safe on a run that failed to open. */
void run_close(struct run *r);

/* Ends a stage: closes everything and returns `status`. After a failure under MPI the message is
 * printed and all ranks are stopped with its exit code, so that none waits for ever. */
enum status stage_end(struct run *r, enum status status);
