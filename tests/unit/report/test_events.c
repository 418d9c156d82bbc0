/* TensorBoard's event files, read back byte for byte, and trainer_state.json. */
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/format/json.h"
#include "trainer/report/report_internal.h"

enum { FILE_CAP = 1 << 16, MAX_VALUES = 32 };

struct scalar {
    char tag[160];
    float value;
    int64_t step;
};

/* What an event file says. */
struct reading {
    char version[32];
    struct scalar scalars[MAX_VALUES];
    int count;
    int events;
    double wall_time;
};

static char folder[] = "/tmp/graft-events-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[128];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

static uint64_t little(const uint8_t *p, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++) {
        value |= (uint64_t)p[i] << (8 * i);
    }
    return value;
}

static uint64_t varint(const uint8_t **p)
{
    uint64_t value = 0;
    for (int shift = 0;; shift += 7) {
        const uint8_t byte = *(*p)++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            return value;
        }
    }
}

/* One field of a message: its number, and its bytes (wire 2) or its value. */
struct field {
    int number;
    int wire;
    const uint8_t *data;
    uint64_t value; /* or the number of bytes */
};

static struct field next_field(const uint8_t **p)
{
    const uint64_t key = varint(p);
    struct field f = {.number = (int)(key >> 3), .wire = (int)(key & 7)};
    if (f.wire == 0) {
        f.value = varint(p);
    } else if (f.wire == 1 || f.wire == 5) {
        const size_t bytes = f.wire == 1 ? 8 : 4;
        f.value = little(*p, bytes);
        *p += bytes;
    } else {
        assert_int_equal(f.wire, 2);
        f.value = varint(p);
        f.data = *p;
        *p += f.value;
    }
    return f;
}

static void read_value(struct reading *r, const uint8_t *p, uint64_t size, int64_t step)
{
    struct scalar *s = &r->scalars[r->count++];
    assert_true(r->count <= MAX_VALUES);
    s->step = step;
    for (const uint8_t *end = p + size; p < end;) {
        const struct field f = next_field(&p);
        if (f.number == 1) {
            (void)snprintf(s->tag, sizeof s->tag, "%.*s", (int)f.value, (const char *)f.data);
        } else {
            assert_int_equal(f.number, 2);
            assert_int_equal(f.wire, 5);
            const uint32_t bits = (uint32_t)f.value;
            memcpy(&s->value, &bits, sizeof bits);
        }
    }
}

static void read_event(struct reading *r, const uint8_t *p, uint64_t size)
{
    int64_t step = 0;
    r->events++;
    for (const uint8_t *end = p + size; p < end;) {
        const struct field f = next_field(&p);
        if (f.number == 1) {
            memcpy(&r->wall_time, &f.value, sizeof f.value);
        } else if (f.number == 2) {
            step = (int64_t)f.value;
        } else if (f.number == 3) {
            (void)snprintf(r->version, sizeof r->version, "%.*s", (int)f.value,
                           (const char *)f.data);
        } else {
            assert_int_equal(f.number, 5);
            for (const uint8_t *q = f.data; q < f.data + f.value;) {
                const struct field v = next_field(&q);
                assert_int_equal(v.number, 1);
                read_value(r, v.data, v.value, step);
            }
        }
    }
}

/* Reads the one event file of the folder; every checksum must match. */
static void read_events(struct reading *r)
{
    char path[512] = "";
    char runs[128];
    uint8_t *bytes = calloc(1, FILE_CAP);
    *r = (struct reading){0};
    (void)snprintf(runs, sizeof runs, "%s/runs", folder);
    DIR *dir = opendir(runs);
    assert_non_null(dir);
    assert_non_null(bytes);
    for (const struct dirent *e = readdir(dir); e; e = readdir(dir)) {
        if (strncmp(e->d_name, "events.out.tfevents.", 20) == 0) {
            (void)snprintf(path, sizeof path, "%s/%s", runs, e->d_name);
        }
    }
    (void)closedir(dir);
    FILE *in = fopen(path, "rb");
    assert_non_null(in);
    const size_t size = fread(bytes, 1, FILE_CAP, in);
    (void)fclose(in);
    for (size_t at = 0; at < size;) {
        const uint64_t length = little(bytes + at, 8);
        assert_true(at + 16 + length <= size);
        assert_int_equal(little(bytes + at + 8, 4), report_masked_crc(bytes + at, 8));
        assert_int_equal(little(bytes + at + 12 + length, 4),
                         report_masked_crc(bytes + at + 12, length));
        read_event(r, bytes + at + 12, length);
        at += 16 + length;
    }
    free(bytes);
}

/* RFC 3720 B.4's vectors, and the check value of the polynomial. */
static void checksums_are_castagnolis(void **state)
{
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(report_crc32c(bytes, 32), 0x8a9136aau);
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(report_crc32c(bytes, 32), 0x62a8ab43u);
    for (int i = 0; i < 32; i++) {
        bytes[i] = (uint8_t)i;
    }
    assert_int_equal(report_crc32c(bytes, 32), 0x46dd794eu);
    assert_int_equal(report_crc32c("123456789", 9), 0xe3069283u);
    const uint32_t crc = 0xe3069283u;
    assert_int_equal(report_masked_crc("123456789", 9),
                     (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u));
}

static void events_come_back(void **state)
{
    (void)state;
    struct event_file *f;
    struct reading r;
    json_t *first = json_pack("{s:i, s:f, s:f, s:s}", "step", 1, "loss", 2.5, "grad_norm", 0.125,
                              "note", "no number");
    json_t *second = json_pack("{s:i, s:f, s:i}", "step", 300, "eval_loss", -1.5, "num_tokens", 7);
    assert_int_equal(report_events_open(&f, folder), STATUS_OK);
    assert_int_equal(report_events_write(f, 1, first), STATUS_OK);
    assert_int_equal(report_events_write(f, 300, second), STATUS_OK);
    report_events_close(f);
    json_decref(first);
    json_decref(second);
    read_events(&r);
    assert_string_equal(r.version, "brain.Event:2");
    assert_true(r.wall_time > 1.6e9);
    assert_int_equal(r.events, 3);
    assert_int_equal(r.count, 4);
    static const struct scalar WANTED[] = {{"train/loss", 2.5f, 1},
                                           {"train/grad_norm", 0.125f, 1},
                                           {"eval/loss", -1.5f, 300},
                                           {"train/num_tokens", 7.0f, 300}};
    for (int i = 0; i < 4; i++) {
        assert_string_equal(r.scalars[i].tag, WANTED[i].tag);
        assert_true(r.scalars[i].value == WANTED[i].value);
        assert_int_equal(r.scalars[i].step, WANTED[i].step);
    }
}

static void a_missing_folder_is_an_error(void **state)
{
    (void)state;
    struct event_file *f;
    assert_int_equal(report_events_open(&f, "/proc/nothing"), STATUS_IO);
    assert_null(f);
    report_events_close(f);
    status_clear();
}

/* A line with more numbers than an event holds loses the last ones, nothing else. */
static void long_lines_stay_in_bounds(void **state)
{
    (void)state;
    struct event_file *f;
    char key[200];
    json_t *line = json_object();
    for (int i = 0; i < 400; i++) {
        (void)snprintf(key, sizeof key, "%0*d", 150, i);
        (void)json_object_set_new(line, key, json_real(i));
    }
    assert_int_equal(report_events_open(&f, folder), STATUS_OK);
    assert_int_equal(report_events_write(f, 1, line), STATUS_OK);
    report_events_close(f);
    json_decref(line);
}

static void state_has_transformers_names(void **state)
{
    (void)state;
    static const char *const NAMES[] = {
        "best_global_step", "best_metric", "best_model_checkpoint", "epoch", "eval_steps",
        "global_step", "is_hyper_param_search", "is_local_process_zero", "is_world_process_zero",
        "log_history", "logging_steps", "max_steps", "num_input_tokens_seen", "num_train_epochs",
        "save_steps", "stateful_callbacks", "total_flos", "train_batch_size", "trial_name",
        "trial_params"};
    const struct trainer_state s = {.step = 4, .max_steps = 10, .epoch = 0.5, .epochs = 2,
                                    .save_steps = 3, .logging_steps = 2, .batch = 8, .tokens = 99};
    json_t *lines = json_pack("[{s:i,s:f,s:f,s:f,s:f}]", "step", 4, "epoch", 0.5, "loss", 2.0,
                              "eval_loss", 3.0, "eval_runtime", 1.0);
    json_t *made = report_trainer_state(&s, lines);
    char path[256];
    char text[64];
    json_t *read;
    assert_non_null(made);
    assert_int_equal(json_object_size(made), sizeof NAMES / sizeof *NAMES);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        assert_non_null(json_object_get(made, NAMES[i]));
    }
    const json_t *log = json_object_get(made, "log_history");
    assert_int_equal(json_array_size(log), 2);
    assert_int_equal(json_object_size(json_array_get(log, 0)), 3);
    assert_int_equal(json_object_size(json_array_get(log, 1)), 4);
    assert_null(json_object_get(json_array_get(log, 0), "eval_loss"));
    assert_non_null(json_object_get(json_array_get(log, 1), "epoch"));
    assert_int_equal(report_write_state(folder, made), STATUS_OK);
    (void)snprintf(path, sizeof path, "%s/trainer_state.json", folder);
    assert_int_equal(json_load_path(path, 1 << 20, &read), STATUS_OK);
    assert_true(json_equal(read, made));
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    assert_non_null(fgets(text, sizeof text, in));
    assert_non_null(fgets(text, sizeof text, in));
    assert_string_equal(text, "  \"best_global_step\": null,\n"); /* sorted, indented by 2 */
    (void)fclose(in);
    json_t *again = report_trainer_state(&s, log); /* a resumed history */
    assert_true(json_equal(again, made));
    json_decref(again);
    json_decref(read);
    json_decref(made);
    json_decref(lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checksums_are_castagnolis),
        cmocka_unit_test(events_come_back),
        cmocka_unit_test(a_missing_folder_is_an_error),
        cmocka_unit_test(long_lines_stay_in_bounds),
        cmocka_unit_test(state_has_transformers_names),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
