/* The broker's core after a restart: whose the jobs in processing are, and what got lost with the
 * broker or with a worker. */
#include "tests/unit/core_rig.h"

static void load_row(rig *r, kv_job_row row)
{
    row.seq = row.id;
    row.lane = 1;
    row.service = "ai";
    assert_int_equal(kv_core_load(r->core, r->now, &row), KV_OK);
}

static void load(rig *r, uint64_t job, int state, uint64_t epoch, uint64_t attempt)
{
    load_row(r,
             (kv_job_row){
                 .id = job, .state = state, .epoch = epoch, .attempt = attempt, .max_attempts = 3});
}

static void load_held(rig *r, uint64_t job, uint64_t epoch, uint64_t attempt, const char *worker)
{
    load_row(r, (kv_job_row){.id = job,
                             .state = KV_JOB_PROCESSING,
                             .epoch = epoch,
                             .attempt = attempt,
                             .max_attempts = 1,
                             .worker = kv_slice_str(worker)});
}

/* After a restart a job in processing waits for its worker; a live one is not run twice. */
static void test_restart(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 2);
    load(&r, 1, KV_JOB_PROCESSING, 1, 1);
    load(&r, 2, KV_JOB_PROCESSING, 1, 2);
    load(&r, 3, KV_JOB_QUEUED, 0, 0);
    rig_hello(&r, "x", "worker", "x", 8);
    rig_ready(&r, "x", "ai", 5);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1); /* the waiting one only */
    assert_int_equal(rig_last(&r, "x", KV_JOB)->m.job.job, 3);
    rig_hello(&r, "w", "worker", "w", 7);
    rig_expect_error(&r, rig_claim(&r, "w", 1, 1, 2), KV_E_STALE_LEASE);
    rig_expect_code(&r, rig_claim(&r, "w", 1, 1, 1), KV_OKAY);
    rig_expect_code(&r, rig_claim(&r, "w", 1, 1, 1), KV_OKAY); /* again */
    rig_expect_error(&r, rig_claim(&r, "x", 1, 1, 1), KV_E_STALE_LEASE);
    for (int i = 0; i < 4; i++) {
        rig_tick(&r, 1000);
        rig_beat(&r, "w", 1);
        rig_beat(&r, "x", 1);
    }
    rig_tick(&r, 1000); /* nobody claimed job 2 */
    rig_commit(&r);
    rig_beat(&r, "w", 1);
    rig_beat(&r, "x", 1);
    rig_tick(&r, 2000);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "x", KV_JOB)->m.job.job, 2);
    assert_int_equal(rig_last(&r, "x", KV_JOB)->m.job.attempt, 3);
    uint64_t done = rig_done(&r, "w", 1, 1, 1); /* with the token of the old epoch */
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    rig_stop(&r);
}

/* Leased, and the broker ended before JOB was sent: the worker that lived meanwhile does not name
 * it. Nobody has begun it, so it goes back at once and is no attempt, though it had only one. */
static void test_lost_with_the_broker(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 6);
    load_held(&r, 1, 5, 1, "w"); /* it has this one */
    load_held(&r, 2, 5, 1, "w"); /* this was not sent any more */
    load_held(&r, 3, 5, 1, "x"); /* somebody else's */
    load_held(&r, 4, 4, 1, "w"); /* of a process before, perhaps */
    rig_hello_after(&r, "w", "worker", "w", 7, 5);
    rig_expect_code(&r, rig_claim(&r, "w", 1, 5, 1), KV_OKAY);
    rig_ready(&r, "w", "ai", 2);
    assert_int_equal(r.commands.n, 2); /* back, and leased once more */
    assert_int_equal(r.commands.first->move.job, 2);
    assert_int_equal(r.commands.first->move.to, KV_JOB_QUEUED);
    assert_int_equal(r.commands.first->move.given_back, 1);
    assert_true(kv_slice_is(r.commands.first->move.reason, "lost on the way to the worker"));
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 2);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.attempt, 2);
    rig_ready(&r, "w", "ai", 2); /* once a HELLO */
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

/* A worker that does not say which session it had, or was not there, may be a new process: what
 * the one before had counts as tried, after the usual wait. */
static void test_lost_with_the_worker(void **state)
{
    static const uint64_t said[] = {0, 4, 6, 9};
    (void)state;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        rig r;
        rig_start(&r, 6);
        load_held(&r, 2, 5, 1, "w");
        rig_hello_after(&r, "w", "worker", "w", 7, said[i]);
        rig_ready(&r, "w", "ai", 1);
        assert_int_equal(r.commands.n, 0);
        for (int beat = 0; beat < 4; beat++) {
            rig_tick(&r, 1000);
            rig_beat(&r, "w", 0);
        }
        assert_int_equal(r.commands.first->move.to, KV_JOB_ERROR);
        rig_commit(&r);
        rig_stop(&r);
    }
}

/* The database's word for a job in doubt. */
static void answer_find(rig *r, int state)
{
    kv_cmd *find = kv_cmd_pop(&r->commands);
    assert_non_null(find);
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place =
        (kv_job_place){.found = true, .state = state, .epoch = 1, .attempt = 1, .max_attempts = 3};
    kv_core_result(r->core, r->now, find);
}

/* While its JOB_DONE is being written nobody knows whether the lease is over: a worker that were
 * told so would throw the work away. */
static void test_held_while_its_end_is_written(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 1);
    uint64_t done = rig_done(&r, "w", 1, 1, 1);
    rig_hello(&r, "w2", "worker", "image", 1); /* connected anew */
    uint64_t held = rig_claim(&r, "w2", 1, 1, 1), again = rig_done(&r, "w2", 1, 1, 1);
    rig_expect_error(&r, held, KV_E_BUSY);
    assert_true(rig_reply(&r, held)->m.error.retry_after_ms > 0);
    rig_answer(&r, KV_E_DISK_FULL);
    rig_expect_error(&r, done, KV_E_DISK_FULL);
    rig_expect_error(&r, rig_claim(&r, "w2", 1, 1, 1), KV_E_BUSY); /* in doubt */
    answer_find(&r, KV_JOB_PROCESSING); /* what the second JOB_DONE asked */
    rig_expect_error(&r, again, KV_E_BUSY);
    answer_find(&r, KV_JOB_PROCESSING);
    rig_expect_code(&r, rig_claim(&r, "w2", 1, 1, 1), KV_OKAY);
    done = rig_done(&r, "w2", 1, 1, 1);
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    rig_expect_error(&r, rig_claim(&r, "w2", 1, 1, 1), KV_E_STALE_LEASE);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_lost_with_the_broker),
        cmocka_unit_test(test_lost_with_the_worker),
        cmocka_unit_test(test_held_while_its_end_is_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
