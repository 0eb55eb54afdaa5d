/* A message that comes a second time, behind its answer: what was said stays true. */
#include "tests/unit/core_rig.h"

static void say_again(rig *r, uint64_t request, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = request};
    r->n = 0;
    kv_core_message(r->core, r->now, kv_slice_str("c"), &head, m);
}

/* The oldest command as the ledger gives it back: another one's job, or row. */
static void answer_other(rig *r, uint64_t job, uint64_t media)
{
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    cmd->other = job;
    cmd->media = media;
    cmd->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED};
    kv_core_result(r->core, r->now, cmd);
}

static void test_refused(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(1, "ai", 1);
    uint64_t request = rig_say(&r, "c", &m);
    rig_answer(&r, KV_E_NO_CREDIT);
    rig_commit(&r); /* looks for the row */
    rig_expect_error(&r, request, KV_E_NO_CREDIT);
    say_again(&r, request, &m); /* credits have come meanwhile */
    rig_expect_error(&r, request, KV_E_NO_CREDIT);
    assert_int_equal(r.commands.n, 0);
    /* by itself, or anew: judged */
    rig_say(&r, "c", &m);
    assert_int_equal(r.commands.n, 1);
    rig_commit(&r);
    assert_int_equal(kv_core_jobs(r.core), 1);
    rig_stop(&r);
}

static void test_refused_at_the_door(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_core_set_disk_low(r.core, true);
    kv_msg m = rig_job(1, "ai", 1);
    uint64_t request = rig_say(&r, "c", &m);
    rig_commit(&r); /* there is no such row */
    rig_expect_error(&r, request, KV_E_DISK_FULL);
    kv_core_set_disk_low(r.core, false);
    say_again(&r, request, &m);
    rig_expect_error(&r, request, KV_E_DISK_FULL);
    assert_true(rig_reply(&r, request)->m.error.retry_after_ms > 0);
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

/* The job that had its key has ended since. */
static void test_met_another(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.unique_key = kv_slice_str("order-1");
    uint64_t request = rig_say(&r, "c", &m);
    answer_other(&r, 77, 0);
    assert_int_equal(rig_submitted(&r, request)->job, 77);
    rig_commit(&r);
    say_again(&r, request, &m);
    rig_expect_error(&r, request, KV_E_BUSY);
    assert_true(rig_reply(&r, request)->m.error.retry_after_ms > 0); /* who lost the answer asks */
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

static void test_retry_met_another(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_client(&r);
    kv_msg_defaults(KV_RETRY, &m);
    m.retry.job = 1;
    m.retry.new_job = 2;
    uint64_t request = rig_say(&r, "c", &m);
    answer_other(&r, 77, 0);
    assert_int_equal(rig_submitted(&r, request)->job, 77);
    say_again(&r, request, &m);
    rig_expect_error(&r, request, KV_E_BUSY);
    assert_int_equal(r.commands.n, 0);
    rig_stop(&r);
}

static void test_batch_with_one_refused(void **state)
{
    rig r;
    kv_msg m;
    kv_buf jobs;
    (void)state;
    rig_client(&r);
    kv_buf_init(&jobs, 0);
    for (uint64_t i = 1; i <= 2; i++) {
        m = rig_job(i, "ai", 1);
        kv_body_encode(&m, &jobs);
    }
    kv_msg_defaults(KV_SUBMIT_BATCH, &m);
    m.submit_batch.jobs = kv_buf_slice(&jobs);
    uint64_t request = rig_say(&r, "c", &m);
    rig_answer(&r, KV_OK);
    rig_answer(&r, KV_E_NO_CREDIT);
    rig_commit(&r);
    rig_expect_code(&r, request, KV_SUBMIT_BATCH_OK);
    say_again(&r, request, &m);
    rig_expect_error(&r, request, KV_E_BUSY);
    assert_int_equal(r.commands.n, 0);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

static kv_msg commit_of(uint64_t media)
{
    static const char hash[32] = "h";
    kv_msg m;
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    m.media_commit.media = media;
    m.media_commit.folder = kv_slice_str("banners");
    m.media_commit.filename = kv_slice_str("a.jpg");
    m.media_commit.hash = m.media_commit.stored_hash = kv_slice_of(hash, 32);
    m.media_commit.size = 10;
    m.media_commit.mime = kv_slice_str("image/jpeg");
    m.media_commit.ext = kv_slice_str("jpg");
    return m;
}

/* It was given another one's row, which was deleted since: the copy makes none of its own. */
static void test_commit_that_shared(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = commit_of(5);
    uint64_t request = rig_say(&r, "c", &m);
    answer_other(&r, 0, 4);
    rig_expect_code(&r, request, KV_MEDIA_COMMITTED);
    say_again(&r, request, &m);
    rig_expect_error(&r, request, KV_E_DYING);
    assert_true(rig_reply(&r, request)->m.error.retry_after_ms > 0);
    assert_int_equal(r.commands.n, 0);
    /* one with its own row meets that */
    m = commit_of(6);
    request = rig_say(&r, "c", &m);
    answer_other(&r, 0, 6);
    say_again(&r, request, &m);
    assert_int_equal(r.commands.n, 1);
    rig_stop(&r);
}

/* The first one is at the ledger: that it is late by now says nothing of it. */
static void test_late_copy(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = commit_of(5);
    kv_header head = {.code = m.code, .request = 50, .deadline_ms = (uint64_t)r.now.wall_ms + 1000};
    kv_core_message(r.core, r.now, kv_slice_str("c"), &head, &m);
    assert_int_equal(r.commands.n, 1);
    r.now.wall_ms += 3000;
    r.n = 0;
    kv_core_message(r.core, r.now, kv_slice_str("c"), &head, &m);
    assert_int_equal(r.n, 0);
    answer_other(&r, 0, 5);
    rig_expect_code(&r, 50, KV_MEDIA_COMMITTED);
    rig_stop(&r);
}

/* For half a minute, and not without end. */
static void test_kept_for_a_while(void **state)
{
    rig r;
    uint64_t first = 0;
    (void)state;
    rig_client(&r);
    kv_msg bad = rig_job(1, "Bad Name", 1), good = rig_job(1, "ai", 1);
    for (int i = 0; i < 1025; i++) {
        r.n = 0;
        uint64_t request = rig_say(&r, "c", &bad);
        first = first ? first : request;
    }
    say_again(&r, first + 1, &good);
    rig_expect_error(&r, first + 1, KV_E_BAD_PARAMETER);
    say_again(&r, first, &good);
    assert_int_equal(r.commands.n, 1);
    rig_commit(&r);
    for (int i = 0; i < 31; i++) {
        rig_beat(&r, "c", 0);
        rig_tick(&r, 1000);
        r.n = 0;
    }
    good.submit.job = 2;
    say_again(&r, first + 1, &good);
    assert_int_equal(r.commands.n, 1);
    rig_stop(&r);
}

static kv_msg ready_of(const char *service, uint64_t credit)
{
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(service);
    m.ready.credit = credit;
    return m;
}

/* A copy of a READY comes behind a newer one: the worker drains. The newest may come as often as it
 * likes, also in a new session, which begins without credit. */
static void test_ready_behind_a_newer(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg open = ready_of("ai", 4), drain = ready_of("ai", 0), other = ready_of("mail", 1);
    uint64_t first = rig_say(&r, "c", &open), second = rig_say(&r, "c", &other);
    rig_say(&r, "c", &drain);
    say_again(&r, first, &open);
    rig_expect_code(&r, first, KV_OKAY);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_say(&r, "c", &drain);
    say_again(&r, first, &open);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 0);
    say_again(&r, second, &other); /* of another service nothing newer came */
    rig_submit(&r, "c", 2, "mail", 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_refused_at_the_door),
        cmocka_unit_test(test_met_another),
        cmocka_unit_test(test_retry_met_another),
        cmocka_unit_test(test_batch_with_one_refused),
        cmocka_unit_test(test_commit_that_shared),
        cmocka_unit_test(test_late_copy),
        cmocka_unit_test(test_kept_for_a_while),
        cmocka_unit_test(test_ready_behind_a_newer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
