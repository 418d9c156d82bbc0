/* libyaml events to a tree with places; see yaml.h. */
#include "recipes/yaml.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

enum { MAX_BYTES = 4 << 20, MAX_DEPTH = 32, MAX_NODES = 1 << 17 };

/* Open collections while the events come in. */
struct builder {
    struct yaml_tree *tree;
    int64_t open[MAX_DEPTH];
    int64_t last[MAX_DEPTH]; /* last child of each, -1: none */
    int depth;
};

static enum status fail_mark(const struct yaml_tree *tree, const yaml_mark_t *mark,
                             const char *what)
{
    return FAIL(RECIPE, "%s:%zu:%zu: %s", tree->name, mark->line + 1, mark->column + 1, what);
}

static enum status add_node(struct builder *b, enum node_kind kind, const yaml_mark_t *mark,
                            int64_t *index)
{
    struct yaml_tree *tree = b->tree;
    if (tree->count == tree->capacity) {
        if (tree->count >= MAX_NODES) {
            return fail_mark(tree, mark, "more values than any recipe has");
        }
        const int64_t capacity = tree->capacity ? tree->capacity * 2 : 64;
        struct yaml_node *nodes = realloc(tree->nodes, (size_t)capacity * sizeof *nodes);
        if (!nodes) {
            return FAIL(MEMORY, "%s: out of memory", tree->name);
        }
        tree->nodes = nodes;
        tree->capacity = capacity;
    }
    *index = tree->count++;
    tree->nodes[*index] = (struct yaml_node){.kind = kind,
                                             .line = mark ? (int)mark->line + 1 : 0,
                                             .column = mark ? (int)mark->column + 1 : 0,
                                             .first = -1,
                                             .next = -1};
    if (b->depth == 0) {
        tree->root = *index;
    } else if (b->last[b->depth - 1] < 0) {
        tree->nodes[b->open[b->depth - 1]].first = *index;
    } else {
        tree->nodes[b->last[b->depth - 1]].next = *index;
    }
    if (b->depth > 0) {
        b->last[b->depth - 1] = *index;
    }
    return STATUS_OK;
}

static enum status add_scalar(struct builder *b, const yaml_event_t *event)
{
    int64_t i;
    const char *value = (const char *)event->data.scalar.value;
    const size_t length = event->data.scalar.length;
    if (memchr(value, '\0', length)) {
        return fail_mark(b->tree, &event->start_mark, "a value holds a NUL character");
    }
    TRY(add_node(b, NODE_SCALAR, &event->start_mark, &i));
    struct yaml_node *node = &b->tree->nodes[i];
    node->quoted = event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
    node->text = strndup(value, length);
    return node->text ? STATUS_OK : FAIL(MEMORY, "%s: out of memory", b->tree->name);
}

static enum status open_collection(struct builder *b, enum node_kind kind, const yaml_mark_t *mark)
{
    int64_t i;
    if (b->depth == MAX_DEPTH) {
        return fail_mark(b->tree, mark, "values are nested more than 32 deep");
    }
    TRY(add_node(b, kind, mark, &i));
    b->open[b->depth] = i;
    b->last[b->depth] = -1;
    b->depth++;
    return STATUS_OK;
}

static enum status take_event(struct builder *b, const yaml_event_t *event)
{
    switch (event->type) {
    case YAML_SCALAR_EVENT:
        return add_scalar(b, event);
    case YAML_SEQUENCE_START_EVENT:
        return open_collection(b, NODE_LIST, &event->start_mark);
    case YAML_MAPPING_START_EVENT:
        return open_collection(b, NODE_MAP, &event->start_mark);
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return STATUS_OK;
    case YAML_ALIAS_EVENT:
        return fail_mark(b->tree, &event->start_mark,
                         "aliases (*name) are not read; write the value out");
    case YAML_DOCUMENT_START_EVENT:
        return b->tree->root < 0 ? STATUS_OK
                                 : fail_mark(b->tree, &event->start_mark,
                                             "a recipe is one document; remove the second '---'");
    default:
        return STATUS_OK;
    }
}

static enum status parse_events(struct builder *b, yaml_parser_t *parser)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(parser, &event)) {
            const yaml_mark_t *mark = &parser->problem_mark;
            const char *problem = parser->problem ? parser->problem : "not YAML";
            return parser->error == YAML_MEMORY_ERROR
                       ? FAIL(MEMORY, "%s: out of memory", b->tree->name)
                       : fail_mark(b->tree, mark, problem);
        }
        const bool end = event.type == YAML_STREAM_END_EVENT;
        const enum status status = take_event(b, &event);
        yaml_event_delete(&event);
        TRY(status);
        if (end) {
            return STATUS_OK;
        }
    }
}

static enum status tree_open(struct yaml_tree *tree, const char *name)
{
    *tree = (struct yaml_tree){.root = -1};
    tree->name = strdup(name);
    return tree->name ? STATUS_OK : FAIL(MEMORY, "%s: out of memory", name);
}

enum status yaml_read_text(struct yaml_tree *tree, const char *name, const char *text,
                           size_t length)
{
    TRY(tree_open(tree, name));
    struct builder b = {.tree = tree};
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser)) {
        return FAIL(MEMORY, "%s: out of memory", name);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    const enum status status = parse_events(&b, &parser);
    yaml_parser_delete(&parser);
    return status;
}

enum status yaml_read_file(struct yaml_tree *tree, const char *path)
{
    *tree = (struct yaml_tree){.root = -1};
    FILE *file = fopen(path, "rb");
    if (!file) {
        return FAIL(RECIPE, "%s: %s; name a recipe file or use key=value", path, strerror(errno));
    }
    char *text = malloc(MAX_BYTES + 1);
    enum status status = STATUS_OK;
    if (!text) {
        status = FAIL(MEMORY, "%s: out of memory", path);
    } else {
        const size_t length = fread(text, 1, MAX_BYTES + 1, file);
        if (ferror(file)) {
            status = FAIL(RECIPE, "%s: %s", path, strerror(errno));
        } else if (length > MAX_BYTES) {
            status = FAIL(RECIPE, "%s: over 4 MiB; this is no recipe", path);
        } else {
            status = yaml_read_text(tree, path, text, length);
        }
    }
    free(text);
    (void)fclose(file);
    return status;
}

enum status yaml_from_scalar(struct yaml_tree *tree, const char *name, const char *text)
{
    TRY(tree_open(tree, name));
    struct builder b = {.tree = tree};
    int64_t i;
    TRY(add_node(&b, NODE_SCALAR, NULL, &i));
    tree->nodes[i].text = strdup(text);
    return tree->nodes[i].text ? STATUS_OK : FAIL(MEMORY, "%s: out of memory", name);
}

void yaml_close(struct yaml_tree *tree)
{
    for (int64_t i = 0; i < tree->count; i++) {
        free(tree->nodes[i].text);
    }
    free(tree->nodes);
    free(tree->name);
    *tree = (struct yaml_tree){.root = -1};
}

const struct yaml_node *yaml_at(const struct yaml_tree *tree, int64_t i)
{
    ASSERT(i >= 0 && i < tree->count);
    return &tree->nodes[i];
}

void yaml_place(const struct yaml_tree *tree, const struct yaml_node *node, char *out, size_t size)
{
    if (node->line > 0) {
        (void)snprintf(out, size, "%s:%d:%d", tree->name, node->line, node->column);
    } else {
        (void)snprintf(out, size, "%s", tree->name);
    }
}

bool yaml_is_null(const struct yaml_node *node)
{
    return node->kind == NODE_SCALAR && !node->quoted &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
            strcasecmp(node->text, "null") == 0 || strcmp(node->text, "None") == 0);
}

bool yaml_parse_int(const char *text, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    if (!isdigit((unsigned char)*digits)) {
        return false;
    }
    char *end;
    errno = 0;
    const intmax_t value = strtoimax(text, &end, 10);
    if (*end != '\0' || errno != 0 || value < INT64_MIN || value > INT64_MAX) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

bool yaml_parse_float(const char *text, double *out)
{
    /* strtod also reads hexadecimal, nan and locale forms, which no recipe means */
    if (*text == '\0' || text[strspn(text, "+-.0123456789eE")] != '\0') {
        return false;
    }
    char *end;
    const double value = strtod(text, &end);
    if (*end != '\0' || end == text || !isfinite(value)) {
        return false;
    }
    *out = value;
    return true;
}

bool yaml_parse_bool(const char *text, bool *out)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            *out = i % 2;
            return true;
        }
    }
    return false;
}

static json_t *scalar_to_json(const struct yaml_node *node)
{
    int64_t integer;
    double number;
    if (yaml_is_null(node)) {
        return json_null();
    }
    if (!node->quoted && strcasecmp(node->text, "true") == 0) {
        return json_true();
    }
    if (!node->quoted && strcasecmp(node->text, "false") == 0) {
        return json_false();
    }
    if (!node->quoted && yaml_parse_int(node->text, &integer)) {
        return json_integer(integer);
    }
    if (!node->quoted && yaml_parse_float(node->text, &number)) {
        return json_real(number);
    }
    return json_string(node->text);
}

static enum status map_to_json(const struct yaml_tree *tree, const struct yaml_node *node,
                               json_t *object)
{
    char place[512];
    for (int64_t i = node->first; i >= 0;) {
        const struct yaml_node *key = yaml_at(tree, i);
        yaml_place(tree, key, place, sizeof place);
        if (key->kind != NODE_SCALAR) {
            return FAIL(RECIPE, "%s: a key must be a word", place);
        }
        if (json_object_get(object, key->text)) {
            return FAIL(RECIPE, "%s: key '%s' stands twice", place, key->text);
        }
        json_t *value;
        TRY(yaml_to_json(tree, yaml_at(tree, key->next), &value));
        if (json_object_set_new(object, key->text, value) != 0) {
            return FAIL(RECIPE, "%s: key '%s' is not UTF-8", place, key->text);
        }
        i = yaml_at(tree, key->next)->next;
    }
    return STATUS_OK;
}

static enum status list_to_json(const struct yaml_tree *tree, const struct yaml_node *node,
                                json_t *array)
{
    for (int64_t i = node->first; i >= 0; i = yaml_at(tree, i)->next) {
        json_t *value;
        TRY(yaml_to_json(tree, yaml_at(tree, i), &value));
        if (json_array_append_new(array, value) != 0) {
            return FAIL(MEMORY, "%s: out of memory", tree->name);
        }
    }
    return STATUS_OK;
}

enum status yaml_to_json(const struct yaml_tree *tree, const struct yaml_node *node, json_t **out)
{
    enum status status = STATUS_OK;
    json_t *value;
    if (node->kind == NODE_SCALAR) {
        value = scalar_to_json(node);
    } else {
        value = node->kind == NODE_LIST ? json_array() : json_object();
    }
    if (!value) {
        return FAIL(RECIPE, "%s: a value is not UTF-8", tree->name);
    }
    if (node->kind == NODE_LIST) {
        status = list_to_json(tree, node, value);
    } else if (node->kind == NODE_MAP) {
        status = map_to_json(tree, node, value);
    }
    if (status != STATUS_OK) {
        json_decref(value);
        return status;
    }
    *out = value;
    return STATUS_OK;
}
