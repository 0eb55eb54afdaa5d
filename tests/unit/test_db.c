/* The database driver: migrations, statements, transactions, readers beside the writer, a full
 * disk. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "storage/db.h"
#include "tests/unit/db_rig.h"

static int64_t one_number(kv_db *db, const char *sql)
{
    kv_stmt *s;
    bool row;
    OK(kv_db_prepare(db, sql, &s));
    OK(kv_db_step(s, &row));
    int64_t v = row ? kv_col_i64(s, 0) : -1;
    kv_db_done(s);
    return v;
}

/* S0-39 S0-65 S0-85 */
static void migrates_once(void **state)
{
    scratch *s = *state;
    kv_db *db;
    int from = -1, to = -1;
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &db));
    OK(kv_db_migrate(db, &from, &to));
    assert_int_equal(from, 0);
    assert_int_equal(to, kv_db_schema_version());
    OK(kv_db_migrate(db, &from, &to));
    assert_int_equal(from, to);
    assert_int_equal(one_number(db, "SELECT count(*) FROM counter WHERE name = 'epoch'"), 1);
    kv_db_close(&db);
    assert_null(db);
}

static void refuses_a_newer_schema(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    OK(kv_db_exec(db, "PRAGMA user_version=9999"));
    assert_int_equal(kv_db_migrate(db, NULL, NULL), KV_E_SCHEMA_NEWER);
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_READ, &reader), KV_E_SCHEMA_NEWER);
    assert_null(reader);
    kv_db_close(&db);
}

static void reader_waits_for_the_schema(void **state)
{
    scratch *s = *state;
    kv_db *db, *reader;
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_READ, &reader), KV_E_NOT_FOUND);
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &db));
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_READ, &reader), KV_E_NOT_FOUND);
    OK(kv_db_migrate(db, NULL, NULL));
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    kv_db_close(&reader);
    kv_db_close(&db);
}

static void binds_by_number_not_by_appearance(void **state)
{
    (void)state;
    kv_db *db;
    kv_stmt *s;
    bool row;
    OK(kv_db_open_memory(&db));
    OK(kv_db_prepare(db, "SELECT $2, $1, $3, $2, $4", &s));
    kv_bind_i64(s, 1, 11);
    kv_bind_str(s, 2, kv_slice_str("two"));
    kv_bind_null(s, 3);
    kv_bind_blob(s, 4, kv_slice_of("\0\1", 2));
    OK(kv_db_step(s, &row));
    assert_true(row);
    assert_true(kv_slice_is(kv_col_str(s, 0), "two"));
    assert_int_equal(kv_col_i64(s, 1), 11);
    assert_true(kv_col_null(s, 2));
    assert_null(kv_col_str(s, 2).ptr);
    assert_true(kv_slice_is(kv_col_str(s, 3), "two"));
    assert_int_equal(kv_col_blob(s, 4).len, 2);
    OK(kv_db_step(s, &row));
    assert_false(row);
    kv_db_done(s);
    assert_int_equal(kv_db_prepare(db, "SELECT nothing FROM nowhere", &s), KV_E_DB);
    assert_null(s);
    kv_db_close(&db);
}

static void a_statement_may_be_used_inside_its_own_loop(void **state)
{
    (void)state;
    kv_db *db;
    kv_stmt *outer, *inner;
    bool row;
    static const char sql[] = "SELECT name FROM counter ORDER BY name";
    OK(kv_db_open_memory(&db));
    OK(kv_db_prepare(db, sql, &outer));
    OK(kv_db_step(outer, &row));
    OK(kv_db_prepare(db, sql, &inner));
    assert_ptr_not_equal(outer, inner);
    OK(kv_db_step(inner, &row));
    OK(kv_db_step(inner, &row));
    assert_true(kv_slice_is(kv_col_str(outer, 0), "epoch"));
    assert_true(kv_slice_is(kv_col_str(inner, 0), "gone_seq"));
    kv_db_done(inner);
    kv_db_done(outer);
    OK(kv_db_prepare(db, sql, &inner));
    assert_ptr_equal(outer, inner);
    kv_db_done(inner);
    kv_db_close(&db);
}

static void the_cache_grows(void **state)
{
    (void)state;
    kv_db *db;
    static char sql[300][32];
    OK(kv_db_open_memory(&db));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 300; i++) {
            snprintf(sql[i], sizeof sql[i], "SELECT %d", i);
            assert_int_equal(one_number(db, sql[i]), i);
        }
    }
    kv_db_close(&db);
}

static void transactions(void **state)
{
    (void)state;
    kv_db *db;
    OK(kv_db_open_memory(&db));
    OK(kv_db_begin(db));
    OK(kv_db_exec(db, "INSERT INTO counter VALUES ('a', 1)"));
    OK(kv_db_exec(db, "INSERT INTO counter VALUES ('c', 1)"));
    OK(kv_db_commit(db));
    assert_int_equal(one_number(db, "SELECT count(*) FROM counter WHERE name IN ('a','c')"), 2);
    OK(kv_db_begin(db));
    OK(kv_db_exec(db, "UPDATE counter SET value = 9 WHERE name IN ('a','c')"));
    assert_int_equal(kv_db_changes(db), 2);
    kv_db_rollback(db);
    assert_int_equal(one_number(db, "SELECT count(*) FROM counter WHERE value = 9"), 0);
    kv_db_rollback(db); /* without a transaction: nothing */
    kv_db_close(&db);
}

static void a_reader_sees_one_snapshot_beside_the_writer(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    OK(kv_db_begin(reader));
    assert_int_equal(one_number(reader, "SELECT value FROM counter WHERE name = 'epoch'"), 0);
    OK(kv_db_exec(db, "UPDATE counter SET value = 7 WHERE name = 'epoch'"));
    assert_int_equal(one_number(reader, "SELECT value FROM counter WHERE name = 'epoch'"), 0);
    OK(kv_db_commit(reader));
    assert_int_equal(one_number(reader, "SELECT value FROM counter WHERE name = 'epoch'"), 7);
    assert_int_equal(kv_db_exec(reader, "UPDATE counter SET value = 8"), KV_E_DB);
    kv_db_close(&reader);
    kv_db_close(&db);
}

static void put(const scratch *s, const char *name)
{
    int fd = open(scratch_path(s, name), O_CREAT | O_WRONLY, 0644);
    assert_true(fd >= 0);
    close(fd);
}

/* A database beside media is not begun anew: it was lost. */
static void media_without_a_database(void **state)
{
    scratch *s = *state;
    kv_db *db;
    char also[1024], backed_up[1024];
    struct stat st;
    static const char *const folders[] = {"media", "media/.tmp", "media/a", "media/a/b"};
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
        assert_int_equal(mkdir(scratch_path(s, folders[i]), 0775), 0);
    put(s, "media/.keep");  /* no object */
    put(s, "media/.tmp/1"); /* an upload that nobody confirmed, linked to its key */
    snprintf(also, sizeof also, "%s/media/a/b/x.png", s->dir);
    assert_int_equal(link(scratch_path(s, "media/.tmp/1"), also), 0);
    db = writer(s);
    kv_db_close(&db);

    unlink(scratch_path(s, "media/.tmp/1"));
    db = writer(s); /* there are both */
    kv_db_close(&db);
    unlink(scratch_path(s, "kervan.db"));
    for (int i = 0; i < 2; i++) { /* not there, and empty */
        assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_DB_MISSING);
        assert_null(db);
        assert_int_equal(stat(scratch_path(s, "kervan.db"), &st), i - 1);
        put(s, "kervan.db");
    }
    assert_int_equal(stat(scratch_path(s, "kervan.db"), &st), 0);
    assert_int_equal(st.st_size, 0);
    /* "cp -al" of the media, say */
    snprintf(backed_up, sizeof backed_up, "%s/backed-up.png", s->dir);
    assert_int_equal(link(also, backed_up), 0);
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_DB_MISSING);
    unlink(also);
    db = writer(s);
    kv_db_close(&db);
}

/* The writer dies without closing: what was committed is there for a reader that comes first. */
static void a_reader_recovers_after_a_crash(void **state)
{
    scratch *s = *state;
    pid_t pid = fork();
    if (pid == 0) {
        kv_db *db;
        if (kv_db_open(&s->cfg, KV_DB_WRITE, &db) != KV_OK ||
            kv_db_migrate(db, NULL, NULL) != KV_OK ||
            kv_db_exec(db, "UPDATE counter SET value = 5 WHERE name = 'epoch'") != KV_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(kv_db_wal_bytes(&s->cfg) > 0);
    unlink(scratch_path(s, "kervan.db-shm"));
    kv_db *reader;
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    assert_int_equal(one_number(reader, "SELECT value FROM counter WHERE name = 'epoch'"), 5);
    kv_db_close(&reader);
    assert_true(kv_db_wal_bytes(&s->cfg) > 0); /* a reader never checkpoints */
}

static void a_long_read_is_interrupted(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    kv_stmt *st;
    bool row;
    static const char forever[] =
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    int64_t start = kv_mono_us(&kv_clock_real);
    OK(kv_db_begin(reader));
    OK(kv_db_prepare(reader, forever, &st));
    assert_int_equal(kv_db_step(st, &row), KV_E_BUSY);
    kv_db_done(st);
    kv_db_rollback(reader);
    int64_t took = kv_mono_us(&kv_clock_real) - start;
    assert_in_range(took, 100000, 2000000);
    OK(kv_db_prepare(reader, forever, &st));
    assert_int_equal(kv_db_step(st, &row), KV_E_BUSY);
    kv_db_done(st);
    assert_int_equal(one_number(reader, "SELECT count(*) FROM counter WHERE name = 'epoch'"),
                     1); /* usable again */
    kv_db_close(&reader);
    kv_db_close(&db);
}

static void checkpoints(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *other;
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &other));
    OK(kv_db_exec(db, "CREATE TABLE big (x BLOB); INSERT INTO big VALUES (zeroblob(1000000))"));
    assert_true(kv_db_wal_bytes(&s->cfg) > 1000000);
    OK(kv_db_checkpoint(other, true, NULL));
    OK(kv_db_begin(db));
    OK(kv_db_checkpoint(other, true, NULL)); /* passive: also beside an open transaction */
    OK(kv_db_commit(db));
    OK(kv_db_checkpoint(db, false, NULL));
    struct stat st;
    assert_int_equal(stat(scratch_path(s, "kervan.db"), &st), 0);
    assert_true(st.st_size > 1000000);
    int64_t before = kv_db_wal_bytes(&s->cfg);
    assert_true(kv_db_wal_used(db) > 1000000);
    OK(kv_db_exec(db, "UPDATE counter SET value = 1 WHERE name = 'epoch'"));
    assert_int_equal(kv_db_wal_bytes(&s->cfg), before); /* started over */
    assert_true(kv_db_wal_used(db) < 20000);
    kv_db_close(&other);
    kv_db_close(&db);
}

/* Who reads for ever (somebody's sqlite3) is not waited for: the ledger stands still meanwhile. */
static void checkpoint_beside_a_long_read(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    OK(kv_db_begin(reader));
    (void)one_number(reader, "SELECT count(*) FROM counter");
    OK(kv_db_exec(db, "UPDATE counter SET value = 1 WHERE name = 'epoch'"));
    int64_t begun = kv_mono_ms(&kv_clock_real);
    assert_int_equal(kv_db_checkpoint(db, false, NULL), KV_E_BUSY);
    assert_true(kv_mono_ms(&kv_clock_real) - begun < 4000);
    kv_db_rollback(reader);
    OK(kv_db_checkpoint(db, false, NULL));
    kv_db_close(&reader);
    kv_db_close(&db);
}

/* Zeros behind the frames: no frames to whoever reads the log, and room for those that come. */
static void room_in_the_log(void **state)
{
    scratch *s = *state;
    int64_t copied = 0;
    pid_t pid = fork();
    if (pid == 0) { /* dies with a log: the next one recovers it */
        kv_db *db;
        if (kv_db_open(&s->cfg, KV_DB_WRITE, &db) != KV_OK ||
            kv_db_migrate(db, NULL, NULL) != KV_OK || kv_db_wal_extend(db, 1 << 20) != KV_OK ||
            kv_db_exec(db, "UPDATE counter SET value = 7 WHERE name = 'epoch'") != KV_OK ||
            kv_db_wal_extend(db, 2 << 20) != KV_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_true(kv_db_wal_bytes(&s->cfg) >= 2 << 20);
    kv_db *db;
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &db));
    assert_int_equal(one_number(db, "SELECT value FROM counter WHERE name = 'epoch'"), 7);
    OK(kv_db_exec(db, "UPDATE counter SET value = 8 WHERE name = 'epoch'"));
    int64_t before = kv_db_wal_bytes(&s->cfg);
    OK(kv_db_exec(db, "CREATE TABLE big (x BLOB); INSERT INTO big VALUES (zeroblob(1000000))"));
    assert_int_equal(kv_db_wal_bytes(&s->cfg), before); /* it had room */
    OK(kv_db_checkpoint(db, true, &copied));
    assert_int_equal(copied, kv_db_wal_used(db));
    kv_stmt *st;
    bool row;
    OK(kv_db_prepare(db, "PRAGMA integrity_check", &st));
    OK(kv_db_step(st, &row));
    assert_true(row && kv_slice_is(kv_col_str(st, 0), "ok"));
    kv_db_done(st);
    kv_db_close(&db);
}

/* The transaction is gone; nothing slips out of it one by one; after the rollback all works again.
 */
static void after_a_full_disk_the_rest_of_the_batch_is_refused(kv_db *db)
{
    kv_stmt *st;
    assert_int_equal(kv_db_prepare(db, "INSERT INTO counter VALUES ('after', 1)", &st),
                     KV_E_DISK_FULL);
    assert_int_equal(kv_db_exec(db, "INSERT INTO counter VALUES ('after', 1)"), KV_E_DISK_FULL);
    assert_int_equal(kv_db_commit(db), KV_E_DISK_FULL);
    kv_db_rollback(db);
}

static void a_full_database(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s);
    OK(kv_db_exec(db, "CREATE TABLE big (x BLOB)"));
    OK(kv_db_exec(db, "PRAGMA max_page_count=100"));
    OK(kv_db_begin(db));
    OK(kv_db_exec(db, "INSERT INTO counter VALUES ('first', 1)"));
    assert_int_equal(kv_db_exec(db, "INSERT INTO big VALUES (zeroblob(1000000))"), KV_E_DISK_FULL);
    /* Here SQLite undoes the statement only, or all: either way a rollback makes it clean. */
    kv_db_rollback(db);
    assert_int_equal(one_number(db, "SELECT count(*) FROM counter WHERE name = 'first'"), 0);
    kv_db_close(&db);
}

static void a_full_disk(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s);
    OK(kv_db_exec(db, "CREATE TABLE big (x BLOB); PRAGMA cache_size=10"));
    struct rlimit old, small = {.rlim_cur = 200000};
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    kv_err begin = kv_db_begin(db),
           first = kv_db_exec(db, "INSERT INTO counter VALUES ('first', 1)");
    kv_err full = kv_db_exec(
        db, "INSERT INTO big VALUES (zeroblob(1000000))"); /* spills: the cache is small */
    setrlimit(RLIMIT_FSIZE, &old);
    OK(begin);
    OK(first);
    assert_int_equal(full, KV_E_DISK_FULL);
    after_a_full_disk_the_rest_of_the_batch_is_refused(db);
    assert_int_equal(one_number(db, "SELECT count(*) FROM counter WHERE name = 'first'"), 0);
    OK(kv_db_begin(db));
    OK(kv_db_exec(db, "INSERT INTO big VALUES (zeroblob(1000000))"));
    OK(kv_db_commit(db));
    kv_db_close(&db);
}

static void the_url_of_sqlite(void **state)
{
    static const char *const urls[] = {"", "sqlite", "sqlite:", "sqlite://", "sqlite:///"};
    scratch *s = *state;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        s->cfg.database_url = urls[i];
        kv_db *db = writer(s);
        kv_db_close(&db);
    }
}

static void postgresql_is_refused(void **state)
{
    scratch *s = *state;
    kv_db *db;
    s->cfg.database_url = "postgres://example";
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_UNSUPPORTED);
    assert_null(db);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(migrates_once),
        T(refuses_a_newer_schema),
        T(reader_waits_for_the_schema),
        T(binds_by_number_not_by_appearance),
        T(a_statement_may_be_used_inside_its_own_loop),
        T(the_cache_grows),
        T(transactions),
        T(a_reader_sees_one_snapshot_beside_the_writer),
        T(media_without_a_database),
        T(a_reader_recovers_after_a_crash),
        T(a_long_read_is_interrupted),
        T(checkpoints),
        T(checkpoint_beside_a_long_read),
        T(room_in_the_log),
        T(a_full_database),
        T(a_full_disk),
        T(the_url_of_sqlite),
        T(postgresql_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
