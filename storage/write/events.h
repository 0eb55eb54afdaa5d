/* The event log, written: rows of events packed per commit. The ledger's thread. */
#ifndef KV_STORAGE_WRITE_EVENTS_H
#define KV_STORAGE_WRITE_EVENTS_H

#include "storage/db.h"
#include "storage/write/oldest.h"

/* One row with the events first..last; inside the transaction that caused them. `kept` is
 * "[{"type":…},…]" without what first, last and at say: storage/read/event_text.h. */
kv_err kv_event_append(kv_db *db, uint64_t first, uint64_t last, int64_t at_ms, kv_slice kept);
/* Newest event id of the log, 0 when it is empty. */
kv_err kv_event_newest(kv_db *db, uint64_t *ret);
/* Removes the oldest rows, in a transaction of the caller. The newest row always stays: the ids go
 * on from it. */
kv_err kv_event_prune(kv_db *db, const kv_oldest *o, int64_t *ret_removed);

#endif
