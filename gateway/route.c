#include "gateway/route.h"

#include <string.h>

typedef struct row {
    kv_slice path; /* lengths are known when compiled: this runs for every request */
    kv_method method;
    unsigned flags;
} row;

static const row rows[] = {
#define ROW(method, path, handler, flags, text)                                                    \
    {{path, sizeof path - 1}, KV_METHOD_##method, flags},
    KV_ROUTES(ROW)
#undef ROW
};

static const struct {
    const char *name;
    kv_method method;
} methods[] = {
    {"GET", KV_METHOD_GET},         {"POST", KV_METHOD_POST}, {"HEAD", KV_METHOD_HEAD},
    {"DELETE", KV_METHOD_DELETE},   {"PUT", KV_METHOD_PUT},   {"PATCH", KV_METHOD_PATCH},
    {"OPTIONS", KV_METHOD_OPTIONS},
};

kv_method kv_method_of(kv_slice name)
{
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
        if (kv_slice_is(name, methods[i].name))
            return methods[i].method;
    return 0;
}

static kv_slice from(kv_slice s, size_t n)
{
    return kv_slice_of(s.ptr + n, s.len - n);
}

static bool starts(kv_slice s, const char *with)
{
    size_t n = strlen(with);
    return s.len >= n && memcmp(s.ptr, with, n) == 0;
}

/* Both without a trailing "/". */
static bool match(kv_slice p, kv_slice path, kv_slice *ret_param)
{
    *ret_param = kv_slice_of(NULL, 0);
    while (p.len > 0) {
        if (*p.ptr == '*') {
            *ret_param = path;
            return path.len > 0;
        }
        if (*p.ptr == ':') {
            const char *end = memchr(path.ptr, '/', path.len);
            size_t n = end != NULL ? (size_t)(end - path.ptr) : path.len;
            if (n == 0)
                return false;
            *ret_param = kv_slice_of(path.ptr, n);
            path = from(path, n);
            end = memchr(p.ptr, '/', p.len);
            p = end != NULL ? from(p, (size_t)(end - p.ptr)) : kv_slice_of(NULL, 0);
            continue;
        }
        if (path.len == 0 || *path.ptr != *p.ptr)
            return false;
        p = from(p, 1);
        path = from(path, 1);
    }
    return path.len == 0;
}

/* What is written as /api/x is asked as /api/v1/x too; what is written with v1 only by that. */
static bool match_alias(kv_slice pattern, kv_slice path, kv_slice *ret_param)
{
    if (match(pattern, path, ret_param))
        return true;
    if (!starts(path, "/api/v1/") || !starts(pattern, "/api/") || starts(pattern, "/api/v1/"))
        return false;
    return match(from(pattern, strlen("/api/")), from(path, strlen("/api/v1/")), ret_param);
}

kv_route_match kv_route_find(kv_method method, kv_slice path)
{
    kv_route_match m = {.index = -1};
    if (path.len > 1 && path.ptr[path.len - 1] == '/' && path.ptr[path.len - 2] != '/')
        path.len--;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!match_alias(rows[i].path, path, &m.param))
            continue;
        if (method == rows[i].method ||
            (method == KV_METHOD_HEAD && rows[i].method == KV_METHOD_GET)) {
            m.index = (int)i;
            m.flags = rows[i].flags;
            return m;
        }
        m.allow |= rows[i].method;
    }
    if (m.allow & KV_METHOD_GET)
        m.allow |= KV_METHOD_HEAD;
    if (m.allow != 0)
        m.allow |= KV_METHOD_OPTIONS;
    return m;
}

size_t kv_route_allow(unsigned allow, char out[64])
{
    size_t n = 0;
    for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++) {
        if (!(allow & methods[i].method))
            continue;
        if (n > 0) {
            out[n++] = ',';
            out[n++] = ' ';
        }
        size_t len = strlen(methods[i].name);
        memcpy(out + n, methods[i].name, len);
        n += len;
    }
    out[n] = 0;
    return n;
}

size_t kv_percent_decode(kv_slice in, bool plus, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < in.len; i++) {
        char c = in.ptr[i];
        if (c == '%') {
            unsigned char v;
            if (in.len - i < 3 || !kv_hex_decode(in.ptr + i + 1, 2, &v, 1))
                return SIZE_MAX;
            c = (char)v;
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = c;
    }
    return n;
}
