/* report.html: one file with everything in it; see report.h. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "trainer/report/report_internal.h"

enum { MOST_CURVES = 36, MOST_COMPLETIONS = 12, TEXT_CAP = 4000 };

static const char STYLE[] =
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1320px;margin:2rem auto;padding:0 1rem;"
    "color:#1d2733;background:#fbfcfd}h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2rem}"
    "table{border-collapse:collapse}td,th{padding:.3rem .8rem;border-bottom:1px solid #dde3ea;"
    "text-align:left;vertical-align:top}td.n{text-align:right;font-variant-numeric:tabular-nums}"
    ".up{color:#147a4b}.down{color:#a8322a}"
    ".curves{display:grid;grid-template-columns:repeat(auto-fill,minmax(380px,1fr));gap:1rem}"
    "svg{background:#fff;border:1px solid #e3e8ee;border-radius:6px;width:100%}"
    "svg text{font:11px system-ui,sans-serif;fill:#64707d}"
    "svg .title{font-size:13px;font-weight:600;fill:#1d2733}svg .last{fill:#2563a8}"
    ".grid{stroke:#edf0f4}.axis{stroke:#b9c2cc}polyline{fill:none;stroke-linejoin:round}"
    ".line{stroke:#2563a8;stroke-width:1.8}.raw{stroke:#b7cde6;stroke-width:1}circle{fill:#2563a8}"
    "pre{white-space:pre-wrap;margin:0;font:13px/1.45 ui-monospace,monospace}"
    "footer{margin-top:2rem;color:#64707d;font-size:13px}";

void html_escape(FILE *out, const char *text)
{
    for (const char *p = text; *p; p++) {
        switch (*p) {
        case '&':
            (void)fputs("&amp;", out);
            break;
        case '<':
            (void)fputs("&lt;", out);
            break;
        case '>':
            (void)fputs("&gt;", out);
            break;
        case '"':
            (void)fputs("&quot;", out);
            break;
        case '\'':
            (void)fputs("&#39;", out);
            break;
        default:
            if ((unsigned char)*p >= 0x20 || *p == '\n' || *p == '\t') {
                (void)fputc(*p, out);
            }
        }
    }
}

/* Points of every numeric field, in order of first appearance. */
struct series {
    char *name;
    double *x;
    double *y;
    int64_t count;
    int64_t capacity;
};

struct history {
    struct series series[MOST_CURVES];
    int64_t count;
    int64_t lines;
    bool failed; /* out of memory */
};

static struct series *find_series(struct history *h, const char *name)
{
    for (int64_t i = 0; i < h->count; i++) {
        if (strcmp(h->series[i].name, name) == 0) {
            return &h->series[i];
        }
    }
    if (h->count == MOST_CURVES) {
        return NULL;
    }
    char *copy = strdup(name);
    h->failed |= !copy;
    if (!copy) {
        return NULL;
    }
    h->series[h->count] = (struct series){.name = copy};
    return &h->series[h->count++];
}

static bool push_point(struct series *s, double x, double y)
{
    if (s->count == s->capacity) {
        const int64_t capacity = s->capacity ? s->capacity * 2 : 64;
        double *grown_x = realloc(s->x, (size_t)capacity * sizeof *grown_x);
        s->x = grown_x ? grown_x : s->x;
        double *grown_y = realloc(s->y, (size_t)capacity * sizeof *grown_y);
        s->y = grown_y ? grown_y : s->y;
        if (!grown_x || !grown_y) {
            return false;
        }
        s->capacity = capacity;
    }
    s->x[s->count] = x;
    s->y[s->count] = y;
    s->count++;
    return true;
}

static bool take_line(void *ctx, const json_t *line)
{
    struct history *h = ctx;
    const char *key;
    json_t *value;
    const json_t *step = json_object_get(line, "step");
    h->lines++;
    const double x = json_is_number(step) ? json_number_value(step) : (double)h->lines;
    json_object_foreach ((json_t *)(uintptr_t)line, key, value) {
        const double y = json_number_value(value);
        if (!json_is_number(value) || !isfinite(y) || strcmp(key, "step") == 0 ||
            strcmp(key, "epoch") == 0) {
            continue;
        }
        struct series *s = find_series(h, key);
        if (s && (s->count == 0 || x >= s->x[s->count - 1]) && !push_point(s, x, y)) {
            h->failed = true;
        }
    }
    return !h->failed;
}

/* What a reader looks at first comes first. */
static int order_of(const char *name)
{
    static const char *const first[] = {
        "reward",  "eval_accuracy", "accuracy", "loss", "eval_loss", "mean_token_accuracy",
        "reward_std", "completions/mean_length", "entropy", "kl", "grad_norm", "learning_rate",
        "tokens_per_second", "limit_fraction"};
    const int known = (int)(sizeof first / sizeof *first);
    for (int i = 0; i < known; i++) {
        if (strcmp(first[i], name) == 0) {
            return i;
        }
    }
    return known;
}

static void draw_curves(FILE *out, const struct history *h)
{
    (void)fputs("<h2>Curves by step</h2><div class=\"curves\">\n", out);
    for (int place = 0; place <= 14; place++) {
        for (int64_t i = 0; i < h->count; i++) {
            const struct series *s = &h->series[i];
            if (order_of(s->name) == place) {
                svg_curve(out, &(struct curve){s->name, s->x, s->y, s->count});
            }
        }
    }
    (void)fputs("</div>\n", out);
}

static void print_value(FILE *out, const json_t *value)
{
    if (json_is_string(value)) {
        html_escape(out, json_string_value(value));
    } else if (json_is_integer(value)) {
        (void)fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else if (json_is_real(value)) {
        (void)fprintf(out, "%.5g", json_real_value(value));
    } else {
        char *text = json_dumps(value, JSON_ENCODE_ANY);
        html_escape(out, text ? text : "");
        free(text);
    }
}

static void print_change(FILE *out, const char *name, const json_t *before, const json_t *after)
{
    (void)fputs("<tr><td>", out);
    html_escape(out, name);
    (void)fputs("</td><td class=\"n\">", out);
    print_value(out, before);
    (void)fputs("</td><td class=\"n\">", out);
    print_value(out, after);
    (void)fputs("</td>", out);
    if (json_is_number(before) && json_is_number(after)) {
        const double change = json_number_value(after) - json_number_value(before);
        (void)fprintf(out, "<td class=\"n %s\">%+.5g</td>",
                      change > 0 ? "up" : change < 0 ? "down" : "", change);
    } else {
        (void)fputs("<td></td>", out);
    }
    (void)fputs("</tr>\n", out);
}

/* The partner of "accuracy_before"; NULL when `key` has another ending or none. */
static const json_t *after_of(const json_t *summary, const char *key, char *name, size_t size)
{
    static const char ending[] = "_before";
    const size_t n = strlen(key);
    const size_t m = sizeof ending - 1;
    char other[128];
    if (n <= m || n >= sizeof other || strcmp(key + n - m, ending) != 0) {
        return NULL;
    }
    (void)snprintf(name, size, "%.*s", (int)(n - m), key);
    (void)snprintf(other, sizeof other, "%.*s_after", (int)(n - m), key);
    return json_object_get(summary, other);
}

static bool is_partner(const json_t *summary, const char *key)
{
    char other[128];
    const size_t n = strlen(key);
    if (n <= 6 || n >= sizeof other || strcmp(key + n - 6, "_after") != 0) {
        return false;
    }
    (void)snprintf(other, sizeof other, "%.*s_before", (int)(n - 6), key);
    return json_object_get(summary, other) != NULL;
}

static void draw_summary(FILE *out, const json_t *summary)
{
    const char *key;
    json_t *value;
    char name[128];
    bool changes = false;
    json_object_foreach ((json_t *)(uintptr_t)summary, key, value) {
        const json_t *before = json_object_get(value, "before");
        const json_t *after = json_object_get(value, "after");
        const char *label = key;
        if (!before || !after) {
            before = value;
            after = after_of(summary, key, name, sizeof name);
            label = name;
        }
        if (after) {
            static const char head[] = "<h2>Before and after</h2><table><tr><th></th>"
                                       "<th>before</th><th>after</th><th>change</th></tr>\n";
            (void)fputs(changes ? "" : head, out);
            changes = true;
            print_change(out, label, before, after);
        }
    }
    (void)fputs(changes ? "</table>\n" : "", out);
    (void)fputs("<h2>Run</h2><table>\n", out);
    json_object_foreach ((json_t *)(uintptr_t)summary, key, value) {
        if (!json_object_get(value, "before") && !after_of(summary, key, name, sizeof name) &&
            !is_partner(summary, key) && strcmp(key, "title") != 0) {
            (void)fputs("<tr><td>", out);
            html_escape(out, key);
            (void)fputs("</td><td>", out);
            print_value(out, value);
            (void)fputs("</td></tr>\n", out);
        }
    }
    (void)fputs("</table>\n", out);
}

struct completions {
    FILE *out;
    int64_t count;
};

static void print_cell(FILE *out, const json_t *value)
{
    (void)fputs("<td><pre>", out);
    if (json_is_string(value)) {
        const char *whole = json_string_value(value);
        size_t length = strnlen(whole, TEXT_CAP);
        while (length > 0 && ((unsigned char)whole[length] & 0xC0) == 0x80) {
            length--; /* not in the middle of a character */
        }
        char *text = strndup(whole, length);
        html_escape(out, text ? text : "");
        free(text);
    } else if (value) {
        print_value(out, value);
    }
    (void)fputs("</pre></td>", out);
}

static bool take_completion(void *ctx, const json_t *line)
{
    struct completions *c = ctx;
    const char *key;
    json_t *value;
    if (c->count++ == 0) {
        (void)fputs("<h2>First completions</h2><table><tr><th>step</th><th>prompt</th>"
                    "<th>completion</th><th>scores</th></tr>\n",
                    c->out);
    }
    (void)fputs("<tr>", c->out);
    print_cell(c->out, json_object_get(line, "step"));
    print_cell(c->out, json_object_get(line, "prompt"));
    print_cell(c->out, json_object_get(line, "completion"));
    (void)fputs("<td>", c->out);
    json_object_foreach ((json_t *)(uintptr_t)line, key, value) {
        if (json_is_number(value) && strcmp(key, "step") != 0) {
            html_escape(c->out, key);
            (void)fprintf(c->out, " %.4g<br>", json_number_value(value));
        }
    }
    (void)fputs("</td></tr>\n", c->out);
    return c->count < MOST_COMPLETIONS;
}

static enum status write_page(FILE *out, const char *dir, const json_t *summary,
                              const struct history *h)
{
    const char *title = json_string_value(json_object_get(summary, "title"));
    (void)fputs("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
                "<meta name=\"viewport\" content=\"width=device-width\"><title>",
                out);
    html_escape(out, title ? title : "Graft run");
    (void)fprintf(out, "</title><style>%s</style></head><body><h1>", STYLE);
    html_escape(out, title ? title : "Graft run");
    (void)fputs("</h1>\n", out);
    if (json_object_size(summary) > 0) {
        draw_summary(out, summary);
    }
    if (h->count > 0) {
        draw_curves(out, h);
    } else {
        (void)fputs("<p>No logged steps.</p>\n", out);
    }
    struct completions c = {out, 0};
    TRY(report_each_line(dir, "completions.jsonl", take_completion, &c));
    (void)fputs(c.count ? "</table>\n" : "", out);
    (void)fprintf(out, "<footer>Graft %s, %" PRId64 " log lines</footer></body></html>\n",
                  GRAFT_VERSION, h->lines);
    return STATUS_OK;
}

static void history_close(struct history *h)
{
    for (int64_t i = 0; i < h->count; i++) {
        free(h->series[i].name);
        free(h->series[i].x);
        free(h->series[i].y);
    }
}

/* Writes into "report.html.tmp" and renames: a reader never sees half a page. */
static enum status write_file(const char *dir, const json_t *summary, const struct history *h)
{
    enum status status = STATUS_OK;
    char *path = report_path(dir, "report.html");
    char *fresh = report_path(dir, "report.html.tmp");
    FILE *out = path && fresh ? fopen(fresh, "w") : NULL;
    if (!out) {
        status = path && fresh ? FAIL(IO, "%s: %s", fresh, strerror(errno))
                               : FAIL(MEMORY, "report.html: out of memory");
    } else {
        status = write_page(out, dir, summary, h);
        const bool failed = ferror(out) != 0;
        if ((fclose(out) != 0 || failed || rename(fresh, path) != 0) && status == STATUS_OK) {
            status = FAIL(IO, "%s: %s", path, strerror(errno));
        }
    }
    free(path);
    free(fresh);
    return status;
}

enum status report_html(const char *output_dir, const json_t *summary)
{
    char *path = report_path(output_dir, "summary.json");
    if (!path) {
        return FAIL(MEMORY, "report.html: out of memory");
    }
    json_t *kept = NULL;
    enum status status = STATUS_OK;
    if (!summary) {
        kept = json_load_file(path, 0, NULL); /* `graft plot` draws the page again */
    } else if (json_dump_file(summary, path, JSON_INDENT(2)) != 0) {
        status = FAIL(IO, "%s: %s", path, strerror(errno));
    }
    struct history h = {0};
    if (status == STATUS_OK) {
        status = report_each_line(output_dir, "log.jsonl", take_line, &h);
    }
    if (status == STATUS_OK && h.failed) {
        status = FAIL(MEMORY, "report.html: out of memory");
    }
    if (status == STATUS_OK) {
        status = write_file(output_dir, summary ? summary : kept, &h);
    }
    history_close(&h);
    json_decref(kept);
    free(path);
    return status;
}
