/*
 * Code rewards: the program in a completion is run against test cases in a sandbox (spec open-r1.md
 * 2: code, binary_code).
 *
 * Quirks of Open-R1 that stay unless code_strict mends them: lines beyond the shorter of the two
 * outputs are not compared, one timed-out case costs the whole score, and no cases score 0.
 */
#include <math.h>
#include <string.h>

#include "rl/reward/code_internal.h"
#include "trainer/format/json.h"

enum { PROFILE, LANGUAGE, TIMEOUT, MEMORY_MB, STRICT };

const struct reward_parameter REWARD_CODE_PARAMETERS[] = {
    {.key = "sandbox_profile",
     .type = PARAMETER_TEXT,
     .text = "full",
     .doc = "full, or reduced: without namespaces, where a container forbids them"},
    {.key = "code_language",
     .type = PARAMETER_TEXT,
     .text = "python",
     .doc = "language of the program; a row's language goes before it"},
    {.key = "code_timeout", .def = 5, .low = 0.01, .high = 3600, .doc = "seconds of a test case"},
    {.key = "code_memory",
     .type = PARAMETER_COUNT,
     .def = 512,
     .low = 16,
     .high = 1 << 20,
     .doc = "MiB of a test case"},
    {.key = "code_strict",
     .type = PARAMETER_FLAG,
     .doc = "every line counts, a timeout fails its case alone, no cases are no score"},
    {0},
};

/* Opens the sandbox of the state's profile, the first parameter of each table. */
static enum status open_sandbox(const struct reward *r, struct code_state *s)
{
    enum sandbox_profile profile;
    const char *name = json_string_value(s->values.json[PROFILE]);
    if (!name || !sandbox_profile_of(name, &profile)) {
        return FAIL(RECIPE, "%s: sandbox_profile is full or reduced, not '%.40s'", r->name,
                    name ? name : "");
    }
    return sandbox_open(&s->sandbox, profile);
}

enum status reward_open_code(const struct reward *r, const json_t *parameters, void **state)
{
    struct code_state *s = calloc(1, sizeof *s);
    *state = s;
    if (!s) {
        return FAIL(MEMORY, "%s: no memory", r->name);
    }
    TRY(reward_values_read(r, parameters, &s->values));
    return open_sandbox(r, s);
}

void reward_close_code(void *state)
{
    struct code_state *s = state;
    if (s) {
        sandbox_close(s->sandbox);
        reward_values_clear(&s->values);
        free(s);
    }
}

struct code_text code_block(const char *completion, const char *language)
{
    struct code_text last = {"", 0, false};
    char fence[64];
    const int n = snprintf(fence, sizeof fence, "```%s\n", language);
    if (n < 0 || n >= (int)sizeof fence) {
        return last;
    }
    for (const char *p = strstr(completion, fence); p;) {
        const char *text = p + n;
        const char *end = strstr(text, "```");
        if (!end) {
            break;
        }
        last = (struct code_text){text, (size_t)(end - text), true};
        p = strstr(end + 3, fence);
    }
    return last;
}

/* Next line of at most `end`: without surrounding white space. */
static struct code_text next_line(const char **at, const char *end)
{
    const char *p = *at;
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    const char *next = stop ? stop + 1 : end + 1;
    stop = stop ? stop : end;
    *at = next;
    return code_trim(p, (size_t)(stop - p));
}

struct code_text code_trim(const char *text, size_t size)
{
    static const char SPACE[] = " \t\n\r\v\f";
    while (size > 0 && memchr(SPACE, text[0], sizeof SPACE - 1)) {
        text++;
        size--;
    }
    while (size > 0 && memchr(SPACE, text[size - 1], sizeof SPACE - 1)) {
        size--;
    }
    return (struct code_text){text, size, true};
}

/* Line by line, both trimmed; strict: as many lines in both. */
static bool same_lines(const struct sandbox_bytes *out, const char *expected, bool strict)
{
    const struct code_text said = code_trim(out->data ? out->data : "", out->size);
    const struct code_text want = strict ? code_trim(expected, strlen(expected))
                                         : (struct code_text){expected, strlen(expected), true};
    const char *a = said.text;
    const char *b = want.text;
    const char *a_end = a + said.size;
    const char *b_end = b + want.size;
    while (a <= a_end && b <= b_end) {
        const struct code_text x = next_line(&a, a_end);
        const struct code_text y = next_line(&b, b_end);
        if (x.size != y.size || memcmp(x.text, y.text, x.size) != 0) {
            return false;
        }
    }
    return !strict || (a > a_end && b > b_end);
}

bool code_out_of_time(const struct sandbox_result *r)
{
    return r->end == SANDBOX_CPU_LIMIT || r->end == SANDBOX_WALL_LIMIT;
}

/* What running one case told. */
enum verdict { PASSED, FAILED, TIMED_OUT };

static enum status run_case(struct code_state *s, struct program *program, const json_t *test,
                            enum verdict *out)
{
    const char *input = json_get_string(test, "input", "");
    const double seconds = s->values.number[TIMEOUT];
    const struct program_input in = {
        .input = input,
        .input_size = strlen(input),
        .limits = {.cpu_seconds = seconds,
                   .wall_seconds = seconds,
                   .memory_bytes = (int64_t)s->values.number[MEMORY_MB] << 20},
    };
    struct sandbox_result r;
    const enum status status = program_run(program, &in, &r);
    if (status == STATUS_OK) {
        const bool good = r.end == SANDBOX_EXITED && r.code == 0
                          && same_lines(&r.out, json_get_string(test, "output", ""),
                                        s->values.number[STRICT] != 0);
        *out = code_out_of_time(&r) ? TIMED_OUT : good ? PASSED : FAILED;
    }
    sandbox_result_close(&r);
    return status;
}

/* Share of the cases that pass; NaN with a failure. */
static enum status run_cases(struct code_state *s, struct program *program, const json_t *cases,
                             double *score)
{
    size_t passed = 0;
    const bool strict = s->values.number[STRICT] != 0;
    for (size_t i = 0; i < json_array_size(cases); i++) {
        enum verdict verdict = FAILED;
        TRY(run_case(s, program, json_array_get(cases, i), &verdict));
        if (verdict == TIMED_OUT && !strict) {
            *score = 0.0;
            return STATUS_OK;
        }
        passed += verdict == PASSED;
    }
    *score = (double)passed / (double)json_array_size(cases);
    return STATUS_OK;
}

static const char *language_of(const struct code_state *s, const json_t *row, const json_t *info)
{
    const char *own = json_string_value(json_object_get(info, "language"));
    const char *column = json_string_value(json_object_get(row, "language"));
    const char *key = json_string_value(s->values.json[LANGUAGE]);
    return own ? own : column ? column : key ? key : "python";
}

static enum status judge(struct code_state *s, const struct reward_input *in, const json_t *info,
                         double *score)
{
    const json_t *cases = json_object_get(info, "test_cases");
    const char *language = language_of(s, in->row, info);
    const struct code_text text = code_block(in->completion, language);
    struct program *program;
    *score = 0.0;
    if (json_array_size(cases) == 0) {
        return STATUS_OK;
    }
    const struct program_source source = {
        .language = language,
        .text = text.text,
        .size = text.size,
    };
    TRY(program_open(&program, s->sandbox, &source));
    const enum status status =
        program_error(program) ? STATUS_OK : run_cases(s, program, cases, score);
    program_close(program);
    return status;
}

double reward_code(const void *state, const struct reward_input *in, char *reason)
{
    struct code_state *s = (struct code_state *)(uintptr_t)state;
    json_t *read = NULL;
    const json_t *info = json_object_get(in->row, "verification_info");
    double score = NAN;
    if (json_is_string(info)) {
        read = json_loads(json_string_value(info), 0, NULL);
        info = read;
    }
    if (!json_is_object(info)) {
        reward_explain(reason, "verification_info is no object with test_cases");
    } else if (s->values.number[STRICT] != 0
               && json_array_size(json_object_get(info, "test_cases")) == 0) {
        reward_explain(reason, "the row has no test cases");
    } else if (judge(s, in, info, &score) != STATUS_OK) {
        reward_explain(reason, "%s", status_message());
        score = NAN;
    }
    json_decref(read);
    return score;
}

double reward_binary_code(const void *state, const struct reward_input *in, char *reason)
{
    const double score = reward_code(state, in, reason);
    return isnan(score) ? score : score > 0.99 ? 1.0 : 0.0;
}
