/* The broker's core with a fake clock: leases, silence, stuck jobs, fencing, what comes
 * twice. */
#include "tests/unit/core_rig.h"

#include "proto/base/metrics.h"

static void test_life_of_a_job(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 7);
    const rig_sent *job = rig_start_one(&r, 100);
    assert_int_equal(job->m.job.epoch, 7);
    assert_int_equal(job->m.job.attempt, 1);
    assert_true(kv_slice_is(job->m.job.params, "{\"n\":1}"));
    assert_int_equal(rig_last(&r, "c", KV_SUBMIT_OK)->m.submit_ok.job, 100);
    uint64_t done = rig_done(&r, "w", 100, 7, 1);
    assert_null(rig_reply(&r, done)); /* nothing before the commit */
    assert_int_equal(r.commands.first->move.to, KV_JOB_COMPLETE);
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

/* The job goes out when its lease is committed, not before; submit and lease may share a
 * transaction. */
static void test_held_until_commit(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "w", "worker", "image", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_submit(&r, "c", 5, "ai", 1);
    assert_int_equal(r.commands.n, 2);
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_answer(&r, KV_OK);
    assert_non_null(rig_last(&r, "c", KV_SUBMIT_OK));
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_answer(&r, KV_OK);
    assert_non_null(rig_last(&r, "w", KV_JOB));
    rig_stop(&r);
}

static void test_lanes_and_order(void **state)
{
    rig r;
    uint64_t rank;
    (void)state;
    rig_client(&r);
    for (uint64_t i = 0; i < 3; i++) {
        rig_submit(&r, "c", 30 + i, "ai", 2);
        rig_submit(&r, "c", 20 + i, "ai", 1);
        rig_submit(&r, "c", 10 + i, "ai", 0);
    }
    rig_commit(&r);
    for (uint64_t i = 0; i < 9; i++) { /* S3-14: unique and dense */
        assert_true(kv_core_job_rank(r.core, 10 + 10 * (i / 3) + i % 3, &rank));
        assert_int_equal(rank, i);
    }
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 9);
    rig_commit(&r);
    uint64_t expect = 0;
    for (int i = 0; i < r.n; i++) {
        if (r.sent[i].m.code == KV_JOB) {
            assert_int_equal(r.sent[i].m.job.job, 10 + 10 * (expect / 3) + expect % 3);
            expect++;
        }
    }
    assert_int_equal(expect, 9);
    rig_stop(&r);
}

static void test_credit_and_turns(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "a", "worker", "a", 1);
    rig_hello(&r, "b", "worker", "b", 1);
    rig_ready(&r, "a", "ai", 2);
    rig_ready(&r, "b", "ai", 2);
    rig_hello(&r, "c", "client", "cli", 2);
    for (uint64_t i = 1; i <= 6; i++)
        rig_submit(&r, "c", i, "ai", 1);
    rig_commit(&r);
    int a = 0, b = 0;
    for (int i = 0; i < r.n; i++) {
        a += r.sent[i].m.code == KV_JOB && r.sent[i].peer[0] == 'a';
        b += r.sent[i].m.code == KV_JOB && r.sent[i].peer[0] == 'b';
    }
    assert_int_equal(a, 2);
    assert_int_equal(b, 2);
    rig_done(&r, "a", 1, 1, 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 5);
    rig_stop(&r);
}

/* A silent worker: its job goes to another after a delay, with the next attempt; the late answer is
 * refused and counted. */
static void test_silence_and_late_answer(void **state)
{
    rig r;
    uint64_t attempt;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    int64_t late = kv_metric_get(KV_M_LATE_ANSWERS);
    for (int i = 0; i < 4; i++) {
        rig_tick(&r, 1000);
        rig_beat(&r, "c", 0);
        if (i < 2)
            assert_int_equal(kv_core_job_state(r.core, 100, &attempt), KV_JOB_PROCESSING);
    }
    assert_int_equal(kv_core_job_state(r.core, 100, &attempt), KV_JOB_QUEUED);
    rig_commit(&r);
    rig_hello(&r, "x", "worker", "other", 9);
    rig_ready(&r, "x", "ai", 1);
    assert_int_equal(r.commands.n, 0); /* backoff */
    rig_tick(&r, 1000);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "x", KV_JOB)->m.job.attempt, 2);
    /* The old one wakes up: first it is told that it is not known, then that its lease is over. */
    rig_done(&r, "w", 100, 1, 1);
    assert_false(rig_last(&r, "w", KV_BEAT_OK)->m.beat_ok.known);
    rig_hello(&r, "w", "worker", "image", 1);
    rig_expect_error(&r, rig_done(&r, "w", 100, 1, 1), KV_E_STALE_LEASE);
    assert_int_equal(kv_metric_get(KV_M_LATE_ANSWERS), late + 1);
    uint64_t done = rig_done(&r, "x", 100, 1, 2);
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    rig_stop(&r);
}

static void test_attempts_used_up(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    for (uint64_t attempt = 1; attempt <= 3; attempt++) {
        uint64_t fail = rig_fail(&r, "w", 100, 1, attempt, true);
        const kv_cmd_move *m = &r.commands.first->move;
        if (attempt < 3) {
            assert_int_equal(m->to, KV_JOB_QUEUED);
            int64_t delay = m->not_before - r.now.wall_ms; /* doubled, with jitter */
            assert_in_range(delay, 500 << (attempt - 1), 1000 << (attempt - 1));
        } else {
            assert_int_equal(m->to, KV_JOB_ERROR);
            assert_true(kv_slice_is(m->error, "attempts_exhausted"));
            assert_true(kv_slice_is(m->error_detail, "io: disk"));
        }
        rig_commit(&r);
        rig_expect_code(&r, fail, KV_OKAY);
        rig_tick(&r, 2000);
        rig_beat(&r, "w", 0);
        rig_commit(&r);
    }
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

static void test_fail_without_retry(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_fail(&r, "w", 100, 1, 1, false);
    assert_int_equal(r.commands.first->move.to, KV_JOB_ERROR);
    assert_true(kv_slice_is(r.commands.first->move.error, "io"));
    rig_commit(&r);
    rig_stop(&r);
}

/* A gateway that keeps files where this broker's rows are not, or reads another one's. Who opens no
 * database says nothing of it. */
static void test_another_data_folder(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    kv_core_opts opts = rig_opts(&r, 1);
    opts.place = 77;
    rig_start_with(&r, &opts);
    rig_hello(&r, "g", "gateway", "dedup", 1);
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str("gateway");
    m.hello.name = kv_slice_str("dedup");
    m.hello.instance = 2;
    m.hello.place = 78;
    rig_expect_error(&r, rig_say(&r, "h", &m), KV_E_CONFLICT);
    rig_beat(&r, "g", 0); /* the right one was not replaced by it */
    assert_true(rig_last(&r, "g", KV_BEAT_OK)->m.beat_ok.known);
    m.hello.place = 77;
    rig_expect_code(&r, rig_say(&r, "h", &m), KV_HELLO_OK);
    rig_stop(&r);
}

/* S3-25 S3-26 S3-28 S3-51: the worker lives, the job does not move. Its end is a move like others,
 * so the ledger stamps it (test_ledger_rows) and writes its event. */
static void test_stuck(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    kv_msg m;
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress = (kv_job_progress){.job = 100, .epoch = 1, .attempt = 1, .progress = 40};
    for (int i = 0; i < 600; i++) {
        rig_tick(&r, 1000);
        r.n = 0;
        rig_beat(&r, "w", 1);
        if (i == 298)
            rig_say(&r, "w", &m); /* progress: the time begins anew */
        if (i < 598)
            assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
        if (r.commands.first && r.commands.first->type == KV_CMD_MOVE)
            break;
        rig_commit(&r);
    }
    const kv_cmd_move *end = &r.commands.first->move;
    assert_int_equal(end->to, KV_JOB_ERROR);
    assert_true(kv_slice_is(end->error, "stuck"));
    assert_true(kv_slice_is(
        end->error_detail, "İşlem zaman aşımına uğradı (Stuck Job Guard). Lütfen tekrar deneyin."));
    rig_commit(&r);
    assert_int_equal(kv_core_jobs(r.core), 0);
    /* It got a JOB_CANCEL, and its credit is used until it lets go. */
    rig_hello(&r, "c", "client", "cli", 2);
    rig_submit(&r, "c", 101, "ai", 1);
    rig_commit(&r);
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_beat(&r, "w", 0);
    rig_commit(&r);
    assert_non_null(rig_last(&r, "w", KV_JOB));
    rig_stop(&r);
}

/* A new instance under the same name: the old one is fenced. */
static void test_fencing(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_hello(&r, "w2", "worker", "image", 99);
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_QUEUED);
    rig_commit(&r);
    rig_expect_error(&r, rig_done(&r, "w", 100, 1, 1), KV_E_CONFLICT);
    rig_hello(&r, "w", "worker", "image", 1); /* it may not come back under its old number */
    assert_int_equal(rig_last(&r, "w", KV_ERROR)->m.error.number, KV_E_CONFLICT);
    rig_ready(&r, "w2", "ai", 1);
    rig_tick(&r, 1000);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w2", KV_JOB)->m.job.attempt, 2);
    rig_stop(&r);
}

/* The same instance on a new connection keeps its leases; what it does not name got lost on the
 * way. */
static void test_reconnect(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "w", "worker", "image", 1);
    rig_ready(&r, "w", "ai", 2);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    rig_hello(&r, "w9", "worker", "image", 1);
    rig_expect_code(&r, rig_claim(&r, "w9", 1, 1, 1), KV_OKAY);
    rig_ready(&r, "w9", "ai", 2);
    rig_commit(&r);
    const rig_sent *again = rig_last(&r, "w9", KV_JOB);
    assert_int_equal(again->m.job.job, 2);
    assert_int_equal(again->m.job.attempt, 2);
    uint64_t done = rig_done(&r, "w9", 1, 1, 1);
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    rig_stop(&r);
}

static void test_bye(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    kv_msg_defaults(KV_BYE, &m);
    uint64_t bye = rig_say(&r, "w", &m);
    assert_int_equal(r.commands.first->move.to, KV_JOB_QUEUED);
    assert_int_equal(r.commands.first->move.not_before, 0);
    assert_int_equal(r.commands.first->move.given_back, 1); /* it does not count */
    assert_null(rig_reply(&r, bye));
    rig_commit(&r);
    rig_expect_code(&r, bye, KV_OKAY);
    rig_hello(&r, "x", "worker", "x", 9);
    rig_ready(&r, "x", "ai", 1);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "x", KV_JOB)->m.job.attempt, 2); /* a token is never used twice */
    rig_stop(&r);
}

static void test_unknown_peer(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 3);
    rig_beat(&r, "z", 0);
    assert_false(rig_last(&r, "z", KV_BEAT_OK)->m.beat_ok.known);
    assert_int_equal(rig_last(&r, "z", KV_BEAT_OK)->m.beat_ok.epoch, 3);
    rig_submit(&r, "z", 1, "ai", 1);
    assert_int_equal(r.commands.n, 0);
    assert_int_equal(rig_count(&r, KV_ERROR), 0); /* it says HELLO and sends again */
    rig_hello(&r, "z", "client", "", 1);
    assert_int_equal(rig_count(&r, KV_ERROR), 1);
    rig_stop(&r);
}

static void test_deadline(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "g", "gateway", "g", 1);
    kv_msg_defaults(KV_MEDIA_DELETE, &m);
    m.media_delete.media = 9;
    kv_header head = {.code = m.code, .request = 50, .deadline_ms = (uint64_t)r.now.wall_ms - 1};
    kv_core_message(r.core, r.now, kv_slice_str("g"), &head, &m);
    rig_expect_error(&r, 50, KV_E_EXPIRED);
    assert_int_equal(r.commands.n, 0);
    head = (kv_header){.code = m.code, .request = 51, .deadline_ms = UINT64_MAX}; /* never */
    kv_core_message(r.core, r.now, kv_slice_str("g"), &head, &m);
    assert_int_equal(r.commands.n, 1);
    assert_int_equal(r.commands.last->deadline_ms, UINT64_MAX); /* the ledger looks again */
    rig_stop(&r);
}

/* A request that comes again while the first is under way, and after it was answered. */
static void test_resend(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "g", "gateway", "g", 1);
    kv_msg_defaults(KV_MEDIA_DELETE, &m);
    m.media_delete.media = 9;
    kv_header head = {.code = m.code, .request = 50};
    kv_core_message(r.core, r.now, kv_slice_str("g"), &head, &m);
    kv_core_message(r.core, r.now, kv_slice_str("g"), &head, &m);
    assert_int_equal(r.commands.n, 1);
    rig_commit(&r);
    rig_hello(&r, "g2", "gateway", "g", 1); /* even on a new connection */
    kv_core_message(r.core, r.now, kv_slice_str("g2"), &head, &m);
    assert_int_equal(r.commands.n, 0);
    assert_int_equal(rig_last(&r, "g2", KV_OKAY)->m.okay.id, 9);
    rig_stop(&r);
}

static void test_submit_refused(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_client(&r);
    rig_expect_error(&r, rig_submit(&r, "c", 0, "ai", 1), KV_E_BAD_PARAMETER);
    rig_expect_error(&r, rig_submit(&r, "c", 1, "Bad Name", 1), KV_E_BAD_PARAMETER);
    rig_expect_error(&r, rig_submit(&r, "c", 1, "blob-reap", 1), KV_E_BAD_PARAMETER);
    rig_expect_error(&r, rig_submit(&r, "c", 1, "image-process", 1), KV_E_BAD_PARAMETER);
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = 1;
    m.submit.service = kv_slice_str("ai");
    m.submit.params = kv_slice_str("{\"a\":}");
    rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_BAD_PARAMETER);
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

/* When the ledger is full only SUBMIT is refused. */
static void test_busy(void **state)
{
    rig r;
    (void)state;
    kv_core_opts opts = rig_opts(&r, 1);
    opts.submits_max = 2;
    rig_start_with(&r, &opts);
    rig_start_one(&r, 100);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_submit(&r, "c", 2, "ai", 1);
    uint64_t third = rig_submit(&r, "c", 3, "ai", 1);
    rig_expect_error(&r, third, KV_E_BUSY);
    assert_true(rig_reply(&r, third)->m.error.retry_after_ms > 0);
    uint64_t done = rig_done(&r, "w", 100, 1, 1);
    rig_beat(&r, "w", 1);
    assert_true(rig_last(&r, "w", KV_BEAT_OK)->m.beat_ok.known);
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    rig_stop(&r);
}

/* The database refuses: the answer says so, and the job is what its row says. */
static void test_ledger_failure(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    uint64_t submit = rig_submit(&r, "c", 1, "ai", 1);
    rig_answer(&r, KV_E_DISK_FULL);
    rig_expect_error(&r, submit, KV_E_DISK_FULL);
    assert_int_equal(r.commands.first->type, KV_CMD_FIND);
    rig_answer(&r, KV_OK); /* no row */
    assert_int_equal(kv_core_jobs(r.core), 0);

    rig_start_one(&r, 100);
    uint64_t done = rig_done(&r, "w", 100, 1, 1);
    rig_answer(&r, KV_E_DISK_FULL);
    rig_expect_error(&r, done, KV_E_DISK_FULL);
    rig_answer(&r, KV_E_IO); /* not even readable: asked again later */
    rig_expect_error(&r, rig_done(&r, "w", 100, 1, 1), KV_E_BUSY);
    rig_tick(&r, 1000);
    kv_cmd *find = r.commands.first;
    assert_int_equal(find->type, KV_CMD_FIND);
    find->place = (kv_job_place){
        .found = true, .state = KV_JOB_PROCESSING, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_answer(&r, KV_OK);
    done = rig_done(&r, "w", 100, 1, 1); /* the worker sends it again */
    rig_commit(&r);
    rig_expect_code(&r, done, KV_OKAY);
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

/* A SUBMIT whose id has a finished row: the optimistic lease is undone, the worker never sees it.
 */
static void test_submit_of_a_finished_job(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_hello(&r, "c", "client", "cli", 2);
    uint64_t submit = rig_submit(&r, "c", 1, "ai", 1);
    kv_cmd *cmd = kv_cmd_pop(&r.commands);
    cmd->place = (kv_job_place){.found = true, .state = KV_JOB_COMPLETE, .epoch = 1, .attempt = 1};
    kv_core_result(r.core, r.now, cmd);
    assert_true(kv_slice_is(rig_reply(&r, submit)->m.submit_ok.status, "complete"));
    assert_false(rig_reply(&r, submit)->m.submit_ok.created);
    rig_answer(&r, KV_E_CONFLICT); /* the lease finds no queued row */
    kv_cmd *find = r.commands.first;
    find->place = (kv_job_place){.found = true, .state = KV_JOB_COMPLETE, .epoch = 1, .attempt = 1};
    rig_answer(&r, KV_OK);
    assert_int_equal(kv_core_jobs(r.core), 0);
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_submit(&r, "c", 2, "ai", 1); /* the credit is free again */
    rig_commit(&r);
    assert_non_null(rig_last(&r, "w", KV_JOB));
    rig_stop(&r);
}

static void test_sessions_are_forgotten(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    assert_int_equal(kv_core_sessions(r.core), 1);
    for (int i = 0; i < 60; i++)
        rig_tick(&r, 1000);
    assert_int_equal(kv_core_sessions(r.core), 1);
    rig_tick(&r, 1000);
    assert_int_equal(kv_core_sessions(r.core), 0);
    rig_stop(&r);
}

/* The broker itself was stopped for a while: nobody is judged before they could be heard. */
static void test_broker_was_away(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    rig_tick(&r, 400 * 1000);
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
    rig_tick(&r, 1000);
    rig_beat(&r, "w", 1);
    kv_msg m;
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress = (kv_job_progress){.job = 100, .epoch = 1, .attempt = 1, .progress = 40};
    rig_say(&r, "w", &m);
    for (int i = 0; i < 3; i++)
        rig_tick(&r, 1000);
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
    rig_tick(&r, 1000);
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_QUEUED);
    rig_stop(&r);
}

/* The whole machine stood still: to the worker, too, no time has passed in which it could have got
 * on with its job. */
static void test_all_stood_still(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    for (int i = 0; i < 200; i++) {
        rig_tick(&r, 1000);
        rig_beat(&r, "w", 1);
        r.n = 0;
    }
    rig_tick(&r, 24 * 3600 * 1000);
    for (int i = 0; i < 99; i++) {
        rig_beat(&r, "w", 1);
        rig_tick(&r, 1000);
        r.n = 0;
        assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
    }
    for (int i = 0; i < 2; i++)
        rig_tick(&r, 1000);
    assert_true(kv_slice_is(r.commands.first->move.error, "stuck"));
    rig_stop(&r);
}

static void test_commit_checked(void **state)
{
    static const char *const folders[] = {"../x", "", "A", "a//b"};
    char hash[32] = {1};
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "g", "gateway", "g", 1);
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    m.media_commit.media = 1;
    m.media_commit.filename = kv_slice_str("a.jpg");
    m.media_commit.hash = m.media_commit.stored_hash = kv_slice_of(hash, 32);
    m.media_commit.mime = kv_slice_str("image/jpeg");
    m.media_commit.ext = kv_slice_str("jpg");
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        m.media_commit.folder = kv_slice_str(folders[i]);
        rig_expect_error(&r, rig_say(&r, "g", &m), KV_E_BAD_MESSAGE);
    }
    m.media_commit.folder = kv_slice_str("banners");
    m.media_commit.ext = kv_slice_str("j/g");
    rig_expect_error(&r, rig_say(&r, "g", &m), KV_E_BAD_MESSAGE);
    m.media_commit.ext = kv_slice_str("jpg");
    rig_say(&r, "g", &m);
    assert_int_equal(r.commands.n, 1);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_a_job),
        cmocka_unit_test(test_held_until_commit),
        cmocka_unit_test(test_lanes_and_order),
        cmocka_unit_test(test_credit_and_turns),
        cmocka_unit_test(test_silence_and_late_answer),
        cmocka_unit_test(test_attempts_used_up),
        cmocka_unit_test(test_fail_without_retry),
        cmocka_unit_test(test_another_data_folder),
        cmocka_unit_test(test_stuck),
        cmocka_unit_test(test_fencing),
        cmocka_unit_test(test_reconnect),
        cmocka_unit_test(test_bye),
        cmocka_unit_test(test_unknown_peer),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_resend),
        cmocka_unit_test(test_submit_refused),
        cmocka_unit_test(test_busy),
        cmocka_unit_test(test_ledger_failure),
        cmocka_unit_test(test_submit_of_a_finished_job),
        cmocka_unit_test(test_sessions_are_forgotten),
        cmocka_unit_test(test_broker_was_away),
        cmocka_unit_test(test_all_stood_still),
        cmocka_unit_test(test_commit_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
