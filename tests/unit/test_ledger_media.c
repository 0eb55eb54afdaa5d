/* Media in the ledger: dedup, references, removal and the races around it, processing. */
#include "tests/unit/exec_rig.h"

typedef struct upload {
    uint64_t media;
    const char *folder, *filename;
    char hash, stored; /* the byte that fills each */
    bool dedup, process, metadata_kept;
    uint64_t gone_seq;
} upload;

static kv_cmd *commit(rig *r, upload u)
{
    static char hash[32], stored[32];
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_COMMIT, 0);
    kv_msg m;
    memset(hash, u.hash, sizeof hash);
    memset(stored, u.stored ? u.stored : u.hash, sizeof stored);
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    cmd->commit = m.media_commit;
    cmd->commit.media = u.media;
    cmd->commit.folder = kv_slice_str(u.folder ? u.folder : "banners");
    cmd->commit.filename = kv_slice_str(u.filename ? u.filename : "a.jpg");
    cmd->commit.hash = kv_slice_of(hash, 32);
    cmd->commit.stored_hash = kv_slice_of(stored, 32);
    cmd->commit.size = 1000;
    cmd->commit.mime = kv_slice_str("image/jpeg");
    cmd->commit.ext = kv_slice_str("jpg");
    cmd->commit.width = 640;
    cmd->commit.height = 480;
    cmd->commit.strip_version = u.stored ? 1 : 0;
    cmd->commit.dedup = u.dedup;
    cmd->commit.process = u.process;
    cmd->commit.metadata_kept = u.metadata_kept;
    cmd->commit.gone_seq = u.gone_seq;
    return rig_run(r, cmd);
}

#define UPLOAD(...) ((upload){.dedup = true, __VA_ARGS__})

static kv_err commit_err(rig *r, upload u)
{
    kv_cmd *cmd = commit(r, u);
    kv_err err = cmd->err;
    kv_cmd_free(&cmd);
    return err;
}

static const char *const RESULT =
    "{\"width\":600,\"height\":400,\"thumbhash\":\"1QcSHQRnh493V4dIh4eXh1h4kJUI\",\"variants\":[{"
    "\"format\":\"webp\",\"width\":320,"
    "\"height\":213,\"size\":999,\"params\":\"q80e4-abc\",\"full\":false}]}";

static kv_err work(rig *r, uint64_t job, const char *service, const char *result, const char *error)
{
    kv_err err = rig_move(r, job, service, KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    return err ? err
               : rig_move(r, job, service, KV_JOB_PROCESSING,
                          error ? KV_JOB_ERROR : KV_JOB_COMPLETE, 1, result, error);
}

static void test_commit_new(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 11, .hash = 'a', .stored = 'b', .process = true));
    assert_int_equal(cmd->err, KV_OK);
    assert_true(cmd->created);
    assert_false(cmd->deduplicated);
    assert_int_equal(cmd->media, 11);
    assert_non_null(strstr(kv_buf_str(&cmd->text), "\"status\":\"PENDING\""));
    assert_int_equal(cmd->jobs_n, 1);
    assert_string_equal(cmd->jobs[0].service, "image-process");
    kv_cmd_free(&cmd);
    /* blob, media, job, event and alias in one transaction */
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM alias"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM event"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job WHERE state = 0"), 1);
    assert_true(rig_saw(&r, "media.created"));
    assert_true(rig_saw(&r, "job.queued"));
    rig_stop(&r);
}

/* S0-11, X03, Y21: the same bytes in the same folder give the row that is there. */
static void test_same_folder(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
    rig_forget(&r);
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 12, .hash = 'a', .filename = "b.jpg"));
    assert_int_equal(cmd->err, KV_OK);
    assert_false(cmd->created);
    assert_true(cmd->deduplicated);
    assert_int_equal(cmd->media, 11);
    assert_non_null(strstr(kv_buf_str(&cmd->text), "a.jpg"));
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media"), 1);
    assert_int_equal(rig_number(&r, "SELECT refs FROM blob"), 1);
    assert_string_equal(kv_buf_str(&r.events), "");
    rig_stop(&r);
}

/* S0-52, X03: another folder is another row on the same bytes. */
static void test_other_folder(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 12, .hash = 'a', .folder = "haber"));
    assert_true(cmd->created);
    assert_true(cmd->deduplicated);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 1);
    assert_int_equal(rig_number(&r, "SELECT refs FROM blob"), 2);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM placement WHERE refs = 1"), 2);
    assert_int_equal(rig_number(&r, "SELECT count(DISTINCT hash) FROM media"), 1);
    rig_stop(&r);
}

/* DEDUP_ENABLED=false: a row each, the bytes once. */
static void test_dedup_off(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, (upload){.media = 11, .hash = 'a'});
    kv_cmd *cmd = commit(&r, (upload){.media = 12, .hash = 'a'});
    assert_true(cmd->created);
    assert_false(cmd->deduplicated);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media"), 2);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 1);
    assert_int_equal(rig_number(&r, "SELECT refs FROM placement"), 2);
    rig_stop(&r);
}

/* STRIP_ORIGINAL_METADATA was off; now the same bytes went through, and there was nothing to blank.
 */
static void test_bytes_that_were_looked_through(void **state)
{
    static const char shared[] = "\"metadata_kept\":false";
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .metadata_kept = true));
    assert_int_equal(rig_number(&r, "SELECT metadata_kept FROM blob"), 1);
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 12, .hash = 'a'));
    assert_int_equal(cmd->media, 11);
    assert_non_null(strstr(kv_buf_str(&cmd->text), shared));
    kv_cmd_free(&cmd);
    /* and off again: they are what they are */
    cmd = commit(&r, UPLOAD(.media = 13, .hash = 'a', .folder = "haber", .metadata_kept = true));
    assert_non_null(strstr(kv_buf_str(&cmd->text), shared));
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

static void test_sent_twice(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
    assert_int_equal(cmd->err, KV_OK);
    assert_true(cmd->created);
    assert_false(cmd->deduplicated);
    assert_int_equal(cmd->media, 11);
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT refs FROM blob"), 1);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job"), 1);
    rig_stop(&r);
}

/* The alias keeps hash -> kept bytes per strip version; a toggled setting makes another blob. */
static void test_alias(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .stored = 'b'));
    commit_err(&r, UPLOAD(.media = 12, .hash = 'a'));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 2);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM alias"), 1);
    /* other metadata around the same picture: one blob, a row each */
    commit_err(&r, UPLOAD(.media = 13, .hash = 'c', .stored = 'b'));
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 2);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media"), 3);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM alias"), 2);
    rig_stop(&r);
}

/* PROCESSING_FOLDERS: bytes that were READY without variants get them when a folder that processes
 * takes them. */
static void test_canary_folder(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 11, .hash = 'a'));
    assert_non_null(strstr(kv_buf_str(&cmd->text), "\"status\":\"READY\""));
    assert_int_equal(cmd->jobs_n, 0);
    kv_cmd_free(&cmd);
    cmd = commit(&r, UPLOAD(.media = 12, .hash = 'a', .folder = "canary", .process = true));
    assert_non_null(strstr(kv_buf_str(&cmd->text), "\"status\":\"PENDING\""));
    assert_int_equal(cmd->jobs_n, 1);
    uint64_t job = cmd->jobs[0].id;
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT status FROM media WHERE id = 11"), KV_STATUS_READY);
    cmd = commit(&r, UPLOAD(.media = 13, .hash = 'a', .folder = "more", .process = true));
    assert_int_equal(cmd->jobs_n, 0); /* one job is enough */
    kv_cmd_free(&cmd);
    assert_int_equal(work(&r, job, "image-process", RESULT, NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media WHERE status = 1"), 3);
    cmd = commit(&r, UPLOAD(.media = 14, .hash = 'a', .folder = "last", .process = true));
    assert_int_equal(cmd->jobs_n, 0);
    assert_non_null(strstr(kv_buf_str(&cmd->text), "\"status\":\"READY\""));
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

/* S0-41, and updated_at of the rows */
static void test_processing(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
    rig_forget(&r);
    uint64_t job = r.made[0].id;
    rig_move(&r, job, "image-process", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
    assert_true(rig_saw(&r, "media.processing"));
    assert_true(rig_saw(&r, "job.processing"));
    rig_stamped(&r, "SELECT processing_started_at FROM blob");
    rig_forget(&r);
    rig_move(&r, job, "image-process", KV_JOB_PROCESSING, KV_JOB_COMPLETE, 1, RESULT, NULL);
    assert_true(rig_saw(&r, "media.ready"));
    assert_true(rig_saw(&r, "\"width\":600"));
    assert_true(rig_saw(&r, "1QcSHQRnh493V4dIh4eXh1h4kJUI"));
    assert_true(rig_saw(&r, "q80e4-abc"));
    rig_stamped(&r, "SELECT processing_completed_at FROM blob");
    rig_stamped(&r, "SELECT updated_at FROM media");
    assert_int_equal(rig_number(&r, "SELECT length(thumbhash) FROM blob"), 21);
    rig_stop(&r);
}

static void test_failed_and_retry(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_RETRY, 11), KV_E_CONFLICT);
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_RETRY, 99), KV_E_NOT_FOUND);
    assert_int_equal(work(&r, r.made[0].id, "image-process", NULL, "bad_image"), KV_OK);
    assert_true(rig_saw(&r, "media.failed"));
    assert_true(rig_saw(&r, "\"error\":\"bad_image\""));
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_FAILED);
    rig_stamped(&r, "SELECT processing_completed_at FROM blob");
    rig_stamped(&r, "SELECT updated_at FROM media");
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_RETRY, 11), KV_OK);
    rig_stamped(&r, "SELECT updated_at FROM media");
    assert_int_equal(r.made_n, 2);
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_PENDING);
    assert_int_equal(work(&r, r.made[1].id, "image-process", RESULT, NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_READY);
    assert_int_equal(rig_number(&r, "SELECT error IS NULL FROM blob"), 1);
    rig_stop(&r);
}

static void test_malformed_result(void **state)
{
    static const char *const bad[] = {
        "null", "{}", "{\"width\":1,\"height\":1,\"variants\":[{\"format\":\"../x\"}]}",
        "{\"width\":-1,\"height\":1,\"variants\":[]}"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r;
        rig_start(&r);
        commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
        assert_int_equal(work(&r, r.made[0].id, "image-process", bad[i], NULL), KV_OK);
        assert_int_equal(rig_number(&r, "SELECT status FROM media"), KV_STATUS_FAILED);
        rig_stop(&r);
    }
}

/* The last reference: dying until the reaper is done; then the same bytes may come again. */
static void test_delete_and_reap(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .stored = 'b'));
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 99), KV_E_NOT_FOUND);
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_OK);
    assert_true(rig_saw(&r, "media.deleted"));
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_E_NOT_FOUND);
    assert_int_equal(r.made_n, 1);
    assert_string_equal(r.made[0].service, "blob-reap");
    assert_int_equal(commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .stored = 'b')), KV_E_DYING);
    assert_int_equal(
        commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .stored = 'b', .folder = "haber")),
        KV_E_DYING);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM media"), 0);

    assert_int_equal(work(&r, r.made[0].id, "blob-reap", "null", NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM placement"), 0);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM alias"), 0);
    assert_int_equal(rig_number(&r, "SELECT value FROM counter WHERE name = 'gone_seq'"), 1);
    assert_int_equal(r.x.gone_seq, 1);

    /* Linked before the removal was known: the file may be gone. */
    kv_cmd *cmd = commit(&r, UPLOAD(.media = 12, .hash = 'a', .stored = 'b'));
    assert_int_equal(cmd->err, KV_E_RELINK);
    assert_int_equal(cmd->gone_seq, 1);
    kv_cmd_free(&cmd);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 0);
    /* Other bytes are not concerned. */
    assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'x')), KV_OK);
    /* Linked again with the new count. */
    assert_int_equal(commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .stored = 'b', .gone_seq = 1)),
                     KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob WHERE state = 0"), 2);
    rig_stop(&r);
}

/* A folder's last reference, while the bytes live in another folder. */
static void test_delete_one_folder(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
    commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .folder = "haber"));
    assert_int_equal(rig_change(&r, KV_CMD_MEDIA_DELETE, 11), KV_OK);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'a')), KV_E_DYING);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 14, .hash = 'a', .folder = "haber")),
                     KV_OK); /* live: shared */
    assert_int_equal(
        rig_number(&r, "SELECT count(*) FROM job WHERE params LIKE '%\"variants\":false%'"), 1);
    assert_int_equal(work(&r, r.made[0].id, "blob-reap", "null", NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob WHERE state = 0"), 1);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'a')), KV_E_RELINK);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'a', .gone_seq = 1)), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM placement WHERE state = 0"), 2);
    rig_stop(&r);
}

/* Two removals of one blob under way: it goes with the second one, whichever that is. */
static void test_reaps_in_either_order(void **state)
{
    (void)state;
    for (int first = 0; first < 2; first++) {
        rig r;
        rig_start(&r);
        commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
        commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .folder = "haber"));
        rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
        rig_change(&r, KV_CMD_MEDIA_DELETE, 12);
        assert_int_equal(r.made_n, 2);
        assert_int_equal(work(&r, r.made[first].id, "blob-reap", "null", NULL), KV_OK);
        assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob WHERE state = 1"), 1);
        assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'a', .gone_seq = 9)),
                         KV_E_DYING);
        assert_int_equal(work(&r, r.made[1 - first].id, "blob-reap", "null", NULL), KV_OK);
        assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 0);
        rig_stop(&r);
    }
}

/* A count from before this start of the broker says nothing: the memory of removals is younger. */
static void test_relink_after_restart(void **state)
{
    rig r;
    kv_db *db;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
    rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
    work(&r, r.made[0].id, "blob-reap", "null", NULL);
    db = r.x.db;
    r.x.db = NULL;
    kv_exec_close(&r.x);
    assert_int_equal(kv_exec_attach(db, "", 3, &r.clock.clock, &r.x), KV_OK);
    assert_int_equal(r.x.epoch, 2);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 12, .hash = 'x')), KV_E_RELINK);
    assert_int_equal(commit_err(&r, UPLOAD(.media = 12, .hash = 'x', .gone_seq = 1)), KV_OK);
    /* A live placement needs no file of the newcomer. */
    assert_int_equal(commit_err(&r, UPLOAD(.media = 13, .hash = 'x')), KV_OK);
    rig_stop(&r);
}

/* The picture is deleted while it is processed: what was made for it is removed, however that
 * ends. Before anybody began with it there is nothing to remove. */
static void test_delete_while_processing(void **state)
{
    static const int ends[] = {KV_JOB_COMPLETE, KV_JOB_ERROR, KV_JOB_CANCELLED};
    (void)state;
    for (int i = 0; i < 4; i++) {
        rig r;
        bool begun = i < 3;
        int from = begun ? KV_JOB_PROCESSING : KV_JOB_QUEUED, to = ends[begun ? i : 2];
        rig_start(&r);
        commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
        if (begun)
            rig_move(&r, r.made[0].id, "image-process", KV_JOB_QUEUED, from, 1, NULL, NULL);
        rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
        work(&r, r.made[1].id, "blob-reap", "null", NULL);
        rig_forget(&r);
        assert_int_equal(rig_move(&r, r.made[0].id, "image-process", from, to, begun,
                                  to == KV_JOB_COMPLETE ? RESULT : NULL,
                                  to == KV_JOB_ERROR ? "io" : NULL),
                         KV_OK);
        assert_false(rig_saw(&r, "media."));
        assert_int_equal(r.made_n, begun ? 3 : 2);
        assert_int_equal(rig_number(&r, "SELECT count(*) FROM job WHERE params LIKE "
                                        "'%\"keys\":[],\"variants\":true%'"),
                         begun);
        rig_stop(&r);
    }
}

/* A worker that kept variants of a deleted picture was lost before it said so: what it made is
 * removed, late enough for one that only stood still. What nobody began has made nothing. */
static void test_deleted_and_its_worker_lost(void **state)
{
    (void)state;
    for (int leased = 0; leased < 2; leased++) {
        rig r;
        rig_start(&r);
        commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
        uint64_t job = r.made[0].id, attempt = (uint64_t)leased;
        if (leased)
            rig_move(&r, job, "image-process", KV_JOB_QUEUED, KV_JOB_PROCESSING, 1, NULL, NULL);
        rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
        work(&r, r.made[1].id, "blob-reap", "null", NULL);
        assert_int_equal(
            rig_move(&r, job, "image-process", leased, KV_JOB_CANCELLED, attempt, NULL, NULL),
            KV_OK);
        assert_int_equal(r.made_n, 2 + leased);
        if (leased) {
            assert_string_equal(r.made[2].service, "blob-reap");
            assert_true(r.made[2].not_before >= 1790000000000 + 60000);
        }
        assert_int_equal(
            rig_number(
                &r, "SELECT count(*) FROM job WHERE params LIKE '%\"keys\":[],\"variants\":true%'"),
            leased);
        rig_stop(&r);
    }
}

/* The file a job was to read went with its folder, the bytes live in another one: the job is made
 * anew there. */
static void test_folder_gone_while_processing(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a', .process = true));
    commit_err(&r, UPLOAD(.media = 12, .hash = 'a', .folder = "haber", .process = true));
    rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
    assert_int_equal(work(&r, r.made[0].id, "image-process", NULL, "not_found"), KV_OK);
    assert_string_equal(r.made[r.made_n - 1].service, "image-process");
    assert_int_equal(rig_number(&r, "SELECT status FROM media WHERE id = 12"), KV_STATUS_PENDING);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM job WHERE params LIKE '%haber/%'"), 1);
    assert_int_equal(work(&r, r.made[r.made_n - 1].id, "image-process", RESULT, NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT status FROM media WHERE id = 12"), KV_STATUS_READY);
    rig_stop(&r);
}

/* A removal that could not be done is tried again: its rows would stay dying for ever. */
static void test_reap_fails(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    commit_err(&r, UPLOAD(.media = 11, .hash = 'a'));
    rig_change(&r, KV_CMD_MEDIA_DELETE, 11);
    assert_int_equal(work(&r, r.made[0].id, "blob-reap", NULL, "io"), KV_OK);
    assert_int_equal(r.made_n, 2);
    assert_true(r.made[1].not_before > 1790000000000);
    assert_int_equal(work(&r, r.made[1].id, "blob-reap", "null", NULL), KV_OK);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM blob"), 0);
    rig_stop(&r);
}

static void test_expired(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    kv_cmd *cmd = kv_cmd_new(KV_CMD_MEDIA_DELETE, 0);
    cmd->id = 1;
    cmd->deadline_ms = 1789999999999;
    assert_int_equal(rig_run(&r, cmd)->err, KV_E_EXPIRED);
    cmd->deadline_ms = UINT64_MAX; /* never */
    assert_int_equal(rig_run(&r, cmd)->err, KV_E_NOT_FOUND);
    kv_cmd_free(&cmd);
    rig_stop(&r);
}

/* Event ids follow each other over rows and commits, and go on after a restart. */
static void test_event_ids(void **state)
{
    rig r;
    (void)state;
    rig_start(&r);
    for (uint64_t i = 1; i <= 3; i++)
        commit_err(&r, UPLOAD(.media = i, .hash = (char)i, .process = true));
    assert_int_equal(r.x.last_event, 6);
    assert_int_equal(rig_number(&r, "SELECT max(last) FROM event"), 6);
    assert_int_equal(rig_number(&r, "SELECT count(*) FROM event e WHERE first > 1 AND NOT EXISTS "
                                    "(SELECT 1 FROM event p WHERE p.last = e.first - 1)"),
                     0);
    assert_true(rig_saw(&r, "{\"id\":5,\"type\":\"media.created\",\"at\":\"2026-"));
    rig_stop(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_new),
        cmocka_unit_test(test_same_folder),
        cmocka_unit_test(test_other_folder),
        cmocka_unit_test(test_dedup_off),
        cmocka_unit_test(test_bytes_that_were_looked_through),
        cmocka_unit_test(test_sent_twice),
        cmocka_unit_test(test_alias),
        cmocka_unit_test(test_canary_folder),
        cmocka_unit_test(test_processing),
        cmocka_unit_test(test_failed_and_retry),
        cmocka_unit_test(test_malformed_result),
        cmocka_unit_test(test_delete_and_reap),
        cmocka_unit_test(test_delete_one_folder),
        cmocka_unit_test(test_reaps_in_either_order),
        cmocka_unit_test(test_relink_after_restart),
        cmocka_unit_test(test_delete_while_processing),
        cmocka_unit_test(test_deleted_and_its_worker_lost),
        cmocka_unit_test(test_folder_gone_while_processing),
        cmocka_unit_test(test_reap_fails),
        cmocka_unit_test(test_expired),
        cmocka_unit_test(test_event_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
