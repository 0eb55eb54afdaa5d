/* GET /api/events: live events as text/event-stream; polling is poll.c. */
#include <stdlib.h>
#include <sys/socket.h>

#include "gateway/feed.h"
#include "gateway/body.h"
#include "gateway/queue_api.h"
#include "gateway/route.h"

#define RETRY_HINT  "retry: 2000\n\n"
#define STUCK_MS    60000 /* a client that takes nothing for so long is cut */
#define END_WAIT_MS 2000  /* for what is queued when draining begins */
#define KEEP_BUFFER 4096

typedef struct sse_client {
    kv_feed_client c; /* first */
    h2o_generator_t generator;
    h2o_req_t *req;
    const kv_clock *clock;
    kv_buf sending;
    bool started, ended;
    int64_t write_began_ms, end_by_ms;
} sse_client;

static sse_client *client_of(h2o_generator_t *g)
{
    return H2O_STRUCT_FROM_MEMBER(sse_client, generator, g);
}

static void sse_free(sse_client *s)
{
    kv_feed_detach(&s->c);
    kv_buf_release(&s->sending);
    free(s);
}

static void on_stop(h2o_generator_t *g, h2o_req_t *req)
{
    (void)req;
    sse_free(client_of(g));
}

static void sse_end(sse_client *s)
{
    h2o_req_t *req = s->req;
    sse_free(s); /* a final send calls us no more */
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

static void sse_flush(sse_client *s)
{
    if (!s->started || s->c.unsent != 0)
        return;
    if (s->c.q.pending.len == 0) {
        if (s->ended)
            sse_end(s);
        return;
    }
    kv_buf swap = s->sending;
    s->sending = s->c.q.pending;
    s->c.q.pending = swap;
    kv_buf_clear(&s->c.q.pending);
    s->c.unsent = s->sending.len;
    s->write_began_ms = kv_mono_ms(s->clock);
    h2o_iovec_t v = h2o_iovec_init(s->sending.data, s->sending.len);
    h2o_send(s->req, &v, 1, H2O_SEND_STATE_IN_PROGRESS);
}

static void on_proceed(h2o_generator_t *g, h2o_req_t *req)
{
    (void)req;
    sse_client *s = client_of(g);
    if (s->sending.cap > KEEP_BUFFER)
        kv_buf_release(&s->sending);
    else
        kv_buf_clear(&s->sending);
    s->c.unsent = 0;
    if (!s->ended)
        kv_feed_pump(&s->c);
    sse_flush(s);
}

/* ---- transport ---- */

static void sse_wake(kv_feed_client *c)
{
    sse_flush((sse_client *)c);
}

static void sse_tick(kv_feed_client *c, int64_t now_ms)
{
    sse_client *s = (sse_client *)c;
    bool late = s->ended && now_ms >= s->end_by_ms;
    if (s->c.unsent == 0 || (!late && now_ms - s->write_began_ms < STUCK_MS))
        return;
    h2o_socket_t *sock = s->req->conn->callbacks->get_socket(s->req->conn);
    shutdown(h2o_socket_get_fd(sock), SHUT_RDWR); /* the pending write fails, h2o cleans up */
}

static void sse_drain(kv_feed_client *c)
{
    sse_client *s = (sse_client *)c;
    if (!s->ended)
        s->end_by_ms = kv_mono_ms(s->clock) + END_WAIT_MS;
    s->ended = true;
    sse_flush(s);
}

static void sse_drop(kv_feed_client *c)
{
    kv_feed_detach(c); /* the memory goes with the request (on_stop) */
}

static const kv_feed_transport sse_transport = {
    .name = "sse", .wake = sse_wake, .tick = sse_tick, .drain = sse_drain, .drop = sse_drop};

static kv_err sse_new(kv_request *r, sse_client **ret, char why[KV_BODY_WHY])
{
    sse_client *s = calloc(1, sizeof(*s));
    why[0] = '\0';
    if (s == NULL)
        return KV_E_NO_MEMORY;
    s->req = r->req;
    s->clock = r->loop->gw->clock;
    s->generator = (h2o_generator_t){on_proceed, on_stop};
    s->c.transport = &sse_transport;
    kv_buf_init(&s->sending, 0);
    kv_live_queue_init(&s->c.q, KV_LIVE_SSE,
                       (size_t)r->loop->gw->cfg->event_client_buffer_kb * 1024);
    kv_buf_adds(&s->c.q.pending, RETRY_HINT);
    kv_feed_asks asks;
    s->c.admin = kv_admin_request(r->req);
    kv_err err = kv_feed_parameters(r, &s->c.q, &asks, why);
    if (err == KV_OK) {
        why[0] = '\0';
        err = kv_feed_attach(r->loop->feed, &s->c, &asks);
    }
    if (err != KV_OK) {
        sse_free(s);
        return err;
    }
    *ret = s;
    return KV_OK;
}

void kv_route_events(kv_request *r)
{
    static h2o_generator_t nothing = {NULL, NULL};
    h2o_req_t *req = r->req;
    if (kv_poll_wanted(r)) {
        kv_poll(r);
        return;
    }
    bool head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    sse_client *s = NULL;
    char why[KV_BODY_WHY];
    kv_err err = sse_new(r, &s, why);
    if (err != KV_OK) {
        kv_answer_problem(req, err, why, kv_err_info_of(err)->http == 503 ? 2000 : 0);
        return;
    }
    req->res.status = 200;
    req->res.reason = "OK";
    kv_add_header(req, "content-type", "text/event-stream; charset=utf-8");
    kv_add_header(req, "cache-control", "no-store");
    kv_add_header(req, "x-accel-buffering", "no"); /* nginx in front: do not collect */
    kv_add_header(req, "x-content-type-options", "nosniff");
    if (req->version < 0x101)
        req->http1_is_persistent = 0; /* no chunks there: the end is the close */
    h2o_start_response(req, head ? &nothing : &s->generator);
    if (head) {
        sse_free(s);
        h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
        return;
    }
    s->started = true;
    kv_feed_bound_socket(h2o_socket_get_fd(req->conn->callbacks->get_socket(req->conn)));
    sse_flush(s);
}
