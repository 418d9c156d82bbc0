/* Datasets over mapped JSONL; see dataset.h. */
#include "trainer/data/dataset.h"

#include <math.h>
#include <string.h>

#include "trainer/data/dataset_internal.h"
#include "trainer/format/json.h"

#define JSON_FILE_CAP ((size_t)1 << 31)

void dataset_close(struct dataset *d)
{
    if (!d) {
        return;
    }
    file_map_close(&d->map);
    json_decref(d->rows);
    view_parts_release(d->parts);
    free(d->order);
    free(d->line);
    free(d->number);
    free(d->name);
    free(d);
}

int64_t dataset_count(const struct dataset *d)
{
    return d->end - d->begin;
}

const char *dataset_name(const struct dataset *d)
{
    return d->name;
}

static bool blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) {
        p++;
    }
    return p == end;
}

/* Counts or stores the starts of non-empty lines. */
static int64_t scan_lines(struct dataset *d)
{
    const char *text = d->map.data;
    const char *end = text + d->map.size;
    int64_t rows = 0;
    int64_t number = 0;
    for (const char *p = text; p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        stop = stop ? stop : end;
        number++;
        if (!blank(p, stop)) {
            if (d->line) {
                d->line[rows] = (size_t)(p - text);
                d->number[rows] = number;
            }
            rows++;
        }
        p = stop < end ? stop + 1 : end;
    }
    return rows;
}

static enum status index_lines(struct dataset *d)
{
    d->total = d->map.data ? scan_lines(d) : 0;
    d->line = malloc((size_t)(d->total + 1) * sizeof *d->line);
    d->number = malloc((size_t)(d->total + 1) * sizeof *d->number);
    if (!d->line || !d->number) {
        return FAIL(MEMORY, "%s: no memory for %lld rows", d->name, (long long)d->total);
    }
    if (d->map.data) {
        (void)scan_lines(d);
    }
    return STATUS_OK;
}

bool dataset_ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Formats that `datasets` reads and Graft does not. */
static enum status check_format(const char *path)
{
    static const char *const OTHERS[] = {".parquet", ".arrow", ".csv", ".tsv", ".txt",
                                         ".gz",      ".zst",   ".bz2", ".xz",  ".zip"};
    for (size_t i = 0; i < sizeof OTHERS / sizeof *OTHERS; i++) {
        if (dataset_ends_with(path, OTHERS[i])) {
            const bool packed = i > 4;
            return FAIL(INPUT, "%s: %s files are not read; %s", path, OTHERS[i],
                        packed ? "unpack it first"
                               : "write the rows as JSON lines, with python's datasets: "
                                 "load_dataset(..., split=...).to_json('train.jsonl')");
        }
    }
    return STATUS_OK;
}

static enum status load(struct dataset *d)
{
    TRY(check_format(d->name));
    if (dataset_ends_with(d->name, ".json")) {
        TRY(json_load_path(d->name, JSON_FILE_CAP, &d->rows));
        if (!json_is_array(d->rows)) {
            return FAIL(INPUT, "%s: is no JSON array of rows", d->name);
        }
        d->total = (int64_t)json_array_size(d->rows);
        return STATUS_OK;
    }
    TRY(file_map_open(&d->map, d->name));
    return index_lines(d);
}

enum status dataset_parse_split(const char *split, char name[DATASET_SPLIT], const char **slice)
{
    const char *bracket = strchr(split, '[');
    const size_t n = bracket ? (size_t)(bracket - split) : strlen(split);
    if (n >= DATASET_SPLIT || (bracket && !dataset_ends_with(split, "]")) || strchr(split, '+')) {
        return FAIL(RECIPE, "split '%.80s': use a name like train, train[:100], train[50:100] or "
                            "train[:10%%]", split);
    }
    memcpy(name, split, n);
    name[n] = '\0';
    *slice = bracket ? bracket + 1 : NULL;
    return STATUS_OK;
}

/* One border of a slice: a number and whether it is a percentage. */
struct border {
    int64_t value;
    bool given;
    bool percent;
};

static const char *read_border(const char *text, struct border *b)
{
    char *end;
    b->value = strtoll(text, &end, 10);
    b->given = end != text;
    b->percent = b->given && *end == '%';
    return end + b->percent;
}

/* `datasets` rounds percentages to the closest row, halves to even. */
static int64_t resolve_border(const struct border *b, bool percent, int64_t total, int64_t fallback)
{
    if (!b->given) {
        return fallback;
    }
    const int64_t at = percent ? (int64_t)rint((double)b->value * (double)total / 100.0) : b->value;
    const int64_t from_start = at < 0 ? total + at : at;
    return from_start < 0 ? 0 : from_start > total ? total : from_start;
}

enum status dataset_apply_slice(struct dataset *d, const char *slice)
{
    struct border from = {0};
    struct border to = {0};
    d->begin = 0;
    d->end = d->total;
    if (!slice) {
        return STATUS_OK;
    }
    const char *colon = read_border(slice, &from);
    const char *close = *colon == ':' ? read_border(colon + 1, &to) : colon;
    if (*colon != ':' || strcmp(close, "]") != 0) {
        return FAIL(RECIPE, "split slice '[%.40s': use [from:to], rows or percent", slice);
    }
    const bool percent = from.percent || to.percent;
    const bool within = from.value >= -100 && from.value <= 100 && to.value >= -100 &&
                        to.value <= 100;
    if (percent && !within) {
        return FAIL(RECIPE, "split slice '[%.40s': use percentages within -100 and 100", slice);
    }
    d->begin = resolve_border(&from, percent, d->total, 0);
    d->end = resolve_border(&to, percent, d->total, d->total);
    d->end = d->end < d->begin ? d->begin : d->end;
    return STATUS_OK;
}

enum status dataset_open_file(struct dataset **out, const char *path)
{
    struct dataset *d = calloc(1, sizeof *d);
    *out = d;
    if (!d || !(d->name = strdup(path))) {
        dataset_close(d);
        *out = NULL;
        return FAIL(MEMORY, "%s: no memory", path);
    }
    enum status status = load(d);
    if (status == STATUS_OK) {
        status = dataset_apply_slice(d, NULL);
    }
    if (status != STATUS_OK) {
        dataset_close(d);
        *out = NULL;
    }
    return status;
}

enum status dataset_from_rows(struct dataset **out, const char *name, json_t *rows)
{
    struct dataset *d = calloc(1, sizeof *d);
    *out = d;
    if (!d || !(d->name = strdup(name))) {
        dataset_close(d);
        *out = NULL;
        json_decref(rows);
        return FAIL(MEMORY, "%s: no memory", name);
    }
    d->rows = rows;
    d->total = (int64_t)json_array_size(rows);
    d->end = d->total;
    return STATUS_OK;
}

json_t *dataset_row(void *dataset, int64_t i)
{
    const struct dataset *d = dataset;
    if (i < 0 || i >= dataset_count(d)) {
        (void)FAIL(INPUT, "%s: has no row %lld", d->name, (long long)i + 1);
        return NULL;
    }
    const int64_t at = d->begin + i;
    if (d->parts) {
        return dataset_view_row(d, at);
    }
    if (d->rows) {
        json_t *row = json_array_get(d->rows, (size_t)at);
        if (!json_is_object(row)) {
            (void)FAIL(INPUT, "%s: row %lld is no object", d->name, (long long)at + 1);
            return NULL;
        }
        return json_incref(row);
    }
    const char *text = (const char *)d->map.data + d->line[at];
    const size_t left = d->map.size - d->line[at];
    const char *stop = memchr(text, '\n', left);
    json_error_t error;
    json_t *row = json_loadb(text, stop ? (size_t)(stop - text) : left, 0, &error);
    if (!json_is_object(row)) {
        (void)FAIL(INPUT, "%s:%lld:%d: %s", d->name, (long long)d->number[at],
                   row ? 1 : error.column, row ? "the row is no JSON object" : error.text);
        json_decref(row);
        return NULL;
    }
    return row;
}

void dataset_where(const struct dataset *d, int64_t i, char *out, size_t size)
{
    const int64_t at = d->begin + i;
    if (d->parts && i >= 0 && at < d->end) {
        dataset_where(d->parts->part[d->order[at].part], d->order[at].row, out, size);
    } else {
        (void)snprintf(out, size, "%s: row %lld", d->name, (long long)at + 1);
    }
}

enum status dataset_need_column(struct dataset *d, const char *column)
{
    if (dataset_count(d) == 0) {
        return FAIL(INPUT, "%s: has no rows", d->name);
    }
    json_t *row = dataset_row(d, 0);
    if (!row) {
        return STATUS_INPUT;
    }
    char have[512];
    json_list_keys(row, have, sizeof have);
    const bool found = json_object_get(row, column) != NULL;
    json_decref(row);
    return found ? STATUS_OK
                 : FAIL(INPUT, "%s: row 1 needs the column '%s'; it has %s", d->name, column,
                        have);
}
