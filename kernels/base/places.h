/*
 * Which CPU each thread of a rank runs on. Threads are pinned when those of all ranks of the node
 * together take every CPU they may use: then a thread that moves has nowhere better to go and
 * leaves its caches behind. Where CPUs are left for others, the system places the threads.
 *
 * A launcher may have bound a rank to less than its share of the node (Open MPI binds two ranks to
 * a core each); the launcher's own mask says what the user allowed.
 */
#pragma once

#include <sched.h>
#include <stdbool.h>

#include "kernels/base/status.h"

/* What a rank finds. */
struct places {
    cpu_set_t own;  /* CPUs of this process */
    cpu_set_t node; /* of all ranks of this node together */
    int quota;      /* whole CPUs of time that the cgroup grants, 0: no limit */
    int local_rank; /* among the ranks of this node */
    int local_size;
};

enum { PLACES_MOST = CPU_SETSIZE };

/* Reads the masks and the cgroup's quota. launched: the parent process is a launcher, whose mask is
 * the node's. */
void places_read(struct places *p, bool launched, int local_rank, int local_size);

/* Widens this process to the node's CPUs when its own are less than its share. Call before threads
 * and child processes, which inherit the mask. */
void places_widen(struct places *p);

/* Threads of this rank when the recipe gives none: its share of the node's CPUs, at most the
 * quota's, at least 1. */
int places_threads(const struct places *p);

/* cpus[0 .. return) = the CPUs of `set` such that neighbours share caches: in hwloc's order of
 * packages, NUMA nodes, caches, cores. *nodes (may be NULL) = NUMA nodes among them. */
int places_order(const cpu_set_t *set, int cpus[PLACES_MOST], int *nodes);

/* cpus[t] = the CPU of this rank's thread t of `threads`, from `order` (places_order of the node's
 * CPUs); true when threads are to be pinned. */
bool places_choose(const struct places *p, const int *order, int count, int threads, int *cpus);

/* All of it: cpus[0 .. threads) and true when the threads are to be pinned. GRAFT_PIN=0 says no. */
bool places_pin(const struct places *p, int threads, int cpus[PLACES_MOST]);

/* Words for messages: "pinned to CPUs 0 1", or why not. */
void places_tell(const struct places *p, int threads, char *out, size_t size);
