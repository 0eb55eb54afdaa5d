/* How queues, workers, leases, tenants and limits look as tables. */
#ifndef KV_BROKER_ADMIN_VIEWS_H
#define KV_BROKER_ADMIN_VIEWS_H

#include "broker/admin_inspect.h"

extern const kv_inspect_view kv_view_queues, kv_view_workers, kv_view_leases, kv_view_tenants,
    kv_view_limits;
extern const kv_inspect_view kv_views_top[];
extern const int kv_views_top_n;

/* Of an item of INSPECT queues: all that wait, delayed ones too. */
uint64_t kv_view_waiting(const json_t *queue);

#endif
