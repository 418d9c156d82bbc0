/* Procedural sums; see sums.h. */
#include "trainer/data/sums.h"

#include <string.h>

#include "kernels/base/rng.h"

enum { MAX_TERMS = 8, MAX_PROBLEMS = 1000000, TEXT_CAP = 1024, MAX_SPAN = 999999999 };
static const int64_t LARGEST = 999999999999999; /* eight of them are far from overflow */

/* Problem `index` as mixed-radix digits: the operands. */
static void operands_of(const struct sums_config *c, uint64_t index, int64_t *operands)
{
    const uint64_t span = (uint64_t)(c->max - c->min + 1);
    for (int64_t i = c->terms - 1; i >= 0; i--) {
        operands[i] = c->min + (int64_t)(index % span);
        index /= span;
    }
}

static enum status combinations(const struct sums_config *c, uint64_t *out)
{
    if (c->terms < 2 || c->terms > MAX_TERMS || c->max < c->min || c->min < -LARGEST
        || c->max > LARGEST || c->max - c->min > MAX_SPAN) {
        return FAIL(RECIPE,
                    "sums: terms %lld, operands %lld..%lld; use 2..8 terms and min <= max, a range "
                    "of at most %d and operands of at most 15 digits",
                    (long long)c->terms, (long long)c->min, (long long)c->max, MAX_SPAN);
    }
    uint64_t n = 1;
    for (int64_t i = 0; i < c->terms; i++) {
        if (__builtin_mul_overflow(n, (uint64_t)(c->max - c->min + 1), &n)) {
            n = UINT64_MAX;
            break;
        }
    }
    *out = n;
    return STATUS_OK;
}

/* Replaces {a}, {b}, ... and {answer} of `pattern`. */
static enum status fill_text(const char *pattern, const struct sums_config *c,
                             const int64_t *operands, int64_t answer, char *text)
{
    size_t used = 0;
    for (const char *p = pattern; *p;) {
        char piece[32] = {*p, '\0'};
        size_t step = 1;
        if (strncmp(p, "{answer}", 8) == 0) {
            (void)snprintf(piece, sizeof piece, "%lld", (long long)answer);
            step = 8;
        } else if (p[0] == '{' && p[1] >= 'a' && p[1] < 'a' + c->terms && p[2] == '}') {
            (void)snprintf(piece, sizeof piece, "%lld", (long long)operands[p[1] - 'a']);
            step = 3;
        }
        const size_t length = strlen(piece);
        if (used + length >= TEXT_CAP) {
            return FAIL(RECIPE, "sums: the question is longer than %d characters", TEXT_CAP);
        }
        memcpy(text + used, piece, length);
        used += length;
        p += step;
    }
    text[used] = '\0';
    return STATUS_OK;
}

static enum status make_row(const struct sums_config *c, uint64_t index, json_t *rows)
{
    int64_t operands[MAX_TERMS];
    char question[TEXT_CAP];
    char completion[TEXT_CAP];
    char answer[32];
    int64_t sum = 0;
    operands_of(c, index, operands);
    for (int64_t i = 0; i < c->terms; i++) {
        sum += operands[i];
    }
    (void)snprintf(answer, sizeof answer, "%lld", (long long)sum);
    TRY(fill_text(c->question, c, operands, sum, question));
    json_t *row = json_pack("{s:s, s:s}", "answer", answer, "solution", answer);
    json_t *prompt = c->messages
                         ? json_pack("[{s:s, s:s}]", "role", "user", "content", question)
                         : json_string(question);
    if (!row || !prompt || json_object_set_new(row, "prompt", prompt) != 0
        || json_array_append_new(rows, row) != 0) {
        return FAIL(MEMORY, "sums: no memory for the rows");
    }
    if (c->completion) {
        TRY(fill_text(c->completion, c, operands, sum, completion));
        json_t *said = c->messages
                           ? json_pack("[{s:s, s:s}]", "role", "assistant", "content", completion)
                           : json_string(completion);
        (void)json_object_set_new(row, "completion", said);
    }
    return STATUS_OK;
}

/* `count` distinct problems out of `total`: all of them in the order of Python's random.shuffle (so
 * that a split is the one a Python script makes), or, out of too many, an affine walk. */
static enum status choose(const struct sums_config *c, uint64_t total, uint64_t count,
                          uint64_t *chosen)
{
    if (total <= MAX_PROBLEMS) {
        uint64_t *all = malloc((size_t)total * sizeof *all);
        if (!all) {
            return FAIL(MEMORY, "sums: no memory for %llu problems", (unsigned long long)total);
        }
        for (uint64_t i = 0; i < total; i++) {
            all[i] = i;
        }
        struct rng_mt19937 g;
        rng_mt_seed_python(&g, (uint32_t)c->seed);
        for (uint64_t i = total - 1; i > 0; i--) {
            const uint64_t j = rng_mt_below_python(&g, (uint32_t)i + 1);
            const uint64_t t = all[i];
            all[i] = all[j];
            all[j] = t;
        }
        memcpy(chosen, all, (size_t)count * sizeof *all);
        free(all);
        return STATUS_OK;
    }
    struct rng_key key = {.seed = c->seed, .purpose = RNG_DATA};
    /* An affine walk over a prime-free step visits distinct indices of a huge space. */
    const uint64_t start = (uint64_t)(rng_uniform53(&key) * (double)total);
    key.row = 1;
    uint64_t step = (uint64_t)(rng_uniform53(&key) * (double)total) | 1U;
    uint64_t a = step;
    uint64_t b = total;
    while (b != 1) { /* make gcd(step, total) 1, so that the walk has full period */
        a = step;
        b = total;
        while (a != 0) {
            const uint64_t t = b % a;
            b = a;
            a = t;
        }
        step += b != 1 ? 2 : 0;
    }
    for (uint64_t i = 0; i < count; i++) {
        chosen[i] = (uint64_t)((start + (unsigned __int128)step * i) % total);
    }
    return STATUS_OK;
}

enum status sums_rows(const struct sums_config *c, json_t **train, json_t **held_out)
{
    uint64_t total;
    *train = NULL;
    *held_out = NULL;
    TRY(combinations(c, &total));
    const uint64_t count = c->count ? (uint64_t)c->count : total;
    if (count > total || count > MAX_PROBLEMS || c->holdout < 0 || (uint64_t)c->holdout > count) {
        return FAIL(
            RECIPE,
            "sums: %llu problems with %lld held out, but there are %llu (at most %d are used); "
            "hold out fewer or widen the operands' range",
            (unsigned long long)count, (long long)c->holdout, (unsigned long long)total,
            MAX_PROBLEMS);
    }
    uint64_t *chosen = malloc((size_t)count * sizeof *chosen + 1);
    *train = json_array();
    *held_out = json_array();
    enum status status = STATUS_OK;
    if (!chosen || !*train || !*held_out) {
        status = FAIL(MEMORY, "sums: no memory for the rows");
    }
    if (status == STATUS_OK) {
        status = choose(c, total, count, chosen);
    }
    for (uint64_t i = 0; status == STATUS_OK && i < count; i++) {
        status = make_row(c, chosen[i], i < (uint64_t)c->holdout ? *held_out : *train);
    }
    free(chosen);
    if (status != STATUS_OK) {
        json_decref(*train);
        json_decref(*held_out);
        *train = NULL;
        *held_out = NULL;
    }
    return status;
}
