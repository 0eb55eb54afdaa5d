#include "gateway/feed_state.h"

#include <assert.h>
#include <stdlib.h>

#include <zmq.h>

#include "proto/base/json_scan.h"
#include "gateway/static_cache.h"
#include "gateway/static.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/endpoints.h"
#include "proto/frames.h"
#include "storage/read/events.h"

#define TICK_MS 1000
#define FEED_HWM                                                                                   \
    10000               /* commits buffered by ZeroMQ; what is lost above it is read from the log  \
                         */
#define GAP_COMMITS  64 /* commits a read when the feed itself lags */
#define GAP_SLICE_US 20000 /* of one go, so that requests are served in between */
#define GAP_WAIT_US  3000000

void kv_feed_schedule(struct kv_feed *f)
{
    if (!kv_timer_is_set(&f->work))
        kv_timer_set(f->loop, KV_WAIT_TURN, &f->work);
}

/* ---- fan-out ---- */

static void resync_all(struct kv_feed *f)
{
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_resync(kv_feed_client_of(l), f->seq.last);
    }
}

static void drop_all_cached(struct kv_feed *f)
{
    if (f->loop->cache != NULL)
        kv_static_cache_drop_all(f->loop->cache);
}

static void drop_cached(struct kv_feed *f, const kv_live_event *e)
{
    if (f->loop->cache == NULL || e->type.len < 6 || memcmp(e->type.ptr, "media.", 6) != 0)
        return;
    kv_slice media, hash;
    if (kv_scan_text(e->json, "stored_hash", &hash) ||
        (kv_scan_member(e->json, "media", &media) && kv_scan_text(media, "stored_hash", &hash)))
        kv_static_cache_drop(f->loop->cache, hash);
    else
        kv_static_cache_drop_all(f->loop->cache);
}

/* One commit to everybody, the cache first: who hears of a change must not be served the state
 * before it. */
static void fan_out(struct kv_feed *f, kv_slice json, uint64_t last)
{
    f->seq.last = last;
    if (h2o_linklist_is_empty(&f->clients) &&
        (f->loop->cache == NULL || kv_static_cache_count(f->loop->cache) == 0))
        return; /* nobody to tell */
    kv_err err = kv_live_split(&f->batch, json);
    if (err != KV_OK) {
        kv_log(KV_LOG_ERROR, "feed_bad_commit", KV_U64("last", last), KV_ERRNAME("error", err));
        if (f->loop->cache != NULL)
            kv_static_cache_drop_all(f->loop->cache);
        resync_all(f);
        return;
    }
    for (size_t i = 0; i < f->batch.n; i++)
        drop_cached(f, &f->batch.events[i]);
    for (h2o_linklist_t *l = f->clients.next, *next; l != &f->clients; l = next) {
        next = l->next;
        kv_feed_client *c = kv_feed_client_of(l);
        if (c->q.behind)
            continue;
        uint64_t resyncs = c->q.resyncs;
        kv_live_offer(&c->q, &f->batch, c->unsent, last);
        kv_metric_add(KV_M_LIVE_RESYNCS, (int64_t)(c->q.resyncs - resyncs));
        if (c->q.behind) {
            f->pump_due = true; /* later: we may be inside a read of the log */
            kv_feed_schedule(f);
        } else if (c->q.pending.len != 0) {
            c->transport->wake(c);
        }
    }
}

/* ---- the log, for the feed itself ---- */

typedef struct gap_read {
    struct kv_feed *feed;
    int commits;
} gap_read;

static bool gap_commit(void *arg, uint64_t first, uint64_t last, kv_slice json)
{
    (void)first;
    gap_read *g = arg;
    g->commits++;
    fan_out(g->feed, json, last);
    return true;
}

/* Reads what was missed; what could not be read is tried again at the next turn or tick. */
static void close_gap(struct kv_feed *f)
{
    int64_t until = kv_mono_us(f->loop->gw->clock) + GAP_SLICE_US;
    while (f->seq.last < f->seq.want) {
        kv_db *db = kv_loop_db(f->loop);
        if (db == NULL)
            return;
        gap_read g = {.feed = f};
        kv_err err = kv_events_after(db, f->seq.last, GAP_COMMITS, gap_commit, &g);
        bool missing = err == KV_OK && g.commits == 0;
        if (missing && kv_mono_us(f->loop->gw->clock) < f->gap_by_us)
            return;
        /* What was published is in the log; what does not turn up there was removed as too old. */
        if (err == KV_E_NOT_FOUND || missing) {
            f->seq.last = f->seq.want;
            resync_all(f);
            return;
        }
        if (err != KV_OK) {
            kv_log(KV_LOG_WARN, "feed_log_read", KV_ERRNAME("error", err));
            return;
        }
        if (kv_mono_us(f->loop->gw->clock) > until) {
            kv_feed_schedule(f);
            return;
        }
    }
}

bool kv_feed_learn_tail(struct kv_feed *f)
{
    if (f->seq.known)
        return true;
    kv_db *db = kv_loop_db(f->loop);
    uint64_t last;
    if (db == NULL || kv_events_last(db, &last) != KV_OK)
        return false;
    f->seq = (kv_live_seq){.known = true, .last = last, .want = last};
    drop_all_cached(f);
    return true;
}

/* ---- the stream ---- */

/* A head waited in the socket while the log was read to an end beyond it; or the log is another
 * one, and the handle we have may be that of the old one. */
static void on_smaller_head(struct kv_feed *f)
{
    uint64_t stored;
    if (f->loop->db != NULL)
        kv_db_close(&f->loop->db);
    kv_db *db = kv_loop_db(f->loop);
    if (db == NULL || kv_events_last(db, &stored) != KV_OK || stored >= f->seq.last)
        return; /* another head follows in a second */
    f->seq.last = f->seq.want = stored;
    drop_all_cached(f);
    resync_all(f);
}

static void on_verdict(struct kv_feed *f, kv_live_verdict v)
{
    if (v == KV_LIVE_SMALLER)
        on_smaller_head(f);
    if (v != KV_LIVE_GAP)
        return;
    drop_all_cached(f);
    if (!f->gap) {
        f->gap = true;
        f->gap_by_us = kv_mono_us(f->loop->gw->clock) + GAP_WAIT_US;
    }
    close_gap(f);
}

static void on_message(struct kv_feed *f, const kv_msg *m)
{
    if (!kv_feed_learn_tail(f))
        return;
    if (m->code == KV_EVENTS) {
        kv_live_verdict v =
            kv_live_seq_events(&f->seq, m->events.prev, m->events.first, m->events.last);
        if (v == KV_LIVE_FOLLOWS)
            fan_out(f, m->events.events, m->events.last);
        on_verdict(f, v);
    } else if (m->code == KV_EVENT_HEAD) {
        on_verdict(f, kv_live_seq_head(&f->seq, m->event_head.last));
    }
}

static void decode_message(struct kv_feed *f, zmq_msg_t *head, zmq_msg_t *body)
{
    kv_header h;
    kv_msg m;
    const char *why = "the header";
    kv_err err = kv_header_decode(zmq_msg_data(head), zmq_msg_size(head), &h);
    if (err == KV_OK)
        err = kv_body_decode(h.code, zmq_msg_data(body), zmq_msg_size(body), &m, &why);
    if (err == KV_OK)
        on_message(f, &m);
    else
        kv_log(KV_LOG_WARN, "feed_bad_message", KV_ERRNAME("error", err),
               KV_STR("field", why != NULL ? why : ""));
}

/* false: nothing more. */
static bool take_message(struct kv_feed *f)
{
    zmq_msg_t part[2];
    zmq_msg_init(&part[0]);
    zmq_msg_init(&part[1]);
    int n = kv_frames_receive(f->sub, (zmq_msg_t *[]){&part[0], &part[1]}, 2);
    if (n == 2)
        decode_message(f, &part[0], &part[1]);
    zmq_msg_close(&part[0]);
    zmq_msg_close(&part[1]);
    return n > 0;
}

/* ---- turns and ticks ---- */

static void on_work(kv_timer *t)
{
    struct kv_feed *f = H2O_STRUCT_FROM_MEMBER(struct kv_feed, work, t);
    while (take_message(f))
        ;
    if (f->tick_due) {
        f->tick_due = false;
        kv_feed_learn_tail(f);
        kv_feed_watch_tick(f->watch);
        kv_feed_tick_clients(f);
    }
    if (f->seq.known && f->seq.last < f->seq.want)
        close_gap(f);
    f->gap = f->seq.last < f->seq.want;
    if (f->pump_due) {
        f->pump_due = false;
        kv_feed_pump_idle(f);
    }
    if (f->news_due) {
        f->news_due = false;
        kv_feed_tell_clients(f);
    }
    if (f->drain_due) {
        f->drain_due = false;
        kv_feed_drain_clients(f);
    }
}

static void on_turn(void *arg)
{
    struct kv_feed *f = arg;
    int events = 0;
    size_t len = sizeof(events);
    if (zmq_getsockopt(f->sub, ZMQ_EVENTS, &events, &len) == 0 && (events & ZMQ_POLLIN) != 0)
        kv_feed_schedule(f);
}

static void on_tick(void *arg)
{
    struct kv_feed *f = arg;
    f->tick_due = true;
    kv_feed_schedule(f);
}

/* ---- the broker ---- */

void kv_feed_session(struct kv_feed *f)
{
    kv_feed_watch_session(f->watch);
}

void kv_feed_positions(struct kv_feed *f, kv_slice json_array)
{
    kv_feed_watch_positions(f->watch, json_array);
}

/* We may be between two turns: h2o is touched inside of one. */
static void on_news(void *arg)
{
    struct kv_feed *f = arg;
    f->news_due = true;
    kv_feed_schedule(f);
}

/* ---- life ---- */

kv_err kv_feed_new(kv_loop *loop, struct kv_feed **ret)
{
    kv_err err = KV_E_INTERNAL;
    struct kv_feed *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return KV_E_NO_MEMORY;
    f->loop = loop;
    f->work.fn = on_work;
    if (kv_feed_watch_new(loop, on_news, f, &f->watch) != KV_OK) {
        free(f);
        return KV_E_NO_MEMORY;
    }
    h2o_linklist_init_anchor(&f->clients);
    int zero = 0, hwm = FEED_HWM, reconnect = 100, reconnect_max = 1000, fd = -1;
    int64_t most = KV_BODY_MAX + 4096;
    size_t len = sizeof(fd);
    f->sub = zmq_socket(loop->gw->zmq, ZMQ_SUB);
    if (f->sub == NULL || zmq_setsockopt(f->sub, ZMQ_LINGER, &zero, sizeof(zero)) != 0 ||
        zmq_setsockopt(f->sub, ZMQ_RCVHWM, &hwm, sizeof(hwm)) != 0 ||
        zmq_setsockopt(f->sub, ZMQ_MAXMSGSIZE, &most, sizeof(most)) != 0 ||
        zmq_setsockopt(f->sub, ZMQ_RECONNECT_IVL, &reconnect, sizeof(reconnect)) != 0 ||
        zmq_setsockopt(f->sub, ZMQ_RECONNECT_IVL_MAX, &reconnect_max, sizeof(reconnect_max)) != 0 ||
        zmq_setsockopt(f->sub, ZMQ_SUBSCRIBE, "", 0) != 0 ||
        !kv_endpoint_connect(f->sub, loop->gw->cfg->events) ||
        zmq_getsockopt(f->sub, ZMQ_FD, &fd, &len) != 0) {
        kv_log(KV_LOG_ERROR, "feed_socket", KV_STR("error", zmq_strerror(zmq_errno())));
        goto fail;
    }
    kv_loop_watch(loop, fd, on_turn, f);
    kv_loop_every(loop, TICK_MS, on_tick, f);
    kv_feed_learn_tail(f);
    *ret = f;
    return KV_OK;
fail:
    if (f->sub != NULL)
        zmq_close(f->sub);
    kv_feed_watch_destroy(&f->watch);
    free(f);
    return err;
}

void kv_feed_drain(struct kv_feed *f)
{
    f->draining = f->drain_due = true;
    kv_feed_schedule(f);
}

void kv_feed_destroy(struct kv_feed **feed)
{
    struct kv_feed *f = *feed;
    if (f == NULL)
        return;
    while (f->clients.next != &f->clients) {
        kv_feed_client *c = kv_feed_client_of(f->clients.next);
        c->transport->drop(c);
        assert(f->clients.next == &f->clients || kv_feed_client_of(f->clients.next) != c);
    }
    kv_timer_clear(&f->work);
    zmq_close(f->sub);
    kv_feed_watch_destroy(&f->watch);
    kv_live_batch_release(&f->batch);
    free(f);
    *feed = NULL;
}
