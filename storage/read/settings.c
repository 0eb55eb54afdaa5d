#include "storage/read/settings.h"

kv_err kv_settings_all(kv_db *db, bool (*fn)(void *arg, const kv_setting *setting), void *arg)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(db,
                         "SELECT service, of_tenant, tenant, paused, draining, concurrency, "
                         "rate_per_minute, max_waiting, overflow, weight FROM queue_setting "
                         "ORDER BY service, of_tenant, tenant",
                         &s));
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        kv_setting set = {.service = kv_col_str(s, 0),
                          .of_tenant = kv_col_i64(s, 1) != 0,
                          .tenant = kv_col_str(s, 2),
                          .paused = kv_col_i64(s, 3),
                          .draining = kv_col_i64(s, 4),
                          .concurrency = kv_col_i64(s, 5),
                          .rate_per_minute = kv_col_i64(s, 6),
                          .max_waiting = kv_col_i64(s, 7),
                          .overflow = kv_col_i64(s, 8),
                          .weight = kv_col_i64(s, 9)};
        if (!fn(arg, &set))
            break;
    }
    kv_db_done(s);
    return err;
}
