/* strftime_now: the caller's clock as UTC, in English, directive by directive. */
#include <string.h>
#include <time.h>

#include "trainer/text/jinja_internal.h"

/* One directive "%X" or "%-X"; the C library formats it, except what Python's naive times leave
 * empty (time zones) or add (microseconds). */
static enum status directive(struct jinja_buffer *out, const struct tm *tm, const char *text,
                             size_t n)
{
    char format[8] = {0};
    char formatted[128];
    const char kind = text[n - 1];
    if (kind == 'z' || kind == 'Z') {
        return STATUS_OK;
    }
    if (kind == 'f') {
        return jinja_buffer_add(out, "000000", 6);
    }
    memcpy(format, text, n);
    const size_t size = strftime(formatted, sizeof formatted, format, tm);
    return jinja_buffer_add(out, formatted, size);
}

static enum status format_all(const struct jinja_string *format, const struct tm *tm,
                              struct jinja_buffer *out)
{
    size_t at = 0;
    while (at < format->size) {
        const char *c = format->data + at;
        const size_t left = format->size - at;
        size_t n = 1;
        if (*c == '%' && left > 1) {
            n = strchr("-_0^#EO", c[1]) && c[1] && left > 2 ? 3 : 2;
        }
        if (n > 1 && (unsigned char)c[n - 1] < 0x80 && c[n - 1]) {
            TRY(directive(out, tm, c, n));
        } else {
            n = 1;
            TRY(jinja_buffer_add(out, c, 1));
        }
        at += n;
    }
    return STATUS_OK;
}

enum status jinja_strftime(struct jinja_render *r, const struct jinja_string *format,
                           struct jinja_value *out)
{
    const time_t now = (time_t)r->now;
    struct tm tm;
    struct jinja_buffer text = {0};
    if (!gmtime_r(&now, &tm)) {
        return RAISE(r, "strftime_now: the time %lld is out of range", (long long)r->now);
    }
    TRY(jinja_charge_bytes(r, format->size));
    const enum status status = format_all(format, &tm, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    return jinja_string_take(r, &text, out);
}
