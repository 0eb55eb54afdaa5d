#include "storage/write/oldest.h"

#include "storage/write/run.h"

kv_err kv_oldest_find(kv_db *db, const char *sql, const kv_oldest *o, int64_t *ret_until)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    *ret_until = 0;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_i64(s, 1, (int64_t)*o->past);
    kv_bind_i64(s, 2, o->max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        int64_t key = kv_col_i64(s, 0), at = kv_col_i64(s, 1);
        if (at < o->before_ms)
            *ret_until = key;
        else if (at <= o->now)
            break;
        else if (*ret_until == 0)
            *o->past = (uint64_t)key;
    }
    kv_db_done(s);
    return err;
}

kv_err kv_oldest_remove(kv_db *db, const char *sql, int64_t until, int max_rows,
                        int64_t *ret_removed)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_i64(s, 1, until);
    kv_bind_i64(s, 2, max_rows);
    return kv_run_counted(db, s, ret_removed);
}
