/* A model opened for a command: backend, weights, adapter, tokenizer. */
#pragma once

#include "adapters/adapter.h"
#include "recipes/cli.h"
#include "trainer/comm/node_memory.h"
#include "trainer/text/chat_template.h"
#include "trainer/text/tokenizer.h"

struct session {
    struct ops_context ops;
    bool ops_open;
    struct model *model;
    struct node_memory panels; /* of the model; none but in bench */
    struct param_set params;
    struct adapter *adapter;
    struct tokenizer *tokenizer;
};

/* A backend of a process alone: `threads` (0: all CPUs) pinned where they fill the CPUs (places.h).
 */
MUST_USE enum status session_open_ops(struct ops_context *ops, int threads, enum compute compute);

/* Opens --model, --adapter, --compute, --threads, --context. Fails with USAGE when --model is
 * missing, else as the parts do. Close also after a failure. */
MUST_USE enum status session_open(struct session *s, const struct command_args *args);

/* Resident panels (base_cache: bf16) of a model whose weights stay, in *out; they last as long as
 * the model and are closed after it. Collective. Fails as node_memory_open and model_make_panels. */
MUST_USE enum status session_open_panels(struct model *m, struct ops_context *ops,
                                         const struct comm *comm, struct node_memory *out);

/* Opens the tokenizer of `path` (GGUF file, folder or tokenizer.json). */
MUST_USE enum status session_open_tokenizer(struct tokenizer **out, const char *path);

/* s->tokenizer from --tokenizer or --model, once. */
MUST_USE enum status session_tokenizer(struct session *s, const struct command_args *args);

/* Frees everything. */
void session_close(struct session *s);
