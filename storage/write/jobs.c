#include "storage/read/jobs.h"
#include "storage/write/jobs_parts.h"
#include "storage/write/run.h"

static void bind_u64(kv_stmt *s, int index, uint64_t v)
{
    kv_bind_i64(s, index, (int64_t)v);
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

static void bind_job(kv_stmt *s, const kv_job_new *job, int options)
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
    kv_bind_i64(s, 15, options);
}

static kv_err insert_row(kv_db *db, const kv_job_new *job, int options, bool *ret_created)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO job (id, service, lane, seq, tag, max_attempts, not_before, created_at, "
        "updated_at, tenant, params, state, epoch, attempt, history, options) VALUES ($1, $2, $3, "
        "$4, $5, $6, $7, $8, $8, $9, $10, $11, $12, $13, $14, $15) ON CONFLICT DO NOTHING",
        &s));
    bind_job(s, job, options);
    return kv_run_one(db, s, ret_created);
}

static kv_err insert_options(kv_db *db, uint64_t id, const kv_job_options *o)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO job_option (job, backoff, backoff_max, deadline, retention, credits, "
        "retry_of, unique_key, tags, user, operation, metadata, metadata_version) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        &s));
    bind_u64(s, 1, id);
    bind_u64(s, 2, o->backoff_ms);
    bind_u64(s, 3, o->backoff_max_ms);
    kv_bind_i64(s, 4, o->deadline);
    bind_u64(s, 5, o->retention_s);
    bind_u64(s, 6, o->credits);
    if (o->retry_of)
        bind_u64(s, 7, o->retry_of);
    else
        kv_bind_null(s, 7);
    kv_bind_text_or_null(s, 8, o->unique_key);
    kv_bind_text_or_null(s, 9, o->tags);
    kv_bind_text_or_null(s, 10, o->user);
    kv_bind_text_or_null(s, 11, o->operation);
    kv_bind_text_or_null(s, 12, o->metadata);
    kv_bind_i64(s, 13, o->metadata.len > 0);
    return kv_run(s);
}

static kv_err insert_key(kv_db *db, const kv_job_new *job)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "INSERT INTO job_key (service, unique_key, job) VALUES ($1, $2, $3)",
                         &s));
    kv_bind_i64(s, 1, job->service);
    kv_bind_str(s, 2, job->options->unique_key);
    bind_u64(s, 3, job->id);
    return kv_run(s);
}

kv_err kv_job_insert(kv_db *db, kv_jobs_open *open, const kv_job_new *job, bool *ret_created)
{
    const kv_job_options *o = job->options;
    bool keyed = o && o->unique_key.len;
    uint64_t other = 0;
    *ret_created = false;
    if (keyed)
        KV_TRY(kv_job_of_key(db, job->service, o->unique_key, &other));
    if (other)
        return KV_OK;
    KV_TRY(insert_row(db, job, o ? KV_JOB_HAS_OPTIONS | (keyed ? KV_JOB_HAS_KEY : 0) : 0,
                      ret_created));
    if (!*ret_created)
        return KV_OK;
    KV_TRY(kv_job_opened(db, open, job->id, job->seq));
    if (keyed)
        KV_TRY(insert_key(db, job));
    return o ? insert_options(db, job->id, o) : KV_OK;
}

kv_err kv_job_unmake(kv_db *db, kv_jobs_open *open, const kv_job_new *job)
{
    bool keyed = job->options && job->options->unique_key.len;
    KV_TRY(kv_job_ended(db, open, job->id));
    if (keyed)
        KV_TRY(kv_job_free_key(db, job->id));
    return kv_job_remove(db, job->id, job->options != NULL, 0);
}

/* ---- unique keys ---- */

kv_err kv_job_of_key(kv_db *db, int64_t service, kv_slice unique_key, uint64_t *ret_id)
{
    kv_stmt *s;
    bool row;
    *ret_id = 0;
    KV_TRY(kv_db_prepare(db, "SELECT job FROM job_key WHERE service = $1 AND unique_key = $2", &s));
    kv_bind_i64(s, 1, service);
    kv_bind_str(s, 2, unique_key);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row)
        *ret_id = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_job_free_key(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "DELETE FROM job_key WHERE service = (SELECT service FROM job WHERE id = "
                         "$1) AND unique_key = (SELECT unique_key FROM job_option WHERE job = $1) "
                         "AND job = $1",
                         &s));
    bind_u64(s, 1, id);
    return kv_run(s);
}

/* ---- moves ---- */

/* Of the row: lane, tenant, options. */
static void read_owner(kv_stmt *s, int at, kv_job_owner *owner)
{
    *owner = (kv_job_owner){.lane = (int)kv_col_i64(s, at)};
    kv_copy_name(owner->tenant, kv_col_str(s, at + 1));
    owner->keyed = (kv_col_i64(s, at + 2) & KV_JOB_HAS_KEY) != 0;
}

static void read_options(kv_stmt *s, int at, kv_job_owner *owner)
{
    kv_copy_name(owner->user, kv_col_str(s, at));
    owner->credits = (uint64_t)kv_col_i64(s, at + 1);
    owner->retention_s = (uint64_t)kv_col_i64(s, at + 2);
}

static kv_err look_up_options(kv_db *db, uint64_t id, kv_job_owner *owner)
{
    kv_stmt *s;
    bool found;
    KV_TRY(kv_db_prepare(db, "SELECT user, credits, retention FROM job_option WHERE job = $1", &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &found);
    if (err == KV_OK && found)
        read_options(s, 0, owner);
    kv_db_done(s);
    return err;
}

static kv_err add_params(kv_buf *to, kv_slice params)
{
    kv_buf_add(to, params.ptr, params.len);
    return kv_buf_ok(to) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_job_owner_get(kv_db *db, uint64_t id, kv_job_owner *ret_owner, kv_buf *ret_params,
                        bool *ret_found)
{
    kv_stmt *s;
    bool options = false;
    if (ret_params)
        KV_TRY(
            kv_db_prepare(db, "SELECT lane, tenant, options, params FROM job WHERE id = $1", &s));
    else
        KV_TRY(kv_db_prepare(db, "SELECT lane, tenant, options FROM job WHERE id = $1", &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found) {
        read_owner(s, 0, ret_owner);
        options = kv_col_i64(s, 2) != 0;
        if (ret_params)
            err = add_params(ret_params, kv_col_str(s, 3));
    }
    kv_db_done(s);
    return err == KV_OK && options ? look_up_options(db, id, ret_owner) : err;
}

static void bind_move(kv_stmt *s, const kv_job_move *m)
{
    bind_u64(s, 1, m->id);
    kv_bind_i64(s, 2, m->to);
    bind_u64(s, 3, m->new_epoch);
    bind_u64(s, 4, m->new_attempt);
    bind_u64(s, 5, m->given_back);
    kv_bind_i64(s, 6, m->not_before);
    kv_bind_i64(s, 7, m->now);
    bind_u64(s, 8, m->progress);
    kv_bind_text_or_null(s, 9, m->result);
    kv_bind_text_or_null(s, 10, m->error);
    kv_bind_text_or_null(s, 11, m->error_detail);
    kv_bind_str(s, 12, m->history);
    kv_bind_i64(s, 13, m->from);
    bind_u64(s, 14, m->epoch);
    bind_u64(s, 15, m->attempt);
}

static kv_err add_dead(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "INSERT INTO dead_letter (service, job) SELECT service, id FROM job WHERE id = $1",
        &s));
    bind_u64(s, 1, id);
    return kv_run(s);
}

/* No RETURNING: it would make, fill and free a table of its own each time (two thirds of the
 * statement's instructions). */
#define MOVE(progress)                                                                             \
    "UPDATE job SET state = $2, epoch = $3, attempt = $4, given_back = $5, not_before = $6, "      \
    "updated_at = $7, progress = " progress ", result = $9, error = $10, error_detail = $11, "     \
    "history = history || $12 WHERE id = $1 AND state = $13 AND epoch = $14 AND attempt = $15"

kv_err kv_job_move_row(kv_db *db, const kv_jobs_open *open, const kv_job_move *move,
                       bool *ret_moved)
{
    kv_stmt *s;
    if (move->to == KV_JOB_ERROR || move->to == KV_JOB_CANCELLED) /* S3-18: how far it was */
        KV_TRY(kv_db_prepare(db, MOVE("iif($8, $8, progress)"), &s));
    else
        KV_TRY(kv_db_prepare(db, MOVE("$8"), &s));
    bind_move(s, move);
    KV_TRY(kv_run_one(db, s, ret_moved));
    if (!*ret_moved || move->to < KV_JOB_COMPLETE)
        return KV_OK;
    KV_TRY(kv_job_ended(db, open, move->id));
    return move->to == KV_JOB_ERROR ? add_dead(db, move->id) : KV_OK;
}

static kv_err service_of(kv_db *db, uint64_t id, char ret_service[65])
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(
        db, "SELECT v.name FROM job j JOIN service v ON v.id = j.service WHERE j.id = $1", &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK)
        kv_copy_name(ret_service, row ? kv_col_str(s, 0) : kv_slice_of(NULL, 0));
    kv_db_done(s);
    return err;
}

kv_err kv_job_promote_row(kv_db *db, const kv_jobs_open *open, const kv_job_promote *p,
                          kv_job_owner *ret_owner, char ret_service[65], bool *ret_moved)
{
    kv_stmt *s;
    bool found;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE job SET lane = $4, seq = $5, tag = $6, not_before = 0, "
                         "updated_at = $7, history = history || $8 "
                         "WHERE id = $1 AND state = 0 AND epoch = $2 AND attempt = $3",
                         &s));
    bind_u64(s, 1, p->id);
    bind_u64(s, 2, p->epoch);
    bind_u64(s, 3, p->attempt);
    kv_bind_i64(s, 4, p->lane);
    bind_u64(s, 5, p->seq);
    bind_u64(s, 6, p->tag);
    kv_bind_i64(s, 7, p->now);
    kv_bind_str(s, 8, p->history);
    KV_TRY(kv_run_one(db, s, ret_moved));
    if (!*ret_moved)
        return KV_OK;
    KV_TRY(kv_job_reordered(db, open, p->id, p->seq));
    KV_TRY(service_of(db, p->id, ret_service));
    return kv_job_owner_get(db, p->id, ret_owner, NULL, &found);
}

/* ---- progress and metadata ---- */

/* The second statement holds the metadata. */
static kv_err read_face_options(kv_db *db, uint64_t id, kv_job_face *face)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "SELECT user, credits, retention, metadata_version, metadata "
                         "FROM job_option WHERE job = $1",
                         &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &row);
    if (err != KV_OK || !row) {
        kv_db_done(s);
        return err;
    }
    read_options(s, 0, &face->owner);
    face->version = (uint64_t)kv_col_i64(s, 3);
    face->metadata = kv_col_str(s, 4);
    face->held = s;
    return KV_OK;
}

kv_err kv_job_face_get(kv_db *db, uint64_t id, kv_job_face *ret)
{
    kv_stmt *s;
    bool options = false;
    *ret = (kv_job_face){.found = false};
    KV_TRY(kv_db_prepare(
        db, "SELECT state, epoch, attempt, progress, lane, tenant, options FROM job WHERE id = $1",
        &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &ret->found);
    if (err == KV_OK && ret->found) {
        ret->state = (int)kv_col_i64(s, 0);
        ret->epoch = (uint64_t)kv_col_i64(s, 1);
        ret->attempt = (uint64_t)kv_col_i64(s, 2);
        ret->progress = (uint64_t)kv_col_i64(s, 3);
        read_owner(s, 4, &ret->owner);
        options = kv_col_i64(s, 6) != 0;
    }
    kv_db_done(s);
    return err == KV_OK && options ? read_face_options(db, id, ret) : err;
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
    KV_TRY(kv_db_prepare(db, "UPDATE job SET options = options | 1, updated_at = $2 WHERE id = $1",
                         &s));
    bind_u64(s, 1, id);
    kv_bind_i64(s, 2, now);
    KV_TRY(kv_run(s));
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO job_option (job, metadata, metadata_version) "
                         "VALUES ($1, $2, $3) ON CONFLICT (job) DO UPDATE SET "
                         "metadata = excluded.metadata, "
                         "metadata_version = excluded.metadata_version",
                         &s));
    bind_u64(s, 1, id);
    kv_bind_str(s, 2, metadata);
    bind_u64(s, 3, version);
    return kv_run(s);
}

/* ---- where a job is ---- */

kv_err kv_job_find(kv_db *db, uint64_t id, kv_job_place *ret)
{
    kv_stmt *s;
    *ret = (kv_job_place){.found = false};
    KV_TRY(kv_db_prepare(
        db,
        "SELECT state, epoch, attempt, max_attempts, not_before, given_back FROM job WHERE id = $1",
        &s));
    bind_u64(s, 1, id);
    kv_err err = kv_db_step(s, &ret->found);
    if (err == KV_OK && ret->found) {
        ret->state = (int)kv_col_i64(s, 0);
        ret->epoch = (uint64_t)kv_col_i64(s, 1);
        ret->attempt = (uint64_t)kv_col_i64(s, 2);
        ret->max_attempts = (uint64_t)kv_col_i64(s, 3);
        ret->not_before = kv_col_i64(s, 4);
        ret->given_back = (uint64_t)kv_col_i64(s, 5);
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
        "SELECT j.state, o.retried_by, v.name, j.service, j.lane, j.max_attempts, j.tenant, "
        "j.params, o.backoff, o.backoff_max, o.retention, o.credits, o.unique_key, o.tags, o.user, "
        "o.operation, o.metadata FROM job j JOIN service v ON v.id = j.service "
        "LEFT JOIN job_option o ON o.job = j.id WHERE j.id = $1",
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

static kv_err drop_dead(kv_db *db, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "DELETE FROM dead_letter WHERE job = $1 AND "
                         "service = (SELECT service FROM job WHERE id = $1)",
                         &s));
    bind_u64(s, 1, id);
    return kv_run(s);
}

kv_err kv_job_retried(kv_db *db, uint64_t id, uint64_t by)
{
    kv_stmt *s;
    bool ended;
    KV_TRY(kv_db_prepare(
        db, "UPDATE job SET options = options | 1 WHERE id = $1 AND state IN (3, 4)", &s));
    bind_u64(s, 1, id);
    KV_TRY(kv_run_one(db, s, &ended));
    if (!ended)
        return KV_OK;
    KV_TRY(drop_dead(db, id));
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO job_option (job, retried_by) VALUES ($1, $2) "
                         "ON CONFLICT (job) DO UPDATE SET retried_by = excluded.retried_by",
                         &s));
    bind_u64(s, 1, id);
    bind_u64(s, 2, by);
    return kv_run(s);
}
