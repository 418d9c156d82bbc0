/*
 * Integer codes and scales of the block types: together they are the values of quant_decode, bit
 * for bit; codes have the range that the products rely on; a type without codes says so.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/tensor/codes.h"
#include "kernels/tensor/quant.h"
#include "tests/support/gemm_case.h"

enum { ROWS = 9, COLUMNS = 768 };

/* Least and largest code that the bits of a type can spell. */
static const int RANGE[DTYPE_COUNT][2] = {
    [DTYPE_Q4_0] = {-8, 7},  [DTYPE_Q4_1] = {0, 15}, [DTYPE_Q5_0] = {-16, 15},
    [DTYPE_Q5_1] = {0, 31},  [DTYPE_Q8_0] = {-128, 127}, [DTYPE_Q4_K] = {0, 15},
    [DTYPE_Q5_K] = {0, 31},  [DTYPE_Q6_K] = {-32, 31},
};

static void test_types(void **state)
{
    (void)state;
    for (int type = 0; type < DTYPE_COUNT; type++) {
        const struct code_row *row = code_row((enum dtype)type);
        const bool blocks = type != DTYPE_NF4 && dtype_row((enum dtype)type)->block > 1;
        assert_int_equal(row != NULL, blocks);
        if (row) {
            assert_int_equal(dtype_row((enum dtype)type)->block % row->part, 0);
        }
    }
}

static void check_part(const struct tensor *w, int64_t r, int64_t first, int seen[2])
{
    const struct code_row *row = code_row(w->dtype);
    struct code_part part;
    float values[COLUMNS];
    quant_decode(w, r, 0, COLUMNS, values);
    code_decode(w, r, first, &part);
    for (int i = 0; i < row->part; i++) {
        const float product = part.scale * (float)part.code[i];
        const float value = row->minimum ? product + part.minimum : product;
        assert_memory_equal(&value, &values[first + i], sizeof value);
        seen[0] = part.code[i] < seen[0] ? part.code[i] : seen[0];
        seen[1] = part.code[i] > seen[1] ? part.code[i] : seen[1];
    }
    if (!row->minimum) {
        assert_true(part.minimum == 0.0f);
    }
}

static void test_codes_are_the_values(void **state)
{
    (void)state;
    for (int type = 0; type < DTYPE_COUNT; type++) {
        struct arena mem;
        struct tensor w;
        int seen[2] = {1000, -1000};
        if (!code_row((enum dtype)type)) {
            continue;
        }
        assert_int_equal(arena_open(&mem, "case", 1 << 20), STATUS_OK);
        gemm_random_weight(&mem, (enum dtype)type, ROWS, COLUMNS, &w);
        for (int64_t r = 0; r < ROWS; r++) {
            for (int64_t first = 0; first < COLUMNS; first += code_row(w.dtype)->part) {
                check_part(&w, r, first, seen);
            }
        }
        assert_int_equal(seen[0], RANGE[type][0]);
        assert_int_equal(seen[1], RANGE[type][1]);
        arena_close(&mem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_codes_are_the_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
