#include "gateway/loop.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "gateway/feed.h"
#include "gateway/static.h"
#include "gateway/tap.h"
#include "gateway/upload.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/wake.h"
#include "proto/endpoints.h"

#define WAIT_MAX_MS   1000 /* between two turns */
#define DRAIN_LEAD_MS 500  /* kept of DRAIN_TIMEOUT for aborting what is left */

/* ---- watches and timers ---- */

static void on_watched(h2o_socket_t *sock, const char *err)
{
    (void)err;
    kv_watch *w = sock->data;
    w->fn(w->arg);
}

void kv_loop_watch(kv_loop *loop, int fd, void (*fn)(void *arg), void *arg)
{
    kv_loop_own *l = kv_loop_inside(loop);
    assert(l->nwatches < KV_WATCHES_MAX);
    kv_watch *w = &l->watches[l->nwatches];
    int copy =
        fcntl(fd, F_DUPFD_CLOEXEC, 0); /* h2o closes what it watches, ZeroMQ closes its own */
    if (copy < 0) {
        kv_log(KV_LOG_ERROR, "watch_failed", KV_STR("error", strerror(errno)));
        abort(); /* only while starting: a loop that hears nothing is worse than none */
    }
    *w = (kv_watch){.loop = loop, .fn = fn, .arg = arg};
    w->sock = h2o_evloop_socket_create(loop->evloop, copy, H2O_SOCKET_FLAG_DONT_READ);
    w->sock->data = w;
    h2o_socket_read_start(w->sock, on_watched);
    l->nwatches++;
}

void kv_loop_every(kv_loop *loop, int64_t ms, void (*fn)(void *arg), void *arg)
{
    kv_loop_own *l = kv_loop_inside(loop);
    assert(l->nevery < KV_WATCHES_MAX);
    l->every[l->nevery++] =
        (kv_every){.ms = ms, .due_ms = kv_mono_ms(loop->gw->clock) + ms, .fn = fn, .arg = arg};
}

/* Calls what is due; ms until the next one. */
static int64_t run_timers(kv_loop_own *l)
{
    int64_t next = WAIT_MAX_MS, now = kv_mono_ms(l->loop.gw->clock);
    for (unsigned i = 0; i < l->nevery; i++) {
        kv_every *e = &l->every[i];
        if (now >= e->due_ms) {
            e->due_ms = now + e->ms;
            e->fn(e->arg);
        }
        if (e->due_ms - now < next)
            next = e->due_ms - now;
    }
    return next;
}

/* ---- broker and database ---- */

static void nothing(void *arg)
{
    (void)arg; /* the turn polls */
}

static int64_t poll_broker(kv_loop_own *l)
{
    int64_t next = kv_client_poll(l->loop.broker);
    bool up = kv_client_up(l->loop.broker);
    if (l->loop.index == 0)
        kv_metric_set(KV_M_BROKER_UP, up);
    if (up != l->broker_was_up)
        kv_log(up ? KV_LOG_INFO : KV_LOG_WARN, up ? "broker_up" : "broker_away",
               KV_U64("loop", l->loop.index));
    l->broker_was_up = up;
    return next < 0 ? 0 : next;
}

kv_db *kv_loop_db(kv_loop *loop)
{
    if (loop->db == NULL) {
        kv_err err = kv_db_open(loop->gw->cfg, KV_DB_READ, &loop->db);
        if (err != KV_OK)
            loop->db = NULL;
    }
    return loop->db;
}

/* ---- waking ---- */

void kv_loop_wake(kv_loop_own *l)
{
    kv_wake(l->wake_fd);
}

static void on_wake(void *arg)
{
    kv_loop_own *l = arg;
    if (kv_wake_taken(l->wake_fd))
        kv_uploads_resume(l->loop.uploads);
}

/* ---- life ---- */

static void on_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    (void)ok;
    (void)new_epoch;
    kv_loop_own *l = arg;
    kv_db_close_moved(&l->loop.db); /* the broker may have been started on what took its place */
    if (l->loop.feed != NULL)
        kv_feed_session(l->loop.feed);
}

static void on_pushed(void *arg, const kv_header *head, const kv_msg *m)
{
    (void)head;
    kv_loop_own *l = arg;
    if (m->code == KV_POSITIONS && l->loop.feed != NULL)
        kv_feed_positions(l->loop.feed, m->positions.json);
}

static kv_err open_sockets(kv_loop_own *l)
{
    kv_loop *loop = &l->loop;
    const kv_config *cfg = loop->gw->cfg;
    char endpoint[64], what[32], name[KV_SESSION_NAME];
    int zero = 0;
    snprintf(endpoint, sizeof(endpoint), KV_EP_LOOP, loop->index);
    snprintf(what, sizeof(what), "gateway-loop-%u", loop->index);
    kv_session_name(name, what);
    loop->inbox = zmq_socket(loop->gw->zmq, ZMQ_PULL);
    if (loop->inbox == NULL || zmq_setsockopt(loop->inbox, ZMQ_RCVHWM, &zero, sizeof(zero)) != 0 ||
        zmq_setsockopt(loop->inbox, ZMQ_LINGER, &zero, sizeof(zero)) != 0 ||
        zmq_bind(loop->inbox, endpoint) != 0) {
        kv_log(KV_LOG_ERROR, "loop_socket", KV_STR("error", zmq_strerror(zmq_errno())));
        return KV_E_INTERNAL;
    }
    kv_client_opts opts = {.zmq = loop->gw->zmq,
                           .endpoint = cfg->broker,
                           .role = "gateway",
                           .name = name,
                           .clock = loop->gw->clock,
                           .data = cfg->data,
                           .arg = l,
                           .on_session = on_session,
                           .on_message = on_pushed};
    KV_TRY(kv_client_new(&opts, &loop->broker));
    kv_loop_watch(loop, kv_client_fd(loop->broker), nothing, NULL);
    return KV_OK;
}

kv_err kv_loop_new(kv_gw_own *gw, unsigned index, int listen_fd, kv_loop_own **ret)
{
    kv_loop_own *l = calloc(1, sizeof(*l));
    if (l == NULL)
        return KV_E_NO_MEMORY;
    *ret = l; /* kept until exit, whatever happens */
    kv_loop *loop = &l->loop;
    loop->gw = &gw->gw;
    loop->index = index;
    l->listen_fd = listen_fd;
    l->wake_fd = gw->wake_fds[index];
    l->nconns_max = (gw->connections_max + gw->gw.loops - 1) / gw->gw.loops;
    h2o_linklist_init_anchor(&l->conns);
    h2o_linklist_init_anchor(&l->ready);
    kv_id_maker_init(&l->ids, gw->id_node + index);
    if (getrandom(&l->random, sizeof(l->random), 0) != sizeof(l->random))
        return KV_E_INTERNAL;
    loop->evloop = h2o_evloop_create();
    h2o_context_init(&loop->ctx, loop->evloop, &gw->conf);
    kv_timers_init(&l->timers, gw->gw.cfg);
    /* The tap has its own. h2o's goes by the date: what waits in it is never called once it is not
     * the event loop's any more. */
    h2o_timeout_dispose(loop->evloop, &loop->ctx.http1.req_timeout);
    KV_TRY(open_sockets(l));
    KV_TRY(kv_uploads_new(l, &loop->uploads));
    KV_TRY(kv_static_cache_new(loop, &loop->cache));
    KV_TRY(kv_feed_new(loop, &loop->feed));
    kv_loop_watch(loop, l->wake_fd, on_wake, l);
    return KV_OK;
}

static void begin_drain(kv_loop_own *l)
{
    l->draining = true;
    l->drain_by_ms =
        kv_mono_ms(l->loop.gw->clock) + l->loop.gw->cfg->drain_timeout * 1000 - DRAIN_LEAD_MS;
    kv_accept_stop(l);
    l->loop.ctx.shutdown_requested = 1; /* h2o: no keep-alive for heads from now on */
    kv_feed_drain(l->loop.feed);
}

/* Whether the loop may end. Late uploads are aborted, and waited for: the ingest side answers each
 * of them. */
static bool drained(kv_loop_own *l)
{
    kv_tap_drain(l);
    if (l->nconns == 0 && kv_uploads_active(l->loop.uploads) == 0)
        return true;
    int64_t over_ms = kv_mono_ms(l->loop.gw->clock) - l->drain_by_ms;
    if (over_ms >= 0)
        kv_uploads_abort_all(l->loop.uploads);
    return over_ms >= DRAIN_LEAD_MS;
}

void kv_loop_run(kv_loop_own *l)
{
    kv_loop *loop = &l->loop;
    int64_t wait = 0;
    kv_accept_start(l);
    kv_log_gather(); /* access lines: a write each would cost more than a small answer */
    for (;;) {
        kv_log_flush();
        /* answers made between two turns are pending: h2o does not count them when it decides how
         * long to sleep */
        bool pending =
            loop->evloop->_pending_as_server != NULL || loop->evloop->_pending_as_client != NULL;
        int64_t now = kv_mono_ms(loop->gw->clock);
        wait = pending ? 0 : kv_timers_left(&l->timers, now, wait);
        if (h2o_evloop_run(loop->evloop, (int32_t)wait) != 0 && errno != EINTR)
            kv_log(KV_LOG_ERROR, "evloop", KV_STR("error", strerror(errno)));
        /* Due by then: what had come by then was read since, also where we stood still. */
        kv_timers_run(&l->timers, now);
        kv_tap_turn(l);
        for (unsigned i = 0; i < l->nwatches; i++)
            l->watches[i].fn(l->watches[i].arg);
        wait = run_timers(l);
        int64_t broker = poll_broker(l);
        if (broker < wait)
            wait = broker;
        if (loop->gw->draining) {
            if (!l->draining)
                begin_drain(l);
            if (drained(l))
                break;
            if (wait > 20)
                wait = 20;
        }
    }
    kv_tap_close_all(l);
    h2o_evloop_run(loop->evloop, 0); /* what was written goes out */
    kv_log_flush();
}

void kv_loop_close_sockets(kv_loop_own *l)
{
    kv_loop *loop = &l->loop;
    if (loop->feed != NULL)
        kv_feed_destroy(&loop->feed);
    if (loop->cache != NULL)
        kv_static_cache_destroy(&loop->cache);
    kv_uploads_destroy(&loop->uploads);
    if (loop->broker != NULL)
        kv_client_destroy(&loop->broker);
    if (loop->inbox != NULL)
        zmq_close(loop->inbox);
    loop->inbox = NULL;
    if (loop->db != NULL)
        kv_db_close(&loop->db);
}
