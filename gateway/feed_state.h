/* What the files of the feed share; nobody else includes this.
 *
 * feed.c: the broker's stream, what is missing of it, to everybody. feed_clients.c: the clients.
 * feed_watch.c: positions and queues they watch. feed_hear.c: what they say. */
#ifndef KV_GATEWAY_FEED_STATE_H
#define KV_GATEWAY_FEED_STATE_H

#include "gateway/feed.h"
#include "gateway/feed_watch.h"
#include "gateway/timer.h"

struct kv_feed {
    kv_loop *loop;
    void *sub;
    kv_live_seq seq;
    kv_live_batch batch;
    h2o_linklist_t clients;
    size_t count;
    kv_timer work;
    int64_t gap_by_us; /* how long what is missing may take to turn up in the log */
    bool gap, tick_due, pump_due, news_due, drain_due, draining;
    kv_feed_watch *watch;
};

static inline kv_feed_client *kv_feed_client_of(h2o_linklist_t *link)
{
    return H2O_STRUCT_FROM_MEMBER(kv_feed_client, link, link);
}

void kv_feed_schedule(struct kv_feed *f);   /* work in the loop's next turn */
bool kv_feed_learn_tail(struct kv_feed *f); /* whether the end of the log is known */

/* To each client, in feed_clients.c. */
void kv_feed_tick_clients(struct kv_feed *f);  /* pings, once a second */
void kv_feed_pump_idle(struct kv_feed *f);     /* those behind that have sent all */
void kv_feed_tell_clients(struct kv_feed *f);  /* positions and queues to those who can take them */
void kv_feed_drain_clients(struct kv_feed *f); /* good-bye */
void kv_feed_resync(kv_feed_client *c, uint64_t last);

#endif
