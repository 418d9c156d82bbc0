/* Processors, filters and the draw; see sampler.h. */
#include "trainer/generate/sampler.h"

#include <math.h>
#include <string.h>

#include "trainer/model/model.h"

enum { MASS_BUCKETS = 512 };

static int64_t argmax(const float *z, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++) {
        if (z[i] > z[best]) {
            best = i;
        }
    }
    return best;
}

static void swap(float *a, float *b)
{
    const float t = *a;
    *a = *b;
    *b = t;
}

/* k-th largest (k >= 1) by quickselect with a middle pivot; reorders v. */
static float kth_largest(float *v, int64_t n, int64_t k)
{
    int64_t lo = 0;
    int64_t hi = n - 1;
    const int64_t want = k - 1;
    while (lo < hi) {
        const float pivot = v[lo + (hi - lo) / 2];
        int64_t i = lo;
        int64_t j = hi;
        while (i <= j) {
            while (v[i] > pivot) {
                i++;
            }
            while (v[j] < pivot) {
                j--;
            }
            if (i <= j) {
                swap(&v[i++], &v[j--]);
            }
        }
        if (want <= j) {
            hi = j;
        } else if (want >= i) {
            lo = i;
        } else {
            break;
        }
    }
    return v[want];
}

static int compare_floats(const void *a, const void *b)
{
    float x;
    float y;
    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

/* Copies the logits that are still in (> -inf) and returns how many. */
static int64_t kept_values(const float *z, int64_t n, float *v)
{
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (z[i] > -INFINITY) {
            v[count++] = z[i];
        }
    }
    return count;
}

/* Bucket of a logit by its distance from the largest: ascending buckets hold ascending logits. */
static int bucket_of(float z, float max)
{
    const float place = (z - max) * 16.0f + (float)(MASS_BUCKETS - 1);
    return place > 0.0f ? (int)place : 0;
}

/* Where top-p cuts: logits below `floor` go, and the first `ties` that equal it. */
struct top_p_cut {
    float floor;
    int64_t ties;
};

/* Drops ascending values (equal ones by ascending id) while their mass is <= 1 - p. Only the bucket
 * in which the mass crosses is sorted. */
static struct top_p_cut find_top_p(const float *z, int64_t n, double top_p, float *v)
{
    const int64_t count = kept_values(z, n, v);
    const float max = z[argmax(z, n)];
    double mass[MASS_BUCKETS] = {0};
    double total = 0.0;
    for (int64_t i = 0; i < count; i++) {
        mass[bucket_of(v[i], max)] += exp((double)v[i] - (double)max);
    }
    for (int b = 0; b < MASS_BUCKETS; b++) {
        total += mass[b];
    }
    const double drop = (1.0 - top_p) * total;
    double below = 0.0;
    int bucket = 0;
    while (bucket + 1 < MASS_BUCKETS && below + mass[bucket] <= drop) {
        below += mass[bucket++];
    }
    int64_t inside = 0;
    for (int64_t i = 0; i < count; i++) {
        if (bucket_of(v[i], max) == bucket) {
            v[inside++] = v[i];
        }
    }
    qsort(v, (size_t)inside, sizeof *v, compare_floats);
    int64_t ties = 0;
    for (int64_t i = 0; i < inside; i++) {
        ties = i > 0 && v[i] > v[i - 1] ? 0 : ties;
        below += exp((double)v[i] - (double)max);
        if (below > drop) {
            return (struct top_p_cut){v[i], ties};
        }
        ties++;
    }
    return (struct top_p_cut){max, 0};
}

static void keep_top_p(float *z, int64_t n, double top_p, float *v)
{
    struct top_p_cut cut = find_top_p(z, n, top_p, v);
    for (int64_t i = 0; i < n; i++) {
        const bool tie = z[i] >= cut.floor && z[i] <= cut.floor && cut.ties > 0;
        cut.ties -= tie;
        z[i] = z[i] < cut.floor || tie ? -INFINITY : z[i];
    }
}

static void drop_below(float *z, int64_t n, float floor_z)
{
    for (int64_t i = 0; i < n; i++) {
        z[i] = z[i] < floor_z ? -INFINITY : z[i];
    }
}

static void drop_ids(float *z, int64_t vocab, const int32_t *ids, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        if (ids[i] >= 0 && ids[i] < vocab) {
            z[ids[i]] = -INFINITY;
        }
    }
}

/* x / p where x >= 0, x * p else; from the untouched logits, so that an id counts once. */
static void penalise_seen(float *out, const float *z, int64_t vocab, const int32_t *ids,
                          int64_t count, float penalty)
{
    for (int64_t i = 0; i < count; i++) {
        const int32_t id = ids[i];
        if (id >= 0 && id < vocab) {
            out[id] = z[id] >= 0.0f ? z[id] / penalty : z[id] * penalty;
        }
    }
}

static void penalise_counts(const struct sample_config *s, const struct sample_history *h,
                            const struct sample_scratch *w)
{
    const double t = s->temperature > 0.0 ? s->temperature : 1.0;
    const float frequency = (float)(s->frequency_penalty / t);
    const float presence = (float)(s->presence_penalty / t);
    for (int64_t i = 0; i < h->count; i++) {
        w->counts[h->ids[i]]++;
    }
    for (int64_t i = 0; i < h->count; i++) { /* an id's first visit takes its count back */
        const int32_t id = h->ids[i];
        if (w->counts[id] > 0) {
            w->z[id] -= frequency * (float)w->counts[id] + presence;
            w->counts[id] = 0;
        }
    }
}

static bool on(double factor)
{
    return factor > 0.0 && (factor < 1.0 || factor > 1.0);
}

static bool counts_on(const struct sample_config *s)
{
    return fabs(s->presence_penalty) > 0.0 || fabs(s->frequency_penalty) > 0.0;
}

bool sample_is_plain(const struct sample_config *s, int64_t count)
{
    return s->temperature > 0.0 && s->top_k <= 0 && !(s->top_p > 0.0 && s->top_p < 1.0)
           && s->min_p <= 0.0 && !on(s->repetition_penalty) && !counts_on(s)
           && s->suppress_count == 0 && !s->constraint && count >= s->min_new_tokens;
}

static void process(const struct sample_config *s, const float *z, int64_t vocab,
                    const struct sample_history *h, const struct sample_scratch *w)
{
    memcpy(w->z, z, (size_t)vocab * sizeof *z);
    if (on(s->repetition_penalty)) {
        const float penalty = (float)s->repetition_penalty;
        penalise_seen(w->z, z, vocab, h->prompt, h->prompt_count, penalty);
        penalise_seen(w->z, z, vocab, h->ids, h->count, penalty);
    }
    if (counts_on(s)) {
        penalise_counts(s, h, w);
    }
    if (h->count < s->min_new_tokens) {
        drop_ids(w->z, vocab, s->stops, s->stop_count);
    }
    drop_ids(w->z, vocab, s->suppress, s->suppress_count);
    if (h->allowed) {
        for (int64_t i = 0; i < vocab; i++) {
            const bool may = (h->allowed[i / 64] >> (i % 64)) & 1;
            w->z[i] = may ? w->z[i] : -INFINITY;
        }
    }
}

static void filter(const struct sample_config *s, int64_t vocab, const struct sample_scratch *w)
{
    if (s->top_k > 0 && s->top_k < vocab) {
        const int64_t count = kept_values(w->z, vocab, w->values);
        if (s->top_k < count) {
            drop_below(w->z, vocab, kth_largest(w->values, count, s->top_k));
        }
    }
    if (s->top_p > 0.0 && s->top_p < 1.0) {
        keep_top_p(w->z, vocab, s->top_p, w->values);
    }
    if (s->min_p
        > 0.0) { /* p < min_p * p_max is a bound on the logit, whatever was dropped before */
        drop_below(w->z, vocab, w->z[argmax(w->z, vocab)] + (float)log(s->min_p));
    }
}

void sample_filter(const struct sample_config *s, const float *z, int64_t vocab,
                   const struct sample_history *h, const struct sample_scratch *w)
{
    static const struct sample_history NONE = {0};
    process(s, z, vocab, h ? h : &NONE, w);
    if (s->temperature > 0.0) {
        filter(s, vocab, w);
    }
}

/* First id, in order, at which the cumulative mass of the kept ids passes u. */
static int64_t inverse_cdf(const float *z, int64_t n, float max, double u)
{
    double total = 0.0;
    for (int64_t i = 0; i < n; i++) {
        total += z[i] > -INFINITY ? (double)expf(z[i] - max) : 0.0;
    }
    const double target = u * total;
    double mass = 0.0;
    int64_t last = 0;
    for (int64_t i = 0; i < n; i++) {
        const float p = z[i] > -INFINITY ? expf(z[i] - max) : 0.0f;
        if (p > 0.0f) {
            mass += (double)p;
            last = i;
            if (mass > target) {
                return i;
            }
        }
    }
    return last;
}

int32_t sample_token(const struct sample_config *s, const float *z, int64_t vocab,
                     const struct sample_history *h, double u, const struct sample_scratch *w)
{
    sample_filter(s, z, vocab, h, w);
    const int64_t best = argmax(w->z, vocab);
    if (s->temperature <= 0.0 || !(w->z[best] > -INFINITY)) {
        return (int32_t)best;
    }
    return (int32_t)inverse_cdf(w->z, vocab, w->z[best], u);
}

int32_t sample_plain(const float *z, int64_t vocab, int64_t chunk, const struct logit_mark *marks,
                     double u)
{
    const int64_t chunks = (vocab + chunk - 1) / chunk;
    const float max = marks[chunks - 1].max;
    const double target = u * (double)marks[chunks - 1].sum;
    double before = 0.0;
    int64_t c = 0;
    for (; c + 1 < chunks; c++) {
        const double end = (double)marks[c].sum * exp((double)marks[c].max - (double)max);
        if (end > target) {
            break;
        }
        before = end;
    }
    /* Rounding may leave the last chunks without mass: the draw ends in one that has some. */
    const int64_t begin = c * chunk;
    const int64_t end = begin + chunk < vocab ? begin + chunk : vocab;
    int64_t last = -1;
    for (int64_t i = begin; i < end; i++) {
        const float p = expf(z[i] - max);
        if (p > 0.0f) {
            before += (double)p;
            last = i;
            if (before > target) {
                return (int32_t)i;
            }
        }
    }
    return (int32_t)(last >= 0 ? last : argmax(z, vocab));
}

static enum status check_range(const char *key, double value, double low, double high)
{
    return value >= low && value <= high
               ? STATUS_OK
               : FAIL(RECIPE, "%s: %g is outside %g .. %g", key, value, low, high);
}

enum status sample_check(const struct sample_config *s, int64_t vocab)
{
    TRY(check_range("temperature", s->temperature, 0.0, 1e3));
    TRY(check_range("top_p", s->top_p, 0.0, 1.0));
    TRY(check_range("min_p", s->min_p, 0.0, 1.0));
    TRY(check_range("repetition_penalty", s->repetition_penalty, 0.0, 1e3));
    TRY(check_range("presence_penalty", s->presence_penalty, -1e3, 1e3));
    TRY(check_range("frequency_penalty", s->frequency_penalty, -1e3, 1e3));
    for (int64_t i = 0; i < s->suppress_count; i++) {
        if (s->suppress[i] < 0 || s->suppress[i] >= vocab) {
            return FAIL(RECIPE, "suppress_tokens: %d is outside the vocabulary of %lld",
                        s->suppress[i], (long long)vocab);
        }
    }
    return STATUS_OK;
}
