/* Peak of the bf16 tiles; see kernels/cpu/peak.h. */
#include "kernels/cpu/peak.h"

#include <immintrin.h>
#include <string.h>

/* Palette 1, eight tiles of 16 rows of 64 bytes. */
struct config {
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t bytes_per_row[16];
    uint8_t rows[16];
};

float peak_amx_bf16(int64_t rounds)
{
    _Alignas(64) float memory[16 * 16];
    _Alignas(64) struct config config;
    memset(memory, 0, sizeof memory);
    memset(&config, 0, sizeof config);
    config.palette = 1;
    for (int i = 0; i < 8; i++) {
        config.bytes_per_row[i] = 64;
        config.rows[i] = 16;
    }
    /* gcc 12 drops stores that only these instructions read. */
    __asm__ volatile("" ::"r"(&config), "r"(memory) : "memory");
    _tile_loadconfig(&config);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_loadd(4, memory, 64);
    _tile_loadd(5, memory, 64);
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 5);
        _tile_dpbf16ps(1, 4, 5);
        _tile_dpbf16ps(2, 4, 5);
        _tile_dpbf16ps(3, 4, 5);
    }
    _tile_stored(0, memory, 64);
    __asm__ volatile("" ::"r"(memory) : "memory");
    _tile_release();
    return memory[0];
}
