/*
 * The functions and types of HDF5 that checkpoints use, loaded at the first one. Debian's HDF5
 * brings a network client with Kerberos and LDAP along: half of the program's libraries, which a
 * `graft --help` would wait for.
 */
#pragma once

#include <hdf5.h>

#include "kernels/base/status.h"

/* Constants like H5F_ACC_TRUNC start the library where they stand; hdf5_open has done so. */
#undef H5OPEN
#undef H5CHECK
#define H5OPEN
#define H5CHECK

/* Each is a member of struct hdf5 by its own name. */
#define HDF5_FUNCTIONS(X)                                                                          \
    X(H5Aclose)                                                                                    \
    X(H5Acreate2)                                                                                  \
    X(H5Aget_type)                                                                                 \
    X(H5Aopen)                                                                                     \
    X(H5Aread)                                                                                     \
    X(H5Awrite)                                                                                    \
    X(H5Dclose)                                                                                    \
    X(H5Dcreate2)                                                                                  \
    X(H5Dget_space)                                                                                \
    X(H5Dget_type)                                                                                 \
    X(H5Dopen2)                                                                                    \
    X(H5Dread)                                                                                     \
    X(H5Dwrite)                                                                                    \
    X(H5Eset_auto2)                                                                                \
    X(H5Fclose)                                                                                    \
    X(H5Fcreate)                                                                                   \
    X(H5Fflush)                                                                                    \
    X(H5Fget_file_image)                                                                           \
    X(H5Fopen)                                                                                     \
    X(H5Gclose)                                                                                    \
    X(H5Gcreate2)                                                                                  \
    X(H5Gopen2)                                                                                    \
    X(H5Pclose)                                                                                    \
    X(H5Pcreate)                                                                                   \
    X(H5Pset_chunk)                                                                                \
    X(H5Pset_fapl_core)                                                                            \
    X(H5Pset_file_image_callbacks)                                                                 \
    X(H5Pset_fill_time)                                                                            \
    X(H5Pset_fletcher32)                                                                           \
    X(H5Pset_obj_track_times)                                                                      \
    X(H5Sclose)                                                                                    \
    X(H5Screate)                                                                                   \
    X(H5Screate_simple)                                                                            \
    X(H5Sget_simple_extent_npoints)                                                                \
    X(H5Tclose)                                                                                    \
    X(H5Tcopy)                                                                                     \
    X(H5Tget_class)                                                                                \
    X(H5Tget_size)                                                                                 \
    X(H5Tset_size)                                                                                 \
    X(H5get_libversion)                                                                            \
    X(H5open)

/* Member of struct hdf5, the library's variable: what H5T_STD_U8LE and so on stand for. */
#define HDF5_IDS(X)                                                                                \
    X(std_u8le, H5T_STD_U8LE_g)                                                                    \
    X(std_i64le, H5T_STD_I64LE_g)                                                                  \
    X(ieee_f32le, H5T_IEEE_F32LE_g)                                                                \
    X(c_s1, H5T_C_S1_g)                                                                            \
    X(native_uint8, H5T_NATIVE_UINT8_g)                                                            \
    X(native_float, H5T_NATIVE_FLOAT_g)                                                            \
    X(native_llong, H5T_NATIVE_LLONG_g)                                                            \
    X(file_access, H5P_CLS_FILE_ACCESS_ID_g)                                                       \
    X(dataset_create, H5P_CLS_DATASET_CREATE_ID_g)

struct hdf5 {
#define HDF5_MEMBER(name) __typeof__(&(name)) name;
    HDF5_FUNCTIONS(HDF5_MEMBER)
#undef HDF5_MEMBER
#define HDF5_MEMBER(member, variable) const hid_t *member;
    HDF5_IDS(HDF5_MEMBER)
#undef HDF5_MEMBER
};

/* Loads HDF5 (once for the process), starts it and fills the table; HDF5's own messages are off.
 * Fails with DEVICE when the library isn't there. */
MUST_USE enum status hdf5_open(struct hdf5 *h5);
