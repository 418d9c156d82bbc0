/* See panels.h. */
#include "trainer/model/panels.h"

enum { PANEL_ALIGN = 64 };

struct panel_walk {
    struct model *model;
    struct ops_context *ops;
    bool hang; /* else they are counted */
    bool fill;
    char *memory; /* NULL: the backend's have no bytes */
    size_t bytes;
    int64_t count;
};

static enum status each_panel(void *ctx, struct linear *l)
{
    struct panel_walk *w = ctx;
    struct tensor_panels panels;
    if (l == &w->model->embed) { /* looked up, not multiplied; a tied head is not walked over */
        l = w->model->config.tied ? &w->model->head : NULL;
    }
    if (!l) {
        return STATUS_OK;
    }
    w->ops->ops->panel_shape(w->ops, &l->w, &panels);
    if (w->hang) {
        uint16_t *to = panels.bytes ? (uint16_t *)(void *)(w->memory + w->bytes) : NULL;
        panels.data = to;
        w->model->panels[w->count] = panels;
        l->w.panels = &w->model->panels[w->count];
        if (w->fill && to) {
            w->ops->ops->panel_fill(w->ops, &l->w, to);
        }
    }
    w->count++;
    w->bytes += (panels.bytes + PANEL_ALIGN - 1) / PANEL_ALIGN * PANEL_ALIGN;
    return STATUS_OK;
}

/* The walk of a count changes nothing; the callback type is shared with those that do. */
static struct panel_walk count_panels(const struct model *m, const struct ops_context *c)
{
    struct panel_walk w = {.model = (struct model *)(uintptr_t)m,
                           .ops = (struct ops_context *)(uintptr_t)c};
    (void)!model_each_linear(w.model, each_panel, &w);
    return w;
}

size_t model_panel_bytes(const struct model *m, const struct ops_context *c)
{
    return count_panels(m, c).bytes;
}

enum status model_make_panels(struct model *m, struct ops_context *c, void *memory, bool fill)
{
    const struct panel_walk all = count_panels(m, c);
    struct panel_walk w = {.model = m, .ops = c, .hang = true, .fill = fill, .memory = memory};
    ASSERT(!m->panels && c->compute == COMPUTE_BF16);
    m->panels = calloc((size_t)all.count, sizeof *m->panels);
    if (!m->panels) {
        return FAIL(MEMORY, "%s: no memory for the panels of %lld linears", m->path,
                    (long long)all.count);
    }
    return model_each_linear(m, each_panel, &w);
}
