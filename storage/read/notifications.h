/* Notifications, read. */
#ifndef KV_STORAGE_READ_NOTIFICATIONS_H
#define KV_STORAGE_READ_NOTIFICATIONS_H

#include "proto/base/buf.h"
#include "storage/db.h"

enum { KV_NOTIFICATIONS_PAGE_MAX = 200 };

/* {"id","kind","at","body"}: id is that of the event it was made from, as text like all ids. */
void kv_notification_json(uint64_t id, kv_slice kind, int64_t at, kv_slice body, kv_buf *out);
/* Appends a JSON array of a user's unseen ones, newest first, older than `before` (0: from the
 * newest), at most `limit` (1..KV_NOTIFICATIONS_PAGE_MAX). *ret_next: `before` of the next page; 0:
 * that was all. */
kv_err kv_notifications_json(kv_db *db, kv_slice user, uint64_t before, int limit, kv_buf *out,
                             uint64_t *ret_next);
/* The newest event that was turned into notifications: the notifier goes on after it. */
kv_err kv_notified_get(kv_db *db, uint64_t *ret);

#endif
