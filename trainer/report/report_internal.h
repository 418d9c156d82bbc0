/* Parts of the report shared by its files. */
#pragma once

#include <stdbool.h>

#include "trainer/report/report.h"

/* One curve: `count` points (x[i], y[i]), x ascending, y finite. */
struct curve {
    const char *title;
    const double *x;
    const double *y;
    int64_t count;
};

/* Writes one curve as an inline SVG: axes, ticks, the points as a line and, from 20 points on,
 * their moving mean. `out`'s error flag tells of failures. */
void svg_curve(FILE *out, const struct curve *c);

/* Distance of ticks: 1, 2 or 5 times a power of ten, such that `span` gets at most `most` steps. */
double svg_tick(double span, int most);

/* Writes text with &, <, >, " and ' escaped and control characters left out. */
void html_escape(FILE *out, const char *text);

/* "dir/file" as malloc'd text; NULL when out of memory. */
char *report_path(const char *dir, const char *file);

/* CRC-32C (Castagnoli, reflected polynomial 0x82F63B78). */
uint32_t report_crc32c(const void *data, size_t bytes);

/* TFRecord's masked form of it: rotated right by 15, plus 0xa282ead8. */
uint32_t report_masked_crc(const void *data, size_t bytes);

/* Calls fn for each line that is a JSON object; others (a torn last line) are passed over. Stops
 * when fn returns false. A missing file has no lines. Lines over 16 MiB end the reading. */
typedef bool (*report_line_fn)(void *ctx, const json_t *line);

/* Reads dir/file as said above. Fails with MEMORY, IO. */
MUST_USE enum status report_each_line(const char *dir, const char *file, report_line_fn fn,
                                      void *ctx);
