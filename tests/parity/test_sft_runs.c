/*
 * SFT runs against TRL's SFTTrainer (golden/sft): rows to examples, their order, the first
 * gradient, every logged number and the weights after the run; see golden_run.h.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/golden_run.h"
#include "trainer/data/packing.h"
#include "trainer/format/json.h"
#include "trainer/sft.h"

static const double LOG_LIMIT = 1e-5; /* of every step: no logged number of SFT is near 0 */

/* A golden run and what SFT needs for it. */
struct bench {
    struct golden_run run;
    struct example_set examples;
    struct sft_config config;
    struct sft_env env;
    int64_t steps;
};

static enum packing packing_of(const json_t *args)
{
    const char *strategy = json_get_string(args, "packing_strategy", "bfd");
    if (!json_get_bool(args, "packing", false)) {
        return PACKING_NONE;
    }
    return strcmp(strategy, "wrapped") == 0     ? PACKING_WRAPPED
           : strcmp(strategy, "bfd_split") == 0 ? PACKING_BFD_SPLIT
                                                : PACKING_BFD;
}

static void read_examples(struct bench *b)
{
    const json_t *args = b->run.args;
    const enum packing packing = packing_of(args);
    const int64_t length = json_get_int(args, "max_length", 0);
    const bool shuffle = json_get_bool(args, "shuffle_dataset", false);
    const uint64_t seed = (uint64_t)json_get_int(args, "seed", 0);
    const struct example_config config = {
        .format = {.tokenizer = b->run.tokenizer, .chat = b->run.chat},
        .max_length = packing == PACKING_NONE ? length : 0,
        .keep_all = packing != PACKING_NONE || length == 0,
        .completion_only_loss = !json_is_false(json_object_get(args, "completion_only_loss")),
        .assistant_only_loss = json_get_bool(args, "assistant_only_loss", false),
    };
    size_t i;
    json_t *row;
    json_array_foreach(json_object_get(b->run.json, "dataset"), i, row)
    {
        golden_files_need(example_add(&config, row, b->run.name, &b->examples), b->run.name);
    }
    if (shuffle && packing != PACKING_NONE) {
        golden_files_need(example_set_shuffle(&b->examples, seed), b->run.name);
    }
    golden_files_need(example_set_pack(&b->examples, packing, length), b->run.name);
    if (shuffle) {
        golden_files_need(example_set_shuffle(&b->examples, seed), b->run.name);
    }
}

static void read_plan(struct bench *b)
{
    const json_t *args = b->run.args;
    b->config = (struct sft_config){
        .plan = {.rows = b->examples.count,
                 .world = 1,
                 .per_device = json_get_int(args, "per_device_train_batch_size", 0),
                 .accumulation = json_get_int(args, "gradient_accumulation_steps", 0),
                 .shuffle = true,
                 .seed = (uint64_t)json_get_int(args, "seed", 0)},
        .loss = strcmp(json_get_string(args, "loss_type", "nll"), "dft") == 0 ? SFT_DFT : SFT_NLL,
        .label_smoothing = json_get_number(args, "label_smoothing_factor", 0),
        .micro_batch_tokens = 200, /* about two rows: several micro-batches a step */
        .eval_batch = 2,
    };
    const int64_t per_epoch = sft_plan_steps_per_epoch(&b->config.plan);
    const int64_t max_steps = json_get_int(args, "max_steps", -1);
    const double epochs = json_get_number(args, "num_train_epochs", 0);
    b->steps = max_steps > 0 ? max_steps : (int64_t)ceil(epochs * (double)per_epoch);
    assert_int_equal(b->steps, json_get_int(b->run.json, "steps_run", 0));
}

/* Ids and loss masks are those that TRL prepared, row by row. */
static void check_examples(const struct bench *b)
{
    const json_t *prepared = json_object_get(b->run.json, "prepared");
    assert_int_equal(b->examples.count, json_array_size(prepared));
    for (int64_t i = 0; i < b->examples.count; i++) {
        const struct example *e = &b->examples.items[i];
        const json_t *row = json_array_get(prepared, (size_t)i);
        const json_t *ids = json_object_get(row, "input_ids");
        const json_t *labels = json_object_get(row, "labels");
        const json_t *parts = json_object_get(row, "seq_lengths");
        assert_int_equal(e->part_count, json_array_size(parts));
        for (int64_t p = 0; p < e->part_count; p++) {
            assert_int_equal(e->parts[p], json_integer_value(json_array_get(parts, (size_t)p)));
        }
        if ((size_t)e->count != json_array_size(ids)) {
            fail_msg("%s: row %d has %d tokens, not %d", b->run.name, (int)i, (int)e->count,
                     (int)json_array_size(ids));
        }
        for (int64_t t = 0; t < e->count; t++) {
            const json_int_t id = json_integer_value(json_array_get(ids, (size_t)t));
            const json_t *label = json_array_get(labels, (size_t)t);
            if (e->ids[t] != id || (label && (json_integer_value(label) != -100) != e->loss[t])) {
                fail_msg("%s: row %d differs at token %d", b->run.name, (int)i, (int)t);
            }
        }
    }
}

static bool same_ids(const struct example *a, const struct example *b)
{
    return a->count == b->count && memcmp(a->ids, b->ids, (size_t)a->count * sizeof *a->ids) == 0;
}

/* The rows of each step are those of TRL's micro-batches, in order. Equal rows have one number in
 * the golden order. */
static void check_order(const struct bench *b)
{
    const json_t *order = json_object_get(b->run.json, "order");
    size_t micro = 0;
    size_t at = 0;
    assert_int_equal(b->steps, json_get_int(b->run.json, "steps_run", 0));
    for (int64_t step = 0; step < b->steps; step++) {
        int64_t *rows;
        int64_t count;
        golden_files_need(sft_plan_rows(&b->config.plan, step, &rows, &count), b->run.name);
        for (int64_t i = 0; i < count; i++) {
            const json_t *batch = json_array_get(order, micro);
            const json_int_t golden = json_integer_value(json_array_get(batch, at));
            if (at >= json_array_size(batch) || golden >= b->examples.count
                || !same_ids(&b->examples.items[rows[i]], &b->examples.items[golden])) {
                fail_msg("%s: step %d takes row %d, not %d", b->run.name, (int)step, (int)rows[i],
                         (int)golden);
            }
            at++;
            if (at == json_array_size(batch)) {
                micro++;
                at = 0;
            }
        }
        free(rows);
        assert_int_equal(at, 0); /* a step ends with a micro-batch */
    }
    assert_int_equal(micro, json_array_size(order));
}

static struct sft *open_sft(struct bench *b)
{
    struct sft *sft;
    b->env = (struct sft_env){.model = b->run.model, .ops = &b->run.ops, .comm = &b->run.comm,
                              .train = &b->examples};
    golden_files_need(sft_open(&sft, &b->config, &b->env), b->run.name);
    return sft;
}

static void check_run(const char *sub, const char *name)
{
    struct bench b = {0};
    struct golden_worst w = {0};
    golden_run_open(&b.run, sub, name);
    b.run.later_limit = LOG_LIMIT;
    read_examples(&b);
    read_plan(&b);
    check_examples(&b);
    check_order(&b);
    if (b.run.adapter) {
        struct sft *sft = open_sft(&b);
        const struct train_method m = sft_method(sft);
        golden_run_check_gradient(&b.run, &m, &w);
        sft_close(sft);
    }
    struct sft *sft = open_sft(&b);
    const struct train_method m = sft_method(sft);
    golden_run_train(&b.run, &m, b.steps);
    golden_run_check_log(&b.run, b.steps, "", &w);
    golden_run_check_weights(&b.run, &w);
    golden_run_verdict(&b.run, &w);
    sft_close(sft);
    example_set_close(&b.examples);
    golden_run_close(&b.run);
}

/* Orders that need no golden file: every epoch takes each row once, ranks wrap at the tail. */
static void plans_take_every_row(void **state)
{
    (void)state;
    static const struct sft_plan PLANS[] = {
        {.rows = 7, .world = 1, .per_device = 2, .accumulation = 2, .shuffle = true, .seed = 3},
        {.rows = 7, .world = 3, .per_device = 2, .accumulation = 1, .shuffle = true, .seed = 4},
        {.rows = 1, .world = 2, .per_device = 4, .accumulation = 3, .shuffle = false},
        {.rows = 12, .world = 2, .per_device = 1, .accumulation = 4, .shuffle = false},
    };
    for (size_t k = 0; k < sizeof PLANS / sizeof PLANS[0]; k++) {
        const struct sft_plan *p = &PLANS[k];
        int seen[16] = {0};
        int64_t total = 0;
        const int64_t steps = sft_plan_steps_per_epoch(p);
        for (int64_t step = 0; step < steps; step++) {
            int64_t *rows;
            int64_t count;
            golden_files_need(sft_plan_rows(p, steps + step, &rows, &count), "second epoch");
            assert_true(count > 0 && count <= p->world * p->per_device * p->accumulation);
            for (int64_t i = 0; i < count; i++) {
                assert_true(rows[i] >= 0 && rows[i] < p->rows);
                seen[rows[i]]++;
            }
            total += count;
            free(rows);
        }
        for (int64_t i = 0; i < p->rows; i++) {
            assert_true(p->world == 1 ? seen[i] == 1 : seen[i] >= 1);
        }
        if (p->world == 1) {
            assert_int_equal(total, p->rows);
        } else { /* every rank gets full batches */
            assert_int_equal(total % (p->world * p->per_device), 0);
        }
    }
}

int main(void)
{
    static const struct golden_runs RUNS[] = {{"sft", check_run}};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_take_every_row),
    };
    return golden_run_tests(tests, 1, RUNS, 1);
}
