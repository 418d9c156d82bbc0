/* cpuid tiers; see cpu.h. gcc's builtins also check that the kernel saves the registers. */
#include "kernels/base/cpu.h"

#include <cpuid.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const char *const NAMES[TIER_COUNT] = {"ref", "avx2", "avx512", "amx"};

static int has_amx_bf16(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        return 0;
    }
    return ((d >> 22) & 1U) && ((d >> 24) & 1U); /* AMX-BF16, AMX-TILE */
}

/* Linux hands out the 8 KiB of tile state on request only, once for the process. */
static int may_use_tiles(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

int cpu_has_avx512_bf16(void)
{
    unsigned a = 0;
    unsigned b = 0;
    unsigned c = 0;
    unsigned d = 0;
    if (cpu_best_tier() < TIER_AVX512 || !__get_cpuid_count(7, 1, &a, &b, &c, &d)) {
        return 0;
    }
    return (int)((a >> 5) & 1U);
}

enum cpu_tier cpu_best_tier(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
        return TIER_REF;
    }
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw")
        || !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq")) {
        return TIER_AVX2;
    }
    return has_amx_bf16() && may_use_tiles() ? TIER_AMX : TIER_AVX512;
}

enum status cpu_choose_tier(enum cpu_tier limit, enum cpu_tier *out)
{
    const enum cpu_tier best = cpu_best_tier();
    const char *forced = getenv("GRAFT_ISA");
    *out = best < limit ? best : limit;
    if (!forced || !*forced) {
        return STATUS_OK;
    }
    for (int t = 0; t < TIER_COUNT; t++) {
        if (strcmp(forced, NAMES[t]) == 0) {
            if ((enum cpu_tier)t > best) {
                return FAIL(DEVICE, "GRAFT_ISA=%s: this machine only has %s; unset GRAFT_ISA",
                            forced, NAMES[best]);
            }
            *out = (enum cpu_tier)t < limit ? (enum cpu_tier)t : limit;
            return STATUS_OK;
        }
    }
    return FAIL(USAGE, "GRAFT_ISA=%s: use ref, avx2, avx512 or amx", forced);
}

int cpu_allowed(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    const int n = CPU_COUNT(&set);
    return n > 0 ? n : 1;
}

const char *cpu_tier_name(enum cpu_tier tier)
{
    return NAMES[tier];
}
