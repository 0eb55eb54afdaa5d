/* The core counts attempts: leases given back are none, but are bounded; the backoff counts what
 * failed; what a worker said of an attempt goes into its history. */
#include "tests/unit/core_rig.h"

#include "broker/core_types.h"

static void bye(rig *r, const char *peer)
{
    kv_msg m;
    kv_msg_defaults(KV_BYE, &m);
    rig_say(r, peer, &m);
}

static const kv_job *lease(rig *r)
{
    rig_hello(r, "w", "worker", "w", 1);
    rig_ready(r, "w", "ai", 1);
    rig_commit(r);
    const rig_sent *got = rig_last(r, "w", KV_JOB);
    assert_non_null(got);
    return &got->m.job;
}

/* The move that the last message caused; the rest is committed. */
static kv_cmd_move taken(rig *r)
{
    static char text[2][512];
    assert_non_null(r->commands.first);
    kv_cmd_move m = r->commands.first->move;
    assert_int_equal(r->commands.first->type, KV_CMD_MOVE);
    snprintf(text[0], sizeof text[0], "%.*s", KV_SLICE_FMT(m.reason));
    snprintf(text[1], sizeof text[1], "%.*s", KV_SLICE_FMT(m.failure_detail));
    m.reason = kv_slice_str(text[0]);
    m.failure_detail = kv_slice_str(text[1]);
    rig_commit(r);
    return m;
}

static void load_of(rig *r, const char *service, uint64_t attempt, uint64_t given_back,
                    uint64_t max_attempts, int64_t wait_ms)
{
    kv_job_row row = {.id = 100,
                      .not_before = wait_ms ? (uint64_t)(r->now.wall_ms + wait_ms) : 0,
                      .seq = 1,
                      .epoch = 1,
                      .attempt = attempt,
                      .given_back = given_back,
                      .max_attempts = max_attempts,
                      .lane = 1,
                      .service = service};
    assert_int_equal(kv_core_load(r->core, r->now, &row), KV_OK);
}

static void load_waiting(rig *r, uint64_t attempt, uint64_t given_back, uint64_t max_attempts,
                         int64_t wait_ms)
{
    load_of(r, "ai", attempt, given_back, max_attempts, wait_ms);
}

static void load(rig *r, uint64_t attempt, uint64_t given_back, uint64_t max_attempts)
{
    load_waiting(r, attempt, given_back, max_attempts, 0);
}

static void client_with_job(rig *r)
{
    rig_client(r);
    rig_submit(r, "c", 100, "ai", 1);
    rig_commit(r);
}

static void pass(rig *r, int64_t ms)
{
    for (; ms > 0; ms -= 500) {
        rig_tick(r, ms < 500 ? ms : 500);
        rig_beat(r, "c", 0);
    }
}

static void test_no_attempt_and_no_backoff(void **state)
{
    rig r;
    (void)state;
    client_with_job(&r);
    for (uint64_t i = 1; i <= KV_GIVEN_BACK_AT_ONCE; i++) {
        assert_int_equal(lease(&r)->attempt, i); /* a token is never used twice */
        bye(&r, "w");
        kv_cmd_move m = taken(&r);
        assert_int_equal(m.to, KV_JOB_QUEUED);
        assert_int_equal(m.not_before, 0);
        assert_int_equal(m.given_back, i);
        r.n = 0;
    }
    for (uint64_t failed = 1; failed <= 3; failed++) {
        const kv_job *job = lease(&r);
        rig_fail(&r, "w", 100, 1, job->attempt, true);
        kv_cmd_move m = taken(&r);
        assert_int_equal(m.given_back, KV_GIVEN_BACK_AT_ONCE);
        assert_int_equal(m.to, failed < 3 ? KV_JOB_QUEUED : KV_JOB_ERROR);
        if (failed < 3)
            assert_in_range(m.not_before - r.now.wall_ms, 500 << (failed - 1),
                            1000 << (failed - 1));
        bye(&r, "w");
        pass(&r, 2000);
        r.n = 0;
    }
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

static void test_many_wait(void **state)
{
    rig r;
    uint64_t rank;
    (void)state;
    rig_client(&r);
    load(&r, KV_GIVEN_BACK_AT_ONCE, KV_GIVEN_BACK_AT_ONCE, 3); /* as a start reads it */
    for (int i = 0; i < 5; i++) {
        (void)lease(&r);
        if (i % 2) {
            bye(&r, "w");
        } else { /* it says HELLO again, and does not have the job */
            rig_hello(&r, "w", "worker", "w", 1);
            rig_ready(&r, "w", "ai", 0);
        }
        kv_cmd_move m = taken(&r);
        assert_int_equal(m.to, KV_JOB_QUEUED);
        assert_int_equal(m.not_before, r.now.wall_ms + KV_GIVEN_BACK_WAIT_MS);
        assert_false(kv_core_job_rank(r.core, 100, &rank));
        pass(&r, KV_GIVEN_BACK_WAIT_MS);
        assert_true(kv_core_job_rank(r.core, 100, &rank));
        r.n = 0;
    }
    rig_stop(&r);
}

/* The poison guard fires at last: numbers of leases do not run out. */
static void test_not_for_ever(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    load(&r, KV_LEASES_FREE - 2, KV_LEASES_FREE - 2, 2);
    static const int to[] = {KV_JOB_QUEUED, KV_JOB_QUEUED, KV_JOB_ERROR};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(lease(&r)->attempt, KV_LEASES_FREE - 1 + i);
        bye(&r, "w");
        kv_cmd_move m = taken(&r);
        assert_int_equal(m.to, to[i]);
        assert_int_equal(m.given_back, KV_LEASES_FREE - 1);
        assert_true(kv_slice_is(m.reason, "worker left"));
        if (m.to == KV_JOB_ERROR)
            assert_true(kv_slice_is(m.error, "attempts_exhausted"));
        pass(&r, 1000);
        r.n = 0;
    }
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

/* A row from before 0004: its max_attempts was raised by what was given back then. */
static void test_old_rows(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    load(&r, 6, 0, 8);
    static const int to[] = {KV_JOB_QUEUED, KV_JOB_QUEUED, KV_JOB_ERROR};
    for (size_t i = 0; i < 3; i++) {
        uint64_t attempt = lease(&r)->attempt;
        assert_int_equal(attempt, 7 + i);
        if (i == 0)
            bye(&r, "w");
        else
            rig_fail(&r, "w", 100, 1, attempt, true);
        assert_int_equal(taken(&r).to, to[i]);
        pass(&r, 60000);
        r.n = 0;
    }
    rig_stop(&r);
}

/* A commit failed: what the row says counts, also what was given back. */
static void test_the_rows_word(void **state)
{
    rig r;
    (void)state;
    client_with_job(&r);
    (void)lease(&r);
    bye(&r, "w");
    rig_answer(&r, KV_E_DISK_FULL);
    kv_cmd *find = r.commands.last;
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place = (kv_job_place){.found = true,
                                 .state = KV_JOB_QUEUED,
                                 .epoch = 1,
                                 .attempt = 12,
                                 .given_back = 11,
                                 .max_attempts = 2};
    rig_commit(&r);
    pass(&r, 1500);
    const kv_job *job = lease(&r);
    assert_int_equal(job->attempt, 13);
    rig_fail(&r, "w", 100, 1, 13, true);
    assert_int_equal(taken(&r).to, KV_JOB_ERROR);
    rig_stop(&r);
}

/* Cancelled before its lease was written, so nobody was sent it; then the cancel could not be
 * written. No attempt was made. */
static void test_never_sent(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_submit(&r, "c", 100, "ai", 1);
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = 100;
    rig_say(&r, "c", &m);
    rig_answer(&r, KV_OK); /* the SUBMIT, and the lease */
    rig_answer(&r, KV_OK);
    rig_answer(&r, KV_E_DISK_FULL);
    kv_cmd *find = r.commands.last;
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place = (kv_job_place){
        .found = true, .state = KV_JOB_PROCESSING, .epoch = 1, .attempt = 1, .max_attempts = 1};
    rig_commit(&r);
    pass(&r, 4000);
    kv_cmd_move back = taken(&r);
    assert_int_equal(back.to, KV_JOB_QUEUED);
    assert_int_equal(back.given_back, 1);
    assert_int_equal(rig_count(&r, KV_JOB), 0);
    assert_int_equal(lease(&r)->attempt, 2);
    rig_stop(&r);
}

/* Given back, for its worker did not name it after a HELLO, and that is not written yet: it may
 * fail, so whoever answers is to ask again. */
static void test_answer_to_what_is_given_back(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 100, "ai", 1);
    assert_int_equal(lease(&r)->attempt, 1);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_expect_error(&r, rig_done(&r, "w", 100, 1, 1), KV_E_BUSY);
    rig_commit(&r);
    rig_expect_error(&r, rig_done(&r, "w", 100, 1, 1), KV_E_STALE_LEASE);
    rig_stop(&r);
}

/* The cancel of a job that is worked on is being written, and then cannot be: the lease stands, so
 * a worker that told its progress meanwhile must not have stopped. */
static void test_progress_while_a_cancel_is_written(void **state)
{
    rig r;
    kv_msg m, progress;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 100, "ai", 1);
    assert_int_equal(lease(&r)->attempt, 1);
    kv_msg_defaults(KV_CANCEL, &m);
    m.cancel.job = 100;
    rig_say(&r, "c", &m);
    kv_msg_defaults(KV_JOB_PROGRESS, &progress);
    progress.job_progress = (kv_job_progress){.job = 100, .epoch = 1, .attempt = 1, .progress = 40};
    rig_expect_error(&r, rig_say(&r, "w", &progress), KV_E_BUSY);
    rig_answer(&r, KV_E_DISK_FULL);
    r.commands.last->place = (kv_job_place){
        .found = true, .state = KV_JOB_PROCESSING, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_commit(&r);
    uint64_t request = rig_say(&r, "w", &progress);
    rig_commit(&r);
    rig_expect_code(&r, request, KV_OKAY);
    rig_stop(&r);
}

static kv_cmd_move fail_with(rig *r, const char *detail, bool retry)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_FAIL, &m);
    m.job_fail = (kv_job_fail){100, 1, lease(r)->attempt, KV_E_IO, kv_slice_str(detail), retry};
    rig_say(r, "w", &m);
    return taken(r);
}

static void test_why(void **state)
{
    rig r;
    char text[301] = "";
    (void)state;
    client_with_job(&r);
    kv_cmd_move m = fail_with(&r, "disk 7", true);
    assert_true(kv_slice_is(m.failure, "io"));
    assert_true(kv_slice_is(m.failure_detail, "disk 7"));
    assert_true(kv_slice_is(m.reason, "failed, to be tried again"));
    assert_null(m.error.ptr); /* of the job, which is not over */
    pass(&r, 1000);
    bye(&r, "w");
    rig_commit(&r);
    for (int i = 0; i < 300; i += 3)
        snprintf(text + i, sizeof text - (size_t)i, "\xe2\x82\xac");
    (void)fail_with(&r, "", true);
    pass(&r, 2000);
    bye(&r, "w");
    rig_commit(&r);
    m = fail_with(&r, text, true);
    assert_int_equal(m.to, KV_JOB_ERROR);
    assert_true(kv_slice_is(m.failure, "io"));
    assert_true(kv_slice_is(m.reason, "failed"));
    assert_int_equal(m.failure_detail.len, 255); /* whole characters of 256 bytes */
    rig_submit(&r, "c", 100, "ai", 1);           /* gone meanwhile: the same once more */
    bye(&r, "w");
    rig_commit(&r);
    m = fail_with(&r, "no", false);
    assert_true(kv_slice_is(m.reason, "failed, not to be tried again"));
    assert_true(kv_slice_is(m.failure, "io"));
    assert_true(kv_slice_is(m.failure_detail, "no"));
    rig_stop(&r);
}

/* ---- the date is set while a job waits ---- */

enum { DAY_MS = 86400 * 1000 };

static bool waits(const rig *r)
{
    uint64_t rank;
    assert_int_equal(kv_core_job_state(r->core, 100, NULL), KV_JOB_QUEUED);
    return !kv_core_job_rank(r->core, 100, &rank);
}

/* A wait that kervan makes is as long as it was meant, whichever way the date goes. */
static void test_backoff_and_the_date(void **state)
{
    (void)state;
    for (int64_t step = -DAY_MS; step <= DAY_MS; step += 2 * (int64_t)DAY_MS) {
        rig r;
        client_with_job(&r);
        (void)lease(&r);
        rig_fail(&r, "w", 100, 1, 1, true);
        kv_cmd_move m = taken(&r);
        assert_in_range(m.not_before - r.now.wall_ms, 500, 1000);
        bye(&r, "w");
        r.now.wall_ms += step;
        pass(&r, 400);
        assert_true(waits(&r));
        pass(&r, 600);
        assert_false(waits(&r));
        assert_int_equal(lease(&r)->attempt, 2);
        rig_stop(&r);
    }
}

/* The ledger refused the lease: the second until the next try is of the same kind. */
static void test_second_try_and_the_date(void **state)
{
    rig r;
    (void)state;
    client_with_job(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_answer(&r, KV_E_IO);
    r.commands.first->place =
        (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    rig_answer(&r, KV_OK);
    assert_true(waits(&r));
    r.now.wall_ms -= DAY_MS;
    pass(&r, 1000);
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
    rig_stop(&r);
}

/* Read at start, with the date set back while the broker was away: no longer than such a wait is.
 */
static void test_backoff_over_a_restart(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    load_waiting(&r, 2, 0, 5, DAY_MS);
    pass(&r, 1500);
    assert_true(waits(&r));
    pass(&r, 500); /* 2 s, after two failed attempts */
    assert_false(waits(&r));
    rig_stop(&r);
    rig_client(&r);
    load_waiting(&r, 2, 0, 5, 700); /* what is left of it, where the date is right */
    pass(&r, 600);
    assert_true(waits(&r));
    pass(&r, 100);
    assert_false(waits(&r));
    rig_stop(&r);
}

/* What a client asked for is a date, and stays one. */
static void test_delay_and_the_date(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(100, "ai", 1);
    m.submit.delay_ms = 60000;
    rig_say(&r, "c", &m);
    rig_commit(&r);
    r.now.wall_ms -= DAY_MS;
    pass(&r, 70000);
    assert_true(waits(&r));
    r.n = 0;
    r.now.wall_ms += DAY_MS;
    pass(&r, 100);
    assert_false(waits(&r));
    rig_stop(&r);
    rig_client(&r);
    load_waiting(&r, 0, 0, 3, DAY_MS);
    pass(&r, 70000);
    assert_true(waits(&r));
    rig_stop(&r);
}

/* A removal that failed a hundred times is made anew, to begin a minute later: that is a wait of
 * our own, too. Else uploads of the same bytes would be refused until the date comes again. */
static void test_made_later_and_the_date(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 99, "ai", 1);
    r.commands.first->jobs[0] = (kv_cmd_job){.id = 100,
                                             .seq = 7,
                                             .max_attempts = 100,
                                             .not_before = r.now.wall_ms + KV_LATER_MS,
                                             .lane = 1,
                                             .service = KV_SERVICE_REAP,
                                             .tenant = ""};
    r.commands.first->jobs_n = 1;
    rig_commit(&r);
    r.now.wall_ms -= DAY_MS;
    pass(&r, KV_LATER_MS - 100);
    assert_true(waits(&r));
    pass(&r, 100);
    assert_false(waits(&r));
    rig_stop(&r);
    rig_client(&r); /* the same read at start */
    load_of(&r, KV_SERVICE_REAP, 0, 0, 100, DAY_MS);
    pass(&r, KV_LATER_MS - 100);
    assert_true(waits(&r));
    pass(&r, 100);
    assert_false(waits(&r));
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_no_attempt_and_no_backoff),
        cmocka_unit_test(test_many_wait),
        cmocka_unit_test(test_not_for_ever),
        cmocka_unit_test(test_old_rows),
        cmocka_unit_test(test_the_rows_word),
        cmocka_unit_test(test_never_sent),
        cmocka_unit_test(test_answer_to_what_is_given_back),
        cmocka_unit_test(test_progress_while_a_cancel_is_written),
        cmocka_unit_test(test_why),
        cmocka_unit_test(test_backoff_and_the_date),
        cmocka_unit_test(test_second_try_and_the_date),
        cmocka_unit_test(test_backoff_over_a_restart),
        cmocka_unit_test(test_delay_and_the_date),
        cmocka_unit_test(test_made_later_and_the_date),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
