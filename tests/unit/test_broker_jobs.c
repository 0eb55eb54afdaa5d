/* Where jobs stand, when there is no room for more, and how they are cancelled: as the core does
 * it.
 */
#include "tests/unit/core_rig.h"

#include "proto/base/metrics.h"

/* ---- positions ---- */

static int64_t position_of(rig *r, uint64_t job, int64_t *ret_in_lane)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_GET, &m);
    m.job_get.job = job;
    uint64_t request = rig_say(r, "c", &m);
    while (r->commands.first)
        rig_answer(r, KV_OK);
    const rig_sent *s = rig_reply(r, request);
    assert_int_equal(s->m.code, KV_JOB_STATUS);
    if (ret_in_lane)
        *ret_in_lane = s->m.job_status.lane_position;
    return s->m.job_status.queue_position;
}

/* S3-10 S3-11 S3-13 S3-14 S3-35 S3-36 S3-37 S3-38: three submitted at once are 1, 2, 3; when one
 * begins or ends, the others move up. */
static void test_positions(void **state)
{
    rig r;
    uint64_t request[3];
    int64_t in_lane;
    (void)state;
    rig_client(&r);
    for (uint64_t i = 0; i < 3; i++)
        request[i] = rig_submit(&r, "c", 1 + i, "ai", 1);
    rig_commit(&r);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(rig_submitted(&r, request[i])->queue_position, i + 1);
        assert_int_equal(rig_submitted(&r, request[i])->lane_position, i + 1);
    }
    rig_submit(&r, "c", 9, "ai", 0);
    rig_commit(&r);
    assert_int_equal(position_of(&r, 9, &in_lane), 1);
    assert_int_equal(in_lane, 1);
    assert_int_equal(position_of(&r, 1, &in_lane), 2);
    assert_int_equal(in_lane, 1);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 2); /* takes 9 and 1 */
    rig_commit(&r);
    assert_int_equal(position_of(&r, 9, NULL), 0); /* S3-17, Y07 */
    assert_int_equal(position_of(&r, 2, NULL), 1);
    assert_int_equal(position_of(&r, 3, NULL), 2);
    rig_done(&r, "w", 9, 1, 1);
    rig_commit(&r);
    assert_int_equal(position_of(&r, 9, NULL), -1);
    assert_int_equal(position_of(&r, 2, NULL), 0);
    assert_int_equal(position_of(&r, 3, NULL), 1);
    rig_stop(&r);
}

/* A worker is free: the job is on its way to it before the answer is. */
static void test_position_of_what_begins(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    uint64_t request = rig_submit(&r, "c", 1, "ai", 1);
    rig_commit(&r);
    assert_true(kv_slice_is(rig_submitted(&r, request)->status, "processing"));
    assert_int_equal(rig_submitted(&r, request)->queue_position, 0);
    rig_stop(&r);
}

/* S3-12: after a restart the order, and so the positions, are what they were. */
static void test_positions_after_restart(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    for (uint64_t i = 0; i < 4; i++) {
        kv_job_row row = {.id = 40 - i,
                          .seq = 10 + i,
                          .tag = 100 * (i + 1),
                          .max_attempts = 3,
                          .lane = i == 3 ? 0 : 1,
                          .service = "ai"};
        assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    }
    assert_int_equal(position_of(&r, 37, NULL), 1); /* urgent */
    for (int64_t i = 0; i < 3; i++)
        assert_int_equal(position_of(&r, 40 - (uint64_t)i, NULL), 2 + i);
    rig_stop(&r);
}

/* ---- no room ---- */

static void bounded(rig *r, uint64_t bound, bool evict)
{
    kv_core_opts opts = rig_opts(r, 1);
    opts.max_waiting = bound;
    opts.evict = evict;
    rig_start_with(r, &opts);
    rig_hello(r, "c", "client", "cli", 2);
}

/* X08, reject: the newest is refused, and told when to come again. Running jobs do not count. */
static void test_queue_full(void **state)
{
    rig r;
    (void)state;
    bounded(&r, 2, false);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    for (uint64_t i = 1; i <= 3; i++)
        rig_submit(&r, "c", i, "ai", 1);
    uint64_t fourth = rig_submit(&r, "c", 4, "ai", 0);
    rig_submit(&r, "c", 5, "other", 1); /* each queue has its own bound */
    rig_commit(&r);
    rig_expect_error(&r, fourth, KV_E_QUEUE_FULL);
    assert_true(rig_reply(&r, fourth)->m.error.retry_after_ms >= 100);
    uint64_t again = rig_submit(&r, "c", 2, "ai", 1); /* one that is in is not refused */
    r.commands.first->place =
        (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    rig_commit(&r);
    assert_false(rig_submitted(&r, again)->created);
    rig_done(&r, "w", 1, 1, 1);
    rig_commit(&r);
    uint64_t now = rig_submit(&r, "c", 4, "ai", 0);
    rig_commit(&r);
    assert_true(rig_submitted(&r, now)->created);
    rig_stop(&r);
}

/* Delayed ones count, too. */
static void test_queue_full_of_delayed(void **state)
{
    rig r;
    (void)state;
    bounded(&r, 1, false);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.delay_ms = 60000;
    rig_say(&r, "c", &m);
    uint64_t request = rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    rig_expect_error(&r, request, KV_E_QUEUE_FULL);
    rig_stop(&r);
}

static void set_queue(rig *r, int64_t draining, int64_t max_waiting)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service = kv_slice_str("ai");
    m.queue_set.draining = draining;
    m.queue_set.max_waiting = max_waiting;
    rig_say(r, "c", &m);
    rig_commit(r);
}

static uint64_t evicted(rig *r)
{
    uint64_t job = 0;
    rig_answer(r, KV_OK); /* the SUBMIT */
    if (r->commands.first && r->commands.first->type == KV_CMD_MOVE) {
        const kv_cmd_move *m = &r->commands.first->move;
        assert_int_equal(m->to, KV_JOB_ERROR);
        assert_true(kv_slice_is(m->error, "evicted"));
        assert_true(m->error_detail.len > 0);
        assert_true(m->reason.len > 0); /* stands in its history */
        job = m->job;
    }
    rig_commit(r);
    return job;
}

/* S4-149, X08: the oldest of the lowest lane goes, never one in processing, delayed ones last. */
static void test_evict(void **state)
{
    rig r;
    (void)state;
    int64_t before = kv_metric_get(KV_M_JOBS_EVICTED);
    bounded(&r, 4, true);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_submit(&r, "c", 1, "ai", 2); /* runs */
    rig_submit(&r, "c", 10, "ai", 0);
    rig_submit(&r, "c", 20, "ai", 1);
    rig_submit(&r, "c", 30, "ai", 2);
    kv_msg m = rig_job(40, "ai", 2);
    m.submit.delay_ms = 60000;
    rig_say(&r, "c", &m);
    rig_commit(&r);
    rig_submit(&r, "c", 31, "ai", 2);
    assert_int_equal(evicted(&r), 30);
    rig_submit(&r, "c", 21, "ai", 1);
    assert_int_equal(evicted(&r), 31);
    rig_submit(&r, "c", 32, "ai", 2); /* the new one itself is not judged */
    assert_int_equal(evicted(&r), 20);
    rig_submit(&r, "c", 11, "ai", 0);
    assert_int_equal(evicted(&r), 32);
    rig_submit(&r, "c", 12, "ai", 0);
    assert_int_equal(evicted(&r), 21);
    rig_submit(&r, "c", 13, "ai", 0);
    assert_int_equal(evicted(&r), 10);
    assert_int_equal(kv_core_job_state(r.core, 1, NULL), KV_JOB_PROCESSING);
    assert_int_equal(kv_core_job_state(r.core, 40, NULL), KV_JOB_QUEUED);
    for (uint64_t job = 11; job <= 13; job++) { /* nothing is left in a lane but the new one */
        kv_msg cancel;
        kv_msg_defaults(KV_CANCEL, &cancel);
        cancel.cancel.job = job;
        rig_say(&r, "c", &cancel);
        rig_commit(&r);
    }
    for (uint64_t job = 41; job <= 43; job++) {
        m = rig_job(job, "ai", 2);
        m.submit.delay_ms = 60000;
        rig_say(&r, "c", &m);
        rig_commit(&r);
    }
    rig_submit(&r, "c", 14, "ai", 0);
    assert_int_equal(evicted(&r), 40);
    assert_int_equal(kv_metric_get(KV_M_JOBS_EVICTED), before + 7);
    rig_stop(&r);
}

/* What the ledger refuses (no credit, its key is taken) costs nobody their place. */
static void test_evict_only_for_what_is_taken(void **state)
{
    rig r;
    (void)state;
    bounded(&r, 1, true);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_commit(&r);
    uint64_t poor = rig_submit(&r, "c", 2, "ai", 1);
    rig_answer(&r, KV_E_NO_CREDIT);
    rig_expect_error(&r, poor, KV_E_NO_CREDIT);
    rig_commit(&r);
    assert_int_equal(kv_core_jobs(r.core), 1);
    assert_int_equal(kv_core_job_state(r.core, 1, NULL), KV_JOB_QUEUED);
    rig_stop(&r);
}

/* A bound that was lowered is reached by and by, not with a million commands at once. */
static void test_evict_a_lowered_bound(void **state)
{
    rig r;
    (void)state;
    bounded(&r, 0, true);
    for (uint64_t i = 1; i <= 10; i++)
        rig_submit(&r, "c", i, "ai", 1);
    rig_commit(&r);
    set_queue(&r, -1, 5);
    for (uint64_t i = 11; i <= 20; i++) {
        rig_submit(&r, "c", i, "ai", 1);
        rig_answer(&r, KV_OK);
        assert_in_range(r.commands.n, 1, 2);
        rig_commit(&r);
    }
    assert_int_equal(kv_core_jobs(r.core), 5);
    rig_stop(&r);
}

static void test_draining_and_disk(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_commit(&r);
    set_queue(&r, 1, -1);
    uint64_t request = rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    rig_expect_error(&r, request, KV_E_QUEUE_DRAINING);
    assert_true(rig_reply(&r, request)->m.error.retry_after_ms > 0);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_commit(&r);
    assert_non_null(rig_last(&r, "w", KV_JOB)); /* what is there is worked off */
    kv_core_set_disk_low(r.core, true);
    request = rig_submit(&r, "c", 3, "other", 1);
    rig_commit(&r);
    rig_expect_error(&r, request, KV_E_DISK_FULL);
    assert_true(rig_reply(&r, request)->m.error.retry_after_ms > 0);
    kv_msg_defaults(KV_RETRY, &m);
    m.retry = (kv_retry){1, 4};
    rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_DISK_FULL);
    uint64_t done = rig_done(&r, "w", 1, 1, 1); /* what is under way goes on */
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    kv_core_set_disk_low(r.core, false);
    request = rig_submit(&r, "c", 3, "other", 1);
    rig_commit(&r);
    assert_true(rig_submitted(&r, request)->created);
    rig_stop(&r);
}

/* A picture that cannot be written would only use up its attempts; a removal makes room. */
static void test_disk_low(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    kv_job_row row = {.id = 1, .seq = 1, .max_attempts = 3, .lane = 2, .service = "image-process"};
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    row.id = row.seq = 2;
    row.service = "blob-reap";
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    kv_core_set_disk_low(r.core, true);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "image-process", 1);
    rig_hello(&r, "v", "worker", "v", 2);
    rig_ready(&r, "v", "blob-reap", 1);
    rig_commit(&r);
    rig_tick(&r, 100);
    rig_commit(&r);
    assert_null(rig_last(&r, "w", KV_JOB));
    assert_int_equal(rig_last(&r, "v", KV_JOB)->m.job.job, 2);
    kv_core_set_disk_low(r.core, false);
    rig_tick(&r, 100);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 1);
    rig_stop(&r);
}

/* The media's own disk: other jobs go on. */
static void test_media_disk_low(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_job_row row = {.id = 1, .seq = 1, .max_attempts = 3, .lane = 2, .service = "image-process"};
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    kv_core_set_media_low(r.core, true);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "image-process", 1);
    uint64_t request = rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    assert_true(rig_submitted(&r, request)->created);
    rig_tick(&r, 100);
    rig_commit(&r);
    assert_null(rig_last(&r, "w", KV_JOB));
    kv_core_set_media_low(r.core, false);
    rig_tick(&r, 100);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 1);
    rig_stop(&r);
}

static uint64_t fail_full(rig *r, const char *peer, uint64_t job, uint64_t attempt)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_FAIL, &m);
    m.job_fail = (kv_job_fail){job, 1, attempt, KV_E_DISK_FULL, kv_slice_str("full"), true};
    return rig_say(r, peer, &m);
}

/* A quota, say, of which a look at the disk tells nothing: no attempt is used up. Workers of others
 * mean their own disks. */
static void test_no_room_for_variants(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    kv_job_row row = {.id = 1, .seq = 1, .max_attempts = 1, .lane = 2, .service = "image-process"};
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    row.id = row.seq = 2;
    row.service = "ai";
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "image-process", 1);
    rig_hello(&r, "v", "worker", "v", 2);
    rig_ready(&r, "v", "ai", 1);
    rig_commit(&r);
    for (uint64_t lease = 1; lease <= 3; lease++) {
        assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.attempt, lease);
        uint64_t failed = fail_full(&r, "w", 1, lease);
        rig_commit(&r);
        rig_expect_code(&r, failed, KV_OKAY);
        assert_int_equal(kv_core_job_state(r.core, 1, NULL), KV_JOB_QUEUED);
        rig_tick(&r, 29000);
        rig_commit(&r);
        assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.attempt, lease);
        rig_tick(&r, 1100);
        rig_commit(&r);
    }
    fail_full(&r, "v", 2, 1);
    rig_commit(&r);
    assert_int_equal(kv_core_job_state(r.core, 2, NULL), -1); /* it was the last attempt */
    rig_stop(&r);
}

/* ---- cancel ---- */

static uint64_t cancel(rig *r, uint64_t job)
{
    kv_msg m;
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = job;
    return rig_say(r, "c", &m);
}

static void expect_cancelled(const rig *r, uint64_t request, const char *was)
{
    rig_expect_code(r, request, KV_CANCEL_OK);
    assert_true(kv_slice_is(rig_reply(r, request)->m.cancel_ok.was, was));
}

/* S4-66: a waiting job at once, a running one is told to its worker; the answer says what it was,
 * again and again. */
static void test_cancel(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_submit(&r, "c", 101, "ai", 1);
    rig_commit(&r);
    uint64_t waiting = cancel(&r, 101), running = cancel(&r, 100);
    assert_int_equal(rig_last(&r, "w", KV_JOB_CANCEL)->m.job_cancel.job, 100);
    assert_null(rig_reply(&r, waiting)); /* not before the commit */
    rig_answer(&r, KV_OK);
    rig_answer(&r, KV_OK);
    expect_cancelled(&r, waiting, "queued");
    expect_cancelled(&r, running, "processing");
    uint64_t again = cancel(&r, 100);
    r.commands.first->place = (kv_job_place){
        .found = true, .state = KV_JOB_CANCELLED, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_commit(&r);
    expect_cancelled(&r, again, "cancelled");
    uint64_t unknown = cancel(&r, 49); /* no row */
    rig_commit(&r);
    rig_expect_error(&r, unknown, KV_E_NOT_FOUND);
    uint64_t over = cancel(&r, 50);
    r.commands.first->place = (kv_job_place){
        .found = true, .state = KV_JOB_COMPLETE, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_commit(&r);
    rig_expect_error(&r, over, KV_E_CONFLICT); /* terminal is terminal */
    rig_stop(&r);
}

/* Its late answer is refused and counted, and only that frees the credit. */
static void test_answer_of_a_cancelled_job(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_submit(&r, "c", 101, "ai", 1);
    cancel(&r, 100);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1); /* the worker is still at it */
    int64_t late = kv_metric_get(KV_M_LATE_ANSWERS);
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress.job = 100;
    m.job_progress.epoch = m.job_progress.attempt = 1;
    rig_expect_error(&r, rig_say(&r, "w", &m), KV_E_STALE_LEASE);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    uint64_t done = rig_done(&r, "w", 100, 1, 1);
    assert_int_equal(r.commands.first->type, KV_CMD_MOVE); /* the next job goes to it */
    assert_int_equal(r.commands.last->type, KV_CMD_FIND);
    r.commands.last->place = (kv_job_place){
        .found = true, .state = KV_JOB_CANCELLED, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_commit(&r);
    rig_expect_error(&r, done, KV_E_STALE_LEASE);
    assert_int_equal(kv_metric_get(KV_M_LATE_ANSWERS), late + 2);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 101);
    rig_stop(&r);
}

/* The cancel of a job whose lease is not committed yet: the worker never sees it. */
static void test_cancel_before_the_lease(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_submit(&r, "c", 1, "ai", 1);
    uint64_t request = cancel(&r, 1);
    rig_commit(&r);
    expect_cancelled(&r, request, "processing");
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_beat(&r, "w", 0); /* it has nothing in hand: the credit is free */
    rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 2);
    rig_stop(&r);
}

/* ---- progress ---- */

static void test_progress_patch(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress = (kv_job_progress){100, 1, 1, 40, kv_slice_str("{\"step\":\"scale\"}")};
    uint64_t request = rig_say(&r, "w", &m);
    assert_int_equal(r.commands.first->progress.progress, 40);
    assert_true(kv_slice_is(r.commands.first->progress.patch, "{\"step\":\"scale\"}"));
    rig_commit(&r);
    rig_expect_code(&r, request, KV_OKAY);
    m.job_progress.patch = kv_slice_str("[]");
    rig_expect_error(&r, rig_say(&r, "w", &m), KV_E_BAD_MESSAGE);
    m.job_progress.patch = kv_slice_of(NULL, 0);
    rig_say(&r, "w", &m);
    assert_null(r.commands.first->progress.patch.ptr);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_disk_low),
        cmocka_unit_test(test_media_disk_low),
        cmocka_unit_test(test_no_room_for_variants),
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_position_of_what_begins),
        cmocka_unit_test(test_positions_after_restart),
        cmocka_unit_test(test_queue_full),
        cmocka_unit_test(test_queue_full_of_delayed),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_evict_only_for_what_is_taken),
        cmocka_unit_test(test_evict_a_lowered_bound),
        cmocka_unit_test(test_draining_and_disk),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_answer_of_a_cancelled_job),
        cmocka_unit_test(test_cancel_before_the_lease),
        cmocka_unit_test(test_progress_patch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
