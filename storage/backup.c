#include "storage/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/log.h"
#include "storage/sqlite.h"

enum {
    STEP_PAGES = 256, /* 1 MiB of 4 KiB pages */
    CHECK_OPS = 100000,
    WAL_AT = 18 /* of the file: how it is written, and read: 1 rollback journal, 2 log */
};

static const char no_wal[] = {1, 1};

/* Nobody can have been given these since: 2^53 / LEAP_EVENTS is how often a copy of a copy's copy
 * can be made before a browser's numbers end. */
#define LEAP_EVENTS "1099511627776" /* 2^40 */
#define LEAP_EPOCHS "1000"          /* starts of a broker */

static atomic_bool runs;

typedef struct backup {
    const kv_config *cfg;
    const char *path;
    kv_backup_end *end;
    kv_buf tmp;
    kv_db *from;
    sqlite3 *to;
    bool (*go_on)(void *arg, kv_backup_step step, int64_t done, int64_t total);
    void *arg;
    bool made; /* the temporary file is ours */
    int64_t pages;
} backup;

bool kv_db_backup_runs(void)
{
    return atomic_load(&runs);
}

static kv_err failed(const backup *b, kv_err err, const char *what, const char *why)
{
    kv_log(KV_LOG_WARN, "backup_failed", KV_ERRNAME("code", err), KV_STR("path", b->path),
           KV_STR("what", what), KV_STR("error", why));
    snprintf(b->end->why, sizeof b->end->why, "%s: %s", what, why);
    return err;
}

static kv_err failed_here(const backup *b, const char *what)
{
    int e = errno;
    return failed(b, e == EEXIST ? KV_E_CONFLICT : kv_err_from_errno(e), what, strerror(e));
}

static kv_err failed_for_nobody(const backup *b, const char *what)
{
    return failed(b, KV_E_CLIENT_GONE, what, "nobody waits for it");
}

static kv_err failed_copy(const backup *b, int rc, const char *what)
{
    int e = (rc & 0xff) == SQLITE_IOERR && b->to ? sqlite3_system_errno(b->to) : 0;
    if (e != 0) { /* a quota, or a file system that takes no file so large: SQLite has no word */
        errno = e;
        return failed_here(b, what);
    }
    kv_err err = (rc & 0xff) == SQLITE_FULL        ? KV_E_DISK_FULL
                 : (rc & 0xff) == SQLITE_INTERRUPT ? KV_E_CLIENT_GONE
                 : (rc & 0xff) == SQLITE_NOMEM     ? KV_E_NO_MEMORY
                 : (rc & 0xff) == SQLITE_IOERR     ? KV_E_IO
                 : (rc & 0xff) == SQLITE_CORRUPT   ? KV_E_DB_DAMAGED
                                                   : KV_E_DB;
    return failed(b, err, what, b->to ? sqlite3_errmsg(b->to) : sqlite3_errstr(rc));
}

/* ---- the place ---- */

/* The folder of `path`, "." without one; appended to `out`. */
static void add_folder(const char *path, kv_buf *out)
{
    const char *slash = strrchr(path, '/');
    if (slash)
        kv_buf_add(out, path, slash == path ? 1 : (size_t)(slash - path));
    else
        kv_buf_addc(out, '.');
}

/* A copy that fills the disk would stop the ledger as well. */
static kv_err check_space(const backup *b)
{
    kv_buf folder;
    struct statvfs fs;
    kv_buf_init(&folder, 0);
    add_folder(b->path, &folder);
    kv_err err = KV_OK;
    if (!kv_buf_ok(&folder) || statvfs(folder.data, &fs) != 0) {
        err = failed_here(b, "look at the folder");
    } else {
        int64_t room = (int64_t)fs.f_bavail * (int64_t)fs.f_frsize;
        int64_t need = b->pages * 4096 + b->cfg->disk_reserve_mb * 1024 * 1024;
        if (room < need)
            err = failed(b, KV_E_DISK_FULL, "look for space", "too little of it");
    }
    kv_buf_release(&folder);
    return err;
}

static kv_err make_tmp(backup *b)
{
    struct stat st;
    if (lstat(b->path, &st) == 0) {
        errno = EEXIST;
        return failed_here(b, "make the file");
    }
    int fd = open(b->tmp.data, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return failed_here(b, "make the temporary file");
    close(fd);
    b->made = true;
    return KV_OK;
}

static void drop_tmp(backup *b)
{
    if (b->made)
        unlink(b->tmp.data);
}

/* ---- copy and check ---- */

/* One snapshot for all: without it every commit would begin the copy anew. */
static kv_err begin_snapshot(backup *b)
{
    kv_stmt *s;
    bool row;
    if (kv_db_state() == KV_E_DB_MOVED) /* what lies there is another one */
        return KV_E_DB_MOVED;
    KV_TRY(kv_db_open(b->cfg, KV_DB_READ, &b->from));
    KV_TRY(kv_db_begin(b->from));
    KV_TRY(kv_db_prepare(b->from, "SELECT page_count FROM pragma_page_count, counter", &s));
    kv_err err = kv_db_step(s, &row);
    b->pages = err == KV_OK && row ? kv_col_i64(s, 0) : 0;
    kv_db_done(s);
    return err;
}

/* Without a journal: it is synced as a whole, and thrown away if anything fails. */
static kv_err open_copy(backup *b)
{
    int rc =
        sqlite3_open_v2(b->tmp.data, &b->to, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(b->to, "PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF", NULL, NULL,
                          NULL);
    return rc == SQLITE_OK ? KV_OK : failed_copy(b, rc, "open the copy");
}

static void close_copy(backup *b)
{
    sqlite3_close(b->to);
    b->to = NULL;
}

/* The copy says WAL in its head, as the original does; a file that is complete in itself does not.
 * SQLite would change it by way of a log and a journal beside the copy, which stay there should the
 * broker be killed meanwhile. */
static kv_err leave_wal(backup *b)
{
    close_copy(b);
    int fd = open(b->tmp.data, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && pwrite(fd, no_wal, sizeof no_wal, WAL_AT) == (ssize_t)sizeof no_wal;
    kv_err err = done ? KV_OK : failed_here(b, "copy");
    if (fd >= 0)
        close(fd);
    return err == KV_OK ? open_copy(b) : err;
}

static kv_err copy(backup *b)
{
    const struct timespec pause = {.tv_nsec = 1000000}; /* others want the disk, too */
    int rc = SQLITE_OK;
    KV_TRY(open_copy(b));
    sqlite3_backup *copying = sqlite3_backup_init(b->to, "main", b->from->handle, "main");
    if (!copying)
        return failed_copy(b, sqlite3_errcode(b->to), "open the copy");
    bool on = true;
    while (on && (rc = sqlite3_backup_step(copying, STEP_PAGES)) == SQLITE_OK) {
        int64_t total = sqlite3_backup_pagecount(copying);
        on = b->go_on(b->arg, KV_BACKUP_COPY, total - sqlite3_backup_remaining(copying), total);
        nanosleep(&pause, NULL);
    }
    int end = sqlite3_backup_finish(copying);
    if (!on)
        return failed_for_nobody(b, "copy");
    if (rc != SQLITE_DONE || end != SQLITE_OK)
        return failed_copy(b, end ? end : rc, "copy");
    return leave_wal(b);
}

static int checking(void *arg)
{
    const backup *b = arg;
    return !b->go_on(b->arg, KV_BACKUP_CHECK, b->pages, b->pages);
}

/* The database goes on behind this moment, and so do those who follow its log and hold its leases.
 * Were the copy to go on with the same numbers, after a restore they would stand for other events
 * and other leases: so it goes on far behind them. A part of the log each time: SQLite keeps the
 * keys it is to change in memory. */
static kv_err leap(backup *b)
{
    static const char first[] =
        "PRAGMA temp_store=MEMORY;"
        "UPDATE counter SET value = value + " LEAP_EPOCHS " WHERE name = 'epoch';"
        "UPDATE counter SET value = value + " LEAP_EVENTS
        " WHERE name = 'notified' AND EXISTS (SELECT 1 FROM event);"
        "CREATE TEMP TABLE newest AS SELECT max(first) AS id FROM event";
    static const char part[] =
        "UPDATE event SET first = first + " LEAP_EVENTS ", last = last + " LEAP_EVENTS
        " WHERE first IN (SELECT first FROM event WHERE first <= (SELECT id FROM newest) ORDER BY "
        "first LIMIT 10000)";
    int rc = sqlite3_exec(b->to, first, NULL, NULL, NULL);
    do {
        if (rc == SQLITE_OK)
            rc = sqlite3_exec(b->to, part, NULL, NULL, NULL);
    } while (rc == SQLITE_OK && sqlite3_changes(b->to) > 0);
    return rc == SQLITE_OK ? KV_OK : failed_copy(b, rc, "count on in the copy");
}

static kv_err check(backup *b)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(b->to, "PRAGMA integrity_check(1)", -1, &s, NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(s);
    const char *said = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(s, 0) : NULL;
    kv_err err = KV_OK;
    if (!said)
        err = failed_copy(b, rc, "check the copy");
    else if (strcmp(said, "ok") != 0)
        err = failed(b, KV_E_DB_DAMAGED, "check the copy", said);
    sqlite3_finalize(s);
    return err;
}

/* ---- the end ---- */

static kv_err sync_path(const backup *b, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC);
    kv_err err = fd >= 0 && fsync(fd) == 0 ? KV_OK : failed_here(b, "sync");
    if (fd >= 0)
        close(fd);
    return err;
}

static kv_err sync_folder(const backup *b)
{
    kv_buf folder;
    kv_buf_init(&folder, 0);
    add_folder(b->path, &folder);
    kv_err err = kv_buf_ok(&folder) ? sync_path(b, folder.data, O_RDONLY | O_DIRECTORY)
                                    : failed(b, KV_E_NO_MEMORY, "sync", "out of memory");
    kv_buf_release(&folder);
    return err;
}

/* An existing file is never replaced. FAT has no hard links, others no such rename. */
static int rename_new(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if ((errno != EINVAL && errno != ENOSYS) || link(from, to) != 0)
        return -1;
    unlink(from);
    return 0;
}

/* What is not said to be there is not there: the next try would meet it. */
static kv_err place(backup *b)
{
    struct stat st;
    KV_TRY(sync_path(b, b->tmp.data, O_RDONLY));
    if (checking(b)) /* the sync may have been long */
        return failed_for_nobody(b, "sync");
    if (stat(b->tmp.data, &st) != 0 || rename_new(b->tmp.data, b->path) != 0)
        return failed_here(b, "give it its name");
    b->end->bytes = (int64_t)st.st_size;
    b->made = false;
    kv_err err = sync_folder(b);
    if (err != KV_OK)
        unlink(b->path);
    return err;
}

static void end_snapshot(backup *b)
{
    if (b->from)
        kv_db_rollback(b->from);
    kv_db_close(&b->from);
}

static kv_err run(backup *b)
{
    kv_err err = begin_snapshot(b);
    if (err != KV_OK) /* "db_error" before it says more */
        return failed(b, err, "read the database", kv_err_info_of(err)->en);
    KV_TRY(check_space(b));
    KV_TRY(make_tmp(b));
    KV_TRY(copy(b));
    end_snapshot(b);
    sqlite3_progress_handler(b->to, CHECK_OPS, checking, b);
    KV_TRY(leap(b));
    KV_TRY(check(b));
    close_copy(b);
    return place(b);
}

kv_err kv_db_backup(const kv_config *cfg, const char *path,
                    bool (*go_on)(void *arg, kv_backup_step step, int64_t done, int64_t total),
                    void *arg, kv_backup_end *ret)
{
    bool idle = false;
    if (!atomic_compare_exchange_strong(&runs, &idle, true))
        return KV_E_BUSY;
    backup b = {.cfg = cfg, .path = path, .end = ret, .go_on = go_on, .arg = arg};
    *ret = (kv_backup_end){.bytes = 0};
    kv_buf_init(&b.tmp, 0);
    kv_buf_addf(&b.tmp, "%s.tmp", path);
    kv_err err = kv_buf_ok(&b.tmp) ? run(&b) : KV_E_NO_MEMORY;
    end_snapshot(&b);
    close_copy(&b);
    drop_tmp(&b);
    kv_buf_release(&b.tmp);
    atomic_store(&runs, false);
    if (err == KV_OK)
        kv_log(KV_LOG_INFO, "backup_done", KV_STR("path", path), KV_I64("bytes", ret->bytes));
    return err;
}
