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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_tree_shares_its_prompt)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
