#include "proto/frames.h"

#include <errno.h>

bool kv_frames_encode(kv_header head, const kv_msg *m, uint8_t ret_head[KV_HEADER_SIZE],
                      kv_buf *ret_body)
{
    head.code = m->code;
    kv_header_encode(&head, ret_head);
    kv_buf_clear(ret_body);
    kv_body_encode(m, ret_body);
    return kv_buf_ok(ret_body);
}

bool kv_frame_send(void *socket, const void *bytes, size_t len, bool more)
{
    int rc;
    do
        rc = zmq_send(socket, bytes, len, (more ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

bool kv_frame_send_msg(void *socket, zmq_msg_t *m, bool more)
{
    int rc;
    do
        rc = zmq_msg_send(m, socket, (more ? ZMQ_SNDMORE : 0) | ZMQ_DONTWAIT);
    while (rc < 0 && errno == EINTR);
    return rc >= 0;
}

int kv_frames_receive(void *socket, zmq_msg_t *const *frames, int max)
{
    for (int count = 0;; count++) {
        zmq_msg_t *to = frames[count < max ? count : max - 1];
        int rc;
        do
            rc = zmq_msg_recv(to, socket, ZMQ_DONTWAIT);
        while (rc < 0 && errno == EINTR);
        if (rc < 0)
            return count;
        if (!zmq_msg_more(to))
            return count + 1;
    }
}
