/*
 * The training part of a GRPO step, from packing to the gradients of the adapter, allocates nothing
 * once the largest step has been seen.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/allocations.h"
#include "tests/support/grpo_bench.h"

enum { STEPS = 4 };

static void gradients_allocate_nothing(void **state)
{
    (void)state;
    struct grpo_bench b;
    grpo_bench_open(&b, STEPS, 0, &(struct correction_config){0});
    for (int64_t step = 0; step < STEPS; step++) {
        grpo_bench_prepare(&b, step);
        grpo_bench_run(&b); /* the arenas grow to this step */
#if COUNTS
        const long before = allocations();
        b.g->record_count = 0;
        grpo_bench_run(&b);
        assert_int_equal(allocations() - before, 0);
#endif
    }
    grpo_bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(gradients_allocate_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
