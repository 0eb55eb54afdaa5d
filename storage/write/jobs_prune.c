/* Jobs, removed: retention, and dead letters on demand. */
#include "proto/base/id.h"
#include "storage/write/jobs_parts.h"
#include "storage/write/run.h"

/* ---- a row ---- */

static kv_err delete_by_id(kv_db *db, const char *sql, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_i64(s, 1, (int64_t)id);
    return kv_run(s);
}

static kv_err delete_dead(kv_db *db, int64_t service, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "DELETE FROM dead_letter WHERE service = $1 AND job = $2", &s));
    kv_bind_i64(s, 1, service);
    kv_bind_i64(s, 2, (int64_t)id);
    return kv_run(s);
}

kv_err kv_job_remove(kv_db *db, uint64_t id, bool options, int64_t dead_service)
{
    KV_TRY(delete_by_id(db, "DELETE FROM job WHERE id = $1", id));
    if (options)
        KV_TRY(delete_by_id(db, "DELETE FROM job_option WHERE job = $1", id));
    return dead_service ? delete_dead(db, dead_service, id) : KV_OK;
}

/* ---- dead letters ---- */

#define OLDEST_DEAD                                                                                \
    "(SELECT job FROM dead_letter WHERE service = (SELECT id FROM service WHERE name = $1) "       \
    "ORDER BY job LIMIT $2)"

static kv_err purge_from(kv_db *db, const char *sql, kv_slice service, int max_rows,
                         int64_t *ret_removed)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_str(s, 1, service);
    kv_bind_i64(s, 2, max_rows);
    return kv_run_counted(db, s, ret_removed);
}

kv_err kv_jobs_purge_dead(kv_db *db, kv_slice service, int max_rows, int64_t *ret_removed)
{
    int64_t rows;
    KV_TRY(purge_from(db, "DELETE FROM job_option WHERE job IN " OLDEST_DEAD, service, max_rows,
                      &rows));
    KV_TRY(purge_from(db, "DELETE FROM job WHERE id IN " OLDEST_DEAD, service, max_rows, &rows));
    return purge_from(db,
                      "DELETE FROM dead_letter WHERE service = (SELECT id FROM service "
                      "WHERE name = $1) AND job IN " OLDEST_DEAD,
                      service, max_rows, ret_removed);
}

/* ---- retention of all ---- */

enum { PRUNE_MAX = 256 };
static const int64_t DAY_MS = 24 * 3600 * 1000;

/* One that has ended. */
typedef struct old_job {
    uint64_t id;
    int64_t due;          /* when its own retention ends */
    int64_t dead_service; /* 0: no dead letter */
    bool options;
} old_job;

typedef struct prune_list {
    old_job jobs[PRUNE_MAX];
    int n, seen;
} prune_list;

/* From `at` on: id, state, options, service. */
static void add_old(prune_list *list, kv_stmt *s, int at)
{
    bool dead = kv_col_i64(s, at + 1) == KV_JOB_ERROR;
    list->jobs[list->n++] = (old_job){.id = (uint64_t)kv_col_i64(s, at),
                                      .options = kv_col_i64(s, at + 2) != 0,
                                      .dead_service = dead ? kv_col_i64(s, at + 3) : 0};
}

/* A job with a retention of its own waits for its time in job_expiry. */
static kv_err find_old(kv_db *db, int64_t before_ms, uint64_t until, int max_rows, uint64_t *cursor,
                       prune_list *list)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    KV_TRY(kv_db_prepare(db,
                         "SELECT state >= 2 AND updated_at < $3 AND (options = 0 OR (SELECT "
                         "retention FROM job_option WHERE job = id) = 0), id, state, options, "
                         "service FROM job WHERE id > $1 AND id < $2 ORDER BY id LIMIT $4",
                         &s));
    kv_bind_i64(s, 1, (int64_t)*cursor);
    kv_bind_i64(s, 2, (int64_t)until);
    kv_bind_i64(s, 3, before_ms);
    kv_bind_i64(s, 4, max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        *cursor = (uint64_t)kv_col_i64(s, 1);
        list->seen++;
        if (kv_col_i64(s, 0))
            add_old(list, s, 1);
    }
    kv_db_done(s);
    return err;
}

static kv_err remove_all(kv_db *db, const prune_list *list)
{
    for (int i = 0; i < list->n; i++) {
        const old_job *old = &list->jobs[i];
        KV_TRY(kv_job_remove(db, old->id, old->options, old->dead_service));
    }
    return KV_OK;
}

/* First the ids of old, then those ahead of our clock: clients make them, with clocks of their
 * own. */
kv_err kv_jobs_prune(kv_db *db, int64_t before_ms, int64_t now, int max_rows, uint64_t *cursor,
                     int64_t *ret_removed)
{
    prune_list list = {.n = 0};
    bool ahead = *cursor >= kv_id_first_at(now);
    *ret_removed = 0;
    if (max_rows > PRUNE_MAX)
        max_rows = PRUNE_MAX;
    KV_TRY(find_old(db, before_ms, ahead ? INT64_MAX : kv_id_first_at(before_ms), max_rows, cursor,
                    &list));
    KV_TRY(remove_all(db, &list));
    *ret_removed = list.n;
    if (list.seen < max_rows)
        *cursor = ahead ? 0 : kv_id_first_at(now + DAY_MS);
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

/* One that was submitted anew since, or changed after its end, has its time later. */
static kv_err find_expired(kv_db *db, int64_t now, int max_rows, prune_list *list)
{
    kv_stmt *s;
    bool row = true;
    kv_err err;
    KV_TRY(kv_db_prepare(db,
                         "SELECT coalesce(j.state, 0) >= 2 AND coalesce(o.retention, 0) > 0, "
                         "j.id, j.state, j.options, j.service, j.updated_at + o.retention * 1000 "
                         "FROM job_expiry e LEFT JOIN job j ON j.id = e.job "
                         "LEFT JOIN job_option o ON o.job = j.id WHERE e.at <= $1 "
                         "ORDER BY e.at, e.job LIMIT $2",
                         &s));
    kv_bind_i64(s, 1, now);
    kv_bind_i64(s, 2, max_rows);
    while ((err = kv_db_step(s, &row)) == KV_OK && row) {
        list->seen++;
        if (!kv_col_i64(s, 0))
            continue; /* purged, and maybe submitted anew */
        add_old(list, s, 1);
        list->jobs[list->n - 1].due = kv_col_i64(s, 5);
    }
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
    if (list.seen == 0)
        return KV_OK;
    KV_TRY(forget_expired(db, now, max_rows));
    for (int i = 0; i < list.n; i++) {
        const old_job *old = &list.jobs[i];
        KV_TRY(old->due <= now ? kv_job_remove(db, old->id, old->options, old->dead_service)
                               : kv_job_expires(db, old->id, old->due));
    }
    *ret_removed = list.seen;
    return KV_OK;
}
