/* Inside of a loop: what gateway.h does not show to handlers. One thread, except where said. */
#ifndef KV_GATEWAY_LOOP_H
#define KV_GATEWAY_LOOP_H

#include <pthread.h>
#include <stdatomic.h>

#include "gateway/body_pool.h"
#include "gateway/gateway.h"
#include "gateway/ratelimit.h"
#include "gateway/timer.h"
#include "proto/base/id.h"

#define KV_WATCHES_MAX 16
#define KV_LOOPS_MAX   64

typedef struct kv_gw_own {
    kv_gw gw; /* first */
    kv_body_pool *pool;
    kv_ratelimit *rate;
    h2o_globalconf_t conf;
    size_t connections_max; /* of all loops */
    uint32_t id_node;       /* of the first loop's ids; the others count on */
    int wake_fds[KV_LOOPS_MAX];
} kv_gw_own;

typedef struct kv_watch {
    kv_loop *loop;
    h2o_socket_t *sock; /* over a duplicate of the descriptor */
    void (*fn)(void *arg);
    void *arg;
} kv_watch;

typedef struct kv_every {
    int64_t ms, due_ms;
    void (*fn)(void *arg);
    void *arg;
} kv_every;

typedef struct kv_loop_own {
    kv_loop loop; /* first */
    pthread_t thread;
    int wake_fd; /* eventfd: body buffers came back, or draining began. Any thread writes */

    /* connections */
    int listen_fd;
    h2o_socket_t *listener;
    bool accepting;
    bool accept_failed;   /* said; the next one that is taken ends it */
    h2o_linklist_t conns; /* kv_conn.all */
    h2o_linklist_t ready; /* kv_conn.ready: an answer is through, the tap goes back in */
    size_t nconns, nconns_max;
    kv_timers timers;
    kv_timer accept_again;

    kv_watch watches[KV_WATCHES_MAX];
    kv_every every[KV_WATCHES_MAX];
    unsigned nwatches, nevery;
    bool broker_was_up;

    kv_id_maker ids;
    uint64_t random; /* state of the trace id maker */
    bool draining;
    int64_t drain_by_ms;
} kv_loop_own;

static inline kv_loop_own *kv_loop_inside(kv_loop *loop)
{
    return (kv_loop_own *)loop;
}

static inline kv_gw_own *kv_gw_inside(kv_loop *loop)
{
    return (kv_gw_own *)loop->gw;
}

/* h2o's own wants a node that is linked. */
static inline void kv_unlink(h2o_linklist_t *node)
{
    if (h2o_linklist_is_linked(node))
        h2o_linklist_unlink(node);
}

/* Before its thread: sockets, inbox, h2o context. CONFIG, IO, NO_MEMORY (logged). */
kv_err kv_loop_new(kv_gw_own *gw, unsigned index, int listen_fd, kv_loop_own **ret);
void kv_loop_run(kv_loop_own *self); /* returns when drained */
void kv_loop_close_sockets(
    kv_loop_own *self); /* ZeroMQ sockets, database; the loop itself stays allocated until exit */
void kv_loop_wake(kv_loop_own *self); /* any thread */

/* accept.c */
/* Non-blocking, SO_REUSEPORT for the other loops; the first is refused where anybody listens. -1:
 * failed, logged. */
int kv_listen(const char *address, bool first);
void kv_accept_start(kv_loop_own *self);
void kv_accept_stop(kv_loop_own *self);  /* draining: takes who waits, closes the listener */
void kv_accept_check(kv_loop_own *self); /* goes on below MAX_CONNECTIONS */

/* dispatch.c: h2o handler and logger on every path. */
void kv_dispatch_register(kv_gw_own *gw);

#endif
