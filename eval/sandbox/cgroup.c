/*
 * A cgroup around a sandbox, where this process may make one: memory of everything together, tmpfs
 * included, and the number of tasks. v2 needs a folder whose subtree has the memory and pids
 * controllers (systemd: Delegate=yes), named by GRAFT_CGROUP when it is not this process's own; v1
 * needs write permission in both hierarchies. Source: cgroups(7).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

enum { SLACK_BYTES = 32 << 20 }; /* page tables, pipes, the keeper */

static bool write_file(const char *folder, const char *name, const char *text)
{
    char path[CGROUP_PATH_CAP + 64];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    const int fd = open(path, O_WRONLY | O_CLOEXEC);
    const ssize_t size = (ssize_t)strlen(text);
    const bool ok = fd >= 0 && write(fd, text, (size_t)size) == size;
    if (fd >= 0) {
        (void)close(fd);
    }
    return ok;
}

static bool write_number(const char *folder, const char *name, long long number)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%lld", number);
    return write_file(folder, name, text);
}

/* This process's folder in the hierarchy of `controller` ("" for v2): what /proc names, or the
 * mount's root where a container hides it. */
static void own_folder(const char *mount, const char *controller, char out[CGROUP_PATH_CAP])
{
    char line[CGROUP_PATH_CAP];
    FILE *in = fopen("/proc/self/cgroup", "re");
    (void)snprintf(out, CGROUP_PATH_CAP, "%s", mount);
    while (in && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        char *name = strchr(line, ':');
        char *path = name ? strchr(name + 1, ':') : NULL;
        if (!path) {
            continue;
        }
        *path++ = '\0';
        struct stat info;
        char full[2 * CGROUP_PATH_CAP];
        (void)snprintf(full, sizeof full, "%s%s", mount, strcmp(path, "/") == 0 ? "" : path);
        if (strcmp(name + 1, controller) == 0 && strlen(full) < CGROUP_PATH_CAP
            && stat(full, &info) == 0) {
            memcpy(out, full, strlen(full) + 1);
        }
    }
    if (in) {
        (void)fclose(in);
    }
}

static bool make_folder(const char *parent, char out[CGROUP_PATH_CAP])
{
    static const int TRIES = 64;
    for (int i = 0; i < TRIES; i++) {
        if (snprintf(out, CGROUP_PATH_CAP, "%s/graft-%d-%d", parent, (int)getpid(), i)
            >= CGROUP_PATH_CAP) {
            return false;
        }
        if (mkdir(out, 0755) == 0) {
            return true;
        }
        if (errno != EEXIST) {
            return false;
        }
    }
    return false;
}

static bool exists(const char *folder, const char *name)
{
    char path[CGROUP_PATH_CAP + 64];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return access(path, F_OK) == 0;
}

static bool open_v2(struct sandbox_cgroup *c, const char *mount)
{
    char parent[CGROUP_PATH_CAP];
    const char *given = getenv("GRAFT_CGROUP");
    own_folder(mount, "", parent);
    if (given && strlen(given) < sizeof parent) {
        (void)snprintf(parent, sizeof parent, "%s", given);
    }
    (void)write_file(parent, "cgroup.subtree_control", "+memory +pids");
    if (!make_folder(parent, c->memory)) {
        return false;
    }
    if (!exists(c->memory, "memory.max") || !exists(c->memory, "pids.max")) {
        (void)rmdir(c->memory); /* no controllers came down to it */
        return false;
    }
    c->version = 2;
    return true;
}

static bool open_v1(struct sandbox_cgroup *c)
{
    char parent[CGROUP_PATH_CAP];
    own_folder("/sys/fs/cgroup/memory", "memory", parent);
    if (!make_folder(parent, c->memory)) {
        return false;
    }
    own_folder("/sys/fs/cgroup/pids", "pids", parent);
    if (!make_folder(parent, c->pids)) {
        (void)rmdir(c->memory);
        return false;
    }
    c->version = 1;
    return true;
}

void cgroup_open(struct sandbox_cgroup *c, char why[128])
{
    *c = (struct sandbox_cgroup){0};
    if (access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0
            ? open_v2(c, "/sys/fs/cgroup")
            : open_v2(c, "/sys/fs/cgroup/unified") || open_v1(c)) {
        (void)snprintf(why, 128, "v%d, memory and pids", c->version);
        return;
    }
    (void)snprintf(why, 128, "no cgroup that this user may make with memory and pids");
}

bool cgroup_enter(const struct sandbox_cgroup *c, const struct sandbox_limits *limits, pid_t pid)
{
    const long long bytes = limits->memory_bytes + limits->disk_bytes + SLACK_BYTES;
    const int tasks = limits->processes + 1;
    if (c->version == 2) {
        (void)write_file(c->memory, "memory.swap.max", "0");
        return write_number(c->memory, "memory.max", bytes)
               && write_number(c->memory, "pids.max", tasks)
               && write_number(c->memory, "cgroup.procs", pid);
    }
    if (c->version == 1) {
        /* Lower first or raise first: one of the two orders is refused, so both are tried. */
        (void)write_number(c->memory, "memory.limit_in_bytes", bytes);
        (void)write_number(c->memory, "memory.memsw.limit_in_bytes", bytes);
        return write_number(c->memory, "memory.limit_in_bytes", bytes)
               && write_number(c->pids, "pids.max", tasks)
               && write_number(c->memory, "cgroup.procs", pid)
               && write_number(c->pids, "cgroup.procs", pid);
    }
    return true;
}

bool cgroup_killed(struct sandbox_cgroup *c)
{
    char path[CGROUP_PATH_CAP + 64];
    char line[256];
    long kills = 0;
    if (c->version == 0) {
        return false;
    }
    (void)snprintf(path, sizeof path, "%s/%s", c->memory,
                   c->version == 2 ? "memory.events" : "memory.oom_control");
    FILE *in = fopen(path, "re");
    while (in && fgets(line, sizeof line, in)) {
        if (strncmp(line, "oom_kill ", 9) == 0) {
            kills = strtol(line + 9, NULL, 10);
        }
    }
    if (in) {
        (void)fclose(in);
    }
    const bool more = kills > c->oom_kills;
    c->oom_kills = kills;
    return more;
}

void cgroup_close(struct sandbox_cgroup *c)
{
    if (c->version > 0) {
        (void)rmdir(c->memory);
    }
    if (c->version == 1) {
        (void)rmdir(c->pids);
    }
    *c = (struct sandbox_cgroup){0};
}
