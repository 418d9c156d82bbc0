/* Memory of templates and renders: one pool freed as a whole, and capped growing buffers. */
#include <string.h>

#include "kernels/base/checked.h"
#include "trainer/text/jinja_internal.h"

enum { FIRST_CHUNK = 16 << 10, LARGEST_CHUNK = 4 << 20, ALIGN = 16 };

struct jinja_chunk {
    struct jinja_chunk *next;
    size_t size;
};

static enum status chunk_add(struct jinja_pool *p, size_t bytes)
{
    size_t size = p->used < FIRST_CHUNK ? FIRST_CHUNK : p->used;
    size = size > LARGEST_CHUNK ? LARGEST_CHUNK : size;
    const size_t needed = bytes + ALIGN; /* bytes <= JINJA_MEMORY: cannot overflow */
    size = size < needed ? needed : size;
    if (size > JINJA_MEMORY - p->used) {
        return FAIL(INPUT,
                    "chat template: it needs more than %zu MiB of memory; simplify the template or "
                    "shorten the messages",
                    JINJA_MEMORY >> 20);
    }
    struct jinja_chunk *c = malloc(size + ALIGN);
    if (!c) {
        return FAIL(MEMORY, "chat template: no memory for %zu bytes", size);
    }
    *c = (struct jinja_chunk){.next = p->chunks, .size = size};
    _Static_assert(sizeof(struct jinja_chunk) <= ALIGN, "the header fits before the first item");
    p->chunks = c;
    p->top = (char *)c + ALIGN;
    p->left = size;
    p->used += size;
    return STATUS_OK;
}

enum status jinja_alloc(struct jinja_pool *p, size_t bytes, void *out)
{
    size_t rounded;
    if (bytes > JINJA_MEMORY || !checked_align(bytes ? bytes : 1, ALIGN, &rounded)) {
        return FAIL(INPUT, "chat template: it asks for %zu bytes at once", bytes);
    }
    if (rounded > p->left) {
        TRY(chunk_add(p, rounded));
    }
    void *at = p->top;
    memcpy(out, &at, sizeof at);
    p->top += rounded;
    p->left -= rounded;
    return STATUS_OK;
}

void jinja_pool_close(struct jinja_pool *p)
{
    while (p->chunks) {
        struct jinja_chunk *next = p->chunks->next;
        free(p->chunks);
        p->chunks = next;
    }
    *p = (struct jinja_pool){0};
}

enum status jinja_buffer_add(struct jinja_buffer *b, const char *data, size_t size)
{
    if (size > JINJA_OUTPUT - b->size) {
        return FAIL(INPUT,
                    "chat template: the output is longer than %d MiB; shorten the messages or "
                    "mend the template",
                    JINJA_OUTPUT >> 20);
    }
    if (b->size + size + 1 > b->capacity) {
        size_t capacity = b->capacity ? b->capacity : 256;
        while (capacity < b->size + size + 1) {
            capacity *= 2;
        }
        char *grown = realloc(b->data, capacity);
        if (!grown) {
            return FAIL(MEMORY, "chat template: no memory for %zu bytes of output", capacity);
        }
        b->data = grown;
        b->capacity = capacity;
    }
    if (size > 0) {
        memcpy(b->data + b->size, data, size);
    }
    b->size += size;
    b->data[b->size] = '\0';
    return STATUS_OK;
}
