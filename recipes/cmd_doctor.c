/* doctor: what this machine offers, with a quick measurement of products and memory. */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "eval/sandbox/sandbox.h"
#include "kernels/base/places.h"
#include "kernels/ops.h"
#include "recipes/commands.h"
#include "recipes/measure.h"
#include "trainer/comm/comm.h"
#include "trainer/report/report.h"
#include "trainer/store/state_h5.h"

/* First line of `path` that starts with `key` (NULL: any), after its colon; "" when
 * there is none. */
static void read_line(const char *path, const char *key, char *out, size_t size)
{
    FILE *in = fopen(path, "r");
    out[0] = '\0';
    char line[512];
    while (in && fgets(line, sizeof line, in)) {
        line[strcspn(line, "\n")] = '\0';
        if (key && strncmp(line, key, strlen(key)) != 0) {
            continue;
        }
        const char *value = key ? strchr(line, ':') : line;
        value = value ? value + (key ? 1 : 0) : "";
        (void)snprintf(out, size, "%s", value + strspn(value, " \t"));
        break;
    }
    if (in) {
        (void)fclose(in);
    }
}

static void add_text(json_t *out, const char *key, const char *value)
{
    (void)json_object_set_new(out, key, json_string(*value ? value : "unknown"));
}

static void add_machine(json_t *out)
{
    char text[512];
    read_line("/proc/cpuinfo", "model name", text, sizeof text);
    add_text(out, "cpu", text);
    (void)json_object_set_new(out, "cores", json_integer(cpu_allowed()));
    (void)json_object_set_new(out, "cores_online", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
    read_line("/sys/fs/cgroup/cpu.max", NULL, text, sizeof text);
    add_text(out, "cgroup_cpu", *text ? text : "none");
    (void)snprintf(text, sizeof text, "%s%s", cpu_tier_name(cpu_best_tier()),
                   cpu_has_avx512_bf16() ? " +avx512bf16" : "");
    add_text(out, "best_tier", text);
    read_line("/proc/meminfo", "MemTotal", text, sizeof text);
    add_text(out, "memory_total", text);
    read_line("/proc/meminfo", "MemAvailable", text, sizeof text);
    add_text(out, "memory_available", text);
    read_line("/sys/fs/cgroup/memory.max", NULL, text, sizeof text);
    add_text(out, "cgroup_memory", *text ? text : "none");
}

/* CPUs of the threads, as a run of this many finds them. */
static void add_binding(int threads, json_t *out)
{
    struct places places;
    int cpus[PLACES_MOST];
    char text[512];
    int nodes;
    places_read(&places, false, 0, 1);
    (void)places_order(&places.own, cpus, &nodes);
    (void)json_object_set_new(out, "numa_nodes", json_integer(nodes));
    places_tell(&places, threads > 0 ? threads : places_threads(&places), text, sizeof text);
    add_text(out, "binding", text);
}

static void add_libraries(json_t *out)
{
    char text[256];
    add_text(out, "mpi",
             comm_mpi_version(text, sizeof text) == STATUS_OK ? text : status_message());
    add_text(out, "hdf5",
             state_h5_version(text, sizeof text) == STATUS_OK ? text : status_message());
    status_clear();
    add_text(out, "jansson", jansson_version_str());
    const char *launcher = getenv("OMPI_COMM_WORLD_SIZE");
    add_text(out, "ranks", launcher ? launcher : "1 (no launcher)");
}

/* The layers that code rewards need, and which profiles they add up to. */
static enum status add_sandbox(json_t *out)
{
    struct sandbox_probe probe;
    TRY(sandbox_probe(&probe));
    bool full = true;
    bool reduced = true;
    for (int i = 0; i < SANDBOX_LAYERS; i++) {
        const enum sandbox_layer layer = (enum sandbox_layer)i;
        char key[128];
        char text[256];
        (void)snprintf(key, sizeof key, "sandbox: %s", sandbox_layer_name(layer));
        (void)snprintf(text, sizeof text, "%s%s", probe.present[i] ? "" : "missing: ",
                       probe.why[i]);
        add_text(out, key, text);
        full = full && (probe.present[i] || !sandbox_needs(SANDBOX_FULL, layer));
        reduced = reduced && (probe.present[i] || !sandbox_needs(SANDBOX_REDUCED, layer));
    }
    add_text(out, "sandbox_profiles",
             full ? (reduced ? "full, reduced" : "full") : (reduced ? "reduced" : "none"));
    return STATUS_OK;
}

/* Every kind of multiply-add that this machine has, on all threads. */
static enum status add_instructions(int threads, json_t *out)
{
    struct pool *pool;
    TRY(pool_open(&pool, threads));
    for (int i = 0; peak_at(i); i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "%s_roof_gflops", peak_at(i)->name);
        (void)json_object_set_new(out, key, json_real(measure_instructions(pool, peak_at(i), 0.0)));
    }
    double rate;
    const enum status status = measure_cache_read(pool, &rate);
    pool_close(pool);
    TRY(status);
    (void)json_object_set_new(out, "cache_gb_per_second", json_real(rate));
    return STATUS_OK;
}

/* Peak of the products in `compute`, and with it the tier and threads that did them. */
static enum status add_gemm(enum compute compute, int threads, json_t *out, const char *key)
{
    struct ops_context ops;
    double gflops;
    TRY(ops_context_open(&ops, &(struct ops_options){.threads = threads, .compute = compute}));
    const enum status status = measure_gemm(&ops, MEASURE_SECONDS, &gflops);
    if (status == STATUS_OK) {
        (void)json_object_set_new(out, key, json_real(gflops));
        add_text(out, "backend", ops.ops->name);
        (void)json_object_set_new(out, "threads", json_integer(pool_threads(ops.pool)));
    }
    ops_context_close(&ops);
    return status;
}

static enum status add_memory(int threads, json_t *out)
{
    struct pool *pool;
    double rate;
    TRY(pool_open(&pool, threads));
    const enum status status = measure_read(pool, MEASURE_MIB, &rate);
    pool_close(pool);
    TRY(status);
    (void)json_object_set_new(out, "memory_gb_per_second", json_real(rate));
    return STATUS_OK;
}

static void print_text(const json_t *out)
{
    const char *key;
    json_t *value;
    json_object_foreach ((json_t *)(uintptr_t)out, key, value) {
        if (json_is_string(value)) {
            report_result("%-22s %s", key, json_string_value(value));
        } else {
            report_result("%-22s %.4g", key, json_number_value(value));
        }
    }
}

enum status cmd_doctor(const struct command_args *args)
{
    json_t *out = json_object();
    enum status status = STATUS_OK;
    if (!out) {
        return FAIL(MEMORY, "doctor: out of memory");
    }
    add_machine(out);
    add_binding((int)args->threads, out);
    add_libraries(out);
    TRY_TO(status, done, add_sandbox(out));
    TRY_TO(status, done, add_gemm(COMPUTE_BF16, (int)args->threads, out, "bf16_gflops"));
    TRY_TO(status, done, add_gemm(COMPUTE_F32, (int)args->threads, out, "f32_gflops"));
    TRY_TO(status, done, add_instructions((int)args->threads, out));
    TRY_TO(status, done, add_memory((int)args->threads, out));
    if (args->json) {
        char *text = json_dumps(out, JSON_PRESERVE_ORDER);
        report_result("%s", text ? text : "{}");
        free(text);
    } else {
        print_text(out);
    }
done:
    json_decref(out);
    return status;
}
