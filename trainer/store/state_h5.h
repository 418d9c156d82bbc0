/*
 * state.h5: parameters and optimizer state in HDF5 (spec formats.md 9): /adapter/<key> and
 * /optim/<key>.<slot> (".m" and ".v" of AdamW, ".m.code" of 8-bit state, ...), chunked with
 * fletcher32, plus attributes for format, step and the optimizer.
 */
#pragma once

#include "trainer/model/params.h"

/* Writes a new file. Fails with IO naming the path and dataset (a full disk included). */
MUST_USE enum status state_h5_write(const char *path, const struct param_set *params, int64_t step);

/* Reads into a sealed set with the same names and shapes. Fails with INPUT naming what differs. */
MUST_USE enum status state_h5_read(const char *path, struct param_set *params, int64_t step);

/* out = version of the HDF5 library, "1.10.8". Fails with DEVICE when it can't be loaded, as do the
 * two above. */
MUST_USE enum status state_h5_version(char *out, size_t size);
