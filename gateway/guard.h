/* Who may ask: ALLOWED_HOSTS, CORS_ALLOWED_ORIGINS. Pure; any thread. */
#ifndef KV_GATEWAY_GUARD_H
#define KV_GATEWAY_GUARD_H

#include <sys/socket.h>

#include "proto/base/config.h"
#include "proto/base/slice.h"

/* `host` is a Host header; its port does not count. An empty list allows all. */
bool kv_host_allowed(const char *allowed_hosts, kv_slice host);

/* Where nobody said which names are ours: whether `host` is a name of the DNS, for which a browser
 * of this machine connected to us itself. Then a foreign page had its name made to point here (DNS
 * rebinding), and its Origin would pass for our own page's. A proxy on this machine asks for the
 * site's name too, but with the site's port, not with that of `listen`. */
bool kv_host_rebound(const struct sockaddr *peer, const char *listen, kv_slice host);

typedef enum kv_origin {
    KV_ORIGIN_NONE,   /* no Origin header: not a browser, or a plain navigation */
    KV_ORIGIN_OWN,    /* the page's own: Origin and Host name the same place */
    KV_ORIGIN_LISTED, /* CORS_ALLOWED_ORIGINS */
    KV_ORIGIN_FOREIGN
} kv_origin;

/* Case does not count, nor does a port that is the scheme's own. */
kv_origin kv_origin_of(const char *allowed_origins, kv_slice origin, kv_slice host);

/* Whether admin routes answer: the peer is this machine (127.0.0.0/8, ::1), no proxy left a mark
 * (`forwarded`: a header like X-Forwarded-For), and Host is a name of loopback: a proxy that leaves
 * no mark has the site's name there, and a foreign page whose name was made to point here (DNS
 * rebinding) its own. */
bool kv_admin_allowed(const struct sockaddr *peer, bool forwarded, kv_slice host);

#endif
