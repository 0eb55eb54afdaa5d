/* What the ledger says of a job's row, and the rows of its event log. */
#include "tests/unit/exec_rig.h"

/* What the core is told of a job it is unsure of is all that it needs to go on with it. */
static void test_find(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = rig_submit_cmd(5, "ai");
    cmd->submit.max_attempts = 7;
    rig_run(&r, cmd);
    kv_cmd_free(&cmd);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    cmd = kv_cmd_new(KV_CMD_MOVE, 0);
    cmd->move = (kv_cmd_move){.job = 5,
                              .from = KV_JOB_PROCESSING,
                              .to = KV_JOB_QUEUED,
                              .epoch = 1,
                              .attempt = 1,
                              .new_epoch = 3,
                              .new_attempt = 2,
                              .given_back = 1,
                              .not_before = 1790000123456,
                              .service = kv_slice_str("ai")};
    assert_int_equal(rig_end(&r, cmd), KV_OK);
    cmd = kv_cmd_new(KV_CMD_FIND, 0);
    cmd->id = 5;
    kv_job_place at = rig_run(&r, cmd)->place;
    kv_cmd_free(&cmd);
    assert_true(at.found);
    assert_int_equal(at.state, KV_JOB_QUEUED);
    assert_int_equal(at.epoch, 3);
    assert_int_equal(at.attempt, 2);
    assert_int_equal(at.max_attempts, 7);
    assert_int_equal(at.given_back, 1);
    assert_int_equal(at.not_before, 1790000123456);
    rig_stop(&r);
}

static void stamped(rig *r, kv_cmd *cmd)
{
    if (cmd) {
        assert_int_equal(rig_run(r, cmd)->err, KV_OK);
        kv_cmd_free(&cmd);
    }
    rig_stamped(r, "SELECT updated_at FROM job");
}

/* S3-29: whatever changes a job says when, the Stuck Job Guard as any other. */
static void test_updated_at(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    stamped(&r, rig_submit_cmd(5, "ai"));
    int64_t made = kv_wall_ms(&r.clock.clock);
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PROMOTE, 0);
    cmd->promote = (kv_cmd_promote){.job = 5, .new_seq = 9};
    stamped(&r, cmd);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL), KV_OK);
    stamped(&r, NULL);
    cmd = kv_cmd_new(KV_CMD_PROGRESS, 0);
    cmd->progress = (kv_cmd_progress){.job = 5, .epoch = 1, .attempt = 1, .progress = 60};
    stamped(&r, cmd);
    cmd = kv_cmd_new(KV_CMD_METADATA, 0);
    cmd->metadata = (kv_cmd_metadata){.job = 5, .patch = kv_slice_str("{\"a\":1}")};
    stamped(&r, cmd);
    assert_int_equal(rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_ERROR, 1, NULL, "stuck"),
                     KV_OK);
    stamped(&r, NULL);
    assert_int_equal(rig_number(&r, "SELECT created_at FROM job"), made);
    rig_stop(&r);
}

/* Events of a large transaction are several rows: each begins behind the one before, and the log
 * says what is published. */
static void test_many_events_at_once(void **state)
{
    enum { JOBS = 12000 };
    rig r;
    uint64_t last = 0;
    int rows_n = 0;
    (void)state;
    rig_start(&r);
    assert_int_equal(kv_exec_begin(&r.x), KV_OK);
    for (uint64_t job = 1; job <= JOBS; job++) {
        kv_cmd *cmd = rig_submit_cmd(job, job % 2 ? "ai" : "mail");
        cmd->seq = r.seq += 2;
        assert_int_equal(kv_exec_run(&r.x, cmd, NULL), KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(kv_exec_commit(&r.x), KV_OK);
    kv_event_row *rows = kv_exec_take_rows(&r.x);
    for (kv_event_row *row = rows; row; row = row->next, rows_n++) {
        assert_int_equal(row->prev, last);
        assert_int_equal(row->first, last + 1);
        assert_true(row->last >= row->first);
        last = row->last;
        assert_true(event_log_has(r.x.db, row));
    }
    assert_true(rows_n > 1);
    assert_int_equal(last, JOBS);
    assert_int_equal(r.x.last_event, JOBS);
    kv_event_rows_free(&rows);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_find),
                                       cmocka_unit_test(test_updated_at),
                                       cmocka_unit_test(test_many_events_at_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
