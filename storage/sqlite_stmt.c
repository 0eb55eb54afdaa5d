/* SQLite behind db.h: statements, cached by the address of their text. */
#include "storage/sqlite.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* ---- the cache ---- */

static size_t slot_of(const kv_stmt *const *cache, size_t cap, const char *sql)
{
    size_t i = (size_t)(((uint64_t)(uintptr_t)sql * 0x9e3779b97f4a7c15u) >> 32) & (cap - 1);
    while (cache[i] && cache[i]->sql != sql)
        i = (i + 1) & (cap - 1);
    return i;
}

static bool cache_grow(kv_db *db)
{
    size_t cap = db->cache_cap ? db->cache_cap * 2 : 64;
    kv_stmt **cache = calloc(cap, sizeof *cache);
    if (!cache)
        return false;
    for (size_t i = 0; i < db->cache_cap; i++) {
        kv_stmt *s = db->cache[i];
        if (s)
            cache[slot_of((const kv_stmt *const *)cache, cap, s->sql)] = s;
    }
    free(db->cache);
    db->cache = cache;
    db->cache_cap = cap;
    return true;
}

void kv_sqlite_cache_release(kv_db *db)
{
    for (size_t i = 0; i < db->cache_cap; i++) {
        if (db->cache[i]) {
            sqlite3_finalize(db->cache[i]->handle);
            free(db->cache[i]);
        }
    }
    free(db->cache);
    db->cache = NULL;
    db->cache_cap = db->cache_len = 0;
}

static void map_parameters(kv_stmt *s)
{
    int n = sqlite3_bind_parameter_count(s->handle);
    assert(n <= KV_SQLITE_PARAMS);
    for (int i = 1; i <= n; i++) {
        const char *name = sqlite3_bind_parameter_name(s->handle, i);
        assert(name && name[0] == '$');
        int number = atoi(name + 1);
        assert(number >= 1 && number <= KV_SQLITE_PARAMS);
        s->place[number] = (uint8_t)i;
    }
}

static kv_err make_stmt(kv_db *db, const char *sql, kv_stmt **ret)
{
    kv_stmt *s = calloc(1, sizeof *s);
    if (!s)
        return KV_E_NO_MEMORY;
    int rc = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &s->handle, NULL);
    if (rc != SQLITE_OK) {
        free(s);
        kv_err err = kv_sqlite_fail(db, rc, sql);
        assert(err != KV_OK);
        return err;
    }
    assert(s->handle); /* text without a statement is a bug */
    map_parameters(s);
    s->db = db;
    *ret = s;
    return KV_OK;
}

/* ---- prepare, step, done ---- */

kv_err kv_db_prepare(kv_db *db, const char *sql, kv_stmt **ret)
{
    *ret = NULL;
    if (db->lost != KV_OK) /* else it would run outside the transaction its caller believes in */
        return db->lost;
    if (db->cache_len * 2 >= db->cache_cap && !cache_grow(db))
        return KV_E_NO_MEMORY;
    kv_sqlite_read_begins(db);
    size_t slot = slot_of((const kv_stmt *const *)db->cache, db->cache_cap, sql);
    kv_stmt *s = db->cache[slot];
    if (s && s->in_use) { /* asked for again inside its own loop: one of its own */
        KV_TRY(make_stmt(db, sql, &s));
    } else if (!s) {
        KV_TRY(make_stmt(db, sql, &s));
        s->sql = sql;
        db->cache[slot] = s;
        db->cache_len++;
    }
    assert(strcmp(sqlite3_sql(s->handle), sql) ==
           0); /* not a literal: its address was used for another text */
    s->in_use = true;
    s->bind_rc = SQLITE_OK;
    db->open_stmts++;
    *ret = s;
    return KV_OK;
}

kv_err kv_db_step(kv_stmt *s, bool *ret_row)
{
    *ret_row = false;
    int rc = s->bind_rc == SQLITE_OK ? sqlite3_step(s->handle) : s->bind_rc;
    if (rc == SQLITE_DONE)
        return KV_OK;
    if (rc != SQLITE_ROW)
        return kv_sqlite_fail(s->db, rc, sqlite3_sql(s->handle));
    *ret_row = true;
    return KV_OK;
}

void kv_db_done(kv_stmt *s)
{
    if (!s)
        return;
    assert(s->in_use);
    s->db->open_stmts--;
    s->in_use = false;
    if (!s->sql) {
        sqlite3_finalize(s->handle);
        free(s);
        return;
    }
    sqlite3_reset(s->handle); /* its code is that of the step, which was reported there */
    sqlite3_clear_bindings(s->handle);
}

int64_t kv_db_changes(kv_db *db)
{
    return sqlite3_changes64(db->handle);
}

/* ---- values ---- */

static int place(const kv_stmt *s, int number)
{
    assert(number >= 1 && number <= KV_SQLITE_PARAMS && s->place[number] != 0);
    return s->place[number];
}

static void bound(kv_stmt *s, int rc)
{
    if (rc != SQLITE_OK && s->bind_rc == SQLITE_OK)
        s->bind_rc = rc;
}

void kv_bind_i64(kv_stmt *s, int index, int64_t v)
{
    bound(s, sqlite3_bind_int64(s->handle, place(s, index), v));
}

void kv_bind_str(kv_stmt *s, int index, kv_slice v)
{
    bound(s, sqlite3_bind_text64(s->handle, place(s, index), v.ptr, v.len, SQLITE_STATIC,
                                 SQLITE_UTF8));
}

void kv_bind_blob(kv_stmt *s, int index, kv_slice v)
{
    bound(s, sqlite3_bind_blob64(s->handle, place(s, index), v.ptr, v.len, SQLITE_STATIC));
}

void kv_bind_null(kv_stmt *s, int index)
{
    bound(s, sqlite3_bind_null(s->handle, place(s, index)));
}

int64_t kv_col_i64(kv_stmt *s, int col)
{
    return sqlite3_column_int64(s->handle, col);
}

kv_slice kv_col_str(kv_stmt *s, int col)
{
    const char *text = (const char *)sqlite3_column_text(s->handle, col);
    return kv_slice_of(text, text ? (size_t)sqlite3_column_bytes(s->handle, col) : 0);
}

kv_slice kv_col_blob(kv_stmt *s, int col)
{
    const char *bytes = sqlite3_column_blob(s->handle, col);
    return kv_slice_of(bytes, bytes ? (size_t)sqlite3_column_bytes(s->handle, col) : 0);
}

bool kv_col_null(kv_stmt *s, int col)
{
    return sqlite3_column_type(s->handle, col) == SQLITE_NULL;
}
