/* Which handler a request goes to. The table is routes.h; matching is pure. */
#ifndef KV_GATEWAY_ROUTE_H
#define KV_GATEWAY_ROUTE_H

#include "gateway/gateway.h"
#include "gateway/routes.h"

#define KV_ROUTE_PROTOTYPE(method, path, handler, flags, text) void handler(kv_request *r);
KV_ROUTES(KV_ROUTE_PROTOTYPE)
#undef KV_ROUTE_PROTOTYPE

/* The WebSocket route calls this just before h2o_http1_upgrade: reading goes back to h2o. */
void kv_tap_release(h2o_req_t *req);
/* And this once the request is gone: puts what was read behind its head in the head's place. Not
 * before: the buffer may have to move, and the request points into it. false: no memory. */
bool kv_tap_released(h2o_socket_t *sock, size_t head_len);

typedef enum kv_method {
    KV_METHOD_GET = 1,
    KV_METHOD_POST = 2,
    KV_METHOD_PUT = 4,
    KV_METHOD_PATCH = 8,
    KV_METHOD_DELETE = 16,
    KV_METHOD_HEAD = 32,
    KV_METHOD_OPTIONS = 64
} kv_method; /* 0: another one */

kv_method kv_method_of(kv_slice name);

typedef struct kv_route_match {
    int index;      /* row of KV_ROUTES; -1: no such path, or not with this method */
    unsigned allow; /* with -1: methods that the path has (kv_method bits); 0: no such path */
    unsigned flags; /* KV_ROUTE_* of the row */
    kv_slice param; /* with a row: as written, not decoded */
} kv_route_match;

/* `path` is without query. HEAD is answered where GET is. */
kv_route_match kv_route_find(kv_method method, kv_slice path);
/* "GET, HEAD, OPTIONS" into `out`; returns its length. */
size_t kv_route_allow(unsigned allow, char out[64]);

/* Percent-decodes `in` into `out` (room for in.len bytes). SIZE_MAX: a malformed escape. `plus`
 * makes "+" a blank (queries). */
size_t kv_percent_decode(kv_slice in, bool plus, char *out);

#endif
