/* Looking into the core: INSPECT, and how a queue does. Part of the core; pure. */
#ifndef KV_BROKER_INSPECT_H
#define KV_BROKER_INSPECT_H

#include "broker/core_types.h"

/* STATS_OK {"queues":[…],"next":n}, the list named as what was asked for. A page costs what it
 * shows, and at most a walk over the queues, the sessions, or the tenants of a queue. */
void kv_inspect_answer(kv_core *c, const kv_from *from, const kv_inspect *m);

typedef enum kv_health {
    KV_HEALTH_OK,
    KV_HEALTH_NO_WORKERS,
    KV_HEALTH_PAUSED,
    KV_HEALTH_NO_ROOM,
    KV_HEALTH_DRAINING,
    KV_HEALTH_AT_LIMIT,
    KV_HEALTH_WORKERS_BUSY,
    KV_HEALTH_STUCK
} kv_health;
kv_health kv_health_of(kv_core *c, kv_service *s);
const char *kv_health_name(kv_health health);                 /* "no_workers" */
const char *kv_health_remedy(kv_health health, bool turkish); /* "" for ok; a literal */

#endif
