/* What a refusal says beside its number, and what a SUBMIT that says nothing gets. */
#include "tests/unit/core_rig.h"

#include "broker/core_types.h"

static uint64_t say_job(rig *r, uint16_t code, uint64_t job)
{
    kv_msg m;
    kv_msg_defaults(code, &m);
    if (code == KV_CANCEL)
        m.cancel.job = job;
    else
        m.promote.job = job;
    return rig_say(r, "c", &m);
}

/* The ledger found the row of the oldest command in this state. */
static void answer_found(rig *r, int state)
{
    kv_cmd *cmd = kv_cmd_pop(&r->commands);
    assert_non_null(cmd);
    assert_int_equal(cmd->type, KV_CMD_FIND);
    cmd->place = (kv_job_place){.found = state >= 0, .state = state < 0 ? 0 : state};
    kv_core_result(r->core, r->now, cmd);
}

static void expect_detail(const rig *r, uint64_t request, kv_err err, const char *detail)
{
    rig_expect_error(r, request, err);
    char text[256];
    snprintf(text, sizeof text, "%.*s", KV_SLICE_FMT(rig_reply(r, request)->m.error.detail));
    assert_string_equal(text, detail);
}

static void test_ended_already(void **state)
{
    static const struct {
        int state;
        const char *detail;
    } rows[] = {{KV_JOB_COMPLETE, "the job is complete"},
                {KV_JOB_ERROR, "the job is in error"},
                {KV_JOB_CANCELLED, "the job is cancelled"}};
    rig r;
    (void)state;
    rig_client(&r);
    for (int i = 0; i < 3; i++) {
        uint64_t request = say_job(&r, KV_PROMOTE, 7);
        answer_found(&r, rows[i].state);
        expect_detail(&r, request, KV_E_CONFLICT, rows[i].detail);
        request = say_job(&r, KV_CANCEL, 7);
        answer_found(&r, rows[i].state);
        if (rows[i].state == KV_JOB_CANCELLED)
            rig_expect_code(&r, request, KV_CANCEL_OK);
        else
            expect_detail(&r, request, KV_E_CONFLICT, rows[i].detail);
    }
    uint64_t request = say_job(&r, KV_PROMOTE, 7);
    answer_found(&r, -1);
    rig_expect_error(&r, request, KV_E_NOT_FOUND);
    rig_stop(&r);
}

static void test_promote_what_runs(void **state)
{
    rig r;
    (void)state;
    rig_start(&r, 1);
    rig_start_one(&r, 7);
    expect_detail(&r, say_job(&r, KV_PROMOTE, 7), KV_E_CONFLICT, "the job is processing");
    rig_done(&r, "w", 7, 1, 1); /* not committed yet */
    expect_detail(&r, say_job(&r, KV_PROMOTE, 7), KV_E_CONFLICT, "the job is complete");
    rig_commit(&r);
    rig_stop(&r);
}

/* JOB_MAX_ATTEMPTS is the default of a SUBMIT; what it says itself is 1 to 100. */
static void test_attempts_of_the_configuration(void **state)
{
    rig r;
    kv_core_opts opts = rig_opts(&r, 1);
    (void)state;
    opts.job_max_attempts = 7;
    rig_start_with(&r, &opts);
    rig_hello(&r, "c", "client", "cli", 2);
    rig_submit(&r, "c", 1, "ai", 1);
    assert_int_equal(r.commands.last->submit.max_attempts, 7);
    kv_msg m = rig_job(2, "ai", 1);
    m.submit.max_attempts = 2;
    rig_say(&r, "c", &m);
    assert_int_equal(r.commands.last->submit.max_attempts, 2);
    rig_commit(&r);
    rig_stop(&r);
}

/* ---- sent again while no new job is taken ---- */

static kv_err closed(rig *r, int why)
{
    static const kv_err err[] = {KV_E_QUEUE_DRAINING, KV_E_QUEUE_FULL, KV_E_DISK_FULL, KV_E_BUSY};
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service = kv_slice_str("ai");
    m.queue_set.draining = why == 0;
    m.queue_set.max_waiting = why == 1;
    rig_hello(r, "c", "client", "cli", 2);
    if (why == 0 || why == 1)
        rig_say(r, "c", &m);
    rig_submit(r, "c", 99, why == 3 ? "other" : "ai", 1); /* takes the place there is */
    rig_commit(r);
    kv_core_set_disk_low(r->core, why == 2);
    return err[why];
}

/* Job 7 has ended, and its answer got lost: the second meets its row, whatever a new one would
 * meet. */
static void test_repeat_of_what_ended(void **state)
{
    (void)state;
    for (int why = 0; why < 4; why++) {
        rig r;
        kv_core_opts opts = rig_opts(&r, 1);
        opts.services_max = 1;
        rig_start_with(&r, &opts);
        kv_err err = closed(&r, why);
        uint64_t request = rig_submit(&r, "c", 7, "ai", 1);
        assert_null(rig_reply(&r, request)); /* not before it was looked for */
        answer_found(&r, KV_JOB_COMPLETE);
        assert_false(rig_submitted(&r, request)->created);
        assert_int_equal(rig_submitted(&r, request)->job, 7);
        assert_true(kv_slice_is(rig_submitted(&r, request)->status, "complete"));
        request = rig_submit(&r, "c", 8, "ai", 1);
        answer_found(&r, -1);
        rig_expect_error(&r, request, err);
        assert_true(rig_reply(&r, request)->m.error.retry_after_ms >= 5000);
        if (err == KV_E_BUSY)
            assert_memory_equal(rig_reply(&r, request)->m.error.detail.ptr, "all 1,024 queues", 16);
        assert_int_equal(r.core->submits_in_flight, 0);
        rig_stop(&r);
    }
}

/* A flood of what is refused: the ledger gets no more of it than of what is taken. */
static void test_refused_flood(void **state)
{
    rig r;
    kv_core_opts opts = rig_opts(&r, 1);
    (void)state;
    opts.submits_max = 3;
    rig_start_with(&r, &opts);
    (void)closed(&r, 0);
    for (uint64_t job = 1; job <= 3; job++)
        rig_submit(&r, "c", job, "ai", 1);
    assert_int_equal(r.commands.n, 3);
    rig_expect_error(&r, rig_submit(&r, "c", 4, "ai", 1), KV_E_BUSY);
    assert_int_equal(r.commands.n, 3);
    rig_commit(&r);
    uint64_t request = rig_submit(&r, "c", 4, "ai", 1);
    rig_commit(&r);
    rig_expect_error(&r, request, KV_E_QUEUE_DRAINING);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ended_already),
        cmocka_unit_test(test_promote_what_runs),
        cmocka_unit_test(test_attempts_of_the_configuration),
        cmocka_unit_test(test_repeat_of_what_ended),
        cmocka_unit_test(test_refused_flood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
