/* A borrowed run of bytes: not NUL-terminated, owned by whoever made it, NULL only with len 0. */
#ifndef KV_BASE_SLICE_H
#define KV_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

typedef struct kv_slice {
    const char *ptr;
    size_t len;
} kv_slice;

#define KV_SLICE_FMT(s) (int)(s).len, (s).ptr ? (s).ptr : "" /* for "%.*s" */

static inline kv_slice kv_slice_of(const char *ptr, size_t len)
{
    return (kv_slice){ptr, len};
}

static inline kv_slice kv_slice_str(const char *text)
{
    return (kv_slice){text, text ? strlen(text) : 0};
}

static inline bool kv_slice_eq(kv_slice a, kv_slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool kv_slice_is(kv_slice a, const char *text)
{
    return kv_slice_eq(a, kv_slice_str(text));
}

#endif
