/* CPUs of threads: shares, what fills a node, order, pools that keep to them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/parallel.h"
#include "kernels/base/places.h"

static cpu_set_t range(int from, int to)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int cpu = from; cpu < to; cpu++) {
        CPU_SET((size_t)cpu, &set);
    }
    return set;
}

static const int ORDER[8] = {0, 4, 1, 5, 2, 6, 3, 7};

static void test_ranks_share_the_cpus(void **state)
{
    (void)state;
    struct places p = {.own = range(0, 8), .node = range(0, 8), .local_size = 2};
    assert_int_equal(places_threads(&p), 4);
    p.local_size = 3;
    assert_int_equal(places_threads(&p), 2);
    p.local_size = 20;
    assert_int_equal(places_threads(&p), 1);
    p.local_size = 1;
    p.quota = 3;
    assert_int_equal(places_threads(&p), 3);
    p.quota = 0;
    p.own = range(0, 5); /* bound by the launcher, to more than half */
    p.local_size = 2;
    assert_int_equal(places_threads(&p), 4);
}

static void test_slices_of_a_full_node(void **state)
{
    (void)state;
    int cpus[8] = {0};
    struct places p = {.own = range(0, 8), .node = range(0, 8), .local_size = 2};
    assert_true(places_choose(&p, ORDER, 8, 4, cpus));
    assert_memory_equal(cpus, ((int[]){0, 4, 1, 5}), 4 * sizeof *cpus);
    p.local_rank = 1;
    assert_true(places_choose(&p, ORDER, 8, 4, cpus));
    assert_memory_equal(cpus, ((int[]){2, 6, 3, 7}), 4 * sizeof *cpus);
}

static void test_only_when_full(void **state)
{
    (void)state;
    int cpus[8];
    struct places p = {.own = range(0, 8), .node = range(0, 8), .local_size = 2};
    assert_false(places_choose(&p, ORDER, 8, 3, cpus)); /* CPUs left for others */
    assert_false(places_choose(&p, ORDER, 8, 8, cpus)); /* more threads than CPUs */
    p.quota = 4;                                        /* all CPUs, half of the time */
    assert_false(places_choose(&p, ORDER, 8, 4, cpus));
    p.quota = 8;
    assert_true(places_choose(&p, ORDER, 8, 4, cpus));
}

static void test_bound_by_a_launcher(void **state)
{
    (void)state;
    int cpus[8];
    struct places p = {.own = range(4, 8), .node = range(0, 8), .local_rank = 1, .local_size = 2};
    assert_true(places_choose(&p, ORDER, 8, 4, cpus));
    assert_memory_equal(cpus, ((int[]){4, 5, 6, 7}), 4 * sizeof *cpus);
    p.own = range(2, 8);
    assert_false(places_choose(&p, ORDER, 8, 4, cpus)); /* whose are they? */
}

static void test_order_holds_each_once(void **state)
{
    (void)state;
    static int cpus[PLACES_MOST];
    struct places p;
    int nodes = 0;
    places_read(&p, false, 0, 1);
    const int count = places_order(&p.own, cpus, &nodes);
    assert_int_equal(count, CPU_COUNT(&p.own));
    assert_true(nodes >= 1);
    for (int i = 0; i < count; i++) {
        assert_true(CPU_ISSET((size_t)cpus[i], &p.own));
        CPU_CLR((size_t)cpus[i], &p.own);
    }
    assert_int_equal(CPU_COUNT(&p.own), 0);
}

static void test_environment_switches_it_off(void **state)
{
    (void)state;
    static int cpus[PLACES_MOST];
    struct places p;
    char text[256];
    places_read(&p, false, 0, 1);
    p.quota = 0;
    const int all = CPU_COUNT(&p.own);
    assert_true(places_pin(&p, all, cpus));
    places_tell(&p, all, text, sizeof text);
    assert_non_null(strstr(text, "pinned to CPU"));
    assert_int_equal(setenv("GRAFT_PIN", "0", 1), 0);
    assert_false(places_pin(&p, all, cpus));
    places_tell(&p, all, text, sizeof text);
    assert_non_null(strstr(text, "GRAFT_PIN=0"));
    assert_int_equal(unsetenv("GRAFT_PIN"), 0);
    places_tell(&p, all + 1, text, sizeof text);
    assert_non_null(strstr(text, "do not fill"));
}

static void note_cpus(void *ctx, int64_t begin, int64_t end, int thread)
{
    cpu_set_t *masks = ctx;
    for (int64_t i = begin; i < end; i++) {
        (void)sched_getaffinity(0, sizeof masks[i], &masks[i]);
    }
    (void)thread;
}

static void test_pool_keeps_to_its_cpus(void **state)
{
    (void)state;
    struct places p;
    static int all[PLACES_MOST];
    static cpu_set_t masks[4];
    cpu_set_t after;
    struct pool *pool;
    places_read(&p, false, 0, 1);
    const int count = places_order(&p.own, all, NULL);
    const int cpus[4] = {all[count - 1], all[0], all[count - 1], all[0]};
    assert_int_equal(pool_open_pinned(&pool, 4, cpus), STATUS_OK);
    assert_memory_equal(pool_cpus(pool), cpus, sizeof cpus);
    parallel_for(pool, 4, note_cpus, masks);
    for (int t = 0; t < 4; t++) {
        assert_int_equal(CPU_COUNT(&masks[t]), 1);
        assert_true(CPU_ISSET((size_t)cpus[t], &masks[t]));
    }
    pool_close(pool);
    assert_int_equal(sched_getaffinity(0, sizeof after, &after), 0);
    assert_true(CPU_EQUAL(&after, &p.own));
    assert_int_equal(pool_open(&pool, 2), STATUS_OK);
    assert_null(pool_cpus(pool));
    parallel_for(pool, 2, note_cpus, masks);
    assert_true(CPU_EQUAL(&masks[1], &p.own));
    pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranks_share_the_cpus),
        cmocka_unit_test(test_slices_of_a_full_node),
        cmocka_unit_test(test_only_when_full),
        cmocka_unit_test(test_bound_by_a_launcher),
        cmocka_unit_test(test_order_holds_each_once),
        cmocka_unit_test(test_environment_switches_it_off),
        cmocka_unit_test(test_pool_keeps_to_its_cpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
