/* An online copy of the embedded database, made while the ledger goes on. */
#ifndef KV_STORAGE_BACKUP_H
#define KV_STORAGE_BACKUP_H

#include "storage/db.h"

typedef enum kv_backup_step { KV_BACKUP_COPY, KV_BACKUP_CHECK } kv_backup_step;

typedef struct kv_backup_end {
    int64_t bytes;
    char why[256]; /* of an error: what was being done and what hindered it; "": not known */
} kv_backup_end;

/* Writes the database as it is now to `path`, which must not exist: copied to "<path>.tmp" (mode
 * 0600) by a connection of its own, held against integrity_check, synced, renamed. It is one file,
 * complete in itself. One backup a process at a time.
 *
 * In the copy the ids of events and the broker's epoch go on far ahead of what they are here, so
 * that after a restore no follower's or lease's number of since then is given again.
 *
 * It reads one snapshot, and what is written meanwhile stays in the WAL: the ledger forces no
 * checkpoint until then (kv_db_backup_runs). `go_on` is called some hundred times a second; false
 * ends it with CLIENT_GONE. On error nothing is left. BUSY: another one runs. CONFLICT: `path` or
 * "<path>.tmp" exists. DISK_FULL: also a quota, a file system that takes no file so large, and when
 * less than DISK_RESERVE_MB would be left. DB: the copy is not sound. */
kv_err kv_db_backup(const kv_config *cfg, const char *path,
                    bool (*go_on)(void *arg, kv_backup_step step, int64_t done, int64_t total),
                    void *arg, kv_backup_end *ret);
bool kv_db_backup_runs(void); /* any thread */

#endif
