/* The gauge of dead letters: the core does not count them, so they are read off the database now
 * and then. The admin thread. */
#ifndef KV_BROKER_ADMIN_GAUGE_H
#define KV_BROKER_ADMIN_GAUGE_H

#include "proto/base/metrics.h"
#include "storage/db.h"

enum { KV_DEAD_GAUGE_NAMES = KV_METRIC_LABELS - 1 }; /* all but KV_METRIC_OTHER */

typedef struct kv_dead_gauge {
    char names[KV_DEAD_GAUGE_NAMES][65]; /* queues that had some: back at 0 they stay */
    int64_t values[KV_DEAD_GAUGE_NAMES];
    int n;
    int64_t other; /* of queues beyond those */
    bool any_other;
} kv_dead_gauge;

/* Counts, and sets the metric. What cannot be read now is read the next time. */
void kv_dead_gauge_read(kv_dead_gauge *self, kv_db *db);

#endif
