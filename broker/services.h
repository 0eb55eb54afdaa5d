/* The services whose jobs kervan makes itself; their jobs change media rows, so clients may not
 * submit them. Pure. */
#ifndef KV_BROKER_SERVICES_H
#define KV_BROKER_SERVICES_H

#include "proto/base/words.h"

enum { KV_SERVICES_MAX = 1024 };  /* of clients, in use at once; kervan's own come on top */
enum { KV_LATER_MS = 60 * 1000 }; /* how long a job that kervan makes for later waits */
enum {
    KV_REAP_ATTEMPTS = 100
}; /* removal must happen; its job gives up late, and then a new one is made */

static inline bool kv_service_reserved(kv_slice service)
{
    return kv_slice_is(service, KV_SERVICE_IMAGE) || kv_slice_is(service, KV_SERVICE_REAP);
}

#endif
