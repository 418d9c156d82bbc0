/*
 * The full profile's root: a read-only tmpfs with views of /usr and the library folders, five
 * devices, a made-up /etc, and the one writable place, a tmpfs of limited size at /box. There is no
 * /proc, /sys, /home or /var. Source: pivot_root(2), mount_setattr(2).
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "eval/sandbox/sandbox_internal.h"

static const char *const VIEWS[] = {"usr", "lib", "lib64", "lib32", "bin", "sbin",
                                    "etc/alternatives"};
static const char *const DEVICES[] = {"dev/null", "dev/zero", "dev/full", "dev/random",
                                      "dev/urandom"};

static const struct {
    const char *path, *text;
} MADE_UP[] = {
    {"etc/passwd", "candidate:x:1000:1000::/box:/bin/sh\n"},
    {"etc/group", "candidate:x:1000:\n"},
    {"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n"},
};

/* Shows `from` at the relative path `at`, read-only. */
static int bind(const char *from, const char *at, uint64_t attributes)
{
    const int tree = open_tree(AT_FDCWD, from,
                               OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (unsigned)AT_RECURSIVE);
    if (tree < 0) {
        return -1;
    }
    struct mount_attr attr = {.attr_set = attributes};
    int rc = mount_setattr(tree, "", (unsigned)(AT_EMPTY_PATH | AT_RECURSIVE), &attr, sizeof attr);
    if (rc == 0) {
        rc = move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH);
    }
    (void)close(tree);
    return rc;
}

static int write_text(const char *path, const char *text)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0) {
        return -1;
    }
    const ssize_t size = (ssize_t)strlen(text);
    const bool ok = write(fd, text, (size_t)size) == size;
    (void)close(fd);
    return ok ? 0 : -1;
}

/* A folder of the host that is a link there is the same link here. */
static int show_view(const char *name)
{
    char from[64];
    char target[PATH_MAX];
    struct stat info;
    (void)snprintf(from, sizeof from, "/%s", name);
    if (lstat(from, &info) != 0) {
        return errno == ENOENT ? 0 : -1;
    }
    if (S_ISLNK(info.st_mode)) {
        const ssize_t n = readlink(from, target, sizeof target - 1);
        if (n < 0) {
            return -1;
        }
        target[n] = '\0';
        return symlink(target, name);
    }
    if (!S_ISDIR(info.st_mode)) {
        return 0;
    }
    if (mkdir(name, 0755) != 0) {
        return -1;
    }
    return bind(from, name, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
}

static int show_device(const char *name)
{
    char from[64];
    (void)snprintf(from, sizeof from, "/%s", name);
    if (write_text(name, "") != 0) {
        return -1;
    }
    return bind(from, name, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
}

/* Fills the new root, which is the current folder. */
static int fill(int64_t disk)
{
    char options[128];
    if (mkdir("etc", 0755) != 0 || mkdir("dev", 0755) != 0 || mkdir("box", 0700) != 0) {
        return -1;
    }
    for (size_t i = 0; i < sizeof VIEWS / sizeof *VIEWS; i++) {
        if (show_view(VIEWS[i]) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < sizeof DEVICES / sizeof *DEVICES; i++) {
        if (show_device(DEVICES[i]) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < sizeof MADE_UP / sizeof *MADE_UP; i++) {
        if (write_text(MADE_UP[i].path, MADE_UP[i].text) != 0) {
            return -1;
        }
    }
    if (symlink("/box", "tmp") != 0 || symlink("/box", "dev/shm") != 0) {
        return -1;
    }
    (void)snprintf(options, sizeof options, "mode=0700,size=%lld,nr_inodes=%d", (long long)disk,
                   DISK_INODES);
    return mount("tmpfs", "box", "tmpfs", MS_NOSUID | MS_NODEV, options);
}

int root_build(int64_t disk)
{
    /* Nothing mounted here may travel back to the host. */
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) {
        return -1;
    }
    /* Any folder serves as the mount point: it is gone from view after the pivot. */
    static const char *const POINTS[] = {"/tmp", "/var", "/mnt", "/run"};
    int rc = -1;
    for (size_t i = 0; rc != 0 && i < sizeof POINTS / sizeof *POINTS; i++) {
        rc = mount("tmpfs", POINTS[i], "tmpfs", MS_NOSUID, "mode=0755,size=1m,nr_inodes=256");
        if (rc == 0) {
            rc = chdir(POINTS[i]);
        }
    }
    if (rc != 0 || fill(disk) != 0) {
        return -1;
    }
    /* The old root is stacked under the new one, then let go. */
    if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0
        || chdir("/") != 0) {
        return -1;
    }
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV};
    return mount_setattr(AT_FDCWD, "/", 0, &attr, sizeof attr);
}
