/* One SUBMIT, alone or out of a batch: whether it is taken, and what makes room for it. */
#include "broker/core_types.h"

#include "broker/gauges.h"
#include "broker/lanes.h"
#include "broker/pace.h"
#include "broker/services.h"
#include "proto/base/metrics.h"

enum {
    DISK_AGAIN_MS = 5000,
    DRAINING_AGAIN_MS = 5000,
    FULL_AGAIN_MS = 100, /* at least, and at most */
    FULL_AGAIN_MAX_MS = 10000,
    EVICT_MAX = 2 /* for one that was added: a bound that was lowered is reached by and by */
};

/* ---- the bound of a queue ---- */

/* kervan's own services are never bounded. */
static uint64_t bound_of(const kv_core *c, const kv_service *s)
{
    if (kv_service_reserved(kv_slice_str(s->name)))
        return 0;
    return s->max_waiting ? s->max_waiting : c->opts.max_waiting;
}

static bool evicts(const kv_core *c, const kv_service *s)
{
    return s->overflow >= 0 ? s->overflow == 1 : c->opts.evict;
}

static uint64_t waiting(const kv_service *s)
{
    return (uint64_t)kv_lanes_waiting(s, -1) + s->delayed;
}

/* What is in a lane first (X08), then what is delayed: the one that waits longest. */
static kv_task *lowest(const kv_service *s, const kv_task *but)
{
    kv_task *t = kv_lanes_evictable(s, but);
    if (!t)
        t = s->later.last == but && but ? but->prev : s->later.last;
    return t;
}

/* Only when the new one is committed: what is refused costs nobody their place. It is not judged
 * itself: it would often be the lowest. */
void kv_submit_evict(kv_core *c, kv_task *added)
{
    kv_service *s = added->service;
    uint64_t bound = bound_of(c, s);
    for (int i = 0; i < EVICT_MAX && bound && waiting(s) > bound && evicts(c, s); i++) {
        kv_task *victim = lowest(s, added);
        kv_change ch = {.err = KV_E_EVICTED,
                        .detail = kv_slice_str(kv_err_info_of(KV_E_EVICTED)->tr),
                        .reason = "evicted: the queue was full"};
        if (!victim || !kv_task_change(c, victim, KV_JOB_ERROR, &ch))
            return;
        kv_metric_add_label(KV_M_JOBS_EVICTED, kv_gauges_label(s), 1);
    }
}

/* ---- taken or not ---- */

static bool disk_open(const kv_core *c, kv_refusal *ret)
{
    if (c->disk_low)
        *ret = (kv_refusal){KV_E_DISK_FULL, NULL, DISK_AGAIN_MS};
    return !c->disk_low;
}

static bool ledger_open(kv_core *c, const kv_from *from)
{
    if (c->submits_in_flight < c->opts.submits_max)
        return true;
    kv_core_refuse(c, from, KV_E_BUSY, NULL);
    return false;
}

bool kv_submit_open(kv_core *c, const kv_from *from)
{
    kv_refusal no;
    if (disk_open(c, &no))
        return ledger_open(c, from);
    kv_core_refuse_for(c, from, no.err, no.detail, no.after_ms);
    return false;
}

/* When a job of the queue ends, as far as the last ten seconds tell. */
static int64_t room_in_ms(const kv_core *c, const kv_service *s)
{
    uint32_t ended = kv_pace_ended_10s(c, s);
    int64_t ms = ended ? FULL_AGAIN_MAX_MS / ended : FULL_AGAIN_MAX_MS;
    return ms > FULL_AGAIN_MS ? ms : FULL_AGAIN_MS;
}

static bool queue_open(const kv_core *c, const kv_service *s, kv_refusal *ret)
{
    uint64_t bound = bound_of(c, s);
    if (s->draining)
        *ret = (kv_refusal){KV_E_QUEUE_DRAINING, NULL, DRAINING_AGAIN_MS};
    else if (bound && waiting(s) >= bound && !evicts(c, s))
        *ret = (kv_refusal){KV_E_QUEUE_FULL, NULL, room_in_ms(c, s)};
    else
        return true;
    return false;
}

/* No memory: nothing is left of it. */
static kv_task *task_of(kv_core *c, kv_service *service, kv_cmd *cmd)
{
    kv_cmd_submit *m = &cmd->submit;
    kv_task *t = kv_task_new(c, m->job, service, m->tenant, m->lane, cmd->seq);
    if (!t)
        return NULL;
    t->tag = m->tag = kv_lanes_tag(service, t->tenant, t->lane);
    t->max_attempts = (uint16_t)m->max_attempts;
    t->not_before = m->not_before;
    if (kv_task_set_extras(t, m->deadline_ms, m->backoff_ms, m->backoff_max_ms))
        return t;
    kv_task_free(c, t);
    return NULL;
}

static void add(kv_core *c, const kv_from *from, kv_service *service, const kv_submit *m)
{
    kv_cmd *cmd = kv_submit_command(c, from, m);
    if (!cmd)
        return;
    kv_task *t = task_of(c, service, cmd);
    if (!t) {
        kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        kv_cmd_free(&cmd);
        return;
    }
    t->in_flight = 1;
    c->submits_in_flight++;
    kv_task_enqueue(c, t);
    kv_core_give(c, cmd);
    kv_lease_dispatch(c, service);
}

/* What is refused now may be one that came before, and has ended: then its row is there. Looking
 * for it writes nothing, so a full disk does not hinder it; it is counted with the SUBMITs, so a
 * flood of what is refused does not fill the ledger's queue either. */
static void find_submitted(kv_core *c, const kv_from *from, uint64_t job, const kv_refusal *no)
{
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_FIND, 0);
    if (!cmd)
        return;
    cmd->id = job;
    cmd->if_none = no->err;
    cmd->none_detail = no->detail;
    cmd->none_after_ms = no->after_ms;
    cmd->counted = true;
    c->submits_in_flight++;
    kv_core_give(c, cmd);
}

/* NULL: not now. */
static kv_service *open_for(kv_core *c, const kv_submit *m, kv_refusal *ret)
{
    kv_service *s = disk_open(c, ret) ? kv_service_ask(c, m->service, ret) : NULL;
    return s && queue_open(c, s, ret) ? s : NULL;
}

void kv_jobs_submit(kv_core *c, const kv_from *from, const kv_submit *m)
{
    kv_refusal no = {KV_OK, NULL, 0};
    const char *wrong = kv_submit_wrong(m);
    if (wrong) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, wrong);
        return;
    }
    bool late = kv_submit_late(c, m, &no);
    if (late || kv_ids_find(&c->jobs, m->job)) {
        no.err = late ? no.err : KV_E_BUSY;
        find_submitted(c, from, m->job, &no);
        return;
    }
    if (kv_ids_find(&c->retries, m->job)) {
        kv_core_refuse(c, from, KV_E_BUSY, "a RETRY makes a job of this id now");
        return;
    }
    if (!ledger_open(c, from)) /* it is the ledger that has no room: it is not asked either */
        return;
    kv_service *service = open_for(c, m, &no);
    if (service)
        add(c, from, service, m);
    else
        find_submitted(c, from, m->job, &no);
}
