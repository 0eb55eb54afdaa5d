#include "storage/read/events.h"

#include "storage/read/event_text.h"

/* Ids are given without gaps, in commit order: so what is kept is first of the oldest row … last of
 * the newest. */
kv_err kv_events_kept(kv_db *db, uint64_t *ret_oldest, uint64_t *ret_newest)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(
        db, "SELECT min(first), (SELECT last FROM event ORDER BY first DESC LIMIT 1) FROM event",
        &s));
    kv_err err = kv_db_step(s, &row);
    *ret_oldest = err == KV_OK ? (uint64_t)kv_col_i64(s, 0) : 0;
    *ret_newest = err == KV_OK ? (uint64_t)kv_col_i64(s, 1) : 0;
    kv_db_done(s);
    return err;
}

kv_err kv_events_last(kv_db *db, uint64_t *ret_last)
{
    uint64_t oldest;
    return kv_events_kept(db, &oldest, ret_last);
}

kv_err kv_events_after(kv_db *db, uint64_t after, int max_commits,
                       bool (*fn)(void *arg, uint64_t first, uint64_t last, kv_slice json_array),
                       void *arg)
{
    uint64_t oldest, newest;
    KV_TRY(kv_events_kept(db, &oldest, &newest));
    if (after > newest || (after != 0 && after + 1 < oldest))
        return KV_E_NOT_FOUND;
    kv_stmt *s;
    bool row;
    kv_err err = KV_OK;
    /* `after` may lie inside a commit: the row it lies in begins at or before it. */
    KV_TRY(kv_db_prepare(
        db,
        "SELECT first, last, at, body FROM event WHERE last > $1 AND "
        "first >= ifnull((SELECT max(first) FROM event WHERE first <= $1), 0) ORDER BY first",
        &s));
    kv_bind_i64(s, 1, (int64_t)after);
    kv_buf text;
    kv_buf_init(&text, 0);
    for (int i = 0; i < max_commits; i++) {
        err = kv_db_step(s, &row);
        if (err != KV_OK || !row)
            break;
        uint64_t first = (uint64_t)kv_col_i64(s, 0), last = (uint64_t)kv_col_i64(s, 1);
        kv_event_text(first, kv_col_i64(s, 2), kv_col_str(s, 3), &text);
        if (!kv_buf_ok(&text))
            err = KV_E_NO_MEMORY;
        if (err != KV_OK || !fn(arg, first, last, kv_buf_slice(&text)))
            break;
    }
    kv_buf_release(&text);
    kv_db_done(s);
    return err;
}
