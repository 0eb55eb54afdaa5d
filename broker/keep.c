#include "broker/keep.h"

#include <string.h>

#include "broker/put.h"
#include "proto/base/id.h"

enum { ID_AT = 10 /* ,"jobId":" */, BEHIND_ID = ID_AT + KV_ID_TEXT };

/* The one that differs in the job's id at most, up to `own`; -1: none. */
static int find_like(const kv_keep *k, const kv_buf *kept, kv_slice type, kv_slice rest, size_t own)
{
    for (int i = 0; i < k->n; i++) {
        const kv_event_parts *at = &k->like[i].at;
        const char *like = kept->data + k->like[i].from;
        if (at->type_end == 1 + type.len && at->own == at->type_end + own &&
            memcmp(like + 1, type.ptr, type.len) == 0 &&
            memcmp(like + at->type_end + BEHIND_ID, rest.ptr + BEHIND_ID, own - BEHIND_ID) == 0)
            return i;
    }
    return -1;
}

static char *put_short(char *p, int like, kv_slice rest, size_t own)
{
    p = kv_put(p, "{\"", 2);
    *p++ = (char)('0' + like);
    p = kv_put(p, "\":\"", 3);
    p = kv_put(p, rest.ptr + ID_AT, KV_ID_TEXT);
    *p++ = '"';
    return kv_put(p, rest.ptr + own, rest.len - own);
}

static void learn(kv_keep *k, const kv_buf *kept, size_t from)
{
    kv_slice event = kv_slice_of(kept->data + from, kept->len - from);
    if (k->n < KV_EVENT_LIKES && kv_event_parts_of(event, &k->like[k->n].at))
        k->like[k->n++].from = from;
}

void kv_keep_event(kv_keep *k, kv_buf *kept, kv_slice type, kv_slice rest, size_t own)
{
    char *p = kv_buf_reserve(kept, type.len + rest.len + 3);
    if (!p)
        return;
    if (kept->len > 1)
        *p++ = ',';
    size_t from = (size_t)(p - kept->data);
    int like = own > BEHIND_ID ? find_like(k, kept, type, rest, own) : -1;
    if (like >= 0) {
        p = put_short(p, like, rest, own);
    } else {
        *p++ = '{';
        p = kv_put(p, type.ptr, type.len);
        p = kv_put(p, rest.ptr, rest.len);
    }
    *p = '\0';
    kept->len = (size_t)(p - kept->data);
    if (like < 0)
        learn(k, kept, from);
}
