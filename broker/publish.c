#include "broker/publish.h"

#include <errno.h>
#include <stdlib.h>
#include <zmq.h>

#include "proto/base/log.h"
#include "proto/endpoints.h"
#include "proto/frames.h"

enum { PIPE_MESSAGES = 1000, LINGER_MS = 200 };
#define LARGEST 4096 /* bytes of what a subscriber sends: the prefix it subscribes to */

struct kv_publish {
    void *socket;
    kv_buf scratch;
};

kv_err kv_publish_open(void *zmq, const char *endpoint, kv_publish **ret)
{
    int hwm = PIPE_MESSAGES, linger = LINGER_MS;
    int64_t largest = LARGEST;
    kv_publish *p = calloc(1, sizeof *p);
    *ret = NULL;
    if (!p)
        return KV_E_NO_MEMORY;
    kv_buf_init(&p->scratch, KV_BODY_MAX);
    p->socket = zmq_socket(zmq, ZMQ_PUB);
    if (!p->socket || zmq_setsockopt(p->socket, ZMQ_SNDHWM, &hwm, sizeof hwm) != 0 ||
        zmq_setsockopt(p->socket, ZMQ_LINGER, &linger, sizeof linger) != 0 ||
        zmq_setsockopt(p->socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) != 0 ||
        !kv_endpoint_bind(p->socket, endpoint)) {
        kv_log(KV_LOG_ERROR, "bind_failed", KV_STR("endpoint", endpoint),
               KV_STR("error", zmq_strerror(errno)));
        kv_publish_close(&p);
        return KV_E_IO;
    }
    *ret = p;
    return KV_OK;
}

void kv_publish_close(kv_publish **self)
{
    kv_publish *p = *self;
    if (!p)
        return;
    kv_buf_release(&p->scratch);
    if (p->socket)
        zmq_close(p->socket);
    free(p);
    *self = NULL;
}

/* A PUB socket never blocks and never says that it dropped something: readers see it. */
static void publish(kv_publish *p, const kv_msg *m)
{
    uint8_t bytes[KV_HEADER_SIZE];
    if (kv_frames_encode((kv_header){0}, m, bytes, &p->scratch) &&
        kv_frame_send(p->socket, bytes, sizeof bytes, true))
        (void)kv_frame_send(p->socket, p->scratch.data, p->scratch.len, false);
}

void kv_publish_rows(kv_publish *self, const kv_event_row *rows, uint64_t gone_seq)
{
    for (const kv_event_row *r = rows; r; r = r->next) {
        kv_msg m;
        kv_msg_defaults(KV_EVENTS, &m);
        m.events.prev = r->prev;
        m.events.first = r->first;
        m.events.last = r->last;
        m.events.events = kv_buf_slice(&r->body);
        m.events.gone_seq = gone_seq;
        publish(self, &m);
    }
}

void kv_publish_head(kv_publish *self, uint64_t last_event, uint64_t epoch, uint64_t gone_seq)
{
    kv_msg m;
    kv_msg_defaults(KV_EVENT_HEAD, &m);
    m.event_head.last = last_event;
    m.event_head.epoch = epoch;
    m.event_head.gone_seq = gone_seq;
    publish(self, &m);
}
