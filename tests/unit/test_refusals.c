/* What a refusal says beside its number, and what a SUBMIT that says nothing gets. */
#include "tests/unit/core_rig.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ended_already),
        cmocka_unit_test(test_promote_what_runs),
        cmocka_unit_test(test_attempts_of_the_configuration),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
