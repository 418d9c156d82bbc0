/*
 * Row commands on files, in this process: golden data through tokenize, template and score (also
 * lm-eval's requests), and a random model made here for what needs no reference.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "recipes/commands.h"
#include "trainer/format/safetensors.h"
#include "trainer/model/save.h"

enum { PATH_CAP = 512 };

static char folder[64];

static int open_folder(void **state)
{
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/graft-commands-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const files[] = {"in.jsonl", "out.jsonl", "other.jsonl",
                                        "model/config.json", "model/model.safetensors", "model"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char path[PATH_CAP];
        (void)snprintf(path, sizeof path, "%s/%s", folder, files[i]);
        (void)remove(path);
    }
    return rmdir(folder); /* fails when a temporary file was left */
}

static const char *in_folder(const char *file)
{
    static char paths[4][PATH_CAP];
    static unsigned next;
    char *path = paths[next++ % 4];
    (void)snprintf(path, PATH_CAP, "%s/%s", folder, file);
    return path;
}

/* "shared/golden/NAME", or skips the test where that is absent. */
static const char *golden(const char *name)
{
    static char paths[4][PATH_CAP];
    static unsigned next;
    char *path = paths[next++ % 4];
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    if (shared) {
        (void)snprintf(path, PATH_CAP, "%s/golden/%s", shared, name);
    } else {
        (void)snprintf(path, PATH_CAP, "%s/../shared/golden/%s", source ? source : ".", name);
    }
    if (access(path, R_OK) != 0) {
        print_message("no %s: golden data is absent\n", path);
        skip();
    }
    return path;
}

static void write_lines(const char *file, const json_t *rows)
{
    size_t i;
    json_t *row;
    FILE *out = fopen(in_folder(file), "w");
    assert_non_null(out);
    json_array_foreach (rows, i, row) {
        assert_int_equal(json_dumpf(row, out, JSON_COMPACT), 0);
        (void)fputc('\n', out);
    }
    (void)fclose(out);
}

static json_t *read_lines(const char *path)
{
    json_t *rows = json_array();
    char *line = NULL;
    size_t capacity = 0;
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    while (getline(&line, &capacity, in) > 0) {
        json_t *row = json_loads(line, JSON_ALLOW_NUL, NULL);
        assert_non_null(row);
        (void)json_array_append_new(rows, row);
    }
    free(line);
    (void)fclose(in);
    return rows;
}

static const struct command *command(const char *name)
{
    for (size_t i = 0; command_at(i); i++) {
        if (strcmp(command_at(i)->name, name) == 0) {
            return command_at(i);
        }
    }
    return NULL;
}

/* Runs a row command from in.jsonl to out.jsonl. */
static enum status run(const char *name, struct command_args args)
{
    args.command = command(name);
    assert_non_null(args.command);
    args.input = in_folder("in.jsonl");
    args.output = in_folder("out.jsonl");
    return args.command->fn(&args);
}

static void assert_ok(enum status status)
{
    if (status != STATUS_OK) {
        fail_msg("%s (at %s)", status_message(), status_trace());
    }
}

static void tokenize_agrees_with_golden(void **state)
{
    (void)state;
    static const char *const names[] = {"digits", "qwen2", "sp_bpe"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
        char name[64];
        (void)snprintf(name, sizeof name, "tokenizers/%s/encode.jsonl", names[n]);
        json_t *want = read_lines(golden(name));
        (void)snprintf(name, sizeof name, "tokenizers/%s", names[n]);
        write_lines("in.jsonl", want);
        assert_ok(run("tokenize", (struct command_args){.tokenizer = golden(name)}));
        json_t *got = read_lines(in_folder("out.jsonl"));
        assert_int_equal(json_array_size(got), json_array_size(want));
        for (size_t i = 0; i < json_array_size(want); i++) {
            const json_t *w = json_array_get(want, i);
            const json_t *g = json_array_get(got, i);
            assert_true(json_equal(json_object_get(g, "ids"), json_object_get(w, "ids")));
            assert_true(json_equal(json_object_get(g, "text"), json_object_get(w, "decoded")));
        }
        json_decref(want);
        json_decref(got);
    }
}

static void template_agrees_with_golden(void **state)
{
    (void)state;
    json_t *all = read_lines(golden("templates/cases.jsonl"));
    json_t *rows = json_array();
    size_t i;
    json_t *row;
    int open_ended = 0;
    json_array_foreach (all, i, row) {
        if (json_object_get(row, "rendered")) {
            (void)json_array_append(rows, row);
            open_ended += json_is_true(json_object_get(row, "continue_final_message"));
        }
    }
    write_lines("in.jsonl", rows);
    assert_ok(run("template", (struct command_args){0}));
    json_t *got = read_lines(in_folder("out.jsonl"));
    assert_int_equal(json_array_size(got), json_array_size(rows));
    assert_true(open_ended > 0);
    json_array_foreach (rows, i, row) {
        const char *want = json_string_value(json_object_get(row, "rendered"));
        const char *prompt = json_string_value(json_object_get(json_array_get(got, i), "prompt"));
        if (strcmp(want, prompt) != 0) {
            fail_msg("%s: '%s', not '%s'", json_string_value(json_object_get(row, "name")), prompt,
                     want);
        }
    }
    json_decref(all);
    json_decref(rows);
    json_decref(got);
}

static json_t *row_of_ids(const int64_t *ids, int64_t count)
{
    json_t *array = json_array();
    for (int64_t t = 0; t < count; t++) {
        (void)json_array_append_new(array, json_integer(ids[t]));
    }
    return json_pack("{s:o}", "ids", array);
}

/* Largest difference of out.jsonl's logprobs from golden.safetensors' of `name`. */
static double score_golden(const char *name, const char *adapter)
{
    char file[128];
    struct safetensors *s;
    (void)snprintf(file, sizeof file, "%s%s/golden.safetensors", name, adapter ? "/adapter" : "");
    assert_ok(safetensors_open(&s, golden(file)));
    const struct safetensors_entry *ids = safetensors_find(s, "input_ids");
    const struct safetensors_entry *logprobs = safetensors_find(s, "logprobs");
    struct safetensors *base = NULL;
    if (!ids) { /* an adapter's golden file may leave the ids to the base's */
        (void)snprintf(file, sizeof file, "%s/golden.safetensors", name);
        assert_ok(safetensors_open(&base, golden(file)));
        ids = safetensors_find(base, "input_ids");
    }
    assert_non_null(ids);
    assert_non_null(logprobs);
    const int64_t rows = ids->view.shape[0];
    const int64_t length = ids->view.shape[1];
    json_t *lines = json_array();
    for (int64_t r = 0; r < rows; r++) {
        (void)json_array_append_new(lines,
                                    row_of_ids((const int64_t *)ids->data + r * length, length));
    }
    write_lines("in.jsonl", lines);
    json_decref(lines);
    (void)snprintf(file, sizeof file, "%s/adapter", name);
    assert_ok(run("score", (struct command_args){.model = golden(name),
                                                 .adapter = adapter ? golden(file) : NULL,
                                                 .compute = "float32",
                                                 .threads = 1}));
    json_t *got = read_lines(in_folder("out.jsonl"));
    const float *want = (const float *)logprobs->data;
    double worst = 0;
    for (int64_t r = 0; r < rows; r++) {
        const json_t *row = json_array_get(got, (size_t)r);
        const json_t *values = json_object_get(row, "logprobs");
        double nll = 0;
        assert_int_equal(json_array_size(values), length - 1);
        for (int64_t t = 0; t + 1 < length; t++) {
            const double value = json_number_value(json_array_get(values, (size_t)t));
            worst = fmax(worst, fabs(value - want[r * (length - 1) + t]));
            nll -= value;
        }
        assert_true(fabs(nll - json_number_value(json_object_get(row, "nll"))) < 1e-9);
    }
    json_decref(got);
    safetensors_close(s);
    safetensors_close(base);
    return worst;
}

static void score_agrees_with_golden(void **state)
{
    (void)state;
    static const char *const models[] = {"models/llama", "models/qwen2", "models/gemma3_text"};
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const double plain = score_golden(models[i], NULL);
        const double adapted = score_golden(models[i], "adapter");
        print_message("%s: largest difference %.2g, with adapter %.2g\n", models[i], plain,
                      adapted);
        assert_true(plain < 1e-4 && adapted < 1e-4);
    }
}

/* lm-eval's requests (context, continuation) with its log-likelihoods and greedy flags. */
static void score_cuts_continuations_as_lm_eval(void **state)
{
    (void)state;
    json_t *all = json_load_file(golden("eval/multiple_choice.json"), 0, NULL);
    json_t *rows = json_array();
    json_t *want = json_array();
    size_t i;
    size_t j;
    json_t *sample;
    json_t *request;
    json_array_foreach (json_object_get(all, "samples"), i, sample) {
        json_array_foreach (json_object_get(sample, "requests"), j, request) {
            json_t *words = json_object_get(request, "arguments");
            (void)json_array_append_new(rows, json_pack("{s:O, s:O}", "context",
                                                        json_array_get(words, 0), "continuation",
                                                        json_array_get(words, 1)));
            json_t *resps = json_array_get(json_object_get(sample, "resps"), j);
            (void)json_array_append(want, json_array_get(resps, 0));
        }
    }
    write_lines("in.jsonl", rows);
    const json_t *length = json_object_get(all, "max_length");
    assert_ok(run("score", (struct command_args){.model = golden("tiny_llama"),
                                                 .compute = "float32",
                                                 .context = json_integer_value(length),
                                                 .threads = 1}));
    json_t *got = read_lines(in_folder("out.jsonl"));
    assert_int_equal(json_array_size(got), json_array_size(want));
    for (i = 0; i < json_array_size(want); i++) {
        const json_t *row = json_array_get(got, i);
        const json_t *answer = json_array_get(want, i);
        const double nll = json_number_value(json_object_get(row, "nll"));
        const double difference = nll + json_number_value(json_array_get(answer, 0));
        if (fabs(difference) > 1e-3) {
            fail_msg("request %zu: nll %g is off by %g", i, nll, difference);
        }
        assert_int_equal(json_is_true(json_object_get(row, "greedy")),
                         json_is_true(json_array_get(answer, 1)));
    }
    json_decref(all);
    json_decref(rows);
    json_decref(want);
    json_decref(got);
}

/* A random one-layer model in folder/model. */
static const char *make_model(void)
{
    static char path[PATH_CAP];
    char file[PATH_CAP + 16];
    struct model *m;
    json_t *config = json_pack(
        "{s:s, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:b}", "model_type", "llama", "vocab_size",
        50, "hidden_size", 32, "intermediate_size", 48, "num_hidden_layers", 1,
        "num_attention_heads", 2, "num_key_value_heads", 1, "max_position_embeddings", 64,
        "rms_norm_eps", 1e-5, "tie_word_embeddings", 0);
    (void)snprintf(path, sizeof path, "%s/model", folder);
    (void)snprintf(file, sizeof file, "%s/config.json", path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(json_dump_file(config, file, 0), 0);
    json_decref(config);
    assert_ok(model_open_random(&m, file, 7, &(struct model_options){0}));
    assert_ok(model_save_folder(m, path, &(struct model_folder_options){.dtype = DTYPE_F32}));
    model_close(m);
    return path;
}

/* The same bits however rows are packed, and the chain of a distribution adds up. */
static void score_does_not_depend_on_packing(void **state)
{
    (void)state;
    const char *model = make_model();
    json_t *rows = json_array();
    for (int64_t r = 0; r < 9; r++) {
        int64_t ids[20];
        for (int64_t t = 0; t < 20; t++) {
            ids[t] = (r * 31 + t * t * 7 + t) % 50;
        }
        (void)json_array_append_new(rows, row_of_ids(ids, r * 2));
    }
    write_lines("in.jsonl", rows);
    const int64_t budgets[] = {1, 12, 2048};
    json_t *first = NULL;
    for (size_t i = 0; i < 3; i++) {
        assert_ok(run("score", (struct command_args){
                                   .model = model, .tokens = budgets[i], .threads = 1}));
        json_t *got = read_lines(in_folder("out.jsonl"));
        assert_int_equal(json_array_size(got), 9);
        assert_int_equal(json_array_size(json_object_get(json_array_get(got, 0), "logprobs")), 0);
        assert_int_equal(json_array_size(json_object_get(json_array_get(got, 8), "logprobs")), 15);
        first = first ? first : json_incref(got);
        assert_true(json_equal(first, got));
        json_decref(got);
    }
    json_decref(first);
    json_decref(rows);
    rows = json_array(); /* after one token, the probabilities of all next tokens sum to 1 */
    for (int64_t v = 0; v < 50; v++) {
        (void)json_array_append_new(rows, row_of_ids((const int64_t[]){3, v}, 2));
    }
    write_lines("in.jsonl", rows);
    assert_ok(run("score",
                  (struct command_args){.model = model, .compute = "float32", .threads = 1}));
    json_t *got = read_lines(in_folder("out.jsonl"));
    double sum = 0;
    for (size_t v = 0; v < 50; v++) {
        sum += exp(-json_number_value(json_object_get(json_array_get(got, v), "nll")));
    }
    assert_true(fabs(sum - 1) < 1e-5);
    json_decref(got);
    json_decref(rows);
}

static void wrong_rows_are_blamed_by_line(void **state)
{
    (void)state;
    const char *model = make_model();
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"{\"ids\":[1]}\n\n{\"ids\":[1,]}\n", "in.jsonl:3: not a JSON object"},
        {"[1]\n", "in.jsonl:1: not a JSON object: another value"},
        {"{\"ids\":[1,2]}\n{\"ids\":[1,50]}\n", "in.jsonl:2: id 50 at 1 is outside"},
        {"{\"ids\":[-1]}\n", "in.jsonl:1: ids[0] is no token id"},
        {"{\"id\":[1]}\n", "in.jsonl:1: a row needs \"ids\""},
        {"{\"ids\":[1.5]}\n", "in.jsonl:1: ids[0] is no token id"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        FILE *out = fopen(in_folder("in.jsonl"), "w");
        assert_non_null(out);
        (void)fputs(cases[i].text, out);
        (void)fclose(out);
        assert_int_equal(run("score", (struct command_args){.model = model, .threads = 1}),
                         STATUS_INPUT);
        if (!strstr(status_message(), cases[i].message)) {
            fail_msg("'%s' not in '%s'", cases[i].message, status_message());
        }
        assert_int_not_equal(access(in_folder("out.jsonl"), F_OK), 0); /* nothing half-written */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(tokenize_agrees_with_golden, open_folder, remove_folder),
        cmocka_unit_test_setup_teardown(template_agrees_with_golden, open_folder, remove_folder),
        cmocka_unit_test_setup_teardown(score_agrees_with_golden, open_folder, remove_folder),
        cmocka_unit_test_setup_teardown(score_cuts_continuations_as_lm_eval, open_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(score_does_not_depend_on_packing, open_folder,
                                        remove_folder),
        cmocka_unit_test_setup_teardown(wrong_rows_are_blamed_by_line, open_folder,
                                        remove_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
