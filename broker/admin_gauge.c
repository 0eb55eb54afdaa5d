#include "broker/admin_gauge.h"

#include <stdio.h>

#include "broker/services.h"
#include "proto/base/metrics.h"
#include "storage/read/dead_letters.h"

enum {
    MOST = 10000, /* a queue: counting is a read, and reads are short */
    FEW = 100,    /* where there are too many queues for that */
    OWN = 2       /* places kept for kervan's own services */
};

static int64_t *place(kv_dead_gauge *g, kv_slice service)
{
    int limit = kv_service_reserved(service) ? KV_DEAD_GAUGE_NAMES : KV_DEAD_GAUGE_NAMES - OWN;
    for (int i = 0; i < g->n; i++) {
        if (kv_slice_is(service, g->names[i]))
            return &g->values[i];
    }
    if (g->n >= limit || service.len >= sizeof g->names[0]) {
        g->any_other = true;
        return &g->other;
    }
    snprintf(g->names[g->n], sizeof g->names[0], "%.*s", KV_SLICE_FMT(service));
    return &g->values[g->n++];
}

static void on_dead(void *arg, kv_slice service, int64_t n)
{
    *place(arg, service) += n;
}

static kv_err count(kv_dead_gauge *g, kv_db *db, int64_t most)
{
    memset(g->values, 0, sizeof g->values);
    g->other = 0;
    return kv_dead_letters_each(db, most, on_dead, g);
}

void kv_dead_gauge_read(kv_dead_gauge *self, kv_db *db)
{
    if (count(self, db, MOST) != KV_OK && count(self, db, FEW) != KV_OK)
        return;
    for (int i = 0; i < self->n; i++)
        kv_metric_set_label(KV_M_DEAD_LETTERS, self->names[i], self->values[i]);
    if (self->any_other)
        kv_metric_set_label(KV_M_DEAD_LETTERS, KV_METRIC_OTHER, self->other);
}
