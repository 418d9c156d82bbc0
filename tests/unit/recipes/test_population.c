/* population: what members may set, what each becomes, and that the recipe survives its dump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/schema.h"

enum { MOST = 16 };

static const char *const BASE[] = {"model=m.gguf", "dataset_name=sums", "data_template={a}+{b}",
                                   "output_dir=out", "reward_funcs=last_number", "use_peft=true"};

static enum status open_base(struct recipe *r, enum recipe_method method, const char *population,
                             const char *more)
{
    char *words[MOST];
    char own[512];
    char text[128];
    int64_t count = 0;
    for (size_t i = 0; i < sizeof BASE / sizeof *BASE; i++) {
        words[count++] = (char *)(uintptr_t)BASE[i];
    }
    (void)snprintf(own, sizeof own, "population=%s", population);
    words[count++] = own;
    if (more) {
        (void)snprintf(text, sizeof text, "%s", more);
        words[count++] = text;
    }
    return recipe_open(r, method, NULL, count, words);
}

static void wrong_members_are_refused_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *population;
        const char *more;
        const char *words[3];
    } cases[] = {
        {"[{seed: 1}, {model_name_or_path: x.gguf}]", NULL,
         {"member 1", "model_name_or_path", "shared"}},
        {"[{temperature: 0.5}]", NULL, {"member 0", "temperature", "learning_rate"}},
        {"[{sed: 1}]", NULL, {"member 0", "'sed'", "no key"}},
        {"[{population: []}]", NULL, {"member 0", "population", "shared"}},
        {"[{output_dir: x}]", NULL, {"member 0", "output_dir", "shared"}},
        {"[{seed: 1}, 7]", NULL, {"member 1", "mapping", ""}},
        {"[]", NULL, {"0 members", "16", ""}},
        {"[{seed: 1}]", "use_peft=false", {"population", "use_peft", "adapters"}},
        {"7", NULL, {"population", "list of mappings", ""}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        enum status status = open_base(&r, RECIPE_GRPO, cases[i].population, cases[i].more);
        if (status == STATUS_OK) {
            status = recipe_resolve(&r, 1);
        }
        if (status != STATUS_RECIPE) {
            fail_msg("%s was taken", cases[i].population);
        }
        for (int k = 0; k < 3; k++) {
            if (!strstr(status_message(), cases[i].words[k])) {
                fail_msg("%s: no '%s' in: %s", cases[i].population, cases[i].words[k],
                         status_message());
            }
        }
        recipe_close(&r);
    }
}

static void too_many_members_are_refused(void **state)
{
    (void)state;
    char population[512] = "[{}";
    struct recipe r;
    for (int i = 0; i < 16; i++) {
        (void)strncat(population, ", {}", sizeof population - strlen(population) - 2);
    }
    population[strlen(population) + 1] = '\0';
    population[strlen(population)] = ']';
    assert_int_equal(open_base(&r, RECIPE_GRPO, population, NULL), STATUS_OK);
    assert_int_equal(recipe_members(&r), 17);
    assert_int_equal(recipe_resolve(&r, 1), STATUS_RECIPE);
    recipe_close(&r);
}

static void a_member_has_its_own_keys(void **state)
{
    (void)state;
    static const char POPULATION[] = "[{seed: 1}, {learning_rate: 2.0e-4, lora_r: 4, "
                                     "lr_scheduler_type: cosine, reward_weights: [0.5]}, {}]";
    for (int64_t i = 0; i < 3; i++) {
        char folder[32];
        struct recipe r;
        assert_int_equal(open_base(&r, RECIPE_GRPO, POPULATION, NULL), STATUS_OK);
        assert_int_equal(recipe_members(&r), 3);
        assert_int_equal(recipe_become_member(&r, i), STATUS_OK);
        assert_int_equal(recipe_members(&r), 0);
        assert_int_equal(recipe_resolve(&r, 1), STATUS_OK);
        (void)snprintf(folder, sizeof folder, "out/member-%d", (int)i);
        assert_string_equal(r.output_dir, folder);
        assert_int_equal(r.seed, i == 0 ? 1 : 42);
        assert_int_equal(r.data_seed, i == 0 ? 1 : 42); /* follows the member's seed */
        assert_int_equal(r.lora_r, i == 1 ? 4 : 16);
        assert_true(i == 1 ? r.learning_rate == 2e-4 : r.learning_rate != 2e-4);
        assert_int_equal(r.reward_weights.count, i == 1);
        recipe_close(&r);
    }
}

static void a_members_value_is_checked(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_base(&r, RECIPE_GRPO, "[{learning_rate: fast}]", NULL), STATUS_OK);
    assert_int_equal(recipe_become_member(&r, 0), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "learning_rate"));
    recipe_close(&r);
}

static void a_dump_reads_back(void **state)
{
    (void)state;
    char *text;
    char *differs = NULL;
    struct recipe r;
    struct recipe again;
    assert_int_equal(open_base(&r, RECIPE_GRPO, "[{seed: 1}, {optim_args: \"a=1\"}]", NULL),
                     STATUS_OK);
    assert_int_equal(recipe_dump(&r, &text), STATUS_OK);
    assert_int_equal(recipe_open_text(&again, RECIPE_GRPO, "dump", text), STATUS_OK);
    assert_true(json_equal(r.population, again.population));
    assert_int_equal(recipe_diff(&r, &again, &differs), STATUS_OK);
    assert_null(differs);
    free(text);
    recipe_close(&r);
    recipe_close(&again);
}

static void other_methods_have_no_population(void **state)
{
    (void)state;
    struct recipe r;
    char word[] = "population=[{seed: 1}]";
    char *words[] = {word};
    assert_int_equal(recipe_open(&r, RECIPE_SFT, NULL, 1, words), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "population"));
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_members_are_refused_by_name),
        cmocka_unit_test(too_many_members_are_refused),
        cmocka_unit_test(a_member_has_its_own_keys),
        cmocka_unit_test(a_members_value_is_checked),
        cmocka_unit_test(a_dump_reads_back),
        cmocka_unit_test(other_methods_have_no_population),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
