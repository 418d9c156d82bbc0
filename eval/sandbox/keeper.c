/*
 * The keeper: pid 1 of the candidate's pid namespace (full), or its subreaper (reduced). It runs
 * only this file's code, never the candidate's; it holds the pipe of the verdict, which the
 * candidate does not have, and ends the whole tree before it tells the verdict.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"
#include "kernels/base/clock.h"

/* The keeper's descriptors after keep_descriptors; the candidate's error pipe is ERROR_FD there. */
enum { GO_FD = 3, REPORT_FD = 4, OUT_FD = 5, ERR_FD = 6, FIRST_FREE_FD = 7, ERROR_FD = 3 };

enum { ENV_FIXED = 4, GRACE_SECONDS = 2 };

struct candidate_failure {
    int stage;
    int error;
};

/* glibc tells the other threads of a process about a change of ids; the keeper is a copy of one
 * thread alone, so it asks the kernel itself. For the same reason nothing here allocates. */
static int change_user(uid_t real, uid_t effective, uid_t saved)
{
    return (int)syscall(SYS_setresuid, real, effective, saved);
}

static int change_group(gid_t id)
{
    return (int)syscall(SYS_setresgid, id, id, id);
}

static int drop_groups(void)
{
    return (int)syscall(SYS_setgroups, 0, NULL);
}

static void write_all(int fd, const void *data, size_t size)
{
    const char *at = data;
    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR) {
            return;
        }
        at += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
}

static void fail(int stage) __attribute__((noreturn));

static void fail(int stage)
{
    const struct keeper_report report = {.stage = stage, .error = errno, .collected = -1};
    write_all(REPORT_FD, &report, sizeof report);
    _exit(1);
}

/* Leaves the keeper with its four pipes and /dev/null; nothing the caller had open gets through. */
static void keep_descriptors(const struct keeper_args *k)
{
    const int have[] = {k->go, k->report, k->out, k->err};
    int high[4];
    for (int i = 0; i < 4; i++) {
        high[i] = fcntl(have[i], F_DUPFD, 16);
    }
    for (int i = 0; i < 4; i++) {
        if (high[i] < 0 || dup2(high[i], GO_FD + i) < 0) {
            _exit(1);
        }
    }
    (void)close_range(FIRST_FREE_FD, ~0U, 0);
    const int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0) {
        fail(STAGE_FILES);
    }
    (void)close(null);
}

static void reset_signals(void)
{
    for (int s = 1; s < NSIG; s++) {
        (void)signal(s, SIG_DFL);
    }
}

/* Full: the new root, as the inside user, then without capabilities. */
static void enter_room(const struct keeper_args *k)
{
    char go;
    if (read(GO_FD, &go, 1) != 1) {
        _exit(1);
    }
    if (k->sandbox->outside_uid != geteuid() && drop_groups() != 0 && errno != EPERM) {
        fail(SANDBOX_UID);
    }
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) != 0 || change_group(INSIDE_UID) != 0
        || change_user(INSIDE_UID, INSIDE_UID, INSIDE_UID) != 0) {
        fail(SANDBOX_UID);
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (sethostname("sandbox", 7) != 0 || root_build(k->limits.disk_bytes) != 0
        || chdir(SANDBOX_BOX) != 0) {
        fail(SANDBOX_ROOT);
    }
    if (caps_unbound() != 0 || caps_drop() != 0) {
        fail(SANDBOX_UID);
    }
}

static void enter_folder(const struct keeper_args *k)
{
    char go;
    if (read(GO_FD, &go, 1) != 1) {
        _exit(1);
    }
    if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0 || chdir(k->work) != 0) {
        fail(STAGE_FILES);
    }
}

static void put_file(const char *name, const void *data, size_t size, mode_t mode)
{
    const int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0) {
        fail(STAGE_FILES);
    }
    const char *at = data;
    while (size > 0) {
        const ssize_t n = write(fd, at, size);
        if (n < 0 && errno != EINTR) {
            fail(STAGE_FILES);
        }
        at += n > 0 ? n : 0;
        size -= n > 0 ? (size_t)n : 0;
    }
    (void)close(fd);
}

/* Puts the files; returns what stdin shall read. */
static int put_files(const struct sandbox_spec *spec)
{
    static const char INPUT[] = ".stdin";
    for (int i = 0; i < spec->file_count; i++) {
        const struct sandbox_file *f = &spec->files[i];
        put_file(f->name, f->data, f->size, f->executable ? 0755 : 0644);
    }
    if (spec->input_size == 0) {
        return open("/dev/null", O_RDONLY | O_CLOEXEC);
    }
    put_file(INPUT, spec->input, spec->input_size, 0400);
    const int fd = open(INPUT, O_RDONLY | O_CLOEXEC);
    (void)unlink(INPUT);
    return fd;
}

static void candidate_fail(int stage) __attribute__((noreturn));

static void candidate_fail(int stage)
{
    const struct candidate_failure failure = {.stage = stage, .error = errno};
    write_all(ERROR_FD, &failure, sizeof failure);
    _exit(127);
}

static void candidate_exec(const struct keeper_args *k)
{
    const char *work = k->sandbox->profile == SANDBOX_FULL ? SANDBOX_BOX : k->work;
    char home[WORK_PATH_CAP + 8];
    char tmp[WORK_PATH_CAP + 8];
    const char *env[ENV_FIXED + SANDBOX_MAX_ARGS + 1] = {
        "PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", home, tmp};
    (void)snprintf(home, sizeof home, "HOME=%s", work);
    (void)snprintf(tmp, sizeof tmp, "TMPDIR=%s", work);
    for (int i = 0; k->spec->env && k->spec->env[i] && i < SANDBOX_MAX_ARGS; i++) {
        env[ENV_FIXED + i] = k->spec->env[i];
    }
    (void)execve(k->spec->argv[0], (char *const *)(uintptr_t)k->spec->argv,
                 (char *const *)(uintptr_t)env);
    candidate_fail(STAGE_EXEC);
}

/* Between fork and execve: every layer that sits on the candidate alone. */
static void candidate_main(const struct keeper_args *k, int input, int errors)
    __attribute__((noreturn));

static void candidate_main(const struct keeper_args *k, int input, int errors)
{
    const struct sandbox *s = k->sandbox;
    const bool full = s->profile == SANDBOX_FULL;
    (void)setsid();
    if (dup2(input, 0) < 0 || dup2(OUT_FD, 1) < 0 || dup2(ERR_FD, 2) < 0
        || dup3(errors, ERROR_FD, O_CLOEXEC) < 0) {
        _exit(127);
    }
    (void)close_range(ERROR_FD + 1, ~0U, 0);
    reset_signals();
    sigset_t none;
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)umask(022);
    if (limits_apply(&k->limits, k->others) != 0) {
        candidate_fail(STAGE_LIMITS);
    }
    if (!full && geteuid() == 0) {
        const uid_t id = s->outside_uid;
        if (drop_groups() != 0 || caps_unbound() != 0 || change_group(id) != 0
            || change_user(id, id, id) != 0) {
            candidate_fail(SANDBOX_UID);
        }
    }
    if (caps_drop() != 0 || getuid() == 0 || geteuid() == 0) {
        candidate_fail(SANDBOX_UID);
    }
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0
        || landlock_apply(s->landlock_abi, s->profile, full ? SANDBOX_BOX : k->work) != 0) {
        candidate_fail(SANDBOX_LANDLOCK);
    }
    if (filter_apply(s) != 0) {
        candidate_fail(SANDBOX_SECCOMP);
    }
    candidate_exec(k);
    _exit(127);
}

/* Starts the candidate; on return it runs its own program, or *report says why not. */
static pid_t start(const struct keeper_args *k, struct keeper_report *report)
{
    const int input = put_files(k->spec);
    int errors[2];
    if (input < 0 || pipe2(errors, O_CLOEXEC) != 0) {
        fail(STAGE_FILES);
    }
    const pid_t pid = room_fork(0);
    if (pid < 0) {
        fail(STAGE_FORK);
    }
    if (pid == 0) {
        candidate_main(k, input, errors[1]);
    }
    (void)close(errors[1]);
    (void)close(input);
    (void)close(OUT_FD);
    (void)close(ERR_FD);
    struct candidate_failure failure;
    if (read(errors[0], &failure, sizeof failure) == (ssize_t)sizeof failure) {
        report->stage = failure.stage;
        report->error = failure.error;
    }
    (void)close(errors[0]);
    report->started = clock_seconds();
    return pid;
}

/* Reaps what has ended. True when `main` is among it, with its status in *status. */
static bool reap(pid_t main, struct keeper_report *report, int *status, bool *none)
{
    bool found = false;
    for (;;) {
        struct rusage use;
        int code;
        const pid_t pid = wait4(-1, &code, WNOHANG | __WALL, &use);
        *none = pid < 0 && errno == ECHILD;
        if (pid <= 0) {
            return found;
        }
        report->cpu += (double)(use.ru_utime.tv_sec + use.ru_stime.tv_sec)
                       + 1e-6 * (double)(use.ru_utime.tv_usec + use.ru_stime.tv_usec);
        const int64_t bytes = (int64_t)use.ru_maxrss * 1024;
        report->memory = bytes > report->memory ? bytes : report->memory;
        if (pid == main) {
            *status = code;
            found = true;
        }
    }
}

/* Sends SIGKILL to everything the candidate left. */
static void kill_rest(const struct keeper_args *k)
{
    if (k->sandbox->profile == SANDBOX_FULL) {
        (void)kill(-1, SIGKILL); /* everything in this pid namespace but its pid 1 */
        return;
    }
    if (geteuid() != 0) {
        tree_kill(getpid());
        return;
    }
    /* As the candidate's user, but reached by nobody: the real id is the spare one next to it. No
     * fork, for which a swarm leaves no room. */
    const uid_t id = k->sandbox->outside_uid;
    if (change_user(id + 1, id, 0) == 0) {
        (void)kill(-1, SIGKILL);
        (void)change_user(0, 0, 0);
    }
}

/* Waits for `main`, its time, or the word to stop. True when `main` ended by itself. */
static bool wait_main(const struct keeper_args *k, pid_t main, struct keeper_report *report,
                      int *status)
{
    sigset_t child;
    (void)sigemptyset(&child);
    (void)sigaddset(&child, SIGCHLD);
    const int signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    const double deadline = clock_seconds() + k->limits.wall_seconds + GRACE_SECONDS;
    bool none = false;
    while (!reap(main, report, status, &none)) {
        struct pollfd wait[2] = {{.fd = signals, .events = POLLIN},
                                 {.fd = GO_FD, .events = POLLIN}};
        const int left = (int)(1000.0 * (deadline - clock_seconds()));
        if (left <= 0 || poll(wait, 2, left) < 0 || wait[1].revents) {
            return false;
        }
        struct signalfd_siginfo drop;
        while (read(signals, &drop, sizeof drop) > 0) {
        }
    }
    return true;
}

/* Ends what is left and reaps it, for a short time. */
static void clear(const struct keeper_args *k, struct keeper_report *report)
{
    const double deadline = clock_seconds() + GRACE_SECONDS;
    int status;
    bool none = false;
    while (!none && clock_seconds() < deadline) {
        (void)reap(0, report, &status, &none);
        if (!none) {
            kill_rest(k);
            (void)poll(NULL, 0, 1);
        }
    }
}

/* Sends the report and, behind it, the file to collect. */
static void send_report(const struct keeper_args *k, struct keeper_report *report)
{
    int fd = -1;
    struct stat info;
    report->collected = -1;
    if (k->spec->collect && report->stage < 0) {
        fd = open(k->spec->collect, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
        if (fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)
            && info.st_size <= (off_t)k->spec->collect_bytes) {
            report->collected = info.st_size;
        }
    }
    write_all(REPORT_FD, report, sizeof *report);
    char buffer[16384];
    for (int64_t left = report->collected; left > 0;) {
        const ssize_t n = read(fd, buffer, sizeof buffer);
        if (n <= 0) {
            break;
        }
        write_all(REPORT_FD, buffer, (size_t)n);
        left -= n;
    }
}

void keeper_main(const struct keeper_args *k)
{
    sigset_t all;
    (void)sigfillset(&all);
    (void)sigprocmask(SIG_SETMASK, &all, NULL);
    reset_signals();
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    keep_descriptors(k);
    if (k->sandbox->profile == SANDBOX_FULL) {
        enter_room(k);
    } else {
        (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0); /* it must outlive its parent to clear up */
        enter_folder(k);
    }
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    struct keeper_report report = {.stage = -1};
    int status = 0;
    const pid_t main = start(k, &report);
    const bool ended = wait_main(k, main, &report, &status);
    report.wall = clock_seconds() - report.started;
    clear(k, &report);
    if (!ended && report.stage < 0) {
        _exit(1); /* stopped: the supervisor knows why */
    }
    report.signaled = WIFSIGNALED(status);
    report.code = report.signaled ? WTERMSIG(status) : WEXITSTATUS(status);
    send_report(k, &report);
    _exit(0);
}
