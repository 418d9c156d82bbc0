/* The two ways of formatting text: "%s" % value and "{}".format(value). */
#include <string.h>

#include "trainer/text/jinja_internal.h"

/* ---- format % arguments ---- */
struct percent {
    struct jinja_render *r;
    const struct jinja_string *format;
    bool markup;
    size_t at;
    const struct jinja_value *args; /* [count] */
    size_t count;
    size_t used;
    const struct jinja_value *mapping; /* for %(name)s, or NULL */
    struct jinja_buffer out;
};

static enum status next_argument(struct percent *p, struct jinja_value *out)
{
    if (p->used >= p->count) {
        return RAISE(p->r, "not enough arguments for format string");
    }
    *out = p->args[p->used++];
    return STATUS_OK;
}

static char here(const struct percent *p)
{
    return p->at < p->format->size ? p->format->data[p->at] : 0;
}

/* "(name)": its value in the mapping. */
static enum status named_argument(struct percent *p, struct jinja_value *out)
{
    const char *begin = p->format->data + p->at + 1;
    const char *end = memchr(begin, ')', p->format->size - p->at - 1);
    const struct jinja_value *found = NULL;
    struct jinja_value key;
    if (!end || !p->mapping) {
        return RAISE(p->r, "%s", end ? "format requires a mapping" : "incomplete format key");
    }
    TRY(jinja_string_new(p->r, begin, (size_t)(end - begin), &key));
    TRY(jinja_dict_get(p->r, p->mapping->dict, &key, &found));
    if (!found) {
        return RAISE(p->r, "format: no key '%s'", key.string->data);
    }
    *out = *found;
    p->at = (size_t)(end - p->format->data) + 1;
    return STATUS_OK;
}

/* A number or '*'. */
static enum status read_size(struct percent *p, int64_t *out)
{
    if (here(p) == '*') {
        struct jinja_value v;
        p->at++;
        TRY(next_argument(p, &v));
        return jinja_arg_int(p->r, &v, "format: *", 0, out);
    }
    *out = 0;
    for (; here(p) >= '0' && here(p) <= '9'; p->at++) {
        *out = *out * 10 + (here(p) - '0');
        if (*out > JINJA_OUTPUT) {
            return RAISE(p->r, "format: a width of more than %d", JINJA_OUTPUT);
        }
    }
    return STATUS_OK;
}

static enum status read_percent_spec(struct percent *p, struct jinja_spec *spec)
{
    bool left = false;
    bool zero = false;
    for (; here(p) && strchr("-+ 0#", here(p)); p->at++) {
        left = left || here(p) == '-';
        zero = zero || here(p) == '0';
        spec->alternate = spec->alternate || here(p) == '#';
        if (here(p) == '+' || (here(p) == ' ' && spec->sign != '+')) {
            spec->sign = here(p);
        }
    }
    TRY(read_size(p, &spec->width));
    if (spec->width < 0) {
        left = true;
        spec->width = spec->width < -JINJA_OUTPUT ? JINJA_OUTPUT + 1 : -spec->width;
    }
    if (here(p) == '.') {
        p->at++;
        TRY(read_size(p, &spec->precision));
        spec->precision = spec->precision < 0 ? 0 : spec->precision;
    }
    while (here(p) && strchr("hlL", here(p))) {
        p->at++;
    }
    spec->align = left ? '<' : '>';
    if (zero && !left) {
        spec->align = '=';
        spec->fill = '0';
    }
    return STATUS_OK;
}

static enum status percent_text(struct percent *p, const struct jinja_value *v, bool repr,
                                struct jinja_spec *spec)
{
    struct jinja_value text;
    if (repr) {
        struct jinja_buffer shown = {0};
        const enum status status = jinja_repr(p->r, v, &shown);
        if (status != STATUS_OK) {
            free(shown.data);
            return status;
        }
        TRY(jinja_string_take(p->r, &shown, &text));
    } else {
        TRY(jinja_to_string(p->r, v, &text));
    }
    if (p->markup) {
        TRY(jinja_escape(p->r, &text, &text));
    }
    spec->type = 's';
    spec->fill = ' ';
    spec->align = spec->align == '=' ? '>' : spec->align;
    return jinja_format_spec(p->r, &text, spec, &p->out);
}

/* %d of a precision pads with zeros to that many digits. */
static enum status percent_int(struct percent *p, const struct jinja_value *v, char type,
                               struct jinja_spec *spec)
{
    int64_t integer;
    if (v->type == JINJA_FLOAT && (type == 'd' || type == 'i' || type == 'u')
        && v->real > -9e18 && v->real < 9e18) {
        integer = (int64_t)v->real;
    } else if (!jinja_is_int(v, &integer)) {
        return RAISE(p->r, "%%%c format: a real number is required, not %s", type,
                     jinja_type_name(v));
    }
    const struct jinja_value number = jinja_int(integer);
    spec->type = type == 'i' || type == 'u' ? 'd' : type;
    if (spec->precision < 0) {
        return jinja_format_spec(p->r, &number, spec, &p->out);
    }
    struct jinja_spec digits = *spec;
    struct jinja_buffer text = {0};
    struct jinja_value made;
    digits.width = spec->precision + (integer < 0 || spec->sign == '+' || spec->sign == ' ');
    digits.precision = -1;
    digits.align = '=';
    digits.fill = '0';
    const enum status status = jinja_format_spec(p->r, &number, &digits, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    TRY(jinja_string_take(p->r, &text, &made));
    spec->precision = -1;
    return percent_text(p, &made, false, spec);
}

static enum status percent_char(struct percent *p, const struct jinja_value *v,
                                struct jinja_spec *spec)
{
    if (v->type == JINJA_STRING && v->string->chars == 1) {
        return percent_text(p, v, false, spec);
    }
    spec->type = 'c';
    spec->align = spec->align == '=' ? '>' : spec->align;
    return v->type == JINJA_INT ? jinja_format_spec(p->r, v, spec, &p->out)
                                : RAISE(p->r, "%%c requires int or char");
}

/* One conversion, '%' taken. */
static enum status conversion(struct percent *p)
{
    struct jinja_spec spec = {.precision = -1, .sign = '-'};
    struct jinja_value v = jinja_none();
    double real;
    const bool named = here(p) == '(';
    if (named) {
        TRY(named_argument(p, &v));
    }
    TRY(read_percent_spec(p, &spec));
    const char type = here(p);
    p->at++;
    if (type == '%') {
        return jinja_buffer_add(&p->out, "%", 1);
    }
    if (!type || !strchr("sradiuoxXeEfFgGc", type)) {
        return RAISE(p->r, "unsupported or incomplete format in '%.*s'",
                     (int)(p->format->size > 200 ? 200 : p->format->size), p->format->data);
    }
    if (!named) {
        TRY(next_argument(p, &v));
    }
    if (type == 's' || type == 'r' || type == 'a') {
        return percent_text(p, &v, type != 's', &spec);
    }
    if (type == 'c') {
        return percent_char(p, &v, &spec);
    }
    if (strchr("diuoxX", type)) {
        return percent_int(p, &v, type, &spec);
    }
    if (!jinja_is_number(&v, &real)) {
        return RAISE(p->r, "must be real number, not %s", jinja_type_name(&v));
    }
    const struct jinja_value number = jinja_real(real);
    spec.type = type;
    return jinja_format_spec(p->r, &number, &spec, &p->out);
}

static enum status percent_all(struct percent *p)
{
    while (p->at < p->format->size) {
        const char *begin = p->format->data + p->at;
        const char *hit = memchr(begin, '%', p->format->size - p->at);
        const size_t n = hit ? (size_t)(hit - begin) : p->format->size - p->at;
        TRY(jinja_buffer_add(&p->out, begin, n));
        p->at += n + 1;
        if (hit) {
            TRY(conversion(p));
        }
    }
    if (p->used < p->count && !p->mapping) {
        return RAISE(p->r, "not all arguments converted during string formatting");
    }
    return STATUS_OK;
}

enum status jinja_percent(struct jinja_render *r, const struct jinja_value *format,
                          const struct jinja_value *argument, struct jinja_value *out)
{
    const bool tuple = argument->type == JINJA_TUPLE;
    const bool markup = format->markup;
    struct percent p = {.r = r,
                        .format = format->string,
                        .markup = markup,
                        .args = tuple ? argument->list->items : argument,
                        .count = tuple ? argument->list->count : 1,
                        .mapping = argument->type == JINJA_DICT ? argument : NULL};
    const enum status status = percent_all(&p);
    if (status != STATUS_OK) {
        free(p.out.data);
        return status;
    }
    TRY(jinja_string_take(r, &p.out, out));
    out->markup = markup;
    return STATUS_OK;
}

/* ---- "{}".format() ---- */
struct braces {
    struct jinja_render *r;
    const struct jinja_args *args;
    bool markup;
    size_t next;   /* index of the next "{}" */
    int depth;     /* fields inside specifications: one level */
};

static enum status braces_all(struct braces *b, const struct jinja_string *s,
                              struct jinja_buffer *out);

static enum status field_start(struct braces *b, const char *name, size_t n,
                               struct jinja_value *out)
{
    size_t index = 0;
    bool digits = n < 9;
    for (size_t i = 0; i < n && digits; i++) {
        digits = name[i] >= '0' && name[i] <= '9';
        index = index * 10 + (size_t)(name[i] - '0');
    }
    if (digits) {
        index = n ? index : b->next++;
        if (index >= b->args->count) {
            return RAISE(b->r, "replacement index %zu out of range for positional args", index);
        }
        *out = b->args->pos[index];
        return STATUS_OK;
    }
    for (size_t i = 0; i < b->args->named_count; i++) {
        const struct jinja_string *known = b->args->named[i].name;
        if (known->size == n && memcmp(known->data, name, n) == 0) {
            *out = b->args->named[i].value;
            return STATUS_OK;
        }
    }
    return RAISE(b->r, "format: no argument '%.*s'", (int)(n > 100 ? 100 : n), name);
}

/* "name", "0.attribute[key]". */
static enum status field_value(struct braces *b, const char *text, size_t size,
                               struct jinja_value *out)
{
    size_t at = 0;
    while (at < size && text[at] != '.' && text[at] != '[') {
        at++;
    }
    TRY(field_start(b, text, at, out));
    while (at < size) {
        const bool item = text[at] == '[';
        const size_t begin = at + 1;
        size_t end = begin;
        while (end < size && (item ? text[end] != ']' : text[end] != '.' && text[end] != '[')) {
            end++;
        }
        if (text[at] != '.' && (!item || end == size)) {
            return RAISE(b->r, "format: a field without its ']'");
        }
        struct jinja_value key;
        const struct jinja_value owner = *out;
        TRY(jinja_string_new(b->r, text + begin, end - begin, &key));
        const bool number = item && end > begin && strspn(key.string->data, "0123456789")
                                                       == end - begin && end - begin < 10;
        if (number) {
            key = jinja_int(strtoll(key.string->data, NULL, 10));
        }
        TRY(item ? jinja_get_item(b->r, &owner, &key, out)
                 : jinja_get_attribute(b->r, &owner, &key, out));
        at = end + item;
    }
    return STATUS_OK;
}

static bool is_align(uint32_t c)
{
    return c == '<' || c == '>' || c == '^' || c == '=';
}

static int64_t read_digits(const struct jinja_string *s, size_t *at)
{
    int64_t n = 0;
    for (; *at < s->size && s->data[*at] >= '0' && s->data[*at] <= '9'; (*at)++) {
        n = n > JINJA_OUTPUT ? n : n * 10 + (s->data[*at] - '0');
    }
    return n;
}

static bool take(const struct jinja_string *s, size_t *at, const char *any, char *out)
{
    if (*at < s->size && s->data[*at] && strchr(any, s->data[*at])) {
        *out = s->data[(*at)++];
        return true;
    }
    return false;
}

/* [[fill]align][sign][#][0][width][grouping][.precision][type] */
static enum status read_spec(struct jinja_render *r, const struct jinja_string *s,
                             struct jinja_spec *spec)
{
    size_t at = 0;
    char unused;
    if (s->size > 0) {
        size_t n;
        const uint32_t fill = jinja_char(s->data, &n);
        if (n < s->size && is_align((unsigned char)s->data[n])) {
            spec->fill = fill;
            spec->align = s->data[n];
            at = n + 1;
        } else {
            (void)take(s, &at, "<>^=", &spec->align);
        }
    }
    (void)take(s, &at, "+- ", &spec->sign);
    spec->alternate = take(s, &at, "#", &unused);
    if (at < s->size && s->data[at] == '0' && !spec->align) {
        spec->fill = '0';
        spec->align = '=';
    }
    spec->width = read_digits(s, &at);
    (void)take(s, &at, ",_", &spec->grouping);
    if (at < s->size && s->data[at] == '.') {
        at++;
        spec->precision = read_digits(s, &at);
    }
    (void)take(s, &at, "bcdeEfFgGnosxX%", &spec->type);
    return at == s->size ? STATUS_OK
                         : RAISE(r, "invalid format specifier '%.*s'",
                                 (int)(s->size > 100 ? 100 : s->size), s->data);
}

static enum status field_text(struct braces *b, struct jinja_value *v, char convert,
                              const struct jinja_string *spec_text, struct jinja_buffer *out)
{
    struct jinja_spec spec = {.precision = -1, .sign = '-'};
    if (convert) {
        struct jinja_buffer shown = {0};
        const enum status status = convert == 's' ? jinja_str(b->r, v, &shown)
                                                  : jinja_repr(b->r, v, &shown);
        if (status != STATUS_OK) {
            free(shown.data);
            return status;
        }
        TRY(jinja_string_take(b->r, &shown, v));
    }
    if (b->markup && v->type == JINJA_STRING) {
        TRY(jinja_escape(b->r, v, v));
    }
    TRY(read_spec(b->r, spec_text, &spec));
    if (spec.align == '=' && v->type == JINJA_STRING && spec.fill == '0') {
        spec.align = '<'; /* "{:05}" of text */
    }
    return jinja_format_spec(b->r, v, &spec, out);
}

/* The field in s[begin, end), braces excluded. */
static enum status field(struct braces *b, const char *text, size_t size, struct jinja_buffer *out)
{
    struct jinja_value v;
    struct jinja_string spec = {"", 0, 0};
    struct jinja_value made;
    char convert = 0;
    size_t name = 0;
    bool bracket = false;
    while (name < size && (bracket || (text[name] != '!' && text[name] != ':'))) {
        bracket = text[name] == '[' || (bracket && text[name] != ']');
        name++;
    }
    size_t at = name;
    if (at < size && text[at] == '!') {
        if (at + 1 >= size || !strchr("rsa", text[at + 1])
            || (at + 2 < size && text[at + 2] != ':')) {
            return RAISE(b->r, "format: unknown conversion");
        }
        convert = text[at + 1];
        at += 2;
    }
    TRY(field_value(b, text, name, &v));
    if (at < size) { /* the specification may hold fields of its own */
        struct jinja_buffer inner = {0};
        const struct jinja_string source = {text + at + 1, size - at - 1, 0};
        b->depth++;
        const enum status status = b->depth > 1 ? RAISE(b->r, "max string recursion exceeded")
                                                : braces_all(b, &source, &inner);
        b->depth--;
        if (status != STATUS_OK) {
            free(inner.data);
            return status;
        }
        TRY(jinja_string_take(b->r, &inner, &made));
        spec = *made.string;
    }
    return field_text(b, &v, convert, &spec, out);
}

static enum status braces_all(struct braces *b, const struct jinja_string *s,
                              struct jinja_buffer *out)
{
    size_t at = 0;
    while (at < s->size) {
        const char c = s->data[at];
        const bool twice = at + 1 < s->size && s->data[at + 1] == c;
        if ((c != '{' && c != '}') || twice) {
            TRY(jinja_buffer_add(out, &c, 1));
            at += c == '{' || c == '}' ? 2 : 1;
            continue;
        }
        if (c == '}') {
            return RAISE(b->r, "single '}' encountered in format string");
        }
        size_t end = at + 1;
        for (int open = 1; end < s->size; end++) {
            open += (s->data[end] == '{') - (s->data[end] == '}');
            if (open == 0) {
                break;
            }
        }
        if (end == s->size) {
            return RAISE(b->r, "single '{' encountered in format string");
        }
        TRY(field(b, s->data + at + 1, end - at - 1, out));
        at = end + 1;
    }
    return STATUS_OK;
}

enum status jinja_method_format(struct jinja_render *r, const struct jinja_invocation *in,
                                struct jinja_value *out)
{
    struct braces b = {.r = r, .args = in->raw, .markup = in->self.markup};
    struct jinja_buffer text = {0};
    const enum status status = braces_all(&b, in->self.string, &text);
    if (status != STATUS_OK) {
        free(text.data);
        return status;
    }
    TRY(jinja_string_take(r, &text, out));
    out->markup = in->self.markup;
    return STATUS_OK;
}
