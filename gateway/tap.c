#include "gateway/tap.h"

#include <assert.h>
#include <errno.h>
#include <h2o/http1.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "gateway/refuse.h"
#include "gateway/route.h"
#include "gateway/upload.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

#define READ_MAX 16384 /* bytes a read of a head */
#define FEED_MAX 4096  /* bytes of `rest` looked at in one go */

kv_conn *kv_conn_of(h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn)->on_close.data;
}

/* Ends the connection the way h2o knows: it frees its side and closes the socket, on_close frees
 * ours. */
static void close_now(kv_conn *c)
{
    c->h2o_read(c->sock, h2o_socket_error_closed);
}

static void on_close(void *arg)
{
    kv_conn *c = arg;
    kv_loop_own *l = kv_loop_inside(c->loop);
    kv_unlink(&c->all);
    kv_unlink(&c->ready);
    kv_timer_clear(&c->timer);
    kv_timer_clear(&c->feed);
    if (c->upload != NULL)
        kv_upload_conn_gone(c->upload);
    if (c->linger_fd >= 0)
        kv_linger(l, c->linger_fd);
    l->nconns--;
    kv_metric_add(KV_M_CONNECTIONS, -1);
    free(c->rest);
    free(c->small);
    free(c);
    kv_accept_check(l);
}

/* ---- rest ---- */

size_t kv_tap_take_rest(kv_conn *c, char *out, size_t len)
{
    size_t n = c->rest_len < len ? c->rest_len : len;
    if (n == 0)
        return 0;
    memcpy(out, c->rest + c->rest_at, n);
    c->rest_at += n;
    c->rest_len -= n;
    if (c->rest_len == 0) {
        free(c->rest);
        c->rest = NULL;
    }
    return n;
}

bool kv_tap_put_rest(kv_conn *c, const char *bytes, size_t len)
{
    assert((c->rest != NULL) == (c->rest_len > 0));
    if (len == 0)
        return true;
    if (c->rest != NULL && c->rest_at >= len) { /* where it was taken from */
        c->rest_at -= len;
        memcpy(c->rest + c->rest_at, bytes, len);
    } else {
        char *joined = malloc(len + c->rest_len);
        if (joined == NULL)
            return false;
        memcpy(joined, bytes, len);
        if (c->rest_len > 0)
            memcpy(joined + len, c->rest + c->rest_at, c->rest_len);
        free(c->rest);
        c->rest = joined;
        c->rest_at = 0;
    }
    c->rest_len += len;
    return true;
}

/* ---- heads ---- */

static void refuse(kv_conn *c, kv_err err, const char *why, const kv_head *head)
{
    kv_timer_clear(&c->timer);
    c->state = KV_CONN_REFUSING;
    kv_refuse(c, err, why, head);
}

static void begin_request(kv_conn *c, const kv_head *head)
{
    h2o_buffer_t *in = c->sock->input;
    if (!kv_tap_put_rest(c, in->bytes + head->len, in->size - head->len)) {
        refuse(c, KV_E_NO_MEMORY, "", head);
        return;
    }
    in->size = head->len;
    c->frame =
        (kv_body_frame){.chunked = head->chunked, .expect = head->expect, .left = head->length};
    c->frame.over = !head->chunked && head->length == 0;
    kv_head_hide_body(head, in->bytes);
    size_t unread = kv_head_origin_form(head, in->bytes);
    if (unread > 0)
        h2o_buffer_consume(&c->sock->input, unread);
    c->state = KV_CONN_BUSY;
    c->seen = 0;
    kv_timer_clear(&c->timer);
    c->h2o_read(c->sock, NULL);
}

/* true: the head is not whole yet. Otherwise the connection may be gone. */
static bool look_at_head(kv_conn *c)
{
    kv_head head;
    kv_err err;
    const char *why;
    h2o_buffer_t *in = c->sock->input;
    switch (kv_head_check(in->bytes, in->size, c->seen, &head, &err, &why)) {
    case KV_HEAD_MORE:
        c->seen = in->size;
        return true;
    case KV_HEAD_WHOLE:
        begin_request(c, &head);
        break;
    case KV_HEAD_REFUSED:
        refuse(c, err, why, &head);
        break;
    }
    return false;
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    kv_conn *c = sock->on_close.data;
    if (err != NULL) {
        close_now(c);
        return;
    }
    bool first = sock->input->size == 0;
    h2o_iovec_t room = h2o_buffer_reserve(&sock->input, 4096);
    ssize_t n = read(h2o_socket_get_fd(sock), room.base, room.len < READ_MAX ? room.len : READ_MAX);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        close_now(c);
        return;
    }
    sock->input->size += (size_t)n;
    if (first) {
        c->began_us = kv_mono_us(c->loop->gw->clock);
        kv_timer_set(c->loop, KV_WAIT_HEAD, &c->timer);
    }
    look_at_head(c);
}

static void small_over(kv_conn *c, kv_err err);

static void on_timer(kv_timer *t)
{
    kv_conn *c = H2O_STRUCT_FROM_MEMBER(kv_conn, timer, t);
    if (c->state == KV_CONN_BODY) {
        small_over(c, KV_E_TIMEOUT_CLIENT);
    } else if (c->sock->input->size > 0) {
        refuse(c, KV_E_TIMEOUT_CLIENT, "The head did not come in time.", NULL);
    } else {
        close_now(c);
    }
}

/* What came behind the last request, taken up inside a turn of the loop. */
static void on_feed(kv_timer *t)
{
    kv_conn *c = H2O_STRUCT_FROM_MEMBER(kv_conn, feed, t);
    c->began_us = kv_mono_us(c->loop->gw->clock);
    kv_timer_set(c->loop, KV_WAIT_HEAD, &c->timer);
    while (c->rest_len > 0) { /* piecewise: what is behind this head is put back */
        h2o_iovec_t room = h2o_buffer_reserve(&c->sock->input, FEED_MAX);
        c->sock->input->size += kv_tap_take_rest(c, room.base, FEED_MAX);
        if (!look_at_head(c))
            return;
    }
    h2o_socket_read_start(c->sock, on_readable);
}

/* ---- small bodies ---- */

static void small_over(kv_conn *c, kv_err err)
{
    h2o_req_t *req = c->req;
    h2o_socket_read_stop(c->sock);
    kv_timer_clear(&c->timer);
    c->state = KV_CONN_BUSY;
    c->req = NULL;
    if (err == KV_OK)
        req->entity = h2o_iovec_init(c->small, c->small_len);
    c->small_done(c, req, err);
}

/* `n` bytes stand behind what is collected. */
static kv_err small_take(kv_conn *c, size_t n)
{
    char *at = c->small + c->small_len;
    kv_body_frame *f = &c->frame;
    if (!f->chunked) {
        c->small_len += n;
        f->left -= n;
        f->over = f->left == 0;
        return KV_OK;
    }
    size_t data, used;
    const char *why;
    KV_TRY(kv_chunked_decode(&f->decoder, at, n, &data, &used, &f->over, &why));
    if (used < n && !kv_tap_put_rest(c, at + used, n - used))
        return KV_E_NO_MEMORY;
    c->small_len += data;
    return c->small_len > KV_SMALL_BODY_MAX ? KV_E_BODY_TOO_LARGE : KV_OK;
}

static void small_read(h2o_socket_t *sock, const char *err)
{
    kv_conn *c = sock->on_close.data;
    while (!c->frame.over) {
        size_t room = c->small_cap - c->small_len;
        if (!c->frame.chunked && room > c->frame.left)
            room = (size_t)c->frame.left;
        ssize_t n = (ssize_t)kv_tap_take_rest(c, c->small + c->small_len, room);
        if (n == 0)
            n = err != NULL ? 0 : read(h2o_socket_get_fd(sock), c->small + c->small_len, room);
        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            if (!h2o_socket_is_reading(sock))
                h2o_socket_read_start(sock, small_read);
            return;
        }
        kv_err e = n <= 0 ? KV_E_LENGTH_MISMATCH : small_take(c, (size_t)n);
        if (e != KV_OK) {
            small_over(c, e);
            return;
        }
    }
    small_over(c, KV_OK);
}

void kv_tap_small_body(kv_conn *c, h2o_req_t *req,
                       void (*done)(kv_conn *c, h2o_req_t *req, kv_err err))
{
    c->req = req;
    c->small_done = done;
    c->small_len = 0;
    c->state = KV_CONN_BODY;
    if (c->frame.left > KV_SMALL_BODY_MAX) {
        small_over(c, KV_E_BODY_TOO_LARGE);
        return;
    }
    /* room for one read behind the largest body: the chunked coding is decoded in place */
    size_t cap = c->frame.chunked ? KV_SMALL_BODY_MAX + 4096 : (size_t)c->frame.left;
    if (c->small_cap < cap) {
        free(c->small);
        c->small = malloc(cap);
        c->small_cap = c->small != NULL ? cap : 0;
    }
    if (c->small == NULL) {
        small_over(c, KV_E_NO_MEMORY);
        return;
    }
    kv_timer_set(c->loop, KV_WAIT_HEAD, &c->timer);
    kv_tap_continue(c);
    small_read(c->sock, NULL);
}

void kv_tap_continue(kv_conn *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    if (c->frame.expect && !c->frame.over && c->rest_len == 0) {
        /* nothing of ours is being written between two requests, so these bytes cannot get in
         * between */
        ssize_t n =
            send(h2o_socket_get_fd(c->sock), text, sizeof(text) - 1, MSG_DONTWAIT | MSG_NOSIGNAL);
        (void)n; /* a client that does not get it sends anyway, later */
    }
    c->frame.expect = false;
}

/* ---- between h2o and the tap ---- */

void kv_tap_before_answer(h2o_req_t *req)
{
    kv_conn *c = kv_conn_of(req);
    if (c->loop->gw->draining)
        req->http1_is_persistent = 0;
    if (c->state == KV_CONN_RELEASED || c->frame.over)
        return;
    req->http1_is_persistent = 0;
    if (c->linger_fd < 0)
        c->linger_fd = dup(h2o_socket_get_fd(c->sock));
}

void kv_tap_release(h2o_req_t *req)
{
    kv_conn *c = kv_conn_of(req);
    c->state = KV_CONN_RELEASED;
    h2o_socket_dont_read(c->sock, 0);
}

bool kv_tap_released(h2o_socket_t *sock, size_t head_len)
{
    kv_conn *c = sock->on_close.data;
    assert(c->state == KV_CONN_RELEASED);
    h2o_buffer_consume(&sock->input, head_len);
    if (c->rest_len == 0)
        return true;
    h2o_iovec_t room = h2o_buffer_reserve(&sock->input, c->rest_len);
    if (room.len < c->rest_len)
        return false;
    sock->input->size += kv_tap_take_rest(c, room.base, c->rest_len);
    return true;
}

static void take_back(kv_conn *c)
{
    free(c->small);
    c->small = NULL;
    c->small_cap = 0;
    if (c->state == KV_CONN_RELEASED || c->sock->_cb.read != c->h2o_read) {
        c->state = KV_CONN_RELEASED; /* upgraded */
        return;
    }
    c->state = KV_CONN_HEAD;
    if (c->rest_len > 0) {
        h2o_socket_read_stop(c->sock);
        kv_timer_set(c->loop, KV_WAIT_TURN, &c->feed);
        return;
    }
    c->sock->_cb.read = on_readable;
    kv_timer_set(c->loop, KV_WAIT_IDLE, &c->timer);
}

void kv_tap_turn(kv_loop_own *l)
{
    while (!h2o_linklist_is_empty(&l->ready)) {
        kv_conn *c = H2O_STRUCT_FROM_MEMBER(kv_conn, ready, l->ready.next);
        kv_unlink(&c->ready);
        take_back(c);
    }
}

void kv_tap_new(kv_loop_own *l, h2o_socket_t *sock)
{
    kv_conn *c = calloc(1, sizeof(*c));
    if (c == NULL) {
        h2o_socket_close(sock);
        return;
    }
    c->loop = &l->loop;
    c->sock = sock;
    c->linger_fd = -1;
    c->timer.fn = on_timer;
    c->feed.fn = on_feed;
    socklen_t len = sizeof(c->peer);
    if (getpeername(h2o_socket_get_fd(sock), (struct sockaddr *)&c->peer, &len) != 0)
        c->peer.ss_family = AF_UNSPEC;
    h2o_linklist_insert(&l->conns, &c->all);
    sock->on_close.cb = on_close;
    sock->on_close.data = c;
    l->nconns++;
    kv_metric_add(KV_M_CONNECTIONS, 1);

    struct timeval now;
    gettimeofday(&now, NULL);
    h2o_accept_ctx_t accept = {.ctx = &l->loop.ctx, .hosts = l->loop.ctx.globalconf->hosts};
    h2o_http1_accept(&accept, sock, now);
    c->h2o_read = sock->_cb.read;
    sock->_cb.read = on_readable;
    h2o_socket_dont_read(sock, 1);
    kv_timer_set(c->loop, KV_WAIT_HEAD, &c->timer);
}

/* A request has come that was not read yet: a close would reset it. */
static bool asked(const kv_conn *c)
{
    char byte;
    return recv(h2o_socket_get_fd(c->sock), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

void kv_tap_drain(kv_loop_own *l)
{
    h2o_linklist_t *n = l->conns.next;
    while (n != &l->conns) {
        kv_conn *c = H2O_STRUCT_FROM_MEMBER(kv_conn, all, n);
        n = n->next;
        if (c->state == KV_CONN_HEAD && c->sock->input->size == 0 && c->rest_len == 0 &&
            c->sock->_cb.read == on_readable && !asked(c))
            close_now(c);
    }
}

void kv_tap_close_all(kv_loop_own *l)
{
    h2o_linklist_t *n = l->conns.next;
    while (n != &l->conns) {
        kv_conn *c = H2O_STRUCT_FROM_MEMBER(kv_conn, all, n);
        n = n->next;
        /* the peer sees the end; h2o's side goes with the process */
        shutdown(h2o_socket_get_fd(c->sock), SHUT_RDWR);
    }
}
