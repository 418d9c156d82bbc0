/*
 * libFuzzer entry for the safetensors reader; test_safetensors.c replays truncations and flips in
 * ctest. Built by hand like fuzz_gguf.c.
 */
#include <stddef.h>
#include <stdint.h>

#include "trainer/format/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads the first and last byte of every tensor, and decodes one element of the readable ones. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct safetensors *s;
    if (safetensors_open_memory(&s, "fuzz", data, size) != STATUS_OK) {
        return 0;
    }
    unsigned sum = 0;
    for (int64_t i = 0; i < safetensors_count(s); i++) {
        const struct safetensors_entry *e = safetensors_at(s, i);
        const uint8_t *bytes = e->data;
        sum += e->bytes > 0 ? (unsigned)bytes[0] + bytes[e->bytes - 1] : 0;
        float value = 0.0f;
        if (e->supported && e->bytes > 0) {
            dtype_row(e->view.dtype)->decode(e->view.data, &value, 1);
        }
        sum += value != 0.0f;
    }
    (void)safetensors_metadata(s, "format");
    safetensors_close(s);
    volatile unsigned sink = sum; /* keeps the reads */
    (void)sink;
    return 0;
}
