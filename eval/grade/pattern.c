/* Compiled patterns; see pattern.h. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "eval/grade/pattern.h"

#include <pcre2.h>
#include <string.h>

enum { MATCH_LIMIT = 3000000, HEAP_KIB = 8192, STACK_START = 32768, STACK_MAX = 1 << 22 };

struct pattern_set {
    pcre2_code *codes[PATTERN_COUNT];
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* (word)|(word)|... */
static char *replace_source(void)
{
    size_t bytes = 1;
    for (int k = 0; pattern_word(k); k++) {
        bytes += strlen(pattern_word(k)) + 3;
    }
    char *source = malloc(bytes);
    size_t n = 0;
    for (int k = 0; source && pattern_word(k); k++) {
        n += (size_t)snprintf(source + n, bytes - n, "%s(%s)", k ? "|" : "", pattern_word(k));
    }
    return source;
}

static enum status compile(enum pattern_id id, pcre2_compile_context *context, pcre2_code **out)
{
    const struct pattern_source *row = pattern_source(id);
    char *words = row->text ? NULL : replace_source();
    const char *source = row->text ? row->text : words;
    if (!source) {
        return FAIL(MEMORY, "judge: out of memory");
    }
    int error;
    PCRE2_SIZE where;
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | (row->dot_all ? PCRE2_DOTALL : 0u);
    *out = pcre2_compile((PCRE2_SPTR)source, PCRE2_ZERO_TERMINATED, options, &error, &where,
                         context);
    free(words);
    if (!*out) {
        return FAIL(INTERNAL, "judge: pattern %d is wrong at byte %zu (PCRE2 error %d)", (int)id,
                    (size_t)where, error);
    }
    (void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    return STATUS_OK;
}

enum status pattern_open(struct pattern_set **out)
{
    struct pattern_set *p = calloc(1, sizeof *p);
    *out = p;
    if (!p) {
        return FAIL(MEMORY, "judge: out of memory");
    }
    p->data = pcre2_match_data_create(PATTERN_MAX_GROUPS, NULL);
    p->context = pcre2_match_context_create(NULL);
    p->stack = pcre2_jit_stack_create(STACK_START, STACK_MAX, NULL);
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!p->data || !p->context || !context || pcre2_set_newline(context, PCRE2_NEWLINE_LF) != 0) {
        pcre2_compile_context_free(context);
        return FAIL(MEMORY, "judge: out of memory");
    }
    (void)pcre2_set_match_limit(p->context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(p->context, HEAP_KIB);
    if (p->stack) {
        pcre2_jit_stack_assign(p->context, NULL, p->stack);
    }
    enum status status = STATUS_OK;
    for (int id = 0; id < PATTERN_COUNT && status == STATUS_OK; id++) {
        status = compile((enum pattern_id)id, context, &p->codes[id]);
    }
    pcre2_compile_context_free(context);
    return status;
}

void pattern_close(struct pattern_set *p)
{
    if (!p) {
        return;
    }
    for (int id = 0; id < PATTERN_COUNT; id++) {
        pcre2_code_free(p->codes[id]);
    }
    pcre2_match_data_free(p->data);
    pcre2_match_context_free(p->context);
    pcre2_jit_stack_free(p->stack);
    free(p);
}

bool pattern_find(struct pattern_set *p, enum pattern_id id, struct slice text, size_t from,
                  struct pattern_match *m)
{
    const int groups = pcre2_match(p->codes[id], (PCRE2_SPTR)text.s, text.n, from,
                                   PCRE2_NO_UTF_CHECK, p->data, p->context);
    if (groups <= 0) {
        return false;
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(p->data);
    m->groups = groups;
    for (int i = 0; i < PATTERN_MAX_GROUPS; i++) {
        const bool set = i < groups && ends[2 * i] != PCRE2_UNSET;
        m->group[i].begin = set ? ends[2 * i] : SIZE_MAX;
        m->group[i].end = set ? ends[2 * i + 1] : SIZE_MAX;
    }
    return true;
}

/* A growing text in a pool. */
struct builder {
    struct expr_pool *pool;
    char *s;
    size_t n, capacity;
};

static void append(struct builder *b, const char *s, size_t n)
{
    if (b->n + n + 1 > b->capacity) {
        const size_t capacity = 2 * (b->n + n + 32);
        char *grown = expr_alloc(b->pool, capacity);
        if (!grown) {
            b->capacity = 0;
            b->s = NULL;
            return;
        }
        if (b->n > 0 && b->s) {
            memcpy(grown, b->s, b->n);
        }
        b->s = grown;
        b->capacity = capacity;
    }
    if (b->s) {
        memcpy(b->s + b->n, s, n);
        b->n += n;
        b->s[b->n] = '\0';
    }
}

static struct slice built(const struct builder *b)
{
    return b->pool->exhausted ? (struct slice){"", 0} : (struct slice){b->s, b->n};
}

static void append_template(struct builder *b, const char *with, const struct pattern_match *m,
                            struct slice text)
{
    for (const char *c = with; *c; c++) {
        if (*c == '\\' && c[1] >= '1' && c[1] <= '9') {
            const struct pattern_group *g = &m->group[c[1] - '0'];
            c++;
            if (g->begin != SIZE_MAX) {
                append(b, text.s + g->begin, g->end - g->begin);
            }
        } else {
            append(b, c, 1);
        }
    }
}

/* Replaces matches by `with`, or by the word of the group that matched when it is NULL. */
static struct slice replace_all(struct pattern_set *p, struct expr_pool *pool, enum pattern_id id,
                                struct slice text, const char *with)
{
    struct pattern_match m;
    size_t at = 0;
    if (!pattern_find(p, id, text, 0, &m)) {
        return text;
    }
    struct builder b = {.pool = pool};
    append(&b, "", 0);
    do {
        const struct pattern_group whole = m.group[0];
        append(&b, text.s + at, whole.begin - at);
        if (with) {
            append_template(&b, with, &m, text);
        } else {
            const char *word = pattern_replacement(m.groups - 2);
            append(&b, word, strlen(word));
        }
        at = whole.end;
        if (whole.end == whole.begin) {
            break;
        }
    } while (!pool->exhausted && pattern_find(p, id, text, at, &m));
    append(&b, text.s + at, text.n - at);
    return built(&b);
}

struct slice pattern_replace(struct pattern_set *p, struct expr_pool *pool, enum pattern_id id,
                             struct slice text, const char *with)
{
    return replace_all(p, pool, id, text, with);
}

struct slice pattern_replace_words(struct pattern_set *p, struct expr_pool *pool,
                                   struct slice text)
{
    return replace_all(p, pool, PATTERN_REPLACE, text, NULL);
}

struct slice slice_replace(struct expr_pool *pool, struct slice text, const char *what,
                           const char *with)
{
    const size_t n = strlen(what);
    const char *found = memmem(text.s, text.n, what, n);
    if (!found) {
        return text;
    }
    struct builder b = {.pool = pool};
    const char *at = text.s;
    const char *const end = text.s + text.n;
    append(&b, "", 0);
    for (; found; found = memmem(at, (size_t)(end - at), what, n)) {
        append(&b, at, (size_t)(found - at));
        append(&b, with, strlen(with));
        at = found + n;
    }
    append(&b, at, (size_t)(end - at));
    return built(&b);
}

/* Bytes of the white space at `s`, ASCII and the common wide ones. */
static size_t space_at(const char *s, size_t n)
{
    static const char *const WIDE[] = {"\u00a0", "\u2003", "\u2009", "\u3000", "\u202f", "\u2002"};
    if (n > 0 && (*s == ' ' || (*s >= '\t' && *s <= '\r') || (*s >= 0x1c && *s <= 0x1f))) {
        return 1;
    }
    for (size_t i = 0; i < sizeof WIDE / sizeof *WIDE; i++) {
        const size_t m = strlen(WIDE[i]);
        if (n >= m && memcmp(s, WIDE[i], m) == 0) {
            return m;
        }
    }
    return 0;
}

struct slice slice_trim(struct slice t)
{
    size_t n;
    while ((n = space_at(t.s, t.n)) > 0) {
        t.s += n;
        t.n -= n;
    }
    for (bool more = true; more;) {
        more = false;
        for (n = 1; n <= 3 && n <= t.n && !more; n++) {
            if (space_at(t.s + t.n - n, n) == n) {
                t.n -= n;
                more = true;
            }
        }
    }
    return t;
}

bool slice_has(struct slice text, const char *what)
{
    return memmem(text.s, text.n, what, strlen(what)) != NULL;
}
