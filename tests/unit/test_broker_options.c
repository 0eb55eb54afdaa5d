/* What a job may ask for, as the core does it: delay, deadline, backoff, unique key. S4-30: and
 * what it gets when it does not ask. */
#include "tests/unit/core_rig.h"

#include "proto/base/metrics.h"

/* ---- options ---- */

/* All of them reach the ledger; empty ones are none. */
static void test_options(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(7, "ai", 2);
    m.submit.tenant = kv_slice_str("acme");
    m.submit.max_attempts = 5;
    m.submit.delay_ms = 1500;
    m.submit.unique_key = kv_slice_str("order-1");
    m.submit.backoff_ms = 10;
    m.submit.backoff_max_ms = 20;
    m.submit.deadline_ms = (uint64_t)r.now.wall_ms + 60000;
    m.submit.tags = kv_slice_str("a,b.c:d_e-f");
    m.submit.retention_s = 3600;
    m.submit.user = kv_slice_str("ayşe");
    m.submit.credits = 3;
    m.submit.operation = kv_slice_str("upscale");
    m.submit.metadata = kv_slice_str(" {\"a\":1}");
    m.submit.retry_of = 6;
    rig_say(&r, "c", &m);
    const kv_cmd_submit *s = &r.commands.first->submit;
    assert_int_equal(s->job, 7);
    assert_int_equal(s->lane, 2);
    assert_int_equal(s->max_attempts, 5);
    assert_int_equal(s->not_before, r.now.wall_ms + 1500);
    assert_int_equal(s->backoff_ms, 10);
    assert_int_equal(s->backoff_max_ms, 20);
    assert_int_equal(s->deadline_ms, r.now.wall_ms + 60000);
    assert_int_equal(s->retention_s, 3600);
    assert_int_equal(s->credits, 3);
    assert_int_equal(s->retry_of, 6);
    assert_true(kv_slice_is(s->tenant, "acme"));
    assert_true(kv_slice_is(s->unique_key, "order-1"));
    assert_true(kv_slice_is(s->tags, "a,b.c:d_e-f"));
    assert_true(kv_slice_is(s->user, "ayşe"));
    assert_true(kv_slice_is(s->operation, "upscale"));
    assert_true(kv_slice_is(s->metadata, " {\"a\":1}"));
    rig_commit(&r);
    rig_submit(&r, "c", 8, "ai", 1);
    s = &r.commands.first->submit;
    assert_null(s->unique_key.ptr);
    assert_null(s->tags.ptr);
    assert_null(s->user.ptr);
    assert_null(s->metadata.ptr);
    assert_int_equal(s->not_before, 0);
    rig_stop(&r);
}

typedef void (*spoil_fn)(kv_submit *m);
static void spoil_params(kv_submit *m)
{
    m->params = kv_slice_str("{");
}
static void spoil_metadata(kv_submit *m)
{
    m->metadata = kv_slice_str("[1]");
}
static void spoil_metadata_text(kv_submit *m)
{
    m->metadata = kv_slice_str("{\"a\":}");
}
static void spoil_tags(kv_submit *m)
{
    m->tags = kv_slice_str("a,,b");
}
static void spoil_tags_end(kv_submit *m)
{
    m->tags = kv_slice_str("a,");
}
static void spoil_tags_char(kv_submit *m)
{
    m->tags = kv_slice_str("a b");
}
static void spoil_tags_many(kv_submit *m)
{
    m->tags = kv_slice_str("1,2,3,4,5,6,7,8,9");
}
static void spoil_tag_long(kv_submit *m)
{
    m->tags = kv_slice_str("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
}
static void spoil_credits(kv_submit *m)
{
    m->credits = 1;
}
static void spoil_backoff(kv_submit *m)
{
    m->backoff_ms = 2000;
    m->backoff_max_ms = 1000;
}
static void spoil_user(kv_submit *m)
{
    m->user = kv_slice_str("a\nb");
}
static void spoil_key(kv_submit *m)
{
    m->unique_key = kv_slice_of("a\0b", 3);
}
static void spoil_deadline(kv_submit *m)
{
    m->deadline_ms = UINT64_MAX;
}
static void spoil_retry_of(kv_submit *m)
{
    m->retry_of = (uint64_t)1 << 63;
}

static void test_options_refused(void **state)
{
    static const spoil_fn spoil[] = {
        spoil_params,    spoil_metadata,  spoil_metadata_text, spoil_tags,    spoil_tags_end,
        spoil_tags_char, spoil_tags_many, spoil_tag_long,      spoil_credits, spoil_backoff,
        spoil_user,      spoil_key,       spoil_deadline,      spoil_retry_of};
    rig r;
    (void)state;
    rig_client(&r);
    for (size_t i = 0; i < sizeof spoil / sizeof *spoil; i++) {
        kv_msg m = rig_job(1, "ai", 1);
        spoil[i](&m.submit);
        uint64_t request = rig_say(&r, "c", &m);
        rig_expect_error(&r, request, KV_E_BAD_PARAMETER);
        assert_true(rig_reply(&r, request)->m.error.detail.len > 10); /* says which */
    }
    assert_int_equal(r.commands.n, 0);
    assert_int_equal(kv_core_jobs(r.core), 0);
    rig_stop(&r);
}

/* A delayed job has no position and does not begin before its time. */
static void test_delay(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.delay_ms = 2000;
    uint64_t request = rig_say(&r, "c", &m);
    rig_commit(&r);
    assert_int_equal(rig_submitted(&r, request)->queue_position, -1);
    assert_true(kv_slice_is(rig_submitted(&r, request)->status, "queued"));
    rig_beat(&r, "w", 0);
    rig_tick(&r, 1999);
    assert_int_equal(r.commands.n, 0);
    rig_tick(&r, 1);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 1);
    rig_stop(&r);
}

/* ---- deadlines ---- */

static void submit_due(rig *r, uint64_t job, uint64_t ms, uint64_t delay)
{
    kv_msg m = rig_job(job, "ai", 1);
    m.submit.deadline_ms = (uint64_t)r->now.wall_ms + ms;
    m.submit.delay_ms = delay;
    rig_say(r, "c", &m);
}

static void test_deadline(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    int64_t before = kv_metric_get(KV_M_JOBS_OVERDUE);
    submit_due(&r, 1, 3000, 0);
    submit_due(&r, 2, 1000, 500); /* delayed */
    submit_due(&r, 3, 9000, 0);
    rig_commit(&r);
    rig_tick(&r, 999);
    assert_int_equal(r.commands.n, 0);
    rig_tick(&r, 1);
    const kv_cmd_move *end = &r.commands.first->move;
    assert_int_equal(end->job, 2);
    assert_int_equal(end->to, KV_JOB_ERROR);
    assert_true(kv_slice_is(end->error, "job_deadline"));
    assert_true(end->error_detail.len > 0);
    rig_commit(&r);
    /* Over, though no tick has seen it: it is not given to the worker that comes now. */
    r.now.wall_ms += 2000;
    r.now.mono_ms += 2000;
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    rig_commit(&r);
    assert_int_equal(rig_count(&r, KV_JOB), 1);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 3);
    assert_int_equal(kv_core_job_state(r.core, 1, NULL), -1);
    assert_int_equal(kv_metric_get(KV_M_JOBS_OVERDUE), before + 2);
    /* What has begun met its deadline, also when it is tried again. */
    rig_fail(&r, "w", 3, 1, 1, true);
    rig_commit(&r);
    rig_ready(&r, "w", "ai", 0);
    for (int i = 0; i < 10; i++) {
        rig_beat(&r, "w", 0);
        rig_tick(&r, 1000);
    }
    rig_commit(&r);
    assert_int_equal(kv_core_job_state(r.core, 3, NULL), KV_JOB_QUEUED);
    rig_stop(&r);
}

/* One that comes after its deadline may be one that was sent before: its row says so. */
static void test_deadline_in_the_past(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.deadline_ms = (uint64_t)r.now.wall_ms;
    uint64_t late = rig_say(&r, "c", &m);
    assert_int_equal(r.commands.first->type, KV_CMD_FIND);
    rig_commit(&r);
    rig_expect_error(&r, late, KV_E_JOB_DEADLINE);
    assert_int_equal(rig_reply(&r, late)->m.error.retry_after_ms, 0);
    uint64_t again = rig_say(&r, "c", &m);
    r.commands.first->place = (kv_job_place){
        .found = true, .state = KV_JOB_COMPLETE, .epoch = 1, .attempt = 1, .max_attempts = 3};
    rig_commit(&r);
    assert_false(rig_submitted(&r, again)->created);
    assert_true(kv_slice_is(rig_submitted(&r, again)->status, "complete"));
    rig_stop(&r);
}

/* The same, where it is the delay that comes too late. */
static void test_delay_behind_the_deadline(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.deadline_ms = (uint64_t)r.now.wall_ms + 1000;
    m.submit.delay_ms = 1000;
    uint64_t late = rig_say(&r, "c", &m);
    assert_int_equal(r.commands.first->type, KV_CMD_FIND);
    rig_commit(&r);
    rig_expect_error(&r, late, KV_E_BAD_PARAMETER);
    assert_true(
        kv_slice_is(rig_reply(&r, late)->m.error.detail, "the delay ends after the deadline"));
    uint64_t again = rig_say(&r, "c", &m);
    r.commands.first->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED};
    rig_commit(&r);
    assert_false(rig_submitted(&r, again)->created);
    rig_stop(&r);
}

/* Deadline and backoff are known again after a restart. */
static void test_loaded_options(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    kv_job_row row = {.id = 1,
                      .seq = 1,
                      .max_attempts = 3,
                      .lane = 1,
                      .service = "ai",
                      .backoff_ms = 7000,
                      .backoff_max_ms = 8000,
                      .deadline_ms = (uint64_t)r.now.wall_ms + 1000};
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    row.id = row.seq = 2;
    row.attempt = row.epoch = 1;
    row.state = KV_JOB_PROCESSING;
    assert_int_equal(kv_core_load(r.core, r.now, &row), KV_OK);
    rig_tick(&r, 1000);
    assert_int_equal(r.commands.n, 1);
    assert_int_equal(r.commands.first->move.job, 1);
    assert_true(kv_slice_is(r.commands.first->move.error, "job_deadline"));
    rig_commit(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_claim(&r, "w", 2, 1, 1);
    rig_fail(&r, "w", 2, 1, 1, true);
    assert_in_range(r.commands.first->move.not_before - r.now.wall_ms, 3500, 7000);
    rig_stop(&r);
}

enum { OUR_LONGEST = 60000 }; /* the default */

/* Of a job with this backoff: what the waits behind its attempts are at most. */
static void expect_backoffs(uint64_t backoff_ms, uint64_t backoff_max_ms, const int64_t *most,
                            uint64_t n)
{
    rig r;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    kv_msg m = rig_job(1, "ai", 1);
    m.submit.max_attempts = n + 1;
    m.submit.backoff_ms = backoff_ms;
    m.submit.backoff_max_ms = backoff_max_ms;
    rig_say(&r, "c", &m);
    rig_commit(&r);
    for (uint64_t attempt = 1; attempt <= n; attempt++) {
        rig_fail(&r, "w", 1, 1, attempt, true);
        int64_t delay = r.commands.first->move.not_before - r.now.wall_ms;
        assert_in_range(delay, most[attempt - 1] / 2, most[attempt - 1]);
        rig_commit(&r);
        for (int64_t left = most[attempt - 1]; left > 0; left -= 1000) {
            rig_tick(&r, left > 1000 ? 1000 : left);
            rig_beat(&r, "w", 0);
        }
        rig_commit(&r);
    }
    rig_stop(&r);
}

/* S4-05: the job's own backoff, doubled, with jitter, up to its own limit. Ours ends where its own
 * begins: who wants to wait longer than we ever would does. */
static void test_backoff(void **state)
{
    (void)state;
    expect_backoffs(100, 300, (const int64_t[]){100, 200, 300, 300}, 4);
    expect_backoffs(300, 300, (const int64_t[]){300, 300}, 2);
    expect_backoffs(0, 1500, (const int64_t[]){1000, 1500, 1500}, 3);
    expect_backoffs(0, 0, (const int64_t[]){1000, 2000, 4000}, 3);
    expect_backoffs(OUR_LONGEST / 2, 0,
                    (const int64_t[]){OUR_LONGEST / 2, OUR_LONGEST, OUR_LONGEST}, 3);
    expect_backoffs(2 * OUR_LONGEST, 0, (const int64_t[]){2 * OUR_LONGEST, 2 * OUR_LONGEST}, 2);
}

/* ---- unique keys ---- */

/* The key is taken: the answer names the job that has it, as it is now. */
static void test_unique_key(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_submit(&r, "c", 1, "ai", 1);
    rig_submit(&r, "c", 2, "ai", 1);
    rig_commit(&r);
    kv_msg m = rig_job(3, "ai", 1);
    m.submit.unique_key = kv_slice_str("k");
    uint64_t request = rig_say(&r, "c", &m);
    kv_cmd *cmd = kv_cmd_pop(&r.commands);
    cmd->other = 2;
    cmd->place = (kv_job_place){.found = true, .state = KV_JOB_QUEUED, .max_attempts = 3};
    kv_core_result(r.core, r.now, cmd);
    const kv_submit_ok *met = rig_submitted(&r, request);
    assert_int_equal(met->job, 2);
    assert_false(met->created);
    assert_true(kv_slice_is(met->status, "queued"));
    assert_int_equal(met->queue_position, 2);
    rig_commit(&r); /* its own row is asked for: there is none */
    assert_int_equal(kv_core_jobs(r.core), 2);
    rig_stop(&r);
}

/* The same while a worker was about to get it. */
static void test_unique_key_under_way(void **state)
{
    rig r;
    (void)state;
    rig_client(&r);
    rig_hello(&r, "w", "worker", "w", 1);
    rig_ready(&r, "w", "ai", 1);
    kv_msg m = rig_job(3, "ai", 1);
    m.submit.unique_key = kv_slice_str("k");
    uint64_t request = rig_say(&r, "c", &m);
    kv_cmd *cmd = kv_cmd_pop(&r.commands);
    cmd->other = 99; /* the core does not hold it: it just ended */
    cmd->place = (kv_job_place){
        .found = true, .state = KV_JOB_PROCESSING, .epoch = 1, .attempt = 1, .max_attempts = 3};
    kv_core_result(r.core, r.now, cmd);
    assert_int_equal(rig_submitted(&r, request)->job, 99);
    assert_int_equal(rig_submitted(&r, request)->queue_position, -1);
    rig_answer(&r, KV_E_CONFLICT); /* the lease */
    rig_commit(&r);
    assert_int_equal(kv_core_jobs(r.core), 0);
    assert_null(rig_last(&r, "w", KV_JOB));
    rig_submit(&r, "c", 4, "ai", 1);
    rig_commit(&r);
    assert_int_equal(rig_last(&r, "w", KV_JOB)->m.job.job, 4);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_options_refused),
        cmocka_unit_test(test_delay),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_deadline_in_the_past),
        cmocka_unit_test(test_delay_behind_the_deadline),
        cmocka_unit_test(test_loaded_options),
        cmocka_unit_test(test_backoff),
        cmocka_unit_test(test_unique_key),
        cmocka_unit_test(test_unique_key_under_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
