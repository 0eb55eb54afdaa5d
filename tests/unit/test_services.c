/* Queues as such: their names, and the 1,024 places there are for them. */
#include "tests/unit/rig_text.h"

#include "broker/lanes.h"
#include "proto/base/metrics.h"

static const char *numbered(uint64_t i)
{
    static char name[32];
    snprintf(name, sizeof name, "q%d", (int)i);
    return name;
}

static uint64_t submit(text_rig *t, uint64_t job, const char *service)
{
    uint64_t request = rig_submit(&t->r, "c", job, service, 1);
    rig_commit(&t->r);
    return request;
}

static void cancel(text_rig *t, uint64_t job)
{
    kv_msg m;
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = job;
    rig_say(&t->r, "c", &m);
    text_commit(t);
}

/* A job in each of so many queues. */
static void fill(text_rig *t, uint64_t n)
{
    for (uint64_t i = 1; i <= n; i++) {
        rig_expect_code(&t->r, submit(t, i, numbered(i)), KV_SUBMIT_OK);
        t->r.n = 0;
    }
}

static uint64_t say_ready(text_rig *t, const char *peer, kv_slice service)
{
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = service;
    m.ready.credit = 1;
    return rig_say(&t->r, peer, &m);
}

static kv_msg set_of(const char *service)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service = kv_slice_str(service);
    return m;
}

static bool there(const text_rig *t, const char *name)
{
    return kv_names_find(&t->r.core->services, kv_slice_str(name)) != NULL;
}

/* ---- names ---- */

static void test_names(void **state)
{
    static const kv_slice bad[] = {{"", 0},     {"BAD", 3},    {"A B", 3}, {"çok", 4},
                                   {"a\"b", 3}, {"a\nb c", 5}, {"a_b", 3}, {"a\0b", 3},
                                   {"a/b", 3},  {"a.b", 3},    {" a", 2}};
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    rig_hello(&t.r, "w", "worker", "w", 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig_expect_error(&t.r, say_ready(&t, "w", bad[i]), KV_E_BAD_PARAMETER);
        m = rig_job(i + 1, "ai", 1);
        m.submit.service = bad[i];
        rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_PARAMETER);
        m = set_of("ai");
        m.queue_set.service = bad[i];
        m.queue_set.paused = 1;
        rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_PARAMETER);
        kv_msg_defaults(KV_PURGE, &m);
        m.purge.service = bad[i];
        rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_PARAMETER);
        kv_msg_defaults(KV_INSPECT, &m);
        m.inspect.what = kv_slice_str("queues");
        m.inspect.service = bad[i];
        if (bad[i].len)
            rig_expect_error(&t.r, rig_say(&t.r, "c", &m), KV_E_BAD_PARAMETER);
        t.r.n = 0;
    }
    assert_int_equal(t.r.core->services_n, 0);
    rig_expect_code(&t.r, say_ready(&t, "w", kv_slice_str("a-1")), KV_OKAY);
    text_stop(&t);
}

/* ---- places ---- */

/* What failed stays in sight after a restart, as long as no job needs the place. */
static void test_dead_letters_only(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    fill(&t, KV_SERVICES_MAX - 1);
    assert_int_equal(kv_core_dead_letters_of(t.r.core, t.r.now, kv_slice_str("q1")), KV_OK);
    assert_int_equal(kv_core_dead_letters_of(t.r.core, t.r.now, kv_slice_str("broken")), KV_OK);
    assert_int_equal(kv_core_dead_letters_of(t.r.core, t.r.now, kv_slice_str("too-many")), KV_OK);
    assert_int_equal(kv_core_dead_letters_of(t.r.core, t.r.now, kv_slice_str("blob-reap")), KV_OK);
    assert_true(there(&t, "broken"));
    assert_true(there(&t, "blob-reap"));
    assert_false(there(&t, "too-many"));
    assert_int_equal(kv_services_in_use(t.r.core), KV_SERVICES_MAX - 1);
    rig_expect_code(&t.r, submit(&t, 5000, "one-more"), KV_SUBMIT_OK);
    assert_false(there(&t, "broken"));
    text_stop(&t);
}

static void test_places_come_back(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    fill(&t, KV_SERVICES_MAX);
    for (uint64_t i = 1; i <= KV_SERVICES_MAX; i++)
        cancel(&t, i);
    for (uint64_t i = 1; i <= KV_SERVICES_MAX; i++) { /* all of them, once more */
        rig_expect_code(&t.r, submit(&t, 10000 + i, numbered(10000 + i)), KV_SUBMIT_OK);
        t.r.n = 0;
    }
    assert_int_equal(t.r.core->services_n, KV_SERVICES_MAX);
    assert_false(there(&t, "q1"));
    assert_true(there(&t, "q10001"));
    text_stop(&t);
}

static void expect_full(text_rig *t, uint64_t request)
{
    rig_expect_error(&t->r, request, KV_E_BUSY);
    const kv_error *e = &rig_reply(&t->r, request)->m.error;
    assert_true(e->retry_after_ms >= 1000);
    assert_true(e->detail.len > 0 && strstr(e->detail.ptr, "1,024 queues are in use"));
}

static void test_all_in_use(void **state)
{
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    fill(&t, KV_SERVICES_MAX);
    rig_hello(&t.r, "w", "worker", "w", 2);
    expect_full(&t, submit(&t, 5000, "one-more"));
    expect_full(&t, say_ready(&t, "w", kv_slice_str("one-more")));
    m = set_of("one-more");
    m.queue_set.paused = 1;
    expect_full(&t, rig_say(&t.r, "c", &m));
    assert_int_equal(kv_services_in_use(t.r.core), KV_SERVICES_MAX);
    rig_expect_code(&t.r, submit(&t, 5001, "q7"), KV_SUBMIT_OK); /* a queue that is there */
    cancel(&t, 9);
    assert_int_equal(kv_services_in_use(t.r.core), KV_SERVICES_MAX - 1);
    rig_expect_code(&t.r, submit(&t, 5000, "one-more"), KV_SUBMIT_OK);
    assert_false(there(&t, "q9"));
    expect_full(&t, submit(&t, 5002, "two-more"));
    text_stop(&t);
}

/* kervan's own queues always have a place. */
static void test_own_queues(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    fill(&t, KV_SERVICES_MAX);
    rig_hello(&t.r, "w", "worker", "w", 2);
    rig_expect_code(&t.r, say_ready(&t, "w", kv_slice_str("image-process")), KV_OKAY);
    rig_expect_code(&t.r, say_ready(&t, "w", kv_slice_str("blob-reap")), KV_OKAY);
    text_stop(&t);
}

/* What is committed is held, though there be more names than places; then no new one comes. */
static void test_more_than_places(void **state)
{
    enum { ROWS = KV_SERVICES_MAX + 100 };
    text_rig t;
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= ROWS; i++) {
        kv_job_row row = {.id = i, .seq = i, .max_attempts = 3, .lane = 1, .service = numbered(i)};
        assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    }
    expect_full(&t, submit(&t, 5000, "one-more"));
    assert_int_equal(t.r.core->services_n, ROWS);
    for (uint64_t i = 1; i <= 100; i++)
        cancel(&t, i);
    expect_full(&t, submit(&t, 5000, "one-more"));
    assert_int_equal(t.r.core->services_n, KV_SERVICES_MAX);
    cancel(&t, 101);
    rig_expect_code(&t.r, submit(&t, 5000, "one-more"), KV_SUBMIT_OK);
    text_stop(&t);
}

/* What a queue has that keeps its place. */
static void test_what_keeps_a_place(void **state)
{
    text_rig t;
    kv_msg m;
    (void)state;
    text_client(&t);
    rig_hello(&t.r, "w", "worker", "w", 2);
    say_ready(&t, "w", kv_slice_str("worker"));
    m = rig_job(9001, "delayed", 1);
    m.submit.delay_ms = 1000000;
    rig_say(&t.r, "c", &m);
    say_ready(&t, "w", kv_slice_str("running"));
    rig_submit(&t.r, "c", 9002, "running", 1);
    m = set_of("paused");
    m.queue_set.paused = 1;
    rig_say(&t.r, "c", &m);
    m = set_of("limited");
    m.queue_set.rate_per_minute = 10;
    rig_say(&t.r, "c", &m);
    m = set_of("bounded");
    m.queue_set.max_waiting = 10;
    rig_say(&t.r, "c", &m);
    m = set_of("of-tenant");
    m.queue_set.tenant_set = true;
    m.queue_set.tenant = kv_slice_str("u");
    m.queue_set.concurrency = 1;
    rig_say(&t.r, "c", &m);
    m = set_of("of-each");
    m.queue_set.tenant_set = true;
    m.queue_set.tenant = kv_slice_str("*");
    m.queue_set.weight = 2;
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    rig_submit(&t.r, "c", 9003, "at-ledger", 1); /* its end is not committed */
    rig_commit(&t.r);
    m.code = KV_CANCEL;
    m.cancel.job = 9003;
    rig_say(&t.r, "c", &m);
    kv_cmd *held = kv_cmd_pop(&t.r.commands);
    assert_non_null(held);
    for (uint64_t i = 1; i <= 3 * KV_SERVICES_MAX; i++) {
        rig_expect_code(&t.r, submit(&t, i, numbered(i)), KV_SUBMIT_OK);
        cancel(&t, i);
        rig_beat(&t.r, "w", 1);
        t.r.n = 0;
    }
    static const char *const kept[] = {"worker",  "delayed",   "running", "paused",   "limited",
                                       "bounded", "of-tenant", "of-each", "at-ledger"};
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++)
        assert_true(there(&t, kept[i]));
    assert_true(text_service(&t, "paused")->paused);
    kv_cmd_push(&t.r.commands, held);
    text_commit(&t);
    text_stop(&t);
}

/* ---- the numbers of queues that went ---- */

static int64_t counted(text_rig *t, const char *row)
{
    kv_buf text;
    kv_buf_init(&text, 0);
    kv_core_gauges(t->r.core);
    kv_metrics_render(&text);
    const char *at = strstr(kv_buf_str(&text), row);
    int64_t v = at ? strtoll(at + strlen(row), NULL, 10) : -1;
    kv_buf_release(&text);
    return v;
}

static void test_counters_stay(void **state)
{
    static const char one[] = "kervan_queue_jobs_total{service=\"q1\",outcome=\"cancelled\"} ";
    static const char rest[] = "kervan_queue_jobs_total{service=\"other\",outcome=\"cancelled\"} ";
    text_rig t;
    (void)state;
    kv_metrics_reset();
    text_client(&t);
    fill(&t, KV_SERVICES_MAX);
    assert_int_equal(counted(&t, "kervan_jobs_waiting{service=\"q1\"} "), 1);
    for (uint64_t i = 1; i <= KV_SERVICES_MAX; i++)
        cancel(&t, i);
    for (uint64_t i = 1; i <= KV_SERVICES_MAX; i++) {
        submit(&t, 10000 + i, numbered(10000 + i));
        t.r.n = 0;
    }
    assert_int_equal(counted(&t, one), 1);
    assert_int_equal(counted(&t, "kervan_jobs_waiting{service=\"q1\"} "), 0);
    assert_int_equal(counted(&t, rest), KV_SERVICES_MAX - 61);
    assert_int_equal(counted(&t, "kervan_jobs_waiting{service=\"other\"} "), KV_SERVICES_MAX);
    cancel(&t, 10001);
    submit(&t, 20000, "q1"); /* back under its own label */
    assert_int_equal(counted(&t, "kervan_jobs_waiting{service=\"q1\"} "), 1);
    text_stop(&t);
}

/* ctl pause of a name nobody uses, and resume: nothing stays. One that was used keeps its numbers.
 */
static void test_resume_leaves_nothing(void **state)
{
    text_rig t;
    kv_msg m = set_of("nobody");
    (void)state;
    text_client(&t);
    m.queue_set.paused = 1;
    rig_say(&t.r, "c", &m);
    rig_answer(&t.r, KV_OK);
    assert_true(text_service(&t, "nobody")->paused);
    for (int i = 0; i < 2; i++) {
        m = set_of(i ? "used" : "nobody");
        m.queue_set.paused = 0;
        if (i)
            fill(&t, 1), submit(&t, 70, "used"), cancel(&t, 70);
        rig_say(&t.r, "c", &m);
        t.r.commands.first->setting_removed = true;
        rig_answer(&t.r, KV_OK);
    }
    assert_false(there(&t, "nobody"));
    assert_true(there(&t, "used"));
    m = set_of("nobody"); /* the same for the rule of a tenant */
    m.queue_set.tenant_set = true;
    for (int i = 0; i < 4; i++) {
        m.queue_set.tenant = kv_slice_str(i < 2 ? "u" : "*");
        m.queue_set.concurrency = (i + 1) % 2;
        rig_say(&t.r, "c", &m);
        t.r.commands.first->setting_removed = i % 2;
        rig_answer(&t.r, KV_OK);
        assert_true(there(&t, "nobody") == (i % 2 == 0));
    }
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_dead_letters_only),
        cmocka_unit_test(test_places_come_back),
        cmocka_unit_test(test_all_in_use),
        cmocka_unit_test(test_own_queues),
        cmocka_unit_test(test_more_than_places),
        cmocka_unit_test(test_what_keeps_a_place),
        cmocka_unit_test(test_resume_leaves_nothing),
        cmocka_unit_test(test_counters_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
