/* Datasets over mapped JSONL; see dataset.h. */
#include "trainer/data/dataset.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>

#include "trainer/format/file.h"
#include "trainer/format/json.h"

enum { PATH_CAP = 4096, NAME_CAP = 256, LIST_CAP = 512 };
#define JSON_FILE_CAP ((size_t)1 << 31)

struct dataset {
    char *name;
    struct file_map map;
    size_t *line;      /* [rows + 1] byte offsets of non-empty lines; NULL: rows in memory */
    int64_t *number;   /* [rows] line numbers, for messages */
    json_t *rows;      /* in memory, NULL otherwise */
    int64_t total;
    int64_t begin;     /* the slice */
    int64_t end;
};

void dataset_close(struct dataset *d)
{
    if (!d) {
        return;
    }
    file_map_close(&d->map);
    json_decref(d->rows);
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

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text);
    const size_t m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

static enum status load(struct dataset *d)
{
    if (ends_with(d->name, ".json")) {
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

/* Splits "train[10:20]" into name and slice text; *slice is NULL without one. */
static enum status parse_split(const char *split, char name[NAME_CAP], const char **slice)
{
    const char *bracket = strchr(split, '[');
    const size_t n = bracket ? (size_t)(bracket - split) : strlen(split);
    if (n >= NAME_CAP || (bracket && !ends_with(split, "]"))) {
        return FAIL(RECIPE, "split '%.80s': use a name like train, train[:100] or train[50:100]",
                    split);
    }
    memcpy(name, split, n);
    name[n] = '\0';
    *slice = bracket ? bracket + 1 : NULL;
    return STATUS_OK;
}

static enum status apply_slice(struct dataset *d, const char *slice)
{
    d->begin = 0;
    d->end = d->total;
    if (!slice) {
        return STATUS_OK;
    }
    char *end;
    int64_t from = strtoll(slice, &end, 10);
    if (*end != ':') {
        return FAIL(RECIPE, "split slice '[%.40s': use [from:to]", slice);
    }
    const char *second = end + 1;
    int64_t to = strtoll(second, &end, 10);
    if (*end != ']') {
        return FAIL(RECIPE, "split slice '[%.40s': use [from:to]", slice);
    }
    to = end == second ? d->total : to;
    from = from < 0 ? d->total + from : from;
    to = to < 0 ? d->total + to : to;
    d->begin = from < 0 ? 0 : from > d->total ? d->total : from;
    d->end = to < d->begin ? d->begin : to > d->total ? d->total : to;
    return STATUS_OK;
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Appends the dataset files in folder/place to `have`, as "place/name, ..." while there is room. */
static void list_splits(const char *folder, const char *place, char have[LIST_CAP])
{
    char path[PATH_CAP];
    struct dirent **files;
    (void)snprintf(path, sizeof path, "%s/%s", folder, place);
    const int count = scandir(path, &files, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = files[i]->d_name;
        const size_t used = strlen(have);
        if (ends_with(name, ".jsonl") || ends_with(name, ".json")) {
            (void)snprintf(have + used, LIST_CAP - used, "%s%s%s%s", used ? ", " : "", place,
                           place[0] && !ends_with(place, "/") ? "/" : "", name);
        }
        free(files[i]);
    }
    if (count >= 0) {
        free(files);
    }
}

/* The split's file inside a folder. */
static enum status find_file(const char *folder, const char *config, const char *split,
                             char path[PATH_CAP])
{
    const char *const places[] = {"", "data/", config ? config : ""};
    static const char *const ENDINGS[] = {".jsonl", ".json"};
    for (size_t p = 0; p < 3; p++) {
        for (size_t e = 0; e < 2; e++) {
            const char *slash = places[p][0] && !ends_with(places[p], "/") ? "/" : "";
            (void)snprintf(path, PATH_CAP, "%s/%s%s%s%s", folder, places[p], slash, split,
                           ENDINGS[e]);
            if (is_file(path)) {
                return STATUS_OK;
            }
        }
    }
    char have[LIST_CAP] = {0};
    for (size_t k = 0; k < 3; k++) {
        if (k == 0 || places[k][0]) {
            list_splits(folder, places[k], have);
        }
    }
    return FAIL(INPUT, "%s: has no %s.jsonl or %s.json; it has %s: set dataset_train_split or name "
                       "the file",
                folder, split, split, have[0] ? have : "no dataset file");
}

static enum status open_path(struct dataset *d, const char *path, const char *config,
                             const char *split)
{
    char name[NAME_CAP];
    char file[PATH_CAP];
    const char *slice;
    struct stat info;
    TRY(parse_split(split ? split : "train", name, &slice));
    if (stat(path, &info) != 0) {
        return FAIL(INPUT, "%s: no such dataset file or folder", path);
    }
    if (S_ISDIR(info.st_mode)) {
        TRY(find_file(path, config, name, file));
        path = file;
    }
    d->name = strdup(path);
    if (!d->name) {
        return FAIL(MEMORY, "%s: no memory", path);
    }
    TRY(load(d));
    return apply_slice(d, slice);
}

enum status dataset_open(struct dataset **out, const char *path, const char *config,
                         const char *split)
{
    *out = NULL;
    struct dataset *d = calloc(1, sizeof *d);
    if (!d) {
        return FAIL(MEMORY, "%s: no memory", path);
    }
    const enum status status = open_path(d, path, config, split);
    if (status != STATUS_OK) {
        dataset_close(d);
        return status;
    }
    *out = d;
    return STATUS_OK;
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
