/* Live events without sockets: cutting a commit into events, judging continuity, and one client's
 * bounded queue.
 *
 * Pure: no h2o, no ZeroMQ, no clock. feed.c drives it, test_feed.c shows it. One thread. */
#ifndef KV_GATEWAY_LIVE_H
#define KV_GATEWAY_LIVE_H

#include "proto/base/buf.h"
#include "proto/base/error.h"

/* ---- a commit's events ---- */
typedef struct kv_live_event {
    uint64_t id;
    kv_slice type, json; /* into the array it was cut from */
} kv_live_event;

typedef struct kv_live_batch {
    kv_live_event *events; /* owned */
    size_t n, cap;
} kv_live_batch;

/* Cuts a JSON array of events; replaces what the batch held. BAD_MESSAGE: an element without id or
 * type. NO_MEMORY. */
kv_err kv_live_split(kv_live_batch *b, kv_slice json_array);
void kv_live_batch_release(kv_live_batch *b);

/* ---- continuity of the stream ---- */
typedef struct kv_live_seq {
    bool known;
    uint64_t last; /* last event handed on; meaningful when known */
    uint64_t want; /* newest one heard of; above `last`: read the log */
} kv_live_seq;

typedef enum kv_live_verdict {
    KV_LIVE_FOLLOWS, /* hand it on; seq->last is moved by the caller when done */
    KV_LIVE_OLD,     /* seen already */
    KV_LIVE_GAP,     /* something is missing: read the log up to seq->want */
    KV_LIVE_SMALLER  /* than what we saw: an old head, or another database; the log says which */
} kv_live_verdict;

kv_live_verdict kv_live_seq_events(kv_live_seq *s, uint64_t prev, uint64_t first, uint64_t last);
kv_live_verdict kv_live_seq_head(kv_live_seq *s, uint64_t last);

/* ---- one client ---- */
/* POLL: JSON objects joined by commas; what is not in the log is not for it. */
typedef enum kv_live_kind { KV_LIVE_WS, KV_LIVE_SSE, KV_LIVE_POLL } kv_live_kind;

typedef struct kv_live_queue {
    kv_live_kind kind;
    kv_buf pending; /* framed bytes, ready to be written */
    size_t limit;   /* bytes of `pending` and of what is being written, together */
    uint64_t pos;   /* last event that was queued (or skipped by the filter) */
    bool behind;    /* reads the log; live commits are not for it yet */
    char types[64]; /* "media,job": first parts of the types wanted; empty: all */
    size_t room;    /* events it still takes (POLL); SIZE_MAX: any number */
    char *user;     /* as JSON text: events of other users are not wanted; NULL: all. Owned */
    uint64_t resyncs;
} kv_live_queue;

void kv_live_queue_init(kv_live_queue *q, kv_live_kind kind, size_t limit);
void kv_live_queue_release(kv_live_queue *q);
/* "media,job" of [a-z] names; BAD_PARAMETER otherwise. Empty: all. */
kv_err kv_live_queue_types(kv_live_queue *q, kv_slice types);

/* Only events of this user, and those of nobody. BAD_PARAMETER: longer than 64 bytes. */
kv_err kv_live_queue_user(kv_live_queue *q, kv_slice user);

/* A live commit. `unsent` is what the transport still holds of earlier bytes. A client that had
 * nothing left to read gets behind (the commit alone is larger than the buffer: it takes it from
 * the log); one that was slow is cut over to `last` with a resync. Returns false when that happened
 * or memory ran out (then too a resync is queued). */
bool kv_live_offer(kv_live_queue *q, const kv_live_batch *b, size_t unsent, uint64_t last);
/* Catch-up: adds events after pos while there is room. false: no more room. A single event that can
 * never fit is put in a buffer of its own size, so that nothing can stop a client for good. */
bool kv_live_fill(kv_live_queue *q, const kv_live_batch *b, size_t unsent);
/* {"type":"hello"|"resync"|"ping","last":N}. resync moves pos to `last` and makes the client live.
 * Small: may go over the limit. */
void kv_live_hello(kv_live_queue *q, uint64_t last);
void kv_live_resync(kv_live_queue *q, uint64_t last);
void kv_live_ping(kv_live_queue *q, uint64_t last);
/* What is not in the log and has no id: a position, an answer. false: no room now; one that is
 * larger than the buffer goes into an empty one. */
bool kv_live_put(kv_live_queue *q, const char *type, kv_slice json);

#endif
