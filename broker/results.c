/* What the ledger answered: replies, jobs it made, and jobs about which a command failed. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

enum {
    FAILED_AGAIN_MS = 1000, /* after the database refused, a job waits this long */
    DYING_AGAIN_MS = 5
};

/* ---- replies ---- */

static void reply(kv_core *c, const kv_cmd *cmd, const kv_msg *m)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (s && !s->fenced)
        kv_core_send(c, s, cmd->request, m);
}

static void reply_error(kv_core *c, const kv_cmd *cmd, kv_err err)
{
    kv_msg m;
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str(kv_err_info_of(err)->en);
    if (err == KV_E_DYING)
        m.error.retry_after_ms = DYING_AGAIN_MS;
    else if (kv_err_info_of(err)->http >= 500 && err != KV_E_EXPIRED)
        m.error.retry_after_ms = FAILED_AGAIN_MS;
    m.error.gone_seq = cmd->gone_seq;
    reply(c, cmd, &m);
}

static void reply_okay(kv_core *c, const kv_cmd *cmd, uint64_t id)
{
    kv_msg m;
    kv_msg_defaults(KV_OKAY, &m);
    m.okay.id = id;
    reply(c, cmd, &m);
}

static void reply_submit(kv_core *c, const kv_cmd *cmd, uint64_t job, int state, bool created)
{
    kv_msg m;
    kv_msg_defaults(KV_SUBMIT_OK, &m);
    m.submit_ok.job = job;
    m.submit_ok.status = kv_slice_str(kv_job_state_name(state));
    m.submit_ok.created = created;
    reply(c, cmd, &m);
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
    t->doubtful = true;
    kv_task_detach(c, t);
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
    t->epoch = row->epoch;
    t->attempt = (uint16_t)row->attempt;
    t->max_attempts = (uint16_t)row->max_attempts;
    if (row->state == KV_JOB_PROCESSING) {
        kv_lease_take(c, t, NULL);
        return;
    }
    int64_t soon = c->now.wall_ms + FAILED_AGAIN_MS;
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
    if (cmd->err != KV_OK)
        reply_error(c, cmd, cmd->err);
    else
        reply_submit(c, cmd, cmd->submit.job, cmd->created ? KV_JOB_QUEUED : cmd->place.state,
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
    kv_msg_defaults(KV_JOB, &m);
    m.job.job = t->id;
    m.job.epoch = t->epoch;
    m.job.attempt = t->attempt;
    m.job.service = cmd->move.service;
    m.job.params = kv_buf_slice(&cmd->text);
    kv_core_send(c, t->offer->session, 0, &m);
}

static void take_move(kv_core *c, const kv_cmd *cmd)
{
    kv_task *t = kv_ids_find(&c->jobs, cmd->move.job);
    if (cmd->err != KV_OK)
        reply_error(c, cmd, cmd->err);
    else
        reply_okay(c, cmd, cmd->move.job);
    if (!t)
        return;
    if (cmd->err == KV_OK && cmd->move.to == KV_JOB_PROCESSING)
        send_job(c, cmd, t);
    settle(c, t, cmd->err != KV_OK);
}

static void take_progress(kv_core *c, const kv_cmd *cmd)
{
    kv_task *t = kv_ids_find(&c->jobs, cmd->progress.job);
    if (cmd->err != KV_OK)
        reply_error(c, cmd, cmd->err);
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
    kv_from from = {kv_ids_find(&c->sessions, cmd->session), cmd->request, 0, cmd->code};
    if (same && ended)
        reply_okay(c, cmd, cmd->id);
    else if (from.session)
        kv_core_stale(c, &from);
}

static void take_find(kv_core *c, const kv_cmd *cmd)
{
    const kv_job_place *row = &cmd->place;
    if (cmd->session == 0) {
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
        reply_error(c, cmd, cmd->err);
    } else if (cmd->code == KV_SUBMIT) {
        if (row->found)
            reply_submit(c, cmd, cmd->id, row->state, false);
        else
            reply_error(c, cmd, KV_E_BUSY); /* the first one failed */
    } else if (cmd->code == KV_CANCEL) {
        if (row->found && row->state == KV_JOB_CANCELLED)
            reply_okay(c, cmd, cmd->id);
        else
            reply_error(c, cmd, row->found ? KV_E_CONFLICT : KV_E_NOT_FOUND);
    } else {
        reply_ended(c, cmd);
    }
}

static void take_commit(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    if (cmd->err != KV_OK) {
        reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_MEDIA_COMMITTED, &m);
    m.media_committed.media = cmd->media;
    m.media_committed.created = cmd->created;
    m.media_committed.deduplicated = cmd->deduplicated;
    m.media_committed.json = kv_buf_slice(&cmd->text);
    m.media_committed.gone_seq = cmd->gone_seq;
    reply(c, cmd, &m);
}

static void take_change(kv_core *c, const kv_cmd *cmd)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (cmd->err == KV_OK)
        reply_okay(c, cmd, cmd->id);
    else
        reply_error(c, cmd, cmd->err);
    if (s && (cmd->err == KV_OK || cmd->err == KV_E_NOT_FOUND || cmd->err == KV_E_CONFLICT))
        kv_session_remember(s, cmd->request, cmd->err, cmd->id);
}

static void take_job_get(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    if (cmd->err != KV_OK) {
        reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_JOB_STATUS, &m);
    m.job_status.json = kv_buf_slice(&cmd->text);
    reply(c, cmd, &m);
}

/* A job that the ledger made on its way. Without memory for it here, it waits in the database for
 * the next start. */
static void adopt(kv_core *c, const kv_cmd_job *made)
{
    kv_service *service = kv_service_get(c, kv_slice_str(made->service));
    kv_task *t = service ? kv_task_new(c, made->id, service, made->lane, made->seq) : NULL;
    if (!t)
        return;
    t->max_attempts = (uint16_t)made->max_attempts;
    t->not_before = made->not_before;
    kv_task_enqueue(c, t);
    kv_lease_dispatch(c, service);
}

void kv_results_take(kv_core *c, kv_cmd *cmd)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (s && kv_ids_find(&s->in_flight, cmd->request) == cmd)
        kv_ids_remove(&s->in_flight, cmd->request);
    switch (cmd->type) {
    case KV_CMD_SUBMIT:
        take_submit(c, cmd);
        break;
    case KV_CMD_MOVE:
        take_move(c, cmd);
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
    case KV_CMD_MEDIA_RETRY:
        take_change(c, cmd);
        break;
    case KV_CMD_NOTHING:
        reply_okay(c, cmd, 0);
        break;
    }
    for (int i = 0; i < cmd->jobs_n && cmd->err == KV_OK; i++)
        adopt(c, &cmd->jobs[i]);
}
