/* The moving reference; see ref_sync.h. */
#include "rl/ref_sync.h"

#include <stdio.h>

static bool moves(const struct ref_sync *s)
{
    return s->reference && s->every > 0;
}

void ref_sync_step(struct ref_sync *s, int64_t done)
{
    if (moves(s) && done > s->last && done % s->every == 0) {
        model_reference_mix(s->reference, s->alpha);
        s->last = done;
    }
}

void ref_sync_save(const struct ref_sync *s, int64_t step, json_t *state)
{
    if (moves(s)) {
        (void)json_object_set_new(state, "reference_step", json_integer(step));
        (void)json_object_set_new(state, "reference_moved", json_integer(s->last));
    }
}

enum status ref_sync_load(struct ref_sync *s, const json_t *state)
{
    char folder[4096];
    if (!moves(s)) {
        return STATUS_OK;
    }
    (void)snprintf(folder, sizeof folder, "%s/checkpoint-%lld", s->output_dir,
                   (long long)json_integer_value(json_object_get(state, "reference_step")));
    s->last = json_integer_value(json_object_get(state, "reference_moved"));
    return model_reference_load(s->reference, folder);
}
