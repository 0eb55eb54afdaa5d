/* MOVE and PROMOTE. */
#include "broker/exec_jobs.h"
#include "broker/hooks.h"
#include "proto/base/log.h"
#include "storage/write/credits.h"

/* Every so many leases a job's history may have grown long: two steps each, at most 420 bytes. */
enum { TRIM_LEASES = 8 };

/* ---- MOVE ---- */

static kv_err run_hook(kv_exec *x, const kv_hook *hook, const kv_cmd_move *m, kv_slice params)
{
    kv_hook_job job = {m->job, params, m->new_attempt > 0};
    if (m->to == KV_JOB_PROCESSING)
        return hook->begun ? hook->begun(x, &job) : KV_OK;
    if (m->to == KV_JOB_COMPLETE)
        return hook->complete(x, &job, m->result);
    if (m->to == KV_JOB_ERROR)
        return hook->failed(x, &job, m->error, m->error_detail);
    if (m->to == KV_JOB_CANCELLED)
        return hook->failed(x, &job, kv_slice_str("cancelled"), kv_slice_of(NULL, 0));
    return KV_OK;
}

/* Money, unique key and job end together. */
static kv_err settle(kv_exec *x, const kv_cmd_move *m, const kv_job_owner *owner)
{
    bool settled = true;
    if (m->to < KV_JOB_COMPLETE)
        return KV_OK;
    if (owner->keyed)
        KV_TRY(kv_job_free_key(x->db, m->job));
    if (owner->credits)
        KV_TRY(kv_credit_settle(x->db, m->job,
                                m->to == KV_JOB_COMPLETE ? KV_CREDIT_SPENT : KV_CREDIT_REFUNDED,
                                x->now, &settled));
    if (!settled)
        kv_log(KV_LOG_ERROR, "hold_missing", KV_ID("jobId", m->job));
    if (owner->retention_s)
        KV_TRY(kv_job_expires(x->db, m->job, x->now + (int64_t)owner->retention_s * 1000));
    return KV_OK;
}

static kv_err moved_event(kv_exec *x, const kv_cmd_move *m, int lane, kv_slice user,
                          kv_slice tenant)
{
    kv_job_event e = {.job = m->job,
                      .attempt = m->new_attempt - m->given_back,
                      .state = m->to,
                      .lane = m->to == KV_JOB_QUEUED ? lane : -1,
                      .service = m->service,
                      .user = user,
                      .tenant = tenant,
                      .error = m->error,
                      .error_detail = m->error_detail};
    return kv_exec_job_event(x, &e);
}

/* The row was written with the lease already. */
static kv_err leased_already(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_submit *submit = &x->leased->submit;
    x->leased = NULL;
    kv_buf_add(&cmd->text, submit->params.ptr, submit->params.len);
    if (!kv_buf_ok(&cmd->text))
        return KV_E_NO_MEMORY;
    return moved_event(x, &cmd->move, submit->lane, submit->user, submit->tenant);
}

static kv_job_move row_of(kv_exec *x, const kv_cmd_move *m)
{
    return (kv_job_move){.id = m->job,
                         .from = m->from,
                         .to = m->to,
                         .epoch = m->epoch,
                         .attempt = m->attempt,
                         .new_epoch = m->new_epoch,
                         .new_attempt = m->new_attempt,
                         .given_back = m->given_back,
                         .not_before = m->not_before,
                         .now = x->now,
                         .progress = m->progress,
                         .result = m->result,
                         .error = m->error,
                         .error_detail = m->error_detail,
                         .history = kv_buf_slice(&x->scratch)};
}

/* What the rest of the move needs of the row. */
static kv_err read_owner(kv_exec *x, kv_cmd *cmd, const kv_hook *hook, kv_job_owner *owner)
{
    const kv_cmd_move *m = &cmd->move;
    bool params = hook || m->to == KV_JOB_PROCESSING, found;
    *owner = (kv_job_owner){.lane = 0};
    if (!params && m->to != KV_JOB_QUEUED && kv_exec_plain(x, m->job))
        return KV_OK;
    KV_TRY(kv_job_owner_get(x->db, m->job, owner, params ? &cmd->text : NULL, &found));
    return found ? KV_OK : KV_E_DB; /* it was there when it moved */
}

kv_err kv_exec_move(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_move *m = &cmd->move;
    const kv_hook *hook = kv_hook_of(m->service);
    kv_job_owner owner;
    bool moved;
    if (x->leased)
        return leased_already(x, cmd);
    kv_job_step s = {.state = m->to,
                     .at = x->now,
                     .attempt = m->new_attempt - m->given_back,
                     .worker = m->worker,
                     .reason = m->reason,
                     .error = m->failure,
                     .detail = m->failure_detail};
    KV_TRY(kv_exec_step(x, &s));
    kv_job_move row = row_of(x, m);
    KV_TRY(kv_job_move_row(x->db, &x->open, &row, &moved));
    if (!moved) {
        cmd->err =
            cmd->code == KV_JOB_DONE || cmd->code == KV_JOB_FAIL ? KV_E_STALE_LEASE : KV_E_CONFLICT;
        return KV_OK;
    }
    if (m->to == KV_JOB_QUEUED && m->new_attempt % TRIM_LEASES == 0)
        KV_TRY(kv_job_trim_history(x->db, m->job));
    KV_TRY(read_owner(x, cmd, hook, &owner));
    KV_TRY(settle(x, m, &owner));
    KV_TRY(moved_event(x, m, owner.lane, kv_slice_str(owner.user), kv_slice_str(owner.tenant)));
    return hook ? run_hook(x, hook, m, kv_buf_slice(&cmd->text)) : KV_OK;
}

/* ---- PROMOTE ---- */

kv_err kv_exec_promote(kv_exec *x, kv_cmd *cmd)
{
    const kv_cmd_promote *m = &cmd->promote;
    kv_job_owner owner;
    char service[65];
    bool moved;
    kv_job_step s = {.state = KV_JOB_QUEUED,
                     .at = x->now,
                     .attempt = m->attempt - m->given_back,
                     .reason = kv_slice_str("promoted")};
    KV_TRY(kv_exec_step(x, &s));
    kv_job_promote row = {.id = m->job,
                          .epoch = m->epoch,
                          .attempt = m->attempt,
                          .lane = m->lane,
                          .seq = m->new_seq,
                          .tag = m->tag,
                          .now = x->now,
                          .history = kv_buf_slice(&x->scratch)};
    KV_TRY(kv_job_promote_row(x->db, &x->open, &row, &owner, service, &moved));
    if (!moved) {
        cmd->err = KV_E_CONFLICT;
        return kv_job_find(x->db, m->job, &cmd->place);
    }
    KV_TRY(kv_job_trim_history(x->db, m->job)); /* an operator may do it as often as he likes */
    kv_job_event e = {.job = m->job,
                      .attempt = m->attempt - m->given_back,
                      .state = KV_JOB_QUEUED,
                      .lane = m->lane,
                      .service = kv_slice_str(service),
                      .user = kv_slice_str(owner.user),
                      .tenant = kv_slice_str(owner.tenant)};
    return kv_exec_job_event(x, &e);
}
