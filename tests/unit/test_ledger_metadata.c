/* Metadata and progress in the ledger (S3-16, S3-20…23, S3-56, Y08). */
#include "tests/unit/exec_rig.h"

static void submit(rig *r, uint64_t job, const char *user, const char *metadata)
{
    kv_cmd *cmd = rig_submit_cmd(job, "ai");
    cmd->submit.tenant = kv_slice_str("t");
    cmd->submit.user = kv_slice_str(user);
    cmd->submit.metadata = kv_slice_str(metadata);
    rig_run(r, cmd);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
}

static kv_cmd *patch(rig *r, uint64_t job, uint64_t version, const char *text)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_METADATA, 0);
    cmd->metadata = (kv_cmd_metadata){.job = job, .version = version, .patch = kv_slice_str(text)};
    return rig_run(r, cmd);
}

static void patched(rig *r, uint64_t version, const char *text, const char *expect,
                    uint64_t expect_version)
{
    kv_cmd *cmd = patch(r, 5, version, text);
    assert_int_equal(cmd->err, KV_OK);
    assert_string_equal(kv_buf_str(&cmd->text), expect);
    assert_int_equal(cmd->other, expect_version);
    kv_cmd_free(&cmd);
}

static void refused(rig *r, uint64_t job, uint64_t version, const char *text, kv_err expect)
{
    kv_cmd *cmd = patch(r, job, version, text);
    assert_int_equal(cmd->err, expect);
    assert_true(expect != KV_E_BAD_PARAMETER || strstr(cmd->detail, "a name twice"));
    kv_cmd_free(&cmd);
}

static void test_merge_and_version(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, "u", NULL);
    for (int n = 0; n < 2; n++) { /* of two who found none, one is first */
        kv_cmd *cmd = kv_cmd_new(KV_CMD_METADATA, 0);
        cmd->metadata =
            (kv_cmd_metadata){.job = 5, .exact = true, .patch = kv_slice_str("{\"a\":{\"x\":1}}")};
        assert_int_equal(rig_run(&r, cmd)->err, n == 0 ? KV_OK : KV_E_CONFLICT);
        kv_cmd_free(&cmd);
    }
    assert_true(rig_saw(&r, "\"type\":\"job.metadata\""));
    assert_true(rig_saw(
        &r, "\"user\":\"u\",\"tenant\":\"t\",\"version\":1,\"metadata\":{\"a\":{\"x\":1}}}"));
    patched(&r, 1, "{\"a\":{\"y\":2},\"b\":[1]}", "{\"a\":{\"x\":1,\"y\":2},\"b\":[1]}", 2);
    rig_forget(&r);
    refused(&r, 5, 1, "{\"c\":1}", KV_E_CONFLICT);
    refused(&r, 5, 0, "[]", KV_E_BAD_PARAMETER);
    refused(&r, 5, 0, "{\"c\":1,\"c\":2}", KV_E_BAD_PARAMETER); /* valid JSON, and said why */
    refused(&r, 5, 0, "{\"c\":12345678901234567890}", KV_E_BAD_PARAMETER);
    refused(&r, 5, 0, "{\"c\":\"\\ud800\"}", KV_E_BAD_PARAMETER);
    refused(&r, 6, 0, "{}", KV_E_NOT_FOUND);
    patched(&r, 2, "{\"b\":[1]}", "{\"a\":{\"x\":1,\"y\":2},\"b\":[1]}", 2); /* as it was */
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(rig_number(&r, "SELECT metadata_version FROM job_option"), 2);
    rig_stop(&r);
}

/* A job at its end still takes metadata (a title, a mark of the user's); its state stays. */
static void test_of_a_terminal_job(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, NULL, "{\"t\":1}");
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    rig_move(&r, 5, "ai", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, "{}", NULL);
    patched(&r, 1, "{\"status\":\"queued\"}", "{\"t\":1,\"status\":\"queued\"}", 2);
    assert_int_equal(rig_number(&r, "SELECT state FROM job"), KV_JOB_COMPLETE);
    rig_stop(&r);
}

/* Two writers at once, field by field: nothing is lost, whatever their order (S3-22, S3-23). */
static void test_no_field_lost(void **state)
{
    rig r;
    char text[64], name[32];
    kv_buf json;
    (void)state;
    rig_start(&r);
    submit(&r, 5, NULL, NULL);
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    for (int i = 0; i < 100; i++) {
        snprintf(text, sizeof text, "{\"%s\":{\"f%d\":%d}}", i % 3 ? "user" : "both", i, i);
        kv_cmd *cmd = kv_cmd_new(i % 2 ? KV_CMD_METADATA : KV_CMD_PROGRESS, 0);
        if (i % 2)
            cmd->metadata = (kv_cmd_metadata){.job = 5, .patch = kv_slice_str(text)};
        else
            cmd->progress = (kv_cmd_progress){5, 1, 1, (uint64_t)i, kv_slice_str(text)};
        assert_int_equal(rig_end(&r, cmd), KV_OK);
    }
    kv_buf_init(&json, 0);
    assert_int_equal(kv_job_get_json(r.x.db, 5, &json), KV_OK);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "\"f%d\":%d", i, i);
        assert_non_null(strstr(json.data, name));
    }
    assert_int_equal(rig_number(&r, "SELECT progress FROM job"), 98);
    kv_buf_release(&json);
    rig_stop(&r);
}

/* ---- progress ---- */

static kv_err progress(rig *r, uint64_t job, uint64_t attempt, uint64_t percent, const char *text)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_PROGRESS, 0);
    cmd->progress = (kv_cmd_progress){job, 1, attempt, percent, kv_slice_str(text)};
    return rig_end(r, cmd);
}

static void test_progress(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, NULL, NULL);
    submit(&r, 6, "u", NULL);
    assert_int_equal(progress(&r, 5, 1, 1, NULL), KV_E_STALE_LEASE); /* waits */
    rig_move(&r, 5, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    rig_move(&r, 6, "ai", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    rig_forget(&r);
    assert_int_equal(progress(&r, 5, 2, 1, NULL), KV_E_STALE_LEASE);
    assert_int_equal(progress(&r, 7, 1, 1, NULL), KV_E_STALE_LEASE);
    assert_int_equal(progress(&r, 5, 1, 4, NULL), KV_OK); /* nobody looks: every five points */
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(progress(&r, 5, 1, 5, NULL), KV_OK);
    assert_true(rig_saw(&r, "\"type\":\"job.progress\""));
    assert_true(rig_saw(&r, "\"jobId\":\"0000000000005\",\"tenant\":\"t\",\"progress\":5}"));
    rig_forget(&r);
    assert_int_equal(progress(&r, 5, 1, 9, NULL), KV_OK);
    assert_string_equal(kv_buf_str(&r.events), "");
    assert_int_equal(progress(&r, 6, 1, 1, NULL), KV_OK); /* a user does */
    assert_true(rig_saw(&r, "\"user\":\"u\",\"tenant\":\"t\",\"progress\":1}"));
    rig_forget(&r);
    assert_int_equal(progress(&r, 6, 1, 1, NULL), KV_OK);
    assert_string_equal(kv_buf_str(&r.events), "");
    /* a bad patch: nothing of it */
    assert_int_equal(progress(&r, 6, 1, 50, "{\"a\":"), KV_E_BAD_PARAMETER);
    assert_int_equal(rig_number(&r, "SELECT progress FROM job WHERE id = 6"), 1);
    assert_int_equal(progress(&r, 6, 1, 50, "{\"step\":2}"), KV_OK);
    assert_true(rig_saw(&r, "\"version\":1,\"metadata\":{\"step\":2}}"));
    assert_true(rig_saw(&r, "\"progress\":50}"));
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merge_and_version),
        cmocka_unit_test(test_of_a_terminal_job),
        cmocka_unit_test(test_no_field_lost),
        cmocka_unit_test(test_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
