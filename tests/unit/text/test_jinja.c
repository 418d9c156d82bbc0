/*
 * The template language, feature by feature: data/jinja_cases.jsonl holds what Jinja2 3.1.6 makes
 * of each template in the environment that transformers 5.23.0 sets up (immutable sandbox,
 * trim_blocks, lstrip_blocks, loop controls, its tojson, dict and namespace). Then the limits, and
 * templates cut or damaged at every place.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/template_cases.h"
#include "trainer/text/chat_template.h"

static json_t *shared; /* first line of the file: messages, kwargs, now */

static bool language_case(const json_t *row)
{
    if (!json_object_get(row, "template")) {
        shared = json_deep_copy(row);
        return shared != NULL;
    }
    json_t *full = json_deep_copy(row);
    const bool agrees = json_object_update_missing(full, shared) == 0
                        && template_case_agrees(full, json_string_value(
                                                          json_object_get(row, "template")));
    json_decref(full);
    return agrees;
}

static const char *data_path(void)
{
    static char path[4096];
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(path, sizeof path, "%s/tests/unit/text/data/jinja_cases.jsonl",
                   source ? source : ".");
    return path;
}

static void language(void **state)
{
    (void)state;
    int count;
    const int failed = template_cases_run(data_path(), language_case, &count);
    json_decref(shared);
    shared = NULL;
    print_message("%d of %d cases agree\n", count - failed, count);
    assert_true(count > 1000);
    assert_int_equal(failed, 0);
}

/* Opens and renders `source` with one message; the status of whichever failed. */
static enum status try_render(const char *source)
{
    struct chat_template *t = NULL;
    struct text out = {0};
    struct template_span *spans = NULL;
    int64_t count;
    json_t *messages = json_pack("[{s:s, s:s}]", "role", "user", "content", "h\u00e9llo");
    const struct template_options options = {.messages = messages};
    enum status status = chat_template_open(&t, source);
    if (status == STATUS_OK) {
        status = chat_template_render(t, &options, &out, &spans, &count);
    }
    chat_template_close(t);
    json_decref(messages);
    free(out.data);
    free(spans);
    return status;
}

/* What must end in INPUT with `text` in the message, and soon. */
static const struct {
    const char *source;
    const char *text;
} LIMITS[] = {
    {"{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}", "steps"},
    {"{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}", "steps"},
    {"{{ range(99999) | map('string') | select('in', range(99999)) | list }}", "steps"},
    {"{% set ns = namespace(s='ab') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
     "{% endfor %}",
     "MiB"},
    {"{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}"
     "{% endfor %}",
     "steps"},
    {"{{ 'x' * 999999999999 }}", "MiB"},
    {"{{ 'x' * 9223372036854775807 }}", "MiB"},
    {"{{ [0] * 9223372036854775807 }}", "steps"},
    {"{{ 'ab' * 33554432 ~ 'x' }}", "MiB"},
    {"{% set s = 'x' * 1000000 %}{% for i in range(99) %}{{ s }}{% endfor %}", "MiB"},
    {"{{ range(9223372036854775807) }}", "range"},
    {"{{ range(-9223372036854775807, 9223372036854775807, 1) }}", "range"},
    {"{{ '%999999999d' % 1 }}", "width"},
    {"{{ '{:999999999999999999999}'.format(1) }}", "width"},
    {"{{ '%.999f' % 1.5 }}", "precision"},
    {"{{ 'a'.center(999999999999) }}", "characters"},
    {"{{ 9223372036854775807 + 1 }}", "64 bits"},
    {"{{ 2 ** 64 }}", "64 bits"},
    {"{{ (0 - 9223372036854775807 - 1) // -1 }}", "64 bits"},
    {"{{ 99999999999999999999 }}", "64 bits"},
    {"{{ 1e300 | int }}", "64 bits"},
    {"{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "deep"},
    {"{% macro m() %}{% call m() %}{{ caller() }}{% endcall %}{% endmacro %}{{ m() }}", "deep"},
    {"{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}", "deep"},
    {"{% set ns = namespace(x=1) %}{% for i in range(999) %}{% set ns.x = [ns.x] %}{% endfor %}",
     "deep"},
    {"{% set ns = namespace(x=1) %}{% for i in range(999) %}{% set ns.x = (ns.x,) %}{% endfor %}",
     "deep"},
    {"{% set ns = namespace(x=1) %}{% for i in range(999) %}{% set ns.x = {'a': ns.x} %}"
     "{% endfor %}",
     "deep"},
    {"{% set ns = namespace(x=[1]) %}{% for i in range(999) %}{% set ns.x = ns.x | map('string') %}"
     "{% endfor %}{{ ns.x | list }}",
     "deep"},
    {"{% set ns = namespace(x=[1]) %}{% set ns.x = [ns] %}{{ ns }}", "deep"},
    {"{% set ns = namespace() %}{% set ns.m = messages | map(attribute='x') %}{% set ns.a = ns %}"
     "{{ ns }}",
     "deep"},
    {"{% set ns = namespace(x=[1, 2]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}"
     "{% endfor %}{{ ns.x | string | length }}",
     ""},
    {"{{ ('a' * 9000000).rfind('b' ~ 'a' * 900000) }}", "steps"},
    {"{{ ('a' * 9000000).rsplit('b' ~ 'a' * 900000) }}", "steps"},
    {"{{ ('a' * 9000000).strip('b' * 9000000 ~ 'a') | length }}", "steps"},
    {"{{ ('<' * 9000000) | striptags | length }}", "steps"},
    {"{{ '\\ud800' }}", "character"},
    {"{{ '\\N{DASH}' }}", "\\N"},
};

static void limits(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        const enum status status = try_render(LIMITS[i].source);
        if (status != STATUS_INPUT || !strstr(status_message(), LIMITS[i].text)) {
            print_message("%s\n  gave %s: %s\n", LIMITS[i].source, status_text(status),
                          status_message());
        }
        assert_int_equal(status, STATUS_INPUT);
        assert_non_null(strstr(status_message(), LIMITS[i].text));
    }
}

/* prefix * times, middle, suffix * times. */
static char *nested(const char *prefix, const char *middle, const char *suffix, int times)
{
    const size_t size = (strlen(prefix) + strlen(suffix)) * (size_t)times + strlen(middle) + 1;
    char *text = calloc(1, size);
    char *at = text;
    assert_non_null(text);
    for (int i = 0; i < 2 * times + 1; i++) {
        const char *part = i < times ? prefix : i == times ? middle : suffix;
        memcpy(at, part, strlen(part));
        at += strlen(part);
    }
    return text;
}

static const struct {
    const char *begin;
    const char *open;
    const char *middle;
    const char *close;
    const char *end;
} NESTINGS[] = {
    {"{{ ", "(", "1", ")", " }}"},
    {"{{ ", "[", "1", "]", " }}"},
    {"{{ ", "{1:", "1", "}", " }}"},
    {"{{ ", "not ", "1", "", " }}"},
    {"{{ ", "- ", "1", "", " }}"},
    {"{{ ", "1 if 1 else ", "1", "", " }}"},
    {"{{ ", "l[", "1", "]", " }}"},
    {"{{ ", "f(", "1", ")", " }}"},
    {"", "{% if 1 %}", "x", "{% endif %}", ""},
    {"", "{% for a in [1] %}", "x", "{% endfor %}", ""},
    {"", "{% filter upper %}", "x", "{% endfilter %}", ""},
    {"", "{% set a %}", "x", "{% endset %}", ""},
    {"", "{% with %}", "x", "{% endwith %}", ""},
    {"", "{% generation %}", "x", "{% endgeneration %}", ""},
    {"", "{% macro m() %}", "x", "{% endmacro %}", ""},
};

/* Nesting of 60 works where it means something; 5,000 is refused, not a crash. */
static void nesting(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof NESTINGS / sizeof NESTINGS[0]; i++) {
        for (int deep = 0; deep < 2; deep++) {
            char *inner = nested(NESTINGS[i].open, NESTINGS[i].middle, NESTINGS[i].close,
                                 deep ? 5000 : 60);
            const size_t size = strlen(inner) + 16;
            char *source = calloc(1, size);
            assert_non_null(source);
            (void)snprintf(source, size, "%s%s%s", NESTINGS[i].begin, inner, NESTINGS[i].end);
            const enum status status = try_render(source);
            const bool calls = strchr("lf", NESTINGS[i].open[0]) != NULL;
            assert_int_equal(status, deep || calls ? STATUS_INPUT : STATUS_OK);
            assert_true(calls || !deep || strstr(status_message(), "deep"));
            free(source);
            free(inner);
        }
    }
}

/* Chains are not nesting: 3,000 terms are fine. */
static void chains(void **state)
{
    (void)state;
    static const char *const LINKS[] = {" + 1", " ~ 1", " or 1", " and 1", " * 1", " == 1", ", 1"};
    for (size_t i = 0; i < sizeof LINKS / sizeof LINKS[0]; i++) {
        char *tail = nested(LINKS[i], " }}", "", 3000);
        char *source = calloc(1, strlen(tail) + 8);
        assert_non_null(source);
        (void)snprintf(source, strlen(tail) + 8, "{{ 1%s", tail);
        assert_int_equal(try_render(source), STATUS_OK);
        free(source);
        free(tail);
    }
    char *filters = nested("{{ 1", "", "", 1);
    char *tail = nested(" | string", " }}", "", 5000);
    char *source = calloc(1, strlen(tail) + 8);
    assert_non_null(source);
    (void)snprintf(source, strlen(tail) + 8, "{{ 1%s", tail);
    assert_int_equal(try_render(source), STATUS_INPUT); /* a chain of filters nests */
    free(source);
    free(tail);
    free(filters);
}

/* Legitimate work of some size stays well inside the limits. */
static void large_but_fine(void **state)
{
    (void)state;
    assert_int_equal(try_render("{% for i in range(50000) %}{{ i }},{{ loop.last }}{% endfor %}"),
                     STATUS_OK);
    assert_int_equal(try_render("{% set s = 'word ' * 1000000 %}{{ s | trim }}"
                                "{{ s.split() | length }}{{ s | replace('w', 'W') }}"),
                     STATUS_OK);
    assert_int_equal(try_render("{% macro f(n) %}{% if n > 0 %}{{ f(n - 1) }}{% endif %}"
                                "{% endmacro %}{{ f(150) }}"),
                     STATUS_OK);
}

/* A template that uses most of the language, for damage. */
static const char DAMAGED[] =
    "{%- macro m(a, b='x') -%}{{ a ~ b | upper }}{{ varargs }}{%- endmacro -%}\n"
    "{% set ns = namespace(n=0, l=[]) %}{# c #}\n"
    "{% for m1 in messages if m1.role != 'x' %}{% set ns.n = ns.n + 1 %}"
    "{{ loop.index }}{{ m1['content'][1:-1:2] }}{{ m1 | tojson(indent=2) }}"
    "{% if loop.last and not none %}{{ m(1, b=\"\\u00e9\") }}{% elif 1 in [1, 2.5e1] %}e"
    "{% else %}{% break %}{% endif %}{% else %}none{% endfor %}\n"
    "{% generation %}{{ '%5.1f|%s' % (2.25, 'a') }}{{ '{:>4}'.format(3) }}{% endgeneration %}"
    "{% call m(2) %}{% endcall %}{% filter trim %} y {% endfilter %}"
    "{% raw %}{{ r }}{% endraw %}{% with q = {'a': (1,)} %}{{ q.a[0] // 2 ** 3 }}{% endwith %}"
    "{{ messages | map(attribute='role') | select('eq', 'user') | join(',') if true else 5 }}"
    "{% set t %}{{ ns.l is defined }}{% endset %}{{ t.split('r', 1)[0].strip('T') }}\n";

static void damage(void **state)
{
    (void)state;
    const size_t size = sizeof DAMAGED - 1;
    char copy[sizeof DAMAGED];
    int refused = 0;
    for (size_t cut = 0; cut <= size; cut++) {
        memcpy(copy, DAMAGED, cut);
        copy[cut] = '\0';
        refused += try_render(copy) != STATUS_OK;
    }
    assert_true(refused > 100);
    static const char REPLACEMENTS[] = "{}%()[]'\"\\|.,:-+*~ \n0az_#=<\x7f";
    for (size_t at = 0; at < size; at++) {
        for (const char *c = REPLACEMENTS; *c; c++) {
            memcpy(copy, DAMAGED, size + 1);
            copy[at] = *c;
            const enum status status = try_render(copy);
            assert_true(status == STATUS_OK || status == STATUS_INPUT);
        }
        memcpy(copy, DAMAGED, size + 1);
        memmove(copy + at, copy + at + 1, size - at); /* one byte less */
        (void)try_render(copy);
        memcpy(copy, DAMAGED, size + 1);
        copy[at] = (char)(copy[at] ^ 0x80); /* not UTF-8 any more, or another character */
        (void)try_render(copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(language), cmocka_unit_test(limits),         cmocka_unit_test(nesting),
        cmocka_unit_test(chains),   cmocka_unit_test(large_but_fine), cmocka_unit_test(damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
