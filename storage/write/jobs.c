#include "storage/write/jobs.h"

#include "proto/base/id.h"

static kv_err run_step(kv_stmt *s)
{
    bool row;
    kv_err err = kv_db_step(s, &row);
    kv_db_done(s);
    return err;
}

kv_err kv_service_id(kv_db *db, kv_slice name, int64_t *ret_id)
{
    kv_stmt *s;
    bool row;
    /* The update that changes nothing makes RETURNING answer for a row that was there, too. */
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO service (name) VALUES ($1) ON CONFLICT (name) "
                         "DO UPDATE SET name = excluded.name RETURNING id",
                         &s));
    kv_bind_str(s, 1, name);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && !row)
        err = KV_E_DB;
    if (err == KV_OK)
        *ret_id = kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_job_insert(kv_db *db, const kv_job_new *job, bool *ret_created)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO job (id, service, lane, state, seq, max_attempts, not_before, created_at, "
        "updated_at, tenant, params, history) "
        "VALUES ($1, $2, $3, 0, $4, $5, $6, $7, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
        &s));
    kv_bind_i64(s, 1, (int64_t)job->id);
    kv_bind_i64(s, 2, job->service);
    kv_bind_i64(s, 3, job->lane);
    kv_bind_i64(s, 4, (int64_t)job->seq);
    kv_bind_i64(s, 5, (int64_t)job->max_attempts);
    kv_bind_i64(s, 6, job->not_before);
    kv_bind_i64(s, 7, job->now);
    kv_bind_str(s, 8, job->tenant.ptr ? job->tenant : kv_slice_str(""));
    kv_bind_str(s, 9, job->params);
    kv_bind_str(s, 10, job->history);
    KV_TRY(run_step(s));
    *ret_created = kv_db_changes(db) == 1;
    return KV_OK;
}

/* Two texts of one statement: RETURNING costs a little, and most moves do not want the params. */
#define MOVE_SQL                                                                                   \
    "UPDATE job SET state = $2, epoch = $3, attempt = $4, max_attempts = $5, not_before = $6, "    \
    "updated_at = $7, progress = $8, result = $9, error = $10, error_detail = $11, "               \
    "history = history || ',' || $12 "                                                             \
    "WHERE id = $1 AND state = $13 AND epoch = $14 AND attempt = $15"

static void bind_text_or_null(kv_stmt *s, int index, kv_slice v)
{
    if (v.ptr)
        kv_bind_str(s, index, v);
    else
        kv_bind_null(s, index);
}

static void bind_move(kv_stmt *s, const kv_job_move *m)
{
    kv_bind_i64(s, 1, (int64_t)m->id);
    kv_bind_i64(s, 2, m->to);
    kv_bind_i64(s, 3, (int64_t)m->new_epoch);
    kv_bind_i64(s, 4, (int64_t)m->new_attempt);
    kv_bind_i64(s, 5, (int64_t)m->max_attempts);
    kv_bind_i64(s, 6, m->not_before);
    kv_bind_i64(s, 7, m->now);
    kv_bind_i64(s, 8, (int64_t)m->progress);
    bind_text_or_null(s, 9, m->result);
    bind_text_or_null(s, 10, m->error);
    bind_text_or_null(s, 11, m->error_detail);
    kv_bind_str(s, 12, m->history);
    kv_bind_i64(s, 13, m->from);
    kv_bind_i64(s, 14, (int64_t)m->epoch);
    kv_bind_i64(s, 15, (int64_t)m->attempt);
}

kv_err kv_job_move_row(kv_db *db, const kv_job_move *move, kv_buf *ret_params, bool *ret_moved)
{
    kv_stmt *s;
    bool row;
    if (ret_params)
        KV_TRY(kv_db_prepare(db, MOVE_SQL " RETURNING params", &s));
    else
        KV_TRY(kv_db_prepare(db, MOVE_SQL, &s));
    bind_move(s, move);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && ret_params && row) {
        kv_slice params = kv_col_str(s, 0);
        kv_buf_add(ret_params, params.ptr, params.len);
        if (!kv_buf_ok(ret_params))
            err = KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    if (err == KV_OK)
        *ret_moved = ret_params ? row : kv_db_changes(db) == 1;
    return err;
}

kv_err kv_job_set_progress(kv_db *db, uint64_t id, uint64_t epoch, uint64_t attempt,
                           uint64_t progress, int64_t now, bool *ret_written)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE job SET progress = $4, updated_at = $5 "
                         "WHERE id = $1 AND state = 1 AND epoch = $2 AND attempt = $3",
                         &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_i64(s, 2, (int64_t)epoch);
    kv_bind_i64(s, 3, (int64_t)attempt);
    kv_bind_i64(s, 4, (int64_t)progress);
    kv_bind_i64(s, 5, now);
    KV_TRY(run_step(s));
    *ret_written = kv_db_changes(db) == 1;
    return KV_OK;
}

kv_err kv_job_find(kv_db *db, uint64_t id, kv_job_place *ret)
{
    kv_stmt *s;
    *ret = (kv_job_place){.found = false};
    KV_TRY(kv_db_prepare(
        db, "SELECT state, epoch, attempt, max_attempts, not_before FROM job WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, &ret->found);
    if (err == KV_OK && ret->found) {
        ret->state = (int)kv_col_i64(s, 0);
        ret->epoch = (uint64_t)kv_col_i64(s, 1);
        ret->attempt = (uint64_t)kv_col_i64(s, 2);
        ret->max_attempts = (uint64_t)kv_col_i64(s, 3);
        ret->not_before = kv_col_i64(s, 4);
    }
    kv_db_done(s);
    return err;
}

/* ---- retention ---- */

enum { PRUNE_MAX = 256 };

typedef struct prune_list {
    uint64_t ids[PRUNE_MAX];
    int n, seen;
} prune_list;

static kv_err find_old(kv_db *db, int64_t before_ms, int max_rows, uint64_t *cursor,
                       prune_list *list)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    int64_t until = before_ms > KV_ID_EPOCH_MS ? (before_ms - KV_ID_EPOCH_MS) << 22 : 0;
    KV_TRY(kv_db_prepare(db,
                         "SELECT id, state >= 2 AND updated_at < $3 FROM job "
                         "WHERE id > $1 AND id < $2 ORDER BY id LIMIT $4",
                         &s));
    kv_bind_i64(s, 1, (int64_t)*cursor);
    kv_bind_i64(s, 2, until);
    kv_bind_i64(s, 3, before_ms);
    kv_bind_i64(s, 4, max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        *cursor = (uint64_t)kv_col_i64(s, 0);
        list->seen++;
        if (kv_col_i64(s, 1))
            list->ids[list->n++] = *cursor;
    }
    kv_db_done(s);
    return err;
}

kv_err kv_jobs_prune(kv_db *db, int64_t before_ms, int max_rows, uint64_t *cursor,
                     int64_t *ret_removed)
{
    prune_list list = {.n = 0};
    *ret_removed = 0;
    if (max_rows > PRUNE_MAX)
        max_rows = PRUNE_MAX;
    KV_TRY(find_old(db, before_ms, max_rows, cursor, &list));
    for (int i = 0; i < list.n; i++) {
        kv_stmt *s;
        KV_TRY(kv_db_prepare(db, "DELETE FROM job WHERE id = $1", &s));
        kv_bind_i64(s, 1, (int64_t)list.ids[i]);
        KV_TRY(run_step(s));
    }
    *ret_removed = list.n;
    if (list.seen < max_rows)
        *cursor = 0;
    return KV_OK;
}
