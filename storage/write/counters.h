/* Named counters that last. The ledger's thread, inside its transaction. */
#ifndef KV_STORAGE_WRITE_COUNTERS_H
#define KV_STORAGE_WRITE_COUNTERS_H

#include "storage/db.h"

/* `name` is a row of table counter ("epoch", "gone_seq"); DB when there is no such row. */
kv_err kv_counter_get(kv_db *db, const char *name, uint64_t *ret);
/* Adds `by` and gives the new value. */
kv_err kv_counter_add(kv_db *db, const char *name, uint64_t by, uint64_t *ret);

/* One more; the row is made when there is none. Always writes a page, also where a value that stays
 * would not. */
kv_err kv_counter_count(kv_db *db, const char *name);

#endif
