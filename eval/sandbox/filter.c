/*
 * The seccomp allow-list. What interpreters, compilers and plain programs use is allowed;
 * everything else fails with EPERM, so that a program which probes for a feature goes on without
 * it. Built once with libseccomp, which also refuses the other calling conventions of the machine.
 */
#include <errno.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

/* Calls that are allowed whatever their arguments. */
static const char *const PLAIN[] = {
    "read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2",
    "pwritev2", "open", "openat", "openat2", "creat", "close", "close_range", "stat", "fstat",
    "lstat", "newfstatat", "statx", "lseek", "mmap", "mprotect", "munmap", "brk", "mremap",
    "madvise", "msync", "mincore", "pkey_alloc", "pkey_free", "pkey_mprotect", "rt_sigaction",
    "rt_sigprocmask", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait", "rt_sigpending",
    "sigaltstack", "access", "faccessat", "faccessat2", "pipe", "pipe2", "select", "pselect6",
    "poll", "ppoll", "epoll_create", "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait",
    "epoll_pwait2", "eventfd", "eventfd2", "timerfd_create", "timerfd_settime", "timerfd_gettime",
    "signalfd", "signalfd4", "sched_yield", "sched_getaffinity", "sched_getparam",
    "sched_getscheduler", "sched_get_priority_max", "sched_get_priority_min", "dup", "dup2", "dup3",
    "pause", "nanosleep", "clock_nanosleep", "getitimer", "setitimer", "alarm", "timer_create",
    "timer_settime", "timer_gettime", "timer_delete", "timer_getoverrun", "getpid", "gettid",
    "getppid", "getuid", "geteuid", "getgid", "getegid", "getgroups", "getresuid", "getresgid",
    "getpgid", "getpgrp", "getsid", "setsid", "setpgid", "getpriority", "sendfile",
    "copy_file_range", "splice", "tee", "recvfrom", "recvmsg", "sendmsg", "shutdown", "getsockopt",
    "getsockname", "getpeername", "fork", "vfork", "execve", "exit", "exit_group", "wait4",
    "waitid", "kill", "tkill", "tgkill", "uname", "fcntl", "flock", "fsync", "fdatasync",
    "truncate", "ftruncate", "fallocate", "fadvise64", "getdents", "getdents64", "getcwd", "chdir",
    "fchdir", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "link", "linkat",
    "unlink", "unlinkat", "symlink", "symlinkat", "readlink", "readlinkat", "chmod", "fchmod",
    "fchmodat", "umask", "utime", "utimes", "futimesat", "utimensat", "statfs", "fstatfs",
    "gettimeofday", "time", "clock_gettime", "clock_getres", "getrlimit", "setrlimit", "getrusage",
    "sysinfo", "times", "capget", "arch_prctl", "set_tid_address", "set_robust_list",
    "get_robust_list", "futex", "futex_waitv", "restart_syscall", "getcpu", "getrandom",
    "membarrier", "rseq",
};

/* Calls that are allowed when (argument & mask) == value. */
static const struct {
    const char *name;
    unsigned argument;
    scmp_datum_t mask, value;
} MASKED[] = {
    /* No new namespaces, no tracing along; clone3 hides its flags in memory and is refused. */
    {"clone", 0, CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER
                     | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE, 0},
    {"mknod", 1, S_IFMT, S_IFIFO},
    {"mknodat", 2, S_IFMT, S_IFIFO},
    {"prlimit64", 0, UINT64_MAX, 0}, /* its own limits */
    {"sendto", 4, UINT64_MAX, 0},    /* no address: to the connected peer */
    {"ioctl", 1, 0xffffffffu, TCGETS},
    {"ioctl", 1, 0xffffffffu, TIOCGWINSZ},
    {"ioctl", 1, 0xffffffffu, TIOCGPGRP},
    {"ioctl", 1, 0xffffffffu, FIONREAD},
    {"ioctl", 1, 0xffffffffu, FIONBIO},
    {"ioctl", 1, 0xffffffffu, FIOCLEX},
    {"ioctl", 1, 0xffffffffu, FIONCLEX},
    {"prctl", 0, 0xffffffffu, PR_SET_NAME},
    {"prctl", 0, 0xffffffffu, PR_GET_NAME},
    {"prctl", 0, 0xffffffffu, PR_GET_DUMPABLE},
    {"prctl", 0, 0xffffffffu, PR_CAPBSET_READ},
    {"prctl", 0, 0xffffffffu, PR_SET_PDEATHSIG},
    {"prctl", 0, 0xffffffffu, PR_SET_VMA},
};

static int allow_plain(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < sizeof PLAIN / sizeof *PLAIN; i++) {
        const int number = seccomp_syscall_resolve_name(PLAIN[i]);
        /* Negative: this machine has no such call (arm64 has no open), so nothing can make it. */
        const int rc = number < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 0);
        if (rc != 0) {
            return rc;
        }
    }
    return 0;
}

static int allow_masked(scmp_filter_ctx ctx)
{
    for (size_t i = 0; i < sizeof MASKED / sizeof *MASKED; i++) {
        const int number = seccomp_syscall_resolve_name(MASKED[i].name);
        const struct scmp_arg_cmp want = SCMP_CMP(MASKED[i].argument, SCMP_CMP_MASKED_EQ,
                                                  MASKED[i].mask, MASKED[i].value);
        const int rc = number < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ALLOW, number, 1, want);
        if (rc != 0) {
            return rc;
        }
    }
    /* Stream pairs only: a datagram socket could send to any named socket it can see. */
    return seccomp_rule_add(ctx, SCMP_ACT_ALLOW, SCMP_SYS(socketpair), 2,
                            SCMP_CMP(0, SCMP_CMP_EQ, AF_UNIX),
                            SCMP_CMP(1, SCMP_CMP_MASKED_EQ, 0xf, SOCK_STREAM));
}

/* Calls whose callers know what to do without them when they hear the right error. */
static int refuse_kindly(scmp_filter_ctx ctx)
{
    static const struct {
        const char *name;
        uint16_t error;
    } ROWS[] = {
        {"clone3", ENOSYS}, /* glibc goes back to clone */
        {"getxattr", ENOTSUP}, {"lgetxattr", ENOTSUP}, {"fgetxattr", ENOTSUP},
        {"listxattr", ENOTSUP}, {"llistxattr", ENOTSUP}, {"flistxattr", ENOTSUP},
    };
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < sizeof ROWS / sizeof *ROWS; i++) {
        const int number = seccomp_syscall_resolve_name(ROWS[i].name);
        rc = number < 0 ? 0 : seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ROWS[i].error), number, 0);
    }
    return rc;
}

/* Reads the program that libseccomp wrote to `fd`. */
static enum status read_program(int fd, struct sock_filter **out, unsigned short *count)
{
    const off_t bytes = lseek(fd, 0, SEEK_END);
    if (bytes <= 0 || bytes > BPF_MAXINSNS * (off_t)sizeof **out) {
        return FAIL(INTERNAL, "sandbox: the system call filter has %lld bytes", (long long)bytes);
    }
    *out = malloc((size_t)bytes);
    if (!*out) {
        return FAIL(MEMORY, "sandbox: no memory for the system call filter");
    }
    if (pread(fd, *out, (size_t)bytes, 0) != bytes) {
        free(*out);
        *out = NULL;
        return FAIL(IO, "sandbox: the system call filter cannot be read back");
    }
    *count = (unsigned short)((size_t)bytes / sizeof **out);
    return STATUS_OK;
}

enum status filter_build(struct sock_filter **out, unsigned short *count)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    const int fd = memfd_create("filter", MFD_CLOEXEC);
    enum status status = STATUS_OK;
    int rc = ctx && fd >= 0 ? 0 : -ENOMEM;
    if (rc == 0) {
        rc = allow_plain(ctx);
    }
    if (rc == 0) {
        rc = allow_masked(ctx);
    }
    if (rc == 0) {
        rc = refuse_kindly(ctx);
    }
    if (rc == 0) {
        (void)seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a tree of calls, not a list */
        rc = seccomp_export_bpf(ctx, fd);
    }
    if (rc == 0) {
        status = read_program(fd, out, count);
    } else {
        status = FAIL(DEVICE, "sandbox: libseccomp cannot build the filter: %s", strerror(-rc));
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (ctx) {
        seccomp_release(ctx);
    }
    return status;
}

int filter_apply(const struct sandbox *s)
{
    const struct sock_fprog program = {.len = s->filter_count, .filter = s->filter};
    return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
}
