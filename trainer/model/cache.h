/*
 * Caches of a rollout. One interface (append, fork, truncate, snapshot) for the kinds paged K/V,
 * latent, recurrent and convolution; this file has the paged kind.
 *
 * Pages hold a multiple of OPS_ATTN_BLOCK positions of all layers (CACHE_PAGE unless told), and
 * sharing a prefix is sharing whole pages: fork() of a sequence shares its full pages by reference
 * count and copies the last, partly filled one.
 */
#pragma once

#include "kernels/base/arena.h"
#include "kernels/ops.h"

enum cache_kind { CACHE_PAGED, CACHE_LATENT, CACHE_RECURRENT, CACHE_CONVOLUTION };
enum { CACHE_PAGE = 32 };

struct kv_cache; /* opaque; keys and values per layer are [pages * page, kv_dim] */

struct kv_cache_shape {
    int64_t layers;
    int64_t kv_dim;     /* kv_heads * head_dim */
    int64_t pages;      /* page budget */
    int64_t sequences;  /* most sequences alive at once */
    int64_t length;     /* most positions of one sequence */
    int64_t page;       /* positions of a page, a multiple of OPS_ATTN_BLOCK; 0: CACHE_PAGE */
    bool rounded;       /* rows are bf16: what attention makes of them in COMPUTE_BF16 anyway */
};

/* Reserves the pages. Fails with MEMORY, naming the budget. */
MUST_USE enum status kv_cache_open(struct kv_cache **out, const struct kv_cache_shape *shape);

/* Frees the pages; handles are gone. NULL is allowed. */
void kv_cache_close(struct kv_cache *c);

/* Bytes kv_cache_open would reserve. */
size_t kv_cache_bytes(const struct kv_cache_shape *shape);

/* A new empty sequence; *seq its handle. Fails with MEMORY when all handles are in use. */
MUST_USE enum status kv_cache_new(struct kv_cache *c, int64_t *seq);

/* A new sequence with the first `length` positions of `from`. */
MUST_USE enum status kv_cache_fork(struct kv_cache *c, int64_t from, int64_t length, int64_t *seq);

/* Grows `seq` by `count` positions; rows of the new positions are then in kv_cache_rows. Fails with
 * MEMORY when the page budget is spent (says which key to raise). */
MUST_USE enum status kv_cache_append(struct kv_cache *c, int64_t seq, int64_t count);

/* Cuts `seq` to its first `length` positions. */
void kv_cache_truncate(struct kv_cache *c, int64_t seq, int64_t length);

/* Gives the sequence and its pages back. */
void kv_cache_free(struct kv_cache *c, int64_t seq);

/* Positions `seq` holds. */
int64_t kv_cache_length(const struct kv_cache *c, int64_t seq);

/* Pages no sequence uses. */
int64_t kv_cache_free_pages(const struct kv_cache *c);

/* Row of every position: key_rows[0 .. length). Borrowed, valid until the sequence changes. */
const int32_t *kv_cache_rows(const struct kv_cache *c, int64_t seq);

/* True when rows are bf16. */
bool kv_cache_rounded(const struct kv_cache *c);

/* Base of one layer's keys: [pages * page, kv_dim] floats, or uint16_t in a rounded cache. */
void *kv_cache_keys(const struct kv_cache *c, int64_t layer);

/* Values of one layer, same shape. */
void *kv_cache_values(const struct kv_cache *c, int64_t layer);
