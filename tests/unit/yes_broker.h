/* A broker that answers every request with yes, in a thread of its own. For tests of what stands
 * before the broker. */
#ifndef KV_TESTS_YES_BROKER_H
#define KV_TESTS_YES_BROKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "proto/actor.h"

typedef struct yes_broker {
    void *router;
    pthread_t thread;
    atomic_bool stop;
    atomic_long commits;
} yes_broker;

static inline void yes_reply(void *router, zmq_msg_t *peer, const kv_header *asked, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = asked->request};
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;
    kv_header_encode(&head, bytes);
    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    zmq_msg_send(peer, router, ZMQ_SNDMORE);
    zmq_send(router, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(router, body.data, body.len, 0);
    kv_buf_release(&body);
}

static inline void yes_serve(yes_broker *b)
{
    zmq_msg_t peer, head_frame, body;
    kv_header head;
    kv_msg m, answer = {0};
    zmq_msg_init(&peer);
    zmq_msg_init(&head_frame);
    zmq_msg_init(&body);
    zmq_msg_recv(&peer, b->router, 0);
    zmq_msg_recv(&head_frame, b->router, 0);
    zmq_msg_recv(&body, b->router, 0);
    if (kv_header_decode(zmq_msg_data(&head_frame), zmq_msg_size(&head_frame), &head) ||
        kv_body_decode(head.code, zmq_msg_data(&body), zmq_msg_size(&body), &m, NULL))
        abort();
    kv_msg_defaults(kv_code_answer(head.code), &answer);
    answer.code = kv_code_answer(head.code);
    if (head.code == KV_MEDIA_COMMIT) {
        answer.media_committed.media = m.media_commit.media;
        answer.media_committed.json = kv_slice_str("{}");
        b->commits++;
    } else if (head.code == KV_BEAT) {
        answer.beat_ok.known = true;
        answer.beat_ok.epoch = 1;
    } else if (head.code == KV_HELLO) {
        answer.hello_ok.epoch = 1;
    }
    yes_reply(b->router, &peer, &head, &answer);
    zmq_msg_close(&head_frame);
    zmq_msg_close(&body);
}

static inline void *yes_main(void *arg)
{
    yes_broker *b = arg;
    while (!b->stop) {
        zmq_pollitem_t item = {b->router, 0, ZMQ_POLLIN, 0};
        if (zmq_poll(&item, 1, 20) > 0)
            yes_serve(b);
    }
    zmq_close(b->router);
    return NULL;
}

static inline void yes_start(yes_broker *b, void *zmq, const char *endpoint)
{
    b->router = zmq_socket(zmq, ZMQ_ROUTER);
    if (zmq_bind(b->router, endpoint) != 0 || pthread_create(&b->thread, NULL, yes_main, b) != 0)
        abort();
}

static inline void yes_stop(yes_broker *b)
{
    b->stop = true;
    pthread_join(b->thread, NULL);
}

#endif
