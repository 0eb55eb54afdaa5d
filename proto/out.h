/* What a kv_out is made of: the real one stands in the actor shell, the fake one in out_fake.c. For
 * proto/ only. */
#ifndef KV_OUT_H
#define KV_OUT_H

#include "proto/actor.h"

typedef struct kv_out_ops {
    void (*send)(kv_out *out, int peer, const kv_header *head, const kv_msg *m, zmq_msg_t *payload);
    kv_err (*ask)(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                  kv_out_answer_fn fn, void *arg);
    void (*watch_fd)(kv_out *out, int fd, kv_out_fd_fn fn);
    void (*unwatch_fd)(kv_out *out, int fd);
    void (*set_credit)(kv_out *out, uint64_t credit);
    void (*lease_done)(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt);
} kv_out_ops;

struct kv_out {
    const kv_out_ops *ops;
    const kv_clock *clock;
};

#endif
