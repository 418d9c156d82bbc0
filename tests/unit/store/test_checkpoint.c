/* Checkpoints: exact round trip, damage is seen and passed over, a failed save leaves the rest. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "tests/support/golden_rl.h"
#include "trainer/optim/optim.h"
#include "trainer/store/checkpoint.h"

/* Parameters of one optimizer with values and state of random bytes. */
static void make_kind(struct param_set *p, uint64_t seed, enum optim_kind kind)
{
    struct optim_config optim;
    struct param_layout layout;
    int64_t index;
    const int64_t shape[2] = {7, 733}; /* enough for 8-bit state */
    const int64_t vector[1] = {5};
    optim_defaults(&optim, kind);
    param_set_open(p);
    assert_int_equal(param_set_add(p, "a.weight", 2, shape, true, &index), STATUS_OK);
    assert_int_equal(param_set_add(p, "b.bias", 1, vector, false, &index), STATUS_OK);
    assert_int_equal(optim_prepare(&optim, p, &layout), STATUS_OK);
    assert_int_equal(param_set_seal(p, &layout), STATUS_OK);
    for (int64_t i = 0; i < p->count; i++) {
        const struct param *q = &p->params[i];
        const struct rng_key key = {.seed = seed, .module = (uint32_t)i};
        rng_fill_normal(&key, p->value + q->offset, q->count, 1.0f);
        for (int k = 0; k < PARAM_SLOTS; k++) {
            const struct param_slot *slot = &q->slot[k];
            if (slot->name && slot->bytes) {
                for (int64_t j = 0; j < slot->count; j++) {
                    ((uint8_t *)slot->data)[j] = (uint8_t)((uint64_t)(j * 37 + k) + seed);
                }
            } else if (slot->name) {
                const struct rng_key state = {.seed = seed, .module = (uint32_t)(100 + i * 10 + k)};
                rng_fill_normal(&state, slot->data, slot->count, 0.1f);
            }
        }
    }
}

static void make_params(struct param_set *p, uint64_t seed)
{
    make_kind(p, seed, OPTIM_ADAMW);
}

static void assert_same(const struct param_set *a, const struct param_set *b)
{
    for (int64_t i = 0; i < a->count; i++) {
        const struct param *p = &a->params[i];
        assert_memory_equal(a->value + p->offset, b->value + p->offset,
                            (size_t)p->count * sizeof(float));
        for (int k = 0; k < PARAM_SLOTS; k++) {
            const struct param_slot *slot = &p->slot[k];
            const size_t bytes = (size_t)slot->count * (slot->bytes ? 1 : sizeof(float));
            if (slot->name) {
                assert_memory_equal(slot->data, b->params[i].slot[k].data, bytes);
            }
        }
    }
}

static void save(const char *folder, const struct param_set *p, int64_t step)
{
    json_t *public_state = json_pack("{s:I}", "global_step", (json_int_t)step);
    json_t *method = json_pack("{s:I}", "cursor", (json_int_t)(step * 3));
    char recipe[] = "seed: 1\n";
    const struct checkpoint_state state = {.step = step, .trainer_state = public_state,
                                           .method_state = method, .recipe = recipe};
    assert_int_equal(checkpoint_save(folder, p, &state, NULL, NULL), STATUS_OK);
    json_decref(public_state);
    json_decref(method);
}

static int64_t latest(const char *folder, bool *passed_over)
{
    int64_t step;
    char *note;
    assert_int_equal(checkpoint_latest(folder, &step, &note), STATUS_OK);
    if (passed_over) {
        *passed_over = note != NULL;
    }
    free(note);
    return step;
}

static void round_trip_is_exact(void **state)
{
    (void)state;
    char folder[64];
    struct param_set saved;
    struct param_set loaded;
    struct checkpoint_state read;
    golden_scratch(folder);
    make_params(&saved, 1);
    make_params(&loaded, 2);
    assert_int_equal(latest(folder, NULL), -1);
    save(folder, &saved, 4);
    assert_int_equal(latest(folder, NULL), 4);
    assert_int_equal(checkpoint_load(folder, 4, &loaded, &read), STATUS_OK);
    assert_same(&saved, &loaded);
    assert_string_equal(read.recipe, "seed: 1\n");
    assert_int_equal(json_integer_value(json_object_get(read.method_state, "cursor")), 12);
    checkpoint_state_close(&read);
    param_set_close(&saved);
    param_set_close(&loaded);
    golden_scratch_remove(folder);
}

/* Whatever an optimizer keeps comes back bit for bit; another one's state is refused by name. */
static void every_state_comes_back(void **state)
{
    (void)state;
    for (int kind = 0; kind < OPTIM_KINDS; kind++) {
        char folder[64];
        struct param_set saved;
        struct param_set loaded;
        struct checkpoint_state read;
        if (kind == OPTIM_LORA_FA) { /* needs pairs of factors: test_optimizers */
            continue;
        }
        golden_scratch(folder);
        make_kind(&saved, 1, (enum optim_kind)kind);
        make_kind(&loaded, 2, (enum optim_kind)kind);
        save(folder, &saved, 4);
        assert_int_equal(checkpoint_load(folder, 4, &loaded, &read), STATUS_OK);
        assert_same(&saved, &loaded);
        checkpoint_state_close(&read);
        param_set_close(&loaded);
        make_kind(&loaded, 3, kind == OPTIM_SGD ? OPTIM_ADAMW : OPTIM_SGD);
        assert_int_equal(checkpoint_load(folder, 4, &loaded, &read), STATUS_INPUT);
        assert_non_null(strstr(status_message(), "optim: "));
        assert_non_null(strstr(status_message(), optim_name((enum optim_kind)kind)));
        param_set_close(&loaded);
        param_set_close(&saved);
        golden_scratch_remove(folder);
    }
}

static void damage_is_passed_over(void **state)
{
    (void)state;
    char folder[64];
    char path[256];
    struct param_set p;
    struct checkpoint_state read;
    bool passed_over = false;
    golden_scratch(folder);
    make_params(&p, 1);
    save(folder, &p, 2);
    save(folder, &p, 10);
    (void)snprintf(path, sizeof path, "%s/checkpoint-10/state.h5", folder);
    FILE *f = fopen(path, "r+be");
    assert_non_null(f);
    assert_int_equal(fseek(f, 1000, SEEK_SET), 0);
    (void)fputc(0x5a, f);
    (void)fclose(f);
    assert_int_equal(latest(folder, &passed_over), 2);
    assert_true(passed_over);
    assert_int_equal(checkpoint_load(folder, 10, &p, &read), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "state.h5"));
    (void)snprintf(path, sizeof path, "%s/checkpoint-10/manifest.json", folder);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(latest(folder, &passed_over), 2);
    param_set_close(&p);
    golden_scratch_remove(folder);
}

static void another_adapter_is_refused(void **state)
{
    (void)state;
    char folder[64];
    struct param_set p;
    struct param_set other;
    struct checkpoint_state read;
    int64_t index;
    const int64_t shape[1] = {3};
    golden_scratch(folder);
    make_params(&p, 1);
    save(folder, &p, 1);
    param_set_open(&other);
    assert_int_equal(param_set_add(&other, "c", 1, shape, true, &index), STATUS_OK);
    assert_int_equal(param_set_seal(&other, NULL), STATUS_OK);
    assert_int_equal(checkpoint_load(folder, 1, &other, &read), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "'c'"));
    param_set_close(&other);
    param_set_close(&p);
    golden_scratch_remove(folder);
}

/* A file size limit makes every write fail, as a full disk would. */
static void failed_save_leaves_the_rest(void **state)
{
    (void)state;
    char folder[64];
    char path[256];
    struct param_set p;
    struct rlimit old;
    struct stat info;
    golden_scratch(folder);
    make_params(&p, 1);
    save(folder, &p, 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit none = {.rlim_cur = 512, .rlim_max = old.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &none), 0);
    const struct checkpoint_state next = {.step = 2};
    json_t *empty = json_object();
    struct checkpoint_state full = next;
    full.trainer_state = empty;
    full.method_state = empty;
    const enum status status = checkpoint_save(folder, &p, &full, NULL, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, STATUS_IO);
    assert_non_null(strstr(status_message(), "earlier checkpoints are intact"));
    assert_int_equal(latest(folder, NULL), 1);
    (void)snprintf(path, sizeof path, "%s/.tmp-checkpoint-2", folder);
    assert_int_not_equal(stat(path, &info), 0);
    json_decref(empty);
    param_set_close(&p);
    golden_scratch_remove(folder);
}

static void prune_keeps_the_newest(void **state)
{
    (void)state;
    char folder[64];
    struct param_set p;
    golden_scratch(folder);
    make_params(&p, 1);
    for (int64_t step = 8; step <= 12; step++) {
        save(folder, &p, step);
    }
    assert_int_equal(checkpoint_prune(folder, 2, -1), STATUS_OK);
    char path[256];
    struct stat info;
    for (int64_t step = 8; step <= 12; step++) {
        (void)snprintf(path, sizeof path, "%s/checkpoint-%lld", folder, (long long)step);
        assert_int_equal(stat(path, &info) == 0, step >= 11);
    }
    for (int64_t step = 8; step <= 12; step++) {
        save(folder, &p, step);
    }
    assert_int_equal(checkpoint_prune(folder, 1, 9), STATUS_OK); /* the newest and the best */
    for (int64_t step = 8; step <= 12; step++) {
        assert_int_equal(checkpoint_exists(folder, step), step == 9 || step == 12);
    }
    assert_int_equal(checkpoint_prune(folder, 1, 12), STATUS_OK);
    assert_false(checkpoint_exists(folder, 9));
    assert_int_equal(checkpoint_prune(folder, 0, -1), STATUS_OK);
    assert_true(checkpoint_exists(folder, 12));
    param_set_close(&p);
    golden_scratch_remove(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip_is_exact),
        cmocka_unit_test(every_state_comes_back),
        cmocka_unit_test(damage_is_passed_over),
        cmocka_unit_test(another_adapter_is_refused),
        cmocka_unit_test(failed_save_leaves_the_rest),
        cmocka_unit_test(prune_keeps_the_newest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
