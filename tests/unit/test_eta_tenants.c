/* When jobs begin whose tenant has limits of its own, and those that wait behind them. */
#include "tests/unit/rig_text.h"

#include "broker/lanes.h"
#include "broker/pace.h"

enum { RUN_MS = 100, SLOTS = 64 };

typedef struct run {
    text_rig t;
    uint64_t job[SLOTS];
    int64_t ends[SLOTS], began[2000];
} run;

static void take_leases(run *r)
{
    rig_commit(&r->t.r);
    for (int i = 0; i < r->t.r.n; i++) {
        const kv_msg *m = &r->t.r.sent[i].m;
        if (m->code != KV_JOB)
            continue;
        int at = 0;
        while (r->job[at])
            at++;
        assert_true(at < SLOTS);
        r->job[at] = m->job.job;
        r->ends[at] = r->t.r.now.mono_ms + RUN_MS;
        r->began[m->job.job] = r->t.r.now.mono_ms;
    }
    r->t.r.n = 0;
}

static void pass(run *r, int64_t ms)
{
    for (int64_t until = r->t.r.now.mono_ms + ms; r->t.r.now.mono_ms < until;) {
        rig_tick(&r->t.r, 20);
        rig_beat(&r->t.r, "w", SLOTS);
        rig_beat(&r->t.r, "c", 0);
        for (int i = 0; i < SLOTS; i++) {
            if (!r->job[i] || r->ends[i] > r->t.r.now.mono_ms)
                continue;
            rig_done(&r->t.r, "w", r->job[i], 1, 1);
            r->job[i] = 0;
        }
        take_leases(r);
    }
}

static void submit(run *r, uint64_t job, const char *tenant, uint64_t lane)
{
    kv_msg m = rig_job(job, "ai", lane);
    m.submit.tenant = kv_slice_str(tenant);
    rig_say(&r->t.r, "c", &m);
    take_leases(r);
}

/* One job has ended: something is measured. */
static void run_start(run *r, uint64_t credit)
{
    *r = (run){.job = {0}};
    text_start(&r->t, 1);
    rig_hello(&r->t.r, "w", "worker", "w", 1);
    rig_ready(&r->t.r, "w", "ai", credit);
    rig_hello(&r->t.r, "c", "client", "c", 2);
    r->t.r.n = 0;
    submit(r, 1, "", 1);
    pass(r, 2 * RUN_MS);
    assert_int_equal(kv_core_jobs(r->t.r.core), 0);
}

static void limit(run *r, const char *tenant, int64_t concurrency, int64_t rate)
{
    kv_service *s = text_service(&r->t, "ai");
    assert_true(kv_tenant_set(s, kv_slice_str(tenant), concurrency, rate, -1));
}

static void eta(run *r, uint64_t job, uint64_t *low, uint64_t *high)
{
    kv_core *c = r->t.r.core;
    c->now = r->t.r.now;
    kv_standing at = kv_task_standing(c, kv_ids_find(&c->jobs, job));
    *low = at.eta_low_ms;
    *high = at.eta_high_ms;
}

/* What was said of a job, and when it began. */
static void assert_true_range(run *r, uint64_t job, int64_t asked, uint64_t low, uint64_t high)
{
    int64_t took = r->began[job] - asked;
    assert_true(r->began[job] > 0);
    if (took + 20 < (int64_t)low || took > (int64_t)high + 20)
        fail_msg("job %d: said %d to %d ms, took %d", (int)job, (int)low, (int)high, (int)took);
}

/* limit tenant=u rate=10: 13 wait, one begins every 6 s. */
static void test_rate(void **state)
{
    run r;
    uint64_t low[20], high[20];
    (void)state;
    run_start(&r, 50);
    limit(&r, "u", -1, 10);
    for (uint64_t i = 2; i <= 15; i++)
        submit(&r, i, "u", 1);
    assert_true(r.began[2] && !r.began[3]);
    int64_t asked = r.t.r.now.mono_ms;
    for (uint64_t i = 3; i <= 15; i++)
        eta(&r, i, &low[i], &high[i]);
    assert_true(low[15] >= 77000 && low[15] <= 78500);
    assert_true(high[15] <= 90000);
    pass(&r, 90000);
    for (uint64_t i = 3; i <= 15; i++)
        assert_true_range(&r, i, asked, low[i], high[i]);
    text_stop(&r.t);
}

/* The bucket of a sixth of the rate lets the first ones pass. */
static void test_burst(void **state)
{
    run r;
    uint64_t low, high;
    (void)state;
    run_start(&r, 50);
    limit(&r, "u", -1, 60); /* a burst of 10, then one a second */
    for (uint64_t i = 2; i <= 31; i++)
        submit(&r, i, "u", 1);
    assert_true(r.began[11] && !r.began[12]);
    int64_t asked = r.t.r.now.mono_ms;
    eta(&r, 31, &low, &high);
    assert_true(low >= 18000 && high <= 25000);
    pass(&r, 25000);
    assert_true_range(&r, 31, asked, low, high);
    text_stop(&r.t);
}

/* One at a time: the tenant's own jobs are what is waited for, not the free places. */
static void test_concurrency(void **state)
{
    run r;
    uint64_t low[30], high[30];
    (void)state;
    run_start(&r, 50);
    limit(&r, "u", 1, -1);
    for (uint64_t i = 2; i <= 22; i++)
        submit(&r, i, "u", 1);
    assert_true(r.began[2] && !r.began[3]);
    int64_t asked = r.t.r.now.mono_ms;
    for (uint64_t i = 3; i <= 22; i++)
        eta(&r, i, &low[i], &high[i]);
    assert_true(high[22] >= 20 * RUN_MS);
    pass(&r, 60 * RUN_MS);
    for (uint64_t i = 3; i <= 22; i++)
        assert_true_range(&r, i, asked, low[i], high[i]);
    text_stop(&r.t);
}

/* Behind a tenant that is held back: passed over, so it may be at once. */
static void test_behind_a_limit(void **state)
{
    run r;
    uint64_t low, high;
    (void)state;
    run_start(&r, 1);
    submit(&r, 2, "", 1); /* has the place */
    limit(&r, "u", -1, 6);
    for (uint64_t i = 3; i <= 42; i++)
        submit(&r, i, "u", 1);
    submit(&r, 50, "v", 2);
    int64_t asked = r.t.r.now.mono_ms;
    eta(&r, 50, &low, &high);
    pass(&r, 60 * RUN_MS);
    assert_true_range(&r, 50, asked, low, high);
    text_stop(&r.t);
}

/* The rule of each tenant, in lanes, set and taken away again. */
static void test_each(void **state)
{
    run r;
    uint64_t low, high;
    (void)state;
    run_start(&r, 50);
    limit(&r, "*", -1, 10);
    for (uint64_t i = 2; i <= 10; i++)
        submit(&r, i, i % 2 ? "u" : "v", 1);
    submit(&r, 11, "u", 0);
    assert_true(r.began[2] && r.began[3] && !r.began[4] && !r.began[11]);
    eta(&r, 10, &low, &high); /* v: 4, 6, 8 before it */
    assert_true(low >= 23000 && low <= 24500 && high <= 31000);
    eta(&r, 11, &low, &high); /* urgent: the next of u */
    assert_true(low >= 5000 && low <= 6500);
    eta(&r, 9, &low, &high); /* u: 5, 7 and the urgent one before it */
    assert_true(low >= 11000 && high >= 24000);
    limit(&r, "*", -1, 0);
    kv_lease_dispatch(r.t.r.core, text_service(&r.t, "ai"));
    take_leases(&r);
    assert_int_equal(kv_lanes_waiting(text_service(&r.t, "ai"), -1), 0);
    text_stop(&r.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rate),        cmocka_unit_test(test_burst),
        cmocka_unit_test(test_concurrency), cmocka_unit_test(test_behind_a_limit),
        cmocka_unit_test(test_each),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
