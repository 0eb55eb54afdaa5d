#include "broker/router.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "broker/table.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/endpoints.h"
#include "proto/frames.h"

enum {
    PIPE_MESSAGES = 2000, /* a peer's pipe, each direction */
    LARGE = 4096,         /* bodies from here on are counted in the pipe, too: it counts messages */
    PIPE_BYTES = 4 << 20, /* of them, for one peer; a larger one goes alone */
    QUEUE_BYTES = 32 << 20, /* behind the pipe, for one peer */
    LINGER_MS = 500,
    BACKLOG = 1024,
    BAD_LOGS_A_SECOND = 10
};

typedef struct packet {
    struct packet *next;
    size_t len; /* of the body */
    uint8_t head[KV_HEADER_SIZE];
    char body[];
} packet;

typedef struct peer_queue {
    struct peer_queue *next;
    packet *first, *last;
    size_t bytes;
    bool overflowed;
    size_t id_len;
    char id[255];
} peer_queue;

/* The large bodies to one peer that libzmq holds. Its threads say when one went, also after the
 * router is closed: who lets go last frees it. */
typedef struct in_pipe {
    struct in_pipe *next;
    atomic_size_t bytes;
    atomic_uint holders; /* the router, and each body */
    size_t id_len;
    char id[255];
} in_pipe;

typedef struct large_body {
    in_pipe *pipe;
    size_t len;
    char bytes[];
} large_body;

struct kv_router {
    kv_router_opts opts;
    void *socket;
    kv_names pipes; /* peer -> in_pipe; only peers that were sent a large one lately */
    in_pipe *pipe_list;
    kv_names queues; /* peer -> peer_queue; only peers with something waiting */
    peer_queue *list;
    kv_buf scratch;
    int64_t bad_second;
    int bad_logged;
};

/* ---- birth and death ---- */

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

/* The ZAP domain has libzmq refuse peers older than ZMTP 3, which are told by a first byte that is
 * not 0xff: an HTTP request is one, and a page of any site may send it to a tcp:// endpoint, with
 * our messages in its body. Nobody serves ZAP; then a domain asks for nothing else. */
static bool configure(void *socket)
{
    int64_t largest = KV_BODY_MAX;
    return set_int(socket, ZMQ_ROUTER_MANDATORY, 1) && set_int(socket, ZMQ_SNDHWM, PIPE_MESSAGES) &&
           set_int(socket, ZMQ_RCVHWM, PIPE_MESSAGES) && set_int(socket, ZMQ_LINGER, LINGER_MS) &&
           set_int(socket, ZMQ_BACKLOG, BACKLOG) &&
           zmq_setsockopt(socket, ZMQ_ZAP_DOMAIN, "kervan", strlen("kervan")) == 0 &&
           zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) == 0;
}

kv_err kv_router_open(const kv_router_opts *opts, kv_router **ret)
{
    kv_router *r = calloc(1, sizeof *r);
    *ret = NULL;
    if (!r)
        return KV_E_NO_MEMORY;
    r->opts = *opts;
    kv_buf_init(&r->scratch, KV_BODY_MAX);
    r->socket = zmq_socket(opts->zmq, ZMQ_ROUTER);
    if (!r->socket || !configure(r->socket) || !kv_endpoint_bind(r->socket, opts->endpoint)) {
        kv_log(KV_LOG_ERROR, "bind_failed", KV_STR("endpoint", opts->endpoint),
               KV_STR("error", zmq_strerror(errno)));
        kv_router_close(&r);
        return KV_E_IO;
    }
    *ret = r;
    return KV_OK;
}

static void packets_free(peer_queue *q)
{
    for (packet *p = q->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    q->first = q->last = NULL;
    q->bytes = 0;
}

static void pipe_drop(in_pipe *p)
{
    if (atomic_fetch_sub(&p->holders, 1) == 1)
        free(p);
}

/* Lets go of those whose large bodies all went, or of all. */
static void pipes_forget(kv_router *r, bool all)
{
    for (in_pipe **at = &r->pipe_list, *p; (p = *at);) {
        if (!all && atomic_load(&p->bytes) > 0) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        kv_names_remove(&r->pipes, kv_slice_of(p->id, p->id_len));
        pipe_drop(p);
    }
}

void kv_router_close(kv_router **router)
{
    kv_router *r = *router;
    if (!r)
        return;
    for (peer_queue *q = r->list, *next; q; q = next) {
        next = q->next;
        packets_free(q);
        free(q);
    }
    pipes_forget(r, true);
    kv_names_release(&r->pipes);
    kv_names_release(&r->queues);
    kv_buf_release(&r->scratch);
    if (r->socket)
        zmq_close(r->socket);
    free(r);
    *router = NULL;
}

void *kv_router_socket(kv_router *router)
{
    return router->socket;
}

/* ---- sending ---- */

static in_pipe *pipe_of(kv_router *r, kv_slice peer)
{
    in_pipe *p = kv_names_find(&r->pipes, peer);
    if (p)
        return p;
    p = calloc(1, sizeof *p);
    if (!p || peer.len > sizeof p->id || !kv_names_set(&r->pipes, peer, p)) {
        free(p);
        return NULL;
    }
    atomic_init(&p->holders, 1);
    memcpy(p->id, peer.ptr, peer.len);
    p->id_len = peer.len;
    p->next = r->pipe_list;
    r->pipe_list = p;
    return p;
}

/* libzmq is done with it, sent or not. */
static void body_went(void *data, void *hint)
{
    large_body *b = hint;
    (void)data;
    atomic_fetch_sub(&b->pipe->bytes, b->len);
    pipe_drop(b->pipe);
    free(b);
}

static int large_message(kv_router *r, kv_slice peer, const void *body, size_t len, zmq_msg_t *ret)
{
    in_pipe *p = pipe_of(r, peer);
    size_t there = p ? atomic_load(&p->bytes) : 0;
    if (there > 0 && there + len > PIPE_BYTES)
        return EAGAIN;
    large_body *b = p ? malloc(sizeof *b + len) : NULL;
    if (!b || zmq_msg_init_data(ret, b->bytes, len, body_went, b) != 0) {
        free(b);
        return ENOMEM;
    }
    *b = (large_body){.pipe = p, .len = len};
    memcpy(b->bytes, body, len);
    atomic_fetch_add(&p->bytes, len);
    atomic_fetch_add(&p->holders, 1);
    return 0;
}

static int body_message(kv_router *r, kv_slice peer, const void *body, size_t len, zmq_msg_t *ret)
{
    if (len >= LARGE)
        return large_message(r, peer, body, len, ret);
    if (zmq_msg_init_size(ret, len) != 0)
        return ENOMEM;
    if (len)
        memcpy(zmq_msg_data(ret), body, len);
    return 0;
}

/* 0, or errno: EAGAIN (the pipe is full), EHOSTUNREACH, ENOMEM. */
static int send_packet(kv_router *r, kv_slice peer, const uint8_t *head, const void *body,
                       size_t len)
{
    zmq_msg_t m;
    int rc = body_message(r, peer, body, len, &m);
    if (rc != 0)
        return rc;
    if (kv_frame_send(r->socket, peer.ptr, peer.len, true) &&
        kv_frame_send(r->socket, head, KV_HEADER_SIZE, true) &&
        kv_frame_send_msg(r->socket, &m, false))
        return 0;
    rc = errno;
    zmq_msg_close(&m);
    return rc;
}

static peer_queue *queue_of(kv_router *r, kv_slice peer)
{
    peer_queue *q = kv_names_find(&r->queues, peer);
    if (q)
        return q;
    q = calloc(1, sizeof *q);
    if (!q || peer.len > sizeof q->id || !kv_names_set(&r->queues, peer, q)) {
        free(q);
        return NULL;
    }
    memcpy(q->id, peer.ptr, peer.len);
    q->id_len = peer.len;
    q->next = r->list;
    r->list = q;
    return q;
}

static void enqueue(kv_router *r, kv_slice peer, const uint8_t *head, const kv_buf *body)
{
    peer_queue *q = queue_of(r, peer);
    packet *p = q && !q->overflowed ? malloc(sizeof *p + body->len) : NULL;
    if (!p)
        return; /* without memory it is lost like a message on the wire: what matters is sent again
                 */
    *p = (packet){.len = body->len};
    memcpy(p->head, head, KV_HEADER_SIZE);
    memcpy(p->body, body->data, body->len);
    if (q->last)
        q->last->next = p;
    else
        q->first = p;
    q->last = p;
    q->bytes += sizeof *p + body->len;
    if (q->bytes > QUEUE_BYTES)
        q->overflowed = true; /* told by the next flush: not in the middle of what the core does */
}

void kv_router_send(kv_router *router, kv_slice peer, uint64_t request, const kv_msg *m)
{
    uint8_t bytes[KV_HEADER_SIZE];
    if (!kv_frames_encode((kv_header){.request = request}, m, bytes, &router->scratch))
        return;
    if (!router->list || !kv_names_find(&router->queues, peer)) {
        int rc = send_packet(router, peer, bytes, router->scratch.data, router->scratch.len);
        if (rc == 0)
            return;
        if (rc != EAGAIN)
            return; /* not connected any more, or no memory: lost */
    }
    enqueue(router, peer, bytes, &router->scratch);
}

/* True: the queue is done with. */
static bool flush_one(kv_router *r, peer_queue *q)
{
    while (!q->overflowed && q->first) {
        packet *p = q->first;
        int rc = send_packet(r, kv_slice_of(q->id, q->id_len), p->head, p->body, p->len);
        if (rc == EAGAIN)
            return false;
        if (rc != 0)
            break; /* the same */
        q->first = p->next;
        if (!q->first)
            q->last = NULL;
        q->bytes -= sizeof *p + p->len;
        free(p);
    }
    return true;
}

bool kv_router_flush(kv_router *router)
{
    peer_queue *q = router->list;
    pipes_forget(router, false);
    router->list = NULL;
    for (peer_queue *next; q; q = next) {
        next = q->next;
        if (!flush_one(router, q)) {
            q->next = router->list;
            router->list = q;
            continue;
        }
        kv_names_remove(&router->queues, kv_slice_of(q->id, q->id_len));
        packets_free(q);
        if (q->overflowed)
            router->opts.overflow(router->opts.arg, kv_slice_of(q->id, q->id_len));
        free(q);
    }
    return router->list != NULL;
}

/* ---- receiving ---- */

static void log_bad(kv_router *r, const char *why, kv_err err)
{
    kv_metric_add(KV_M_BAD_MESSAGES, 1);
    int64_t second = kv_mono_ms(&kv_clock_real) / 1000;
    if (second != r->bad_second)
        r->bad_logged = 0;
    r->bad_second = second;
    if (r->bad_logged++ < BAD_LOGS_A_SECOND)
        kv_log(KV_LOG_WARN, "bad_message", KV_STR("from", "peer"), KV_STR("why", why),
               KV_ERRNAME("code", err));
}

static void refuse(kv_router *r, kv_slice peer, const kv_header *head, kv_err err, const char *why)
{
    kv_msg m;
    log_bad(r, why, err);
    if (!head || head->request == 0)
        return;
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str(why);
    kv_router_send(r, peer, head->request, &m);
}

static void take_frames(kv_router *r, zmq_msg_t frames[3])
{
    kv_header head;
    kv_msg m;
    const char *why = "malformed";
    kv_slice peer = kv_slice_of(zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]));
    kv_err err = kv_header_decode(zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]), &head);
    if (err != KV_OK) {
        refuse(r, peer, NULL, err, "the header is malformed");
        return;
    }
    if (kv_code_ingest(head.code)) {
        refuse(r, peer, &head, KV_E_UNKNOWN_CODE,
               "messages of the ingest are not taken from the network");
        return;
    }
    err = kv_body_decode(head.code, zmq_msg_data(&frames[2]), zmq_msg_size(&frames[2]), &m, &why);
    if (err != KV_OK)
        refuse(r, peer, &head, err, err == KV_E_UNKNOWN_CODE ? kv_err_info_of(err)->en : why);
    else
        r->opts.message(r->opts.arg, peer, &head, &m);
}

/* One message of exactly three frames, the routing id first; others are read to their end and
 * dropped. False: none now. */
static bool receive_one(kv_router *r)
{
    zmq_msg_t frames[3];
    for (int i = 0; i < 3; i++)
        zmq_msg_init(&frames[i]);
    int count =
        kv_frames_receive(r->socket, (zmq_msg_t *[]){&frames[0], &frames[1], &frames[2]}, 3);
    if (count == 3)
        take_frames(r, frames);
    else if (count > 0)
        log_bad(r, "not two frames", KV_E_BAD_MESSAGE);
    for (int i = 0; i < 3; i++)
        zmq_msg_close(&frames[i]);
    return count > 0;
}

int kv_router_receive(kv_router *router, int max)
{
    int n = 0;
    while (n < max && receive_one(router))
        n++;
    return n;
}
