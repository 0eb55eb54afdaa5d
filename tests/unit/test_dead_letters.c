/* Dead letters and what does them again: RETRY of jobs of others, and of those kervan made itself.
 */
#include "tests/unit/exec_rig.h"

#include "storage/read/jobs_list.h"
#include "tests/unit/jobs_tables.h"

static void submit(rig *r, uint64_t job, uint64_t retry_of)
{
    kv_cmd *cmd = rig_submit_cmd(job, "ai");
    cmd->submit.tag = 7;
    cmd->submit.retry_of = retry_of;
    rig_run(r, cmd);
    assert_true(cmd->created);
    kv_cmd_free(&cmd);
}

static void end_job(rig *r, uint64_t job, const char *service, const char *error)
{
    assert_int_equal(rig_move(r, job, service, KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL),
                     KV_OK);
    assert_int_equal(rig_move(r, job, service, KV_JOB_PROCESSING,
                              error ? KV_JOB_ERROR : KV_JOB_COMPLETE, 1, error ? NULL : "{}",
                              error),
                     KV_OK);
}

static kv_cmd *retry(rig *r, uint64_t job, uint64_t new_job)
{
    kv_cmd *cmd = kv_cmd_new(KV_CMD_RETRY, 0);
    cmd->retry = (kv_cmd_retry){.job = job, .new_job = new_job};
    rig_run(r, cmd);
    r->made_n -= cmd->jobs_n && cmd->jobs[0].service == cmd->text.data; /* its strings go */
    return cmd;
}

static void expect_made(rig *r, uint64_t job, uint64_t new_job)
{
    kv_cmd *cmd = retry(r, job, new_job);
    assert_int_equal(cmd->err, KV_OK);
    assert_true(cmd->created);
    assert_int_equal(cmd->jobs_n, 1);
    assert_int_equal(cmd->jobs[0].id, new_job);
    kv_cmd_free(&cmd);
}

static void expect_there(rig *r, uint64_t job, uint64_t by)
{
    kv_cmd *cmd = retry(r, job, 999999);
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    assert_int_equal(cmd->other, by);
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
}

static int64_t dead(rig *r)
{
    return rig_number(r, "SELECT count(*) FROM dead_letter");
}

static void assert_tables(rig *r)
{
    assert_int_equal(rig_number(r, KV_JOBS_TABLES_WRONG), 0);
}

/* ---- jobs of others ---- */

static void test_done_again(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, 0);
    end_job(&r, 5, "ai", "io");
    assert_int_equal(dead(&r), 1);
    expect_made(&r, 5, 9);
    assert_int_equal(dead(&r), 0); /* in the same transaction */
    assert_tables(&r);
    expect_there(&r, 5, 9);
    end_job(&r, 9, "ai", "io"); /* and fails, too: its own */
    assert_int_equal(rig_number(&r, "SELECT job FROM dead_letter"), 9);
    expect_there(&r, 5, 9);
    assert_int_equal(rig_number(&r, "SELECT job FROM dead_letter"), 9);
    expect_made(&r, 9, 12);
    end_job(&r, 12, "ai", NULL);
    assert_int_equal(dead(&r), 0);
    submit(&r, 20, 0); /* SUBMIT with retry_of does the same */
    end_job(&r, 20, "ai", "io");
    submit(&r, 21, 20);
    assert_int_equal(dead(&r), 0);
    assert_tables(&r);
    rig_stop(&r);
}

/* How many a list of jobs in error shows. */
static size_t listed(rig *r, const char *user)
{
    kv_jobs_query q = {.user = kv_slice_str(user), .state = KV_JOB_ERROR, .lane = -1, .limit = 10};
    kv_buf out;
    uint64_t next, counted;
    size_t n = 0;
    kv_buf_init(&out, 0);
    assert_int_equal(kv_jobs_list_json(r->x.db, &q, &out, &next), KV_OK);
    for (const char *at = kv_buf_str(&out); (at = strstr(at, "\"jobId\"")); at++)
        n++;
    kv_buf_release(&out);
    assert_int_equal(kv_jobs_dead_count(r->x.db, kv_slice_str("ai"), 100, &counted), KV_OK);
    assert_int_equal(counted, dead(r));
    return n;
}

static void test_listed(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    for (uint64_t job = 5; job <= 6; job++) {
        submit(&r, job, 0);
        end_job(&r, job, "ai", "io");
    }
    assert_int_equal(kv_db_exec(r.x.db,
                                "UPDATE job SET options = 1;"
                                "INSERT INTO job_option (job, user) SELECT id, 'u' FROM job"),
                     KV_OK);
    assert_int_equal(listed(&r, ""), 2);
    assert_int_equal(listed(&r, "u"), 2);
    expect_made(&r, 5, 9);
    assert_int_equal(listed(&r, ""), 1);
    assert_int_equal(listed(&r, "u"), 1);
    rig_stop(&r);
}

/* ---- kervan's own ---- */

static void commit(rig *r, uint64_t media)
{
    static const char hash[32] = "0123456789abcdef0123456789abcde";
    kv_msg m;
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_COMMIT, 0);
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    cmd->commit = m.media_commit;
    cmd->commit.media = media;
    cmd->commit.folder = kv_slice_str("banners");
    cmd->commit.filename = kv_slice_str("a.jpg");
    cmd->commit.hash = cmd->commit.stored_hash = kv_slice_of(hash, 32);
    cmd->commit.size = 1000;
    cmd->commit.mime = kv_slice_str("image/jpeg");
    cmd->commit.ext = kv_slice_str("jpg");
    cmd->commit.dedup = cmd->commit.process = true;
    assert_int_equal(rig_end(r, cmd), KV_OK);
}

static void expect_refused(rig *r, uint64_t job, const char *why)
{
    kv_cmd *cmd = retry(r, job, 999998);
    assert_int_equal(cmd->err, KV_E_CONFLICT);
    assert_false(cmd->created);
    assert_non_null(cmd->detail);
    assert_non_null(strstr(cmd->detail, why));
    kv_cmd_free(&cmd);
}

/* As MEDIA_RETRY: the rows wait again, for the new job. */
static void test_image(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit(&r, 11);
    commit(&r, 12); /* the same bytes, the same folder: one row */
    uint64_t job = r.made[0].id;
    end_job(&r, job, "image-process", "bad_image");
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_FAILED);
    assert_int_equal(dead(&r), 1);
    rig_forget(&r);
    expect_made(&r, job, 77);
    assert_true(rig_saw(&r, "media.processing") && rig_saw(&r, "job.queued"));
    assert_int_equal(dead(&r), 0);
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_PENDING);
    assert_int_equal(rig_number(&r, "SELECT job FROM blob"), 77);
    assert_int_equal(rig_number(&r, "SELECT retry_of IS NOT NULL FROM job_option WHERE job = 77"),
                     1);
    assert_tables(&r);
    expect_there(&r, job, 77);
    end_job(&r, 77, "image-process", "bad_image");
    assert_int_equal(rig_number(&r, "SELECT job FROM dead_letter"), 77);
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_RETRY, 11), KV_OK); /* the other way */
    assert_int_equal(dead(&r), 0);
    uint64_t third = r.made[r.made_n - 1].id;
    expect_there(&r, 77, third);
    end_job(&r, third, "image-process", "bad_image");
    assert_int_equal(dead(&r), 1);
    commit(&r, 13); /* and the third: the same bytes once more */
    assert_int_equal(dead(&r), 0);
    expect_there(&r, third, r.made[r.made_n - 1].id);
    assert_tables(&r);
    rig_stop(&r);
}

static void test_image_is_gone(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit(&r, 11);
    uint64_t job = r.made[0].id;
    expect_refused(&r, job, "the job is queued");
    end_job(&r, job, "image-process", "bad_image");
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_OK);
    expect_refused(&r, job, "deleted");
    assert_int_equal(dead(&r), 1);
    assert_tables(&r);
    rig_stop(&r);
}

/* The id of the new job is taken. */
static void test_image_id_taken(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit(&r, 11);
    uint64_t job = r.made[0].id;
    end_job(&r, job, "image-process", "bad_image");
    submit(&r, 5, 0);
    kv_cmd *cmd = retry(&r, job, 5);
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    assert_true(cmd->place.found);
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_FAILED);
    rig_stop(&r);
}

/* A removal that failed goes on by itself: the one that does is its retry. */
static void test_reap(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit(&r, 11);
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_OK);
    uint64_t job = r.made[r.made_n - 1].id;
    end_job(&r, job, "blob-reap", "io");
    uint64_t next = r.made[r.made_n - 1].id;
    assert_true(next != job);
    assert_int_equal(dead(&r), 0);
    expect_there(&r, job, next);
    end_job(&r, next, "blob-reap", NULL);
    expect_there(&r, job, next);
    assert_tables(&r);
    rig_stop(&r);
}

/* One of a database of before: its files may have been put there again since. */
static void test_reap_of_before(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit(&r, 11);
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_OK);
    uint64_t job = r.made[r.made_n - 1].id;
    end_job(&r, job, "blob-reap", "io");
    assert_int_equal(kv_db_exec(r.x.db, "UPDATE job_option SET retried_by = NULL"), KV_OK);
    expect_refused(&r, job, "by itself");
    rig_stop(&r);
}

/* ---- what else is refused ---- */

static void test_not_dead(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, 0);
    expect_refused(&r, 5, "the job is queued");
    end_job(&r, 5, "ai", NULL);
    expect_refused(&r, 5, "the job is complete");
    rig_stop(&r);
}

static void test_metadata_too_large(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    submit(&r, 5, 0);
    static char patch[16000];
    kv_err err = KV_OK;
    for (int i = 0; i < 10 && err == KV_OK; i++) {
        int n = snprintf(patch, sizeof patch, "{\"k%d\":\"%015000d\"}", i, 0);
        kv_cmd *cmd = kv_cmd_new(KV_CMD_METADATA, 0);
        cmd->metadata = (kv_cmd_metadata){.job = 5, .patch = kv_slice_of(patch, (size_t)n)};
        rig_run(&r, cmd);
        err = cmd->err;
        if (err != KV_OK) {
            assert_int_equal(err, KV_E_BAD_PARAMETER);
            assert_non_null(cmd->detail);
            assert_non_null(strstr(cmd->detail, "65536"));
        }
        kv_cmd_free(&cmd);
    }
    assert_int_equal(err, KV_E_BAD_PARAMETER);
    rig_stop(&r);
}

/* ---- settings that are none any more ---- */

static bool set(rig *r, const char *tenant, int64_t paused, int64_t concurrency, int64_t weight)
{
    kv_msg m;
    kv_cmd *cmd = kv_cmd_new(KV_CMD_QUEUE_SET, 0);
    kv_msg_defaults(KV_QUEUE_SET, &m);
    cmd->queue_set = m.queue_set;
    cmd->queue_set.service = kv_slice_str("ai");
    cmd->queue_set.tenant_set = tenant != NULL;
    cmd->queue_set.tenant = kv_slice_str(tenant);
    cmd->queue_set.paused = paused;
    cmd->queue_set.concurrency = concurrency;
    cmd->queue_set.weight = weight;
    rig_run(r, cmd);
    bool removed = cmd->setting_removed;
    kv_cmd_free(&cmd);
    return removed;
}

static int64_t settings(rig *r)
{
    return rig_number(r, "SELECT count(*) FROM queue_setting");
}

static void test_settings_go(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    assert_false(set(&r, NULL, 1, -1, -1));
    assert_int_equal(settings(&r), 1);
    assert_true(set(&r, NULL, 0, -1, -1));
    assert_int_equal(settings(&r), 0);
    assert_true(set(&r, NULL, 0, -1, -1)); /* nothing was there, nothing stays */
    assert_int_equal(settings(&r), 0);
    assert_false(set(&r, NULL, 1, 3, -1));
    assert_false(set(&r, NULL, 0, -1, -1)); /* the limit is left */
    assert_true(set(&r, NULL, -1, 0, -1));
    assert_false(set(&r, "*", -1, 3, -1));
    assert_false(set(&r, "u", -1, 0, -1)); /* an exemption from it */
    assert_false(set(&r, "v", -1, 2, -1));
    assert_false(set(&r, "v", -1, 0, -1));
    assert_true(set(&r, "*", -1, 0, 1));
    assert_int_equal(settings(&r), 2);
    assert_false(set(&r, "w", -1, 0, -1)); /* an exemption from one that may come */
    assert_false(set(&r, "v", -1, 2, -1));
    assert_true(set(&r, "v", -1, 0, 1)); /* taken back */
    assert_int_equal(settings(&r), 2);
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_done_again),
        cmocka_unit_test(test_listed),
        cmocka_unit_test(test_image),
        cmocka_unit_test(test_image_is_gone),
        cmocka_unit_test(test_image_id_taken),
        cmocka_unit_test(test_reap),
        cmocka_unit_test(test_reap_of_before),
        cmocka_unit_test(test_not_dead),
        cmocka_unit_test(test_metadata_too_large),
        cmocka_unit_test(test_settings_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
