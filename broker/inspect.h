/* Looking into the core: INSPECT, and how a queue does. Part of the core; pure. */
#ifndef KV_BROKER_INSPECT_H
#define KV_BROKER_INSPECT_H

#include "broker/core_types.h"
#include "proto/base/words.h"

/* STATS_OK {"queues":[…],"next":n}, the list named as what was asked for. A page looks at a bounded
 * number of leases, workers or tenants: one that is empty may have a `next`. */
void kv_inspect_answer(kv_core *c, const kv_from *from, const kv_inspect *m);

kv_health kv_health_of(kv_core *c, kv_service *s);
const char *kv_health_remedy(kv_health health, bool turkish); /* "" for ok; a literal */

#endif
