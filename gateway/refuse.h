/* Answers to heads that h2o never sees. */
#ifndef KV_GATEWAY_REFUSE_H
#define KV_GATEWAY_REFUSE_H

#include "gateway/tap.h"

/* Sends problem+json with Connection: close, counts HTTP_REFUSED, logs, and closes with linger.
 * `head` may be NULL: nothing of it is known. */
void kv_refuse(kv_conn *c, kv_err err, const char *why, const kv_head *head);

#endif
