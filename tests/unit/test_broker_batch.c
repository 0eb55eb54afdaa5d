/* SUBMIT_BATCH, and what clients change besides the state of a job: metadata, dead letters done
 * again, credits, notifications. */
#include "tests/unit/core_rig.h"

#include "proto/batch.h"

/* ---- batches ---- */

typedef struct outcomes {
    kv_batch_result of[KV_BATCH_MAX];
    int n;
} outcomes;

static void body(kv_buf *out, const kv_msg *m)
{
    kv_body_encode(m, out);
}

static void job_body(kv_buf *out, uint64_t job)
{
    kv_msg m = rig_job(job, "ai", 1);
    body(out, &m);
}

static uint64_t say_batch(rig *r, const char *peer, const kv_buf *jobs)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT_BATCH, &m);
    m.submit_batch.jobs = kv_buf_slice(jobs);
    return rig_say(r, peer, &m);
}

static outcomes outcomes_of(const rig *r, uint64_t request)
{
    outcomes o = {.n = 0};
    const rig_sent *s = rig_reply(r, request);
    assert_non_null(s);
    assert_int_equal(s->m.code, KV_SUBMIT_BATCH_OK);
    kv_slice rest = s->m.submit_batch_ok.results;
    while (rest.len)
        assert_true(kv_batch_result_next(&rest, &o.of[o.n++]));
    return o;
}

static void start(rig *r, kv_buf *jobs)
{
    rig_start(r, 1);
    rig_hello(r, "c", "client", "cli", 2);
    kv_buf_init(jobs, 0);
}

/* One answer, when the last one is known, in the order asked; each is judged alone. */
static void test_batch(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    start(&r, &jobs);
    job_body(&jobs, 1);
    kv_msg bad = rig_job(2, "Bad Name", 1);
    body(&jobs, &bad);
    job_body(&jobs, 3);
    kv_buf_adds(&jobs, "\xc0"); /* no array at all: refused alone, for its end is known */
    job_body(&jobs, 1);         /* the same again */
    uint64_t request = say_batch(&r, "c", &jobs);
    assert_int_equal(r.commands.n, 3);
    rig_answer(&r, KV_OK);
    assert_null(rig_reply(&r, request));
    rig_answer(&r, KV_E_NO_CREDIT);
    assert_null(rig_reply(&r, request));
    r.commands.first->place =
        (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    rig_answer(&r, KV_OK);
    outcomes o = outcomes_of(&r, request);
    assert_int_equal(o.n, 5);
    static const kv_err err[] = {KV_OK, KV_E_BAD_PARAMETER, KV_E_NO_CREDIT, KV_E_BAD_MESSAGE,
                                 KV_OK};
    static const uint64_t ids[] = {1, 2, 3, 0, 1};
    for (int i = 0; i < 5; i++) {
        assert_int_equal(o.of[i].err, err[i]);
        assert_int_equal(o.of[i].job, ids[i]);
        assert_true(kv_slice_is(o.of[i].status, err[i] ? "" : "queued"));
        assert_int_equal(o.of[i].created, i == 0);
    }
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_SUBMIT_BATCH_OK), 1);
    assert_int_equal(rig_count(&r, KV_ERROR), 0);
    assert_int_equal(kv_core_jobs(r.core), 1);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

/* Its jobs go to workers like others; the answer does not wait for the leases. */
static void test_batch_runs(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    start(&r, &jobs);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 2);
    for (uint64_t i = 1; i <= 3; i++)
        job_body(&jobs, i);
    uint64_t request = say_batch(&r, "c", &jobs);
    rig_commit(&r);
    assert_true(kv_slice_is(outcomes_of(&r, request).of[0].status, "processing"));
    assert_true(kv_slice_is(outcomes_of(&r, request).of[2].status, "queued"));
    assert_int_equal(rig_count(&r, KV_JOB), 2);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

static void say_again(rig *r, const char *peer, uint64_t request, const kv_buf *jobs)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT_BATCH, &m);
    m.submit_batch.jobs = kv_buf_slice(jobs);
    kv_header head = {.code = m.code, .request = request};
    kv_core_message(r->core, r->now, kv_slice_str(peer), &head, &m);
}

/* Sent again while it is under way: one answer. After it: each meets its own row. */
static void test_batch_resent(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    start(&r, &jobs);
    job_body(&jobs, 1);
    job_body(&jobs, 2);
    uint64_t request = say_batch(&r, "c", &jobs);
    say_again(&r, "c", request, &jobs);
    assert_int_equal(r.commands.n, 2);
    rig_answer(&r, KV_OK);
    rig_hello(&r, "d", "client", "cli", 2); /* on a new connection */
    say_again(&r, "d", request, &jobs);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_SUBMIT_BATCH_OK), 1);
    assert_non_null(rig_last(&r, "d", KV_SUBMIT_BATCH_OK));
    say_again(&r, "d", request, &jobs);
    for (kv_cmd *cmd = r.commands.first; cmd; cmd = cmd->next) {
        assert_int_equal(cmd->type, KV_CMD_FIND);
        cmd->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    }
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_SUBMIT_BATCH_OK), 2);
    outcomes o = outcomes_of(&r, request);
    assert_int_equal(o.n, 2);
    assert_int_equal(o.of[0].err, KV_OK);
    assert_false(o.of[0].created);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

/* Who asked is gone before the answer: the jobs are there all the same; the core forgets the rest.
 */
static void test_batch_of_a_lost_session(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    start(&r, &jobs);
    job_body(&jobs, 1);
    job_body(&jobs, 2);
    uint64_t request = say_batch(&r, "c", &jobs);
    for (int i = 0; i < 70; i++)
        rig_tick(&r, 1000);
    assert_int_equal(kv_core_sessions(r.core), 1); /* kept while something of it is under way */
    rig_commit(&r);
    assert_int_equal(kv_core_jobs(r.core), 2);
    assert_non_null(rig_reply(&r, request)); /* should it still listen */
    rig_tick(&r, 1000);
    assert_int_equal(kv_core_sessions(r.core), 0);
    rig_hello(&r, "c", "client", "cli", 2);
    kv_buf_clear(&jobs);
    job_body(&jobs, 3);
    request = say_batch(&r, "c", &jobs);
    rig_hello(&r, "e", "client", "cli", 3); /* fenced: not told any more */
    rig_commit(&r);
    assert_null(rig_reply(&r, request));
    kv_buf_clear(&jobs);
    job_body(&jobs, 4);
    say_batch(&r, "e", &jobs); /* under way when the broker ends */
    kv_buf_release(&jobs);
    rig_stop(&r);
}

static void test_batch_refused(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    start(&r, &jobs);
    outcomes none = outcomes_of(&r, say_batch(&r, "c", &jobs));
    assert_int_equal(none.n, 0);
    job_body(&jobs, 1);
    jobs.len--; /* cut off: nothing of it is taken */
    rig_expect_error(&r, say_batch(&r, "c", &jobs), KV_E_BAD_MESSAGE);
    kv_buf_clear(&jobs);
    for (uint64_t i = 1; i <= KV_BATCH_MAX + 1; i++)
        job_body(&jobs, i);
    rig_expect_error(&r, say_batch(&r, "c", &jobs), KV_E_BAD_PARAMETER);
    assert_int_equal(r.commands.n, 0);
    assert_int_equal(kv_core_jobs(r.core), 0);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

/* When the ledger is full, or the queue, the rest of it is refused and told when to come again. */
static void test_batch_with_no_room(void **state)
{
    rig r;
    kv_buf jobs;
    (void)state;
    kv_core_opts opts = rig_opts(&r, 1);
    opts.submits_max = 4; /* one is the question whether what is refused was here before */
    opts.max_waiting = 2;
    rig_start_with(&r, &opts);
    rig_hello(&r, "c", "client", "cli", 2);
    kv_buf_init(&jobs, 0);
    for (uint64_t i = 1; i <= 3; i++)
        job_body(&jobs, i);
    for (uint64_t i = 4; i <= 5; i++) {
        kv_msg m = rig_job(i, "other", 1);
        body(&jobs, &m);
    }
    uint64_t request = say_batch(&r, "c", &jobs);
    rig_commit(&r);
    outcomes o = outcomes_of(&r, request);
    assert_int_equal(o.n, 5);
    static const kv_err err[] = {KV_OK, KV_OK, KV_E_QUEUE_FULL, KV_OK, KV_E_BUSY};
    for (int i = 0; i < 5; i++)
        assert_int_equal(o.of[i].err, err[i]);
    assert_true(rig_reply(&r, request)->m.submit_batch_ok.retry_after_ms >= 100);
    kv_buf_release(&jobs);
    rig_stop(&r);
}

static void test_batch_results(void **state)
{
    kv_buf b;
    kv_batch_result r = {UINT64_MAX >> 1, KV_E_EVICTED, kv_slice_str("error"), true}, got;
    (void)state;
    kv_buf_init(&b, 0);
    kv_batch_result_add(&b, &r);
    for (size_t len = 0; len < b.len; len++) {
        kv_slice cut = kv_slice_of(b.data, len);
        assert_false(kv_batch_result_next(&cut, &got));
    }
    kv_slice rest = kv_buf_slice(&b);
    assert_true(kv_batch_result_next(&rest, &got));
    assert_int_equal(rest.len, 0);
    assert_int_equal(got.job, r.job);
    assert_int_equal(got.err, r.err);
    assert_true(kv_slice_is(got.status, "error"));
    assert_true(got.created);
    kv_slice newer = kv_slice_of("\x95\x01\x00\xa0\xc2\x93\x01\x02\x03", 9); /* one field more */
    assert_true(kv_batch_result_next(&newer, &got));
    assert_int_equal(newer.len, 0);
    assert_int_equal(kv_batch_count(kv_buf_slice(&b)), 1);
    assert_int_equal(kv_batch_count(kv_slice_of("\x91", 1)), -1);
    kv_buf_release(&b);
}

/* ---- metadata ---- */

static void answer_text(rig *r, const char *text, uint64_t other)
{
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    kv_buf_adds(&cmd->text, text);
    cmd->other = other;
    kv_core_result(r->core, r->now, cmd);
}

static kv_msg metadata(uint64_t job, const char *patch, uint64_t version)
{
    kv_msg m;
    kv_msg_defaults(KV_METADATA, &m);
    m.metadata = (kv_metadata){.job = job, .patch = kv_slice_str(patch), .version = version};
    return m;
}

/* S3-20…23: merged by the ledger, once: sent again after a lost answer it would undo what came
 * between. */
static void test_metadata(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = metadata(5, "{\"a\":1}", 0);
    uint64_t request = rig_say(&r, "c", &m);
    assert_true(kv_slice_is(r.commands.first->metadata.patch, "{\"a\":1}"));
    answer_text(&r, "{\"a\":1,\"b\":2}", 7);
    const kv_metadata_ok *ok = &rig_reply(&r, request)->m.metadata_ok;
    rig_expect_code(&r, request, KV_METADATA_OK);
    assert_int_equal(ok->job, 5);
    assert_int_equal(ok->version, 7);
    assert_true(kv_slice_is(ok->metadata, "{\"a\":1,\"b\":2}"));
    kv_header head = {.code = KV_METADATA, .request = request};
    kv_core_message(r.core, r.now, kv_slice_str("c"), &head, &m);
    assert_true(kv_slice_is(r.commands.first->metadata.patch, "{}")); /* only read */
    answer_text(&r, "{\"a\":3}", 8);
    assert_true(kv_slice_is(rig_reply(&r, request)->m.metadata_ok.metadata, "{\"a\":3}"));
    m = metadata(5, "{}", 6);
    request = rig_say(&r, "c", &m);
    rig_answer(&r, KV_E_CONFLICT);
    rig_expect_error(&r, request, KV_E_CONFLICT);
    m = metadata(5, "[]", 0);
    rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_BAD_PARAMETER);
    m = metadata(5, "", 0);
    rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_BAD_PARAMETER);
    m = metadata(0, "{}", 0);
    rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_BAD_PARAMETER);
    rig_stop(&r);
}

/* Y01: a worker that writes fields of its job is not stuck. */
static void test_metadata_is_activity(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 100);
    kv_msg m = metadata(100, "{\"step\":1}", 0);
    for (int i = 0; i < 598; i++) {
        r.n = 0;
        rig_tick(&r, 1000);
        rig_beat(&r, "w", 1);
        if (i == 298)
            rig_say(&r, "w", &m);
        rig_commit(&r);
    }
    assert_int_equal(kv_core_job_state(r.core, 100, NULL), KV_JOB_PROCESSING);
    rig_stop(&r);
}

/* ---- dead letters ---- */

static uint64_t retry(rig *r, uint64_t job, uint64_t new_job)
{
    kv_msg m;
    kv_msg_defaults(KV_RETRY, &m);
    m.retry = (kv_retry){job, new_job};
    return rig_say(r, "c", &m);
}

static void answer_retry(rig *r, const char *service)
{
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    assert_int_equal(cmd->type, KV_CMD_RETRY);
    cmd->created = true;
    cmd->jobs[cmd->jobs_n++] = (kv_cmd_job){.id = cmd->retry.new_job,
                                            .seq = cmd->seq,
                                            .max_attempts = 2,
                                            .lane = 1,
                                            .service = service,
                                            .tenant = "t",
                                            .backoff_ms = 50};
    kv_core_result(r->core, r->now, cmd);
}

/* A dead letter is done again as a new job, which the core takes over. */
static void test_retry(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_commit(&r);
    uint64_t request = retry(&r, 90, 91), submit = rig_submit(&r, "c", 91, "ai", 1);
    rig_expect_error(&r, submit, KV_E_BUSY); /* that id is being made */
    rig_expect_error(&r, retry(&r, 80, 91), KV_E_BUSY);
    answer_retry(&r, "ai");
    const rig_sent *s = rig_reply(&r, request);
    assert_int_equal(s->m.code, KV_SUBMIT_OK);
    assert_int_equal(s->m.submit_ok.job, 91);
    assert_true(s->m.submit_ok.created);
    assert_int_equal(s->m.submit_ok.queue_position, 2);
    uint64_t again = retry(&r, 90, 91); /* another request, the same job */
    assert_int_equal(r.commands.first->type, KV_CMD_FIND);
    r.commands.first->place =
        (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    rig_commit(&r);
    assert_int_equal(rig_reply(&r, again)->m.submit_ok.job, 91);
    assert_false(rig_reply(&r, again)->m.submit_ok.created);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 2);
    rig_commit(&r);
    assert_int_equal(kv_core_job_state(r.core, 91, NULL), KV_JOB_PROCESSING);
    rig_fail(&r, "w", 91, 1, 1, true); /* with the options of the old one */
    assert_in_range(r.commands.first->move.not_before - r.now.wall_ms, 25, 50);
    rig_stop(&r);
}

static void test_retry_refused(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_expect_error(&r, retry(&r, 0, 5), KV_E_BAD_PARAMETER);
    rig_expect_error(&r, retry(&r, 5, 0), KV_E_BAD_PARAMETER);
    rig_expect_error(&r, retry(&r, 5, 5), KV_E_BAD_PARAMETER);
    uint64_t request = retry(&r, 5, 6);
    rig_answer(&r, KV_E_CONFLICT);
    rig_expect_error(&r, request, KV_E_CONFLICT);
    request = retry(&r, 5, 6); /* the id is free again */
    kv_cmd *cmd = kv_cmd_pop(&r.commands);
    cmd->other = 4; /* does it already */
    cmd->place = (kv_job_place){
        .found = true, .state = KV_JOB_COMPLETE, .epoch = 1, .attempt = 1, .max_attempts = 3};
    kv_core_result(r.core, r.now, cmd);
    assert_int_equal(rig_reply(&r, request)->m.submit_ok.job, 4);
    assert_true(kv_slice_is(rig_reply(&r, request)->m.submit_ok.status, "complete"));
    assert_int_equal(kv_core_jobs(r.core), 0);
    retry(&r, 5, 7); /* under way at the end */
    rig_stop(&r);
}

/* ---- credits and notifications ---- */

/* S4-72…74: what the ledger says of a transaction, passed on. */
static void test_credit(void **state)
{
    static const kv_credit bad[] = {
        {.transaction = 0, .user = {"u", 1}, .amount = 1},
        {.transaction = 1, .amount = 1},
        {.transaction = 1, .what = 1, .user = {"u", 1}},
        {.transaction = 1, .what = 2, .user = {"u", 1}},
        {.transaction = 1, .what = 3, .amount = 5},
        {.transaction = 1, .user = {"\n", 1}, .amount = 1},
        {.transaction = 1, .user = {"u", 1}, .amount = 1, .key = {"\n", 1}},
        {.transaction = 1, .what = 1, .user = {"u", 1}, .amount = 1, .key = {"k", 1}}};
    rig r;
    kv_msg m;
    (void)state;
    rig_client(&r);
    kv_msg_defaults(KV_CREDIT, &m);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        m.credit = bad[i];
        rig_expect_error(&r, rig_say(&r, "c", &m), KV_E_BAD_PARAMETER);
    }
    m.credit = (kv_credit){.transaction = 9,
                           .what = 1,
                           .user = kv_slice_str("ali"),
                           .amount = 5,
                           .operation = kv_slice_str("upscale")};
    uint64_t request = rig_say(&r, "c", &m);
    assert_true(kv_slice_is(r.commands.first->credit.user, "ali"));
    assert_true(kv_slice_is(r.commands.first->credit.operation, "upscale"));
    kv_cmd *cmd = kv_cmd_pop(&r.commands);
    cmd->account = (kv_credit_ok){9, kv_slice_str("held"), 10, 5, 0};
    kv_core_result(r.core, r.now, cmd);
    const kv_credit_ok *ok = &rig_reply(&r, request)->m.credit_ok;
    rig_expect_code(&r, request, KV_CREDIT_OK);
    assert_true(kv_slice_is(ok->state, "held"));
    assert_int_equal(ok->available, 10);
    assert_int_equal(ok->held, 5);
    request = rig_say(&r, "c", &m);
    rig_answer(&r, KV_E_NO_CREDIT);
    rig_expect_error(&r, request, KV_E_NO_CREDIT);
    rig_stop(&r);
}

static void test_notify_and_seen(void **state)
{
    rig r;
    kv_msg m;
    (void)state;
    rig_start(&r, 1);
    rig_hello(&r, "n", "worker", "notifier", 2);
    kv_msg_defaults(KV_NOTIFY, &m);
    m.notify = (kv_notify){30, kv_slice_str("ali"), kv_slice_str("job.error"), kv_slice_str("{}")};
    uint64_t request = rig_say(&r, "n", &m);
    assert_true(kv_slice_is(r.commands.first->notify.kind, "job.error"));
    rig_commit(&r);
    assert_int_equal(rig_reply(&r, request)->m.okay.id, 30);
    m.notify.json = kv_slice_str("1");
    rig_expect_error(&r, rig_say(&r, "n", &m), KV_E_BAD_PARAMETER);
    m.notify = (kv_notify){31, kv_slice_str(""), kv_slice_str(""), kv_slice_str("")};
    request = rig_say(&r, "n", &m); /* only the mark */
    rig_commit(&r);
    rig_expect_code(&r, request, KV_OKAY);
    kv_msg_defaults(KV_SEEN, &m);
    rig_expect_error(&r, rig_say(&r, "n", &m), KV_E_BAD_PARAMETER);
    m.seen.user = kv_slice_str("ali");
    request = rig_say(&r, "n", &m);
    rig_commit(&r);
    rig_expect_code(&r, request, KV_OKAY);
    kv_header head = {.code = KV_SEEN, .request = request};
    kv_core_message(r.core, r.now, kv_slice_str("n"), &head, &m);
    assert_int_equal(r.commands.n, 0); /* "all" of then is not "all" of now */
    assert_int_equal(rig_count(&r, KV_OKAY), 4);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch),
        cmocka_unit_test(test_batch_runs),
        cmocka_unit_test(test_batch_resent),
        cmocka_unit_test(test_batch_of_a_lost_session),
        cmocka_unit_test(test_batch_refused),
        cmocka_unit_test(test_batch_with_no_room),
        cmocka_unit_test(test_batch_results),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_metadata_is_activity),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_refused),
        cmocka_unit_test(test_credit),
        cmocka_unit_test(test_notify_and_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
