/* What operators do to queues: settings, promote, purge, maintenance. */
#include "tests/unit/rig_text.h"

#include "broker/pace.h"
#include "broker/steer.h"
#include "proto/base/metrics.h"

static kv_queue_set set_of(const char *service)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service = kv_slice_str(service);
    return m.queue_set;
}

static uint64_t say_set(text_rig *t, kv_queue_set set)
{
    kv_msg m = {.code = KV_QUEUE_SET, .queue_set = set};
    return rig_say(&t->r, "c", &m);
}

static uint64_t promote(text_rig *t, uint64_t job, uint64_t lane)
{
    kv_msg m;
    kv_msg_defaults(KV_PROMOTE, &m);
    m.promote.job = job;
    m.promote.lane = lane;
    return rig_say(&t->r, "c", &m);
}

static uint64_t purge(text_rig *t, const char *service, uint64_t what)
{
    kv_msg m;
    kv_msg_defaults(KV_PURGE, &m);
    m.purge.service = kv_slice_str(service);
    m.purge.what = what;
    return rig_say(&t->r, "c", &m);
}

static uint64_t maintain(text_rig *t)
{
    kv_msg m;
    kv_msg_defaults(KV_MAINTAIN, &m);
    return rig_say(&t->r, "c", &m);
}

static void add_worker(text_rig *t, uint64_t credit)
{
    rig_hello(&t->r, "w", "worker", "w", 2);
    rig_ready(&t->r, "w", "ai", credit);
}

static uint64_t rank(const text_rig *t, uint64_t job)
{
    uint64_t r;
    assert_true(kv_core_job_rank(t->r.core, job, &r));
    return r;
}

static int leases(const text_rig *t)
{
    return (int)text_service(t, "ai")->running;
}

static uint64_t okay_id(const text_rig *t, uint64_t request)
{
    rig_expect_code(&t->r, request, KV_OKAY);
    return rig_reply(&t->r, request)->m.okay.id;
}

/* ---- QUEUE_SET ---- */

/* A setting counts from its commit on, and its answer comes with it. */
static void test_pause(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    set.paused = 1;
    uint64_t request = say_set(&t, set);
    assert_null(rig_reply(&t.r, request));
    assert_false(text_service(&t, "ai")->paused);
    rig_commit(&t.r);
    rig_expect_code(&t.r, request, KV_OKAY);
    add_worker(&t, 2);
    rig_submit(&t.r, "c", 1, "ai", 1);
    text_commit(&t);
    assert_int_equal(leases(&t), 0); /* taken, not begun */
    assert_int_equal(rank(&t, 1), 0);
    set.paused = 0;
    say_set(&t, set);
    text_commit(&t);
    assert_int_equal(leases(&t), 1);
    text_stop(&t);
}

/* What would be leased while a pause is at the ledger would begin behind its answer. */
static void test_no_lease_behind_a_pause(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    add_worker(&t, 2);
    text_commit(&t);
    set.paused = 1;
    uint64_t request = say_set(&t, set);
    rig_submit(&t.r, "c", 1, "ai", 1);
    assert_int_equal(leases(&t), 0);
    rig_answer(&t.r, KV_E_DISK_FULL); /* no pause: it goes on */
    rig_expect_error(&t.r, request, KV_E_DISK_FULL);
    assert_int_equal(leases(&t), 1);
    text_commit(&t);
    say_set(&t, set);
    set.paused = 0;
    say_set(&t, set);
    rig_submit(&t.r, "c", 2, "ai", 1);
    assert_int_equal(leases(&t), 1);
    text_commit(&t);
    assert_int_equal(leases(&t), 2);
    text_stop(&t);
}

static void test_set_refused_by_ledger(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    set.paused = 1;
    uint64_t request = say_set(&t, set);
    rig_answer(&t.r, KV_E_DISK_FULL);
    rig_expect_error(&t.r, request, KV_E_DISK_FULL);
    assert_false(text_service(&t, "ai")->paused);
    text_stop(&t);
}

static void test_limits(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    set.concurrency = 2;
    set.max_waiting = 7;
    set.overflow = 1;
    say_set(&t, set);
    text_commit(&t);
    add_worker(&t, 10);
    for (uint64_t i = 1; i <= 5; i++)
        rig_submit(&t.r, "c", i, "ai", 1);
    text_commit(&t);
    assert_int_equal(leases(&t), 2);
    set = set_of("ai");
    set.concurrency = 4;
    say_set(&t, set);
    text_commit(&t);
    assert_int_equal(leases(&t), 4);
    const kv_service *s = text_service(&t, "ai");
    assert_int_equal(s->max_waiting, 7); /* -1: as it was */
    assert_int_equal(s->overflow, 1);
    text_stop(&t);
}

static void test_draining(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    rig_submit(&t.r, "c", 1, "ai", 1);
    set.draining = 1;
    say_set(&t, set);
    text_commit(&t);
    uint64_t refused = rig_submit(&t.r, "c", 2, "ai", 1);
    rig_commit(&t.r);
    rig_expect_error(&t.r, refused, KV_E_QUEUE_DRAINING);
    add_worker(&t, 1);
    assert_int_equal(leases(&t), 1); /* what is there is worked off */
    text_stop(&t);
}

static void test_tenant_limits(void **state)
{
    text_rig t;
    kv_queue_set set = set_of("ai");
    (void)state;
    text_client(&t);
    set.tenant_set = true;
    set.tenant = kv_slice_str("t");
    set.concurrency = 1;
    set.weight = 5;
    say_set(&t, set);
    text_commit(&t);
    add_worker(&t, 10);
    for (uint64_t i = 1; i <= 6; i++) {
        kv_msg m = rig_job(i, "ai", 1);
        m.submit.tenant = kv_slice_str(i % 2 ? "t" : "u");
        rig_say(&t.r, "c", &m);
    }
    assert_int_equal(leases(&t), 4); /* one of t, three of u */
    text_stop(&t);
}

static void test_set_wrong(void **state)
{
    text_rig t;
    kv_queue_set bad[10];
    (void)state;
    text_client(&t);
    for (int i = 0; i < 10; i++)
        bad[i] = set_of("ai");
    bad[0].service = kv_slice_str("AI");
    bad[1].paused = 2;
    bad[2].weight = 3;
    bad[3].tenant = kv_slice_str("t");
    bad[4].tenant_set = true, bad[4].paused = 1;
    bad[5].tenant_set = true, bad[5].weight = 101;
    bad[6].concurrency = -2;
    bad[7].rate_per_minute = INT64_MAX;
    bad[8].service = kv_slice_str("blob-reap"), bad[8].draining = 1;
    bad[9].tenant_set = true, bad[9].weight = 0;
    for (int i = 0; i < 10; i++)
        rig_expect_error(&t.r, say_set(&t, bad[i]), KV_E_BAD_PARAMETER);
    assert_int_equal(t.r.commands.n, 0);
    text_stop(&t);
}

/* What was set is there again after a restart, before the first job. */
static void test_set_kept(void **state)
{
    text_rig t;
    kv_setting row = {.service = kv_slice_str("ai"),
                      .paused = 1,
                      .draining = -1,
                      .concurrency = 3,
                      .rate_per_minute = -1,
                      .max_waiting = 12,
                      .overflow = -1,
                      .weight = -1};
    (void)state;
    text_start(&t, 2);
    assert_int_equal(kv_core_setting(t.r.core, t.r.now, &row), KV_OK);
    const kv_service *s = text_service(&t, "ai");
    assert_true(s->paused);
    assert_false(s->draining);
    assert_int_equal(s->limits.concurrency, 3);
    assert_int_equal(s->max_waiting, 12);
    assert_int_equal(s->overflow, -1);
    text_stop(&t);
}

/* ---- PROMOTE ---- */

static void test_promote(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= 4; i++)
        rig_submit(&t.r, "c", i, "ai", i == 1 ? 0 : 2);
    kv_msg later = rig_job(5, "ai", 1);
    later.submit.delay_ms = 60000;
    rig_say(&t.r, "c", &later);
    text_commit(&t);
    text_wait(&t, 1000);
    rig_beat(&t.r, "c", 0);
    uint64_t request = promote(&t, 3, 0);
    assert_int_equal(rank(&t, 3), 1); /* at the end of its new lane */
    assert_int_equal(t.r.commands.first->promote.lane, 0);
    assert_int_equal(t.r.commands.first->promote.attempt, 0);
    assert_null(rig_reply(&t.r, request));
    rig_commit(&t.r);
    assert_int_equal(okay_id(&t, request), 3);
    assert_int_equal(kv_pace_oldest_ms(t.r.core, text_service(&t, "ai")), 1000);
    promote(&t, 5, 0); /* out of its delay */
    rig_commit(&t.r);
    assert_int_equal(rank(&t, 5), 2);
    assert_int_equal(text_service(&t, "ai")->delayed, 0);
    promote(&t, 1, 2); /* and down */
    rig_commit(&t.r);
    assert_int_equal(rank(&t, 3), 0);
    request = promote(&t, 99, 0);
    rig_commit(&t.r);
    rig_expect_error(&t.r, request, KV_E_NOT_FOUND);
    add_worker(&t, 1);
    rig_commit(&t.r);
    rig_expect_error(&t.r, promote(&t, 3, 0), KV_E_CONFLICT);
    text_stop(&t);
}

static void submit_of(text_rig *t, uint64_t job, const char *tenant, uint64_t lane)
{
    kv_msg m = rig_job(job, "ai", lane);
    m.submit.tenant = kv_slice_str(tenant);
    rig_say(&t->r, "c", &m);
}

/* The ledger could not: the job is where it was. */
static void test_promote_fails(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    submit_of(&t, 1, "b", 0);
    submit_of(&t, 2, "a", 2);
    submit_of(&t, 3, "b", 2);
    submit_of(&t, 4, "c", 2);
    submit_of(&t, 5, "b", 2);
    submit_of(&t, 6, "c", 2);
    text_commit(&t);
    uint64_t request = promote(&t, 3, 0);
    rig_answer(&t.r, KV_E_DISK_FULL);
    rig_expect_error(&t.r, request, KV_E_DISK_FULL);
    kv_cmd *find = kv_cmd_pop(&t.r.commands);
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    kv_core_result(t.r.core, t.r.now, find);
    text_wait(&t, 1500);
    rig_submit(&t.r, "c", 7, "ai", 1);
    for (uint64_t job = 2; job <= 6; job++)
        assert_int_equal(rank(&t, job), job); /* behind the normal one, in their order */
    text_stop(&t);
}

/* ---- PURGE ---- */

static void test_purge(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    add_worker(&t, 1);
    for (uint64_t i = 1; i <= 8; i++) {
        kv_msg m = rig_job(i, "ai", i % 3);
        m.submit.delay_ms = i > 6 ? 60000 : 0;
        rig_say(&t.r, "c", &m);
    }
    rig_submit(&t.r, "c", 20, "other", 1);
    text_commit(&t);
    uint64_t request = purge(&t, "ai", 0);
    rig_submit(&t.r, "c", 9, "ai", 2); /* comes after it, and stays */
    assert_null(rig_reply(&t.r, request));
    rig_commit(&t.r);
    assert_int_equal(okay_id(&t, request), 7);
    assert_int_equal(kv_core_jobs(t.r.core), 3); /* the running one, the new one, the other one */
    assert_int_equal(rank(&t, 9), 0);
    assert_int_equal(text_service(&t, "ai")->delayed, 0);
    assert_null(t.r.core->purges);
    kv_header again = {.code = KV_PURGE, .request = request};
    kv_msg m;
    kv_msg_defaults(KV_PURGE, &m);
    m.purge.service = kv_slice_str("ai");
    t.r.n = 0;
    kv_core_message(t.r.core, t.r.now, kv_slice_str("c"), &again, &m); /* the same once more */
    assert_int_equal(okay_id(&t, request), 7);
    assert_int_equal(kv_core_jobs(t.r.core), 3);
    text_stop(&t);
}

/* A long queue goes piece by piece: what else the ledger has to do does not wait for all of it. */
static void test_purge_long(void **state)
{
    text_rig t;
    enum { JOBS = 5000 };
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= JOBS; i++) {
        rig_submit(&t.r, "c", i, "ai", 1);
        rig_commit(&t.r);
        t.r.n = 0;
    }
    uint64_t request = purge(&t, "ai", 0);
    assert_true(t.r.commands.n <= 512);
    rig_expect_error(&t.r, purge(&t, "ai", 0), KV_E_BUSY);
    size_t most = 0;
    while (t.r.commands.first) {
        rig_answer(&t.r, KV_OK);
        most = t.r.commands.n > most ? t.r.commands.n : most;
    }
    assert_true(most <= 512);
    assert_int_equal(okay_id(&t, request), JOBS);
    assert_int_equal(okay_id(&t, purge(&t, "ai", 0)), 0);
    assert_int_equal(okay_id(&t, purge(&t, "nobody", 0)), 0);
    text_stop(&t);
}

/* What is promoted while a purge goes on stands where it waited, with others behind it that go; and
 * a delay that ends meanwhile does not save a job. */
static void test_purge_behind_what_is_promoted(void **state)
{
    text_rig t;
    enum { JOBS = 1000 };
    (void)state;
    text_client(&t);
    kv_msg later = rig_job(JOBS + 1, "ai", 2);
    later.submit.delay_ms = JOBS;
    rig_say(&t.r, "c", &later);
    for (uint64_t i = 1; i <= JOBS; i++) {
        rig_submit(&t.r, "c", i, "ai", 1);
        text_commit(&t);
        t.r.now.mono_ms++; /* what is promoted waits since before the last ones */
        t.r.now.wall_ms++;
    }
    uint64_t purged = purge(&t, "ai", 0);
    uint64_t promoted = promote(&t, JOBS - 100, 1);
    rig_tick(&t.r, 1);
    assert_int_equal(text_service(&t, "ai")->delayed, 0);
    rig_submit(&t.r, "c", JOBS + 2, "ai", 1);
    rig_commit(&t.r);
    assert_int_equal(okay_id(&t, promoted), JOBS - 100);
    assert_int_equal(okay_id(&t, purged), JOBS);
    assert_int_equal(kv_core_jobs(t.r.core), 2);
    assert_int_equal(rank(&t, JOBS - 100), 0);
    assert_int_equal(rank(&t, JOBS + 2), 1);
    text_stop(&t);
}

/* What could not be written is not counted, and the answer is no OKAY. */
static void test_purge_fails(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= 3; i++)
        rig_submit(&t.r, "c", i, "ai", 1);
    text_commit(&t);
    uint64_t request = purge(&t, "ai", 0);
    rig_answer(&t.r, KV_OK);
    rig_answer(&t.r, KV_E_DISK_FULL);
    rig_answer(&t.r, KV_OK);
    rig_expect_error(&t.r, request, KV_E_DISK_FULL);
    assert_true(
        kv_slice_is(rig_reply(&t.r, request)->m.error.detail, "2 went, 1 could not be written"));
    assert_true(rig_reply(&t.r, request)->m.error.retry_after_ms > 0); /* the disk may have room */
    assert_null(t.r.core->purges);
    text_stop(&t);
}

/* Jobs whose SUBMIT is still at the ledger, and makes none: nobody waits there. */
static void test_purge_of_what_was_not_made(void **state)
{
    text_rig t;
    (void)state;
    text_client(&t);
    for (uint64_t i = 1; i <= 3; i++)
        rig_submit(&t.r, "c", i, "ai", 1);
    uint64_t request = purge(&t, "ai", 0);
    const kv_err answers[] = {KV_OK, KV_E_NO_CREDIT, KV_OK, KV_OK, KV_E_CONFLICT, KV_OK};
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        rig_answer(&t.r, answers[i]);
    assert_int_equal(okay_id(&t, request), 2);
    assert_null(t.r.core->purges);
    rig_commit(&t.r);
    assert_int_equal(kv_core_jobs(t.r.core), 0);
    text_stop(&t);
}

static void test_purge_dead(void **state)
{
    text_rig t;
    const uint64_t slices[] = {1000, 400, 0};
    (void)state;
    text_client(&t);
    uint64_t request = purge(&t, "ai", 1);
    for (int i = 0; i < 3; i++) {
        kv_cmd *cmd = kv_cmd_pop(&t.r.commands);
        assert_int_equal(cmd->type, KV_CMD_PURGE_DEAD);
        assert_true(kv_slice_is(cmd->service, "ai"));
        assert_null(rig_reply(&t.r, request));
        cmd->other = slices[i];
        kv_core_result(t.r.core, t.r.now, cmd);
    }
    assert_int_equal(okay_id(&t, request), 1400);
    assert_null(t.r.commands.first);
    rig_expect_error(&t.r, purge(&t, "Not A Queue", 1), KV_E_BAD_PARAMETER);
    rig_expect_error(&t.r, purge(&t, "blob-reap", 0), KV_E_CONFLICT);
    purge(&t, "ai", 1); /* and one that is under way at the end */
    text_stop(&t);
}

/* ---- maintenance ---- */

/* S3-26 S3-28: a stuck job is found by maintenance on demand, before the clock would. */
static void test_maintain(void **state)
{
    text_rig t;
    (void)state;
    kv_metrics_reset();
    text_client(&t);
    add_worker(&t, 1);
    rig_submit(&t.r, "c", 1, "ai", 1);
    kv_msg m = rig_job(2, "ai", 1);
    m.submit.deadline_ms = (uint64_t)t.r.now.wall_ms + 299 * 1000;
    rig_say(&t.r, "c", &m);
    text_commit(&t);
    for (int i = 0; i < 298; i++) {
        rig_tick(&t.r, 1000);
        rig_beat(&t.r, "w", 1);
        rig_beat(&t.r, "c", 0);
        t.r.n = 0;
    }
    uint64_t request = maintain(&t);
    rig_commit(&t.r);
    assert_int_equal(okay_id(&t, request), 0);
    t.r.now.mono_ms += 2000;
    t.r.now.wall_ms += 2000;
    rig_beat(&t.r, "w", 1);
    request = maintain(&t);
    assert_int_equal(kv_core_job_state(t.r.core, 1, NULL), KV_JOB_ERROR);
    assert_int_equal(kv_core_job_state(t.r.core, 2, NULL), KV_JOB_ERROR);
    assert_null(rig_reply(&t.r, request)); /* answered behind their commits */
    rig_commit(&t.r);
    assert_int_equal(okay_id(&t, request), 2);
    assert_non_null(rig_last(&t.r, "w", KV_JOB_CANCEL));
    request = maintain(&t);
    rig_answer(&t.r, KV_E_IO); /* what is not committed is not acknowledged */
    rig_expect_error(&t.r, request, KV_E_IO);
    text_stop(&t);
}

/* S3-28 Y02: it runs each 30 s. */
static void test_every_30_s(void **state)
{
    text_rig t;
    (void)state;
    kv_metrics_reset();
    text_client(&t);
    for (int i = 0; i < 1000; i++)
        rig_tick(&t.r, 100);
    assert_int_equal(kv_metric_get(KV_M_MAINTENANCE), 4); /* at 0, 30, 60 and 90 s */
    text_stop(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_no_lease_behind_a_pause),
        cmocka_unit_test(test_set_refused_by_ledger),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_draining),
        cmocka_unit_test(test_tenant_limits),
        cmocka_unit_test(test_set_wrong),
        cmocka_unit_test(test_set_kept),
        cmocka_unit_test(test_promote),
        cmocka_unit_test(test_promote_fails),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_purge_long),
        cmocka_unit_test(test_purge_fails),
        cmocka_unit_test(test_purge_of_what_was_not_made),
        cmocka_unit_test(test_purge_dead),
        cmocka_unit_test(test_maintain),
        cmocka_unit_test(test_every_30_s),
        cmocka_unit_test(test_purge_behind_what_is_promoted),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kv_metrics_reset();
    return failed;
}
