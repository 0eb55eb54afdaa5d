/* Tasks, and the state machine. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/gauges.h"
#include "broker/lanes.h"
#include "broker/pace.h"
#include "broker/watch.h"
#include "proto/base/metrics.h"
#include "proto/base/words.h"

/* ---- tasks ---- */

/* 100,000 waiting jobs shall fit in 45 MB with all around them; malloc adds 8 bytes, in steps
 * of 16. */
_Static_assert(sizeof(kv_task) <= 200, "a waiting job costs more memory");

kv_task *kv_task_new(kv_core *c, uint64_t id, kv_service *service, kv_slice tenant, int lane,
                     uint64_t seq)
{
    kv_task *t = calloc(1, sizeof *t);
    if (!t)
        return NULL;
    t->id = id;
    t->service = service;
    t->lane = (uint8_t)lane;
    t->node.seq = seq;
    t->tenant = kv_tenant_hold(service, tenant);
    if (!t->tenant || !kv_ids_add(&c->jobs, t)) {
        kv_tenant_release(service, t->tenant);
        free(t);
        return NULL;
    }
    return t;
}

void kv_task_free(kv_core *c, kv_task *t)
{
    assert(t->in_flight == 0);
    kv_task_detach(c, t);
    if (t->watched)
        kv_watch_gone(c, t);
    kv_ids_remove(&c->jobs, t->id);
    kv_tenant_release(t->service, t->tenant);
    free(t->extras);
    free(t);
}

void kv_task_detach(kv_core *c, kv_task *t)
{
    kv_due_remove(c, t);
    if (t->at == KV_AT_LANE) {
        kv_pace_leave(t);
        kv_lanes_remove(t->service, t);
    } else if (t->at == KV_AT_DELAY) {
        kv_queue_remove(t->own_wait ? &c->waits : &c->delayed, &t->node);
        kv_tasks_remove(&t->service->later, t);
        t->service->delayed--;
    } else if (t->at == KV_AT_LEASE) {
        kv_lease_drop(c, t, false);
    } else if (t->at == KV_AT_LIMBO) {
        kv_tasks_remove(&c->limbo, t);
    }
    t->at = KV_AT_NONE;
}

/* A wait of our own that the date makes longer than it can have been: the date was set back. */
static int64_t wait_left(const kv_core *c, const kv_task *t)
{
    int64_t left = t->not_before - c->now.wall_ms;
    int64_t most = t->own_wait && left > 0 ? kv_lease_longest_wait(c, t) : left;
    return left < most ? left : most;
}

void kv_task_enqueue(kv_core *c, kv_task *t)
{
    assert(t->at == KV_AT_NONE && t->state == KV_JOB_QUEUED);
    int64_t left = wait_left(c, t);
    kv_due_add(c, t);
    if (left > 0) {
        t->node.tag = (uint64_t)(t->own_wait ? c->now.mono_ms + left : t->not_before);
        t->at = KV_AT_DELAY;
        t->service->delayed++;
        kv_queue_add(t->own_wait ? &c->waits : &c->delayed, &t->node);
        kv_tasks_add(&t->service->later, t);
    } else {
        t->at = KV_AT_LANE;
        kv_lanes_add(t->service, t);
        kv_pace_wait(t, c->now.mono_ms);
    }
    if (t->watched)
        kv_watch_changed(c, t);
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
    if (to >= KV_JOB_COMPLETE)
        kv_metric_add_label(KV_M_JOBS_DONE, kv_state_names[to], 1);
    if (to == KV_JOB_ERROR)
        kv_metric_add_label(KV_M_JOB_FAILURES, kv_gauges_label(t->service), 1);
    if (to == KV_JOB_COMPLETE && strcmp(t->service->name, KV_SERVICE_IMAGE) == 0)
        kv_metric_observe_us(KV_M_PROCESSING_SECONDS, (c->now.mono_ms - t->leased_at) * 1000);
}

enum { FAILURE_MAX = 256 }; /* bytes of what a worker says that stay in the history */

static kv_slice slug_of(kv_err err)
{
    return err == KV_OK ? kv_slice_of(NULL, 0) : kv_slice_str(kv_err_info_of(err)->slug);
}

/* The command that writes the change; the task still is what it was. */
static kv_cmd *move_command(kv_core *c, const kv_task *t, int to, const kv_change *ch)
{
    const char *worker = ch->offer ? ch->offer->session->name : "";
    const char *reason = ch->reason ? ch->reason : "";
    kv_slice failure = ch->failure_detail;
    if (failure.len > FAILURE_MAX)
        failure = kv_utf8_cut(failure, FAILURE_MAX);
    size_t bytes = strlen(t->service->name) + strlen(worker) + strlen(reason) + ch->result.len +
                   ch->detail.len + failure.len;
    kv_cmd *cmd = kv_core_cmd(c, ch->from, KV_CMD_MOVE, bytes);
    if (!cmd)
        return NULL;
    bool failed = to == KV_JOB_ERROR;
    cmd->move = (kv_cmd_move){.job = t->id,
                              .from = t->state,
                              .to = to,
                              .epoch = t->epoch,
                              .attempt = t->attempt,
                              .new_epoch = to == KV_JOB_PROCESSING ? c->opts.epoch : t->epoch,
                              .new_attempt = t->attempt + (to == KV_JOB_PROCESSING),
                              .given_back = t->given_back + ch->given_back,
                              .progress = to == KV_JOB_COMPLETE ? 100 : 0,
                              .not_before = ch->not_before,
                              .service = kv_cmd_keep(cmd, kv_slice_str(t->service->name)),
                              .worker = kv_cmd_keep(cmd, kv_slice_str(worker)),
                              .reason = kv_cmd_keep(cmd, kv_slice_str(reason)),
                              .result = kv_cmd_keep(cmd, ch->result),
                              .error = slug_of(failed ? ch->err : KV_OK),
                              .error_detail = kv_cmd_keep(cmd, ch->detail),
                              .failure = slug_of(ch->failure),
                              .failure_detail = kv_cmd_keep(cmd, failure)};
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
    bool room = to == KV_JOB_QUEUED || t->at == KV_AT_LEASE; /* something may begin now */
    count_change(c, t, to);
    kv_pace_change(c, t, to);
    if (t->at == KV_AT_LEASE && ch->taken)
        kv_lease_drop(c, t, true);
    kv_task_detach(c, t);
    t->state = (uint8_t)to;
    t->epoch = (uint32_t)cmd->move.new_epoch;
    t->attempt = (uint16_t)cmd->move.new_attempt;
    t->given_back = (uint16_t)cmd->move.given_back;
    t->not_before = ch->not_before;
    t->own_wait = true;
    t->in_flight++;
    if (to == KV_JOB_PROCESSING) {
        kv_lanes_begun(c, service, t);
        kv_lease_take(c, t, ch->offer);
    } else if (to == KV_JOB_QUEUED) {
        kv_task_enqueue(c, t);
    }
    if (t->watched)
        kv_watch_changed(c, t);
    kv_core_give(c, cmd);
    if (room)
        kv_lease_dispatch(c, service);
    return true;
}

/* ---- clients ---- */

void kv_jobs_find(kv_core *c, const kv_from *from, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_FIND, 0);
    if (!cmd)
        return;
    cmd->id = job;
    cmd->if_none = KV_E_BUSY; /* the one before it failed */
    cmd->token_epoch = epoch;
    cmd->token_attempt = attempt;
    kv_core_give(c, cmd);
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
        kv_jobs_find(c, from, job, 0, 0);
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

void kv_jobs_withdraw(kv_core *c, uint64_t job)
{
    kv_task *t = kv_ids_find(&c->jobs, job);
    if (!t || t->state >= KV_JOB_COMPLETE)
        return;
    /* A running one goes on: only its worker knows whether it has the file open already. */
    t->withdrawn = true;
    kv_change ch = {.reason = KV_WITHDRAWN};
    if (t->state == KV_JOB_QUEUED && !t->doubtful)
        (void)kv_task_change(c, t, KV_JOB_CANCELLED, &ch);
}
