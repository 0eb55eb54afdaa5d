/* INSPECT: what operators see of queues, workers, leases, tenants and limits. */
#include "tests/unit/rig_text.h"

#include <math.h>

#include "broker/lanes.h"
#include "proto/base/metrics.h"

static uint64_t inspect(text_rig *t, const char *what, const char *service, uint64_t after,
                        uint64_t limit)
{
    kv_msg m;
    kv_msg_defaults(KV_INSPECT, &m);
    m.inspect.what = kv_slice_str(what);
    m.inspect.service = kv_slice_str(service);
    m.inspect.after = after;
    m.inspect.limit = limit;
    return rig_say(&t->r, "c", &m);
}

static size_t count(const text_rig *t, const char *what)
{
    const json_t *list = json_object_get(t->last, what);
    assert_true(json_is_array(list));
    return json_array_size(list);
}

static json_t *item(const text_rig *t, const char *what, size_t i)
{
    json_t *at = json_array_get(json_object_get(t->last, what), i);
    assert_non_null(at);
    return at;
}

/* "a.b" of an object. */
static json_t *at(json_t *object, const char *path)
{
    char name[64];
    for (;;) {
        size_t len = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)len, path);
        object = json_object_get(object, name);
        assert_non_null(object);
        if (!path[len])
            return object;
        path += len + 1;
    }
}

#define expect_int(object, path, n) assert_int_equal(json_integer_value(at((object), (path))), (n))
#define expect_str(object, path, s)                                                                \
    assert_string_equal(json_string_value(at((object), (path))), (s))

static uint64_t next(const text_rig *t)
{
    return (uint64_t)json_integer_value(json_object_get(t->last, "next"));
}

static void add_worker(text_rig *t, const char *name, uint64_t instance, uint64_t credit)
{
    rig_hello(&t->r, name, "worker", name, instance);
    rig_ready(&t->r, name, "ai", credit);
    text_commit(t);
}

/* Time passes, and everybody is heard. */
static void pass(text_rig *t, int64_t ms)
{
    for (; ms > 0; ms -= 500) {
        rig_tick(&t->r, 500);
        rig_beat(&t->r, "c", 0);
        rig_beat(&t->r, "w", 4096);
        t->r.n = 0;
    }
}

/* S4-98 S4-99 S4-100: counts, times and errors of a queue. */
static void test_queue(void **state)
{
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    add_worker(&t, "w", 2, 2);
    for (uint64_t i = 1; i <= 6; i++)
        rig_submit(&t.r, "c", i, "ai", i % 3);
    m = rig_job(7, "ai", 1);
    m.submit.delay_ms = 60000;
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    pass(&t, 3000);
    rig_done(&t.r, "w", 1, 1, 1);
    text_commit(&t);
    pass(&t, 3000);
    rig_fail(&t.r, "w", 3, 1, 1, false); /* the first urgent one, behind 1 and 2 */
    text_commit(&t);
    pass(&t, 1000);
    inspect(&t, "queues", "", 0, 100);
    assert_int_equal(count(&t, "queues"), 1);
    assert_int_equal(next(&t), 0);
    json_t *q = item(&t, "queues", 0);
    expect_str(q, "service", "ai");
    expect_int(q, "delayed", 1);
    expect_int(q, "running", 2);
    expect_int(q, "workers", 1);
    expect_int(q, "credit_free", 0);
    expect_int(q, "waiting",
               json_integer_value(at(q, "lanes.urgent")) +
                   json_integer_value(at(q, "lanes.normal")) +
                   json_integer_value(at(q, "lanes.background")));
    expect_int(q, "waiting", 2);
    expect_int(q, "oldest_waiting_s", 7);
    expect_int(q, "counts.complete", 1);
    expect_int(q, "counts.error", 1);
    expect_int(q, "counts.attempts", 4);
    assert_true(fabs(json_number_value(at(q, "error_rate")) - 0.5) < 0.001);
    assert_true(json_number_value(at(q, "throughput.min1")) > 0);
    assert_true(json_integer_value(at(q, "service_ms.p50")) >= 2900);
    assert_true(json_integer_value(at(q, "service_ms.p99")) <= 3100);
    expect_str(q, "limits.overflow", "reject");
    expect_str(q, "health", "ok");
    expect_str(q, "remedy", "");
    text_stop(&t);
}

static void expect_health(text_rig *t, const char *name)
{
    inspect(t, "queues", "ai", 0, 1);
    json_t *q = item(t, "queues", 0);
    expect_str(q, "health", name);
    bool ok = strcmp(name, "ok") == 0;
    assert_true(json_string_length(at(q, "remedy")) > 20 || ok);
    assert_true(json_string_length(at(q, "remedy_tr")) > 20 || ok);
}

/* A queue that does not get on says why. */
static void test_health(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    rig_submit(&t.r, "c", 1, "ai", 1);
    text_commit(&t);
    expect_health(&t, "no_workers");
    text_service(&t, "ai")->paused = true;
    expect_health(&t, "paused");
    text_service(&t, "ai")->paused = false;
    add_worker(&t, "w", 2, 1);
    expect_health(&t, "ok"); /* it runs */
    rig_submit(&t.r, "c", 2, "ai", 1);
    text_commit(&t);
    expect_health(&t, "ok"); /* it waits, but not long */
    pass(&t, 11000);
    expect_health(&t, "workers_busy");
    text_service(&t, "ai")->draining = true;
    expect_health(&t, "draining");
    text_service(&t, "ai")->draining = false;
    pass(&t, 160000); /* more than half of STUCK_AFTER without an end */
    expect_health(&t, "stuck");
    kv_service_set_limits(text_service(&t, "ai"), 1, -1);
    expect_health(&t, "at_limit");
    rig_done(&t.r, "w", 1, 1, 1);
    text_commit(&t);
    rig_done(&t.r, "w", 2, 1, 1);
    text_commit(&t);
    expect_health(&t, "ok");
    text_stop(&t);
}

/* Pictures that wait for room are neither stuck nor without workers. */
static void test_no_room(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    kv_job_row row = {.id = 1, .seq = 1, .max_attempts = 3, .lane = 1, .service = "image-process"};
    assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    kv_core_set_media_low(t.r.core, true);
    pass(&t, 35000);
    inspect(&t, "queues", "image-process", 0, 1);
    expect_str(item(&t, "queues", 0), "health", "no_room");
    text_stop(&t);
}

/* Right after a start workers are on their way back: that nobody is there yet is no news. */
static void test_no_alarm_at_start(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    kv_job_row row = {.id = 1, .seq = 1, .max_attempts = 3, .lane = 1, .service = "ai"};
    assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    text_wait(&t, 1000);
    assert_int_equal(text_service(&t, "ai")->health, KV_HEALTH_OK);
    text_wait(&t, 35000);
    assert_int_equal(text_service(&t, "ai")->health, KV_HEALTH_NO_WORKERS);
    text_stop(&t);
}

static void test_pages_of_queues(void **state)
{
    text_rig t;
    char name[32];
    bool seen[31] = {false};
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= 30; i++) {
        snprintf(name, sizeof name, "q%d", (int)i);
        rig_submit(&t.r, "c", i, name, 1);
        text_commit(&t);
    }
    uint64_t after = 0;
    int pages = 0;
    do {
        inspect(&t, "queues", "", after, 7);
        assert_true(count(&t, "queues") <= 7);
        for (size_t i = 0; i < count(&t, "queues"); i++) {
            int n = atoi(json_string_value(at(item(&t, "queues", i), "service")) + 1);
            assert_false(seen[n]);
            seen[n] = true;
        }
        after = next(&t);
        pages++;
    } while (after);
    assert_int_equal(pages, 5);
    for (int i = 1; i <= 30; i++)
        assert_true(seen[i]);
    inspect(&t, "queues", "q7", 0, 10);
    assert_int_equal(count(&t, "queues"), 1);
    inspect(&t, "queues", "nobody", 0, 10);
    assert_int_equal(count(&t, "queues"), 0);
    text_stop(&t);
}

static void test_workers(void **state)
{
    text_rig t;
    char name[16];
    (void)state;
    text_client(&t);
    for (uint64_t i = 0; i < 5; i++) {
        snprintf(name, sizeof name, "w%d", (int)i);
        add_worker(&t, name, 10 + i, 4);
    }
    rig_ready(&t.r, "w3", "video", 1);
    rig_submit(&t.r, "c", 1, "ai", 1);
    text_commit(&t);
    text_wait(&t, 300);
    size_t seen = 0;
    uint64_t after = 0;
    do {
        inspect(&t, "workers", "ai", after, 2);
        assert_true(count(&t, "workers") <= 2);
        for (size_t i = 0; i < count(&t, "workers"); i++) {
            snprintf(name, sizeof name, "w%d", (int)seen++);
            expect_str(item(&t, "workers", i), "name", name);
            expect_int(item(&t, "workers", i), "credit", 4);
            expect_int(item(&t, "workers", i), "heard_ms", 300);
        }
        after = next(&t);
    } while (after);
    assert_int_equal(seen, 5);
    inspect(&t, "workers", "", 0, 100);
    assert_int_equal(count(&t, "workers"), 6);
    expect_int(item(&t, "workers", 0), "leased", 1);
    text_stop(&t);
}

/* One that serves so many that they do not fit into one answer. */
static void test_worker_of_many_queues(void **state)
{
    enum { QUEUES = 1000 };
    text_rig t;
    char name[65], service[65];
    (void)state;
    text_client(&t);
    memset(name, '\x01', sizeof name - 1); /* six bytes each in JSON */
    name[sizeof name - 1] = '\0';
    rig_hello(&t.r, "w", "worker", name, 2);
    for (int i = 0; i < QUEUES; i++) {
        snprintf(service, sizeof service, "%060d", i);
        rig_ready(&t.r, "w", service, 1);
        t.r.n = 0;
    }
    size_t seen = 0;
    uint64_t after = 0;
    do {
        uint64_t request = inspect(&t, "workers", "", after, 1000);
        assert_int_equal(request, t.request); /* answered, not refused */
        seen += count(&t, "workers");
        after = next(&t);
    } while (after);
    assert_int_equal(seen, QUEUES);
    text_stop(&t);
}

static void test_leases(void **state)
{
    text_rig t;
    enum { JOBS = 20 };
    bool seen[JOBS + 1] = {false};
    (void)state;
    text_client(&t);
    kv_job_row row = {.id = 1,
                      .seq = 1,
                      .state = KV_JOB_PROCESSING,
                      .attempt = 2,
                      .epoch = 0,
                      .max_attempts = 3,
                      .lane = 0,
                      .service = "ai",
                      .tenant = kv_slice_str("t")};
    assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    add_worker(&t, "v", 2, 9);
    add_worker(&t, "w", 3, 90);
    for (uint64_t i = 2; i <= JOBS; i++)
        rig_submit(&t.r, "c", i, "ai", 1);
    text_commit(&t);
    text_wait(&t, 500);
    uint64_t after = 0;
    do {
        inspect(&t, "leases", "", after, 3);
        assert_true(count(&t, "leases") <= 3);
        for (size_t i = 0; i < count(&t, "leases"); i++) {
            uint64_t id;
            json_t *l = item(&t, "leases", i);
            const char *text = json_string_value(at(l, "jobId"));
            assert_true(kv_id_parse(text, strlen(text), &id));
            assert_true(id >= 1 && id <= JOBS && !seen[id]);
            seen[id] = true;
            expect_int(l, "age_ms", 500);
            expect_int(l, "attempt", id == 1 ? 2 : 1);
            assert_true(json_is_null(at(l, "worker")) == (id == 1));
            assert_true(json_is_null(at(l, "progress_age_ms")) == (id == 1));
        }
        after = next(&t);
    } while (after);
    for (int i = 1; i <= JOBS; i++)
        assert_true(seen[i]);
    inspect(&t, "leases", "video", 0, 3);
    assert_int_equal(count(&t, "leases"), 0);
    text_stop(&t);
}

static void test_tenants_and_limits(void **state)
{
    text_rig t;
    char name[16];
    bool seen[13] = {false};
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= 24; i++) {
        kv_msg m = rig_job(i, i % 2 ? "ai" : "video", 1);
        snprintf(name, sizeof name, "t%d", (int)((i + 1) / 2));
        m.submit.tenant = kv_slice_str(name);
        rig_say(&t.r, "c", &m);
        text_commit(&t);
    }
    uint64_t after = 0, n = 0;
    do {
        inspect(&t, "tenants", "video", after, 5);
        for (size_t i = 0; i < count(&t, "tenants"); i++, n++) {
            int of = atoi(json_string_value(at(item(&t, "tenants", i), "tenant")) + 1);
            assert_false(seen[of]);
            seen[of] = true;
            expect_int(item(&t, "tenants", i), "waiting", 1);
            expect_int(item(&t, "tenants", i), "weight", 1);
        }
        after = next(&t);
    } while (after);
    assert_int_equal(n, 12);
    n = 0;
    do { /* of all queues */
        inspect(&t, "tenants", "", after, 7);
        n += count(&t, "tenants");
        after = next(&t);
    } while (after);
    assert_int_equal(n, 24);
    inspect(&t, "limits", "", 0, 100);
    assert_int_equal(count(&t, "limits"), 0);
    kv_service_set_limits(text_service(&t, "ai"), 5, -1);
    assert_true(kv_tenant_set(text_service(&t, "video"), kv_slice_str("t3"), -1, 60, 4));
    inspect(&t, "limits", "", 0, 100);
    assert_int_equal(count(&t, "limits"), 2);
    expect_str(item(&t, "limits", 0), "tenant", "t3"); /* the newest queue first */
    expect_int(item(&t, "limits", 0), "rate_per_minute", 60);
    expect_int(item(&t, "limits", 0), "weight", 4);
    assert_true(json_is_null(at(item(&t, "limits", 1), "tenant")));
    expect_int(item(&t, "limits", 1), "concurrency", 5);
    text_stop(&t);
}

/* What was set for a queue and for a tenant in it, one a page. */
static void test_limits_one_by_one(void **state)
{
    text_rig t;
    uint64_t after = 0, n = 0;
    (void)state;
    text_client(&t);
    rig_submit(&t.r, "c", 1, "ai", 1);
    text_commit(&t);
    kv_service_set_limits(text_service(&t, "ai"), 5, -1);
    assert_true(kv_tenant_set(text_service(&t, "ai"), kv_slice_str("t1"), 1, -1, -1));
    assert_true(kv_tenant_set(text_service(&t, "ai"), kv_slice_str(KV_TENANT_EACH), 2, -1, -1));
    do {
        inspect(&t, "limits", "", after, 1);
        n += count(&t, "limits");
        after = next(&t);
    } while (after && n < 100);
    inspect(&t, "limits", "", 0, 100);
    assert_int_equal(n, count(&t, "limits"));
    text_stop(&t);
}

/* A job each of t1 … tn. */
static void submit_as_tenants(text_rig *t, uint64_t n)
{
    char name[16];
    for (uint64_t i = 1; i <= n; i++) {
        kv_msg m = rig_job(i, "ai", 1);
        snprintf(name, sizeof name, "t%d", (int)i);
        m.submit.tenant = kv_slice_str(name);
        rig_say(&t->r, "c", &m);
        text_commit(t);
    }
}

/* Among many that are not asked for the few that are: no page takes long, none is missed. */
static void test_pages_end_where_little_is_found(void **state)
{
    enum { MANY = 25000 };
    text_rig t;
    char name[16];
    uint64_t after = 0, found = 0, pages = 0;
    (void)state;
    text_client(&t);
    submit_as_tenants(&t, MANY);
    assert_true(kv_tenant_set(text_service(&t, "ai"), kv_slice_str("t1"), 1, -1, -1));
    assert_true(kv_tenant_set(text_service(&t, "ai"), kv_slice_str("t25000"), 1, -1, -1));
    do {
        inspect(&t, "limits", "", after, 100);
        found += count(&t, "limits");
        after = next(&t);
    } while (++pages < 10 && after);
    assert_int_equal(found, 2);
    assert_int_equal(pages, 3);
    for (int i = 0; i < MANY / 100; i++) {
        snprintf(name, sizeof name, "w%d", i);
        add_worker(&t, name, (uint64_t)i + 10, 100);
    }
    assert_int_equal(text_service(&t, "ai")->running, MANY);
    pages = 0;
    do { /* of another queue */
        inspect(&t, "leases", "video", after, 100);
        assert_int_equal(count(&t, "leases"), 0);
        after = next(&t);
    } while (++pages < 10 && after);
    assert_int_equal(pages, 3);
    text_stop(&t);
}

/* Those who go between two pages, also the very next one, take no other along. */
static void test_pages_of_tenants_that_go(void **state)
{
    enum { MANY = 30 };
    text_rig t;
    bool seen[MANY + 1] = {false}, gone[MANY + 1] = {false};
    uint64_t after = 0;
    (void)state;
    text_client(&t);
    submit_as_tenants(&t, MANY);
    do {
        int last = 0;
        inspect(&t, "tenants", "ai", after, 3);
        for (size_t i = 0; i < count(&t, "tenants"); i++) {
            last = atoi(json_string_value(at(item(&t, "tenants", i), "tenant")) + 1);
            assert_false(seen[last] || gone[last]);
            seen[last] = true;
        }
        after = next(&t);
        for (int i = last - 1; i >= last - 2 && i > 0; i--) { /* the next two, or one before */
            int job = i == last - 2 ? last + 1 : i;
            kv_msg m = {.code = KV_CANCEL, .cancel.job = (uint64_t)job};
            if (job <= MANY && !gone[job])
                rig_say(&t.r, "c", &m);
            gone[job] = true;
            text_commit(&t);
        }
    } while (after);
    for (int i = 1; i <= MANY; i++)
        assert_true(seen[i] || gone[i]);
    assert_true(seen[1]);
    text_stop(&t);
}

static void test_wrong(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    rig_expect_error(&t.r, inspect(&t, "secrets", "", 0, 10), KV_E_BAD_PARAMETER);
    rig_expect_error(&t.r, inspect(&t, "que\"ues\n", "", 0, 10), KV_E_BAD_PARAMETER);
    rig_expect_error(&t.r, inspect(&t, "queues", "", 0, 0), KV_E_BAD_PARAMETER);
    for (int i = 0; i < 5; i++) { /* a cursor that is none */
        static const char *const all[] = {"queues", "workers", "leases", "tenants", "limits"};
        inspect(&t, all[i], "", UINT64_MAX, 10);
        assert_int_equal(count(&t, all[i]), 0);
        assert_int_equal(next(&t), 0);
    }
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue),
        cmocka_unit_test(test_health),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_no_alarm_at_start),
        cmocka_unit_test(test_pages_of_queues),
        cmocka_unit_test(test_workers),
        cmocka_unit_test(test_worker_of_many_queues),
        cmocka_unit_test(test_leases),
        cmocka_unit_test(test_tenants_and_limits),
        cmocka_unit_test(test_limits_one_by_one),
        cmocka_unit_test(test_pages_end_where_little_is_found),
        cmocka_unit_test(test_pages_of_tenants_that_go),
        cmocka_unit_test(test_wrong),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kv_metrics_reset();
    return failed;
}
