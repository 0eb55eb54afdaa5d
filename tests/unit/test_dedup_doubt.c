/* dedup after a commit that failed or was not answered: file and row stay or go together. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "actors/dedup/ending.h"
#include "tests/unit/dedup_rig.h"

static void a_refused_commit_takes_the_file_back(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    answer_error(KV_E_DISK_FULL, 0);
    assert_false(file_there());
    released(1);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_true(kv_slice_is(done(1)->detail, "why"));
}

static void a_file_another_upload_relies_on_stays(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    to_commit(2); /* the same bytes */
    answer_error(KV_E_DISK_FULL, 0);
    assert_true(file_there());
    released(1);
    answer_error(KV_E_DISK_FULL, 0);
    assert_false(file_there());
    released(2);
}

static void hide_database(bool hidden)
{
    char away[300], here[300];
    snprintf(here, sizeof here, "%s/kervan.db", dir.dir);
    snprintf(away, sizeof away, "%s/hidden", dir.dir);
    assert_int_equal(rename(hidden ? here : away, hidden ? away : here), 0);
}

/* Nothing is removed while nobody can tell, and nothing forgotten. */
static void without_a_database_it_waits(void **state)
{
    (void)state;
    make_database();
    hide_database(true);
    make_file();
    to_commit(1);
    answer_error(KV_E_DISK_FULL, 0);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_true(file_there());
    assert_int_equal(releases(), 0);
    hide_database(false);
    kv_fake_clock_advance(&r.clock, 20000);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
    assert_false(file_there());
    assert_int_equal(releases(), 1);
    released(1);
}

/* The client hears of it at once; row and file go when the broker is back. */
static void a_broker_that_is_away(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_int_equal(done(1)->number, KV_E_BROKER_AWAY);
    assert_true(done(1)->retry_after_ms > 0);
    assert_true(file_there());
    const kv_msg *asked = kv_out_fake_asked(r.out, 0);
    assert_int_equal(asked->code, KV_MEDIA_DELETE);
    assert_int_equal(asked->media_delete.media, media);
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_null(kv_out_fake_asked(r.out, 0));
    kv_fake_clock_advance(&r.clock, 1000);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    answer_error(KV_E_NOT_FOUND, 0);
    assert_false(file_there());
    released(1);
    done(1);
}

static void is_in_doubt(kv_err err)
{
    make_database();
    make_file();
    to_commit(1);
    answer_error(err, 0);
    assert_int_equal(done(1)->number, err);
    assert_int_equal(releases(), 0);
    assert_true(file_there());
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    answer_error(KV_E_NOT_FOUND, 0);
    assert_false(file_there());
    assert_int_equal(releases(), 1);
    released(1);
}

/* The disk failed under a commit: its frames may be in the log, so the row is asked for before the
 * file goes. */
static void a_commit_that_failed_is_in_doubt(void **state)
{
    (void)state;
    is_in_doubt(KV_E_IO);
}

static void a_commit_that_the_database_refused_is_in_doubt(void **state)
{
    (void)state;
    is_in_doubt(KV_E_DB);
}

static void a_commit_without_memory_there_is_in_doubt(void **state)
{
    (void)state;
    is_in_doubt(KV_E_NO_MEMORY);
}

/* It came too late: but one that was sent before may have been in time. */
static void a_commit_that_expired_is_in_doubt(void **state)
{
    (void)state;
    is_in_doubt(KV_E_EXPIRED);
}

static void tick_after(uint64_t ms)
{
    kv_fake_clock_advance(&r.clock, ms);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
}

/* No room for one more question to the broker: it is asked in a moment. */
static void a_commit_that_cannot_be_asked_yet(void **state)
{
    (void)state;
    make_database();
    make_file();
    kv_out_fake_refuse(r.out, KV_E_BUSY);
    to_commit(1);
    tick_after(1);
    tick_after(5);
    kv_out_fake_refuse(r.out, KV_OK);
    assert_null(kv_out_fake_asked(r.out, 0));
    tick_after(5);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_COMMIT);
    answer_committed(false, 0);
    assert_int_equal(releases(), 1);
    released(1);
    assert_int_equal(done(1)->number, KV_OK);
    assert_true(file_there());
}

static void a_commit_that_could_never_be_asked(void **state)
{
    (void)state;
    make_database();
    make_file();
    kv_out_fake_refuse(r.out, KV_E_BUSY);
    to_commit(1);
    tick_after(9000);
    assert_int_equal(releases(), 0);
    tick_after(1000);
    assert_int_equal(releases(), 1);
    assert_false(file_there());
    released(1);
    assert_int_equal(done(1)->number, KV_E_BUSY);
}

static void a_commit_without_memory_takes_the_file_back(void **state)
{
    (void)state;
    make_database();
    make_file();
    kv_out_fake_refuse(r.out, KV_E_NO_MEMORY);
    to_commit(1);
    assert_false(file_there());
    assert_int_equal(releases(), 1);
    released(1);
    assert_int_equal(done(1)->number, KV_E_NO_MEMORY);
}

/* While nobody answers, what is linked without a row does not grow without end. */
static void no_more_doubts_than_allowed(void **state)
{
    (void)state;
    make_database();
    for (uint64_t upload = 1; upload <= KV_ORPHANS_MAX; upload++) {
        to_commit(upload);
        kv_out_fake_answer(r.out, r.self, upload - 1, KV_E_BROKER_AWAY, NULL);
        assert_int_equal(rig_count(&r, KV_PLACE), upload);
    }
    kv_out_fake_clear(r.out);
    uint64_t next = KV_ORPHANS_MAX + 1;
    begin(next);
    written(next, KV_OK);
    hashed(next);
    scanned(next, KV_OK);
    assert_int_equal(rig_count(&r, KV_PLACE), 0);
    assert_int_equal(releases(), 1);
    released(next);
    assert_int_equal(done(next)->number, KV_E_BROKER_AWAY);
    assert_true(done(next)->retry_after_ms > 0);
    answer_error(KV_E_NOT_FOUND, 0); /* one is settled */
    kv_out_fake_clear(r.out);
    to_commit(next + 1);
    assert_int_equal(rig_count(&r, KV_PLACE), 1);
}

static void make_row(uint64_t media)
{
    kv_db *db;
    char sql[512];
    snprintf(sql, sizeof sql,
             "INSERT INTO blob (id, stored_hash, size, mime, ext, refs, status, created_at) VALUES "
             "(1, x'" HEX_BB "', 1, 'image/jpeg', 'jpg', 1, 1, 0);"
             "INSERT INTO placement VALUES (1, 'banners', 0, 1);"
             "INSERT INTO media VALUES (%llu, 1, 'banners', 'a.jpg', x'00', 1, 0, 0)",
             (unsigned long long)media);
    assert_int_equal(kv_db_open(&r.cfg, KV_DB_WRITE, &db), KV_OK);
    assert_int_equal(kv_db_exec(db, sql), KV_OK);
    kv_db_close(&db);
}

/* It was committed; the broker died before it said so, and refuses what was sent again. */
static void a_refused_commit_with_a_row_is_taken_back(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    make_row(kv_out_fake_asked(r.out, 0)->media_commit.media);
    answer_error(KV_E_DISK_FULL, 0);
    assert_int_equal(done(1)->number, KV_E_DISK_FULL);
    assert_true(file_there());
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    answer_error(KV_E_NOT_FOUND, 0);
    assert_int_equal(releases(), 1);
    released(1);
}

static void answer_shared(uint64_t media)
{
    kv_msg m = {.code = KV_MEDIA_COMMITTED};
    m.media_committed.media = media;
    m.media_committed.deduplicated = true;
    m.media_committed.json = kv_slice_str("{}");
    kv_out_fake_answer(r.out, r.self, 1, KV_OK, &m);
}

/* 2 was told that the row of 1 is its own, before 1 gave up: the row stays. */
static void a_row_that_others_have_stays(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    to_commit(2);
    answer_shared(media);
    released(2);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1);
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL);
    assert_null(kv_out_fake_asked(r.out, 0)); /* no MEDIA_DELETE */
    assert_true(file_there());
    released(1);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 2);
}

/* The same, but the row of 1 is being taken back already: 2 asks again behind that. */
static void a_row_that_goes_is_not_counted_on(void **state)
{
    (void)state;
    make_database();
    make_file();
    to_commit(1);
    uint64_t media = kv_out_fake_asked(r.out, 0)->media_commit.media;
    kv_out_fake_answer(r.out, r.self, 0, KV_E_BROKER_AWAY, NULL); /* 0 is its MEDIA_DELETE now */
    to_commit(2);
    answer_shared(media);
    assert_int_equal(rig_count(&r, KV_UPLOAD_DONE), 1); /* of 1 only */
    kv_fake_clock_advance(&r.clock, 5);
    r.def->tick(r.self, kv_mono_us(&r.clock.clock), r.out);
    const kv_msg *again = NULL;
    for (size_t i = 0; !again && kv_out_fake_asked(r.out, i); i++)
        if (kv_out_fake_asked(r.out, i)->code == KV_MEDIA_COMMIT)
            again = kv_out_fake_asked(r.out, i);
    assert_non_null(again);
    assert_true(again->media_commit.media != media);
    kv_out_fake_answer(r.out, r.self, 0, KV_OK, NULL); /* 1 is gone; 2 holds on to the file */
    assert_true(file_there());
}

/* Nothing of a dead process is judged before the ledger has answered: its commits are behind us
 * then. */
static void the_sweep_waits_for_the_ledger(void **state)
{
    (void)state;
    struct stat st;
    char left[400];
    make_database();
    snprintf(left, sizeof left, "%s/media/.tmp/0000000000033", r.cfg.data);
    int fd = open(left, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    close(fd);
    int64_t now = kv_mono_us(&r.clock.clock);
    r.def->tick(r.self, now, r.out);
    r.def->tick(r.self, now, r.out);
    assert_int_equal(kv_out_fake_asked(r.out, 0)->code, KV_MEDIA_DELETE);
    assert_null(kv_out_fake_asked(r.out, 1));
    answer_error(KV_E_BROKER_AWAY, 0);
    r.def->tick(r.self, now, r.out);
    assert_int_equal(stat(left, &st), 0);
    answer_error(KV_E_NOT_FOUND, 0);
    r.def->tick(r.self, now, r.out);
    assert_int_not_equal(stat(left, &st), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_refused_commit_takes_the_file_back),
        T(a_file_another_upload_relies_on_stays),
        T(without_a_database_it_waits),
        T(a_broker_that_is_away),
        T(a_commit_that_failed_is_in_doubt),
        T(a_commit_that_the_database_refused_is_in_doubt),
        T(a_commit_without_memory_there_is_in_doubt),
        T(a_commit_that_cannot_be_asked_yet),
        T(a_commit_that_could_never_be_asked),
        T(a_commit_without_memory_takes_the_file_back),
        T(no_more_doubts_than_allowed),
        T(a_commit_that_expired_is_in_doubt),
        T(a_refused_commit_with_a_row_is_taken_back),
        T(a_row_that_others_have_stays),
        T(the_sweep_waits_for_the_ledger),
        T(a_row_that_goes_is_not_counted_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
