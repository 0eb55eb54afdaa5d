/* Where unfinished jobs stand (kv_jobs_open): ids below open_from, slices that pass, rollbacks,
 * removal, a start anew. What the property tests do at random is here case by case. */
#include "tests/unit/exec_rig.h"

#include "broker/tidy.h"
#include "tests/unit/jobs_tables.h"

enum { KEEP = 20, SLICE = 8 };

static void start(rig *r)
{
    rig_start(r);
    r->x.open_kept.keep = KEEP;
    r->x.open_kept.slice = SLICE;
}

static void run_ok(rig *r, kv_cmd *cmd)
{
    assert_int_equal(rig_end(r, cmd), KV_OK);
    assert_int_equal(rig_number(r, KV_JOBS_TABLES_WRONG), 0);
}

static void submit(rig *r, uint64_t job)
{
    run_ok(r, rig_submit_cmd(job, "ai"));
}

static void end_job(rig *r, uint64_t job, int to)
{
    const char *error = to == KV_JOB_ERROR ? "stuck" : NULL;
    assert_int_equal(rig_move(r, job, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL),
                     KV_OK);
    assert_int_equal(rig_move(r, job, "ai", KV_JOB_PROCESSING, to, 1, error ? NULL : "1", error),
                     KV_OK);
    assert_int_equal(rig_number(r, KV_JOBS_TABLES_WRONG), 0);
}

static int64_t below(rig *r)
{
    return rig_number(r, "SELECT count(*) FROM job_open");
}

/* 100, 110, 120 … */
static void submit_row(rig *r, int n)
{
    for (int i = 0; i < n; i++)
        submit(r, 100 + (uint64_t)i * 10);
}

static void test_slices_pass(void **state)
{
    rig r;
    (void)state;
    start(&r);
    submit_row(&r, KEEP + SLICE - 1);
    assert_int_equal(r.x.open.from, 0);
    assert_int_equal(below(&r), 0);
    end_job(&r, 100, KV_JOB_COMPLETE);
    end_job(&r, 110, KV_JOB_ERROR);
    submit(&r, 1000);
    assert_int_equal(r.x.open_kept.from, 180); /* eight are passed */
    assert_int_equal(r.x.open_kept.above, KEEP);
    assert_int_equal(rig_number(&r, "SELECT value FROM counter WHERE name = 'open_from'"), 180);
    assert_int_equal(below(&r), SLICE - 2);
    end_job(&r, 120, KV_JOB_ERROR);
    end_job(&r, 130, KV_JOB_CANCELLED);
    end_job(&r, 200, KV_JOB_COMPLETE);
    assert_int_equal(below(&r), SLICE - 4);
    rig_stop(&r);
}

/* Ids are the clients': anywhere, also below what has passed. */
static void test_late_ids(void **state)
{
    rig r;
    (void)state;
    start(&r);
    submit_row(&r, KEEP + SLICE);
    uint64_t above = r.x.open_kept.above;
    submit(&r, 5);
    submit(&r, 175);
    assert_int_equal(below(&r), SLICE + 2);
    assert_int_equal(r.x.open_kept.above, above);
    submit(&r, 180); /* sent again: met, not made */
    submit(&r, 5);
    assert_int_equal(below(&r), SLICE + 2);
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PROMOTE, 0);
    cmd->promote = (kv_cmd_promote){.job = 5, .new_seq = 1000000, .tag = 9};
    run_ok(&r, cmd);
    assert_int_equal(rig_number(&r, "SELECT seq FROM job_open WHERE job = 5"), 1000000);
    end_job(&r, 5, KV_JOB_COMPLETE);
    assert_int_equal(below(&r), SLICE + 1);
    rig_stop(&r);
}

/* A job that is refused after its row was written leaves nothing. */
static void test_unmade(void **state)
{
    rig r;
    (void)state;
    start(&r);
    submit_row(&r, KEEP + SLICE);
    for (int i = 0; i < 2; i++) {
        kv_cmd *cmd = rig_submit_cmd(i ? 5 : 5000, "ai");
        cmd->submit.credits = 1;
        cmd->submit.user = kv_slice_str("poor");
        cmd->submit.unique_key = kv_slice_str("k");
        assert_int_equal(rig_end(&r, cmd), KV_E_NO_CREDIT);
        assert_int_equal(rig_number(&r, KV_JOBS_TABLES_WRONG), 0);
        assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_option"), 0);
    }
    assert_int_equal(below(&r), SLICE);
    rig_stop(&r);
}

static void test_rolled_back(void **state)
{
    rig r;
    (void)state;
    start(&r);
    submit_row(&r, KEEP + SLICE - 1);
    kv_cmd *cmd = rig_submit_cmd(1000, "ai");
    assert_int_equal(kv_exec_begin(&r.x), KV_OK);
    assert_int_equal(kv_exec_run(&r.x, cmd, NULL), KV_OK);
    assert_int_equal(kv_jobs_open_pass(r.x.db, &r.x.open), KV_OK);
    assert_int_equal(r.x.open.from, 180);
    kv_exec_rollback(&r.x);
    kv_cmd_free(&cmd);
    assert_int_equal(r.x.open_kept.from, 0);
    assert_int_equal(r.x.open_kept.above, KEEP + SLICE - 1);
    submit(&r, 5); /* not below anything */
    assert_int_equal(r.x.open_kept.from, 170);
    assert_int_equal(rig_number(&r, KV_JOBS_TABLES_WRONG), 0);
    rig_stop(&r);
}

static bool note(void *arg, const kv_job_row *row)
{
    kv_buf_addf(arg, "%u ", (unsigned)row->id);
    return true;
}

/* A start finds the same place, the same jobs, in the order of seq. */
static void test_start_anew(void **state)
{
    rig r;
    kv_buf seen;
    (void)state;
    start(&r);
    kv_buf_init(&seen, 0);
    submit_row(&r, KEEP + SLICE);
    for (uint64_t i = 0; i < KEEP + SLICE; i++) {
        if (i % 5 != 1)
            end_job(&r, 100 + i * 10, KV_JOB_COMPLETE);
    }
    submit(&r, 3);
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PROMOTE, 0);
    cmd->promote = (kv_cmd_promote){.job = 160, .new_seq = 1000000, .tag = 9};
    run_ok(&r, cmd);
    kv_db *db = r.x.db;
    r.x.db = NULL;
    kv_exec_close(&r.x);
    assert_int_equal(kv_exec_attach(db, "", 3, &r.clock.clock, &r.x), KV_OK);
    assert_int_equal(r.x.open_kept.from, 180);
    assert_int_equal(r.x.open_kept.above, KEEP);
    assert_int_equal(kv_jobs_unfinished(r.x.db, note, &seen), KV_OK);
    assert_string_equal(kv_buf_str(&seen), "110 210 260 310 360 3 160 ");
    kv_buf_release(&seen);
    rig_stop(&r);
}

/* Many removed: nothing is passed for them, the number above is found anew. */
static void test_removed(void **state)
{
    rig r;
    kv_config cfg = {.job_retention_hours = 1, .event_retention_hours = 1};
    kv_tidy tidy = {.cfg = &cfg};
    (void)state;
    start(&r);
    for (uint64_t i = 0; i < KEEP + SLICE - 1; i++) {
        submit(&r, 100 + i);
        end_job(&r, 100 + i, i % 2 ? KV_JOB_ERROR : KV_JOB_COMPLETE);
    }
    kv_fake_clock_advance(&r.clock, 7200 * 1000);
    while (kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock))) {
    }
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 0);
    assert_int_equal(rig_number(&r, KV_JOBS_TABLES_WRONG), 0);
    submit(&r, 1000);
    assert_int_equal(r.x.open_kept.from, 0);
    assert_int_equal(r.x.open_kept.above, 1);
    rig_stop(&r);
}

/* A dead letter with a time to live that was purged, and submitted once more, is not removed when
 * the first one's time comes. */
static void test_submitted_again_after_a_purge(void **state)
{
    rig r;
    kv_config cfg = {.job_retention_hours = 1, .event_retention_hours = 1};
    kv_tidy tidy = {.cfg = &cfg};
    (void)state;
    start(&r);
    kv_cmd *cmd = rig_submit_cmd(100, "ai");
    cmd->submit.retention_s = 60;
    cmd->submit.unique_key = kv_slice_str("k");
    run_ok(&r, cmd);
    end_job(&r, 100, KV_JOB_ERROR);
    cmd = kv_cmd_new(KV_CMD_PURGE_DEAD, 0);
    cmd->service = kv_slice_str("ai");
    run_ok(&r, cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_option"), 0);
    submit(&r, 100);
    kv_fake_clock_advance(&r.clock, 61 * 1000);
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT state FROM job WHERE id = 100"), KV_JOB_QUEUED);
    assert_int_equal(rig_number(&r, KV_JOBS_TABLES_WRONG), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_expiry"), 0);
    rig_stop(&r);
}

/* A plain job is one row: nothing else is written for it from its SUBMIT to its end. */
static void test_plain_job(void **state)
{
    rig r;
    (void)state;
    start(&r);
    submit(&r, 100);
    end_job(&r, 100, KV_JOB_COMPLETE);
    assert_int_equal(rig_number(&r, "SELECT (SELECT count(*) FROM job_option) + (SELECT count(*) "
                                    "FROM job_key) + (SELECT count(*) FROM job_open) + (SELECT "
                                    "count(*) FROM dead_letter) + (SELECT sum(options) FROM job)"),
                     0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM sqlite_master WHERE type = 'index' AND "
                                    "tbl_name = 'job'"),
                     0);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slices_pass),
        cmocka_unit_test(test_late_ids),
        cmocka_unit_test(test_unmade),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_start_anew),
        cmocka_unit_test(test_removed),
        cmocka_unit_test(test_submitted_again_after_a_purge),
        cmocka_unit_test(test_plain_job),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
