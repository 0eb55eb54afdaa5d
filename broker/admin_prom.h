/* The broker's metrics text, read back for people: histograms become count, mean and percentiles.
 * Pure. */
#ifndef KV_BROKER_ADMIN_PROM_H
#define KV_BROKER_ADMIN_PROM_H

#include "proto/base/slice.h"

enum { KV_PROM_KEY = 256 };

typedef struct kv_prom_item {
    char key[KV_PROM_KEY]; /* name, or name{label="value"} without le */
    bool histogram;
    double value;         /* of a counter or gauge */
    double count, sum;    /* of a histogram, in its unit */
    double p50, p90, p99; /* inside a bucket by interpolation; in the last one its bound; NAN where
                           * nothing was measured */
} kv_prom_item;

/* Calls `fn` for each metric of a text in the Prometheus format, as metrics.h renders it: the
 * buckets of a histogram follow one another. Lines that are not understood are passed over. */
void kv_prom_read(kv_slice text, void (*fn)(void *arg, const kv_prom_item *item), void *arg);

#endif
