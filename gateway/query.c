#include "gateway/query.h"

#include <assert.h>
#include <stdio.h>

#include "gateway/route.h"

/* Up to the next `mark`, which is passed over. */
static kv_slice cut(kv_slice *from, char mark)
{
    const char *at = from->len != 0 ? memchr(from->ptr, mark, from->len) : NULL;
    kv_slice head = kv_slice_of(from->ptr, at != NULL ? (size_t)(at - from->ptr) : from->len);
    size_t skip = head.len + (at != NULL);
    *from = kv_slice_of(from->ptr + skip, from->len - skip);
    return head;
}

static bool decode(kv_request *r, kv_slice in, kv_slice *ret)
{
    char *out = h2o_mem_alloc_pool(&r->req->pool, in.len + 1);
    size_t n = kv_percent_decode(in, true, out);
    if (n == SIZE_MAX)
        return false;
    out[n] = '\0';
    *ret = kv_slice_of(out, n);
    return memchr(out, '\0', n) == NULL;
}

typedef struct reading {
    const kv_parameter *rows;
    size_t n;
    void *out;
    char *why;
    uint32_t given; /* a bit a row */
} reading;

static kv_err take(reading *g, kv_slice name, kv_slice v)
{
    for (size_t i = 0; i < g->n; i++) {
        if (!kv_slice_is(name, g->rows[i].name))
            continue;
        if ((g->given >> i & 1) != 0) {
            snprintf(g->why, KV_BODY_WHY, "%s is given twice", g->rows[i].name);
            return KV_E_BAD_PARAMETER;
        }
        g->given |= 1u << i;
        kv_err err = v.len != 0 ? g->rows[i].take(g->out, v) : KV_OK;
        if (err != KV_OK)
            snprintf(g->why, KV_BODY_WHY, "%s: %s", g->rows[i].name, g->rows[i].must);
        return err;
    }
    return kv_body_unknown(name.ptr, &g->rows->name, g->n, sizeof(*g->rows), g->why);
}

kv_err kv_query_read(kv_request *r, const kv_parameter *rows, size_t n, void *out, char *why)
{
    assert(n <= KV_QUERY_MAX);
    reading g = {.rows = rows, .n = n, .out = out, .why = why};
    why[0] = '\0';
    for (kv_slice q = r->query; q.len != 0;) {
        kv_slice value = cut(&q, '&');
        if (value.len == 0)
            continue;
        kv_slice name = cut(&value, '='), v;
        bool named = decode(r, name, &name);
        if (!named || !decode(r, value, &v)) {
            snprintf(why, KV_BODY_WHY, "%.64s%sa percent escape is malformed, or stands for NUL",
                     named ? name.ptr : "", named ? ": " : "");
            return KV_E_BAD_PARAMETER;
        }
        KV_TRY(take(&g, name, v));
    }
    return KV_OK;
}

bool kv_query_uint(kv_slice v, uint64_t low, uint64_t high, uint64_t *ret)
{
    uint64_t n = 0;
    if (v.len == 0 || v.len > 19)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.ptr[i] < '0' || v.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.ptr[i] - '0');
    }
    *ret = n;
    return n >= low && n <= high;
}
