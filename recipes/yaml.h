/*
 * A small tree of YAML values that remembers where each stands, read with libyaml. Recipes need no
 * more: scalars, lists, mappings. Bounded in size, depth and nodes; anchors and tags are refused,
 * so a file can't grow when it is read.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/base/status.h"

enum node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP };

struct yaml_node {
    enum node_kind kind;
    char *text;   /* NODE_SCALAR: the value, NUL-terminated, no NUL inside */
    bool quoted;  /* NODE_SCALAR: written in quotes or as a block, so never null, bool or number */
    int line;     /* from 1; 0: not from a file */
    int column;   /* from 1 */
    int64_t first; /* first child, -1: none. A mapping's children alternate key, value */
    int64_t next;  /* next sibling, -1: none */
};

struct yaml_tree {
    char *name; /* file name for messages */
    struct yaml_node *nodes;
    int64_t count;
    int64_t capacity;
    int64_t root; /* -1: empty document */
};

/* Reads a file of at most 4 MiB. Fails with RECIPE: "file:line:column: what". Close also after a
 * failure. */
MUST_USE enum status yaml_read_file(struct yaml_tree *tree, const char *path);

/* Same from memory; `name` stands for the file in messages. */
MUST_USE enum status yaml_read_text(struct yaml_tree *tree, const char *name, const char *text,
                                    size_t length);

/* A tree of one unquoted scalar without a place ("key=value" on the command line). */
MUST_USE enum status yaml_from_scalar(struct yaml_tree *tree, const char *name, const char *text);

/* Frees; safe on a zeroed or failed tree. */
void yaml_close(struct yaml_tree *tree);

/* Node `i`; i must be in range. */
const struct yaml_node *yaml_at(const struct yaml_tree *tree, int64_t i);

/* "file:line:column", or the name alone where the node has no place. `out` has `size` bytes. */
void yaml_place(const struct yaml_tree *tree, const struct yaml_node *node, char *out, size_t size);

/* True for an unquoted null, ~, None or nothing. */
bool yaml_is_null(const struct yaml_node *node);

/* A new JSON value with YAML's core types (null, true/false, integers, floats, strings); the caller
 * drops it. Fails with RECIPE (duplicate or non-scalar keys) or MEMORY. */
MUST_USE enum status yaml_to_json(const struct yaml_tree *tree, const struct yaml_node *node,
                                  json_t **out);

/* Number parsing shared with the schema: the whole text, decimal, C locale; false otherwise. */
bool yaml_parse_int(const char *text, int64_t *out);

/* Finite decimals only: no hexadecimal, nan or inf. */
bool yaml_parse_float(const char *text, double *out);

/* true/false, yes/no, on/off in any case. */
bool yaml_parse_bool(const char *text, bool *out);
