/* CPUs of threads; see places.h. */
#include "kernels/base/places.h"

#include <hwloc.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* CPUs of time per period that a cgroup's cpu.max allows, rounded up; 0: as many as there are. */
static int read_quota(void)
{
    FILE *in = fopen("/sys/fs/cgroup/cpu.max", "re");
    char line[64] = "";
    if (in) {
        (void)fgets(line, sizeof line, in);
        (void)fclose(in);
    }
    char *end;
    const long long quota = strtoll(line, &end, 10);
    const long long period = end > line ? strtoll(end, NULL, 10) : 0;
    return quota > 0 && period > 0 && quota / period < PLACES_MOST
               ? (int)((quota + period - 1) / period)
               : 0;
}

static bool has(const cpu_set_t *set, int cpu)
{
    return cpu >= 0 && cpu < CPU_SETSIZE && CPU_ISSET((size_t)cpu, set);
}

static bool holds(const cpu_set_t *all, const cpu_set_t *part)
{
    cpu_set_t both;
    CPU_AND(&both, all, part);
    return CPU_EQUAL(&both, part);
}

void places_read(struct places *p, bool launched, int local_rank, int local_size)
{
    cpu_set_t parent;
    *p = (struct places){.local_rank = local_rank, .local_size = local_size > 0 ? local_size : 1};
    CPU_ZERO(&p->own);
    if (sched_getaffinity(0, sizeof p->own, &p->own) != 0) {
        CPU_SET(0, &p->own);
    }
    p->node = p->own;
    if (launched && sched_getaffinity(getppid(), sizeof parent, &parent) == 0
        && holds(&parent, &p->own)) {
        p->node = parent;
    }
    p->quota = read_quota();
}

void places_widen(struct places *p)
{
    if (CPU_COUNT(&p->own) < CPU_COUNT(&p->node) / p->local_size
        && sched_setaffinity(0, sizeof p->node, &p->node) == 0) {
        p->own = p->node;
    }
}

static int smaller(int a, int b)
{
    return a < b ? a : b;
}

int places_threads(const struct places *p)
{
    const int cpus = p->quota > 0 ? smaller(p->quota, CPU_COUNT(&p->node)) : CPU_COUNT(&p->node);
    const int share = smaller(cpus / p->local_size, CPU_COUNT(&p->own));
    return share > 0 ? share : 1;
}

/* Without a topology: ascending. */
static int order_plain(const cpu_set_t *set, int cpus[PLACES_MOST])
{
    int count = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (has(set, cpu)) {
            cpus[count++] = cpu;
        }
    }
    return count;
}

static int order_units(hwloc_topology_t topology, const cpu_set_t *set, int cpus[PLACES_MOST])
{
    int count = 0;
    hwloc_obj_t unit = NULL;
    while ((unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit)) != NULL) {
        if (has(set, (int)unit->os_index) && count < PLACES_MOST) {
            cpus[count++] = (int)unit->os_index;
        }
    }
    return count;
}

/* NUMA nodes with a CPU of `set`. */
static int count_nodes(hwloc_topology_t topology, const cpu_set_t *set)
{
    int count = 0;
    hwloc_obj_t node = NULL;
    while ((node = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_NUMANODE, node)) != NULL) {
        bool any = false;
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
            any = any || (has(set, cpu) && hwloc_bitmap_isset(node->cpuset, (unsigned)cpu));
        }
        count += any;
    }
    return count;
}

int places_order(const cpu_set_t *set, int cpus[PLACES_MOST], int *nodes)
{
    hwloc_topology_t topology;
    int count = 0;
    if (nodes) {
        *nodes = 1;
    }
    if (hwloc_topology_init(&topology) != 0) {
        return order_plain(set, cpus);
    }
    if (hwloc_topology_load(topology) == 0) {
        count = order_units(topology, set, cpus);
        if (nodes) {
            *nodes = count_nodes(topology, set);
        }
    }
    hwloc_topology_destroy(topology);
    return count == CPU_COUNT(set) ? count : order_plain(set, cpus);
}

/* Do all ranks' threads together take every CPU, no less and no more? */
static bool fill(const struct places *p, int threads)
{
    const int cpus = CPU_COUNT(&p->node);
    return threads > 0 && threads <= cpus && threads * p->local_size == cpus
           && (p->quota == 0 || p->quota >= cpus);
}

bool places_choose(const struct places *p, const int *order, int count, int threads, int *cpus)
{
    const bool shared = CPU_EQUAL(&p->own, &p->node);
    int taken = 0;
    if (!fill(p, threads)) {
        return false;
    }
    for (int i = shared ? p->local_rank * threads : 0; i < count && taken < threads; i++) {
        if (has(&p->own, order[i])) {
            cpus[taken++] = order[i];
        }
    }
    return taken == threads && (shared || CPU_COUNT(&p->own) == threads);
}

static bool switched_off(void)
{
    const char *word = getenv("GRAFT_PIN");
    return word && strcmp(word, "0") == 0;
}

bool places_pin(const struct places *p, int threads, int cpus[PLACES_MOST])
{
    int order[PLACES_MOST];
    if (switched_off() || !fill(p, threads)) {
        return false;
    }
    const int count = places_order(&p->node, order, NULL);
    return places_choose(p, order, count, threads, cpus);
}

void places_tell(const struct places *p, int threads, char *out, size_t size)
{
    int cpus[PLACES_MOST];
    if (!places_pin(p, threads, cpus)) {
        (void)snprintf(out, size, "%s",
                       switched_off()      ? "not pinned: GRAFT_PIN=0"
                       : !fill(p, threads) ? "not pinned: threads do not fill the CPUs"
                                           : "not pinned: the launcher bound the ranks unevenly");
        return;
    }
    int used = snprintf(out, size, "pinned to CPU");
    for (int t = 0; t < threads && used > 0 && (size_t)used < size; t++) {
        used += snprintf(out + used, size - (size_t)used, " %d", cpus[t]);
    }
}
