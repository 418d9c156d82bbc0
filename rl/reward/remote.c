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
#include <sys/socket.h>
#include <unistd.h>

#include "kernels/base/clock.h"
#include "rl/reward/frame.h"

enum { MAX_WORKERS = 64 };

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

/* One completion on its way. */
struct request {
    json_t *body; /* owned; NULL: given out, or no UTF-8 text */
    reward_verdict_fn fn;
    void *ctx;
    int64_t item;
};

enum worker_state {
    WORKER_GONE,    /* no process */
    WORKER_OPENING, /* its greeting is awaited */
    WORKER_IDLE,
    WORKER_BUSY
};

struct worker {
    struct helper_worker process;
    enum worker_state state;
    struct request request; /* BUSY: what it judges */
    double deadline;    /* clock_seconds, of its greeting or verdict */
};

struct reward_remote {
    struct helper *helper;
    json_t *opening; /* what a new worker is told */
    struct remote_options options;
    struct worker worker[MAX_WORKERS];
    struct request *queue; /* [capacity] those behind `first` wait, in order */
    int64_t first;
    int64_t end;
    int64_t capacity;
    int64_t pending;
};

static const char *name_of(const struct reward_remote *r)
{
    return json_string_value(json_object_get(r->opening, "name"));
}

/* A process that stops in the middle of a message must not hold the caller: both directions end at
 * the time limit. */
static void limit_socket(const struct reward_remote *r, int fd)
{
    const double seconds = fmin(r->options.seconds, 3.6e6);
    struct timeval limit = {.tv_sec = (time_t)seconds};
    limit.tv_usec = (suseconds_t)((seconds - (double)limit.tv_sec) * 1e6);
    if (limit.tv_sec == 0 && limit.tv_usec == 0) {
        limit.tv_usec = 1; /* 0 would be no limit */
    }
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* A new process for the worker; its greeting comes later. */
static enum status start(struct reward_remote *r, struct worker *w)
{
    w->state = WORKER_GONE;
    TRY(helper_spawn(r->helper, r->opening, &w->process));
    limit_socket(r, w->process.fd);
    w->state = WORKER_OPENING;
    w->deadline = clock_seconds() + r->options.seconds;
    return STATUS_OK;
}

/* The status that a worker sent as a number. */
static enum status status_of(const json_t *greeting)
{
    const json_int_t code = json_integer_value(json_object_get(greeting, "status"));
    return code > STATUS_OK && code <= STATUS_INTERNAL ? (enum status)code : STATUS_OK;
}

static enum status take_greeting(const struct reward_remote *r, struct worker *w)
{
    json_t *greeting;
    TRY(frame_receive(w->process.fd, &greeting));
    if (!greeting) {
        return FAIL(IO, "judge: the worker of '%s' ended at its start", name_of(r));
    }
    const enum status status = status_of(greeting);
    if (status != STATUS_OK) {
        const char *message = json_string_value(json_object_get(greeting, "message"));
        (void)status_fail(status, __FILE__, __LINE__, "%s", message ? message : "");
    }
    json_decref(greeting);
    w->state = WORKER_IDLE;
    return status;
}

/* A request ends with a verdict. */
static enum status settle(struct reward_remote *r, const struct request *q, double score,
                          const char *reason)
{
    json_decref(q->body);
    r->pending--;
    return q->fn(q->ctx, q->item, score, reason ? reason : "");
}

/* Null score for the worker's request, and a new worker in its place. */
static enum status replace(struct reward_remote *r, struct worker *w, const char *reason)
{
    helper_worker_close(&w->process);
    const enum status started = start(r, w);
    const enum status settled = settle(r, &w->request, NAN, reason);
    return started != STATUS_OK ? started : settled;
}

static enum status give(struct reward_remote *r, struct worker *w)
{
    w->request = r->queue[r->first++];
    if (!w->request.body) {
        return settle(r, &w->request, NAN, "the completion or its row is no UTF-8 text");
    }
    w->state = WORKER_BUSY;
    w->deadline = clock_seconds() + r->options.seconds;
    const enum status status = frame_send(w->process.fd, w->request.body);
    json_decref(w->request.body);
    w->request.body = NULL;
    return status == STATUS_IO ? replace(r, w, "the judge's process ended") : status;
}

static enum status take(struct reward_remote *r, struct worker *w)
{
    json_t *reply;
    if (frame_receive(w->process.fd, &reply) != STATUS_OK || !reply) {
        return replace(r, w, "the judge's process crashed on this completion");
    }
    const json_t *score = json_object_get(reply, "score");
    w->state = WORKER_IDLE;
    const enum status status =
        settle(r, &w->request, json_is_number(score) ? json_number_value(score) : NAN,
               json_string_value(json_object_get(reply, "reason")));
    json_decref(reply);
    return status;
}

/* Gives waiting requests to idle workers; one that is gone gets another chance. */
static enum status deal(struct reward_remote *r)
{
    for (int i = 0; i < r->options.workers; i++) {
        struct worker *w = &r->worker[i];
        if (w->state == WORKER_GONE) {
            TRY(start(r, w));
        }
        while (w->state == WORKER_IDLE && r->first < r->end) {
            TRY(give(r, w));
        }
    }
    return STATUS_OK;
}

/* Milliseconds until the first deadline. */
static int patience(const struct reward_remote *r)
{
    double least = 3600.0;
    for (int i = 0; i < r->options.workers; i++) {
        const struct worker *w = &r->worker[i];
        if (w->state == WORKER_BUSY || w->state == WORKER_OPENING) {
            least = fmin(least, w->deadline - clock_seconds());
        }
    }
    return least > 0 ? (int)ceil(least * 1e3) : 0;
}

/* Something came from the worker, or its time is over. */
static enum status attend(struct reward_remote *r, struct worker *w, bool came)
{
    const bool opening = w->state == WORKER_OPENING;
    if (came) {
        return opening ? take_greeting(r, w) : take(r, w);
    }
    if (clock_seconds() < w->deadline) {
        return STATUS_OK;
    }
    if (opening) {
        return FAIL(IO, "judge: '%s' did not open within %g s (reward_timeout)", name_of(r),
                    r->options.seconds);
    }
    char reason[REWARD_REASON_CAP];
    (void)snprintf(reason, sizeof reason, "the judge took over %g s (reward_timeout)",
                   r->options.seconds);
    return replace(r, w, reason);
}

/* One look at all workers, after at most `milliseconds`. */
static enum status look(struct reward_remote *r, int milliseconds)
{
    struct pollfd fds[MAX_WORKERS];
    for (int i = 0; i < r->options.workers; i++) {
        const struct worker *w = &r->worker[i];
        const bool out = w->state == WORKER_BUSY || w->state == WORKER_OPENING;
        fds[i] = (struct pollfd){.fd = out ? w->process.fd : -1, .events = POLLIN};
    }
    if (poll(fds, (nfds_t)r->options.workers, milliseconds) < 0 && errno != EINTR) {
        return FAIL(IO, "judge: cannot wait for the workers: %s", strerror(errno));
    }
    for (int i = 0; i < r->options.workers; i++) {
        if (fds[i].fd >= 0) {
            TRY(attend(r, &r->worker[i], fds[i].revents != 0));
        }
    }
    return deal(r);
}

enum status reward_remote_poll(struct reward_remote *r, int milliseconds)
{
    if (r->pending == 0) {
        return STATUS_OK;
    }
    TRY(deal(r));
    const int most = r->pending > 0 ? patience(r) : 0;
    return look(r, milliseconds < 0 || milliseconds > most ? most : milliseconds);
}

int64_t reward_remote_pending(const struct reward_remote *r)
{
    return r->pending;
}

/* Room for one more request behind the waiting ones. */
static enum status reserve(struct reward_remote *r)
{
    if (r->first > 0 && r->first == r->end) {
        r->first = 0;
        r->end = 0;
    }
    if (r->end < r->capacity) {
        return STATUS_OK;
    }
    if (r->first > r->capacity / 2) {
        memmove(r->queue, r->queue + r->first, (size_t)(r->end - r->first) * sizeof *r->queue);
        r->end -= r->first;
        r->first = 0;
        return STATUS_OK;
    }
    const int64_t capacity = r->capacity > 0 ? 2 * r->capacity : 64;
    struct request *queue = realloc(r->queue, (size_t)capacity * sizeof *queue);
    if (!queue) {
        return FAIL(MEMORY, "judge: no memory for %lld completions", (long long)capacity);
    }
    r->queue = queue;
    r->capacity = capacity;
    return STATUS_OK;
}

enum status reward_remote_submit(struct reward_remote *r, const struct reward_input *in,
                                 reward_verdict_fn fn, void *ctx, int64_t item)
{
    TRY(reserve(r));
    r->queue[r->end++] = (struct request){reward_input_to_json(in), fn, ctx, item};
    r->pending++;
    return deal(r);
}

void reward_remote_drop(struct reward_remote *r, const void *ctx)
{
    int64_t kept = r->first;
    for (int64_t i = r->first; i < r->end; i++) {
        if (r->queue[i].ctx == ctx) {
            json_decref(r->queue[i].body);
            r->pending--;
        } else {
            r->queue[kept++] = r->queue[i];
        }
    }
    r->end = kept;
    for (int i = 0; i < r->options.workers; i++) {
        struct worker *w = &r->worker[i];
        if (w->state == WORKER_BUSY && w->request.ctx == ctx) {
            helper_worker_close(&w->process);
            r->pending--;
            if (start(r, w) != STATUS_OK) {
                status_clear(); /* the next poll tries again */
            }
        }
    }
}

/* Waits until every worker has opened. */
static enum status open_workers(struct reward_remote *r)
{
    for (int i = 0; i < r->options.workers; i++) {
        TRY(start(r, &r->worker[i]));
    }
    for (int i = 0; i < r->options.workers; i++) {
        while (r->worker[i].state == WORKER_OPENING) {
            TRY(look(r, patience(r)));
        }
    }
    return STATUS_OK;
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
        r->worker[i].process = (struct helper_worker){-1, -1};
    }
    json_t *copy = parameters ? json_deep_copy(parameters) : json_object();
    r->opening = json_pack("{s:s, s:o}", "name", name, "parameters", copy);
    const enum status status = r->opening ? open_workers(r) : FAIL(MEMORY, "judge: no memory");
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
        for (int64_t i = r->first; i < r->end; i++) {
            json_decref(r->queue[i].body);
        }
        free(r->queue);
        json_decref(r->opening);
        free(r);
    }
}

/* A call whose scores are awaited. */
struct judging {
    const struct reward_call *call;
    double *scores;
};

static enum status note(void *ctx, int64_t item, double score, const char *reason)
{
    const struct judging *j = ctx;
    j->scores[item] = score;
    if (j->call->reasons) {
        (void)snprintf(j->call->reasons[item], REWARD_REASON_CAP, "%s", reason);
    }
    return STATUS_OK;
}

enum status reward_remote_score(struct reward_remote *r, const struct reward_call *call,
                                double *scores)
{
    struct judging j = {call, scores};
    enum status status = STATUS_OK;
    for (int64_t i = 0; status == STATUS_OK && i < call->count; i++) {
        status = reward_remote_submit(r, &call->inputs[i], note, &j, i);
    }
    while (status == STATUS_OK && r->pending > 0) {
        status = reward_remote_poll(r, -1);
    }
    if (status != STATUS_OK) {
        reward_remote_drop(r, &j);
    }
    return status;
}
