/* Files; see file.h. */
#include "trainer/format/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PATH_CAP = 4096, CHUNK = 1 << 20 };

enum status file_fail(const char *what, const char *path)
{
    if (errno == ENOSPC || errno == EDQUOT) {
        return FAIL(IO, "%s: cannot %s: the disk is full; free some space and start again", path,
                    what);
    }
    return FAIL(IO, "%s: cannot %s: %s", path, what, strerror(errno));
}

enum status file_map_open(struct file_map *m, const char *path)
{
    *m = (struct file_map){0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not block */
    if (fd < 0) {
        return FAIL(INPUT, "%s: cannot open: %s", path, strerror(errno));
    }
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(fd);
        return FAIL(INPUT, "%s: is no regular file", path);
    }
    if (info.st_size > 0) {
        void *p = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED) {
            (void)close(fd);
            return FAIL(MEMORY, "%s: cannot map %lld bytes: %s", path, (long long)info.st_size,
                        strerror(errno));
        }
        m->data = p;
        m->size = (size_t)info.st_size;
    }
    (void)close(fd);
    return STATUS_OK;
}

void file_map_close(struct file_map *m)
{
    if (m->data) {
        (void)munmap((void *)(uintptr_t)m->data, m->size);
    }
    *m = (struct file_map){0};
}

static enum status write_all(int fd, const void *data, size_t bytes, const char *path)
{
    const char *p = data;
    while (bytes > 0) {
        const ssize_t n = write(fd, p, bytes);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return file_fail("write", path);
        }
        p += n;
        bytes -= (size_t)n;
    }
    return STATUS_OK;
}

static enum status join(char out[PATH_CAP], const char *a, const char *b)
{
    const int n = snprintf(out, PATH_CAP, "%s%s", a, b);
    return n < 0 || n >= PATH_CAP ? FAIL(IO, "%s: the path is too long", a) : STATUS_OK;
}

enum status file_write_atomic(const char *path, const void *data, size_t bytes)
{
    char temporary[PATH_CAP];
    TRY(join(temporary, path, ".tmp"));
    const int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0) {
        return file_fail("create", temporary);
    }
    enum status status = write_all(fd, data, bytes, temporary);
    if (status == STATUS_OK && fsync(fd) != 0) {
        status = file_fail("sync", temporary);
    }
    if (close(fd) != 0 && status == STATUS_OK) {
        status = file_fail("close", temporary);
    }
    if (status == STATUS_OK && rename(temporary, path) != 0) {
        status = file_fail("rename", temporary);
    }
    if (status != STATUS_OK) {
        (void)unlink(temporary);
    }
    return status;
}

enum status file_sha256(const char *path, char hex[65])
{
    struct file_map m;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    TRY(file_map_open(&m, path));
    const int ok = EVP_Digest(m.data ? m.data : "", m.size, digest, &length, EVP_sha256(), NULL);
    file_map_close(&m);
    if (!ok || length != 32) {
        return FAIL(INTERNAL, "%s: SHA-256 failed", path);
    }
    for (int i = 0; i < 32; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    return STATUS_OK;
}

enum status file_mkdirs(const char *path)
{
    char part[PATH_CAP];
    TRY(join(part, path, ""));
    for (char *p = part + 1;; p++) {
        if (*p != '/' && *p != '\0') {
            continue;
        }
        const char end = *p;
        *p = '\0';
        struct stat info;
        if (mkdir(part, 0777) != 0) {
            if (errno != EEXIST) {
                return file_fail("make the folder", part);
            }
            if (stat(part, &info) != 0 || !S_ISDIR(info.st_mode)) {
                return FAIL(IO, "%s: cannot make the folder: a file of that name is there", part);
            }
        }
        *p = end;
        if (end == '\0') {
            return STATUS_OK;
        }
    }
}

enum status file_sync(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return file_fail("open", path);
    }
    const int failed = fsync(fd);
    (void)close(fd);
    return failed ? file_fail("sync", path) : STATUS_OK;
}

enum status file_copy(const char *from, const char *to)
{
    struct file_map m;
    TRY(file_map_open(&m, from));
    const enum status status = file_write_atomic(to, m.data, m.size);
    file_map_close(&m);
    return status;
}

enum status file_remove_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) {
        return errno == ENOENT ? STATUS_OK : file_fail("open", path);
    }
    for (const struct dirent *e = readdir(folder); e; e = readdir(folder)) {
        char child[PATH_CAP];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        const int n = snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (n > 0 && n < PATH_CAP) {
            (void)unlink(child);
        }
    }
    (void)closedir(folder);
    return rmdir(path) == 0 ? STATUS_OK : file_fail("remove", path);
}
