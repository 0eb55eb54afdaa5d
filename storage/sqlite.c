/* SQLite behind db.h: handles, transactions, checkpoints. */
#include "storage/sqlite.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "storage/object.h"

enum {
    READ_LIMIT_US = 100 * 1000, /* a longer read keeps the WAL from being reset */
    READ_BUSY_MS = 100,
    PROGRESS_OPS = 2000 /* about 20 µs of work */
};

/* The WAL keeps 64 MB when it is reset, so the usual run overwrites blocks that are there already.
 * secure_delete is on in Debian's build and doubles the pages a delete touches; FAST overwrites
 * only what is written anyway. A cache of 16 MB instead of 8 is no faster (measured: submits and
 * whole jobs, 150,000 waiting). */
static const char WRITER_SETUP[] =
    "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=OFF; PRAGMA mmap_size=0;"
    "PRAGMA wal_autocheckpoint=0; PRAGMA journal_size_limit=67108864;"
    "PRAGMA cache_size=-8192; PRAGMA temp_store=MEMORY; PRAGMA secure_delete=FAST;";
static const char READER_SETUP[] =
    "PRAGMA query_only=ON; PRAGMA foreign_keys=OFF; PRAGMA mmap_size=0;"
    "PRAGMA cache_size=-4096; PRAGMA temp_store=MEMORY;";

static kv_err error_of(kv_db *db, int rc)
{
    switch (rc & 0xff) {
    case SQLITE_FULL:
        return KV_E_DISK_FULL;
    case SQLITE_NOMEM:
        return KV_E_NO_MEMORY;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_INTERRUPT:
        return KV_E_BUSY;
    case SQLITE_IOERR: {
        if (rc == SQLITE_IOERR_NOMEM)
            return KV_E_NO_MEMORY;
        if (rc == SQLITE_IOERR_FSYNC)
            return KV_E_IO; /* all was written, so it may be found later, whatever the reason */
        int e = db && db->handle ? sqlite3_system_errno(db->handle) : 0;
        return e == ENOSPC || e == EDQUOT || e == EFBIG ? KV_E_DISK_FULL : KV_E_IO;
    }
    case SQLITE_CANTOPEN:
        return kv_sqlite_not_opened() ? kv_err_from_errno(kv_sqlite_not_opened()) : KV_E_DB;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return KV_E_DB_DAMAGED;
    default:
        return KV_E_DB;
    }
}

kv_err kv_sqlite_fail(kv_db *db, int rc, const char *sql)
{
    kv_err err = error_of(db, rc);
    if (err == KV_E_DB_DAMAGED)
        kv_sqlite_damaged();
    const char *text = db && db->handle ? sqlite3_errmsg(db->handle) : sqlite3_errstr(rc);
    kv_slice statement = kv_slice_str(sql);
    if (statement.len > 500)
        statement.len = 500;
    kv_log(err == KV_E_BUSY ? KV_LOG_WARN : KV_LOG_ERROR, "db_error", KV_ERRNAME("code", err),
           KV_I64("sqlite", rc), KV_STR("text", text), KV_SLICE("statement", statement));
    if (db && db->in_transaction && sqlite3_get_autocommit(db->handle))
        db->lost = err;
    return err;
}

/* ---- open and close ---- */

static void configure_once(void)
{
    /* Memory statistics take a process-wide mutex on each allocation. Refused harmlessly if SQLite
     * runs already. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    kv_sqlite_open_our_way();
}

void kv_sqlite_read_begins(kv_db *db)
{
    if (db->mode == KV_DB_READ && db->open_stmts == 0 && !db->in_transaction)
        db->read_until_us = kv_mono_us(&kv_clock_real) + READ_LIMIT_US;
}

static int read_went_too_long(void *arg)
{
    const kv_db *db = arg;
    return kv_mono_us(&kv_clock_real) > db->read_until_us;
}

static kv_err open_handle(const char *path, int flags, kv_db_mode mode, kv_db **ret)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, configure_once);
    kv_db *db = calloc(1, sizeof *db);
    if (!db)
        return KV_E_NO_MEMORY;
    db->mode = mode;
    bool in_memory = strcmp(path, ":memory:") == 0;
    db->path = in_memory ? NULL : strdup(path);
    if (!db->path && !in_memory) {
        free(db);
        return KV_E_NO_MEMORY;
    }
    int rc = sqlite3_open_v2(path, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                             NULL);
    if (rc != SQLITE_OK) {
        kv_err err = kv_sqlite_fail(db, rc, "open");
        assert(err != KV_OK);
        kv_db_close(&db);
        return err;
    }
    sqlite3_busy_timeout(db->handle, KV_SQLITE_WRITE_BUSY_MS);
    *ret = db;
    return KV_OK;
}

bool kv_sqlite_path(const kv_config *cfg, const char *name, kv_buf *out)
{
    kv_buf_init(out, 0);
    kv_buf_adds(out, cfg->data);
    kv_buf_addc(out, '/');
    kv_buf_adds(out, name);
    return kv_buf_ok(out);
}

static kv_err setup_writer(kv_db *db, const kv_config *cfg)
{
    bool relaxed = kv_slice_is(kv_slice_str(cfg->durability), "relaxed");
    KV_TRY(kv_sqlite_check_ours(db));
    KV_TRY(kv_db_exec(db, WRITER_SETUP));
    kv_sqlite_watch_wal(db); /* after wal_autocheckpoint, which takes the hook */
    return kv_db_exec(db, relaxed ? "PRAGMA synchronous=NORMAL" : "PRAGMA synchronous=FULL");
}

/* A database whose tables are not there yet is one that does not exist yet. */
static kv_err setup_reader(kv_db *db)
{
    /* The last handle to close would copy the WAL into the database: that is the broker's work. */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    KV_TRY(kv_sqlite_check_ours(db));
    KV_TRY(kv_db_exec(db, READER_SETUP));
    int version = 0;
    KV_TRY(kv_db_version(db, &version));
    if (version > kv_db_schema_version())
        return KV_E_SCHEMA_NEWER;
    if (version < kv_db_schema_version())
        return KV_E_NOT_FOUND;
    sqlite3_busy_timeout(db->handle, READ_BUSY_MS);
    sqlite3_progress_handler(db->handle, PROGRESS_OPS, read_went_too_long, db);
    kv_sqlite_learn_place(db);
    return KV_OK;
}

kv_err kv_db_open(const kv_config *cfg, kv_db_mode mode, kv_db **ret)
{
    *ret = NULL;
    if (!kv_config_sqlite(cfg))
        return KV_E_UNSUPPORTED;
    kv_buf path;
    kv_db *db = NULL;
    kv_err err = KV_E_NO_MEMORY;
    if (!kv_sqlite_path(cfg, "kervan.db", &path))
        goto done;
    struct stat st;
    bool there = stat(path.data, &st) == 0;
    if (mode == KV_DB_READ && !there) {
        err = kv_err_from_errno(errno);
        goto done;
    }
    if (mode == KV_DB_WRITE && (!there || st.st_size == 0) && kv_store_outlived(cfg)) {
        err = KV_E_DB_MISSING;
        goto done;
    }
    if (mode == KV_DB_WRITE && mkdir(cfg->data, 0755) != 0 && errno != EEXIST) {
        err = kv_err_from_errno(errno);
        kv_log(KV_LOG_ERROR, "data_folder", KV_STR("path", cfg->data),
               KV_STR("error", strerror(errno)));
        goto done;
    }
    /* A reader opens read-write too: the first one after a crash must be able to make the -shm file
     * and recover. */
    int flags = SQLITE_OPEN_READWRITE | (mode == KV_DB_WRITE ? SQLITE_OPEN_CREATE : 0);
    err = open_handle(path.data, flags, mode, &db);
    if (err == KV_OK)
        err = mode == KV_DB_WRITE ? setup_writer(db, cfg) : setup_reader(db);
    if (err == KV_OK) {
        *ret = db;
        db = NULL;
    }
done:
    kv_db_close(&db);
    kv_buf_release(&path);
    return err;
}

kv_err kv_db_open_memory(kv_db **ret)
{
    *ret = NULL;
    kv_db *db = NULL;
    kv_err err =
        open_handle(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, KV_DB_WRITE, &db);
    if (err == KV_OK)
        err = kv_db_migrate(db, NULL, NULL);
    if (err == KV_OK) {
        *ret = db;
        db = NULL;
    }
    kv_db_close(&db);
    return err;
}

void kv_db_close(kv_db **dbp)
{
    kv_db *db = *dbp;
    if (!db)
        return;
    kv_sqlite_cache_release(db);
    sqlite3_close_v2(db->handle);
    free(db->path);
    free(db);
    *dbp = NULL;
}

/* ---- transactions ---- */

/* A cached statement without parameters or rows. */
static kv_err run(kv_db *db, const char *sql)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, sql, &s));
    bool row;
    kv_err err = kv_db_step(s, &row);
    kv_db_done(s);
    return err;
}

kv_err kv_db_exec(kv_db *db, const char *sql)
{
    if (db->lost != KV_OK)
        return db->lost;
    kv_sqlite_read_begins(db);
    int rc = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return rc == SQLITE_OK ? KV_OK : kv_sqlite_fail(db, rc, sql);
}

kv_err kv_db_begin(kv_db *db)
{
    bool writes = db->mode == KV_DB_WRITE;
    if (writes)
        KV_TRY(kv_sqlite_in_place(db));
    KV_TRY(run(db, writes ? "BEGIN IMMEDIATE" : "BEGIN"));
    db->in_transaction = true;
    if (writes && !db->knows_place)
        kv_sqlite_learn_place(db);
    return KV_OK;
}

kv_err kv_db_commit(kv_db *db)
{
    db->read_until_us = INT64_MAX; /* the read is over */
    kv_err err = run(db, "COMMIT");
    if (err == KV_OK)
        db->in_transaction = false;
    return err;
}

void kv_db_rollback(kv_db *db)
{
    db->lost = KV_OK;
    db->read_until_us = INT64_MAX;
    /* After a full disk and the like SQLite has rolled back by itself. */
    if (!sqlite3_get_autocommit(db->handle))
        (void)run(db, "ROLLBACK");
    db->in_transaction = false;
}
