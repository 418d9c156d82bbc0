/* Golden folders for tests; see golden_files.h. */
#include "tests/support/golden_files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "trainer/format/json.h"

enum { JSON_BYTES = 1 << 26 };

const char *golden_files_path(const char *sub, char buf[GOLDEN_PATH])
{
    const char *shared = getenv("GRAFT_SHARED");
    const char *source = getenv("GRAFT_SOURCE");
    (void)snprintf(buf, GOLDEN_PATH, "%s%s/golden/%s", shared ? shared : source ? source : ".",
                   shared ? "" : "/../shared", sub);
    return buf;
}

const char *golden_files_folder(const char *sub, char buf[GOLDEN_PATH])
{
    (void)golden_files_path(sub, buf);
    if (access(buf, R_OK) != 0) {
        print_message("skipped: %s is not there\n", buf);
        skip();
    }
    return buf;
}

void golden_files_need(enum status status, const char *what)
{
    if (status != STATUS_OK) {
        fail_msg("%s: %s (%s)", what, status_message(), status_trace());
    }
}

json_t *golden_files_json(const char *folder, const char *name)
{
    char path[GOLDEN_PATH];
    json_t *json = NULL;
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    golden_files_need(json_load_path(path, JSON_BYTES, &json), path);
    return json;
}

float *golden_files_floats(const struct safetensors *s, const char *name, int64_t count)
{
    const struct safetensors_entry *e = safetensors_find(s, name);
    if (!e || strcmp(e->dtype_name, "F32") != 0 || tensor_count(&e->view) != count) {
        fail_msg("%s: no F32 tensor of %lld numbers in the golden file", name, (long long)count);
    }
    float *values = malloc((size_t)count * sizeof *values + 1);
    assert_non_null(values);
    memcpy(values, e->data, (size_t)count * sizeof *values);
    return values;
}

struct golden_files_error golden_files_compare(const float *a, const float *b, int64_t count)
{
    struct golden_files_error e = {0};
    double error = 0.0;
    double norm = 0.0;
    for (int64_t i = 0; i < count; i++) {
        const double d = fabs((double)a[i] - (double)b[i]);
        e.absolute = d <= e.absolute ? e.absolute : d; /* NaN counts as worse */
        error += d * d;
        norm += (double)b[i] * (double)b[i];
    }
    e.l2 = norm > 0.0 ? sqrt(error / norm) : sqrt(error);
    return e;
}

double golden_files_relative(double a, double b)
{
    return fabs(a - b) / fmax(fabs(b), 1e-30);
}
