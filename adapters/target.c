/* PEFT's target matching; see target.h. Expressions run with PCRE2 under match limits, because
 * folders of others bring them along. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "adapters/target.h"

#include <math.h>
#include <pcre2.h>
#include <string.h>
#include <strings.h>

#include "adapters/adapter_internal.h"

enum { MATCH_LIMIT = 100000, HEAP_KIB = 1024, PATTERN_CAP = 2048 };

/* A compiled key of rank_pattern or alpha_pattern. */
struct pattern {
    pcre2_code *code;
    double value;
};

struct target {
    const struct adapter_config *config;
    bool all_linear;
    pcre2_code *include;
    pcre2_code *exclude;
    pcre2_code *layer;
    struct pattern *ranks;
    size_t rank_count;
    struct pattern *alphas;
    size_t alpha_count;
    pcre2_match_data *match;
    pcre2_match_context *limits;
    bool *gave_up; /* a match ran into the limits: its answer is worth nothing */
};

static const char *const DEFAULT_TARGETS[] = {"q_proj", "v_proj"};

/* Compiles "prefix" + text + "suffix", anchored at the start as Python's re.match is. */
static enum status compile(const char *prefix, const char *text, const char *suffix,
                           pcre2_code **out)
{
    char pattern[PATTERN_CAP];
    const int n = snprintf(pattern, sizeof pattern, "%s%s%s", prefix, text, suffix);
    if (n < 0 || (size_t)n >= sizeof pattern) {
        return FAIL(RECIPE, "target pattern '%.40s...' is longer than %d characters", text,
                    PATTERN_CAP);
    }
    int code = 0;
    PCRE2_SIZE offset = 0;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
                         PCRE2_ANCHORED | PCRE2_UTF | PCRE2_UCP, &code, &offset, NULL);
    if (!*out) {
        char why[128] = {0};
        (void)pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        return FAIL(RECIPE, "target pattern '%s': %s at character %zu", text, why, (size_t)offset);
    }
    return STATUS_OK;
}

/* `limit`: largest value that makes sense. */
static enum status compile_patterns(const json_t *object, double limit, struct pattern **out,
                                    size_t *count)
{
    const size_t n = json_object_size(object);
    if (n == 0) {
        return STATUS_OK;
    }
    *out = calloc(n, sizeof **out);
    if (!*out) {
        return FAIL(MEMORY, "adapter: no memory for %zu patterns", n);
    }
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!json_is_number(value) || !(fabs(json_number_value(value)) <= limit)) {
            return FAIL(RECIPE, "rank_pattern/alpha_pattern: '%.200s' is not a number up to %g",
                        key, limit);
        }
        (*out)[*count].value = json_number_value(value);
        TRY(compile("(.*\\.)?(", key, ")$", &(*out)[*count].code));
        (*count)++;
    }
    return STATUS_OK;
}

static enum status target_compile(struct target *t)
{
    const struct adapter_config *c = t->config;
    t->match = pcre2_match_data_create(32, NULL);
    t->limits = pcre2_match_context_create(NULL);
    t->gave_up = calloc(1, sizeof *t->gave_up);
    if (!t->match || !t->limits || !t->gave_up) {
        return FAIL(MEMORY, "adapter: no memory for target matching");
    }
    (void)pcre2_set_match_limit(t->limits, MATCH_LIMIT);
    (void)pcre2_set_heap_limit(t->limits, HEAP_KIB);
    if (c->target_regex) {
        t->all_linear = strcasecmp(c->target_regex, "all-linear") == 0;
        if (!t->all_linear) {
            TRY(compile("(?:", c->target_regex, ")\\z", &t->include));
        }
    }
    if (c->exclude_regex) {
        TRY(compile("(?:", c->exclude_regex, ")\\z", &t->exclude));
    }
    if (c->layers_count > 0) {
        if (c->target_regex) {
            return FAIL(RECIPE, "layers_to_transform needs target_modules as a list, not '%s'",
                        c->target_regex);
        }
        const bool named = c->layers_pattern && c->layers_pattern[0];
        TRY(compile(named ? "(?:^|.*?\\.)" : ".*?\\.[^.]*", named ? c->layers_pattern : "",
                    "\\.(?P<idx>\\d+)\\.", &t->layer));
    }
    TRY(compile_patterns(c->rank_pattern, ADAPTER_MAX_RANK, &t->ranks, &t->rank_count));
    return compile_patterns(c->alpha_pattern, ADAPTER_MAX_ALPHA, &t->alphas, &t->alpha_count);
}

enum status target_open(struct target **out, const struct adapter_config *c)
{
    *out = calloc(1, sizeof **out);
    if (!*out) {
        return FAIL(MEMORY, "adapter: no memory for target matching");
    }
    (*out)->config = c;
    const enum status status = target_compile(*out);
    if (status != STATUS_OK) {
        target_close(*out);
        *out = NULL;
    }
    return status;
}

static void patterns_close(struct pattern *patterns, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pcre2_code_free(patterns[i].code);
    }
    free(patterns);
}

void target_close(struct target *t)
{
    if (!t) {
        return;
    }
    pcre2_code_free(t->include);
    pcre2_code_free(t->exclude);
    pcre2_code_free(t->layer);
    patterns_close(t->ranks, t->rank_count);
    patterns_close(t->alphas, t->alpha_count);
    pcre2_match_data_free(t->match);
    pcre2_match_context_free(t->limits);
    free(t->gave_up);
    free(t);
}

static bool regex_matches(const struct target *t, const pcre2_code *code, const char *name)
{
    const int n =
        pcre2_match(code, (PCRE2_SPTR)name, PCRE2_ZERO_TERMINATED, 0, 0, t->match, t->limits);
    if (n < 0 && n != PCRE2_ERROR_NOMATCH) {
        *t->gave_up = true;
    }
    return n >= 0; /* 0: more groups than the match data holds */
}

/* 0: no hit, 1: suffix hit, 2: the whole path. */
static int list_hit(char *const *list, int64_t count, const char *name)
{
    const size_t length = strlen(name);
    int hit = 0;
    for (int64_t i = 0; i < count; i++) {
        const size_t n = strlen(list[i]);
        if (n == length && memcmp(name, list[i], n) == 0) {
            return 2;
        }
        if (n < length && name[length - n - 1] == '.'
            && memcmp(name + length - n, list[i], n) == 0) {
            hit = 1;
        }
    }
    return hit;
}

static bool layer_wanted(const struct target *t, const char *name)
{
    if (!regex_matches(t, t->layer, name)) {
        return false;
    }
    PCRE2_UCHAR digits[24];
    PCRE2_SIZE size = sizeof digits;
    if (pcre2_substring_copy_byname(t->match, (PCRE2_SPTR) "idx", digits, &size) != 0) {
        return false; /* no such group, or a number too long for any layer */
    }
    const int64_t index = strtoll((const char *)digits, NULL, 10);
    for (int64_t i = 0; i < t->config->layers_count; i++) {
        if (t->config->layers_to_transform[i] == index) {
            return true;
        }
    }
    return false;
}

bool target_matches(const struct target *t, const char *name, bool is_head)
{
    const struct adapter_config *c = t->config;
    if ((t->exclude && regex_matches(t, t->exclude, name))
        || list_hit(c->exclude_modules, c->exclude_count, name)) {
        return false;
    }
    if (t->all_linear) {
        return !is_head;
    }
    if (t->include) {
        return regex_matches(t, t->include, name);
    }
    const int hit = c->target_count > 0
                        ? list_hit(c->target_modules, c->target_count, name)
                        : list_hit((char *const *)(uintptr_t)DEFAULT_TARGETS, 2, name);
    return hit == 2 || (hit == 1 && (c->layers_count == 0 || layer_wanted(t, name)));
}

static const struct pattern *pattern_find(const struct target *t, const struct pattern *patterns,
                                          size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (regex_matches(t, patterns[i].code, name)) {
            return &patterns[i];
        }
    }
    return NULL;
}

enum status target_check(const struct target *t)
{
    return *t->gave_up ? FAIL(RECIPE, "target_modules, exclude_modules or a pattern takes too long "
                                      "to match; write a simpler expression")
                       : STATUS_OK;
}

int64_t target_rank(const struct target *t, const char *name)
{
    const struct pattern *p = pattern_find(t, t->ranks, t->rank_count, name);
    return p ? (int64_t)p->value : t->config->r;
}

double target_alpha(const struct target *t, const char *name)
{
    const struct pattern *p = pattern_find(t, t->alphas, t->alpha_count, name);
    return p ? p->value : t->config->lora_alpha;
}
