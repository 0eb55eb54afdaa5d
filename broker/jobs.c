/* The state machine, and what clients and workers say about jobs. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/json_check.h"
#include "broker/services.h"
#include "proto/base/metrics.h"

/* ---- services ---- */

static bool service_name_valid(kv_slice name)
{
    if (name.len < 1 || name.len > 64)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char ch = name.ptr[i];
        if (!((ch >= 'a' && ch <= 'z') || (ch >= '0' && ch <= '9') || ch == '-'))
            return false;
    }
    return true;
}

kv_service *kv_service_get(kv_core *c, kv_slice name)
{
    kv_service *s = kv_names_find(&c->services, name);
    if (s)
        return s;
    if (c->services_n >= KV_SERVICES_MAX || !(s = calloc(1, sizeof *s)))
        return NULL;
    snprintf(s->name, sizeof s->name, "%.*s", KV_SLICE_FMT(name));
    if (!kv_names_set(&c->services, name, s)) {
        free(s);
        return NULL;
    }
    s->next = c->service_list;
    c->service_list = s;
    c->services_n++;
    return s;
}

/* ---- tasks ---- */

kv_task *kv_task_new(kv_core *c, uint64_t id, kv_service *service, int lane, uint64_t seq)
{
    kv_task *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->id = id;
    t->service = service;
    t->lane = (uint8_t)lane;
    t->seq = seq;
    if (!kv_ids_add(&c->jobs, t)) {
        free(t);
        return NULL;
    }
    return t;
}

void kv_task_free(kv_core *c, kv_task *t)
{
    assert(t->in_flight == 0);
    kv_task_detach(c, t);
    kv_ids_remove(&c->jobs, t->id);
    free(t);
}

void kv_task_detach(kv_core *c, kv_task *t)
{
    if (t->at == KV_AT_LANE) {
        kv_queue_remove(&t->service->lanes[t->lane], &t->node);
    } else if (t->at == KV_AT_DELAY) {
        kv_queue_remove(&c->delayed, &t->node);
        t->service->delayed--;
    } else if (t->at == KV_AT_LEASE) {
        kv_lease_drop(c, t, false);
    } else if (t->at == KV_AT_LIMBO) {
        kv_tasks_remove(&c->limbo, t);
    }
    t->at = KV_AT_NONE;
}

void kv_task_enqueue(kv_core *c, kv_task *t)
{
    assert(t->at == KV_AT_NONE && t->state == KV_JOB_QUEUED);
    t->node.seq = t->seq;
    if (t->not_before > c->now.wall_ms) {
        t->node.tag = (uint64_t)t->not_before;
        t->at = KV_AT_DELAY;
        t->service->delayed++;
        kv_queue_add(&c->delayed, &t->node);
    } else {
        t->node.tag = 0; /* one tag for all: first in, first out by seq */
        t->at = KV_AT_LANE;
        kv_queue_add(&t->service->lanes[t->lane], &t->node);
    }
}

/* ---- the state machine ---- */

static bool may_go(int from, int to)
{
    static const uint8_t next[] = {
        [KV_JOB_QUEUED] = 1 << KV_JOB_PROCESSING | 1 << KV_JOB_ERROR | 1 << KV_JOB_CANCELLED,
        [KV_JOB_PROCESSING] =
            1 << KV_JOB_QUEUED | 1 << KV_JOB_COMPLETE | 1 << KV_JOB_ERROR | 1 << KV_JOB_CANCELLED,
        [KV_JOB_COMPLETE] = 0,
        [KV_JOB_ERROR] = 0,
        [KV_JOB_CANCELLED] = 0,
    };
    return next[from] >> to & 1;
}

static void count_change(const kv_core *c, const kv_task *t, int to)
{
    static const char *const outcome[] = {
        [KV_JOB_COMPLETE] = "complete", [KV_JOB_ERROR] = "error", [KV_JOB_CANCELLED] = "cancelled"};
    if (to >= KV_JOB_COMPLETE)
        kv_metric_add_label(KV_M_JOBS_DONE, outcome[to], 1);
    if (to == KV_JOB_ERROR)
        kv_metric_add_label(KV_M_JOB_FAILURES, kv_service_label(kv_slice_str(t->service->name)), 1);
    if (to == KV_JOB_COMPLETE && strcmp(t->service->name, KV_SERVICE_IMAGE) == 0)
        kv_metric_observe_us(KV_M_PROCESSING_SECONDS, (c->now.mono_ms - t->leased_at) * 1000);
}

/* The command that writes the change; the task still is what it was. */
static kv_cmd *move_command(kv_core *c, const kv_task *t, int to, const kv_change *ch)
{
    const char *worker = ch->offer ? ch->offer->session->name : "";
    const char *reason = ch->reason ? ch->reason : "";
    size_t bytes = strlen(t->service->name) + strlen(worker) + strlen(reason) + ch->result.len +
                   ch->detail.len;
    kv_cmd *cmd = kv_core_cmd(c, ch->from, KV_CMD_MOVE, bytes);
    if (!cmd)
        return NULL;
    bool failed = to == KV_JOB_ERROR;
    cmd->move = (kv_cmd_move){
        .job = t->id,
        .from = t->state,
        .to = to,
        .epoch = t->epoch,
        .attempt = t->attempt,
        .new_epoch = to == KV_JOB_PROCESSING ? c->opts.epoch : t->epoch,
        .new_attempt = t->attempt + (to == KV_JOB_PROCESSING),
        .max_attempts = t->max_attempts + (ch->free_attempt && t->max_attempts < UINT16_MAX),
        .progress = to == KV_JOB_COMPLETE ? 100 : 0,
        .not_before = ch->not_before,
        .service = kv_cmd_keep(cmd, kv_slice_str(t->service->name)),
        .worker = kv_cmd_keep(cmd, kv_slice_str(worker)),
        .reason = kv_cmd_keep(cmd, kv_slice_str(reason)),
        .result = kv_cmd_keep(cmd, ch->result),
        .error = failed ? kv_slice_str(kv_err_info_of(ch->err)->slug) : kv_slice_of(NULL, 0),
        .error_detail = kv_cmd_keep(cmd, ch->detail)};
    cmd->seq = kv_core_seq(c);
    return cmd;
}

bool kv_task_change(kv_core *c, kv_task *t, int to, const kv_change *ch)
{
    assert(may_go(t->state, to));
    kv_cmd *cmd = move_command(c, t, to, ch);
    if (!cmd)
        return false;
    kv_service *service = t->service;
    count_change(c, t, to);
    if (t->at == KV_AT_LEASE && ch->taken)
        kv_lease_drop(c, t, true);
    kv_task_detach(c, t);
    t->state = (uint8_t)to;
    t->epoch = cmd->move.new_epoch;
    t->attempt = (uint16_t)cmd->move.new_attempt;
    t->max_attempts = (uint16_t)cmd->move.max_attempts;
    t->not_before = ch->not_before;
    t->in_flight++;
    if (to == KV_JOB_PROCESSING)
        kv_lease_take(c, t, ch->offer);
    else if (to == KV_JOB_QUEUED)
        kv_task_enqueue(c, t);
    kv_core_give(c, cmd);
    if (to != KV_JOB_PROCESSING)
        kv_lease_dispatch(c, service);
    return true;
}

/* ---- clients ---- */

static void find_instead(kv_core *c, const kv_from *from, uint64_t job, uint64_t epoch,
                         uint64_t attempt)
{
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_FIND, 0);
    if (!cmd)
        return;
    cmd->id = job;
    cmd->token_epoch = epoch;
    cmd->token_attempt = attempt;
    kv_core_give(c, cmd);
}

static const char *submit_wrong(const kv_submit *m)
{
    if (m->job == 0 || m->job >> 63)
        return "a job id is a number of 63 bits, not 0";
    if (!service_name_valid(m->service))
        return "a service is 1 to 64 of [a-z0-9-]";
    if (kv_service_reserved(m->service))
        return "jobs of this service are made by kervan itself";
    if (m->max_attempts < 1)
        return "max_attempts is 1 to 100";
    if (m->params.len && !kv_json_valid(m->params))
        return "params is not valid JSON";
    return NULL;
}

static kv_cmd *submit_command(kv_core *c, const kv_from *from, const kv_submit *m, uint64_t seq)
{
    kv_slice params = m->params.len ? m->params : kv_slice_str("null");
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_SUBMIT, m->service.len + m->tenant.len + params.len);
    if (!cmd)
        return NULL;
    cmd->submit = (kv_cmd_submit){.job = m->job,
                                  .max_attempts = m->max_attempts,
                                  .lane = (int)m->lane,
                                  .service = kv_cmd_keep(cmd, m->service),
                                  .tenant = kv_cmd_keep(cmd, m->tenant),
                                  .params = kv_cmd_keep(cmd, params)};
    cmd->seq = seq;
    return cmd;
}

void kv_jobs_submit(kv_core *c, const kv_from *from, const kv_submit *m)
{
    const char *wrong = submit_wrong(m);
    if (wrong) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, wrong);
        return;
    }
    if (kv_ids_find(&c->jobs,
                    m->job)) { /* sent again: behind the first one in the ledger its row is there */
        find_instead(c, from, m->job, 0, 0);
        return;
    }
    if (c->submits_in_flight >= c->opts.submits_max) {
        kv_core_refuse(c, from, KV_E_BUSY, NULL);
        return;
    }
    kv_service *service = kv_service_get(c, m->service);
    if (!service) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, "too many services");
        return;
    }
    uint64_t seq = kv_core_seq(c);
    kv_cmd *cmd = submit_command(c, from, m, seq);
    if (!cmd)
        return;
    kv_task *t = kv_task_new(c, m->job, service, (int)m->lane, seq);
    if (!t) {
        kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        kv_cmd_free(&cmd);
        return;
    }
    t->max_attempts = (uint16_t)m->max_attempts;
    t->in_flight = 1;
    c->submits_in_flight++;
    kv_task_enqueue(c, t);
    kv_core_give(c, cmd);
    kv_lease_dispatch(c, service);
}

void kv_jobs_get(kv_core *c, const kv_from *from, uint64_t job)
{
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_JOB_GET, 0);
    if (!cmd)
        return;
    cmd->id = job;
    kv_core_give(c, cmd);
}

void kv_jobs_cancel(kv_core *c, const kv_from *from, uint64_t job)
{
    kv_task *t = kv_ids_find(&c->jobs, job);
    if (!t || t->state >= KV_JOB_COMPLETE) {
        find_instead(c, from, job, 0, 0);
        return;
    }
    if (t->doubtful) {
        kv_core_refuse(c, from, KV_E_BUSY, NULL);
        return;
    }
    if (strcmp(t->service->name, KV_SERVICE_REAP) == 0) {
        kv_core_refuse(c, from, KV_E_CONFLICT, "jobs of this service cannot be cancelled");
        return;
    }
    kv_lease_cancel_worker(c, t);
    kv_change ch = {.from = from, .taken = true, .reason = "cancelled by a client"};
    (void)kv_task_change(c, t, KV_JOB_CANCELLED, &ch);
}

/* ---- workers ---- */

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
    kv_lease_late(c, from);
    if (t && t->doubtful)
        kv_core_refuse(c, from, KV_E_BUSY, NULL);
    else if ((!t || ended) && from->code != KV_JOB_PROGRESS)
        find_instead(c, from, job, epoch, attempt);
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
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_PROGRESS, 0);
    if (!cmd)
        return;
    if (t->offer)
        t->since = c->now.mono_ms;
    t->in_flight++;
    cmd->progress = (kv_cmd_progress){m->job, m->epoch, m->attempt, m->progress};
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
    if (m->retry) {
        kv_lease_retry(c, t, from, err, m->detail, "failed, to be tried again");
        return;
    }
    kv_change ch = {.from = from, .err = err, .detail = m->detail};
    (void)kv_task_change(c, t, KV_JOB_ERROR, &ch);
}
