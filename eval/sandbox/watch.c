/*
 * Sums over the candidate's process tree, read from /proc outside the sandbox, and over its folder.
 * Every walk is bounded: a candidate decides how much there is to read.
 */
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

enum { MAX_TREE = 4096, MAX_DEPTH = 32, MAX_ENTRIES = 65536, TEXT_CAP = 4096 };

static ssize_t read_text(const char *path, char *out, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);
    if (fd >= 0) {
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
    return n;
}

/* The processes of a tree in the order they were found. */
struct tree {
    pid_t pid[MAX_TREE];
    int count;
};

static void add_children(struct tree *t, const char *text)
{
    char *end;
    for (long pid = strtol(text, &end, 10); end != text && t->count < MAX_TREE;
         pid = strtol(text, &end, 10)) {
        t->pid[t->count++] = (pid_t)pid;
        text = end;
    }
}

/* Adds what the threads listed in `entries` have as children. False when a list cannot be read. */
static bool add_threads(struct tree *t, pid_t pid, const char *entries, long bytes)
{
    char path[96];
    char text[TEXT_CAP];
    for (long at = 0; at < bytes;) {
        const struct dirent64 *d = (const struct dirent64 *)(const void *)(entries + at);
        if (isdigit((unsigned char)d->d_name[0])) {
            (void)snprintf(path, sizeof path, "/proc/%d/task/%.16s/children", (int)pid, d->d_name);
            if (read_text(path, text, sizeof text) < 0) {
                return false;
            }
            add_children(t, text);
        }
        at += d->d_reclen;
    }
    return true;
}

/* Finds `root` and all below it. False when /proc does not list children. Reads folders by their
 * system call: the keeper, which may not allocate, comes here too. */
static bool tree_find(struct tree *t, pid_t root)
{
    char path[96];
    _Alignas(struct dirent64) char entries[TEXT_CAP];
    t->pid[0] = root;
    t->count = 1;
    for (int i = 0; i < t->count; i++) {
        (void)snprintf(path, sizeof path, "/proc/%d/task", (int)t->pid[i]);
        const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        bool listed = fd >= 0;
        long bytes = 0;
        while (listed && (bytes = syscall(SYS_getdents64, fd, entries, sizeof entries)) > 0) {
            listed = add_threads(t, t->pid[i], entries, bytes);
        }
        if (fd >= 0) {
            (void)close(fd);
        }
        if (!listed && i == 0) {
            return false; /* another one has ended meanwhile */
        }
    }
    return true;
}

/* Value of "Key: N kB" in a status file, in bytes. */
static int64_t status_bytes(const char *text, const char *key)
{
    const char *at = strstr(text, key);
    return at ? 1024 * strtoll(at + strlen(key), NULL, 10) : 0;
}

static void add_process(pid_t pid, struct tree_sum *sum)
{
    char path[64];
    char text[TEXT_CAP];
    (void)snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    (void)read_text(path, text, sizeof text);
    const char *at = strrchr(text, ')'); /* the name before it may hold anything */
    long user = 0;
    long system = 0;
    long user_reaped = 0;
    long system_reaped = 0;
    long threads = 0;
    if (at
        && sscanf(at + 1,
                  " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %ld %ld %ld %ld %*d %*d %ld", &user,
                  &system, &user_reaped, &system_reaped, &threads)
               == 5) {
        sum->cpu_seconds += (double)(user + system + user_reaped + system_reaped)
                            / (double)sysconf(_SC_CLK_TCK);
        sum->tasks += (int)threads;
    }
    (void)snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    (void)read_text(path, text, sizeof text);
    sum->memory_bytes += status_bytes(text, "RssAnon:") + status_bytes(text, "RssShmem:");
}

bool tree_measure(pid_t root, struct tree_sum *out)
{
    struct tree t;
    *out = (struct tree_sum){0};
    if (!tree_find(&t, root)) {
        return false;
    }
    for (int i = 0; i < t.count; i++) {
        add_process(t.pid[i], out);
    }
    return true;
}

void tree_kill(pid_t root)
{
    struct tree t;
    if (!tree_find(&t, root)) {
        return;
    }
    for (int i = 1; i < t.count; i++) { /* stopped first, so that none forks on meanwhile */
        (void)kill(t.pid[i], SIGSTOP);
    }
    for (int i = 1; i < t.count; i++) {
        (void)kill(t.pid[i], SIGKILL);
    }
}

int tree_tasks_of(uid_t uid)
{
    DIR *proc = opendir("/proc");
    int tasks = 0;
    for (struct dirent *d = proc ? readdir(proc) : NULL; d; d = readdir(proc)) {
        struct stat info;
        if (isdigit((unsigned char)d->d_name[0])
            && fstatat(dirfd(proc), d->d_name, &info, 0) == 0 && info.st_uid == uid) {
            struct tree_sum sum = {0};
            add_process((pid_t)strtol(d->d_name, NULL, 10), &sum);
            tasks += sum.tasks;
        }
    }
    if (proc) {
        (void)closedir(proc);
    }
    return tasks;
}

static bool is_dots(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Adds up a folder; *left counts the entries that may still be looked at. */
static bool add_folder(int folder, int depth, int *left, int64_t *bytes)
{
    DIR *dir = depth < MAX_DEPTH ? fdopendir(folder) : NULL;
    if (!dir) {
        (void)close(folder);
        return false;
    }
    bool ok = true;
    for (struct dirent *d = readdir(dir); ok && d; d = readdir(dir)) {
        struct stat info;
        if (is_dots(d->d_name)
            || fstatat(dirfd(dir), d->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) {
            continue;
        }
        ok = --*left > 0;
        *bytes += 512 * (int64_t)info.st_blocks;
        if (ok && S_ISDIR(info.st_mode)) {
            const int child = openat(dirfd(dir), d->d_name,
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            ok = child >= 0 && add_folder(child, depth + 1, left, bytes);
        }
    }
    (void)closedir(dir);
    return ok;
}

int64_t folder_bytes(int folder)
{
    int64_t bytes = 0;
    int left = MAX_ENTRIES;
    return add_folder(folder, 0, &left, &bytes) ? bytes : -1;
}

/* Removes the entries of `folder`, which is below `top`; folders among them move up to `top`, so
 * that a tree of any depth needs two descriptors. Closes `folder`. */
static void empty_into(int folder, int top, unsigned *moved)
{
    DIR *dir = fdopendir(folder);
    if (!dir) {
        (void)close(folder);
        return;
    }
    for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
        if (!is_dots(d->d_name) && unlinkat(dirfd(dir), d->d_name, 0) != 0) {
            char name[32];
            (void)snprintf(name, sizeof name, ".removed-%u", (*moved)++);
            (void)fchmodat(dirfd(dir), d->d_name, 0700, 0); /* moving it writes its ".." */
            (void)renameat(dirfd(dir), d->d_name, top, name);
        }
    }
    (void)closedir(dir);
}

void folder_clear(int folder)
{
    unsigned moved = 0;
    bool more = true;
    for (int round = 0; more && round < MAX_ENTRIES; round++) {
        more = false;
        DIR *dir = fdopendir(dup(folder));
        if (!dir) {
            break;
        }
        rewinddir(dir);
        for (struct dirent *d = readdir(dir); d; d = readdir(dir)) {
            if (is_dots(d->d_name) || unlinkat(folder, d->d_name, 0) == 0) {
                continue;
            }
            (void)fchmodat(folder, d->d_name, 0700, 0);
            const int child = openat(folder, d->d_name,
                                     O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (child >= 0) {
                empty_into(child, folder, &moved);
                more = unlinkat(folder, d->d_name, AT_REMOVEDIR) == 0 || more;
            }
        }
        (void)closedir(dir);
    }
    (void)close(folder);
}
