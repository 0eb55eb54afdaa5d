/* Messages over the inproc sockets of one process. */
#include <assert.h>
#include <errno.h>

#include "proto/actor.h"
#include "proto/base/log.h"

/* A peer is in this process and its queue has no bound: only running out of memory can fail, and
 * then nothing here works. */
static void send_bytes(void *socket, const void *bytes, size_t len, int flags)
{
    int rc;

    do
        rc = zmq_send(socket, bytes, len, flags | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        kv_log(KV_LOG_ERROR, "post_failed", KV_STR("error", zmq_strerror(errno)));
    assert(rc >= 0);
}

void kv_actor_post(void *push_socket, const kv_header *head, const kv_msg *m, zmq_msg_t *payload)
{
    kv_header out = head ? *head : (kv_header){0};
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;

    out.code = m->code;
    kv_header_encode(&out, bytes);
    kv_buf_init(&body, KV_BODY_MAX);
    kv_body_encode(m, &body);
    assert(kv_buf_ok(&body));
    send_bytes(push_socket, bytes, sizeof bytes, ZMQ_SNDMORE);
    send_bytes(push_socket, body.data, body.len, payload ? ZMQ_SNDMORE : 0);
    kv_buf_release(&body);
    if (!payload)
        return;
    int rc;
    do
        rc = zmq_msg_send(payload, push_socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    assert(rc >= 0);
}

static bool receive_frame(void *socket, zmq_msg_t *to)
{
    int rc;

    do
        rc = zmq_msg_recv(to, socket, ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

/* Reads one whole message into frames[0..2]; the number of its frames (of more than three the last
 * ones are kept), 0: none now. */
static int receive_message(void *socket, zmq_msg_t *const frames[3])
{
    for (int count = 0;; count++) {
        zmq_msg_t *to = frames[count < 3 ? count : 2];
        if (!receive_frame(socket, to))
            return count;
        if (!zmq_msg_more(to))
            return count + 1;
    }
}

static bool decode(zmq_msg_t *const frames[3], int count, kv_header *head, kv_msg *m,
                   const char **why)
{
    *why = "not two or three frames";
    if (count < 2 || count > 3)
        return false;
    *why = "the header is malformed";
    if (kv_header_decode(zmq_msg_data(frames[0]), zmq_msg_size(frames[0]), head))
        return false;
    return kv_body_decode(head->code, zmq_msg_data(frames[1]), zmq_msg_size(frames[1]), m, why) ==
           KV_OK;
}

int kv_actor_take(void *pull_socket, kv_header *head, kv_msg *m, zmq_msg_t *storage,
                  zmq_msg_t *payload)
{
    zmq_msg_t first;
    zmq_msg_t *const frames[3] = {&first, storage, payload};
    const char *why;

    for (;;) {
        for (int i = 0; i < 3; i++)
            zmq_msg_init(frames[i]);
        int count = receive_message(pull_socket, frames);
        bool good = count && decode(frames, count, head, m, &why);
        zmq_msg_close(&first);
        if (good)
            return 1;
        zmq_msg_close(storage);
        zmq_msg_close(payload);
        if (count == 0)
            return 0;
        kv_log(KV_LOG_WARN, "bad_message", KV_STR("from", "inproc"), KV_STR("why", why));
    }
}
