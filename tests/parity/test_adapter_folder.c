/*
 * An adapter folder written by Graft, for tests/parity/peft_interop.sh: random LoRA on the model in
 * $GRAFT_INTEROP_MODEL, saved to $GRAFT_INTEROP_OUT with the configuration that lies there. Without
 * them the same on a tiny random model: saved, read back, the same bits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "adapters/adapter.h"
#include "kernels/base/rng.h"
#include "tests/support/model_files.h"

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

/* Attaches by `folder`/adapter_config.json; `load`: with the folder's weights, else with random
 * ones that are saved there. */
static void pass_through(struct model *m, const char *folder, bool load, struct param_set *params)
{
    struct adapter_config config;
    struct adapter *adapter;
    const struct rng_key key = {.seed = 21, .purpose = RNG_INIT};
    param_set_open(params);
    need(adapter_read_config(&config, folder));
    need(adapter_attach(&adapter, m, params, &config));
    need(param_set_seal(params, NULL));
    if (load) {
        need(adapter_load(adapter, folder));
    } else {
        for (int64_t i = 0; i < params->count; i++) {
            struct rng_key own = key;
            own.module = (uint32_t)i;
            rng_fill_normal(&own, param_value(params, i), params->params[i].count, 0.1f);
        }
        need(adapter_save(adapter, folder));
    }
    adapter_close(adapter);
    adapter_config_close(&config);
}

static void a_saved_folder_reads_back(void **state)
{
    (void)state;
    const char *path = getenv("GRAFT_INTEROP_MODEL");
    const char *out = getenv("GRAFT_INTEROP_OUT");
    const bool given = path && out;
    struct model_files f;
    struct model *m;
    struct param_set saved;
    struct param_set loaded;
    model_files_make(&f);
    if (given) {
        need(model_open(&m, path, NULL));
    } else {
        m = model_files_random(&f, MODEL, 1);
        model_files_write(&f, "adapter_config.json",
                          "{\"peft_type\": \"LORA\", \"r\": 3,"
                          "\"target_modules\": \"all-linear\"}");
    }
    pass_through(m, given ? out : f.folder, false, &saved);
    pass_through(m, given ? out : f.folder, true, &loaded);
    assert_int_equal(saved.total, loaded.total);
    assert_memory_equal(saved.value, loaded.value, (size_t)saved.total * sizeof(float));
    assert_true(saved.value[0] != 0.0f);
    param_set_close(&saved);
    param_set_close(&loaded);
    model_close(m);
    model_files_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_saved_folder_reads_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
