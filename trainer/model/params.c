/* Trainable parameters; see params.h. */
#include "trainer/model/params.h"

#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "kernels/base/checked.h"

enum { PARAM_PAD = 16, FIRST_CAPACITY = 64 };

/* True when the part of the name that ends at `end` is norm or ends in _norm. */
static bool norm_ends(const char *name, const char *end)
{
    const ptrdiff_t n = end - name;
    if (n < 4 || strncasecmp(end - 4, "norm", 4) != 0) {
        return false;
    }
    return n == 4 || end[-5] == '.' || end[-5] == '_';
}

bool param_name_decays(const char *name)
{
    if (strcasestr(name, "bias") || strcasestr(name, "layernorm") || strcasestr(name, "rmsnorm")) {
        return false;
    }
    for (const char *end = name; *end; end++) {
        if ((end[1] == '.' || end[1] == '\0') && norm_ends(name, end + 1)) {
            return false;
        }
    }
    return true;
}

void param_set_open(struct param_set *p)
{
    *p = (struct param_set){0};
}

/* Room for one more entry. */
static enum status grow(struct param_set *p)
{
    if (p->count < p->capacity) {
        return STATUS_OK;
    }
    const int64_t capacity = p->capacity ? 2 * p->capacity : FIRST_CAPACITY;
    struct param *params = realloc(p->params, (size_t)capacity * sizeof *params);
    if (!params) {
        return FAIL(MEMORY, "parameters: no memory for %" PRId64 " entries", capacity);
    }
    p->params = params;
    p->capacity = capacity;
    return STATUS_OK;
}

static enum status shape_count(const char *name, int dims, const int64_t *shape, int64_t *count)
{
    if (dims < 1 || dims > TENSOR_MAX_DIMS) {
        return FAIL(INPUT, "parameter '%s': %d dimensions, 1 to %d are possible", name, dims,
                    TENSOR_MAX_DIMS);
    }
    *count = 1;
    for (int i = 0; i < dims; i++) {
        if (shape[i] < 1 || __builtin_mul_overflow(*count, shape[i], count)
            || *count > INT64_MAX / 64) {
            return FAIL(INPUT, "parameter '%s': impossible size %" PRId64 " of dimension %d", name,
                        shape[i], i);
        }
    }
    return STATUS_OK;
}

enum status param_set_add(struct param_set *p, const char *name, int dims, const int64_t *shape,
                          bool decay, int64_t *index)
{
    ASSERT(!p->sealed);
    int64_t count;
    TRY(shape_count(name, dims, shape, &count));
    if (param_set_find(p, name) >= 0) {
        return FAIL(INPUT, "parameter '%s' is there already", name);
    }
    TRY(grow(p));
    const int64_t padded = (count + PARAM_PAD - 1) / PARAM_PAD * PARAM_PAD;
    if (p->total > INT64_MAX / 64 - padded) {
        return FAIL(MEMORY, "parameter '%s': the set overflows the address space", name);
    }
    char *copy = strdup(name);
    if (!copy) {
        return FAIL(MEMORY, "parameter '%s': no memory for its name", name);
    }
    struct param *e = &p->params[p->count];
    *e = (struct param){
        .name = copy, .dims = dims, .count = count, .offset = p->total, .decay = decay};
    memcpy(e->shape, shape, (size_t)dims * sizeof *shape);
    *index = p->count++;
    p->total += padded;
    return STATUS_OK;
}

static size_t slot_bytes(const struct param_slot *s)
{
    const size_t bytes = (size_t)s->count * (s->bytes ? 1 : sizeof(float));
    return (bytes + ARENA_ALIGN - 1) / ARENA_ALIGN * ARENA_ALIGN;
}

/* Bytes of slot k of every parameter, as `layout` wants it. */
static size_t slots_bytes(const struct param_set *p, const struct param_layout *layout, int k)
{
    size_t bytes = 0;
    for (int64_t i = 0; i < p->count; i++) {
        struct param_slot slot[PARAM_SLOTS] = {{0}};
        layout->slots(layout->ctx, &p->params[i], slot);
        bytes += slot_bytes(&slot[k]);
    }
    return bytes;
}

size_t param_set_bytes(const struct param_set *p, const struct param_layout *layout)
{
    size_t bytes = 2 * ((size_t)p->total * sizeof(float) + ARENA_ALIGN);
    for (int k = 0; layout && k < PARAM_SLOTS; k++) {
        bytes += slots_bytes(p, layout, k);
    }
    return bytes + (layout ? layout->workspace + ARENA_ALIGN : 0);
}

/* One run of memory per slot number, so that the slots of neighbours are neighbours too. */
static enum status lay_out(struct param_set *p, const struct param_layout *layout)
{
    for (int64_t i = 0; i < p->count; i++) {
        layout->slots(layout->ctx, &p->params[i], p->params[i].slot);
    }
    for (int k = 0; k < PARAM_SLOTS; k++) {
        uint8_t *at;
        TRY(arena_alloc(&p->arena, slots_bytes(p, layout, k), 1, &at));
        for (int64_t i = 0; i < p->count; i++) {
            struct param_slot *slot = &p->params[i].slot[k];
            slot->data = slot->name ? at : NULL;
            at += slot_bytes(slot);
        }
    }
    p->optimizer = layout->optimizer;
    return arena_alloc(&p->arena, layout->workspace, 1, &p->workspace);
}

static struct tensor view_of(const struct param_set *p, const struct param *e)
{
    struct tensor t = {.dtype = DTYPE_F32,
                       .dims = e->dims,
                       .row_bytes = (size_t)e->shape[e->dims - 1] * sizeof(float),
                       .data = p->value + e->offset};
    memcpy(t.shape, e->shape, sizeof t.shape);
    return t;
}

enum status param_set_seal(struct param_set *p, const struct param_layout *layout)
{
    ASSERT(!p->sealed);
    const size_t total = (size_t)p->total;
    TRY(arena_open(&p->arena, "train", param_set_bytes(p, layout)));
    TRY(arena_alloc(&p->arena, total, sizeof(float), &p->value));
    TRY(arena_alloc(&p->arena, total, sizeof(float), &p->grad));
    if (layout) {
        TRY(lay_out(p, layout));
    }
    for (int64_t i = 0; i < p->count; i++) {
        p->params[i].view = view_of(p, &p->params[i]);
    }
    p->sealed = true;
    return STATUS_OK;
}

float *param_value(const struct param_set *p, int64_t index)
{
    ASSERT(p->sealed && index >= 0 && index < p->count);
    return p->value + p->params[index].offset;
}

float *param_grad(const struct param_set *p, int64_t index)
{
    ASSERT(p->sealed && index >= 0 && index < p->count);
    return p->grad + p->params[index].offset;
}

int64_t param_set_find(const struct param_set *p, const char *name)
{
    for (int64_t i = 0; i < p->count; i++) {
        if (strcmp(p->params[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

struct param_slot *param_find_slot(const struct param_set *p, int64_t index, const char *name)
{
    ASSERT(p->sealed && index >= 0 && index < p->count);
    for (int k = 0; k < PARAM_SLOTS; k++) {
        struct param_slot *slot = &p->params[index].slot[k];
        if (slot->name && strcmp(slot->name, name) == 0) {
            return slot;
        }
    }
    return NULL;
}

void param_set_close(struct param_set *p)
{
    for (int64_t i = 0; i < p->count; i++) {
        /* The header shows names read-only; they were made by strdup above. */
        free((void *)(uintptr_t)p->params[i].name);
    }
    free(p->params);
    arena_close(&p->arena);
    *p = (struct param_set){0};
}
