/*
 * The training loop; see train.h. One step reads top to bottom in train_step(): units, shards,
 * gradients, exact sum, clip, update. Everything around it is resume, log, checkpoint and signals.
 */
#include <math.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "trainer/report/report.h"
#include "trainer/store/checkpoint.h"
#include "trainer/train.h"

static volatile sig_atomic_t stop_requested; /* the one thing a signal handler may touch */

static void on_signal(int number)
{
    if (stop_requested) {
        _exit(128 + number); /* second signal: stop at once */
    }
    stop_requested = 1;
}

void train_signals_install(void)
{
    struct sigaction action = {.sa_handler = on_signal};
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGTERM, &action, NULL);
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGUSR1, &action, NULL);
}

bool train_stop_requested(void)
{
    return stop_requested != 0;
}

struct trainer {
    const struct train_args *a;
    struct shard_sum sum;
    int64_t step;     /* steps done, skipped ones included */
    int64_t first;    /* steps done before this process began */
    int64_t updates;  /* optimizer updates done */
    int64_t skipped;
    int64_t skipped_in_a_row;
    int64_t saved;    /* step of the newest checkpoint */
    double log_seconds;  /* after the last step: metrics, evaluation, lines */
    double save_seconds; /* and its checkpoint */
    double start;     /* clock_seconds */
    bool already_finished;
    double loss_sum;
    int64_t loss_count;
    struct schedule_state schedule; /* of an adaptive schedule */
    struct best_state best;
    bool new_best;    /* the step's evaluation is the best so far */
    double flops;     /* so far */
    json_t *log_history;
    struct event_file *events; /* NULL: none */
    int *shard_of;    /* [units] scratch, grown as needed */
    int64_t *mine;
    double *sums;
    double *by_unit;
    char *records;    /* [units] unit and sums, as they travel */
    size_t *offsets;  /* [ranks + 1] */
    int64_t capacity;
};

static enum status reserve_units(struct trainer *t, int64_t units)
{
    if (units <= t->capacity && t->offsets) {
        return STATUS_OK;
    }
    const size_t n = (size_t)units + 1;
    const size_t metrics = (size_t)t->a->method->metrics;
    int *shard_of = realloc(t->shard_of, n * sizeof *shard_of);
    t->shard_of = shard_of ? shard_of : t->shard_of;
    int64_t *mine = realloc(t->mine, n * sizeof *mine);
    t->mine = mine ? mine : t->mine;
    double *sums = realloc(t->sums, n * metrics * sizeof *sums);
    t->sums = sums ? sums : t->sums;
    double *by_unit = realloc(t->by_unit, n * metrics * sizeof *by_unit);
    t->by_unit = by_unit ? by_unit : t->by_unit;
    char *records = realloc(t->records, n * (sizeof(int64_t) + metrics * sizeof(double)));
    t->records = records ? records : t->records;
    if (!t->offsets) {
        t->offsets = calloc((size_t)t->a->comm->size + 1, sizeof *t->offsets);
    }
    if (!shard_of || !mine || !sums || !by_unit || !records || !t->offsets) {
        return FAIL(MEMORY, "step: no memory for %lld units", (long long)units);
    }
    t->capacity = units;
    return STATUS_OK;
}

/* Gradients of this rank's shards, each pushed into the tree; *done units have their sums. */
static enum status run_shards(struct trainer *t, const struct train_units *units, int64_t *done)
{
    const struct train_args *a = t->a;
    *done = 0;
    for (int s = 0; s < a->config->shards; s++) {
        if (shards_owner(s, a->config->shards, a->comm->size) != a->comm->rank) {
            continue;
        }
        const int64_t first = *done;
        for (int64_t u = 0; u < units->count; u++) {
            if (t->shard_of[u] == s) {
                t->mine[(*done)++] = u;
            }
        }
        memset(a->params->grad, 0, (size_t)a->params->total * sizeof(float));
        if (*done > first) {
            TRY(a->method->run(a->method->ctx, t->mine + first, *done - first,
                               t->sums + first * a->method->metrics));
        }
        TRY(shard_sum_push(&t->sum, a->ops, s, a->params->grad));
    }
    return STATUS_OK;
}

/* Adds the per-unit sums of all ranks in unit order, so totals don't depend on the ranks either. */
static enum status total_metrics(struct trainer *t, int64_t units, int64_t done, double *totals)
{
    const struct train_args *a = t->a;
    const int metrics = a->method->metrics;
    const size_t record = sizeof(int64_t) + (size_t)metrics * sizeof(double);
    double *by_unit = t->by_unit;
    char *mine = t->records;
    size_t *offsets = t->offsets;
    void *all = NULL;
    memset(by_unit, 0, (size_t)(units * metrics) * sizeof *by_unit);
    for (int64_t i = 0; i < done; i++) {
        memcpy(mine + (size_t)i * record, &t->mine[i], sizeof(int64_t));
        memcpy(mine + (size_t)i * record + sizeof(int64_t), t->sums + i * metrics,
               (size_t)metrics * sizeof(double));
    }
    if (a->comm->size > 1) {
        TRY(comm_gather_all(a->comm, mine, (size_t)done * record, &all, offsets));
    } else {
        offsets[1] = (size_t)done * record;
    }
    const char *bytes = all ? all : mine;
    for (size_t at = 0; at < offsets[a->comm->size]; at += record) {
        int64_t unit;
        memcpy(&unit, bytes + at, sizeof unit);
        memcpy(by_unit + unit * metrics, bytes + at + sizeof unit,
               (size_t)metrics * sizeof(double));
    }
    if (a->method->combine) {
        a->method->combine(a->method->ctx, by_unit, units);
    }
    memset(totals, 0, (size_t)metrics * sizeof(double));
    for (int64_t u = 0; u < units; u++) {
        for (int k = 0; k < metrics; k++) {
            totals[k] += by_unit[u * metrics + k];
        }
    }
    free(all);
    return STATUS_OK;
}

/* Where a step's time goes. */
enum { PHASE_PREPARE, PHASE_TRAIN, PHASE_OPTIMIZER, PHASES };
static const char *const PHASE_NAMES[PHASES] = {"time/prepare", "time/train", "time/optimizer"};

/* What one step yields for the log. */
struct step_result {
    double totals[TRAIN_MAX_METRICS];
    double norm;
    double lr;
    bool skipped;
    double seconds[PHASES]; /* of this rank */
};

/* Learning rates of the next update. */
static struct optim_rates next_rates(const struct trainer *t)
{
    const struct optim_config *optim = &t->a->config->optim;
    struct optim_rates rates =
        optim_rates(optim, optim_schedule(optim, t->updates, t->a->config->max_steps));
    if (schedule_is_adaptive(&optim->schedule)) {
        memcpy(rates.lr, t->schedule.lr, sizeof rates.lr);
    }
    return rates;
}

/* Seconds since *since, which becomes now. */
static double lap(double *since)
{
    const double before = *since;
    *since = clock_seconds();
    return *since - before;
}

static enum status train_step(struct trainer *t, struct step_result *r)
{
    const struct train_args *a = t->a;
    const struct optim_rates rates = next_rates(t);
    struct train_units units = {0};
    double start = clock_seconds();
    TRY(comm_agree(a->comm, a->method->prepare(a->method->ctx, t->step, &units)));
    r->seconds[PHASE_PREPARE] = lap(&start);
    TRY(comm_agree(a->comm, reserve_units(t, units.count)));
    t->flops += 6.0 * (double)units.padded * (double)a->weights;
    shards_assign(units.cost, units.count, a->config->shards, t->shard_of);
    int64_t done = 0;
    TRY(comm_agree(a->comm, run_shards(t, &units, &done)));
    TRY(shard_sum_finish(&t->sum, a->ops, a->comm, a->params->grad));
    TRY(total_metrics(t, units.count, done, r->totals));
    TRY(a->ops->ops->sync(a->ops));
    r->seconds[PHASE_TRAIN] = lap(&start);
    r->norm = optim_grad_norm(a->ops, a->params);
    r->lr = rates.lr[OPTIM_GROUP_BASE];
    r->skipped = !isfinite(r->norm) || !isfinite(r->totals[0]);
    if (r->skipped) {
        t->skipped++;
        t->skipped_in_a_row++;
    } else {
        t->skipped_in_a_row = 0;
        t->updates++;
        optim_update(a->ops, a->params, &a->config->optim, &rates, r->norm, t->updates);
    }
    r->seconds[PHASE_OPTIMIZER] = lap(&start);
    t->step++;
    return STATUS_OK;
}

static void put_rate(json_t *line, const char *key, double count, double seconds)
{
    if (count > 0 && seconds > 0) {
        (void)json_object_set_new(line, key, json_real(count / seconds));
    }
}

/* The method's evaluation, timed. */
static enum status evaluate(const struct trainer *t, json_t *line)
{
    const struct train_method *method = t->a->method;
    const double start = clock_seconds();
    TRY(method->evaluate(method->ctx, t->step, line));
    const double seconds = clock_seconds() - start;
    (void)json_object_set_new(line, "eval_runtime", json_real(seconds));
    put_rate(line, "eval_samples_per_second", (double)method->eval_rows, seconds);
    put_rate(line, "eval_steps_per_second", (double)method->eval_batches, seconds);
    return STATUS_OK;
}

/* Evaluation when it is due and after the last step; the best checkpoint and an adaptive schedule
 * follow its metric. */
static enum status evaluate_step(struct trainer *t, json_t *line)
{
    const struct train_args *a = t->a;
    const struct train_config *c = a->config;
    const bool due = c->eval_steps > 0 &&
                     (t->step % c->eval_steps == 0 || t->step == c->max_steps);
    double metric;
    t->new_best = false;
    if (!due || !a->method->evaluate || t->step < c->eval_delay) {
        return STATUS_OK;
    }
    TRY(evaluate(t, line));
    if (c->best.metric[0] == '\0') {
        return STATUS_OK;
    }
    TRY(best_metric(&c->best, line, &metric));
    t->new_best = best_observe(&c->best, &t->best, t->step, metric);
    if (schedule_is_adaptive(&c->optim.schedule)) {
        schedule_observe(&t->schedule, &c->optim.schedule, metric);
    }
    return STATUS_OK;
}

/* Passes over the data so far. */
static double epoch_of(const struct trainer *t)
{
    const int64_t per_epoch = t->a->config->steps_per_epoch;
    return per_epoch > 0 ? (double)t->step / (double)per_epoch : 0.0;
}

/* A finished line into every log; rank 0. */
static enum status append_line(struct trainer *t, json_t *line)
{
    (void)json_array_append(t->log_history, line);
    TRY(report_append(t->a->config->output_dir, "log.jsonl", line));
    return t->events ? report_events_write(t->events, t->step, line) : STATUS_OK;
}

static bool shows_progress(const struct trainer *t)
{
    const struct train_config *c = t->a->config;
    const int64_t logging = c->logging_steps > 0 ? c->logging_steps : 1;
    return t->step % logging == 0 || t->step == c->max_steps ||
           (t->step <= 1 && (c->logging_first_step || t->step == 0));
}

/* Times of the step's phases; those of the last step's log and checkpoint, which were not over when
 * its line was written; and the share of the time that the machine's limits allow for the work. */
static void put_times(struct trainer *t, const struct step_result *r, double seconds, json_t *line)
{
    const struct train_args *a = t->a;
    struct work work = {0};
    for (int i = 0; i < PHASES; i++) {
        (void)json_object_set_new(line, PHASE_NAMES[i], json_real(r->seconds[i]));
    }
    if (t->log_seconds > 0) {
        (void)json_object_set_new(line, "time/log", json_real(t->log_seconds));
        (void)json_object_set_new(line, "time/save", json_real(t->save_seconds));
    }
    if (a->method->work) {
        a->method->work(a->method->ctx, &work);
    }
    const double limit = a->limits ? work_seconds(&a->limits->costs, &a->limits->peaks, &work) : 0;
    if (limit > 0) {
        (void)json_object_set_new(line, "limit_fraction", json_real(limit / seconds));
    }
}

static enum status log_step(struct trainer *t, const struct step_result *r, double seconds)
{
    const struct train_args *a = t->a;
    json_t *line = json_object();
    if (!line) {
        return FAIL(MEMORY, "log: no memory for a line");
    }
    (void)json_object_set_new(line, "step", json_integer(t->step));
    if (a->config->steps_per_epoch > 0) {
        (void)json_object_set_new(line, "epoch", json_real(epoch_of(t)));
    }
    if (isfinite(r->totals[0])) {
        (void)json_object_set_new(line, "loss", json_real(r->totals[0]));
        t->loss_sum += r->totals[0];
        t->loss_count++;
    }
    if (isfinite(r->norm)) {
        (void)json_object_set_new(line, "grad_norm", json_real(r->norm));
    }
    (void)json_object_set_new(line, "learning_rate", json_real(r->lr));
    if (t->skipped) {
        (void)json_object_set_new(line, "skipped_steps", json_integer(t->skipped));
    }
    enum status status = a->method->log(a->method->ctx, r->totals, line);
    if (status == STATUS_OK) {
        status = evaluate_step(t, line);
    }
    (void)json_object_set_new(line, "step_time", json_real(seconds));
    put_times(t, r, seconds, line);
    if (status == STATUS_OK && a->comm->rank == 0) {
        status = append_line(t, line);
        if (shows_progress(t)) {
            report_progress(a->config->label, line, t->step, a->config->max_steps);
        }
    }
    json_decref(line);
    return comm_agree(a->comm, status);
}

/* The evaluation of eval_on_start, as a line of step 0. */
static enum status evaluate_start(struct trainer *t)
{
    const struct train_args *a = t->a;
    if (!a->config->eval_on_start || !a->method->evaluate || t->step > 0) {
        return STATUS_OK;
    }
    json_t *line = json_pack("{s:i}", "step", 0);
    enum status status = line ? evaluate(t, line)
                              : FAIL(MEMORY, "log: no memory for a line");
    if (status == STATUS_OK && a->comm->rank == 0) {
        status = append_line(t, line);
        report_progress(a->config->label, line, 0, a->config->max_steps);
    }
    json_decref(line);
    return comm_agree(a->comm, status);
}

static bool has_checkpoint(const struct trainer *t, int64_t step)
{
    return step >= 0 && checkpoint_exists(t->a->config->output_dir, step);
}

static json_t *trainer_state(const struct trainer *t)
{
    const struct train_config *c = t->a->config;
    const json_t *last = json_array_get(t->log_history, json_array_size(t->log_history) - 1);
    const struct trainer_state state = {
        .step = t->step,
        .max_steps = c->max_steps,
        .epoch = epoch_of(t),
        .epochs = c->epochs,
        .eval_steps = c->eval_steps,
        .logging_steps = c->logging_steps,
        .save_steps = c->save_steps,
        .batch = c->batch,
        .tokens = (int64_t)json_number_value(json_object_get(last, "num_tokens")),
        .flops = t->flops,
        .output_dir = c->output_dir,
        .best = t->best,
    };
    return report_trainer_state(&state, t->log_history);
}

/* What Transformers logs at the end, into trainer_state.json alone: log.jsonl has a line a step. */
static void append_summary(struct trainer *t, int64_t steps, double seconds)
{
    json_t *line =
        json_pack("{s:I, s:f, s:f, s:f, s:f}", "step", (json_int_t)t->step, "epoch", epoch_of(t),
                  "train_runtime", seconds, "total_flos", t->flops, "train_loss",
                  t->loss_count ? t->loss_sum / (double)t->loss_count : 0.0);
    if (line) {
        put_rate(line, "train_samples_per_second", (double)(steps * t->a->config->step_rows),
                 seconds);
        put_rate(line, "train_steps_per_second", (double)steps, seconds);
        (void)json_array_append_new(t->log_history, line);
    }
}

/* trainer_state.json of the whole run, beside its log; rank 0. */
static enum status write_final_state(const struct trainer *t)
{
    json_t *state = trainer_state(t);
    const enum status status =
        state ? report_write_state(t->a->config->output_dir, state)
              : FAIL(MEMORY, "trainer_state.json: out of memory");
    json_decref(state);
    return status;
}

static enum status save_on_rank0(struct trainer *t)
{
    const struct train_args *a = t->a;
    json_t *state = json_object();
    json_t *method = json_object();
    if (t->best.step == t->step || has_checkpoint(t, t->best.step)) {
        t->best.checkpoint = t->best.step;
    }
    json_t *public_state = trainer_state(t);
    enum status status = STATUS_OK;
    if (!state || !method || !public_state) {
        status = FAIL(MEMORY, "checkpoint: no memory for its state");
    }
    if (status == STATUS_OK && a->method->save_state) {
        status = a->method->save_state(a->method->ctx, method);
    }
    if (status == STATUS_OK) {
        (void)json_object_set(state, "method", method);
        (void)json_object_set_new(state, "updates", json_integer(t->updates));
        (void)json_object_set_new(state, "skipped", json_integer(t->skipped));
        (void)json_object_set_new(state, "skipped_in_a_row", json_integer(t->skipped_in_a_row));
        (void)json_object_set_new(state, "world_size", json_integer(a->world_size));
        (void)json_object_set_new(state, "best", best_save(&t->best));
        (void)json_object_set_new(state, "flops", json_real(t->flops));
        if (schedule_is_adaptive(&a->config->optim.schedule)) {
            (void)json_object_set_new(state, "schedule", schedule_state_save(&t->schedule));
        }
        const struct checkpoint_state saved = {
            .step = t->step,
            .trainer_state = public_state,
            .method_state = state,
            .recipe = (char *)(uintptr_t)a->recipe_text,
        };
        status = checkpoint_save(a->config->output_dir, a->params, &saved, a->export_fn,
                                 a->export_ctx);
    }
    if (status == STATUS_OK) {
        status = checkpoint_prune(a->config->output_dir, a->config->save_total_limit,
                                  t->best.checkpoint);
    }
    json_decref(state);
    json_decref(method);
    json_decref(public_state);
    return status;
}

static enum status save_checkpoint(struct trainer *t)
{
    if (t->saved == t->step) {
        return STATUS_OK;
    }
    if (t->a->method->settle) {
        TRY(t->a->method->settle(t->a->method->ctx));
    }
    TRY(comm_agree(t->a->comm, t->a->comm->rank == 0 ? save_on_rank0(t) : STATUS_OK));
    t->saved = t->step;
    return STATUS_OK;
}

static enum status restore(struct trainer *t, int64_t step)
{
    const struct train_args *a = t->a;
    struct checkpoint_state state = {0};
    TRY(checkpoint_load(a->config->output_dir, step, a->params, &state));
    enum status status = STATUS_OK;
    t->step = step;
    t->saved = step;
    t->updates = json_integer_value(json_object_get(state.method_state, "updates"));
    t->skipped = json_integer_value(json_object_get(state.method_state, "skipped"));
    t->skipped_in_a_row = json_integer_value(json_object_get(state.method_state,
                                                             "skipped_in_a_row"));
    best_load(&t->best, json_object_get(state.method_state, "best"));
    t->flops = json_number_value(json_object_get(state.method_state, "flops"));
    json_t *history = json_object_get(state.trainer_state, "log_history");
    if (json_is_array(history)) {
        (void)json_array_extend(t->log_history, history);
    }
    if (a->method->load_state) {
        status = a->method->load_state(a->method->ctx,
                                       json_object_get(state.method_state, "method"));
    }
    if (status == STATUS_OK && schedule_is_adaptive(&a->config->optim.schedule)) {
        status = schedule_state_load(&t->schedule, json_object_get(state.method_state, "schedule"));
    }
    checkpoint_state_close(&state);
    return status;
}

/* Finds the newest good checkpoint, tells all ranks, loads it; cuts the logs back to it. */
static enum status resume(struct trainer *t)
{
    const struct train_args *a = t->a;
    int64_t step = -1;
    enum status status = STATUS_OK;
    if (a->comm->rank == 0 && a->config->resume) {
        char *passed_over = NULL;
        status = checkpoint_latest(a->config->output_dir, &step, &passed_over);
        if (passed_over) {
            report_note("%s", passed_over);
            free(passed_over);
        }
    }
    TRY(comm_agree(a->comm, status));
    TRY(comm_broadcast(a->comm, &step, sizeof step, 0));
    if (step >= 0) {
        TRY(comm_agree(a->comm, restore(t, step)));
    }
    if (a->comm->rank == 0) {
        status = report_truncate(a->config->output_dir, "log.jsonl", t->step);
        if (status == STATUS_OK) {
            status = report_truncate(a->config->output_dir, "completions.jsonl", t->step);
        }
        if (step >= 0) {
            report_note("resumed from %s/checkpoint-%lld", a->config->output_dir, (long long)step);
        }
    }
    if (a->comm->rank == 0 && status == STATUS_OK && a->config->tensorboard) {
        status = report_events_open(&t->events, a->config->output_dir);
    }
    return comm_agree(a->comm, status);
}

static enum status after_step(struct trainer *t)
{
    const struct train_args *a = t->a;
    if (t->skipped_in_a_row >= a->config->max_nonfinite_steps) {
        return FAIL(NUMERIC,
                    "step %lld: loss or gradient not finite %lld times in a row; lower "
                    "learning_rate. The last good checkpoint is kept",
                    (long long)t->step, (long long)t->skipped_in_a_row);
    }
    const bool last = t->step == a->config->max_steps;
    const bool due = (a->config->save_steps > 0 && t->step % a->config->save_steps == 0) ||
                     (a->config->best.save && t->new_best);
    bool stop = false;
    TRY(comm_any(a->comm, train_stop_requested(), &stop));
    if (last || due || stop) {
        TRY(save_checkpoint(t));
    }
    if (stop && !last) {
        return FAIL(INTERRUPTED,
                    "interrupted: saved %s/checkpoint-%lld; run the same command to go on",
                    a->config->output_dir, (long long)t->step);
    }
    return STATUS_OK;
}

/* The weights of the best checkpoint, when the run is to end with them. */
static enum status load_best(struct trainer *t)
{
    const struct train_args *a = t->a;
    struct checkpoint_state state = {0};
    int64_t step = has_checkpoint(t, t->best.checkpoint) ? t->best.checkpoint : -1;
    TRY(comm_broadcast(a->comm, &step, sizeof step, 0));
    if (!a->config->best.load || step < 0) {
        return STATUS_OK;
    }
    if (a->comm->rank == 0) {
        report_note("the best model is that of checkpoint-%lld (%s %.6g)", (long long)step,
                    a->config->best.metric, t->best.metric);
    }
    if (step == t->step) {
        return STATUS_OK;
    }
    TRY(comm_agree(a->comm, checkpoint_load(a->config->output_dir, step, a->params, &state)));
    checkpoint_state_close(&state);
    return STATUS_OK;
}

enum status trainer_open(struct trainer **out, const struct train_args *a)
{
    struct trainer *t = calloc(1, sizeof *t);
    *out = t;
    if (!t) {
        return FAIL(MEMORY, "training: no memory");
    }
    *t = (struct trainer){.a = a, .saved = -1, .start = clock_seconds(),
                          .log_history = json_array()};
    ASSERT(a->method->metrics >= 1 && a->method->metrics <= TRAIN_MAX_METRICS);
    if (a->comm->size > a->config->shards) {
        return FAIL(RECIPE, "%d ranks but shards: %d; start at most %d ranks or raise shards",
                    a->comm->size, a->config->shards, a->config->shards);
    }
    const struct optim_rates peak = optim_rates(&a->config->optim, 1.0);
    best_start(&t->best);
    schedule_start(&t->schedule, &a->config->optim.schedule, peak.lr);
    TRY(shard_sum_open(&t->sum, a->config->shards, a->params->total));
    TRY(resume(t));
    t->first = t->step;
    t->already_finished = trainer_done(t);
    return evaluate_start(t);
}

bool trainer_done(const struct trainer *t)
{
    return t->step >= t->a->config->max_steps;
}

int64_t trainer_at(const struct trainer *t)
{
    return t->step;
}

enum status trainer_step(struct trainer *t)
{
    struct step_result result = {0};
    double start = clock_seconds();
    TRY(train_step(t, &result));
    TRY(log_step(t, &result, lap(&start)));
    t->log_seconds = lap(&start);
    TRY(after_step(t));
    t->save_seconds = lap(&start);
    return STATUS_OK;
}

enum status trainer_save(struct trainer *t)
{
    return save_checkpoint(t);
}

enum status trainer_finish(struct trainer *t)
{
    const struct train_args *a = t->a;
    const bool tells = a->comm->rank == 0;
    if (tells && t->step > t->first) {
        append_summary(t, t->step - t->first, clock_seconds() - t->start);
    }
    TRY(load_best(t));
    TRY(comm_agree(a->comm, tells && t->step > t->first ? write_final_state(t) : STATUS_OK));
    return comm_agree(a->comm, tells ? a->export_fn(a->export_ctx, a->config->output_dir)
                                     : STATUS_OK);
}

void trainer_close(struct trainer *t, struct train_result *out)
{
    if (!t) {
        return;
    }
    *out = (struct train_result){
        .steps = t->step,
        .skipped = t->skipped,
        .train_loss = t->loss_count ? t->loss_sum / (double)t->loss_count : 0.0,
        .seconds = clock_seconds() - t->start,
        .best = t->best,
        .already_finished = t->already_finished,
    };
    shard_sum_close(&t->sum);
    report_events_close(t->events);
    json_decref(t->log_history);
    free(t->shard_of);
    free(t->mine);
    free(t->sums);
    free(t->by_unit);
    free(t->records);
    free(t->offsets);
    free(t);
}

enum status train_run(const struct train_args *a, struct train_result *out)
{
    struct trainer *t;
    enum status status = trainer_open(&t, a);
    while (status == STATUS_OK && !trainer_done(t)) {
        status = trainer_step(t);
    }
    if (status == STATUS_OK) {
        status = trainer_finish(t);
    }
    trainer_close(t, out);
    return status;
}
