/* Progress and metadata of jobs. */
#include "broker/exec.h"

#include "broker/merge.h"

enum { EVENT_STEP = 5 }; /* points of progress */

static void add_owner(kv_buf *b, const kv_job_owner *owner)
{
    if (owner->user[0]) {
        kv_json_key(b, "user");
        kv_json_cstr(b, owner->user);
    }
    if (owner->tenant[0]) {
        kv_json_key(b, "tenant");
        kv_json_cstr(b, owner->tenant);
    }
}

/* ---- metadata ---- */

/* The merged object in x->scratch; BAD_PARAMETER is the asker's. */
static kv_err merged(kv_exec *x, kv_cmd *cmd, const kv_job_face *face, kv_slice patch)
{
    kv_buf_clear(&x->scratch);
    kv_err err = kv_merge(face->metadata, patch, &x->scratch);
    if (err == KV_E_BAD_PARAMETER) {
        cmd->err = err;
        cmd->detail = KV_MERGE_LIMITS;
        return KV_OK;
    }
    return err;
}

/* Writes x->scratch, unless it says what the row says. *version: of the metadata then. */
static kv_err write_metadata(kv_exec *x, uint64_t job, kv_job_face *face)
{
    kv_slice metadata = kv_buf_slice(&x->scratch);
    bool same = kv_slice_eq(face->metadata, metadata);
    kv_job_face_done(face);
    if (same)
        return KV_OK;
    face->version++;
    KV_TRY(kv_job_set_metadata(x->db, job, face->version, metadata, x->now));
    kv_buf *b = kv_exec_event(x, KV_EVENT_JOB_METADATA);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_exec_add_id(b, ",\"jobId\":\"", job);
    add_owner(b, &face->owner);
    kv_json_key(b, "version");
    kv_json_u64(b, face->version);
    kv_json_key(b, "metadata");
    kv_json_raw(b, metadata);
    return kv_exec_event_end(x);
}

kv_err kv_exec_metadata(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_metadata *m = &cmd->metadata;
    kv_job_face face;
    kv_err err = KV_OK;
    KV_TRY(kv_job_face_get(x->db, m->job, &face));
    if (!face.found) {
        cmd->err = KV_E_NOT_FOUND;
    } else if ((m->version || m->exact) && m->version != face.version) {
        cmd->err = KV_E_CONFLICT;
        cmd->detail = "the metadata has another version by now";
    } else {
        err = merged(x, cmd, &face, m->patch);
        if (err == KV_OK && cmd->err == KV_OK)
            err = write_metadata(x, m->job, &face);
        if (err == KV_OK && cmd->err == KV_OK) {
            kv_buf_add(&cmd->text, x->scratch.data, x->scratch.len);
            err = kv_buf_ok(&cmd->text) ? KV_OK : KV_E_NO_MEMORY;
        }
    }
    cmd->other = face.version;
    kv_job_face_done(&face);
    return err;
}

/* ---- progress ---- */

/* One event a progress would be too many: only where a user may look at it, or every five points.
 */
static bool worth_an_event(const kv_job_face *face, uint64_t progress)
{
    return face->progress != progress &&
           (face->owner.user[0] || face->progress / EVENT_STEP != progress / EVENT_STEP);
}

static kv_err write_progress(kv_exec *x, const kv_cmd_progress *m, const kv_job_face *face)
{
    KV_TRY(kv_job_set_progress(x->db, m->job, m->progress, x->now));
    if (!worth_an_event(face, m->progress))
        return KV_OK;
    kv_buf *b = kv_exec_event(x, KV_EVENT_JOB_PROGRESS);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_exec_add_id(b, ",\"jobId\":\"", m->job);
    add_owner(b, &face->owner);
    kv_json_key(b, "progress");
    kv_json_u64(b, m->progress);
    return kv_exec_event_end(x);
}

kv_err kv_exec_progress(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_progress *m = &cmd->progress;
    kv_job_face face;
    kv_err err = KV_OK;
    KV_TRY(kv_job_face_get(x->db, m->job, &face));
    if (!face.found || face.state != KV_JOB_PROCESSING || face.epoch != m->epoch ||
        face.attempt != m->attempt)
        cmd->err = KV_E_STALE_LEASE;
    else if (m->patch.len)
        err = merged(x, cmd, &face, m->patch);
    if (err == KV_OK && cmd->err == KV_OK && m->patch.len)
        err = write_metadata(x, m->job, &face);
    kv_job_face_done(&face);
    if (err == KV_OK && cmd->err == KV_OK)
        err = write_progress(x, m, &face);
    return err;
}
