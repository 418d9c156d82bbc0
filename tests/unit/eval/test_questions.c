/*
 * Generated questions: every task at every level answers itself with full marks, the same seed and
 * index are the same question, difficulty keys are obeyed and checked.
 */
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "eval/tasks/procedural.h"

static enum status configure(const char *task, const char *keys, struct procedural_config *c)
{
    json_t *given = keys ? json_loads(keys, 0, NULL) : NULL;
    assert_true((given != NULL) == (keys != NULL));
    const enum status status = procedural_configure(procedural_find(task), -1, given, c);
    json_decref(given);
    return status;
}

static json_t *question(const struct procedural_config *c, uint64_t seed, uint64_t index)
{
    json_t *row;
    if (procedural_question(c, seed, index, &row) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    return row;
}

static const char *text_of(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    assert_non_null(text);
    return text;
}

static void check_question(const struct procedural_config *c, uint64_t index)
{
    json_t *row = question(c, 7, index);
    json_t *again = question(c, 7, index);
    const char *answer = text_of(row, "answer");
    const double score = procedural_score(c->task, answer, row);
    assert_true(json_equal(row, again));
    assert_string_equal(text_of(row, "task"), procedural_name(c->task));
    assert_true(strlen(text_of(row, "question")) > 10);
    if (score != 1.0) {
        fail_msg("%s: '%s' scores %g: %s", procedural_name(c->task), answer, score,
                 text_of(row, "question"));
    }
    const double wrong = procedural_score(c->task, "surely no answer", row);
    assert_true(isnan(wrong) || wrong < 0.5 || *answer == '\0');
    json_decref(row);
    json_decref(again);
}

static void every_question_answers_itself(void **state)
{
    (void)state;
    for (int64_t t = 0; procedural_at(t); t++) {
        const int64_t levels = procedural_levels(procedural_at(t));
        assert_true(levels >= 3);
        for (int64_t level = -1; level < levels; level++) {
            struct procedural_config c;
            assert_int_equal(procedural_configure(procedural_at(t), level, NULL, &c), STATUS_OK);
            for (uint64_t i = 0; i < 60; i++) {
                check_question(&c, i * 1000003);
            }
        }
        struct procedural_config last;
        struct procedural_config beyond;
        assert_int_equal(procedural_configure(procedural_at(t), levels - 1, NULL, &last),
                         STATUS_OK);
        assert_int_equal(procedural_configure(procedural_at(t), levels + 5, NULL, &beyond),
                         STATUS_OK);
        assert_memory_equal(last.values, beyond.values, sizeof last.values);
    }
}

/* Neighbours in seed, index and task draw different numbers. */
static void questions_differ(void **state)
{
    (void)state;
    enum { COUNT = 200 };
    for (int64_t t = 0; procedural_at(t); t++) {
        struct procedural_config c;
        int same = 0;
        assert_int_equal(procedural_configure(procedural_at(t), -1, NULL, &c), STATUS_OK);
        for (uint64_t i = 0; i < COUNT; i++) {
            json_t *a = question(&c, 1, i);
            json_t *b = question(&c, 1, i + 1);
            json_t *d = question(&c, 2, i);
            same += strcmp(text_of(a, "question"), text_of(b, "question")) == 0;
            same += strcmp(text_of(a, "question"), text_of(d, "question")) == 0;
            json_decref(a);
            json_decref(b);
            json_decref(d);
        }
        if (same > COUNT / 10) {
            fail_msg("%s: %d of %d neighbours are alike", procedural_name(procedural_at(t)), same,
                     2 * COUNT);
        }
    }
}

static void known_answers(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        const char *keys;
        const char *answer;
    } CASES[] = {
        {"gcd", "{\"min_value\": 12, \"max_value\": 12}", "12"},
        {"lcm", "{\"min_value\": 12, \"max_value\": 12}", "12"},
        {"prime_factorization", "{\"min_value\": 360, \"max_value\": 360}",
         "2 \xc3\x97 2 \xc3\x97 2 \xc3\x97 3 \xc3\x97 3 \xc3\x97 5"},
        {"prime_factorization", "{\"min_value\": 999999999989, \"max_value\": 999999999989}",
         "999999999989"},
        {"fraction_simplification",
         "{\"min_value\": 5, \"max_value\": 5, \"styles\": [\"latex_frac\"]}", "$\\frac{1}{1}$"},
        {"polynomial_equations",
         "{\"min_value\": 1, \"max_value\": 1, \"min_degree\": 1, \"max_degree\": 1,"
         "\"min_terms\": 1, \"max_terms\": 1}", "0.0"},
        {"calendar_arithmetic", "{\"tasks\": [\"is_leap_year\"], \"leap_year_range\": 0,"
                                "\"year\": 1900}", "No"},
        {"base_conversion", "{\"min_value\": 0, \"max_value\": 0}", "0"},
        {"complex_arithmetic",
         "{\"min_real\": 2, \"max_real\": 2, \"min_imag\": 3, \"max_imag\": 3,"
         "\"operations\": [\"*\"]}", "-5.0 + 12.0i"},
        {"complex_arithmetic",
         "{\"min_real\": 2, \"max_real\": 2, \"min_imag\": 3, \"max_imag\": 3,"
         "\"operations\": [\"-\"]}", "0.00"},
        {"products",
         "{\"min_terms\": 1, \"max_terms\": 1, \"min_digits\": 1, \"max_digits\": 1}", NULL},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct procedural_config c;
        assert_int_equal(configure(CASES[i].task, CASES[i].keys, &c), STATUS_OK);
        for (uint64_t k = 0; k < 5; k++) {
            json_t *row = question(&c, 3, k);
            if (CASES[i].answer) {
                assert_string_equal(text_of(row, "answer"), CASES[i].answer);
            }
            json_decref(row);
        }
    }
}

static void keys_bound_the_numbers(void **state)
{
    (void)state;
    struct procedural_config c;
    assert_int_equal(configure("gcd", "{\"min_value\": 40, \"max_value\": 50, \"min_numbers\": 3,"
                                      "\"max_numbers\": 5}", &c), STATUS_OK);
    int counts[6] = {0};
    for (uint64_t i = 0; i < 200; i++) {
        json_t *row = question(&c, 0, i);
        const json_t *numbers = json_object_get(json_object_get(row, "metadata"), "numbers");
        assert_in_range(json_array_size(numbers), 3, 5);
        counts[json_array_size(numbers)]++;
        for (size_t k = 0; k < json_array_size(numbers); k++) {
            assert_in_range(json_integer_value(json_array_get(numbers, k)), 40, 50);
        }
        json_decref(row);
    }
    assert_true(counts[3] > 30 && counts[4] > 30 && counts[5] > 30);
    /* A level sets the ranges, keys that are given go before it. */
    json_t *given = json_loads("{\"max_terms\": 3}", 0, NULL);
    assert_int_equal(procedural_configure(procedural_find("chain_sum"), 5, given, &c), STATUS_OK);
    assert_true(c.values[0] == 2 && c.values[1] == 3 && c.values[3] == 6);
    json_decref(given);
}

static void bad_difficulty_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        const char *keys;
        const char *message;
    } CASES[] = {
        {"gcd", "{\"max_terms\": 3}",
         "gcd has no key 'max_terms'; it has min_numbers, max_numbers"},
        {"gcd", "{\"max_value\": 0}", "max_value is a whole number from 1 to 1e+12"},
        {"gcd", "{\"max_value\": 5.5}", "whole number"},
        {"gcd", "{\"max_value\": \"5\"}", "whole number"},
        {"gcd", "{\"min_value\": 2000}", "min_value 2000 is over max_value 1000"},
        {"chain_sum", "{\"allow_negation\": 1}", "allow_negation is true or false"},
        {"countdown", "{\"operators\": [\"+\", \"^\"]}", "operators takes a list of + - * /"},
        {"countdown", "{\"operators\": []}", "operators takes a list of"},
        {"basic_arithmetic", "{\"whitespace\": \"none\"}", "whitespace takes one of no_space"},
        {"simple_equations", "{\"operators_weights\": [1, 1, 1]}", "their sum 1"},
        {"simple_equations", "{\"operators_weights\": [0.5, 0.5]}", "one weight per operator"},
        {"simple_equations", "{\"operators_weights\": [1.5, -0.5, 0]}", "their sum 1"},
    };
    struct procedural_config c;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        assert_int_equal(configure(CASES[i].task, CASES[i].keys, &c), STATUS_RECIPE);
        if (!strstr(status_message(), CASES[i].message)) {
            fail_msg("%s: the message is: %s", CASES[i].keys, status_message());
        }
    }
    /* What no question can have. */
    static const struct {
        const char *task;
        const char *keys;
    } EMPTY[] = {
        {"countdown", "{\"min_target\": 900000000000, \"max_target\": 900000000000}"},
        {"base_conversion", "{\"min_base\": 7, \"max_base\": 7}"},
        {"spell_backward", "{\"min_word_len\": 30, \"max_word_len\": 31}"},
        {"decimal_arithmetic", "{\"precision\": 4}"},
        {"complex_arithmetic",
         "{\"min_real\": 0, \"max_real\": 0, \"min_imag\": 0, \"max_imag\": 0,"
         "\"operations\": [\"/\"]}"},
    };
    for (size_t i = 0; i < sizeof EMPTY / sizeof EMPTY[0]; i++) {
        json_t *row;
        assert_int_equal(configure(EMPTY[i].task, EMPTY[i].keys, &c), STATUS_OK);
        assert_int_equal(procedural_question(&c, 1, 1, &row), STATUS_RECIPE);
        assert_null(row);
    }
}

/* The widest difficulties neither overflow nor fail. */
static void widest_difficulty(void **state)
{
    (void)state;
    static const struct {
        const char *task;
        const char *keys;
    } CASES[] = {
        {"basic_arithmetic",
         "{\"max_terms\": 64, \"max_digits\": 9, \"whitespace\": \"random\","
         "\"format_style\": \"natural\", \"operators\": [\"+\", \"-\", \"/\"]}"},
        {"basic_arithmetic", "{\"allow_parentheses\": false, \"allow_negation\": false}"},
        {"chain_sum", "{\"max_terms\": 64, \"max_digits\": 15, \"allow_negation\": true}"},
        {"products", "{\"max_terms\": 32, \"max_digits\": 15, \"allow_negation\": true}"},
        {"lcm", "{\"max_numbers\": 6, \"max_value\": 1000000}"},
        {"simple_equations", "{\"max_terms\": 10, \"max_value\": 1000000000}"},
        {"polynomial_equations", "{\"max_degree\": 6, \"max_terms\": 64, \"max_value\": 1000000}"},
        {"decimal_arithmetic", "{\"min_num_decimal_places\": 0, \"max_num_decimal_places\": 8,"
                               "\"max_terms\": 16, \"precision\": 17}"},
        {"fraction_simplification", "{\"max_value\": 1000000000, \"max_factor\": 1000000}"},
        {"calendar_arithmetic", "{\"year\": 9000, \"offset_upper_bound\": 100000}"},
        {"calendar_arithmetic", "{\"year\": 400, \"offset_upper_bound\": 100000}"},
        {"complex_arithmetic", "{\"min_real\": -1000000000, \"max_imag\": 1000000000}"},
        {"base_conversion", "{\"max_base\": 36, \"max_value\": 1000000000000000}"},
        {"letter_counting", "{\"max_words\": 200}"},
        {"leg_counting", "{\"max_animals\": 37, \"max_instances\": 1000000}"},
        {"number_sorting", "{\"min_value\": 0.25, \"max_value\": 0.26, \"max_decimals\": 0}"},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct procedural_config c;
        assert_int_equal(configure(CASES[i].task, CASES[i].keys, &c), STATUS_OK);
        for (uint64_t k = 0; k < 50; k++) {
            check_question(&c, k);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_question_answers_itself),
        cmocka_unit_test(questions_differ),
        cmocka_unit_test(known_answers),
        cmocka_unit_test(keys_bound_the_numbers),
        cmocka_unit_test(bad_difficulty_is_refused),
        cmocka_unit_test(widest_difficulty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
