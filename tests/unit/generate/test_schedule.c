/*
 * The scheduler with all that decides tokens: stop strings, constraint, penalties and scripted
 * lengths, over batch limits, page sizes, page budgets and preemption. Completions have the same
 * bits.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/base/rng.h"
#include "tests/support/tiny_model.h"
#include "trainer/generate/constraint.h"
#include "trainer/generate/generate.h"
#include "trainer/generate/stop_strings.h"

enum { PROMPTS = 4, SAMPLES = 5, NEW_TOKENS = 12, MOST_PROMPT = 80 };

struct scene {
    struct tiny tiny;
    struct ops_context ops;
    int32_t ids[PROMPTS][MOST_PROMPT];
    struct prompt prompts[PROMPTS];
    struct token_bytes bytes; /* token i is its number with a dash */
};

static void open_bytes(struct token_bytes *b)
{
    static char text[TINY_VOCAB][8];
    static const char *strings[TINY_VOCAB];
    static size_t length[TINY_VOCAB];
    for (int i = 0; i < TINY_VOCAB; i++) {
        length[i] = (size_t)snprintf(text[i], sizeof text[i], "%d-", i);
        strings[i] = text[i];
    }
    tiny_need(token_bytes_from(b, strings, length, TINY_VOCAB));
}

static void scene_open(struct scene *s)
{
    static const int64_t LENGTHS[PROMPTS] = {5, 64, 33, 71};
    const struct ops_options options = {.threads = 1, .compute = COMPUTE_F32};
    *s = (struct scene){0};
    tiny_need(ops_context_open(&s->ops, &options));
    tiny_open(&s->tiny, &TINY_CONFIGS[0]);
    tiny_attach_lora(&s->tiny, 0);
    open_bytes(&s->bytes);
    for (int i = 0; i < PROMPTS; i++) {
        tiny_ids(&s->tiny, s->ids[i], LENGTHS[i]);
        s->prompts[i] = (struct prompt){.ids = s->ids[i], .count = LENGTHS[i], .row = (uint32_t)i,
                                        .samples = SAMPLES};
    }
}

static void scene_close(struct scene *s)
{
    token_bytes_close(&s->bytes);
    tiny_close(&s->tiny);
    ops_context_close(&s->ops);
}

static struct generate_args args_of(const struct scene *s)
{
    return (struct generate_args){
        .model = s->tiny.m,
        .ops = (struct ops_context *)(uintptr_t)&s->ops,
        .hooks = true,
        .prompts = s->prompts,
        .prompt_count = PROMPTS,
        .sample = {.temperature = 0.7, .max_new_tokens = NEW_TOKENS, .seed = 5,
                   .purpose = RNG_SAMPLE},
    };
}

static void same_set(const struct completion_set *a, const struct completion_set *b)
{
    assert_int_equal(a->count, b->count);
    for (int64_t i = 0; i < a->count; i++) {
        const size_t n = (size_t)a->items[i].count;
        assert_int_equal(a->items[i].count, b->items[i].count);
        assert_int_equal(a->items[i].stopped, b->items[i].stopped);
        assert_memory_equal(a->items[i].ids, b->items[i].ids, n * sizeof(int32_t));
        assert_memory_equal(a->items[i].logp, b->items[i].logp, n * sizeof(float));
        assert_memory_equal(a->items[i].entropy, b->items[i].entropy, n * sizeof(float));
    }
}

/* Runs `args` once as they are, into *out, and over other schedules, which must agree. */
static void run_everywhere(struct generate_args args, struct completion_set *out)
{
    static const struct generate_limits LIMITS[] = {
        {.max_rows = 1},
        {.max_rows = 4, .page = 32},
        {.cache_pages = 6, .page = 32},
        {.prefill = 9, .preempt_every = 2},
        {.max_rows = 7, .preempt_every = 3},
        {.unshared = true, .max_rows = 9},
        {.drafts = DRAFTS_NEVER},
        {.drafts = DRAFTS_ALWAYS},
        {.drafts = DRAFTS_ALWAYS, .max_rows = 2, .page = 32},
        {.drafts = DRAFTS_ALWAYS, .cache_pages = 8, .page = 32, .preempt_every = 5},
    };
    tiny_need(generate(&args, out, NULL));
    for (size_t i = 0; i < sizeof LIMITS / sizeof LIMITS[0]; i++) {
        struct completion_set other;
        args.limits = LIMITS[i];
        tiny_need(generate(&args, &other, NULL));
        same_set(out, &other);
        completion_set_close(&other);
    }
}

static void penalties_and_filters_keep_the_bits(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    const int32_t suppress[] = {3, 4, 5};
    const int32_t stops[] = {100, 200, 300};
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.sample.repetition_penalty = 1.2;
    args.sample.presence_penalty = 0.3;
    args.sample.frequency_penalty = 0.1;
    args.sample.top_k = 400;
    args.sample.top_p = 0.9;
    args.sample.min_p = 0.001;
    args.sample.suppress = suppress;
    args.sample.suppress_count = 3;
    args.sample.stops = stops;
    args.sample.stop_count = 3;
    args.sample.min_new_tokens = 4;
    run_everywhere(args, &set);
    for (int64_t i = 0; i < set.count; i++) {
        assert_true(set.items[i].count >= 4);
        for (int64_t t = 0; t < set.items[i].count; t++) {
            assert_true(set.items[i].ids[t] < 3 || set.items[i].ids[t] > 5);
            assert_true(isfinite(set.items[i].logp[t]) && set.items[i].logp[t] <= 0);
        }
    }
    completion_set_close(&set);
    scene_close(&s);
}

static void constrained_output_matches(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    struct regex whole;
    struct constraint *constraint;
    const int32_t stop = 7; /* "7-" as a text is out of reach: it ends */
    scene_open(&s);
    struct generate_args args = args_of(&s);
    tiny_need(constraint_open(&constraint, "([1-9][0-9]-){3,5}0-", &s.bytes, &stop, 1));
    tiny_need(regex_open(&whole, "([1-9][0-9]-){3,5}0-"));
    args.sample.constraint = constraint;
    args.sample.stops = &stop;
    args.sample.stop_count = 1;
    run_everywhere(args, &set);
    for (int64_t i = 0; i < set.count; i++) {
        const struct completion *c = &set.items[i];
        int32_t at = 0;
        assert_true(c->stopped && c->ids[c->count - 1] == stop);
        for (int64_t t = 0; t + 1 < c->count; t++) {
            for (int64_t k = s.bytes.begin[c->ids[t]]; k < s.bytes.begin[c->ids[t] + 1]; k++) {
                at = regex_next(&whole, at, s.bytes.data[k]);
            }
        }
        assert_true(at >= 0 && whole.accepts[at]);
    }
    completion_set_close(&set);
    args.sample.stop_count = 0; /* without stop ids a finished match ends by itself */
    constraint_close(constraint);
    tiny_need(constraint_open(&constraint, "[0-9]{2}-[0-9]{2}-", &s.bytes, NULL, 0));
    args.sample.constraint = constraint;
    run_everywhere(args, &set);
    for (int64_t i = 0; i < set.count; i++) {
        assert_true(set.items[i].stopped && set.items[i].count == 2);
    }
    completion_set_close(&set);
    regex_close(&whole);
    constraint_close(constraint);
    scene_close(&s);
}

static void stop_strings_end_completions(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    struct stop_strings *strings;
    static const char *const STOPS[] = {"1-1", "9-9"}; /* one token ends with it, the next begins */
    scene_open(&s);
    struct generate_args args = args_of(&s);
    tiny_need(stop_strings_open(&strings, STOPS, 2, &s.bytes));
    args.sample.stop_strings = strings;
    args.sample.max_new_tokens = 60;
    run_everywhere(args, &set);
    int64_t stopped = 0;
    for (int64_t i = 0; i < set.count; i++) {
        const struct completion *c = &set.items[i];
        stopped += c->stopped;
        for (int64_t n = 1; n < c->count; n++) {
            assert_false(stop_strings_hit(strings, c->ids, n));
        }
        assert_int_equal(stop_strings_hit(strings, c->ids, c->count), c->stopped);
        assert_true(c->stopped || c->count == 60); /* one that never comes is bounded */
    }
    assert_true(stopped > 0);
    completion_set_close(&set);
    stop_strings_close(strings);
    scene_close(&s);
}

/* Geometric lengths of mean `mean` from a counter. */
static int64_t geometric(uint32_t row, double mean, int64_t cap)
{
    const struct rng_key key = {.seed = 77, .purpose = RNG_DATA, .row = row};
    const int64_t n = 1 + (int64_t)(log(1.0 - rng_uniform53(&key)) / log(1.0 - 1.0 / mean));
    return n < cap ? n : cap;
}

/* Very unequal lengths keep the slots busy, with or without knowing them, and every completion has
 * the length that was asked for. */
static void unequal_lengths_keep_slots_busy(void **state)
{
    (void)state;
    enum { ROWS = 64, PER = 4, SLOTS = 8, CAP = 80 };
    static int64_t most[ROWS][PER];
    static struct prompt prompts[ROWS];
    struct scene s;
    struct completion_set set;
    struct generate_stats stats;
    int64_t wanted = 0;
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.sample.max_new_tokens = 0; /* every completion has its own */
    for (uint32_t i = 0; i < ROWS; i++) {
        prompts[i] = s.prompts[i % PROMPTS];
        prompts[i].row = i;
        prompts[i].samples = PER;
        prompts[i].most = most[i];
        for (uint32_t k = 0; k < PER; k++) {
            most[i][k] = geometric(i * PER + k, 12, CAP);
            prompts[i].expected += most[i][k];
            wanted += most[i][k];
        }
    }
    args.prompts = prompts;
    args.prompt_count = ROWS;
    args.limits = (struct generate_limits){.max_rows = SLOTS};
    for (int known = 0; known < 2; known++) {
        tiny_need(generate(&args, &set, &stats));
        for (int64_t i = 0; i < set.count; i++) {
            assert_int_equal(set.items[i].count, most[i / PER][i % PER]);
        }
        assert_int_equal(stats.decoded_tokens, wanted);
        print_message("occupancy %.3f\n", stats.occupancy);
        assert_true(stats.occupancy >= 0.85 && stats.occupancy <= 1.0);
        completion_set_close(&set);
        for (int i = 0; i < ROWS; i++) {
            prompts[i].expected = 0;
        }
    }
    scene_close(&s);
}

/* A callback that takes completions over, and one that fails on the way. */
struct receiver {
    int64_t seen;
    int64_t fail_at;
    int32_t *kept[PROMPTS * SAMPLES];
};

static enum status receive(void *ctx, struct completion *done)
{
    struct receiver *r = ctx;
    if (r->seen == r->fail_at) {
        return FAIL(IO, "the receiver is full");
    }
    r->kept[r->seen++] = done->ids;
    done->ids = NULL;
    return STATUS_OK;
}

static void callbacks_may_take_completions(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    struct receiver all = {.fail_at = -1};
    struct receiver some = {.fail_at = 3};
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.done = receive;
    args.done_ctx = &all;
    args.limits.max_rows = 6;
    tiny_need(generate(&args, &set, NULL));
    assert_int_equal(all.seen, PROMPTS * SAMPLES);
    completion_set_close(&set);
    args.done_ctx = &some;
    assert_int_equal(generate(&args, &set, NULL), STATUS_IO);
    assert_int_equal(some.seen, 3); /* these are still whole */
    assert_int_equal(set.count, 0);
    for (int i = 0; i < PROMPTS * SAMPLES; i++) {
        free(all.kept[i]);
        free(some.kept[i]);
    }
    scene_close(&s);
}

/* Shared prompts are computed once; without sharing once per completion. Preemption recomputes. */
static void work_is_counted(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    struct generate_stats shared;
    struct generate_stats apart;
    struct generate_stats preempted;
    const int64_t prompt_tokens = 5 + 64 + 33 + 71;
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.limits.drafts = DRAFTS_NEVER;
    tiny_need(generate(&args, &set, &shared));
    completion_set_close(&set);
    args.limits.unshared = true;
    tiny_need(generate(&args, &set, &apart));
    completion_set_close(&set);
    args.limits = (struct generate_limits){.preempt_every = 2, .drafts = DRAFTS_NEVER};
    tiny_need(generate(&args, &set, &preempted));
    completion_set_close(&set);
    assert_int_equal(shared.prompt_tokens, prompt_tokens);
    assert_int_equal(apart.prompt_tokens, SAMPLES * prompt_tokens);
    assert_int_equal(shared.rows + shared.saved_rows, apart.rows);
    assert_int_equal(apart.saved_rows, 0);
    assert_int_equal(shared.preemptions, 0);
    assert_true(preempted.preemptions > 0 && preempted.recomputed > 0);
    assert_int_equal(preempted.decoded_tokens, shared.decoded_tokens);
    scene_close(&s);
}

/* Greedy samples of a prompt are one text: when one after the other is decoded, the guesses for all
 * but the first are right, and a step yields many tokens. */
static void guesses_that_are_right_save_steps(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set plain;
    struct completion_set guessed;
    struct generate_stats slow;
    struct generate_stats fast;
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.sample.temperature = 0;
    args.sample.max_new_tokens = 40;
    args.limits = (struct generate_limits){.max_rows = 1, .drafts = DRAFTS_NEVER};
    tiny_need(generate(&args, &plain, &slow));
    args.limits.drafts = DRAFTS_ALWAYS;
    tiny_need(generate(&args, &guessed, &fast));
    same_set(&plain, &guessed);
    assert_int_equal(slow.drafted, 0);
    assert_true(fast.accepted > 0 && fast.accepted <= fast.drafted);
    assert_int_equal(fast.decoded_tokens, slow.decoded_tokens);
    print_message("steps %lld -> %lld, %lld of %lld guesses kept\n", (long long)slow.steps,
                  (long long)fast.steps, (long long)fast.accepted, (long long)fast.drafted);
    assert_true(fast.steps * 2 < slow.steps);
    completion_set_close(&plain);
    completion_set_close(&guessed);
    scene_close(&s);
}

/* What a prompt's completions repeat of an earlier round is guessed from the first token on; texts
 * that are beside the point cost rows, never a bit. */
static void earlier_texts_are_guessed_from(void **state)
{
    enum { NOISE = 7 };
    (void)state;
    struct scene s;
    struct completion_set before;
    struct completion_set set;
    struct generate_stats plain;
    struct generate_stats known;
    struct known_text texts[PROMPTS][SAMPLES];
    static const int32_t NOISE_IDS[NOISE] = {9, 9, 8, 9, 9, 8, 7};
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.limits = (struct generate_limits){.max_rows = 3, .drafts = DRAFTS_ALWAYS};
    tiny_need(generate(&args, &before, &plain));
    for (int p = 0; p < PROMPTS; p++) {
        for (int k = 0; k < SAMPLES; k++) {
            const struct completion *c = &before.items[p * SAMPLES + k];
            texts[p][k] = (struct known_text){c->ids, c->count};
        }
        s.prompts[p].earlier = texts[p];
        s.prompts[p].earlier_count = SAMPLES;
    }
    tiny_need(generate(&args, &set, &known));
    same_set(&before, &set);
    assert_true(known.accepted > plain.accepted + PROMPTS * SAMPLES);
    assert_true(known.decode_steps < plain.decode_steps * 2 / 3);
    completion_set_close(&set);
    run_everywhere(args, &set);
    same_set(&before, &set);
    completion_set_close(&set);
    for (int p = 0; p < PROMPTS; p++) {
        for (int k = 0; k < SAMPLES; k++) {
            texts[p][k] = (struct known_text){NOISE_IDS, k % (NOISE + 1)};
        }
    }
    tiny_need(generate(&args, &set, NULL));
    same_set(&before, &set);
    completion_set_close(&set);
    completion_set_close(&before);
    scene_close(&s);
}

/* The prompt whose completions are expected to be longest starts first. */
static enum status note_end(void *ctx, struct completion *done)
{
    int64_t *last = ctx;
    *last = done->prompt;
    return STATUS_OK;
}

static void long_prompts_start_first(void **state)
{
    (void)state;
    struct scene s;
    scene_open(&s);
    for (int64_t longest = 0; longest < PROMPTS; longest++) {
        struct completion_set set;
        int64_t last = -1;
        int64_t most[PROMPTS][SAMPLES];
        struct generate_args args = args_of(&s);
        args.limits.max_rows = 2 * SAMPLES;
        args.limits.drafts = DRAFTS_NEVER;
        args.done = note_end;
        args.done_ctx = &last;
        for (int64_t p = 0; p < PROMPTS; p++) {
            for (int64_t k = 0; k < SAMPLES; k++) {
                most[p][k] = p == longest ? 40 : 4;
            }
            s.prompts[p].most = most[p];
            s.prompts[p].expected = most[p][0];
        }
        struct generate_stats told;
        struct generate_stats untold;
        tiny_need(generate(&args, &set, &told));
        assert_int_equal(last, longest);
        completion_set_close(&set);
        for (int64_t p = 0; p < PROMPTS; p++) {
            s.prompts[p].expected = most[p][0] == 40 ? 4 : 40; /* the worst advice */
        }
        tiny_need(generate(&args, &set, &untold));
        assert_true(told.steps < untold.steps && told.occupancy > untold.occupancy);
        completion_set_close(&set);
    }
    scene_close(&s);
}

static void impossible_limits_say_so(void **state)
{
    (void)state;
    struct scene s;
    struct completion_set set;
    static int64_t none[SAMPLES] = {1, 1, 0, 1, 1};
    scene_open(&s);
    struct generate_args args = args_of(&s);
    args.limits = (struct generate_limits){.cache_pages = 3, .page = 32};
    assert_int_equal(generate(&args, &set, NULL), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "at least 4 pages"));
    args.limits.cache_pages = 4; /* 71 + 12 positions in 3 pages, and one to fork */
    tiny_need(generate(&args, &set, NULL));
    completion_set_close(&set);
    args.limits = (struct generate_limits){.page = 33};
    assert_int_equal(generate(&args, &set, NULL), STATUS_MEMORY);
    args.limits = (struct generate_limits){0};
    s.prompts[1].most = none;
    assert_int_equal(generate(&args, &set, NULL), STATUS_RECIPE);
    assert_non_null(strstr(status_message(), "at least one token"));
    s.prompts[1].most = NULL;
    s.prompts[2].count = 0;
    assert_int_equal(generate(&args, &set, NULL), STATUS_RECIPE);
    args.prompt_count = 0;
    tiny_need(generate(&args, &set, NULL));
    assert_int_equal(set.count, 0);
    completion_set_close(&set);
    scene_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(penalties_and_filters_keep_the_bits),
        cmocka_unit_test(constrained_output_matches),
        cmocka_unit_test(stop_strings_end_completions),
        cmocka_unit_test(unequal_lengths_keep_slots_busy),
        cmocka_unit_test(callbacks_may_take_completions),
        cmocka_unit_test(work_is_counted),
        cmocka_unit_test(guesses_that_are_right_save_steps),
        cmocka_unit_test(earlier_texts_are_guessed_from),
        cmocka_unit_test(long_prompts_start_first),
        cmocka_unit_test(impossible_limits_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
