/* What operators do: settings of queues, PROMOTE, PURGE, maintenance. Part of the core; pure. */
#ifndef KV_BROKER_STEER_H
#define KV_BROKER_STEER_H

#include "broker/core_types.h"

void kv_steer_set(kv_core *c, const kv_from *from, const kv_queue_set *m);
void kv_steer_promote(kv_core *c, const kv_from *from, const kv_promote *m);
void kv_steer_purge(kv_core *c, const kv_from *from, const kv_purge *m);
void kv_steer_maintain(kv_core *c, const kv_from *from);
/* Each tick: purges go on, and what comes each 30 s. */
void kv_steer_tick(kv_core *c);
void kv_steer_release(kv_core *c);

/* What came back: QUEUE_SET, PURGE_DEAD, and each MOVE. */
void kv_steer_result(kv_core *c, const kv_cmd *cmd);

#endif
