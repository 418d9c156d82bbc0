/*
 * How far ahead a branch guesses. A guessed row costs what one row more costs a step; a kept one
 * saves the time that a token takes now. Both are measured while decoding: seconds of a step as a
 * line over its rows (least squares, old steps fading), and the share of kept guesses by the length
 * of the text they were based on.
 */
#include <math.h>

#include "trainer/generate/scheduler_internal.h"

static const double FADE = 0.98;       /* of the past, per step */
static const double FIRST_GUESS = 0.6; /* share kept before any was measured */
static const double MARGIN = 1.2;      /* a guess has to pay this much */
enum { MOST_ROWS = 8 };                /* beyond, products bound the time: a row more never pays */

void speculation_note_step(struct speculation *p, int64_t rows, double seconds)
{
    const double r = (double)rows;
    p->n = p->n * FADE + 1.0;
    p->r = p->r * FADE + r;
    p->t = p->t * FADE + seconds;
    p->rr = p->rr * FADE + r * r;
    p->rt = p->rt * FADE + r * seconds;
    for (int k = 0; k < SPECULATION_CLASSES; k++) { /* what did not pay is tried again, rarely */
        p->tried[k] *= 0.999;
        p->kept[k] *= 0.999;
    }
}

/* Class of a match: 1, 2-3, 4-7, 8 and more tokens. */
static int class_of(int64_t match)
{
    return match < 2 ? 0 : match < 4 ? 1 : match < 8 ? 2 : 3;
}

void speculation_note_guess(struct speculation *p, int64_t match, double kept)
{
    p->tried[class_of(match)] += 1.0;
    p->kept[class_of(match)] += kept;
}

static double kept_share(const struct speculation *p, int64_t match)
{
    const int k = class_of(match);
    return (p->kept[k] + 4.0 * FIRST_GUESS) / (p->tried[k] + 4.0);
}

/* Share of guesses that must be kept for one more row to pay; above 1: none does. */
static double needed_share(const struct speculation *p, int64_t rows)
{
    const double spread = p->rr - p->r * p->r / p->n;
    if (p->n < 3.0 || spread < 1e-3 * p->rr) {
        return 2.0; /* steps of one size say nothing about a row more */
    }
    const double slope = fmax(0.0, (p->rt - p->r * p->t / p->n) / spread);
    const double base = p->t / p->n - slope * p->r / p->n;
    const double step = fmax(0.0, base) + slope * (double)rows;
    return step > 0.0 ? MARGIN * slope * (double)rows / step : 2.0;
}

int64_t speculation_length(const struct speculation *p, enum generate_drafts mode, int64_t match,
                           int64_t rows)
{
    if (mode == DRAFTS_ALWAYS) {
        return SPECULATION_MOST;
    }
    if (mode == DRAFTS_NEVER || rows > MOST_ROWS) {
        return 0;
    }
    const double needed = needed_share(p, rows > 0 ? rows : 1);
    const double share = kept_share(p, match);
    double reach = share;
    int64_t n = 0;
    while (n < SPECULATION_MOST && reach > needed) {
        reach *= share;
        n++;
    }
    return n;
}
