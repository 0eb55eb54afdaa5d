/* Places of queues that come and go: nobody points to one that went. */
#include "broker/core_types.h"
#include "broker/lanes.h"
#include "tests/sim/sim.h"

static bool is_there(const sim *s, const kv_service *q)
{
    for (const kv_service *at = s->core->service_list; at; at = at->next) {
        if (at == q)
            return true;
    }
    return false;
}

static bool add_limited(void *arg, const kv_tenant_view *v)
{
    if (v->limits.concurrency || v->limits.rate_per_minute)
        *(uint32_t *)arg += v->waiting;
    return true;
}

static void check_list(sim *s)
{
    size_t n = 0;
    uint32_t last = UINT32_MAX;
    for (kv_service *q = s->core->service_list; q; q = q->next, n++) {
        uint32_t limited = 0;
        SIM_HOLDS(s, q->index && q->index < last, "%s has place %u behind %u", q->name, q->index,
                  last);
        SIM_HOLDS(s, kv_names_find(&s->core->services, kv_slice_str(q->name)) == q,
                  "%s is not found", q->name);
        kv_lanes_tenants(s->core, q, KV_PLACE_RULE, add_limited, &limited);
        SIM_HOLDS(s, limited == q->limited_waiting, "%s: %u wait behind limits, %u counted",
                  q->name, limited, q->limited_waiting);
        last = q->index;
    }
    SIM_HOLDS(s, n == s->core->services_n && n == s->core->services.n, "%zu queues, %zu counted", n,
              s->core->services_n);
}

void sim_check_places(sim *s)
{
    size_t at = 0;
    check_list(s);
    for (kv_task *t; (t = kv_ids_next(&s->core->jobs, &at));) {
        kv_standing place = kv_task_standing(s->core, t);
        SIM_HOLDS(s, is_there(s, t->service), "job %llu is of a queue that went",
                  (unsigned long long)t->id);
        SIM_HOLDS(s, place.eta_low_ms <= place.eta_high_ms, "job %llu begins in %llu to %llu ms",
                  (unsigned long long)t->id, (unsigned long long)place.eta_low_ms,
                  (unsigned long long)place.eta_high_ms);
    }
    at = 0;
    for (kv_session *session; (session = kv_ids_next(&s->core->sessions, &at));) {
        for (const kv_offer *o = session->offers; o; o = o->next)
            SIM_HOLDS(s, is_there(s, o->service), "%s serves a queue that went", session->name);
    }
}

void sim_cancel_unworked(sim *s)
{
    for (int i = 0; i < s->facts_n; i++) {
        kv_msg m;
        if (s->facts[i].service < SIM_WORKED ||
            kv_core_job_state(s->core, s->facts[i].id, NULL) < 0)
            continue;
        kv_msg_defaults(KV_CANCEL, &m);
        m.cancel.job = s->facts[i].id;
        sim_send(s, &s->clients[0].node, &m, 0);
    }
}
