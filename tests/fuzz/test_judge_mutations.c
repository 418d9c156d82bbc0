/*
 * Mutated answers through the math judge: no crash, and no verdict over 50 ms or 64 MB.
 * GRAFT_FUZZ_CASES sets how many (a million by hand), GRAFT_FUZZ_SEED which.
 */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include <cmocka.h>

#include "eval/grade/grade.h"

enum { MAX_SEEDS = 1024, TEXT_CAP = 4096, MAX_MUTATIONS = 6 };

struct corpus {
    char *texts[2 * MAX_SEEDS];
    size_t count;
};

/* xorshift64*: a stream of its own, so that cases can be named by seed and number. */
static uint64_t next(uint64_t *s)
{
    *s ^= *s >> 12;
    *s ^= *s << 25;
    *s ^= *s >> 27;
    return *s * 2685821657736338717u;
}

static void corpus_open(struct corpus *c)
{
    char path[1024];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof path, "%s/tests/data/judge_cases.jsonl", source ? source : ".");
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char *line = NULL;
    size_t capacity = 0;
    while (c->count < 2 * MAX_SEEDS && getline(&line, &capacity, f) > 0) {
        json_t *row = json_loads(line, 0, NULL);
        c->texts[c->count++] = strdup(json_string_value(json_object_get(row, "gold")));
        c->texts[c->count++] = strdup(json_string_value(json_object_get(row, "answer")));
        json_decref(row);
    }
    free(line);
    (void)fclose(f);
    assert_true(c->count > 500);
}

static const char *piece(uint64_t r)
{
    static const char *const PIECES[] = {
        "{",       "}",        "(",       ")",      "[",         "]",      "^",       "_",
        "\\frac{", "\\sqrt{",  "\\boxed{", "$",     "$$",        "\\[",    "\\]",     "|",
        "!",       "9999",     "10^{99}", "e^{",    "\\infty",   ",",      ";",       "=",
        "<",       "\\cup",    "\\setminus", "\\pm", "%",        "\\text{", "answer: ", "\\binom{",
        "\\sum_{i=1}^{", "\\int_0^1", "\\log_", "\\sin", "\xff", "x", "i", "0.1",
        "\\begin{pmatrix}", "&", "\\\\", "\\end{pmatrix}", "and", "/0", "E99", "\\lim_{x\\to 0}",
    };
    return PIECES[r % (sizeof PIECES / sizeof *PIECES)];
}

/* Copies a text with a few bytes cut, doubled, swapped, or pieces put in. */
static size_t mutate(const struct corpus *c, uint64_t *s, char out[TEXT_CAP])
{
    const char *base = c->texts[next(s) % c->count];
    size_t n = strlen(base) < TEXT_CAP / 2 ? strlen(base) : TEXT_CAP / 2;
    memcpy(out, base, n);
    for (uint64_t k = next(s) % (MAX_MUTATIONS + 1); k > 0; k--) {
        const size_t at = n > 0 ? next(s) % n : 0;
        const uint64_t what = next(s) % 5;
        const char *with = what == 4 ? c->texts[next(s) % c->count] : piece(next(s));
        const size_t m = strlen(with);
        if (what == 0 && n > at + 1) { /* cut */
            const size_t length = 1 + next(s) % 3;
            const size_t end = at + length < n ? at + length : n;
            memmove(out + at, out + end, n - end);
            n -= end - at;
        } else if (what == 1 && n > 0) { /* change */
            out[at] = (char)next(s);
        } else if (n + m < TEXT_CAP) { /* put in */
            memmove(out + at + m, out + at, n - at);
            memcpy(out + at, with, m);
            n += m;
        }
    }
    return n;
}

static double milliseconds(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return 1e3 * (double)t.tv_sec + 1e-6 * (double)t.tv_nsec;
}

static long resident_kilobytes(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void mutations_are_bounded(void **state)
{
    (void)state;
    static struct corpus c;
    const char *cases = getenv("GRAFT_FUZZ_CASES");
    const char *seed = getenv("GRAFT_FUZZ_SEED");
    const long count = cases ? strtol(cases, NULL, 10) : 3000;
    uint64_t s = 88172645463325252u + (seed ? strtoull(seed, NULL, 10) : 0) * 7919u;
    char gold[TEXT_CAP];
    char answer[TEXT_CAP];
    double worst = 0;
    long equal_count = 0;
    struct grade *judges[2];
    corpus_open(&c);
    assert_int_equal(grade_open(GRADE_MATH_VERIFY, &judges[0]), STATUS_OK);
    assert_int_equal(grade_open(GRADE_STRICT, &judges[1]), STATUS_OK);
    const long memory = resident_kilobytes();
    const double start = milliseconds();
    for (long i = 0; i < count; i++) {
        const uint64_t at = s;
        const size_t n = mutate(&c, &s, gold);
        const size_t m = next(&s) % 4 == 0 ? n : mutate(&c, &s, answer);
        if (m == n) {
            memcpy(answer, gold, n);
        }
        bool equal;
        const double from = milliseconds();
        assert_int_equal(grade_verify(judges[i % 2], gold, n, answer, m, &equal), STATUS_OK);
        const double took = milliseconds() - from;
        equal_count += equal;
        if (took > worst) {
            worst = took;
            if (took > 10) {
                print_message("%.1f ms (state %llu): %.*s | %.*s\n", took, (unsigned long long)at,
                              (int)n, gold, (int)m, answer);
            }
        }
    }
    print_message("%ld cases, %ld equal, %.1f us each, worst %.2f ms, %ld kB more resident\n",
                  count, equal_count, 1e3 * (milliseconds() - start) / (double)count, worst,
                  resident_kilobytes() - memory);
    assert_true(equal_count > 0);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(worst < 50);
    assert_true(resident_kilobytes() - memory < 64 << 10);
#endif
    grade_close(judges[0]);
    grade_close(judges[1]);
    for (size_t i = 0; i < c.count; i++) {
        free(c.texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mutations_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
