/* Values of recipe fields: read from a node, printed as YAML, described for messages. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "recipes/schema_internal.h"

enum { PLACE_CAP = 512, ALLOWED_CAP = 512 };

static void *member(const struct recipe *r, const struct recipe_field *f)
{
    return (char *)(uintptr_t)r + f->offset;
}

static bool has_range(const struct recipe_field *f)
{
    return f->low != 0 || f->high != 0;
}

static bool in_range(const struct recipe_field *f, double value)
{
    if (!has_range(f)) {
        return true;
    }
    const bool low = f->flags & FIELD_OPEN_LOW ? value > f->low : value >= f->low;
    const bool high = f->flags & FIELD_OPEN_HIGH ? value < f->high : value <= f->high;
    return low && high;
}

/* "a" and "b" of a choice that are offered under its first name. */
static bool choice_listed(const struct recipe_choice *choices, size_t i)
{
    for (size_t j = 0; j < i; j++) {
        if (choices[j].value == choices[i].value && choices[j].methods == choices[i].methods) {
            return false;
        }
    }
    return true;
}

static void add(char *out, size_t size, const char *text)
{
    const size_t used = strlen(out);
    (void)snprintf(out + used, size - used, "%s", text);
}

static void describe_range(const struct recipe_field *f, char *out, size_t size)
{
    char text[96];
    if (!has_range(f)) {
        return;
    }
    if (f->high >= 1e9 && f->low <= -1e6) {
        return;
    }
    if (f->high >= 1e6 && f->low > -1e6) {
        (void)snprintf(text, sizeof text, " %s %.15g", f->flags & FIELD_OPEN_LOW ? ">" : ">=",
                       f->low);
    } else {
        (void)snprintf(text, sizeof text, " in %c%.15g, %.15g%c",
                       f->flags & FIELD_OPEN_LOW ? '(' : '[', f->low, f->high,
                       f->flags & FIELD_OPEN_HIGH ? ')' : ']');
    }
    add(out, size, text);
}

void schema_describe(const struct recipe_field *f, char *out, size_t size)
{
    static const char *const names[] = {
        [FIELD_BOOL] = "true or false",   [FIELD_INT] = "a whole number",
        [FIELD_FLOAT] = "a number",       [FIELD_SIZE] = "bytes (8GiB, 512MB, 4096)",
        [FIELD_STRING] = "text",          [FIELD_CHOICE] = "one of ",
        [FIELD_STRINGS] = "a list of words", [FIELD_FLOATS] = "a list of numbers",
        [FIELD_INTS] = "a list of whole numbers", [FIELD_DICT] = "a mapping {key: value}",
        [FIELD_MAPS] = "a list of mappings [{key: value}]"};
    (void)snprintf(out, size, "%s", names[f->type]);
    if (f->type == FIELD_CHOICE) {
        const char *gap = "";
        for (size_t i = 0; f->choices[i].name; i++) {
            if (choice_listed(f->choices, i)) {
                add(out, size, gap);
                add(out, size, f->choices[i].name);
                gap = ", ";
            }
        }
    }
    if (f->type == FIELD_INT || f->type == FIELD_FLOAT || f->type == FIELD_FLOATS ||
        f->type == FIELD_INTS) {
        describe_range(f, out, size);
    }
    if (f->flags & FIELD_NULLABLE) {
        add(out, size, ", or null");
    }
}

static enum status fail_value(const struct recipe_field *f, const char *key,
                              const struct yaml_tree *tree, const struct yaml_node *node)
{
    char place[PLACE_CAP];
    char allowed[ALLOWED_CAP];
    yaml_place(tree, node, place, sizeof place);
    schema_describe(f, allowed, sizeof allowed);
    if (node->kind == NODE_SCALAR) {
        return FAIL(RECIPE, "%s: %s is %s, not '%.80s'", place, key, allowed, node->text);
    }
    return FAIL(RECIPE, "%s: %s is %s, not a %s", place, key, allowed,
                node->kind == NODE_LIST ? "list" : "mapping");
}

static bool parse_size(const char *text, int64_t *out)
{
    static const struct {
        const char *unit;
        int64_t bytes;
    } units[] = {{"", 1},           {"b", 1},           {"k", 1 << 10},     {"kb", 1000},
                 {"kib", 1 << 10},  {"m", 1 << 20},     {"mb", 1000000},    {"mib", 1 << 20},
                 {"g", 1 << 30},    {"gb", 1000000000}, {"gib", 1 << 30},
                 {"t", 1LL << 40},  {"tib", 1LL << 40}, {"tb", 1000000000000}};
    char number[32];
    const size_t digits = strspn(text, "0123456789.");
    if (digits == 0 || digits >= sizeof number) {
        return false;
    }
    memcpy(number, text, digits);
    number[digits] = '\0';
    double value;
    if (!yaml_parse_float(number, &value)) {
        return false;
    }
    const char *unit = text + digits + strspn(text + digits, " ");
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (strcasecmp(unit, units[i].unit) == 0 && value * (double)units[i].bytes < 9e18) {
            *out = (int64_t)(value * (double)units[i].bytes);
            return true;
        }
    }
    return false;
}

/* What a table says about a value; NULL: nothing. */
static const char *saying(const struct recipe_refused *rows, size_t count, const char *key,
                          const char *value)
{
    for (size_t i = 0; i < count; i++) {
        const struct recipe_refused *r = &rows[i];
        const size_t n = strlen(r->value);
        const bool prefix = r->value[n - 1] == '*';
        if (strcmp(r->key, key) == 0 && (prefix ? strncasecmp(r->value, value, n - 1) == 0
                                                : strcasecmp(r->value, value) == 0)) {
            return r->why;
        }
    }
    return NULL;
}

static enum status set_choice(struct recipe *r, const struct recipe_field *f, const char *key,
                              const struct yaml_tree *tree, const struct yaml_node *node)
{
    char place[PLACE_CAP];
    char allowed[ALLOWED_CAP];
    for (const struct recipe_choice *c = f->choices; node->kind == NODE_SCALAR && c->name; c++) {
        if (strcasecmp(c->name, node->text) != 0) {
            continue;
        }
        *(int *)member(r, f) = c->value;
        const char *remark = saying(RECIPE_REMARKS, RECIPE_REMARK_COUNT, f->key, node->text);
        return remark ? schema_note(r, "recipe: %s: %s: %s", f->key, c->name, remark) : STATUS_OK;
    }
    const char *why = node->kind == NODE_SCALAR
                          ? saying(RECIPE_REFUSED, RECIPE_REFUSED_COUNT, f->key, node->text)
                          : NULL;
    if (why) {
        yaml_place(tree, node, place, sizeof place);
        schema_describe(f, allowed, sizeof allowed);
        return FAIL(RECIPE, "%s: %s '%.40s' is not supported; %s. It is %s", place, key, node->text,
                    why, allowed);
    }
    return fail_value(f, key, tree, node);
}

static enum status set_string(struct recipe *r, const struct recipe_field *f, const char *key,
                              const struct yaml_tree *tree, const struct yaml_node *node)
{
    if (node->kind != NODE_SCALAR) {
        return fail_value(f, key, tree, node);
    }
    json_t *checked = json_string(node->text);
    if (!checked) {
        char place[PLACE_CAP];
        yaml_place(tree, node, place, sizeof place);
        return FAIL(RECIPE, "%s: %s is not UTF-8", place, key);
    }
    json_decref(checked);
    char *copy = strdup(node->text);
    if (!copy) {
        return FAIL(MEMORY, "%s: out of memory", tree->name);
    }
    *(char **)member(r, f) = copy;
    return STATUS_OK;
}

static enum status set_dict(struct recipe *r, const struct recipe_field *f, const char *key,
                            const struct yaml_tree *tree, const struct yaml_node *node)
{
    json_t *value = NULL;
    const bool list = f->type == FIELD_MAPS;
    if (node->kind == NODE_SCALAR && node->text[0] == (list ? '[' : '{')) {
        json_error_t error;
        value = json_loads(node->text, JSON_REJECT_DUPLICATES, &error);
        if (!value) {
            char place[PLACE_CAP];
            yaml_place(tree, node, place, sizeof place);
            return FAIL(RECIPE, "%s: %s is not JSON: %s", place, key, error.text);
        }
    } else if (node->kind == (list ? NODE_LIST : NODE_MAP)) {
        TRY(yaml_to_json(tree, node, &value));
    } else {
        return fail_value(f, key, tree, node);
    }
    *(json_t **)member(r, f) = value;
    return STATUS_OK;
}

/* Adds one item to a list member; `capacity` is exact: items are few. */
static enum status push_item(struct recipe *r, const struct recipe_field *f, const char *key,
                             const struct yaml_tree *tree, const struct yaml_node *node)
{
    struct string_list *list = member(r, f); /* the three lists have one layout */
    void *grown = realloc(list->items, (size_t)(list->count + 1) * sizeof(int64_t));
    if (!grown) {
        return FAIL(MEMORY, "%s: out of memory", tree->name);
    }
    list->items = grown;
    double number;
    int64_t integer;
    if (node->kind != NODE_SCALAR) {
        return fail_value(f, key, tree, node);
    }
    if (f->type == FIELD_STRINGS) {
        char *copy = strdup(node->text);
        if (!copy) {
            return FAIL(MEMORY, "%s: out of memory", tree->name);
        }
        list->items[list->count] = copy;
    } else if (f->type == FIELD_FLOATS && yaml_parse_float(node->text, &number) &&
               in_range(f, number)) {
        ((double *)grown)[list->count] = number;
    } else if (f->type == FIELD_INTS && yaml_parse_int(node->text, &integer) &&
               in_range(f, (double)integer)) {
        ((int64_t *)grown)[list->count] = integer;
    } else {
        return fail_value(f, key, tree, node);
    }
    list->count++;
    return STATUS_OK;
}

/* "a,b" as a list of two; a regex may hold commas and stays one item. */
static bool splits(const char *text)
{
    return strchr(text, ',') && !strpbrk(text, "()[]{}|\\*+^$?");
}

static enum status set_list(struct recipe *r, const struct recipe_field *f, const char *key,
                            const struct yaml_tree *tree, const struct yaml_node *node)
{
    if (node->kind == NODE_MAP) {
        return fail_value(f, key, tree, node);
    }
    if (node->kind == NODE_LIST) {
        for (int64_t i = node->first; i >= 0; i = yaml_at(tree, i)->next) {
            TRY(push_item(r, f, key, tree, yaml_at(tree, i)));
        }
        return STATUS_OK;
    }
    if (node->quoted || !splits(node->text)) {
        return push_item(r, f, key, tree, node);
    }
    char *text = strdup(node->text);
    if (!text) {
        return FAIL(MEMORY, "%s: out of memory", tree->name);
    }
    enum status status = STATUS_OK;
    char *rest = text;
    for (char *word; status == STATUS_OK && (word = strsep(&rest, ",")) != NULL;) {
        word += strspn(word, " \t");
        for (size_t n = strlen(word); n > 0 && isspace((unsigned char)word[n - 1]); n--) {
            word[n - 1] = '\0';
        }
        struct yaml_node item = *node;
        item.text = word;
        status = *word ? push_item(r, f, key, tree, &item) : fail_value(f, key, tree, node);
    }
    free(text);
    return status;
}

static void set_unset(struct recipe *r, const struct recipe_field *f)
{
    if (f->type == FIELD_FLOAT) {
        *(double *)member(r, f) = NAN;
    } else if (f->type == FIELD_INT) {
        *(int64_t *)member(r, f) = RECIPE_UNSET;
    } /* strings, lists and dicts are empty already */
}

static enum status set_number(struct recipe *r, const struct recipe_field *f, const char *key,
                              const struct yaml_tree *tree, const struct yaml_node *node)
{
    bool flag;
    int64_t integer;
    double number;
    const bool word = node->kind == NODE_SCALAR && !(node->quoted && f->type == FIELD_BOOL);
    if (word && f->type == FIELD_BOOL && yaml_parse_bool(node->text, &flag)) {
        *(bool *)member(r, f) = flag;
    } else if (word && f->type == FIELD_INT && yaml_parse_int(node->text, &integer) &&
               in_range(f, (double)integer)) {
        *(int64_t *)member(r, f) = integer;
    } else if (word && f->type == FIELD_FLOAT && yaml_parse_float(node->text, &number) &&
               in_range(f, number)) {
        *(double *)member(r, f) = number;
    } else if (word && f->type == FIELD_SIZE && parse_size(node->text, &integer)) {
        *(int64_t *)member(r, f) = integer;
    } else {
        return fail_value(f, key, tree, node);
    }
    return STATUS_OK;
}

enum status schema_set(struct recipe *r, const struct recipe_field *f, const char *key,
                       const struct yaml_tree *tree, const struct yaml_node *node)
{
    const bool absent = f->type == FIELD_STRING || f->type >= FIELD_STRINGS ||
                        (f->flags & FIELD_NULLABLE);
    schema_clear(r, f);
    if (absent && yaml_is_null(node)) {
        set_unset(r, f);
        return STATUS_OK;
    }
    switch (f->type) {
    case FIELD_CHOICE:
        return set_choice(r, f, key, tree, node);
    case FIELD_STRING:
        return set_string(r, f, key, tree, node);
    case FIELD_DICT:
    case FIELD_MAPS:
        return set_dict(r, f, key, tree, node);
    case FIELD_STRINGS:
    case FIELD_FLOATS:
    case FIELD_INTS:
        return set_list(r, f, key, tree, node);
    default:
        return set_number(r, f, key, tree, node);
    }
}

enum status schema_set_text(struct recipe *r, const struct recipe_field *f, const char *text)
{
    struct yaml_tree tree;
    enum status status = yaml_from_scalar(&tree, "default", text);
    if (status == STATUS_OK) {
        status = schema_set(r, f, f->key, &tree, yaml_at(&tree, tree.root));
    }
    yaml_close(&tree);
    return status;
}

void schema_clear(struct recipe *r, const struct recipe_field *f)
{
    void *at = member(r, f);
    if (f->type == FIELD_STRING) {
        free(*(char **)at);
        *(char **)at = NULL;
    } else if (f->type == FIELD_DICT || f->type == FIELD_MAPS) {
        json_decref(*(json_t **)at);
        *(json_t **)at = NULL;
    } else if (f->type == FIELD_STRINGS || f->type == FIELD_FLOATS || f->type == FIELD_INTS) {
        struct string_list *list = at;
        for (int64_t i = 0; f->type == FIELD_STRINGS && i < list->count; i++) {
            free(list->items[i]);
        }
        free(list->items);
        *list = (struct string_list){NULL, 0};
    }
}

/* One UTF-8 sequence at `s`: its code point and length (input was checked when it was set). */
static uint32_t code_point(const unsigned char *s, int *length)
{
    if (s[0] < 0x80) {
        *length = 1;
        return s[0];
    }
    *length = s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    uint32_t c = s[0] & (0xFFU >> (*length + 1));
    for (int i = 1; i < *length && s[i]; i++) {
        c = c << 6 | (s[i] & 0x3FU);
    }
    return c;
}

/* Double quotes with the escapes that YAML and JSON share, and \u for what YAML can't hold raw. */
static void print_quoted(FILE *out, const char *text)
{
    (void)fputc('"', out);
    int length;
    for (const unsigned char *s = (const unsigned char *)text; *s; s += length) {
        const uint32_t c = code_point(s, &length);
        if (c == '"' || c == '\\') {
            (void)fprintf(out, "\\%c", (char)c);
        } else if (c == '\n') {
            (void)fputs("\\n", out);
        } else if (c == '\t') {
            (void)fputs("\\t", out);
        } else if (c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029 ||
                   c == 0xFEFF || (c & 0xFFFE) == 0xFFFE) {
            (void)fprintf(out, c > 0xFFFF ? "\\U%08" PRIX32 : "\\u%04" PRIX32, c);
        } else {
            (void)fwrite(s, 1, (size_t)length, out);
        }
    }
    (void)fputc('"', out);
}

/* Words that YAML reads back as the same text go without quotes. */
static void print_string(FILE *out, const char *text)
{
    bool flag;
    double number;
    const bool plain = isalpha((unsigned char)*text) &&
                       text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789_./-")] == '\0' &&
                       !yaml_parse_bool(text, &flag) && !yaml_parse_float(text, &number) &&
                       strcasecmp(text, "null") != 0 && strcmp(text, "None") != 0;
    if (plain) {
        (void)fputs(text, out);
    } else {
        print_quoted(out, text);
    }
}

/* Shortest decimal that reads back as the same double. */
static void print_double(FILE *out, double value)
{
    char text[40];
    if (isnan(value)) {
        (void)fputs("null", out);
        return;
    }
    for (int digits = 1; digits <= 17; digits++) {
        (void)snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) {
            break;
        }
    }
    (void)fputs(text, out);
}

static void print_json(FILE *out, const json_t *value)
{
    const char *key;
    json_t *item;
    size_t i;
    const char *gap = "";
    if (json_is_object(value)) {
        (void)fputc('{', out);
        json_object_foreach ((json_t *)(uintptr_t)value, key, item) {
            (void)fputs(gap, out);
            print_quoted(out, key);
            (void)fputs(": ", out);
            print_json(out, item);
            gap = ", ";
        }
        (void)fputc('}', out);
    } else if (json_is_array(value)) {
        (void)fputc('[', out);
        json_array_foreach (value, i, item) {
            (void)fputs(gap, out);
            print_json(out, item);
            gap = ", ";
        }
        (void)fputc(']', out);
    } else if (json_is_string(value)) {
        print_quoted(out, json_string_value(value));
    } else if (json_is_real(value)) {
        print_double(out, json_real_value(value));
    } else if (json_is_integer(value)) {
        (void)fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        (void)fputs(json_is_null(value) ? "null" : json_is_true(value) ? "true" : "false", out);
    }
}

static void print_list(FILE *out, const struct recipe_field *f, const struct string_list *list)
{
    (void)fputc('[', out);
    for (int64_t i = 0; i < list->count; i++) {
        (void)fputs(i ? ", " : "", out);
        if (f->type == FIELD_STRINGS) {
            print_string(out, list->items[i]);
        } else if (f->type == FIELD_FLOATS) {
            print_double(out, ((const double *)(const void *)list->items)[i]);
        } else {
            (void)fprintf(out, "%" PRId64, ((const int64_t *)(const void *)list->items)[i]);
        }
    }
    (void)fputc(']', out);
}

void schema_print(FILE *out, const struct recipe *r, const struct recipe_field *f)
{
    const void *at = member(r, f);
    switch (f->type) {
    case FIELD_BOOL:
        (void)fputs(*(const bool *)at ? "true" : "false", out);
        break;
    case FIELD_INT:
    case FIELD_SIZE:
        if (*(const int64_t *)at == RECIPE_UNSET) {
            (void)fputs("null", out);
        } else {
            (void)fprintf(out, "%" PRId64, *(const int64_t *)at);
        }
        break;
    case FIELD_FLOAT:
        print_double(out, *(const double *)at);
        break;
    case FIELD_STRING:
        if (*(char *const *)at) {
            print_string(out, *(char *const *)at);
        } else {
            (void)fputs("null", out);
        }
        break;
    case FIELD_CHOICE:
        for (const struct recipe_choice *c = f->choices; c->name; c++) {
            if (c->value == *(const int *)at) {
                (void)fputs(c->name, out);
                break;
            }
        }
        break;
    case FIELD_DICT:
    case FIELD_MAPS:
        if (*(json_t *const *)at) {
            print_json(out, *(json_t *const *)at);
        } else {
            (void)fputs("null", out);
        }
        break;
    default:
        print_list(out, f, at);
    }
}
