#include "broker/steer.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "broker/inspect.h"
#include "broker/lanes.h"
#include "broker/pace.h"
#include "broker/services.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

enum {
    UPKEEP_MS = 30 * 1000, /* Y02 */
    PURGE_OUT = 512        /* cancels at the ledger at once: it stays free for others */
};
#define PURGED "purged by an operator" /* by this reason a MOVE is known as one of a purge */

enum { PURGE_WAITING, PURGE_DEAD };

struct kv_purging {
    kv_purging *next;
    char service[65];
    int what;
    uint64_t session, request; /* who is answered */
    uint64_t bound;            /* only jobs with a smaller seq: those that were there */
    uint64_t count, failed, out;
    kv_err err;
    int row;    /* where it is: the row of lane 2, 1, 0, then the delayed ones */
    bool clean; /* nothing was found since row 0 */
    bool all;   /* nothing is left to be given */
};

enum { PURGE_ROWS = KV_LANES + 1 };

/* ---- QUEUE_SET ---- */

static bool within(int64_t v, int64_t low, int64_t high)
{
    return v == -1 || (v >= low && v <= high);
}

static const char *wrong_range(const kv_queue_set *m)
{
#define CHECK(F, T, name, kind, option, low, high, unit, text)                                     \
    if (!within(m->name, low, high))                                                               \
        return #name " is " #low " to " #high;
    KV_QUEUE_SETTINGS(CHECK, , )
#undef CHECK
    return NULL;
}

static const char *set_wrong(const kv_queue_set *m)
{
    bool queue_fields =
        m->paused >= 0 || m->draining >= 0 || m->max_waiting >= 0 || m->overflow >= 0;
    if (!kv_service_name_valid(m->service))
        return KV_SERVICE_NAMES;
    if (m->tenant_set && queue_fields)
        return "paused, draining, max_waiting and overflow are of a queue, not of a tenant";
    if (!m->tenant_set && (m->tenant.len || m->weight >= 0))
        return "tenant and weight go with tenant_set";
    if (kv_service_reserved(m->service) && (m->draining > 0 || m->max_waiting > 0))
        return "kervan makes the jobs of this service itself; pause it instead";
    return wrong_range(m);
}

void kv_steer_set(kv_core *c, const kv_from *from, const kv_queue_set *m)
{
    const char *wrong = set_wrong(m);
    if (wrong) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, wrong);
        return;
    }
    kv_service *service = kv_service_open(c, from, m->service);
    if (!service)
        return;
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_QUEUE_SET, m->service.len + m->tenant.len);
    if (!cmd)
        return;
    service->pausing += m->paused > 0;
    cmd->queue_set = *m;
    cmd->queue_set.service = kv_cmd_keep(cmd, m->service);
    cmd->queue_set.tenant = kv_cmd_keep(cmd, m->tenant);
    kv_core_give(c, cmd);
}

static kv_err apply(kv_core *c, const kv_setting *set, bool removed)
{
    kv_service *s = kv_service_get(c, set->service);
    if (!s)
        return KV_E_NO_MEMORY;
    if (set->of_tenant) {
        if (!kv_tenant_set(s, set->tenant, set->concurrency, set->rate_per_minute, set->weight))
            return KV_E_NO_MEMORY;
    } else {
        s->paused = set->paused >= 0 ? set->paused : s->paused;
        s->draining = set->draining >= 0 ? set->draining : s->draining;
        s->max_waiting = set->max_waiting >= 0 ? (uint64_t)set->max_waiting : s->max_waiting;
        s->overflow = set->overflow >= 0 ? (int8_t)set->overflow : s->overflow;
        kv_service_set_limits(s, set->concurrency, set->rate_per_minute);
    }
    if (removed && set->of_tenant)
        kv_tenant_unset(s, set->tenant);
    kv_lease_dispatch(c, s);
    if (removed)
        kv_service_unset(c, s);
    return KV_OK;
}

kv_err kv_core_setting(kv_core *core, kv_now now, const kv_setting *set)
{
    core->now = now;
    return apply(core, set, false);
}

/* What is committed counts, also where there is no memory for it now: the next start reads it. */
static void take_set(kv_core *c, const kv_cmd *cmd)
{
    kv_setting set = kv_cmd_setting(cmd);
    kv_service *pausing =
        cmd->queue_set.paused > 0 ? kv_names_find(&c->services, set.service) : NULL;
    if (pausing)
        pausing->pausing--;
    kv_err err = cmd->err == KV_OK ? apply(c, &set, cmd->setting_removed) : cmd->err;
    if (pausing && cmd->err != KV_OK)
        kv_lease_dispatch(c, pausing);
    if (cmd->err == KV_OK && err != KV_OK)
        kv_reply_error(c, cmd, err);
    else
        kv_reply_done(c, cmd, 0);
}

/* ---- PROMOTE ---- */

static kv_err promote_wrong(const kv_task *t, const char **ret_detail)
{
    *ret_detail = t->promoting ? "the job is being promoted already" : NULL;
    if (t->doubtful || t->promoting)
        return KV_E_BUSY;
    *ret_detail = kv_cmd_job_is(t->state);
    return t->at == KV_AT_LANE || t->at == KV_AT_DELAY ? KV_OK : KV_E_CONFLICT;
}

void kv_steer_promote(kv_core *c, const kv_from *from, const kv_promote *m)
{
    kv_task *t = kv_ids_find(&c->jobs, m->job);
    const char *detail;
    if (!t) {
        kv_jobs_find(c, from, m->job, 0, 0);
        return;
    }
    kv_err err = promote_wrong(t, &detail);
    if (err != KV_OK) {
        kv_core_refuse(c, from, err, detail);
        return;
    }
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_PROMOTE, 0);
    if (!cmd)
        return;
    int64_t since = t->at == KV_AT_LANE ? t->since : c->now.mono_ms;
    cmd->promote = (kv_cmd_promote){.job = t->id,
                                    .epoch = t->epoch,
                                    .attempt = t->attempt,
                                    .given_back = t->given_back,
                                    .lane = (int)m->lane,
                                    .old_lane = t->lane,
                                    .old_seq = t->node.seq,
                                    .old_tag = t->tag};
    kv_task_detach(c, t);
    t->lane = (uint8_t)m->lane;
    t->node.seq = cmd->promote.new_seq = kv_core_seq(c);
    t->tag = cmd->promote.tag = kv_lanes_tag(t->service, t->tenant, t->lane);
    t->not_before = 0;
    t->promoting = true;
    t->in_flight++;
    kv_task_enqueue(c, t);
    kv_pace_leave(t); /* it has waited before */
    kv_pace_wait(t, since);
    kv_core_give(c, cmd);
    kv_lease_dispatch(c, t->service);
}

/* ---- PURGE ---- */

static kv_purging *purge_of(const kv_core *c, kv_slice service, int what)
{
    for (kv_purging *p = c->purges; p; p = p->next) {
        if (p->what == what && kv_slice_is(service, p->service))
            return p;
    }
    return NULL;
}

static void purge_end(kv_core *c, kv_purging *p)
{
    kv_session *s = kv_ids_find(&c->sessions, p->session);
    kv_from from = {.session = s, .request = p->request, .code = KV_PURGE};
    char detail[128];
    for (kv_purging **at = &c->purges; *at; at = &(*at)->next) {
        if (*at != p)
            continue;
        *at = p->next;
        break;
    }
    kv_log(KV_LOG_INFO, "queue_purged", KV_STR("service", p->service),
           KV_STR("what", p->what == PURGE_DEAD ? "dead letters" : "waiting"),
           KV_U64("jobs", p->count), KV_U64("failed", p->failed));
    snprintf(detail, sizeof detail, "%llu went, %llu could not be written",
             (unsigned long long)p->count, (unsigned long long)p->failed);
    if (s && !s->fenced && p->err != KV_OK) {
        kv_core_refuse_for(c, &from, p->err, detail, kv_err_again_ms(p->err));
    } else if (s && !s->fenced) {
        kv_core_okay(c, &from, p->count);
        kv_answered_keep(c, s, p->request, KV_OK, p->count);
    }
    free(p);
}

/* The oldest of the lowest lane first, the delayed ones last. */
static kv_task *purge_first(const kv_service *s, int row)
{
    return row < KV_LANES ? s->waiting[KV_LANES - 1 - row].first : s->later.last;
}

static kv_task *purge_after(const kv_task *t)
{
    return t->at == KV_AT_LANE ? t->next : t->prev;
}

/* The jobs of one row that were there; those that came later stay, wherever they are: one that was
 * promoted stands where it waited. True: the end of the row. */
static bool purge_row(kv_core *c, kv_purging *p, const kv_service *s)
{
    kv_change ch = {.reason = PURGED};
    for (kv_task *t = purge_first(s, p->row), *next; t; t = next) {
        next = purge_after(t);
        if (t->node.seq >= p->bound)
            continue;
        if (p->out >= PURGE_OUT || !kv_task_change(c, t, KV_JOB_CANCELLED, &ch))
            return false; /* without memory the next tick goes on */
        p->clean = false;
        p->out++;
    }
    return true;
}

/* Row by row, so that what came later is not passed again for each few that go; and once more until
 * there was nothing from the first to the last, for delays end meanwhile. */
static void purge_waiting(kv_core *c, kv_purging *p)
{
    const kv_service *s = kv_names_find(&c->services, kv_slice_str(p->service));
    while (!p->all && s && purge_row(c, p, s)) {
        p->row = (p->row + 1) % PURGE_ROWS;
        p->all = p->row == 0 && p->clean;
        p->clean |= p->row == 0;
    }
    p->all |= !s;
    if (p->all && p->out == 0)
        purge_end(c, p);
}

static void purge_dead(kv_core *c, kv_purging *p)
{
    kv_cmd *cmd = p->out == 0 ? kv_core_cmd(c, NULL, KV_CMD_PURGE_DEAD, strlen(p->service)) : NULL;
    if (!cmd)
        return;
    cmd->service = kv_cmd_keep(cmd, kv_slice_str(p->service));
    p->out = 1;
    kv_core_give(c, cmd);
}

static void purge_on(kv_core *c, kv_purging *p)
{
    if (p->what == PURGE_DEAD)
        purge_dead(c, p);
    else
        purge_waiting(c, p);
}

void kv_steer_purge(kv_core *c, const kv_from *from, const kv_purge *m)
{
    kv_purging *p = purge_of(c, m->service, (int)m->what);
    if (p && p->session == from->session->id && p->request == from->request && from->request)
        return; /* sent again: its answer is on its way */
    if (p) {
        kv_core_refuse(c, from, KV_E_BUSY, "this queue is being purged already");
        return;
    }
    if (!kv_service_name_valid(m->service)) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, KV_SERVICE_NAMES);
        return;
    }
    if (m->what == PURGE_WAITING && kv_slice_is(m->service, KV_SERVICE_REAP)) {
        kv_core_refuse(c, from, KV_E_CONFLICT, "jobs of this service cannot be cancelled");
        return;
    }
    p = calloc(1, sizeof *p);
    if (!p) {
        kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        return;
    }
    snprintf(p->service, sizeof p->service, "%.*s", KV_SLICE_FMT(m->service));
    p->what = (int)m->what;
    p->session = from->session->id;
    p->request = from->request;
    p->bound = kv_core_seq(c);
    p->clean = true;
    p->next = c->purges;
    c->purges = p;
    purge_on(c, p);
}

static void take_purged(kv_core *c, const kv_cmd *cmd)
{
    kv_purging *p = purge_of(c, cmd->move.service, PURGE_WAITING);
    if (!p)
        return;
    assert(p->out > 0);
    p->out--;
    p->count += cmd->err == KV_OK;
    if (cmd->err != KV_OK && cmd->err != KV_E_CONFLICT) { /* that: its SUBMIT made no job */
        p->failed++;
        p->err = cmd->err;
        p->all = true; /* what failed comes back into its lane: do not run after it */
    }
    if (p->out <= PURGE_OUT / 2)
        purge_waiting(c, p);
}

static void take_purged_dead(kv_core *c, const kv_cmd *cmd)
{
    kv_purging *p = purge_of(c, cmd->service, PURGE_DEAD);
    if (!p)
        return;
    p->out = 0;
    p->err = cmd->err;
    if (cmd->err == KV_OK)
        p->count += cmd->other;
    if (cmd->err != KV_OK || cmd->other == 0)
        purge_end(c, p);
    else
        purge_dead(c, p);
}

void kv_steer_release(kv_core *c)
{
    for (kv_purging *p = c->purges, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    c->purges = NULL;
}

/* ---- maintenance ---- */

static void log_health(kv_core *c, kv_service *s)
{
    kv_health health = kv_health_of(c, s);
    if (health == s->health)
        return;
    s->health = (uint8_t)health;
    if (health == KV_HEALTH_STUCK || health == KV_HEALTH_NO_WORKERS)
        kv_log(KV_LOG_WARN, "queue_held", KV_STR("service", s->name),
               KV_STR("why", kv_health_names[health]),
               KV_STR("what", kv_health_remedy(health, false)));
}

/* All that is judged by time, at once; and what nobody else looks at so rarely. */
static void upkeep(kv_core *c)
{
    kv_metric_add(KV_M_MAINTENANCE, 1);
    kv_due_expire(c);
    kv_results_ask_again(c);
    bool judges = c->now.mono_ms >= c->judge_from; /* workers had the time to come */
    if (judges)
        kv_lease_expire(c);
    for (kv_service *s = c->service_list; s; s = s->next) {
        kv_lease_dispatch(c, s);
        if (judges)
            log_health(c, s);
    }
}

static uint64_t errors_of(const kv_core *c)
{
    uint64_t n = 0;
    for (const kv_service *s = c->service_list; s; s = s->next)
        n += kv_pace_errors(s);
    return n;
}

void kv_steer_maintain(kv_core *c, const kv_from *from)
{
    uint64_t before = errors_of(c);
    upkeep(c);
    kv_cmd *cmd = from->request ? kv_core_cmd(c, from, KV_CMD_NOTHING, 0) : NULL;
    if (!cmd)
        return;
    cmd->id = errors_of(c) - before; /* what it ended; answered behind their commits */
    kv_core_give(c, cmd);
}

void kv_steer_tick(kv_core *c)
{
    for (kv_purging *p = c->purges, *next; p; p = next) {
        next = p->next;
        purge_on(c, p);
    }
    if (c->now.mono_ms < c->next_upkeep)
        return;
    c->next_upkeep = c->now.mono_ms + UPKEEP_MS;
    upkeep(c);
}

void kv_steer_result(kv_core *c, const kv_cmd *cmd)
{
    if (cmd->type == KV_CMD_QUEUE_SET)
        take_set(c, cmd);
    else if (cmd->type == KV_CMD_PURGE_DEAD)
        take_purged_dead(c, cmd);
    else if (cmd->type == KV_CMD_MOVE && kv_slice_is(cmd->move.reason, PURGED))
        take_purged(c, cmd);
}
