/* Chat template cases (one JSON object a line, as golden/templates/cases.jsonl) rendered and
 * compared. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

/* Path of `name` below the shared folder (GRAFT_SHARED, else GRAFT_SOURCE/../shared), NULL when it
 * is not there. Static storage, valid until the next call. */
const char *template_shared_path(const char *name);

/* Renders the case with template text `source`. True when it agrees: the same text and spans, the
 * same TemplateError message, or a failure of any text where another error is expected. Prints what
 * differs otherwise. */
bool template_case_agrees(const json_t *row, const char *source);

/* Runs `each` over the rows of a JSON lines file and returns how many failed; *count = rows. */
int template_cases_run(const char *path, bool (*each)(const json_t *row), int *count);
