/* The ledger on a disk that is full, nearly full, or does not sync: refused with a clear error,
 * nothing acknowledged is lost, nothing refused is kept, and it goes on without a restart. */
#include "tests/unit/ledger_rig.h"

#include "tests/unit/fault_vfs.h"

static kv_cmd *submit_cmd(uint64_t job)
{
    static char params[3000];
    kv_cmd *cmd = kv_cmd_new(KV_CMD_SUBMIT, 0);
    memset(params, 'x', sizeof params);
    params[0] = params[sizeof params - 1] = '"';
    cmd->submit = (kv_cmd_submit){.job = job,
                                  .max_attempts = 3,
                                  .lane = 1,
                                  .service = kv_slice_str("ai"),
                                  .params = kv_slice_of(params, sizeof params)};
    return cmd;
}

/* Jobs first … first + n - 1; each must come back so. */
static void submit(thread_rig *t, uint64_t first, int n, kv_err expect, uint64_t *last)
{
    kv_cmd_list list = {.n = 0};
    for (int i = 0; i < n; i++)
        give(t, &list, submit_cmd(first + (uint64_t)i));
    kv_ledger_give(t->ledger, &list, false);
    kv_cmd_list done = take(t, (size_t)n, last);
    for (kv_cmd *cmd; (cmd = kv_cmd_pop(&done));) {
        assert_int_equal(cmd->err, expect);
        assert_int_equal(cmd->created, expect == KV_OK);
        kv_cmd_free(&cmd);
    }
    assert_int_equal(t->health, expect);
}

static void copy_file(const char *from, const char *to)
{
    char command[1200];
    snprintf(command, sizeof command, "cp %s %s", from, to);
    assert_int_equal(system(command), 0);
}

/* What another process would find if this one died now. */
static void check_copy(thread_rig *t, int64_t jobs, int64_t media, uint64_t last_event)
{
    scratch copy;
    char from[512], to[512];
    static const char *const files[] = {"kervan.db", "kervan.db-wal"};
    scratch_make(&copy);
    for (int i = 0; i < 2; i++) {
        snprintf(from, sizeof from, "%s/%s", t->s.dir, files[i]);
        snprintf(to, sizeof to, "%s/%s", copy.dir, files[i]);
        copy_file(from, to);
    }
    rig r = {.seq = 0};
    assert_int_equal(kv_db_open(&copy.cfg, KV_DB_WRITE, &r.x.db), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), jobs);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media"), media);
    assert_int_equal(rig_number(&r, "SELECT max(last) FROM event"), (int64_t)last_event);
    kv_db_close(&r.x.db);
    scratch_remove(&copy);
}

static void fails_and_heals(atomic_int *fault, int code, int writes_left, kv_err expect)
{
    thread_rig t = {0};
    uint64_t last = 0;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    submit(&t, 1, 50, KV_OK, &last);
    for (int round = 0; round < 3; round++) {
        uint64_t first = 1000 + (uint64_t)round * 1000;
        atomic_store(&fault_refused_n, 0);
        atomic_store(&fault_writes_left, writes_left);
        atomic_store(fault, code);
        submit(&t, first, 400, expect, &last);
        /* a batch, a few commands alone, and the rest was not tried: not 400 times */
        assert_in_range(atomic_load(&fault_refused_n), 1, 40);
        atomic_store(fault, 0);
        assert_int_equal(last, 50 + 30 * round);
        submit(&t, first, 30, KV_OK, &last); /* the same again */
        check_copy(&t, 80 + 30 * round, 0, last);
    }
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

static void test_full_disk(void **state)
{
    (void)state;
    fails_and_heals(&fault_write, SQLITE_FULL, 0, KV_E_DISK_FULL);
    fails_and_heals(&fault_write, SQLITE_FULL, 2, KV_E_DISK_FULL); /* in the middle of a commit */
}

static void test_failing_sync(void **state)
{
    (void)state;
    fails_and_heals(&fault_sync, SQLITE_IOERR_FSYNC, 0, KV_E_IO);
}

/* ---- a row that is said not to be there ---- */

static kv_err run_one(thread_rig *t, kv_cmd *cmd, uint64_t *last)
{
    kv_cmd_list list = {.n = 0};
    give(t, &list, cmd);
    kv_ledger_give(t->ledger, &list, false);
    kv_cmd_list done = take(t, 1, last);
    kv_cmd *did = kv_cmd_pop(&done);
    kv_err err = did->err;
    kv_cmd_free(&did);
    return err;
}

static kv_cmd *media_commit_cmd(uint64_t media)
{
    static const char hash[32] = "of these bytes";
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_COMMIT, 0);
    kv_msg m;
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    cmd->commit = m.media_commit;
    cmd->commit.media = media;
    cmd->commit.folder = kv_slice_str("banners");
    cmd->commit.filename = kv_slice_str("a.jpg");
    cmd->commit.hash = cmd->commit.stored_hash = kv_slice_of(hash, sizeof hash);
    cmd->commit.size = 1000;
    cmd->commit.mime = kv_slice_str("image/jpeg");
    cmd->commit.ext = kv_slice_str("jpg");
    return cmd;
}

/* The frames of a commit whose sync failed may be in the log, whole. Who heard that the row is not
 * there takes its file away: no later start may find the row. */
static void test_what_is_said_to_be_absent_stays_so(void **state)
{
    thread_rig t = {0};
    uint64_t last = 0;
    (void)state;
    scratch_make(&t.s);
    thread_open(&t);
    assert_int_equal(kv_ledger_start(t.ledger), KV_OK);
    submit(&t, 1, 1, KV_OK, &last);
    for (int round = 0; round < 3; round++) {
        atomic_store(&fault_sync, SQLITE_IOERR_FSYNC);
        assert_int_equal(run_one(&t, media_commit_cmd(100), &last), KV_E_IO);
        atomic_store(&fault_sync, 0);
        kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_DELETE, 0);
        cmd->id = 100;
        assert_int_equal(run_one(&t, cmd, &last), KV_E_NOT_FOUND);
        check_copy(&t, 1, 0, last);
    }
    kv_ledger_close(&t.ledger);
    scratch_remove(&t.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_failing_sync),
        cmocka_unit_test(test_what_is_said_to_be_absent_stays_so),
    };
    fault_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
