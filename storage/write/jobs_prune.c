/* Jobs, removed: retention, and dead letters on demand. */
#include "proto/base/id.h"
#include "storage/write/jobs.h"
#include "storage/write/run.h"

kv_err kv_jobs_purge_dead(kv_db *db, kv_slice service, int max_rows, int64_t *ret_removed)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "DELETE FROM job WHERE id IN (SELECT id FROM job WHERE state = 3 AND "
                         "service = (SELECT id FROM service WHERE name = $1) ORDER BY id LIMIT $2)",
                         &s));
    kv_bind_str(s, 1, service);
    kv_bind_i64(s, 2, max_rows);
    return kv_run_counted(db, s, ret_removed);
}

/* ---- retention of all ---- */

enum { PRUNE_MAX = 256 };

typedef struct prune_list {
    uint64_t ids[PRUNE_MAX];
    int n, seen;
} prune_list;

/* A job with a retention of its own waits for its time in job_expiry. */
static kv_err find_old(kv_db *db, int64_t before_ms, int max_rows, uint64_t *cursor,
                       prune_list *list)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    int64_t until = before_ms > KV_ID_EPOCH_MS ? (before_ms - KV_ID_EPOCH_MS) << 22 : 0;
    KV_TRY(kv_db_prepare(db,
                         "SELECT id, state >= 2 AND retention = 0 AND updated_at < $3 FROM job "
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

static kv_err remove_all(kv_db *db, const prune_list *list)
{
    for (int i = 0; i < list->n; i++)
        KV_TRY(kv_job_unmake(db, list->ids[i]));
    return KV_OK;
}

kv_err kv_jobs_prune(kv_db *db, int64_t before_ms, int max_rows, uint64_t *cursor,
                     int64_t *ret_removed)
{
    prune_list list = {.n = 0};
    *ret_removed = 0;
    if (max_rows > PRUNE_MAX)
        max_rows = PRUNE_MAX;
    KV_TRY(find_old(db, before_ms, max_rows, cursor, &list));
    KV_TRY(remove_all(db, &list));
    *ret_removed = list.n;
    if (list.seen < max_rows)
        *cursor = 0;
    return KV_OK;
}

/* ---- retention of a job's own ---- */

kv_err kv_job_expires(kv_db *db, uint64_t id, int64_t at)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "INSERT INTO job_expiry (at, job) VALUES ($1, $2) ON CONFLICT DO NOTHING", &s));
    kv_bind_i64(s, 1, at);
    kv_bind_i64(s, 2, (int64_t)id);
    return kv_run(s);
}

static kv_err find_expired(kv_db *db, int64_t now, int max_rows, prune_list *list)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    KV_TRY(kv_db_prepare(db, "SELECT job FROM job_expiry WHERE at <= $1 ORDER BY at, job LIMIT $2",
                         &s));
    kv_bind_i64(s, 1, now);
    kv_bind_i64(s, 2, max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row)
        list->ids[list->n++] = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

static kv_err forget_expired(kv_db *db, int64_t now, int max_rows)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "DELETE FROM job_expiry WHERE (at, job) IN (SELECT at, job FROM "
                         "job_expiry WHERE at <= $1 ORDER BY at, job LIMIT $2)",
                         &s));
    kv_bind_i64(s, 1, now);
    kv_bind_i64(s, 2, max_rows);
    return kv_run(s);
}

kv_err kv_jobs_prune_expired(kv_db *db, int64_t now, int max_rows, int64_t *ret_removed)
{
    prune_list list = {.n = 0};
    *ret_removed = 0;
    if (max_rows > PRUNE_MAX)
        max_rows = PRUNE_MAX;
    KV_TRY(find_expired(db, now, max_rows, &list));
    if (list.n == 0)
        return KV_OK;
    KV_TRY(remove_all(db, &list));
    KV_TRY(forget_expired(db, now, max_rows));
    *ret_removed = list.n;
    return KV_OK;
}
