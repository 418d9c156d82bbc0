/*
 * Checkpoint folders: written beside, renamed in one step, opened by their manifest; see
 * checkpoint.h.
 */
#include "trainer/store/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "trainer/format/file.h"
#include "trainer/format/json.h"
#include "trainer/store/state_h5.h"

enum { PATH_CAP = 4096, JSON_CAP = 1 << 30 };

static enum status path_of(char out[PATH_CAP], const char *folder, const char *name)
{
    const int n = snprintf(out, PATH_CAP, "%s/%s", folder, name);
    return n < 0 || n >= PATH_CAP ? FAIL(IO, "%s: the path is too long", folder) : STATUS_OK;
}

static enum status folder_of(char out[PATH_CAP], const char *output_dir, const char *prefix,
                             int64_t step)
{
    const int n = snprintf(out, PATH_CAP, "%s/%scheckpoint-%lld", output_dir, prefix,
                           (long long)step);
    return n < 0 || n >= PATH_CAP ? FAIL(IO, "%s: the path is too long", output_dir) : STATUS_OK;
}

/* Adds the digest of every plain file of `folder` to `files`, and syncs each. */
static enum status digest_files(const char *folder, json_t *files)
{
    DIR *d = opendir(folder);
    if (!d) {
        return file_fail("open", folder);
    }
    enum status status = STATUS_OK;
    for (const struct dirent *e = readdir(d); e && status == STATUS_OK; e = readdir(d)) {
        char path[PATH_CAP];
        char hex[65];
        if (e->d_name[0] == '.') {
            continue;
        }
        status = path_of(path, folder, e->d_name);
        if (status == STATUS_OK) {
            status = file_sync(path);
        }
        if (status == STATUS_OK) {
            status = file_sha256(path, hex);
        }
        if (status == STATUS_OK) {
            (void)json_object_set_new(files, e->d_name, json_string(hex));
        }
    }
    (void)closedir(d);
    return status;
}

static enum status write_manifest(const char *folder, int64_t step)
{
    char path[PATH_CAP];
    json_t *files = json_object();
    enum status status = digest_files(folder, files);
    json_t *manifest = json_pack("{s:I, s:s, s:o}", "step", (json_int_t)step, "graft",
                                 GRAFT_VERSION, "sha256", files);
    if (status == STATUS_OK) {
        status = path_of(path, folder, "manifest.json");
    }
    if (status == STATUS_OK) {
        status = json_write_path(path, manifest);
    }
    json_decref(manifest);
    return status;
}

static enum status write_text(const char *folder, const char *name, const char *text)
{
    char path[PATH_CAP];
    TRY(path_of(path, folder, name));
    return file_write_atomic(path, text, strlen(text));
}

static enum status write_json(const char *folder, const char *name, const json_t *json)
{
    char path[PATH_CAP];
    TRY(path_of(path, folder, name));
    return json_write_path(path, json);
}

static enum status write_folder(const char *folder, const struct param_set *params,
                                const struct checkpoint_state *state, checkpoint_files_fn files,
                                void *files_ctx)
{
    char path[PATH_CAP];
    TRY(file_mkdirs(folder));
    TRY(path_of(path, folder, "state.h5"));
    TRY(state_h5_write(path, params, state->step));
    TRY(write_json(folder, "trainer_state.json", state->trainer_state));
    TRY(write_json(folder, "method_state.json", state->method_state));
    TRY(write_text(folder, "recipe.yaml", state->recipe ? state->recipe : ""));
    if (files) {
        TRY(files(files_ctx, folder));
    }
    TRY(write_manifest(folder, state->step));
    return file_sync(folder);
}

enum status checkpoint_save(const char *output_dir, const struct param_set *params,
                            const struct checkpoint_state *state, checkpoint_files_fn files,
                            void *files_ctx)
{
    char temporary[PATH_CAP];
    char final[PATH_CAP];
    TRY(folder_of(temporary, output_dir, ".tmp-", state->step));
    TRY(folder_of(final, output_dir, "", state->step));
    TRY(file_remove_folder(temporary));
    enum status status = write_folder(temporary, params, state, files, files_ctx);
    if (status == STATUS_OK) { /* an invalid folder of the same step may stand in the way */
        status = file_remove_folder(final);
    }
    if (status == STATUS_OK && rename(temporary, final) != 0) {
        status = file_fail("rename", temporary);
    }
    if (status != STATUS_OK) {
        char message[1024];
        (void)snprintf(message, sizeof message, "%s", status_message());
        if (file_remove_folder(temporary) != STATUS_OK) {
            status_clear(); /* the first failure is the one to tell */
        }
        return status_fail(status, __FILE__, __LINE__,
                           "checkpoint at step %lld: %s; earlier checkpoints are intact",
                           (long long)state->step, message);
    }
    return file_sync(output_dir);
}

/* True when every file of the manifest has its digest. Message says what is wrong. */
static enum status check_manifest(const char *folder, int64_t step)
{
    char path[PATH_CAP];
    json_t *manifest;
    TRY(path_of(path, folder, "manifest.json"));
    TRY(json_load_path(path, JSON_CAP, &manifest));
    enum status status = STATUS_OK;
    const json_t *files = json_object_get(manifest, "sha256");
    if (json_get_int(manifest, "step", -1) != step || json_object_size(files) == 0) {
        status = FAIL(INPUT, "%s: its manifest is for another step or empty", folder);
    }
    const char *name;
    json_t *digest;
    json_object_foreach((json_t *)(uintptr_t)files, name, digest)
    {
        char hex[65];
        if (status == STATUS_OK && strchr(name, '/')) {
            status = FAIL(INPUT, "%s: its manifest names '%s'", folder, name);
        }
        if (status == STATUS_OK) {
            status = path_of(path, folder, name);
        }
        if (status == STATUS_OK) {
            status = file_sha256(path, hex);
        }
        if (status == STATUS_OK
            && (!json_is_string(digest) || strcmp(hex, json_string_value(digest)) != 0)) {
            status = FAIL(INPUT, "%s: %s does not match its digest", folder, name);
        }
    }
    json_decref(manifest);
    return status;
}

/* Steps of all checkpoint-N folders, descending; malloc'd. */
static enum status list_steps(const char *output_dir, int64_t **steps, int64_t *count)
{
    *steps = NULL;
    *count = 0;
    DIR *d = opendir(output_dir);
    if (!d) {
        return errno == ENOENT ? STATUS_OK : file_fail("open", output_dir);
    }
    enum status status = STATUS_OK;
    for (const struct dirent *e = readdir(d); e && status == STATUS_OK; e = readdir(d)) {
        char *end;
        if (strncmp(e->d_name, "checkpoint-", 11) != 0) {
            continue;
        }
        const int64_t step = strtoll(e->d_name + 11, &end, 10);
        int64_t *grown = *end || step < 0
                             ? *steps
                             : realloc(*steps, (size_t)(*count + 1) * sizeof *grown);
        if (*end || step < 0) {
            continue;
        }
        if (!grown) {
            status = FAIL(MEMORY, "%s: no memory", output_dir);
            break;
        }
        *steps = grown;
        int64_t i = (*count)++;
        for (; i > 0 && grown[i - 1] < step; i--) {
            grown[i] = grown[i - 1];
        }
        grown[i] = step;
    }
    (void)closedir(d);
    return status;
}

enum status checkpoint_latest(const char *output_dir, int64_t *step, char **skipped)
{
    int64_t *steps;
    int64_t count;
    char note[1024] = {0};
    *step = -1;
    *skipped = NULL;
    TRY(list_steps(output_dir, &steps, &count));
    for (int64_t i = 0; i < count && *step < 0; i++) {
        char folder[PATH_CAP];
        enum status status = folder_of(folder, output_dir, "", steps[i]);
        if (status == STATUS_OK) {
            status = check_manifest(folder, steps[i]);
        }
        if (status == STATUS_OK) {
            *step = steps[i];
        } else if (status == STATUS_MEMORY) { /* not the checkpoint's fault */
            free(steps);
            return status;
        } else {
            const size_t used = strlen(note);
            (void)snprintf(note + used, sizeof note - used, "%spassed over: %s", used ? "\n" : "",
                           status_message());
        }
    }
    free(steps);
    status_clear();
    *skipped = note[0] ? strdup(note) : NULL;
    return STATUS_OK;
}

enum status checkpoint_peek(const char *output_dir, int64_t step, struct checkpoint_state *state)
{
    char folder[PATH_CAP];
    char path[PATH_CAP];
    struct file_map text;
    *state = (struct checkpoint_state){.step = step};
    TRY(folder_of(folder, output_dir, "", step));
    TRY(path_of(path, folder, "recipe.yaml"));
    TRY(file_map_open(&text, path));
    state->recipe = strndup(text.data ? text.data : "", text.size);
    file_map_close(&text);
    enum status status = state->recipe ? path_of(path, folder, "trainer_state.json")
                                       : FAIL(MEMORY, "%s: no memory", folder);
    if (status == STATUS_OK) {
        status = json_load_path(path, JSON_CAP, &state->trainer_state);
    }
    if (status == STATUS_OK) {
        status = path_of(path, folder, "method_state.json");
    }
    if (status == STATUS_OK) {
        status = json_load_path(path, JSON_CAP, &state->method_state);
    }
    if (status != STATUS_OK) {
        checkpoint_state_close(state);
    }
    return status;
}

enum status checkpoint_load(const char *output_dir, int64_t step, struct param_set *params,
                            struct checkpoint_state *state)
{
    char folder[PATH_CAP];
    char path[PATH_CAP];
    TRY(folder_of(folder, output_dir, "", step));
    TRY(check_manifest(folder, step));
    TRY(checkpoint_peek(output_dir, step, state));
    enum status status = path_of(path, folder, "state.h5");
    if (status == STATUS_OK) {
        status = state_h5_read(path, params, step);
    }
    if (status != STATUS_OK) {
        checkpoint_state_close(state);
    }
    return status;
}

void checkpoint_state_close(struct checkpoint_state *state)
{
    json_decref(state->trainer_state);
    json_decref(state->method_state);
    free(state->recipe);
    *state = (struct checkpoint_state){0};
}

bool checkpoint_exists(const char *output_dir, int64_t step)
{
    char folder[PATH_CAP];
    struct stat info;
    if (folder_of(folder, output_dir, "", step) != STATUS_OK) {
        status_clear();
        return false;
    }
    return stat(folder, &info) == 0 && S_ISDIR(info.st_mode);
}

enum status checkpoint_prune(const char *output_dir, int64_t limit, int64_t best)
{
    int64_t *steps;
    int64_t count;
    if (limit <= 0) {
        return STATUS_OK;
    }
    TRY(list_steps(output_dir, &steps, &count));
    enum status status = STATUS_OK;
    bool has_best = false; /* beside the newest, which stays anyway */
    for (int64_t i = 1; i < count; i++) {
        has_best = has_best || steps[i] == best;
    }
    int64_t left = count;
    const int64_t keep = limit < 1 + has_best ? 1 + has_best : limit;
    for (int64_t i = count - 1; i > 0 && left > keep && status == STATUS_OK; i--) {
        char folder[PATH_CAP];
        if (steps[i] == best) {
            continue;
        }
        status = folder_of(folder, output_dir, "", steps[i]);
        if (status == STATUS_OK) {
            status = file_remove_folder(folder);
        }
        left--;
    }
    free(steps);
    return status;
}
