/* 8-bit dynamic codes: the maps of bitsandbytes, the error of a round trip, odd blocks. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "kernels/tensor/dynamic8.h"
#include "tests/support/golden_files.h"

static struct dynamic8 maps[2]; /* squares, momenta: 128 KiB, too much for a stack */

static int make_maps(void **state)
{
    (void)state;
    dynamic8_make(&maps[0], false);
    dynamic8_make(&maps[1], true);
    return 0;
}

/* qmap1 is the signed map, qmap2 the unsigned one of adamw_8bit. */
static void maps_are_those_of_bitsandbytes(void **state)
{
    (void)state;
    char folder[GOLDEN_PATH];
    char path[GOLDEN_PATH + 64];
    struct safetensors *s;
    int done = 0;
    (void)snprintf(path, sizeof path, "%s/adamw_8bit.safetensors",
                   golden_files_folder("optim", folder));
    golden_files_need(safetensors_open(&s, path), path);
    for (int64_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const char *which = strstr(e->name, ".qmap");
        if (which) {
            const struct dynamic8 *map = &maps[which[5] == '1'];
            assert_int_equal(e->bytes, sizeof map->value);
            assert_memory_equal(e->data, map->value, e->bytes);
            done++;
        }
    }
    safetensors_close(s);
    assert_true(done >= 2);
}

static void maps_have_known_ends(void **state)
{
    (void)state;
    assert_true(maps[0].value[0] == 0.0f && maps[1].value[127] == 0.0f);
    assert_true(maps[0].value[255] == 1.0f && maps[1].value[255] == 1.0f);
    assert_true(fabsf(maps[1].value[0] + 0.99296874f) < 1e-6f);
    for (int k = 0; k < 2; k++) {
        for (int i = 1; i < DYNAMIC8_CODES; i++) {
            assert_true(maps[k].value[i] > maps[k].value[i - 1]);
        }
        for (int i = 1; i < DYNAMIC8_TABLE; i++) {
            assert_true(maps[k].code[i] >= maps[k].code[i - 1]);
        }
        assert_int_equal(maps[k].code[DYNAMIC8_TABLE - 1], 255);
    }
}

/* The decoded number is the nearest of the map's, but for the width of the lookup's steps. */
static void round_trips_are_near(void **state)
{
    (void)state;
    for (int k = 0; k < 2; k++) {
        for (int64_t count = 1; count <= DYNAMIC8_BLOCK; count += 51) {
            const struct rng_key key = {.seed = 4, .module = (uint32_t)(count + k)};
            float x[DYNAMIC8_BLOCK];
            float back[DYNAMIC8_BLOCK];
            uint8_t code[DYNAMIC8_BLOCK];
            float absmax;
            float largest = 0.0f;
            rng_fill_normal(&key, x, count, 3.0f);
            for (int64_t i = 0; i < count; i++) {
                x[i] = k == 0 ? x[i] * x[i] : x[i];
                largest = fmaxf(largest, fabsf(x[i]));
            }
            dynamic8_encode(&maps[k], x, count, code, &absmax);
            dynamic8_decode(&maps[k], code, absmax, count, back);
            assert_true(absmax == largest);
            for (int64_t i = 0; i < count; i++) {
                float nearest = INFINITY;
                for (int c = 0; c < DYNAMIC8_CODES; c++) {
                    nearest = fminf(nearest, fabsf(maps[k].value[c] * absmax - x[i]));
                }
                assert_true(fabsf(back[i] - x[i]) <= nearest + absmax * 0x1p-15f);
            }
        }
    }
}

static void odd_blocks_are_safe(void **state)
{
    (void)state;
    float x[4] = {0, 0, 0, 0};
    float back[4] = {1, 1, 1, 1};
    uint8_t code[4] = {9, 9, 9, 9};
    float absmax = 9;
    dynamic8_encode(&maps[1], x, 4, code, &absmax);
    dynamic8_decode(&maps[1], code, absmax, 4, back);
    for (int i = 0; i < 4; i++) {
        assert_true(code[i] == 0 && back[i] == 0.0f);
    }
    x[0] = NAN;
    x[1] = INFINITY;
    x[2] = -INFINITY;
    dynamic8_encode(&maps[1], x, 4, code, &absmax); /* no index leaves the table */
    assert_true(isinf(absmax));
    x[0] = 1e-45f; /* the inverse overflows */
    x[1] = -1e-45f;
    x[2] = 0.0f;
    dynamic8_encode(&maps[1], x, 3, code, &absmax);
    assert_true(absmax == 1e-45f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_are_those_of_bitsandbytes),
        cmocka_unit_test(maps_have_known_ends),
        cmocka_unit_test(round_trips_are_near),
        cmocka_unit_test(odd_blocks_are_safe),
    };
    return cmocka_run_group_tests(tests, make_maps, NULL);
}
