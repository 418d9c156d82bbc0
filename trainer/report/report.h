/*
 * What a run tells: log.jsonl (a line a step), progress on stderr (no escape codes when it is no
 * terminal), completions.jsonl, and report.html: self-contained, curves in SVG.
 */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "trainer/best.h"

#include "kernels/base/status.h"

/* Appends one JSON line to `output_dir`/`file` and flushes it. On resume, lines with "step" greater
 * than the checkpoint's are cut off first by report_truncate. */
MUST_USE enum status report_append(const char *output_dir, const char *file, const json_t *line);

/* Drops lines whose "step" is > `step` and a torn last line. Missing file: OK. */
MUST_USE enum status report_truncate(const char *output_dir, const char *file, int64_t step);

/* What trainer_state.json says beside the log. */
struct trainer_state {
    int64_t step;
    int64_t max_steps;
    double epoch;  /* passes over the data so far; 0: not known */
    double epochs; /* of the whole run */
    int64_t eval_steps;
    int64_t logging_steps;
    int64_t save_steps;
    int64_t batch;  /* per_device_train_batch_size */
    int64_t tokens; /* seen so far, 0: not counted */
    double flops;
    const char *output_dir; /* where best.checkpoint lies */
    struct best_state best;
};

/* A new object with Transformers' names (spec training.md 5); log_history is `lines`, an array of
 * log objects, with evaluations (eval_ fields) as entries of their own. NULL: out of memory. */
json_t *report_trainer_state(const struct trainer_state *s, const json_t *lines);

/* Writes `output_dir`/trainer_state.json, sorted and indented by 2. Fails with IO or MEMORY. */
MUST_USE enum status report_write_state(const char *output_dir, const json_t *state);

struct event_file;

/* A new TensorBoard event file in `output_dir`/runs. Close also after a failure. Fails with IO. */
MUST_USE enum status report_events_open(struct event_file **out, const char *output_dir);

/* Appends the numbers of a log line at `step` and flushes: x as train/x, eval_x as eval/x. */
MUST_USE enum status report_events_write(struct event_file *f, int64_t step, const json_t *line);

/* Closes; NULL is allowed. */
void report_events_close(struct event_file *f);

/* One line of progress on stderr: "step 12/60  loss 0.123  reward 0.51  ...", behind `label` (NULL:
 * nothing). */
void report_progress(const char *label, const json_t *line, int64_t step, int64_t total);

/* Message on stderr, with a newline. */
void report_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Result on stdout, with a newline. */
void report_result(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Writes `output_dir`/report.html from log.jsonl (curves of loss, reward, accuracy, length,
 * entropy, grad_norm, tokens/s ... those present), the summary object and the first completions of
 * completions.jsonl. In the summary, {"accuracy": {"before": 0.1, "after": 0.9}} or the pair
 * "accuracy_before", "accuracy_after" is a line of the before/after table, "title" the heading, the
 * rest a list of facts; it is kept as summary.json. NULL: the one kept there, if any. Fails with
 * IO. */
MUST_USE enum status report_html(const char *output_dir, const json_t *summary);
