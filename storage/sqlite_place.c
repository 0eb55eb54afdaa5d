/* What lies at kervan.db: is it kervan's, does the log beside it belong to it, is it still there?
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "storage/sqlite.h"

enum {
    HEAD = 20,
    READS_AT = 19, /* of the file: 1 rollback journal, 2 write-ahead log */
    LOOK_US = 50000
};

static const char *const tails[KV_SQLITE_FILES] = {"", "-wal", "-shm"};

static atomic_bool damaged, gone;

static bool look(const kv_db *db, int file, struct stat *ret)
{
    kv_buf path;
    kv_buf_init(&path, 0);
    kv_buf_adds(&path, db->path);
    kv_buf_adds(&path, tails[file]);
    bool there = kv_buf_ok(&path) && stat(path.data, ret) == 0;
    kv_buf_release(&path);
    return there;
}

static kv_err not_ours(const kv_db *db, const char *what)
{
    kv_log(KV_LOG_ERROR, "database_other", KV_STR("path", db->path), KV_STR("what", what));
    return KV_E_DB_OTHER;
}

/* A backup is complete in itself and says so in its head. A log beside it is that of the database
 * it was put in the place of: SQLite would write pages of that one over it. Read through SQLite's
 * own descriptor: closing another one would drop the locks of this process. */
static kv_err check_log(kv_db *db)
{
    struct stat st;
    unsigned char head[HEAD];
    sqlite3_file *file = NULL;
    if (!look(db, 1, &st) || st.st_size == 0)
        return KV_OK;
    int rc = sqlite3_file_control(db->handle, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (rc != SQLITE_OK || !file || !file->pMethods ||
        file->pMethods->xRead(file, head, HEAD, 0) != SQLITE_OK)
        return KV_OK; /* too short: what follows says so */
    return memcmp(head, "SQLite format 3", 16) == 0 && head[READS_AT] == 1
               ? not_ours(db, "kervan.db was put back from a backup beside the kervan.db-wal of "
                              "another database")
               : KV_OK;
}

/* Before it is migrated, or changed at all. */
static kv_err check_tables(kv_db *db)
{
    kv_stmt *s;
    bool row;
    int version;
    KV_TRY(kv_db_version(db, &version));
    KV_TRY(kv_db_prepare(db,
                         "SELECT count(*), sum(name IN ('counter', 'job', 'blob')) "
                         "FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
                         &s));
    kv_err err = kv_db_step(s, &row);
    int64_t tables = err == KV_OK ? kv_col_i64(s, 0) : 0, known = kv_col_i64(s, 1);
    kv_db_done(s);
    if (err == KV_OK && (version == 0 ? tables > 0 : known != 3))
        err = not_ours(db, "kervan.db is the database of another program");
    return err;
}

kv_err kv_sqlite_check_ours(kv_db *db)
{
    KV_TRY(check_log(db));
    return db->mode == KV_DB_WRITE ? check_tables(db) : KV_OK;
}

/* ---- still there ---- */

/* Who only reads may outlive a log, not the database. */
static int files_of(const kv_db *db)
{
    return db->mode == KV_DB_WRITE ? KV_SQLITE_FILES : 1;
}

void kv_sqlite_learn_place(kv_db *db)
{
    struct stat st;
    for (int i = 0; i < files_of(db) && db->path; i++) {
        if (!look(db, i, &st))
            return;
        db->at[i] = (kv_sqlite_file){st.st_dev, st.st_ino};
    }
    db->knows_place = db->path;
}

kv_err kv_db_in_place(kv_db *db)
{
    struct stat st;
    bool moved = false;
    db->looked_us = kv_mono_us(&kv_clock_real);
    for (int i = 0; i < files_of(db) && db->knows_place && !moved; i++)
        moved = look(db, i, &st) ? st.st_dev != db->at[i].dev || st.st_ino != db->at[i].ino
                                 : errno == ENOENT || errno == ENOTDIR;
    if (moved != db->moved && db->mode == KV_DB_WRITE)
        kv_log(moved ? KV_LOG_ERROR : KV_LOG_INFO, moved ? "database_moved" : "database_back",
               KV_STR("path", db->path),
               KV_STR("what", moved ? kv_err_info_of(KV_E_DB_MOVED)->en : ""));
    if (moved != db->moved && db->mode == KV_DB_WRITE)
        atomic_store(&gone, moved);
    db->moved = moved;
    return moved ? KV_E_DB_MOVED : KV_OK;
}

kv_err kv_sqlite_in_place(kv_db *db)
{
    bool lately = kv_mono_us(&kv_clock_real) - db->looked_us < LOOK_US;
    return lately && !db->moved ? KV_OK : kv_db_in_place(db);
}

void kv_db_close_moved(kv_db **db)
{
    if (*db && (*db)->open_stmts == 0 && !(*db)->in_transaction && kv_sqlite_in_place(*db) != KV_OK)
        kv_db_close(db);
}

void kv_sqlite_damaged(void)
{
    atomic_store(&damaged, true);
}

kv_err kv_db_state(void)
{
    return atomic_load(&damaged) ? KV_E_DB_DAMAGED : atomic_load(&gone) ? KV_E_DB_MOVED : KV_OK;
}

kv_err kv_db_state_named(kv_slice slug)
{
    static const kv_err states[] = {KV_E_DB_DAMAGED, KV_E_DB_MOVED};
    for (size_t i = 0; i < sizeof states / sizeof *states; i++)
        if (kv_slice_is(slug, kv_err_info_of(states[i])->slug))
            return states[i];
    return KV_OK;
}

void kv_db_say_damage(const char *where, uint64_t id)
{
    kv_sqlite_damaged();
    kv_log(KV_LOG_ERROR, "database_damaged", KV_STR("where", where), KV_ID("id", id));
}
