/* What workers say about the jobs they hold, and what is said too late. */
#include "broker/core_types.h"

#include "broker/json_check.h"

/* The task of a lease token, if the sender may speak for it. */
static kv_task *held(kv_core *c, const kv_from *from, uint64_t job, uint64_t epoch,
                     uint64_t attempt)
{
    kv_task *t = kv_ids_find(&c->jobs, job);
    if (!t || t->doubtful || t->state != KV_JOB_PROCESSING || t->epoch != epoch ||
        t->attempt != attempt)
        return NULL;
    return !t->offer || t->offer->session == from->session ? t : NULL;
}

/* An answer whose lease is not held. It may be the second one of a lease that ended with the first:
 * then the row says so. */
static void not_held(kv_core *c, const kv_from *from, uint64_t job, uint64_t epoch,
                     uint64_t attempt)
{
    const kv_task *t = kv_ids_find(&c->jobs, job);
    bool same = t && t->epoch == epoch && t->attempt == attempt;
    bool ended = same && (t->state >= KV_JOB_COMPLETE ||
                          (t->state == KV_JOB_QUEUED && from->code == KV_JOB_FAIL));
    /* who is told so asks again: what is being written may fail, and then the lease stands */
    bool unwritten = t && t->in_flight > 0 && (from->code == KV_JOB_PROGRESS ? same : !ended);
    if (unwritten || (t && t->doubtful)) {
        kv_core_refuse(c, from, KV_E_BUSY, NULL);
        return;
    }
    if (from->code != KV_JOB_PROGRESS) /* then it is still at it */
        kv_lease_late(c, from);
    if ((!t || ended) && from->code != KV_JOB_PROGRESS)
        kv_jobs_find(c, from, job, epoch, attempt);
    else
        kv_core_stale(c, from);
}

void kv_jobs_progress(kv_core *c, const kv_from *from, const kv_job_progress *m)
{
    kv_task *t = held(c, from, m->job, m->epoch, m->attempt);
    if (!t) {
        not_held(c, from, m->job, m->epoch, m->attempt);
        return;
    }
    if (m->patch.len && !kv_json_is_object(m->patch)) {
        kv_core_refuse(c, from, KV_E_BAD_MESSAGE, "patch is not a JSON object");
        return;
    }
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_PROGRESS, m->patch.len);
    if (!cmd)
        return;
    if (t->offer)
        t->since = c->now.mono_ms;
    t->in_flight++;
    kv_slice patch = m->patch.len ? kv_cmd_keep(cmd, m->patch) : kv_slice_of(NULL, 0);
    cmd->progress = (kv_cmd_progress){m->job, m->epoch, m->attempt, m->progress, patch};
    kv_core_give(c, cmd);
}

void kv_jobs_done(kv_core *c, const kv_from *from, const kv_job_done *m)
{
    kv_task *t = held(c, from, m->job, m->epoch, m->attempt);
    kv_slice result = m->result.len ? m->result : kv_slice_str("null");
    if (!t) {
        not_held(c, from, m->job, m->epoch, m->attempt);
        return;
    }
    if (!kv_json_valid(result)) {
        kv_core_refuse(c, from, KV_E_BAD_MESSAGE, "result is not valid JSON");
        return;
    }
    kv_change ch = {.from = from, .result = result};
    (void)kv_task_change(c, t, KV_JOB_COMPLETE, &ch);
}

void kv_jobs_fail(kv_core *c, const kv_from *from, const kv_job_fail *m)
{
    kv_task *t = held(c, from, m->job, m->epoch, m->attempt);
    kv_err err = kv_err_info_of((kv_err)m->number)->code;
    if (!t) {
        not_held(c, from, m->job, m->epoch, m->attempt);
        return;
    }
    if (err == KV_OK)
        err = KV_E_INTERNAL;
    if (t->withdrawn) {
        kv_change gone = {.from = from, .reason = KV_WITHDRAWN};
        (void)kv_task_change(c, t, KV_JOB_CANCELLED, &gone);
        return;
    }
    if (m->retry) {
        kv_lease_failed(c, t, from, err, m->detail);
        return;
    }
    kv_change ch = {.from = from,
                    .err = err,
                    .detail = m->detail,
                    .reason = "failed, not to be tried again",
                    .failure = err,
                    .failure_detail = m->detail};
    (void)kv_task_change(c, t, KV_JOB_ERROR, &ch);
}
