/* Migrations: forward only, one transaction each; PRAGMA user_version is the number of the last
 * one. */
#include "storage/migrate.h"

#include <stdio.h>

#include "proto/base/log.h"
#include "storage/db.h"

int kv_db_schema_version(void)
{
    return kv_migrations[kv_migration_count - 1].number;
}

kv_err kv_db_version(kv_db *db, int *ret)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "PRAGMA user_version", &s));
    bool row;
    kv_err err = kv_db_step(s, &row);
    *ret = err == KV_OK && row ? (int)kv_col_i64(s, 0) : 0;
    kv_db_done(s);
    return err;
}

/* The version is read inside the transaction: two programs may start at once. */
static kv_err apply(kv_db *db, const kv_migration *m)
{
    char set_version[48];
    snprintf(set_version, sizeof set_version, "PRAGMA user_version=%d", m->number);
    KV_TRY(kv_db_begin(db));
    int version;
    kv_err err = kv_db_version(db, &version);
    bool needed = err == KV_OK && version < m->number;
    if (needed)
        err = kv_db_exec(db, m->sql);
    if (needed && err == KV_OK)
        err = kv_db_exec(db, set_version);
    if (err == KV_OK)
        err = kv_db_commit(db);
    if (err != KV_OK) {
        kv_db_rollback(db);
        return err;
    }
    if (needed)
        kv_log(KV_LOG_INFO, "migrated", KV_I64("number", m->number), KV_STR("name", m->name));
    return KV_OK;
}

kv_err kv_db_migrate(kv_db *db, int *ret_from, int *ret_to)
{
    int from;
    KV_TRY(kv_db_version(db, &from));
    if (ret_from)
        *ret_from = from;
    if (ret_to)
        *ret_to = from;
    if (from > kv_db_schema_version())
        return KV_E_SCHEMA_NEWER;
    for (int i = 0; i < kv_migration_count; i++) {
        if (kv_migrations[i].number <= from)
            continue;
        KV_TRY(apply(db, &kv_migrations[i]));
        if (ret_to)
            *ret_to = kv_migrations[i].number;
    }
    return KV_OK;
}
