/* Private to trainer/model: encoding weights for either file format. */
#pragma once

#include "trainer/model/save.h"
#include "trainer/model/sites.h"

/* One matrix or vector to write. */
struct save_source {
    const struct linear *linear; /* matrices: rows are decoded from here ... */
    const float *values;         /* ... vectors are here */
    int64_t rows;
    int64_t columns;
    int dims;
    enum dtype dtype;
    float add;                   /* to every value of a vector: -1, 0 or +1 of plus-one norms */
    int64_t permute_head;        /* > 0: write rows in GGUF's order for heads of this size */
    model_edit_fn edit;
    void *edit_ctx;
};

/* Encodes into `arena` (measuring: only counts) and makes the view. A matrix that already has the
 * wanted type and order is borrowed instead. Fails with MEMORY or as the edit does. */
MUST_USE enum status save_encode(struct arena *arena, const struct save_source *s,
                                 struct tensor *out);

/* Receives each weight in Hugging Face's module order. `layer` < 0: outside the layers. */
typedef enum status (*save_visit_fn)(void *ctx, const struct site *site, int64_t layer,
                                     const struct linear *l, const struct norm *n);

/* Embedding, layers, final norm, and the head unless tied. Stops at fn's first failure. */
MUST_USE enum status save_walk(const struct model *m, save_visit_fn fn, void *ctx);
