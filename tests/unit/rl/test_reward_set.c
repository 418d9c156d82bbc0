/* The reward interface: names, parameters, sets with states, inputs as JSON. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "rl/reward/reward.h"
#include "rl/reward/reward_internal.h"

static void rewards_are_found_by_every_name(void **state)
{
    (void)state;
    char names[2048];
    reward_names(names, sizeof names);
    for (int64_t i = 0; reward_at(i); i++) {
        const struct reward *r = reward_at(i);
        assert_ptr_equal(reward_find(r->name), r);
        assert_non_null(strstr(names, r->name));
        assert_true(strlen(r->doc) > 0);
        assert_true((r->row != NULL) != (r->score != NULL)); /* exactly one */
        assert_true(r->parameters == NULL || r->open != NULL);
        assert_true(r->open == NULL || r->close != NULL);
        for (const struct reward_parameter *p = r->parameters; p && p->key; p++) {
            assert_ptr_equal(reward_parameter_find(r, p->key), p);
            assert_true(p->low <= p->high && strlen(p->doc) > 0);
        }
        for (int64_t k = 0; k < i; k++) {
            assert_string_not_equal(reward_at(k)->name, r->name);
        }
    }
    /* One name in both vocabularies, two rewards. */
    assert_ptr_not_equal(reward_find("accuracy_reward"), reward_find("accuracy"));
    assert_ptr_not_equal(reward_find("repetition_penalty"),
                         reward_find("repetition_penalty_reward"));
    assert_ptr_equal(reward_find("soft_overlong_punishment_reward"),
                     reward_find("soft_overlong_punishment"));
    assert_null(reward_at(-1));
    assert_null(reward_find("form"));
    assert_null(reward_find("format_rewards"));
    assert_null(reward_find(" "));
    assert_null(reward_find(""));
    reward_names(names, 6);
    assert_int_equal(strlen(names), 5);
}

static const struct reward_parameter PARAMETERS[] = {
    {.key = "test_scale", .aliases = "scale factor", .def = 2.0, .low = -10, .high = 10, .doc = "x"},
    {.key = "test_count", .type = PARAMETER_COUNT, .def = 3, .low = 1, .high = 9, .doc = "x"},
    {.key = "test_flag", .type = PARAMETER_FLAG, .doc = "x"},
    {.key = "test_text", .type = PARAMETER_TEXT, .text = "python", .doc = "x"},
    {.key = "test_texts", .type = PARAMETER_TEXTS, .doc = "x"},
    {0},
};

static const struct reward PROBE = {.name = "probe", .parameters = PARAMETERS, .doc = "x"};

static enum status open_with(const char *text, struct reward_values *out)
{
    void *state;
    json_t *parameters = text ? json_loads(text, 0, NULL) : NULL;
    assert_true(text == NULL || parameters != NULL);
    const enum status status = reward_open_values(&PROBE, parameters, &state);
    *out = *(struct reward_values *)state;
    free(state); /* the JSON values live on in *out */
    json_decref(parameters);
    return status;
}

static void close_values(struct reward_values *v)
{
    for (int i = 0; i < REWARD_MAX_PARAMETERS; i++) {
        json_decref(v->json[i]);
    }
}

static void parameters_are_read_and_checked(void **state)
{
    (void)state;
    struct reward_values v;
    assert_int_equal(open_with(NULL, &v), STATUS_OK);
    assert_true(v.number[0] == 2.0 && v.number[1] == 3.0 && v.number[2] == 0.0);
    assert_string_equal(json_string_value(v.json[3]), "python");
    assert_null(v.json[4]);
    close_values(&v);

    assert_int_equal(
        open_with("{\"factor\": -1.5, \"test_count\": 4.0, \"test_flag\": true,"
                  "\"test_text\": \"cpp\", \"test_texts\": [\"a\", \"b\"], \"other\": 1}",
                  &v),
        STATUS_OK);
    assert_true(v.number[0] == -1.5 && v.number[1] == 4.0 && v.number[2] == 1.0);
    assert_string_equal(json_string_value(v.json[3]), "cpp");
    assert_int_equal(json_array_size(v.json[4]), 2);
    close_values(&v);

    /* The recipe's own key wins over the function's, null is the default. */
    assert_int_equal(open_with("{\"scale\": 1, \"test_scale\": 5, \"test_count\": null}", &v),
                     STATUS_OK);
    assert_true(v.number[0] == 5.0 && v.number[1] == 3.0);
    close_values(&v);

    static const struct {
        const char *text;
        const char *key;
    } BAD[] = {
        {"{\"scale\": 11}", "test_scale"},        {"{\"scale\": \"1\"}", "test_scale"},
        {"{\"test_count\": 2.5}", "test_count"},  {"{\"test_count\": 0}", "test_count"},
        {"{\"test_flag\": 1}", "test_flag"},      {"{\"test_text\": 1}", "test_text"},
        {"{\"test_texts\": []}", "test_texts"},   {"{\"test_texts\": [\"a\", 1]}", "test_texts"},
        {"{\"test_texts\": 5}", "test_texts"},
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        assert_int_equal(open_with(BAD[i].text, &v), STATUS_RECIPE);
        if (!strstr(status_message(), "probe") || !strstr(status_message(), BAD[i].key)) {
            fail_msg("%s: the message is: %s", BAD[i].text, status_message());
        }
        close_values(&v);
    }
}

static void sets_score_and_refuse(void **state)
{
    (void)state;
    struct reward_set set;
    const char *const names[] = {"format", "last_number"};
    char reasons[2][REWARD_REASON_CAP];
    double scores[2];
    json_t *row = json_loads("{\"solution\": \"7\"}", 0, NULL);
    const struct reward_input inputs[] = {
        {.completion = "<think>\na\n</think>\n<answer>\n7\n</answer>", .row = row, .tokens = -1},
        {.completion = "8", .tokens = -1},
    };
    const struct reward_call call = {.inputs = inputs, .count = 2, .reasons = reasons};
    memset(reasons, 'x', sizeof reasons);
    assert_int_equal(reward_set_open(&set, names, 2, NULL), STATUS_OK);
    assert_int_equal(reward_set_score(&set, 0, &call, scores), STATUS_OK);
    assert_true(scores[0] == 1.0 && scores[1] == 0.0);
    assert_string_equal(reasons[0], "");
    assert_int_equal(reward_set_score(&set, 1, &call, scores), STATUS_OK);
    assert_true(scores[0] == 1.0 && scores[1] != scores[1]);
    assert_string_equal(reasons[0], "");
    assert_non_null(strstr(reasons[1], "gold"));
    reward_set_close(&set);
    assert_int_equal(set.count, 0);
    json_decref(row);

    const char *const wrong[] = {"format", "formt"};
    assert_int_equal(reward_set_open(&set, wrong, 2, NULL), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "'formt' is not known; use accuracy, format"));
    reward_set_close(&set);
    assert_int_equal(reward_set_open(&set, wrong, 0, NULL), STATUS_RECIPE);
    assert_int_equal(reward_set_open(&set, wrong, REWARD_MAX + 1, NULL), STATUS_RECIPE);
}

static void inputs_travel_as_json(void **state)
{
    (void)state;
    const int32_t ids[] = {5, 0, 99};
    json_t *row = json_loads("{\"solution\": \"7\", \"language\": \"cpp\"}", 0, NULL);
    json_t *messages = json_loads("[{\"role\": \"user\", \"content\": \"hi\"}]", 0, NULL);
    const struct reward_input in = {
        .completion = "caf\xc3\xa9 \"x\"\n",
        .prompt = "hi",
        .messages = messages,
        .ids = ids,
        .tokens = 3,
        .truncated = true,
        .row = row,
        .group = 4,
        .sample = 2,
    };
    struct reward_input out;
    json_t *json = reward_input_to_json(&in);
    char *text = json_dumps(json, 0);
    json_t *back = json_loads(text, 0, NULL);
    assert_int_equal(reward_input_from_json(back, &out), STATUS_OK);
    assert_string_equal(out.completion, in.completion);
    assert_string_equal(out.prompt, "hi");
    assert_true(json_equal((json_t *)(uintptr_t)out.messages, messages));
    assert_true(json_equal((json_t *)(uintptr_t)out.row, row));
    assert_memory_equal(out.ids, ids, sizeof ids);
    assert_true(out.tokens == 3 && out.truncated && out.group == 4 && out.sample == 2);
    reward_input_close(&out);
    json_decref(back);
    json_decref(json);
    free(text);

    const struct reward_input bare = {.completion = "", .tokens = -1};
    json = reward_input_to_json(&bare);
    assert_int_equal(reward_input_from_json(json, &out), STATUS_OK);
    assert_true(out.tokens == -1 && !out.ids && !out.prompt && !out.row && !out.messages);
    json_decref(json);

    static const char *const BAD[] = {
        "{}", "[]", "{\"completion\": 1}", "{\"completion\": \"a\", \"ids\": 4}",
        "{\"completion\": \"a\", \"ids\": [1], \"tokens\": 2}",
        "{\"completion\": \"a\", \"ids\": [-1]}", "{\"completion\": \"a\", \"ids\": [1e9]}",
        "{\"completion\": \"a\", \"ids\": [4294967296]}",
    };
    for (size_t i = 0; i < sizeof BAD / sizeof BAD[0]; i++) {
        json = json_loads(BAD[i], 0, NULL);
        assert_non_null(json);
        assert_int_equal(reward_input_from_json(json, &out), STATUS_INPUT);
        json_decref(json);
    }
    json_decref(row);
    json_decref(messages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewards_are_found_by_every_name),
        cmocka_unit_test(parameters_are_read_and_checked),
        cmocka_unit_test(sets_score_and_refuse),
        cmocka_unit_test(inputs_travel_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
