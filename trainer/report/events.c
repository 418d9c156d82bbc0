/*
 * TensorBoard event files: TFRecord frames (length, masked CRC32C of it, data, masked CRC32C)
 * around protobuf messages Event { 1 wall_time, 2 step, 3 file_version, 5 Summary { 1 Value { 1
 * tag, 2 simple_value } } }, as tensorflow/core/util/event.proto and record_writer.cc define them.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "trainer/format/file.h"
#include "trainer/report/report_internal.h"

enum { TAG_CAP = 128, VALUE_CAP = TAG_CAP + 16, EVENT_CAP = 1 << 15, PATH_CAP = 4352 };

struct event_file {
    FILE *out;
    char path[PATH_CAP];
};

uint32_t report_crc32c(const void *data, size_t bytes)
{
    const uint8_t *p = data;
    uint32_t crc = 0xFFFFFFFFu;
    for (size_t i = 0; i < bytes; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0x82F63B78u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

uint32_t report_masked_crc(const void *data, size_t bytes)
{
    const uint32_t crc = report_crc32c(data, bytes);
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8u;
}

/* A message under construction; the callers leave room. */
struct message {
    uint8_t *data;
    size_t used;
};

static void put_little(struct message *m, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        m->data[m->used++] = (uint8_t)(value >> (8 * i));
    }
}

static void put_varint(struct message *m, uint64_t value)
{
    while (value >= 0x80) {
        m->data[m->used++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    m->data[m->used++] = (uint8_t)value;
}

static void put_bytes(struct message *m, int field, const void *data, size_t bytes)
{
    put_varint(m, (uint64_t)field << 3 | 2);
    put_varint(m, bytes);
    memcpy(m->data + m->used, data, bytes);
    m->used += bytes;
}

static void put_wall_time(struct message *m)
{
    struct timespec now = {0};
    uint64_t bits;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    const double seconds = (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
    memcpy(&bits, &seconds, sizeof bits);
    put_varint(m, 1 << 3 | 1);
    put_little(m, bits, 8);
}

/* Name of a log field on the dashboard: eval_x is eval/x, everything else train/x. */
static void tag_of(const char *key, char out[TAG_CAP])
{
    const bool eval = strncmp(key, "eval_", 5) == 0;
    (void)snprintf(out, TAG_CAP, "%s/%s", eval ? "eval" : "train", eval ? key + 5 : key);
}

static void put_value(struct message *summary, const char *key, double number)
{
    uint8_t bytes[VALUE_CAP];
    struct message value = {.data = bytes};
    char tag[TAG_CAP];
    uint32_t bits;
    const float single = (float)number;
    memcpy(&bits, &single, sizeof bits);
    tag_of(key, tag);
    put_bytes(&value, 1, tag, strlen(tag));
    put_varint(&value, 2 << 3 | 5);
    put_little(&value, bits, 4);
    put_bytes(summary, 1, value.data, value.used);
}

static enum status write_frame(struct event_file *f, const struct message *event)
{
    uint8_t head[12];
    uint8_t tail[4];
    struct message h = {.data = head};
    struct message t = {.data = tail};
    put_little(&h, event->used, 8);
    put_little(&h, report_masked_crc(head, 8), 4);
    put_little(&t, report_masked_crc(event->data, event->used), 4);
    const bool good = fwrite(head, 1, sizeof head, f->out) == sizeof head &&
                      fwrite(event->data, 1, event->used, f->out) == event->used &&
                      fwrite(tail, 1, sizeof tail, f->out) == sizeof tail && fflush(f->out) == 0;
    return good ? STATUS_OK : FAIL(IO, "%s: %s", f->path, strerror(errno));
}

enum status report_events_open(struct event_file **out, const char *output_dir)
{
    static const char VERSION[] = "brain.Event:2";
    uint8_t bytes[64];
    struct message event = {.data = bytes};
    char host[256] = "localhost";
    char folder[PATH_CAP - 256];
    *out = NULL;
    (void)gethostname(host, sizeof host - 1);
    host[63] = '\0';
    if (snprintf(folder, sizeof folder, "%s/runs", output_dir) >= (int)sizeof folder) {
        return FAIL(IO, "%.80s...: the path is too long", output_dir);
    }
    TRY(file_mkdirs(folder));
    struct event_file *f = calloc(1, sizeof *f);
    if (!f) {
        return FAIL(MEMORY, "event file: out of memory");
    }
    (void)snprintf(f->path, sizeof f->path, "%s/events.out.tfevents.%010lld.%s.%ld.0", folder,
                   (long long)time(NULL), host, (long)getpid());
    f->out = fopen(f->path, "ab");
    if (!f->out) {
        const enum status status = FAIL(IO, "%s: %s", f->path, strerror(errno));
        free(f);
        return status;
    }
    put_wall_time(&event);
    put_bytes(&event, 3, VERSION, sizeof VERSION - 1);
    *out = f;
    return write_frame(f, &event);
}

enum status report_events_write(struct event_file *f, int64_t step, const json_t *line)
{
    uint8_t inner[EVENT_CAP];
    uint8_t bytes[EVENT_CAP + 64];
    struct message summary = {.data = inner};
    struct message event = {.data = bytes};
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)(uintptr_t)line, key, value) {
        const bool room = summary.used + VALUE_CAP + 8 <= sizeof inner;
        if (json_is_number(value) && strcmp(key, "step") != 0 && room) {
            put_value(&summary, key, json_number_value(value));
        }
    }
    put_wall_time(&event);
    put_varint(&event, 2 << 3);
    put_varint(&event, (uint64_t)step);
    put_bytes(&event, 5, summary.data, summary.used);
    return write_frame(f, &event);
}

void report_events_close(struct event_file *f)
{
    if (f) {
        (void)fclose(f->out);
        free(f);
    }
}
