/* Job options in the ledger: unique keys, retry, promotion, dead letters, retention, and what
 * reading a job shows of them. */
#include "tests/unit/exec_rig.h"

#include "broker/tidy.h"
#include "storage/write/jobs.h"

static const kv_cmd_submit plain = {.max_attempts = 3,
                                    .lane = 1,
                                    .tag = 7,
                                    .service = {"ai", 2},
                                    .tenant = {"", 0},
                                    .params = {"{\"n\":1}", 7}};

static kv_cmd *submit_cmd(const kv_cmd_submit *m, uint64_t job)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_SUBMIT, 0);
    cmd->submit = *m;
    cmd->submit.job = job;
    return cmd;
}

static kv_cmd *submit(rig *r, const kv_cmd_submit *m, uint64_t job)
{
    return rig_run(r, submit_cmd(m, job));
}

static void submit_ok(rig *r, const kv_cmd_submit *m, uint64_t job)
{
    kv_cmd *cmd = submit(r, m, job);
    assert_int_equal(cmd->err, KV_OK);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
}

static void end_job(rig *r, uint64_t job, int to)
{
    bool error = to == KV_JOB_ERROR;
    assert_int_equal(rig_move(r, job, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL),
                     KV_OK);
    assert_int_equal(rig_move(r, job, "ai", KV_JOB_PROCESSING, to, 1, error ? NULL : "{}",
                              error ? "stuck" : NULL),
                     KV_OK);
}

/* ---- what is kept ---- */

static void test_all_options(void **state)
{
    rig r;
    kv_buf json;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.lane = 0;
    m.tenant = kv_slice_str("acme");
    m.not_before = 1790000005000;
    m.backoff_ms = 100;
    m.backoff_max_ms = 1000;
    m.deadline_ms = 1790000009000;
    m.retention_s = 60;
    m.tags = kv_slice_str("red,blue.1");
    m.user = kv_slice_str("ayşe \"1\"");
    m.unique_key = kv_slice_str("once");
    m.metadata = kv_slice_str(" {\"title\": \"T\"}");
    m.retry_of = 77;
    submit_ok(&r, &m, 5);
    assert_true(rig_saw(&r, "\"type\":\"job.queued\""));
    assert_true(rig_saw(&r, "\"lane\":\"urgent\",\"user\":\"ayşe \\\"1\\\"\",\"tenant\":\"acme\""));
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_get_json(r.x.db, 5, &json), KV_OK);
    static const char *const expect[] = {"\"lane\":\"urgent\"",
                                         "\"tenant\":\"acme\"",
                                         "\"tags\":[\"red\",\"blue.1\"]",
                                         "\"unique_key\":\"once\"",
                                         "\"deadline\":\"2026-",
                                         "\"not_before\":\"2026-",
                                         "\"metadata\":{\"title\":\"T\"},\"metadata_version\":1",
                                         "\"retry_of\":\"000000000002d\"",
                                         "\"retried_by\":null",
                                         "\"history\":[{\"status\":\"queued\",\"at\":\"2026-"};
    for (size_t i = 0; i < sizeof expect / sizeof *expect; i++)
        assert_non_null(strstr(json.data, expect[i]));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job JOIN job_option ON job = id WHERE "
                                    "backoff = 100 AND backoff_max = 1000 AND tag = 7 AND "
                                    "retention = 60 AND tags = ',red,blue.1,' AND options = 3"),
                     1);
    kv_buf_release(&json);
    rig_stop(&r);
}

static bool see_row(void *arg, const kv_job_row *row)
{
    kv_job_row *to = arg;
    assert_true(row->seq > to->seq); /* in order */
    *to = *row;
    assert_string_equal(row->service, "ai");
    assert_true(kv_slice_is(row->tenant, "acme"));
    return true;
}

static void test_read_at_start(void **state)
{
    rig r;
    kv_job_row row = {.seq = 0};
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.tenant = kv_slice_str("acme");
    submit_ok(&r, &m, 4);
    m.backoff_ms = 100;
    m.backoff_max_ms = 1000;
    m.deadline_ms = 1790000009000;
    submit_ok(&r, &m, 5);
    submit_ok(&r, &m, 6);
    end_job(&r, 6, KV_JOB_COMPLETE);
    assert_int_equal(kv_jobs_unfinished(r.x.db, see_row, &row), KV_OK);
    assert_int_equal(row.id, 5);
    assert_int_equal(row.tag, 7);
    assert_int_equal(row.backoff_ms, 100);
    assert_int_equal(row.backoff_max_ms, 1000);
    assert_int_equal(row.deadline_ms, 1790000009000);
    rig_stop(&r);
}

static void test_error_detail_in_event(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.user = kv_slice_str("u");
    submit_ok(&r, &m, 5);
    rig_forget(&r);
    end_job(&r, 5, KV_JOB_ERROR);
    assert_true(rig_saw(&r, "\"type\":\"job.error\""));
    assert_true(rig_saw(&r, "\"user\":\"u\",\"error\":\"stuck\",\"error_detail\":\"why\""));
    rig_stop(&r);
}

static void test_bad_metadata_refused_alone(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.metadata = kv_slice_str("{\"a\":1,\"a\":2}");
    kv_cmd *cmd = submit(&r, &m, 5);
    assert_int_equal(cmd->err, KV_E_BAD_PARAMETER);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 0);
    assert_string_equal(kv_buf_str(&r.events), "");
    rig_stop(&r);
}

/* ---- unique keys ---- */

static void test_unique_key(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.unique_key = kv_slice_str("daily");
    submit_ok(&r, &m, 5);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    rig_forget(&r);
    kv_cmd *cmd = submit(&r, &m, 6); /* the key is taken */
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    assert_int_equal(cmd->other, 5);
    assert_true(cmd->place.found);
    assert_int_equal(cmd->place.state, KV_JOB_PROCESSING);
    kv_cmd_free(&cmd);
    cmd = submit(&r, &m, 5); /* its own row */
    assert_false(cmd->created);
    assert_int_equal(cmd->other, 0);
    kv_cmd_free(&cmd);
    assert_string_equal(kv_buf_str(&r.events), "");
    m.service = kv_slice_str("other"); /* another queue */
    submit_ok(&r, &m, 7);
    m.service = plain.service;
    rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "{}", NULL);
    submit_ok(&r, &m, 8); /* free again */
    rig_stop(&r);
}

/* ---- RETRY ---- */

static kv_cmd *retry(rig *r, uint64_t job, uint64_t new_job)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_RETRY, 0);
    cmd->retry = (kv_cmd_retry){.job = job, .new_job = new_job};
    return rig_run(r, cmd);
}

static void retry_refused(rig *r, uint64_t job, uint64_t new_job, kv_err expect)
{
    kv_cmd *cmd = retry(r, job, new_job);
    assert_int_equal(cmd->err, expect);
    assert_false(cmd->created);
    kv_cmd_free(&cmd);
}

static void test_retry(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.lane = 2;
    m.tenant = kv_slice_str("acme");
    m.tags = kv_slice_str("red");
    m.user = kv_slice_str("u");
    m.backoff_ms = 9;
    m.unique_key = kv_slice_str("k");
    submit_ok(&r, &m, 5);
    retry_refused(&r, 4, 9, KV_E_NOT_FOUND);
    retry_refused(&r, 5, 9, KV_E_CONFLICT); /* not at its end */
    end_job(&r, 5, KV_JOB_ERROR);
    kv_cmd *cmd = retry(&r, 5, 9);
    assert_int_equal(cmd->err, KV_OK);
    assert_true(cmd->created);
    assert_int_equal(cmd->jobs_n, 1);
    assert_int_equal(cmd->jobs[0].id, 9);
    assert_int_equal(cmd->jobs[0].lane, 2);
    assert_int_equal(cmd->jobs[0].seq, cmd->seq);
    assert_int_equal(cmd->jobs[0].backoff_ms, 9);
    assert_string_equal(cmd->jobs[0].service, "ai");
    assert_string_equal(cmd->jobs[0].tenant, "acme");
    kv_cmd_free(&cmd);
    r.made_n = 0; /* its strings are gone */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job JOIN job_option ON job = id WHERE "
                                    "id = 9 AND state = 0 AND "
                                    "params = '{\"n\":1}' AND tags = ',red,' AND user = 'u' AND "
                                    "tenant = 'acme' AND retry_of = 5 AND unique_key = 'k'"),
                     1);
    assert_int_equal(rig_number(&r, "SELECT retried_by FROM job_option WHERE job = 5"), 9);
    assert_int_equal(rig_number(&r, "SELECT state FROM job WHERE id = 5"), KV_JOB_ERROR);
    assert_true(
        rig_saw(&r, "\"jobId\":\"0000000000009\",\"service\":\"ai\",\"status\":\"queued\""));

    cmd = retry(&r, 5, 10); /* again: the same */
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    assert_int_equal(cmd->other, 9);
    assert_int_equal(cmd->place.state, KV_JOB_QUEUED);
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 2);
    rig_stop(&r);
}

static void test_retry_of_own_services_refused(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.service = kv_slice_str("image-process"); /* the core would not let it through */
    submit_ok(&r, &m, 5);
    assert_int_equal(kv_db_exec(r.x.db, "UPDATE job SET state = 3"), KV_OK);
    retry_refused(&r, 5, 9, KV_E_CONFLICT);
    rig_stop(&r);
}

/* SUBMIT with retry_of is a RETRY with other params. */
static void test_submit_names_what_it_retries(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit_ok(&r, &plain, 5);
    end_job(&r, 5, KV_JOB_ERROR);
    kv_cmd_submit m = plain;
    m.retry_of = 5;
    submit_ok(&r, &m, 6);
    kv_cmd *cmd = retry(&r, 5, 10);
    assert_int_equal(cmd->other, 6);
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

/* ---- PROMOTE, PURGE_DEAD ---- */

static kv_cmd *promote(rig *r, uint64_t job, uint64_t attempt)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PROMOTE, 0);
    cmd->promote = (kv_cmd_promote){.job = job, .attempt = attempt, .new_seq = 1000, .tag = 99};
    return rig_run(r, cmd);
}

static void test_promote(void **state)
{
    rig r;
    kv_buf json;
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    m.not_before = 1790000500000;
    submit_ok(&r, &m, 5);
    rig_forget(&r);
    kv_cmd *cmd = promote(&r, 5, 0);
    assert_int_equal(cmd->err, KV_OK);
    kv_cmd_free(&cmd);
    assert_true(rig_saw(&r, "\"service\":\"ai\",\"status\":\"queued\",\"attempt\":0,"
                            "\"lane\":\"urgent\""));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job WHERE lane = 0 AND seq = 1000 AND "
                                    "tag = 99 AND not_before = 0"),
                     1);
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_get_json(r.x.db, 5, &json), KV_OK);
    assert_non_null(strstr(json.data, "\"attempt\":0,\"reason\":\"promoted\"}]"));
    kv_buf_release(&json);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    cmd = promote(&r, 5, 0); /* too late */
    assert_int_equal(cmd->err, KV_E_CONFLICT);
    assert_int_equal(cmd->place.state, KV_JOB_PROCESSING);
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

static uint64_t purge(rig *r, const char *service)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PURGE_DEAD, 0);
    cmd->service = kv_slice_str(service);
    rig_run(r, cmd);
    assert_int_equal(cmd->err, KV_OK);
    uint64_t n = cmd->other;
    kv_cmd_free(&cmd);
    return n;
}

static void test_purge_dead(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    for (uint64_t i = 1; i <= 12; i++) {
        submit_ok(&r, &plain, i);
        if (i <= 10)
            end_job(&r, i, i <= 7 ? KV_JOB_ERROR : KV_JOB_COMPLETE);
    }
    assert_int_equal(purge(&r, "never"), 0);
    assert_int_equal(purge(&r, "ai"), 7);
    assert_int_equal(purge(&r, "ai"), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 5);
    rig_stop(&r);
}

/* ---- retention ---- */

static void test_retention_of_its_own(void **state)
{
    rig r;
    kv_config cfg = {.job_retention_hours = 1, .event_retention_hours = 1};
    kv_tidy tidy = {.cfg = &cfg};
    uint64_t base = kv_id_first_at(1790000000000);
    (void)state;
    rig_start(&r);
    kv_cmd_submit m = plain;
    submit_ok(&r, &m, base);
    m.retention_s = 60;
    submit_ok(&r, &m, base + 1);
    submit_ok(&r, &m, base + 2); /* does not end */
    m.retention_s = 7200;
    submit_ok(&r, &m, base + 3);
    end_job(&r, base, KV_JOB_COMPLETE);
    end_job(&r, base + 1, KV_JOB_ERROR);
    end_job(&r, base + 3, KV_JOB_CANCELLED);
    kv_fake_clock_advance(&r.clock, 59 * 1000);
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 4);
    kv_fake_clock_advance(&r.clock, 2 * 1000);
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 3);
    kv_fake_clock_advance(&r.clock, 3700 * 1000); /* the hour of those without their own */
    while (kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock))) {
    }
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 2);
    kv_fake_clock_advance(&r.clock, 3600 * 1000);
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT state FROM job"), KV_JOB_QUEUED);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_expiry"), 0);
    rig_stop(&r);
}

/* ---- an id that comes again when its row is gone ---- */

static void test_plain_and_then_not(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit_ok(&r, &plain, 5);
    end_job(&r, 5, KV_JOB_ERROR);
    assert_int_equal(purge(&r, "ai"), 1);
    kv_cmd_submit m = plain;
    m.user = kv_slice_str("u");
    m.unique_key = kv_slice_str("daily");
    submit_ok(&r, &m, 5);
    rig_forget(&r);
    end_job(&r, 5, KV_JOB_COMPLETE);
    assert_true(rig_saw(&r, "\"user\":\"u\""));
    submit_ok(&r, &m, 6); /* the key is free */
    rig_stop(&r);
}

static void test_retention_of_the_first(void **state)
{
    rig r;
    kv_config cfg = {.job_retention_hours = 1, .event_retention_hours = 1};
    kv_tidy tidy = {.cfg = &cfg};
    (void)state;
    rig_start(&r);
    uint64_t id = kv_id_first_at(1790000000000);
    kv_cmd_submit m = plain;
    m.retention_s = 60;
    submit_ok(&r, &m, id);
    submit_ok(&r, &m, id + 1);
    end_job(&r, id, KV_JOB_ERROR);
    end_job(&r, id + 1, KV_JOB_ERROR);
    assert_int_equal(purge(&r, "ai"), 2);
    kv_fake_clock_advance(&r.clock, 30 * 1000);
    submit_ok(&r, &plain, id);
    submit_ok(&r, &m, id + 1);
    end_job(&r, id, KV_JOB_COMPLETE);
    end_job(&r, id + 1, KV_JOB_COMPLETE);
    kv_fake_clock_advance(&r.clock, 35 * 1000); /* the minute of the first is over */
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 2);
    kv_fake_clock_advance(&r.clock, 30 * 1000);
    (void)kv_tidy_slice(&tidy, r.x.db, kv_wall_ms(&r.clock.clock));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job_expiry"), 0);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_options),
        cmocka_unit_test(test_read_at_start),
        cmocka_unit_test(test_error_detail_in_event),
        cmocka_unit_test(test_bad_metadata_refused_alone),
        cmocka_unit_test(test_unique_key),
        cmocka_unit_test(test_retry),
        cmocka_unit_test(test_retry_of_own_services_refused),
        cmocka_unit_test(test_submit_names_what_it_retries),
        cmocka_unit_test(test_promote),
        cmocka_unit_test(test_purge_dead),
        cmocka_unit_test(test_retention_of_its_own),
        cmocka_unit_test(test_plain_and_then_not),
        cmocka_unit_test(test_retention_of_the_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
