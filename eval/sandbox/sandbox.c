/* Opening a sandbox and running programs in it, seen from outside; see sandbox.h. */
#include "eval/sandbox/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"
#include "kernels/base/clock.h"

static const double FIRST_TICK = 0.01;
static const double TICK = 0.02;
static const double GRACE = 4.0; /* from a kill to the end of the pipes */

static const char *const END_NAMES[] = {
    [SANDBOX_EXITED] = "exited",
    [SANDBOX_SIGNALED] = "signal",
    [SANDBOX_CPU_LIMIT] = "cpu limit",
    [SANDBOX_WALL_LIMIT] = "time limit",
    [SANDBOX_MEMORY_LIMIT] = "memory limit",
    [SANDBOX_DISK_LIMIT] = "disk limit",
    [SANDBOX_OUTPUT_LIMIT] = "output limit",
    [SANDBOX_PROCESS_LIMIT] = "process limit",
    [SANDBOX_NOT_STARTED] = "not started",
};

const char *sandbox_end_name(enum sandbox_end end)
{
    return END_NAMES[end];
}

bool sandbox_profile_of(const char *name, enum sandbox_profile *out)
{
    *out = strcmp(name, "reduced") == 0 ? SANDBOX_REDUCED : SANDBOX_FULL;
    return *out == SANDBOX_REDUCED || strcmp(name, "full") == 0;
}

struct sandbox_limits sandbox_default_limits(void)
{
    return (struct sandbox_limits){
        .cpu_seconds = 5.0,
        .wall_seconds = 10.0,
        .memory_bytes = (int64_t)512 << 20,
        .disk_bytes = (int64_t)64 << 20,
        .output_bytes = 1 << 20,
        .processes = 32,
        .files = 64,
    };
}

static struct sandbox_limits fill_limits(const struct sandbox_limits *given)
{
    const struct sandbox_limits d = sandbox_default_limits();
    struct sandbox_limits l = *given;
    l.cpu_seconds = l.cpu_seconds > 0.0 ? l.cpu_seconds : d.cpu_seconds;
    l.wall_seconds = l.wall_seconds > 0.0 ? l.wall_seconds : d.wall_seconds;
    l.memory_bytes = l.memory_bytes > 0 ? l.memory_bytes : d.memory_bytes;
    l.disk_bytes = l.disk_bytes > 0 ? l.disk_bytes : d.disk_bytes;
    l.output_bytes = l.output_bytes > 0 ? l.output_bytes : d.output_bytes;
    l.processes = l.processes > 0 ? l.processes : d.processes;
    l.files = l.files > 0 ? l.files : d.files;
    return l;
}

/* Fails with DEVICE when a layer of the profile is missing; names all of them. */
static enum status check_layers(const struct sandbox *s)
{
    char missing[1024] = "";
    for (int i = 0; i < SANDBOX_LAYERS; i++) {
        const enum sandbox_layer layer = (enum sandbox_layer)i;
        const size_t used = strlen(missing);
        if (sandbox_needs(s->profile, layer) && !s->probe.present[i]) {
            (void)snprintf(missing + used, sizeof missing - used, "%s%s (%s)", used ? ", " : "",
                           sandbox_layer_name(layer), s->probe.why[i]);
        }
    }
    if (!*missing) {
        return STATUS_OK;
    }
    if (s->profile == SANDBOX_FULL) {
        return FAIL(DEVICE, "sandbox: profile full is missing: %s; allow it on this machine, or ask "
                            "for sandbox_profile: reduced", missing);
    }
    return FAIL(DEVICE, "sandbox: profile reduced is missing: %s; nothing runs without it",
                missing);
}

enum status sandbox_open(struct sandbox **out, enum sandbox_profile profile)
{
    struct sandbox *s = calloc(1, sizeof *s);
    *out = s;
    if (!s) {
        return FAIL(MEMORY, "sandbox: no memory");
    }
    s->profile = profile;
    enum status status = sandbox_probe(&s->probe);
    if (status == STATUS_OK) {
        status = check_layers(s);
    }
    if (status == STATUS_OK) {
        status = filter_build(&s->filter, &s->filter_count);
    }
    if (status == STATUS_OK) {
        char why[128];
        s->landlock_abi = landlock_abi();
        (void)uid_outside(&s->outside_uid);
        cgroup_open(&s->cgroup, why);
    } else {
        sandbox_close(s);
        *out = NULL;
    }
    return status;
}

void sandbox_close(struct sandbox *s)
{
    if (s) {
        cgroup_close(&s->cgroup);
        free(s->filter);
        free(s);
    }
}

void sandbox_result_close(struct sandbox_result *r)
{
    free(r->out.data);
    free(r->err.data);
    free(r->collected.data);
    *r = (struct sandbox_result){0};
}

/* One run as its supervisor sees it. */
struct run {
    struct sandbox *sandbox;
    const struct sandbox_spec *spec;
    struct sandbox_limits limits;
    char work[WORK_PATH_CAP];
    pid_t keeper;
    int go;            /* -1 once closed */
    int fd[3];         /* report, out, err; -1 at end of file */
    struct sandbox_bytes report;
    double called;
    bool limited;      /* `end` was found by watching */
    enum sandbox_end end;
    int64_t memory;
    double cpu;
};

static enum status check_spec(const struct sandbox_spec *spec)
{
    if (!spec->argv || !spec->argv[0]) {
        return FAIL(USAGE, "sandbox: no program to run");
    }
    if (spec->file_count < 0 || spec->file_count > SANDBOX_MAX_FILES) {
        return FAIL(USAGE, "sandbox: %d files, at most %d", spec->file_count, SANDBOX_MAX_FILES);
    }
    for (int i = 0; i < spec->file_count; i++) {
        const char *name = spec->files[i].name;
        if (!*name || strchr(name, '/') || strcmp(name, ".") == 0 || strcmp(name, "..") == 0
            || strlen(name) > 200) {
            return FAIL(USAGE, "sandbox: '%.60s' is no file name; give it no folder", name);
        }
    }
    return STATUS_OK;
}

/* Reduced: an empty folder of the candidate's user. */
static enum status make_folder(struct run *r)
{
    const char *base = getenv("TMPDIR");
    const uid_t id = r->sandbox->outside_uid;
    (void)snprintf(r->work, sizeof r->work, "%.200s/graft-sandbox-XXXXXX",
                   base && *base == '/' ? base : "/tmp");
    if (!mkdtemp(r->work)) {
        r->work[0] = '\0';
        return FAIL(IO, "sandbox: no working folder in %s: %s", base ? base : "/tmp",
                    strerror(errno));
    }
    if (geteuid() == 0 && chown(r->work, id, id) != 0) {
        return FAIL(DEVICE, "sandbox: %s: cannot give it to user %u: %s", r->work, (unsigned)id,
                    strerror(errno));
    }
    return STATUS_OK;
}

static void remove_folder(const struct run *r)
{
    if (!*r->work) {
        return;
    }
    (void)chmod(r->work, 0700); /* the candidate may have taken it away */
    const int fd = open(r->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0) {
        folder_clear(fd);
        (void)rmdir(r->work);
    }
}

static void close_pair(int pair[2])
{
    for (int i = 0; i < 2; i++) {
        if (pair[i] >= 0) {
            (void)close(pair[i]);
        }
        pair[i] = -1;
    }
}

/* Starts the keeper with its four pipes: go, report, out, err. */
static enum status start_keeper(struct run *r)
{
    static const unsigned long ROOM = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET
                                      | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
    int pipes[4][2] = {{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}};
    enum status status = STATUS_OK;
    for (int i = 0; i < 4 && status == STATUS_OK; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) != 0) {
            status = FAIL(MEMORY, "sandbox: no pipe: %s", strerror(errno));
        }
    }
    /* The keeper is a task of the inside user; a plain user's other tasks count without one. */
    const bool full = r->sandbox->profile == SANDBOX_FULL;
    const int others = full ? 1 : geteuid() == 0 ? 0 : tree_tasks_of(geteuid()) + 1;
    if (status == STATUS_OK) {
        r->keeper = room_fork(full ? ROOM : 0);
        if (r->keeper == 0) {
            (void)close(pipes[0][1]);
            const struct keeper_args args = {
                .sandbox = r->sandbox,
                .spec = r->spec,
                .limits = r->limits,
                .work = r->work,
                .others = others,
                .go = pipes[0][0],
                .report = pipes[1][1],
                .out = pipes[2][1],
                .err = pipes[3][1],
            };
            keeper_main(&args);
        }
        if (r->keeper < 0) {
            status = FAIL(DEVICE, "sandbox: cannot start: %s", strerror(errno));
        }
    }
    if (status == STATUS_OK) {
        r->go = pipes[0][1];
        pipes[0][1] = -1;
        for (int i = 0; i < 3; i++) {
            r->fd[i] = pipes[i + 1][0];
            pipes[i + 1][0] = -1;
            (void)fcntl(r->fd[i], F_SETFL, O_NONBLOCK);
        }
    }
    for (int i = 0; i < 4; i++) {
        close_pair(pipes[i]);
    }
    return status;
}

/* Puts the keeper into its cgroup, maps its user and lets it go. */
static enum status release_keeper(struct run *r)
{
    const struct sandbox *s = r->sandbox;
    if (!cgroup_enter(&s->cgroup, &r->limits, r->keeper)) {
        return FAIL(DEVICE, "sandbox: the cgroup %s takes no process: %s", s->cgroup.memory,
                    strerror(errno));
    }
    if (s->profile == SANDBOX_FULL && !room_map(r->keeper, s->outside_uid)) {
        return FAIL(DEVICE, "sandbox: layer %s is missing: no id map: %s",
                    sandbox_layer_name(SANDBOX_USER_NS), strerror(errno));
    }
    return write(r->go, "g", 1) == 1 ? STATUS_OK : FAIL(DEVICE, "sandbox: the keeper is gone");
}

/* Ends the tree: the namespace's init dies and the kernel kills the rest; without one the keeper
 * hears it and kills. */
static void stop_tree(struct run *r)
{
    if (r->sandbox->profile == SANDBOX_FULL) {
        (void)kill(r->keeper, SIGKILL);
    } else if (r->go >= 0) {
        (void)close(r->go);
        r->go = -1;
    }
}

static void limit(struct run *r, enum sandbox_end end)
{
    if (!r->limited) {
        r->limited = true;
        r->end = end;
        stop_tree(r);
    }
}

/* Appends what the pipe holds. False for no memory; *full when there is more than `cap`. */
static bool drain(int *fd, struct sandbox_bytes *to, size_t cap, bool *full)
{
    char buffer[65536];
    for (;;) {
        const ssize_t n = read(*fd, buffer, sizeof buffer);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0 && errno == EAGAIN) {
            return true;
        }
        if (n <= 0) {
            (void)close(*fd);
            *fd = -1;
            return true;
        }
        const size_t room = cap - to->size;
        const size_t add = (size_t)n < room ? (size_t)n : room;
        *full = *full || (size_t)n > room;
        if (add > 0) {
            char *data = realloc(to->data, to->size + add + 1);
            if (!data) {
                return false;
            }
            memcpy(data + to->size, buffer, add);
            to->data = data;
            to->size += add;
            data[to->size] = '\0';
        }
    }
}

/* Looks at the tree; stops it when it is over a limit. */
static void tick(struct run *r)
{
    struct tree_sum sum;
    if (!tree_measure(r->keeper, &sum)) {
        return;
    }
    r->memory = sum.memory_bytes > r->memory ? sum.memory_bytes : r->memory;
    r->cpu = sum.cpu_seconds > r->cpu ? sum.cpu_seconds : r->cpu;
    if (sum.cpu_seconds > r->limits.cpu_seconds) {
        limit(r, SANDBOX_CPU_LIMIT);
    }
    if (sum.memory_bytes > r->limits.memory_bytes) {
        limit(r, SANDBOX_MEMORY_LIMIT);
    }
    if (sum.tasks > r->limits.processes + 1) {
        limit(r, SANDBOX_PROCESS_LIMIT);
    }
    if (r->sandbox->profile == SANDBOX_REDUCED) {
        const int fd = open(r->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        const int64_t bytes = fd >= 0 ? folder_bytes(fd) : 0;
        if (bytes < 0 || bytes > r->limits.disk_bytes) {
            limit(r, SANDBOX_DISK_LIMIT);
        }
    }
}

/* Reads the pipes and watches until all three are at their end. */
static enum status supervise(struct run *r, struct sandbox_result *out)
{
    const size_t report_cap = sizeof(struct keeper_report) + r->spec->collect_bytes;
    struct sandbox_bytes *const to[3] = {&r->report, &out->out, &out->err};
    const size_t caps[3] = {report_cap, (size_t)r->limits.output_bytes,
                            (size_t)r->limits.output_bytes};
    double next = r->called + FIRST_TICK;
    double deadline = r->called + r->limits.wall_seconds;
    while (r->fd[0] >= 0 || r->fd[1] >= 0 || r->fd[2] >= 0) {
        struct pollfd wait[3];
        const double now = clock_seconds();
        if (now > deadline && r->limited) { /* a keeper that does not obey */
            tree_kill(r->keeper);
            (void)kill(r->keeper, SIGKILL);
            break;
        }
        if (now > deadline) {
            limit(r, SANDBOX_WALL_LIMIT);
            deadline = now + GRACE;
        }
        if (now > next && !r->limited) {
            tick(r);
            deadline = r->limited ? now + GRACE : deadline;
            next = now + TICK;
        }
        for (int i = 0; i < 3; i++) {
            wait[i] = (struct pollfd){.fd = r->fd[i], .events = POLLIN};
        }
        const double until = next < deadline && !r->limited ? next : deadline;
        const double left = until - now;
        if (poll(wait, 3, left > 0.0 ? (int)(left * 1000.0) + 1 : 0) < 0 && errno != EINTR) {
            return FAIL(INTERNAL, "sandbox: poll: %s", strerror(errno));
        }
        for (int i = 0; i < 3; i++) {
            bool full = false;
            if (r->fd[i] >= 0 && !drain(&r->fd[i], to[i], caps[i], &full)) {
                return FAIL(MEMORY, "sandbox: no memory for the output");
            }
            if (full && !r->limited) {
                limit(r, SANDBOX_OUTPUT_LIMIT);
                deadline = clock_seconds() + GRACE;
            }
        }
    }
    return STATUS_OK;
}

static double seconds_of(const struct rusage *use)
{
    return (double)(use->ru_utime.tv_sec + use->ru_stime.tv_sec)
           + 1e-6 * (double)(use->ru_utime.tv_usec + use->ru_stime.tv_usec);
}

/* What a candidate that ended by itself ran into, if anything. */
static enum sandbox_end end_of(const struct run *r, const struct keeper_report *k)
{
    if (!k->signaled) {
        return SANDBOX_EXITED;
    }
    if (k->code == SIGXCPU || (k->code == SIGKILL && k->cpu >= r->limits.cpu_seconds)) {
        return SANDBOX_CPU_LIMIT;
    }
    return k->code == SIGXFSZ ? SANDBOX_DISK_LIMIT : SANDBOX_SIGNALED;
}

static enum status take_report(struct run *r, struct sandbox_result *out)
{
    struct keeper_report k;
    if (r->report.size < sizeof k) {
        return FAIL(DEVICE, "sandbox: the keeper ended without a report");
    }
    memcpy(&k, r->report.data, sizeof k);
    if (k.stage >= 0 && k.stage != STAGE_EXEC) {
        const char *layer = k.stage < SANDBOX_LAYERS
                                ? sandbox_layer_name((enum sandbox_layer)k.stage)
                            : k.stage == STAGE_LIMITS ? "resource limits"
                            : k.stage == STAGE_FORK   ? "a process"
                                                      : "files of the candidate";
        return FAIL(DEVICE, "sandbox: layer missing: %s: %s", layer, strerror(k.error));
    }
    out->end = k.stage == STAGE_EXEC ? SANDBOX_NOT_STARTED : end_of(r, &k);
    out->code = k.stage == STAGE_EXEC ? k.error : k.code;
    out->start_seconds = k.started - r->called;
    out->wall_seconds = k.wall;
    out->cpu_seconds = k.cpu;
    out->memory_bytes = k.memory > r->memory ? k.memory : r->memory;
    if (k.collected >= 0 && r->report.size == sizeof k + (size_t)k.collected) {
        memmove(r->report.data, r->report.data + sizeof k, (size_t)k.collected);
        r->report.data[k.collected] = '\0';
        out->collected = (struct sandbox_bytes){r->report.data, (size_t)k.collected};
        r->report = (struct sandbox_bytes){0};
    }
    return STATUS_OK;
}

/* Ends and reaps the keeper; the whole tree is gone when this returns. */
static void end_keeper(struct run *r)
{
    struct rusage use;
    if (r->keeper <= 0) {
        return;
    }
    if (r->go >= 0) {
        (void)close(r->go);
        r->go = -1;
    }
    if (r->sandbox->profile == SANDBOX_FULL) {
        (void)kill(r->keeper, SIGKILL); /* it has told all there is */
    }
    while (wait4(r->keeper, NULL, 0, &use) < 0 && errno == EINTR) {
    }
    r->cpu = seconds_of(&use) > r->cpu ? seconds_of(&use) : r->cpu;
}

enum status sandbox_run(struct sandbox *s, const struct sandbox_spec *spec,
                        struct sandbox_result *out)
{
    *out = (struct sandbox_result){0};
    TRY(check_spec(spec));
    struct run r = {
        .sandbox = s,
        .spec = spec,
        .limits = fill_limits(&spec->limits),
        .go = -1,
        .fd = {-1, -1, -1},
        .called = clock_seconds(),
    };
    enum status status = s->profile == SANDBOX_REDUCED ? make_folder(&r) : STATUS_OK;
    if (status == STATUS_OK) {
        status = start_keeper(&r);
    }
    if (status == STATUS_OK) {
        status = release_keeper(&r);
    }
    if (status == STATUS_OK) {
        status = supervise(&r, out);
    }
    end_keeper(&r);
    const bool oom = cgroup_killed(&s->cgroup);
    if (status == STATUS_OK && (r.limited || oom)) {
        out->end = oom ? SANDBOX_MEMORY_LIMIT : r.end;
        out->wall_seconds = clock_seconds() - r.called;
        out->cpu_seconds = r.cpu;
        out->memory_bytes = r.memory;
    } else if (status == STATUS_OK) {
        status = take_report(&r, out);
    }
    for (int i = 0; i < 3; i++) {
        if (r.fd[i] >= 0) {
            (void)close(r.fd[i]);
        }
    }
    free(r.report.data);
    remove_folder(&r);
    return status;
}
