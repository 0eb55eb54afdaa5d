/* The broker's socket to its peers: ROUTER, never blocking, with a bounded queue of our own behind
 * each peer's pipe. One thread. */
#ifndef KV_BROKER_ROUTER_H
#define KV_BROKER_ROUTER_H

#include "proto/codec.h"

typedef struct kv_router kv_router;

typedef struct kv_router_opts {
    void *zmq;
    const char *endpoint;
    void *arg;
    /* A valid message; slices live during the call. */
    void (*message)(void *arg, kv_slice peer, const kv_header *head, const kv_msg *m);
    /* A peer does not read: its queue overflowed and was dropped. Called from flush only. A peer
     * that is not connected any more is no such case: silence ends its session, or it comes back
     * and says what it holds. */
    void (*overflow)(void *arg, kv_slice peer);
} kv_router_opts;

kv_err kv_router_open(const kv_router_opts *opts, kv_router **ret);
void kv_router_close(kv_router **router);
void *kv_router_socket(kv_router *router); /* to poll for input */

/* Receives at most `max` messages; how many there were, bad ones included. Less than max: the input
 * is drained. */
int kv_router_receive(kv_router *router, int max);
void kv_router_send(kv_router *router, kv_slice peer, uint64_t request, const kv_msg *m);
/* Sends what waited, and reports overflows. True: something still waits for room. */
bool kv_router_flush(kv_router *router);

#endif
