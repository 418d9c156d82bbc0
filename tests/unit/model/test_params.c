/* The parameter set: layout, names, views, limits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "trainer/model/params.h"

static int64_t add(struct param_set *p, const char *name, int dims, const int64_t *shape)
{
    int64_t index = -1;
    assert_int_equal(param_set_add(p, name, dims, shape, dims > 1, &index), STATUS_OK);
    return index;
}

/* A float slot like the parameter, bytes for matrices, and a float per row. */
static void three_slots(const void *ctx, const struct param *p, struct param_slot slot[PARAM_SLOTS])
{
    const int most = *(const int *)ctx;
    const struct param_slot all[3] = {{.name = "m", .count = p->count},
                                      {.name = "code", .bytes = true, .count = p->count},
                                      {.name = "row", .count = p->shape[0]}};
    for (int k = 0; k < most; k++) {
        slot[k] = all[k];
    }
    if (p->dims == 1) {
        slot[1] = (struct param_slot){0};
    }
}

static void layout_is_padded_and_zeroed(void **state)
{
    (void)state;
    const int64_t matrix[2] = {3, 7};
    const int64_t vector[1] = {5};
    for (int slots = 0; slots <= 3; slots++) {
        struct param_set p;
        param_set_open(&p);
        const int64_t a = add(&p, "a.weight", 2, matrix);
        const int64_t b = add(&p, "b.bias", 1, vector);
        const struct param_layout layout = {
            .optimizer = "test", .ctx = &slots, .slots = three_slots, .workspace = 100};
        const size_t bytes = param_set_bytes(&p, slots ? &layout : NULL);
        assert_int_equal(param_set_seal(&p, slots ? &layout : NULL), STATUS_OK);
        assert_int_equal(p.total, 32 + 16);
        assert_int_equal(p.params[b].offset, 32);
        assert_true(p.params[a].decay && !p.params[b].decay);
        assert_true(bytes >= p.arena.used);
        assert_int_equal(p.workspace != NULL, slots > 0);
        assert_int_equal(param_find_slot(&p, a, "m") != NULL, slots > 0);
        assert_int_equal(param_find_slot(&p, a, "code") != NULL, slots > 1);
        assert_null(param_find_slot(&p, b, "code"));
        assert_int_equal(param_find_slot(&p, b, "row") != NULL, slots > 2);
        if (slots > 0) { /* floats like the values: neighbours are one run */
            const float *m = param_find_slot(&p, a, "m")->data;
            assert_ptr_equal(param_find_slot(&p, b, "m")->data, m + 32);
            for (int i = 0; i < 48; i++) {
                assert_true(m[i] == 0.0f);
            }
        }
        for (int64_t i = 0; i < p.total; i++) {
            assert_true(p.value[i] == 0.0f && p.grad[i] == 0.0f);
        }
        assert_ptr_equal(param_value(&p, b), p.value + 32);
        assert_ptr_equal(param_grad(&p, a), p.grad);
        const struct tensor *t = &p.params[a].view;
        assert_int_equal(t->dtype, DTYPE_F32);
        assert_int_equal(tensor_rows(t), 3);
        assert_int_equal(tensor_columns(t), 7);
        assert_int_equal(t->row_bytes, 28);
        assert_ptr_equal(t->data, p.value);
        param_set_close(&p);
        assert_null(p.params);
    }
}

static void names_are_unique_and_copied(void **state)
{
    (void)state;
    struct param_set p;
    const int64_t shape[1] = {4};
    char name[16] = "first";
    int64_t index;
    param_set_open(&p);
    assert_int_equal(add(&p, name, 1, shape), 0);
    (void)snprintf(name, sizeof name, "second");
    assert_int_equal(param_set_find(&p, "first"), 0);
    assert_int_equal(param_set_find(&p, "second"), -1);
    assert_int_equal(param_set_add(&p, "first", 1, shape, true, &index), STATUS_INPUT);
    for (int i = 0; i < 200; i++) { /* past the first capacity */
        (void)snprintf(name, sizeof name, "p%d", i);
        assert_int_equal(add(&p, name, 1, shape), i + 1);
    }
    assert_int_equal(param_set_find(&p, "p199"), 200);
    param_set_close(&p);
}

static void impossible_shapes_are_refused(void **state)
{
    (void)state;
    static const struct {
        int dims;
        int64_t shape[TENSOR_MAX_DIMS];
    } CASES[] = {
        {0, {1}},
        {5, {1, 1, 1, 1}},
        {1, {0}},
        {2, {3, -1}},
        {2, {INT64_MAX / 2, 4}},
        {4, {1 << 20, 1 << 20, 1 << 20, 1 << 20}},
        {1, {INT64_MAX / 32}},
    };
    struct param_set p;
    int64_t index;
    param_set_open(&p);
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(
            param_set_add(&p, "x", CASES[i].dims, CASES[i].shape, true, &index), STATUS_INPUT);
    }
    assert_int_equal(p.count, 0);
    assert_int_equal(param_set_seal(&p, NULL), STATUS_OK); /* an empty set is fine */
    param_set_close(&p);
}

static void names_say_what_decays(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool decays;
    } CASES[] = {{"model.embed_tokens.weight", true},
                 {"lm_head.weight", true},
                 {"model.layers.0.self_attn.q_proj.weight", true},
                 {"model.layers.0.self_attn.q_proj.bias", false},
                 {"model.layers.0.input_layernorm.weight", false},
                 {"model.layers.0.PostRMSNorm.weight", false},
                 {"model.norm.weight", false},
                 {"norm", false},
                 {"model.layers.0.self_attn.q_norm.weight", false},
                 {"model.layers.0.self_attn.q_norm", false},
                 {"model.normal.weight", true},
                 {"model.renorm.weight", true},
                 {"a.lora_A.weight", true},
                 {"a.lora_magnitude_vector", true}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        if (param_name_decays(CASES[i].name) != CASES[i].decays) {
            fail_msg("%s", CASES[i].name);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_decays),
        cmocka_unit_test(layout_is_padded_and_zeroed),
        cmocka_unit_test(names_are_unique_and_copied),
        cmocka_unit_test(impossible_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
