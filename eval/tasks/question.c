/* Draws, texts and difficulty of questions; see procedural_internal.h. */
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "eval/tasks/procedural_internal.h"

/* ---- draws ---- */

static uint32_t next_word(struct question *q)
{
    if (q->left == 0) {
        rng_draw4(&q->key, q->words);
        q->key.position++;
        q->left = 4;
    }
    return q->words[--q->left];
}

uint64_t question_below(struct question *q, uint64_t n)
{
    const uint64_t limit = UINT64_MAX - UINT64_MAX % n; /* whole multiples of n below it */
    for (;;) {
        const uint64_t high = next_word(q);
        const uint64_t x = high << 32 | next_word(q);
        if (x < limit) {
            return x % n;
        }
    }
}

int64_t question_between(struct question *q, int64_t low, int64_t high)
{
    return low + (int64_t)question_below(q, (uint64_t)(high - low) + 1);
}

int64_t question_range(struct question *q, const char *low, const char *high)
{
    return question_between(q, (int64_t)question_value(q, low), (int64_t)question_value(q, high));
}

bool question_flip(struct question *q)
{
    return question_below(q, 2) != 0;
}

/* Copies word `index` of the space-separated words. */
static void copy_word(const char *words, int index, char *word)
{
    for (; index > 0; index--) {
        words += strcspn(words, " ");
        words += strspn(words, " ");
    }
    (void)snprintf(word, 16, "%.*s", (int)strcspn(words, " "), words);
}

void question_word(struct question *q, const char *words, unsigned bits, char *word)
{
    int index = 0;
    uint64_t k = question_below(q, (uint64_t)__builtin_popcount(bits));
    for (; !(bits >> index & 1) || k > 0; index++) {
        k -= bits >> index & 1;
    }
    copy_word(words, index, word);
}

int question_weighted(struct question *q, int count)
{
    double x = (double)question_below(q, UINT64_C(1) << 53) / (double)(UINT64_C(1) << 53);
    double sum = 0.0;
    for (int i = 0; i < count; i++) {
        sum += q->config.weights[i];
    }
    x *= sum;
    for (int i = 0; i + 1 < count; i++) {
        x -= q->config.weights[i];
        if (x < 0) {
            return i;
        }
    }
    return count - 1;
}

/* ---- parts ---- */

static int key_place(const struct procedural_task *t, const char *key)
{
    for (int i = 0; t->keys[i].name; i++) {
        if (strcmp(t->keys[i].name, key) == 0) {
            return i;
        }
    }
    return -1;
}

double question_value(const struct question *q, const char *key)
{
    const int i = key_place(q->config.task, key);
    ASSERT(i >= 0);
    return q->config.values[i];
}

const char *question_words(const struct question *q, const char *key)
{
    const int i = key_place(q->config.task, key);
    ASSERT(i >= 0);
    return q->config.task->keys[i].words;
}

static enum status put(char **text, bool append, const char *fmt, va_list args)
{
    const size_t used = append && *text ? strlen(*text) : 0;
    va_list again;
    va_copy(again, args);
    const int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    char *grown = n < 0 ? NULL : realloc(*text, used + (size_t)n + 1);
    if (!grown) {
        return FAIL(MEMORY, "procedural: no memory for a question");
    }
    (void)vsnprintf(grown + used, (size_t)n + 1, fmt, args);
    *text = grown;
    return STATUS_OK;
}

enum status question_set(char **text, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const enum status status = put(text, false, fmt, args);
    va_end(args);
    return status;
}

enum status question_add(char **text, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    const enum status status = put(text, true, fmt, args);
    va_end(args);
    return status;
}

enum status question_note(struct question *q, const char *key, json_t *value)
{
    return json_object_set_new(q->metadata, key, value) == 0
               ? STATUS_OK
               : FAIL(MEMORY, "procedural: no memory for metadata");
}

/* Whole values as integers, as the package writes them. */
static json_t *number(double x)
{
    return x == floor(x) ? json_integer((json_int_t)x) : json_real(x);
}

enum status question_difficulty(struct question *q, const char *name, const char *low,
                                const char *high)
{
    json_t *pair = json_pack("[o, o]", number(question_value(q, low)),
                             number(question_value(q, high)));
    return json_object_set_new(q->difficulty, name, pair) == 0
               ? STATUS_OK
               : FAIL(MEMORY, "procedural: no memory for metadata");
}

void question_wide(__int128 x, char out[48])
{
    char digits[48];
    int n = 0;
    unsigned __int128 u = x < 0 ? -(unsigned __int128)x : (unsigned __int128)x;
    do {
        digits[n++] = (char)('0' + (int)(u % 10));
        u /= 10;
    } while (u > 0);
    int used = 0;
    if (x < 0) {
        out[used++] = '-';
    }
    while (n > 0) {
        out[used++] = digits[--n];
    }
    out[used] = '\0';
}

/* ---- difficulty ---- */

static int word_place(const char *words, const char *word)
{
    const size_t n = strlen(word);
    int place = 0;
    for (const char *p = words; *p; place++) {
        const size_t length = strcspn(p, " ");
        if (length == n && memcmp(p, word, n) == 0) {
            return place;
        }
        p += length;
        p += strspn(p, " ");
    }
    return -1;
}

static enum status fail_words(const struct procedural_task *t, const struct procedural_key *k)
{
    return FAIL(RECIPE, "procedural: %s: %s takes %s%s", t->name, k->name,
                k->type == KEY_LIST ? "a list of " : k->type == KEY_CHOICE ? "one of " : "",
                k->type == KEY_WEIGHTS ? "one weight per operator, their sum 1" : k->words);
}

static enum status read_list(const struct procedural_task *t, const struct procedural_key *k,
                             const json_t *value, double *out)
{
    unsigned bits = 0;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *word = json_string_value(json_array_get(value, i));
        const int place = word ? word_place(k->words, word) : -1;
        if (place < 0) {
            return fail_words(t, k);
        }
        bits |= 1U << place;
    }
    *out = bits;
    return bits ? STATUS_OK : fail_words(t, k);
}

static enum status read_weights(const struct procedural_task *t, const struct procedural_key *k,
                                const json_t *value, double *weights)
{
    double sum = 0.0;
    size_t n = 0;
    while (k->weights[n] > 0 && n < PROCEDURAL_MOST_WEIGHTS - 1) {
        n++;
    }
    n += k->weights[n] > 0;
    for (size_t i = 0; i < n && json_array_size(value) == n; i++) {
        weights[i] = json_number_value(json_array_get(value, i));
        sum += weights[i] >= 0 ? weights[i] : NAN;
    }
    return fabs(sum - 1.0) < 0.05 ? STATUS_OK : fail_words(t, k);
}

static enum status read_key(const struct procedural_task *t, const struct procedural_key *k,
                            const json_t *value, struct procedural_config *c)
{
    double *at = &c->values[k - t->keys];
    int place;
    switch (k->type) {
    case KEY_FLAG:
        *at = json_is_true(value);
        return json_is_boolean(value)
                   ? STATUS_OK
                   : FAIL(RECIPE, "procedural: %s: %s is true or false", t->name, k->name);
    case KEY_LIST:
        return read_list(t, k, value, at);
    case KEY_CHOICE:
        place = json_is_string(value) ? word_place(k->words, json_string_value(value)) : -1;
        *at = place;
        return place >= 0 ? STATUS_OK : fail_words(t, k);
    case KEY_WEIGHTS:
        return read_weights(t, k, value, c->weights);
    default:
        *at = json_number_value(value);
        if (!json_is_number(value) || *at < k->low || *at > k->high
            || (k->type == KEY_NUMBER && *at != floor(*at))) {
            return FAIL(RECIPE, "procedural: %s: %s is a %snumber from %g to %g", t->name, k->name,
                        k->type == KEY_NUMBER ? "whole " : "", k->low, k->high);
        }
        return STATUS_OK;
    }
}

static enum status fail_key(const struct procedural_task *t, const char *key)
{
    char have[512] = "";
    size_t used = 0;
    for (int i = 0; t->keys[i].name && used < sizeof have; i++) {
        used += (size_t)snprintf(have + used, sizeof have - used, "%s%s", i ? ", " : "",
                                 t->keys[i].name);
    }
    return FAIL(RECIPE, "procedural: %s has no key '%.60s'; it has %s", t->name, key, have);
}

/* Every min_x is at most max_x. */
static enum status check_ranges(const struct procedural_config *c)
{
    const struct procedural_task *t = c->task;
    for (int i = 0; t->keys[i].name; i++) {
        char upper[64];
        if (strncmp(t->keys[i].name, "min_", 4) != 0) {
            continue;
        }
        (void)snprintf(upper, sizeof upper, "max_%s", t->keys[i].name + 4);
        const int j = key_place(t, upper);
        if (j >= 0 && c->values[i] > c->values[j]) {
            return FAIL(RECIPE, "procedural: %s: %s %g is over %s %g", t->name, t->keys[i].name,
                        c->values[i], upper, c->values[j]);
        }
    }
    return STATUS_OK;
}

static void apply_level(struct procedural_config *c, int64_t level)
{
    const struct procedural_task *t = c->task;
    for (const struct procedural_attribute *a = t->attributes; a && a->lower; a++) {
        const int64_t reach = level + (a->upper && a->interval);
        const int64_t top = reach < a->count ? reach : a->count - 1;
        double low = a->levels[0];
        double high = a->levels[top];
        if (!a->upper) {
            c->values[key_place(t, a->lower)] = high;
            continue;
        }
        if (low > high) { /* levels of a lower bound descend */
            const double swap = low;
            low = high;
            high = swap;
        }
        c->values[key_place(t, a->lower)] = low;
        c->values[key_place(t, a->upper)] = high;
    }
}

int64_t procedural_levels(const struct procedural_task *t)
{
    int64_t most = 1;
    for (const struct procedural_attribute *a = t->attributes; a && a->lower; a++) {
        const int64_t levels = a->count - (a->upper && a->interval);
        most = levels > most ? levels : most;
    }
    return most;
}

enum status procedural_configure(const struct procedural_task *t, int64_t level,
                                 const json_t *given, struct procedural_config *out)
{
    *out = (struct procedural_config){.task = t};
    for (int i = 0; t->keys[i].name; i++) {
        ASSERT(i < PROCEDURAL_MOST_KEYS);
        out->values[i] = t->keys[i].def;
        if (t->keys[i].type == KEY_WEIGHTS) {
            memcpy(out->weights, t->keys[i].weights, sizeof out->weights);
        }
    }
    if (level >= 0) {
        apply_level(out, level);
    }
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)given, key, value) {
        const int i = key_place(t, key);
        if (i < 0) {
            return fail_key(t, key);
        }
        TRY(read_key(t, &t->keys[i], value, out));
    }
    return check_ranges(out);
}

enum status procedural_question(const struct procedural_config *c, uint64_t seed, uint64_t index,
                                json_t **out)
{
    const struct procedural_task *t = c->task;
    uint32_t number_of_task = 0;
    while (procedural_at(number_of_task) != t) {
        number_of_task++;
    }
    struct question q = {
        .config = *c,
        .key = {.seed = seed,
                .purpose = RNG_DATA,
                .row = (uint32_t)index,
                .sample = (uint32_t)(index >> 32),
                .module = 1 + number_of_task},
        .metadata = json_object(),
        .difficulty = json_object(),
    };
    *out = NULL;
    enum status status = q.metadata && q.difficulty ? t->make(&q)
                                                    : FAIL(MEMORY, "procedural: no memory");
    if (status == STATUS_OK) {
        (void)json_object_set(q.metadata, "difficulty", q.difficulty);
        (void)json_object_set_new(q.metadata, "source_dataset", json_string(t->name));
        (void)json_object_set_new(q.metadata, "source_index", json_integer((json_int_t)index));
        *out = json_pack("{s:s, s:s, s:s, s:O}", "question", q.text, "answer", q.answer, "task",
                         t->name, "metadata", q.metadata);
        status = *out ? STATUS_OK : FAIL(MEMORY, "procedural: no memory for a question");
    }
    free(q.text);
    free(q.answer);
    json_decref(q.metadata);
    json_decref(q.difficulty);
    return status;
}
