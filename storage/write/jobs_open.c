/* Which jobs are unfinished (kv_jobs_open). */
#include "storage/write/counters.h"
#include "storage/write/jobs_parts.h"
#include "storage/write/run.h"

static kv_err count_from(kv_db *db, uint64_t from, uint64_t *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT count(*) FROM job WHERE id >= $1", &s));
    kv_bind_i64(s, 1, (int64_t)from);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        *ret = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_jobs_open_read(kv_db *db, kv_jobs_open *ret)
{
    uint64_t from, above = 0;
    KV_TRY(kv_counter_get(db, "open_from", &from));
    KV_TRY(count_from(db, from, &above));
    ret->from = from;
    ret->above = above;
    return KV_OK;
}

/* ---- one more, one less ---- */

static kv_err enter(kv_db *db, uint64_t id, uint64_t seq)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "INSERT INTO job_open (job, seq) VALUES ($1, $2)", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_i64(s, 2, (int64_t)seq);
    return kv_run(s);
}

static kv_err leave(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "DELETE FROM job_open WHERE job = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    return kv_run(s);
}

kv_err kv_job_opened(kv_db *db, kv_jobs_open *open, uint64_t id, uint64_t seq)
{
    if (id < open->from)
        return enter(db, id, seq);
    open->above++;
    return KV_OK;
}

static kv_err set_seq(kv_db *db, uint64_t id, uint64_t seq)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE job_open SET seq = $2 WHERE job = $1", &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_i64(s, 2, (int64_t)seq);
    return kv_run(s);
}

kv_err kv_job_reordered(kv_db *db, const kv_jobs_open *open, uint64_t id, uint64_t seq)
{
    return id < open->from ? set_seq(db, id, seq) : KV_OK;
}

kv_err kv_job_ended(kv_db *db, const kv_jobs_open *open, uint64_t id)
{
    return id < open->from ? leave(db, id) : KV_OK;
}

/* ---- passing ---- */

/* The id behind the oldest `slice` from `from` on. *ret_found false: there are no more than so
 * many. */
static kv_err find_next(kv_db *db, const kv_jobs_open *open, uint64_t *ret_id, bool *ret_found)
{
    kv_stmt *s;
    KV_TRY(
        kv_db_prepare(db, "SELECT id FROM job WHERE id >= $1 ORDER BY id LIMIT 1 OFFSET $2", &s));
    kv_bind_i64(s, 1, (int64_t)open->from);
    kv_bind_i64(s, 2, open->slice);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        *ret_id = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

static kv_err enter_between(kv_db *db, uint64_t from, uint64_t to)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO job_open SELECT id, seq FROM job "
                         "WHERE id >= $1 AND id < $2 AND state < 2 ORDER BY id",
                         &s));
    kv_bind_i64(s, 1, (int64_t)from);
    kv_bind_i64(s, 2, (int64_t)to);
    return kv_run(s);
}

static kv_err write_from(kv_db *db, uint64_t from)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE counter SET value = $1 WHERE name = 'open_from'", &s));
    kv_bind_i64(s, 1, (int64_t)from);
    return kv_run(s);
}

kv_err kv_jobs_open_pass(kv_db *db, kv_jobs_open *open)
{
    uint64_t to = 0;
    bool found;
    if (open->above < (uint64_t)open->keep + open->slice)
        return KV_OK;
    KV_TRY(find_next(db, open, &to, &found));
    if (!found) /* so many were removed */
        return count_from(db, open->from, &open->above);
    KV_TRY(enter_between(db, open->from, to));
    KV_TRY(write_from(db, to));
    open->from = to;
    open->above -= open->slice;
    return KV_OK;
}
