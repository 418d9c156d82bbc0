/* Tokenizers against the tokenizers library: every folder of golden/tokenizers. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tests/support/tokenizer_cases.h"

static void folder_matches(void **state)
{
    const char *folder = *state;
    char path[4096];
    if (!tokenizer_golden_path(path, sizeof(path), folder, "tokenizer.json")) {
        print_message("skipped: %s is not there\n", path);
        skip();
    }
    struct tokenizer *t = NULL;
    int total = 0;
    if (tokenizer_open_file(&t, path) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    const int failed = tokenizer_run_golden(t, folder, false, &total);
    print_message("%s: %d of %d cases\n", folder, total - failed, total);
    assert_int_equal(failed, 0);
    assert_true(total > 100);
    tokenizer_close(t);
}

/* The first file that matches `pattern` under GRAFT_MODELS or /tmp/models. */
static bool find_model(char *path, size_t size, const char *pattern)
{
    const char *folders[] = {getenv("GRAFT_MODELS"), "/tmp/models"};
    bool found = false;
    for (int i = 0; i < 2 && !found; i++) {
        glob_t matches = {0};
        if (folders[i] == NULL) {
            continue;
        }
        (void)snprintf(path, size, "%s/%s", folders[i], pattern);
        found = glob(path, 0, NULL, &matches) == 0 && matches.gl_pathc > 0;
        if (found) {
            (void)snprintf(path, size, "%s", matches.gl_pathv[0]);
        }
        globfree(&matches);
    }
    return found;
}

struct gguf_case {
    const char *folder;
    const char *file; /* glob pattern */
    bool either;
};

static void gguf_matches(void **state)
{
    const struct gguf_case *c = *state;
    char path[4096];
    if (!tokenizer_golden_path(path, sizeof(path), c->folder, "encode.jsonl") ||
        !find_model(path, sizeof(path), c->file)) {
        print_message("skipped: %s is not in GRAFT_MODELS or /tmp/models\n", c->file);
        skip();
    }
    struct gguf *g = NULL;
    struct tokenizer *t = NULL;
    int total = 0;
    if (gguf_open(&g, path) != STATUS_OK || tokenizer_open_gguf(&t, g) != STATUS_OK) {
        fail_msg("%s", status_message());
    }
    gguf_close(g);
    const int failed = tokenizer_run_golden(t, c->folder, c->either, &total);
    print_message("%s: %d of %d cases\n", c->folder, total - failed, total);
    assert_int_equal(failed, 0);
    assert_true(tokenizer_eos(t) >= 0);
    assert_non_null(tokenizer_chat_template(t));
    tokenizer_close(t);
}

int main(void)
{
    static char *FOLDERS[] = {"gpt2",  "digits",    "llama3", "qwen2",        "qwen35", "o200k",
                              "tekken", "deepseek3", "sp_bpe", "sp_metaspace", "gemma",  "unigram"};
    static struct gguf_case MODELS[] = {
        {"smollm2-135m-instruct-q4_1", "smollm2-135m-instruct-q4_1.gguf", false},
        {"qwen-0.5b", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", false},
        /* llama.cpp's ids are as good here: the original tokenizer could not be had */
        {"gemma-3-270m-q4_k_m", "*emma-3-270m*.gguf", true}};
    enum { FOLDER_COUNT = sizeof(FOLDERS) / sizeof(FOLDERS[0]),
           MODEL_COUNT = sizeof(MODELS) / sizeof(MODELS[0]) };
    struct CMUnitTest tests[FOLDER_COUNT + MODEL_COUNT];
    for (int i = 0; i < FOLDER_COUNT; i++) {
        tests[i] = (struct CMUnitTest){.name = FOLDERS[i], .test_func = folder_matches,
                                       .initial_state = FOLDERS[i]};
    }
    for (int i = 0; i < MODEL_COUNT; i++) {
        tests[FOLDER_COUNT + i] = (struct CMUnitTest){
            .name = MODELS[i].folder, .test_func = gguf_matches, .initial_state = &MODELS[i]};
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
