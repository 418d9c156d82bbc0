/* Datasets made of others: rows in an order of their own, columns picked; see dataset.h. */
#include <string.h>

#include "trainer/data/dataset_internal.h"

struct view_parts *view_parts_new(int64_t count)
{
    struct view_parts *p = calloc(1, sizeof *p);
    if (p) {
        p->users = 1;
        p->count = count;
        p->part = calloc((size_t)count + 1, sizeof(struct dataset *));
        p->columns = calloc((size_t)count + 1, sizeof(json_t *));
    }
    if (p && (!p->part || !p->columns)) {
        view_parts_release(p);
        return NULL;
    }
    return p;
}

void view_parts_release(struct view_parts *p)
{
    if (!p || --p->users > 0) {
        return;
    }
    for (int64_t i = 0; i < p->count; i++) {
        if (p->part) {
            dataset_close(p->part[i]);
        }
        if (p->columns) {
            json_decref(p->columns[i]);
        }
    }
    free(p->part);
    free(p->columns);
    free(p);
}

struct dataset *dataset_view_new(const char *name, struct view_parts *parts, int64_t total)
{
    struct dataset *d = calloc(1, sizeof *d);
    if (!d) {
        return NULL;
    }
    d->parts = parts;
    parts->users++;
    d->total = total;
    d->end = total;
    d->name = strdup(name);
    d->order = malloc(((size_t)total + 1) * sizeof *d->order);
    if (!d->name || !d->order) {
        dataset_close(d);
        return NULL;
    }
    return d;
}

json_t *dataset_view_row(const struct dataset *d, int64_t at)
{
    const struct view_row *place = &d->order[at];
    json_t *row = dataset_row(d->parts->part[place->part], place->row);
    const json_t *columns = d->parts->columns[place->part];
    if (!row || !columns) {
        return row;
    }
    json_t *picked = json_object();
    bool good = picked != NULL;
    for (size_t i = 0; good && i < json_array_size(columns); i++) {
        const char *name = json_string_value(json_array_get(columns, i));
        json_t *value = json_object_get(row, name);
        good = !value || json_object_set(picked, name, value) == 0;
    }
    json_decref(row);
    if (!good) {
        json_decref(picked);
        (void)FAIL(MEMORY, "%s: no memory for a row", d->name);
        return NULL;
    }
    return picked;
}

enum status dataset_join(struct dataset **out, const char *name, struct dataset **parts,
                         int64_t count)
{
    struct view_parts *p = view_parts_new(count);
    int64_t total = 0;
    for (int64_t i = 0; i < count; i++) {
        total += dataset_count(parts[i]);
        if (p) {
            p->part[i] = parts[i];
        } else {
            dataset_close(parts[i]);
        }
    }
    *out = p ? dataset_view_new(name, p, total) : NULL;
    int64_t at = 0;
    for (int64_t i = 0; *out && i < count; i++) {
        for (int64_t row = 0; row < dataset_count(parts[i]); row++) {
            (*out)->order[at++] = (struct view_row){(int32_t)i, row};
        }
    }
    view_parts_release(p); /* the view keeps it */
    return *out ? STATUS_OK : FAIL(MEMORY, "%s: no memory for %lld rows", name, (long long)total);
}
