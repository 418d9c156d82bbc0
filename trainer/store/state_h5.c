/* Serial HDF5 of parameters and moments; see state_h5.h. */
#include "trainer/store/state_h5.h"

#include <hdf5.h>

#include "trainer/format/file.h"

enum { FORMAT = 1, CHUNK = 1 << 20, IMAGE_STEP = 1 << 24 };

static enum status h5_fail(const char *path, const char *what)
{
    return FAIL(IO, "%s: HDF5 cannot write %s; is the disk full?", path, what);
}

static enum status write_array(hid_t group, const char *path, const char *name, const float *data,
                               int64_t count)
{
    const hsize_t size = (hsize_t)count;
    const hsize_t chunk = size < CHUNK ? size : CHUNK;
    const hid_t space = H5Screate_simple(1, &size, NULL);
    const hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    bool ok = space >= 0 && layout >= 0 && H5Pset_chunk(layout, 1, &chunk) >= 0
              && H5Pset_fletcher32(layout) >= 0 && H5Pset_obj_track_times(layout, false) >= 0
              && H5Pset_fill_time(layout, H5D_FILL_TIME_NEVER) >= 0;
    const hid_t set = ok ? H5Dcreate2(group, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, layout,
                                      H5P_DEFAULT)
                         : -1;
    ok = set >= 0 && H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) >= 0;
    ok = (set < 0 || H5Dclose(set) >= 0) && ok;
    (void)H5Pclose(layout);
    (void)H5Sclose(space);
    return ok ? STATUS_OK : h5_fail(path, name);
}

static enum status write_number(hid_t file, const char *path, const char *name, int64_t value)
{
    const hid_t space = H5Screate(H5S_SCALAR);
    const hid_t attribute =
        H5Acreate2(file, name, H5T_STD_I64LE, space, H5P_DEFAULT, H5P_DEFAULT);
    const long long number = value;
    const bool ok = attribute >= 0 && H5Awrite(attribute, H5T_NATIVE_LLONG, &number) >= 0;
    if (attribute >= 0) {
        (void)H5Aclose(attribute);
    }
    (void)H5Sclose(space);
    return ok ? STATUS_OK : h5_fail(path, name);
}

static enum status write_params(hid_t file, const char *path, const struct param_set *params)
{
    const hid_t adapter = H5Gcreate2(file, "adapter", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t optim = H5Gcreate2(file, "optim", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    enum status status = adapter >= 0 && optim >= 0 ? STATUS_OK : h5_fail(path, "its groups");
    for (int64_t i = 0; status == STATUS_OK && i < params->count; i++) {
        const struct param *p = &params->params[i];
        char name[1024];
        status = write_array(adapter, path, p->name, params->value + p->offset, p->count);
        if (status == STATUS_OK && params->m) {
            (void)snprintf(name, sizeof name, "%s.m", p->name);
            status = write_array(optim, path, name, params->m + p->offset, p->count);
        }
        if (status == STATUS_OK && params->v) {
            (void)snprintf(name, sizeof name, "%s.v", p->name);
            status = write_array(optim, path, name, params->v + p->offset, p->count);
        }
    }
    if (adapter >= 0) {
        (void)H5Gclose(adapter);
    }
    if (optim >= 0) {
        (void)H5Gclose(optim);
    }
    return status;
}

/* Fills an open file and flushes it. */
static enum status write_all(hid_t file, const char *path, const struct param_set *params,
                             int64_t step)
{
    TRY(write_number(file, path, "format", FORMAT));
    TRY(write_number(file, path, "step", step));
    TRY(write_params(file, path, params));
    return H5Fflush(file, H5F_SCOPE_GLOBAL) < 0 ? h5_fail(path, "the file") : STATUS_OK;
}

/* The finished file's bytes to disk. */
static enum status write_image(hid_t file, const char *path)
{
    const ssize_t size = H5Fget_file_image(file, NULL, 0);
    void *image = size > 0 ? malloc((size_t)size) : NULL;
    if (!image || H5Fget_file_image(file, image, (size_t)size) != size) {
        free(image);
        return FAIL(MEMORY, "%s: no memory for its %lld bytes", path, (long long)size);
    }
    const enum status status = file_write_atomic(path, image, (size_t)size);
    free(image);
    return status;
}

/* The file is made in memory and written in one piece: HDF5 1.10 can't close a file whose disk is full
 * and would crash at exit. */
enum status state_h5_write(const char *path, const struct param_set *params, int64_t step)
{
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    const bool in_memory = access >= 0 && H5Pset_fapl_core(access, IMAGE_STEP, false) >= 0;
    const hid_t file = in_memory ? H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, access) : -1;
    enum status status = file >= 0 ? write_all(file, path, params, step)
                                   : h5_fail(path, "the file");
    if (status == STATUS_OK) {
        status = write_image(file, path);
    }
    if (file >= 0 && H5Fclose(file) < 0 && status == STATUS_OK) {
        status = h5_fail(path, "the file");
    }
    if (access >= 0) {
        (void)H5Pclose(access);
    }
    return status;
}

static enum status read_array(hid_t group, const char *path, const char *name, float *data,
                              int64_t count)
{
    const hid_t set = H5Dopen2(group, name, H5P_DEFAULT);
    if (set < 0) {
        return FAIL(INPUT, "%s: '%s' is missing; the checkpoint belongs to another adapter", path,
                    name);
    }
    const hid_t space = H5Dget_space(set);
    const hssize_t found = H5Sget_simple_extent_npoints(space);
    enum status status = STATUS_OK;
    if (found != (hssize_t)count) {
        status = FAIL(INPUT, "%s: '%s' has %lld numbers, expected %lld", path, name,
                      (long long)found, (long long)count);
    } else if (H5Dread(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        status = FAIL(INPUT, "%s: '%s' is damaged (checksum)", path, name);
    }
    (void)H5Sclose(space);
    (void)H5Dclose(set);
    return status;
}

static enum status read_number(hid_t file, const char *path, const char *name, int64_t *out)
{
    long long number = -1;
    const hid_t attribute = H5Aopen(file, name, H5P_DEFAULT);
    const bool ok = attribute >= 0 && H5Aread(attribute, H5T_NATIVE_LLONG, &number) >= 0;
    if (attribute >= 0) {
        (void)H5Aclose(attribute);
    }
    *out = number;
    return ok ? STATUS_OK : FAIL(INPUT, "%s: attribute '%s' is missing", path, name);
}

static enum status read_params(hid_t file, const char *path, struct param_set *params)
{
    const hid_t adapter = H5Gopen2(file, "adapter", H5P_DEFAULT);
    const hid_t optim = H5Gopen2(file, "optim", H5P_DEFAULT);
    enum status status = adapter >= 0 && optim >= 0
                             ? STATUS_OK
                             : FAIL(INPUT, "%s: its groups are missing", path);
    for (int64_t i = 0; status == STATUS_OK && i < params->count; i++) {
        const struct param *p = &params->params[i];
        char name[1024];
        status = read_array(adapter, path, p->name, params->value + p->offset, p->count);
        if (status == STATUS_OK && params->m) {
            (void)snprintf(name, sizeof name, "%s.m", p->name);
            status = read_array(optim, path, name, params->m + p->offset, p->count);
        }
        if (status == STATUS_OK && params->v) {
            (void)snprintf(name, sizeof name, "%s.v", p->name);
            status = read_array(optim, path, name, params->v + p->offset, p->count);
        }
    }
    if (adapter >= 0) {
        (void)H5Gclose(adapter);
    }
    if (optim >= 0) {
        (void)H5Gclose(optim);
    }
    return status;
}

enum status state_h5_read(const char *path, struct param_set *params, int64_t step)
{
    int64_t format;
    int64_t saved;
    (void)H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    const hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    if (file < 0) {
        return FAIL(INPUT, "%s: no HDF5 file", path);
    }
    enum status status = read_number(file, path, "format", &format);
    if (status == STATUS_OK) {
        status = read_number(file, path, "step", &saved);
    }
    if (status == STATUS_OK && (format != FORMAT || saved != step)) {
        status = FAIL(INPUT, "%s: format %lld, step %lld; expected format %d, step %lld", path,
                      (long long)format, (long long)saved, FORMAT, (long long)step);
    }
    if (status == STATUS_OK) {
        status = read_params(file, path, params);
    }
    (void)H5Fclose(file);
    return status;
}
