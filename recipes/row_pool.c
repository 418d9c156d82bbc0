/* Worker threads over JSON lines; see row_pool.h. A batch is read, worked on by all, written. */
#include "recipes/row_pool.h"

#include <pthread.h>
#include <string.h>

#include "kernels/base/cpu.h"

enum { BATCH_ROWS = 2048, MOST_THREADS = 1024 };

struct crew {
    const struct row_pool *pool;
    pthread_t *threads;
    int64_t count; /* started */
    pthread_mutex_t lock;
    pthread_cond_t work; /* jobs are there, or quit */
    pthread_cond_t idle; /* a worker has opened or finished a job */
    struct row_job *jobs;
    int64_t job_count;
    int64_t next;
    int64_t done;
    int64_t opened; /* workers that tried */
    bool quit;
    enum status status; /* of the first failed open */
    char *message;
};

/* The message of this thread's failure, for another thread. */
static char *keep_message(enum status status)
{
    char *copy = strdup(*status_message() ? status_message() : status_text(status));
    status_clear();
    return copy;
}

static void run_job(const struct row_pool *pool, void *state, struct row_job *job)
{
    job->results = json_array();
    job->status = job->results ? pool->run(state, job) : FAIL(MEMORY, "no memory for the results");
    if (job->status != STATUS_OK) {
        job->message = keep_message(job->status);
    }
}

static void *worker(void *arg)
{
    struct crew *c = arg;
    void *state = NULL;
    const enum status status = c->pool->open(c->pool->ctx, &state);
    char *message = status == STATUS_OK ? NULL : keep_message(status);
    (void)pthread_mutex_lock(&c->lock);
    if (status != STATUS_OK && c->status == STATUS_OK) {
        c->status = status;
        c->message = message;
        message = NULL;
    }
    c->opened++;
    (void)pthread_cond_broadcast(&c->idle);
    while (!c->quit) {
        if (c->next >= c->job_count) {
            (void)pthread_cond_wait(&c->work, &c->lock);
            continue;
        }
        struct row_job *job = &c->jobs[c->next++];
        (void)pthread_mutex_unlock(&c->lock);
        run_job(c->pool, state, job);
        (void)pthread_mutex_lock(&c->lock);
        c->done++;
        (void)pthread_cond_broadcast(&c->idle);
    }
    (void)pthread_mutex_unlock(&c->lock);
    c->pool->close(state);
    free(message);
    return NULL;
}

static enum status crew_open(struct crew *c, const struct row_pool *pool)
{
    const int64_t want = pool->threads > 0 ? pool->threads : cpu_allowed();
    const int64_t n = want < MOST_THREADS ? want : MOST_THREADS;
    *c = (struct crew){.pool = pool};
    (void)pthread_mutex_init(&c->lock, NULL);
    (void)pthread_cond_init(&c->work, NULL);
    (void)pthread_cond_init(&c->idle, NULL);
    c->threads = malloc((size_t)n * sizeof *c->threads);
    if (!c->threads) {
        return FAIL(MEMORY, "no memory for %lld threads", (long long)n);
    }
    while (c->count < n && pthread_create(&c->threads[c->count], NULL, worker, c) == 0) {
        c->count++;
    }
    if (c->count == 0) {
        return FAIL(MEMORY, "no thread can be started");
    }
    (void)pthread_mutex_lock(&c->lock);
    while (c->opened < c->count) {
        (void)pthread_cond_wait(&c->idle, &c->lock);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return c->status == STATUS_OK
               ? STATUS_OK
               : status_fail(c->status, __FILE__, __LINE__, "%s", c->message ? c->message : "");
}

static void crew_close(struct crew *c)
{
    (void)pthread_mutex_lock(&c->lock);
    c->quit = true;
    (void)pthread_cond_broadcast(&c->work);
    (void)pthread_mutex_unlock(&c->lock);
    for (int64_t i = 0; i < c->count; i++) {
        (void)pthread_join(c->threads[i], NULL);
    }
    (void)pthread_cond_destroy(&c->idle);
    (void)pthread_cond_destroy(&c->work);
    (void)pthread_mutex_destroy(&c->lock);
    free(c->threads);
    free(c->message);
}

static void crew_work(struct crew *c, struct row_job *jobs, int64_t count)
{
    (void)pthread_mutex_lock(&c->lock);
    c->jobs = jobs;
    c->job_count = count;
    c->next = 0;
    c->done = 0;
    (void)pthread_cond_broadcast(&c->work);
    while (c->done < count) {
        (void)pthread_cond_wait(&c->idle, &c->lock);
    }
    c->job_count = 0;
    (void)pthread_mutex_unlock(&c->lock);
}

/* Jobs that were read and not yet written. */
struct batch {
    struct row_job *jobs;
    int64_t count;
    int64_t capacity;
    json_t *ahead; /* row behind the batch, begins the next one */
    int64_t ahead_line;
};

static void job_close(struct row_job *job)
{
    json_decref(job->rows);
    json_decref(job->results);
    free(job->lines);
    free(job->message);
}

static void batch_clear(struct batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        job_close(&b->jobs[i]);
    }
    b->count = 0;
}

static enum status add_row(struct batch *b, bool joins, json_t *row, int64_t line)
{
    if (!joins) {
        if (b->count == b->capacity) {
            const int64_t capacity = b->capacity > 0 ? 2 * b->capacity : 64;
            struct row_job *jobs = realloc(b->jobs, (size_t)capacity * sizeof *jobs);
            if (!jobs) {
                json_decref(row);
                return FAIL(MEMORY, "no memory for the rows");
            }
            b->jobs = jobs;
            b->capacity = capacity;
        }
        b->jobs[b->count++] = (struct row_job){.rows = json_array()};
    }
    struct row_job *job = &b->jobs[b->count - 1];
    const size_t n = json_array_size(job->rows);
    if ((n & (n - 1)) == 0) { /* room for the next power of two */
        int64_t *lines = realloc(job->lines, (2 * n + 1) * sizeof *lines);
        if (!lines) {
            json_decref(row);
            return FAIL(MEMORY, "no memory for the rows");
        }
        job->lines = lines;
    }
    job->lines[n] = line;
    return json_array_append_new(job->rows, row) == 0 ? STATUS_OK
                                                      : FAIL(MEMORY, "no memory for the rows");
}

/* Reads whole jobs until there are BATCH_ROWS rows; a call may be longer. */
static enum status read_batch(const struct row_pool *pool, struct row_stream *s, struct batch *b)
{
    int64_t rows = 0;
    for (;;) {
        json_t *row = b->ahead;
        int64_t line = b->ahead_line;
        b->ahead = NULL;
        if (!row) {
            TRY(rows_next(s, &row));
            line = s->number;
        }
        if (!row) {
            return STATUS_OK;
        }
        const json_t *first =
            b->count > 0 ? json_array_get(b->jobs[b->count - 1].rows, 0) : NULL;
        const bool joins = first && pool->joins && pool->joins(pool->ctx, first, row);
        if (!joins && rows >= BATCH_ROWS) {
            b->ahead = row;
            b->ahead_line = line;
            return STATUS_OK;
        }
        TRY(add_row(b, joins, row, line));
        rows++;
    }
}

static enum status write_batch(struct row_stream *s, struct batch *b)
{
    for (int64_t i = 0; i < b->count; i++) {
        struct row_job *job = &b->jobs[i];
        if (job->status != STATUS_OK) {
            (void)status_fail(job->status, __FILE__, __LINE__, "%s",
                              job->message ? job->message : "");
            return rows_blame(s, job->lines[job->bad], job->status);
        }
        for (size_t k = 0; k < json_array_size(job->results); k++) {
            TRY(rows_write(s, json_incref(json_array_get(job->results, k))));
        }
    }
    return STATUS_OK;
}

enum status row_pool_run(const struct row_pool *pool, struct row_stream *stream)
{
    struct crew crew;
    struct batch batch = {0};
    enum status status = crew_open(&crew, pool);
    enum status read = STATUS_OK;
    while (status == STATUS_OK && read == STATUS_OK) {
        read = read_batch(pool, stream, &batch);
        char *message = read == STATUS_OK ? NULL : keep_message(read);
        const int64_t count = batch.count;
        crew_work(&crew, batch.jobs, count);
        status = write_batch(stream, &batch);
        batch_clear(&batch);
        if (status == STATUS_OK && read != STATUS_OK) { /* after the rows before the bad one */
            status = status_fail(read, __FILE__, __LINE__, "%s", message ? message : "");
        }
        free(message);
        if (count == 0) {
            break;
        }
    }
    crew_close(&crew);
    batch_clear(&batch);
    json_decref(batch.ahead);
    free(batch.jobs);
    return status;
}
