/* Chat templates against the reference: golden/templates (transformers 5.23.0, Jinja2 3.1.6). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/template_cases.h"
#include "trainer/format/file.h"
#include "trainer/text/chat_template.h"

static bool inline_case(const json_t *row)
{
    return template_case_agrees(row, json_string_value(json_object_get(row, "template")));
}

static void golden_inline(void **state)
{
    (void)state;
    const char *path = template_shared_path("golden/templates/cases.jsonl");
    if (!path) {
        print_message("skipped: ../shared/golden/templates is not there\n");
        skip();
    }
    int count;
    const int failed = template_cases_run(path, inline_case, &count);
    print_message("%d of %d cases agree\n", count - failed, count);
    assert_true(count > 200);
    assert_int_equal(failed, 0);
}

/* Text of a file with "\r\n" as "\n" (the digests are of such text); caller frees. */
static char *read_text(const char *path)
{
    struct file_map map;
    if (file_map_open(&map, path) != STATUS_OK) {
        return NULL;
    }
    char *text = calloc(1, map.size + 1);
    size_t n = 0;
    for (size_t i = 0; text && i < map.size; i++) {
        const char *c = (const char *)map.data + i;
        if (*c != '\r' || i + 1 == map.size || c[1] != '\n') {
            text[n++] = *c;
        }
    }
    file_map_close(&map);
    return text;
}

/* A template of the trl package, found by path below GRAFT_TRL and checked by its digest. */
static bool reference_case(const json_t *row)
{
    const char *ref = json_string_value(json_object_get(row, "template_ref"));
    const char *wanted = json_string_value(json_object_get(row, "template_sha256"));
    char path[4096];
    char hex[2 * SHA256_DIGEST_LENGTH + 1] = "";
    unsigned char digest[SHA256_DIGEST_LENGTH];
    (void)snprintf(path, sizeof path, "%s/%s", getenv("GRAFT_TRL"), ref);
    char *source = read_text(path);
    if (source) {
        (void)SHA256((const unsigned char *)source, strlen(source), digest);
    }
    for (size_t i = 0; source && i < sizeof digest; i++) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    const bool same = strcmp(hex, wanted) == 0;
    if (!same) {
        (void)fprintf(stderr, "%s: missing or another version\n", path);
    }
    const bool agrees = same && template_case_agrees(row, source);
    free(source);
    return agrees;
}

static void golden_by_reference(void **state)
{
    (void)state;
    const char *path = template_shared_path("golden/templates/by_reference.jsonl");
    if (!path || !getenv("GRAFT_TRL")) {
        print_message("skipped: GRAFT_TRL does not name a folder with an unpacked trl 1.16.0\n");
        skip();
    }
    int count;
    const int failed = template_cases_run(path, reference_case, &count);
    print_message("%d of %d cases agree\n", count - failed, count);
    assert_int_equal(failed, 0);
}

/* A small conversation with everything golden/ covers at large, so that the test means something
 * without it. */
static const char CHATML[] =
    "{%- if tools %}{{ tools | tojson }}\n{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'assistant' %}"
    "{% generation %}{{ m.content }}<|end|>{% endgeneration %}"
    "{% else %}{{ m.content }}<|end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}";

struct rendering {
    struct text text;
    struct template_span *spans;
    int64_t count;
    enum status status;
};

static struct rendering render(const char *source, struct template_options options,
                               const char *messages)
{
    struct rendering r = {0};
    struct chat_template *t;
    json_error_t error;
    json_t *parsed = json_loads(messages, JSON_DECODE_ANY, &error);
    options.messages = parsed;
    r.status = chat_template_open(&t, source);
    assert_int_equal(r.status, STATUS_OK);
    r.status = chat_template_render(t, &options, &r.text, &r.spans, &r.count);
    chat_template_close(t);
    json_decref(parsed);
    return r;
}

static void rendering_close(struct rendering *r)
{
    free(r->text.data);
    free(r->spans);
}

static void conversation(void **state)
{
    (void)state;
    struct rendering r = render(
        CHATML, (struct template_options){.add_generation_prompt = true},
        "[{\"role\":\"user\",\"content\":\"h\u00e9\"},{\"role\":\"assistant\",\"content\":\"yo\"},"
        "{\"role\":\"user\",\"content\":\"bye\"}]");
    assert_int_equal(r.status, STATUS_OK);
    assert_string_equal(r.text.data, "<|user|>h\u00e9<|end|>\n<|assistant|>yo<|end|>\n"
                                     "<|user|>bye<|end|>\n<|assistant|>");
    assert_int_equal(r.count, 1);
    assert_int_equal(r.spans[0].end - r.spans[0].begin, 9);
    assert_memory_equal(r.text.data + r.spans[0].begin, "yo<|end|>", 9);
    rendering_close(&r);
}

static void continued(void **state)
{
    (void)state;
    const struct template_options options = {.continue_final_message = true};
    struct rendering r = render(CHATML, options,
                                "[{\"role\":\"assistant\",\"content\":\"so far \"}]");
    assert_int_equal(r.status, STATUS_OK);
    assert_string_equal(r.text.data, "<|assistant|>so far ");
    assert_int_equal(r.spans[0].end, (int64_t)r.text.length);
    rendering_close(&r);
    r = render("{{ messages[-1].content | trim }}.", options,
               "[{\"role\":\"assistant\",\"content\":[{\"type\":\"text\",\"text\":\"a \"}]}]");
    assert_int_equal(r.status, STATUS_OK); /* the template prints the list: it holds the tag */
    rendering_close(&r);
    r = render("{{ messages[-1].role }}", options,
               "[{\"role\":\"assistant\",\"content\":\"lost\"}]");
    assert_int_equal(r.status, STATUS_INPUT);
    r = render(CHATML, options, "[]");
    assert_int_equal(r.status, STATUS_INPUT);
}

static void reasoning_aliases(void **state)
{
    (void)state;
    static const char SOURCE[] = "{% for m in messages %}{{ m.reasoning_content }}/{{ m.thinking }}"
                                 "/{{ m.keys() | list | join(',') }};{% endfor %}";
    struct rendering r = render(
        SOURCE, (struct template_options){0},
        "[{\"role\":\"a\",\"thinking\":\"t\"},{\"role\":\"a\",\"reasoning\":\"r\"},"
        "{\"reasoning_content\":null,\"reasoning\":\"r\"},{\"role\":\"a\",\"thinking\":null}]");
    assert_int_equal(r.status, STATUS_OK);
    assert_string_equal(r.text.data,
                        "t/t/thinking,role,reasoning_content;"
                        "r/r/thinking,role,reasoning,reasoning_content;"
                        "r/r/thinking,reasoning_content,reasoning;"
                        "/None/role,thinking;");
    rendering_close(&r);
}

static void variables(void **state)
{
    (void)state;
    json_error_t error;
    json_t *kwargs = json_loads("{\"x\":1,\"pad_token\":\"<p>\"}", 0, &error);
    const struct template_options options = {.bos_token = "<s>", .pad_token = "no", .now = 86400,
                                             .kwargs = kwargs};
    struct rendering r = render("{{ bos_token }}{{ eos_token is defined }}{{ pad_token }}{{ x }}"
                                "{{ tools is none }}{{ strftime_now('%Y-%m-%d %H:%M') }}",
                                options, "[]");
    assert_int_equal(r.status, STATUS_OK);
    assert_string_equal(r.text.data, "<s>False<p>1True1970-01-02 00:00");
    rendering_close(&r);
    json_decref(kwargs);
}

static void refusals(void **state)
{
    (void)state;
    struct rendering r = render("x", (struct template_options){0}, "{\"role\":\"user\"}");
    assert_int_equal(r.status, STATUS_INPUT);
    r = render("x", (struct template_options){0}, "[3]");
    assert_int_equal(r.status, STATUS_INPUT);
    assert_non_null(strstr(status_message(), "message 0"));
    json_t *documents = json_pack("[s]", "text");
    r = render("x", (struct template_options){.documents = documents}, "[]");
    assert_int_equal(r.status, STATUS_INPUT);
    json_decref(documents);
    r = render("{{ raise_exception('100% exact: {x}') }}", (struct template_options){0}, "[]");
    assert_int_equal(r.status, STATUS_INPUT);
    assert_string_equal(status_message(), "100% exact: {x}");
    r = render("a\n\n{{ 1 + 'a' }}", (struct template_options){0}, "[]");
    assert_int_equal(r.status, STATUS_INPUT);
    assert_non_null(strstr(status_message(), "line 3"));
    struct chat_template *t;
    assert_int_equal(chat_template_open(&t, "ok\xff"), STATUS_INPUT);
    assert_null(t);
    assert_int_equal(chat_template_open(&t, "a\n{% if x %}\n"), STATUS_INPUT);
    assert_non_null(strstr(status_message(), "endif"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversation),        cmocka_unit_test(continued),
        cmocka_unit_test(reasoning_aliases),   cmocka_unit_test(variables),
        cmocka_unit_test(refusals),            cmocka_unit_test(golden_inline),
        cmocka_unit_test(golden_by_reference),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
