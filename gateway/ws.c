/* GET /api/ws: live events as JSON text frames. wslay reads frames and makes pongs and closes;
 * event frames come ready from the queue (live.c) and go straight to the socket, so a slow client
 * holds one bounded buffer and nothing in wslay. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <h2o/websocket.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <wslay/wslay.h>

#include "gateway/feed.h"
#include "gateway/guard.h"
#include "gateway/body.h"
#include "gateway/queue_api.h"
#include "gateway/route.h"
#include "proto/base/log.h"

#define MAX_MESSAGE 20480 /* bytes a client may send in one message: 1000 ids to watch */
#define MAX_CONTROL                                                                                \
    16384 /* bytes of pongs waiting: above it nothing is read, until they are sent */
#define READ_PIECE     4096 /* bytes wslay gets in one go: their pongs may go above MAX_CONTROL */
#define MAX_UNANSWERED 2    /* pings */
#define CLOSE_WAIT_MS  2000
#define KEEP_BUFFER    4096
#define CLOSE_GOING    1001
#define WS_GUID        "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

typedef struct ws_client {
    kv_feed_client c; /* first */
    const kv_clock *clock;
    h2o_socket_t *sock; /* NULL until the 101 is written */
    wslay_event_context_ptr ws;
    kv_buf control; /* frames of wslay */
    kv_buf sending;
    size_t piece; /* bytes wslay may still take in this go */
    unsigned unanswered;
    bool closing, failed;
    bool broken; /* the peer broke the rules: nothing more is read of it */
    int64_t close_by_ms;
} ws_client;

static void ws_free(ws_client *w)
{
    kv_feed_detach(&w->c);
    if (w->sock != NULL)
        h2o_socket_close(w->sock);
    wslay_event_context_free(w->ws);
    kv_buf_release(&w->control);
    kv_buf_release(&w->sending);
    free(w);
}

/* ---- writing ---- */

static void ws_flush(ws_client *w);
static void ws_read(ws_client *w);
static void on_recv(h2o_socket_t *sock, const char *err);

static void on_written(h2o_socket_t *sock, const char *err)
{
    ws_client *w = sock->data;
    if (w->sending.cap > KEEP_BUFFER)
        kv_buf_release(&w->sending);
    else
        kv_buf_clear(&w->sending);
    w->c.unsent = 0;
    bool said_goodbye = w->closing && w->control.len == 0 && wslay_event_get_close_received(w->ws);
    if (err != NULL || said_goodbye) {
        ws_free(w);
        return;
    }
    kv_feed_pump(&w->c);
    ws_flush(w);
    if (!h2o_socket_is_reading(sock))
        ws_read(w);
}

static void ws_flush(ws_client *w)
{
    if (w->sock == NULL || w->c.unsent != 0)
        return;
    if (w->closing)
        kv_buf_clear(&w->c.q.pending); /* nothing may follow a close frame */
    kv_buf *pending = &w->c.q.pending;
    if (w->control.len != 0) {
        if (pending->len != 0)
            kv_buf_add(&w->control, pending->data, pending->len);
        kv_buf_clear(pending);
        pending = &w->control;
    }
    if (pending->len == 0 || !kv_buf_ok(pending))
        return;
    kv_buf swap = w->sending;
    w->sending = *pending;
    *pending = swap;
    kv_buf_clear(pending);
    w->c.unsent = w->sending.len;
    h2o_iovec_t v = h2o_iovec_init(w->sending.data, w->sending.len);
    h2o_socket_write(w->sock, &v, 1, on_written);
}

/* Lets wslay put what it has (pong, close) into `control`. */
static void ws_collect(ws_client *w)
{
    while (!w->failed && wslay_event_want_write(w->ws))
        if (wslay_event_send(w->ws) != 0)
            w->failed = true;
    if (!kv_buf_ok(&w->control))
        w->failed = true;
}

static ssize_t on_wslay_send(wslay_event_context_ptr ctx, const uint8_t *data, size_t len,
                             int flags, void *arg)
{
    (void)ctx;
    (void)flags;
    ws_client *w = arg;
    kv_buf_add(&w->control, data, len);
    return (ssize_t)len;
}

static void ws_start_close(ws_client *w, uint16_t code)
{
    if (w->closing)
        return;
    /* what is queued goes out before the goodbye */
    if (w->c.q.pending.len != 0)
        kv_buf_add(&w->control, w->c.q.pending.data, w->c.q.pending.len);
    wslay_event_queue_close(w->ws, code, NULL, 0);
    ws_collect(w);
    w->closing = true;
    w->close_by_ms = kv_mono_ms(w->clock) + CLOSE_WAIT_MS;
    ws_flush(w);
}

/* ---- reading ---- */

static ssize_t on_wslay_recv(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags,
                             void *arg)
{
    (void)flags;
    ws_client *w = arg;
    h2o_buffer_t *in = w->sock->input;
    if (len > w->piece)
        len = w->piece;
    if (len > in->size)
        len = in->size;
    if (len == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    w->piece -= len;
    memcpy(buf, in->bytes, len);
    h2o_buffer_consume(&w->sock->input, len);
    return (ssize_t)len;
}

/* wslay answers a close of one byte, half a code, as one without: RFC 6455 5.5.1 wants two. */
static void on_wslay_frame(wslay_event_context_ptr ctx,
                           const struct wslay_event_on_frame_recv_start_arg *f, void *arg)
{
    (void)arg;
    if (f->opcode == WSLAY_CONNECTION_CLOSE && f->payload_length == 1)
        wslay_event_queue_close(ctx, WSLAY_CODE_PROTOCOL_ERROR, NULL, 0);
}

static void on_wslay_message(wslay_event_context_ptr ctx,
                             const struct wslay_event_on_msg_recv_arg *m, void *arg)
{
    (void)ctx;
    ws_client *w = arg;
    if (m->opcode == WSLAY_PONG)
        w->unanswered = 0;
    else if (m->opcode == WSLAY_TEXT_FRAME || m->opcode == WSLAY_BINARY_FRAME)
        kv_feed_hear(&w->c, kv_slice_of((const char *)m->msg, m->msg_length));
}

/* wslay stops at a frame it cannot parse and would close without a word. RFC 6455 7.1.7: say why.
 */
static void ws_protocol_error(ws_client *w)
{
    static const char close_1002[] = {(char)0x88, 2, 0x03, (char)0xea};
    kv_buf_add(&w->control, close_1002, sizeof(close_1002));
    w->broken = true;
    w->closing = true;
    w->close_by_ms = kv_mono_ms(w->clock) + CLOSE_WAIT_MS;
}

static bool ws_listens(ws_client *w)
{
    return !w->failed && !w->broken && wslay_event_want_read(w->ws);
}

/* Takes what is there, unless too many pongs wait: on_written goes on with it then. */
static void ws_take(ws_client *w)
{
    while (ws_listens(w) && w->sock->input->size != 0 && w->control.len < MAX_CONTROL) {
        w->piece = READ_PIECE;
        if (wslay_event_recv(w->ws) != 0)
            ws_protocol_error(w);
        else
            ws_collect(w);
    }
    if (!ws_listens(w) && w->sock->input->size != 0)
        h2o_buffer_consume(&w->sock->input, w->sock->input->size);
    if (w->sock->input->size != 0)
        h2o_socket_read_stop(w->sock);
    else if (!h2o_socket_is_reading(w->sock))
        h2o_socket_read_start(w->sock, on_recv);
}

static void ws_read(ws_client *w)
{
    ws_take(w);
    if (w->failed) {
        ws_free(w);
        return;
    }
    if (!wslay_event_want_read(w->ws) &&
        !w->closing) { /* the peer said goodbye, or broke the rules */
        w->closing = true;
        w->close_by_ms = kv_mono_ms(w->clock) + CLOSE_WAIT_MS;
    }
    if (w->closing && w->c.unsent == 0 && w->control.len == 0 &&
        wslay_event_get_close_received(w->ws)) {
        ws_free(w);
        return;
    }
    ws_flush(w);
}

static void on_recv(h2o_socket_t *sock, const char *err)
{
    ws_client *w = sock->data;
    if (err != NULL)
        ws_free(w);
    else
        ws_read(w);
}

/* ---- transport ---- */

static void ws_wake(kv_feed_client *c)
{
    ws_flush((ws_client *)c);
}

static void ws_ping(kv_feed_client *c)
{
    ws_client *w = (ws_client *)c;
    if (w->sock == NULL || w->closing)
        return;
    if (w->unanswered >= MAX_UNANSWERED) {
        ws_free(w);
        return;
    }
    w->unanswered++;
    struct wslay_event_msg ping = {.opcode = WSLAY_PING};
    wslay_event_queue_msg(w->ws, &ping);
    ws_collect(w);
    ws_flush(w);
}

static void ws_tick(kv_feed_client *c, int64_t now_ms)
{
    ws_client *w = (ws_client *)c;
    if (w->closing && w->sock != NULL && now_ms >= w->close_by_ms)
        ws_free(w);
}

static void ws_drain(kv_feed_client *c)
{
    ws_start_close((ws_client *)c, CLOSE_GOING);
}

static void ws_drop(kv_feed_client *c)
{
    ws_client *w = (ws_client *)c;
    if (w->sock == NULL)
        kv_feed_detach(c); /* h2o still holds it; the loop is over and so is the process */
    else
        ws_free(w);
}

static const kv_feed_transport ws_transport = {.name = "ws",
                                               .wake = ws_wake,
                                               .tick = ws_tick,
                                               .ping = ws_ping,
                                               .drain = ws_drain,
                                               .drop = ws_drop};

/* ---- handshake ---- */

static void accept_key(const char *client_key, char out[32])
{
    unsigned char text[24 + sizeof(WS_GUID) - 1], digest[SHA_DIGEST_LENGTH];
    memcpy(text, client_key, 24);
    memcpy(text + 24, WS_GUID, sizeof(WS_GUID) - 1);
    SHA1(text, sizeof(text), digest);
    EVP_EncodeBlock((unsigned char *)out, digest, sizeof(digest));
}

static void on_upgraded(void *arg, h2o_socket_t *sock, size_t head_size)
{
    ws_client *w = arg;
    if (sock == NULL || w->c.feed == NULL) {
        w->sock = sock;
        ws_free(w);
        return;
    }
    w->sock = sock;
    sock->data = w;
    kv_feed_bound_socket(h2o_socket_get_fd(sock));
    if (!kv_tap_released(sock, head_size)) {
        ws_free(w);
        return;
    }
    ws_read(w);
}

static kv_err ws_new(kv_request *r, ws_client **ret, char why[KV_BODY_WHY])
{
    struct wslay_event_callbacks callbacks = {.recv_callback = on_wslay_recv,
                                              .send_callback = on_wslay_send,
                                              .on_frame_recv_start_callback = on_wslay_frame,
                                              .on_msg_recv_callback = on_wslay_message};
    ws_client *w = calloc(1, sizeof(*w));
    why[0] = '\0';
    if (w == NULL || wslay_event_context_server_init(&w->ws, &callbacks, w) != 0) {
        free(w);
        return KV_E_NO_MEMORY;
    }
    wslay_event_config_set_max_recv_msg_length(w->ws, MAX_MESSAGE);
    kv_buf_init(&w->control, 0);
    kv_buf_init(&w->sending, 0);
    w->clock = r->loop->gw->clock;
    w->c.transport = &ws_transport;
    kv_live_queue_init(&w->c.q, KV_LIVE_WS,
                       (size_t)r->loop->gw->cfg->event_client_buffer_kb * 1024);
    kv_feed_asks asks;
    w->c.admin = kv_admin_request(r->req);
    kv_err err = kv_feed_parameters(r, &w->c.q, &asks, why);
    if (err == KV_OK) {
        why[0] = '\0';
        err = kv_feed_attach(r->loop->feed, &w->c, &asks);
    }
    if (err != KV_OK) {
        ws_free(w);
        return err;
    }
    *ret = w;
    return KV_OK;
}

void kv_route_ws(kv_request *r)
{
    h2o_req_t *req = r->req;
    const char *key;
    char why[KV_BODY_WHY];
    int bad = h2o_is_websocket_handshake(req, &key);
    if (bad == 0 && key == NULL) {
        kv_add_header(req, "upgrade", "websocket");
        kv_answer_problem(req, KV_E_UPGRADE_REQUIRED, NULL, 0);
        return;
    }
    if (bad != 0) {
        kv_answer_problem(req, KV_E_BAD_REQUEST, "Sec-WebSocket-Key", 0);
        return;
    }
    if (!kv_slice_is(kv_header_get(req, "sec-websocket-version"), "13")) {
        kv_add_header(req, "sec-websocket-version", "13");
        kv_add_header(req, "upgrade", "websocket");
        kv_answer_problem(req, KV_E_UPGRADE_REQUIRED, "Sec-WebSocket-Version: 13", 0);
        return;
    }
    kv_slice host = kv_slice_of(req->input.authority.base, req->input.authority.len);
    if (kv_origin_of(r->loop->gw->cfg->cors_allowed_origins, kv_header_get(req, "origin"), host) ==
        KV_ORIGIN_FOREIGN) {
        kv_answer_problem(req, KV_E_FORBIDDEN_ORIGIN, NULL, 0);
        return;
    }
    ws_client *w;
    kv_err err = ws_new(r, &w, why);
    if (err != KV_OK) {
        kv_answer_problem(req, err, why, kv_err_info_of(err)->http == 503 ? 2000 : 0);
        return;
    }
    char accept[32];
    accept_key(key, accept);
    req->res.status = 101;
    req->res.reason = "Switching Protocols";
    kv_add_header(req, "upgrade", "websocket");
    kv_add_header(req, "sec-websocket-accept", accept);
    kv_tap_release(req);
    h2o_http1_upgrade(req, NULL, 0, on_upgraded, w);
}
