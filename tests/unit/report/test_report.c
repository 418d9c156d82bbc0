/* Log files and the report page. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/report/report_internal.h"

struct folder {
    char path[64];
};

static int open_folder(void **state)
{
    static struct folder folder;
    (void)snprintf(folder.path, sizeof folder.path, "/tmp/graft-report-XXXXXX");
    *state = &folder;
    return mkdtemp(folder.path) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const files[] = {"log.jsonl", "completions.jsonl", "report.html",
                                        "summary.json"};
    const struct folder *folder = *state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *path = report_path(folder->path, files[i]);
        (void)unlink(path);
        free(path);
    }
    return rmdir(folder->path); /* fails when a temporary file was left */
}

static char *read_all(const char *dir, const char *file)
{
    char *path = report_path(dir, file);
    FILE *in = fopen(path, "r");
    free(path);
    assert_non_null(in);
    char *text = calloc(1, 1 << 20);
    assert_non_null(text);
    (void)fread(text, 1, (1 << 20) - 1, in);
    (void)fclose(in);
    return text;
}

static void append_step(const char *dir, int step, double loss)
{
    json_t *line = json_pack("{s:i, s:f, s:f, s:s}", "step", step, "loss", loss, "reward",
                             1.0 - loss, "note", "<b>&");
    assert_int_equal(report_append(dir, "log.jsonl", line), STATUS_OK);
    json_decref(line);
}

static void append_raw(const char *dir, const char *file, const char *text)
{
    char *path = report_path(dir, file);
    FILE *out = fopen(path, "a");
    free(path);
    assert_non_null(out);
    (void)fputs(text, out);
    (void)fclose(out);
}

static int count(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = strstr(text, part); p; p = strstr(p + 1, part)) {
        n++;
    }
    return n;
}

static void truncation_drops_later_and_torn_lines(void **state)
{
    const struct folder *folder = *state;
    assert_int_equal(report_truncate(folder->path, "log.jsonl", 3), STATUS_OK); /* no file yet */
    for (int step = 1; step <= 5; step++) {
        append_step(folder->path, step, 1.0 / step);
    }
    append_raw(folder->path, "log.jsonl", "{\"step\": 2, \"lo");
    assert_int_equal(report_truncate(folder->path, "log.jsonl", 3), STATUS_OK);
    append_step(folder->path, 4, 0.5);
    char *text = read_all(folder->path, "log.jsonl");
    assert_int_equal(count(text, "\n"), 4);
    assert_int_equal(count(text, "{\"step\":"), 4);
    assert_int_equal(strncmp(text, "{\"step\":1,\"loss\":1.0,", 21), 0);
    assert_null(strstr(text, "\"lo\n"));
    free(text);
    json_t *line = json_object();
    assert_int_equal(report_append("/nowhere/at/all", "log.jsonl", line), STATUS_IO);
    json_decref(line);
    assert_non_null(strstr(status_message(), "/nowhere/at/all/log.jsonl"));
}

static void page_holds_curves_summary_and_completions(void **state)
{
    const struct folder *folder = *state;
    for (int step = 1; step <= 30; step++) {
        append_step(folder->path, step, 1.0 / step);
    }
    append_raw(folder->path, "log.jsonl",
               "{\"step\": 31, \"eval_<accuracy>\": 0.5, \"epoch\": 1}\nnot json\n[1]\n");
    for (int i = 0; i < 20; i++) {
        append_raw(folder->path, "completions.jsonl",
                   "{\"step\": 1, \"prompt\": \"1 < 2 & 'x'\", \"completion\": \"<script>é\", "
                   "\"reward\": 0.25}\n");
    }
    json_t *summary = json_pack("{s:s, s:{s:f, s:f}, s:f, s:f, s:f, s:s}", "title", "Sums <1>",
                                "accuracy", "before", 0.25, "after", 0.75, "speed_before", 2.0,
                                "speed_after", 1.0, "seconds", 12.5, "model", "a&b");
    assert_int_equal(report_html(folder->path, summary), STATUS_OK);
    json_decref(summary);
    char *page = read_all(folder->path, "report.html");
    static const struct {
        const char *part;
        int times;
    } parts[] = {
        {"<svg ", 3}, {"</svg>", 3}, {"class=\"title\" ", 3}, {">eval_&lt;accuracy&gt;<", 1},
        {"<h1>Sums &lt;1&gt;</h1>", 1}, {"<script", 0}, {"&lt;script&gt;é", 12},
        {"1 &lt; 2 &amp; &#39;x&#39;", 12}, {"<td class=\"n up\">+0.5</td>", 1},
        {"<td class=\"n down\">-1</td>", 1}, {"<td>seconds</td><td>12.5</td>", 1},
        {"<td>model</td><td>a&amp;b</td>", 1}, {"http", 0}, {"<td>speed_after</td>", 0},
        {"</html>", 1}, {"<table>", 3}, {"</table>", 3}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (count(page, parts[i].part) != parts[i].times) {
            fail_msg("%d times '%s'", count(page, parts[i].part), parts[i].part);
        }
    }
    /* two curves of 30 points: raw and smoothed; one of a single point */
    assert_int_equal(count(page, "class=\"raw\""), 2);
    assert_int_equal(count(page, "class=\"line\""), 3);
    assert_int_equal(report_html(folder->path, NULL), STATUS_OK); /* redrawn from what is there */
    char *again = read_all(folder->path, "report.html");
    assert_string_equal(page, again);
    free(page);
    free(again);
}

static void empty_folder_makes_a_page(void **state)
{
    const struct folder *folder = *state;
    assert_int_equal(report_html(folder->path, NULL), STATUS_OK);
    char *page = read_all(folder->path, "report.html");
    assert_non_null(strstr(page, "No logged steps."));
    free(page);
    assert_int_equal(report_html("/nowhere/at/all", NULL), STATUS_IO);
}

static void curve_points_lie_on_the_axes(void **state)
{
    (void)state;
    const double x[] = {0, 5, 10};
    const double y[] = {-1, 0, 1};
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    svg_curve(out, &(struct curve){"loss", x, y, 3});
    (void)fclose(out);
    /* the corners of the plot area (56..408, 26..190) and its middle */
    assert_non_null(strstr(text, "points=\"56.0,190.0 232.0,108.0 408.0,26.0 \""));
    assert_non_null(strstr(text, "y=\"112.0\" text-anchor=\"end\">0<"));
    free(text);
    const double flat[] = {2, 2, 2};
    out = open_memstream(&text, &size);
    assert_non_null(out);
    svg_curve(out, &(struct curve){"flat", x, flat, 3});
    (void)fclose(out);
    assert_non_null(strstr(text, "points=\"56.0,108.0 232.0,108.0 408.0,108.0 \""));
    assert_null(strstr(text, "nan"));
    free(text);
}

/* Values one last digit apart, huge and tiny ones, steps far from 0: an axis has a few ticks and
 * ends. */
static void axes_end(void **state)
{
    (void)state;
    static const double CASES[][2] = {{3.679e-17, 3.6790000000000006e-17}, {1, 1 + 0x1p-52},
                                      {1e300, -1e300},                     {-5e-324, 5e-324},
                                      {1e16, 1e16 + 2},                    {0, 1e-30}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const double steps[] = {1e15, 1e15 + 1};
        char *text = NULL;
        size_t size;
        FILE *out = open_memstream(&text, &size);
        assert_non_null(out);
        svg_curve(out, &(struct curve){"tight", steps, CASES[i], 2});
        (void)fclose(out);
        assert_true(size > 200 && size < 8192);
        assert_null(strstr(text, "nan"));
        free(text);
    }
}

static void ticks_are_round(void **state)
{
    (void)state;
    static const struct {
        double span;
        int most;
        double tick;
    } cases[] = {{10, 5, 2}, {1, 5, 0.2}, {0.09, 5, 0.02}, {100, 6, 20}, {7, 5, 2}, {0, 5, 1},
                 {3e-5, 5, 1e-5}, {INFINITY, 5, 1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double tick = svg_tick(cases[i].span, cases[i].most);
        assert_true(tick > cases[i].tick * 0.999 && tick < cases[i].tick * 1.001);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(truncation_drops_later_and_torn_lines, open_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(page_holds_curves_summary_and_completions, open_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(empty_folder_makes_a_page, open_folder, remove_folder),
        cmocka_unit_test(curve_points_lie_on_the_axes),
        cmocka_unit_test(axes_end),
        cmocka_unit_test(ticks_are_round),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
