/*
 * Chat templates: an interpreter of the Jinja subset of spec training.md 6. Bounded in steps,
 * output and depth; reaches no file, environment, clock (but the one passed in) or process.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "kernels/base/status.h"
#include "trainer/text/tokenizer.h"

struct chat_template;

/* Parses `source`. Fails with INPUT naming line and what was found. */
MUST_USE enum status chat_template_open(struct chat_template **out, const char *source);

/* Frees the parsed template. NULL is allowed. */
void chat_template_close(struct chat_template *t);

/* Character range inside the output, from {% generation %} blocks; byte offsets [begin, end). */
struct template_span {
    int64_t begin;
    int64_t end;
};

struct template_options {
    const json_t *messages;     /* array of objects; required */
    const json_t *tools;        /* array or NULL (never an empty array: pass NULL) */
    const json_t *documents;    /* array or NULL */
    const json_t *kwargs;       /* object merged into the variables, or NULL */
    bool add_generation_prompt;
    const char *bos_token;      /* special tokens as variables; NULL: undefined */
    const char *eos_token;
    const char *pad_token;
    const char *unk_token;
    int64_t now;                /* Unix seconds for strftime_now, shown as UTC: add the offset of
                                   the time zone for local time */
    bool continue_final_message; /* end where the last message's content ends, with no end of turn,
                                    so that it can be continued (not with add_generation_prompt) */
};

/* Renders. *out is malloc'd text (caller frees out->data); *spans malloc'd (caller frees), may be
 * NULL when not wanted. raise_exception fails with INPUT and its exact text; limits (1e7 steps, 64
 * MiB of output, depth 200) fail with INPUT naming the limit. Messages' reasoning fields are
 * aliased first (training.md 6). */
MUST_USE enum status chat_template_render(const struct chat_template *t,
                                          const struct template_options *options, struct text *out,
                                          struct template_span **spans, int64_t *span_count);
