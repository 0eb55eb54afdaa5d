#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/gauges.h"
#include "broker/lanes.h"
#include "broker/inspect.h"
#include "broker/pace.h"
#include "broker/services.h"
#include "broker/steer.h"
#include "broker/watch.h"
#include "proto/base/media_name.h"

enum { MAINTENANCE_MS = 1000 };

void kv_core_defaults(kv_core_opts *opts)
{
    *opts = (kv_core_opts){.beat_ms = 1000,
                           .silent_beats = 3,
                           .stuck_after_ms = 300 * 1000,
                           .job_max_attempts = 3,
                           .backoff_ms = 1000,
                           .backoff_max_ms = 60 * 1000,
                           .submits_max = 16384,
                           .services_max = KV_SERVICES_MAX,
                           .lane_share = 10};
}

/* By then everybody who lives has been heard. */
static int64_t heard_by(const kv_core *c)
{
    return c->now.mono_ms + (int64_t)(c->opts.beat_ms * c->opts.silent_beats);
}

kv_err kv_core_new(const kv_core_opts *opts, kv_now now, kv_core **ret)
{
    kv_core *c = calloc(1, sizeof *c);
    assert(opts->lane_share != 1);
    *ret = c;
    if (!c)
        return KV_E_NO_MEMORY;
    c->opts = *opts;
    c->now = now;
    c->random = opts->seed;
    c->now_ticked = now.mono_ms;
    c->judge_from = heard_by(c);
    return KV_OK;
}

void kv_core_destroy(kv_core **core)
{
    kv_core *c = *core;
    if (!c)
        return;
    size_t at = 0;
    kv_sessions_release(c);
    kv_steer_release(c);
    kv_batches_release(c);
    for (kv_task *job; (job = kv_ids_next(&c->jobs, &at));) {
        free(job->extras);
        free(job);
    }
    kv_orphans_release(c);
    kv_ids_release(&c->jobs);
    kv_ids_release(&c->retries);
    kv_ids_release(&c->sessions);
    kv_names_release(&c->peers);
    kv_names_release(&c->named);
    kv_services_release(c);
    free(c);
    *core = NULL;
}

void kv_core_set_disk_low(kv_core *core, bool low)
{
    core->disk_low = low;
}

void kv_core_set_media_low(kv_core *core, bool low)
{
    core->media_low = low;
}

void kv_core_set_heads(kv_core *core, uint64_t last_event, uint64_t gone_seq)
{
    core->last_event = last_event;
    core->gone_seq = gone_seq;
}

/* Order numbers grow over restarts without being kept: the epoch is their high part. Each command
 * may make KV_CMD_NEW_JOBS. */
uint64_t kv_core_seq(kv_core *c)
{
    c->next_seq += KV_CMD_NEW_JOBS;
    return c->opts.epoch << 40 | c->next_seq;
}

/* ---- outputs ---- */

void kv_core_send(kv_core *c, const kv_session *s, uint64_t request, const kv_msg *m)
{
    c->opts.sink.send(c->opts.sink.arg, kv_slice_of((const char *)s->peer, s->peer_len), request,
                      m);
}

void kv_core_okay(kv_core *c, const kv_from *from, uint64_t id)
{
    kv_msg m;
    if (!from->request)
        return;
    kv_msg_defaults(KV_OKAY, &m);
    m.okay.id = id;
    kv_core_send(c, from->session, from->request, &m);
}

void kv_core_refuse(kv_core *c, const kv_from *from, kv_err err, const char *detail)
{
    kv_core_refuse_for(c, from, err, detail, err == KV_E_BUSY || err == KV_E_NO_MEMORY ? 100 : 0);
}

void kv_core_refuse_for(kv_core *c, const kv_from *from, kv_err err, const char *detail,
                        int64_t retry_after_ms)
{
    kv_msg m;
    if (from->batch)
        kv_batch_put(c, from->batch, from->batch_at, err, retry_after_ms);
    if (from->batch || !from->request)
        return;
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.detail = kv_slice_str(detail ? detail : kv_err_info_of(err)->en);
    m.error.retry_after_ms = (uint64_t)retry_after_ms;
    kv_core_send(c, from->session, from->request, &m);
    kv_answered_made_none(c, from->session, from->request, from->code, err);
}

void kv_core_stale(kv_core *c, const kv_from *from)
{
    kv_gauges_late(from->session);
    kv_core_refuse(c, from, KV_E_STALE_LEASE, NULL);
}

kv_cmd *kv_core_cmd(kv_core *c, const kv_from *from, kv_cmd_type type, size_t bytes)
{
    kv_cmd *cmd = kv_cmd_new(type, bytes);
    if (!cmd) {
        if (from)
            kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        return NULL;
    }
    if (from) {
        cmd->request = from->batch ? 0 : from->request; /* the batch is what is answered */
        cmd->session = from->batch ? 0 : from->session->id;
        cmd->batch = from->batch;
        cmd->batch_at = from->batch_at;
        cmd->code = from->code;
        cmd->deadline_ms = from->deadline_ms;
    }
    return cmd;
}

void kv_core_give(kv_core *c, kv_cmd *cmd)
{
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    /* Without memory for the entry a resend would run twice, which all commands bear. */
    if (s && !kv_ids_find(&s->in_flight, cmd->request))
        (void)kv_ids_add(&s->in_flight, cmd);
    c->opts.sink.command(c->opts.sink.arg, cmd);
}

/* ---- inputs ---- */

static bool ext_valid(kv_slice ext)
{
    for (size_t i = 0; i < ext.len; i++) {
        if (!((ext.ptr[i] >= 'a' && ext.ptr[i] <= 'z') || (ext.ptr[i] >= '0' && ext.ptr[i] <= '9')))
            return false;
    }
    return ext.len >= 1;
}

/* Object keys are made of these, and keys are removed: nothing odd may get in. */
static bool commit_valid(const kv_media_commit *m)
{
    return m->media && m->media >> 63 == 0 && m->hash.len == 32 && m->stored_hash.len == 32 &&
           kv_folder_valid(m->folder) && kv_filename_check(m->filename) == KV_OK &&
           ext_valid(m->ext) && m->mime.len && m->size >> 63 == 0 && m->width >> 32 == 0 &&
           m->height >> 32 == 0;
}

static void media_commit(kv_core *c, const kv_from *from, const kv_media_commit *m)
{
    if (!commit_valid(m)) {
        kv_core_refuse(
            c, from, KV_E_BAD_MESSAGE,
            "MEDIA_COMMIT with an id, folder, name, extension, type or hash that cannot be");
        return;
    }
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_MEDIA_COMMIT,
                              m->folder.len + m->filename.len + m->hash.len + m->stored_hash.len +
                                  m->mime.len + m->ext.len);
    if (!cmd)
        return;
    cmd->commit = *m;
    cmd->commit.folder = kv_cmd_keep(cmd, m->folder);
    cmd->commit.filename = kv_cmd_keep(cmd, m->filename);
    cmd->commit.hash = kv_cmd_keep(cmd, m->hash);
    cmd->commit.stored_hash = kv_cmd_keep(cmd, m->stored_hash);
    cmd->commit.mime = kv_cmd_keep(cmd, m->mime);
    cmd->commit.ext = kv_cmd_keep(cmd, m->ext);
    cmd->seq = kv_core_seq(c);
    kv_core_give(c, cmd);
}

static void media_change(kv_core *c, const kv_from *from, kv_cmd_type type, uint64_t media)
{
    kv_cmd *cmd = kv_core_cmd(c, from, type, 0);
    if (!cmd)
        return;
    cmd->id = media;
    cmd->seq = kv_core_seq(c);
    kv_core_give(c, cmd);
}

/* What may come too late. Answers of workers never do: work that was done is not thrown away for a
 * deadline. */
static bool may_expire(uint16_t code)
{
    return code == KV_MEDIA_COMMIT || code == KV_MEDIA_DELETE || code == KV_MEDIA_RETRY ||
           code == KV_SUBMIT || code == KV_SUBMIT_BATCH || code == KV_RETRY || code == KV_CANCEL ||
           code == KV_JOB_GET;
}

static void handle(kv_core *c, const kv_from *from, const kv_msg *m)
{
    switch (m->code) {
    case KV_SUBMIT:
        kv_jobs_submit(c, from, &m->submit);
        break;
    case KV_SUBMIT_BATCH:
        kv_batch_submit(c, from, &m->submit_batch);
        break;
    case KV_METADATA:
        kv_account_metadata(c, from, &m->metadata);
        break;
    case KV_RETRY:
        kv_account_retry(c, from, &m->retry);
        break;
    case KV_CREDIT:
        kv_account_credit(c, from, &m->credit);
        break;
    case KV_NOTIFY:
        kv_account_notify(c, from, &m->notify);
        break;
    case KV_SEEN:
        kv_account_seen(c, from, &m->seen);
        break;
    case KV_POSITION:
        kv_watch_position(c, from, &m->position);
        break;
    case KV_INSPECT:
        kv_inspect_answer(c, from, &m->inspect);
        break;
    case KV_QUEUE_SET:
        kv_steer_set(c, from, &m->queue_set);
        break;
    case KV_PROMOTE:
        kv_steer_promote(c, from, &m->promote);
        break;
    case KV_PURGE:
        kv_steer_purge(c, from, &m->purge);
        break;
    case KV_MAINTAIN:
        kv_steer_maintain(c, from);
        break;
    case KV_JOB_GET:
        kv_jobs_get(c, from, m->job_get.job);
        break;
    case KV_CANCEL:
        kv_jobs_cancel(c, from, m->cancel.job);
        break;
    case KV_READY:
        kv_lease_ready(c, from, &m->ready);
        break;
    case KV_LEASE_HELD:
        kv_lease_claim(c, from, &m->lease_held);
        break;
    case KV_JOB_PROGRESS:
        kv_jobs_progress(c, from, &m->job_progress);
        break;
    case KV_JOB_DONE:
        kv_jobs_done(c, from, &m->job_done);
        break;
    case KV_JOB_FAIL:
        kv_jobs_fail(c, from, &m->job_fail);
        break;
    case KV_MEDIA_COMMIT:
        media_commit(c, from, &m->media_commit);
        break;
    case KV_MEDIA_DELETE:
        media_change(c, from, KV_CMD_MEDIA_DELETE, m->media_delete.media);
        break;
    case KV_MEDIA_RETRY:
        media_change(c, from, KV_CMD_MEDIA_RETRY, m->media_retry.media);
        break;
    default:
        kv_core_refuse(c, from, KV_E_UNKNOWN_CODE, NULL);
    }
}

/* A peer without a session is told so by a beat: it says HELLO and sends again what it waits for.
 */
static void tell_unknown(kv_core *c, kv_slice peer, uint64_t request)
{
    kv_msg m;
    kv_msg_defaults(KV_BEAT_OK, &m);
    m.beat_ok.epoch = c->opts.epoch;
    m.beat_ok.known = false;
    c->opts.sink.send(c->opts.sink.arg, peer, request, &m);
}

void kv_core_message(kv_core *core, kv_now now, kv_slice peer, const kv_header *head,
                     const kv_msg *m)
{
    core->now = now;
    if (m->code == KV_HELLO) {
        kv_session_hello(core, peer, head->request, &m->hello);
        return;
    }
    kv_from from = {.session = kv_session_of_peer(core, peer),
                    .request = head->request,
                    .deadline_ms = head->deadline_ms,
                    .code = m->code};
    if (from.session && from.session->fenced) {
        kv_core_refuse(core, &from, KV_E_CONFLICT, "another instance has taken over this name");
        return;
    }
    if (!from.session || !from.session->alive) {
        tell_unknown(core, peer, m->code == KV_BEAT ? head->request : 0);
        return;
    }
    from.session->heard = now.mono_ms;
    if (m->code == KV_BEAT)
        kv_session_beat(core, &from, &m->beat);
    else if (m->code == KV_BYE)
        kv_session_bye(core, &from);
    else if (kv_answered_again(core, &from))
        return; /* sent again: late or not, the first one's answer is the answer */
    else if (may_expire(m->code) && from.deadline_ms && from.deadline_ms < (uint64_t)now.wall_ms)
        kv_core_refuse(core, &from, KV_E_EXPIRED, NULL);
    else
        handle(core, &from, m);
}

void kv_core_overflow(kv_core *core, kv_now now, kv_slice peer)
{
    kv_session *s = kv_session_of_peer(core, peer);
    core->now = now;
    if (s && s->alive)
        kv_session_lost(core, s, "does not read");
}

void kv_core_result(kv_core *core, kv_now now, kv_cmd *cmd)
{
    core->now = now;
    kv_results_take(core, cmd);
    kv_cmd_free(&cmd);
}

static void release_delayed(kv_core *c, kv_queue *delayed, int64_t now)
{
    for (kv_node *n; (n = kv_queue_first(delayed)) && (int64_t)n->tag <= now;) {
        kv_task *job = (kv_task *)((char *)n - offsetof(kv_task, node));
        kv_task_detach(c, job);
        job->not_before = 0;
        kv_task_enqueue(c, job);
        kv_lease_dispatch(c, job->service);
    }
}

void kv_core_tick(kv_core *core, kv_now now)
{
    int64_t gap = now.mono_ms - core->now_ticked;
    core->now = now;
    core->now_ticked = now.mono_ms;
    if (gap > (int64_t)core->opts.beat_ms) {
        core->judge_from = heard_by(core);
        kv_lease_stood_still(core, gap);
    }
    kv_due_expire(core);
    release_delayed(core, &core->delayed, now.wall_ms);
    release_delayed(core, &core->waits, now.mono_ms);
    for (kv_service *s = core->service_list; s; s = s->next) {
        if (kv_lanes_tick(core, s) || s->fills_disk) /* there may be room again */
            kv_lease_dispatch(core, s);
    }
    if (now.mono_ms >= core->judge_from)
        kv_sessions_expire(core);
    if (now.mono_ms >= core->next_maintenance) {
        core->next_maintenance = now.mono_ms + MAINTENANCE_MS;
        kv_results_ask_again(core);
        for (kv_service *s = core->service_list; s; s = s->next)
            kv_lease_dispatch(core,
                              s); /* credit that became free when the database refused a lease */
        if (now.mono_ms >= core->judge_from)
            kv_lease_expire(core);
    }
    kv_steer_tick(core);
    kv_watch_tick(core);
}

kv_err kv_core_load(kv_core *core, kv_now now, const kv_job_row *row)
{
    core->now = now;
    kv_service *service = kv_service_get(core, kv_slice_str(row->service));
    int lane = row->lane >= 0 && row->lane < KV_LANES ? row->lane : KV_LANES - 1;
    kv_task *job =
        service ? kv_task_new(core, row->id, service, row->tenant, lane, row->seq) : NULL;
    if (!job)
        return KV_E_NO_MEMORY;
    job->epoch = (uint32_t)row->epoch;
    job->attempt = (uint16_t)row->attempt;
    job->given_back = (uint16_t)row->given_back;
    job->max_attempts = (uint16_t)row->max_attempts;
    job->not_before = (int64_t)row->not_before;
    job->own_wait = service->own || row->attempt > 0; /* a client's delay is over by then */
    job->state = row->state == KV_JOB_PROCESSING ? KV_JOB_PROCESSING : KV_JOB_QUEUED;
    kv_lanes_restore(service, job, row->tag);
    if (!kv_task_set_extras(job, (int64_t)row->deadline_ms, row->backoff_ms, row->backoff_max_ms) ||
        !kv_orphan_held_by(core, job, row->worker)) {
        kv_task_free(core, job);
        return KV_E_NO_MEMORY;
    }
    if (job->state == KV_JOB_PROCESSING)
        kv_lease_take(core, job, NULL);
    else
        kv_task_enqueue(core, job);
    kv_pace_loaded(core, job, (int64_t)row->created_at);
    return KV_OK;
}

/* ---- looking in ---- */

void kv_core_health(const kv_core *core, kv_buf *out)
{
    kv_json_key(out, "epoch");
    kv_json_u64(out, core->opts.epoch);
    kv_json_key(out, "sessions");
    kv_json_u64(out, core->sessions.n);
    kv_json_key(out, "queues_in_use");
    kv_json_u64(out, kv_services_in_use(core));
    kv_json_key(out, "queues");
    kv_json_open(out, '[');
    for (const kv_service *s = core->service_list; s; s = s->next) {
        kv_json_open(out, '{');
        kv_json_key(out, "service");
        kv_json_cstr(out, s->name);
        kv_json_key(out, "waiting");
        kv_json_u64(out, kv_lanes_waiting(s, -1));
        kv_json_key(out, "delayed");
        kv_json_u64(out, s->delayed);
        kv_json_key(out, "running");
        kv_json_u64(out, s->running);
        kv_json_key(out, "workers");
        kv_json_u64(out, s->workers);
        kv_json_close(out, '}');
    }
    kv_json_close(out, ']');
}

int kv_core_job_state(const kv_core *core, uint64_t job, uint64_t *ret_attempt)
{
    const kv_task *j = kv_ids_find(&core->jobs, job);
    if (j && ret_attempt)
        *ret_attempt = j->attempt;
    return j ? j->state : -1;
}

bool kv_core_job_rank(const kv_core *core, uint64_t job, uint64_t *ret_rank)
{
    const kv_task *j = kv_ids_find(&core->jobs, job);
    if (!j || j->at != KV_AT_LANE)
        return false;
    *ret_rank = kv_lanes_rank(j, NULL);
    return true;
}

kv_standing kv_task_standing(kv_core *c, const kv_task *t)
{
    kv_standing at = {.queue_position = -1, .lane_position = -1};
    uint32_t in_lane;
    if (t && t->at == KV_AT_LANE) {
        at.queue_position = kv_lanes_rank(t, &in_lane) + (int64_t)1;
        at.lane_position = in_lane + (int64_t)1;
        kv_pace_eta_rank(c, t, (uint64_t)at.queue_position - 1, &at.eta_low_ms, &at.eta_high_ms);
    } else if (t && !t->doubtful && t->state == KV_JOB_PROCESSING) {
        at.queue_position = at.lane_position = 0;
    }
    return at;
}

size_t kv_core_jobs(const kv_core *core)
{
    return core->jobs.n;
}

size_t kv_core_sessions(const kv_core *core)
{
    return core->sessions.n;
}
