/* The multipart parser: never outside, bounded, and the same parts wherever the body is cut (the
 * first byte says how). Boundary: "XX". */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "gateway/multipart.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static kv_err on_begin(void *arg, const kv_part *p)
{
    kv_buf_adds(arg, "[");
    kv_buf_add(arg, p->name.ptr, p->name.len);
    if (p->filename.len > 0)
        kv_buf_add(arg, p->filename.ptr, p->filename.len);
    if (p->type.len > 0)
        kv_buf_add(arg, p->type.ptr, p->type.len);
    return KV_OK;
}

static kv_err on_data(void *arg, kv_slice s)
{
    if (s.len == 0)
        abort();
    kv_buf_add(arg, s.ptr, s.len);
    return KV_OK;
}

static kv_err on_end(void *arg)
{
    kv_buf_adds(arg, "]");
    return KV_OK;
}

static const kv_multipart_events events = {on_begin, on_data, on_end};

static kv_err run(const uint8_t *in, size_t size, size_t piece, kv_buf *out)
{
    kv_multipart m;
    kv_err err = KV_OK;
    kv_multipart_init(&m, "XX", &events, out);
    for (size_t at = 0; at < size && err == KV_OK; at += piece) {
        size_t n = size - at < piece ? size - at : piece;
        char *copy = malloc(n);
        memcpy(copy, in + at, n);
        err = kv_multipart_push(&m, kv_slice_of(copy, n));
        free(copy);
    }
    if (err == KV_OK)
        err = kv_multipart_finish(&m);
    kv_multipart_release(&m);
    return err;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char boundary[KV_MULTIPART_BOUNDARY_MAX + 1];
    if (size < 2)
        return 0;
    kv_multipart_boundary(kv_slice_of((const char *)data, size), boundary);
    kv_buf a, b;
    kv_buf_init(&a, 0);
    kv_buf_init(&b, 0);
    kv_err ea = run(data + 1, size - 1, size, &a),
           eb = run(data + 1, size - 1, 1 + data[0] % 64u, &b);
    if (ea != eb || (ea == KV_OK && !kv_slice_eq(kv_buf_slice(&a), kv_buf_slice(&b))))
        abort();
    kv_buf_release(&a);
    kv_buf_release(&b);
    return 0;
}
