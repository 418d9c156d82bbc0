/*
 * RoPE keys of config.json, both generations (spec models.md 1.2, 1.3):
 *   new: rope_parameters {rope_type, rope_theta, ...}, perhaps one object per layer type;
 *   old: rope_theta, rope_scaling {type | rope_type, ...}, rope_local_base_freq.
 * ropes[0] serves full attention; a second table, where there is one, serves sliding layers.
 */
#include <math.h>
#include <string.h>

#include "trainer/model/config_internal.h"

/* YaRN's magnitude m(f, k) = 0.1 k ln f + 1 (1 where f <= 1). */
static double yarn_magnitude(double factor, double k)
{
    return factor > 1.0 ? 0.1 * k * log(factor) + 1.0 : 1.0;
}

static enum status read_yarn(struct rope_config *r, const json_t *p, const char *where)
{
    double given;
    double mscale;
    double mscale_all;
    TRY(config_number(p, "beta_fast", 32.0, where, &r->beta_fast));
    TRY(config_number(p, "beta_slow", 1.0, where, &r->beta_slow));
    TRY(config_number(p, "attention_factor", 0.0, where, &given));
    TRY(config_number(p, "mscale", 0.0, where, &mscale));
    TRY(config_number(p, "mscale_all_dim", 0.0, where, &mscale_all));
    r->keep_fraction = json_is_false(json_object_get(p, "truncate"));
    if (given != 0.0) {
        r->magnitude = given;
    } else if (mscale != 0.0 && mscale_all != 0.0) {
        r->magnitude = yarn_magnitude(r->factor, mscale) / yarn_magnitude(r->factor, mscale_all);
    } else {
        r->magnitude = yarn_magnitude(r->factor, 1.0);
    }
    return STATUS_OK;
}

static enum status read_scaling(struct rope_config *r, const json_t *p, const char *where)
{
    const json_t *name = json_object_get(p, "rope_type");
    const json_t *type = name ? name : json_object_get(p, "type");
    const char *text = type ? json_string_value(type) : "default";
    static const struct {
        const char *name;
        enum rope_scaling scaling;
    } TYPES[] = {{"default", ROPE_DEFAULT},
                 {"mrope", ROPE_DEFAULT},
                 {"linear", ROPE_LINEAR},
                 {"llama3", ROPE_LLAMA3},
                 {"yarn", ROPE_YARN}};
    for (size_t i = 0; text && i < sizeof TYPES / sizeof TYPES[0]; i++) {
        if (strcmp(text, TYPES[i].name) == 0) {
            r->scaling = TYPES[i].scaling;
            return STATUS_OK;
        }
    }
    return FAIL(INPUT, "%s: RoPE type '%s' is not supported; known: default, linear, llama3, yarn",
                where, text ? text : "(no string)");
}

/* One object of parameters; `top` holds what may sit beside it. */
static enum status read_rope(const struct model_config *c, struct rope_config *r, const json_t *p,
                             const json_t *top, double theta, const char *where)
{
    double original;
    double partial;
    *r = (struct rope_config){0};
    TRY(read_scaling(r, p, where));
    TRY(config_number(p, "rope_theta", theta, where, &r->theta));
    TRY(config_number(p, "factor", 1.0, where, &r->factor));
    TRY(config_number(p, "low_freq_factor", 1.0, where, &r->low_freq_factor));
    TRY(config_number(p, "high_freq_factor", 4.0, where, &r->high_freq_factor));
    TRY(config_number(p, "original_max_position_embeddings", (double)c->context, where, &original));
    TRY(config_number(top, "original_max_position_embeddings", original, where, &original));
    TRY(config_number(top, "partial_rotary_factor", 1.0, where, &partial));
    TRY(config_number(p, "partial_rotary_factor", partial, where, &partial));
    if (partial != 1.0) {
        return FAIL(INPUT, "%s: partial_rotary_factor %g is not supported", where, partial);
    }
    if (!(original >= 1.0) || original > CONFIG_MAX_CONTEXT) {
        return FAIL(INPUT, "%s: 'original_max_position_embeddings' %g is impossible", where,
                    original);
    }
    r->original_context = (int64_t)original;
    return r->scaling == ROPE_YARN ? read_yarn(r, p, where) : STATUS_OK;
}

enum status config_rope_from_json(struct model_config *c, const json_t *json, const char *where)
{
    const double local_theta = c->family->local_theta;
    const json_t *p = json_object_get(json, "rope_parameters");
    const json_t *full = json_object_get(p, "full_attention");
    const json_t *sliding = json_object_get(p, "sliding_attention");
    double theta;
    TRY(config_number(json, "rope_theta", c->family->default_theta, where, &theta));
    c->rope_count = 1;
    if (json_is_object(full)) {
        TRY(read_rope(c, &c->ropes[0], full, json, theta, where));
        if (json_is_object(sliding)) {
            c->rope_count = 2;
            return read_rope(c, &c->ropes[1], sliding, json,
                             local_theta > 0.0 ? local_theta : theta, where);
        }
    } else {
        /* Even in the new spelling a flat object may leave theta at the top level. */
        const json_t *flat = json_is_object(p) ? p : json_object_get(json, "rope_scaling");
        TRY(read_rope(c, &c->ropes[0], flat, json, theta, where));
    }
    if (local_theta > 0.0) {
        c->rope_count = 2;
        c->ropes[1] = (struct rope_config){.scaling = ROPE_DEFAULT};
        return config_number(json, "rope_local_base_freq", local_theta, where, &c->ropes[1].theta);
    }
    return STATUS_OK;
}
