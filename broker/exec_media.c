/* The media commands. */
#include "broker/exec.h"

#include <assert.h>
#include <stdio.h>

#include "broker/hooks.h"
#include "proto/base/media_name.h"
#include "storage/read/media.h"
#include "storage/write/media.h"

enum {
    HASH_LEN = 32,   /* checked by the core */
    ROW_USUAL = 1024 /* bytes of a new row as JSON, which grows to that in steps otherwise */
};

/* ---- commit ---- */

/* A placement that is not live yet: its file must not have been removed after the gateway linked
 * it. */
static bool may_place(void *arg)
{
    kv_exec *x = arg;
    const kv_media_commit *m = &x->cmd->commit;
    char hex[2 * HASH_LEN + 1];
    kv_buf *key = &x->scratch;
    assert(m->stored_hash.len == HASH_LEN);
    kv_hex_encode(m->stored_hash.ptr, HASH_LEN, hex);
    kv_buf_clear(key);
    kv_media_key(key, m->folder, hex, m->ext);
    return kv_buf_ok(key) && !kv_gone_since(&x->gone, kv_buf_slice(key), m->gone_seq);
}

static kv_media_new new_media(kv_exec *x, const kv_media_commit *m)
{
    return (kv_media_new){.media = m->media,
                          .blob = kv_exec_id(x),
                          .job = m->process ? kv_exec_id(x) : 0,
                          .folder = m->folder,
                          .filename = m->filename,
                          .hash = m->hash,
                          .stored_hash = m->stored_hash,
                          .size = m->size,
                          .width = m->width,
                          .height = m->height,
                          .strip_version = m->strip_version,
                          .mime = m->mime,
                          .ext = m->ext,
                          .dedup = m->dedup,
                          .process = m->process,
                          .metadata_kept = m->metadata_kept,
                          .now = x->now,
                          .may_place = may_place,
                          .arg = x};
}

static kv_err submit_image(kv_exec *x, uint64_t job, const kv_media_added *added,
                           const kv_media_commit *m)
{
    kv_media_where where = {.blob = added->blob};
    snprintf(where.folder, sizeof where.folder, "%.*s", KV_SLICE_FMT(m->folder));
    snprintf(where.ext, sizeof where.ext, "%.*s", KV_SLICE_FMT(m->ext));
    snprintf(where.mime, sizeof where.mime, "%.*s", KV_SLICE_FMT(m->mime));
    memcpy(where.stored_hash, m->stored_hash.ptr, sizeof where.stored_hash);
    return kv_hooks_submit_image(x, job, &where, added->job_before);
}

kv_err kv_exec_media_commit(kv_exec *x, kv_cmd *cmd)
{
    const kv_media_commit *m = &cmd->commit;
    kv_media_new media = new_media(x, m);
    kv_media_added added;
    KV_TRY(kv_media_add(x->db, &media, &added));
    cmd->gone_seq = x->next_gone;
    if (added.outcome == KV_MEDIA_DYING || added.outcome == KV_MEDIA_RELINK) {
        cmd->err = added.outcome == KV_MEDIA_DYING ? KV_E_DYING : KV_E_RELINK;
        return KV_OK;
    }
    cmd->media = added.media;
    cmd->created = added.outcome != KV_MEDIA_SHARED;
    cmd->deduplicated = added.deduplicated;
    kv_buf_reserve(&cmd->text, ROW_USUAL);
    KV_TRY(kv_media_get_json(x->db, x->base, added.media, &cmd->text));
    if (added.outcome == KV_MEDIA_MADE)
        KV_TRY(
            kv_exec_media_event(x, KV_EVENT_MEDIA_CREATED, added.media, kv_buf_slice(&cmd->text)));
    return added.wants_job ? submit_image(x, media.job, &added, m) : KV_OK;
}

/* ---- delete ---- */

static kv_err deleted_event(kv_exec *x, uint64_t media, const kv_media_where *where)
{
    char id[KV_ID_TEXT + 1];
    kv_buf *b = kv_exec_event(x, KV_EVENT_MEDIA_DELETED);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_id_format(media, id);
    kv_json_key(b, "mediaId");
    kv_json_cstr(b, id);
    kv_json_key(b, "folder");
    kv_json_cstr(b, where->folder);
    kv_json_key(b, "stored_hash");
    kv_json_hex(b, where->stored_hash, sizeof where->stored_hash);
    return kv_exec_event_end(x);
}

kv_err kv_exec_media_delete(kv_exec *x, kv_cmd *cmd)
{
    kv_media_removed gone;
    KV_TRY(kv_media_remove(x->db, cmd->id, &gone));
    if (!gone.found) {
        cmd->err = KV_E_NOT_FOUND; /* its files may be taken away now */
        return kv_exec_write_over(x);
    }
    KV_TRY(deleted_event(x, cmd->id, &gone.where));
    cmd->other = gone.job;
    if (!gone.placement_dying)
        return KV_OK;
    kv_buf key;
    kv_buf_init(&key, 0);
    kv_media_where_key(&gone.where, &key);
    kv_err err = kv_buf_ok(&key) ? kv_hooks_submit_reap(x, gone.where.blob, kv_buf_slice(&key),
                                                        gone.blob_dying, 0)
                                 : KV_E_NO_MEMORY;
    kv_buf_release(&key);
    return err;
}

/* ---- retry ---- */

kv_err kv_exec_media_retry(kv_exec *x, kv_cmd *cmd)
{
    kv_media_where where;
    bool found;
    uint64_t job = kv_exec_id(x);
    KV_TRY(kv_media_again(x->db, cmd->id, job, x->now, &found, &where));
    if (!found || where.status != KV_STATUS_FAILED) {
        cmd->err = found ? KV_E_CONFLICT : KV_E_NOT_FOUND;
        cmd->detail = found ? "only media that are FAILED are processed again" : NULL;
        return KV_OK;
    }
    KV_TRY(kv_exec_blob_event(x, KV_EVENT_MEDIA_PROCESSING, where.blob));
    return kv_hooks_submit_image(x, job, &where, where.job);
}
