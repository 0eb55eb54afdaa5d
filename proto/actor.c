/* The thread of an actor. See actor.h; its session with the broker is in session.c. */
#include "proto/actor.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/actor_state.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/wake.h"

#define BATCH_MAX     64   /* messages between two calls of batch_end */
#define IDLE_MS       1000 /* longest sleep */
#define DRAIN_LOOK_MS 20   /* while draining: how often drained() is asked */

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static kv_actor *actor_of(kv_out *out)
{
    return (kv_actor *)out;
}

/* ---- kv_out ---- */

static void actor_send(kv_out *out, int peer, const kv_header *head, const kv_msg *m,
                       zmq_msg_t *payload)
{
    kv_actor *a = actor_of(out);

    assert(peer >= 0 && peer < a->peer_count);
    kv_actor_post(a->peers[peer], head, m, payload);
}

static void actor_watch_fd(kv_out *out, int fd, kv_out_fd_fn fn)
{
    kv_actor *a = actor_of(out);
    kv_watch *watches = realloc(a->watches, (a->watch_count + 1) * sizeof *watches);

    if (!watches)
        abort(); /* a descriptor nobody looks at would hang its job for good */
    a->watches = watches;
    a->watches[a->watch_count++] = (kv_watch){fd, fn};
}

static void actor_unwatch_fd(kv_out *out, int fd)
{
    kv_actor *a = actor_of(out);

    for (size_t i = 0; i < a->watch_count; i++) {
        if (a->watches[i].fd == fd)
            a->watches[i].fd = -1;
    }
}

static const kv_out_ops ops = {actor_send,       kv_session_ask,        actor_watch_fd,
                               actor_unwatch_fd, kv_session_set_credit, kv_session_lease_done};

/* ---- work ---- */

bool kv_actor_dispatch(kv_actor *a, const kv_header *head, const kv_msg *m, zmq_msg_t *payload)
{
    const kv_handler *h = m->code < 256 ? a->by_code[m->code] : NULL;

    if (!h) {
        kv_log(KV_LOG_WARN, "no_handler", KV_STR("actor", a->spec.def->name),
               KV_STR("message", kv_code_name(m->code)));
        return false;
    }
    if (kv_log_min() == KV_LOG_DEBUG) {
        kv_buf text;
        kv_buf_init(&text, 0);
        kv_msg_describe(m, &text);
        kv_log(KV_LOG_DEBUG, "message", KV_STR("actor", a->spec.def->name),
               KV_JSON("body", kv_buf_slice(&text)));
        kv_buf_release(&text);
    }
    kv_in in = {head, m, payload && zmq_msg_size(payload) ? payload : NULL, a->batch_us};
    a->handled++;
    h->fn(a->self, &in, &a->out);
    return true;
}

/* At most BATCH_MAX messages of the inbox; how many there were. */
static int take_inbox(kv_actor *a)
{
    int taken = 0;

    for (; a->inbox && taken < BATCH_MAX; taken++) {
        zmq_msg_t storage, payload;
        kv_header head;
        kv_msg m;
        if (!kv_actor_take(a->inbox, &head, &m, &storage, &payload))
            break;
        kv_actor_dispatch(a, &head, &m, &payload);
        zmq_msg_close(&payload);
        zmq_msg_close(&storage);
    }
    return taken;
}

static void drop_unwatched(kv_actor *a)
{
    size_t kept = 0;

    for (size_t i = 0; i < a->watch_count; i++) {
        if (a->watches[i].fd >= 0)
            a->watches[kept++] = a->watches[i];
    }
    a->watch_count = kept;
}

/* Those readable now; handlers may watch and unwatch meanwhile. */
static void take_fds(kv_actor *a)
{
    drop_unwatched(a);
    for (size_t i = 0, count = a->watch_count; i < count; i++) {
        struct pollfd p = {.fd = a->watches[i].fd, .events = POLLIN};
        if (p.fd < 0 || poll(&p, 1, 0) <= 0)
            continue;
        a->handled++;
        a->watches[i].fn(a->self, p.fd, &a->out);
    }
    drop_unwatched(a);
}

static void take_tick(kv_actor *a)
{
    const kv_actor_def *def = a->spec.def;

    if (!def->tick || a->batch_us < a->next_tick_us)
        return;
    a->next_tick_us = a->batch_us + def->tick_ms * 1000;
    a->handled++;
    def->tick(a->self, a->batch_us, &a->out);
}

/* Each thread by itself: several of one actor would add up to one that never rests. */
static void count(kv_actor *a, uint64_t handled)
{
    const char *end = a->spec.inbox ? strrchr(a->spec.inbox, '/') : NULL;
    const char *name = end ? end + 1 : a->spec.def->name; /* placer-3 */

    kv_metric_add_label(KV_M_ACTOR_MESSAGES, name, (int64_t)handled);
    kv_metric_add_label(KV_M_ACTOR_BUSY, name, kv_mono_us(a->spec.clock) - a->batch_us);
}

/* One batch of everything there is; false: there was nothing. `ret_ms`: how long the session may be
 * left alone. */
static bool run_batch(kv_actor *a, int64_t *ret_ms)
{
    uint64_t before = a->handled;

    a->batch_us = kv_mono_us(a->spec.clock);
    int taken = take_inbox(a);
    a->inbox_more = taken == BATCH_MAX;
    if (a->watch_count)
        take_fds(a);
    take_tick(a);
    /* last, because what was asked above may have eaten the edge of its descriptor */
    *ret_ms = a->client ? kv_session_poll(a) : IDLE_MS;
    uint64_t handled = a->handled - before;
    if (handled == 0)
        return taken > 0;
    if (a->spec.def->batch_end)
        a->spec.def->batch_end(a->self, &a->out);
    count(a, handled);
    return true;
}

/* ---- sleeping and stopping ---- */

static void sleep_until_something(kv_actor *a, int64_t ms)
{
    zmq_pollitem_t few[16], *items = few;
    size_t n = 0, room = a->watch_count + 3;

    if (room > sizeof few / sizeof *few)
        items = calloc(room, sizeof *items);
    if (!items)
        return; /* then the loop turns once more and tries again */
    items[n++] = (zmq_pollitem_t){NULL, a->wake_fd, ZMQ_POLLIN, 0};
    if (a->inbox)
        items[n++] = (zmq_pollitem_t){a->inbox, 0, ZMQ_POLLIN, 0};
    if (a->client)
        items[n++] = (zmq_pollitem_t){NULL, kv_client_fd(a->client), ZMQ_POLLIN, 0};
    for (size_t i = 0; i < a->watch_count; i++) {
        if (a->watches[i].fd >= 0)
            items[n++] = (zmq_pollitem_t){NULL, a->watches[i].fd, ZMQ_POLLIN, 0};
    }
    zmq_poll(items, (int)n, (long)ms);
    if (items != few)
        free(items);
    kv_wake_taken(a->wake_fd);
}

static int64_t until_tick_ms(const kv_actor *a)
{
    if (!a->spec.def->tick)
        return IDLE_MS;
    int64_t left_us = a->next_tick_us - kv_mono_us(a->spec.clock);
    return left_us <= 0 ? 0 : (left_us + 999) / 1000;
}

static bool drained(kv_actor *a)
{
    const kv_actor_def *def = a->spec.def;

    if (def->drained && !def->drained(a->self))
        return false;
    if (a->questions)
        return false;
    /* READY 0 is on its way; without a broker there is nobody to tell */
    return !a->client || !kv_client_up(a->client) || kv_client_waiting(a->client) == 0;
}

/* Whether zmq_poll can miss nothing: it tells of the inbox and of descriptors whatever was there
 * before, of the session only what comes after a look at it. */
static bool may_sleep(const kv_actor *a)
{
    return !a->inbox_more && (!a->client || kv_client_settled(a->client));
}

static void run(kv_actor *a)
{
    for (;;) {
        int64_t session_ms, until = atomic_load(&a->stop_until_ms);
        if (until && !a->draining) {
            a->draining = true;
            if (a->client)
                kv_session_set_credit(&a->out, 0);
        }
        bool did = run_batch(a, &session_ms);
        kv_log_flush();
        if (until && kv_mono_ms(&kv_clock_real) >= until)
            return;
        if (did && (until || !may_sleep(a)))
            continue;
        if (until && drained(a))
            return;
        int64_t ms = least(least(session_ms, until_tick_ms(a)), IDLE_MS);
        sleep_until_something(a, until ? least(ms, DRAIN_LOOK_MS) : ms);
    }
}

/* ---- birth and death ---- */

static void *open_inproc(kv_actor *a, int type, const char *endpoint)
{
    void *socket = zmq_socket(a->spec.zmq, type);
    int zero = 0;

    if (!socket)
        return NULL;
    if (zmq_setsockopt(socket, ZMQ_LINGER, &zero, sizeof zero) ||
        zmq_setsockopt(socket, type == ZMQ_PULL ? ZMQ_RCVHWM : ZMQ_SNDHWM, &zero, sizeof zero) ||
        (type == ZMQ_PULL ? zmq_bind(socket, endpoint) : zmq_connect(socket, endpoint))) {
        kv_log(KV_LOG_ERROR, "inproc_failed", KV_STR("actor", a->spec.def->name),
               KV_STR("endpoint", endpoint), KV_STR("error", zmq_strerror(errno)));
        zmq_close(socket);
        return NULL;
    }
    return socket;
}

static kv_err open_peers(kv_actor *a)
{
    static const char *const none[] = {NULL};
    const char *const *peers = a->spec.peers ? a->spec.peers : none;
    size_t n = 0;

    while (peers[n])
        n++;
    a->peers = calloc(n + 1, sizeof *a->peers);
    if (!a->peers)
        return KV_E_NO_MEMORY;
    for (size_t i = 0; i < n; i++) {
        a->peers[i] = open_inproc(a, ZMQ_PUSH, peers[i]);
        if (!a->peers[i])
            return KV_E_IO;
        a->peer_count++;
    }
    return KV_OK;
}

static kv_err open_all(kv_actor *a)
{
    const kv_actor_spec *s = &a->spec;

    KV_TRY(open_peers(a));
    KV_TRY(s->def->create(s->cfg, s->arg, &a->self));
    KV_TRY(kv_session_open(a));
    /* the inbox last: who sees it may send */
    if (s->inbox && !(a->inbox = open_inproc(a, ZMQ_PULL, s->inbox)))
        return KV_E_IO;
    return KV_OK;
}

static void close_all(kv_actor *a)
{
    if (a->client)
        kv_session_close(a);
    if (a->self)
        a->spec.def->destroy(&a->self);
    if (a->inbox) {
        zmq_unbind(a->inbox, a->spec.inbox); /* a close frees the name some time later */
        zmq_close(a->inbox);
    }
    for (int i = 0; i < a->peer_count; i++)
        zmq_close(a->peers[i]);
    free(a->peers);
    free(a->watches);
}

static void *thread_main(void *arg)
{
    kv_actor *a = arg;
    char name[16];

    snprintf(name, sizeof name, "%s",
             a->spec.session_name ? a->spec.session_name : a->spec.def->name);
    pthread_setname_np(pthread_self(), name);
    kv_log_gather();
    a->start_err = open_all(a);
    bool started = !a->start_err;
    kv_log_flush();
    sem_post(&a->ready);
    if (started)
        run(a);
    close_all(a);
    kv_log_flush();
    return NULL;
}

static void free_actor(kv_actor *a)
{
    if (a->wake_fd >= 0)
        close(a->wake_fd);
    sem_destroy(&a->ready);
    free(a);
}

static kv_actor *new_actor(const kv_actor_spec *spec)
{
    kv_actor *a = calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->spec = *spec;
    a->out = (kv_out){&ops, spec->clock};
    for (const kv_handler *h = spec->def->handlers; h->code; h++) {
        assert(h->code < 256 && !a->by_code[h->code]);
        a->by_code[h->code] = h;
    }
    assert(!spec->service || (spec->broker && a->by_code[KV_JOB]));
    assert(!spec->def->tick || spec->def->tick_ms > 0);
    sem_init(&a->ready, 0, 0);
    a->next_tick_us = kv_mono_us(spec->clock) + spec->def->tick_ms * 1000;
    a->wake_fd = kv_wake_open();
    return a;
}

kv_err kv_actor_start(const kv_actor_spec *spec, kv_actor **ret)
{
    kv_actor *a = new_actor(spec);
    kv_err err;

    *ret = NULL;
    if (!a)
        return KV_E_NO_MEMORY;
    if (a->wake_fd < 0) {
        err = kv_err_from_errno(errno);
        goto fail;
    }
    int rc = pthread_create(&a->thread, NULL, thread_main, a);
    if (rc) {
        err = rc == EAGAIN ? KV_E_NO_MEMORY : kv_err_from_errno(rc);
        goto fail;
    }
    while (sem_wait(&a->ready) && errno == EINTR)
        ;
    err = a->start_err;
    if (!err) {
        *ret = a;
        return KV_OK;
    }
    pthread_join(a->thread, NULL);
fail:
    kv_log(KV_LOG_ERROR, "actor_not_started", KV_STR("actor", spec->def->name),
           KV_STR("code", kv_err_info_of(err)->slug));
    free_actor(a);
    return err;
}

void kv_actor_stop(kv_actor **self, int64_t deadline_ms)
{
    kv_actor *a = *self;

    if (!a)
        return;
    /* never 0: that means run on */
    atomic_store(&a->stop_until_ms, kv_mono_ms(&kv_clock_real) + deadline_ms + 1);
    kv_wake(a->wake_fd);
    pthread_join(a->thread, NULL);
    free_actor(a);
    *self = NULL;
}
