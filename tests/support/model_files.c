/* Small model files for tests; see model_files.h. */
#include "tests/support/model_files.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/format/safetensors.h"

static void need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

void model_files_make(struct model_files *f)
{
    (void)snprintf(f->folder, sizeof f->folder, "/tmp/graft-model-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
}

static void remove_entries(const char *folder, int depth)
{
    DIR *dir = opendir(folder);
    for (struct dirent *e = dir ? readdir(dir) : NULL; e; e = readdir(dir)) {
        char path[MODEL_FILES_PATH];
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) {
            continue;
        }
        (void)snprintf(path, sizeof path, "%s/%s", folder, e->d_name);
        if (unlink(path) != 0 && depth > 0) {
            remove_entries(path, depth - 1);
        }
    }
    if (dir) {
        (void)closedir(dir);
    }
    (void)rmdir(folder);
}

void model_files_remove(struct model_files *f)
{
    remove_entries(f->folder, 1);
}

const char *model_files_path(const struct model_files *f, const char *name, char *buf)
{
    (void)snprintf(buf, MODEL_FILES_PATH, "%s/%s", f->folder, name);
    return buf;
}

void model_files_write(const struct model_files *f, const char *name, const char *text)
{
    char path[MODEL_FILES_PATH];
    FILE *file = fopen(model_files_path(f, name, path), "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

struct model *model_files_random(const struct model_files *f, const char *config, uint64_t seed)
{
    char path[MODEL_FILES_PATH];
    struct model *m;
    model_files_write(f, "random.json", config);
    need(model_open_random(&m, model_files_path(f, "random.json", path), seed, NULL), config);
    return m;
}

void model_files_save(const struct model_files *f, const char *name, struct model *m,
                      enum dtype dtype)
{
    char path[MODEL_FILES_PATH];
    (void)mkdir(model_files_path(f, name, path), 0700);
    need(model_save_folder(m, path, &(struct model_folder_options){.dtype = dtype}), path);
}

/* Returns false when the item is to be left out. */
static bool spoil_item(struct safetensors_item *item, enum spoil how, const char *arg)
{
    struct tensor *t = &item->view;
    switch (how) {
    case SPOIL_DROP:
        return false;
    case SPOIL_RENAME:
        item->name = arg;
        break;
    case SPOIL_COLUMNS: /* half as wide, twice as high: the same bytes */
        t->shape[0] *= 2;
        t->shape[1] /= 2;
        t->row_bytes /= 2;
        break;
    case SPOIL_FLATTEN:
        t->shape[0] *= t->shape[1];
        t->row_bytes *= (size_t)(t->shape[0] / t->shape[1]);
        t->dims = 1;
        break;
    }
    return true;
}

void model_files_spoil(const struct model_files *f, const char *name, const char *tensor,
                       enum spoil how, const char *arg)
{
    char path[MODEL_FILES_PATH];
    char inside[128];
    struct safetensors *file;
    (void)snprintf(inside, sizeof inside, "%s/model.safetensors", name);
    (void)model_files_path(f, inside, path);
    need(safetensors_open(&file, path), path);
    const int64_t count = safetensors_count(file);
    struct safetensors_item *items = calloc((size_t)count, sizeof *items);
    assert_non_null(items);
    int64_t kept = 0;
    bool found = false;
    for (int64_t i = 0; i < count; i++) {
        const struct safetensors_entry *e = safetensors_at(file, i);
        items[kept] = (struct safetensors_item){e->name, e->view};
        if (strcmp(e->name, tensor) != 0) {
            kept++;
        } else {
            found = true;
            kept += spoil_item(&items[kept], how, arg);
        }
    }
    assert_true(found);
    need(safetensors_write(path, items, kept), path);
    safetensors_close(file);
    free(items);
}

void model_files_patch(const struct model_files *f, const char *name, const char *after,
                       size_t skip, const void *bytes, size_t count)
{
    char path[MODEL_FILES_PATH];
    struct stat st;
    FILE *file = fopen(model_files_path(f, name, path), "r+b");
    assert_non_null(file);
    assert_int_equal(fstat(fileno(file), &st), 0);
    const size_t size = (size_t)st.st_size;
    char *data = malloc(size);
    assert_non_null(data);
    assert_int_equal(fread(data, 1, size, file), size);
    const char *at = memmem(data, size, after, strlen(after));
    assert_non_null(at);
    const size_t place = (size_t)(at - data) + strlen(after) + skip;
    assert_true(place + count <= size);
    assert_int_equal(fseek(file, (long)place, SEEK_SET), 0);
    assert_int_equal(fwrite(bytes, 1, count, file), count);
    assert_int_equal(fclose(file), 0);
    free(data);
}
