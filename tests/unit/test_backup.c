/* The online copy of the database: one moment of it, whole, while others write. fsync is ours here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "storage/backup.h"
#include "storage/read/events.h"
#include "tests/unit/scratch.h"

#define OK(expr) assert_int_equal((expr), KV_OK)

static bool folders_fail;
static int links_fail, renames_fail; /* with this errno; 0: they do not */

/* In the place of libc's. */
int fsync(int fd)
{
    struct stat st;
    if (!folders_fail || fstat(fd, &st) != 0 || !S_ISDIR(st.st_mode))
        return (int)syscall(SYS_fsync, fd);
    errno = EIO;
    return -1;
}

int link(const char *from, const char *to)
{
    errno = links_fail;
    return links_fail ? -1 : linkat(AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    errno = renames_fail;
    return renames_fail ? -1 : (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
}

typedef struct rig {
    scratch s;
    kv_db *db;
    int calls, end_after; /* 0: never */
    bool second_refused;
    char path[320];
} rig;

static int make(void **state)
{
    static rig r;
    memset(&r, 0, sizeof r);
    scratch_make(&r.s);
    snprintf(r.path, sizeof r.path, "%s/copy.db", r.s.dir);
    *state = &r;
    if (kv_db_open(&r.s.cfg, KV_DB_WRITE, &r.db) != KV_OK ||
        kv_db_migrate(r.db, NULL, NULL) != KV_OK)
        return -1;
    return kv_db_exec(r.db, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE "
                            "i < 4000) INSERT INTO job (id, service, lane, state, seq, "
                            "max_attempts, created_at, updated_at, params) SELECT i, 1, 1, 0, i, "
                            "3, 1, 1, hex(zeroblob(600)) FROM n") == KV_OK
               ? 0
               : -1;
}

static int drop(void **state)
{
    rig *r = *state;
    kv_db_close(&r->db);
    scratch_remove(&r->s);
    return 0;
}

/* Each step somebody writes: without a snapshot the copy would begin anew and never end. */
static bool go_on(void *arg, kv_backup_step step, int64_t done, int64_t total)
{
    rig *r = arg;
    kv_backup_end end;
    assert_true(kv_db_backup_runs());
    assert_true(done >= 0 && done <= total);
    if (step == KV_BACKUP_COPY)
        OK(kv_db_exec(r->db, "INSERT INTO event (first, last, at, body) SELECT "
                             "ifnull(max(first), 0) + 1, ifnull(max(first), 0) + 1, 1, '[]' FROM "
                             "event"));
    if (r->calls++ == 0)
        r->second_refused = kv_db_backup(&r->s.cfg, "/nonexistent/x", go_on, r, &end) == KV_E_BUSY;
    return r->end_after == 0 || r->calls < r->end_after;
}

static int64_t count(kv_db *db, const char *sql)
{
    kv_stmt *s;
    bool row;
    OK(kv_db_prepare(db, sql, &s));
    OK(kv_db_step(s, &row));
    int64_t n = kv_col_i64(s, 0);
    kv_db_done(s);
    return n;
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static void a_copy_of_one_moment(void **state)
{
    rig *r = *state;
    char folder[300], name[320];
    kv_backup_end end;
    struct stat st;
    OK(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end));
    assert_true(r->calls > 3 && r->second_refused);
    assert_false(kv_db_backup_runs());
    assert_int_equal(stat(r->path, &st), 0);
    assert_int_equal(st.st_size, end.bytes);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_true(count(r->db, "SELECT count(*) FROM event") > 3);
    /* restored: put as kervan.db into a folder of its own */
    snprintf(folder, sizeof folder, "%s/restored", r->s.dir);
    snprintf(name, sizeof name, "%s/kervan.db", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    assert_int_equal(rename(r->path, name), 0);
    kv_config cfg = r->s.cfg;
    kv_db *copy = NULL;
    cfg.data = folder;
    OK(kv_db_open(&cfg, KV_DB_READ, &copy));
    assert_int_equal(count(copy, "SELECT count(*) FROM job"), 4000);
    assert_int_equal(count(copy, "SELECT count(*) FROM event"), 0);
    kv_db_close(&copy);
    assert_false(exists(scratch_path(&r->s, "copy.db-wal")));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp-wal")));
}

static bool to_the_end(void *arg, kv_backup_step step, int64_t done, int64_t total)
{
    return (void)arg, (void)step, done <= total;
}

static bool on_event(void *arg, uint64_t first, uint64_t last, kv_slice json_array)
{
    (void)json_array;
    ((uint64_t *)arg)[0] += last - first + 1;
    return true;
}

/* What the database gives after this moment the copy must not give again after a restore: neither
 * the ids of events, which followers ask from, nor epochs, which leases are told apart by. */
static void a_copy_counts_on_far_ahead(void **state)
{
    rig *r = *state;
    char folder[300];
    kv_backup_end end;
    uint64_t n = 0, newest, leap = UINT64_C(1) << 40;
    kv_config cfg = r->s.cfg;
    kv_db *copy = NULL;
    OK(kv_db_exec(r->db, "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE "
                         "i < 25000) INSERT INTO event SELECT 101 + 2 * i, 102 + 2 * i, 1, '[]' "
                         "FROM n; UPDATE counter SET value = 5 WHERE name = 'epoch';"
                         "UPDATE counter SET value = 50000 WHERE name = 'notified'"));
    snprintf(folder, sizeof folder, "%s/restored", r->s.dir);
    snprintf(r->path, sizeof r->path, "%s/kervan.db", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    OK(kv_db_backup(&r->s.cfg, r->path, to_the_end, r, &end));
    cfg.data = folder;
    OK(kv_db_open(&cfg, KV_DB_READ, &copy));
    assert_int_equal(count(copy, "SELECT value FROM counter WHERE name = 'epoch'"), 1005);
    assert_int_equal(count(copy, "SELECT value FROM counter WHERE name = 'notified'"),
                     leap + 50000);
    OK(kv_events_last(copy, &newest));
    assert_int_equal(newest, leap + 50102);
    /* the log is whole, and reaches back to none of the old ids, nor to those given since */
    OK(kv_events_after(copy, leap + 100, 100000, on_event, &n));
    assert_int_equal(n, 50002);
    static const uint64_t olds[] = {1, 100, 50102, 50103, 1000000};
    for (size_t i = 0; i < sizeof olds / sizeof *olds; i++)
        assert_int_equal(kv_events_after(copy, olds[i], 1, on_event, &n), KV_E_NOT_FOUND);
    kv_db_close(&copy);
    assert_int_equal(count(r->db, "SELECT max(last) FROM event"), 50102); /* here it stays */
}

/* Not even for a moment: whoever is killed then would leave them, and SQLite takes a journal that
 * lies beside a database for its own. */
static void nothing_else_is_made_beside_it(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    _Alignas(struct inotify_event) char news[4096];
    int watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(watch >= 0 && inotify_add_watch(watch, r->s.dir, IN_CREATE) >= 0);
    OK(kv_db_backup(&r->s.cfg, r->path, to_the_end, r, &end));
    ssize_t n = read(watch, news, sizeof news);
    close(watch);
    for (ssize_t i = 0; i < n;) {
        const struct inotify_event *made = (const void *)(news + i);
        if (strncmp(made->name, "copy.db", 7) == 0 && strcmp(made->name, "copy.db") != 0)
            assert_string_equal(made->name, "copy.db.tmp");
        i += (ssize_t)(sizeof *made + made->len);
    }
    assert_true(n > 0);
}

static void nothing_is_replaced(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    fclose(fopen(r->path, "w"));
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_CONFLICT);
    unlink(r->path);
    fclose(fopen(scratch_path(&r->s, "copy.db.tmp"), "w"));
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_CONFLICT);
    assert_true(exists(scratch_path(&r->s, "copy.db.tmp"))); /* it is somebody else's */
    assert_int_equal(kv_db_backup(&r->s.cfg, "/nonexistent/x", go_on, r, &end), KV_E_NOT_FOUND);
}

static void broken_off_nothing_is_left(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    r->end_after = 2;
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_CLIENT_GONE);
    assert_false(exists(r->path));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
}

/* Whether its name lasts is not known: it is said to have failed, and may be tried again. */
static void a_name_that_may_not_last_is_taken_back(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    folders_fail = true;
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_IO);
    folders_fail = false;
    assert_false(exists(r->path));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
    OK(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end));
}

static char said[4096];

static void listen(const char *lines, size_t len)
{
    size_t room = sizeof said - strlen(said) - 1;
    strncat(said, lines, len < room ? len : room);
}

/* ctl sends the operator to the log. */
static void a_database_that_cannot_be_read_is_said(void **state)
{
    rig *r = *state;
    char away[300];
    kv_backup_end end;
    kv_db_close(&r->db);
    snprintf(away, sizeof away, "%s/kervan.db", r->s.dir);
    assert_int_equal(unlink(away), 0);
    kv_log_divert(listen);
    kv_err err = kv_db_backup(&r->s.cfg, r->path, go_on, r, &end);
    kv_log_divert(NULL);
    assert_int_not_equal(err, KV_OK);
    assert_non_null(strstr(said, "\"backup_failed\""));
    assert_non_null(strstr(said, "\"what\":\"read the database\""));
}

static void the_disk_is_not_filled(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    r->s.cfg.disk_reserve_mb = 1 << 30; /* MiB: nobody has so much */
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_DISK_FULL);
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
}

static void nothing_left(const rig *r)
{
    assert_false(exists(r->path));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
}

/* FAT, which sticks and cameras have, has no hard links; other file systems rename only by
 * replacing. */
static void any_file_system_will_do(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    links_fail = EPERM;
    OK(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end));
    assert_int_equal(unlink(r->path), 0);
    renames_fail = EINVAL;
    assert_int_equal(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end), KV_E_IO);
    assert_string_equal(end.why, "give it its name: Operation not permitted");
    nothing_left(r);
    links_fail = 0;
    OK(kv_db_backup(&r->s.cfg, r->path, go_on, r, &end));
    assert_false(exists(scratch_path(&r->s, "copy.db.tmp")));
    renames_fail = 0;
}

static void a_disk_that_takes_no_file_so_large(void **state)
{
    rig *r = *state;
    kv_backup_end end;
    struct rlimit old, small = {.rlim_cur = 1 << 20, .rlim_max = RLIM_INFINITY};
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    kv_err err = kv_db_backup(&r->s.cfg, r->path, to_the_end, r, &end);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(err, KV_E_DISK_FULL);
    assert_string_equal(end.why, "copy: File too large");
    nothing_left(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_copy_of_one_moment, make, drop),
        cmocka_unit_test_setup_teardown(a_copy_counts_on_far_ahead, make, drop),
        cmocka_unit_test_setup_teardown(nothing_else_is_made_beside_it, make, drop),
        cmocka_unit_test_setup_teardown(nothing_is_replaced, make, drop),
        cmocka_unit_test_setup_teardown(broken_off_nothing_is_left, make, drop),
        cmocka_unit_test_setup_teardown(a_name_that_may_not_last_is_taken_back, make, drop),
        cmocka_unit_test_setup_teardown(a_database_that_cannot_be_read_is_said, make, drop),
        cmocka_unit_test_setup_teardown(the_disk_is_not_filled, make, drop),
        cmocka_unit_test_setup_teardown(any_file_system_will_do, make, drop),
        cmocka_unit_test_setup_teardown(a_disk_that_takes_no_file_so_large, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
