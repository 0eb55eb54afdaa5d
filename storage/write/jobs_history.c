#include "storage/read/job_history.h"
#include "storage/write/jobs.h"
#include "storage/write/run.h"

static kv_err write_history(kv_db *db, uint64_t id, kv_slice history)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE job SET history = $2 WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_str(s, 2, history);
    return kv_run(s);
}

kv_err kv_job_trim_history(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    bool row;
    kv_buf shorter;
    kv_buf_init(&shorter, 0);
    KV_TRY(kv_db_prepare(db, "SELECT history FROM job WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    kv_slice history = err == KV_OK && row ? kv_col_str(s, 0) : kv_slice_of(NULL, 0);
    bool longer = history.len > KV_HISTORY_LONG;
    if (longer)
        kv_job_history_cut(history, &shorter);
    kv_db_done(s);
    if (err == KV_OK && longer)
        err = kv_buf_ok(&shorter) ? write_history(db, id, kv_buf_slice(&shorter)) : KV_E_NO_MEMORY;
    kv_buf_release(&shorter);
    return err;
}
