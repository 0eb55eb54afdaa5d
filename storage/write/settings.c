#include "storage/write/settings.h"

#include "storage/write/run.h"

/* clang-format off */
#define KEEP(c) c " = CASE excluded." c " WHEN -1 THEN " c " ELSE excluded." c " END"
static const char UPSERT[] =
    "INSERT INTO queue_setting (service, of_tenant, tenant, paused, draining, concurrency, "
    "rate_per_minute, max_waiting, overflow, weight) "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (service, of_tenant, tenant) DO UPDATE SET "
    KEEP("paused") ", " KEEP("draining") ", " KEEP("concurrency") ", "
    KEEP("rate_per_minute") ", " KEEP("max_waiting") ", " KEEP("overflow") ", " KEEP("weight");
/* clang-format on */

kv_err kv_setting_set(kv_db *db, const kv_setting *set)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, UPSERT, &s));
    kv_bind_str(s, 1, set->service);
    kv_bind_i64(s, 2, set->of_tenant);
    kv_bind_str(s, 3, set->tenant.ptr ? set->tenant : kv_slice_str(""));
    kv_bind_i64(s, 4, set->paused);
    kv_bind_i64(s, 5, set->draining);
    kv_bind_i64(s, 6, set->concurrency);
    kv_bind_i64(s, 7, set->rate_per_minute);
    kv_bind_i64(s, 8, set->max_waiting);
    kv_bind_i64(s, 9, set->overflow);
    kv_bind_i64(s, 10, set->weight);
    return kv_run(s);
}
