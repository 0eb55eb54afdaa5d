/* The event log, read: what was after an id. */
#ifndef KV_STORAGE_READ_EVENTS_H
#define KV_STORAGE_READ_EVENTS_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* Calls `fn` for each commit that holds events after `after`, oldest first, until fn returns false
 * or max_commits are done. NOT_FOUND: `after` is older than what is kept (the reader must resync),
 * or newer than the newest. after 0 = from the beginning of what is kept. */
kv_err kv_events_after(kv_db *db, uint64_t after, int max_commits,
                       bool (*fn)(void *arg, uint64_t first, uint64_t last, kv_slice json_array),
                       void *arg);
kv_err kv_events_last(kv_db *db, uint64_t *ret_last);
/* The ids of the oldest and the newest one; 0 where there are none. */
kv_err kv_events_kept(kv_db *db, uint64_t *ret_oldest, uint64_t *ret_newest);

#endif
