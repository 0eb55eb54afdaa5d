#include "storage/write/notifications.h"

#include "storage/write/run.h"

kv_err kv_notified_set(kv_db *db, uint64_t event, bool *ret_moved)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE counter SET value = $1 WHERE name = 'notified' AND value < $1",
                         &s));
    kv_bind_i64(s, 1, (int64_t)event);
    return kv_run_one(db, s, ret_moved);
}

kv_err kv_notification_add(kv_db *db, uint64_t id, kv_slice user, kv_slice kind, int64_t now,
                           kv_slice body)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "INSERT INTO notification (id, user, kind, at, body) VALUES ($1, $2, $3, $4, $5)", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_str(s, 2, user);
    kv_bind_str(s, 3, kind.ptr ? kind : kv_slice_str(""));
    kv_bind_i64(s, 4, now);
    kv_bind_str(s, 5, body);
    return kv_run(s);
}

static kv_err find_unseen(kv_db *db, const char *sql, kv_slice user, int64_t upto, int max_rows,
                          uint64_t *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_str(s, 1, user);
    kv_bind_i64(s, 2, upto);
    kv_bind_i64(s, 3, max_rows);
    kv_err err = kv_db_step(s, &row);
    *ret = err == KV_OK && row ? (uint64_t)kv_col_i64(s, 0) : 0;
    kv_db_done(s);
    return err;
}

#define UNSEEN                                                                                     \
    "SELECT id FROM notification WHERE user = $1 AND id <= $2 AND seen_at IS NULL ORDER BY id "

kv_err kv_notifications_seen(kv_db *db, kv_slice user, uint64_t upto, int max_rows, int64_t now,
                             uint64_t *ret_newest, uint64_t *ret_upto)
{
    kv_stmt *s;
    int64_t until = upto == 0 || upto > INT64_MAX ? INT64_MAX : (int64_t)upto;
    KV_TRY(find_unseen(db, UNSEEN "DESC LIMIT $3", user, until, 1, ret_upto));
    KV_TRY(find_unseen(db, "SELECT max(id) FROM (" UNSEEN "LIMIT $3)", user, until, max_rows,
                       ret_newest));
    if (*ret_newest == 0)
        return KV_OK;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE notification SET seen_at = $3 "
                         "WHERE user = $1 AND id <= $2 AND seen_at IS NULL",
                         &s));
    kv_bind_str(s, 1, user);
    kv_bind_i64(s, 2, (int64_t)*ret_newest);
    kv_bind_i64(s, 3, now);
    return kv_run(s);
}

/* Ids grow with time, so the old unseen ones are found from the oldest row on; those seen among
 * them go first, by their index. */
kv_err kv_notifications_prune(kv_db *db, int64_t seen_before, const kv_oldest *made,
                              int64_t *ret_removed)
{
    int64_t seen, until, old = 0;
    KV_TRY(
        kv_oldest_remove(db,
                         "DELETE FROM notification WHERE id IN (SELECT id FROM notification WHERE "
                         "seen_at IS NOT NULL AND seen_at < $1 ORDER BY seen_at LIMIT $2)",
                         seen_before, made->max_rows, &seen));
    KV_TRY(kv_oldest_find(db, "SELECT id, at FROM notification WHERE id > $1 ORDER BY id LIMIT $2",
                          made, &until));
    if (until != 0)
        KV_TRY(kv_oldest_remove(db,
                                "DELETE FROM notification WHERE id IN (SELECT id FROM notification "
                                "WHERE id <= $1 ORDER BY id LIMIT $2)",
                                until, made->max_rows, &old));
    *ret_removed = seen + old;
    return KV_OK;
}
