/*
 * The page of all keys (.docs/keys.md): what each is here, those of TRL, Transformers and Open-R1
 * included (spec training.md 0; open-r1.md 1.2), and where Graft differs from them on purpose.
 */
#include <stdlib.h>
#include <string.h>

#include "recipes/schema_internal.h"

/* Each with the test that shows it, a path in the repository. */
static const struct {
    const char *what;
    const char *how;
    const char *test;
} DIFFERENCES[] = {
    {"Unknown keys", "are errors that name the nearest key; TRL's and Open-R1's scripts ignore them.",
     "tests/unit/recipes/test_keys.c"},
    {"Resume", "goes on in exactly the order of an uninterrupted run, in any epoch and inside a "
               "round; Transformers starts the order of GRPO's prompts anew.",
     "tests/cli/resume_epochs.sh"},
    {"Dropout", "acts while gradients are made. Sampling, the old policy's and the reference's "
                "log-probs, the entropies that decide which tokens stay and evaluation have none; where "
                "TRL takes no old log-probs (gradient_accumulation_steps a multiple of "
                "steps_per_generation x num_iterations) the ratio is 1, as there. lora_dropout is 0 "
                "where TRL has 0.05.",
     "tests/mpi/test_dropout.sh"},
    {"Loss over ranks", "in sft is a mean over all tokens of a step on all ranks, also under compat: "
                        "trl-0.18 (average_tokens_across_devices).",
     "tests/mpi/test_sft_ranks.sh"},
    {"Steps that are not finite", "are skipped and counted (max_nonfinite_steps); Transformers "
                                  "takes them and hides them in the log.",
     "tests/cli/nonfinite.sh"},
    {"Checkpoints", "are left by the last step under every save_strategy, so that the same command "
                    "says when a run is finished; save_total_limit: 1 keeps the newest beside the "
                    "best.",
     "tests/unit/trainer/test_best.c"},
    {"Evaluation in grpo", "is TRL's, with its names and numbers, by the policy that draws (no second "
                           "forward); eval_accuracy is measured beside it where eval_temperature, "
                           "eval_top_p, eval_top_k or eval_num_generations ask for it. On several "
                           "virtual ranks no prompts are repeated to fill the last batch.",
     "tests/mpi/test_grpo_eval.sh"},
    {"Mixtures", "of datasets split off their held-out rows by seed, where TRL's split is another in "
                 "every run; and a dataset that can't be opened ends the run, where Open-R1 goes on "
                 "without it.",
     "tests/cli/mixture.sh"},
    {"Padding", "does not exist: rows are packed, with the numbers of unpadded rows.",
     "tests/parity/test_sft_runs.c"},
    {"compute", "is bfloat16 products with float32 sums, and adapters are float32; fp16 is refused.",
     "tests/unit/recipes/test_keys.c"},
    {"Engines", "there is one: it samples with the weights being trained, so use_vllm and its "
                "options have no effect; the importance correction is for async_rounds alone.",
     "tests/mpi/test_grpo_ranks.sh"},
};

/* Text of a table cell: | would end it, * and _ could be markup. */
static void cell(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("|*_<>\\", *text)) {
            (void)fputc('\\', out);
        }
        (void)fputc(*text == '\n' ? ' ' : *text, out);
    }
}

static void code(FILE *out, const char *text)
{
    (void)fprintf(out, "`%s`", text);
}

/* "trl-0.18: 500, rloo 2": the defaults beside the row's own. */
static void other_defaults(FILE *out, const struct recipe_field *f)
{
    if (f->def_grpo && strcmp(f->def_grpo, f->def) != 0) {
        (void)fputs("; not sft ", out);
        code(out, f->def_grpo);
    }
    for (size_t i = 0; i < RECIPE_DEFAULT_COUNT; i++) {
        const struct recipe_default *d = &RECIPE_DEFAULTS[i];
        if (strcmp(d->key, f->key) == 0) {
            (void)fprintf(out, "; %s%s%s ", d->methods ? recipe_method_name(d->methods) : "",
                          d->methods && d->old ? ", " : "", d->old ? "trl-0.18" : "");
            code(out, d->value);
        }
    }
}

static void supported(FILE *out)
{
    const char *group = "";
    char allowed[512];
    for (size_t i = 0; i < schema_count(); i++) {
        const struct recipe_field *f = schema_field(i);
        if (strcmp(group, f->group) != 0) {
            group = f->group;
            (void)fprintf(out, "\n### %s\n\n| key | also written | default | value | meaning |\n"
                               "|---|---|---|---|---|\n", group);
        }
        (void)fputs("| ", out);
        code(out, f->key);
        (void)fprintf(out, " | %s | ", f->aliases ? f->aliases : "");
        code(out, f->def);
        other_defaults(out, f);
        (void)fputs(" | ", out);
        schema_describe(f, allowed, sizeof allowed);
        cell(out, allowed);
        (void)fputs(" | ", out);
        cell(out, f->doc);
        (void)fputs(" |\n", out);
    }
}

/* A foreign row that a field of the same name has replaced says nothing. */
static bool replaced(const struct recipe_foreign *k)
{
    return schema_find(k->key) != NULL;
}

static void foreign(FILE *out, bool mapped, enum foreign_action action)
{
    (void)fputs("\n| key | values that ask for nothing | why |\n|---|---|---|\n", out);
    for (size_t i = 0; i < RECIPE_FOREIGN_COUNT; i++) {
        const struct recipe_foreign *k = &RECIPE_FOREIGN[i];
        const bool maps = k->action != FOREIGN_NOTE && k->action != FOREIGN_REFUSE;
        if (replaced(k) || (mapped ? !maps : k->action != action)) {
            continue;
        }
        (void)fputs("| ", out);
        code(out, k->key);
        (void)fputs(" | ", out);
        cell(out, k->neutral);
        (void)fputs(" | ", out);
        cell(out, k->why);
        (void)fputs(" |\n", out);
    }
}

static void values(FILE *out, const struct recipe_refused *rows, size_t count)
{
    (void)fputs("\n| key | value | why |\n|---|---|---|\n", out);
    for (size_t i = 0; i < count; i++) {
        (void)fputs("| ", out);
        code(out, rows[i].key);
        (void)fputs(" | ", out);
        code(out, rows[i].value);
        (void)fputs(" | ", out);
        cell(out, rows[i].why);
        (void)fputs(" |\n", out);
    }
}

static void renamed(FILE *out)
{
    (void)fputs("\n| old key | now | what changed |\n|---|---|---|\n", out);
    for (size_t i = 0; i < RECIPE_RENAMED_COUNT; i++) {
        const struct recipe_renamed *k = &RECIPE_RENAMED[i];
        (void)fputs("| ", out);
        code(out, k->key);
        (void)fputs(" | ", out);
        code(out, k->now ? k->now : k->key);
        (void)fputs(" | ", out);
        cell(out, k->why ? k->why : "the name");
        (void)fputs(" |\n", out);
    }
}

static void page(FILE *out)
{
    (void)fputs("# Keys of a recipe\n\nPrinted by `graft validate --keys`. Names are those of TRL "
                "1.16 and Transformers 5.23, of the versions Open-R1 pins (TRL 0.18, Transformers "
                "4.52), of Open-R1's scripts, and Graft's own. `compat: trl-0.18` takes the older "
                "versions' defaults. A key that is on none of these lists is an error.\n\n"
                "## Where Graft differs on purpose\n\n",
                out);
    for (size_t i = 0; i < sizeof DIFFERENCES / sizeof *DIFFERENCES; i++) {
        (void)fprintf(out, "- **%s** ", DIFFERENCES[i].what);
        cell(out, DIFFERENCES[i].how);
        (void)fprintf(out, " ([test](../%s))\n", DIFFERENCES[i].test);
    }
    (void)fputs("\n## Supported\n", out);
    supported(out);
    (void)fputs("\n## Sets another key\n", out);
    foreign(out, true, FOREIGN_NOTE);
    (void)fputs("\n## Old keys\n\nAccepted; each is noted once with what it is now.\n", out);
    renamed(out);
    (void)fputs("\n## Accepted without effect\n\nOther values than these are noted.\n", out);
    foreign(out, false, FOREIGN_NOTE);
    (void)fputs("\n## Refused\n\nThey would change the result. Other values than these are errors "
                "that say what to use instead.\n", out);
    foreign(out, false, FOREIGN_REFUSE);
    (void)fputs("\n## Refused values\n", out);
    values(out, RECIPE_REFUSED, RECIPE_REFUSED_COUNT);
    (void)fputs("\n## Values taken with a remark\n", out);
    values(out, RECIPE_REMARKS, RECIPE_REMARK_COUNT);
}

enum status recipe_keys_page(char **text)
{
    size_t size;
    *text = NULL;
    FILE *out = open_memstream(text, &size);
    if (!out) {
        return FAIL(MEMORY, "keys: out of memory");
    }
    page(out);
    const bool failed = ferror(out) != 0;
    if (fclose(out) != 0 || failed) {
        free(*text);
        *text = NULL;
        return FAIL(MEMORY, "keys: out of memory");
    }
    return STATUS_OK;
}
