/* Notifications, kept until seen. The ledger's thread, inside its transaction. */
#ifndef KV_STORAGE_WRITE_NOTIFICATIONS_H
#define KV_STORAGE_WRITE_NOTIFICATIONS_H

#include "proto/base/slice.h"
#include "storage/db.h"
#include "storage/write/oldest.h"

/* The mark of the notifier: the newest event it has handled. *ret_moved false: it was there or
 * beyond, nothing was written. */
kv_err kv_notified_set(kv_db *db, uint64_t event, bool *ret_moved);

/* `body` is a JSON object. */
kv_err kv_notification_add(kv_db *db, uint64_t id, kv_slice user, kv_slice kind, int64_t now,
                           kv_slice body);
/* Marks the oldest unseen ones of a user up to id `upto` (0: all), at most `max_rows`. *ret_newest:
 * of those marked; 0: none was unseen. *ret_upto: the newest that was meant; beyond *ret_newest
 * where there may be more. */
kv_err kv_notifications_seen(kv_db *db, kv_slice user, uint64_t upto, int max_rows, int64_t now,
                             uint64_t *ret_newest, uint64_t *ret_upto);
/* Removes what was seen before, and what was made before, seen or not: up to made->max_rows each.
 */
kv_err kv_notifications_prune(kv_db *db, int64_t seen_before, const kv_oldest *made,
                              int64_t *ret_removed);

#endif
