/* doctor: what this machine offers, with a quick measurement of products and memory. */
#include <hdf5.h>
#include <inttypes.h>
#include <mpi.h>
#include <sched.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kernels/ops.h"
#include "recipes/commands.h"
#include "trainer/report/report.h"

enum { GEMM_ROWS = 256, GEMM_SIDE = 2048, STREAM_MIB = 256, STREAM_ITEMS = 256 };

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

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

static int usable_cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
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
    (void)json_object_set_new(out, "cores", json_integer(usable_cores()));
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

static void add_libraries(json_t *out)
{
    char text[MPI_MAX_LIBRARY_VERSION_STRING + 1] = "";
    int length = 0;
    if (MPI_Get_library_version(text, &length) == MPI_SUCCESS) {
        text[strcspn(text, ",\n")] = '\0';
    }
    add_text(out, "mpi", text);
    unsigned major = 0;
    unsigned minor = 0;
    unsigned release = 0;
    if (H5get_libversion(&major, &minor, &release) >= 0) {
        (void)snprintf(text, sizeof text, "%u.%u.%u", major, minor, release);
    }
    add_text(out, "hdf5", text);
    add_text(out, "jansson", jansson_version_str());
    const char *launcher = getenv("OMPI_COMM_WORLD_SIZE");
    add_text(out, "ranks", launcher ? launcher : "1 (no launcher)");
}

/* Best GFLOP/s of y[256, 2048] = x W^T within about 0.4 s. */
static enum status measure_gemm(enum compute compute, int threads, json_t *out, const char *key)
{
    struct ops_context ops;
    const struct ops_options options = {.threads = threads, .compute = compute};
    float *memory = calloc((size_t)(2 * GEMM_ROWS + GEMM_SIDE) * GEMM_SIDE, sizeof *memory);
    if (!memory) {
        return FAIL(MEMORY, "doctor: out of memory");
    }
    const enum status status = ops_context_open(&ops, &options);
    if (status != STATUS_OK) {
        free(memory);
        return status;
    }
    const struct tensor w = {.dtype = DTYPE_F32,
                             .dims = 2,
                             .shape = {GEMM_SIDE, GEMM_SIDE},
                             .row_bytes = GEMM_SIDE * sizeof(float),
                             .data = memory + (size_t)2 * GEMM_ROWS * GEMM_SIDE};
    const struct gemm_args gemm = {.x = memory,
                                   .ldx = GEMM_SIDE,
                                   .m = GEMM_ROWS,
                                   .w = &w,
                                   .n = GEMM_SIDE,
                                   .y = memory + (size_t)GEMM_ROWS * GEMM_SIDE,
                                   .ldy = GEMM_SIDE,
                                   .alpha = 1};
    double best = 1e9;
    const double end = now() + 0.4;
    do {
        const double start = now();
        ops.ops->gemm(&ops, &gemm);
        const double seconds = now() - start;
        best = seconds < best ? seconds : best;
    } while (now() < end);
    (void)json_object_set_new(
        out, key, json_real(2.0 * GEMM_ROWS * GEMM_SIDE * GEMM_SIDE / best / 1e9));
    add_text(out, "backend", ops.ops->name);
    (void)json_object_set_new(out, "threads", json_integer(pool_threads(ops.pool)));
    ops_context_close(&ops);
    free(memory);
    return STATUS_OK;
}

struct stream {
    const uint64_t *words;
    size_t per_item;
    uint64_t sums[STREAM_ITEMS];
};

static void sum_words(void *ctx, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    struct stream *s = ctx;
    for (int64_t i = begin; i < end; i++) {
        const uint64_t *p = s->words + (size_t)i * s->per_item;
        uint64_t sum[4] = {0};
        for (size_t j = 0; j + 4 <= s->per_item; j += 4) {
            sum[0] += p[j];
            sum[1] += p[j + 1];
            sum[2] += p[j + 2];
            sum[3] += p[j + 3];
        }
        s->sums[i] = sum[0] + sum[1] + sum[2] + sum[3];
    }
}

/* Best GB/s of reading 256 MiB. */
static enum status measure_memory(int threads, json_t *out)
{
    const size_t bytes = (size_t)STREAM_MIB << 20;
    uint64_t *words = malloc(bytes);
    struct pool *pool = NULL;
    if (!words) {
        return FAIL(MEMORY, "doctor: out of memory");
    }
    memset(words, 1, bytes);
    const enum status status = pool_open(&pool, threads);
    if (status == STATUS_OK) {
        struct stream s = {.words = words, .per_item = bytes / sizeof *words / STREAM_ITEMS};
        double best = 1e9;
        for (int round = 0; round < 5; round++) {
            const double start = now();
            parallel_for(pool, STREAM_ITEMS, sum_words, &s);
            const double seconds = now() - start;
            best = seconds < best ? seconds : best;
        }
        (void)json_object_set_new(out, "memory_gb_per_second",
                                  json_real((double)bytes / best / 1e9));
        pool_close(pool);
    }
    free(words);
    return status;
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
    add_libraries(out);
    TRY_TO(status, done, measure_gemm(COMPUTE_BF16, (int)args->threads, out, "bf16_gflops"));
    TRY_TO(status, done, measure_gemm(COMPUTE_F32, (int)args->threads, out, "f32_gflops"));
    TRY_TO(status, done, measure_memory((int)args->threads, out));
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
