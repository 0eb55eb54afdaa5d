/* What the ledger answered: replies, jobs it made, and jobs about which a command failed. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/lanes.h"
#include "broker/steer.h"
#include "broker/watch.h"

enum {
    FAILED_AGAIN_MS = 1000, /* after the database refused, a job waits this long */
    DYING_AGAIN_MS = 5
};

/* ---- replies ---- */

void kv_reply(kv_core *c, const kv_cmd *cmd, const kv_msg *m)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (s && !s->fenced)
        kv_core_send(c, s, cmd->request, m);
}

int64_t kv_err_again_ms(kv_err err)
{
    if (err == KV_E_DYING)
        return DYING_AGAIN_MS;
    bool again =
        kv_err_info_of(err)->http >= 500 && err != KV_E_EXPIRED && err != KV_E_JOB_DEADLINE;
    return again ? FAILED_AGAIN_MS : 0;
}

static const char *detail_of(const kv_cmd *cmd, kv_err err)
{
    if (cmd->detail && err == cmd->err)
        return cmd->detail;
    if (err == KV_E_CONFLICT && cmd->place.found)
        return kv_cmd_job_is(cmd->place.state);
    return kv_err_info_of(err)->en;
}

static void made_none(kv_core *c, const kv_cmd *cmd, kv_err err)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    kv_answered_made_none(c, s, cmd->request, cmd->code, err);
}

static void refuse(kv_core *c, const kv_cmd *cmd, kv_err err, const char *detail,
                   int64_t retry_after_ms)
{
    kv_msg m;
    if (cmd->batch) {
        kv_batch_put(c, cmd->batch, cmd->batch_at, err, retry_after_ms);
        return;
    }
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str(detail);
    m.error.retry_after_ms = (uint64_t)retry_after_ms;
    m.error.gone_seq = cmd->gone_seq;
    kv_reply(c, cmd, &m);
    made_none(c, cmd, err);
}

void kv_reply_error(kv_core *c, const kv_cmd *cmd, kv_err err)
{
    refuse(c, cmd, err, detail_of(cmd, err), kv_err_again_ms(err));
}

/* What a SUBMIT was to be refused with, had it not been here before. */
static void reply_none(kv_core *c, const kv_cmd *cmd)
{
    const char *detail = cmd->none_detail ? cmd->none_detail : detail_of(cmd, cmd->if_none);
    refuse(c, cmd, cmd->if_none, detail,
           cmd->none_after_ms ? cmd->none_after_ms : kv_err_again_ms(cmd->if_none));
}

static void reply_okay(kv_core *c, const kv_cmd *cmd, uint64_t id)
{
    kv_msg m;
    kv_msg_defaults(KV_OKAY, &m);
    m.okay.id = id;
    kv_reply(c, cmd, &m);
}

void kv_reply_submit(kv_core *c, const kv_cmd *cmd, uint64_t job, int state, bool created)
{
    kv_msg m;
    const kv_task *t = kv_ids_find(&c->jobs, job);
    if (t && !t->doubtful && t->state < KV_JOB_COMPLETE && state < KV_JOB_COMPLETE)
        state = t->state; /* what positions mean; that it is unfinished is committed */
    if (cmd->batch) {
        kv_batch_put_job(c, cmd->batch, cmd->batch_at, job, state, created);
        return;
    }
    kv_standing at = kv_task_standing(c, state < KV_JOB_COMPLETE ? t : NULL);
    kv_msg_defaults(KV_SUBMIT_OK, &m);
    m.submit_ok = (kv_submit_ok){.job = job,
                                 .status = kv_slice_str(kv_job_state_name(state)),
                                 .created = created,
                                 .queue_position = at.queue_position,
                                 .lane_position = at.lane_position,
                                 .eta_low_ms = at.eta_low_ms,
                                 .eta_high_ms = at.eta_high_ms};
    kv_reply(c, cmd, &m);
    if (cmd->other)
        made_none(c, cmd, KV_E_BUSY);
}

bool kv_err_final(kv_err err)
{
    return err == KV_E_NOT_FOUND || err == KV_E_CONFLICT;
}

void kv_reply_done(kv_core *c, const kv_cmd *cmd, uint64_t id)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (cmd->err == KV_OK)
        reply_okay(c, cmd, id);
    else
        kv_reply_error(c, cmd, cmd->err);
    if (s && (cmd->err == KV_OK || kv_err_final(cmd->err)))
        kv_answered_keep(c, s, cmd->request, cmd->err, id);
}

/* ---- jobs in doubt ---- */

static void ask_row(kv_core *c, kv_task *t)
{
    kv_cmd *cmd = kv_core_cmd(c, NULL, KV_CMD_FIND, 0);
    if (!cmd) {
        t->at = KV_AT_LIMBO;
        kv_tasks_add(&c->limbo, t);
        return;
    }
    cmd->id = t->id;
    t->in_flight++;
    kv_core_give(c, cmd);
}

void kv_results_ask_again(kv_core *c)
{
    for (size_t n = c->limbo.n; n > 0; n--) {
        kv_task *t = c->limbo.first;
        kv_task_detach(c, t);
        ask_row(c, t);
        if (t->at == KV_AT_LIMBO)
            return;
    }
}

static void doubt(kv_core *c, kv_task *t)
{
    bool leased = t->at == KV_AT_LEASE;
    t->doubtful = true;
    kv_task_detach(c, t);
    if (leased)
        kv_lease_dispatch(c, t->service); /* its credit is free for another */
}

/* The row's word: the job is what the row says. */
static void take_row(kv_core *c, kv_task *t, const kv_job_place *row)
{
    t->doubtful = false;
    if (!row->found || row->state >= KV_JOB_COMPLETE) {
        kv_task_free(c, t);
        return;
    }
    t->state = (uint8_t)row->state;
    t->epoch = (uint32_t)row->epoch;
    t->attempt = (uint16_t)row->attempt;
    t->given_back = (uint16_t)row->given_back;
    t->max_attempts = (uint16_t)row->max_attempts;
    if (row->state == KV_JOB_PROCESSING) {
        kv_lease_take(c, t, NULL);
        if (t->watched)
            kv_watch_changed(c, t);
        return;
    }
    int64_t soon = c->now.wall_ms + FAILED_AGAIN_MS;
    t->own_wait = t->service->own || row->attempt > 0 || row->not_before <= soon;
    t->not_before = row->not_before > soon ? row->not_before : soon;
    kv_task_enqueue(c, t);
}

/* A command about this job came back. */
static void settle(kv_core *c, kv_task *t, bool failed)
{
    assert(t->in_flight > 0);
    t->in_flight--;
    if (failed)
        doubt(c, t);
    if (t->in_flight > 0)
        return;
    if (t->doubtful)
        ask_row(c, t);
    else if (t->state >= KV_JOB_COMPLETE)
        kv_task_free(c, t);
}

/* ---- one command after the other ---- */

static void take_submit(kv_core *c, const kv_cmd *cmd)
{
    kv_task *t = kv_ids_find(&c->jobs, cmd->submit.job);
    c->submits_in_flight--;
    if (cmd->created && t)
        kv_submit_evict(c, t);
    if (cmd->err != KV_OK)
        kv_reply_error(c, cmd, cmd->err);
    else if (cmd->other) /* that has its unique key */
        kv_reply_submit(c, cmd, cmd->other, cmd->place.state, false);
    else
        kv_reply_submit(c, cmd, cmd->submit.job, cmd->created ? KV_JOB_QUEUED : cmd->place.state,
                        cmd->created);
    if (t)
        settle(c, t, cmd->err != KV_OK || !cmd->created);
}

/* The lease is committed: the job goes out, unless it was taken back meanwhile. */
static void send_job(kv_core *c, const kv_cmd *cmd, kv_task *t)
{
    kv_msg m;
    bool same = t->state == KV_JOB_PROCESSING && t->epoch == cmd->move.new_epoch &&
                t->attempt == cmd->move.new_attempt;
    if (!same || !t->offer)
        return;
    t->unsure = false;
    t->sent = t->attempt;
    kv_msg_defaults(KV_JOB, &m);
    m.job.job = t->id;
    m.job.epoch = t->epoch;
    m.job.attempt = t->attempt;
    m.job.service = cmd->move.service;
    m.job.params = kv_buf_slice(&cmd->text);
    kv_core_send(c, t->offer->session, 0, &m);
}

static void reply_cancelled(kv_core *c, const kv_cmd *cmd, uint64_t job, int was)
{
    kv_msg m;
    kv_msg_defaults(KV_CANCEL_OK, &m);
    m.cancel_ok.job = job;
    m.cancel_ok.was = kv_slice_str(kv_job_state_name(was));
    kv_reply(c, cmd, &m);
}

static void take_move(kv_core *c, const kv_cmd *cmd)
{
    kv_task *t = kv_ids_find(&c->jobs, cmd->move.job);
    if (cmd->err != KV_OK)
        kv_reply_error(c, cmd, cmd->err);
    else if (cmd->code == KV_CANCEL)
        reply_cancelled(c, cmd, cmd->move.job, cmd->move.from);
    else
        reply_okay(c, cmd, cmd->move.job);
    if (!t)
        return;
    if (cmd->move.to == KV_JOB_PROCESSING && cmd->err == KV_OK) {
        send_job(c, cmd, t);
    } else if (cmd->move.to == KV_JOB_PROCESSING) { /* also of a SUBMIT that made no job */
        kv_lanes_not_begun(c, t->service, t);
        kv_lease_dispatch(c, t->service);
    }
    settle(c, t, cmd->err != KV_OK);
}

/* Where it failed, the job stands where it stood. What has begun meanwhile goes on: its lease asks
 * nothing of its place in the queue. */
static void take_promote(kv_core *c, const kv_cmd *cmd)
{
    const kv_cmd_promote *p = &cmd->promote;
    kv_task *t = kv_ids_find(&c->jobs, p->job);
    kv_reply_done(c, cmd, p->job);
    if (!t)
        return;
    bool misplaced = cmd->err != KV_OK && t->state == KV_JOB_QUEUED;
    t->promoting = false;
    if (misplaced)
        kv_task_detach(c, t);
    if (cmd->err != KV_OK) {
        t->lane = (uint8_t)p->old_lane;
        t->node.seq = p->old_seq;
        t->tag = p->old_tag;
    }
    settle(c, t, misplaced);
}

static void take_progress(kv_core *c, const kv_cmd *cmd)
{
    kv_task *t = kv_ids_find(&c->jobs, cmd->progress.job);
    if (cmd->err != KV_OK)
        kv_reply_error(c, cmd, cmd->err);
    else
        reply_okay(c, cmd, cmd->progress.job);
    if (t)
        settle(c, t, false); /* nothing depends on it */
}

static void reply_ended(kv_core *c, const kv_cmd *cmd)
{
    const kv_job_place *row = &cmd->place;
    bool same = row->found && row->epoch == cmd->token_epoch && row->attempt == cmd->token_attempt;
    bool ended = cmd->code == KV_JOB_DONE
                     ? row->state == KV_JOB_COMPLETE
                     : row->state == KV_JOB_ERROR || row->state == KV_JOB_QUEUED;
    kv_from from = {.session = kv_ids_find(&c->sessions, cmd->session),
                    .request = cmd->request,
                    .code = cmd->code};
    if (same && ended)
        reply_okay(c, cmd, cmd->id);
    else if (same && row->state == KV_JOB_PROCESSING && from.session) /* the first one failed */
        kv_core_refuse(c, &from, KV_E_BUSY, NULL);
    else if (from.session)
        kv_core_stale(c, &from);
}

static void take_find(kv_core *c, const kv_cmd *cmd)
{
    const kv_job_place *row = &cmd->place;
    if (cmd->session == 0 && !cmd->batch) {
        kv_task *t = kv_ids_find(&c->jobs, cmd->id);
        assert(t && t->in_flight == 1 && t->at == KV_AT_NONE);
        t->in_flight--;
        if (cmd->err == KV_OK) {
            take_row(c, t, row);
        } else {
            t->at = KV_AT_LIMBO;
            kv_tasks_add(&c->limbo, t);
        }
        return;
    }
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
    } else if (cmd->code == KV_SUBMIT || cmd->code == KV_SUBMIT_BATCH || cmd->code == KV_RETRY) {
        if (row->found)
            kv_reply_submit(c, cmd, cmd->id, row->state, false);
        else
            reply_none(c, cmd);
    } else if (cmd->code == KV_CANCEL || cmd->code == KV_PROMOTE) {
        if (cmd->code == KV_CANCEL && row->found && row->state == KV_JOB_CANCELLED)
            reply_cancelled(c, cmd, cmd->id, row->state);
        else
            kv_reply_error(c, cmd, row->found ? KV_E_CONFLICT : KV_E_NOT_FOUND);
    } else {
        reply_ended(c, cmd);
    }
}

static void take_commit(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_MEDIA_COMMITTED, &m);
    m.media_committed.media = cmd->media;
    m.media_committed.created = cmd->created;
    m.media_committed.deduplicated = cmd->deduplicated;
    m.media_committed.json = kv_buf_slice(&cmd->text);
    m.media_committed.gone_seq = cmd->gone_seq;
    kv_reply(c, cmd, &m);
    if (cmd->media != cmd->commit.media)
        made_none(c, cmd, KV_E_DYING);
}

static void take_job_get(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_JOB_STATUS, &m);
    m.job_status.json = kv_buf_slice(&cmd->text);
    kv_standing at = kv_task_standing(c, kv_ids_find(&c->jobs, cmd->id));
    m.job_status.queue_position = at.queue_position;
    m.job_status.lane_position = at.lane_position;
    m.job_status.eta_low_ms = at.eta_low_ms;
    m.job_status.eta_high_ms = at.eta_high_ms;
    kv_reply(c, cmd, &m);
}

/* A job that the ledger made on its way. Without memory for it here, it waits in the database for
 * the next start. */
static void adopt(kv_core *c, const kv_cmd_job *made)
{
    if (kv_ids_find(&c->jobs, made->id))
        return; /* a SUBMIT of the same id is at the ledger, and will be told */
    kv_service *service = kv_service_get(c, kv_slice_str(made->service));
    kv_task *t = service ? kv_task_new(c, made->id, service, kv_slice_str(made->tenant), made->lane,
                                       made->seq)
                         : NULL;
    if (!t)
        return;
    t->tag = kv_lanes_tag(service, t->tenant, t->lane);
    t->max_attempts = (uint16_t)made->max_attempts;
    t->not_before = made->not_before;
    t->own_wait = service->own;
    (void)kv_task_set_extras(t, made->deadline_ms, made->backoff_ms, made->backoff_max_ms);
    kv_task_enqueue(c, t);
    kv_lease_dispatch(c, service);
}

void kv_results_take(kv_core *c, kv_cmd *cmd)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (s && kv_ids_find(&s->in_flight, cmd->request) == cmd)
        kv_ids_remove(&s->in_flight, cmd->request);
    if (cmd->type == KV_CMD_RETRY)
        kv_ids_remove(&c->retries, cmd->retry.new_job);
    if (cmd->type == KV_CMD_RETRY || cmd->counted)
        c->submits_in_flight--;
    for (int i = 0; i < cmd->jobs_n && cmd->err == KV_OK; i++) /* first: an answer has positions */
        adopt(c, &cmd->jobs[i]);
    switch (cmd->type) {
    case KV_CMD_SUBMIT:
        take_submit(c, cmd);
        break;
    case KV_CMD_MOVE:
        take_move(c, cmd);
        kv_steer_result(c, cmd);
        break;
    case KV_CMD_PROGRESS:
        take_progress(c, cmd);
        break;
    case KV_CMD_FIND:
        take_find(c, cmd);
        break;
    case KV_CMD_JOB_GET:
        take_job_get(c, cmd);
        break;
    case KV_CMD_MEDIA_COMMIT:
        take_commit(c, cmd);
        break;
    case KV_CMD_MEDIA_DELETE:
        if (cmd->err == KV_OK && cmd->other)
            kv_jobs_withdraw(c, cmd->other);
        kv_reply_done(c, cmd, cmd->id);
        break;
    case KV_CMD_MEDIA_RETRY:
        kv_reply_done(c, cmd, cmd->id);
        break;
    case KV_CMD_METADATA:
    case KV_CMD_RETRY:
    case KV_CMD_CREDIT:
    case KV_CMD_NOTIFY:
    case KV_CMD_SEEN:
        kv_account_result(c, cmd);
        break;
    case KV_CMD_PROMOTE:
        take_promote(c, cmd);
        break;
    case KV_CMD_QUEUE_SET:
    case KV_CMD_PURGE_DEAD:
        kv_steer_result(c, cmd);
        break;
    case KV_CMD_NOTHING: /* who said BYE has no session to ask again in */
        if (cmd->err == KV_OK || cmd->code == KV_BYE)
            reply_okay(c, cmd, cmd->id);
        else
            kv_reply_error(c, cmd, cmd->err);
        break;
    }
}
