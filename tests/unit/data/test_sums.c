/* Built-in sums: answers, texts, Python's shuffle order, disjoint splits, impossible numbers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "trainer/data/sums.h"
#include "trainer/format/json.h"

static void make(const struct sums_config *c, json_t **train, json_t **held_out)
{
    if (sums_rows(c, train, held_out) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
}

static const char *member(const json_t *rows, size_t i, const char *key)
{
    const char *text = json_get_string(json_array_get(rows, i), key, NULL);
    assert_non_null(text);
    return text;
}

/* random.Random(42).shuffle of [(a, b) for a in range(4) for b in range(4)], by Python 3. */
static void order_is_that_of_python(void **state)
{
    (void)state;
    static const char *const ORDER[] = {"13", "21", "11", "12", "32", "22", "30", "20",
                                        "01", "02", "31", "33", "10", "23", "00", "03"};
    json_t *train;
    json_t *held_out;
    for (int64_t holdout = 0; holdout <= 16; holdout += 4) {
        const struct sums_config c = {.min = 0, .max = 3, .terms = 2, .holdout = holdout,
                                      .seed = 42, .question = "{a}{b}"};
        make(&c, &train, &held_out);
        assert_int_equal(json_array_size(held_out), holdout);
        assert_int_equal(json_array_size(train), 16 - holdout);
        for (size_t i = 0; i < 16; i++) {
            const size_t n = (size_t)holdout;
            assert_string_equal(i < n ? member(held_out, i, "prompt")
                                      : member(train, i - n, "prompt"), ORDER[i]);
        }
        json_decref(train);
        json_decref(held_out);
    }
}

/* Adds every prompt to `seen`: none comes twice. Checks the answers. */
static void check_distinct(const json_t *rows, int64_t terms, json_t *seen)
{
    for (size_t i = 0; i < json_array_size(rows); i++) {
        const char *p = member(rows, i, "prompt");
        int64_t sum = 0;
        char answer[32];
        assert_null(json_object_get(seen, p));
        (void)json_object_set_new(seen, p, json_true());
        for (int64_t t = 0; t < terms; t++) {
            char *end;
            sum += strtoll(p, &end, 10);
            assert_true(*end == (t + 1 < terms ? '+' : '\0'));
            p = end + 1;
        }
        (void)snprintf(answer, sizeof answer, "%lld", (long long)sum);
        assert_string_equal(member(rows, i, "answer"), answer);
        assert_string_equal(member(rows, i, "solution"), answer);
    }
}

static void splits_are_disjoint_and_right(void **state)
{
    (void)state;
    static const struct sums_config CONFIGS[] = {
        {.min = -3, .max = 5, .terms = 2, .holdout = 20, .seed = 1, .question = "{a}+{b}"},
        {.min = 0, .max = 9, .terms = 3, .count = 500, .holdout = 499, .seed = 7,
         .question = "{a}+{b}+{c}"},
        {.min = 0, .max = 999999999, .terms = 2, .count = 3000, .holdout = 1000, .seed = 3,
         .question = "{a}+{b}"},
        {.min = 1, .max = 1024, .terms = 2, .count = 4000, .holdout = 0, .seed = 0,
         .question = "{a}+{b}"}, /* a power of two of problems, too many to shuffle */
        {.min = -999999999, .max = 0, .terms = 8, .count = 200, .holdout = 100, .seed = 5,
         .question = "{a}+{b}+{c}+{d}+{e}+{f}+{g}+{h}"},
        {.min = 999999999999998, .max = 999999999999999, .terms = 8, .seed = 1,
         .question = "{a}+{b}+{c}+{d}+{e}+{f}+{g}+{h}"},
        {.min = 7, .max = 7, .terms = 4, .holdout = 1, .seed = 5, .question = "{a}+{b}+{c}+{d}"},
    };
    for (size_t k = 0; k < sizeof CONFIGS / sizeof CONFIGS[0]; k++) {
        const struct sums_config *c = &CONFIGS[k];
        json_t *train;
        json_t *held_out;
        json_t *seen = json_object();
        make(c, &train, &held_out);
        assert_int_equal(json_array_size(held_out), c->holdout);
        if (c->count) {
            assert_int_equal(json_array_size(train), c->count - c->holdout);
        }
        check_distinct(train, c->terms, seen);
        check_distinct(held_out, c->terms, seen);
        json_decref(seen);
        json_decref(train);
        json_decref(held_out);
    }
}

static void seeds_change_the_order_only(void **state)
{
    (void)state;
    json_t *rows[3];
    json_t *none;
    struct sums_config c = {.min = 0, .max = 9, .terms = 2, .seed = 1, .question = "{a}+{b}"};
    make(&c, &rows[0], &none);
    json_decref(none);
    make(&c, &rows[1], &none);
    json_decref(none);
    c.seed = 2;
    make(&c, &rows[2], &none);
    json_decref(none);
    assert_true(json_equal(rows[0], rows[1]));
    assert_false(json_equal(rows[0], rows[2]));
    assert_int_equal(json_array_size(rows[2]), 100);
    for (size_t i = 0; i < 3; i++) {
        json_decref(rows[i]);
    }
}

static void texts_are_filled(void **state)
{
    (void)state;
    json_t *train;
    json_t *held_out;
    struct sums_config c = {.min = -5, .max = -5, .terms = 2,
                            .question = "{b} {a}, {c} {answer {x}{",
                            .completion = "{a}+{b}={answer}"};
    make(&c, &train, &held_out);
    assert_string_equal(member(train, 0, "prompt"), "-5 -5, {c} {answer {x}{");
    assert_string_equal(member(train, 0, "completion"), "-5+-5=-10");
    json_decref(train);
    json_decref(held_out);
    c.messages = true;
    make(&c, &train, &held_out);
    const json_t *row = json_array_get(train, 0);
    const json_t *prompt = json_array_get(json_object_get(row, "prompt"), 0);
    const json_t *completion = json_array_get(json_object_get(row, "completion"), 0);
    assert_string_equal(json_get_string(prompt, "role", ""), "user");
    assert_string_equal(json_get_string(prompt, "content", ""), "-5 -5, {c} {answer {x}{");
    assert_string_equal(json_get_string(completion, "role", ""), "assistant");
    assert_string_equal(json_get_string(completion, "content", ""), "-5+-5=-10");
    json_decref(train);
    json_decref(held_out);
    c.completion = NULL;
    make(&c, &train, &held_out);
    assert_null(json_object_get(json_array_get(train, 0), "completion"));
    json_decref(train);
    json_decref(held_out);
}

static void impossible_numbers_are_refused(void **state)
{
    (void)state;
    char longer[3000];
    memset(longer, 'q', sizeof longer);
    longer[sizeof longer - 1] = '\0';
    const struct sums_config configs[] = {
        {.min = 0, .max = 9, .terms = 1, .question = "?"},
        {.min = 0, .max = 9, .terms = 9, .question = "?"},
        {.min = 3, .max = 2, .terms = 2, .question = "?"},
        {.min = 0, .max = 3, .terms = 2, .count = 17, .question = "?"},
        {.min = 0, .max = 3, .terms = 2, .count = -1, .question = "?"},
        {.min = 0, .max = 3, .terms = 2, .holdout = 17, .question = "?"},
        {.min = 0, .max = 3, .terms = 2, .holdout = -1, .question = "?"},
        {.min = 0, .max = 9999, .terms = 2, .question = "?"}, /* every one of 1e8 */
        {.min = INT64_MIN, .max = INT64_MAX, .terms = 2, .count = 1, .question = "?"},
        {.min = INT64_MAX - 1, .max = INT64_MAX, .terms = 8, .count = 1, .question = "?"},
        {.min = INT64_MIN, .max = INT64_MIN + 1, .terms = 2, .count = 1, .question = "?"},
        {.min = 0, .max = 3, .terms = 2, .question = longer},
        {.min = 0, .max = 3, .terms = 2, .question = "?", .completion = longer},
    };
    for (size_t k = 0; k < sizeof configs / sizeof configs[0]; k++) {
        json_t *train;
        json_t *held_out;
        if (sums_rows(&configs[k], &train, &held_out) != STATUS_RECIPE) {
            fail_msg("case %zu is not refused", k);
        }
        assert_null(train);
        assert_null(held_out);
        assert_non_null(strstr(status_message(), "sums"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(order_is_that_of_python),
        cmocka_unit_test(splits_are_disjoint_and_right),
        cmocka_unit_test(seeds_change_the_order_only),
        cmocka_unit_test(texts_are_filled),
        cmocka_unit_test(impossible_numbers_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
