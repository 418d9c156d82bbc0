/* Which modules are wrapped, and with which rank and alpha: PEFT's rules (spec adapters.md 2.3). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <math.h>

#include "adapters/target.h"

#define Q0 "model.layers.0.self_attn.q_proj"
#define Q1 "model.layers.1.self_attn.q_proj"
#define Q11 "model.layers.11.self_attn.q_proj"
#define UP1 "model.layers.1.mlp.up_proj"

/* target_modules, exclude_modules, layers_to_transform and layers_pattern as a file has them. */
struct rule {
    const char *regex;
    const char *list[3];
    const char *exclude_regex;
    const char *exclude[2];
    int64_t layers[2];
    int64_t layers_count;
    const char *layers_pattern;
};

static const struct match_case {
    const char *why;
    struct rule rule;
    const char *name;
    bool is_head;
    bool expected;
} CASES[] = {
    {"suffix after a dot", {.list = {"q_proj"}}, Q0, false, true},
    {"suffix inside a word", {.list = {"proj"}}, Q0, false, false},
    {"two parts", {.list = {"self_attn.q_proj"}}, Q0, false, true},
    {"half a part", {.list = {"attn.q_proj"}}, Q0, false, false},
    {"whole path", {.list = {"up_proj", Q1}}, Q1, false, true},
    {"another path", {.list = {"up_proj", Q1}}, Q0, false, false},
    {"longer than the name", {.list = {"x." Q0}}, Q0, false, false},
    {"default: q", {0}, Q0, false, true},
    {"default: not up", {0}, UP1, false, false},
    {"regex, full match", {.regex = ".*\\.q_proj"}, Q0, false, true},
    {"regex that only starts", {.regex = "model\\.layers"}, Q0, false, false},
    {"regex that only ends", {.regex = "q_proj"}, Q0, false, false},
    {"regex alternation", {.regex = ".*q_proj|nothing"}, Q0, false, true},
    {"regex alternation, second", {.regex = "model|.*up_proj"}, UP1, false, true},
    {"a list item is no regex", {.list = {".*q_proj"}}, Q0, false, false},
    {"all-linear", {.regex = "all-linear"}, UP1, false, true},
    {"all-linear in capitals", {.regex = "All-Linear"}, UP1, false, true},
    {"all-linear leaves the head", {.regex = "all-linear"}, "lm_head", true, false},
    {"a named head is taken", {.list = {"lm_head"}}, "lm_head", true, true},
    {"all-linear minus a list", {.regex = "all-linear", .exclude = {"up_proj"}}, UP1, false, false},
    {"all-linear minus another", {.regex = "all-linear", .exclude = {"q_proj"}}, UP1, false, true},
    {"exclusion wins over the path", {.list = {Q0}, .exclude = {"q_proj"}}, Q0, false, false},
    {"excluded path", {.list = {"q_proj"}, .exclude = {Q1}}, Q1, false, false},
    {"excluded path, other layer", {.list = {"q_proj"}, .exclude = {Q1}}, Q0, false, true},
    {"exclude regex", {.list = {"q_proj"}, .exclude_regex = ".*\\.1\\..*"}, Q1, false, false},
    {"exclude regex is a full match", {.list = {"q_proj"}, .exclude_regex = "model"}, Q1, false,
     true},
    {"layer", {.list = {"q_proj"}, .layers = {1}, .layers_count = 1}, Q1, false, true},
    {"other layer", {.list = {"q_proj"}, .layers = {1}, .layers_count = 1}, Q0, false, false},
    {"layer 11 is not 1", {.list = {"q_proj"}, .layers = {1}, .layers_count = 1}, Q11, false,
     false},
    {"second layer", {.list = {"q_proj"}, .layers = {1, 11}, .layers_count = 2}, Q11, false, true},
    {"layers do not filter whole paths", {.list = {Q0}, .layers = {1}, .layers_count = 1}, Q0,
     false, true},
    {"layers filter the default", {.layers = {1}, .layers_count = 1}, Q0, false, false},
    {"no layer in the name", {.list = {"lm_head"}, .layers = {0}, .layers_count = 1}, "x.lm_head",
     false, false},
    {"the first number counts", {.list = {"w"}, .layers = {3}, .layers_count = 1},
     "model.layers.3.experts.5.w", false, true},
    {"not the last", {.list = {"w"}, .layers = {5}, .layers_count = 1},
     "model.layers.3.experts.5.w", false, false},
    {"pattern", {.list = {"q_proj"}, .layers = {1}, .layers_count = 1, .layers_pattern = "layers"},
     Q1, false, true},
    {"pattern elsewhere",
     {.list = {"q_proj"}, .layers = {1}, .layers_count = 1, .layers_pattern = "blocks"}, Q1, false,
     false},
    {"pattern of the inner number",
     {.list = {"w"}, .layers = {5}, .layers_count = 1, .layers_pattern = "experts"},
     "model.layers.3.experts.5.w", false, true},
    {"pattern at the start",
     {.list = {"w"}, .layers = {2}, .layers_count = 1, .layers_pattern = "layers"}, "layers.2.w",
     false, true},
    {"pattern with a group of its own",
     {.list = {"q_proj"}, .layers = {1}, .layers_count = 1, .layers_pattern = "(x)?layers"}, Q1,
     false, true},
    {"empty pattern is none",
     {.list = {"q_proj"}, .layers = {1}, .layers_count = 1, .layers_pattern = ""}, Q1, false, true},
};

/* Borrowed strings only: not to be closed. */
static struct adapter_config config_of(const struct rule *r, char **targets, char **excluded)
{
    struct adapter_config c = {.family = "lora",
                               .r = 8,
                               .lora_alpha = 16,
                               .target_regex = (char *)(uintptr_t)r->regex,
                               .exclude_regex = (char *)(uintptr_t)r->exclude_regex,
                               .layers_to_transform = (int64_t *)(uintptr_t)r->layers,
                               .layers_count = r->layers_count,
                               .layers_pattern = (char *)(uintptr_t)r->layers_pattern,
                               .target_modules = targets,
                               .exclude_modules = excluded};
    for (; c.target_count < 3 && r->list[c.target_count]; c.target_count++) {
        targets[c.target_count] = (char *)(uintptr_t)r->list[c.target_count];
    }
    for (; c.exclude_count < 2 && r->exclude[c.exclude_count]; c.exclude_count++) {
        excluded[c.exclude_count] = (char *)(uintptr_t)r->exclude[c.exclude_count];
    }
    return c;
}

static void modules_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        char *targets[3];
        char *excluded[2];
        struct target *t;
        const struct adapter_config c = config_of(&CASES[i].rule, targets, excluded);
        if (target_open(&t, &c) != STATUS_OK) {
            fail_msg("%s: %s", CASES[i].why, status_message());
        }
        if (target_matches(t, CASES[i].name, CASES[i].is_head) != CASES[i].expected) {
            fail_msg("%s: %s is %s", CASES[i].why, CASES[i].name,
                     CASES[i].expected ? "not wrapped" : "wrapped");
        }
        assert_int_equal(target_check(t), STATUS_OK);
        target_close(t);
    }
}

static const struct {
    const char *ranks;
    const char *alphas;
    const char *name;
    int64_t rank;
    double alpha;
} PATTERNS[] = {
    {"{}", "{}", Q0, 8, 16},
    {"{\"q_proj\": 2}", "{}", Q0, 2, 16}, /* the rank alone */
    {"{}", "{\"q_proj\": 2.5}", Q0, 8, 2.5},
    {"{\"proj\": 2}", "{}", Q0, 8, 16},
    {"{\"model.layers.0.self_attn.q_proj\": 2}", "{}", Q0, 2, 16},
    {"{\"^q_proj\": 2}", "{}", Q0, 8, 16},
    {"{\"^model.layers.1.mlp.*\": 6}", "{}", UP1, 6, 16},
    {"{\"^model\\\\.layers\\\\.1\\\\.mlp.*\": 6}", "{}", Q1, 8, 16},
    {"{\"q_proj\": 2, \"layers.0.self_attn.q_proj\": 3}", "{}", Q0, 2, 16}, /* the first key */
    {"{\"layers.0.self_attn.q_proj\": 3, \"q_proj\": 2}", "{}", Q0, 3, 16},
    {"{\"up_proj|q_proj\": 5}", "{\"up_proj\": 1}", Q0, 5, 16},
    {"{\"up_proj|q_proj\": 5}", "{\"up_proj\": 1}", UP1, 5, 1},
    {"{\"(q|k)_proj\": 4}", "{}", Q0, 4, 16},
};

static void patterns_match(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof PATTERNS / sizeof PATTERNS[0]; i++) {
        struct adapter_config c = {.family = "lora", .r = 8, .lora_alpha = 16};
        struct target *t;
        c.rank_pattern = json_loads(PATTERNS[i].ranks, 0, NULL);
        c.alpha_pattern = json_loads(PATTERNS[i].alphas, 0, NULL);
        assert_non_null(c.rank_pattern);
        assert_int_equal(target_open(&t, &c), STATUS_OK);
        if (target_rank(t, PATTERNS[i].name) != PATTERNS[i].rank
            || fabs(target_alpha(t, PATTERNS[i].name) - PATTERNS[i].alpha) > 0) {
            fail_msg("%s %s: %s has rank %d, alpha %g", PATTERNS[i].ranks, PATTERNS[i].alphas,
                     PATTERNS[i].name, (int)target_rank(t, PATTERNS[i].name),
                     target_alpha(t, PATTERNS[i].name));
        }
        target_close(t);
        adapter_config_close(&c);
    }
}

static void bad_rules_are_refused(void **state)
{
    (void)state;
    static const struct {
        struct rule rule;
        const char *ranks;
        const char *words;
    } BAD[] = {
        {{.regex = "("}, "{}", "target pattern '('"},
        {{.exclude_regex = "*"}, "{}", "target pattern '*'"},
        {{.regex = "all-linear", .layers = {1}, .layers_count = 1}, "{}", "needs target_modules"},
        {{0}, "{\"q_proj\": \"4\"}", "'q_proj' is not a number"},
        {{0}, "{\"q_proj\": 1e300}", "'q_proj' is not a number"},
        {{0}, "{\"q_proj[\": 4}", "target pattern 'q_proj['"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        char *targets[3];
        char *excluded[2];
        struct target *t;
        struct adapter_config c = config_of(&BAD[i].rule, targets, excluded);
        c.rank_pattern = json_loads(BAD[i].ranks, 0, NULL);
        assert_int_equal(target_open(&t, &c), STATUS_RECIPE);
        assert_null(t);
        if (!strstr(status_message(), BAD[i].words)) {
            fail_msg("'%s' is not in: %s", BAD[i].words, status_message());
        }
        json_decref(c.rank_pattern);
    }
}

/* An expression that backtracks without end is stopped and reported, not taken for "no match". */
static void endless_expressions_are_reported(void **state)
{
    (void)state;
    struct rule rule = {.regex = "(?:[a-z_0-9.]+)+[!?]"};
    char *targets[3];
    char *excluded[2];
    struct target *t;
    const struct adapter_config c = config_of(&rule, targets, excluded);
    assert_int_equal(target_open(&t, &c), STATUS_OK);
    assert_false(target_matches(t, Q0 Q0 Q0, false));
    assert_int_equal(target_check(t), STATUS_RECIPE);
    target_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modules_match),
        cmocka_unit_test(patterns_match),
        cmocka_unit_test(bad_rules_are_refused),
        cmocka_unit_test(endless_expressions_are_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
