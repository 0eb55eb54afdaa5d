#include "storage/write/events.h"

#include "storage/write/run.h"

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

/* Time grows with the key, so no index on it is needed. */
kv_err kv_event_prune(kv_db *db, const kv_oldest *o, int64_t *ret_removed)
{
    int64_t until;
    *ret_removed = 0;
    KV_TRY(kv_oldest_find(
        db, "SELECT first, at FROM event WHERE first > $1 ORDER BY first LIMIT $2", o, &until));
    if (until == 0)
        return KV_OK;
    return kv_oldest_remove(db,
                            "DELETE FROM event WHERE first IN (SELECT first FROM event WHERE "
                            "first <= $1 ORDER BY first LIMIT $2) "
                            "AND first < (SELECT max(first) FROM event)",
                            until, o->max_rows, ret_removed);
}
