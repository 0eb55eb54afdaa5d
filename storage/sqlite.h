/* What the files of the SQLite driver share; nobody else includes this. */
#ifndef KV_STORAGE_SQLITE_H
#define KV_STORAGE_SQLITE_H

#include <sqlite3.h>
#include <sys/types.h>

#include "storage/db.h"

enum {
    KV_SQLITE_PARAMS = 64,          /* parameters of one statement at most */
    KV_SQLITE_WRITE_BUSY_MS = 5000, /* a writer waits for another one */
    KV_SQLITE_LONG_READ_MS = 250, /* our own readers end after less: longer is no use waiting for */
    KV_SQLITE_FILES = 3           /* kervan.db, -wal, -shm */
};

typedef struct kv_sqlite_file {
    dev_t dev;
    ino_t ino;
} kv_sqlite_file;

struct kv_stmt {
    kv_db *db;
    sqlite3_stmt *handle;
    const char *sql; /* the key in the cache; NULL: not cached, finalized by kv_db_done */
    uint8_t place[KV_SQLITE_PARAMS +
                  1]; /* $n -> SQLite's index: it numbers $names as they first appear */
    int bind_rc;      /* first binding that failed; reported by the step */
    bool in_use;
};

struct kv_db {
    sqlite3 *handle;
    kv_db_mode mode;
    bool in_transaction; /* of kv_db_begin */
    kv_err lost; /* why SQLite rolled the transaction back by itself, until kv_db_rollback */
    unsigned open_stmts;                /* between prepare and done */
    int64_t read_until_us;              /* a reader is interrupted after this */
    int64_t wal_used;                   /* bytes of the log as of the last commit of this handle */
    int64_t wal_frame;                  /* bytes of a frame: a page and its head */
    char *path;                         /* NULL: in memory */
    kv_sqlite_file at[KV_SQLITE_FILES]; /* what `path` and its log were, once knows_place */
    bool knows_place, moved;
    int64_t looked_us; /* at them */
    kv_stmt **cache;   /* open addressing by text pointer; a power of two */
    size_t cache_cap, cache_len;
};

/* Logs and maps an SQLite result code; `sql` is logged without values. Never KV_OK. */
kv_err kv_sqlite_fail(kv_db *db, int rc, const char *sql);
/* A reader's 100 ms begin now, unless a read is open already. */
void kv_sqlite_read_begins(kv_db *db);
void kv_sqlite_cache_release(kv_db *db);
/* KERVAN_DATA/name; false: no memory (release it all the same). */
bool kv_sqlite_path(const kv_config *cfg, const char *name, kv_buf *out);
void kv_sqlite_watch_wal(kv_db *db);
void kv_sqlite_open_our_way(void); /* once a process, before the first open */
/* errno of a file that SQLite could not open or make just now, in this thread; 0: it could. */
int kv_sqlite_not_opened(void);
/* DB_OTHER: a database of something else, or a log of another one beside it; nothing is changed. */
kv_err kv_sqlite_check_ours(kv_db *db);
void kv_sqlite_damaged(void); /* for kv_db_state */
/* kv_db_in_place, looked up at most every 50 ms while it is: three names a commit are an eighth of
 * a small commit's CPU. */
kv_err kv_sqlite_in_place(kv_db *db);
void kv_sqlite_learn_place(kv_db *db); /* for kv_db_in_place; all files are there */

#endif
