#include "storage/read/jobs.h"

#include "storage/read/job_history.h"
#include "storage/read/job_row.h"

const char *kv_job_state_name(int state)
{
    return kv_state_names[state >= 0 && state < KV_STATES ? state : KV_JOB_ERROR];
}

kv_err kv_job_get_json(kv_db *db, uint64_t id, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT " KV_JOB_ROW_WHOLE KV_JOB_ROW_FROM "WHERE j.id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_NOT_FOUND;
    if (err == KV_OK) {
        kv_job_row_json(s, true, out);
        err = kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    return err;
}
