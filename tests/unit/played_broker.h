/* A broker that the test plays in a thread, and the C client for services that talks to it. */
#ifndef KV_TESTS_PLAYED_BROKER_H
#define KV_TESTS_PLAYED_BROKER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/jobs_client.h"
#include "tests/unit/scratch.h"

enum { WAIT_MS = 10000 };

typedef struct stage stage;
struct stage {
    scratch scratch;
    char broker[1100], events[1100];
    void *zmq, *router, *pub;
    pthread_t thread;
    atomic_bool stop, subscribed;
    void (*play)(stage *s, const kv_header *head, const kv_msg *m);
    zmq_msg_t peer;
    kv_job_client *jobs;
    /* what was seen, for the test to look at */
    atomic_int count[256];
    uint64_t requests[8], ids[8];
    atomic_uint last_event; /* as HELLO_OK says it */
    int script;
};

static inline void reply(stage *s, uint64_t request, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = request};
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;
    kv_header_encode(&head, bytes);
    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    zmq_send(s->router, zmq_msg_data(&s->peer), zmq_msg_size(&s->peer), ZMQ_SNDMORE);
    zmq_send(s->router, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(s->router, body.data, body.len, 0);
    kv_buf_release(&body);
}

static inline void publish(stage *s, const kv_msg *m)
{
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;
    kv_header_encode(&(kv_header){.code = m->code}, bytes);
    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    zmq_send(s->pub, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(s->pub, body.data, body.len, 0);
    kv_buf_release(&body);
}

static inline void refuse(stage *s, uint64_t request, kv_err err, uint64_t retry_after_ms)
{
    kv_msg m;
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str("because");
    m.error.retry_after_ms = retry_after_ms;
    reply(s, request, &m);
}

static inline void okay(stage *s, uint64_t request)
{
    kv_msg m;
    kv_msg_defaults(KV_OKAY, &m);
    reply(s, request, &m);
}

/* Session and READY are the same in all plays. */
static inline void take(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg a;
    s->count[m->code]++;
    if (m->code == KV_HELLO) {
        kv_msg_defaults(KV_HELLO_OK, &a);
        a.hello_ok.epoch = 1;
        a.hello_ok.last_event = s->last_event;
        reply(s, head->request, &a);
    } else if (m->code == KV_BEAT) {
        kv_msg_defaults(KV_BEAT_OK, &a);
        a.beat_ok = (kv_beat_ok){.epoch = 1, .known = true};
        reply(s, head->request, &a);
    } else if (m->code != KV_BYE) {
        s->play(s, head, m);
    }
}

static inline void receive(stage *s)
{
    zmq_msg_t head_frame, body;
    kv_header head;
    kv_msg m;
    zmq_msg_init(&head_frame);
    zmq_msg_init(&body);
    zmq_msg_recv(&s->peer, s->router, 0);
    zmq_msg_recv(&head_frame, s->router, 0);
    zmq_msg_recv(&body, s->router, 0);
    if (kv_header_decode(zmq_msg_data(&head_frame), zmq_msg_size(&head_frame), &head) ||
        kv_body_decode(head.code, zmq_msg_data(&body), zmq_msg_size(&body), &m, NULL))
        abort();
    take(s, &head, &m);
    zmq_msg_close(&head_frame);
    zmq_msg_close(&body);
}

static inline void *run(void *arg)
{
    stage *s = arg;
    zmq_msg_init(&s->peer);
    while (!s->stop) {
        zmq_pollitem_t items[2] = {{s->router, 0, ZMQ_POLLIN, 0}, {s->pub, 0, ZMQ_POLLIN, 0}};
        char byte;
        if (zmq_poll(items, 2, 20) <= 0)
            continue;
        if (items[1].revents && zmq_recv(s->pub, &byte, 1, 0) > 0)
            s->subscribed = true;
        if (items[0].revents)
            receive(s);
    }
    zmq_msg_close(&s->peer);
    zmq_close(s->router);
    zmq_close(s->pub);
    return NULL;
}

static inline stage *begin(void **state,
                           void (*play)(stage *s, const kv_header *head, const kv_msg *m))
{
    stage *s = *state;
    s->play = play;
    snprintf(s->broker, sizeof s->broker, "ipc://%s", scratch_path(&s->scratch, "broker.sock"));
    snprintf(s->events, sizeof s->events, "ipc://%s", scratch_path(&s->scratch, "events.sock"));
    s->zmq = zmq_ctx_new();
    s->router = zmq_socket(s->zmq, ZMQ_ROUTER);
    s->pub = zmq_socket(s->zmq, ZMQ_XPUB);
    assert_int_equal(zmq_bind(s->router, s->broker), 0);
    assert_int_equal(zmq_bind(s->pub, s->events), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, run, s), 0);
    kv_job_client_opts opts = {
        .broker = s->broker, .events = s->events, .name = "test", .timeout_ms = WAIT_MS};
    assert_int_equal(kv_job_client_open(&opts, &s->jobs), KV_OK);
    return s;
}

static inline int make(void **state)
{
    stage *s = calloc(1, sizeof *s);
    scratch_make(&s->scratch);
    *state = s;
    return 0;
}

static inline int drop(void **state)
{
    stage *s = *state;
    kv_job_client_close(&s->jobs);
    s->stop = true;
    pthread_join(s->thread, NULL);
    zmq_ctx_term(s->zmq);
    scratch_remove(&s->scratch);
    free(s);
    return 0;
}

static inline void await(const stage *s, uint16_t code, int count)
{
    int64_t until = kv_mono_ms(&kv_clock_real) + WAIT_MS;
    while (s->count[code] < count) {
        assert_true(kv_mono_ms(&kv_clock_real) < until);
        zmq_poll(NULL, 0, 2);
    }
}

#endif
