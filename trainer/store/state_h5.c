/* Serial HDF5 of parameters and optimizer state; see state_h5.h. */
#include "trainer/store/state_h5.h"

#include <string.h>

#include "trainer/format/file.h"
#include "trainer/store/hdf5_library.h"

enum { FORMAT = 1, CHUNK = 1 << 20, IMAGE_STEP = 1 << 24, NAME = 1024, WORD = 64 };

static enum status h5_fail(const char *path, const char *what)
{
    return FAIL(IO, "%s: HDF5 cannot write %s; is the disk full?", path, what);
}

static enum status write_array(const struct hdf5 *h5, hid_t group, const char *path,
                               const char *name, const struct param_slot *array)
{
    const hid_t type = array->bytes ? *h5->std_u8le : *h5->ieee_f32le;
    const hid_t memory = array->bytes ? *h5->native_uint8 : *h5->native_float;
    const int64_t count = array->count;
    const hsize_t size = (hsize_t)count;
    const hsize_t chunk = size < CHUNK ? size : CHUNK;
    const hid_t space = h5->H5Screate_simple(1, &size, NULL);
    const hid_t layout = h5->H5Pcreate(*h5->dataset_create);
    bool ok = space >= 0 && layout >= 0 && h5->H5Pset_chunk(layout, 1, &chunk) >= 0
              && h5->H5Pset_fletcher32(layout) >= 0
              && h5->H5Pset_obj_track_times(layout, false) >= 0
              && h5->H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER) >= 0;
    const hid_t set =
        ok ? h5->H5Dcreate2(group, name, type, space, H5P_DEFAULT, layout, H5P_DEFAULT) : -1;
    ok = set >= 0 && h5->H5Dwrite(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data) >= 0;
    ok = (set < 0 || h5->H5Dclose(set) >= 0) && ok;
    (void)h5->H5Pclose(layout);
    (void)h5->H5Sclose(space);
    return ok ? STATUS_OK : h5_fail(path, name);
}

static enum status write_number(const struct hdf5 *h5, hid_t file, const char *path,
                                const char *name, int64_t value)
{
    const hid_t space = h5->H5Screate(H5S_SCALAR);
    const hid_t attribute =
        h5->H5Acreate2(file, name, *h5->std_i64le, space, H5P_DEFAULT, H5P_DEFAULT);
    const long long number = value;
    const bool ok = attribute >= 0 && h5->H5Awrite(attribute, *h5->native_llong, &number) >= 0;
    if (attribute >= 0) {
        (void)h5->H5Aclose(attribute);
    }
    (void)h5->H5Sclose(space);
    return ok ? STATUS_OK : h5_fail(path, name);
}

static enum status write_word(const struct hdf5 *h5, hid_t file, const char *path, const char *name,
                              const char *word)
{
    const hid_t space = h5->H5Screate(H5S_SCALAR);
    const hid_t type = h5->H5Tcopy(*h5->c_s1);
    const bool sized = type >= 0 && h5->H5Tset_size(type, strlen(word) + 1) >= 0;
    const hid_t attribute =
        sized ? h5->H5Acreate2(file, name, type, space, H5P_DEFAULT, H5P_DEFAULT) : -1;
    const bool ok = attribute >= 0 && h5->H5Awrite(attribute, type, word) >= 0;
    if (attribute >= 0) {
        (void)h5->H5Aclose(attribute);
    }
    (void)h5->H5Tclose(type);
    (void)h5->H5Sclose(space);
    return ok ? STATUS_OK : h5_fail(path, name);
}

/* The values of a parameter as an array. */
static struct param_slot values_of(const struct param_set *params, const struct param *p)
{
    return (struct param_slot){.count = p->count, .data = params->value + p->offset};
}

static enum status write_slots(const struct hdf5 *h5, hid_t optim, const char *path,
                               const struct param *p)
{
    for (int k = 0; k < PARAM_SLOTS; k++) {
        char name[NAME];
        if (p->slot[k].name) {
            (void)snprintf(name, sizeof name, "%s.%s", p->name, p->slot[k].name);
            TRY(write_array(h5, optim, path, name, &p->slot[k]));
        }
    }
    return STATUS_OK;
}

static enum status write_params(const struct hdf5 *h5, hid_t file, const char *path,
                                const struct param_set *params)
{
    const hid_t adapter = h5->H5Gcreate2(file, "adapter", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t optim = h5->H5Gcreate2(file, "optim", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    enum status status = adapter >= 0 && optim >= 0 ? STATUS_OK : h5_fail(path, "its groups");
    for (int64_t i = 0; status == STATUS_OK && i < params->count; i++) {
        const struct param_slot values = values_of(params, &params->params[i]);
        status = write_array(h5, adapter, path, params->params[i].name, &values);
        if (status == STATUS_OK) {
            status = write_slots(h5, optim, path, &params->params[i]);
        }
    }
    if (adapter >= 0) {
        (void)h5->H5Gclose(adapter);
    }
    if (optim >= 0) {
        (void)h5->H5Gclose(optim);
    }
    return status;
}

/* Fills an open file and flushes it. */
static enum status write_all(const struct hdf5 *h5, hid_t file, const char *path,
                             const struct param_set *params, int64_t step)
{
    TRY(write_number(h5, file, path, "format", FORMAT));
    TRY(write_number(h5, file, path, "step", step));
    if (params->optimizer) {
        TRY(write_word(h5, file, path, "optimizer", params->optimizer));
    }
    TRY(write_params(h5, file, path, params));
    return h5->H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? h5_fail(path, "the file") : STATUS_OK;
}

/* The file is made in memory and written in one piece: HDF5 1.10 can't close a file whose disk is
 * full and would crash at exit. HDF5 only hands out copies of the image, so it lies in memory of
 * ours. */
struct image {
    void *data;
};

static void *image_malloc(size_t size, H5FD_file_image_op_t op, void *ctx)
{
    struct image *image = ctx;
    (void)op;
    image->data = malloc(size);
    return image->data;
}

static void *image_realloc(void *data, size_t size, H5FD_file_image_op_t op, void *ctx)
{
    struct image *image = ctx;
    void *moved = realloc(data, size);
    (void)op;
    image->data = moved ? moved : image->data;
    return moved;
}

static herr_t image_free(void *data, H5FD_file_image_op_t op, void *ctx)
{
    struct image *image = ctx;
    (void)op;
    free(data);
    image->data = NULL;
    return 0;
}

static void *image_copy_ctx(void *ctx)
{
    return ctx;
}

static herr_t image_free_ctx(void *ctx)
{
    (void)ctx;
    return 0;
}

/* The finished file's bytes to disk. */
static enum status write_image(const struct hdf5 *h5, hid_t file, const char *path,
                               const struct image *image)
{
    const ssize_t size = h5->H5Fget_file_image(file, NULL, 0);
    if (size <= 0 || !image->data) {
        return h5_fail(path, "the file");
    }
    return file_write_atomic(path, image->data, (size_t)size);
}

/* As state_h5_write with the library at hand. */
static enum status write_file(const struct hdf5 *h5, const char *path,
                              const struct param_set *params, int64_t step)
{
    struct image image = {0};
    H5FD_file_image_callbacks_t callbacks = {.image_malloc = image_malloc,
                                             .image_realloc = image_realloc,
                                             .image_free = image_free,
                                             .udata_copy = image_copy_ctx,
                                             .udata_free = image_free_ctx,
                                             .udata = &image};
    const hid_t access = h5->H5Pcreate(*h5->file_access);
    const bool in_memory = access >= 0 && h5->H5Pset_fapl_core(access, IMAGE_STEP, false) >= 0
                           && h5->H5Pset_file_image_callbacks(access, &callbacks) >= 0;
    const hid_t file = in_memory ? h5->H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access) : -1;
    enum status status = file >= 0 ? write_all(h5, file, path, params, step)
                                   : h5_fail(path, "the file");
    if (status == STATUS_OK) {
        status = write_image(h5, file, path, &image);
    }
    if (file >= 0 && h5->H5Fclose(file) < 0 && status == STATUS_OK) {
        status = h5_fail(path, "the file");
    }
    if (access >= 0) {
        (void)h5->H5Pclose(access);
    }
    return status;
}

enum status state_h5_write(const char *path, const struct param_set *params, int64_t step)
{
    struct hdf5 h5;
    TRY(hdf5_open(&h5));
    return write_file(&h5, path, params, step);
}

static enum status read_array(const struct hdf5 *h5, hid_t group, const char *path,
                              const char *name, const struct param_slot *array)
{
    const hid_t memory = array->bytes ? *h5->native_uint8 : *h5->native_float;
    const hid_t set = h5->H5Dopen2(group, name, H5P_DEFAULT);
    if (set < 0) {
        return FAIL(INPUT, "%s: '%s' is missing; the checkpoint belongs to another adapter", path,
                    name);
    }
    const hid_t space = h5->H5Dget_space(set);
    const hid_t type = h5->H5Dget_type(set);
    const hssize_t found = h5->H5Sget_simple_extent_npoints(space);
    const H5T_class_t kind = array->bytes ? H5T_INTEGER : H5T_FLOAT;
    enum status status = STATUS_OK;
    if (found != (hssize_t)array->count || h5->H5Tget_class(type) != kind) {
        status = FAIL(INPUT, "%s: '%s' has %lld numbers, expected %lld %s", path, name,
                      (long long)found, (long long)array->count, array->bytes ? "codes" : "floats");
    } else if (h5->H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, array->data) < 0) {
        status = FAIL(INPUT, "%s: '%s' is damaged (checksum)", path, name);
    }
    (void)h5->H5Tclose(type);
    (void)h5->H5Sclose(space);
    (void)h5->H5Dclose(set);
    return status;
}

/* Fails when the file has another optimizer's state. Files without the word are older than it. */
static enum status check_optimizer(const struct hdf5 *h5, hid_t file, const char *path,
                                   const struct param_set *params)
{
    char word[WORD] = "";
    const hid_t attribute = h5->H5Aopen(file, "optimizer", H5P_DEFAULT);
    if (attribute < 0 || !params->optimizer) {
        if (attribute >= 0) {
            (void)h5->H5Aclose(attribute);
        }
        return STATUS_OK;
    }
    const hid_t type = h5->H5Aget_type(attribute);
    const bool ok = h5->H5Tget_class(type) == H5T_STRING && h5->H5Tget_size(type) < sizeof word
                    && h5->H5Aread(attribute, type, word) >= 0;
    (void)h5->H5Tclose(type);
    (void)h5->H5Aclose(attribute);
    if (!ok) {
        return FAIL(INPUT, "%s: attribute 'optimizer' is damaged", path);
    }
    return strcmp(word, params->optimizer) == 0
               ? STATUS_OK
               : FAIL(INPUT,
                      "%s: its optimizer state is of optim: %s, the run's is %s; go on with the "
                      "same optim, or use resume=never or another output_dir",
                      path, word, params->optimizer);
}

static enum status read_number(const struct hdf5 *h5, hid_t file, const char *path,
                               const char *name, int64_t *out)
{
    long long number = -1;
    const hid_t attribute = h5->H5Aopen(file, name, H5P_DEFAULT);
    const bool ok = attribute >= 0 && h5->H5Aread(attribute, *h5->native_llong, &number) >= 0;
    if (attribute >= 0) {
        (void)h5->H5Aclose(attribute);
    }
    *out = number;
    return ok ? STATUS_OK : FAIL(INPUT, "%s: attribute '%s' is missing", path, name);
}

static enum status read_slots(const struct hdf5 *h5, hid_t optim, const char *path,
                              const struct param *p)
{
    for (int k = 0; k < PARAM_SLOTS; k++) {
        char name[NAME];
        if (p->slot[k].name) {
            (void)snprintf(name, sizeof name, "%s.%s", p->name, p->slot[k].name);
            TRY(read_array(h5, optim, path, name, &p->slot[k]));
        }
    }
    return STATUS_OK;
}

static enum status read_params(const struct hdf5 *h5, hid_t file, const char *path,
                               struct param_set *params)
{
    const hid_t adapter = h5->H5Gopen2(file, "adapter", H5P_DEFAULT);
    const hid_t optim = h5->H5Gopen2(file, "optim", H5P_DEFAULT);
    enum status status = adapter >= 0 && optim >= 0
                             ? STATUS_OK
                             : FAIL(INPUT, "%s: its groups are missing", path);
    for (int64_t i = 0; status == STATUS_OK && i < params->count; i++) {
        const struct param_slot values = values_of(params, &params->params[i]);
        status = read_array(h5, adapter, path, params->params[i].name, &values);
        if (status == STATUS_OK) {
            status = read_slots(h5, optim, path, &params->params[i]);
        }
    }
    if (adapter >= 0) {
        (void)h5->H5Gclose(adapter);
    }
    if (optim >= 0) {
        (void)h5->H5Gclose(optim);
    }
    return status;
}

/* As state_h5_read with the library at hand. */
static enum status read_file(const struct hdf5 *h5, const char *path, struct param_set *params,
                             int64_t step)
{
    int64_t format;
    int64_t saved;
    const hid_t file = h5->H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) {
        return FAIL(INPUT, "%s: no HDF5 file", path);
    }
    enum status status = read_number(h5, file, path, "format", &format);
    if (status == STATUS_OK) {
        status = read_number(h5, file, path, "step", &saved);
    }
    if (status == STATUS_OK && (format != FORMAT || saved != step)) {
        status = FAIL(INPUT, "%s: format %lld, step %lld; expected format %d, step %lld", path,
                      (long long)format, (long long)saved, FORMAT, (long long)step);
    }
    if (status == STATUS_OK) {
        status = check_optimizer(h5, file, path, params);
    }
    if (status == STATUS_OK) {
        status = read_params(h5, file, path, params);
    }
    (void)h5->H5Fclose(file);
    return status;
}

enum status state_h5_read(const char *path, struct param_set *params, int64_t step)
{
    struct hdf5 h5;
    TRY(hdf5_open(&h5));
    return read_file(&h5, path, params, step);
}

enum status state_h5_version(char *out, size_t size)
{
    struct hdf5 h5;
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    TRY(hdf5_open(&h5));
    if (h5.H5get_libversion(&major, &minor, &release) < 0) {
        return FAIL(DEVICE, "HDF5 does not tell its version");
    }
    (void)snprintf(out, size, "%u.%u.%u", major, minor, release);
    return STATUS_OK;
}
