/* What lies at kervan.db: another program's database, a backup beside an old log, a file that is
 * taken away under the running program, a damaged one. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "storage/backup.h"
#include "storage/db.h"
#include "tests/unit/db_rig.h"

static bool on_btrfs;
static char flagged[1024]; /* names of files that got FS_NOCOW_FL while they were empty */

/* In the place of libc's. */
int fstatfs(int fd, struct statfs *ret)
{
    int rc = (int)syscall(SYS_fstatfs, fd, ret);
    if (on_btrfs)
        ret->f_type = BTRFS_SUPER_MAGIC;
    return rc;
}

int ioctl(int fd, unsigned long request, ...)
{
    char self[64], path[512];
    struct stat st;
    va_list args;
    va_start(args, request);
    int *flags = va_arg(args, int *);
    va_end(args);
    if (request == FS_IOC_GETFLAGS) {
        *flags = 0;
        return 0;
    }
    assert_true(request == FS_IOC_SETFLAGS && *flags == FS_NOCOW_FL);
    assert_true(fstat(fd, &st) == 0 && st.st_size == 0);
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(self, path, sizeof path - 1);
    assert_true(n > 0);
    path[n] = '\0';
    strncat(flagged, strrchr(path, '/'), sizeof flagged - strlen(flagged) - 1);
    return 0;
}

static kv_err write_epoch(kv_db *db)
{
    KV_TRY(kv_db_begin(db));
    KV_TRY(kv_db_exec(db, "UPDATE counter SET value = value + 1 WHERE name = 'epoch'"));
    return kv_db_commit(db);
}

static int64_t epoch(kv_db *db)
{
    kv_stmt *s;
    bool row;
    OK(kv_db_prepare(db, "SELECT value FROM counter WHERE name = 'epoch'", &s));
    OK(kv_db_step(s, &row));
    int64_t v = row ? kv_col_i64(s, 0) : -1;
    kv_db_done(s);
    return v;
}

/* Nothing is written into it, whatever version it says. */
static void another_programs_database(void **state)
{
    static const unsigned char versions[] = {0, 3, 99};
    scratch *s = *state;
    kv_db *db;
    OK(kv_db_open(&s->cfg, KV_DB_WRITE, &db));
    OK(kv_db_exec(db, "CREATE TABLE theirs (a); PRAGMA journal_mode=DELETE"));
    kv_db_close(&db);
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        unsigned char head[20], version[4] = {0, 0, 0, versions[i]};
        int fd = open(scratch_path(s, "kervan.db"), O_RDWR);
        assert_int_equal(pwrite(fd, version, sizeof version, 60), sizeof version);
        assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_DB_OTHER);
        assert_null(db);
        assert_int_equal(pread(fd, head, sizeof head, 0), sizeof head);
        assert_int_equal(head[18], 1); /* not even its journal mode */
        close(fd);
    }
}

/* The mapped index would end us by SIGBUS on a full disk that copies on write. */
static void the_log_is_written_in_place_on_btrfs(void **state)
{
    scratch *s = *state;
    on_btrfs = true;
    kv_db *db = writer(s);
    OK(write_epoch(db));
    kv_db_close(&db);
    on_btrfs = false;
    assert_string_equal(flagged, "/kervan.db-wal/kervan.db-shm");
    db = writer(s);
    OK(write_epoch(db));
    kv_db_close(&db);
    assert_string_equal(flagged, "/kervan.db-wal/kervan.db-shm"); /* elsewhere it is not asked */
}

static void what_hinders_opening_is_named(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    struct rlimit enough, none = {.rlim_cur = 3};
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &enough), 0);
    none.rlim_max = enough.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
    kv_err err = kv_db_open(&s->cfg, KV_DB_READ, &reader);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &enough), 0);
    assert_int_equal(err, KV_E_NO_MEMORY);
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    kv_db_close(&reader);
    kv_db_close(&db);
}

static bool go_on(void *arg, kv_backup_step step, int64_t done, int64_t total)
{
    (void)arg, (void)step, (void)done, (void)total;
    return true;
}

/* SQLite would copy the log of the database that was there before over the backup. */
static void a_backup_beside_an_old_log(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s);
    kv_backup_end end;
    char copy[1024];
    int status;
    OK(write_epoch(db));
    snprintf(copy, sizeof copy, "%s", scratch_path(s, "copy.db"));
    OK(kv_db_backup(&s->cfg, copy, go_on, NULL, &end));
    kv_db_close(&db);
    pid_t pid = fork();
    if (pid == 0) {
        if (kv_db_open(&s->cfg, KV_DB_WRITE, &db) != KV_OK || write_epoch(db) != KV_OK)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(rename(copy, scratch_path(s, "kervan.db")), 0);
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_DB_OTHER);
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_READ, &db), KV_E_DB_OTHER);
    assert_int_equal(unlink(scratch_path(s, "kervan.db-wal")), 0);
    db = writer(s);
    assert_int_equal(epoch(db), 1001); /* a backup counts on far ahead */
    kv_db_close(&db);
}

/* What would be written is nowhere once the process ends. */
static void files_taken_away_under_the_writer(void **state)
{
    static const char *const files[] = {"kervan.db", "kervan.db-wal", "kervan.db-shm"};
    scratch *s = *state;
    kv_db *db = writer(s);
    char away[1024];
    kv_backup_end end;
    OK(write_epoch(db));
    snprintf(away, sizeof away, "%s", scratch_path(s, "away"));
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        for (int other = 0; other < 2; other++) { /* not there, and another one */
            assert_int_equal(rename(scratch_path(s, files[i]), away), 0);
            if (other)
                close(open(scratch_path(s, files[i]), O_CREAT | O_WRONLY, 0644));
            assert_int_equal(kv_db_in_place(db), KV_E_DB_MOVED);
            assert_int_equal(kv_db_begin(db), KV_E_DB_MOVED);
            assert_int_equal(kv_db_state(), KV_E_DB_MOVED);
            assert_int_equal(kv_db_backup(&s->cfg, scratch_path(s, "copy.db"), go_on, NULL, &end),
                             KV_E_DB_MOVED);
            assert_int_equal(rename(away, scratch_path(s, files[i])), 0);
            OK(write_epoch(db));
            OK(kv_db_state());
        }
    }
    assert_int_equal(epoch(db), 7);
    kv_db_close(&db);
}

static void a_reader_lets_go_of_a_replaced_database(void **state)
{
    scratch *s = *state;
    kv_db *db = writer(s), *reader;
    char old[1024];
    OK(write_epoch(db));
    kv_db_close(&db);
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    snprintf(old, sizeof old, "%s", scratch_path(s, "old"));
    assert_int_equal(rename(scratch_path(s, "kervan.db"), old), 0);
    unlink(scratch_path(s, "kervan.db-wal"));
    unlink(scratch_path(s, "kervan.db-shm"));
    db = writer(s);
    assert_int_equal(epoch(reader), 1);
    kv_db_close_moved(&reader);
    assert_null(reader);
    OK(kv_db_open(&s->cfg, KV_DB_READ, &reader));
    assert_int_equal(epoch(reader), 0);
    kv_db_close_moved(&reader); /* it is in its place */
    assert_non_null(reader);
    kv_db_close(&reader);
    kv_db_close(&db);
}

/* Known from then on, whoever met it. */
static void damage_is_remembered(void **state)
{
    static const char noise[4096] = "noise";
    scratch *s = *state;
    kv_db *db = writer(s);
    OK(write_epoch(db));
    kv_db_close(&db);
    OK(kv_db_state());
    struct stat st;
    int fd = open(scratch_path(s, "kervan.db"), O_RDWR);
    assert_int_equal(fstat(fd, &st), 0);
    for (off_t at = sizeof noise; at < st.st_size; at += (off_t)sizeof noise)
        assert_int_equal(pwrite(fd, noise, sizeof noise, at), sizeof noise);
    close(fd);
    assert_int_equal(kv_db_open(&s->cfg, KV_DB_WRITE, &db), KV_E_DB_DAMAGED);
    assert_int_equal(kv_db_state(), KV_E_DB_DAMAGED);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, make, drop)
    const struct CMUnitTest tests[] = {
        T(another_programs_database),
        T(the_log_is_written_in_place_on_btrfs),
        T(what_hinders_opening_is_named),
        T(a_backup_beside_an_old_log),
        T(files_taken_away_under_the_writer),
        T(a_reader_lets_go_of_a_replaced_database),
        T(damage_is_remembered),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
