/* Parts of the sandbox that only its own files see. */
#pragma once

#include <linux/filter.h>
#include <sys/types.h>

#include "eval/sandbox/sandbox.h"

enum {
    INSIDE_UID = 1000,     /* what the candidate sees */
    CGROUP_PATH_CAP = 512,
    WORK_PATH_CAP = 256,
    DISK_INODES = 8192,
};

#define SANDBOX_BOX "/box" /* the working directory of the full profile */

/* A cgroup for one sandbox: v2 is one folder, v1 a folder in each of two hierarchies. */
struct sandbox_cgroup {
    int version; /* 0: none */
    char memory[CGROUP_PATH_CAP];
    char pids[CGROUP_PATH_CAP]; /* v1 only */
    long oom_kills;             /* seen so far */
};

struct sandbox {
    enum sandbox_profile profile;
    struct sandbox_probe probe;
    int landlock_abi;
    uid_t outside_uid; /* the candidate's user id outside; this process's own unless root */
    struct sock_filter *filter;
    unsigned short filter_count;
    struct sandbox_cgroup cgroup;
};

/* Where a keeper or candidate failed: a layer, or one of these. */
enum keeper_stage {
    STAGE_FORK = SANDBOX_LAYERS,
    STAGE_FILES,
    STAGE_LIMITS,
    STAGE_EXEC,
};

/* What the keeper tells: once, followed by `collected` bytes. */
struct keeper_report {
    int stage; /* -1: the candidate ran; else where it failed */
    int error; /* errno of that */
    bool signaled;
    int code;
    int64_t collected; /* -1: no such file */
    double started;    /* clock_seconds() at the execve */
    double wall;
    double cpu;        /* what the keeper has reaped */
    int64_t memory;
};

/* What the keeper gets; it is forked with it. */
struct keeper_args {
    const struct sandbox *sandbox;
    const struct sandbox_spec *spec;
    struct sandbox_limits limits;
    const char *work; /* reduced: the working directory */
    int others;       /* tasks that count as the candidate's but are not */
    int go;           /* a byte: go on; end of file: stop */
    int report;
    int out;
    int err;
};

/* Sums of a process and its descendants. */
struct tree_sum {
    double cpu_seconds; /* with what they have reaped */
    int64_t memory_bytes;
    int tasks; /* processes and threads, the root included */
};

/* The keeper: builds the room, starts the candidate, waits, reports. Never returns. */
void keeper_main(const struct keeper_args *k) __attribute__((noreturn));

/* Forks into new namespaces; `flags` are CLONE_NEW*. As fork. */
pid_t room_fork(unsigned long flags);

/* Maps INSIDE_UID of `pid`'s new user namespace to `outside`. False with errno. */
bool room_map(pid_t pid, uid_t outside);

/* Moves this process, alone in new user and mount namespaces, to a root of its own with a working
 * directory of `disk` bytes. 0, or -1 with errno. */
int root_build(int64_t disk);

/* The candidate's last steps before execve: puts `work` or SANDBOX_BOX under Landlock. 0 or -1. */
int landlock_apply(int abi, enum sandbox_profile profile, const char *work);

/* Landlock's ABI version, 0 when the kernel has none. */
int landlock_abi(void);

/* Resource limits of the candidate. `others`: tasks that its user id has already. 0 or -1. */
int limits_apply(const struct sandbox_limits *limits, int others);

/* Empties the bounding set, so that no execve gives a capability back. 0 or -1. */
int caps_unbound(void);

/* Drops every capability this process has. 0 or -1. */
int caps_drop(void);

/* Loads the filter into this thread for good (no_new_privs is set). 0 or -1. */
int filter_apply(const struct sandbox *s);

/* Builds the allow-list; *out is malloc'ed. */
MUST_USE enum status filter_build(struct sock_filter **out, unsigned short *count);

/* A user id for candidates: mapped here, not root, this process's own. False when there is none. */
bool uid_outside(uid_t *out);

/* Sums `root` and what descends from it. False when /proc does not tell. */
bool tree_measure(pid_t root, struct tree_sum *out);

/* Kills what descends from `root`, not `root` itself, until nothing is left. */
void tree_kill(pid_t root);

/* Tasks of a user id in /proc. */
int tree_tasks_of(uid_t uid);

/* Bytes below the open folder (closed by this); -1 when part of it cannot be read. */
int64_t folder_bytes(int folder);

/* Removes everything below the open folder (closed by this). */
void folder_clear(int folder);

/* Makes a cgroup below this process's own; version 0 and `why` when it may not. */
void cgroup_open(struct sandbox_cgroup *c, char why[128]);

/* Sets the limits and moves `pid` in. False when the kernel refuses. */
bool cgroup_enter(const struct sandbox_cgroup *c, const struct sandbox_limits *limits, pid_t pid);

/* True when the kernel killed for memory since the last call. */
bool cgroup_killed(struct sandbox_cgroup *c);

/* Removes the folders. */
void cgroup_close(struct sandbox_cgroup *c);
