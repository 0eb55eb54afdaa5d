/* The state of queues, for the admin routes and for live clients. */
#ifndef KV_GATEWAY_QUEUE_API_H
#define KV_GATEWAY_QUEUE_API_H

#include "gateway/gateway.h"

/* INSPECT for all queues. */
void kv_queues_question(kv_msg *ret);
/* ,"queues":[…],"next":… of the broker's answer to that, each with its dead letters; where it is
 * the whole list, queues follow of which only dead letters are left. */
void kv_queues_put(kv_loop *loop, kv_buf *out, kv_slice answer);
/* Whether this request may ask for them; see guard.h. */
bool kv_admin_request(h2o_req_t *req);

#endif
