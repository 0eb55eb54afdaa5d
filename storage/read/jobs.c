#include "storage/read/jobs.h"

#include "storage/read/job_history.h"
#include "storage/read/job_row.h"

const char *kv_job_state_name(int state)
{
    static const char *const names[] = {"queued", "processing", "complete", "error", "cancelled"};
    return state >= 0 && state <= KV_JOB_CANCELLED ? names[state] : "error";
}

kv_err kv_job_get_json(kv_db *db, uint64_t id, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "SELECT " KV_JOB_ROW_WHOLE
                         " FROM job j JOIN service v ON v.id = j.service WHERE j.id = $1",
                         &s));
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

kv_err kv_job_history_json(kv_db *db, uint64_t id, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT created_at, history FROM job WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_NOT_FOUND;
    if (err == KV_OK) {
        kv_job_history_read(kv_col_str(s, 1), kv_col_i64(s, 0), out);
        err = kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    return err;
}

/* ---- unfinished ---- */

/* job_unfinished is ordered by (state, seq): one walk a state, merged here, so nothing is sorted
 * (and held) in memory. */
#define UNFINISHED(state)                                                                          \
    "SELECT j.id, j.seq, j.epoch, j.attempt, j.max_attempts, j.not_before, j.created_at, j.lane, " \
    "j.state, v.name, j.tenant, j.tag, j.backoff, j.backoff_max, j.deadline FROM job j CROSS "     \
    "JOIN service v ON v.id = j.service "                                                          \
    "WHERE j.state = " state " AND j.state < 2 ORDER BY j.seq"

static kv_job_row row_of(kv_stmt *s)
{
    return (kv_job_row){
        .id = (uint64_t)kv_col_i64(s, 0),
        .seq = (uint64_t)kv_col_i64(s, 1),
        .epoch = (uint64_t)kv_col_i64(s, 2),
        .attempt = (uint64_t)kv_col_i64(s, 3),
        .max_attempts = (uint64_t)kv_col_i64(s, 4),
        .not_before = (uint64_t)kv_col_i64(s, 5),
        .created_at = (uint64_t)kv_col_i64(s, 6),
        .lane = (int)kv_col_i64(s, 7),
        .state = (int)kv_col_i64(s, 8),
        .service = kv_col_str(s, 9).ptr,
        .tenant = kv_col_str(s, 10),
        .tag = (uint64_t)kv_col_i64(s, 11),
        .backoff_ms = (uint64_t)kv_col_i64(s, 12),
        .backoff_max_ms = (uint64_t)kv_col_i64(s, 13),
        .deadline_ms = (uint64_t)kv_col_i64(s, 14),
    };
}

kv_err kv_jobs_unfinished(kv_db *db, bool (*fn)(void *arg, const kv_job_row *row), void *arg)
{
    kv_stmt *walk[2] = {NULL, NULL};
    bool have[2] = {false, false};
    kv_err err = kv_db_prepare(db, UNFINISHED("0"), &walk[0]);
    if (err == KV_OK)
        err = kv_db_prepare(db, UNFINISHED("1"), &walk[1]);
    for (int i = 0; i < 2 && err == KV_OK; i++)
        err = kv_db_step(walk[i], &have[i]);
    while (err == KV_OK && (have[0] || have[1])) {
        int i = !have[0] || (have[1] && kv_col_i64(walk[1], 1) < kv_col_i64(walk[0], 1));
        kv_job_row row = row_of(walk[i]);
        if (!fn(arg, &row))
            break;
        err = kv_db_step(walk[i], &have[i]);
    }
    kv_db_done(walk[0]);
    kv_db_done(walk[1]);
    return err;
}
