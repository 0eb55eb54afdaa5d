/* What processing leaves behind in blobs and their media rows. */
#include <stdio.h>
#include <string.h>

#include "storage/read/media.h"
#include "storage/write/media.h"
#include "storage/write/run.h"

/* Columns: blob, folder, stored_hash, ext, mime, job, status. */
static void read_where(kv_stmt *s, kv_media_where *ret)
{
    kv_slice hash = kv_col_blob(s, 2);
    ret->blob = (uint64_t)kv_col_i64(s, 0);
    snprintf(ret->folder, sizeof ret->folder, "%.*s", KV_SLICE_FMT(kv_col_str(s, 1)));
    if (hash.len == sizeof ret->stored_hash)
        memcpy(ret->stored_hash, hash.ptr, hash.len);
    snprintf(ret->ext, sizeof ret->ext, "%.*s", KV_SLICE_FMT(kv_col_str(s, 3)));
    snprintf(ret->mime, sizeof ret->mime, "%.*s", KV_SLICE_FMT(kv_col_str(s, 4)));
    ret->job = (uint64_t)kv_col_i64(s, 5);
    ret->status = (int)kv_col_i64(s, 6);
}

kv_err kv_media_again(kv_db *db, uint64_t media, uint64_t job, int64_t now, bool *ret_found,
                      kv_media_where *ret)
{
    kv_stmt *s;
    *ret = (kv_media_where){.blob = 0};
    KV_TRY(kv_db_prepare(
        db,
        "SELECT m.blob, m.folder, b.stored_hash, b.ext, b.mime, b.job, m.status FROM media m "
        "JOIN blob b ON b.id = m.blob WHERE m.id = $1",
        &s));
    kv_bind_i64(s, 1, (int64_t)media);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        read_where(s, ret);
    kv_db_done(s);
    if (err != KV_OK || !*ret_found || ret->status != KV_STATUS_FAILED)
        return err;
    return kv_blob_set_job(db, ret->blob, job, now);
}

kv_err kv_blob_set_job(kv_db *db, uint64_t blob, uint64_t job, int64_t now)
{
    kv_stmt *s;
    KV_TRY(
        kv_db_prepare(db,
                      "UPDATE blob SET job = $2, status = 0, error = NULL, error_detail = NULL, "
                      "processing_started_at = NULL, processing_completed_at = NULL WHERE id = $1",
                      &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, (int64_t)job);
    KV_TRY(kv_run(s));
    KV_TRY(kv_db_prepare(
        db, "UPDATE media SET status = 0, updated_at = $2 WHERE blob = $1 AND status = 2", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, now);
    return kv_run(s);
}

kv_err kv_blob_begun(kv_db *db, uint64_t blob, uint64_t job, int64_t now, bool *ret_live)
{
    kv_stmt *s;
    KV_TRY(
        kv_db_prepare(db,
                      "UPDATE blob SET processing_started_at = $3, processing_completed_at = NULL "
                      "WHERE id = $1 AND job = $2 AND state = 0",
                      &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, (int64_t)job);
    kv_bind_i64(s, 3, now);
    KV_TRY(kv_run(s));
    *ret_live = kv_db_changes(db) == 1;
    return KV_OK;
}

kv_err kv_blob_processed(kv_db *db, uint64_t blob, int64_t now, const kv_blob_result *r,
                         bool *ret_live)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE blob SET status = 1, error = NULL, error_detail = NULL, "
                         "width = CASE WHEN $2 > 0 THEN $2 ELSE width END, "
                         "height = CASE WHEN $3 > 0 THEN $3 ELSE height END, "
                         "thumbhash = $4, variants = $5, processing_completed_at = $6 "
                         "WHERE id = $1 AND state = 0",
                         &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, (int64_t)r->width);
    kv_bind_i64(s, 3, (int64_t)r->height);
    if (r->thumbhash.len)
        kv_bind_blob(s, 4, r->thumbhash);
    else
        kv_bind_null(s, 4);
    kv_bind_str(s, 5, r->variants);
    kv_bind_i64(s, 6, now);
    KV_TRY(kv_run(s));
    *ret_live = kv_db_changes(db) == 1;
    if (!*ret_live)
        return KV_OK;
    KV_TRY(kv_db_prepare(db, "UPDATE media SET status = 1, updated_at = $2 WHERE blob = $1", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, now);
    return kv_run(s);
}

kv_err kv_blob_failed(kv_db *db, uint64_t blob, uint64_t job, int64_t now, kv_slice slug,
                      kv_slice detail, bool *ret_live)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "UPDATE blob SET status = 2, error = $4, error_detail = $5, processing_completed_at = $3 "
        "WHERE id = $1 AND job = $2 AND state = 0",
        &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, (int64_t)job);
    kv_bind_i64(s, 3, now);
    kv_bind_text_or_null(s, 4, slug);
    kv_bind_text_or_null(s, 5, detail);
    KV_TRY(kv_run(s));
    *ret_live = kv_db_changes(db) == 1;
    if (!*ret_live)
        return KV_OK;
    KV_TRY(kv_db_prepare(
        db, "UPDATE media SET status = 2, updated_at = $2 WHERE blob = $1 AND status = 0", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, now);
    return kv_run(s);
}

/* No ORDER BY: it would sort the placements, of which there may be very many. They come by folder
 * as it is, their key being that. */
#define PLACED                                                                                     \
    "SELECT b.id, p.folder, b.stored_hash, b.ext, b.mime, b.job, b.status FROM blob b "            \
    "CROSS JOIN placement p ON p.blob = b.id WHERE b.id = $1 AND b.state = 0 AND p.state = 0 "

kv_err kv_blob_place(kv_db *db, uint64_t blob, kv_slice folder, bool *ret_found,
                     kv_media_where *ret)
{
    kv_stmt *s;
    *ret = (kv_media_where){.blob = 0};
    KV_TRY(kv_db_prepare(db, PLACED "AND p.folder = $2 UNION ALL " PLACED "LIMIT 1", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_str(s, 2, folder);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        read_where(s, ret);
    kv_db_done(s);
    return err;
}

kv_err kv_blob_media(kv_db *db, uint64_t blob, uint64_t *ids, int max, int *ret_n)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    *ret_n = 0;
    KV_TRY(kv_db_prepare(db, "SELECT id FROM media WHERE blob = $1 ORDER BY id DESC LIMIT $2", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_i64(s, 2, max);
    while ((err = kv_db_step(s, &row)) == KV_OK && row)
        ids[(*ret_n)++] = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}
