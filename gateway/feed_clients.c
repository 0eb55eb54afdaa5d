/* The feed's clients: they come and go, read the log until they are live, and are pinged. */
#include "gateway/feed_state.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "storage/read/events.h"

#define CLIENT_COMMITS  16    /* commits a read for one client */
#define CLIENT_SLICE_US 10000 /* of its reads in one go */
#define SOCKET_UNSENT   16384 /* bytes the kernel takes before a client's socket is full */
#define SOCKET_UNREAD   32768 /* and those it keeps of what a client says that is not heard */

/* ---- all of them ---- */

void kv_feed_tick_clients(struct kv_feed *f)
{
    int64_t now = kv_mono_ms(f->loop->gw->clock);
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_client *c = kv_feed_client_of(l);
        if (now >= c->next_ping_ms) {
            c->next_ping_ms = now + KV_PING_MS;
            kv_live_ping(&c->q, f->seq.last);
            c->transport->wake(c);
            if (c->transport->ping != NULL) {
                c->transport->ping(c);
                continue; /* it may be gone */
            }
        }
        if (c->q.behind && c->unsent == 0 && c->q.pending.len == 0)
            kv_feed_pump(c); /* a read of the log failed before */
        c->transport->tick(c, now);
    }
}

void kv_feed_pump_idle(struct kv_feed *f)
{
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_client *c = kv_feed_client_of(l);
        if (c->q.behind && c->unsent == 0)
            kv_feed_pump(c);
    }
}

/* Positions and queues to those who wait for them and can take them. */
void kv_feed_tell_clients(struct kv_feed *f)
{
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_client *c = kv_feed_client_of(l);
        if (kv_feed_watch_flush(f->watch, c))
            c->transport->wake(c);
    }
}

void kv_feed_drain_clients(struct kv_feed *f)
{
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_client *c = kv_feed_client_of(l);
        c->transport->drain(c);
    }
}

/* ---- one of them ---- */

void kv_feed_resync(kv_feed_client *c, uint64_t last)
{
    kv_live_resync(&c->q, last);
    kv_metric_add(KV_M_LIVE_RESYNCS, 1);
    c->transport->wake(c);
}

typedef struct client_read {
    kv_feed_client *client;
    int commits;
    bool full;
} client_read;

static bool client_commit(void *arg, uint64_t first, uint64_t last, kv_slice json)
{
    (void)first;
    client_read *r = arg;
    kv_feed_client *c = r->client;
    kv_live_batch batch = {0}; /* not the feed's: a fan-out may be what brought us here */
    r->commits++;
    kv_err err = kv_live_split(&batch, json);
    if (err != KV_OK) {
        kv_log(KV_LOG_ERROR, "feed_bad_commit", KV_U64("last", last), KV_ERRNAME("error", err));
        r->full = err == KV_E_NO_MEMORY;
        if (!r->full)
            c->q.pos = last;
    } else {
        r->full = !kv_live_fill(&c->q, &batch, c->unsent);
    }
    kv_live_batch_release(&batch);
    return !r->full;
}

static void read_on(kv_feed_client *c)
{
    struct kv_feed *f = c->feed;
    kv_db *db = kv_loop_db(f->loop);
    client_read r = {.client = c};
    int64_t until = kv_mono_us(f->loop->gw->clock) + CLIENT_SLICE_US;
    /* Half a buffer at least is written at once: reading goes on when that is sent. */
    while (db != NULL && !r.full && c->q.pending.len + c->unsent < c->q.limit / 2) {
        r.commits = 0;
        kv_err err = kv_events_after(db, c->q.pos, CLIENT_COMMITS, client_commit, &r);
        if (err == KV_E_NOT_FOUND) {
            kv_feed_resync(c, f->seq.last);
            return;
        }
        if (err != KV_OK) {
            kv_log(KV_LOG_WARN, "feed_log_read", KV_ERRNAME("error", err));
            break;
        }
        if (r.commits == 0) {
            c->q.behind = c->q.pos < f->seq.last; /* the end of the log: live from here */
            break;
        }
        if (kv_mono_us(f->loop->gw->clock) > until) { /* a filter may pass over all of it */
            f->pump_due = true;
            kv_feed_schedule(f);
            break;
        }
    }
}

void kv_feed_pump(kv_feed_client *c)
{
    if (c->feed == NULL)
        return;
    if (c->q.behind)
        read_on(c);
    kv_feed_watch_flush(c->feed->watch, c);
    if (c->q.pending.len != 0 && c->unsent == 0)
        c->transport->wake(c);
}

void kv_feed_bound_socket(int fd)
{
    int most = SOCKET_UNSENT;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &most, sizeof(most)) != 0)
        kv_log(KV_LOG_WARN, "live_socket_unbounded", KV_STR("error", strerror(errno)));
    most = SOCKET_UNREAD;
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &most, sizeof(most)) != 0)
        kv_log(KV_LOG_WARN, "live_socket_unbounded", KV_STR("error", strerror(errno)));
}

/* Also when it fails half-way: detach releases what was taken. */
static kv_err take_watches(struct kv_feed *f, kv_feed_client *c, const kv_feed_asks *asks)
{
    if (asks->queues && !c->admin)
        return KV_E_FORBIDDEN;
    for (size_t i = 0; i < asks->nwatch; i++)
        KV_TRY(kv_feed_watch_job(f->watch, c, asks->watch[i], true));
    kv_feed_watch_queues(f->watch, c, asks->queues);
    kv_feed_watch_send(f->watch);
    return KV_OK;
}

/* The log may be ahead of what this loop has seen, also of a commit whose client has its answer. */
static uint64_t newest_known(struct kv_feed *f)
{
    uint64_t stored;
    kv_db *db = kv_loop_db(f->loop);
    if (db != NULL && kv_events_last(db, &stored) == KV_OK && stored > f->seq.last)
        return stored;
    return f->seq.last;
}

kv_err kv_feed_attach(struct kv_feed *f, kv_feed_client *c, const kv_feed_asks *asks)
{
    if (f == NULL || f->draining)
        return KV_E_DRAINING;
    if (!kv_feed_learn_tail(f))
        return KV_E_BROKER_AWAY;
    c->feed = f;
    c->unsent = 0;
    c->next_ping_ms = kv_mono_ms(f->loop->gw->clock) + KV_PING_MS;
    c->link = (h2o_linklist_t){NULL, NULL};
    h2o_linklist_insert(&f->clients, &c->link);
    f->count++;
    kv_metric_add_label(KV_M_LIVE_CLIENTS, c->transport->name, 1);
    KV_TRY(take_watches(f, c, asks));
    uint64_t newest = newest_known(f);
    c->q.pos = newest;
    kv_live_hello(&c->q, newest);
    if (asks->has_after && asks->after > newest) {
        kv_feed_resync(c, newest); /* an id we never gave: another database */
        return KV_OK;
    }
    if (asks->has_after) {
        c->q.pos = asks->after;
        c->q.behind = true;
    }
    kv_feed_pump(c);
    return KV_OK;
}

void kv_feed_detach(kv_feed_client *c)
{
    if (c->feed != NULL) {
        kv_feed_watch_drop(c->feed->watch, c);
        h2o_linklist_unlink(&c->link);
        c->feed->count--;
        c->feed = NULL;
        kv_metric_add_label(KV_M_LIVE_CLIENTS, c->transport->name, -1);
    }
    kv_live_queue_release(&c->q);
}

kv_feed_watch *kv_feed_watch_of(const kv_feed_client *c)
{
    return c->feed != NULL && !c->feed->draining ? c->feed->watch : NULL;
}
