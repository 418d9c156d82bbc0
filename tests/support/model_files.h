/* Small model files for tests: random models from a configuration, saved and then spoiled. */
#pragma once

#include "trainer/model/model.h"
#include "trainer/model/save.h"

enum { MODEL_FILES_PATH = 512 };

/* A fresh temporary folder; removed with its files (one level of folders inside) by _remove. */
struct model_files {
    char folder[64];
};
void model_files_make(struct model_files *f);
void model_files_remove(struct model_files *f);

/* "folder/name" into buf [MODEL_FILES_PATH]; returns buf. */
const char *model_files_path(const struct model_files *f, const char *name, char *buf);

/* Writes text to folder/name. */
void model_files_write(const struct model_files *f, const char *name, const char *text);

/* A random model of config.json text `config`; fails the test when it can't be made. */
struct model *model_files_random(const struct model_files *f, const char *config, uint64_t seed);

/* Saves `m` as a folder of this name inside. */
void model_files_save(const struct model_files *f, const char *name, struct model *m,
                      enum dtype dtype);

/* How one tensor of a saved folder is spoiled. */
enum spoil { SPOIL_DROP, SPOIL_RENAME, SPOIL_COLUMNS, SPOIL_FLATTEN };

/* Rewrites model.safetensors of folder `name` with tensor `tensor` spoiled; `arg` is the new name
 * for SPOIL_RENAME. */
void model_files_spoil(const struct model_files *f, const char *name, const char *tensor,
                       enum spoil how, const char *arg);

/* Overwrites bytes of a file: finds `after` (its first occurrence), goes `skip` bytes past its end
 * and writes `bytes`. Fails the test when it is not there. */
void model_files_patch(const struct model_files *f, const char *name, const char *after,
                       size_t skip, const void *bytes, size_t count);
