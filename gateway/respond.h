/* Making answers, inside the gateway's core. */
#ifndef KV_GATEWAY_RESPOND_H
#define KV_GATEWAY_RESPOND_H

#include "gateway/gateway.h"

const char *kv_reason(int status); /* "Not Found"; "" when unknown */
/* The application/problem+json of RFC 9457: type, title, status, code, error, detail, instance,
 * traceId. `detail` may be NULL. */
void kv_problem_json(kv_buf *out, kv_err err, const char *detail, bool english, kv_slice instance,
                     const uint8_t trace[16]);
/* An Accept-Language value: English wanted more than Turkish? Pure. */
bool kv_language_is_english(kv_slice accept_language);

#endif
