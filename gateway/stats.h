/* Asking the broker for its metrics or health within a second: probes and scrapes must not hang on
 * it. */
#ifndef KV_GATEWAY_STATS_H
#define KV_GATEWAY_STATS_H

#include "gateway/gateway.h"

enum { KV_STATS_METRICS = 0, KV_STATS_HEALTH = 1 };

/* `text` is valid during the call; ptr NULL: the broker did not answer. Not called when the client
 * has gone. */
typedef void (*kv_stats_fn)(h2o_req_t *req, kv_loop *loop, kv_slice text);
void kv_stats_ask(kv_request *r, int what, kv_stats_fn fn);

#endif
