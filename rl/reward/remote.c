/*
 * Both ends of judging in another process; see remote.h.
 *
 *   order   {"name", "parameters"}        -> {"status", "message"}  once, when the reward is open
 *   request one input (reward_input JSON) -> {"score": x | null, "reason"}
 */
#include "rl/reward/remote.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "rl/reward/frame.h"

enum { MAX_WORKERS = 64, IDLE = -1 };

/* ---- the worker ---- */

static json_t *verdict(double score, const char *reason)
{
    json_t *why = json_string(reason);
    return json_pack("{s:o, s:o}", "score", isnan(score) ? json_null() : json_real(score), "reason",
                     why ? why : json_string("no score"));
}

static enum status answer(int fd, struct reward_set *set, const json_t *request)
{
    struct reward_input input;
    char reasons[1][REWARD_REASON_CAP] = {""};
    double score = NAN;
    TRY(reward_input_from_json(request, &input));
    const struct reward_call call = {.inputs = &input, .count = 1, .reasons = reasons};
    enum status status = reward_set_score(set, 0, &call, &score);
    reward_input_close(&input);
    if (status != STATUS_OK) {
        /* One completion that can't be judged is a null score, not the end of the worker. */
        (void)snprintf(reasons[0], sizeof reasons[0], "%s", status_message());
        score = NAN;
    }
    json_t *reply = verdict(score, reasons[0]);
    if (!reply) {
        return FAIL(MEMORY, "judge: no memory for a verdict");
    }
    status = frame_send(fd, reply);
    json_decref(reply);
    return status;
}

void reward_remote_work(int fd, const json_t *order)
{
    struct reward_set set;
    const char *name = json_string_value(json_object_get(order, "name"));
    enum status status = reward_set_open(&set, &name, name ? 1 : 0,
                                         json_object_get(order, "parameters"));
    json_t *greeting = json_pack("{s:i, s:s}", "status", (int)status, "message",
                                 status == STATUS_OK ? "" : status_message());
    if (greeting && frame_send(fd, greeting) != STATUS_OK) {
        status = STATUS_IO;
    }
    json_decref(greeting);
    while (status == STATUS_OK) {
        json_t *request;
        status = frame_receive(fd, &request);
        if (status == STATUS_OK && !request) {
            break;
        }
        if (status == STATUS_OK) {
            status = answer(fd, &set, request);
        }
        json_decref(request);
    }
    reward_set_close(&set);
}

/* ---- the other end ---- */

struct worker {
    struct helper_worker process;
    int64_t item;    /* of the call, or IDLE */
    double deadline; /* clock_seconds */
};

struct reward_remote {
    struct helper *helper;
    json_t *order;
    struct remote_options options;
    struct worker worker[MAX_WORKERS];
};

/* The status that a worker sent as a number. */
static enum status status_of(const json_t *greeting)
{
    const json_int_t code = json_integer_value(json_object_get(greeting, "status"));
    return code > STATUS_OK && code <= STATUS_INTERNAL ? (enum status)code : STATUS_OK;
}

static enum status start(struct reward_remote *r, struct worker *w)
{
    json_t *greeting = NULL;
    w->item = IDLE;
    TRY(helper_spawn(r->helper, r->order, &w->process));
    struct pollfd ready = {.fd = w->process.fd, .events = POLLIN};
    if (poll(&ready, 1, (int)fmin(r->options.seconds * 1e3, 3.6e6)) <= 0) {
        return FAIL(IO, "judge: '%s' did not open within %g s (reward_timeout)",
                    json_string_value(json_object_get(r->order, "name")), r->options.seconds);
    }
    TRY(frame_receive(w->process.fd, &greeting));
    if (!greeting) {
        return FAIL(IO, "judge: the worker of '%s' ended at its start",
                    json_string_value(json_object_get(r->order, "name")));
    }
    const enum status status = status_of(greeting);
    if (status != STATUS_OK) {
        const char *message = json_string_value(json_object_get(greeting, "message"));
        (void)status_fail(status, __FILE__, __LINE__, "%s", message ? message : "");
    }
    json_decref(greeting);
    return status;
}

enum status reward_remote_open(struct reward_remote **out, struct helper *helper, const char *name,
                               const json_t *parameters, const struct remote_options *options)
{
    *out = NULL;
    if (options->workers < 1 || options->workers > MAX_WORKERS || !(options->seconds > 0)) {
        return FAIL(RECIPE, "reward_workers: 1 to %d, reward_timeout: more than 0 s", MAX_WORKERS);
    }
    struct reward_remote *r = calloc(1, sizeof *r);
    if (!r) {
        return FAIL(MEMORY, "judge: no memory");
    }
    r->helper = helper;
    r->options = *options;
    for (int i = 0; i < MAX_WORKERS; i++) {
        r->worker[i] = (struct worker){.process = {-1, -1}, .item = IDLE};
    }
    json_t *copy = parameters ? json_deep_copy(parameters) : json_object();
    r->order = json_pack("{s:s, s:o}", "name", name, "parameters", copy);
    enum status status = r->order ? STATUS_OK : FAIL(MEMORY, "judge: no memory");
    for (int i = 0; status == STATUS_OK && i < options->workers; i++) {
        status = start(r, &r->worker[i]);
    }
    if (status != STATUS_OK) {
        reward_remote_close(r);
        return status;
    }
    *out = r;
    return STATUS_OK;
}

void reward_remote_close(struct reward_remote *r)
{
    if (r) {
        for (int i = 0; i < r->options.workers; i++) {
            helper_worker_close(&r->worker[i].process);
        }
        json_decref(r->order);
        free(r);
    }
}

/* A call in progress. */
struct judging {
    struct reward_remote *r;
    const struct reward_call *call;
    double *scores;
    int64_t next; /* item to give out */
    int64_t done;
};

static void settle(struct judging *j, struct worker *w, double score, const char *reason)
{
    j->scores[w->item] = score;
    if (j->call->reasons) {
        (void)snprintf(j->call->reasons[w->item], REWARD_REASON_CAP, "%s", reason ? reason : "");
    }
    w->item = IDLE;
    j->done++;
}

/* Null score for the worker's item, and a new worker in its place. */
static enum status replace(struct judging *j, struct worker *w, const char *reason)
{
    settle(j, w, NAN, reason);
    helper_worker_close(&w->process);
    return start(j->r, w);
}

static enum status give(struct judging *j, struct worker *w)
{
    json_t *request = reward_input_to_json(&j->call->inputs[j->next]);
    w->item = j->next++;
    if (!request) {
        settle(j, w, NAN, "the completion or its row is no UTF-8 text");
        return STATUS_OK;
    }
    w->deadline = clock_seconds() + j->r->options.seconds;
    const enum status status = frame_send(w->process.fd, request);
    json_decref(request);
    return status == STATUS_IO ? replace(j, w, "the judge's process ended") : status;
}

static enum status take(struct judging *j, struct worker *w)
{
    json_t *reply;
    if (frame_receive(w->process.fd, &reply) != STATUS_OK || !reply) {
        return replace(j, w, "the judge's process crashed on this completion");
    }
    const json_t *score = json_object_get(reply, "score");
    settle(j, w, json_is_number(score) ? json_number_value(score) : NAN,
           json_string_value(json_object_get(reply, "reason")));
    json_decref(reply);
    return STATUS_OK;
}

/* Milliseconds until the first deadline. */
static int patience(const struct reward_remote *r)
{
    double least = 3600.0;
    for (int i = 0; i < r->options.workers; i++) {
        if (r->worker[i].item != IDLE) {
            least = fmin(least, r->worker[i].deadline - clock_seconds());
        }
    }
    return least > 0 ? (int)ceil(least * 1e3) : 0;
}

static enum status wait_for_any(struct judging *j)
{
    struct reward_remote *r = j->r;
    struct pollfd fds[MAX_WORKERS];
    for (int i = 0; i < r->options.workers; i++) {
        const bool busy = r->worker[i].item != IDLE;
        fds[i] = (struct pollfd){.fd = busy ? r->worker[i].process.fd : -1, .events = POLLIN};
    }
    if (poll(fds, (nfds_t)r->options.workers, patience(r)) < 0 && errno != EINTR) {
        return FAIL(IO, "judge: cannot wait for the workers: %s", strerror(errno));
    }
    for (int i = 0; i < r->options.workers; i++) {
        struct worker *w = &r->worker[i];
        if (w->item == IDLE) {
            continue;
        }
        if (fds[i].revents) {
            TRY(take(j, w));
        } else if (clock_seconds() >= w->deadline) {
            char reason[REWARD_REASON_CAP];
            (void)snprintf(reason, sizeof reason, "the judge took over %g s (reward_timeout)",
                           r->options.seconds);
            TRY(replace(j, w, reason));
        }
    }
    return STATUS_OK;
}

enum status reward_remote_score(struct reward_remote *r, const struct reward_call *call,
                                double *scores)
{
    struct judging j = {.r = r, .call = call, .scores = scores};
    while (j.done < call->count) {
        for (int i = 0; i < r->options.workers && j.next < call->count; i++) {
            if (r->worker[i].item == IDLE) {
                TRY(give(&j, &r->worker[i]));
            }
        }
        if (j.done < j.next) {
            TRY(wait_for_any(&j));
        }
    }
    return STATUS_OK;
}
