/*
 * libFuzzer entry for the GGUF reader; test_gguf.c replays truncations and flips in ctest. Build by
 * hand: clang -g -O1 -D_GNU_SOURCE -fsanitize=fuzzer,address,undefined -I. tests/fuzz/fuzz_gguf.c
 *   kernels/base/status.c kernels/tensor/[a-z]*.c trainer/format/[a-z]*.c -ljansson -lcrypto -lm
 */
#include <stddef.h>
#include <stdint.h>

#include "trainer/format/gguf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Reads every key and array element and the first block of every tensor. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct gguf *g;
    if (gguf_open_memory(&g, "fuzz", data, size) != STATUS_OK) {
        return 0;
    }
    for (int64_t i = 0; i < gguf_key_count(g); i++) {
        enum gguf_type type;
        enum gguf_type element;
        uint64_t count;
        char key[64];
        const struct gguf_string s = gguf_key_at(g, i, &type, &element, &count);
        (void)snprintf(key, sizeof key, "%.*s", (int)(s.length < 63 ? s.length : 63), s.data);
        for (int64_t k = 0; k < gguf_array_count(g, key) && k < 100; k++) {
            struct gguf_string word;
            int64_t whole;
            double real;
            if (gguf_array_string(g, key, k, &word) != STATUS_OK
                && gguf_array_int(g, key, k, &whole) != STATUS_OK
                && gguf_array_float(g, key, k, &real) != STATUS_OK) {
                break;
            }
        }
    }
    for (int64_t i = 0; i < gguf_tensor_count(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        float values[256];
        if (t->supported) {
            const struct dtype_row *row = dtype_row(t->view.dtype);
            row->decode(t->view.data, values, row->block);
        }
    }
    gguf_close(g);
    return 0;
}
