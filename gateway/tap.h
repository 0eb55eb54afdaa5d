/* One connection, and the tap between its socket and h2o.
 *
 * h2o reads whole bodies into memory before a handler runs, and is lenient about heads. So nothing
 * is ever read by h2o: the tap reads heads, checks them strictly, hides the body's length from h2o
 * and gives it the head alone; the body is then read by the upload, or collected here
 * (KV_SMALL_BODY_MAX). h2o's own read callback is kept and called when there is something for it.
 * After each answer h2o puts its callback back; the loop takes it out again before the next read
 * (kv_tap_turn). */
#ifndef KV_GATEWAY_TAP_H
#define KV_GATEWAY_TAP_H

#include <netinet/in.h>

#include "gateway/chunked.h"
#include "gateway/head.h"
#include "gateway/loop.h"

/* Of requests that are not uploads: the params of a job (KV_JSON_MAX), its metadata (16 KiB) and
 * what stands around them. A connection holds so much while it is read and answered. */
#define KV_SMALL_BODY_MAX 98304

typedef enum kv_conn_state {
    KV_CONN_HEAD,     /* idle, or a head is coming */
    KV_CONN_BUSY,     /* a request is being answered */
    KV_CONN_BODY,     /* a small body is being collected */
    KV_CONN_UPLOAD,   /* an upload reads */
    KV_CONN_REFUSING, /* an answer of our own is going out, then it closes */
    KV_CONN_RELEASED  /* reading is h2o's (WebSocket) */
} kv_conn_state;

/* How the body of the request under way is framed. */
typedef struct kv_body_frame {
    bool chunked, expect; /* expect: 100 Continue is still to be sent */
    bool over;            /* the body has been read to its end */
    uint64_t left;        /* with Content-Length: bytes to come */
    kv_chunked decoder;
} kv_body_frame;

typedef struct kv_conn {
    kv_loop *loop;
    h2o_socket_t *sock;
    h2o_socket_cb h2o_read;
    h2o_linklist_t all, ready;
    kv_timer timer; /* head, idle */
    kv_timer feed;  /* next turn: `rest` is to be looked at */
    kv_conn_state state;
    int linger_fd; /* stays open behind the close, so that the answer is not lost to a reset; -1:
                      none */
    size_t seen;   /* bytes of the head that were looked at */
    char *rest;    /* bytes behind the head, from rest_at on; NULL: none */
    size_t rest_at, rest_len;
    kv_body_frame frame;
    char *small; /* the collected body */
    size_t small_len, small_cap;
    h2o_req_t *req; /* while BODY */
    void (*small_done)(struct kv_conn *c, h2o_req_t *req, kv_err err);
    struct kv_upload *upload;   /* told when the connection goes */
    struct kv_sending *sending; /* while BUSY: the file that is going out (send_file.c) */
    struct sockaddr_storage peer;
    char client[46]; /* peer as text, for the log; "": not asked for yet */

    /* the request under way, for log and trace */
    int64_t began_us;
    uint8_t trace[16], span[8];
    bool quiet;
} kv_conn;

kv_conn *kv_conn_of(h2o_req_t *req);

/* A new connection on `sock`. Closes the socket when there is no memory. */
void kv_tap_new(kv_loop_own *loop, h2o_socket_t *sock);
/* After each turn of the loop: takes the reading back from h2o where an answer is through. */
void kv_tap_turn(kv_loop_own *loop);
/* Draining: connections on which nothing has come close at once, the others after their answer. */
void kv_tap_drain(kv_loop_own *loop);
void kv_tap_close_all(kv_loop_own *loop);

/* Collects a small body, then calls `done`, maybe at once: KV_OK (req->entity is set), TOO_LARGE,
 * BAD_CHUNKED, LENGTH_MISMATCH, TIMEOUT_CLIENT, NO_MEMORY. */
void kv_tap_small_body(kv_conn *c, h2o_req_t *req,
                       void (*done)(kv_conn *c, h2o_req_t *req, kv_err err));
/* Sends 100 Continue where the client waits for it. */
void kv_tap_continue(kv_conn *c);
/* Copies up to `len` bytes from `rest`. */
size_t kv_tap_take_rest(kv_conn *c, char *out, size_t len);
/* Puts bytes that belong to the next request in front of `rest`. false: no memory. */
bool kv_tap_put_rest(kv_conn *c, const char *bytes, size_t len);
/* Before any answer: if the body was not read to its end the connection will close, slowly
 * (linger). */
void kv_tap_before_answer(h2o_req_t *req);

/* linger.c: reads and drops what still comes on `fd`, as long as it is no slower and not much more
 * than an upload may be (10 s at most in a drain), until 2 s of silence; then closes it. */
void kv_linger(kv_loop_own *loop, int fd);

/* access_log.c: a trace id and span of our own; the trace id of a valid traceparent header is taken
 * over. */
void kv_trace_new(kv_conn *c);
void kv_trace_take(kv_conn *c, kv_slice traceparent);
/* `target` may hold a query, which is not logged. */
void kv_access_log(kv_loop *loop, kv_conn *c, kv_slice method, kv_slice target, int status,
                   uint64_t bytes);

#endif
