/* What all job commands share: events, history, new rows. */
#include "broker/exec_jobs.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/put.h"
#include "proto/base/words.h"
#include "storage/read/jobs.h"
#include "storage/write/credits.h"

/* ---- events ---- */

static void add_text(kv_buf *b, const char *key, kv_slice text)
{
    kv_json_key(b, key);
    kv_json_str(b, text);
}

/* In one piece but for what few events have: there are three of them a job. */
kv_err kv_exec_job_event(kv_exec *x, const kv_job_event *e)
{
    kv_buf *b = kv_exec_event(x, KV_EVENT_JOB_QUEUED + (kv_event_type)e->state);
    const char *status = kv_job_state_name(e->state);
    char *p = b ? kv_buf_reserve(b, 128 + e->service.len) : NULL;
    char id[KV_ID_TEXT + 1];
    if (!p)
        return KV_E_NO_MEMORY;
    kv_id_format(e->job, id);
    p = kv_put(p, ",\"jobId\":\"", 10);
    p = kv_put(p, id, KV_ID_TEXT);
    p = kv_put(p, "\",\"service\":\"", 13); /* [a-z0-9-] needs no escapes */
    p = kv_put(p, e->service.ptr, e->service.len);
    p = kv_put(p, "\",\"status\":\"", 12);
    p = kv_put(p, status, strlen(status));
    p = kv_put(p, "\",\"attempt\":", 12);
    p = kv_put_u64(p, e->attempt);
    if (e->lane >= 0 && e->lane < KV_LANES) {
        p = kv_put(p, ",\"lane\":\"", 9);
        p = kv_put(p, kv_lane_names[e->lane], strlen(kv_lane_names[e->lane]));
        *p++ = '"';
    }
    *p = '\0';
    x->own_at = b->len = (size_t)(p - b->data);
    if (e->user.len)
        add_text(b, "user", e->user);
    if (e->tenant.len)
        add_text(b, "tenant", e->tenant);
    if (e->error.ptr)
        add_text(b, "error", e->error);
    if (e->error_detail.ptr)
        add_text(b, "error_detail", e->error_detail);
    return kv_exec_event_end(x);
}

/* ---- who has an owner ---- */

/* Most jobs have nobody to name in their events and nothing to settle at their end. Those of late
 * are remembered, so that their rows need not be read for it. */
enum { PLAIN_SLOTS = 1 << 15 };

static uint64_t *plain_slot(const kv_exec *x, uint64_t job)
{
    return &x->plain[(job * 0x9e3779b97f4a7c15u) >> 49];
}

bool kv_exec_plain(const kv_exec *x, uint64_t job)
{
    return *plain_slot(x, job) == job;
}

/* An id may come again when its row was removed, with an owner this time. */
static void note_owner(const kv_exec *x, uint64_t job, bool plain)
{
    uint64_t *slot = plain_slot(x, job);
    if (plain)
        *slot = job;
    else if (*slot == job)
        *slot = 0;
}

kv_err kv_exec_jobs_init(kv_exec *x)
{
    x->plain = calloc(PLAIN_SLOTS, sizeof *x->plain);
    return x->plain ? KV_OK : KV_E_NO_MEMORY;
}

void kv_exec_jobs_forget(kv_exec *x)
{
    memset(x->plain, 0, PLAIN_SLOTS * sizeof *x->plain);
}

/* ---- new ones ---- */

/* Names may be made by the thousand a day, and only those in use are asked for. */
enum { SERVICES_KNOWN = 4096 };

static kv_err service_id(kv_exec *x, kv_slice name, int64_t *ret)
{
    void *known = kv_names_find(&x->services, name);
    if (known) {
        *ret = (int64_t)(intptr_t)known;
        return KV_OK;
    }
    KV_TRY(kv_service_id(x->db, name, ret));
    if (x->services.n >= SERVICES_KNOWN)
        kv_names_release(&x->services);
    return kv_names_set(&x->services, name, (void *)(intptr_t)*ret) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_exec_step(kv_exec *x, const kv_job_step *s)
{
    kv_buf_clear(&x->scratch);
    kv_job_history_add(&x->scratch, s);
    return kv_buf_ok(&x->scratch) ? KV_OK : KV_E_NO_MEMORY;
}

static kv_err queued_event(kv_exec *x, const kv_job_new *job, kv_slice service)
{
    kv_job_event e = {.job = job->id,
                      .state = KV_JOB_QUEUED,
                      .lane = job->lane,
                      .service = service,
                      .user = job->options ? job->options->user : kv_slice_of(NULL, 0),
                      .tenant = job->tenant};
    return kv_exec_job_event(x, &e);
}

/* The id, or the unique key, is taken; `other` is the job that has the key. */
static kv_err taken(kv_exec *x, kv_cmd *cmd, const kv_job_new *job)
{
    KV_TRY(kv_job_find(x->db, job->id, &cmd->place));
    if (cmd->place.found || !job->options || !job->options->unique_key.len)
        return KV_OK;
    KV_TRY(kv_job_of_key(x->db, job->service, job->options->unique_key, &cmd->other));
    return cmd->other ? kv_job_find(x->db, cmd->other, &cmd->place) : KV_OK;
}

/* The hold of a job has the job's id. */
static kv_err hold(kv_exec *x, kv_cmd *cmd, const kv_job_new *job)
{
    const kv_job_options *o = job->options;
    kv_credit_new credit = {.id = job->id,
                            .job = job->id,
                            .amount = o->credits,
                            .user = o->user,
                            .operation = o->operation,
                            .now = x->now};
    kv_credit_tx tx;
    bool used, held = false;
    KV_TRY(kv_credit_find(x->db, job->id, &tx, &used));
    if (used)
        cmd->err = KV_E_CONFLICT; /* a transaction of a client has this id */
    else
        KV_TRY(kv_credit_hold(x->db, &credit, &held));
    if (!used && !held)
        cmd->err = KV_E_NO_CREDIT;
    return KV_OK;
}

kv_err kv_exec_new_job(kv_exec *x, kv_cmd *cmd, kv_job_new *job, kv_slice service)
{
    bool created;
    job->now = x->now;
    KV_TRY(service_id(x, service, &job->service));
    KV_TRY(kv_job_insert(x->db, &x->open, job, &created));
    if (!created)
        return taken(x, cmd, job);
    if (job->options && job->options->credits)
        KV_TRY(hold(x, cmd, job));
    if (cmd->err != KV_OK)
        return kv_job_unmake(x->db, &x->open, job);
    cmd->created = true;
    note_owner(x, job->id, !job->options && !job->tenant.len);
    return queued_event(x, job, service);
}

kv_err kv_exec_make_job(kv_exec *x, uint64_t id, const char *service, kv_slice params,
                        uint64_t max_attempts, int64_t not_before, uint64_t retry_of)
{
    kv_cmd *cmd = x->cmd;
    kv_job_options options = {.retry_of = retry_of};
    bool created;
    assert(cmd->jobs_n < KV_CMD_NEW_JOBS);
    kv_job_new job = {.id = id ? id : kv_exec_id(x),
                      .seq = cmd->seq + (uint64_t)cmd->jobs_n,
                      .max_attempts = max_attempts,
                      .not_before = not_before,
                      .now = x->now,
                      .lane = 1,
                      .params = params,
                      .options = retry_of ? &options : NULL};
    KV_TRY(service_id(x, kv_slice_str(service), &job.service));
    KV_TRY(kv_job_insert(x->db, &x->open, &job, &created));
    if (!created)
        return KV_E_DB; /* an id of ours that is taken: the clock of another start ran ahead; tried
                           again with the next one */
    note_owner(x, job.id, false);
    if (retry_of)
        KV_TRY(kv_job_retried(x->db, retry_of, job.id));
    KV_TRY(queued_event(x, &job, kv_slice_str(service)));
    cmd->jobs[cmd->jobs_n++] = (kv_cmd_job){.id = job.id,
                                            .seq = job.seq,
                                            .max_attempts = max_attempts,
                                            .not_before = not_before,
                                            .lane = job.lane,
                                            .service = service,
                                            .tenant = ""};
    return KV_OK;
}
