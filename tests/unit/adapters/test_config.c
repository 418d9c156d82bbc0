/*
 * adapter_config.json read, attached, written and read again; folders that must be refused; tensors
 * that are missing, misshapen or too many. On a tiny random model.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "tests/support/model_files.h"
#include "trainer/format/safetensors.h"

static const char MODEL[] =
    "{\"model_type\": \"llama\", \"hidden_size\": 16, \"num_attention_heads\": 2,"
    "\"num_key_value_heads\": 1, \"head_dim\": 8, \"intermediate_size\": 24,"
    "\"num_hidden_layers\": 2, \"vocab_size\": 40, \"max_position_embeddings\": 64,"
    "\"rms_norm_eps\": 1e-6}";

static void need(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s (%s)", status_message(), status_trace());
    }
}

/* An adapter attached to a model of its own; values are random. */
struct attached {
    struct model *m;
    struct param_set params;
    struct adapter *adapter;
};

static enum status attach(struct attached *a, const struct model_files *f,
                          const struct adapter_config *c)
{
    *a = (struct attached){.m = model_files_random(f, MODEL, 1)};
    param_set_open(&a->params);
    TRY(adapter_attach(&a->adapter, a->m, &a->params, c));
    TRY(param_set_seal(&a->params, NULL));
    adapter_initialize(a->adapter, 3);
    return STATUS_OK;
}

static void detach(struct attached *a)
{
    adapter_close(a->adapter);
    param_set_close(&a->params);
    model_close(a->m);
}

/* The configuration that `text` as adapter_config.json gives. */
static enum status read_text(const struct model_files *f, const char *text,
                             struct adapter_config *c)
{
    model_files_write(f, "adapter_config.json", text);
    return adapter_read_config(c, f->folder);
}

#define LORA "{\"peft_type\": \"LORA\", "

static const char *const ROUND[] = {
    LORA "\"r\": 4}",
    LORA "\"r\": 2, \"lora_alpha\": 2.5, \"use_rslora\": true, \"target_modules\": [\"v_proj\"]}",
    LORA "\"r\": 1, \"target_modules\": \"all-linear\", \"init_lora_weights\": false}",
    LORA "\"r\": 3, \"target_modules\": \"all-linear\", \"exclude_modules\": [\"up_proj\"]}",
    LORA "\"r\": 3, \"target_modules\": \".*q_proj\", \"exclude_modules\": \".*\\\\.0\\\\..*\"}",
    LORA "\"target_modules\": [\"q_proj\", \"mlp.up_proj\"], \"layers_to_transform\": [1],"
         "\"layers_pattern\": \"layers\", \"init_lora_weights\": \"gaussian\"}",
    LORA "\"layers_to_transform\": 0, \"layers_pattern\": [\"layers\"]}",
    LORA "\"target_modules\": [\"q_proj\", \"up_proj\"], \"rank_pattern\": {\"up_proj\": 5},"
         "\"alpha_pattern\": {\"q_proj\": 3}, \"lora_dropout\": 0.05, \"revision\": \"main\"}",
};

/* Written and read again, an adapter wraps the same modules with the same sizes and values. */
static void configurations_round_trip(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof ROUND / sizeof ROUND[0]; i++) {
        struct model_files f;
        struct adapter_config first;
        struct adapter_config second;
        struct attached a;
        struct attached b;
        model_files_make(&f);
        need(read_text(&f, ROUND[i], &first));
        need(attach(&a, &f, &first));
        need(adapter_save(a.adapter, f.folder));
        need(adapter_read_config(&second, f.folder));
        assert_int_equal(first.init, second.init);
        assert_int_equal(first.r, second.r);
        assert_int_equal(first.use_rslora, second.use_rslora);
        need(attach(&b, &f, &second));
        need(adapter_load(b.adapter, f.folder));
        assert_int_equal(a.params.count, b.params.count);
        for (int64_t k = 0; k < a.params.count; k++) {
            const struct param *p = &a.params.params[k];
            assert_string_equal(p->name, b.params.params[k].name);
            assert_int_equal(p->count, b.params.params[k].count);
            assert_memory_equal(param_value(&a.params, k), param_value(&b.params, k),
                                (size_t)p->count * sizeof(float));
        }
        detach(&a);
        detach(&b);
        adapter_config_close(&first);
        adapter_config_close(&second);
        model_files_remove(&f);
    }
}

/* The file has PEFT's keys, and what a read folder said besides. */
static void written_keys_are_those_of_peft(void **state)
{
    (void)state;
    static const char *const KEYS[] = {
        "alora_invocation_tokens", "alpha_pattern", "arrow_config", "auto_mapping",
        "base_model_name_or_path", "bias", "corda_config", "ensure_weight_tying", "eva_config",
        "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "kasa_config",
        "layer_replication", "layers_pattern", "layers_to_transform", "loftq_config", "lora_alpha",
        "lora_bias", "lora_dropout", "lora_ga_config", "megatron_config", "megatron_core",
        "modules_to_save", "monteclora_config", "peft_type", "peft_version", "qalora_group_size",
        "r", "rank_pattern", "revision", "target_modules", "target_parameters", "task_type",
        "trainable_token_indices", "use_bdlora", "use_dora", "use_qalora", "use_rslora",
        "velora_config"};
    struct model_files f;
    struct adapter_config c;
    struct attached a;
    char path[MODEL_FILES_PATH];
    model_files_make(&f);
    need(read_text(&f, LORA "\"r\": 4, \"lora_alpha\": 32, \"target_modules\": \"ALL-LINEAR\","
                            "\"lora_dropout\": 0.1, \"inference_mode\": false, \"note\": \"x\"}",
                   &c));
    need(attach(&a, &f, &c));
    need(adapter_save(a.adapter, f.folder));
    json_t *o = json_load_file(model_files_path(&f, "adapter_config.json", path), 0, NULL);
    for (size_t i = 0; i < sizeof KEYS / sizeof KEYS[0]; i++) {
        if (!json_object_get(o, KEYS[i])) {
            fail_msg("'%s' is not written", KEYS[i]);
        }
    }
    assert_int_equal(json_object_size(o), sizeof KEYS / sizeof KEYS[0] + 1);
    assert_string_equal(json_string_value(json_object_get(o, "note")), "x");
    assert_true(json_is_true(json_object_get(o, "inference_mode")));
    assert_true(json_is_integer(json_object_get(o, "lora_alpha")));
    assert_true(json_real_value(json_object_get(o, "lora_dropout")) > 0.09);
    assert_int_equal(json_array_size(json_object_get(o, "target_modules")), 7);
    json_decref(o);
    detach(&a);
    adapter_config_close(&c);
    model_files_remove(&f);
}

static const struct {
    const char *text;
    const char *words;
} REFUSED[] = {
    {"{", "adapter_config.json:1:"},
    {"[]", "(missing)"},
    {"{\"r\": 4}", "(missing)"},
    {"{\"peft_type\": \"IA3\"}", "'IA3' is not supported"},
    {LORA "\"use_dora\": true}", "'use_dora'"},
    {LORA "\"use_qalora\": true}", "'use_qalora'"},
    {LORA "\"lora_bias\": true}", "'lora_bias'"},
    {LORA "\"fan_in_fan_out\": true}", "'fan_in_fan_out'"},
    {LORA "\"bias\": \"all\"}", "bias 'all'"},
    {LORA "\"bias\": 7}", "bias"},
    {LORA "\"modules_to_save\": [\"lm_head\"]}", "'modules_to_save'"},
    {LORA "\"target_parameters\": [\"experts.gate_up_proj\"]}", "'target_parameters'"},
    {LORA "\"trainable_token_indices\": {\"embed_tokens\": [1]}}", "'trainable_token_indices'"},
    {LORA "\"layer_replication\": [[0, 2]]}", "'layer_replication'"},
    {LORA "\"alora_invocation_tokens\": [5]}", "'alora_invocation_tokens'"},
    {LORA "\"use_bdlora\": {\"nblocks\": 2}}", "'use_bdlora'"},
    {LORA "\"init_lora_weights\": \"pissa\"}", "'pissa' changes the base"},
    {LORA "\"init_lora_weights\": \"mica\"}", "'mica' freezes B"},
    {LORA "\"r\": 0}", "'r' is not a number in 1..4096"},
    {LORA "\"r\": \"8\"}", "'r' is not a number"},
    {LORA "\"r\": 2.5}", "not a whole number"},
    {LORA "\"r\": 1e300}", "'r' is not a number"},
    {LORA "\"lora_alpha\": true}", "'lora_alpha' is not a number"},
    {LORA "\"rank_pattern\": [4]}", "'rank_pattern' is not an object"},
    {LORA "\"target_modules\": []}", "'target_modules' is empty"},
    {LORA "\"target_modules\": [4]}", "'target_modules' holds something"},
    {LORA "\"target_modules\": 4}", "'target_modules' is a string or a list"},
    {LORA "\"layers_to_transform\": [\"1\"]}", "'layers_to_transform' holds"},
    {LORA "\"layers_to_transform\": \"1\"}", "'layers_to_transform' is an integer"},
    {LORA "\"layers_pattern\": [\"a\", \"b\"]}", "'layers_pattern' is not supported"},
};

static void unsupported_folders_are_refused(void **state)
{
    (void)state;
    struct model_files f;
    model_files_make(&f);
    for (size_t i = 0; i < sizeof REFUSED / sizeof REFUSED[0]; i++) {
        struct adapter_config c;
        if (read_text(&f, REFUSED[i].text, &c) != STATUS_INPUT) {
            fail_msg("%s is read", REFUSED[i].text);
        }
        if (!strstr(status_message(), REFUSED[i].words)) {
            fail_msg("'%s' is not in: %s", REFUSED[i].words, status_message());
        }
        assert_null(c.family);
    }
    struct adapter_config c;
    assert_int_equal(adapter_read_config(&c, "/nowhere"), STATUS_INPUT);
    model_files_remove(&f);
}

static void recipes_that_do_not_fit_are_refused(void **state)
{
    (void)state;
    struct model_files f;
    static const struct {
        const char *text;
        const char *words;
    } BAD[] = {
        {LORA "\"target_modules\": [\"c_attn\"]}", "model.layers.0.self_attn.q_proj"},
        {LORA "\"target_modules\": [\"embed_tokens\"]}", "'model.embed_tokens' can't carry"},
        {LORA "\"target_modules\": [\"lm_head\"]}", "'lm_head' can't carry"},
        {LORA "\"rank_pattern\": {\"q_proj\": 0}}", "rank 0"},
    };
    model_files_make(&f);
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        struct adapter_config c;
        struct attached a;
        need(read_text(&f, BAD[i].text, &c));
        assert_int_equal(attach(&a, &f, &c), STATUS_RECIPE);
        if (!strstr(status_message(), BAD[i].words)) {
            fail_msg("'%s' is not in: %s", BAD[i].words, status_message());
        }
        assert_null(a.m->layer[0].q.hooks);
        detach(&a);
        adapter_config_close(&c);
    }
    model_files_remove(&f);
}

enum file_fault { FAULT_NONE, FAULT_BARE_NAMES, FAULT_MISSING, FAULT_SHAPE, FAULT_SURPLUS };

/* Rewrites the weights of a saved adapter with one thing wrong. */
static void spoil(const struct attached *a, const char *path, enum file_fault fault)
{
    struct safetensors_item items[16];
    int64_t count = 0;
    assert_true(a->params.count < 15);
    for (int64_t i = 0; i < a->params.count; i++) {
        const struct param *p = &a->params.params[i];
        struct safetensors_item *item = &items[count];
        *item = (struct safetensors_item){.name = p->name, .view = p->view};
        if (fault == FAULT_BARE_NAMES) {
            item->name += strlen("base_model.model.");
        }
        if (fault == FAULT_SHAPE && i == 1) {
            item->view.shape[0] -= 1;
        }
        count += fault != FAULT_MISSING || i != 1;
    }
    if (fault == FAULT_SURPLUS) {
        items[count++] = (struct safetensors_item){.name = "base_model.model.lm_head.weight",
                                                   .view = a->params.params[0].view};
    }
    need(safetensors_write(path, items, count));
}

static void weights_are_checked(void **state)
{
    (void)state;
    static const struct {
        enum file_fault fault;
        const char *words; /* NULL: loads */
    } FAULTS[] = {{FAULT_NONE, NULL},
                  {FAULT_BARE_NAMES, NULL},
                  {FAULT_MISSING, "layers.0.self_attn.q_proj.lora_B.weight' is missing"},
                  {FAULT_SHAPE, "is F32 [15, 4], expected F32, F16 or BF16 [16, 4]"},
                  {FAULT_SURPLUS, "'base_model.model.lm_head.weight' at byte"}};
    for (size_t i = 0; i < sizeof FAULTS / sizeof FAULTS[0]; i++) {
        struct model_files f;
        struct adapter_config c;
        struct attached a;
        char path[MODEL_FILES_PATH];
        model_files_make(&f);
        need(read_text(&f, LORA "\"r\": 4}", &c));
        need(attach(&a, &f, &c));
        spoil(&a, model_files_path(&f, "adapter_model.safetensors", path), FAULTS[i].fault);
        const enum status status = adapter_load(a.adapter, f.folder);
        assert_int_equal(status, FAULTS[i].words ? STATUS_INPUT : STATUS_OK);
        if (FAULTS[i].words && !strstr(status_message(), FAULTS[i].words)) {
            fail_msg("'%s' is not in: %s", FAULTS[i].words, status_message());
        }
        detach(&a);
        adapter_config_close(&c);
        model_files_remove(&f);
    }
}

/* Different modules, A and B, and seeds have different numbers; B starts at zero. */
static void initial_values(void **state)
{
    (void)state;
    struct model_files f;
    struct adapter_config c;
    struct attached a;
    model_files_make(&f);
    need(read_text(&f, LORA "\"r\": 4, \"target_modules\": [\"q_proj\", \"o_proj\"]}", &c));
    need(attach(&a, &f, &c));
    const float *a0 = param_value(&a.params, 0);
    const float *b0 = param_value(&a.params, 1);
    const float *a1 = param_value(&a.params, 2);
    const float first = a0[0];
    float largest = 0.0f;
    assert_memory_not_equal(a0, a1, 8 * sizeof(float));
    for (int64_t i = 0; i < a.params.params[0].count; i++) {
        assert_true(a0[i] >= -0.25f && a0[i] <= 0.25f); /* 1 / sqrt(16) */
        largest = a0[i] > largest ? a0[i] : largest;
    }
    assert_true(largest > 0.2f);
    for (int64_t i = 0; i < a.params.params[1].count; i++) {
        assert_true(b0[i] == 0.0f);
    }
    adapter_initialize(a.adapter, 4);
    assert_true(a0[0] != first);
    assert_int_equal(adapter_parameter_count(a.adapter), 4 * 4 * (16 + 16));
    detach(&a);
    adapter_config_close(&c);
    model_files_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_round_trip),
        cmocka_unit_test(written_keys_are_those_of_peft),
        cmocka_unit_test(unsupported_folders_are_refused),
        cmocka_unit_test(recipes_that_do_not_fit_are_refused),
        cmocka_unit_test(weights_are_checked),
        cmocka_unit_test(initial_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
