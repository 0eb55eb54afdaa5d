/* What the job routes share. */
#ifndef KV_GATEWAY_JOB_API_H
#define KV_GATEWAY_JOB_API_H

#include "gateway/gateway.h"

kv_slice kv_request_body(kv_request *r); /* of small bodies */
/* Asks the broker where these jobs stand (at most KV_POSITIONS_MAX), for a second. `fn` may be
 * called at once: BROKER_AWAY. */
void kv_positions_ask(kv_request *r, const uint64_t *ids, size_t n, kv_broker_fn fn, void *arg);

#endif
