/* Dataset rows to prompt ids: plain text or messages through the chat template. */
#pragma once

#include <jansson.h>

#include "trainer/text/chat_template.h"
#include "trainer/text/tokenizer.h"

struct prompt_format {
    const struct tokenizer *tokenizer;
    const struct chat_template *chat; /* NULL: rows with messages are refused */
    const char *column;               /* "prompt"; NULL: "prompt" */
    const char *system_prompt;        /* put in front as a system message, NULL: none */
    const json_t *template_kwargs;    /* object or NULL */
};

/* Appends the ids of row's prompt to `out`. A string is tokenized with the tokenizer's own specials
 * (training.md 1.3), or sent as the user's message when there is a system prompt; an array of
 * messages goes through the template with the generation prompt, without adding BOS. `where` names
 * the row in messages ("train.jsonl: row 3"). *text, when not NULL, receives the prompt text
 * (caller frees). Fails with INPUT. */
MUST_USE enum status prompt_ids(const struct prompt_format *f, const json_t *row, const char *where,
                                struct token_list *out, struct text *text);

/* Renders messages to text with this format's special tokens; generation prompt as asked. Spans as
 * chat_template_render (may be NULL). */
MUST_USE enum status prompt_render(const struct prompt_format *f, const json_t *messages,
                                   const json_t *tools, bool generation_prompt, struct text *out,
                                   struct template_span **spans, int64_t *span_count);

/* Text of a completion without special tokens. Ids beyond the tokenizer's vocabulary (rows that pad
 * a model's embedding) stand for no text, as in Transformers. The caller frees out->data. */
MUST_USE enum status completion_text(const struct tokenizer *tokenizer, const int32_t *ids,
                                     int64_t count, struct text *out);
