/*
 * dataset_mixture (Open-R1) and datasets with test_split_size (TRL) as a mixture of local files:
 * which keys they have, and what excludes what (spec open-r1.md 1.2, training.md 0).
 */
#include <string.h>

#include "recipes/build.h"
#include "recipes/schema_internal.h"
#include "recipes/suggest.h"
#include "trainer/format/json.h"

static const char *const R1_KEYS[] = {"datasets", "seed", "test_split_size", NULL};
static const char *const R1_PART_KEYS[] = {"id", "config", "split", "columns", "weight", NULL};
static const char *const TRL_PART_KEYS[] = {"path",  "name",    "data_dir", "data_files",
                                            "split", "columns", "fraction", NULL};

static const char *key_at(const void *ctx, size_t i)
{
    return ((const char *const *)ctx)[i];
}

/* Every key of `object` is among `keys`. */
static enum status check_keys(const json_t *object, const char *where, const char *const *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        char known[128] = "";
        size_t i = 0;
        for (; keys[i] && strcmp(keys[i], key) != 0; i++) {
            const size_t used = strlen(known);
            (void)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", keys[i]);
        }
        if (!keys[i]) {
            const char *near = suggest_nearest(key, key_at, keys);
            return near ? FAIL(RECIPE, "recipe: %s: unknown key '%.40s', did you mean '%s'?", where,
                               key, near)
                        : FAIL(RECIPE, "recipe: %s: unknown key '%.40s'; it has %s", where, key,
                               known);
        }
    }
    return STATUS_OK;
}

/* A text member, NULL when it is left out. */
static enum status read_text(const json_t *object, const char *where, const char *key,
                             const char **out)
{
    const json_t *value = json_object_get(object, key);
    *out = json_string_value(value);
    return !value || json_is_null(value) || *out
               ? STATUS_OK
               : FAIL(RECIPE, "recipe: %s: %s is text", where, key);
}

static enum status read_number(const json_t *object, const char *where, const char *key,
                               double *out)
{
    const json_t *value = json_object_get(object, key);
    if (!value || json_is_null(value)) {
        return STATUS_OK;
    }
    *out = json_number_value(value);
    return json_is_number(value) ? STATUS_OK
                                 : FAIL(RECIPE, "recipe: %s: %s is a number", where, key);
}

static enum status read_columns(const json_t *object, const char *where, json_t **out)
{
    json_t *value = json_object_get(object, "columns");
    size_t i;
    json_t *item;
    *out = json_is_null(value) ? NULL : value;
    bool good = !*out || (json_is_array(value) && json_array_size(value) > 0);
    json_array_foreach (*out, i, item) {
        good = good && json_is_string(item);
    }
    return good ? STATUS_OK : FAIL(RECIPE, "recipe: %s: columns is a list of names", where);
}

/* data_files: one pattern, a list of them, or a mapping of splits to either. */
static enum status read_files(const json_t *files, const char *where, struct recipe_mixture *m,
                              int64_t i)
{
    struct mixture_part *part = &m->parts[i];
    char name[256];
    if (!files || json_is_null(files)) {
        return STATUS_OK;
    }
    if (json_is_object(files)) {
        const char *split = part->split ? part->split : "train";
        (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(split, "["), split);
        files = json_object_get(files, name);
        if (!files) {
            return FAIL(RECIPE, "recipe: %s: data_files has no files for the split %s", where,
                        name);
        }
    }
    const bool one = json_is_string(files);
    const size_t count = one ? 1 : json_array_size(files);
    const char **list = calloc(count + 1, sizeof(char *));
    m->files[i] = list;
    if (!list) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    for (size_t k = 0; k < count; k++) {
        list[k] = json_string_value(one ? files : json_array_get(files, k));
        if (!list[k]) {
            return FAIL(RECIPE, "recipe: %s: data_files is a path, a list of paths, or a mapping of "
                                "splits to them", where);
        }
    }
    part->files = list;
    part->file_count = (int64_t)count;
    return count > 0 ? STATUS_OK : FAIL(RECIPE, "recipe: %s: data_files names no file", where);
}

static enum status read_trl_part(const json_t *object, const char *where, struct recipe_mixture *m,
                                 int64_t i)
{
    struct mixture_part *part = &m->parts[i];
    const char *folder;
    TRY(check_keys(object, where, TRL_PART_KEYS));
    TRY(read_text(object, where, "path", &part->path));
    TRY(read_text(object, where, "name", &part->config));
    TRY(read_text(object, where, "data_dir", &folder));
    TRY(read_text(object, where, "split", &part->split));
    TRY(read_number(object, where, "fraction", &part->weight));
    TRY(read_columns(object, where, &part->columns));
    if (!part->path) {
        return FAIL(RECIPE, "recipe: %s: path is missing: a JSONL file, a folder, or json with "
                            "data_files", where);
    }
    TRY(read_files(json_object_get(object, "data_files"), where, m, i));
    /* load_dataset("json", data_files=...): the builder's name stands where a folder would. */
    const bool builder = strcmp(part->path, "json") == 0;
    if (builder && !part->files && !folder) {
        return FAIL(RECIPE, "recipe: %s: path json needs data_files (or data_dir)", where);
    }
    if (folder && !builder) {
        const size_t size = strlen(part->path) + strlen(folder) + 2;
        m->folders[i] = malloc(size);
        if (!m->folders[i]) {
            return FAIL(MEMORY, "recipe: out of memory");
        }
        (void)snprintf(m->folders[i], size, "%s/%s", part->path, folder);
        part->path = m->folders[i];
    } else if (builder) {
        part->path = folder;
    }
    return STATUS_OK;
}

static enum status read_r1_part(const json_t *object, const char *where, struct recipe_mixture *m,
                                int64_t i)
{
    struct mixture_part *part = &m->parts[i];
    TRY(check_keys(object, where, R1_PART_KEYS));
    if (!json_object_get(object, "weight")) {
        part->weight = 1; /* null, unlike no key, leaves the rows in order */
    }
    TRY(read_text(object, where, "id", &part->path));
    TRY(read_text(object, where, "config", &part->config));
    TRY(read_text(object, where, "split", &part->split));
    TRY(read_number(object, where, "weight", &part->weight));
    TRY(read_columns(object, where, &part->columns));
    return part->path ? STATUS_OK
                      : FAIL(RECIPE, "recipe: %s: id is missing: a JSONL file or a folder", where);
}

/* Open-R1: sets of columns are the same wherever they are given. */
static enum status check_same_columns(const struct recipe_mixture *m)
{
    const json_t *first = NULL;
    for (int64_t i = 0; i < m->config.count; i++) {
        const json_t *columns = m->parts[i].columns;
        size_t k;
        json_t *name;
        bool same = !first || !columns || json_array_size(first) == json_array_size(columns);
        json_array_foreach (columns, k, name) {
            bool found = !first;
            for (size_t j = 0; j < json_array_size(first); j++) {
                found = found || json_equal(json_array_get(first, j), name);
            }
            same = same && found;
        }
        if (!same) {
            return FAIL(RECIPE, "recipe: dataset_mixture: columns are the same for all datasets that "
                                "have them; those of dataset %lld are others", (long long)i + 1);
        }
        first = first ? first : columns;
    }
    return STATUS_OK;
}

/* TRL: shares are of all datasets or of none. */
static enum status check_fractions(const struct recipe_mixture *m)
{
    int64_t given = 0;
    double sum = 0;
    for (int64_t i = 0; i < m->config.count; i++) {
        const double share = m->parts[i].weight;
        given += !isnan(share);
        sum += isnan(share) ? 0 : share;
    }
    return given == 0 || (given == m->config.count && sum > 0)
               ? STATUS_OK
               : FAIL(RECIPE, "recipe: datasets: fraction is given for all of the datasets, some "
                              "above 0, or for none");
}

static enum status read_parts(const json_t *list, const char *what, bool trl,
                              struct recipe_mixture *m)
{
    const size_t count = json_array_size(list);
    m->parts = calloc(count + 1, sizeof *m->parts);
    m->files = calloc(count + 1, sizeof *m->files);
    m->folders = calloc(count + 1, sizeof(char *));
    if (!m->parts || !m->files || !m->folders) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    m->config.parts = m->parts;
    m->config.count = (int64_t)count;
    for (size_t i = 0; i < count; i++) {
        char where[64];
        const json_t *object = json_array_get(list, i);
        (void)snprintf(where, sizeof where, "%s[%zu]", what, i);
        m->parts[i].weight = NAN;
        if (!json_is_object(object)) {
            return FAIL(RECIPE, "recipe: %s is a mapping with the keys of a dataset", where);
        }
        TRY(trl ? read_trl_part(object, where, m, (int64_t)i)
                : read_r1_part(object, where, m, (int64_t)i));
    }
    return count > 0 ? STATUS_OK : FAIL(RECIPE, "recipe: %s lists no dataset", what);
}

static enum status read_r1(const struct recipe *r, struct recipe_mixture *m)
{
    const json_t *mixture = r->dataset_mixture;
    double seed = 0;
    TRY(check_keys(mixture, "dataset_mixture", R1_KEYS));
    TRY(read_number(mixture, "dataset_mixture", "seed", &seed));
    TRY(read_number(mixture, "dataset_mixture", "test_split_size", &m->config.test_size));
    if (seed < 0 || seed != floor(seed) || seed >= 4294967296.0) {
        return FAIL(RECIPE, "recipe: dataset_mixture: seed is a whole number from 0 to 4294967295");
    }
    m->config.seed = (uint64_t)seed;
    TRY(read_parts(json_object_get(mixture, "datasets"), "dataset_mixture.datasets", false, m));
    return check_same_columns(m);
}

enum status recipe_mixture(const struct recipe *r, struct recipe_mixture *out)
{
    *out = (struct recipe_mixture){0};
    if (r->dataset_mixture && r->datasets) {
        return FAIL(RECIPE, "recipe: dataset_mixture and datasets exclude each other: the first is "
                            "Open-R1's mixture, the second TRL's");
    }
    if (r->dataset_mixture) {
        out->config.kind = MIXTURE_OPEN_R1;
        return read_r1(r, out);
    }
    out->config.kind = MIXTURE_TRL;
    out->config.seed = (uint64_t)r->seed;
    out->config.test_size = isnan(r->test_split_size) ? 0 : r->test_split_size;
    TRY(read_parts(r->datasets, "datasets", true, out));
    return check_fractions(out);
}

void recipe_mixture_close(struct recipe_mixture *m)
{
    for (int64_t i = 0; i < m->config.count; i++) {
        free(m->files[i]);
        free(m->folders[i]);
    }
    free(m->files);
    free(m->folders);
    free(m->parts);
    *m = (struct recipe_mixture){0};
}

bool recipe_has_mixture(const struct recipe *r)
{
    return r->dataset_mixture || r->datasets;
}

enum status schema_check_mixture(struct recipe *r)
{
    struct recipe_mixture mixture;
    if (!recipe_has_mixture(r)) {
        return isnan(r->test_split_size)
                   ? STATUS_OK
                   : FAIL(RECIPE, "recipe: test_split_size splits the mixture of datasets, which is "
                                  "missing; with dataset_name use dataset_test_split");
    }
    const enum status status = recipe_mixture(r, &mixture);
    recipe_mixture_close(&mixture);
    TRY(status);
    const char *name = r->dataset_mixture ? "dataset_mixture" : "datasets";
    if (r->dataset_mixture && !isnan(r->test_split_size)) {
        return FAIL(RECIPE, "recipe: test_split_size and dataset_mixture: it stands inside of "
                            "dataset_mixture");
    }
    if (strcmp(r->dataset_train_split, "train") != 0
        || strcmp(r->dataset_test_split, "test") != 0) {
        return FAIL(RECIPE, "recipe: dataset_train_split and dataset_test_split name splits of "
                            "dataset_name; with %s each dataset has its own split", name);
    }
    return r->dataset_name || r->dataset_config
               ? schema_note(r, "recipe: with %s, dataset_name and dataset_config have no effect",
                             name)
               : STATUS_OK;
}
