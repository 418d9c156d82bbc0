/* Recipes of a few lines; see refused_recipes.h. */
#include "tests/support/refused_recipes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum status recipe_lines_open(struct recipe *r, enum recipe_method method, const char *base,
                              const char *more)
{
    char text[4096];
    const int length = snprintf(text, sizeof text, "%s%s\n", base, more);
    assert_true(length > 0 && (size_t)length < sizeof text);
    TRY(recipe_open_text(r, method, "x.yaml", text));
    return recipe_resolve(r, 1);
}

void refused_recipes_check(const char *base, const struct refused_recipe *cases, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct refused_recipe *c = &cases[i];
        struct recipe r = {0};
        const enum status status =
            recipe_lines_open(&r, c->method ? c->method : RECIPE_SFT, base, c->text);
        if (status != STATUS_RECIPE) {
            fail_msg("%s: %s", c->text, status == STATUS_OK ? "taken" : status_message());
        }
        for (size_t k = 0; k < 3 && c->says[k]; k++) {
            if (!strstr(status_message(), c->says[k])) {
                fail_msg("%s: '%s' is not in: %s", c->text, c->says[k], status_message());
            }
        }
        recipe_close(&r);
        status_clear();
    }
}

int64_t recipe_notes_about(const struct recipe *r, const char *part)
{
    int64_t count = 0;
    for (int64_t i = 0; i < r->notes.count; i++) {
        count += strstr(r->notes.items[i], part) != NULL;
    }
    return count;
}
