#include "storage/read/jobs.h"

#include "proto/base/id.h"

const char *kv_job_state_name(int state)
{
    static const char *const names[] = {"queued", "processing", "complete", "error", "cancelled"};
    return state >= 0 && state <= KV_JOB_CANCELLED ? names[state] : "error";
}

static const char *lane_name(int64_t lane)
{
    static const char *const names[] = {"urgent", "normal", "background"};
    return lane >= 0 && lane < 3 ? names[lane] : "background";
}

static void add_json_or_null(kv_buf *out, const char *key, kv_slice json)
{
    kv_json_key(out, key);
    if (json.len > 0)
        kv_json_raw(out, json);
    else
        kv_json_null(out);
}

enum {
    C_SERVICE,
    C_LANE,
    C_STATE,
    C_PROGRESS,
    C_ATTEMPT,
    C_MAX,
    C_PARAMS,
    C_METADATA,
    C_RESULT,
    C_ERROR,
    C_DETAIL,
    C_CREATED,
    C_UPDATED,
    C_HISTORY
};

static void add_job(kv_stmt *s, uint64_t id, kv_buf *out)
{
    char text[KV_ID_TEXT + 1];
    kv_id_format(id, text);
    kv_json_open(out, '{');
    kv_json_key(out, "jobId");
    kv_json_cstr(out, text);
    kv_json_key(out, "service");
    kv_json_str(out, kv_col_str(s, C_SERVICE));
    kv_json_key(out, "lane");
    kv_json_cstr(out, lane_name(kv_col_i64(s, C_LANE)));
    kv_json_key(out, "status");
    kv_json_cstr(out, kv_job_state_name((int)kv_col_i64(s, C_STATE)));
    kv_json_key(out, "progress");
    kv_json_i64(out, kv_col_i64(s, C_PROGRESS));
    kv_json_key(out, "attempts");
    kv_json_i64(out, kv_col_i64(s, C_ATTEMPT));
    kv_json_key(out, "max_attempts");
    kv_json_i64(out, kv_col_i64(s, C_MAX));
    add_json_or_null(out, "params", kv_col_str(s, C_PARAMS));
    add_json_or_null(out, "metadata", kv_col_str(s, C_METADATA));
    add_json_or_null(out, "result", kv_col_str(s, C_RESULT));
    kv_json_key(out, "error");
    kv_json_str(out, kv_col_str(s, C_ERROR));
    kv_json_key(out, "error_detail");
    kv_json_str(out, kv_col_str(s, C_DETAIL));
    kv_json_key(out, "created_at");
    kv_json_time(out, kv_col_i64(s, C_CREATED));
    kv_json_key(out, "updated_at");
    kv_json_time(out, kv_col_i64(s, C_UPDATED));
    kv_json_key(out, "history");
    kv_slice history = kv_col_str(s, C_HISTORY);
    kv_json_open(out, '[');
    kv_buf_add(out, history.ptr, history.len);
    kv_buf_addc(out, ']');
    kv_json_close(out, '}');
}

kv_err kv_job_get_json(kv_db *db, uint64_t id, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "SELECT v.name, j.lane, j.state, j.progress, j.attempt, j.max_attempts, "
                         "j.params, j.metadata, j.result, "
                         "j.error, j.error_detail, j.created_at, j.updated_at, j.history "
                         "FROM job j JOIN service v ON v.id = j.service WHERE j.id = $1",
                         &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_NOT_FOUND;
    if (err == KV_OK) {
        add_job(s, id, out);
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
    "j.state, v.name, j.tenant, j.params FROM job j CROSS JOIN service v ON v.id = j.service "     \
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
        .params = kv_col_str(s, 11),
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
