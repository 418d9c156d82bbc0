/* Packs: rows, keys and outputs of a tree, by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/model/pack.h"

static void a_tree_shares_its_prompt(void **state)
{
    (void)state;
    static const int32_t prompt[3] = {10, 11, 12};
    static const int32_t a[3] = {20, 21, 22};
    static const int32_t b[1] = {30};
    const struct pack_branch branches[2] = {{.ids = a, .count = 3}, {.ids = b, .count = 1}};
    static const int32_t plain[4] = {40, 41, 42, 43};
    static const uint8_t loss[4] = {1, 0, 1, 1};
    const struct pack_branch row = {.ids = plain, .count = 4, .loss = loss};
    const struct pack_unit units[2] = {
        {.prompt = prompt, .prompt_count = 3, .branches = branches, .branch_count = 2},
        {.branches = &row, .branch_count = 1},
    };
    struct arena arena;
    struct batch batch;
    assert_int_equal(arena_open(&arena, "pack", pack_bytes(units, 2)), STATUS_OK);
    assert_int_equal(pack_build(&arena, units, 2, &batch), STATUS_OK);
    /* prompt 3 rows, branch a 2 (its last token is only a target), b 0, the plain row 3 */
    static const int32_t ids[8] = {10, 11, 12, 20, 21, 40, 41, 42};
    static const int32_t position[8] = {0, 1, 2, 3, 4, 0, 1, 2};
    assert_int_equal(batch.tokens, 8);
    assert_memory_equal(batch.ids, ids, sizeof ids);
    assert_memory_equal(batch.position[0], position, sizeof position);
    static const int32_t rows[6] = {2, 3, 4, 2, 6, 7}; /* the prompt's end predicts both branches */
    static const int32_t targets[6] = {20, 21, 22, 30, 42, 43};
    assert_int_equal(batch.n_out, 6);
    assert_memory_equal(batch.out_rows, rows, sizeof rows);
    assert_memory_equal(batch.targets, targets, sizeof targets);
    static const int64_t begin[3] = {0, 5, 8};
    assert_memory_equal(batch.unit_begin, begin, sizeof begin);
    assert_int_equal(batch.n_seq, 3);
    static const int32_t keys[5] = {0, 1, 2, 3, 4};
    assert_memory_equal(batch.seqs[1].key_rows, keys, sizeof keys);
    assert_int_equal(batch.seqs[1].pos_begin, 3);
    assert_int_equal(batch.seqs[1].tree, batch.seqs[0].tree);
    assert_int_not_equal(batch.seqs[2].tree, batch.seqs[0].tree);
    assert_int_equal(pack_unit_rows(&units[0]), 5);
    assert_int_equal(pack_unit_outputs(&units[1]), 2); /* the first token has no predecessor */
    arena_close(&arena);
}

static void branches_share_how_they_begin(void **state)
{
    (void)state;
    static const int32_t prompt[2] = {1, 2};
    static const int32_t a[4] = {5, 6, 7, 8};
    static const int32_t b[4] = {5, 6, 9, 8};
    static const int32_t same[4] = {5, 6, 7, 8};
    static const int32_t part[2] = {5, 6};
    static const int32_t more[6] = {5, 6, 7, 8, 3, 4};
    const struct pack_branch branches[5] = {{a, 4, NULL}, {b, 4, NULL}, {same, 4, NULL},
                                            {part, 2, NULL}, {more, 6, NULL}};
    const struct pack_unit unit = {prompt, 2, branches, 5};
    struct arena arena;
    struct batch batch;
    assert_int_equal(arena_open(&arena, "pack", pack_bytes(&unit, 1)), STATUS_OK);
    assert_int_equal(pack_build(&arena, &unit, 1, &batch), STATUS_OK);
    /* prompt; a: 5 6 7; b: 9; the same text and a part of it: none; more: its own 8 3 */
    static const int32_t ids[8] = {1, 2, 5, 6, 7, 9, 8, 3};
    static const int32_t position[8] = {0, 1, 2, 3, 4, 4, 5, 6};
    assert_int_equal(batch.tokens, 8);
    assert_int_equal(pack_unit_rows(&unit), 8);
    assert_memory_equal(batch.ids, ids, sizeof ids);
    assert_memory_equal(batch.position[0], position, sizeof position);
    static const int32_t rows[8] = {1, 2, 3, 4, 3, 5, 6, 7};
    static const int32_t targets[8] = {5, 6, 7, 8, 9, 8, 3, 4};
    assert_int_equal(batch.n_out, 8);
    assert_memory_equal(batch.out_rows, rows, sizeof rows);
    assert_memory_equal(batch.targets, targets, sizeof targets);
    static const int32_t expand[20] = {0, 1, 2, 3, 0, 1, 4, 5, 0, 1, 2, 3, 0, 1,
                                       0, 1, 2, 3, 6, 7};
    assert_int_equal(batch.n_wanted, 20);
    assert_int_equal(pack_unit_outputs(&unit), 20);
    assert_memory_equal(batch.expand, expand, sizeof expand);
    static const int32_t keys[5] = {0, 1, 2, 3, 5}; /* of b's own token */
    assert_int_equal(batch.n_seq, 4);
    assert_int_equal(batch.seqs[2].pos_begin, 4);
    assert_memory_equal(batch.seqs[2].key_rows, keys, sizeof keys);
    arena_close(&arena);
}

static void masks_keep_outputs_apart(void **state)
{
    (void)state;
    static const int32_t a[3] = {5, 6, 7};
    static const uint8_t first[3] = {1, 0, 1};
    static const uint8_t second[3] = {0, 1, 1};
    static const int32_t prompt[1] = {1};
    const struct pack_branch branches[2] = {{a, 3, first}, {a, 3, second}};
    const struct pack_unit unit = {prompt, 1, branches, 2};
    struct arena arena;
    struct batch batch;
    assert_int_equal(arena_open(&arena, "pack", pack_bytes(&unit, 1)), STATUS_OK);
    assert_int_equal(pack_build(&arena, &unit, 1, &batch), STATUS_OK);
    static const int32_t rows[4] = {0, 2, 1, 2};
    static const int32_t expand[4] = {0, 1, 2, 3};
    assert_int_equal(batch.tokens, 3);
    assert_int_equal(batch.n_out, 4);
    assert_memory_equal(batch.out_rows, rows, sizeof rows);
    assert_memory_equal(batch.expand, expand, sizeof expand);
    arena_close(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tree_shares_its_prompt),
        cmocka_unit_test(branches_share_how_they_begin),
        cmocka_unit_test(masks_keep_outputs_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
