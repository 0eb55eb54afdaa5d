/* What the files of storage/write share. */
#ifndef KV_STORAGE_WRITE_RUN_H
#define KV_STORAGE_WRITE_RUN_H

#include <string.h>

#include "proto/base/slice.h"
#include "storage/db.h"

/* Runs a bound statement that gives no rows, and gives it back. */
static inline kv_err kv_run(kv_stmt *s)
{
    bool row;
    kv_err err = kv_db_step(s, &row);
    kv_db_done(s);
    return err;
}

/* *ret_rows: how many it wrote; a refusal is judged by it. */
static inline kv_err kv_run_counted(kv_db *db, kv_stmt *s, int64_t *ret_rows)
{
    kv_err err = kv_run(s);
    *ret_rows = err == KV_OK ? kv_db_changes(db) : 0;
    return err;
}

/* *ret_written: it wrote its one row. */
static inline kv_err kv_run_one(kv_db *db, kv_stmt *s, bool *ret_written)
{
    int64_t rows;
    kv_err err = kv_run_counted(db, s, &rows);
    *ret_written = rows == 1;
    return err;
}

/* What is empty is not there. */
static inline void kv_bind_text_or_null(kv_stmt *s, int index, kv_slice v)
{
    if (v.len)
        kv_bind_str(s, index, v);
    else
        kv_bind_null(s, index);
}

/* Names and users are at most 64 bytes long. */
static inline void kv_copy_name(char out[65], kv_slice text)
{
    size_t n = text.len < 64 ? text.len : 64;
    memcpy(out, text.ptr ? text.ptr : "", n);
    out[n] = '\0';
}

#endif
