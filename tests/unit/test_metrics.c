#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdio.h>

#include "proto/base/metrics.h"

static kv_buf out;

static const char *rendered(void)
{
    kv_buf_clear(&out);
    kv_metrics_render(&out);
    return kv_buf_str(&out);
}

static int setup(void **state)
{
    (void)state;
    kv_metrics_reset();
    return 0;
}

/* S0-44 S0-45 S0-46 S0-47: the names are literal */
static void test_names(void **state)
{
    (void)state;
    assert_string_equal(rendered(), "");
    kv_metrics_declare((kv_metric[]){KV_M_UPLOADS}, 1);
    kv_metric_add(KV_M_UPLOAD_BYTES, 7);
    kv_metric_add_label(KV_M_UPLOAD_FAILURES, "too_large", 2);
    kv_metric_observe_us(KV_M_PROCESSING_SECONDS, 3000000);
    const char *text = rendered();
    assert_non_null(strstr(text, "# TYPE uploads_total counter\nuploads_total 0\n"));
    assert_non_null(strstr(text, "\nupload_bytes_total 7\n"));
    assert_non_null(strstr(text, "\nupload_failures_total{code=\"too_large\"} 2\n"));
    assert_non_null(strstr(text, "# TYPE processing_duration_seconds histogram\n"));
    assert_non_null(strstr(text, "processing_duration_seconds_bucket{le=\"2.5\"} 0\n"
                                 "processing_duration_seconds_bucket{le=\"5\"} 1\n"));
    assert_non_null(strstr(
        text, "processing_duration_seconds_bucket{le=\"+Inf\"} 1\n"
              "processing_duration_seconds_sum 3.000000\nprocessing_duration_seconds_count 1\n"));
    assert_null(strstr(text, "kervan_live_clients"));
}

static void test_gauges_and_labels(void **state)
{
    char name[32];

    (void)state;
    kv_metric_set(KV_M_BROKER_UP, 1);
    kv_metric_add(KV_M_BROKER_UP, -1);
    assert_int_equal(kv_metric_get(KV_M_BROKER_UP), 0);
    kv_metric_set_label(KV_M_LIVE_CLIENTS, "ws", 3);
    kv_metric_set_label(KV_M_LIVE_CLIENTS, "sse", 4);
    kv_metric_set_label(KV_M_LIVE_CLIENTS, "ws", 2);
    assert_int_equal(kv_metric_get(KV_M_LIVE_CLIENTS), 6);
    for (int i = 0; i < 100; i++) { /* those that find no place are counted together */
        snprintf(name, sizeof name, "code_%d", i);
        kv_metric_add_label(KV_M_HTTP_REFUSED, name, 1);
    }
    assert_int_equal(kv_metric_get(KV_M_HTTP_REFUSED), 100);
    assert_non_null(strstr(rendered(), "kervan_http_refused_total{code=\"other\"} 37\n"));
}

/* Counts have buckets of their own, and their sum is no time. */
static void test_of_sizes(void **state)
{
    (void)state;
    kv_metric_observe_size(KV_M_COMMIT_BATCH, 1);
    kv_metric_observe_size(KV_M_COMMIT_BATCH, 3);
    kv_metric_observe_size(KV_M_COMMIT_BATCH, 40000);
    assert_int_equal(kv_metric_get(KV_M_COMMIT_BATCH), 3);
    const char *text = rendered();
    assert_non_null(strstr(text, "# TYPE kervan_ledger_commit_commands histogram\n"
                                 "kervan_ledger_commit_commands_bucket{le=\"1\"} 1\n"
                                 "kervan_ledger_commit_commands_bucket{le=\"2\"} 1\n"
                                 "kervan_ledger_commit_commands_bucket{le=\"4\"} 2\n"));
    assert_non_null(strstr(text, "kervan_ledger_commit_commands_bucket{le=\"32768\"} 2\n"
                                 "kervan_ledger_commit_commands_bucket{le=\"+Inf\"} 3\n"
                                 "kervan_ledger_commit_commands_sum 40004\n"
                                 "kervan_ledger_commit_commands_count 3\n"));
}

/* S4-99: one histogram a queue; and metrics with two labels. */
static void test_of_queues(void **state)
{
    char name[32];
    (void)state;
    kv_metric_observe_label_us(KV_M_JOB_SERVICE_SECONDS, "ai", 3000000);
    kv_metric_observe_label_us(KV_M_JOB_SERVICE_SECONDS, "ai", 700);
    kv_metric_observe_label_us(KV_M_JOB_SERVICE_SECONDS, "video", 1);
    kv_metric_set_label(KV_M_LANE_WAITING, "ai,urgent", 3);
    kv_metric_set_label(KV_M_LANE_WAITING, "other", 1);
    const char *text = rendered();
    assert_non_null(strstr(text,
                           "# TYPE kervan_job_service_seconds histogram\n"
                           "kervan_job_service_seconds_bucket{service=\"ai\",le=\"0.0005\"} 0\n"
                           "kervan_job_service_seconds_bucket{service=\"ai\",le=\"0.001\"} 1\n"));
    assert_non_null(strstr(text, "kervan_job_service_seconds_bucket{service=\"ai\",le=\"+Inf\"} 2\n"
                                 "kervan_job_service_seconds_sum{service=\"ai\"} 3.000700\n"
                                 "kervan_job_service_seconds_count{service=\"ai\"} 2\n"));
    assert_non_null(strstr(text, "kervan_job_service_seconds_count{service=\"video\"} 1\n"));
    assert_non_null(strstr(text, "kervan_lane_waiting{service=\"ai\",lane=\"urgent\"} 3\n"));
    assert_non_null(strstr(text, "kervan_lane_waiting{service=\"other\",lane=\"\"} 1\n"));
    assert_int_equal(kv_metric_get(KV_M_JOB_SERVICE_SECONDS), 3);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "queue-%d", i);
        kv_metric_observe_label_us(KV_M_JOB_WAIT_SECONDS, name, 1);
    }
    assert_int_equal(kv_metric_get(KV_M_JOB_WAIT_SECONDS), 100);
    assert_non_null(strstr(rendered(), "kervan_job_wait_seconds_count{service=\"other\"} 37\n"));
}

static void *count_a_lot(void *arg)
{
    for (int i = 0; i < 10000; i++) {
        kv_metric_add(KV_M_UPLOADS, 1);
        kv_metric_add_label(KV_M_HTTP_REQUESTS, i % 2 ? "2xx" : "4xx", 1);
        kv_metric_observe_us(KV_M_UPLOAD_SECONDS, i);
        kv_metric_observe_label_us(KV_M_JOB_WAIT_SECONDS, i % 2 ? "a" : "b", i);
    }
    return arg;
}

static void test_threads(void **state)
{
    pthread_t threads[4];

    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, count_a_lot, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(kv_metric_get(KV_M_UPLOADS), 40000);
    assert_int_equal(kv_metric_get(KV_M_HTTP_REQUESTS), 40000);
    assert_int_equal(kv_metric_get(KV_M_UPLOAD_SECONDS), 40000);
    assert_int_equal(kv_metric_get(KV_M_JOB_WAIT_SECONDS), 40000);
    assert_non_null(strstr(rendered(), "kervan_http_requests_total{status=\"2xx\"} 20000\n"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_names, setup),
        cmocka_unit_test_setup(test_gauges_and_labels, setup),
        cmocka_unit_test_setup(test_of_queues, setup),
        cmocka_unit_test_setup(test_of_sizes, setup),
        cmocka_unit_test_setup(test_threads, setup),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    kv_metrics_reset();
    kv_buf_release(&out);
    return failed;
}
