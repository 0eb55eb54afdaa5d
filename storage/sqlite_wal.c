/* The write-ahead log of SQLite: how long it is, copying it into the database, room for it. */
#include <errno.h>
#include <sys/stat.h>

#include "storage/sqlite.h"

enum { FRAME_HEAD = 24, PIECE = 65536 };

static int64_t frame_bytes(kv_db *db)
{
    kv_stmt *s;
    bool row;
    int64_t page = 4096;
    if (kv_db_prepare(db, "PRAGMA page_size", &s) != KV_OK)
        return page + FRAME_HEAD;
    if (kv_db_step(s, &row) == KV_OK && row)
        page = kv_col_i64(s, 0);
    kv_db_done(s);
    return page + FRAME_HEAD;
}

static int after_commit(void *arg, sqlite3 *handle, const char *name, int frames)
{
    kv_db *db = arg;
    (void)handle;
    (void)name;
    db->wal_used = (int64_t)frames * db->wal_frame;
    return SQLITE_OK;
}

void kv_sqlite_watch_wal(kv_db *db)
{
    db->wal_frame = frame_bytes(db);
    sqlite3_wal_hook(db->handle, after_commit, db);
}

int64_t kv_db_wal_bytes(const kv_config *cfg)
{
    kv_buf path;
    struct stat st;
    bool there = kv_sqlite_path(cfg, "kervan.db-wal", &path) && stat(path.data, &st) == 0;
    kv_buf_release(&path);
    return there ? (int64_t)st.st_size : 0;
}

int64_t kv_db_wal_used(const kv_db *db)
{
    return db->wal_used;
}

kv_err kv_db_checkpoint(kv_db *db, bool passive, int64_t *ret_copied)
{
    int mode = passive ? SQLITE_CHECKPOINT_PASSIVE : SQLITE_CHECKPOINT_RESTART;
    int all = -1, copied = -1;
    if (!passive)
        sqlite3_busy_timeout(db->handle, KV_SQLITE_LONG_READ_MS);
    int rc = sqlite3_wal_checkpoint_v2(db->handle, NULL, mode, &all, &copied);
    if (!passive)
        sqlite3_busy_timeout(db->handle, KV_SQLITE_WRITE_BUSY_MS);
    if (ret_copied)
        *ret_copied = copied < 0 ? -1 : copied * db->wal_frame;
    if (rc == SQLITE_OK || (passive && (rc & 0xff) == SQLITE_BUSY))
        return KV_OK; /* another one is at it */
    return kv_sqlite_fail(db, rc, "checkpoint");
}

kv_err kv_db_wal_extend(kv_db *db, int64_t bytes)
{
    static const char zeros[PIECE];
    sqlite3_file *log = NULL;
    sqlite3_int64 size = 0;
    int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_JOURNAL_POINTER, &log);
    if (rc != SQLITE_OK || !log || !log->pMethods)
        return KV_OK; /* in memory: there is none */
    rc = log->pMethods->xFileSize(log, &size);
    for (; rc == SQLITE_OK && size < bytes; size += PIECE)
        rc = log->pMethods->xWrite(log, zeros, PIECE, size);
    if (rc == SQLITE_OK)
        rc = log->pMethods->xSync(log, SQLITE_SYNC_NORMAL);
    return rc == SQLITE_OK ? KV_OK : kv_sqlite_fail(db, rc, "extend the log");
}
