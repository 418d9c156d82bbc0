/* Subset construction, complete and bounded; see regex.h. */
#include <string.h>

#include "trainer/generate/regex_internal.h"

enum { HASH_SIZE = 4 * REGEX_DFA_STATES };

/* Deterministic states under construction: sets of NFA states, one behind the other in a pool. */
struct subsets {
    const struct regex_nfa *nfa;
    struct regex *out;
    int32_t *pool;       /* members of all sets */
    int64_t pool_used;
    int64_t pool_size;
    int64_t *begin;      /* [states + 1] */
    int32_t *hash;       /* [HASH_SIZE] state + 1 */
    int32_t *stack;      /* [NFA states] */
    int32_t *mark;       /* [NFA states] round in which it was reached */
    int32_t *members;    /* [NFA states] the set being built, ascending */
    int32_t round;
    int64_t work;
    uint8_t example[256]; /* a byte of each class */
};

void regex_close(struct regex *r)
{
    free(r->next);
    free(r->accepts);
    free(r->goes_on);
    *r = (struct regex){0};
}

static enum status exploded(const char *what, long long limit)
{
    return FAIL(RECIPE, "regular expression: its automaton needs more than %lld %s; make it simpler: "
                        "smaller repetitions, fewer alternatives that begin alike", limit, what);
}

/* Classes of bytes that every range of the automaton treats alike. */
static void find_classes(struct subsets *s)
{
    bool cut[257] = {true};
    for (int32_t i = 0; i < s->nfa->count; i++) {
        const struct regex_state *n = &s->nfa->states[i];
        if (n->low >= 0 && n->high >= n->low) {
            cut[n->low] = true;
            cut[n->high + 1] = true;
        }
    }
    int32_t class = -1;
    for (int b = 0; b < 256; b++) {
        class += cut[b];
        s->out->class_of[b] = (uint8_t)class;
        s->example[class] = (uint8_t)b;
    }
    s->out->classes = class + 1;
}

/* Adds what is reachable from `from` without a byte. */
static void reach(struct subsets *s, int32_t from)
{
    int32_t depth = 0;
    if (s->mark[from] != s->round) {
        s->mark[from] = s->round;
        s->stack[depth++] = from;
    }
    while (depth > 0) {
        const struct regex_state *n = &s->nfa->states[s->stack[--depth]];
        s->work++;
        for (int k = 0; n->low == -1 && k < 2; k++) {
            const int32_t to = k ? n->out1 : n->out;
            if (s->mark[to] != s->round) {
                s->mark[to] = s->round;
                s->stack[depth++] = to;
            }
        }
    }
}

/* Lists the marked byte and end states; splits say nothing more. */
static int32_t collect(struct subsets *s)
{
    int32_t count = 0;
    for (int32_t i = 0; i < s->nfa->count; i++) {
        if (s->mark[i] == s->round && s->nfa->states[i].low != -1) {
            s->members[count++] = i;
        }
    }
    s->work += s->nfa->count / 16;
    return count;
}

static enum status grow_pool(struct subsets *s, int64_t need)
{
    if (s->pool_used + need <= s->pool_size) {
        return STATUS_OK;
    }
    if (s->pool_used + need > REGEX_WORK / 4) {
        return exploded("state numbers", REGEX_WORK / 4);
    }
    const int64_t size = (s->pool_used + need) * 2;
    int32_t *pool = realloc(s->pool, (size_t)size * sizeof *pool);
    if (!pool) {
        return FAIL(MEMORY, "regular expression: no memory");
    }
    s->pool = pool;
    s->pool_size = size;
    return STATUS_OK;
}

/* The state of the set in s->members, new or known. */
static enum status intern(struct subsets *s, int32_t count, int32_t *state)
{
    uint64_t h = 1469598103934665603u;
    for (int32_t i = 0; i < count; i++) {
        h = (h ^ (uint32_t)s->members[i]) * 1099511628211u;
    }
    const size_t bytes = (size_t)count * sizeof *s->members;
    int32_t at = (int32_t)((h ^ h >> 32) % HASH_SIZE);
    for (; s->hash[at]; at = (at + 1) % HASH_SIZE) {
        const int32_t known = s->hash[at] - 1;
        const int64_t first = s->begin[known];
        if (s->begin[known + 1] - first == count
            && memcmp(s->pool + first, s->members, bytes) == 0) {
            *state = known;
            return STATUS_OK;
        }
    }
    if (s->out->states >= REGEX_DFA_STATES) {
        return exploded("states", REGEX_DFA_STATES);
    }
    TRY(grow_pool(s, count));
    memcpy(s->pool + s->pool_used, s->members, bytes);
    *state = s->out->states++;
    s->hash[at] = *state + 1;
    s->pool_used += count;
    s->begin[*state + 1] = s->pool_used;
    return STATUS_OK;
}

/* State after one byte of class `class` from `state`. */
static enum status follow(struct subsets *s, int32_t state, int32_t class, int32_t *to)
{
    const uint8_t byte = s->example[class];
    s->round++;
    bool any = false;
    for (int64_t i = s->begin[state]; i < s->begin[state + 1]; i++) {
        const struct regex_state *n = &s->nfa->states[s->pool[i]];
        if (n->low >= 0 && byte >= n->low && byte <= n->high) {
            reach(s, n->out);
            any = true;
        }
    }
    s->work += s->begin[state + 1] - s->begin[state];
    if (s->work > REGEX_WORK) {
        return exploded("steps to build", REGEX_WORK);
    }
    *to = -1;
    return any ? intern(s, collect(s), to) : STATUS_OK;
}

static enum status open_result(struct regex *r)
{
    r->next = malloc((size_t)REGEX_DFA_STATES * (size_t)r->classes * sizeof *r->next);
    r->accepts = calloc(REGEX_DFA_STATES, sizeof *r->accepts);
    r->goes_on = calloc(REGEX_DFA_STATES, sizeof *r->goes_on);
    return r->next && r->accepts && r->goes_on
               ? STATUS_OK
               : FAIL(MEMORY, "regular expression: no memory");
}

static enum status build_states(struct subsets *s)
{
    struct regex *r = s->out;
    int32_t state;
    find_classes(s);
    TRY(open_result(r));
    s->round = 1;
    reach(s, s->nfa->start);
    TRY(intern(s, collect(s), &state));
    for (state = 0; state < r->states; state++) {
        for (int64_t i = s->begin[state]; i < s->begin[state + 1]; i++) {
            r->accepts[state] = r->accepts[state] || s->nfa->states[s->pool[i]].low == -2;
        }
        for (int32_t c = 0; c < r->classes; c++) {
            TRY(follow(s, state, c, &r->next[(int64_t)state * r->classes + c]));
        }
    }
    return STATUS_OK;
}

/* Cuts transitions to states from which no end can be reached. Marks states alive from the end
 * backwards along lists of predecessors. */
static enum status cut_dead_ends(struct regex *r)
{
    const int64_t edges = (int64_t)r->states * r->classes;
    int32_t *first = malloc((size_t)r->states * sizeof *first);
    int64_t *link = malloc((size_t)edges * sizeof *link);
    int32_t *stack = malloc((size_t)r->states * sizeof *stack);
    bool *alive = calloc((size_t)r->states, sizeof *alive);
    enum status status = STATUS_OK;
    int32_t depth = 0;
    if (!first || !link || !stack || !alive) {
        status = FAIL(MEMORY, "regular expression: no memory");
        goto out;
    }
    int64_t *head = link; /* link[e]: next edge into the same state; first edge + 1 in first[] */
    memset(first, 0, (size_t)r->states * sizeof *first);
    for (int64_t e = 0; e < edges; e++) {
        if (r->next[e] >= 0) {
            head[e] = first[r->next[e]];
            first[r->next[e]] = (int32_t)(e + 1);
        }
    }
    for (int32_t i = 0; i < r->states; i++) {
        if (r->accepts[i]) {
            alive[i] = true;
            stack[depth++] = i;
        }
    }
    while (depth > 0) {
        for (int64_t e = first[stack[--depth]]; e; e = link[e - 1]) {
            const int32_t from = (int32_t)((e - 1) / r->classes);
            if (!alive[from]) {
                alive[from] = true;
                stack[depth++] = from;
            }
        }
    }
    for (int64_t e = 0; e < edges; e++) {
        r->next[e] = r->next[e] >= 0 && alive[r->next[e]] ? r->next[e] : -1;
        r->goes_on[e / r->classes] = r->goes_on[e / r->classes] || r->next[e] >= 0;
    }
    status = alive[0] ? STATUS_OK : FAIL(RECIPE, "regular expression: it matches no text");
out:
    free(first);
    free(link);
    free(stack);
    free(alive);
    return status;
}

static enum status determinize(struct regex *out, const struct regex_nfa *nfa)
{
    const size_t n = (size_t)nfa->count;
    struct subsets s = {
        .nfa = nfa,
        .out = out,
        .begin = calloc(REGEX_DFA_STATES + 1, sizeof *s.begin),
        .hash = calloc(HASH_SIZE, sizeof *s.hash),
        .stack = malloc(n * sizeof *s.stack),
        .mark = calloc(n, sizeof *s.mark),
        .members = malloc(n * sizeof *s.members),
    };
    enum status status = s.begin && s.hash && s.stack && s.mark && s.members
                             ? STATUS_OK
                             : FAIL(MEMORY, "regular expression: no memory");
    if (status == STATUS_OK) {
        status = build_states(&s);
    }
    if (status == STATUS_OK) {
        status = cut_dead_ends(out);
    }
    free(s.pool);
    free(s.begin);
    free(s.hash);
    free(s.stack);
    free(s.mark);
    free(s.members);
    return status;
}

enum status regex_open(struct regex *out, const char *pattern)
{
    struct regex_tree tree;
    struct regex_nfa nfa = {0};
    *out = (struct regex){0};
    enum status status = regex_parse(&tree, pattern);
    if (status == STATUS_OK) {
        status = regex_build_nfa(&nfa, &tree);
    }
    if (status == STATUS_OK) {
        status = determinize(out, &nfa);
    }
    regex_tree_close(&tree);
    regex_nfa_close(&nfa);
    if (status != STATUS_OK) {
        regex_close(out);
    }
    return status;
}
