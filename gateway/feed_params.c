#include "gateway/feed.h"

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

kv_err kv_feed_parameters(kv_request *r, kv_live_queue *q, bool *ret_has_after, uint64_t *ret_after,
                          const char **ret_why)
{
    kv_slice v;
    kv_err err = KV_OK;
    *ret_has_after = false;
    *ret_why = "types: names like \"media,job\"";
    if (kv_query_get(r, "types", &v, &err))
        err = kv_live_queue_types(q, v);
    if (err != KV_OK)
        return err;
    /* The header first: a browser that reconnects sends the newest id there and the old one in its
     * URL. */
    kv_slice header = kv_header_get(r->req, "last-event-id");
    if (header.len != 0) {
        *ret_has_after = true;
        if (!parse_u64(header, ret_after))
            *ret_after = UINT64_MAX; /* not one of ours: it gets a resync; a browser would never
                                        come back from a 400 */
        return KV_OK;
    }
    *ret_why = "after: an event id";
    if (kv_query_get(r, "after", &v, &err)) {
        if (!parse_u64(v, ret_after))
            return KV_E_BAD_PARAMETER;
        *ret_has_after = true;
    }
    return err;
}
