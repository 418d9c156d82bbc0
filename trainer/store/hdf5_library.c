/* HDF5 as a library of its own; see hdf5_library.h. */
#include "trainer/store/hdf5_library.h"

#include "kernels/base/library.h"

static const struct library_symbol SYMBOLS[] = {
#define HDF5_ROW(name) {#name, offsetof(struct hdf5, name)},
    HDF5_FUNCTIONS(HDF5_ROW)
#undef HDF5_ROW
#define HDF5_ROW(member, variable) {#variable, offsetof(struct hdf5, member)},
    HDF5_IDS(HDF5_ROW)
#undef HDF5_ROW
};

enum status hdf5_open(struct hdf5 *h5)
{
    TRY(library_load(LIBRARY_SONAME, LIBRARY_PATH, "libhdf5-openmpi", SYMBOLS,
                     sizeof SYMBOLS / sizeof *SYMBOLS, h5));
    if (h5->H5open() < 0) {
        return FAIL(DEVICE, "%s does not start", LIBRARY_SONAME);
    }
    (void)h5->H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    return STATUS_OK;
}
