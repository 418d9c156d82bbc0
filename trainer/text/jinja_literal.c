/* Escapes of string literals, as Python's unicode-escape codec applied to the reference's text. */
#include <string.h>

#include "trainer/text/jinja_internal.h"

struct unescape {
    const char *text;
    size_t size;
    size_t at;
    int line;
    struct jinja_buffer out;
};

static enum status put(struct unescape *u, uint32_t c)
{
    char bytes[4];
    if (c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF)) {
        return jinja_source_fail(__FILE__, __LINE__, u->line,
                                 "a string escape for U+%04X, which is no character; write the "
                                 "character itself",
                                 (unsigned)c);
    }
    return jinja_buffer_add(&u->out, bytes, jinja_char_put(c, bytes));
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* \xhh, \uhhhh, \Uhhhhhhhh: exactly `digits` of them. */
static enum status hex_escape(struct unescape *u, char kind, int digits)
{
    uint32_t c = 0;
    for (int i = 0; i < digits; i++) {
        const int d = u->at < u->size ? hex_digit(u->text[u->at]) : -1;
        if (d < 0) {
            return jinja_source_fail(__FILE__, __LINE__, u->line,
                                     "truncated \\%c escape: %d hexadecimal digits must follow",
                                     kind, digits);
        }
        c = c << 4 | (uint32_t)d;
        u->at++;
    }
    return put(u, c);
}

static enum status octal_escape(struct unescape *u, char first)
{
    uint32_t c = (uint32_t)(first - '0');
    for (int i = 0; i < 2 && u->at < u->size; i++, u->at++) {
        const char d = u->text[u->at];
        if (d < '0' || d > '7') {
            break;
        }
        c = c << 3 | (uint32_t)(d - '0');
    }
    return put(u, c);
}

/* A backslash before a character that is no escape stays. The reference turns a character beyond
 * ASCII into an escape of its own first, which the backslash then quotes. */
static enum status unknown_escape(struct unescape *u, size_t start)
{
    size_t n;
    char text[16];
    const uint32_t c = jinja_char(u->text + start, &n);
    u->at = start + n;
    if (c < 0x80) {
        (void)snprintf(text, sizeof text, "\\%c", (char)c);
    } else if (c < 0x100) {
        (void)snprintf(text, sizeof text, "\\x%02x", (unsigned)c);
    } else {
        (void)snprintf(text, sizeof text, c < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)c);
    }
    return jinja_buffer_add(&u->out, text, strlen(text));
}

static enum status escape(struct unescape *u)
{
    static const char FROM[] = "\\'\"abfnrtv";
    static const char TO[] = "\\'\"\a\b\f\n\r\t\v";
    const size_t start = u->at;
    const char c = u->text[u->at++];
    const char *plain = c ? strchr(FROM, c) : NULL;
    if (plain) {
        return jinja_buffer_add(&u->out, &TO[plain - FROM], 1);
    }
    switch (c) {
    case '\n':
        return STATUS_OK;
    case 'x':
        return hex_escape(u, c, 2);
    case 'u':
        return hex_escape(u, c, 4);
    case 'U':
        return hex_escape(u, c, 8);
    case 'N':
        return jinja_source_fail(__FILE__, __LINE__, u->line,
                                 "\\N{...} escapes are not supported; write the character itself");
    default:
        return c >= '0' && c <= '7' ? octal_escape(u, c) : unknown_escape(u, start);
    }
}

static enum status unescape_all(struct unescape *u)
{
    while (u->at < u->size) {
        if (u->text[u->at] != '\\') {
            TRY(jinja_buffer_add(&u->out, &u->text[u->at++], 1));
            continue;
        }
        u->at++;
        if (u->at == u->size) {
            return jinja_source_fail(__FILE__, __LINE__, u->line, "\\ at end of string");
        }
        TRY(escape(u));
    }
    return STATUS_OK;
}

enum status jinja_unescape(struct jinja_pool *p, const char *text, size_t size, int line,
                           struct jinja_value *out)
{
    if (!memchr(text, '\\', size)) {
        return jinja_string_in(p, text, size, out);
    }
    struct unescape u = {.text = text, .size = size, .line = line};
    enum status status = unescape_all(&u);
    if (status == STATUS_OK) {
        status = jinja_string_in(p, u.out.data, u.out.size, out);
    }
    free(u.out.data);
    return status;
}
