#include "storage/write/events.h"

kv_err kv_event_append(kv_db *db, uint64_t first, uint64_t last, int64_t at_ms, kv_slice kept)
{
    kv_stmt *s;
    bool row;
    KV_TRY(
        kv_db_prepare(db, "INSERT INTO event (first, last, at, body) VALUES ($1, $2, $3, $4)", &s));
    kv_bind_i64(s, 1, (int64_t)first);
    kv_bind_i64(s, 2, (int64_t)last);
    kv_bind_i64(s, 3, at_ms);
    kv_bind_str(s, 4, kept);
    kv_err err = kv_db_step(s, &row);
    kv_db_done(s);
    return err;
}

kv_err kv_event_newest(kv_db *db, uint64_t *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT last FROM event ORDER BY first DESC LIMIT 1", &s));
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        *ret = row ? (uint64_t)kv_col_i64(s, 0) : 0;
    kv_db_done(s);
    return err;
}

/* The end of the old rows, walked from the oldest: time grows with the key, so no index on it is
 * needed. */
static kv_err old_until(kv_db *db, int64_t before_ms, int max_rows, int64_t *ret_first)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    *ret_first = 0;
    KV_TRY(kv_db_prepare(db, "SELECT first, at FROM event ORDER BY first LIMIT $1", &s));
    kv_bind_i64(s, 1, max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row && kv_col_i64(s, 1) < before_ms)
        *ret_first = kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_event_prune(kv_db *db, int64_t before_ms, int max_rows, int64_t *ret_removed)
{
    int64_t until;
    kv_stmt *s;
    bool row;
    *ret_removed = 0;
    KV_TRY(old_until(db, before_ms, max_rows, &until));
    if (until == 0)
        return KV_OK;
    KV_TRY(kv_db_prepare(
        db, "DELETE FROM event WHERE first <= $1 AND first < (SELECT max(first) FROM event)", &s));
    kv_bind_i64(s, 1, until);
    kv_err err = kv_db_step(s, &row);
    kv_db_done(s);
    if (err == KV_OK)
        *ret_removed = kv_db_changes(db);
    return err;
}
