/* Limits, capabilities and user ids of the candidate. */
#include <errno.h>
#include <linux/capability.h>
#include <math.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

/* Ids far from those of people and services; the second range is for containers with 65,536 ids.
 * The process id makes two sandboxes of a machine differ. Each takes two ids: the candidate's, and
 * a spare one for the keeper that ends it. */
enum { UID_FAR = 0x70000000, UID_NEAR = 40000, UID_NEAR_RANGE = 10000 };

static bool mapped(uid_t uid)
{
    const pid_t pid = fork();
    if (pid == 0) {
        _exit(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0 ? 0 : 1);
    }
    int code = 1;
    while (pid > 0 && waitpid(pid, &code, 0) < 0 && errno == EINTR) {
    }
    return pid > 0 && code == 0;
}

bool uid_outside(uid_t *out)
{
    const uid_t self = geteuid();
    if (self != 0) {
        *out = self;
        return true;
    }
    const uid_t pid = (uid_t)getpid();
    const uid_t choices[] = {UID_FAR + 2 * pid, UID_NEAR + 2 * (pid % UID_NEAR_RANGE)};
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++) {
        if (mapped(choices[i]) && mapped(choices[i] + 1)) {
            *out = choices[i];
            return true;
        }
    }
    return false;
}

int limits_apply(const struct sandbox_limits *limits, int others)
{
    const rlim_t memory = (rlim_t)limits->memory_bytes;
    const rlim_t stack = memory / 2 < (rlim_t)256 << 20 ? memory / 2 : (rlim_t)256 << 20;
    const rlim_t cpu = (rlim_t)ceil(limits->cpu_seconds) + 1; /* the watch is finer, this is sure */
    const struct {
        __rlimit_resource_t what;
        rlim_t value;
    } rows[] = {
        {RLIMIT_CPU, cpu},
        {RLIMIT_AS, limits->huge_address_space ? RLIM_INFINITY : memory},
        {RLIMIT_STACK, stack},
        {RLIMIT_FSIZE, (rlim_t)limits->disk_bytes},
        {RLIMIT_NOFILE, (rlim_t)limits->files},
        {RLIMIT_NPROC, (rlim_t)(limits->processes + others)},
        {RLIMIT_CORE, 0},
        {RLIMIT_MEMLOCK, 0},
        {RLIMIT_MSGQUEUE, 0},
        {RLIMIT_SIGPENDING, 256},
        {RLIMIT_NICE, 0},
        {RLIMIT_RTPRIO, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct rlimit now;
        if (getrlimit(rows[i].what, &now) != 0) {
            return -1;
        }
        /* A plain user cannot raise a hard limit that is already lower, and needn't. */
        const rlim_t value = rows[i].value < now.rlim_max ? rows[i].value : now.rlim_max;
        const struct rlimit set = {.rlim_cur = value, .rlim_max = value};
        if (setrlimit(rows[i].what, &set) != 0) {
            return -1;
        }
    }
    return 0;
}

int caps_unbound(void)
{
    for (int cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++) {
        /* Without CAP_SETPCAP the bounding set stays; no_new_privs makes it idle. */
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) != 0 && errno != EPERM) {
            return -1;
        }
    }
    return 0;
}

int caps_drop(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    const struct __user_cap_data_struct none[2] = {{0}};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
        return -1;
    }
    return (int)syscall(SYS_capset, &head, none);
}
