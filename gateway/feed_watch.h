/* What live clients ask for besides the log: positions of jobs they watch, and the state of all
 * queues each second. Between the feed, the broker and watch.c. The loop's thread. */
#ifndef KV_GATEWAY_FEED_WATCH_H
#define KV_GATEWAY_FEED_WATCH_H

#include "gateway/feed.h"

typedef struct kv_feed_watch kv_feed_watch;

/* `news` is called when clients have something to be told (then kv_feed_watch_flush each). */
kv_err kv_feed_watch_new(kv_loop *loop, void (*news)(void *arg), void *arg, kv_feed_watch **ret);
void kv_feed_watch_destroy(kv_feed_watch **self);

/* That of an attached client; NULL: not attached, or draining (feed.c). */
kv_feed_watch *kv_feed_watch_of(const kv_feed_client *c);

kv_err kv_feed_watch_job(kv_feed_watch *f, kv_feed_client *c, uint64_t job, bool on);
void kv_feed_watch_queues(kv_feed_watch *f, kv_feed_client *c, bool on);
void kv_feed_watch_drop(kv_feed_watch *f, kv_feed_client *c);
/* Tells the broker what changed: after a client's message, and each second. */
void kv_feed_watch_send(kv_feed_watch *f);
void kv_feed_watch_tick(kv_feed_watch *f);

void kv_feed_watch_session(kv_feed_watch *f); /* a new session with the broker */
void kv_feed_watch_positions(kv_feed_watch *f, kv_slice json_array);

/* Moves what is new into c->q unless the transport still writes. true: wake it. */
bool kv_feed_watch_flush(kv_feed_watch *f, kv_feed_client *c);

#endif
