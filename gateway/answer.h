/* Answers that several handlers share, on top of those of gateway.h. */
#ifndef KV_GATEWAY_ANSWER_H
#define KV_GATEWAY_ANSWER_H

#include "gateway/gateway.h"

/* The JSON in `out`; or the problem of `err` (NO_MEMORY when the buffer failed). */
void kv_answer_buf(h2o_req_t *req, kv_err err, int status, const kv_buf *out);
/* What the broker refused, with its detail and Retry-After. `answer` may be NULL (it did not
 * answer). */
void kv_answer_refusal(h2o_req_t *req, kv_err err, const kv_msg *answer);
/* Bytes that live as long as the process; `type` too. HEAD gets the length only. Headers besides
 * Content-Type are the caller's. */
void kv_answer_static(h2o_req_t *req, int status, const char *type, const void *bytes, size_t len);
/* Text of a handler, copied. */
void kv_answer_text(h2o_req_t *req, int status, const char *type, kv_slice text);

#endif
