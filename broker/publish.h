/* The broker's event stream: a PUB socket. Subscribers that are too slow lose messages and see it
 * by `prev`. One thread. */
#ifndef KV_BROKER_PUBLISH_H
#define KV_BROKER_PUBLISH_H

#include "broker/exec.h"

typedef struct kv_publish kv_publish;
kv_err kv_publish_open(void *zmq, const char *endpoint, kv_publish **ret);
void kv_publish_close(kv_publish **self);
void kv_publish_rows(kv_publish *self, const kv_event_row *rows,
                     uint64_t gone_seq); /* EVENTS, one a row */
void kv_publish_head(kv_publish *self, uint64_t last_event, uint64_t epoch, uint64_t gone_seq);

#endif
