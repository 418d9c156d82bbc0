/* The recipe schema: every row of the table, and the places and words of its messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "recipes/schema_internal.h"
#include "recipes/suggest.h"
#include "rl/objective.h"
#include "trainer/model/model.h"
#include "trainer/optim/optim.h"

static const enum recipe_method METHODS[] = {RECIPE_SFT, RECIPE_GRPO, RECIPE_EVAL,
                                             RECIPE_GENERATE};

/* A recipe that resolves: what every run needs. */
static const char MINIMAL[] = "model_name_or_path: m.gguf\noutput_dir: out\ndataset_name: sums\n"
                              "use_peft: true\n";

static enum status open_text(struct recipe *r, enum recipe_method method, const char *text)
{
    return recipe_open_text(r, method, "x.yaml", text);
}

static char *dump(const struct recipe *r)
{
    char *text;
    assert_int_equal(recipe_dump(r, &text), STATUS_OK);
    return text;
}

static void assert_message_has(const char *part)
{
    if (!strstr(status_message(), part)) {
        fail_msg("'%s' is not in the message '%s'", part, status_message());
    }
}

static void defaults_of_every_row_parse(void **state)
{
    (void)state;
    for (size_t m = 0; m < sizeof METHODS / sizeof *METHODS; m++) {
        struct recipe r;
        assert_int_equal(open_text(&r, METHODS[m], ""), STATUS_OK);
        for (size_t i = 0; i < schema_count(); i++) {
            assert_int_equal(schema_set_text(&r, schema_field(i), schema_field(i)->def),
                             STATUS_OK);
            assert_true(strlen(schema_field(i)->doc) > 3);
            assert_non_null(schema_field(i)->group);
        }
        recipe_close(&r);
    }
}

static void keys_and_aliases_are_unique(void **state)
{
    (void)state;
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        assert_ptr_equal(schema_find(f->key), f);
        for (const char *p = f->aliases; p && *p;) {
            char word[64];
            const size_t n = strcspn(p, " ");
            (void)snprintf(word, sizeof word, "%.*s", (int)n, p);
            assert_ptr_equal(schema_find(word), f);
            p += n + strspn(p + n, " ");
        }
        for (size_t j = 0; j < i; j++) {
            assert_true(schema_field(j)->offset != f->offset);
        }
    }
    for (size_t i = 0; i < RECIPE_FOREIGN_COUNT; i++) {
        assert_null(schema_find(RECIPE_FOREIGN[i].key));
    }
}

/* A refused value belongs to a choice that does not offer it, and a default to a key. */
static void refusals_and_defaults_fit_their_keys(void **state)
{
    (void)state;
    for (size_t i = 0; i < RECIPE_REFUSED_COUNT; i++) {
        const struct recipe_refused *r = &RECIPE_REFUSED[i];
        const struct recipe_field *f = schema_find(r->key);
        assert_non_null(f);
        assert_int_equal(f->type, FIELD_CHOICE);
        assert_true(strlen(r->why) > 3);
        for (const struct recipe_choice *c = f->choices; c->name; c++) {
            assert_true(strcmp(c->name, r->value) != 0);
        }
    }
    for (size_t i = 0; i < RECIPE_DEFAULT_COUNT; i++) {
        assert_non_null(schema_find(RECIPE_DEFAULTS[i].key));
    }
    for (size_t i = 0; i < schema_count(); i++) {
        assert_int_equal(schema_index(schema_field(i)), i);
    }
    assert_null(schema_field(schema_count()));
}

/* Just outside and just inside both ends of every numeric range. */
static void ranges_hold_at_their_ends(void **state)
{
    (void)state;
    int tried = 0;
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        const bool number = f->type == FIELD_INT || f->type == FIELD_FLOAT;
        if (!number || (f->low == 0 && f->high == 0)) {
            continue;
        }
        const double step = f->type == FIELD_INT ? 1 : 1e-3;
        const struct {
            double value;
            bool good;
        } cases[] = {{f->low - step, false},
                     {f->low, !(f->flags & FIELD_OPEN_LOW)},
                     {f->low + step, true},
                     {f->high, !(f->flags & FIELD_OPEN_HIGH)},
                     {f->high * (1 + 1e-3) + 1, false}};
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            char argument[160];
            struct recipe r;
            assert_int_equal(open_text(&r, RECIPE_EVAL, ""), STATUS_OK);
            (void)snprintf(argument, sizeof argument, f->type == FIELD_INT ? "%s=%.0f" : "%s=%.17g",
                           f->key, cases[c].value);
            const enum status got = recipe_override(&r, argument);
            if (got != (cases[c].good ? STATUS_OK : STATUS_RECIPE)) {
                fail_msg("%s: status %d", argument, (int)got);
            }
            if (got != STATUS_OK) {
                assert_message_has(f->key);
                assert_message_has(f->type == FIELD_INT ? "a whole number" : "a number");
            }
            recipe_close(&r);
            tried++;
        }
    }
    assert_true(tried > 200);
}

static void wrong_types_are_refused_with_their_place(void **state)
{
    (void)state;
    static const char *const wrong[] = {
        [FIELD_BOOL] = "maybe", [FIELD_INT] = "1.5", [FIELD_FLOAT] = "0x10",
        [FIELD_SIZE] = "8 parsecs", [FIELD_STRING] = "[a]", [FIELD_CHOICE] = "zzz",
        [FIELD_STRINGS] = "{a: b}", [FIELD_FLOATS] = "[1, x]", [FIELD_INTS] = "[1.5]",
        [FIELD_DICT] = "word", [FIELD_MAPS] = "word"};
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        char text[256];
        char place[64];
        struct recipe r;
        (void)snprintf(text, sizeof text, "# recipe\n\n%s: %s\n", f->key, wrong[f->type]);
        assert_int_equal(open_text(&r, RECIPE_EVAL, text), STATUS_RECIPE);
        const bool item = f->type == FIELD_FLOATS || f->type == FIELD_INTS;
        (void)snprintf(place, sizeof place, "x.yaml:3:%zu: ",
                       strlen(f->key) + 3 + (f->type == FIELD_FLOATS ? 4U : item ? 1U : 0U));
        if (strncmp(status_message(), place, strlen(place)) != 0) {
            fail_msg("'%s' does not start with '%s'", status_message(), place);
        }
        recipe_close(&r);
    }
}

static void misspelt_keys_suggest_the_nearest(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message;
    } cases[] = {
        {"rnak: 8\n", "x.yaml:1:1: unknown key 'rnak', did you mean 'rank'?"},
        {"seed: 1\n  \nlearning_rat: 1\n", "x.yaml:3:1: unknown key 'learning_rat', did you mean "
                                           "'learning_rate'?"},
        {"{seed: 1, num_genrations: 2}", "x.yaml:1:11: unknown key 'num_genrations', did you mean "
                                         "'num_generations'?"},
        {"zzzzqqqq: 1\n", "x.yaml:1:1: unknown key 'zzzzqqqq'; "},
        {"seed: 1\nseed: 2\n", "x.yaml:2:1: 'seed' is set twice"},
        {"max_length: 1\nmax_seq_length: 2\n", "x.yaml:2:1: 'max_seq_length' is set twice"},
        {"- a\n", "x.yaml:1:1: a recipe is lines of 'key: value'"},
        {"seed: [1\n", "x.yaml:2:1: "},
        {"seed: &a 1\ndata_seed: *a\n", "x.yaml:2:12: aliases"},
        {"seed: 1\n---\nseed: 2\n", "x.yaml:2:1: "},
        {"optim: galore_adamw\n", "x.yaml:1:8: optim 'galore_adamw' is not supported; a low-rank"},
        {"use_dora: true\n", "x.yaml:1:1: key 'use_dora' is not supported"},
        {"beta: 0.1\n", "x.yaml:1:1: key 'beta' belongs to grpo, not to sft"},
        {"warmup_ratio: 1.5\n", "x.yaml:1:15: warmup_ratio is a number in [0, 1)"},
        {"lr_scheduler_kwargs: '{\"a\": '\n", "x.yaml:1:22: lr_scheduler_kwargs is not JSON"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        assert_int_equal(open_text(&r, RECIPE_SFT, cases[i].text), STATUS_RECIPE);
        assert_message_has(cases[i].message);
        recipe_close(&r);
    }
}

/* Every key, with its last letter lost, is refused and finds its way back. */
static void every_key_is_found_from_a_typo(void **state)
{
    (void)state;
    int suggested = 0;
    int tried = 0;
    for (size_t i = 0; i < schema_count(); i++) {
        char argument[128];
        struct recipe r;
        (void)snprintf(argument, sizeof argument, "%.*s=1",
                       (int)strlen(schema_field(i)->key) - 1, schema_field(i)->key);
        *strchr(argument, '=') = '\0';
        if (recipe_knows_key(argument)) {
            continue; /* "shards" without its s may be another key's name */
        }
        argument[strlen(argument)] = '=';
        assert_int_equal(open_text(&r, RECIPE_EVAL, ""), STATUS_OK);
        assert_int_equal(recipe_override(&r, argument), STATUS_RECIPE);
        assert_message_has("unknown key");
        suggested += strstr(status_message(), "did you mean") != NULL;
        tried++;
        recipe_close(&r);
    }
    assert_int_equal(suggested, tried);
}

static void both_generations_of_names_are_read(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_text(&r, RECIPE_SFT,
                               "torch_dtype: bfloat16\nmax_seq_length: 77\nwarmup_ratio: 0.1\n"
                               "load_in_4bit: true\nbf16: false\nevaluation_strategy: 'no'\n"
                               "lora_r: 4\ntarget_modules: all-linear\nreport_to: [wandb]\n"
                               "use_vllm: false\nvllm_mode: colocate\nresume_from_checkpoint: no\n"
                               "loss_type: chunked_nll\nddp_timeout: 1800\npush_to_hub: false\n"),
                     STATUS_OK);
    assert_int_equal(r.max_length, 77);
    assert_float_equal(r.warmup_steps, 0.1, 0);
    assert_int_equal(r.quantize, QUANTIZE_NF4);
    assert_int_equal(r.compute, COMPUTE_F32);
    assert_int_equal(r.eval_strategy, STRATEGY_NO);
    assert_int_equal(r.lora_r, 4);
    assert_int_equal(r.lora_target_modules.count, 1);
    assert_int_equal(r.resume, RESUME_NEVER);
    assert_int_equal(r.loss_type, SFT_LOSS_NLL);
    assert_true(recipe_given(&r, "quantize"));
    assert_false(recipe_given(&r, "seed"));
    assert_int_equal(r.notes.count, 6); /* 4 old names; report_to, chunked_nll */
    assert_non_null(
        strstr(r.notes.items[0], "key 'torch_dtype' is an old one: its name is now dtype"));
    assert_non_null(strstr(r.notes.items[4], "x.yaml:9:1: key 'report_to' has no effect"));
    recipe_close(&r);
    assert_int_equal(open_text(&r, RECIPE_GRPO, "scale_rewards: false\ntop_k: null\n"
                                                "min_p: null\nenv: {A: b}\n"
                                                "lr_scheduler_kwargs: '{\"min_lr_rate\": 0.1}'\n"),
                     STATUS_OK);
    assert_int_equal(r.top_k, RECIPE_UNSET);
    assert_true(isnan(r.min_p));
    assert_float_equal(json_number_value(json_object_get(r.lr_scheduler_kwargs, "min_lr_rate")),
                       0.1, 0);
    recipe_close(&r);
}

static void arguments_override_the_file(void **state)
{
    (void)state;
    struct recipe r;
    assert_int_equal(open_text(&r, RECIPE_GRPO, "seed: 1\nreward_funcs: [a, b]\n"), STATUS_OK);
    static const char *const arguments[] = {
        "seed=7", "reward_funcs=format,sums", "reward_weights=[1, 0.5]", "learning_rate=1e-5",
        "system_prompt=Answer: yes, [now] {x}", "memory=1.5GiB", "rank_pattern={q_proj: 4}",
        "layers_to_transform=[0, 2]", "target_modules=.*\\.(q|v)_proj{1,2}", "temperature=.5"};
    for (size_t i = 0; i < sizeof arguments / sizeof *arguments; i++) {
        assert_int_equal(recipe_override(&r, arguments[i]), STATUS_OK);
    }
    assert_int_equal(r.seed, 7);
    assert_int_equal(r.reward_funcs.count, 2);
    assert_string_equal(r.reward_funcs.items[1], "sums");
    assert_float_equal(r.reward_weights.items[1], 0.5, 0);
    assert_float_equal(r.learning_rate, 1e-5, 0);
    assert_string_equal(r.system_prompt, "Answer: yes, [now] {x}");
    assert_int_equal(r.memory, 3LL << 29);
    assert_int_equal(json_integer_value(json_object_get(r.rank_pattern, "q_proj")), 4);
    assert_int_equal(r.layers_to_transform.items[1], 2);
    assert_int_equal(r.lora_target_modules.count, 1);
    assert_float_equal(r.temperature, 0.5, 0);
    assert_int_equal(recipe_override(&r, "seed"), STATUS_RECIPE);
    assert_int_equal(recipe_override(&r, "=1"), STATUS_RECIPE);
    assert_int_equal(recipe_override(&r, "reward_funcs=[a"), STATUS_RECIPE);
    assert_int_equal(recipe_override(&r, "system_prompt=\xff\xfe"), STATUS_RECIPE);
    recipe_close(&r);
}

static void defaults_follow_method_and_generation(void **state)
{
    (void)state;
    struct recipe sft;
    struct recipe grpo;
    struct recipe old;
    assert_int_equal(open_text(&sft, RECIPE_SFT, MINIMAL), STATUS_OK);
    assert_int_equal(open_text(&grpo, RECIPE_GRPO, MINIMAL), STATUS_OK);
    char *compat[] = {(char[]){"compat=trl-0.18"}};
    assert_int_equal(recipe_open(&old, RECIPE_GRPO, NULL, 1, compat), STATUS_OK);
    assert_float_equal(sft.learning_rate, 2e-5, 0);
    assert_float_equal(grpo.learning_rate, 1e-6, 0);
    assert_int_equal(grpo.loss_type, LOSS_DAPO);
    assert_float_equal(grpo.beta, 0, 0);
    assert_int_equal(old.loss_type, LOSS_BNPO);
    assert_float_equal(old.beta, 0.04, 0);
    assert_int_equal(old.max_completion_length, 256);
    assert_int_equal(old.max_prompt_length, 512);
    assert_int_equal(grpo.max_prompt_length, RECIPE_UNSET);
    recipe_close(&sft);
    recipe_close(&grpo);
    recipe_close(&old);
}

static void dump_reads_back_the_same(void **state)
{
    (void)state;
    static const char odd[] =
        "system_prompt: \"a: b # c\\n\\ttab \\\"q\\\" \\\\ \\u0007\\u0085\\u2028 \\U0001F600 é\"\n"
        "chat_template: |\n  {% for m in messages %}\n  {{ m }}\n\n  {% endfor %}\n"
        "eos_token: '<|im_end|>'\nprompt_template: 'null'\ndata_template: '1e3'\n"
        "lora_target_modules: [q_proj, 'on', '3', 'a, b']\n"
        "alpha_pattern: {'^a.*': 0.30000000000001}\n"
        "chat_template_kwargs: {enable_thinking: false, k: [1, 2.5, null, \"x\\ty\"]}\n"
        "learning_rate: 3.3333333333333335e-05\nmemory: 3MiB\ndata_digits: 2\n";
    for (size_t m = 0; m < sizeof METHODS / sizeof *METHODS; m++) {
        struct recipe a;
        struct recipe b;
        char text[4096];
        char *differences;
        char hash_a[65];
        char hash_b[65];
        (void)snprintf(text, sizeof text, "%s%s", MINIMAL, odd);
        assert_int_equal(open_text(&a, METHODS[m], text), STATUS_OK);
        assert_int_equal(recipe_resolve(&a, 2), STATUS_OK);
        char *first = dump(&a);
        assert_int_equal(open_text(&b, METHODS[m], first), STATUS_OK);
        assert_int_equal(recipe_resolve(&b, 4), STATUS_OK); /* world_size stays what it was */
        char *second = dump(&b);
        assert_string_equal(first, second);
        assert_string_equal(b.system_prompt, a.system_prompt);
        assert_int_equal(recipe_diff(&a, &b, &differences), STATUS_OK);
        assert_null(differences);
        assert_int_equal(recipe_hash(&a, hash_a), STATUS_OK);
        assert_int_equal(recipe_hash(&b, hash_b), STATUS_OK);
        assert_string_equal(hash_a, hash_b);
        for (size_t i = 0; i < schema_count(); i++) {
            char line[96];
            const bool follows = schema_field(i)->flags & FIELD_FOLLOWS
                                 && a.steps_per_generation != RECIPE_UNSET;
            (void)snprintf(line, sizeof line, "\n%s%s: ", follows ? "# " : "",
                           schema_field(i)->key);
            assert_int_equal(strstr(first, line) != NULL,
                             schema_applies(schema_field(i), METHODS[m]));
        }
        free(first);
        free(second);
        recipe_close(&a);
        recipe_close(&b);
    }
}

static void diff_names_the_keys_that_decide_bits(void **state)
{
    (void)state;
    struct recipe a;
    struct recipe b;
    char *names;
    char hash_a[65];
    char hash_b[65];
    assert_int_equal(open_text(&a, RECIPE_GRPO, MINIMAL), STATUS_OK);
    assert_int_equal(open_text(&b, RECIPE_GRPO, MINIMAL), STATUS_OK);
    assert_int_equal(recipe_override(&b, "logging_steps=1"), STATUS_OK);
    assert_int_equal(recipe_override(&b, "threads=3"), STATUS_OK);
    assert_int_equal(recipe_override(&b, "rollout_rows=64"), STATUS_OK);
    assert_int_equal(recipe_diff(&a, &b, &names), STATUS_OK);
    assert_null(names);
    assert_int_equal(recipe_override(&b, "beta=0.1"), STATUS_OK);
    assert_int_equal(recipe_override(&b, "lr=1"), STATUS_OK);
    assert_int_equal(recipe_override(&b, "micro_batch_tokens=64"), STATUS_OK);
    assert_int_equal(recipe_diff(&a, &b, &names), STATUS_OK);
    assert_string_equal(names, "learning_rate, micro_batch_tokens, beta");
    assert_int_equal(recipe_hash(&a, hash_a), STATUS_OK);
    assert_int_equal(recipe_hash(&b, hash_b), STATUS_OK);
    assert_string_not_equal(hash_a, hash_b);
    free(names);
    recipe_close(&a);
    recipe_close(&b);
}

/* A run whose rates don't follow its length can be made longer. */
static void length_is_free_under_a_constant_rate(void **state)
{
    (void)state;
    static const struct {
        const char *schedule;
        bool free;
    } CASES[] = {
        {"lr_scheduler_type: constant\n", true},
        {"lr_scheduler_type: constant_with_warmup\nwarmup_steps: 3\n", true},
        {"lr_scheduler_type: constant_with_warmup\nwarmup_steps: 0.5\n", false},
        {"lr_scheduler_type: linear\n", false},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof CASES[0]; i++) {
        struct recipe a;
        struct recipe b;
        char text[256];
        char *names;
        (void)snprintf(text, sizeof text, "%s%s", MINIMAL, CASES[i].schedule);
        assert_int_equal(open_text(&a, RECIPE_GRPO, text), STATUS_OK);
        assert_int_equal(open_text(&b, RECIPE_GRPO, text), STATUS_OK);
        assert_int_equal(recipe_override(&b, "max_steps=77"), STATUS_OK);
        assert_int_equal(recipe_diff(&a, &b, &names), STATUS_OK);
        assert_int_equal(names == NULL, CASES[i].free);
        free(names);
        recipe_close(&a);
        recipe_close(&b);
    }
}

/* spec training.md 1.1: which of generation_batch_size and steps_per_generation follow. */
static void grpo_batches_add_up(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        int64_t ranks;
        int64_t batch;       /* 0: refused */
        int64_t steps;
        const char *message;
    } cases[] = {
        {"", 1, 8, 1, NULL},
        {"gradient_accumulation_steps: 4\n", 2, 64, 4, NULL},
        {"generation_batch_size: 32\n", 2, 32, 2, NULL},
        {"steps_per_generation: 3\n", 1, 24, 3, NULL},
        {"per_device_train_batch_size: 4\n", 1, 0, 0,
         "4 completions a round is no multiple of num_generations 8; use "
         "per_device_train_batch_size 8, or steps_per_generation (gradient_accumulation_steps) 2, "
         "or num_generations 2, 4"},
        {"per_device_train_batch_size: 6\nworld_size: 2\n", 1, 0, 0,
         "use per_device_train_batch_size 8, or steps_per_generation "
         "(gradient_accumulation_steps) 2, or num_generations 2, 3, 4, 6, 12"},
        {"generation_batch_size: 30\n", 2, 0, 0, "= 16; use 16"},
        {"generation_batch_size: 32\nsteps_per_generation: 3\n", 1, 0, 0, "exclude each other"},
        {"num_generations: 1\n", 1, 0, 0, "at least 2"},
        {"reward_weights: [1]\n", 1, 0, 0, "1 reward_weights for 3 reward_funcs"},
        {"temperature: 0\n", 1, 0, 0, "temperature is above 0"},
        {"shards: 3\n", 1, 0, 0, "powers of two"},
        {"loss_type: nll\n", 1, 0, 0, "loss_type in grpo"},
        {"lr_scheduler_type: cosine_with_min_lr\n", 1, 0, 0, "min_lr_rate"},
        {"data_min: 10\n", 1, 0, 0, "data_min 10 is over data_max 9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        char text[512];
        (void)snprintf(text, sizeof text, "%s%s", MINIMAL, cases[i].keys);
        assert_int_equal(open_text(&r, RECIPE_GRPO, text), STATUS_OK);
        if (cases[i].batch) {
            assert_int_equal(recipe_resolve(&r, cases[i].ranks), STATUS_OK);
            assert_int_equal(r.generation_batch_size, cases[i].batch);
            assert_int_equal(r.steps_per_generation, cases[i].steps);
            assert_int_equal(r.world_size, cases[i].ranks);
        } else {
            assert_int_equal(recipe_resolve(&r, cases[i].ranks), STATUS_RECIPE);
            assert_message_has(cases[i].message);
        }
        recipe_close(&r);
    }
}

static void missing_essentials_are_named(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", "model_name_or_path"},
        {"model: m\n", "output_dir"},
        {"model: m\noutput_dir: o\n", "dataset_name"},
        {"model: m\ninit_from_config: c\n", "exclude each other"},
        {"model: m\noutput_dir: o\ndataset_name: d\nquantize: nf4\n", "use_peft: true"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct recipe r;
        assert_int_equal(open_text(&r, RECIPE_SFT, cases[i][0]), STATUS_OK);
        assert_int_equal(recipe_resolve(&r, 1), STATUS_RECIPE);
        assert_message_has(cases[i][1]);
        recipe_close(&r);
    }
}

static void reference_lists_every_key(void **state)
{
    (void)state;
    char *text;
    assert_int_equal(recipe_reference(RECIPE_ANY, &text), STATUS_OK);
    for (size_t i = 0; i < schema_count(); i++) {
        char line[96];
        (void)snprintf(line, sizeof line, "\n  %s: ", schema_field(i)->key);
        assert_non_null(strstr(text, line));
    }
    free(text);
    assert_int_equal(recipe_reference(RECIPE_SFT, &text), STATUS_OK);
    assert_null(strstr(text, "\n  beta: "));
    free(text);
}

static void distance_counts_edits(void **state)
{
    (void)state;
    assert_int_equal(suggest_distance("rnak", "rank"), 1);
    assert_int_equal(suggest_distance("", "abc"), 3);
    assert_int_equal(suggest_distance("kitten", "sitting"), 3);
    assert_int_equal(suggest_distance("Seed", "seed"), 0);
    char word[100];
    memset(word, 'a', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    assert_true(suggest_distance(word, "a") == SIZE_MAX);
}

/* Whatever the bytes, reading ends with a status: every prefix and every flipped byte of a recipe.
 * */
static void broken_files_never_crash(void **state)
{
    (void)state;
    static const char text[] = "a: [1, {b: \"x\\u00e9\"}]\nseed: 1\nenv: {A: b, C: [d]}\n"
                               "chat_template: |\n  x\n? complex\n: y\n";
    char copy[sizeof text];
    for (size_t i = 0; i + 1 < sizeof text; i++) {
        for (unsigned flip = 0; flip < 256; flip += 37) {
            struct recipe r;
            memcpy(copy, text, sizeof text);
            copy[i] = (char)((unsigned char)copy[i] ^ flip);
            if (flip == 0) {
                copy[i] = '\0';
            }
            const enum status got = recipe_open_text(&r, RECIPE_EVAL, "x.yaml", copy);
            assert_true(got == STATUS_OK || got == STATUS_RECIPE);
            recipe_close(&r);
        }
    }
    char deep[400];
    memset(deep, '[', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    struct recipe r;
    assert_int_equal(open_text(&r, RECIPE_EVAL, deep), STATUS_RECIPE);
    assert_message_has("nested");
    recipe_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_of_every_row_parse),
        cmocka_unit_test(keys_and_aliases_are_unique),
        cmocka_unit_test(refusals_and_defaults_fit_their_keys),
        cmocka_unit_test(ranges_hold_at_their_ends),
        cmocka_unit_test(wrong_types_are_refused_with_their_place),
        cmocka_unit_test(misspelt_keys_suggest_the_nearest),
        cmocka_unit_test(every_key_is_found_from_a_typo),
        cmocka_unit_test(both_generations_of_names_are_read),
        cmocka_unit_test(arguments_override_the_file),
        cmocka_unit_test(defaults_follow_method_and_generation),
        cmocka_unit_test(dump_reads_back_the_same),
        cmocka_unit_test(diff_names_the_keys_that_decide_bits),
        cmocka_unit_test(length_is_free_under_a_constant_rate),
        cmocka_unit_test(grpo_batches_add_up),
        cmocka_unit_test(missing_essentials_are_named),
        cmocka_unit_test(reference_lists_every_key),
        cmocka_unit_test(distance_counts_edits),
        cmocka_unit_test(broken_files_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
