#include "storage/write/settings.h"

#include "storage/write/run.h"

#define COLUMN(F, T, name, kind, option, low, high, unit, text) ", " #name
#define KEEP(F, T, name, kind, option, low, high, unit, text)                                      \
    ", " #name " = CASE excluded." #name " WHEN -1 THEN queue_setting." #name                      \
    " ELSE excluded." #name " END"
/* The service is the same: it stands there for the comma of the first. */
/* clang-format off */
static const char UPSERT[] =
    "INSERT INTO queue_setting (service, of_tenant, tenant" KV_QUEUE_SETTINGS(COLUMN, , ) ") "
    "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) "
    "ON CONFLICT (service, of_tenant, tenant) DO UPDATE SET service = excluded.service"
    KV_QUEUE_SETTINGS(KEEP, , );
#define BIND(F, T, name, kind, option, low, high, unit, text) kv_bind_i64(s, at++, set->name);
#define NONE                                                                                       \
    "paused <= 0 AND draining <= 0 AND concurrency <= 0 AND rate_per_minute <= 0 AND "             \
    "max_waiting <= 0 AND overflow = -1 AND weight IN (-1, 1)"
#define THIS "FROM queue_setting WHERE service = $1 AND of_tenant = $2 AND tenant = $3 AND "
/* clang-format on */

static void bind_key(kv_stmt *s, const kv_setting *set)
{
    kv_bind_str(s, 1, set->service);
    kv_bind_i64(s, 2, set->of_tenant);
    kv_bind_str(s, 3, set->tenant.ptr ? set->tenant : kv_slice_str(""));
}

static kv_err put(kv_db *db, const kv_setting *set)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, UPSERT, &s));
    bind_key(s, set);
    int at = 4;
    KV_QUEUE_SETTINGS(BIND, , )
    return kv_run(s);
}

/* Whether the row, if it says nothing now, is nothing: asked before it is written. */
static kv_err may_go(kv_db *db, const kv_setting *set, bool *ret)
{
    kv_stmt *s;
    *ret = !set->of_tenant || kv_slice_is(set->tenant, "*");
    if (*ret)
        return KV_OK;
    KV_TRY(kv_db_prepare(db,
                         "SELECT 1 " THIS "NOT (" NONE ") AND NOT EXISTS (SELECT 1 FROM "
                         "queue_setting WHERE service = $1 AND of_tenant = 1 AND tenant = '*')",
                         &s));
    bind_key(s, set);
    kv_err err = kv_db_step(s, ret);
    kv_db_done(s);
    return err;
}

kv_err kv_setting_set(kv_db *db, const kv_setting *set, bool *ret_removed)
{
    kv_stmt *s;
    bool may;
    *ret_removed = false;
    KV_TRY(may_go(db, set, &may));
    KV_TRY(put(db, set));
    if (!may)
        return KV_OK;
    KV_TRY(kv_db_prepare(db, "DELETE " THIS NONE, &s));
    bind_key(s, set);
    return kv_run_one(db, s, ret_removed);
}
