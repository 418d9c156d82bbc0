/*
 * Hash tables with open addressing: token text <-> id, pairs of ids -> merge, and a byte trie whose
 * edges are such pairs. Built once, then only read, so encode calls may run on many threads.
 */
#include <string.h>

#include "trainer/text/tokenizer_internal.h"

static uint64_t hash_mix(uint64_t x)
{
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93U;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93U;
    return x ^ (x >> 32);
}

static uint64_t hash_bytes(const char *bytes, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15U;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t word;
        memcpy(&word, bytes + i, 8);
        h = hash_mix(h ^ word);
    }
    uint64_t tail = 0;
    for (; i < n; i++) {
        tail = (tail << 8) | (uint8_t)bytes[i];
    }
    return hash_mix(h ^ tail);
}

/* Slot that holds the string, or the empty slot where it would go. */
static size_t vocab_slot(const struct tok_vocab *v, const char *bytes, size_t n)
{
    size_t slot = (size_t)hash_bytes(bytes, n) & (v->slot_count - 1);
    while (v->slots[slot] != 0) {
        const struct tok_entry *e = &v->entries[v->slots[slot] - 1];
        if (e->length == n && memcmp(v->pool + e->offset, bytes, n) == 0) {
            break;
        }
        slot = (slot + 1) & (v->slot_count - 1);
    }
    return slot;
}

static enum status vocab_rehash(struct tok_vocab *v)
{
    if (v->slot_count > 0 && (size_t)v->count * 2 < v->slot_count) {
        return STATUS_OK;
    }
    const size_t slot_count = v->slot_count == 0 ? 64 : v->slot_count * 2;
    int32_t *slots = calloc(slot_count, sizeof(*slots));
    if (slots == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for a vocabulary of %lld tokens",
                    (long long)v->count);
    }
    free(v->slots);
    v->slots = slots;
    v->slot_count = slot_count;
    for (int64_t i = 0; i < v->count; i++) {
        const struct tok_entry *e = &v->entries[i];
        v->slots[vocab_slot(v, v->pool + e->offset, e->length)] = (int32_t)(i + 1);
    }
    return STATUS_OK;
}

static enum status vocab_append(struct tok_vocab *v, const char *bytes, size_t n, int32_t id)
{
    TRY(vocab_rehash(v));
    TRY(tok_grow(&v->entries, &v->capacity, v->count + 1, sizeof(*v->entries)));
    TRY(tok_grow(&v->pool, &v->pool_capacity, v->pool_length + (int64_t)n + 1, 1));
    const size_t slot = vocab_slot(v, bytes, n);
    if (n > 0) {
        memcpy(v->pool + v->pool_length, bytes, n);
    }
    v->pool[v->pool_length + (int64_t)n] = '\0';
    v->entries[v->count] = (struct tok_entry){.offset = (size_t)v->pool_length,
                                              .length = (uint32_t)n, .id = id};
    v->pool_length += (int64_t)n + 1;
    v->count++;
    v->slots[slot] = (int32_t)v->count;
    if (n > v->longest) {
        v->longest = (uint32_t)n;
    }
    return STATUS_OK;
}

enum status tok_vocab_add(struct tok_vocab *v, const char *bytes, size_t n, int64_t id)
{
    if (id < 0 || id >= TOK_MAX_ID || n > TOK_MAX_BUFFER) {
        return FAIL(INPUT, "vocabulary: token '%.40s' has id %lld; ids go from 0 to %d", bytes,
                    (long long)id, TOK_MAX_ID - 1);
    }
    const int64_t known = v->id_capacity;
    TRY(tok_grow(&v->by_id, &v->id_capacity, id + 1, sizeof(*v->by_id)));
    memset(v->by_id + known, 0, (size_t)(v->id_capacity - known) * sizeof(*v->by_id));
    if (v->slot_count > 0) {
        const int32_t found = v->slots[vocab_slot(v, bytes, n)];
        if (found != 0) { /* the last of two equal tokens is found by text, both by id */
            v->entries[found - 1].id = (int32_t)id;
            v->by_id[id] = found;
            v->size = id >= v->size ? (int32_t)id + 1 : v->size;
            return STATUS_OK;
        }
    }
    TRY(vocab_append(v, bytes, n, (int32_t)id));
    v->by_id[id] = (int32_t)v->count;
    v->size = id >= v->size ? (int32_t)id + 1 : v->size;
    return STATUS_OK;
}

int32_t tok_vocab_find(const struct tok_vocab *v, const char *bytes, size_t n)
{
    if (v->slot_count == 0 || n > v->longest) {
        return -1;
    }
    const int32_t found = v->slots[vocab_slot(v, bytes, n)];
    return found == 0 ? -1 : v->entries[found - 1].id;
}

const char *tok_vocab_text(const struct tok_vocab *v, int32_t id, size_t *n)
{
    if (id < 0 || id >= v->size || v->by_id[id] == 0) {
        return NULL;
    }
    const struct tok_entry *e = &v->entries[v->by_id[id] - 1];
    *n = e->length;
    return v->pool + e->offset;
}

void tok_vocab_free(struct tok_vocab *v)
{
    free(v->pool);
    free(v->entries);
    free(v->slots);
    free(v->by_id);
    memset(v, 0, sizeof(*v));
}

static size_t pairs_slot(const struct tok_pairs *p, uint64_t key)
{
    size_t slot = (size_t)hash_mix(key) & (p->slot_count - 1);
    while (p->slots[slot].key != UINT64_MAX && p->slots[slot].key != key) {
        slot = (slot + 1) & (p->slot_count - 1);
    }
    return slot;
}

static enum status pairs_rehash(struct tok_pairs *p)
{
    if (p->slot_count > 0 && p->count * 2 < p->slot_count) {
        return STATUS_OK;
    }
    struct tok_pairs grown = {.slot_count = p->slot_count == 0 ? 64 : p->slot_count * 2,
                              .count = p->count};
    grown.slots = malloc(grown.slot_count * sizeof(*grown.slots));
    if (grown.slots == NULL) {
        return FAIL(MEMORY, "tokenizer: no memory for %zu merges", grown.slot_count);
    }
    memset(grown.slots, 0xFF, grown.slot_count * sizeof(*grown.slots));
    for (size_t i = 0; i < p->slot_count; i++) {
        if (p->slots[i].key != UINT64_MAX) {
            grown.slots[pairs_slot(&grown, p->slots[i].key)] = p->slots[i];
        }
    }
    free(p->slots);
    *p = grown;
    return STATUS_OK;
}

static uint64_t pair_key(int32_t left, int32_t right)
{
    return ((uint64_t)(uint32_t)left << 32) | (uint32_t)right;
}

enum status tok_pairs_put(struct tok_pairs *p, int32_t left, int32_t right, int32_t rank,
                          int32_t id)
{
    TRY(pairs_rehash(p));
    const uint64_t key = pair_key(left, right);
    struct tok_pair *slot = &p->slots[pairs_slot(p, key)];
    p->count += slot->key == UINT64_MAX;
    *slot = (struct tok_pair){.key = key, .rank = rank, .id = id};
    return STATUS_OK;
}

const struct tok_pair *tok_pairs_get(const struct tok_pairs *p, int32_t left, int32_t right)
{
    if (p->slot_count == 0) {
        return NULL;
    }
    const struct tok_pair *slot = &p->slots[pairs_slot(p, pair_key(left, right))];
    return slot->key == UINT64_MAX ? NULL : slot;
}

int32_t tok_trie_step(const struct tok_trie *t, int32_t node, char byte)
{
    const struct tok_pair *edge = tok_pairs_get(&t->edges, node, (uint8_t)byte);
    return edge == NULL ? -1 : edge->id;
}

static enum status trie_node(struct tok_trie *t)
{
    TRY(tok_grow(&t->values, &t->capacity, t->nodes + 1, sizeof(*t->values)));
    t->values[t->nodes++] = -1;
    return STATUS_OK;
}

enum status tok_trie_add(struct tok_trie *t, const char *bytes, size_t n, int32_t value)
{
    if (t->nodes == 0) {
        TRY(trie_node(t));
    }
    if (n == 0 || t->nodes + (int64_t)n >= INT32_MAX) {
        return n == 0 ? STATUS_OK : FAIL(INPUT, "vocabulary: over 2^31 bytes of tokens");
    }
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t next = tok_trie_step(t, node, bytes[i]);
        if (next < 0) {
            next = (int32_t)t->nodes;
            TRY(trie_node(t));
            TRY(tok_pairs_put(&t->edges, node, (uint8_t)bytes[i], 0, next));
        }
        node = next;
    }
    t->values[node] = value;
    t->first[(uint8_t)bytes[0]] = true;
    return STATUS_OK;
}

void tok_trie_free(struct tok_trie *t)
{
    free(t->edges.slots);
    free(t->values);
    memset(t, 0, sizeof(*t));
}
