/* Media rows and what they refer to: add, remove, reap. */
#include "storage/write/media.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "proto/base/media_name.h"
#include "storage/read/media.h"
#include "storage/read/media_oldest.h"
#include "storage/write/run.h"

enum { LIVE, DYING };

static void copy_text(char *out, size_t cap, kv_slice text)
{
    snprintf(out, cap, "%.*s", KV_SLICE_FMT(text));
}

void kv_media_where_key(const kv_media_where *w, kv_buf *out)
{
    kv_buf hex;
    kv_buf_init(&hex, 0);
    kv_buf_add_hex(&hex, w->stored_hash, sizeof w->stored_hash);
    if (kv_buf_ok(&hex))
        kv_media_key(out, kv_slice_str(w->folder), kv_buf_str(&hex), kv_slice_str(w->ext));
    else
        out->failed = true;
    kv_buf_release(&hex);
}

/* ---- add ---- */

typedef struct blob_row {
    bool found;
    uint64_t id, job;
    int state, status;
    bool has_variants, job_unfinished, metadata_kept;
} blob_row;

static kv_err find_blob(kv_db *db, kv_slice stored_hash, blob_row *ret)
{
    kv_stmt *s;
    *ret = (blob_row){.found = false};
    KV_TRY(kv_db_prepare(db,
                         "SELECT id, state, status, variants IS NOT NULL, "
                         "coalesce((SELECT j.state < 2 FROM job j WHERE j.id = b.job), 0), job, "
                         "metadata_kept "
                         "FROM blob b WHERE stored_hash = $1",
                         &s));
    kv_bind_blob(s, 1, stored_hash);
    kv_err err = kv_db_step(s, &ret->found);
    if (err == KV_OK && ret->found) {
        ret->id = (uint64_t)kv_col_i64(s, 0);
        ret->state = (int)kv_col_i64(s, 1);
        ret->status = (int)kv_col_i64(s, 2);
        ret->has_variants = kv_col_i64(s, 3) != 0;
        ret->job_unfinished = kv_col_i64(s, 4) != 0;
        ret->job = (uint64_t)kv_col_i64(s, 5);
        ret->metadata_kept = kv_col_i64(s, 6) != 0;
    }
    kv_db_done(s);
    return err;
}

/* Whether the message came before, and if so which blob it went to. */
static kv_err find_media(kv_db *db, uint64_t media, bool *ret_found, uint64_t *ret_blob,
                         bool *ret_shared)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "SELECT m.blob, m.created_at > b.created_at FROM media m "
                         "JOIN blob b ON b.id = m.blob WHERE m.id = $1",
                         &s));
    kv_bind_i64(s, 1, (int64_t)media);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found) {
        *ret_blob = (uint64_t)kv_col_i64(s, 0);
        *ret_shared = kv_col_i64(s, 1) != 0;
    }
    kv_db_done(s);
    return err;
}

static kv_err find_placement(kv_db *db, uint64_t blob, kv_slice folder, bool *ret_found,
                             int *ret_state)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "SELECT state FROM placement WHERE blob = $1 AND folder = $2", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_str(s, 2, folder);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found)
        *ret_state = (int)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

static kv_err find_same(kv_db *db, uint64_t blob, const kv_media_new *m, bool *ret_found,
                        uint64_t *ret_media)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "SELECT " KV_OLDEST_MEDIA(
                             "$1", "$2", "(SELECT refs FROM blob WHERE id = $1)", " AND hash = $3"),
                         &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_str(s, 2, m->folder);
    kv_bind_blob(s, 3, m->hash);
    kv_err err = kv_db_step(s, ret_found);
    *ret_found = err == KV_OK && !kv_col_null(s, 0);
    if (*ret_found)
        *ret_media = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

static kv_err insert_media(kv_db *db, const kv_media_new *m, uint64_t blob, int status,
                           bool *ret_made)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO media (id, blob, folder, filename, hash, status, created_at, updated_at) "
        "VALUES ($1, $2, $3, $4, $5, $6, $7, $7) ON CONFLICT DO NOTHING",
        &s));
    kv_bind_i64(s, 1, (int64_t)m->media);
    kv_bind_i64(s, 2, (int64_t)blob);
    kv_bind_str(s, 3, m->folder);
    kv_bind_str(s, 4, m->filename);
    kv_bind_blob(s, 5, m->hash);
    kv_bind_i64(s, 6, status);
    kv_bind_i64(s, 7, m->now);
    KV_TRY(kv_run(s));
    *ret_made = kv_db_changes(db) == 1;
    return KV_OK;
}

static kv_err insert_blob(kv_db *db, const kv_media_new *m, int status)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO blob (id, stored_hash, size, mime, ext, width, height, refs, status, "
        "metadata_kept, created_at, job) VALUES ($1, $2, $3, $4, $5, $6, $7, 1, $8, $9, $10, $11)",
        &s));
    kv_bind_i64(s, 1, (int64_t)m->blob);
    kv_bind_blob(s, 2, m->stored_hash);
    kv_bind_i64(s, 3, (int64_t)m->size);
    kv_bind_str(s, 4, m->mime);
    kv_bind_str(s, 5, m->ext);
    kv_bind_i64(s, 6, (int64_t)m->width);
    kv_bind_i64(s, 7, (int64_t)m->height);
    kv_bind_i64(s, 8, status);
    kv_bind_i64(s, 9, m->metadata_kept);
    kv_bind_i64(s, 10, m->now);
    if (m->process)
        kv_bind_i64(s, 11, (int64_t)m->job);
    else
        kv_bind_null(s, 11);
    return kv_run(s);
}

static kv_err take_placement(kv_db *db, uint64_t blob, kv_slice folder)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO placement (blob, folder, refs) VALUES ($1, $2, 1) "
                         "ON CONFLICT (blob, folder) DO UPDATE SET refs = refs + 1",
                         &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_str(s, 2, folder);
    return kv_run(s);
}

static kv_err take_blob(kv_db *db, uint64_t blob)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE blob SET refs = refs + 1 WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    return kv_run(s);
}

/* Who kept these bytes before did not look (STRIP_ORIGINAL_METADATA), or could not; now somebody
 * did. */
static kv_err set_looked_through(kv_db *db, uint64_t blob)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "UPDATE blob SET metadata_kept = 0 WHERE id = $1", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    return kv_run(s);
}

static kv_err add_alias(kv_db *db, const kv_media_new *m, uint64_t blob)
{
    kv_stmt *s;
    if (kv_slice_eq(m->hash, m->stored_hash))
        return KV_OK;
    KV_TRY(kv_db_prepare(
        db,
        "INSERT INTO alias (hash, strip_version, blob) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        &s));
    kv_bind_blob(s, 1, m->hash);
    kv_bind_i64(s, 2, (int64_t)m->strip_version);
    kv_bind_i64(s, 3, (int64_t)blob);
    return kv_run(s);
}

static kv_err add_new_bytes(kv_db *db, const kv_media_new *m, kv_media_added *ret)
{
    if (!m->may_place(m->arg)) {
        ret->outcome = KV_MEDIA_RELINK;
        return KV_OK;
    }
    int status = m->process ? KV_STATUS_PENDING : KV_STATUS_READY;
    bool made;
    KV_TRY(insert_media(db, m, m->blob, status, &made));
    if (!made) { /* the id stands for other bytes: still its own row is the answer */
        ret->outcome = KV_MEDIA_WAS;
        return find_media(db, m->media, &made, &ret->blob, &ret->deduplicated);
    }
    KV_TRY(insert_blob(db, m, status));
    KV_TRY(take_placement(db, m->blob, m->folder));
    ret->outcome = KV_MEDIA_MADE;
    ret->blob = m->blob;
    ret->wants_job = m->process;
    return add_alias(db, m, m->blob);
}

/* The bytes are here. Says in `ret` what is to be done: MADE stands for "a row is needed". */
static kv_err judge_known_bytes(kv_db *db, const kv_media_new *m, const blob_row *blob,
                                kv_media_added *ret)
{
    bool found, shared;
    int state = LIVE;
    ret->blob = blob->id;
    KV_TRY(find_media(db, m->media, &found, &ret->blob, &shared));
    if (found) {
        ret->outcome = KV_MEDIA_WAS;
        ret->deduplicated = shared && m->dedup;
        return KV_OK;
    }
    KV_TRY(find_placement(db, blob->id, m->folder, &found, &state));
    if (blob->state == DYING || state == DYING) {
        ret->outcome = KV_MEDIA_DYING;
        return KV_OK;
    }
    if (!found && !m->may_place(m->arg)) {
        ret->outcome = KV_MEDIA_RELINK;
        return KV_OK;
    }
    bool same = false;
    if (found && m->dedup)
        KV_TRY(find_same(db, blob->id, m, &same, &ret->media));
    ret->outcome = same ? KV_MEDIA_SHARED : KV_MEDIA_MADE;
    ret->deduplicated = m->dedup;
    return KV_OK;
}

static kv_err add_known_bytes(kv_db *db, const kv_media_new *m, const blob_row *blob,
                              kv_media_added *ret)
{
    KV_TRY(judge_known_bytes(db, m, blob, ret));
    if (ret->outcome != KV_MEDIA_MADE && ret->outcome != KV_MEDIA_SHARED)
        return KV_OK;
    ret->wants_job = m->process && !blob->has_variants && !blob->job_unfinished;
    ret->job_before = ret->wants_job ? blob->job : 0;
    if (ret->outcome == KV_MEDIA_MADE) {
        int status = ret->wants_job ? KV_STATUS_PENDING
                     : m->process   ? blob->status
                                    : KV_STATUS_READY;
        bool made;
        KV_TRY(insert_media(db, m, blob->id, status, &made));
        assert(made); /* judged above, and there is one writer */
        KV_TRY(take_blob(db, blob->id));
        KV_TRY(take_placement(db, blob->id, m->folder));
        KV_TRY(add_alias(db, m, blob->id));
    }
    if (blob->metadata_kept && !m->metadata_kept)
        KV_TRY(set_looked_through(db, blob->id));
    return ret->wants_job ? kv_blob_set_job(db, blob->id, m->job, m->now) : KV_OK;
}

kv_err kv_media_add(kv_db *db, const kv_media_new *m, kv_media_added *ret)
{
    blob_row blob;
    *ret = (kv_media_added){.media = m->media};
    KV_TRY(find_blob(db, m->stored_hash, &blob));
    return blob.found ? add_known_bytes(db, m, &blob, ret) : add_new_bytes(db, m, ret);
}

/* ---- remove ---- */

static kv_err delete_row(kv_db *db, uint64_t media, kv_media_removed *ret)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "DELETE FROM media WHERE id = $1 RETURNING blob, folder, status", &s));
    kv_bind_i64(s, 1, (int64_t)media);
    kv_err err = kv_db_step(s, &ret->found);
    if (err == KV_OK && ret->found) {
        ret->where.blob = (uint64_t)kv_col_i64(s, 0);
        copy_text(ret->where.folder, sizeof ret->where.folder, kv_col_str(s, 1));
        ret->where.status = (int)kv_col_i64(s, 2);
    }
    kv_db_done(s);
    return err;
}

static kv_err drop_placement(kv_db *db, kv_media_removed *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE placement SET refs = refs - 1, state = refs <= 1 "
                         "WHERE blob = $1 AND folder = $2 RETURNING refs",
                         &s));
    kv_bind_i64(s, 1, (int64_t)ret->where.blob);
    kv_bind_str(s, 2, kv_slice_str(ret->where.folder));
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row)
        ret->placement_dying = kv_col_i64(s, 0) <= 0;
    kv_db_done(s);
    return err;
}

static kv_err drop_blob(kv_db *db, kv_media_removed *ret)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE blob SET refs = refs - 1, state = refs <= 1 WHERE id = $1 "
                         "RETURNING refs, stored_hash, ext, mime, iif(status = 0, job, 0)",
                         &s));
    kv_bind_i64(s, 1, (int64_t)ret->where.blob);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row) {
        kv_slice hash = kv_col_blob(s, 1);
        ret->blob_dying = kv_col_i64(s, 0) <= 0;
        ret->job = ret->blob_dying ? (uint64_t)kv_col_i64(s, 4) : 0;
        if (hash.len == sizeof ret->where.stored_hash)
            memcpy(ret->where.stored_hash, hash.ptr, hash.len);
        copy_text(ret->where.ext, sizeof ret->where.ext, kv_col_str(s, 2));
        copy_text(ret->where.mime, sizeof ret->where.mime, kv_col_str(s, 3));
    }
    kv_db_done(s);
    return err;
}

kv_err kv_media_remove(kv_db *db, uint64_t media, kv_media_removed *ret)
{
    *ret = (kv_media_removed){.found = false};
    KV_TRY(delete_row(db, media, ret));
    if (!ret->found)
        return KV_OK;
    KV_TRY(drop_placement(db, ret));
    return drop_blob(db, ret);
}

/* ---- reap ---- */

kv_err kv_media_reaped_folder(kv_db *db, uint64_t blob, kv_slice folder)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "DELETE FROM placement WHERE blob = $1 AND folder = $2 AND state = 1",
                         &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    kv_bind_str(s, 2, folder);
    return kv_run(s);
}

kv_err kv_media_reaped_blob(kv_db *db, uint64_t blob)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "DELETE FROM blob WHERE id = $1 AND state = 1 "
                         "AND NOT EXISTS (SELECT 1 FROM placement WHERE blob = $1)",
                         &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    KV_TRY(kv_run(s));
    if (kv_db_changes(db) == 0)
        return KV_OK;
    KV_TRY(kv_db_prepare(db, "DELETE FROM alias WHERE blob = $1", &s));
    kv_bind_i64(s, 1, (int64_t)blob);
    return kv_run(s);
}
