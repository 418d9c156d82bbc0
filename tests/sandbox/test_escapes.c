/*
 * The escape attempts of attacks.c, each in its own sandbox run, as root and as a plain user, in
 * both profiles. After each one the host looks at what it must still have and must not have: a
 * process of its own alive, no process left behind, no folder left behind, the verdict's true code.
 * Where a profile is refused (a container that forbids new namespaces), the refusal is checked.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "eval/sandbox/sandbox.h"
#include "eval/sandbox/sandbox_internal.h"
#include "kernels/base/clock.h"

#define BIT(end) (1u << (end))
#define EXIT BIT(SANDBOX_EXITED)
#define SIGNAL BIT(SANDBOX_SIGNALED)
#define CPU BIT(SANDBOX_CPU_LIMIT)
#define WALL BIT(SANDBOX_WALL_LIMIT)
#define MEMORY BIT(SANDBOX_MEMORY_LIMIT)
#define DISK BIT(SANDBOX_DISK_LIMIT)
#define OUTPUT BIT(SANDBOX_OUTPUT_LIMIT)
#define PROCESS BIT(SANDBOX_PROCESS_LIMIT)

static const double LONGEST = 3.0; /* seconds of any one attack, on a busy machine */

struct row {
    const char *name;
    unsigned ends;  /* how the run may end */
    int code;       /* exit status or signal, when it ends so */
    bool harmless;  /* succeeds outside, where it is run as well */
};

static const struct row ROWS[] = {
    {.name = "fork_bomb", .ends = PROCESS | CPU | WALL | MEMORY},
    {.name = "fork_count", .ends = EXIT | PROCESS},
    {.name = "thread_swarm", .ends = EXIT | PROCESS},
    {.name = "memory_hog", .ends = EXIT | MEMORY | SIGNAL, .code = SIGKILL},
    {.name = "memory_by_forks", .ends = MEMORY},
    {.name = "memory_shared", .ends = MEMORY},
    {.name = "memory_locked", .ends = EXIT},
    {.name = "disk_fill", .ends = EXIT | DISK},
    {.name = "many_files", .ends = EXIT | DISK | CPU | WALL},
    {.name = "deep_folders", .ends = EXIT | DISK | CPU | WALL},
    {.name = "locked_folder", .ends = EXIT | DISK},
    {.name = "proc_read", .ends = EXIT, .harmless = true},
    {.name = "sys_read", .ends = EXIT, .harmless = true},
    {.name = "ptrace_parent", .ends = EXIT},
    {.name = "ptrace_child", .ends = EXIT, .harmless = true},
    {.name = "network_tcp", .ends = EXIT, .harmless = true},
    {.name = "network_udp", .ends = EXIT, .harmless = true},
    {.name = "network_raw", .ends = EXIT},
    {.name = "network_other", .ends = EXIT, .harmless = true},
    {.name = "unix_abstract", .ends = EXIT, .harmless = true},
    {.name = "unix_datagram_pair", .ends = EXIT, .harmless = true},
    {.name = "unix_named_by_pair", .ends = EXIT},
    {.name = "signal_parent", .ends = EXIT},
    {.name = "signal_everyone", .ends = EXIT},
    {.name = "symlink_out", .ends = EXIT},
    {.name = "hard_link", .ends = EXIT},
    {.name = "descriptors", .ends = EXIT, .harmless = true},
    {.name = "io_uring", .ends = EXIT},
    {.name = "nested_user", .ends = EXIT, .harmless = true},
    {.name = "nested_each", .ends = EXIT, .harmless = true},
    {.name = "nested_clone3", .ends = EXIT, .harmless = true},
    {.name = "join_namespace", .ends = EXIT},
    {.name = "expected_answer", .ends = EXIT, .harmless = true},
    {.name = "forge_verdict", .ends = EXIT, .code = 7},
    {.name = "flood_stdout", .ends = OUTPUT},
    {.name = "flood_stderr", .ends = OUTPUT},
    {.name = "sleep_long", .ends = WALL},
    {.name = "spin", .ends = CPU | WALL},
    {.name = "spin_by_forks", .ends = CPU | WALL},
    {.name = "spin_by_generations", .ends = CPU | WALL},
    {.name = "ignore_signals", .ends = CPU | WALL},
    {.name = "leave_daemon", .ends = EXIT},
    {.name = "hold_pipes", .ends = EXIT},
    {.name = "mounts", .ends = EXIT},
    {.name = "keys", .ends = EXIT},
    {.name = "bpf", .ends = EXIT},
    {.name = "perf_events", .ends = EXIT},
    {.name = "userfault", .ends = EXIT},
    {.name = "kexec_reboot", .ends = EXIT},
    {.name = "sysctls", .ends = EXIT},
    {.name = "modules", .ends = EXIT},
    {.name = "swap_quota", .ends = EXIT},
    {.name = "become_root", .ends = EXIT},
    {.name = "setuid_binary", .ends = EXIT, .harmless = true},
    {.name = "file_capabilities", .ends = EXIT},
    {.name = "devices", .ends = EXIT},
    {.name = "sysv_ipc", .ends = EXIT},
    {.name = "raise_limits", .ends = EXIT},
    {.name = "limits_of_others", .ends = EXIT, .harmless = true},
    {.name = "chroot_out", .ends = EXIT},
    {.name = "memfd_exec", .ends = EXIT, .harmless = true},
    {.name = "exec_at", .ends = EXIT, .harmless = true},
    {.name = "read_parent", .ends = EXIT, .harmless = true},
    {.name = "pidfds", .ends = EXIT, .harmless = true},
    {.name = "core_dump", .ends = EXIT},
    {.name = "fifo_block", .ends = WALL},
    {.name = "huge_arguments", .ends = EXIT},
    {.name = "starve_on_stdin", .ends = EXIT},
    {.name = "zombie_swarm", .ends = EXIT | PROCESS | CPU | WALL},
    {.name = "orphan_swarm", .ends = EXIT | CPU | WALL}, /* 600 forks take long on a busy machine */
    {.name = "clock_change", .ends = EXIT},
    {.name = "priorities", .ends = EXIT, .harmless = true},
    {.name = "host_files", .ends = EXIT, .harmless = true},
    {.name = "write_host", .ends = EXIT},
    {.name = "beside_the_folder", .ends = EXIT},
    {.name = "file_handles", .ends = EXIT},
    {.name = "other_abi", .ends = SIGNAL, .code = SIGSYS},
    {.name = "x32_abi", .ends = EXIT | SIGNAL, .code = SIGSYS},
    {.name = "push_terminal", .ends = EXIT},
    {.name = "undo_layers", .ends = EXIT, .harmless = true},
    {.name = "watch_files", .ends = EXIT, .harmless = true},
    {.name = "personality_change", .ends = EXIT, .harmless = true},
    {.name = "many_descriptors", .ends = EXIT},
    {.name = "pipe_memory", .ends = EXIT | MEMORY},
    {.name = "file_size", .ends = EXIT | SIGNAL | DISK, .code = SIGXFSZ},
    {.name = "stack_overflow", .ends = SIGNAL, .code = SIGSEGV},
};

enum { ROW_COUNT = sizeof ROWS / sizeof *ROWS, PLAIN_USER = 65534 };

static const char SECRET[] = "EXPECTED-5f3a9b";
static char secret_file[] = "/tmp/graft-secret-XXXXXX";
static char folders[] = "/tmp/graft-escapes-XXXXXX"; /* where this test's sandboxes work */
static struct sandbox_bytes attacks; /* the built program */

/* What the host must keep; kept out of the sandbox by closing or by not being visible there. */
struct host {
    pid_t sentinel;
    int open_file; /* without FD_CLOEXEC */
};

static int read_file(const char *path, struct sandbox_bytes *out)
{
    struct stat info;
    const int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &info) != 0) {
        return -1;
    }
    out->data = malloc((size_t)info.st_size + 1);
    out->size = out->data && read(fd, out->data, (size_t)info.st_size) == info.st_size
                    ? (size_t)info.st_size
                    : 0;
    close(fd);
    return out->size > 0 ? 0 : -1;
}

/* Builds attacks.c natively: the candidates are C programs, whoever compiled them. */
static int build_attacks(void **state)
{
    (void)state;
    char command[1024];
    char built[] = "/tmp/graft-attacks-XXXXXX";
    const char *source = getenv("GRAFT_SOURCE");
    const int fd = mkstemp(built);
    if (fd < 0) {
        return -1;
    }
    close(fd);
    (void)snprintf(command, sizeof command, "gcc -O1 -w -o %s %s/tests/sandbox/attacks.c -pthread",
                   built, source ? source : ".");
    const int rc = system(command) == 0 ? read_file(built, &attacks) : -1;
    unlink(built);
    const int secret = mkstemp(secret_file);
    if (secret < 0 || write(secret, SECRET, sizeof SECRET) < 0 || fchmod(secret, 0644) != 0) {
        return -1;
    }
    close(secret);
    if (!mkdtemp(folders) || chmod(folders, 01777) != 0 || setenv("TMPDIR", folders, 1) != 0) {
        return -1;
    }
    return setenv("GRAFT_TEST_ANSWER", SECRET, 1) == 0 ? rc : -1;
}

static int remove_attacks(void **state)
{
    (void)state;
    unlink(secret_file);
    rmdir(folders);
    free(attacks.data);
    return 0;
}

static struct sandbox_limits tight(void)
{
    return (struct sandbox_limits){
        .cpu_seconds = 0.4,
        .wall_seconds = 0.8,
        .memory_bytes = (int64_t)128 << 20,
        .disk_bytes = 4 << 20,
        .output_bytes = 64 << 10,
        .processes = 16,
        .files = 32,
    };
}

/* Working folders that are still there. */
static int folders_left(void)
{
    int count = 0;
    DIR *dir = opendir(folders);
    for (struct dirent *d = dir ? readdir(dir) : NULL; d; d = readdir(dir)) {
        count += d->d_name[0] != '.';
    }
    if (dir) {
        closedir(dir);
    }
    return count;
}

static const char *text(const struct sandbox_bytes *b)
{
    return b->data ? b->data : "";
}

/* True when the row held; else says what it did. */
static bool try_row(struct sandbox *s, const struct row *row, const struct host *host)
{
    const struct sandbox_file file = {"main", attacks.data, attacks.size, true};
    const char *argv[] = {"./main", row->name, NULL};
    const struct sandbox_spec spec = {
        .argv = argv, .files = &file, .file_count = 1, .limits = tight()};
    struct sandbox_result r;
    const double start = clock_seconds();
    const enum status status = sandbox_run(s, &spec, &r);
    const double took = clock_seconds() - start;
    struct tree_sum tree;
    const char *problem = NULL;
    if (status != STATUS_OK) {
        problem = status_message();
    } else if (strstr(text(&r.out), "ESCAPED")) {
        problem = "it escaped";
    } else if (!(BIT(r.end) & row->ends)) {
        problem = "another end than expected";
    } else if ((r.end == SANDBOX_EXITED || r.end == SANDBOX_SIGNALED) && r.code != row->code
               && !(row->ends & (EXIT | MEMORY) && r.end == SANDBOX_SIGNALED)
               && !(row->ends & EXIT && r.code == 0)) {
        problem = "another code than expected";
    } else if (r.end == SANDBOX_EXITED && row->code == 0 && !strstr(text(&r.out), "contained")) {
        problem = "it did not report";
    } else if (r.out.size > (64 << 10) || r.err.size > (64 << 10)) {
        problem = "more output than allowed";
    } else if (took > LONGEST) {
        problem = "it took too long";
    } else if (kill(host->sentinel, 0) != 0) {
        problem = "it killed a process of the host";
    } else if (!tree_measure(getpid(), &tree) || tree.tasks != 2) {
        problem = "it left processes behind"; /* 2: this process and the sentinel */
    } else if (folders_left() != 0) {
        problem = "it left its folder behind";
    }
    if (problem) {
        print_message("%s: %s (%s %d, %.2f s) out \"%.200s\" err \"%.200s\"\n", row->name, problem,
                      sandbox_end_name(r.end), r.code, took, text(&r.out), text(&r.err));
    }
    sandbox_result_close(&r);
    return problem == NULL;
}

/* All rows in one profile, in this process and as its user. Returns the number that failed. */
static int try_all(enum sandbox_profile profile)
{
    struct sandbox *s;
    struct host host = {.sentinel = fork()};
    if (host.sentinel == 0) {
        for (;;) {
            pause();
        }
    }
    host.open_file = open(secret_file, O_RDONLY); /* leaks into children unless they close it */
    int failed = 0;
    if (sandbox_open(&s, profile) == STATUS_OK) {
        for (int i = 0; i < ROW_COUNT; i++) {
            failed += try_row(s, &ROWS[i], &host) ? 0 : 1;
        }
        sandbox_close(s);
    } else {
        print_message("profile refused here, its attacks are not run: %s\n", status_message());
        failed = strstr(status_message(), "is missing: ") ? 0 : 1;
    }
    close(host.open_file);
    kill(host.sentinel, SIGKILL);
    waitpid(host.sentinel, NULL, 0);
    return failed;
}

/* try_all in a child, as a plain user when asked for. */
static void try_as(enum sandbox_profile profile, bool plain)
{
    if (plain && geteuid() != 0) {
        skip(); /* this process is a plain user already */
    }
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (plain
            && (setgroups(0, NULL) != 0 || setresgid(PLAIN_USER, PLAIN_USER, PLAIN_USER) != 0
                || setresuid(PLAIN_USER, PLAIN_USER, PLAIN_USER) != 0
                || prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) != 0)) { /* as after a login */
            _exit(99);
        }
        const int failed = try_all(profile);
        _exit(failed > 90 ? 90 : failed);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void full_profile_holds(void **state)
{
    (void)state;
    try_as(SANDBOX_FULL, false);
}

static void full_profile_holds_for_a_plain_user(void **state)
{
    (void)state;
    try_as(SANDBOX_FULL, true);
}

static void reduced_profile_holds(void **state)
{
    (void)state;
    try_as(SANDBOX_REDUCED, false);
}

static void reduced_profile_holds_for_a_plain_user(void **state)
{
    (void)state;
    try_as(SANDBOX_REDUCED, true);
}

/* Outside, the harmless attacks succeed, or nearly all: a container forbids some itself. */
static void attacks_work_outside(void **state)
{
    (void)state;
    char path[] = "/tmp/graft-attack-XXXXXX";
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, attacks.data, attacks.size) == (ssize_t)attacks.size);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    int harmless = 0;
    int escaped = 0;
    for (int i = 0; i < ROW_COUNT; i++) {
        char command[256];
        char said[64] = "";
        if (!ROWS[i].harmless) {
            continue;
        }
        (void)snprintf(command, sizeof command, "exec 9</dev/null; cd /usr && %s %s 2>/dev/null",
                       path, ROWS[i].name);
        FILE *out = popen(command, "r");
        assert_non_null(out);
        (void)!fgets(said, sizeof said, out);
        pclose(out);
        harmless++;
        escaped += strcmp(said, "ESCAPED\n") == 0;
        if (strcmp(said, "ESCAPED\n") != 0) {
            print_message("%s does not work outside either\n", ROWS[i].name);
        }
    }
    unlink(path);
    assert_true(2 * escaped >= harmless);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(attacks_work_outside),
        cmocka_unit_test(full_profile_holds),
        cmocka_unit_test(full_profile_holds_for_a_plain_user),
        cmocka_unit_test(reduced_profile_holds),
        cmocka_unit_test(reduced_profile_holds_for_a_plain_user),
    };
    return cmocka_run_group_tests(tests, build_attacks, remove_attacks);
}
