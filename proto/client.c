#include "proto/client.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <zmq.h>

#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/place.h"
#include "proto/endpoints.h"
#include "proto/frames.h"
#include "proto/waiting.h"

#define RESEND_MS_DEFAULT 1000
#define WAITING_DEFAULT   65536
#define BEAT_MS_DEFAULT   1000
#define SILENT_DEFAULT    3
#define HELLO_MS          1000 /* between HELLOs that get no answer */
#define RECONNECT_MS      50
#define LINGER_MS         100  /* for BYE */
#define BATCH_MAX         4096 /* messages a poll takes before it lets others run */
#define CONNECT_MS        100  /* how often a HELLO that found no connection is tried */

typedef enum state { AWAY, GREETING, STANDING } state; /* no HELLO out; HELLO out; session stands */

struct kv_client {
    kv_client_opts opts;
    char *endpoint, *role, *name;
    void *socket;
    int fd;
    state state;
    uint64_t instance, epoch, busy;
    uint64_t next_id, hello_id;
    bool in_on_session; /* what it asks goes out before what waited */
    bool touched;       /* used since the socket was last asked what there is to read */
    int64_t beat_us, silent_us;
    int64_t heard_us, next_beat_us, next_hello_us;
    kv_waiting waiting;
    kv_buf scratch;
};

static int64_t now_us(const kv_client *c)
{
    return kv_mono_us(c->opts.clock);
}

/* ---- sending ---- */

/* Two frames; false: no connection, or the pipe is full. */
static bool send_frames(kv_client *c, const uint8_t *head, const void *body, size_t body_len)
{
    c->touched = true;
    return kv_frame_send(c->socket, head, KV_HEADER_SIZE, true) &&
           kv_frame_send(c->socket, body, body_len, false);
}

/* For messages that are not kept: HELLO, BEAT, BYE. */
static bool send_now(kv_client *c, uint64_t id, const kv_msg *m)
{
    uint8_t bytes[KV_HEADER_SIZE];

    return kv_frames_encode((kv_header){.request = id}, m, bytes, &c->scratch) &&
           send_frames(c, bytes, c->scratch.data, c->scratch.len);
}

static bool send_request(kv_client *c, kv_request_out *r, int64_t now)
{
    if (!send_frames(c, r->bytes, r->bytes + KV_HEADER_SIZE, r->body_len))
        return false;
    kv_waiting_mark_sent(&c->waiting, r, now);
    return true;
}

static void send_due(kv_client *c, int64_t now)
{
    int64_t resend_us = c->opts.resend_ms * 1000;

    if (c->state != STANDING)
        return;
    while (c->waiting.unsent.first) {
        if (!send_request(c, c->waiting.unsent.first, now))
            return;
    }
    while (c->waiting.sent.first && now - c->waiting.sent.first->sent_us >= resend_us) {
        if (!send_request(c, c->waiting.sent.first, now))
            return;
    }
}

/* ---- the session ---- */

static void greet(kv_client *c, int64_t now)
{
    kv_msg m;

    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str(c->role);
    m.hello.name = kv_slice_str(c->name);
    m.hello.instance = c->instance;
    m.hello.version = kv_slice_str(KERVAN_VERSION);
    m.hello.epoch = c->epoch;
    m.hello.place = c->opts.data ? kv_place_of(c->opts.data) : 0;
    if (c->state != GREETING)
        c->hello_id = c->next_id++;
    c->state = AWAY;
    if (send_now(c, c->hello_id, &m))
        c->state = GREETING;
    c->next_hello_us = now + (c->state == GREETING ? HELLO_MS : CONNECT_MS) * 1000;
}

static void session_lost(kv_client *c, int64_t now)
{
    c->state = AWAY;
    c->next_hello_us = now;
    if (c->opts.on_lost)
        c->opts.on_lost(c->opts.arg);
}

static void beat(kv_client *c, int64_t now)
{
    kv_msg m;

    kv_msg_defaults(KV_BEAT, &m);
    m.beat.busy = c->busy;
    send_now(c, c->next_id++, &m); /* one that is lost is heard as silence */
    c->next_beat_us = now + c->beat_us;
}

static void keep_session(kv_client *c, int64_t now)
{
    if (c->state == STANDING && now - c->heard_us > c->silent_us)
        session_lost(c, now);
    if (c->state == STANDING && now >= c->next_beat_us)
        beat(c, now);
    if (c->state != STANDING && now >= c->next_hello_us)
        greet(c, now);
}

/* A second HELLO_OK of the same HELLO (it was sent twice) begins the session once more: the broker
 * did the same. */
static void on_hello_ok(kv_client *c, const kv_hello_ok *ok, int64_t now)
{
    bool new_epoch = ok->epoch != c->epoch;

    c->epoch = ok->epoch;
    c->beat_us = (int64_t)(ok->beat_ms ? ok->beat_ms : BEAT_MS_DEFAULT) * 1000;
    c->silent_us = c->beat_us * (int64_t)(ok->silent_beats ? ok->silent_beats : SILENT_DEFAULT);
    c->next_beat_us = now + c->beat_us;
    c->state = STANDING;
    kv_waiting_mark_all_unsent(&c->waiting);
    c->in_on_session = true;
    if (c->opts.on_session)
        c->opts.on_session(c->opts.arg, ok, new_epoch);
    c->in_on_session = false;
}

static void on_beat_ok(kv_client *c, const kv_beat_ok *ok, int64_t now)
{
    if (c->state == STANDING && (!ok->known || ok->epoch != c->epoch)) {
        c->state = AWAY; /* not lost: the broker talks, it only does not know us */
        greet(c, now);
    }
}

/* ---- receiving ---- */

static void answered(kv_client *c, kv_request_out *r, kv_err err, const kv_msg *answer)
{
    kv_waiting_remove(&c->waiting, r);
    r->fn(r->arg, err, answer);
    free(r);
}

static void on_answer(kv_client *c, kv_request_out *r, const kv_msg *m)
{
    if (m->code == KV_ERROR) {
        kv_err err = (kv_err)m->error.number;
        /* a number of a newer broker is an error all the same */
        answered(c, r, kv_err_info_of(err)->code == err && err ? err : KV_E_INTERNAL, m);
    } else if (m->code == kv_code_answer(r->code)) {
        answered(c, r, KV_OK, m);
    } else {
        kv_log(KV_LOG_WARN, "unexpected_answer", KV_STR("asked", kv_code_name(r->code)),
               KV_STR("got", kv_code_name(m->code)));
        answered(c, r, KV_E_BAD_MESSAGE, NULL);
    }
}

static void dispatch(kv_client *c, const kv_header *head, const kv_msg *m, int64_t now)
{
    kv_request_out *r = head->request ? kv_waiting_find(&c->waiting, head->request) : NULL;

    if (m->code == KV_HELLO_OK) {
        if (head->request == c->hello_id)
            on_hello_ok(c, &m->hello_ok, now);
    } else if (m->code == KV_BEAT_OK) {
        on_beat_ok(c, &m->beat_ok, now);
    } else if (m->code == KV_JOB || m->code == KV_JOB_CANCEL ||
               (m->code == KV_POSITIONS && !head->request)) {
        if (c->opts.on_message)
            c->opts.on_message(c->opts.arg, head, m);
    } else if (r) {
        on_answer(c, r, m);
    } else if (m->code == KV_ERROR && head->request == c->hello_id) {
        kv_log(KV_LOG_ERROR, "hello_refused",
               KV_STR("code", kv_err_info_of((kv_err)m->error.number)->slug),
               KV_SLICE("detail", m->error.detail));
    } /* else a second answer to a request that was sent twice */
}

static void on_frames(kv_client *c, zmq_msg_t *head_frame, zmq_msg_t *body_frame)
{
    kv_header head;
    kv_msg m;
    const char *why = "the header is malformed";
    int64_t now = now_us(c);
    kv_err err = kv_header_decode(zmq_msg_data(head_frame), zmq_msg_size(head_frame), &head);

    if (!err) {
        c->heard_us = now;
        err = kv_code_ingest(head.code) ? KV_E_UNKNOWN_CODE
                                        : kv_body_decode(head.code, zmq_msg_data(body_frame),
                                                         zmq_msg_size(body_frame), &m, &why);
        if (!err) {
            dispatch(c, &head, &m, now);
            return;
        }
        kv_request_out *r = head.request ? kv_waiting_find(&c->waiting, head.request) : NULL;
        if (r)
            answered(c, r, KV_E_BAD_MESSAGE, NULL);
    }
    kv_log(KV_LOG_WARN, "bad_message", KV_STR("from", "broker"), KV_STR("why", why),
           KV_STR("code", kv_err_info_of(err)->slug));
}

/* One message of exactly two frames; others are read to their end and dropped. 0: none now. */
static int receive(kv_client *c)
{
    zmq_msg_t frames[2];

    zmq_msg_init(&frames[0]);
    zmq_msg_init(&frames[1]);
    int count = kv_frames_receive(c->socket, (zmq_msg_t *[]){&frames[0], &frames[1]}, 2);
    if (count == 2)
        on_frames(c, &frames[0], &frames[1]);
    else if (count)
        kv_log(KV_LOG_WARN, "bad_message", KV_STR("from", "broker"),
               KV_STR("why", "not two frames"), KV_I64("frames", count));
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
    return count > 0;
}

static void expire(kv_client *c, int64_t now)
{
    for (kv_request_out *r; (r = kv_waiting_soonest(&c->waiting)) && r->until_us <= now;)
        answered(c, r, KV_E_BROKER_AWAY, NULL);
}

static bool readable(const kv_client *c)
{
    int events = 0;
    size_t size = sizeof events;

    return zmq_getsockopt(c->socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static int64_t next_due(const kv_client *c)
{
    const kv_request_out *soonest = kv_waiting_soonest(&c->waiting);
    const kv_request_out *oldest = c->waiting.sent.first;
    int64_t due;

    if (c->state == STANDING) {
        due = least(c->next_beat_us, c->heard_us + c->silent_us + 1);
        if (oldest)
            due = least(due, oldest->sent_us + c->opts.resend_ms * 1000);
    } else {
        due = c->next_hello_us;
    }
    return soonest ? least(due, soonest->until_us) : due;
}

/* ---- what others call ---- */

bool kv_answer_again(kv_err err, const kv_msg *answer)
{
    return err == KV_E_BROKER_AWAY || err == KV_E_BUSY ||
           (answer && answer->code == KV_ERROR && answer->error.retry_after_ms > 0);
}

int64_t kv_client_poll(kv_client *self)
{
    int taken = 0;

    /* Input first, so that an answer that is here already beats its deadline. Sending may eat the
     * edge of the descriptor: look again behind it. */
    for (bool more = readable(self);;) {
        while (more && taken < BATCH_MAX && receive(self))
            taken++;
        int64_t now = now_us(self);
        self->touched = false;
        keep_session(self, now);
        expire(self, now);
        send_due(self, now);
        more = self->touched && readable(self);
        self->touched = false;
        if (!more || taken >= BATCH_MAX)
            break;
    }
    self->touched = taken >= BATCH_MAX;
    int64_t left_us = next_due(self) - now_us(self);
    if (taken >= BATCH_MAX || left_us <= 0)
        return 0;
    if (self->state == STANDING && self->waiting.unsent.first)
        left_us = least(left_us, CONNECT_MS * 1000);
    return (left_us + 999) / 1000;
}

kv_err kv_client_ask_traced(kv_client *self, const kv_header *head, const kv_msg *m,
                            int64_t timeout_ms, kv_answer_fn fn, void *arg)
{
    int64_t now = now_us(self);

    assert(kv_code_answer(m->code) && !kv_code_ingest(m->code));
    if (self->waiting.count >= self->opts.max_waiting)
        return KV_E_BUSY;
    kv_header out = {.request = self->next_id,
                     .deadline_ms = (uint64_t)(kv_wall_ms(self->opts.clock) + timeout_ms)};
    if (head) {
        memcpy(out.trace, head->trace, sizeof out.trace);
        memcpy(out.span, head->span, sizeof out.span);
    }
    uint8_t bytes[KV_HEADER_SIZE];
    if (!kv_frames_encode(out, m, bytes, &self->scratch))
        return KV_E_NO_MEMORY;
    kv_request_out *r = malloc(sizeof *r + KV_HEADER_SIZE + self->scratch.len);
    if (!r)
        return KV_E_NO_MEMORY;
    *r = (kv_request_out){.id = self->next_id++,
                          .code = m->code,
                          .fn = fn,
                          .arg = arg,
                          .until_us = now + timeout_ms * 1000,
                          .body_len = self->scratch.len};
    memcpy(r->bytes, bytes, KV_HEADER_SIZE);
    memcpy(r->bytes + KV_HEADER_SIZE, self->scratch.data, self->scratch.len);
    self->touched = true;
    kv_err err = kv_waiting_add(&self->waiting, r);
    if (err) {
        free(r);
        return err;
    }
    if (self->state == STANDING && (self->in_on_session || self->waiting.unsent.first == r))
        send_request(self, r, now); /* if not now, kv_client_poll tries again */
    return KV_OK;
}

kv_err kv_client_ask(kv_client *self, const kv_msg *m, int64_t timeout_ms, kv_answer_fn fn,
                     void *arg)
{
    return kv_client_ask_traced(self, NULL, m, timeout_ms, fn, arg);
}

void kv_client_forget(kv_client *self)
{
    kv_waiting_release(&self->waiting);
    self->waiting = (kv_waiting){0};
}

void kv_client_withdraw(kv_client *self, uint16_t code)
{
    kv_waiting_drop(&self->waiting, code);
}

void kv_client_set_busy(kv_client *self, uint64_t jobs)
{
    self->busy = jobs;
}

bool kv_client_settled(const kv_client *self)
{
    return !self->touched;
}

int kv_client_fd(const kv_client *self)
{
    return self->fd;
}

bool kv_client_up(const kv_client *self)
{
    return self->state == STANDING && now_us(self) - self->heard_us <= self->silent_us;
}

uint64_t kv_client_epoch(const kv_client *self)
{
    return self->epoch;
}

size_t kv_client_waiting(const kv_client *self)
{
    return self->waiting.count;
}

/* ---- birth and death ---- */

static bool set_int(void *socket, int option, int value)
{
    return zmq_setsockopt(socket, option, &value, sizeof value) == 0;
}

static kv_err open_socket(kv_client *c)
{
    int64_t largest = KV_BODY_MAX;
    size_t size = sizeof c->fd;

    c->socket = zmq_socket(c->opts.zmq, ZMQ_DEALER);
    if (!c->socket)
        return KV_E_IO;
    /* IMMEDIATE: nothing is queued for a broker that is not there; what waits, waits in `waiting`.
     * With that in-flight messages are bounded by max_waiting, so the pipes need no mark of their
     * own, at which ZeroMQ would drop. */
    if (!set_int(c->socket, ZMQ_LINGER, LINGER_MS) || !set_int(c->socket, ZMQ_IMMEDIATE, 1) ||
        !set_int(c->socket, ZMQ_SNDHWM, 0) || !set_int(c->socket, ZMQ_RCVHWM, 0) ||
        !set_int(c->socket, ZMQ_RECONNECT_IVL, RECONNECT_MS) ||
        !set_int(c->socket, ZMQ_RECONNECT_IVL_MAX, 0) ||
        zmq_setsockopt(c->socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) ||
        !kv_endpoint_connect(c->socket, c->endpoint) ||
        zmq_getsockopt(c->socket, ZMQ_FD, &c->fd, &size))
        return KV_E_IO;
    return KV_OK;
}

void kv_session_name(char out[KV_SESSION_NAME], const char *what)
{
    snprintf(out, KV_SESSION_NAME, "%.32s-%d-%03x", what, (int)getpid(), kv_id_random_node());
}

kv_err kv_client_new(const kv_client_opts *opts, kv_client **ret)
{
    kv_err err = KV_E_NO_MEMORY;
    kv_client *c = calloc(1, sizeof *c);

    *ret = NULL;
    if (!c)
        return err;
    c->opts = *opts;
    if (!c->opts.resend_ms)
        c->opts.resend_ms = RESEND_MS_DEFAULT;
    if (!c->opts.max_waiting)
        c->opts.max_waiting = WAITING_DEFAULT;
    c->fd = -1;
    c->next_id = 1;
    kv_buf_init(&c->scratch, 0);
    c->endpoint = strdup(opts->endpoint);
    c->role = strdup(opts->role);
    c->name = strdup(opts->name);
    if (!c->endpoint || !c->role || !c->name)
        goto fail;
    if (getrandom(&c->instance, sizeof c->instance, 0) != sizeof c->instance) {
        err = KV_E_IO;
        goto fail;
    }
    err = open_socket(c);
    if (err) {
        kv_log(KV_LOG_ERROR, "broker_connect_failed", KV_STR("endpoint", c->endpoint),
               KV_STR("error", zmq_strerror(errno)));
        goto fail;
    }
    c->next_hello_us = now_us(c);
    *ret = c;
    return KV_OK;
fail:
    kv_client_destroy(&c);
    return err;
}

void kv_client_destroy(kv_client **self)
{
    kv_client *c = *self;

    if (!c)
        return;
    if (c->state == STANDING) {
        kv_msg m;
        kv_msg_defaults(KV_BYE, &m);
        m.bye.reason = kv_slice_str("stopping");
        send_now(c, 0, &m);
    }
    if (c->socket)
        zmq_close(c->socket);
    kv_waiting_release(&c->waiting);
    kv_buf_release(&c->scratch);
    free(c->endpoint);
    free(c->role);
    free(c->name);
    free(c);
    *self = NULL;
}
