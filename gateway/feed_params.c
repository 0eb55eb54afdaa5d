#include "gateway/feed.h"
#include "proto/base/id.h"

static bool parse_u64(kv_slice s, uint64_t *ret)
{
    uint64_t n = 0;
    if (s.len == 0 || s.len > 19)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(s.ptr[i] - '0');
    }
    *ret = n;
    return true;
}

/* "id,id": at most what a client may watch. */
static kv_err parse_watch(kv_request *r, kv_slice v, kv_feed_asks *ret)
{
    size_t most = 1;
    for (size_t i = 0; i < v.len; i++)
        most += v.ptr[i] == ',';
    if (most > KV_WATCH_CLIENT_MAX)
        return KV_E_BAD_PARAMETER;
    uint64_t *ids = h2o_mem_alloc_pool(&r->req->pool, sizeof(*ids) * most);
    while (v.len != 0) {
        const char *comma = memchr(v.ptr, ',', v.len);
        size_t n = comma != NULL ? (size_t)(comma - v.ptr) : v.len;
        if (!kv_id_parse(v.ptr, n, &ids[ret->nwatch++]))
            return KV_E_BAD_PARAMETER;
        n += comma != NULL;
        v = kv_slice_of(v.ptr + n, v.len - n);
    }
    ret->watch = ids;
    return KV_OK;
}

static kv_err parse_wishes(kv_request *r, kv_live_queue *q, kv_feed_asks *ret, const char **why)
{
    kv_slice v;
    kv_err err = KV_OK;
    *why = "types: names like \"media,job\"";
    if (kv_query_get(r, "types", &v, &err))
        err = kv_live_queue_types(q, v);
    if (err != KV_OK)
        return err;
    *why = "user: at most 64 bytes";
    if (kv_query_get(r, "user", &v, &err) && v.len != 0)
        err = kv_live_queue_user(q, v);
    if (err != KV_OK)
        return err;
    *why = "watch: at most 1000 job ids, joined by commas";
    if (kv_query_get(r, "watch", &v, &err))
        err = parse_watch(r, v, ret);
    if (err != KV_OK)
        return err;
    *why = "queues: 1";
    if (kv_query_get(r, "queues", &v, &err)) {
        ret->queues = kv_slice_is(v, "1");
        if (!ret->queues && v.len != 0 && !kv_slice_is(v, "0"))
            return KV_E_BAD_PARAMETER;
    }
    return err;
}

kv_err kv_feed_parameters(kv_request *r, kv_live_queue *q, kv_feed_asks *ret, const char **why)
{
    kv_slice v;
    kv_err err = KV_OK;
    *ret = (kv_feed_asks){0};
    KV_TRY(parse_wishes(r, q, ret, why));
    /* The header first: a browser that reconnects sends the newest id there and the old one in its
     * URL. */
    kv_slice header = kv_header_get(r->req, "last-event-id");
    if (header.len != 0) {
        ret->has_after = true;
        if (!parse_u64(header, &ret->after))
            ret->after = UINT64_MAX; /* not one of ours: it gets a resync; a browser would never
                                        come back from a 400 */
        return KV_OK;
    }
    *why = "after: an event id";
    if (kv_query_get(r, "after", &v, &err)) {
        if (!parse_u64(v, &ret->after))
            return KV_E_BAD_PARAMETER;
        ret->has_after = true;
    }
    return err;
}
