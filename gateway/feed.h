/* Live events of one loop: one SUB socket on cfg->events, fanned out to this loop's WebSocket,
 * SSE and polling clients.
 *
 * Everything here runs in the loop's thread, and what touches h2o inside h2o_evloop_run (a zero
 * timer carries it there). The rule that nothing is lost: subscribe, buffer, read the log, drop
 * what is had, follow; whenever an EVENTS message does not follow on the last one, or EVENT_HEAD
 * shows a newer tail, the log is read again. */
#ifndef KV_GATEWAY_FEED_H
#define KV_GATEWAY_FEED_H

#include "gateway/gateway.h"
#include "gateway/live.h"
#include "gateway/watch.h"

#define KV_PING_MS         15000 /* a ping to every client this often */
#define KV_POLL_LIMIT      100   /* events of a poll when it does not say */
#define KV_POLL_LIMIT_MAX  1000
#define KV_POLL_WAIT_MAX_S 25 /* below the 30 s after which proxies give up */

struct kv_feed;

/* Connects the SUB socket and hooks the loop; call after loop->evloop and loop->ctx stand.
 * loop->feed is set by the caller. NO_MEMORY, INTERNAL. */
kv_err kv_feed_new(kv_loop *loop, struct kv_feed **ret);
/* Frees the feed. Clients still there are dropped without a goodbye; SSE requests end with their
 * connections. */
void kv_feed_destroy(struct kv_feed **feed);
/* Draining begins: WebSockets get close 1001 (and 2 s to answer), SSE answers end; new clients are
 * refused. */
void kv_feed_drain(struct kv_feed *feed);

/* ---- for ws.c, sse.c and poll.c ---- */
typedef struct kv_feed_client kv_feed_client;
typedef struct kv_feed_transport {
    const char *name;                /* label of kervan_live_clients */
    void (*wake)(kv_feed_client *c); /* q.pending holds bytes: write them unless a write runs */
    void (*tick)(kv_feed_client *c,
                 int64_t now_ms); /* each second, after a ping that was due; may close c */
    void (*ping)(
        kv_feed_client *c); /* a ping is due: protocol side of it; may close c; NULL: none */
    void (*drain)(kv_feed_client *c); /* say goodbye; may close c */
    void (*drop)(kv_feed_client *c);  /* the feed goes: free c now */
} kv_feed_transport;

/* Embedded in the transport's struct, owned by it; `q` is made by kv_live_queue_init before attach.
 */
struct kv_feed_client {
    kv_live_queue q;
    size_t unsent; /* bytes the transport is writing */
    const kv_feed_transport *transport;
    struct kv_feed *feed; /* NULL: not attached */
    int64_t next_ping_ms;
    h2o_linklist_t link;
    kv_watcher watcher;      /* jobs whose positions it wants */
    bool admin;              /* may ask for queues; set by the transport before attach */
    bool wants_queues;       /* their state each second */
    uint64_t queues_version; /* of the state it was told */
};

/* What a request asks for. */
typedef struct kv_feed_asks {
    bool has_after; /* continue behind event `after` */
    uint64_t after;
    const uint64_t *watch; /* jobs, in the request pool */
    size_t nwatch;
    bool queues;
    uint64_t limit, wait_s; /* of a poll: events at most, seconds until it answers without any */
} kv_feed_asks;

/* An `after` that is not in the log any more gets a resync. A hello comes first. wake() is called
 * before this returns. BROKER_AWAY: the log cannot be read yet; DRAINING; FORBIDDEN: queues; what
 * kv_watches_add refuses. */
kv_err kv_feed_attach(struct kv_feed *feed, kv_feed_client *c, const kv_feed_asks *asks);
void kv_feed_detach(kv_feed_client *c); /* releases q in any case */
/* The transport has written everything: a client that is behind gets more of the log. May call
 * wake(). */
void kv_feed_pump(kv_feed_client *c);

/* Bounds what the kernel holds of a client's connection besides q: else a reader that stopped has
 * megabytes of send buffer behind it (tcp_wmem) before anyone notices, and as many that it said. */
void kv_feed_bound_socket(int fd);

/* What a request asks for, by the kind of `q`: ?after= / Last-Event-ID, ?types=, ?user=; ?watch=
 * and ?queues= of streams, ?limit= and ?wait= of polls. BAD_PARAMETER with `why` (KV_BODY_WHY
 * bytes) naming it. */
kv_err kv_feed_parameters(kv_request *r, kv_live_queue *q, kv_feed_asks *ret, char *why);

/* poll.c: GET /api/events of those who want application/json. */
bool kv_poll_wanted(kv_request *r);
void kv_poll(kv_request *r);

/* A message of a client: see kv_watch_body_read. What is wrong with it is answered with
 * {"type":"error",…}; wakes the transport. */
void kv_feed_hear(kv_feed_client *c, kv_slice text);

/* The loop's session with the broker has begun anew, and what it pushed. */
void kv_feed_session(struct kv_feed *feed);
void kv_feed_positions(struct kv_feed *feed, kv_slice json_array);

#endif
