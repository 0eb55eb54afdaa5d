#include "storage/write/jobs.h"

#include "storage/write/run.h"

static void bind_u64(kv_stmt *s, int index, uint64_t v)
{
    kv_bind_i64(s, index, (int64_t)v);
}

static void bind_text_or_null(kv_stmt *s, int index, kv_slice v)
{
    if (v.len)
        kv_bind_str(s, index, v);
    else
        kv_bind_null(s, index);
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

/* ---- new ones ---- */

#define JOB_COLUMNS                                                                                \
    "id, service, lane, seq, tag, max_attempts, not_before, created_at, updated_at, tenant, "      \
    "params, state, epoch, attempt, history"
#define JOB_VALUES "$1, $2, $3, $4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13, $14"

static void bind_job(kv_stmt *s, const kv_job_new *job)
{
    bind_u64(s, 1, job->id);
    kv_bind_i64(s, 2, job->service);
    kv_bind_i64(s, 3, job->lane);
    bind_u64(s, 4, job->seq);
    bind_u64(s, 5, job->tag);
    bind_u64(s, 6, job->max_attempts);
    kv_bind_i64(s, 7, job->not_before);
    kv_bind_i64(s, 8, job->now);
    kv_bind_str(s, 9, job->tenant.ptr ? job->tenant : kv_slice_str(""));
    kv_bind_str(s, 10, job->params);
    kv_bind_i64(s, 11, job->state);
    bind_u64(s, 12, job->epoch);
    bind_u64(s, 13, job->attempt);
    kv_bind_str(s, 14, job->history.ptr ? job->history : kv_slice_str(""));
}

static void bind_options(kv_stmt *s, const kv_job_options *o)
{
    bind_u64(s, 15, o->backoff_ms);
    bind_u64(s, 16, o->backoff_max_ms);
    kv_bind_i64(s, 17, o->deadline);
    bind_u64(s, 18, o->retention_s);
    bind_u64(s, 19, o->credits);
    if (o->retry_of)
        bind_u64(s, 20, o->retry_of);
    else
        kv_bind_null(s, 20);
    bind_text_or_null(s, 21, o->unique_key);
    bind_text_or_null(s, 22, o->tags);
    bind_text_or_null(s, 23, o->user);
    bind_text_or_null(s, 24, o->operation);
    bind_text_or_null(s, 25, o->metadata);
    kv_bind_i64(s, 26, o->metadata.len > 0);
}

/* Two texts: most jobs have none of the options. */
kv_err kv_job_insert(kv_db *db, const kv_job_new *job, bool *ret_created)
{
    kv_stmt *s;
    if (job->options)
        KV_TRY(kv_db_prepare(db,
                             "INSERT INTO job (" JOB_COLUMNS
                             ", backoff, backoff_max, deadline, retention, credits, retry_of, "
                             "unique_key, tags, user, operation, metadata, metadata_version) "
                             "VALUES (" JOB_VALUES ", $15, $16, $17, $18, $19, $20, $21, $22, $23, "
                             "$24, $25, $26) ON CONFLICT DO NOTHING",
                             &s));
    else
        KV_TRY(kv_db_prepare(
            db, "INSERT INTO job (" JOB_COLUMNS ") VALUES (" JOB_VALUES ") ON CONFLICT DO NOTHING",
            &s));
    bind_job(s, job);
    if (job->options)
        bind_options(s, job->options);
    return kv_run_one(db, s, ret_created);
}

kv_err kv_job_unmake(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "DELETE FROM job WHERE id = $1", &s));
    bind_u64(s, 1, id);
    return kv_run(s);
}

kv_err kv_job_of_key(kv_db *db, int64_t service, kv_slice unique_key, uint64_t *ret_id)
{
    kv_stmt *s;
    bool row;
    *ret_id = 0;
    KV_TRY(kv_db_prepare(db,
                         "SELECT id FROM job WHERE service = $1 AND unique_key = $2 "
                         "AND unique_key IS NOT NULL AND state < 2",
                         &s));
    kv_bind_i64(s, 1, service);
    kv_bind_str(s, 2, unique_key);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row)
        *ret_id = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

/* ---- moves ---- */

/* Columns that say whose a job is, from `at` on. */
#define OWNER_COLUMNS "lane, tenant, user, credits, retention"
enum { OWNER_COLUMNS_N = 5 };

static void read_owner(kv_stmt *s, int at, kv_job_owner *owner)
{
    owner->lane = (int)kv_col_i64(s, at);
    kv_copy_name(owner->tenant, kv_col_str(s, at + 1));
    kv_copy_name(owner->user, kv_col_str(s, at + 2));
    owner->credits = (uint64_t)kv_col_i64(s, at + 3);
    owner->retention_s = (uint64_t)kv_col_i64(s, at + 4);
}

kv_err kv_job_owner_get(kv_db *db, uint64_t id, kv_job_owner *ret_owner, kv_buf *ret_params,
                        bool *ret_found)
{
    kv_stmt *s;
    if (ret_params)
        KV_TRY(kv_db_prepare(db, "SELECT " OWNER_COLUMNS ", params FROM job WHERE id = $1", &s));
    else
        KV_TRY(kv_db_prepare(db, "SELECT " OWNER_COLUMNS " FROM job WHERE id = $1", &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        read_owner(s, 0, ret_owner);
    if (err == KV_OK && *ret_found && ret_params) {
        kv_slice params = kv_col_str(s, OWNER_COLUMNS_N);
        kv_buf_add(ret_params, params.ptr, params.len);
        if (!kv_buf_ok(ret_params))
            err = KV_E_NO_MEMORY;
    }
    kv_db_done(s);
    return err;
}

static void bind_move(kv_stmt *s, const kv_job_move *m)
{
    bind_u64(s, 1, m->id);
    kv_bind_i64(s, 2, m->to);
    bind_u64(s, 3, m->new_epoch);
    bind_u64(s, 4, m->new_attempt);
    bind_u64(s, 5, m->max_attempts);
    kv_bind_i64(s, 6, m->not_before);
    kv_bind_i64(s, 7, m->now);
    bind_u64(s, 8, m->progress);
    bind_text_or_null(s, 9, m->result);
    bind_text_or_null(s, 10, m->error);
    bind_text_or_null(s, 11, m->error_detail);
    kv_bind_str(s, 12, m->history);
    kv_bind_i64(s, 13, m->from);
    bind_u64(s, 14, m->epoch);
    bind_u64(s, 15, m->attempt);
}

/* No RETURNING: it would make, fill and free a table of its own each time (two thirds of the
 * statement's instructions). */
kv_err kv_job_move_row(kv_db *db, const kv_job_move *move, bool *ret_moved)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "UPDATE job SET state = $2, epoch = $3, attempt = $4, max_attempts = $5, not_before = $6, "
        "updated_at = $7, progress = $8, result = $9, error = $10, error_detail = $11, "
        "history = history || $12 WHERE id = $1 AND state = $13 AND epoch = $14 AND attempt = $15",
        &s));
    bind_move(s, move);
    return kv_run_one(db, s, ret_moved);
}

kv_err kv_job_promote_row(kv_db *db, const kv_job_promote *p, kv_job_owner *ret_owner,
                          char ret_service[65], bool *ret_moved)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE job SET lane = $4, seq = $5, tag = $6, not_before = 0, "
                         "updated_at = $7, history = history || $8 "
                         "WHERE id = $1 AND state = 0 AND epoch = $2 AND attempt = $3 "
                         "RETURNING " OWNER_COLUMNS ", (SELECT name FROM service v "
                         "WHERE v.id = service)",
                         &s));
    bind_u64(s, 1, p->id);
    bind_u64(s, 2, p->epoch);
    bind_u64(s, 3, p->attempt);
    kv_bind_i64(s, 4, p->lane);
    bind_u64(s, 5, p->seq);
    bind_u64(s, 6, p->tag);
    kv_bind_i64(s, 7, p->now);
    kv_bind_str(s, 8, p->history);
    kv_err err = kv_db_step(s, ret_moved);
    if (err == KV_OK && *ret_moved) {
        read_owner(s, 0, ret_owner);
        kv_copy_name(ret_service, kv_col_str(s, OWNER_COLUMNS_N));
    }
    kv_db_done(s);
    return err;
}

/* ---- progress and metadata ---- */

kv_err kv_job_face_get(kv_db *db, uint64_t id, kv_job_face *ret)
{
    kv_stmt *s;
    *ret = (kv_job_face){.found = false};
    KV_TRY(kv_db_prepare(
        db,
        "SELECT state, epoch, attempt, progress, metadata_version, metadata, " OWNER_COLUMNS
        " FROM job WHERE id = $1",
        &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &ret->found);
    if (err != KV_OK || !ret->found) {
        kv_db_done(s);
        return err;
    }
    ret->state = (int)kv_col_i64(s, 0);
    ret->epoch = (uint64_t)kv_col_i64(s, 1);
    ret->attempt = (uint64_t)kv_col_i64(s, 2);
    ret->progress = (uint64_t)kv_col_i64(s, 3);
    ret->version = (uint64_t)kv_col_i64(s, 4);
    ret->metadata = kv_col_str(s, 5);
    read_owner(s, 6, &ret->owner);
    ret->held = s;
    return KV_OK;
}

void kv_job_face_done(kv_job_face *face)
{
    kv_db_done(face->held);
    face->held = NULL;
    face->metadata = kv_slice_of(NULL, 0);
}

kv_err kv_job_set_progress(kv_db *db, uint64_t id, uint64_t progress, int64_t now)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE job SET progress = $2, updated_at = $3 WHERE id = $1", &s));
    bind_u64(s, 1, id);
    bind_u64(s, 2, progress);
    kv_bind_i64(s, 3, now);
    return kv_run(s);
}

kv_err kv_job_set_metadata(kv_db *db, uint64_t id, uint64_t version, kv_slice metadata, int64_t now)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "UPDATE job SET metadata = $2, metadata_version = $3, updated_at = $4 WHERE id = $1",
        &s));
    bind_u64(s, 1, id);
    kv_bind_str(s, 2, metadata);
    bind_u64(s, 3, version);
    kv_bind_i64(s, 4, now);
    return kv_run(s);
}

/* ---- where a job is ---- */

kv_err kv_job_find(kv_db *db, uint64_t id, kv_job_place *ret)
{
    kv_stmt *s;
    *ret = (kv_job_place){.found = false};
    KV_TRY(kv_db_prepare(
        db, "SELECT state, epoch, attempt, max_attempts, not_before FROM job WHERE id = $1", &s));
    bind_u64(s, 1, id);
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

/* ---- once more ---- */

static void read_again(kv_stmt *s, kv_job_again *a)
{
    a->state = (int)kv_col_i64(s, 0);
    a->retried_by = (uint64_t)kv_col_i64(s, 1);
    a->service = kv_col_str(s, 2);
    a->job = (kv_job_new){.service = kv_col_i64(s, 3),
                          .lane = (int)kv_col_i64(s, 4),
                          .max_attempts = (uint64_t)kv_col_i64(s, 5),
                          .tenant = kv_col_str(s, 6),
                          .params = kv_col_str(s, 7)};
    a->options = (kv_job_options){.backoff_ms = (uint64_t)kv_col_i64(s, 8),
                                  .backoff_max_ms = (uint64_t)kv_col_i64(s, 9),
                                  .retention_s = (uint64_t)kv_col_i64(s, 10),
                                  .credits = (uint64_t)kv_col_i64(s, 11),
                                  .unique_key = kv_col_str(s, 12),
                                  .tags = kv_col_str(s, 13),
                                  .user = kv_col_str(s, 14),
                                  .operation = kv_col_str(s, 15),
                                  .metadata = kv_col_str(s, 16)};
}

kv_err kv_job_again_get(kv_db *db, uint64_t id, kv_job_again *ret)
{
    kv_stmt *s;
    *ret = (kv_job_again){.found = false};
    KV_TRY(kv_db_prepare(
        db,
        "SELECT j.state, j.retried_by, v.name, j.service, j.lane, j.max_attempts, j.tenant, "
        "j.params, j.backoff, j.backoff_max, j.retention, j.credits, j.unique_key, j.tags, j.user, "
        "j.operation, j.metadata FROM job j JOIN service v ON v.id = j.service WHERE j.id = $1",
        &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &ret->found);
    if (err != KV_OK || !ret->found) {
        kv_db_done(s);
        return err;
    }
    read_again(s, ret);
    ret->held = s;
    return KV_OK;
}

void kv_job_again_done(kv_job_again *again)
{
    kv_db_done(again->held);
    again->held = NULL;
}

kv_err kv_job_retried(kv_db *db, uint64_t id, uint64_t by)
{
    kv_stmt *s;
    KV_TRY(
        kv_db_prepare(db, "UPDATE job SET retried_by = $2 WHERE id = $1 AND state IN (3, 4)", &s));
    bind_u64(s, 1, id);
    bind_u64(s, 2, by);
    return kv_run(s);
}
