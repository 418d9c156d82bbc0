/* Journals; see journal.h. */
#include "trainer/store/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/format/file.h"

enum { HEADER = 16, FRAME = 12 }; /* bytes around a record: kind, size, CRC */

static const char MAGIC[8] = "GRAFTJ1\n";

struct journal {
    int fd;
    char *path;
    uint8_t *buffer;
    size_t capacity;
};

/* CRC-32 (IEEE 802.3), four bits at a time. */
static uint32_t crc32_of(const uint8_t *data, size_t bytes)
{
    static const uint32_t TABLE[16] = {
        0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4,
        0x4DB26158, 0x5005713C, 0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C,
        0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C};
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < bytes; i++) {
        crc = TABLE[(crc ^ data[i]) & 15] ^ crc >> 4;
        crc = TABLE[(crc ^ (uint32_t)(data[i] >> 4)) & 15] ^ crc >> 4;
    }
    return ~crc;
}

static uint32_t word_at(const uint8_t *data)
{
    uint32_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

/* Bytes of the record at `data`, 0 when it is torn or damaged. */
static size_t good_record(const uint8_t *data, size_t left)
{
    if (left < FRAME) {
        return 0;
    }
    const size_t bytes = word_at(data + 4);
    if (bytes > JOURNAL_MOST_BYTES || left - FRAME < bytes) {
        return 0;
    }
    return crc32_of(data, 8 + bytes) == word_at(data + 8 + bytes) ? bytes + FRAME : 0;
}

static bool has_header(const struct file_map *m, uint64_t key)
{
    return m->size >= HEADER && memcmp(m->data, MAGIC, sizeof MAGIC) == 0
           && memcmp((const char *)m->data + sizeof MAGIC, &key, sizeof key) == 0;
}

/* Walks the good records; *end is where they stop, 0: no file under this key. */
static enum status walk(const char *path, uint64_t key, journal_fn fn, void *ctx, size_t *end)
{
    struct file_map m;
    *end = 0;
    if (access(path, F_OK) != 0) {
        return STATUS_OK;
    }
    TRY(file_map_open(&m, path));
    const uint8_t *data = (const uint8_t *)m.data;
    enum status status = STATUS_OK;
    if (has_header(&m, key)) {
        *end = HEADER;
        for (size_t n; status == STATUS_OK && (n = good_record(data + *end, m.size - *end)) > 0;
             *end += n) {
            status = fn ? fn(ctx, word_at(data + *end), data + *end + 8, n - FRAME) : STATUS_OK;
        }
    }
    file_map_close(&m);
    return status;
}

enum status journal_replay(const char *path, uint64_t key, journal_fn fn, void *ctx)
{
    size_t end;
    return walk(path, key, fn, ctx, &end);
}

static enum status write_all(const struct journal *j, const uint8_t *data, size_t bytes)
{
    while (bytes > 0) {
        const ssize_t n = write(j->fd, data, bytes);
        if (n < 0 && errno != EINTR) {
            return FAIL(IO, "%s: cannot be written: %s", j->path, strerror(errno));
        }
        data += n > 0 ? n : 0;
        bytes -= n > 0 ? (size_t)n : 0;
    }
    return STATUS_OK;
}

static enum status start(struct journal *j, uint64_t key, size_t end)
{
    uint8_t header[HEADER];
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (j->fd < 0 || ftruncate(j->fd, (off_t)end) != 0 || lseek(j->fd, 0, SEEK_END) < 0) {
        return FAIL(IO, "%s: cannot be written: %s", j->path, strerror(errno));
    }
    memcpy(header, MAGIC, sizeof MAGIC);
    memcpy(header + sizeof MAGIC, &key, sizeof key);
    return end == 0 ? write_all(j, header, HEADER) : STATUS_OK;
}

enum status journal_open(struct journal **out, const char *path, uint64_t key)
{
    size_t end;
    *out = NULL;
    TRY(walk(path, key, NULL, NULL, &end));
    struct journal *j = calloc(1, sizeof *j);
    if (!j) {
        return FAIL(MEMORY, "journal: no memory");
    }
    j->fd = -1;
    j->path = strdup(path);
    const enum status status = j->path ? start(j, key, end) : FAIL(MEMORY, "journal: no memory");
    if (status != STATUS_OK) {
        journal_close(j);
        return status;
    }
    *out = j;
    return STATUS_OK;
}

enum status journal_append(struct journal *j, uint32_t kind, const void *data, size_t bytes)
{
    if (bytes > JOURNAL_MOST_BYTES) {
        return FAIL(IO, "%s: a record of %zu bytes, at most %d", j->path, bytes,
                    JOURNAL_MOST_BYTES);
    }
    if (bytes + FRAME > j->capacity) {
        uint8_t *more = realloc(j->buffer, 2 * bytes + FRAME);
        if (!more) {
            return FAIL(MEMORY, "%s: no memory for a record", j->path);
        }
        j->buffer = more;
        j->capacity = 2 * bytes + FRAME;
    }
    const uint32_t head[2] = {kind, (uint32_t)bytes};
    memcpy(j->buffer, head, sizeof head);
    memcpy(j->buffer + sizeof head, data, bytes);
    const uint32_t crc = crc32_of(j->buffer, sizeof head + bytes);
    memcpy(j->buffer + sizeof head + bytes, &crc, sizeof crc);
    return write_all(j, j->buffer, bytes + FRAME);
}

void journal_close(struct journal *j)
{
    if (j) {
        if (j->fd >= 0) {
            (void)close(j->fd);
        }
        free(j->path);
        free(j->buffer);
        free(j);
    }
}
