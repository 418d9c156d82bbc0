/* Curves as SVG text, drawn by hand: no library, no script, no font but the reader's. */
#include <math.h>
#include <string.h>

#include "trainer/report/report_internal.h"

enum {
    WIDTH = 420,
    HEIGHT = 220,
    LEFT = 56,
    RIGHT = 12,
    TOP = 26,
    BOTTOM = 30,
    MOST_POINTS = 600,
    MOST_TICKS = 16,
    SMOOTH_FROM = 20
};

struct frame {
    double x0, x1, y0, y1;
};

static double px(const struct frame *f, double x)
{
    return LEFT + (x - f->x0) / (f->x1 - f->x0) * (WIDTH - LEFT - RIGHT);
}

static double py(const struct frame *f, double y)
{
    return HEIGHT - BOTTOM - (y - f->y0) / (f->y1 - f->y0) * (HEIGHT - TOP - BOTTOM);
}

double svg_tick(double span, int most)
{
    if (!(span > 0) || !isfinite(span)) {
        return 1;
    }
    const double raw = span / most;
    const double power = pow(10, floor(log10(raw)));
    const double lead = raw / power;
    return power * (lead <= 1 ? 1 : lead <= 2 ? 2 : lead <= 5 ? 5 : 10);
}

static struct frame find_frame(const struct curve *c)
{
    struct frame f = {c->x[0], c->x[c->count - 1], c->y[0], c->y[0]};
    for (int64_t i = 1; i < c->count; i++) {
        f.y0 = fmin(f.y0, c->y[i]);
        f.y1 = fmax(f.y1, c->y[i]);
    }
    if (!(f.x1 > f.x0)) {
        f.x0 -= 0.5;
        f.x1 += 0.5;
    }
    /* Values that differ in their last digits alone are flat: steps between them would be lost. */
    if (!(f.y1 - f.y0 > 1e-9 * fmax(fabs(f.y0), fabs(f.y1)))) {
        const double room = fmax(fabs(f.y0) * 0.1, 1e-9);
        f.y0 -= room;
        f.y1 += room;
    }
    return f;
}

static void draw_axes(FILE *out, const struct frame *f)
{
    const double dy = svg_tick(f->y1 - f->y0, 6);
    const double first_y = ceil(f->y0 / dy) * dy;
    for (int k = 0; k < MOST_TICKS && first_y + k * dy <= f->y1 + dy * 1e-9; k++) {
        const double y = first_y + k * dy;
        (void)fprintf(out, "<line class=\"grid\" x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\"/>",
                      LEFT, WIDTH - RIGHT, py(f, y), py(f, y));
        (void)fprintf(out, "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.4g</text>", LEFT - 6,
                      py(f, y) + 4, fabs(y) < dy * 1e-9 ? 0.0 : y);
    }
    const double dx = fmax(svg_tick(f->x1 - f->x0, 6), 1);
    const double first_x = ceil(f->x0 / dx) * dx;
    for (int k = 0; k < MOST_TICKS && first_x + k * dx <= f->x1 + dx * 1e-9; k++) {
        const double x = first_x + k * dx;
        (void)fprintf(out, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.6g</text>", px(f, x),
                      HEIGHT - BOTTOM + 16, x);
    }
    (void)fprintf(out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">step</text>", LEFT - 6,
                  HEIGHT - BOTTOM + 16);
    (void)fprintf(out,
                  "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>"
                  "<line class=\"axis\" x1=\"%d\" x2=\"%d\" y1=\"%d\" y2=\"%d\"/>",
                  LEFT, LEFT, TOP, HEIGHT - BOTTOM, LEFT, WIDTH - RIGHT, HEIGHT - BOTTOM,
                  HEIGHT - BOTTOM);
}

/* Moving mean of the points around i: a tenth of the curve wide. */
static double smooth(const struct curve *c, int64_t i)
{
    const int64_t reach = c->count / 20;
    const int64_t from = i > reach ? i - reach : 0;
    const int64_t to = i + reach < c->count ? i + reach : c->count - 1;
    double sum = 0;
    for (int64_t j = from; j <= to; j++) {
        sum += c->y[j];
    }
    return sum / (double)(to - from + 1);
}

static void draw_line(FILE *out, const struct frame *f, const struct curve *c, const char *class,
                      bool mean)
{
    const int64_t stride = (c->count + MOST_POINTS - 1) / MOST_POINTS;
    (void)fprintf(out, "<polyline class=\"%s\" points=\"", class);
    for (int64_t i = 0; i < c->count; i += stride) {
        (void)fprintf(out, "%.1f,%.1f ", px(f, c->x[i]), py(f, mean ? smooth(c, i) : c->y[i]));
    }
    (void)fputs("\"/>", out);
}

void svg_curve(FILE *out, const struct curve *c)
{
    if (c->count < 1) {
        return;
    }
    const struct frame f = find_frame(c);
    const double last = c->y[c->count - 1];
    (void)fprintf(out, "<svg viewBox=\"0 0 %d %d\" role=\"img\"><text class=\"title\" x=\"%d\" "
                       "y=\"16\">",
                  WIDTH, HEIGHT, LEFT);
    html_escape(out, c->title);
    (void)fprintf(out, "</text><text class=\"last\" x=\"%d\" y=\"16\" text-anchor=\"end\">%.4g"
                       "</text>",
                  WIDTH - RIGHT, last);
    draw_axes(out, &f);
    const bool long_enough = c->count >= SMOOTH_FROM;
    draw_line(out, &f, c, long_enough ? "raw" : "line", false);
    if (long_enough) {
        draw_line(out, &f, c, "line", true);
    }
    (void)fprintf(out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"2.5\"/></svg>\n",
                  px(&f, c->x[c->count - 1]), py(&f, last));
}
