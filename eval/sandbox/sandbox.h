/*
 * A sandbox for programs that nobody trusts: what a model wrote and a reward must run.
 *
 * Profile `full`: new user, mount, pid, net, ipc, uts and cgroup namespaces, a fresh tmpfs as root
 * with read-only views of /usr and the library folders, no /proc, no network, Landlock, a seccomp
 * allow-list, resource limits, a cgroup where this process may make one, no capabilities. Profile
 * `reduced`, only when asked for: no namespaces; a user id that is not root, Landlock, seccomp and
 * resource limits, for containers that forbid new namespaces. It hides file contents but not file
 * names, and its memory and disk totals are watched, not enforced by the kernel.
 *
 * A layer that is missing is an error that names it; nothing runs with less than its profile.
 *
 * The candidate gets its files, arguments and input, never what it is compared with. A keeper
 * process, pid 1 of the new pid namespace, starts it, reaps what it leaves behind and tells the
 * exit status over a pipe that the candidate does not have. Killing the keeper kills the tree.
 *
 * Threads: one sandbox, one thread; sandboxes are independent of each other. Source: open-r1.md 2
 * for what is judged; namespaces(7), landlock(7), seccomp(2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum sandbox_profile { SANDBOX_FULL, SANDBOX_REDUCED };

/* Limits of one run; 0 takes the default of sandbox_default_limits. */
struct sandbox_limits {
    double cpu_seconds;    /* of the whole tree */
    double wall_seconds;   /* from the start of the keeper */
    int64_t memory_bytes;  /* resident sum of the tree; address space of each process as well */
    int64_t disk_bytes;    /* all files it writes; full: size of the tmpfs */
    int64_t output_bytes;  /* of each of stdout and stderr */
    int processes;         /* processes and threads */
    int files;             /* open descriptors of a process */
    bool huge_address_space; /* no limit on the address space (a JavaScript engine reserves it) */
};

/* 5 s CPU, 10 s wall, 512 MiB, 64 MiB disk, 1 MiB output, 32 processes, 64 files. */
struct sandbox_limits sandbox_default_limits(void);

/* A file put into the working directory before the start. Names hold no slash. */
struct sandbox_file {
    const char *name;
    const void *data;
    size_t size;
    bool executable;
};

enum { SANDBOX_MAX_ARGS = 64, SANDBOX_MAX_FILES = 64 };

/* One run. Everything is borrowed until sandbox_run returns. */
struct sandbox_spec {
    const char *const *argv; /* NULL-terminated; argv[0] is an absolute path, or "./name" */
    const char *const *env;  /* NULL-terminated "K=V", added to PATH, HOME, TMPDIR, LANG; or NULL */
    const struct sandbox_file *files;
    int file_count;
    const void *input; /* what stdin reads, then end of file */
    size_t input_size;
    const char *collect; /* a regular file of the working directory to bring back, or NULL */
    size_t collect_bytes; /* its largest size */
    struct sandbox_limits limits;
};

enum sandbox_end {
    SANDBOX_EXITED,   /* `code` is the exit status */
    SANDBOX_SIGNALED, /* `code` is the signal */
    SANDBOX_CPU_LIMIT,
    SANDBOX_WALL_LIMIT,
    SANDBOX_MEMORY_LIMIT,
    SANDBOX_DISK_LIMIT,
    SANDBOX_OUTPUT_LIMIT,
    SANDBOX_PROCESS_LIMIT,
    SANDBOX_NOT_STARTED, /* execve failed, `code` is its errno: no such interpreter, not a program
                          */
};

/* Bytes that grew; `data` has a NUL after `size` bytes and may hold NULs before. */
struct sandbox_bytes {
    char *data;
    size_t size;
};

struct sandbox_result {
    enum sandbox_end end;
    int code;
    struct sandbox_bytes out;       /* at most output_bytes */
    struct sandbox_bytes err;
    struct sandbox_bytes collected; /* data NULL: no such file */
    double cpu_seconds;
    double wall_seconds;     /* of the candidate */
    double start_seconds;    /* from the call to its execve */
    int64_t memory_bytes;    /* largest resident size seen */
};

enum sandbox_layer {
    SANDBOX_USER_NS,
    SANDBOX_OTHER_NS, /* mount, pid, net, ipc, uts, cgroup */
    SANDBOX_ROOT,     /* tmpfs, bind mounts, pivot_root */
    SANDBOX_UID,      /* a user id that is not root and nobody else's */
    SANDBOX_LANDLOCK,
    SANDBOX_SCOPE,    /* Landlock keeps signals inside; needed where there is no pid namespace */
    SANDBOX_SECCOMP,
    SANDBOX_WATCH,    /* /proc of this process, to sum up the tree */
    SANDBOX_CGROUP,   /* never required */
    SANDBOX_LAYERS
};

struct sandbox_probe {
    bool present[SANDBOX_LAYERS];
    char why[SANDBOX_LAYERS][128]; /* how it is present, or why not */
};

struct sandbox;

/* Tries each layer in a short-lived child. Fails with MEMORY or INTERNAL only when it cannot fork.
 */
MUST_USE enum status sandbox_probe(struct sandbox_probe *out);

/* Short name of a layer ("user namespace"). */
const char *sandbox_layer_name(enum sandbox_layer layer);

/* True when `profile` cannot do without `layer` as the user this process runs as. */
bool sandbox_needs(enum sandbox_profile profile, enum sandbox_layer layer);

/* "full" or "reduced"; false when `name` is neither. */
bool sandbox_profile_of(const char *name, enum sandbox_profile *out);

/* Probes, and readies the system call filter and the cgroup. Fails with DEVICE, naming the missing
 * layers of `profile` and the way out. Close with sandbox_close. */
MUST_USE enum status sandbox_open(struct sandbox **out, enum sandbox_profile profile);

/* Removes the cgroup and frees. NULL is fine. */
void sandbox_close(struct sandbox *s);

/* Runs one program to its end or its first limit. OK whatever the candidate did; fails with USAGE
 * for a bad spec, DEVICE when a layer could not be put on (nothing ran then), MEMORY. Free *out
 * with sandbox_result_close, also after a failure. */
MUST_USE enum status sandbox_run(struct sandbox *s, const struct sandbox_spec *spec,
                                 struct sandbox_result *out);

/* Frees the captured bytes and zeroes. */
void sandbox_result_close(struct sandbox_result *r);

/* "exited", "signal", "cpu limit", ... never NULL. */
const char *sandbox_end_name(enum sandbox_end end);
