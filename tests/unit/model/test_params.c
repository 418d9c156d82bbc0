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

static void layout_is_padded_and_zeroed(void **state)
{
    (void)state;
    const int64_t matrix[2] = {3, 7};
    const int64_t vector[1] = {5};
    for (int moments = 0; moments <= 2; moments++) {
        struct param_set p;
        param_set_open(&p);
        const int64_t a = add(&p, "a.weight", 2, matrix);
        const int64_t b = add(&p, "b.bias", 1, vector);
        const size_t bytes = param_set_bytes(&p, moments);
        assert_int_equal(param_set_seal(&p, moments), STATUS_OK);
        assert_int_equal(p.total, 32 + 16);
        assert_int_equal(p.params[b].offset, 32);
        assert_true(p.params[a].decay && !p.params[b].decay);
        assert_true(bytes >= p.arena.used);
        assert_int_equal(p.m != NULL, moments > 0);
        assert_int_equal(p.v != NULL, moments > 1);
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
    assert_int_equal(param_set_seal(&p, 2), STATUS_OK); /* an empty set is fine */
    param_set_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_padded_and_zeroed),
        cmocka_unit_test(names_are_unique_and_copied),
        cmocka_unit_test(impossible_shapes_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
