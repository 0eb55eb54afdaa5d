/* A thin driver over the database: prepare, bind $1, step, transaction. SQLite now; PostgreSQL fits
 * behind the same header.
 *
 * SQLite: WAL, synchronous=FULL, foreign keys off, mmap off; statements are cached per handle by
 * their text pointer (pass string literals). One handle, one thread. Only the broker's ledger and
 * offline tools open KV_DB_WRITE. A reader must finish within 100 ms (a long read keeps the WAL
 * growing), counted from kv_db_begin or else the first open statement: the handle interrupts it,
 * the step gives BUSY. */
#ifndef KV_STORAGE_DB_H
#define KV_STORAGE_DB_H

#include <stdint.h>

#include "proto/base/config.h"
#include "proto/base/error.h"

typedef struct kv_db kv_db;
typedef struct kv_stmt kv_stmt;

typedef enum kv_db_mode { KV_DB_READ, KV_DB_WRITE } kv_db_mode;

/* The database of the configuration: SQLite at $KERVAN_DATA/kervan.db. READ: NOT_FOUND while it
 * does not exist yet or is not migrated yet, SCHEMA_NEWER when it is ahead of this program. WRITE
 * makes it where it is missing; DB_MISSING, and nothing is made, where its media are here. Both:
 * DB_OTHER, and nothing is changed, for a database that is not kervan's or has the log of another.
 * DURABILITY=relaxed opens with synchronous=NORMAL. */
kv_err kv_db_open(const kv_config *cfg, kv_db_mode mode, kv_db **ret);
kv_err kv_db_open_memory(kv_db **ret); /* tests: private, migrated */
void kv_db_close(kv_db **db);
/* DB_MOVED (and a line of a writer's when that begins or ends): kervan.db is not the file any more
 * that was opened, or for a writer its log is not. What is written then is gone with the process;
 * kv_db_begin of a writer refuses it, at the latest 50 ms later. */
kv_err kv_db_in_place(kv_db *db);
void kv_db_close_moved(
    kv_db **db); /* if so, and nothing is open: the next open finds the new one */
/* Of the database, as far as this process knows: DB_DAMAGED since a handle met damage, DB_MOVED
 * while it is not in its writer's place. */
kv_err kv_db_state(void);
kv_err kv_db_state_named(kv_slice slug); /* the same, as another process says it */
/* Rows that cannot be like this: says where, is remembered, and is DB_DAMAGED. `id`: 0 for none. */
void kv_db_say_damage(const char *where, uint64_t id);
static inline kv_err kv_db_damage(const char *where, uint64_t id)
{
    kv_db_say_damage(where, id);
    return KV_E_DB_DAMAGED;
}

/* Takes a cached statement ready to bind; give it back with kv_db_done (reset). On error: DB,
 * DISK_FULL, IO … and a log line. */
kv_err kv_db_prepare(kv_db *db, const char *sql, kv_stmt **ret);
void kv_bind_i64(kv_stmt *s, int index, int64_t v); /* index from 1 */
void kv_bind_str(kv_stmt *s, int index,
                 kv_slice v); /* not copied: must live until kv_db_done; ptr NULL binds NULL */
void kv_bind_blob(kv_stmt *s, int index, kv_slice v);
void kv_bind_null(kv_stmt *s, int index);
/* *ret_row: a row is there. */
kv_err kv_db_step(kv_stmt *s, bool *ret_row);
int64_t kv_col_i64(kv_stmt *s, int col);  /* from 0; NULL gives 0 */
kv_slice kv_col_str(kv_stmt *s, int col); /* valid until the next step; NULL gives ptr NULL */
kv_slice kv_col_blob(kv_stmt *s, int col);
bool kv_col_null(kv_stmt *s, int col);
void kv_db_done(kv_stmt *s);
int64_t kv_db_changes(kv_db *db); /* rows of the last write: a refusal is judged by it */

kv_err kv_db_exec(kv_db *db, const char *sql); /* one or more statements without parameters */
kv_err kv_db_begin(kv_db *db); /* BEGIN IMMEDIATE (WRITE) or BEGIN (READ: one snapshot) */
kv_err kv_db_commit(kv_db *db);
/* Always follows a failed commit. After some errors (a full disk) SQLite has rolled back by itself:
 * every further call gives that error until this one is made. */
void kv_db_rollback(kv_db *db);

/* ---- the write-ahead log (sqlite_wal.c) ----
 * It is written over from its beginning once a checkpoint has copied everything, and keeps 64 MB of
 * its file at most then. */
int64_t kv_db_wal_bytes(const kv_config *cfg); /* of the file */
int64_t kv_db_wal_used(const kv_db *db);       /* of it, by the last commit of this writer */
/* Passive: never waits for anyone; else RESTART: waits for readers as long as ours may read (then
 * BUSY). `ret_copied` (may be NULL) gets how many bytes of the log are in the database now; -1: not
 * known. Own handle (either mode) and thread for the passive one. */
kv_err kv_db_checkpoint(kv_db *db, bool passive, int64_t *ret_copied);
/* Makes the file at least `bytes` long, with zeros that SQLite takes for no frames: commits that
 * write over blocks which are there sync in a third of the time of those that append (measured: 68
 * and 184 us for 16 KB). Nobody else may write meanwhile. */
kv_err kv_db_wal_extend(kv_db *db, int64_t bytes);
/* Room for a start on a full disk, KERVAN_DATA/kervan.spare, 4 MiB: made if it is missing and
 * `free_bytes` leave enough beside it and DISK_RESERVE_MB. False: they do not, ask again later. May
 * wait for the disk. */
bool kv_db_spare_keep(const kv_config *cfg, int64_t free_bytes);
/* Removes it, for a start that found the disk full. True: there was one, so try again. */
bool kv_db_spare_give(const kv_config *cfg);

/* Migrations: numbered files of storage/migrations, embedded; forward only. SCHEMA_NEWER when the
 * database is ahead. */
kv_err kv_db_migrate(kv_db *db, int *ret_from, int *ret_to);
kv_err kv_db_version(kv_db *db, int *ret); /* of the database; 0: empty */
int kv_db_schema_version(void);            /* of this program */

#endif
