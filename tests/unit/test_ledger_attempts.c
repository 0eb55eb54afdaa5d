/* Attempts in the ledger: what counts, how far a job was when it ended, and histories without end.
 */
#include "tests/unit/exec_rig.h"

#include "storage/read/job_history.h"

static void submit(rig *r, uint64_t job)
{
    kv_cmd *cmd = rig_submit_cmd(job, "ai");
    assert_int_equal(rig_end(r, cmd), KV_OK);
}

static kv_err move(rig *r, const kv_cmd_move *m, uint16_t code)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MOVE, 0);
    cmd->code = code;
    cmd->move = *m;
    cmd->move.service = kv_slice_str("ai");
    return rig_end(r, cmd);
}

/* A lease, and its job back in the queue. */
static void turn(rig *r, uint64_t job, uint64_t lease, uint64_t given_back, const char *why)
{
    kv_cmd_move m = {.job = job,
                     .from = KV_JOB_QUEUED,
                     .to = KV_JOB_PROCESSING,
                     .epoch = lease > 1,
                     .attempt = lease - 1,
                     .new_epoch = 1,
                     .new_attempt = lease,
                     .given_back = given_back,
                     .worker = kv_slice_str("w1")};
    assert_int_equal(move(r, &m, 0), KV_OK);
    m = (kv_cmd_move){.job = job,
                      .from = KV_JOB_PROCESSING,
                      .to = KV_JOB_QUEUED,
                      .epoch = 1,
                      .attempt = lease,
                      .new_epoch = 1,
                      .new_attempt = lease,
                      .given_back = given_back + !why,
                      .reason = kv_slice_str(why ? "failed, to be tried again" : "worker left"),
                      .failure = kv_slice_str(why ? "io" : NULL),
                      .failure_detail = kv_slice_str(why)};
    assert_int_equal(move(r, &m, 0), KV_OK);
}

static const char *get(rig *r, uint64_t job, kv_cmd **ret)
{
    *ret = kv_cmd_new(KV_CMD_JOB_GET, 0);
    (*ret)->id = job;
    assert_int_equal(rig_run(r, *ret)->err, KV_OK);
    return kv_buf_str(&(*ret)->text);
}

static bool keep_row(void *arg, const kv_job_row *row)
{
    *(kv_job_row *)arg = *row;
    return true;
}

/* Row, JSON, events and history count the attempts that count; a start reads what was given back.
 */
static void test_given_back(void **state)
{
    rig r;
    kv_cmd *cmd;
    kv_job_row row = {.id = 0};
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    turn(&r, 5, 1, 0, NULL);
    assert_true(rig_saw(&r, "\"status\":\"processing\",\"attempt\":1"));
    rig_forget(&r);
    turn(&r, 5, 2, 1, NULL);
    assert_true(rig_saw(&r, "\"status\":\"processing\",\"attempt\":1"));
    assert_true(rig_saw(&r, "\"status\":\"queued\",\"attempt\":0"));
    turn(&r, 5, 3, 2, "disk 7");
    const char *json = get(&r, 5, &cmd);
    assert_non_null(strstr(json, "\"attempts\":1,\"max_attempts\":3,"));
    assert_non_null(strstr(json, "\"error\":null,\"error_detail\":null,"));
    assert_non_null(strstr(json, "\"attempt\":1,\"reason\":\"failed, to be tried again\","
                                 "\"error\":\"io\",\"error_detail\":\"disk 7\"}]"));
    kv_cmd_free(&cmd);
    assert_int_equal(kv_jobs_unfinished(r.x.db, keep_row, &row), KV_OK);
    assert_int_equal(row.attempt, 3);
    assert_int_equal(row.given_back, 2);
    assert_int_equal(row.max_attempts, 3);
    cmd = kv_cmd_new(KV_CMD_FIND, 0);
    cmd->id = 5;
    rig_run(&r, cmd);
    assert_int_equal(cmd->place.attempt, 3);
    assert_int_equal(cmd->place.given_back, 2);
    assert_int_equal(cmd->place.max_attempts, 3);
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

static bool see_holder(void *arg, const kv_job_row *row)
{
    snprintf(arg, 65, "%.*s", KV_SLICE_FMT(row->worker));
    return true;
}

/* A start reads who got the leases in force. */
static void test_holder_is_read(void **state)
{
    rig r;
    char worker[65] = "?";
    kv_cmd_move m = {.job = 5,
                     .from = KV_JOB_QUEUED,
                     .to = KV_JOB_PROCESSING,
                     .new_epoch = 1,
                     .new_attempt = 1,
                     .worker = kv_slice_str("w1")};
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    assert_int_equal(kv_jobs_unfinished(r.x.db, see_holder, worker), KV_OK);
    assert_string_equal(worker, "");
    assert_int_equal(move(&r, &m, 0), KV_OK);
    assert_int_equal(kv_jobs_unfinished(r.x.db, see_holder, worker), KV_OK);
    assert_string_equal(worker, "w1");
    rig_stop(&r);
}

static void test_history_is_bounded(void **state)
{
    rig r;
    kv_cmd *cmd;
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    for (uint64_t lease = 1; lease <= 1800; lease++) {
        turn(&r, 5, lease, 0, lease == 1 ? "the first" : lease == 1799 ? "a late one" : "it broke");
        if (lease % 100 == 0)
            assert_in_range(rig_number(&r, "SELECT length(history) FROM job"), 3000,
                            KV_HISTORY_MAX);
    }
    const char *json = get(&r, 5, &cmd);
    assert_non_null(strstr(json, "\"error_detail\":\"the first\""));
    assert_non_null(strstr(json, "\"error_detail\":\"a late one\""));
    assert_non_null(strstr(json, "\"left_out\":3"));
    assert_int_equal(cmd->text.limit, KV_JSON_MAX * 4);
    kv_cmd_free(&cmd);
    for (int i = 0; i < 1000; i++) { /* an operator with a script */
        cmd = kv_cmd_new(KV_CMD_PROMOTE, 0);
        cmd->promote = (kv_cmd_promote){
            .job = 5, .epoch = 1, .attempt = 1800, .new_seq = 1000, .tag = (uint64_t)i};
        assert_int_equal(rig_run(&r, cmd)->err, KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_in_range(rig_number(&r, "SELECT length(history) FROM job"), 3000, KV_HISTORY_LONG);
    rig_stop(&r);
}

/* JOB_STATUS holds a job whose every part is as large as it may be. */
static void test_largest_job(void **state)
{
    rig r;
    kv_cmd *cmd;
    (void)state;
    rig_start(&r);
    submit(&r, 5);
    assert_int_equal(
        kv_db_exec(
            r.x.db,
            "INSERT INTO job_option (job, metadata, tags, unique_key, user, operation) VALUES "
            "(5, '\"' || printf('%.*c', 65534, 'm') || '\"', ',' || printf('%.*c', 512, 't') "
            "|| ',', printf('%.*c', 128, '\"'), printf('%.*c', 64, '\"'), 'o');"
            "UPDATE job SET options = 1, state = 3, tenant = printf('%.*c', 64, '\"'), "
            "params = '\"' || printf('%.*c', 65534, 'p') || '\"', "
            "result = '\"' || printf('%.*c', 65534, 'r') || '\"', "
            "error = 'attempts_exhausted', error_detail = printf('%.*c', 1060, char(1)), "
            "attempt = 65100, given_back = 65000, max_attempts = 100, "
            "history = replace(printf('%.*c', 12280 / 20, 'x'), 'x', '1 12345678901 65000' "
            "|| char(30))"),
        KV_OK);
    assert_in_range(rig_number(&r, "SELECT length(history) FROM job"), KV_HISTORY_MAX - 700,
                    KV_HISTORY_MAX);
    const char *json = get(&r, 5, &cmd);
    assert_true(strlen(json) > 240000);
    assert_int_equal(json[strlen(json) - 1], '}');
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

/* S3-18: how far it was is kept where it ended; the next attempt begins at 0. */
static void test_progress_at_the_end(void **state)
{
    static const int ends[] = {KV_JOB_CANCELLED, KV_JOB_ERROR, KV_JOB_COMPLETE, KV_JOB_QUEUED};
    static const int64_t kept[] = {60, 60, 100, 0};
    (void)state;
    for (size_t i = 0; i < 4; i++) {
        rig r;
        rig_start(&r);
        submit(&r, 5);
        rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
        kv_cmd *cmd = kv_cmd_new(KV_CMD_PROGRESS, 0);
        cmd->progress = (kv_cmd_progress){.job = 5, .epoch = 1, .attempt = 1, .progress = 60};
        assert_int_equal(rig_run(&r, cmd)->err, KV_OK);
        kv_cmd_free(&cmd);
        kv_cmd_move m = {.job = 5,
                         .from = KV_JOB_PROCESSING,
                         .to = ends[i],
                         .epoch = 1,
                         .attempt = 1,
                         .new_epoch = 1,
                         .new_attempt = 1,
                         .progress = ends[i] == KV_JOB_COMPLETE ? 100 : 0};
        assert_int_equal(move(&r, &m, 0), KV_OK);
        assert_int_equal(rig_number(&r, "SELECT progress FROM job"), kept[i]);
        rig_stop(&r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_given_back),          cmocka_unit_test(test_holder_is_read),
        cmocka_unit_test(test_history_is_bounded),  cmocka_unit_test(test_largest_job),
        cmocka_unit_test(test_progress_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
