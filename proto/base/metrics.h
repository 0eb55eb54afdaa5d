/* Metrics: declared in metrics_table.h, held in relaxed atomics, written in the Prometheus text
 * format.
 *
 * Each process counts its own; a metric that was never touched in a process is not rendered there,
 * so the gateway may join its text with the broker's. Any thread. */
#ifndef KV_BASE_METRICS_H
#define KV_BASE_METRICS_H

#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/metrics_table.h"

/* Of a label: values at once, and the last of them, under which all that come later are counted. */
#define KV_METRIC_LABELS 64
#define KV_METRIC_OTHER  "other"

typedef enum kv_metric {
#define KV_METRIC_ENUM(name, prom, type, label, text) KV_M_##name,
    KV_METRICS(KV_METRIC_ENUM)
#undef KV_METRIC_ENUM
        KV_METRIC_COUNT
} kv_metric;

void kv_metric_add(kv_metric m, int64_t by);    /* COUNTER, GAUGE without label */
void kv_metric_set(kv_metric m, int64_t value); /* GAUGE without label */
void kv_metric_add_label(kv_metric m, const char *label_value,
                         int64_t by); /* label_value: copied; two of them joined by a comma */
void kv_metric_set_label(kv_metric m, const char *label_value, int64_t value);
void kv_metric_observe_us(kv_metric m, int64_t microseconds); /* HISTOGRAM without label */
void kv_metric_observe_size(kv_metric m, int64_t size);       /* SIZES */
void kv_metric_observe_label_us(kv_metric m, const char *label_value, int64_t microseconds);
int64_t kv_metric_get(kv_metric m); /* tests; sum over labels; a histogram's count */
void kv_metrics_declare(const kv_metric *list,
                        int n); /* render these even at 0 (a process names what it owns) */
void kv_metrics_render(kv_buf *out);
void kv_metrics_reset(void); /* tests */

#endif
