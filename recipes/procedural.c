/*
 * Procedural tasks as a data set. Row i is a question of task i % tasks; the first data_holdout
 * indices of the stream are the test split. A curriculum makes training rows when they are asked
 * for, at the level of the moment.
 */
#include "recipes/procedural.h"

#include <string.h>

enum { USUAL_COUNT = 1000, MOST_ROWS = 1000000 };

static int64_t train_count(const struct procedural_source *s)
{
    const struct recipe *r = s->recipe;
    return (r->data_count > 0 ? r->data_count : USUAL_COUNT + r->data_holdout) - r->data_holdout;
}

static enum status add_task(struct procedural_source *s, const char *name)
{
    const struct procedural_task *t = procedural_find(name);
    if (!t) {
        char known[512];
        procedural_names(known, sizeof known);
        return FAIL(RECIPE, "procedural_tasks: '%.60s' is not known; use %s", name, known);
    }
    if (s->curriculum.count == CURRICULUM_MOST_TASKS) {
        return FAIL(RECIPE, "procedural_tasks: at most %d tasks", CURRICULUM_MOST_TASKS);
    }
    s->tasks[s->curriculum.count] = t;
    s->curriculum.tasks[s->curriculum.count++].levels = procedural_levels(t);
    return STATUS_OK;
}

/* The keys a task is given: procedural_config itself, or its entry of the task's name. */
static const json_t *keys_of(const struct procedural_source *s, const struct procedural_task *t)
{
    const json_t *given = s->recipe->procedural_config;
    const json_t *own = json_object_get(given, procedural_name(t));
    return json_is_object(own) ? own : s->curriculum.count == 1 ? given : NULL;
}

/* With several tasks, procedural_config names them. */
static enum status check_config(const struct procedural_source *s)
{
    const char *key;
    json_t *value;
    json_object_foreach (s->recipe->procedural_config, key, value) {
        bool known = s->curriculum.count == 1 && !procedural_find(key);
        for (int64_t i = 0; i < s->curriculum.count; i++) {
            known = known || (json_is_object(value)
                              && strcmp(key, procedural_name(s->tasks[i])) == 0);
        }
        if (!known) {
            return FAIL(RECIPE, "procedural_config: '%.60s' is no task of this recipe; give "
                                "{TASK: {key: value}}", key);
        }
    }
    return STATUS_OK;
}

static enum status configure(const struct procedural_source *s, int64_t task, int64_t level,
                             struct procedural_config *out)
{
    return procedural_configure(s->tasks[task], level, keys_of(s, s->tasks[task]), out);
}

enum status procedural_source_open(struct procedural_source *s, const struct recipe *r)
{
    *s = (struct procedural_source){
        .recipe = r,
        .adaptive = r->curriculum,
        .curriculum = {.config = {.raise = r->curriculum_raise,
                                  .lower = r->curriculum_lower,
                                  .window = r->curriculum_window}},
    };
    for (int64_t i = 0; i < r->procedural_tasks.count; i++) {
        TRY(add_task(s, r->procedural_tasks.items[i]));
    }
    for (int64_t i = 0; r->procedural_tasks.count == 0 && procedural_at(i); i++) {
        TRY(add_task(s, procedural_name(procedural_at(i))));
    }
    TRY(check_config(s));
    if (train_count(s) < 1 || train_count(s) + r->data_holdout > MOST_ROWS) {
        return FAIL(RECIPE, "procedural: data_count %lld with data_holdout %lld; use up to %d, more "
                            "than are held out", (long long)r->data_count,
                    (long long)r->data_holdout, MOST_ROWS);
    }
    if (r->curriculum && r->curriculum_lower >= r->curriculum_raise) {
        return FAIL(RECIPE, "curriculum_lower %g is not below curriculum_raise %g",
                    r->curriculum_lower, r->curriculum_raise);
    }
    for (int64_t i = 0; i < s->curriculum.count; i++) {
        struct curriculum_task *t = &s->curriculum.tasks[i];
        struct procedural_config any;
        t->level = r->curriculum_level < t->levels ? r->curriculum_level : t->levels - 1;
        for (int64_t level = 0; level < (r->curriculum ? t->levels : 1); level++) {
            TRY(configure(s, i, r->curriculum ? level : -1, &any));
        }
    }
    return STATUS_OK;
}

/* Question `index` of the stream, as a row with prompt and solution. */
static enum status make_row(const struct procedural_source *s, int64_t index, json_t **out)
{
    const int64_t task = index % s->curriculum.count;
    struct procedural_config config;
    TRY(configure(s, task, s->adaptive ? s->curriculum.tasks[task].level : -1, &config));
    TRY(procedural_question(&config, (uint64_t)s->recipe->data_split_seed, (uint64_t)index, out));
    json_t *prompt = json_object_get(*out, "question");
    const bool good = json_object_set(*out, s->recipe->dataset_prompt_column, prompt) == 0
                      && json_object_set(*out, "solution", json_object_get(*out, "answer")) == 0;
    return good ? STATUS_OK : FAIL(MEMORY, "procedural: no memory for a row");
}

static enum status make_rows(const struct procedural_source *s, int64_t first, int64_t count,
                             const char *name, struct dataset **out)
{
    json_t *rows = json_array();
    enum status status = rows ? STATUS_OK : FAIL(MEMORY, "procedural: no memory for rows");
    for (int64_t i = first; i < first + count && status == STATUS_OK; i++) {
        json_t *row = NULL;
        status = make_row(s, i, &row);
        if (status == STATUS_OK && json_array_append_new(rows, row) != 0) {
            status = FAIL(MEMORY, "procedural: no memory for rows");
        }
    }
    if (status != STATUS_OK) {
        json_decref(rows);
        return status;
    }
    return dataset_from_rows(out, name, rows);
}

enum status procedural_source_rows(const struct procedural_source *s, struct dataset **train,
                                   struct dataset **test)
{
    const int64_t held_out = s->recipe->data_holdout;
    *test = NULL;
    TRY(make_rows(s, held_out, train_count(s), "procedural", train));
    return held_out > 0 ? make_rows(s, 0, held_out, "procedural (held out)", test) : STATUS_OK;
}

json_t *procedural_source_row(const struct procedural_source *s, int64_t i)
{
    json_t *row = NULL;
    return make_row(s, s->recipe->data_holdout + i, &row) == STATUS_OK ? row : NULL;
}

/* ---- what follows the rounds ---- */

/* The answers of a round, in its order; `score` is the reward to look at, < 0: the weighted sum. */
static enum status observe(void *ctx, const struct round *r, int score)
{
    struct procedural_source *s = ctx;
    for (int64_t i = 0; i < r->groups * r->group_size; i++) {
        const struct rollout_row *row = &r->row[i];
        const int64_t index = s->recipe->data_holdout + r->group[row->group].index;
        curriculum_observe(&s->curriculum, index % s->curriculum.count,
                           score >= 0 ? row->rewards[score] : row->reward);
    }
    return STATUS_OK;
}

static json_t *save(void *ctx)
{
    const struct procedural_source *s = ctx;
    return curriculum_to_json(&s->curriculum);
}

static enum status load(void *ctx, const json_t *state)
{
    struct procedural_source *s = ctx;
    return curriculum_from_json(&s->curriculum, state);
}

static void note(void *ctx, json_t *line)
{
    const struct procedural_source *s = ctx;
    for (int64_t i = 0; i < s->curriculum.count; i++) {
        char name[96];
        (void)snprintf(name, sizeof name, "curriculum/%s", procedural_name(s->tasks[i]));
        (void)json_object_set_new(line, name, json_integer(s->curriculum.tasks[i].level));
    }
}

struct grpo_follower procedural_source_follower(struct procedural_source *s,
                                                const struct reward_set *rewards)
{
    int score = -1;
    for (int k = 0; k < rewards->count && score < 0; k++) {
        score = strcmp(rewards->items[k].reward->name, "procedural") == 0 ? k : -1;
    }
    return (struct grpo_follower){
        .ctx = s, .score = score, .observe = observe, .save = save, .load = load, .note = note};
}
