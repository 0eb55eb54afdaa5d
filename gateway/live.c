#include "gateway/live.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/json_scan.h"
#include "proto/base/words.h"

#define FRAME_EXTRA 128 /* framing of one event besides its JSON and type */
#define USER_MAX    64

/* ---- a commit's events ---- */

static bool batch_grow(kv_live_batch *b)
{
    size_t cap = b->cap == 0 ? 64 : b->cap * 2;
    kv_live_event *events = realloc(b->events, cap * sizeof(*events));
    if (events == NULL)
        return false;
    b->events = events;
    b->cap = cap;
    return true;
}

kv_err kv_live_split(kv_live_batch *b, kv_slice json_array)
{
    b->n = 0;
    kv_slice json;
    for (size_t pos = 0; kv_scan_next(json_array, &pos, &json);) {
        if (b->n == b->cap && !batch_grow(b))
            return KV_E_NO_MEMORY;
        kv_live_event *e = &b->events[b->n];
        e->json = json;
        if (!kv_scan_u64(json, "id", &e->id) || !kv_scan_text(json, "type", &e->type))
            return KV_E_BAD_MESSAGE;
        b->n++;
    }
    return KV_OK;
}

void kv_live_batch_release(kv_live_batch *b)
{
    free(b->events);
    *b = (kv_live_batch){0};
}

/* ---- continuity ---- */

kv_live_verdict kv_live_seq_events(kv_live_seq *s, uint64_t prev, uint64_t first, uint64_t last)
{
    assert(s->known);
    if (last > s->want)
        s->want = last;
    if (last <= s->last)
        return KV_LIVE_OLD;
    /* first <= s->last would be half a commit we have; the log sorts that out */
    if (prev == s->last && first > s->last)
        return KV_LIVE_FOLLOWS;
    return KV_LIVE_GAP;
}

kv_live_verdict kv_live_seq_head(kv_live_seq *s, uint64_t last)
{
    assert(s->known);
    if (last < s->last)
        return KV_LIVE_SMALLER;
    if (last > s->want)
        s->want = last;
    return last == s->last ? KV_LIVE_OLD : KV_LIVE_GAP;
}

/* ---- one client ---- */

void kv_live_queue_init(kv_live_queue *q, kv_live_kind kind, size_t limit)
{
    *q = (kv_live_queue){.kind = kind, .limit = limit, .room = SIZE_MAX};
    kv_buf_init(&q->pending, 0);
}

void kv_live_queue_release(kv_live_queue *q)
{
    kv_buf_release(&q->pending);
    free(q->user);
    q->user = NULL;
}

kv_err kv_live_queue_types(kv_live_queue *q, kv_slice types)
{
    if (types.len >= sizeof(q->types))
        return KV_E_BAD_PARAMETER;
    for (size_t i = 0, n; types.len != 0 && i <= types.len; i += n + 1) {
        const char *comma = memchr(types.ptr + i, ',', types.len - i);
        n = comma != NULL ? (size_t)(comma - (types.ptr + i)) : types.len - i;
        kv_slice kind = kv_slice_of(types.ptr + i, n);
        if (!kv_event_kind_known(kind) && !kv_slice_is(kind, "none")) /* "none" is of no event */
            return KV_E_BAD_PARAMETER;
    }
    if (types.len != 0)
        memcpy(q->types, types.ptr, types.len);
    q->types[types.len] = '\0';
    return KV_OK;
}

kv_err kv_live_queue_user(kv_live_queue *q, kv_slice user)
{
    kv_buf json;
    if (user.len > USER_MAX)
        return KV_E_BAD_PARAMETER;
    kv_buf_init(&json, 0);
    kv_json_str(&json, user.ptr != NULL ? user : kv_slice_str(""));
    if (!kv_buf_ok(&json)) {
        kv_buf_release(&json);
        return KV_E_NO_MEMORY;
    }
    free(q->user);
    q->user = json.data; /* the writer of events writes the same text */
    return KV_OK;
}

static bool for_user(const kv_live_queue *q, const kv_live_event *e)
{
    kv_slice user;
    return q->user == NULL || !kv_scan_member(e->json, "user", &user) ||
           kv_slice_is(user, q->user) || kv_slice_is(user, "null");
}

/* Whether "media" of "media.ready" is in the list. */
static bool type_wanted(const kv_live_queue *q, kv_slice type)
{
    if (q->types[0] == '\0')
        return true;
    const char *dot = memchr(type.ptr, '.', type.len);
    size_t len = dot != NULL ? (size_t)(dot - type.ptr) : type.len;
    for (const char *p = q->types; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n == len && memcmp(p, type.ptr, len) == 0)
            return true;
        p += n;
        if (*p == ',')
            p++;
    }
    return false;
}

static bool wanted(const kv_live_queue *q, const kv_live_event *e)
{
    return type_wanted(q, e->type) && for_user(q, e);
}

/* A text frame of RFC 6455, server to client: unmasked, unfragmented. */
static void put_ws(kv_buf *out, kv_slice text)
{
    unsigned char head[10] = {0x81};
    size_t n;
    if (text.len < 126) {
        head[1] = (unsigned char)text.len;
        n = 2;
    } else if (text.len < 65536) {
        head[1] = 126;
        head[2] = (unsigned char)(text.len >> 8);
        head[3] = (unsigned char)text.len;
        n = 4;
    } else {
        head[1] = 127;
        for (unsigned i = 0; i < 8; i++)
            head[2 + i] = (unsigned char)((uint64_t)text.len >> (56 - 8 * i));
        n = 10;
    }
    kv_buf_add(out, head, n);
    kv_buf_add(out, text.ptr, text.len);
}

static void put_sse(kv_buf *out, uint64_t id, kv_slice event, kv_slice data)
{
    if (id != 0) {
        kv_buf_adds(out, "id: ");
        kv_buf_addu(out, id);
    }
    kv_buf_adds(out, id != 0 ? "\nevent: " : "event: ");
    kv_buf_add(out, event.ptr, event.len);
    kv_buf_adds(out, "\ndata: ");
    kv_buf_add(out, data.ptr, data.len); /* our JSON has no raw line ends */
    kv_buf_adds(out, "\n\n");
}

static void put_event(kv_live_queue *q, const kv_live_event *e)
{
    if (q->kind == KV_LIVE_WS) {
        put_ws(&q->pending, e->json);
    } else if (q->kind == KV_LIVE_SSE) {
        put_sse(&q->pending, e->id, e->type, e->json);
    } else {
        if (q->pending.len != 0)
            kv_buf_addc(&q->pending, ',');
        kv_buf_add(&q->pending, e->json.ptr, e->json.len);
    }
    if (q->room != SIZE_MAX)
        q->room--;
}

static void put_note(kv_live_queue *q, const char *type, uint64_t last)
{
    kv_buf json;
    if (q->kind == KV_LIVE_POLL)
        return; /* it says where it stands in its answer */
    kv_buf_init(&json, 256);
    kv_buf_addf(&json, "{\"type\":\"%s\",\"last\":%llu}", type, (unsigned long long)last);
    if (q->kind == KV_LIVE_WS)
        put_ws(&q->pending, kv_buf_slice(&json));
    else
        put_sse(&q->pending, 0, kv_slice_str(type), kv_buf_slice(&json));
    kv_buf_release(&json);
}

static size_t cost(const kv_live_event *e)
{
    return e->json.len + e->type.len + FRAME_EXTRA;
}

static void overflow(kv_live_queue *q, uint64_t last)
{
    kv_buf_clear(&q->pending);
    kv_live_resync(q, last);
}

bool kv_live_offer(kv_live_queue *q, const kv_live_batch *b, size_t unsent, uint64_t last)
{
    assert(!q->behind);
    bool was_idle = q->pending.len == 0 && unsent == 0;
    for (size_t i = 0; i < b->n; i++) {
        const kv_live_event *e = &b->events[i];
        if (q->room == 0)
            return false; /* nothing may be passed over behind what it could not take */
        if (e->id <= q->pos)
            continue;
        if (wanted(q, e)) {
            if (q->pending.len + unsent + cost(e) > q->limit) {
                if (was_idle)
                    q->behind = true;
                else if (q->kind == KV_LIVE_POLL)
                    q->room = 0; /* its answer is on its way: the rest with the next one */
                else
                    overflow(q, last);
                return false;
            }
            put_event(q, e);
        }
        if (!kv_buf_ok(&q->pending)) {
            overflow(q, last);
            return false;
        }
        q->pos = e->id;
    }
    return true;
}

bool kv_live_fill(kv_live_queue *q, const kv_live_batch *b, size_t unsent)
{
    for (size_t i = 0; i < b->n; i++) {
        const kv_live_event *e = &b->events[i];
        if (q->room == 0)
            return false; /* nothing may be passed over behind what it could not take */
        if (e->id <= q->pos)
            continue;
        if (wanted(q, e)) {
            bool empty = q->pending.len == 0 && unsent == 0;
            if (!empty && q->pending.len + unsent + cost(e) > q->limit)
                return false;
            put_event(q, e);
            if (!kv_buf_ok(&q->pending)) {
                kv_buf_clear(&q->pending);
                return false;
            }
        }
        q->pos = e->id;
    }
    return true;
}

void kv_live_hello(kv_live_queue *q, uint64_t last)
{
    put_note(q, "hello", last);
}

void kv_live_resync(kv_live_queue *q, uint64_t last)
{
    q->pos = last;
    q->behind = false;
    q->resyncs++;
    put_note(q, "resync", last);
}

void kv_live_ping(kv_live_queue *q, uint64_t last)
{
    if (q->kind != KV_LIVE_SSE) {
        put_note(q, "ping", last);
        return;
    }
    kv_buf_adds(&q->pending, ": ping\n");
    /* an id without data moves Last-Event-ID and fires nothing: a filtered client stays young */
    if (q->pos != 0) {
        kv_buf_adds(&q->pending, "id: ");
        kv_buf_addu(&q->pending, q->pos);
        kv_buf_addc(&q->pending, '\n');
    }
    kv_buf_addc(&q->pending, '\n');
}

bool kv_live_put(kv_live_queue *q, const char *type, kv_slice json)
{
    kv_slice name = kv_slice_str(type);
    assert(q->kind != KV_LIVE_POLL); /* it watches nothing */
    if (q->pending.len != 0 && q->pending.len + json.len + name.len + FRAME_EXTRA > q->limit)
        return false;
    if (q->kind == KV_LIVE_WS)
        put_ws(&q->pending, json);
    else
        put_sse(&q->pending, 0, name, json);
    if (kv_buf_ok(&q->pending))
        return true;
    bool behind = q->behind;
    overflow(q, q->pos); /* events went with it */
    q->behind = behind;
    return false;
}
