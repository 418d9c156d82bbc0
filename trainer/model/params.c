/* Trainable parameters; see params.h. */
#include "trainer/model/params.h"

#include <inttypes.h>
#include <string.h>

#include "kernels/base/checked.h"

enum { PARAM_PAD = 16, FIRST_CAPACITY = 64, ARRAYS_WITHOUT_MOMENTS = 2 };

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

size_t param_set_bytes(const struct param_set *p, int moments)
{
    const size_t arrays = (size_t)(ARRAYS_WITHOUT_MOMENTS + moments);
    return arrays * ((size_t)p->total * sizeof(float) + ARENA_ALIGN);
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

enum status param_set_seal(struct param_set *p, int moments)
{
    ASSERT(!p->sealed && moments >= 0 && moments <= 2);
    const size_t total = (size_t)p->total;
    TRY(arena_open(&p->arena, "train", param_set_bytes(p, moments)));
    TRY(arena_alloc(&p->arena, total, sizeof(float), &p->value));
    TRY(arena_alloc(&p->arena, total, sizeof(float), &p->grad));
    if (moments > 0) {
        TRY(arena_alloc(&p->arena, total, sizeof(float), &p->m));
    }
    if (moments > 1) {
        TRY(arena_alloc(&p->arena, total, sizeof(float), &p->v));
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
