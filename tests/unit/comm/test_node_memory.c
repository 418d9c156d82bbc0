/* Memory that the ranks of a node share, in a world of one; tests/mpi/test_base_cache.sh has more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/comm/node_memory.h"

static void one_rank_fills_and_reads(void **state)
{
    enum { BYTES = 100000 };
    struct comm alone;
    struct node_memory m;
    (void)state;
    assert_int_equal(comm_open(&alone), STATUS_OK);
    assert_int_equal(node_memory_open(&alone, BYTES, &m), STATUS_OK);
    assert_true(m.mine);
    assert_int_equal((uintptr_t)m.data % 64, 0);
    uint8_t *bytes = m.data;
    for (int i = 0; i < BYTES; i++) {
        assert_int_equal(bytes[i], 0);
    }
    memset(bytes, 7, BYTES);
    assert_int_equal(node_memory_seal(&alone, &m, STATUS_OK), STATUS_OK);
    assert_int_equal(bytes[BYTES - 1], 7);
    node_memory_close(&m);
    assert_null(m.data);
    comm_close(&alone);
}

static void nothing_is_no_memory(void **state)
{
    struct comm alone;
    struct node_memory m;
    (void)state;
    assert_int_equal(comm_open(&alone), STATUS_OK);
    assert_int_equal(node_memory_open(&alone, 0, &m), STATUS_OK);
    assert_null(m.data);
    assert_int_equal(node_memory_seal(&alone, &m, STATUS_OK), STATUS_OK);
    node_memory_close(&m);
    comm_close(&alone);
}

static void too_much_is_refused(void **state)
{
    struct comm alone;
    struct node_memory m;
    (void)state;
    assert_int_equal(comm_open(&alone), STATUS_OK);
    assert_int_equal(node_memory_open(&alone, (size_t)1 << 60, &m), STATUS_MEMORY);
    assert_non_null(strstr(status_message(), "derived weights"));
    status_clear();
    node_memory_close(&m);
    comm_close(&alone);
}

/* A failed filling is every rank's failure, and the memory can still be closed. */
static void failures_pass_through(void **state)
{
    struct comm alone;
    struct node_memory m;
    (void)state;
    assert_int_equal(comm_open(&alone), STATUS_OK);
    assert_int_equal(node_memory_open(&alone, 64, &m), STATUS_OK);
    assert_int_equal(node_memory_seal(&alone, &m, FAIL(IO, "filling failed")), STATUS_IO);
    status_clear();
    node_memory_close(&m);
    comm_close(&alone);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_rank_fills_and_reads),
        cmocka_unit_test(nothing_is_no_memory),
        cmocka_unit_test(too_much_is_refused),
        cmocka_unit_test(failures_pass_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
