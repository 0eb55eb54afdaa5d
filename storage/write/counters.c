#include "storage/write/counters.h"

#include "storage/write/run.h"

static kv_err value_of(kv_stmt *s, const char *name, uint64_t *ret)
{
    bool row;
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = kv_db_damage(name, 0);
    if (err == KV_OK)
        *ret = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_counter_get(kv_db *db, const char *name, uint64_t *ret)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "SELECT value FROM counter WHERE name = $1", &s));
    kv_bind_str(s, 1, kv_slice_str(name));
    return value_of(s, name, ret);
}

kv_err kv_counter_add(kv_db *db, const char *name, uint64_t by, uint64_t *ret)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "UPDATE counter SET value = value + $2 WHERE name = $1 RETURNING value", &s));
    kv_bind_str(s, 1, kv_slice_str(name));
    kv_bind_i64(s, 2, (int64_t)by);
    return value_of(s, name, ret);
}

kv_err kv_counter_count(kv_db *db, const char *name)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO counter (name, value) VALUES ($1, 1) "
                         "ON CONFLICT (name) DO UPDATE SET value = value + 1",
                         &s));
    kv_bind_str(s, 1, kv_slice_str(name));
    return kv_run(s);
}
