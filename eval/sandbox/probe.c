/* Which layers this machine and user offer; each is tried, not read from a version number. */
#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

enum { PROBE_DISK = 1 << 20 };

static const char *const LAYER_NAMES[SANDBOX_LAYERS] = {
    [SANDBOX_USER_NS] = "user namespace",
    [SANDBOX_OTHER_NS] = "mount, pid, net, ipc, uts and cgroup namespaces",
    [SANDBOX_ROOT] = "root of its own",
    [SANDBOX_UID] = "user id that is not root",
    [SANDBOX_LANDLOCK] = "Landlock",
    [SANDBOX_SCOPE] = "Landlock scopes",
    [SANDBOX_SECCOMP] = "seccomp",
    [SANDBOX_WATCH] = "/proc with lists of children",
    [SANDBOX_CGROUP] = "cgroup",
};

const char *sandbox_layer_name(enum sandbox_layer layer)
{
    return LAYER_NAMES[layer];
}

bool sandbox_needs(enum sandbox_profile profile, enum sandbox_layer layer)
{
    switch (layer) {
    case SANDBOX_USER_NS:
    case SANDBOX_OTHER_NS:
    case SANDBOX_ROOT:
        return profile == SANDBOX_FULL;
    case SANDBOX_SCOPE: /* root gives each candidate a user of its own, out of reach of others */
        return profile == SANDBOX_REDUCED && geteuid() != 0;
    case SANDBOX_CGROUP:
        return false;
    default:
        return true;
    }
}

pid_t room_fork(unsigned long flags)
{
    return (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, NULL);
}

static bool write_proc(pid_t pid, const char *name, const char *text)
{
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const ssize_t size = (ssize_t)strlen(text);
    const bool ok = fd >= 0 && write(fd, text, (size_t)size) == size;
    const int saved = errno;
    if (fd >= 0) {
        (void)close(fd);
    }
    errno = saved;
    return ok;
}

bool room_map(pid_t pid, uid_t outside)
{
    char uids[64];
    char gids[64];
    const bool root = geteuid() == 0;
    (void)snprintf(uids, sizeof uids, "%d %u 1\n", INSIDE_UID, (unsigned)outside);
    (void)snprintf(gids, sizeof gids, "%d %u 1\n", INSIDE_UID,
                   root ? (unsigned)outside : (unsigned)getegid());
    /* A plain user may map its own group only after it gave up setgroups. */
    return (root || write_proc(pid, "setgroups", "deny")) && write_proc(pid, "uid_map", uids)
           && write_proc(pid, "gid_map", gids);
}

struct probe_step {
    int layer;
    int error;
};

static void tell(int fd, int layer, int rc)
{
    const struct probe_step step = {.layer = layer, .error = rc == 0 ? 0 : errno};
    if (write(fd, &step, sizeof step) < 0 || rc != 0) {
        _exit(1);
    }
}

/* The probe's child in a new user namespace: the rest of the room, step by step. */
static void try_room(int go, int out) __attribute__((noreturn));

static void try_room(int go, int out)
{
    char byte;
    if (read(go, &byte, 1) != 1) {
        _exit(1);
    }
    tell(out, SANDBOX_USER_NS, setresgid(INSIDE_UID, INSIDE_UID, INSIDE_UID));
    tell(out, SANDBOX_OTHER_NS, unshare(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC
                                        | CLONE_NEWUTS | CLONE_NEWCGROUP));
    /* The uid last: files of an unmapped user cannot be made, with capabilities or without. */
    if (syscall(SYS_prctl, 8 /* PR_SET_KEEPCAPS */, 1, 0, 0, 0) != 0
        || setresuid(INSIDE_UID, INSIDE_UID, INSIDE_UID) != 0) {
        tell(out, SANDBOX_ROOT, -1);
    }
    tell(out, SANDBOX_ROOT, root_build(PROBE_DISK));
    _exit(0);
}

static void set(struct sandbox_probe *p, enum sandbox_layer layer, bool present, const char *why)
{
    p->present[layer] = present;
    (void)snprintf(p->why[layer], sizeof p->why[layer], "%s", why);
}

static void probe_room(struct sandbox_probe *p, uid_t outside)
{
    int go[2];
    int out[2];
    set(p, SANDBOX_USER_NS, false, "cannot be tried: no pipes");
    set(p, SANDBOX_OTHER_NS, false, "needs a user namespace");
    set(p, SANDBOX_ROOT, false, "needs a mount namespace");
    if (pipe2(go, O_CLOEXEC) != 0) {
        return;
    }
    if (pipe2(out, O_CLOEXEC) != 0) {
        (void)close(go[0]);
        (void)close(go[1]);
        return;
    }
    const pid_t pid = room_fork(CLONE_NEWUSER);
    if (pid == 0) {
        (void)close(go[1]);
        try_room(go[0], out[1]);
    }
    (void)close(go[0]);
    (void)close(out[1]);
    if (pid < 0) {
        set(p, SANDBOX_USER_NS, false, strerror(errno));
    } else if (!room_map(pid, outside)) {
        char why[128];
        (void)snprintf(why, sizeof why, "no id map: %s", strerror(errno));
        set(p, SANDBOX_USER_NS, false, why);
    } else if (write(go[1], "g", 1) == 1) {
        struct probe_step step;
        while (read(out[0], &step, sizeof step) == (ssize_t)sizeof step) {
            set(p, (enum sandbox_layer)step.layer, step.error == 0,
                step.error ? strerror(step.error) : "yes");
        }
    }
    (void)close(go[1]);
    (void)close(out[0]);
    while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

enum status sandbox_probe(struct sandbox_probe *out)
{
    char why[128];
    uid_t outside = 0;
    *out = (struct sandbox_probe){0};
    const bool uid = uid_outside(&outside);
    (void)snprintf(why, sizeof why, uid ? "%u" : "no user id but root's is mapped here",
                   (unsigned)outside);
    set(out, SANDBOX_UID, uid, why);
    probe_room(out, uid ? outside : geteuid());
    const int abi = landlock_abi();
    (void)snprintf(why, sizeof why,
                   abi > 0 ? "ABI %d" : "the kernel has none, or it is not in lsm=", abi);
    set(out, SANDBOX_LANDLOCK, abi > 0, why);
    (void)snprintf(why, sizeof why, abi >= 6 ? "yes" : "needs ABI 6 (Linux 6.12), this is %d", abi);
    set(out, SANDBOX_SCOPE, abi >= 6, why);
    const unsigned action = SECCOMP_RET_ERRNO;
    const bool seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) == 0;
    set(out, SANDBOX_SECCOMP, seccomp, seccomp ? "yes" : strerror(errno));
    struct tree_sum sum;
    const bool watch = tree_measure(getpid(), &sum);
    set(out, SANDBOX_WATCH, watch, watch ? "yes" : "/proc/PID/task/TID/children cannot be read");
    struct sandbox_cgroup cgroup;
    cgroup_open(&cgroup, why);
    set(out, SANDBOX_CGROUP, cgroup.version > 0, why);
    cgroup_close(&cgroup);
    return STATUS_OK;
}
