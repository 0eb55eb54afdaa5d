#include "gateway/feed.h"
#include "gateway/query.h"
#include "proto/base/id.h"

typedef struct asking {
    kv_request *r;
    kv_live_queue *q;
    kv_feed_asks *asks;
} asking;

static kv_err take_types(void *out, kv_slice v)
{
    return kv_live_queue_types(((asking *)out)->q, v);
}

static kv_err take_user(void *out, kv_slice v)
{
    return kv_live_queue_user(((asking *)out)->q, v);
}

static kv_err take_after(void *out, kv_slice v)
{
    kv_feed_asks *asks = ((asking *)out)->asks;
    asks->has_after = true;
    return kv_query_uint(v, 0, UINT64_MAX, &asks->after) ? KV_OK : KV_E_BAD_PARAMETER;
}

/* "id,id": at most what a client may watch. */
static kv_err take_watch(void *out, kv_slice v)
{
    const asking *a = out;
    size_t most = 1;
    for (size_t i = 0; i < v.len; i++)
        most += v.ptr[i] == ',';
    if (most > KV_WATCH_CLIENT_MAX)
        return KV_E_BAD_PARAMETER;
    uint64_t *ids = h2o_mem_alloc_pool(&a->r->req->pool, sizeof(*ids) * most);
    while (v.len != 0) {
        const char *comma = memchr(v.ptr, ',', v.len);
        size_t n = comma != NULL ? (size_t)(comma - v.ptr) : v.len;
        if (!kv_id_parse(v.ptr, n, &ids[a->asks->nwatch++]))
            return KV_E_BAD_PARAMETER;
        n += comma != NULL;
        v = kv_slice_of(v.ptr + n, v.len - n);
    }
    a->asks->watch = ids;
    return KV_OK;
}

static kv_err take_queues(void *out, kv_slice v)
{
    bool yes = kv_slice_is(v, "1");
    ((asking *)out)->asks->queues = yes;
    return yes || kv_slice_is(v, "0") ? KV_OK : KV_E_BAD_PARAMETER;
}

static kv_err take_limit(void *out, kv_slice v)
{
    uint64_t *limit = &((asking *)out)->asks->limit;
    return kv_query_uint(v, 1, KV_POLL_LIMIT_MAX, limit) ? KV_OK : KV_E_BAD_PARAMETER;
}

static kv_err take_wait(void *out, kv_slice v)
{
    uint64_t *wait_s = &((asking *)out)->asks->wait_s;
    return kv_query_uint(v, 0, KV_POLL_WAIT_MAX_S, wait_s) ? KV_OK : KV_E_BAD_PARAMETER;
}

#define TYPES                                                                                      \
    {                                                                                              \
        "types", take_types, "media, job, notification, queue or none, joined by commas"           \
    }
#define USER                                                                                       \
    {                                                                                              \
        "user", take_user, "at most 64 bytes"                                                      \
    }
#define AFTER                                                                                      \
    {                                                                                              \
        "after", take_after, "an event id"                                                         \
    }
static const kv_parameter streamed[] = {
    TYPES,
    USER,
    AFTER,
    {"watch", take_watch, "at most 1000 job ids, joined by commas"},
    {"queues", take_queues, "1 or 0"},
};
static const kv_parameter polled[] = {
    TYPES, USER, AFTER, {"limit", take_limit, "1 to 1000"}, {"wait", take_wait, "seconds, 0 to 25"},
};

kv_err kv_feed_parameters(kv_request *r, kv_live_queue *q, kv_feed_asks *ret, char *why)
{
    asking a = {r, q, ret};
    bool poll = q->kind == KV_LIVE_POLL;
    *ret = (kv_feed_asks){.limit = KV_POLL_LIMIT};
    KV_TRY(kv_query_read(
        r, poll ? polled : streamed,
        poll ? sizeof(polled) / sizeof(*polled) : sizeof(streamed) / sizeof(*streamed), &a, why));
    /* The header wins: a browser that reconnects sends the newest id there and the old one in its
     * URL. */
    kv_slice header = kv_header_get(r->req, "last-event-id");
    if (header.len == 0)
        return KV_OK;
    ret->has_after = true;
    if (!kv_query_uint(header, 0, UINT64_MAX, &ret->after))
        ret->after = UINT64_MAX; /* not one of ours: it gets a resync; a browser would never come
                                    back from a 400 */
    return KV_OK;
}
