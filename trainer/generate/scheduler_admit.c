/*
 * Slots and pages: which branches run. Admission takes the longest expected first; a preempted
 * branch comes back first. A branch's pages start from the running sibling, or the kept prompt,
 * that shares most tokens with it.
 */
#include "trainer/generate/scheduler_internal.h"

int64_t branch_total(const struct scheduler *s, const struct branch *b)
{
    return s->a->prompts[b->prompt].count + s->set->items[b->first].count;
}

int32_t branch_token(const struct scheduler *s, const struct branch *b, int64_t i)
{
    const struct prompt *p = &s->a->prompts[b->prompt];
    return i < p->count ? p->ids[i] : s->set->items[b->first].ids[i - p->count];
}

static struct branch *new_branch(struct scheduler *s, int64_t *index)
{
    ASSERT(s->free_branch >= 0); /* every branch has a member of its own */
    *index = s->free_branch;
    struct branch *b = &s->branches[*index];
    s->free_branch = b->next_free;
    return b;
}

static void free_branch(struct scheduler *s, int64_t index)
{
    s->branches[index].next_free = s->free_branch;
    s->free_branch = index;
}

static void free_sequence(struct scheduler *s, int64_t *seq)
{
    kv_cache_free(s->cache, *seq);
    s->sequences--;
    *seq = -1;
}

static void drop_anchor(struct scheduler *s, int64_t prompt)
{
    if (s->prompts[prompt].anchor >= 0) {
        free_sequence(s, &s->prompts[prompt].anchor);
    }
}

/* Gives pages of one kept prompt back; false when there is none. */
static bool drop_some_anchor(struct scheduler *s)
{
    for (int64_t p = s->a->prompt_count - 1; p >= 0; p--) {
        if (s->prompts[p].anchor >= 0) {
            drop_anchor(s, p);
            return true;
        }
    }
    return false;
}

static void stop_running(struct scheduler *s, int64_t i)
{
    for (int64_t k = i; k + 1 < s->running_count; k++) {
        s->running[k] = s->running[k + 1];
    }
    s->running_count--;
}

static void wait_again(struct scheduler *s, int64_t index)
{
    struct branch *b = &s->branches[index];
    s->prompts[b->prompt].waiting += b->members;
    s->waiting[s->waiting_count++] = index;
}

void scheduler_preempt(struct scheduler *s, int64_t i)
{
    const int64_t index = s->running[i];
    struct branch *b = &s->branches[index];
    free_sequence(s, &b->seq);
    b->again = b->fed > b->again ? b->fed : b->again;
    b->fed = 0;
    s->used -= b->members;
    stop_running(s, i);
    wait_again(s, index);
    s->stat.preemptions++;
}

void scheduler_release(struct scheduler *s, int64_t branch)
{
    struct branch *b = &s->branches[branch];
    struct prompt_state *p = &s->prompts[b->prompt];
    const int64_t count = s->a->prompts[b->prompt].count;
    if (p->waiting > 0 && p->anchor < 0 && b->fed >= count && !s->a->limits.unshared) {
        kv_cache_truncate(s->cache, b->seq, count);
        p->anchor = b->seq;
        b->seq = -1;
    } else {
        free_sequence(s, &b->seq);
    }
    for (int64_t i = 0; i < s->running_count; i++) {
        if (s->running[i] == branch) {
            stop_running(s, i);
            break;
        }
    }
    free_branch(s, branch);
}

enum status scheduler_fork(struct scheduler *s, const struct branch *from,
                           const struct group *group, int32_t text, int64_t fed)
{
    const int64_t members = group->members;
    int64_t index;
    struct branch *b = new_branch(s, &index);
    *b = (struct branch){
        .prompt = from->prompt, .first = group->first, .members = members, .seq = -1, .text = text};
    const int64_t page = s->a->limits.page > 0 ? s->a->limits.page : CACHE_PAGE;
    bool room = kv_cache_free_pages(s->cache) >= (fed % page > 0) && !s->a->limits.unshared;
    while (!room && !s->a->limits.unshared && drop_some_anchor(s)) {
        room = kv_cache_free_pages(s->cache) >= (fed % page > 0);
    }
    if (!room || s->sequences >= s->sequence_cap) { /* it comes back first */
        s->used -= members;
        b->again = fed;
        wait_again(s, index);
        s->stat.preemptions++;
        return STATUS_OK;
    }
    TRY(kv_cache_fork(s->cache, from->seq, fed, &b->seq));
    s->sequences++;
    b->fed = fed;
    s->running[s->running_count++] = index;
    return STATUS_OK;
}

/* Tokens that two branches of a prompt have in common. */
static int64_t common_tokens(const struct scheduler *s, const struct branch *a,
                             const struct branch *b)
{
    const struct completion *x = &s->set->items[a->first];
    const struct completion *y = &s->set->items[b->first];
    const int64_t most = x->count < y->count ? x->count : y->count;
    int64_t n = 0;
    while (n < most && x->ids[n] == y->ids[n]) {
        n++;
    }
    return s->a->prompts[a->prompt].count + n;
}

/* Where a waiting branch's pages start from. */
struct source {
    int64_t seq; /* -1: nothing to share */
    int64_t length;
    bool growing; /* a sibling is computing more of it right now: worth waiting for */
};

static struct source find_source(const struct scheduler *s, const struct branch *b)
{
    struct source best = {.seq = -1};
    const int64_t last = branch_total(s, b) - 1; /* one token is fed, for its output */
    int64_t possible = 0;
    if (s->a->limits.unshared) {
        return best;
    }
    if (s->prompts[b->prompt].anchor >= 0) {
        const int64_t count = s->a->prompts[b->prompt].count;
        best = (struct source){s->prompts[b->prompt].anchor, count < last ? count : last, false};
    }
    for (int64_t i = 0; i < s->running_count; i++) {
        const struct branch *r = &s->branches[s->running[i]];
        if (r->prompt != b->prompt) {
            continue;
        }
        int64_t common = common_tokens(s, r, b);
        common = common < last ? common : last;
        possible = common > possible ? common : possible;
        const int64_t ready = common < r->fed ? common : r->fed;
        if (ready > best.length) {
            best.seq = r->seq;
            best.length = ready;
        }
    }
    best.growing = possible > best.length;
    return best;
}

/* Pages that running branches may ask for soon stay free, so that admission doesn't preempt. */
static bool pages_allow(struct scheduler *s, const struct branch *b, const struct source *from)
{
    const int64_t page = s->a->limits.page > 0 ? s->a->limits.page : CACHE_PAGE;
    const int64_t need = (branch_total(s, b) + page - 1) / page - from->length / page;
    const int64_t spare = s->running_count > 0 ? 1 + s->running_count / 4 : 0;
    return kv_cache_free_pages(s->cache) >= need + spare && s->sequences < s->sequence_cap;
}

/* Moves the first `count` members of waiting branch `index` to a branch of their own. */
static int64_t split_waiting(struct scheduler *s, int64_t index, int64_t count)
{
    int64_t taken;
    struct branch *part = new_branch(s, &taken);
    struct branch *b = &s->branches[index];
    *part = (struct branch){.prompt = b->prompt, .first = b->first, .members = count, .seq = -1,
                            .again = b->again, .text = b->text};
    int64_t last = b->first;
    for (int64_t i = 1; i < count; i++) {
        last = s->members[last].next;
    }
    b->first = s->members[last].next;
    b->members -= count;
    s->members[last].next = -1;
    return taken;
}

static enum status start(struct scheduler *s, int64_t index, const struct source *from)
{
    struct branch *b = &s->branches[index];
    struct prompt_state *p = &s->prompts[b->prompt];
    if (from->seq >= 0 && from->length > 0) {
        TRY(kv_cache_fork(s->cache, from->seq, from->length, &b->seq));
        s->stat.saved_rows += b->again == 0 ? from->length * b->members : 0;
    } else {
        TRY(kv_cache_new(s->cache, &b->seq));
    }
    b->fed = from->seq >= 0 ? from->length : 0;
    s->sequences++;
    s->used += b->members;
    p->waiting -= b->members;
    if (p->waiting == 0) {
        drop_anchor(s, b->prompt);
    }
    s->running[s->running_count++] = index;
    return STATUS_OK;
}

/* Tries waiting[i]; *moved says whether it, or a part of it, runs now. */
static enum status admit(struct scheduler *s, int64_t i, bool *moved, bool *full)
{
    int64_t index = s->waiting[i];
    const struct branch *b = &s->branches[index];
    const struct source from = find_source(s, b);
    *moved = false;
    if (from.growing) {
        return STATUS_OK;
    }
    while (!pages_allow(s, b, &from)) {
        if (s->running_count > 0) {
            *full = true;
            return STATUS_OK;
        }
        if (!drop_some_anchor(s)) {
            break; /* alone it fits: the budget was checked */
        }
    }
    int64_t take = s->rows - s->used < b->members ? s->rows - s->used : b->members;
    take = s->a->limits.unshared ? 1 : take;
    *moved = true;
    if (take < b->members) {
        index = split_waiting(s, index, take);
    } else {
        for (int64_t k = i; k + 1 < s->waiting_count; k++) {
            s->waiting[k] = s->waiting[k + 1];
        }
        s->waiting_count--;
    }
    /* Dropping prompts for pages may have dropped the source. */
    const struct source now = find_source(s, &s->branches[index]);
    return start(s, index, &now);
}

enum status scheduler_admit(struct scheduler *s)
{
    bool full = false;
    for (int64_t i = s->waiting_count - 1; i >= 0 && !full && s->used < s->rows;) {
        bool moved;
        TRY(admit(s, i, &moved, &full));
        if (!moved) {
            i--;
        } else if (i >= s->waiting_count) {
            i = s->waiting_count - 1;
        }
    }
    return STATUS_OK;
}

/* Pages for `count` more tokens of running[i], at the expense of kept prompts and newer branches;
 * *there: it still runs and has them. */
static enum status reserve(struct scheduler *s, int64_t i, int64_t count, bool *there)
{
    const int64_t page = s->a->limits.page > 0 ? s->a->limits.page : CACHE_PAGE;
    const struct branch *b = &s->branches[s->running[i]];
    const int64_t need = (b->fed + count + page - 1) / page - (b->fed + page - 1) / page + 1;
    *there = true;
    while (kv_cache_free_pages(s->cache) < need) {
        if (drop_some_anchor(s)) {
            continue;
        }
        if (s->running_count <= 1) {
            break; /* the last page may not be needed: append says */
        }
        *there = s->running_count - 1 != i;
        scheduler_preempt(s, s->running_count - 1);
        if (!*there) {
            return STATUS_OK;
        }
    }
    return kv_cache_append(s->cache, b->seq, count);
}

/* Most tokens that the branch's members may still draw. */
static int64_t tokens_left(const struct scheduler *s, const struct branch *b)
{
    int64_t most = 0;
    for (int64_t i = b->first; i >= 0; i = s->members[i].next) {
        const int64_t left = s->members[i].most - s->set->items[i].count;
        most = left > most ? left : most;
    }
    return most;
}

/* Guesses for a branch that feeds one token: no page is taken from others for them. */
static void guess(struct scheduler *s, const struct branch *b, struct feed *f)
{
    const int64_t spare = kv_cache_free_pages(s->cache) - s->running_count - 2;
    int64_t most = s->draft_cap - s->step_drafts;
    if (!s->drafts || b->text < 0 || spare < 0 || most < 1) {
        return;
    }
    const int64_t left = tokens_left(s, b) - 1;
    most = most < SPECULATION_MOST ? most : SPECULATION_MOST;
    most = most < left ? most : left;
    int32_t *ids = s->draft_ids + s->step_drafts;
    const int64_t known = draft_propose(s->drafts, b->text, most, ids, &f->match);
    const int64_t wanted = speculation_length(&s->speculation, s->a->limits.drafts, f->match,
                                              s->running_count + s->step_drafts);
    f->drafts = known < wanted ? known : wanted;
    f->draft = ids;
    f->count += f->drafts;
    s->step_drafts += f->drafts;
}

enum status scheduler_plan_feeds(struct scheduler *s)
{
    const int64_t room = s->batch_cap - s->rows - s->draft_cap;
    int64_t left = s->a->limits.prefill > 0 && s->a->limits.prefill < room ? s->a->limits.prefill
                                                                            : room;
    s->feed_count = 0;
    s->step_prompt_rows = 0;
    s->step_drafts = 0;
    for (int64_t i = 0; i < s->running_count; i++) {
        const struct branch *b = &s->branches[s->running[i]];
        const int64_t rest = branch_total(s, b) - b->fed;
        struct feed f = {.branch = s->running[i], .path = -1};
        f.count = rest == 1 ? 1 : rest < left ? rest : left;
        f.out = f.count == rest ? 0 : -1;
        bool there = f.count > 0;
        if (rest == 1) {
            guess(s, b, &f);
        }
        if (there) {
            TRY(reserve(s, i, f.count, &there));
        }
        if (!there) {
            continue;
        }
        left -= rest == 1 ? 0 : f.count;
        s->step_prompt_rows += rest == 1 ? 0 : f.count;
        s->feeds[s->feed_count++] = f;
    }
    return STATUS_OK;
}
