/* Rows of the schema table; private to recipes/schema*.c and its tests. */
#pragma once

#include "recipes/schema.h"
#include "recipes/yaml.h"

#define AT(member) offsetof(struct recipe, member)
#define MANY 1e15 /* upper end of counts that have no natural one */

enum field_type {
    FIELD_BOOL,
    FIELD_INT,
    FIELD_FLOAT,
    FIELD_SIZE,   /* int64_t bytes: 512MiB, 8GB, 8192 */
    FIELD_STRING,
    FIELD_CHOICE, /* int */
    FIELD_STRINGS,
    FIELD_FLOATS,
    FIELD_INTS,
    FIELD_DICT,
    FIELD_MAPS /* a list of mappings, as JSON */
};

enum field_flags {
    FIELD_NULLABLE = 1, /* null means not given */
    FIELD_FREE = 2,     /* does not decide bits: may differ at resume */
    FIELD_OPEN_LOW = 4, /* the range leaves out its lower bound */
    FIELD_OPEN_HIGH = 8,
    FIELD_FOLLOWS = 16, /* another key says it too: the dump has it as a comment */
    FIELD_LENGTH = 32   /* free where the learning rate does not follow the run's length */
};

struct recipe_choice {
    const char *name;  /* first row of a value: the name it is saved by */
    int value;
    unsigned methods;  /* 0: all */
};

/* A value that other programs know and Graft does not: refused with the reason. */
struct recipe_refused {
    const char *key;
    const char *value; /* ends with '*': prefix */
    const char *why;   /* what to use instead */
};

extern const struct recipe_refused RECIPE_REFUSED[];
extern const size_t RECIPE_REFUSED_COUNT;

/* Values that are taken with a remark: `why` becomes a note. */
extern const struct recipe_refused RECIPE_REMARKS[];
extern const size_t RECIPE_REMARK_COUNT;

struct recipe_field {
    const char *key;
    const char *aliases; /* other names, space-separated; NULL: none */
    enum field_type type;
    unsigned flags;
    size_t offset;
    const char *def;      /* default as text, "null" where nullable */
    const char *def_grpo; /* NULL: the same */
    double low;           /* range of numbers; both 0: none */
    double high;
    const struct recipe_choice *choices; /* ends with name NULL */
    unsigned methods;                    /* bits of enum recipe_method; 0: all */
    const char *group;
    const char *doc;
};

/* Rows of one subject, a file each (schema_rows_*.c). A new key is a member of struct recipe and a
 * row in the file of its subject. */
struct recipe_rows {
    const struct recipe_field *rows;
    size_t count;
};

extern const struct recipe_rows SCHEMA_MODEL;
extern const struct recipe_rows SCHEMA_DATA;
extern const struct recipe_rows SCHEMA_OPTIM;
extern const struct recipe_rows SCHEMA_RUN;
extern const struct recipe_rows SCHEMA_SFT;
extern const struct recipe_rows SCHEMA_RL;
extern const struct recipe_rows SCHEMA_OBJECTIVE;
extern const struct recipe_rows SCHEMA_DPO;
extern const struct recipe_rows SCHEMA_REWARDS;
extern const struct recipe_rows SCHEMA_EVAL;

/* All rows as one list: their number, row i, and where a row stands in it. */
size_t schema_count(void);
/* Row i of the list, NULL beyond its end. */
const struct recipe_field *schema_field(size_t i);
/* Position of a row in the list. */
size_t schema_index(const struct recipe_field *f);

/* Keys of other programs. */
enum foreign_action {
    FOREIGN_NOTE,    /* accepted, means nothing here: says why */
    FOREIGN_REFUSE,  /* would change the result and is not supported */
    FOREIGN_COMPUTE, /* bf16: true / false -> compute */
    FOREIGN_NF4,     /* load_in_4bit: true -> quantize nf4 */
    FOREIGN_WARMUP,  /* warmup_ratio -> warmup_steps below 1 */
    FOREIGN_REPORT,  /* report_to: tensorboard -> tensorboard, others as FOREIGN_NOTE */
    FOREIGN_RESUME   /* resume_from_checkpoint: true -> auto, false -> never */
};

struct recipe_foreign {
    const char *key; /* ends with '*': prefix */
    enum foreign_action action;
    const char *neutral; /* values, space-separated, that ask for nothing and pass silently */
    const char *why;
};

extern const struct recipe_foreign RECIPE_FOREIGN[];
extern const size_t RECIPE_FOREIGN_COUNT;

/* Names and keys of older versions: setting one notes once what it is now. */
struct recipe_renamed {
    const char *key;
    const char *now; /* the new name; NULL: the name stayed */
    const char *why; /* what changed; NULL: the name alone */
};

extern const struct recipe_renamed RECIPE_RENAMED[];
extern const size_t RECIPE_RENAMED_COUNT;

/* Defaults that differ from a row's under some methods or under compat: trl-0.18; a later row wins.
 */
struct recipe_default {
    const char *key;
    unsigned methods; /* bits of enum recipe_method; 0: all the key applies to */
    bool old;         /* under compat: trl-0.18 only */
    const char *value;
};
extern const struct recipe_default RECIPE_DEFAULTS[];
extern const size_t RECIPE_DEFAULT_COUNT;

/* Row of a key or alias; NULL: none. */
const struct recipe_field *schema_find(const char *key);

/* The same for one method: loss_type means dpo_loss_type in dpo, whose losses are a list. */
const struct recipe_field *schema_find_for(const char *key, enum recipe_method method);
/* Row of a foreign key; NULL: none. */
const struct recipe_foreign *schema_find_foreign(const char *key);
/* Default of a field under a method. */
const char *schema_default(const struct recipe_field *f, enum recipe_method method);
/* True when the field belongs to the method (eval and generate take every key). */
bool schema_applies(const struct recipe_field *f, enum recipe_method method);

/* Sets one field from a node; messages start with the node's place and `key`, the name that was
 * written. */
MUST_USE enum status schema_set(struct recipe *r, const struct recipe_field *f, const char *key,
                                const struct yaml_tree *tree, const struct yaml_node *node);

/* Sets a field from text, for defaults. */
MUST_USE enum status schema_set_text(struct recipe *r, const struct recipe_field *f,
                                     const char *text);

/* Frees the field's value. */
void schema_clear(struct recipe *r, const struct recipe_field *f);

/* What values a field takes, "a number >= 0": into `out` of `size` bytes. */
void schema_describe(const struct recipe_field *f, char *out, size_t size);

/* Appends the value as YAML to a stream. */
void schema_print(FILE *out, const struct recipe *r, const struct recipe_field *f);

/* The loss is one of the method's. Fails with RECIPE naming those. */
MUST_USE enum status schema_check_loss(const struct recipe *r);

/* The losses of dpo and kto and their options, likewise; notes what TRL warns of. */
MUST_USE enum status schema_check_preference(struct recipe *r);

/* Options of the objective that exclude each other or have no effect together (schema_objective.c).
 * Fails with RECIPE naming both keys and the rule. */
MUST_USE enum status schema_check_objective(struct recipe *r);

/* dataset_mixture, datasets and the keys beside them. Fails with RECIPE naming keys and the rule.
 */
MUST_USE enum status schema_check_mixture(struct recipe *r);

/* What members of a population may set, and what a population needs. Fails with RECIPE naming key
 * and member. */
MUST_USE enum status schema_check_population(const struct recipe *r);

/* Saving and the best model (schema_best.c): fills metric_for_best_model and greater_is_better
 * where something follows them. Fails with RECIPE naming both keys and the rule. */
MUST_USE enum status schema_resolve_best(struct recipe *r);

/* Appends a note; the text is copied. */
MUST_USE enum status schema_note(struct recipe *r, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
