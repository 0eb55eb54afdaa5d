/* How fast a queue goes, and when a job will begin: measured with a fake clock. */
#include "tests/unit/rig_text.h"

#include <math.h>

#include "broker/lanes.h"
#include "broker/pace.h"
#include "proto/base/metrics.h"

/* ---- a queue with workers that need given times ---- */

enum { PLACES_MAX = 16 };

typedef struct run {
    text_rig t;
    int places;
    int64_t ends[PLACES_MAX]; /* mono ms; 0: free */
    uint64_t job[PLACES_MAX];
    uint64_t random;
    double mean, spread; /* of the service times; spread 0: all alike */
} run;

static double uniform(run *r)
{
    r->random = r->random * 6364136223846793005u + 1442695040888963407u;
    return ((double)(r->random >> 11) + 0.5) / 9007199254740992.0;
}

static int64_t service_ms(run *r)
{
    double low = r->mean * (1 - r->spread), high = r->mean * (1 + r->spread);
    return (int64_t)(r->spread > 1 ? -r->mean * log(uniform(r)) : low + (high - low) * uniform(r));
}

static void take_leases(run *r)
{
    rig_commit(&r->t.r);
    for (int i = 0; i < r->t.r.n; i++) {
        const kv_msg *m = &r->t.r.sent[i].m;
        if (m->code != KV_JOB)
            continue;
        int at = 0;
        while (r->ends[at])
            at++;
        assert_true(at < r->places);
        r->job[at] = m->job.job;
        r->ends[at] = r->t.r.now.mono_ms + 1 + service_ms(r);
    }
    r->t.r.n = 0;
}

static void run_start(run *r, int places, double mean, double spread)
{
    *r = (run){.places = places, .mean = mean, .spread = spread, .random = 7};
    text_start(&r->t, 1);
    rig_hello(&r->t.r, "w", "worker", "w", 1);
    rig_ready(&r->t.r, "w", "ai", (uint64_t)places);
    rig_hello(&r->t.r, "c", "client", "c", 2);
    r->t.r.n = 0;
}

static void submit(run *r, uint64_t job, uint64_t lane)
{
    rig_submit(&r->t.r, "c", job, "ai", lane);
    take_leases(r);
}

static void beat(run *r)
{
    rig_beat(&r->t.r, "w", (uint64_t)r->places);
    rig_beat(&r->t.r, "c", 0);
    r->t.r.n = 0;
}

/* To the next end of a job; false: none runs. */
static bool step(run *r)
{
    int next = -1;
    for (int i = 0; i < r->places; i++) {
        if (r->ends[i] && (next < 0 || r->ends[i] < r->ends[next]))
            next = i;
    }
    if (next < 0)
        return false;
    int64_t ms = r->ends[next] - r->t.r.now.mono_ms;
    r->t.r.now.mono_ms += ms;
    r->t.r.now.wall_ms += ms;
    beat(r);
    r->ends[next] = 0;
    rig_done(&r->t.r, "w", r->job[next], 1, 1);
    take_leases(r);
    return true;
}

static kv_pace_view look(run *r)
{
    kv_pace_view v;
    kv_core *c = r->t.r.core;
    c->now = r->t.r.now;
    kv_pace_look(c, text_service(&r->t, "ai"), &v);
    return v;
}

static void eta(run *r, uint64_t job, uint64_t *low, uint64_t *high)
{
    kv_core *c = r->t.r.core;
    c->now = r->t.r.now;
    const kv_task *t = kv_ids_find(&c->jobs, job);
    *low = *high = 0;
    if (t && t->at == KV_AT_LANE)
        kv_pace_eta_rank(c, t, kv_lanes_rank(t, NULL), low, high);
}

/* ---- tests ---- */

static void assert_near(double got, double want, double part)
{
    if (fabs(got - want) > want * part)
        fail_msg("%g is not near %g", got, want);
}

/* S4-99: processing times. Uniform from 0 to 2 s; what is read is near what was. */
static void test_percentiles(void **state)
{
    run r;
    (void)state;
    run_start(&r, 1, 1000, 1);
    for (uint64_t i = 1; i <= 1500; i++) {
        submit(&r, i, 1);
        if (i % 2)
            assert_true(step(&r));
    }
    while (step(&r))
        ;
    kv_pace_view v = look(&r);
    assert_int_equal(v.complete, 1500);
    assert_int_equal(v.begun, 1500);
    assert_true(v.service.n >= 250); /* of the last 5 to 10 minutes */
    assert_true(v.service.n <= 620);
    assert_near(v.service.p50, 1000, 0.1);
    assert_near(v.service.p90, 1800, 0.05);
    assert_near(v.service.p99, 1980, 0.04);
    assert_true(v.wait.p50 > 100000); /* half of the jobs queued up */
    text_stop(&r.t);
}

/* One value is read back within 1/32. */
static void test_resolution(void **state)
{
    (void)state;
    for (double ms = 1; ms < 1e9; ms *= 7.3) {
        run r;
        run_start(&r, 1, ms, 0);
        submit(&r, 1, 1);
        assert_true(step(&r));
        assert_near(look(&r).service.p50, (double)((int64_t)ms + 1), 0.032);
        text_stop(&r.t);
    }
}

/* S4-98 S4-100: counts, throughput, error rate. */
static void test_throughput(void **state)
{
    run r;
    (void)state;
    run_start(&r, 1, 99, 0); /* 100 ms each */
    for (uint64_t i = 1; i <= 1000; i++) {
        submit(&r, i, 1);
        assert_true(step(&r));
    }
    kv_pace_view v = look(&r);
    assert_near(v.s10, 10, 0.02);
    assert_near(v.min1, 10, 0.02);
    assert_near(v.min5, 10, 0.02); /* over the 100 s there are */
    assert_true(v.error_rate < 1e-9);
    for (uint64_t i = 2001; i <= 2250; i++) {
        submit(&r, i, 1);
        r.ends[0] = 0;
        rig_fail(&r.t.r, "w", i, 1, 1, false);
        take_leases(&r);
        rig_tick(&r.t.r, 100);
        beat(&r);
    }
    v = look(&r);
    assert_int_equal(v.error, 250);
    assert_near(v.error_rate, 0.2, 0.02);
    for (int i = 0; i < 30; i++) {
        rig_tick(&r.t.r, 500);
        beat(&r);
    }
    v = look(&r);
    assert_true(v.s10 < 1e-9);
    assert_true(v.last_ended_ms >= 15000 && v.last_ended_ms < 15200);
    for (int i = 0; i < 620; i++) {
        rig_tick(&r.t.r, 500);
        beat(&r);
    }
    v = look(&r);
    assert_true(v.min5 < 1e-9 && v.error_rate < 1e-9); /* long over */
    assert_int_equal(v.complete, 1000);
    text_stop(&r.t);
}

/* How long a job ran before it was cancelled says nothing of how long one takes; nor does a lease
 * of before the restart. */
static void test_not_measured(void **state)
{
    run r;
    (void)state;
    run_start(&r, 1, 99, 0);
    for (uint64_t i = 1; i <= 5; i++) {
        submit(&r, i, 1);
        assert_true(step(&r));
    }
    submit(&r, 6, 1);
    kv_msg m;
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = 6;
    rig_tick(&r.t.r, 2000);
    rig_say(&r.t.r, "c", &m);
    rig_commit(&r.t.r);
    kv_pace_view v = look(&r);
    assert_int_equal(v.cancelled, 1);
    assert_int_equal(v.service.n, 5);
    text_stop(&r.t);

    r = (run){.places = 1};
    text_start(&r.t, 2);
    kv_job_row row = {.id = 1,
                      .seq = 1,
                      .max_attempts = 3,
                      .lane = 1,
                      .state = KV_JOB_PROCESSING,
                      .epoch = 1,
                      .attempt = 1,
                      .service = "ai",
                      .tenant = kv_slice_str("")};
    assert_int_equal(kv_core_load(r.t.r.core, r.t.r.now, &row), KV_OK);
    rig_hello(&r.t.r, "w", "worker", "w", 1);
    rig_claim(&r.t.r, "w", 1, 1, 1);
    rig_done(&r.t.r, "w", 1, 1, 1);
    rig_commit(&r.t.r);
    v = look(&r);
    assert_int_equal(v.complete, 1);
    assert_int_equal(v.service.n, 0);
    text_stop(&r.t);
}

/* Nothing measured, no worker, paused, running, unknown: not known is 0 and 0. */
static void test_eta_not_known(void **state)
{
    run r;
    uint64_t low, high;
    (void)state;
    run_start(&r, 1, 1000, 0);
    submit(&r, 1, 1);
    submit(&r, 2, 1);
    eta(&r, 2, &low, &high);
    assert_int_equal(low + high, 0); /* nothing has ended yet */
    assert_true(step(&r));
    submit(&r, 3, 1);
    eta(&r, 2, &low, &high);
    assert_int_equal(low + high, 0); /* it runs */
    eta(&r, 99, &low, &high);
    assert_int_equal(low + high, 0);
    eta(&r, 3, &low, &high);
    assert_true(high > 0);
    text_service(&r.t, "ai")->paused = true;
    eta(&r, 3, &low, &high);
    assert_int_equal(low + high, 0);
    text_stop(&r.t);
}

/* S3-10: how long to wait. Equal jobs: the range is narrow and falls while the one before runs. */
static void test_eta_equal_jobs(void **state)
{
    run r;
    uint64_t low, high, later_high;
    (void)state;
    run_start(&r, 1, 9999, 0);
    for (uint64_t i = 1; i <= 30; i++)
        submit(&r, i, 1);
    for (int i = 0; i < 20; i++)
        assert_true(step(&r));
    eta(&r, 22, &low, &high); /* next: in 10 s */
    assert_true(low <= 10000 && high >= 10000 && high - low < 10000);
    r.t.r.now.mono_ms += 6000;
    eta(&r, 22, &low, &later_high); /* next: in 4 s */
    assert_true(low <= 4000 && later_high >= 4000);
    assert_true(later_high < high);
    eta(&r, 30, &low, &high);
    assert_true(low <= 84000 && high >= 84000);
    assert_true(low > 60000 && high < 110000);
    text_stop(&r.t);
}

/* Forecasts of a whole queue against what came; how many held. */
enum { KNOWN = 60, ASKED = 200 };

static int forecast_once(int places, double mean, double spread, uint64_t seed)
{
    run r;
    uint64_t low[ASKED], high[ASKED];
    int hit = 0;
    int64_t begun[ASKED] = {0};
    run_start(&r, places, mean, spread);
    r.random = seed;
    for (uint64_t i = 1; i <= KNOWN + ASKED; i++)
        submit(&r, i, 1);
    for (int i = 0; i < KNOWN - places; i++)
        assert_true(step(&r));
    int64_t from = r.t.r.now.mono_ms;
    for (int i = 0; i < ASKED; i++)
        eta(&r, KNOWN + 1 + (uint64_t)i, &low[i], &high[i]);
    for (bool more = true; more;) {
        for (int p = 0; p < places; p++) {
            if (r.ends[p] && r.job[p] > KNOWN && !begun[r.job[p] - KNOWN - 1])
                begun[r.job[p] - KNOWN - 1] = r.t.r.now.mono_ms;
        }
        more = step(&r);
    }
    for (int i = 0; i < ASKED; i++) {
        assert_true(begun[i] > 0 && high[i] >= low[i] && high[i] > 0);
        hit += begun[i] - from >= (int64_t)low[i] && begun[i] - from <= (int64_t)high[i];
    }
    text_stop(&r.t);
    return hit;
}

/* One queue misses all its forecasts or none, so many are needed to see the share of 8 in 10. */
static void assert_holds(int places, double mean, double spread)
{
    enum { QUEUES = 60 };
    int hit = 0;
    for (uint64_t seed = 1; seed <= QUEUES; seed++)
        hit += forecast_once(places, mean, spread, seed * 77777);
    double share = (double)hit / (QUEUES * ASKED);
    if (share < 0.65 || share > 0.93)
        fail_msg("%d places, mean %g, spread %g: %g held", places, mean, spread, share);
}

static void test_eta_holds(void **state)
{
    (void)state;
    assert_int_equal(forecast_once(1, 1000, 0, 1),
                     ASKED); /* all alike: nothing to be wrong about */
    assert_holds(1, 3000, 0.5);
    assert_holds(4, 2000, 0.8);
    assert_holds(16, 5000, 2); /* exponential */
    assert_holds(3, 40, 2);
}

/* A rate limit is slower than the workers: it decides. */
static void test_eta_rate(void **state)
{
    run r;
    uint64_t low, high;
    (void)state;
    run_start(&r, 4, 9, 0);
    submit(&r, 1, 1);
    assert_true(step(&r));
    kv_service_set_limits(text_service(&r.t, "ai"), -1, 6); /* one in 10 s */
    for (uint64_t i = 2; i <= 12; i++)
        submit(&r, i, 1);
    eta(&r, 12, &low, &high); /* 2 has the token; 12 has nine before it */
    assert_true(low >= 80000 && high >= 90000 && high <= 110000);
    text_stop(&r.t);
}

/* The oldest waiting job: over lanes, over the order of tenants, and over a restart. */
static void test_oldest(void **state)
{
    text_rig t;
    (void)state;
    text_start(&t, 1);
    rig_hello(&t.r, "c", "client", "c", 2);
    rig_submit(&t.r, "c", 1, "ai", 2);
    kv_service *s = text_service(&t, "ai");
    assert_int_equal(kv_pace_oldest_ms(t.r.core, s), 0);
    text_commit(&t);
    text_wait(&t, 2000);
    rig_submit(&t.r, "c", 2, "ai", 0);
    text_wait(&t, 1000);
    assert_int_equal(kv_pace_oldest_ms(t.r.core, s), 3000);
    text_stop(&t);

    text_start(&t, 2);
    kv_job_row row = {.id = 1,
                      .seq = 1,
                      .max_attempts = 3,
                      .created_at = (uint64_t)t.r.now.wall_ms - 60000,
                      .lane = 1,
                      .service = "ai",
                      .tenant = kv_slice_str("")};
    assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    row.id = row.seq = 2;
    row.not_before = (uint64_t)t.r.now.wall_ms - 1000;
    row.created_at = (uint64_t)t.r.now.wall_ms - 90000;
    assert_int_equal(kv_core_load(t.r.core, t.r.now, &row), KV_OK);
    assert_int_equal(kv_pace_oldest_ms(t.r.core, text_service(&t, "ai")), 60000);
    text_stop(&t);
}

static const char *metrics(kv_buf *text, const kv_core *c)
{
    kv_buf_clear(text);
    kv_core_gauges(c);
    kv_metrics_render(text);
    return kv_buf_str(text);
}

/* S4-98 S4-99 S4-100: counts, processing times and errors of each queue. */
static void test_metrics_of_queues(void **state)
{
    run r;
    kv_buf text;
    (void)state;
    kv_metrics_reset();
    kv_buf_init(&text, 0);
    run_start(&r, 1, 2999, 0);
    submit(&r, 1, 1);
    submit(&r, 2, 2);
    submit(&r, 3, 0);
    assert_true(step(&r));
    r.ends[0] = 0;
    rig_fail(&r.t.r, "w", 3, 1, 1, false);
    take_leases(&r);
    rig_done(&r.t.r, "w", 3, 1, 1); /* late */
    take_leases(&r);
    submit(&r, 4, 2);
    const char *m = metrics(&text, r.t.r.core);
    assert_non_null(strstr(m, "kervan_job_service_seconds_bucket{service=\"ai\",le=\"5\"} 2\n"));
    assert_non_null(strstr(m, "kervan_job_service_seconds_count{service=\"ai\"} 2\n"));
    assert_non_null(strstr(m, "kervan_job_wait_seconds_count{service=\"ai\"} 3\n"));
    assert_non_null(strstr(m, "kervan_lane_waiting{service=\"ai\",lane=\"background\"} 1\n"));
    assert_non_null(strstr(m, "kervan_jobs_waiting{service=\"ai\"} 1\n"));
    assert_non_null(strstr(m, "kervan_queue_jobs_total{service=\"ai\",outcome=\"complete\"} 1\n"));
    assert_non_null(strstr(m, "kervan_queue_jobs_total{service=\"ai\",outcome=\"error\"} 1\n"));
    assert_non_null(strstr(m, "kervan_job_attempts_total{service=\"ai\"} 3\n"));
    assert_non_null(strstr(m, "kervan_late_answers_total{service=\"ai\"} 1\n"));
    assert_non_null(strstr(m, "kervan_jobs_stuck_total{service=\"ai\"} 0\n"));
    assert_non_null(strstr(m, "kervan_job_oldest_waiting_seconds{service=\"ai\"} 0\n"));
    kv_buf_release(&text);
    text_stop(&r.t);
}

/* Names of queues come from clients: after the first ones the rest share a place, and kervan's own
 * keep theirs. */
static void test_many_queues(void **state)
{
    text_rig t;
    kv_buf text;
    char name[32];
    (void)state;
    kv_metrics_reset();
    kv_buf_init(&text, 0);
    text_start(&t, 1);
    rig_hello(&t.r, "c", "client", "c", 2);
    for (uint64_t i = 1; i <= 100; i++) {
        snprintf(name, sizeof name, "queue-%d", (int)i);
        rig_submit(&t.r, "c", i, name, 1);
        text_commit(&t);
    }
    assert_non_null(kv_service_get(t.r.core, kv_slice_str("image-process")));
    const char *m = metrics(&text, t.r.core);
    assert_non_null(strstr(m, "kervan_jobs_waiting{service=\"queue-61\"} 1\n"));
    assert_null(strstr(m, "queue-62"));
    assert_non_null(strstr(m, "kervan_jobs_waiting{service=\"other\"} 39\n"));
    assert_non_null(strstr(m, "kervan_jobs_waiting{service=\"image-process\"} 0\n"));
    assert_non_null(strstr(m, "kervan_lane_waiting{service=\"other\",lane=\"normal\"} 39\n"));
    assert_non_null(
        strstr(metrics(&text, t.r.core), "{service=\"other\"} 39\n")); /* not added up */
    kv_buf_release(&text);
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_percentiles),   cmocka_unit_test(test_resolution),
        cmocka_unit_test(test_throughput),    cmocka_unit_test(test_not_measured),
        cmocka_unit_test(test_eta_not_known), cmocka_unit_test(test_eta_equal_jobs),
        cmocka_unit_test(test_eta_holds),     cmocka_unit_test(test_eta_rate),
        cmocka_unit_test(test_oldest),        cmocka_unit_test(test_metrics_of_queues),
        cmocka_unit_test(test_many_queues),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kv_metrics_reset();
    return failed;
}
