/*
 * Which files a dataset name stands for: a file, a folder with a file (or numbered shards) per
 * split, patterns of data_files; see dataset.h.
 */
#include <dirent.h>
#include <glob.h>
#include <string.h>
#include <sys/stat.h>

#include "trainer/data/dataset_internal.h"

enum { LIST_CAP = 512, MOST_FILES = 1 << 16 };


/* Appends the dataset files in folder/place to `have`, as "place/name, ..." while there is room. */
static void list_splits(const char *folder, const char *place, char have[LIST_CAP])
{
    char path[DATASET_PATH];
    struct dirent **files;
    static const char *const KINDS[] = {".jsonl", ".json", ".parquet", ".arrow", ".csv"};
    (void)snprintf(path, sizeof path, "%s/%s", folder, place);
    const int count = scandir(path, &files, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        const char *name = files[i]->d_name;
        for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++) {
            const size_t used = strlen(have);
            if (dataset_ends_with(name, KINDS[k])) {
                (void)snprintf(have + used, LIST_CAP - used, "%s%s%s%s", used ? ", " : "", place,
                               place[0] && !dataset_ends_with(place, "/") ? "/" : "", name);
            }
        }
        free(files[i]);
    }
    if (count >= 0) {
        free(files);
    }
}

static bool is_file(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode);
}

/* Files found, by name within a pattern. */
struct file_list {
    char **items;
    int64_t count;
};

static void file_list_close(struct file_list *l)
{
    for (int64_t i = 0; i < l->count; i++) {
        free(l->items[i]);
    }
    free(l->items);
}

static enum status file_list_push(struct file_list *l, const char *path)
{
    char **grown = realloc(l->items, (size_t)(l->count + 1) * sizeof *grown);
    l->items = grown ? grown : l->items;
    if (grown) {
        grown[l->count] = strdup(path);
    }
    if (!grown || !grown[l->count] || l->count == MOST_FILES) {
        return FAIL(MEMORY, "%s: no memory for a list of files", path);
    }
    l->count++;
    return STATUS_OK;
}

/* Appends the file `path`, or what it matches as a pattern; nothing is no failure. */
static enum status add_matches(const char *path, struct file_list *l)
{
    glob_t found = {0};
    if (is_file(path)) {
        return file_list_push(l, path);
    }
    enum status status = STATUS_OK;
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc && status == STATUS_OK; i++) {
            status = file_list_push(l, found.gl_pathv[i]);
        }
    }
    globfree(&found);
    return status;
}

/* The first of the endings that `folder`/`place`/`split` has. */
static enum status find_ending(const char *folder, const char *place, const char *split,
                               const char *const endings[3], struct file_list *found)
{
    const char *slash = place[0] && !dataset_ends_with(place, "/") ? "/" : "";
    for (size_t e = 0; e < 3 && endings[e] && found->count == 0; e++) {
        char path[DATASET_PATH];
        (void)snprintf(path, sizeof path, "%s/%s%s%s%s", folder, place, slash, split, endings[e]);
        TRY(add_matches(path, found));
    }
    return STATUS_OK;
}

/* The split's file inside a folder, or its shards train-00000-of-00002.jsonl; last those that can't
 * be read, so that the message is about them. */
static enum status find_split(const char *folder, const char *config, const char *split,
                              struct file_list *found)
{
    static const char *const ENDINGS[2][3] = {
        {".jsonl", ".json", "-[0-9]*-of-[0-9]*.jsonl"},
        {".parquet", "-[0-9]*-of-[0-9]*.parquet", NULL}};
    const char *const places[] = {"", "data/", config ? config : ""};
    for (size_t k = 0; k < 2 * 3; k++) {
        TRY(find_ending(folder, places[k % 3], split, ENDINGS[k / 3], found));
        if (found->count > 0) {
            return STATUS_OK;
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

/* Opens the files and joins them; a single one stays itself. */
static enum status open_all(struct dataset **out, const char *name, const struct file_list *l)
{
    if (l->count == 1) {
        return dataset_open_file(out, l->items[0]);
    }
    struct dataset **parts = calloc((size_t)l->count + 1, sizeof(struct dataset *));
    enum status status = parts ? STATUS_OK : FAIL(MEMORY, "%s: no memory for its files", name);
    int64_t opened = 0;
    while (status == STATUS_OK && opened < l->count) {
        status = dataset_open_file(&parts[opened], l->items[opened]);
        opened += status == STATUS_OK;
    }
    if (status == STATUS_OK) {
        status = dataset_join(out, name, parts, l->count);
    } else {
        for (int64_t i = 0; i < opened; i++) {
            dataset_close(parts[i]);
        }
    }
    free(parts);
    return status;
}

static enum status open_slice(struct dataset **out, const char *name,
                              const struct file_list *found, const char *slice)
{
    TRY(open_all(out, name, found));
    const enum status status = dataset_apply_slice(*out, slice);
    if (status != STATUS_OK) {
        dataset_close(*out);
        *out = NULL;
    }
    return status;
}

enum status dataset_open(struct dataset **out, const char *path, const char *config,
                         const char *split)
{
    char name[DATASET_SPLIT];
    const char *slice;
    struct stat info;
    *out = NULL;
    TRY(dataset_parse_split(split ? split : "train", name, &slice));
    if (stat(path, &info) != 0) {
        return FAIL(INPUT, "%s: no such dataset file or folder; download a Hub dataset first",
                    path);
    }
    struct file_list found = {0};
    enum status status = S_ISDIR(info.st_mode) ? find_split(path, config, name, &found)
                                               : file_list_push(&found, path);
    if (status == STATUS_OK) {
        status = open_slice(out, path, &found, slice);
    }
    file_list_close(&found);
    return status;
}

enum status dataset_open_files(struct dataset **out, const char *folder,
                               const char *const *patterns, int64_t count, const char *split)
{
    char name[DATASET_SPLIT];
    const char *slice;
    struct file_list found = {0};
    enum status status = STATUS_OK;
    *out = NULL;
    TRY(dataset_parse_split(split ? split : "train", name, &slice));
    for (int64_t i = 0; i < count && status == STATUS_OK; i++) {
        char path[DATASET_PATH];
        const bool here = !folder || patterns[i][0] == '/';
        const int n = here ? snprintf(path, sizeof path, "%s", patterns[i])
                           : snprintf(path, sizeof path, "%s/%s", folder, patterns[i]);
        const int64_t before = found.count;
        const bool fits = n > 0 && n < DATASET_PATH;
        status = fits ? add_matches(path, &found) : FAIL(INPUT, "data_files: a path is too long");
        if (status == STATUS_OK && found.count == before) {
            status = FAIL(INPUT, "data_files: no file matches %.200s", path);
        }
    }
    if (status == STATUS_OK) {
        status = open_slice(out, count > 0 ? patterns[0] : "data_files", &found, slice);
    }
    file_list_close(&found);
    return status;
}
