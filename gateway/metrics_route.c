/* GET /metrics: what this process counted, and the broker's text behind it. */
#include "gateway/answer.h"
#include "gateway/route.h"
#include "gateway/stats.h"
#include "proto/base/metrics.h"

#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

static void on_stats(h2o_req_t *req, kv_loop *loop, kv_slice text)
{
    (void)loop;
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_metric_set(KV_M_BROKER_UP, text.ptr != NULL);
    kv_metrics_render(&out);
    if (text.len != 0)
        kv_buf_add(&out, text.ptr, text.len);
    if (kv_buf_ok(&out)) {
        kv_add_header(req, "cache-control", "no-store");
        kv_answer_text(req, 200, PROMETHEUS, kv_buf_slice(&out));
    } else {
        kv_answer_problem(req, KV_E_NO_MEMORY, NULL, 0);
    }
    kv_buf_release(&out);
}

void kv_route_metrics(kv_request *r)
{
    kv_stats_ask(r, KV_STATS_METRICS, on_stats);
}
