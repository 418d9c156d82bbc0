/* Predicted cost of units; see cost.h. */
#include "trainer/model/cost.h"

#include <math.h>

/* Products of attention, forward and backward (2 + 5), against those of a frozen linear (1 + 1),
 * for the same size. */
static const double ATTENTION_TIMES = 3.5 / 2.0;

/* Keys that rows at positions [begin, end) see through a window (0: all before and themselves). */
static double keys_seen(int64_t begin, int64_t end, int64_t window)
{
    const double a = (double)begin;
    const double b = (double)end;
    const double w = (double)window;
    if (window <= 0 || b <= w) {
        return (b * (b + 1.0) - a * (a + 1.0)) / 2.0;
    }
    const double below = a < w ? (w * (w + 1.0) - a * (a + 1.0)) / 2.0 : 0.0;
    return below + (b - fmax(a, w)) * w;
}

/* Keys seen by all rows of the unit in a layer. */
static double unit_keys(const struct pack_unit *u, int64_t window)
{
    double keys = keys_seen(0, u->prompt_count, window);
    for (int64_t i = 0; i < u->branch_count; i++) {
        const int64_t rows = u->branches[i].count > 0 ? u->branches[i].count - 1 : 0;
        const int64_t end = u->prompt_count + rows;
        keys += keys_seen(end - pack_branch_new_rows(u->branches, i), end, window);
    }
    return keys;
}

int64_t unit_cost(const struct model_config *c, const struct pack_unit *u)
{
    const double hidden = (double)c->hidden;
    const double query = (double)(c->heads * c->head_dim);
    const double key = (double)(c->kv_heads * c->head_dim);
    const double layer = 2.0 * hidden * (query + key) + 3.0 * hidden * (double)c->ff;
    const double layers = layer * (double)c->layers;
    double work = layers * (double)pack_unit_rows(u)
                  + hidden * (double)c->vocab * (double)pack_unit_outputs(u);
    int64_t last = -1;
    double keys = 0.0;
    for (int64_t l = 0; l < c->layers; l++) {
        if (c->layer[l].window != last) { /* mostly one window for all, or two in turn */
            last = c->layer[l].window;
            keys = unit_keys(u, last);
        }
        work += ATTENTION_TIMES * 2.0 * query * keys;
    }
    return (int64_t)ceil((double)UNIT_COST_SCALE * work / layers);
}
