/* The chunked decoder: never outside, and the same result wherever the body is cut (the first byte
 * says how). */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/chunked.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct result {
    kv_err err;
    bool end;
    size_t data, used;
    char *bytes;
} result;

static result run(const uint8_t *in, size_t size, size_t piece)
{
    result r = {.bytes = malloc(size + 1)};
    kv_chunked c = {0};
    const char *why;
    while (r.used < size && !r.end && r.err == KV_OK) {
        size_t n = size - r.used < piece ? size - r.used : piece, got, used;
        char *copy = malloc(n);
        memcpy(copy, in + r.used, n);
        r.err = kv_chunked_decode(&c, copy, n, &got, &used, &r.end, &why);
        if (r.err == KV_OK) {
            if (got > n || used > n || (used < n && !r.end))
                abort();
            memcpy(r.bytes + r.data, copy, got);
            r.data += got;
            r.used += used;
        }
        free(copy);
    }
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    result a = run(data + 1, size - 1, size), b = run(data + 1, size - 1, 1 + data[0] % 32u);
    if (a.err != b.err ||
        (a.err == KV_OK && (a.end != b.end || a.data != b.data || a.used != b.used ||
                            memcmp(a.bytes, b.bytes, a.data) != 0)))
        abort();
    free(a.bytes);
    free(b.bytes);
    return 0;
}
