/* Messages over the inproc sockets of one process. */
#include <assert.h>
#include <errno.h>

#include "proto/actor.h"
#include "proto/base/log.h"
#include "proto/frames.h"

/* A peer is in this process and its queue has no bound: only running out of memory can fail, and
 * then nothing here works. */
static void must(bool sent)
{
    if (!sent)
        kv_log(KV_LOG_ERROR, "post_failed", KV_STR("error", zmq_strerror(errno)));
    assert(sent);
}

void kv_actor_post(void *push_socket, const kv_header *head, const kv_msg *m, zmq_msg_t *payload)
{
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;

    kv_buf_init(&body, KV_BODY_MAX);
    must(kv_frames_encode(head ? *head : (kv_header){0}, m, bytes, &body));
    must(kv_frame_send(push_socket, bytes, sizeof bytes, true));
    must(kv_frame_send(push_socket, body.data, body.len, payload != NULL));
    kv_buf_release(&body);
    if (payload)
        must(kv_frame_send_msg(push_socket, payload, false));
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
        int count = kv_frames_receive(pull_socket, frames, 3);
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
