/* A reward from a shared library; its interface is graft_reward.h. */
#include <dlfcn.h>
#include <math.h>
#include <string.h>

#include "rl/reward/graft_reward.h"
#include "rl/reward/reward_internal.h"

enum { PATH };

const struct reward_parameter REWARD_LIBRARY_PARAMETERS[] = {
    {.key = "reward_library",
     .type = PARAMETER_TEXT,
     .doc = "shared library with graft_reward() (rl/reward/graft_reward.h)"},
    {0},
};

struct library {
    void *handle;
    const struct graft_reward_api *api;
    void *state;
};

static enum status load(struct library *l, const char *path)
{
    const struct graft_reward_api *(*table)(void);
    l->handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!l->handle) {
        return FAIL(RECIPE, "reward_library: %s", dlerror());
    }
    /* ISO C has no conversion from void * to a function; POSIX promises this one. */
    void *symbol = dlsym(l->handle, "graft_reward");
    if (!symbol) {
        return FAIL(RECIPE, "reward_library: %s has no function graft_reward", path);
    }
    memcpy(&table, &symbol, sizeof table);
    l->api = table();
    if (!l->api || l->api->abi != GRAFT_REWARD_ABI || !l->api->score) {
        const unsigned found = l->api ? (unsigned)l->api->abi : 0;
        l->api = NULL;
        return FAIL(RECIPE, "reward_library: %s has interface version %u, this program has %u; "
                            "build it with this program's rl/reward/graft_reward.h",
                    path, found, GRAFT_REWARD_ABI);
    }
    return STATUS_OK;
}

static enum status open_state(struct library *l, const json_t *parameters)
{
    int failed = 0;
    char *text = json_dumps(parameters ? parameters : json_null(), JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text) {
        return FAIL(MEMORY, "reward_library: no memory");
    }
    l->state = l->api->open ? l->api->open(text, &failed) : NULL;
    free(text);
    return failed ? FAIL(RECIPE, "reward_library: the library refuses its parameters") : STATUS_OK;
}

enum status reward_open_library(const struct reward *r, const json_t *parameters, void **state)
{
    struct reward_values values = {0};
    struct library *l = calloc(1, sizeof *l);
    *state = l;
    if (!l) {
        return FAIL(MEMORY, "reward_library: no memory");
    }
    enum status status = reward_values_read(r, parameters, &values);
    const char *path = json_string_value(values.json[PATH]);
    if (status == STATUS_OK && !path) {
        status = FAIL(RECIPE, "%s: reward_library names no file", r->name);
    }
    if (status == STATUS_OK) {
        status = load(l, path);
    }
    reward_values_clear(&values);
    return status == STATUS_OK ? open_state(l, parameters) : status;
}

double reward_library(const void *state, const struct reward_input *in, char *reason)
{
    const struct library *l = state;
    char why[REWARD_REASON_CAP] = "";
    char *row = in->row ? json_dumps(in->row, JSON_COMPACT) : NULL;
    const struct graft_reward_input input = {
        .completion = in->completion,
        .prompt = in->prompt,
        .row = row ? row : "{}",
        .tokens = in->tokens,
        .truncated = in->truncated,
    };
    const double score = l->api->score(l->state, &input, why, sizeof why);
    why[sizeof why - 1] = '\0';
    free(row);
    if (!isfinite(score)) {
        reward_explain(reason, "%s", *why ? why : "the library gives no score");
    }
    return isfinite(score) ? score : NAN;
}

void reward_close_library(void *state)
{
    struct library *l = state;
    if (l) {
        if (l->api && l->api->close) {
            l->api->close(l->state);
        }
        if (l->handle) {
            (void)dlclose(l->handle);
        }
        free(l);
    }
}
