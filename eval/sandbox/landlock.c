/*
 * Landlock by its system calls: which files the candidate may open, no TCP, no signals and no
 * abstract sockets beyond its own domain. The rights are numbered by ABI version here, because the
 * headers of a distribution are older than its kernel. Source: landlock(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

enum {
    FS_EXECUTE = 1 << 0,
    FS_WRITE = 1 << 1,
    FS_READ = 1 << 2,
    FS_READ_DIR = 1 << 3,
    FS_REMOVE_DIR = 1 << 4,
    FS_REMOVE_FILE = 1 << 5,
    FS_MAKE_DIR = 1 << 7,
    FS_MAKE_REG = 1 << 8,
    FS_MAKE_FIFO = 1 << 10,
    FS_MAKE_SYM = 1 << 12,
    FS_ALL_1 = (1 << 13) - 1, /* ABI 1 */
    FS_REFER = 1 << 13,       /* 2 */
    FS_TRUNCATE = 1 << 14,    /* 3 */
    FS_IOCTL_DEV = 1 << 15,   /* 5 */
    NET_ALL = 3,              /* 4: bind and connect of TCP */
    SCOPE_ALL = 3,            /* 6: abstract sockets, signals */
    LOOK = FS_READ | FS_READ_DIR,
    RUN = LOOK | FS_EXECUTE,
    USE = FS_READ | FS_WRITE | FS_TRUNCATE,
    OWN = RUN | USE | FS_REMOVE_DIR | FS_REMOVE_FILE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_FIFO
          | FS_MAKE_SYM | FS_REFER,
    /* A rule on a file may hold no rights that only a folder has. */
    FILE_RIGHTS = FS_EXECUTE | FS_WRITE | FS_READ | FS_TRUNCATE | FS_IOCTL_DEV,
};

struct ruleset_attr {
    uint64_t fs, net, scoped;
};

struct path_rule {
    uint64_t rights;
    int32_t fd;
} __attribute__((packed));

static const struct {
    const char *path;
    uint64_t rights;
    bool full_only;
    bool file;
} PATHS[] = {
    {"/usr", RUN, false, false},
    {"/lib", RUN, false, false},
    {"/lib64", RUN, false, false},
    {"/lib32", RUN, false, false},
    {"/bin", RUN, false, false},
    {"/sbin", RUN, false, false},
    {"/etc", LOOK, true, false}, /* the made-up one */
    {"/etc/alternatives", LOOK, false, false},
    {"/etc/ld.so.cache", FS_READ, false, true},
    {"/dev/null", USE, false, true},
    {"/dev/zero", USE, false, true},
    {"/dev/full", USE, false, true},
    {"/dev/random", FS_READ, false, true},
    {"/dev/urandom", FS_READ, false, true},
};

int landlock_abi(void)
{
    const long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
    return abi < 0 ? 0 : (int)abi;
}

static uint64_t fs_rights(int abi)
{
    return (uint64_t)FS_ALL_1 | (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0)
           | (abi >= 5 ? FS_IOCTL_DEV : 0);
}

/* Allows `rights` below `path`; a path that is not there needs no rule. */
static int allow(int ruleset, const char *path, uint64_t rights)
{
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? 0 : -1;
    }
    const struct path_rule rule = {.rights = rights, .fd = fd};
    const long rc = syscall(SYS_landlock_add_rule, ruleset, 1, &rule, 0);
    (void)close(fd);
    return rc == 0 ? 0 : -1;
}

int landlock_apply(int abi, enum sandbox_profile profile, const char *work)
{
    const uint64_t rights = fs_rights(abi);
    const struct ruleset_attr attr = {
        .fs = rights,
        .net = abi >= 4 ? NET_ALL : 0,
        .scoped = abi >= 6 ? SCOPE_ALL : 0,
    };
    const size_t size = abi >= 6 ? sizeof attr : abi >= 4 ? 2 * sizeof attr.fs : sizeof attr.fs;
    const int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0) {
        return -1;
    }
    int rc = allow(ruleset, work, rights & OWN);
    for (size_t i = 0; rc == 0 && i < sizeof PATHS / sizeof *PATHS; i++) {
        if (!PATHS[i].full_only || profile == SANDBOX_FULL) {
            rc = allow(ruleset, PATHS[i].path,
                       rights & PATHS[i].rights & (PATHS[i].file ? FILE_RIGHTS : UINT64_MAX));
        }
    }
    if (rc == 0) {
        rc = (int)syscall(SYS_landlock_restrict_self, ruleset, 0);
    }
    (void)close(ruleset);
    return rc;
}
