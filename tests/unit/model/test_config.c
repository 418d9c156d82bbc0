/* Configurations: config.json of every family, both RoPE spellings, hostile values; RoPE tables. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/model/config.h"

#define SIZES                                                                                      \
    "\"num_hidden_layers\":4,\"hidden_size\":32,\"intermediate_size\":48,"                        \
    "\"num_attention_heads\":4,\"num_key_value_heads\":2,\"vocab_size\":128,"                    \
    "\"max_position_embeddings\":64"
#define MODEL(type, rest) "{\"model_type\":\"" type "\"," SIZES rest "}"

static enum status parse(struct model_config *c, const char *text)
{
    json_error_t error;
    json_t *json = json_loads(text, 0, &error);
    if (!json) {
        fail_msg("the test's own JSON: %s in %s", error.text, text);
    }
    const enum status status = model_config_from_json(c, json, "config.json");
    json_decref(json);
    return status;
}

static struct model_config *accept(const char *text)
{
    static struct model_config c;
    if (parse(&c, text) != STATUS_OK) {
        fail_msg("%s\n%s", status_message(), text);
    }
    return &c;
}

/* Sizes, defaults and switches per family. */
static void families_read_their_switches(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t kv_heads, head_dim;
        bool qkv, o, mlp, tied, plus_one;
        int64_t window[4]; /* per layer */
        int rope[4];
        double scale;
        double theta[2];
    } CASES[] = {
        {MODEL("llama", ""), 2, 8, .scale = 8, .theta = {1e4}},
        {MODEL("llama", ",\"head_dim\":12,\"attention_bias\":true,\"tie_word_embeddings\":true"), 2,
         12, true, true, .tied = true, .scale = 12, .theta = {1e4}},
        {MODEL("llama", ",\"head_dim\":null,\"mlp_bias\":true,\"rope_theta\":5e5"), 2, 8,
         .mlp = true, .scale = 8, .theta = {5e5}},
        {MODEL("mistral", ",\"sliding_window\":null"), 2, 8, .scale = 8, .theta = {1e4}},
        {MODEL("mistral", ",\"sliding_window\":8,\"attention_bias\":true"), 2, 8,
         .window = {8, 8, 8, 8}, .scale = 8, .theta = {1e4}},
        {MODEL("qwen2", ",\"sliding_window\":8,\"use_sliding_window\":false"), 2, 8, true,
         .scale = 8, .theta = {1e4}},
        {MODEL("qwen2", ",\"sliding_window\":8,\"use_sliding_window\":true,"
                        "\"max_window_layers\":3"), 2, 8, true, .window = {0, 0, 0, 8},
         .scale = 8, .theta = {1e4}},
        {MODEL("qwen2", ",\"sliding_window\":6,\"use_sliding_window\":true,\"layer_types\":["
                        "\"sliding_attention\",\"full_attention\",\"attention\","
                        "\"sliding_attention\"]"), 2, 8, true, .window = {6, 0, 0, 6}, .scale = 8,
         .theta = {1e4}},
        {MODEL("qwen3", ""), 2, 128, .scale = 128, .theta = {1e4}},
        {MODEL("qwen3", ",\"head_dim\":16,\"attention_bias\":true"), 2, 16, true, true,
         .scale = 16, .theta = {1e4}},
        {MODEL("gemma3_text", ",\"head_dim\":8,\"query_pre_attn_scalar\":20,\"sliding_window\":5,"
                              "\"sliding_window_pattern\":3"), 2, 8, .tied = true,
         .plus_one = true, .window = {5, 5, 0, 5}, .rope = {1, 1, 0, 1}, .scale = 20,
         .theta = {1e6, 1e4}},
        {MODEL("gemma3_text", ",\"head_dim\":8,\"sliding_window\":5,\"rope_theta\":2e6,"
                              "\"rope_local_base_freq\":3e4,\"_sliding_window_pattern\":2"), 2, 8,
         .tied = true, .plus_one = true, .window = {5, 0, 5, 0}, .rope = {1, 0, 1, 0},
         .scale = 256, .theta = {2e6, 3e4}},
        {"{\"model_type\":\"gemma3\",\"text_config\":" MODEL("gemma3_text", ",\"head_dim\":8,"
         "\"sliding_window\":5") ",\"tie_word_embeddings\":false}", 2, 8, .plus_one = true,
         .window = {5, 5, 5, 5}, .rope = {1, 1, 1, 1}, .scale = 256, .theta = {1e6, 1e4}},
    };
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        const struct model_config *c = accept(CASES[k].text);
        assert_int_equal(c->kv_heads, CASES[k].kv_heads);
        assert_int_equal(c->head_dim, CASES[k].head_dim);
        assert_int_equal(c->qkv_bias, CASES[k].qkv);
        assert_int_equal(c->o_bias, CASES[k].o);
        assert_int_equal(c->mlp_bias, CASES[k].mlp);
        assert_int_equal(c->tied, CASES[k].tied);
        assert_int_equal(c->norm_plus_one, CASES[k].plus_one);
        assert_true(fabs((double)c->attn_scale - 1.0 / sqrt(CASES[k].scale)) < 1e-7);
        for (int i = 0; i < 4; i++) {
            assert_int_equal(c->layer[i].window, CASES[k].window[i]);
            assert_int_equal(c->layer[i].rope, CASES[k].rope[i]);
        }
        assert_int_equal(c->rope_count, CASES[k].theta[1] > 0.0 ? 2 : 1);
        for (int i = 0; i < c->rope_count; i++) {
            assert_true(c->ropes[i].theta == CASES[k].theta[i]);
        }
    }
}

#define LLAMA3                                                                                     \
    "\"rope_type\":\"llama3\",\"factor\":8.0,\"low_freq_factor\":1.0,\"high_freq_factor\":4.0,"    \
    "\"original_max_position_embeddings\":16"

/* The old and the new spelling mean the same. */
/* Gemma 2 caps scores and logits; Gemma 3 has both keys and its attention reads neither. */
static void softcaps_are_the_class_s(void **state)
{
    (void)state;
    const struct model_config *c = accept(MODEL("gemma2", ""));
    assert_true(c->attn_softcap == 50.0f && c->final_softcap == 30.0f);
    c = accept(MODEL("gemma2", ",\"attn_logit_softcapping\":null,\"final_logit_softcapping\":7"));
    assert_true(c->attn_softcap == 0.0f && c->final_softcap == 7.0f);
    c = accept(MODEL("gemma3_text",
                     ",\"attn_logit_softcapping\":4,\"final_logit_softcapping\":5"));
    assert_true(c->attn_softcap == 0.0f && c->final_softcap == 5.0f);
    c = accept(MODEL("gemma3_text", ""));
    assert_true(c->attn_softcap == 0.0f && c->final_softcap == 0.0f);
}

static void rope_spellings_agree(void **state)
{
    (void)state;
    static const char *const SAME[] = {
        MODEL("llama", ",\"rope_theta\":5e5,\"rope_scaling\":{" LLAMA3 "}"),
        MODEL("llama", ",\"rope_parameters\":{\"rope_theta\":5e5," LLAMA3 "}"),
        MODEL("llama", ",\"rope_theta\":5e5,\"rope_parameters\":{" LLAMA3 "}"),
        MODEL("llama", ",\"rope_parameters\":{\"full_attention\":{\"rope_theta\":5e5," LLAMA3 "}}"),
    };
    for (size_t i = 0; i < sizeof SAME / sizeof SAME[0]; i++) {
        const struct rope_config *r = &accept(SAME[i])->ropes[0];
        assert_int_equal(r->scaling, ROPE_LLAMA3);
        assert_true(r->theta == 5e5 && r->factor == 8.0 && r->original_context == 16);
        assert_true(r->low_freq_factor == 1.0 && r->high_freq_factor == 4.0);
    }
    const struct model_config *c = accept(
        MODEL("gemma3_text", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":8.0}"));
    assert_int_equal(c->ropes[0].scaling, ROPE_LINEAR);
    assert_int_equal(c->ropes[1].scaling, ROPE_DEFAULT);
    c = accept(MODEL("gemma3_text",
                     ",\"rope_parameters\":{\"full_attention\":{\"rope_type\":\"linear\","
                     "\"factor\":8.0,\"rope_theta\":1e6},\"sliding_attention\":{\"rope_type\":"
                     "\"default\",\"rope_theta\":2e4}}"));
    assert_int_equal(c->ropes[0].scaling, ROPE_LINEAR);
    assert_true(c->ropes[1].theta == 2e4);
    /* A top-level original context wins over the one inside. */
    c = accept(MODEL("llama", ",\"original_max_position_embeddings\":32,\"rope_scaling\":{" LLAMA3
                              "}"));
    assert_int_equal(c->ropes[0].original_context, 32);
}

static void stop_ids_come_as_number_or_list(void **state)
{
    (void)state;
    const struct model_config *c = accept(MODEL("llama", ",\"eos_token_id\":7,\"bos_token_id\":1"));
    assert_int_equal(c->stop_count, 1);
    assert_int_equal(c->stops[0], 7);
    assert_int_equal(c->bos, 1);
    c = accept(MODEL("llama", ",\"eos_token_id\":[7,9,7,-3],\"bos_token_id\":null"));
    assert_int_equal(c->stop_count, 2);
    assert_int_equal(c->stops[1], 9);
    assert_int_equal(c->bos, -1);
    assert_int_equal(accept(MODEL("llama", ",\"eos_token_id\":null"))->stop_count, 0);
}

/* Bad files fail with INPUT and a message that names the place. */
static void hostile_values_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *says;
    } CASES[] = {
        {"[]", "model_type"},
        {"{\"model_type\":3}", "model_type"},
        {MODEL("nosuch", ""), "known: llama, mistral"},
        {"{\"model_type\":\"llama\"}", "num_hidden_layers"},
        {"{\"model_type\":\"gemma3\"}", "text_config"},
        {MODEL("llama", ",\"num_hidden_layers\":0"), "layers"},
        {MODEL("llama", ",\"num_hidden_layers\":257"), "1 to 256"},
        {MODEL("llama", ",\"num_hidden_layers\":2.5"), "whole number"},
        {MODEL("llama", ",\"num_attention_heads\":0"), "num_attention_heads"},
        {MODEL("llama", ",\"num_attention_heads\":-4"), "num_attention_heads"},
        {MODEL("llama", ",\"num_key_value_heads\":3"), "divide"},
        {MODEL("llama", ",\"num_key_value_heads\":8"), "key/value heads"},
        {MODEL("llama", ",\"num_key_value_heads\":\"2\""), "num_key_value_heads"},
        {MODEL("llama", ",\"head_dim\":7"), "odd"},
        {MODEL("llama", ",\"head_dim\":9223372036854775807"), "head size"},
        {MODEL("llama", ",\"num_attention_heads\":4611686018427387904"), "heads"},
        {MODEL("llama", ",\"hidden_size\":9223372036854775807"), "hidden size"},
        {MODEL("llama", ",\"vocab_size\":99999999999"), "vocabulary"},
        {MODEL("llama", ",\"max_position_embeddings\":-1"), "context"},
        {MODEL("llama", ",\"rms_norm_eps\":\"x\""), "rms_norm_eps"},
        {MODEL("llama", ",\"rms_norm_eps\":-1.0"), "epsilon"},
        {MODEL("llama", ",\"hidden_act\":\"relu\""), "relu"},
        {MODEL("llama", ",\"rope_theta\":0"), "theta"},
        {MODEL("llama", ",\"rope_scaling\":{\"type\":\"longrope\"}"), "longrope"},
        {MODEL("llama", ",\"rope_scaling\":{\"type\":5}"), "RoPE type"},
        {MODEL("llama", ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":0}"), "factor"},
        {MODEL("llama", ",\"rope_scaling\":{\"type\":\"llama3\",\"factor\":2,"
                        "\"original_max_position_embeddings\":1e300}"), "original_max"},
        {MODEL("llama", ",\"partial_rotary_factor\":0.5"), "partial_rotary_factor"},
        {MODEL("llama", ",\"eos_token_id\":\"x\""), "eos_token_id"},
        {MODEL("llama", ",\"eos_token_id\":[1,\"x\"]"), "eos_token_id"},
        {MODEL("llama", ",\"tie_word_embeddings\":1"), "tie_word_embeddings"},
        {MODEL("mistral", ",\"sliding_window\":-5"), "sliding_window"},
        {MODEL("qwen2", ",\"layer_types\":[\"full_attention\"]"), "list of 4"},
        {MODEL("qwen2", ",\"layer_types\":[1,2,3,4]"), "layer_types[0]"},
        {MODEL("qwen3", ",\"layer_types\":[\"full_attention\",\"linear_attention\",\"\",\"\"]"),
         "layer_types[1]"},
        {MODEL("gemma3_text", ",\"query_pre_attn_scalar\":0"), "query_pre_attn_scalar"},
        {MODEL("gemma3_text", ",\"sliding_window_pattern\":0"), "sliding_window_pattern"},
        {MODEL("gemma3_text", ",\"use_bidirectional_attention\":true"), "bidirectional"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct model_config c;
        const enum status status = parse(&c, CASES[i].text);
        if (status != STATUS_INPUT || !strstr(status_message(), CASES[i].says)) {
            fail_msg("status %d, message '%s', expected '%s' for %s", (int)status,
                     status_message(), CASES[i].says, CASES[i].text);
        }
        assert_non_null(strstr(status_message(), "config.json"));
    }
}

/* Angles against a double-precision evaluation of spec models.md 1.3. */
static double reference_frequency(const struct rope_config *r, int dim, int j)
{
    const double inv = pow(r->theta, -2.0 * j / dim) / (r->divisors ? (double)r->divisors[j] : 1.0);
    if (r->scaling == ROPE_LINEAR) {
        return inv / r->factor;
    }
    if (r->scaling == ROPE_LLAMA3) {
        const double wavelength = 2.0 * acos(-1.0) / inv;
        const double turns = (double)r->original_context / wavelength;
        if (turns > r->high_freq_factor) {
            return inv;
        }
        if (turns < r->low_freq_factor || r->low_freq_factor == r->high_freq_factor) {
            return inv / r->factor;
        }
        const double s = (turns - r->low_freq_factor) / (r->high_freq_factor - r->low_freq_factor);
        return inv * ((1.0 - s) / r->factor + s);
    }
    return inv;
}

static void rope_tables_hold_the_angles(void **state)
{
    (void)state;
    enum { DIM = 16, POSITIONS = 300 };
    static const float DIVISORS[DIM / 2] = {1, 1, 1.5f, 2, 4, 8, 8, 1e30f};
    static const struct rope_config CASES[] = {
        {.scaling = ROPE_DEFAULT, .theta = 1e4},
        {.scaling = ROPE_LINEAR, .theta = 1e6, .factor = 8.0},
        {.scaling = ROPE_LLAMA3, .theta = 5e5, .factor = 8.0, .low_freq_factor = 1.0,
         .high_freq_factor = 4.0, .original_context = 64},
        {.scaling = ROPE_LLAMA3, .theta = 5e5, .factor = 8.0, .low_freq_factor = 2.0,
         .high_freq_factor = 2.0, .original_context = 64},
        {.scaling = ROPE_DEFAULT, .theta = 1e4, .divisors = DIVISORS},
    };
    static float cosines[POSITIONS * DIM / 2];
    static float sines[POSITIONS * DIM / 2];
    for (size_t k = 0; k < sizeof CASES / sizeof CASES[0]; k++) {
        rope_fill_tables(&CASES[k], DIM, POSITIONS, cosines, sines);
        for (int p = 0; p < POSITIONS; p++) {
            for (int j = 0; j < DIM / 2; j++) {
                const double angle = p * reference_frequency(&CASES[k], DIM, j);
                /* fp32 frequencies: the angle is off by up to a few ulp of itself. */
                const double limit = 1e-6 + fabs(angle) * 5e-7;
                assert_true(fabs((double)cosines[p * DIM / 2 + j] - cos(angle)) < limit);
                assert_true(fabs((double)sines[p * DIM / 2 + j] - sin(angle)) < limit);
            }
        }
    }
}

/* YaRN keeps fast frequencies, divides slow ones, and scales the magnitude by 0.1 ln f + 1. */
static void yarn_blends_and_scales(void **state)
{
    (void)state;
    const struct model_config *c = accept(
        MODEL("llama", ",\"head_dim\":32,\"rope_scaling\":{\"type\":\"yarn\",\"factor\":4.0,"
                       "\"original_max_position_embeddings\":4096}"));
    const struct rope_config *r = &c->ropes[0];
    const double magnitude = 0.1 * log(4.0) + 1.0;
    assert_true(fabs(r->magnitude - magnitude) < 1e-12);
    float cosines[2 * 16];
    float sines[2 * 16];
    rope_fill_tables(r, 32, 2, cosines, sines);
    assert_true(fabs((double)cosines[0] - magnitude) < 1e-6);
    assert_true(fabs((double)sines[16] - magnitude * sin(1.0)) < 1e-6);
    const double slow = pow(1e4, -30.0 / 32.0) / 4.0;
    assert_true(fabs((double)sines[31] - magnitude * sin(slow)) < 1e-7);
}

static void family_rows_are_found_by_both_names(void **state)
{
    (void)state;
    for (int64_t i = 0; family_at(i); i++) {
        const struct family *f = family_at(i);
        assert_ptr_equal(family_by_model_type(f->name), f);
        if (f->gguf_arch) {
            assert_non_null(family_by_gguf_arch(f->gguf_arch, strlen(f->gguf_arch)));
        }
    }
    assert_string_equal(family_by_gguf_arch("llama", 5)->name, "llama");
    assert_null(family_by_gguf_arch("llama", 4));
    assert_null(family_by_model_type("bert"));
    assert_null(family_at(-1));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(families_read_their_switches),
        cmocka_unit_test(softcaps_are_the_class_s),
        cmocka_unit_test(rope_spellings_agree),
        cmocka_unit_test(stop_ids_come_as_number_or_list),
        cmocka_unit_test(hostile_values_are_refused),
        cmocka_unit_test(rope_tables_hold_the_angles),
        cmocka_unit_test(yarn_blends_and_scales),
        cmocka_unit_test(family_rows_are_found_by_both_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
