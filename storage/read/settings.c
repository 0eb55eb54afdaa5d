#include "storage/read/settings.h"

#define COLUMN(F, T, name, kind, option, low, high, unit, text) ", " #name
#define READ(F, T, name, kind, option, low, high, unit, text)   set.name = kv_col_i64(s, at++);

kv_err kv_settings_all(kv_db *db, bool (*fn)(void *arg, const kv_setting *setting), void *arg)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    KV_TRY(kv_db_prepare(db,
                         "SELECT service, of_tenant, tenant" KV_QUEUE_SETTINGS(
                             COLUMN, , ) " FROM queue_setting "
                                         "ORDER BY service, of_tenant, tenant",
                         &s));
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        int at = 3;
        kv_setting set = {.service = kv_col_str(s, 0),
                          .of_tenant = kv_col_i64(s, 1) != 0,
                          .tenant = kv_col_str(s, 2)};
        KV_QUEUE_SETTINGS(READ, , )
        if (!fn(arg, &set))
            break;
    }
    kv_db_done(s);
    return err;
}
