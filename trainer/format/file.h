/* Files: read-only mappings, atomic writes, digests. Messages name the path and the cause. */
#pragma once

#include "kernels/base/status.h"

#include <stddef.h>
#include <stdint.h>

struct file_map {
    const void *data; /* NULL for an empty file */
    size_t size;
};

/* Maps a regular file read-only. Fails with INPUT. */
MUST_USE enum status file_map_open(struct file_map *m, const char *path);

/* Unmaps; safe on an empty or closed map. */
void file_map_close(struct file_map *m);

/* Writes `bytes` to path.tmp, fsync, rename over `path`. Fails with IO ("the disk is full" when it
 * is); the old file stays intact then. */
MUST_USE enum status file_write_atomic(const char *path, const void *data, size_t bytes);

/* SHA-256 of a file as 64 hex digits and NUL. */
MUST_USE enum status file_sha256(const char *path, char hex[65]);

/* Makes a folder and its parents; an existing one is fine. */
MUST_USE enum status file_mkdirs(const char *path);

/* fsync of a folder (after a rename inside it) or of a file. */
MUST_USE enum status file_sync(const char *path);

/* Copies a file's bytes. */
MUST_USE enum status file_copy(const char *from, const char *to);

/* Removes a folder with the plain files in it; missing is fine. */
MUST_USE enum status file_remove_folder(const char *path);

/* Message for a failed system call on `path`, by errno: IO. */
enum status file_fail(const char *what, const char *path);
