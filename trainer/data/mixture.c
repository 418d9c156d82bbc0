/* Mixtures of datasets; see mixture.h. */
#include "trainer/data/mixture.h"

#include <math.h>
#include <string.h>

#include "kernels/base/rng_numpy.h"
#include "trainer/data/dataset_internal.h"
#include "trainer/format/json.h"

/* Rows [count] being mixed. */
struct row_list {
    struct view_row *rows;
    int64_t count;
};

/* rows becomes rows[permutation], of the generator's next permutation. */
static enum status permute(struct rng_pcg64 *g, struct view_row *rows, int64_t count)
{
    const size_t n = (size_t)count + 1;
    int64_t *order = malloc(n * sizeof *order);
    struct view_row *old = malloc(n * sizeof *old);
    if (order && old) {
        memcpy(old, rows, (size_t)count * sizeof *old);
        rng_pcg_permutation(g, order, count);
        for (int64_t i = 0; i < count; i++) {
            rows[i] = old[order[i]];
        }
    }
    const bool good = order && old;
    free(order);
    free(old);
    return good ? STATUS_OK : FAIL(MEMORY, "mixture: no memory for %lld rows", (long long)count);
}

static enum status shuffle(uint64_t seed, struct view_row *rows, int64_t count)
{
    struct rng_pcg64 g;
    rng_pcg_seed(&g, seed);
    return permute(&g, rows, count);
}

/* How many rows each part gives. */
static enum status share_rows(const struct mixture_config *c, const struct view_parts *p,
                              int64_t *take)
{
    double sum = 0.0;
    double whole = INFINITY;
    int64_t weighted = 0;
    for (int64_t i = 0; i < c->count; i++) {
        const double weight = c->parts[i].weight;
        take[i] = dataset_count(p->part[i]);
        weighted += !isnan(weight);
        sum += isnan(weight) ? 0.0 : weight;
        if (c->kind == MIXTURE_OPEN_R1 && !isnan(weight)) {
            take[i] = (int64_t)((double)take[i] * weight);
        }
    }
    if (c->kind == MIXTURE_OPEN_R1 || weighted == 0) {
        return STATUS_OK;
    }
    if (weighted < c->count || !(sum > 0)) {
        return FAIL(RECIPE, "datasets: fraction is given for all of the datasets, some above 0, or "
                            "for none");
    }
    for (int64_t i = 0; i < c->count; i++) {
        if (c->parts[i].weight > 0) {
            whole = fmin(whole, (double)take[i] / (c->parts[i].weight / sum));
        }
    }
    for (int64_t i = 0; i < c->count; i++) {
        const int64_t rows = (int64_t)rint(c->parts[i].weight / sum * whole);
        take[i] = rows < take[i] ? rows : take[i];
    }
    return STATUS_OK;
}

/* The parts' rows one after the other, each part's in its order. */
static enum status gather(const struct mixture_config *c, const struct view_parts *p,
                          const int64_t *take, struct row_list *out)
{
    int64_t all = 0;
    for (int64_t i = 0; i < c->count; i++) {
        all += dataset_count(p->part[i]);
    }
    out->rows = malloc(((size_t)all + 1) * sizeof *out->rows);
    if (!out->rows) {
        return FAIL(MEMORY, "mixture: no memory for %lld rows", (long long)all);
    }
    for (int64_t i = 0; i < c->count; i++) { /* what a part does not give is overwritten */
        const int64_t rows = dataset_count(p->part[i]);
        struct view_row *at = out->rows + out->count;
        for (int64_t row = 0; row < rows; row++) {
            at[row] = (struct view_row){(int32_t)i, row};
        }
        if (c->kind == MIXTURE_OPEN_R1 && !isnan(c->parts[i].weight)) {
            TRY(shuffle(c->seed, at, rows));
        }
        out->count += take[i];
    }
    return c->kind == MIXTURE_OPEN_R1 ? shuffle(c->seed, out->rows, out->count) : STATUS_OK;
}

static enum status make_view(struct dataset **out, const char *name, struct view_parts *p,
                             const struct view_row *rows, int64_t count)
{
    *out = dataset_view_new(name, p, count);
    if (!*out) {
        return FAIL(MEMORY, "mixture: no memory for %lld rows", (long long)count);
    }
    memcpy((*out)->order, rows, (size_t)count * sizeof *rows);
    return STATUS_OK;
}

/* train_test_split: one permutation, its first rows are the test's. */
static enum status split(const struct mixture_config *c, const struct row_list *l,
                         int64_t *test_count)
{
    const double size = c->test_size;
    const bool share = size < 1;
    *test_count = 0;
    if (size == 0) {
        return STATUS_OK;
    }
    if (size < 0 || (!share && (size != floor(size) || size >= (double)l->count))) {
        return FAIL(RECIPE, "test_split_size %g: it is a share above 0 and below 1, or a number of "
                            "rows below the mixture's %lld", size, (long long)l->count);
    }
    *test_count = share ? (int64_t)ceil(size * (double)l->count) : (int64_t)size;
    if (*test_count >= l->count) {
        return FAIL(RECIPE, "test_split_size %g of %lld rows leaves none to train on", size,
                    (long long)l->count);
    }
    return shuffle(c->seed, l->rows, l->count);
}

static enum status mix(const struct mixture_config *c, struct view_parts *p, struct dataset **train,
                       struct dataset **test)
{
    struct row_list l = {0};
    int64_t tests = 0;
    int64_t *take = calloc((size_t)c->count + 1, sizeof *take);
    enum status status = take ? share_rows(c, p, take) : FAIL(MEMORY, "mixture: no memory");
    if (status == STATUS_OK) {
        status = gather(c, p, take, &l);
    }
    if (status == STATUS_OK && l.count == 0) {
        status = FAIL(INPUT, "the mixture of datasets has no rows");
    }
    if (status == STATUS_OK) {
        status = split(c, &l, &tests);
    }
    if (status == STATUS_OK) {
        status = make_view(train, "the mixture", p, l.rows + tests, l.count - tests);
    }
    if (status == STATUS_OK && tests > 0) {
        status = make_view(test, "the mixture (test)", p, l.rows, tests);
    }
    free(take);
    free(l.rows);
    return status;
}

/* Every picked column is in some row: select_columns refuses others. */
static enum status check_columns(struct dataset *d, const json_t *columns)
{
    for (size_t i = 0; i < json_array_size(columns); i++) {
        const char *name = json_string_value(json_array_get(columns, i));
        bool found = false;
        for (int64_t row = 0; !found && row < dataset_count(d); row++) {
            json_t *object = dataset_row(d, row);
            if (!object) {
                return STATUS_INPUT;
            }
            found = json_object_get(object, name) != NULL;
            json_decref(object);
        }
        if (!found) {
            return dataset_need_column(d, name);
        }
    }
    return STATUS_OK;
}

/* "text", "number", ...; NULL for null, which goes with all. */
static const char *kind_of(const json_t *value)
{
    static const char *const KINDS[] = {[JSON_OBJECT] = "an object", [JSON_ARRAY] = "a list",
                                        [JSON_STRING] = "text",      [JSON_INTEGER] = "a number",
                                        [JSON_REAL] = "a number",    [JSON_TRUE] = "true or false",
                                        [JSON_FALSE] = "true or false", [JSON_NULL] = NULL};
    return KINDS[json_typeof(value)];
}

/* Columns of one name hold one kind of value in the parts' first rows (concatenate_datasets). */
static enum status check_kinds(const struct view_parts *p, const json_t *columns, json_t *seen,
                               int64_t part)
{
    const char *key;
    json_t *value;
    if (dataset_count(p->part[part]) == 0) {
        return STATUS_OK;
    }
    json_t *row = dataset_row(p->part[part], 0);
    enum status status = row ? STATUS_OK : STATUS_INPUT;
    json_object_foreach (row, key, value) {
        const json_t *before = json_object_get(seen, key);
        const char *kind = kind_of(value);
        bool picked = columns == NULL;
        for (size_t i = 0; i < json_array_size(columns); i++) {
            picked = picked || strcmp(json_string_value(json_array_get(columns, i)), key) == 0;
        }
        if (!kind || !picked || status != STATUS_OK) {
            continue;
        }
        if (!before) {
            (void)json_object_set_new(seen, key, json_string(kind));
        } else if (strcmp(json_string_value(before), kind) != 0) {
            status = FAIL(INPUT, "%s: its column '%s' holds %s, that of a dataset before it %s; they "
                                 "can't be joined", dataset_name(p->part[part]), key, kind,
                          json_string_value(before));
        }
    }
    json_decref(row);
    return status;
}

static enum status open_part(const struct mixture_part *part, struct dataset **out)
{
    return part->files ? dataset_open_files(out, part->path, part->files, part->file_count,
                                            part->split)
                       : dataset_open(out, part->path, part->config, part->split);
}

static enum status open_parts(const struct mixture_config *c, struct view_parts *p)
{
    json_t *seen = json_object();
    enum status status = seen ? STATUS_OK : FAIL(MEMORY, "mixture: no memory");
    for (int64_t i = 0; i < c->count && status == STATUS_OK; i++) {
        const double weight = c->parts[i].weight;
        if (weight < 0 || (c->kind == MIXTURE_OPEN_R1 && weight > 1)) {
            status = FAIL(RECIPE, "%s: weight %g of dataset %lld is not within 0 and 1",
                          c->kind == MIXTURE_OPEN_R1 ? "dataset_mixture" : "datasets", weight,
                          (long long)i + 1);
            break;
        }
        status = open_part(&c->parts[i], &p->part[i]);
        p->columns[i] = json_incref(c->parts[i].columns);
        if (status == STATUS_OK && p->columns[i]) {
            status = check_columns(p->part[i], p->columns[i]);
        }
        if (status == STATUS_OK) {
            status = check_kinds(p, p->columns[i], seen, i);
        }
    }
    json_decref(seen);
    return status;
}

enum status mixture_open(const struct mixture_config *c, struct dataset **train,
                         struct dataset **test)
{
    struct view_parts *p = view_parts_new(c->count);
    *train = NULL;
    *test = NULL;
    if (!p) {
        return FAIL(MEMORY, "mixture: no memory");
    }
    enum status status = open_parts(c, p);
    if (status == STATUS_OK) {
        status = mix(c, p, train, test);
    }
    view_parts_release(p); /* the views keep it */
    if (status != STATUS_OK) {
        dataset_close(*train);
        *train = NULL;
    }
    return status;
}
