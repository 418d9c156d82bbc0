/* Memory of this process and of this machine, from proc(5) and cgroup v2; see measure.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "recipes/measure.h"

enum { LINE = 4096 };

struct measure_memory measure_process(void)
{
    FILE *in = fopen("/proc/self/smaps", "re");
    char line[LINE];
    struct measure_memory memory = {0};
    bool weights = false;
    while (in && fgets(line, sizeof line, in)) {
        unsigned long long begin;
        unsigned long long end;
        unsigned long long held;
        char mode[8];
        if (sscanf(line, "%llx-%llx %7s", &begin, &end, mode) == 3) {
            weights = strcmp(mode, "r--s") == 0;
            memory.mapped += weights ? (size_t)(end - begin) : 0;
        } else if (!weights && sscanf(line, "Rss: %llu kB", &held) == 1) {
            memory.held += (size_t)held * 1024;
        }
    }
    if (in) {
        (void)fclose(in);
    }
    return memory;
}

/* The number behind `key` in a file of "key number" lines, or the file's first number (key NULL);
 * NAN when there is none. */
static double read_number(const char *path, const char *key)
{
    FILE *in = fopen(path, "re");
    char line[LINE];
    double value = NAN;
    while (in && isnan(value) && fgets(line, sizeof line, in)) {
        const size_t n = key ? strlen(key) : 0;
        if (!key || strncmp(line, key, n) == 0) {
            char *end;
            const double number = strtod(line + n, &end);
            value = end > line + n ? number : NAN;
        }
    }
    if (in) {
        (void)fclose(in);
    }
    return value;
}

double measure_free_memory(void)
{
    const double machine = read_number("/proc/meminfo", "MemAvailable:") * 1024;
    const double most = read_number("/sys/fs/cgroup/memory.max", NULL);
    const double used = read_number("/sys/fs/cgroup/memory.current", NULL);
    const double cached = read_number("/sys/fs/cgroup/memory.stat", "file ");
    const double group = most - used + (isnan(cached) ? 0.0 : cached);
    if (isnan(machine)) {
        return isnan(group) ? 0.0 : group;
    }
    return isnan(group) || machine < group ? machine : group;
}
