/*
 * Regular expressions on PCRE2, with limits so that no pattern or text can hang or eat memory.
 * The search steps like the onig crate's find_iter, which the tokenizers library uses.
 */
#include <string.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "trainer/text/tokenizer_internal.h"

enum {
    MATCH_LIMIT = 1 << 27,       /* backtracking steps of one match; runs of spaces need one each */
    HEAP_KIB = 256 << 10,        /* memory of one match */
    JIT_STACK_START = 32 << 10,
    JIT_STACK_MAX = 16 << 20
};

struct tok_regex {
    pcre2_code *code;    /* NULL: literal */
    struct text literal; /* never empty when used */
};

/* Compiles t, which is in PCRE2's syntax. */
static enum status compile(struct tok_regex *r, const struct tok_text *t)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (context == NULL || pcre2_set_newline(context, PCRE2_NEWLINE_LF) != 0) {
        pcre2_compile_context_free(context);
        return FAIL(MEMORY, "pattern: no memory to compile it");
    }
    /* ^ and $ are always those of lines in Oniguruma */
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int error;
    PCRE2_SIZE offset;
    r->code = pcre2_compile((PCRE2_SPTR)(t->data == NULL ? "" : t->data), t->length, options,
                            &error, &offset, context);
    pcre2_compile_context_free(context);
    if (r->code == NULL) {
        char message[160] = "";
        (void)pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof(message));
        return FAIL(INPUT, "pattern: %s (at byte %zu of its PCRE2 form)", message, (size_t)offset);
    }
    (void)pcre2_jit_compile(r->code, PCRE2_JIT_COMPLETE); /* without it the interpreter runs */
    return STATUS_OK;
}

static enum status regex_fill(struct tok_regex *r, const char *pattern, size_t n, bool literal)
{
    if (literal && n == 0) {
        return FAIL(INPUT, "pattern: the empty string matches everywhere");
    }
    if (literal) {
        return tok_string_copy(&r->literal, pattern, n);
    }
    struct tok_text translated = {0};
    enum status status;
    TRY_TO(status, done, tok_regex_translate(&translated, pattern, n));
    TRY_TO(status, done, compile(r, &translated));
done:
    tok_text_free(&translated);
    return status;
}

enum status tok_regex_open(struct tok_regex **out, const char *pattern, size_t n, bool literal)
{
    *out = NULL;
    struct tok_regex *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return FAIL(MEMORY, "pattern: no memory");
    }
    const enum status status = regex_fill(r, pattern, n, literal);
    if (status != STATUS_OK) {
        tok_regex_close(r);
        return status_pass(status, __FILE__, __LINE__);
    }
    *out = r;
    return STATUS_OK;
}

void tok_regex_close(struct tok_regex *r)
{
    if (r != NULL) {
        pcre2_code_free(r->code);
        free(r->literal.data);
        free(r);
    }
}

static enum status run_open(struct tok_regex_run *run)
{
    if (run->data != NULL) {
        return STATUS_OK;
    }
    run->context = pcre2_match_context_create(NULL);
    run->stack = pcre2_jit_stack_create(JIT_STACK_START, JIT_STACK_MAX, NULL);
    run->data = pcre2_match_data_create(1, NULL);
    if (run->context == NULL || run->data == NULL) {
        return FAIL(MEMORY, "pattern: no memory to match it");
    }
    pcre2_match_context *context = run->context;
    (void)pcre2_set_match_limit(context, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(context, HEAP_KIB);
    if (run->stack != NULL) {
        pcre2_jit_stack_assign(context, NULL, run->stack);
    }
    return STATUS_OK;
}

void tok_regex_run_close(struct tok_regex_run *run)
{
    pcre2_match_data_free(run->data);
    pcre2_match_context_free(run->context);
    pcre2_jit_stack_free(run->stack);
    memset(run, 0, sizeof(*run));
}

/* First match at or behind `from`. */
static enum status search(const struct tok_regex *r, struct tok_regex_run *run, const char *subject,
                          size_t n, size_t from, size_t match[2], bool *found)
{
    TRY(run_open(run));
    /* the text is valid: checking it again would cost O(n) per match */
    uint32_t options = PCRE2_NO_UTF_CHECK;
    int count = pcre2_match(r->code, (PCRE2_SPTR)subject, n, from, options, run->data,
                            run->context);
    if (count == PCRE2_ERROR_JIT_STACKLIMIT) {
        options |= PCRE2_NO_JIT;
        count = pcre2_match(r->code, (PCRE2_SPTR)subject, n, from, options, run->data,
                            run->context);
    }
    *found = count >= 0;
    if (count < 0 && count != PCRE2_ERROR_NOMATCH) {
        char message[160] = "";
        (void)pcre2_get_error_message(count, (PCRE2_UCHAR *)message, sizeof(message));
        return FAIL(INPUT, "tokenizer: splitting a text of %zu bytes: %s; cut the text", n,
                    message);
    }
    if (*found) {
        const PCRE2_SIZE *range = pcre2_get_ovector_pointer(run->data);
        /* \K can put the start behind the end, or before `from` */
        match[1] = range[1] < from ? from : range[1];
        match[0] = range[0] < from ? from : range[0] > match[1] ? match[1] : range[0];
    }
    return STATUS_OK;
}

enum status tok_regex_next(const struct tok_regex *r, struct tok_regex_run *run,
                           const char *subject, size_t n, struct tok_regex_cursor *cursor,
                           size_t *begin, size_t *end, bool *found)
{
    if (r->code == NULL) {
        const char *at = memmem(subject + cursor->position, n - cursor->position, r->literal.data,
                                r->literal.length);
        *found = at != NULL;
        if (*found) {
            *begin = (size_t)(at - subject);
            *end = cursor->position = *begin + r->literal.length;
        }
        return STATUS_OK;
    }
    while (cursor->position <= n) {
        size_t match[2] = {0};
        TRY(search(r, run, subject, n, cursor->position, match, found));
        if (!*found) {
            return STATUS_OK;
        }
        if (match[0] == match[1] && cursor->matched && cursor->last_end == match[1]) {
            bool valid;
            cursor->position +=
                cursor->position < n
                    ? tok_utf8_step(subject + cursor->position, n - cursor->position, &valid)
                    : 1;
            continue;
        }
        cursor->position = cursor->last_end = match[1];
        cursor->matched = true;
        *begin = match[0];
        *end = match[1];
        return STATUS_OK;
    }
    *found = false;
    return STATUS_OK;
}
