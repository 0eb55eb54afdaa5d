/* Rows that get their keys in the order they are written, removed from the oldest on. */
#ifndef KV_STORAGE_WRITE_OLDEST_H
#define KV_STORAGE_WRITE_OLDEST_H

#include "storage/db.h"

/* What was written before `before_ms` is old; *past is the caller's between two calls, 0 at first.
 */
typedef struct kv_oldest {
    int64_t before_ms, now;
    int max_rows; /* looked at, and removed, a call */
    uint64_t *past;
} kv_oldest;

/* *ret_until: what has this key or a smaller one may go; 0: nothing. `sql` has the key and time of
 * up to $2 rows behind key $1, in order. Rows of a time that is still to come (a clock was ahead)
 * are passed: they are old when one behind them is, and keep none behind them. */
kv_err kv_oldest_find(kv_db *db, const char *sql, const kv_oldest *o, int64_t *ret_until);

/* `sql` deletes up to $2 rows by $1: a key found above, or a time. */
kv_err kv_oldest_remove(kv_db *db, const char *sql, int64_t until, int max_rows,
                        int64_t *ret_removed);

#endif
