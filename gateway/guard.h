/* Who may ask: ALLOWED_HOSTS, CORS_ALLOWED_ORIGINS. Pure; any thread. */
#ifndef KV_GATEWAY_GUARD_H
#define KV_GATEWAY_GUARD_H

#include "proto/base/config.h"
#include "proto/base/slice.h"

/* `host` is a Host header; its port does not count. An empty list allows all. */
bool kv_host_allowed(const char *allowed_hosts, kv_slice host);

typedef enum kv_origin {
    KV_ORIGIN_NONE,   /* no Origin header: not a browser, or a plain navigation */
    KV_ORIGIN_OWN,    /* the page's own: Origin and Host name the same place */
    KV_ORIGIN_LISTED, /* CORS_ALLOWED_ORIGINS */
    KV_ORIGIN_FOREIGN
} kv_origin;

kv_origin kv_origin_of(const char *allowed_origins, kv_slice origin, kv_slice host);

#endif
