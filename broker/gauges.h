/* The metrics of single queues. Part of the core. */
#ifndef KV_BROKER_GAUGES_H
#define KV_BROKER_GAUGES_H

#include "broker/core_types.h"

/* Of a service: its name for the first ones and kervan's own, else "other". */
const char *kv_gauges_label(const kv_service *s);
/* A service was made; one goes. */
void kv_gauges_came(kv_core *c, kv_service *s);
void kv_gauges_went(kv_core *c, const kv_service *s);
void kv_gauges_wait(const kv_service *s, int64_t ms);
/* An answer of a lease that was over, from this worker. */
void kv_gauges_late(const kv_session *s);
void kv_gauges_service(const kv_service *s, int64_t ms);

#endif
