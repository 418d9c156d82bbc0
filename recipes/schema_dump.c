/* A recipe as text: resolved copy, reference for --help, differences and hash for resume. */
#include <openssl/evp.h>
#include <string.h>

#include "recipes/schema_internal.h"
#include "trainer/optim/schedule.h"

static enum status finish(FILE *out, char **text)
{
    const bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(*text);
        *text = NULL;
        return FAIL(MEMORY, "recipe: out of memory");
    }
    return STATUS_OK;
}

/* A round's size and its batches say the same thing, and a recipe that sets both is refused. */
static bool follows(const struct recipe *r, const struct recipe_field *f)
{
    return f->flags & FIELD_FOLLOWS && r->steps_per_generation != RECIPE_UNSET;
}

enum status recipe_dump(const struct recipe *r, char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    const char *group = "";
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        if (!schema_applies(f, r->method)) {
            continue;
        }
        if (strcmp(group, f->group) != 0) {
            (void)fprintf(out, "%s# %s\n", *group ? "\n" : "", f->group);
            group = f->group;
        }
        (void)fprintf(out, "%s%s: ", follows(r, f) ? "# " : "", f->key);
        schema_print(out, r, f);
        (void)fputc('\n', out);
    }
    return finish(out, text);
}

/* One field as "key: value" text. */
static enum status field_text(const struct recipe *r, const struct recipe_field *f, char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    (void)fprintf(out, "%s: ", f->key);
    schema_print(out, r, f);
    return finish(out, text);
}

/* A step's rate is the same whatever the length of the run: such a run can be made longer. */
static bool rate_without_length(const struct recipe *r)
{
    return r->lr_scheduler_type == SCHEDULE_CONSTANT
           || (r->lr_scheduler_type == SCHEDULE_CONSTANT_WITH_WARMUP
               && (r->warmup_steps >= 1 || r->warmup_steps == 0));
}

static bool decides(const struct recipe *r, const struct recipe_field *f)
{
    return !(f->flags & FIELD_FREE) && !(f->flags & FIELD_LENGTH && rate_without_length(r))
           && schema_applies(f, r->method);
}

enum status recipe_diff(const struct recipe *a, const struct recipe *b, char **text)
{
    size_t size;
    char *names = NULL;
    *text = NULL;
    FILE *out = open_memstream(&names, &size);
    if (!out) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    enum status status = STATUS_OK;
    bool any = false;
    for (size_t i = 0; i < schema_count() && status == STATUS_OK; i++) {
        const struct recipe_field *f = schema_field(i);
        char *left = NULL;
        char *right = NULL;
        if (!decides(a, f) && !decides(b, f)) {
            continue;
        }
        status = field_text(a, f, &left);
        if (status == STATUS_OK) {
            status = field_text(b, f, &right);
        }
        if (status == STATUS_OK && strcmp(left, right) != 0) {
            (void)fprintf(out, "%s%s", any ? ", " : "", f->key);
            any = true;
        }
        free(left);
        free(right);
    }
    const enum status closed = finish(out, &names);
    status = status == STATUS_OK ? closed : status;
    if (status == STATUS_OK && any) {
        *text = names;
    } else {
        free(names);
    }
    return status;
}

enum status recipe_hash(const struct recipe *r, char out[65])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned length = 0;
    EVP_MD_CTX *md = EVP_MD_CTX_new();
    bool good = md && EVP_DigestInit_ex(md, EVP_sha256(), NULL) == 1;
    enum status status = STATUS_OK;
    for (size_t i = 0; i < schema_count() && status == STATUS_OK; i++) {
        char *text = NULL;
        if (decides(r, schema_field(i))) {
            status = field_text(r, schema_field(i), &text);
            good = good && status == STATUS_OK && EVP_DigestUpdate(md, text, strlen(text) + 1) == 1;
            free(text);
        }
    }
    good = good && EVP_DigestFinal_ex(md, digest, &length) == 1 && length == 32;
    EVP_MD_CTX_free(md);
    TRY(status);
    if (!good) {
        return FAIL(INTERNAL, "recipe: SHA-256 failed");
    }
    for (unsigned i = 0; i < length; i++) {
        (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
    }
    return STATUS_OK;
}

static bool listed(const struct recipe_field *f, unsigned methods)
{
    return f->methods == 0 || (f->methods & methods) ||
           (methods & RECIPE_RLOO && f->methods & RECIPE_GRPO) ||
           (methods & (RECIPE_EVAL | RECIPE_GENERATE) && !(methods & RECIPE_SFT) &&
            f->methods != RECIPE_SFT);
}

static void print_defaults(FILE *out, const struct recipe_field *f, unsigned methods)
{
    const char *other = f->def_grpo ? f->def_grpo : f->def;
    if (strcmp(f->def, other) == 0 || !(methods & ~(unsigned)RECIPE_SFT)) {
        (void)fprintf(out, "%s", f->def);
    } else if (!(methods & RECIPE_SFT)) {
        (void)fprintf(out, "%s", other);
    } else {
        (void)fprintf(out, "sft %s, grpo %s", f->def, other);
    }
}

enum status recipe_reference(unsigned methods, char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    const char *group = "";
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        char allowed[512];
        if (!listed(f, methods)) {
            continue;
        }
        if (strcmp(group, f->group) != 0) {
            (void)fprintf(out, "\n%s keys\n", f->group);
            group = f->group;
        }
        schema_describe(f, allowed, sizeof allowed);
        (void)fprintf(out, "  %s: ", f->key);
        print_defaults(out, f, methods);
        (void)fprintf(out, "\n      %s\n      %s", f->doc, allowed);
        if (f->aliases) {
            (void)fprintf(out, "; also written %s", f->aliases);
        }
        (void)fputc('\n', out);
    }
    return finish(out, text);
}
