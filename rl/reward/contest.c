/*
 * Contest rewards: IOI subtasks and Codeforces problems, with their checkers, in a sandbox (spec
 * open-r1.md 2: ioi_code, cf_code). Tests stand in the row, not behind a service.
 *
 * ioi_code: a C++ program is linked with the row's grader_files; a test's score is what the checker
 * prints, or 1 for the same words. cf_code: the row's generated_checker (Python) prints 1 for a
 * right output; without one, outputs are compared word by word.
 */
#include <math.h>
#include <string.h>

#include "rl/reward/code_internal.h"
#include "trainer/format/json.h"

enum { PROFILE, BATCH, MODE };

const struct reward_parameter REWARD_CONTEST_PARAMETERS[] = {
    {.key = "sandbox_profile",
     .type = PARAMETER_TEXT,
     .text = "full",
     .doc = "full, or reduced: without namespaces, where a container forbids them"},
    {.key = "code_eval_test_batch_size",
     .aliases = "test_batch_size",
     .type = PARAMETER_COUNT,
     .def = 1,
     .low = -1,
     .high = 1e6,
     .doc = "tests run before the first failure ends it; cf_code: 0 or -1 is all"},
    {.key = "code_eval_scoring_mode",
     .aliases = "scoring_mode",
     .type = PARAMETER_TEXT,
     .text = "weighted_sum",
     .doc = "cf_code: pass_fail, partial, or weighted_sum (pass_fail + 0.1 partial)"},
    {0},
};

/* A problem as its row describes it. */
struct problem {
    struct code_state *state;
    struct program *program;
    struct program *checker; /* NULL: outputs are compared word by word */
    struct sandbox_limits limits;
};

static void problem_close(struct problem *p)
{
    program_close(p->program);
    program_close(p->checker);
}

/* time_limit (s) + grace, memory_limit (MB) of the row. */
static struct sandbox_limits limits_of(const json_t *row, double grace)
{
    const double seconds = json_get_number(row, "time_limit", 2.0);
    const double megabytes = json_get_number(row, "memory_limit", 256.0);
    struct sandbox_limits l = sandbox_default_limits();
    l.cpu_seconds = fmin(fmax(seconds, 0.01) + grace, 3600.0);
    l.wall_seconds = l.cpu_seconds * 2.0;
    l.memory_bytes = (int64_t)fmin(fmax(megabytes, 16.0), 65536.0) << 20;
    l.output_bytes = (int64_t)64 << 20;
    return l;
}

/* Next word of [*at, end): size 0 at the end. */
static struct code_text next_word(const char **at, const char *end)
{
    static const char SPACE[] = " \t\n\r\v\f";
    const char *p = *at;
    while (p < end && memchr(SPACE, *p, sizeof SPACE - 1)) {
        p++;
    }
    const char *begin = p;
    while (p < end && !memchr(SPACE, *p, sizeof SPACE - 1)) {
        p++;
    }
    *at = p;
    return (struct code_text){begin, (size_t)(p - begin), p > begin};
}

static bool same_words(const struct sandbox_bytes *out, const char *expected)
{
    const char *a = out->data ? out->data : "";
    const char *b = expected;
    const char *a_end = a + out->size;
    const char *b_end = b + strlen(expected);
    for (;;) {
        const struct code_text x = next_word(&a, a_end);
        const struct code_text y = next_word(&b, b_end);
        if (x.size != y.size || memcmp(x.text, y.text, x.size) != 0) {
            return false;
        }
        if (x.size == 0) {
            return true;
        }
    }
}

/* The first number that the checker prints, 0 when it prints none. */
static enum status ask_checker(struct problem *p, const char *input, const char *expected,
                               const struct sandbox_bytes *said, double *score)
{
    const struct sandbox_file files[] = {
        {"input.txt", input, strlen(input), false},
        {"correct_output.txt", expected, strlen(expected), false},
        {"solution_output.txt", said->data ? said->data : "", said->size, false},
    };
    const struct program_input in = {
        .args = {"input.txt", "correct_output.txt", "solution_output.txt"},
        .files = files,
        .file_count = 3,
        .limits = {.cpu_seconds = 10, .wall_seconds = 20},
    };
    struct sandbox_result r;
    const enum status status = program_run(p->checker, &in, &r);
    *score = 0.0;
    if (status == STATUS_OK && r.end == SANDBOX_EXITED && r.out.data) {
        char *end;
        const double x = strtod(r.out.data, &end);
        *score = end != r.out.data && isfinite(x) ? x : 0.0;
    }
    sandbox_result_close(&r);
    return status;
}

static enum status score_test(struct problem *p, const json_t *test, double *score)
{
    const char *input = json_get_string(test, "input", "");
    const char *expected = json_get_string(test, "output", "");
    const struct program_input in = {
        .input = input,
        .input_size = strlen(input),
        .limits = p->limits,
    };
    struct sandbox_result r;
    enum status status = program_run(p->program, &in, &r);
    *score = 0.0;
    if (status == STATUS_OK && r.end == SANDBOX_EXITED && r.code == 0) {
        if (p->checker) {
            status = ask_checker(p, input, expected, &r.out, score);
        } else {
            *score = same_words(&r.out, expected) ? 1.0 : 0.0;
        }
    }
    sandbox_result_close(&r);
    return status;
}

/* ---- ioi_code ---- */

/* Open-R1 adds what a bare solution lacks; the caller frees *out. */
static enum status ioi_source(const struct code_text *text, const char *id, char **out)
{
    const bool has_std = memmem(text->text, text->size, "using namespace std;", 20)
                         || memmem(text->text, text->size, "std::", 5);
    char head[512];
    const int n = snprintf(head, sizeof head, "#include <bits/stdc++.h>\n%s%s%s\n%s",
                           *id ? "#include \"" : "", id, *id ? ".h\"" : "",
                           has_std ? "" : "using namespace std;\n");
    if (n < 0 || n >= (int)sizeof head) {
        return FAIL(INPUT, "ioi_code: the problem's id is too long");
    }
    *out = malloc((size_t)n + text->size + 1);
    if (!*out) {
        return FAIL(MEMORY, "ioi_code: no memory");
    }
    memcpy(*out, head, (size_t)n);
    memcpy(*out + n, text->text, text->size);
    (*out)[(size_t)n + text->size] = '\0';
    return STATUS_OK;
}

static bool plain_name(const char *name)
{
    return *name && *name != '.' && !strchr(name, '/') && strlen(name) < 128;
}

/* [[name, text], ..]: all but the checker's source go beside the program. */
static enum status grader_files(const json_t *list, struct sandbox_file *files, int *count,
                                struct sandbox_file *checker)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *pair = json_array_get(list, i);
        const char *name = json_string_value(json_array_get(pair, 0));
        const char *text = json_string_value(json_array_get(pair, 1));
        if (!name || !text || !plain_name(name) || *count == PROGRAM_MAX_FILES - 1) {
            return FAIL(INPUT, "ioi_code: grader_files[%zu] is no [name, text], or one too many",
                        i);
        }
        const struct sandbox_file file = {name, text, strlen(text), false};
        if (strcmp(name, "checker.cpp") == 0) {
            *checker = file;
        } else {
            files[(*count)++] = file;
        }
    }
    return STATUS_OK;
}

static enum status ioi_open(struct problem *p, const struct reward_input *in,
                            const struct code_text *text)
{
    struct sandbox_file files[PROGRAM_MAX_FILES];
    struct sandbox_file checker = {0};
    int count = 0;
    char *solution;
    TRY(grader_files(json_object_get(in->row, "grader_files"), files, &count, &checker));
    TRY(ioi_source(text, json_get_string(in->row, "id", ""), &solution));
    const struct program_source source = {
        .language = "cpp",
        .text = solution,
        .size = strlen(solution),
        .extra = files,
        .extra_count = count,
    };
    enum status status = program_open(&p->program, p->state->sandbox, &source);
    free(solution);
    if (status == STATUS_OK && checker.data) {
        const struct program_source judge = {
            .language = "cpp",
            .text = checker.data,
            .size = checker.size,
        };
        status = program_open(&p->checker, p->state->sandbox, &judge);
    }
    return status;
}

/* Least score of the tests, in batches; those behind a batch with a 0 are not run and count 0. */
static enum status ioi_score(struct problem *p, const json_t *tests, int64_t batch, double *score)
{
    const size_t count = json_array_size(tests);
    double least = 1.0;
    bool stop = batch < 1 || count == 0; /* as Open-R1: nothing runs */
    for (size_t i = 0; !stop && i < count; i++) {
        double one;
        TRY(score_test(p, json_array_get(tests, i), &one));
        least = fmin(least, one);
        stop = (i + 1) % (size_t)batch == 0 && least == 0.0 && i + 1 < count;
    }
    *score = stop ? 0.0 : least;
    return STATUS_OK;
}

static double round_to(double x, const json_t *digits)
{
    const double places = json_is_integer(digits) ? (double)json_integer_value(digits) : 2.0;
    const double scale = pow(10.0, places);
    return isfinite(scale) && scale > 0 ? nearbyint(x * scale) / scale : x;
}

double reward_ioi(const void *state, const struct reward_input *in, char *reason)
{
    struct problem p = {.state = (struct code_state *)(uintptr_t)state};
    const struct code_text text = code_block(in->completion, "cpp");
    const int64_t batch = (int64_t)p.state->values.number[BATCH];
    double score = 0.0;
    if (!text.found) {
        return 0.0;
    }
    p.limits = limits_of(in->row, 3.0);
    enum status status = ioi_open(&p, in, &text);
    if (status == STATUS_OK && p.checker && program_error(p.checker)) {
        status = FAIL(INPUT, "ioi_code: the checker does not compile");
    } else if (status == STATUS_OK && !program_error(p.program)) {
        status = ioi_score(&p, json_object_get(in->row, "tests"), batch, &score);
    }
    if (status != STATUS_OK) {
        /* Open-R1 scores 0 here; a broken row or machine says nothing about the program. */
        reward_explain(reason, "%s", status_message());
        score = NAN;
    }
    problem_close(&p);
    return isnan(score) ? score : round_to(score, json_object_get(in->row, "score_precision"));
}

/* ---- cf_code ---- */

static enum status cf_open(struct problem *p, const json_t *row, const char *language,
                           const struct code_text *text)
{
    const struct program_source source = {
        .language = language,
        .text = text->text,
        .size = text->size,
    };
    const char *checker = json_get_string(row, "generated_checker", "");
    TRY(program_open(&p->program, p->state->sandbox, &source));
    if (*checker) {
        const struct program_source judge = {
            .language = "python",
            .text = checker,
            .size = strlen(checker),
        };
        TRY(program_open(&p->checker, p->state->sandbox, &judge));
    }
    return STATUS_OK;
}

/* Passed and run tests; a batch with a failure ends it where only a full pass counts. */
struct tally {
    size_t passed;
    size_t failed;
    size_t total;
};

static enum status cf_run(struct problem *p, const json_t *official, const json_t *generated,
                          bool early, struct tally *t)
{
    const size_t first = json_array_size(official);
    const size_t batch = (size_t)fmax(p->state->values.number[BATCH], 0.0); /* -1: Open-R1's all */
    t->total = first + json_array_size(generated);
    for (size_t i = 0; i < t->total; i++) {
        double score;
        TRY(score_test(p, i < first ? json_array_get(official, i)
                                    : json_array_get(generated, i - first), &score));
        t->passed += score == 1.0;
        t->failed += score != 1.0;
        if (early && t->failed > 0 && batch > 0 && (i + 1) % batch == 0) {
            break;
        }
    }
    return STATUS_OK;
}

/* How a mode turns a tally into a score. */
struct scoring_mode {
    const char *name;
    double all;   /* for passing every test */
    double share; /* times the share of passed tests */
};

static const struct scoring_mode MODES[] = {
    {"pass_fail", 1.0, 0.0},
    {"partial", 0.0, 1.0},
    {"weighted_sum", 1.0, 0.1},
};

static const struct scoring_mode *find_mode(const char *name)
{
    for (size_t i = 0; name && i < sizeof MODES / sizeof *MODES; i++) {
        if (strcmp(MODES[i].name, name) == 0) {
            return &MODES[i];
        }
    }
    return NULL;
}

enum status reward_open_contest(const struct reward *r, const json_t *parameters, void **state)
{
    TRY(reward_open_code(r, parameters, state));
    const struct code_state *s = *state;
    const char *name = json_string_value(s->values.json[MODE]);
    return find_mode(name) ? STATUS_OK
                           : FAIL(RECIPE, "%s: code_eval_scoring_mode is pass_fail, partial or "
                                          "weighted_sum, not '%.40s'",
                                  r->name, name ? name : "");
}

static enum status cf_score(struct problem *p, const json_t *row, double *score)
{
    const struct scoring_mode *mode = find_mode(json_string_value(p->state->values.json[MODE]));
    struct tally t = {0};
    TRY(cf_run(p, json_object_get(row, "official_tests"), json_object_get(row, "generated_tests"),
               mode->share == 0.0, &t));
    *score = (t.passed == t.total ? mode->all : 0.0)
             + mode->share * (double)t.passed / (double)t.total;
    return STATUS_OK;
}

double reward_codeforces(const void *state, const struct reward_input *in, char *reason)
{
    struct problem p = {.state = (struct code_state *)(uintptr_t)state};
    const char *column = json_string_value(json_object_get(in->row, "language"));
    const char *language = column ? column : "cpp";
    const struct code_text text = code_block(in->completion, language);
    double score = NAN;
    if (json_array_size(json_object_get(in->row, "official_tests"))
            + json_array_size(json_object_get(in->row, "generated_tests")) == 0) {
        reward_explain(reason, "the row has no official_tests or generated_tests");
        return NAN;
    }
    if (!text.found) {
        return -1.0;
    }
    p.limits = limits_of(in->row, 10.0);
    enum status status = cf_open(&p, in->row, language, &text);
    if (status == STATUS_OK && program_error(p.program)) {
        score = -0.1;
    } else if (status == STATUS_OK) {
        status = cf_score(&p, in->row, &score);
    }
    if (status != STATUS_OK) {
        reward_explain(reason, "%s", status_message());
        score = NAN;
    }
    problem_close(&p);
    return score;
}
