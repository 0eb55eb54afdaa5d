/* What the core has in memory: counted anew from its jobs, and held against their rows. */
#include "broker/core_types.h"
#include "broker/lanes_parts.h"
#include "storage/read/jobs.h"
#include "tests/sim/sim.h"

typedef unsigned long long ull;

/* ---- what is at the ledger ---- */

/* Whether it is one of the commands that kv_task.in_flight counts for this job. */
static bool is_about(const kv_cmd *cmd, uint64_t job)
{
    switch (cmd->type) {
    case KV_CMD_SUBMIT:
        return cmd->submit.job == job;
    case KV_CMD_MOVE:
        return cmd->move.job == job;
    case KV_CMD_PROGRESS:
        return cmd->progress.job == job;
    case KV_CMD_PROMOTE:
        return cmd->promote.job == job;
    case KV_CMD_FIND:
        return cmd->id == job && cmd->session == 0 && !cmd->batch; /* a job in doubt */
    default:
        return false;
    }
}

static void count_commands(const kv_cmd_list *list, uint64_t job, unsigned *n, unsigned *promotes)
{
    for (const kv_cmd *cmd = list->first; cmd; cmd = cmd->next) {
        *n += is_about(cmd, job);
        *promotes += is_about(cmd, job) && cmd->type == KV_CMD_PROMOTE;
    }
}

static size_t count_submits(const kv_cmd_list *list)
{
    size_t n = 0;
    for (const kv_cmd *cmd = list->first; cmd; cmd = cmd->next)
        n += cmd->type == KV_CMD_SUBMIT || cmd->type == KV_CMD_RETRY || cmd->counted;
    return n;
}

static uint32_t count_pauses(const kv_cmd_list *list, const kv_service *q)
{
    uint32_t n = 0;
    for (const kv_cmd *cmd = list->first; cmd; cmd = cmd->next)
        n += cmd->type == KV_CMD_QUEUE_SET && cmd->queue_set.paused > 0 &&
             kv_slice_is(cmd->queue_set.service, q->name);
    return n;
}

/* ---- one job ---- */

/* Where a job in this state may stand. */
static bool stands_well(const kv_task *t)
{
    switch (t->at) {
    case KV_AT_LANE:
    case KV_AT_DELAY:
        return t->state == KV_JOB_QUEUED && !t->doubtful;
    case KV_AT_LEASE:
        return t->state == KV_JOB_PROCESSING && !t->doubtful;
    case KV_AT_LIMBO:
        return t->doubtful && t->in_flight == 0;
    default:
        return t->in_flight > 0; /* else nobody would ever come back to it */
    }
}

static void check_task(sim *s, const kv_task *t)
{
    unsigned n = 0, promotes = 0;
    count_commands(&s->at_ledger, t->id, &n, &promotes);
    count_commands(&s->committed, t->id, &n, &promotes);
    SIM_HOLDS(s, n == t->in_flight, "job %llu: %u commands at the ledger, %u counted", (ull)t->id,
              n, t->in_flight);
    SIM_HOLDS(s, promotes == (t->promoting ? 1 : 0), "job %llu: %u PROMOTEs at the ledger",
              (ull)t->id, promotes);
    SIM_HOLDS(s, stands_well(t), "job %llu is %s, at %u%s", (ull)t->id, kv_job_state_name(t->state),
              t->at, t->doubtful ? ", in doubt" : "");
}

/* ---- counts ---- */

typedef struct tally {
    uint32_t running, delayed, lanes[KV_LANES], workers;
    int64_t leased_sum;
} tally;

static tally tally_of(const kv_core *c, const kv_service *q)
{
    tally n = {.running = 0};
    size_t at = 0;
    for (const kv_task *t; (t = kv_ids_next(&c->jobs, &at));) {
        if (t->service != q)
            continue;
        n.running += t->at == KV_AT_LEASE;
        n.leased_sum += t->at == KV_AT_LEASE ? t->leased_at : 0;
        n.delayed += t->at == KV_AT_DELAY;
        n.lanes[t->lane] += t->at == KV_AT_LANE;
    }
    at = 0;
    for (const kv_session *session; (session = kv_ids_next(&c->sessions, &at));) {
        for (const kv_offer *o = session->offers; o; o = o->next)
            n.workers += o->service == q;
    }
    return n;
}

static void check_service(sim *s, const kv_service *q)
{
    tally n = tally_of(s->core, q);
    uint32_t pauses = count_pauses(&s->at_ledger, q) + count_pauses(&s->committed, q);
    SIM_HOLDS(s, n.running == q->running && n.leased_sum == q->leased_sum, "%s: %u run, %u counted",
              q->name, n.running, q->running);
    SIM_HOLDS(s, n.delayed == q->delayed && n.delayed == q->later.n, "%s: %u delayed, %u counted",
              q->name, n.delayed, q->delayed);
    for (int lane = 0; lane < KV_LANES; lane++)
        SIM_HOLDS(s, n.lanes[lane] == kv_lanes_waiting(q, lane), "%s: %u in lane %d, %u counted",
                  q->name, n.lanes[lane], lane, kv_lanes_waiting(q, lane));
    SIM_HOLDS(s, n.workers == q->workers, "%s: %u workers, %u counted", q->name, n.workers,
              q->workers);
    SIM_HOLDS(s, pauses == q->pausing, "%s: %u pauses at the ledger, %u counted", q->name, pauses,
              q->pausing);
}

static void check_tenant(sim *s, const kv_tenant *tenant)
{
    uint32_t tasks = 0, waiting = 0, running = 0;
    size_t at = 0;
    for (const kv_task *t; (t = kv_ids_next(&s->core->jobs, &at));) {
        if (t->tenant != tenant)
            continue;
        tasks++;
        waiting += t->at == KV_AT_LANE;
        running += t->at == KV_AT_LEASE;
    }
    SIM_HOLDS(s, tasks == tenant->tasks && waiting == tenant->waiting && running == tenant->running,
              "tenant \"%s\": %u jobs, %u wait, %u run; counted %u, %u, %u", tenant->name, tasks,
              waiting, running, tenant->tasks, tenant->waiting, tenant->running);
}

static void check_session(sim *s, const kv_session *session)
{
    uint64_t all = 0;
    for (const kv_offer *o = session->offers; o; o = o->next) {
        uint64_t leased = 0;
        for (const kv_task *t = session->leases.first; t; t = t->next)
            leased += t->offer == o;
        SIM_HOLDS(s, leased == o->leased, "%s has %llu of %s, %llu counted", session->name,
                  (ull)leased, o->service->name, (ull)o->leased);
        all += leased;
    }
    SIM_HOLDS(s, all == session->leases.n, "%s has %llu leases, %zu counted", session->name,
              (ull)all, session->leases.n);
}

void sim_check_counts(sim *s)
{
    const kv_core *c = s->core;
    size_t submits = count_submits(&s->at_ledger) + count_submits(&s->committed);
    size_t at = 0, orphans = 0, limbo = 0;
    for (const kv_task *t; (t = kv_ids_next(&c->jobs, &at));) {
        check_task(s, t);
        orphans += t->at == KV_AT_LEASE && !t->offer;
        limbo += t->at == KV_AT_LIMBO;
    }
    SIM_HOLDS(s, orphans == c->orphans.n && limbo == c->limbo.n,
              "%zu orphans and %zu in limbo, counted %zu and %zu", orphans, limbo, c->orphans.n,
              c->limbo.n);
    SIM_HOLDS(s, submits == c->submits_in_flight, "%zu SUBMITs at the ledger, %zu counted", submits,
              c->submits_in_flight);
    for (const kv_service *q = c->service_list; q; q = q->next) {
        check_service(s, q);
        for (const kv_tenant *t = q->tenant_list; t; t = t->next)
            check_tenant(s, t);
    }
    at = 0;
    for (const kv_session *session; (session = kv_ids_next(&c->sessions, &at));)
        check_session(s, session);
}

/* ---- rows ---- */

static void check_row(sim *s, const kv_task *t)
{
    kv_stmt *q;
    bool row = false;
    kv_err err = kv_db_prepare(s->x.db,
                               "SELECT state, epoch, attempt, given_back, max_attempts, lane, seq, "
                               "tag, not_before FROM job WHERE id = $1",
                               &q);
    SIM_HOLDS(s, err == KV_OK, "no statement");
    kv_bind_i64(q, 1, (int64_t)t->id);
    SIM_HOLDS(s, kv_db_step(q, &row) == KV_OK && row, "job %llu has no row", (ull)t->id);
    SIM_HOLDS(s,
              kv_col_i64(q, 0) == t->state && kv_col_i64(q, 1) == t->epoch &&
                  kv_col_i64(q, 2) == t->attempt && kv_col_i64(q, 3) == t->given_back &&
                  kv_col_i64(q, 4) == t->max_attempts,
              "job %llu is %s by lease %u.%u, its row says %s by %lld.%lld", (ull)t->id,
              kv_job_state_name(t->state), t->epoch, t->attempt,
              kv_job_state_name((int)kv_col_i64(q, 0)), (long long)kv_col_i64(q, 1),
              (long long)kv_col_i64(q, 2));
    /* without a tag in the row the core gives it one */
    SIM_HOLDS(s,
              kv_col_i64(q, 5) == t->lane && (uint64_t)kv_col_i64(q, 6) == t->node.seq &&
                  (!kv_col_i64(q, 7) || (uint64_t)kv_col_i64(q, 7) == t->tag),
              "job %llu is in lane %u, its row says %lld, or another place there", (ull)t->id,
              t->lane, (long long)kv_col_i64(q, 5));
    SIM_HOLDS(s, t->at != KV_AT_DELAY || t->own_wait || kv_col_i64(q, 8) == t->not_before,
              "job %llu is delayed to %lld, its row says %lld", (ull)t->id,
              (long long)t->not_before, (long long)kv_col_i64(q, 8));
    kv_db_done(q);
}

void sim_check_rows(sim *s)
{
    size_t at = 0;
    for (const kv_task *t; (t = kv_ids_next(&s->core->jobs, &at));) {
        if (t->in_flight == 0 && !t->doubtful)
            check_row(s, t);
    }
    if (s->at_ledger.first || s->committed.first || s->core->limbo.n)
        return;
    int64_t rows = sim_number(s, "SELECT count(*) FROM job WHERE state < 2");
    SIM_HOLDS(s, rows == (int64_t)kv_core_jobs(s->core), "%lld unfinished rows, %zu jobs",
              (long long)rows, kv_core_jobs(s->core));
}

/* ---- leases ---- */

static uint32_t running(const sim *s, const kv_service *q, const kv_tenant *tenant)
{
    uint32_t n = 0;
    size_t at = 0;
    for (const kv_task *t; (t = kv_ids_next(&s->core->jobs, &at));)
        n += t->service == q && (!tenant || t->tenant == tenant) && t->state == KV_JOB_PROCESSING &&
             t->at == KV_AT_LEASE;
    return n;
}

static bool within(uint32_t n, uint32_t limit)
{
    return !limit || n <= limit;
}

/* It is leased already, and counts. */
void sim_check_start(sim *s, uint64_t job)
{
    const kv_task *t = kv_ids_find(&s->core->jobs, job);
    SIM_HOLDS(s, t && t->at == KV_AT_LEASE && t->offer, "job %llu begins nowhere", (ull)job);
    const kv_service *q = t->service;
    const kv_offer *o = t->offer;
    SIM_HOLDS(s, !q->paused && !q->pausing, "job %llu begins though %s is paused", (ull)job,
              q->name);
    SIM_HOLDS(s, within(running(s, q, NULL), q->limits.concurrency),
              "job %llu begins above the limit of %s", (ull)job, q->name);
    SIM_HOLDS(s, within(running(s, q, t->tenant), kv_tenant_limits(q, t->tenant).concurrency),
              "job %llu begins above the limit of its tenant", (ull)job);
    SIM_HOLDS(s, o->session->alive && o->leased + o->zombies <= o->credit,
              "job %llu is more than %s asked for", (ull)job, o->session->name);
    const sim_worker *w = sim_worker_named(s, o->session->name);
    SIM_HOLDS(s, !w || o->leased <= sim_worker_credit(w, q->name),
              "job %llu is more than %s said last", (ull)job, o->session->name);
}

/* The lease is written, and no other JOB had it. */
void sim_check_job_sent(sim *s, const kv_job *m)
{
    kv_job_place row;
    sim_fact *f = sim_fact_of(s, m->job);
    SIM_HOLDS(s, kv_job_find(s->x.db, m->job, &row) == KV_OK, "job %llu", (ull)m->job);
    SIM_HOLDS(s,
              row.found && row.state == KV_JOB_PROCESSING && row.epoch == m->epoch &&
                  row.attempt == m->attempt,
              "JOB of %llu by lease %llu.%llu, which is not written", (ull)m->job, (ull)m->epoch,
              (ull)m->attempt);
    SIM_HOLDS(s, !f || m->attempt > f->sent_attempt, "two JOBs of %llu by lease %llu", (ull)m->job,
              (ull)m->attempt);
    if (f)
        f->sent_attempt = m->attempt;
}

/* Who is told so throws the work away. */
void sim_check_stale(sim *s, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    kv_job_place row;
    SIM_HOLDS(s, kv_job_find(s->x.db, job, &row) == KV_OK, "job %llu", (ull)job);
    SIM_HOLDS(s,
              !row.found || row.state != KV_JOB_PROCESSING || row.epoch != epoch ||
                  row.attempt != attempt,
              "STALE_LEASE for %llu by lease %llu.%llu, which is in its row", (ull)job, (ull)epoch,
              (ull)attempt);
}
