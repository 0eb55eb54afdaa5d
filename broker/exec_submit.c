/* SUBMIT and RETRY. */
#include "broker/exec_jobs.h"
#include "broker/hooks.h"
#include "broker/merge.h"

/* ---- SUBMIT ---- */

static bool has_options(const kv_cmd_submit *m)
{
    return m->backoff_ms || m->backoff_max_ms || m->retention_s || m->credits || m->retry_of ||
           m->deadline_ms || m->unique_key.len || m->tags.len || m->user.len || m->operation.len ||
           m->metadata.len;
}

/* "a,b" as the row has it: ",a,b,". Metadata in the form that merging gives it. */
static kv_err row_form(const kv_cmd_submit *m, kv_buf *tags, kv_buf *metadata)
{
    if (m->tags.len) {
        kv_buf_addc(tags, ',');
        kv_buf_add(tags, m->tags.ptr, m->tags.len);
        kv_buf_addc(tags, ',');
    }
    if (m->metadata.len)
        KV_TRY(kv_merge(kv_slice_of(NULL, 0), m->metadata, metadata));
    return kv_buf_ok(tags) ? KV_OK : KV_E_NO_MEMORY;
}

static kv_err submit_with_options(kv_exec *x, kv_cmd *cmd, kv_job_new *job)
{
    const kv_cmd_submit *m = &cmd->submit;
    kv_buf tags, metadata;
    kv_buf_init(&tags, 0);
    kv_buf_init(&metadata, 0);
    kv_err err = row_form(m, &tags, &metadata);
    kv_job_options options = {.backoff_ms = m->backoff_ms,
                              .backoff_max_ms = m->backoff_max_ms,
                              .retention_s = m->retention_s,
                              .credits = m->credits,
                              .retry_of = m->retry_of,
                              .deadline = m->deadline_ms,
                              .unique_key = m->unique_key,
                              .tags = kv_buf_slice(&tags),
                              .user = m->user,
                              .operation = m->operation,
                              .metadata = kv_buf_slice(&metadata)};
    job->options = &options;
    if (err == KV_E_BAD_PARAMETER || (m->credits && !m->user.len)) {
        cmd->err = KV_E_BAD_PARAMETER;
        cmd->detail = err == KV_OK ? NULL : KV_MERGE_LIMITS;
        err = KV_OK;
    } else if (err == KV_OK) {
        err = kv_exec_new_job(x, cmd, job, m->service);
    }
    job->options = NULL; /* they end here */
    if (err == KV_OK && cmd->created && m->retry_of)
        err = kv_job_retried(x->db, m->retry_of, m->job);
    kv_buf_release(&tags);
    kv_buf_release(&metadata);
    return err;
}

/* The lease that follows at once (a worker was free) is written with the row: one insert instead of
 * an insert and an update. The command of the lease then only has its event to make. */
static kv_err lease_at_once(kv_exec *x, kv_job_new *job)
{
    const kv_cmd_move *m = &x->ahead->move;
    kv_job_step s = {.state = m->to, .at = x->now, .attempt = m->new_attempt, .worker = m->worker};
    KV_TRY(kv_exec_step(x, &s));
    job->state = m->to;
    job->epoch = m->new_epoch;
    job->attempt = m->new_attempt;
    job->history = kv_buf_slice(&x->scratch);
    return KV_OK;
}

static bool lease_follows(const kv_exec *x, const kv_cmd_submit *m)
{
    const kv_cmd *next = x->ahead;
    return next && next->type == KV_CMD_MOVE && next->move.job == m->job &&
           next->move.from == KV_JOB_QUEUED && next->move.to == KV_JOB_PROCESSING &&
           next->move.epoch == 0 && next->move.attempt == 0 && next->move.given_back == 0 &&
           next->move.not_before == m->not_before && !kv_hook_of(m->service);
}

kv_err kv_exec_submit(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_submit *m = &cmd->submit;
    bool at_once = lease_follows(x, m);
    kv_job_new job = {.id = m->job,
                      .seq = cmd->seq,
                      .tag = m->tag,
                      .max_attempts = m->max_attempts,
                      .not_before = m->not_before,
                      .lane = m->lane,
                      .tenant = m->tenant,
                      .params = m->params};
    if (at_once)
        KV_TRY(lease_at_once(x, &job));
    KV_TRY(has_options(m) ? submit_with_options(x, cmd, &job)
                          : kv_exec_new_job(x, cmd, &job, m->service));
    if (at_once && cmd->created)
        x->leased = cmd;
    return KV_OK;
}

/* ---- RETRY ---- */

/* Tells the core of the job; its strings live in cmd->text. */
static kv_err tell_core(kv_cmd *cmd, const kv_job_again *old)
{
    kv_buf_add(&cmd->text, old->service.ptr, old->service.len);
    kv_buf_addc(&cmd->text, '\0');
    kv_buf_add(&cmd->text, old->job.tenant.ptr, old->job.tenant.len);
    if (!kv_buf_ok(&cmd->text))
        return KV_E_NO_MEMORY;
    cmd->jobs[cmd->jobs_n++] = (kv_cmd_job){.id = old->job.id,
                                            .seq = old->job.seq,
                                            .max_attempts = old->job.max_attempts,
                                            .lane = old->job.lane,
                                            .service = cmd->text.data,
                                            .tenant = cmd->text.data + old->service.len + 1,
                                            .backoff_ms = old->options.backoff_ms,
                                            .backoff_max_ms = old->options.backoff_max_ms};
    return KV_OK;
}

static kv_err do_again(kv_exec *x, kv_cmd *cmd, kv_job_again *old)
{
    const kv_cmd_retry *m = &cmd->retry;
    old->job.id = m->new_job;
    old->job.seq = cmd->seq;
    old->job.options = &old->options;
    old->options.retry_of = m->job;
    KV_TRY(kv_exec_new_job(x, cmd, &old->job, old->service));
    if (!cmd->created)
        return KV_OK;
    KV_TRY(kv_job_retried(x->db, m->job, m->new_job));
    return tell_core(cmd, old);
}

/* kervan's own jobs stand in other rows, too. A removal that failed was made anew at once; done
 * again later it could take files that were put there since. */
static kv_err do_own_again(kv_exec *x, kv_cmd *cmd, const kv_job_again *old)
{
    const kv_cmd_retry *m = &cmd->retry;
    const kv_hook_job job = {m->job, old->job.params, true};
    if (!kv_slice_is(old->service, KV_SERVICE_IMAGE)) {
        cmd->err = KV_E_CONFLICT;
        cmd->detail = "kervan has made a job of its own that does this one again, by itself";
        return KV_OK;
    }
    KV_TRY(kv_job_find(x->db, m->new_job, &cmd->place));
    if (cmd->place.found)
        return KV_OK;
    KV_TRY(kv_hooks_image_again(x, &job, m->new_job, &cmd->detail));
    if (cmd->detail)
        cmd->err = KV_E_CONFLICT;
    cmd->created = !cmd->detail;
    return KV_OK;
}

/* A terminal job keeps its end; what does it again is a job of its own. A second RETRY meets the
 * first one's. */
kv_err kv_exec_retry(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_retry *m = &cmd->retry;
    kv_job_again old;
    kv_err err = KV_OK;
    KV_TRY(kv_job_again_get(x->db, m->job, &old));
    if (!old.found) {
        cmd->err = KV_E_NOT_FOUND;
        return KV_OK;
    }
    if (old.retried_by) {
        cmd->other = old.retried_by;
        err = kv_job_find(x->db, old.retried_by, &cmd->place);
    }
    if (err != KV_OK || cmd->place.found)
        goto done;
    cmd->other = 0; /* what did it again is gone: once more, then */
    if (old.state != KV_JOB_ERROR && old.state != KV_JOB_CANCELLED) {
        cmd->err = KV_E_CONFLICT;
        cmd->detail = kv_cmd_job_is(old.state);
    } else if (kv_service_reserved(old.service)) {
        err = do_own_again(x, cmd, &old);
    } else {
        err = do_again(x, cmd, &old);
    }
done:
    kv_job_again_done(&old);
    return err;
}
