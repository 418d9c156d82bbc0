/*
 * The helper process: forked before threads, MPI and devices exist, it starts the workers that
 * judge (design 3). A process that has threads cannot fork safely; the helper has none and stays
 * small.
 *
 * The helper dies when its parent does, and its workers die with it.
 */
#pragma once

#include <jansson.h>

#include "kernels/base/status.h"

struct helper;

/* A worker: its socket and a handle to kill it by. Both descriptors belong to who asked for it. */
struct helper_worker {
    int fd;
    int pidfd; /* -1: the kernel has none */
};

/* What a worker does with its socket and its order; when it returns, the worker ends. */
typedef void (*helper_work_fn)(int fd, const json_t *order);

/* Forks the helper; its workers will run `work`. Call it while the process has one thread. Fails
 * with DEVICE. Stop with helper_stop. */
MUST_USE enum status helper_start(struct helper **out, helper_work_fn work);

/* Starts a worker with `order`. Any thread may call it. Fails with IO when the helper is gone,
 * DEVICE when it cannot fork. Close with helper_worker_close. */
MUST_USE enum status helper_spawn(struct helper *h, const json_t *order, struct helper_worker *out);

/* Kills the worker and what it started, closes the descriptors, and sets them to -1. */
void helper_worker_close(struct helper_worker *w);

/* Ends the helper and its workers, and frees. NULL is allowed. */
void helper_stop(struct helper *h);
