#include "storage/read/notifications.h"

#include "proto/base/id.h"

void kv_notification_json(uint64_t id, kv_slice kind, int64_t at, kv_slice body, kv_buf *out)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    kv_json_open(out, '{');
    kv_json_key(out, "id");
    kv_json_cstr(out, text);
    kv_json_key(out, "kind");
    kv_json_str(out, kind);
    kv_json_key(out, "at");
    kv_json_time(out, at);
    kv_json_key(out, "body");
    kv_json_raw(out, body);
    kv_json_close(out, '}');
}

kv_err kv_notifications_json(kv_db *db, kv_slice user, uint64_t before, int limit, kv_buf *out,
                             uint64_t *ret_next)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    uint64_t last = 0;
    int n = 0;
    *ret_next = 0;
    if (limit < 1 || limit > KV_NOTIFICATIONS_PAGE_MAX)
        return KV_E_BAD_PARAMETER;
    KV_TRY(kv_db_prepare(db,
                         "SELECT id, kind, at, body FROM notification WHERE user = $1 AND id < $2 "
                         "AND seen_at IS NULL ORDER BY id DESC LIMIT $3",
                         &s));
    kv_bind_str(s, 1, user);
    kv_bind_i64(s, 2, before == 0 || before > INT64_MAX ? INT64_MAX : (int64_t)before);
    kv_bind_i64(s, 3, limit + 1);
    kv_json_open(out, '[');
    for (; (err = kv_db_step(s, &row)) == KV_OK && row && n < limit; n++) {
        last = (uint64_t)kv_col_i64(s, 0);
        kv_notification_json(last, kv_col_str(s, 1), kv_col_i64(s, 2), kv_col_str(s, 3), out);
    }
    kv_json_close(out, ']');
    if (err == KV_OK && row)
        *ret_next = last;
    kv_db_done(s);
    return err != KV_OK ? err : kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_notified_get(kv_db *db, uint64_t *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT value FROM counter WHERE name = 'notified'", &s));
    kv_err err = kv_db_step(s, &row);
    *ret = err == KV_OK && row ? (uint64_t)kv_col_i64(s, 0) : 0;
    kv_db_done(s);
    return err;
}
