/* Opening a recipe: defaults, file, arguments, keys of other programs; see schema.h. */
#include "recipes/schema.h"

#include <stdarg.h>
#include <string.h>
#include <strings.h>

#include "recipes/schema_internal.h"
#include "recipes/suggest.h"

enum { PLACE_CAP = 512 };

/* True when the space-separated `words` hold `word` (case ignored). */
static bool words_hold(const char *words, const char *word)
{
    const size_t length = strlen(word);
    for (const char *p = words; p && *p && length > 0;) {
        const size_t n = strcspn(p, " ");
        if (n == length && strncasecmp(p, word, n) == 0) {
            return true;
        }
        p += n + strspn(p + n, " ");
    }
    return false;
}

const struct recipe_field *schema_find(const char *key)
{
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        if (strcmp(f->key, key) == 0 || words_hold(f->aliases, key)) {
            return f;
        }
    }
    return NULL;
}

const struct recipe_field *schema_find_for(const char *key, enum recipe_method method)
{
    const bool list = method == RECIPE_DPO && strcmp(key, "loss_type") == 0;
    return schema_find(list ? "dpo_loss_type" : key);
}

const struct recipe_foreign *schema_find_foreign(const char *key)
{
    for (size_t i = 0; i < RECIPE_FOREIGN_COUNT; i++) {
        const char *name = RECIPE_FOREIGN[i].key;
        const size_t n = strlen(name);
        const bool prefix = name[n - 1] == '*';
        if (prefix ? strncmp(name, key, n - 1) == 0 : strcmp(name, key) == 0) {
            return &RECIPE_FOREIGN[i];
        }
    }
    return NULL;
}

bool recipe_knows_key(const char *word)
{
    return schema_find(word) || schema_find_foreign(word);
}

bool schema_applies(const struct recipe_field *f, enum recipe_method method)
{
    const unsigned family = method == RECIPE_RLOO ? RECIPE_RLOO | RECIPE_GRPO : (unsigned)method;
    return f->methods == 0 || (f->methods & family) ||
           (method & (RECIPE_EVAL | RECIPE_GENERATE));
}

const char *recipe_method_name(unsigned methods)
{
    static const struct {
        unsigned bit;
        const char *name;
    } NAMES[] = {{RECIPE_SFT, "sft"},   {RECIPE_GRPO, "grpo"},         {RECIPE_RLOO, "rloo"},
                 {RECIPE_DPO, "dpo"},   {RECIPE_KTO, "kto"},
                 {RECIPE_REWARD_MODEL, "reward-model"},
                 {RECIPE_DISTILL, "distill"},
                 {RECIPE_EVAL, "eval"}, {RECIPE_GENERATE, "generate"}};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        if (methods & NAMES[i].bit) {
            return NAMES[i].name;
        }
    }
    return "no method";
}

const char *schema_default(const struct recipe_field *f, enum recipe_method method)
{
    return f->def_grpo && method != RECIPE_SFT ? f->def_grpo : f->def;
}

bool recipe_given(const struct recipe *r, const char *key)
{
    const struct recipe_field *f = schema_find(key);
    return f && r->given && r->given[schema_index(f)];
}

enum recipe_method recipe_training_method(size_t i)
{
    static const enum recipe_method METHODS[] = {RECIPE_SFT, RECIPE_GRPO, RECIPE_RLOO, RECIPE_DPO,
                                                 RECIPE_KTO,  RECIPE_REWARD_MODEL,
                                                 RECIPE_DISTILL};
    return i < sizeof METHODS / sizeof *METHODS ? METHODS[i] : (enum recipe_method)0;
}

enum recipe_method recipe_guess_method(const struct recipe *r)
{
    unsigned trains = RECIPE_ANY;
    bool evaluates = false;
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        unsigned takes = 0;
        for (size_t k = 0; recipe_training_method(k); k++) {
            takes |= schema_applies(f, recipe_training_method(k)) ? recipe_training_method(k) : 0;
        }
        trains &= r->given[i] && trains & takes ? takes : ~0u;
        evaluates |= r->given[i] && strcmp(f->group, "evaluation") == 0;
    }
    if (evaluates && !recipe_given(r, "output_dir")) {
        return RECIPE_EVAL;
    }
    size_t k = 0;
    while (!(trains & recipe_training_method(k))) {
        k++;
    }
    return recipe_training_method(k);
}

enum status schema_note(struct recipe *r, const char *fmt, ...)
{
    va_list args;
    char text[512];
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    char **grown = realloc(r->notes.items, (size_t)(r->notes.count + 1) * sizeof *grown);
    if (!grown) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    r->notes.items = grown;
    grown[r->notes.count] = strdup(text);
    if (!grown[r->notes.count]) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    r->notes.count++;
    return STATUS_OK;
}

/* All names a key may be written by, for suggestions. */
struct name_table {
    char text[32768];
    size_t used;
    const char *names[1024];
    size_t count;
};

static void name_add(struct name_table *t, const char *word, size_t length)
{
    const bool room = t->count < sizeof t->names / sizeof *t->names &&
                      t->used + length + 1 <= sizeof t->text;
    ASSERT(room);
    memcpy(t->text + t->used, word, length);
    t->text[t->used + length] = '\0';
    t->names[t->count++] = t->text + t->used;
    t->used += length + 1;
}

static void name_table_fill(struct name_table *t)
{
    t->used = 0;
    t->count = 0;
    for (size_t i = 0; i < schema_count(); i++) {
        name_add(t, schema_field(i)->key, strlen(schema_field(i)->key));
    }
    for (size_t i = 0; i < schema_count(); i++) {
        for (const char *p = schema_field(i)->aliases; p && *p;) {
            const size_t n = strcspn(p, " ");
            name_add(t, p, n);
            p += n + strspn(p + n, " ");
        }
    }
    for (size_t i = 0; i < RECIPE_FOREIGN_COUNT; i++) {
        if (!strchr(RECIPE_FOREIGN[i].key, '*')) {
            name_add(t, RECIPE_FOREIGN[i].key, strlen(RECIPE_FOREIGN[i].key));
        }
    }
}

static const char *name_at(const void *ctx, size_t i)
{
    const struct name_table *t = ctx;
    return i < t->count ? t->names[i] : NULL;
}

static enum status fail_unknown(const char *key, const char *place)
{
    struct name_table *t = malloc(sizeof *t);
    if (!t) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    name_table_fill(t);
    const char *near = suggest_nearest(key, name_at, t);
    const enum status status =
        near ? FAIL(RECIPE, "%s: unknown key '%.80s', did you mean '%s'?", place, key, near)
             : FAIL(RECIPE, "%s: unknown key '%.80s'; 'graft validate --help' lists the keys",
                    place, key);
    free(t);
    return status;
}

/* Applied keys of one source, so that a key (or two names of it) stands there once. */
struct source {
    struct recipe *recipe;
    const struct yaml_tree *tree;
    uint8_t *seen; /* [schema_count()] */
};

/* The value of a field as text; the caller frees it. NULL: no memory. */
static char *value_text(const struct recipe *r, const struct recipe_field *f)
{
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    if (out) {
        schema_print(out, r, f);
        (void)fclose(out);
    }
    return text;
}

/* True for the value that a key has when it is left out. TRL's classes share Transformers' keys, so
 * a recipe may hold a key that only other methods read; its default asks for nothing. */
static bool asks_for_nothing(const struct recipe_field *f, const struct yaml_tree *tree,
                             const struct yaml_node *value)
{
    struct recipe *scratch = calloc(1, sizeof *scratch);
    char *asked = NULL;
    char *usual = NULL;
    if (scratch && schema_set(scratch, f, f->key, tree, value) == STATUS_OK) {
        asked = value_text(scratch, f);
        usual = schema_set_text(scratch, f, f->def) == STATUS_OK ? value_text(scratch, f) : NULL;
    }
    const bool nothing = asked && usual && strcmp(asked, usual) == 0;
    status_clear();
    free(asked);
    free(usual);
    if (scratch) {
        recipe_close(scratch);
    }
    free(scratch);
    return nothing;
}

static enum status set_field(struct source *s, const struct recipe_field *f, const char *key,
                             const struct yaml_node *key_node, const struct yaml_node *value)
{
    char place[PLACE_CAP];
    const size_t i = schema_index(f);
    yaml_place(s->tree, key_node, place, sizeof place);
    if (yaml_is_null(value) && f->type == FIELD_BOOL && f->flags & FIELD_NULLABLE) {
        return STATUS_OK;
    }
    if (!schema_applies(f, s->recipe->method)) {
        return asks_for_nothing(f, s->tree, value)
                   ? STATUS_OK
                   : FAIL(RECIPE, "%s: key '%s' belongs to %s, not to %s", place, key,
                          recipe_method_name(f->methods), recipe_method_name(s->recipe->method));
    }
    if (s->seen[i]) {
        return FAIL(RECIPE, "%s: '%s' is set twice (%s); leave one out", place, key, f->key);
    }
    TRY(schema_set(s->recipe, f, key, s->tree, value));
    if (f->offset == AT(datasets) && json_array_size(s->recipe->datasets) == 0) {
        schema_clear(s->recipe, f); /* TRL's default */
    }
    s->seen[i] = 1;
    s->recipe->given[i] = !(f->flags & FIELD_NULLABLE && yaml_is_null(value));
    return STATUS_OK;
}

static bool is_neutral(const struct recipe_foreign *k, const struct yaml_tree *tree,
                       const struct yaml_node *value)
{
    if (value->kind == NODE_SCALAR) {
        const bool absent = yaml_is_null(value) || *value->text == '\0';
        return words_hold(k->neutral, absent ? "null" : value->text);
    }
    for (int64_t i = value->first; i >= 0; i = yaml_at(tree, i)->next) {
        const struct yaml_node *item = yaml_at(tree, i);
        if (value->kind == NODE_MAP || item->kind != NODE_SCALAR
            || !words_hold(k->neutral, item->text)) {
            return false;
        }
    }
    return true;
}

/* Sets the key behind a mapped one to `text`. */
static enum status set_mapped(struct source *s, const char *target, const char *key,
                              const struct yaml_node *key_node, const char *text)
{
    struct yaml_node value = *key_node;
    value.text = (char *)(uintptr_t)text; /* read only */
    value.quoted = false;
    return set_field(s, schema_find(target), key, key_node, &value);
}

static enum status map_foreign(struct source *s, const struct recipe_foreign *k, const char *key,
                               const struct yaml_node *key_node, const struct yaml_node *value)
{
    char place[PLACE_CAP];
    bool flag = false;
    double ratio = 0;
    yaml_place(s->tree, value, place, sizeof place);
    const char *text = value->kind == NODE_SCALAR ? value->text : "";
    if (k->action == FOREIGN_WARMUP) {
        if (!yaml_parse_float(text, &ratio) || ratio < 0 || ratio >= 1) {
            return FAIL(RECIPE, "%s: %s is a number in [0, 1), not '%.80s'", place, key, text);
        }
        return set_mapped(s, "warmup_steps", key, key_node, text);
    }
    if (!yaml_parse_bool(text, &flag)) {
        return k->action == FOREIGN_RESUME
                   ? FAIL(RECIPE,
                          "%s: %s is true or false; a run goes on from the newest checkpoint of "
                          "output_dir",
                          place, key)
                   : FAIL(RECIPE, "%s: %s is true or false, not '%.80s'", place, key, text);
    }
    if (k->action == FOREIGN_COMPUTE) {
        return set_mapped(s, "compute", key, key_node, flag ? "bfloat16" : "float32");
    }
    if (k->action == FOREIGN_NF4) {
        return set_mapped(s, "quantize", key, key_node, flag ? "nf4" : "none");
    }
    return set_mapped(s, "resume", key, key_node, flag ? "auto" : "never");
}

/* report_to: one word or a list; the event files that are asked for are written. */
static enum status set_report(struct source *s, const struct recipe_foreign *k, const char *key,
                              const struct yaml_node *key_node, const struct yaml_node *value)
{
    char place[PLACE_CAP];
    bool other = false;
    bool board = false;
    const struct yaml_node *item = value;
    if (value->kind != NODE_SCALAR) {
        item = value->first >= 0 ? yaml_at(s->tree, value->first) : NULL;
    }
    for (; item; item = value->kind != NODE_SCALAR && item->next >= 0 ? yaml_at(s->tree, item->next)
                                                                     : NULL) {
        const bool here = item->kind == NODE_SCALAR && words_hold("tensorboard all", item->text);
        board |= here;
        other |= !here && !is_neutral(k, s->tree, item);
    }
    if (other) {
        yaml_place(s->tree, key_node, place, sizeof place);
        TRY(schema_note(s->recipe, "%s: key '%s' has no effect: %s", place, key, k->why));
    }
    return board ? set_mapped(s, "tensorboard", key, key_node, "true") : STATUS_OK;
}

static enum status set_foreign(struct source *s, const struct recipe_foreign *k, const char *key,
                               const struct yaml_node *key_node, const struct yaml_node *value)
{
    char place[PLACE_CAP];
    if (is_neutral(k, s->tree, value)) {
        return STATUS_OK;
    }
    yaml_place(s->tree, key_node, place, sizeof place);
    if (k->action == FOREIGN_REFUSE) {
        return FAIL(RECIPE, "%s: key '%s' is not supported; %s", place, key, k->why);
    }
    if (k->action == FOREIGN_NOTE) {
        return schema_note(s->recipe, "%s: key '%s' has no effect: %s", place, key, k->why);
    }
    return k->action == FOREIGN_REPORT ? set_report(s, k, key, key_node, value)
                                       : map_foreign(s, k, key, key_node, value);
}

/* Says what an older key is called now, or what changed in it; once, also where the file and the
 * command line both set it. */
static enum status note_renamed(struct recipe *r, const char *key)
{
    char text[512];
    size_t k = 0;
    while (k < RECIPE_RENAMED_COUNT && strcmp(RECIPE_RENAMED[k].key, key) != 0) {
        k++;
    }
    if (k == RECIPE_RENAMED_COUNT) {
        return STATUS_OK;
    }
    const char *now = RECIPE_RENAMED[k].now;
    const char *why = RECIPE_RENAMED[k].why;
    (void)snprintf(text, sizeof text, "key '%s' is an old one%s%s%s%s", key,
                   now ? ": its name is now " : "", now ? now : "", why ? "; " : "",
                   why ? why : "");
    for (int64_t i = 0; i < r->notes.count; i++) {
        if (strcmp(r->notes.items[i], text) == 0) {
            return STATUS_OK;
        }
    }
    return schema_note(r, "%s", text);
}

static enum status set_pair(struct source *s, const char *key, const struct yaml_node *key_node,
                            const struct yaml_node *value)
{
    const struct recipe_field *f = schema_find_for(key, s->recipe->method);
    const struct recipe_foreign *k = f ? NULL : schema_find_foreign(key);
    if (!yaml_is_null(value)) {
        TRY(note_renamed(s->recipe, key));
    }
    if (f) {
        return set_field(s, f, key, key_node, value);
    }
    if (k) {
        return set_foreign(s, k, key, key_node, value);
    }
    char place[PLACE_CAP];
    yaml_place(s->tree, key_node, place, sizeof place);
    return fail_unknown(key, place);
}

static enum status apply_tree(struct recipe *r, const struct yaml_tree *tree)
{
    if (tree->root < 0) {
        return STATUS_OK;
    }
    const struct yaml_node *root = yaml_at(tree, tree->root);
    char place[PLACE_CAP];
    if (root->kind != NODE_MAP) {
        yaml_place(tree, root, place, sizeof place);
        return yaml_is_null(root) ? STATUS_OK
                                  : FAIL(RECIPE, "%s: a recipe is lines of 'key: value'", place);
    }
    struct source s = {r, tree, calloc(schema_count(), 1)};
    enum status status = s.seen ? STATUS_OK : FAIL(MEMORY, "recipe: out of memory");
    for (int64_t i = root->first; status == STATUS_OK && i >= 0;) {
        const struct yaml_node *key = yaml_at(tree, i);
        const struct yaml_node *value = yaml_at(tree, key->next);
        yaml_place(tree, key, place, sizeof place);
        status = key->kind == NODE_SCALAR ? set_pair(&s, key->text, key, value)
                                          : FAIL(RECIPE, "%s: a key is a word", place);
        i = value->next;
    }
    free(s.seen);
    return status;
}

/* The value of key=value: text as it stands, YAML where a list or mapping is written out. */
static enum status read_value(struct yaml_tree *tree, const struct recipe_field *f,
                              const char *text)
{
    const bool flow = f && f->type >= FIELD_STRINGS && (*text == '[' || *text == '{');
    if (!flow) {
        return yaml_from_scalar(tree, "command line", text);
    }
    TRY(yaml_read_text(tree, "command line", text, strlen(text)));
    for (int64_t i = 0; i < tree->count; i++) {
        tree->nodes[i].line = 0; /* there is no line to point at */
    }
    return STATUS_OK;
}

enum status recipe_override(struct recipe *r, const char *argument)
{
    const char *equals = strchr(argument, '=');
    if (!equals || equals == argument) {
        return FAIL(RECIPE, "'%.80s': write key=value", argument);
    }
    char key[128];
    const size_t length = (size_t)(equals - argument);
    if (length >= sizeof key) {
        return FAIL(RECIPE, "command line: unknown key '%.80s'", argument);
    }
    memcpy(key, argument, length);
    key[length] = '\0';
    struct yaml_tree tree;
    struct source s = {r, &tree, calloc(schema_count(), 1)};
    enum status status = s.seen ? read_value(&tree, schema_find_for(key, r->method), equals + 1)
                                : FAIL(MEMORY, "recipe: out of memory");
    if (status == STATUS_OK) {
        const struct yaml_node *value = yaml_at(&tree, tree.root);
        status = set_pair(&s, key, value, value);
    }
    if (s.seen) {
        yaml_close(&tree);
    }
    free(s.seen);
    return status;
}

static enum status set_defaults(struct recipe *r, bool old)
{
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        TRY(schema_set_text(r, f, schema_default(f, r->method)));
    }
    for (size_t i = 0; i < RECIPE_DEFAULT_COUNT; i++) {
        const struct recipe_default *d = &RECIPE_DEFAULTS[i];
        const bool here = (old || !d->old) && (d->methods == 0 || d->methods & (unsigned)r->method);
        const struct recipe_field *f = schema_find_for(d->key, r->method);
        if (here && schema_applies(f, r->method)) {
            TRY(schema_set_text(r, f, d->value));
        }
    }
    return STATUS_OK;
}

/* compat decides defaults, so it is looked for before anything is set. */
static bool asks_for_old(const struct yaml_tree *tree, int64_t count, char *const *overrides)
{
    const char *value = "";
    for (int64_t i = 0; i < count; i++) {
        value = strncmp(overrides[i], "compat=", 7) == 0 ? overrides[i] + 7 : value;
    }
    if (*value == '\0' && tree->root >= 0 && yaml_at(tree, tree->root)->kind == NODE_MAP) {
        for (int64_t i = yaml_at(tree, tree->root)->first; i >= 0;) {
            const struct yaml_node *key = yaml_at(tree, i);
            const struct yaml_node *node = yaml_at(tree, key->next);
            if (key->kind == NODE_SCALAR && strcmp(key->text, "compat") == 0 &&
                node->kind == NODE_SCALAR) {
                value = node->text;
            }
            i = node->next;
        }
    }
    return strcasecmp(value, "trl-0.18") == 0;
}

static enum status open_from_tree(struct recipe *r, enum recipe_method method,
                                  const struct yaml_tree *tree, int64_t count,
                                  char *const *overrides)
{
    *r = (struct recipe){.method = method};
    r->given = calloc(schema_count(), 1);
    if (!r->given) {
        return FAIL(MEMORY, "recipe: out of memory");
    }
    TRY(set_defaults(r, asks_for_old(tree, count, overrides)));
    TRY(apply_tree(r, tree));
    for (int64_t i = 0; i < count; i++) {
        TRY(recipe_override(r, overrides[i]));
    }
    return STATUS_OK;
}

enum status recipe_open(struct recipe *r, enum recipe_method method, const char *path,
                        int64_t count, char *const *overrides)
{
    struct yaml_tree tree = {.root = -1};
    *r = (struct recipe){.method = method};
    enum status status = path ? yaml_read_file(&tree, path) : STATUS_OK;
    if (status == STATUS_OK) {
        status = open_from_tree(r, method, &tree, count, overrides);
    }
    yaml_close(&tree);
    return status;
}

enum status recipe_open_text(struct recipe *r, enum recipe_method method, const char *name,
                             const char *text)
{
    struct yaml_tree tree = {.root = -1};
    *r = (struct recipe){.method = method};
    enum status status = yaml_read_text(&tree, name, text, strlen(text));
    if (status == STATUS_OK) {
        status = open_from_tree(r, method, &tree, 0, NULL);
    }
    yaml_close(&tree);
    return status;
}

void recipe_close(struct recipe *r)
{
    for (size_t i = 0; i < schema_count(); i++) {
        schema_clear(r, schema_field(i));
    }
    for (int64_t i = 0; i < r->notes.count; i++) {
        free(r->notes.items[i]);
    }
    free(r->notes.items);
    free(r->given);
    *r = (struct recipe){0};
}
