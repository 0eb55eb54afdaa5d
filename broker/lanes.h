/* The order in which the jobs of a service begin: three lanes, fair between tenants, with limits.
 * Part of the core; pure.
 *
 * Inside a lane the order is the immutable key (tag, seq): start-time fair queueing, tag =
 * max(V_lane, last tag of the tenant) + 1/weight. Between lanes a lower one gets every k-th start
 * (LANE_SHARE). The rank of a job is its place in that order; dispatcher and rank are one
 * definition (order.h). Tenants and services at a limit are passed over, so a rank may rise
 * meanwhile; a rank does not look at limits.
 *
 * A rate is a token bucket: 1/rate minutes apart, with a burst of a sixth of the rate (at least 1).
 * O(log n) each unless said otherwise. */
#ifndef KV_BROKER_LANES_H
#define KV_BROKER_LANES_H

#include "broker/core_types.h"

/* What is set for this tenant is the rule of every tenant of the service without its own. */
#define KV_TENANT_EACH "*"

void kv_lanes_open(kv_service *s, uint32_t lane_share); /* once, on a zeroed service */
void kv_lanes_close(kv_service *s); /* no task may be used any more with this service */

/* A tenant in a service: made on first use, gone when it has neither jobs nor settings, and its
 * rate has nothing to remember. */
/* NULL: no memory. A task holds its tenant from kv_task_new on. */
kv_tenant *kv_tenant_hold(kv_service *s, kv_slice name);
void kv_tenant_release(kv_service *s, kv_tenant *tenant); /* NULL: nothing */
const char *kv_tenant_name(const kv_tenant *tenant);
/* -1 in a field: as it is. False: no memory. weight 1..100 (default 1), for jobs that come from now
 * on. A changed rate begins with a full bucket. O(tenants) for KV_TENANT_EACH. The caller
 * dispatches after both. */
bool kv_tenant_set(kv_service *s, kv_slice name, int64_t concurrency, int64_t rate, int64_t weight);
/* Its rule, which says nothing (no limits, weight 1), is none any more. */
void kv_tenant_unset(kv_service *s, kv_slice name);
void kv_service_set_limits(kv_service *s, int64_t concurrency, int64_t rate);

/* The tag a new job of this tenant and lane gets; it counts from now on. O(1). */
uint64_t kv_lanes_tag(kv_service *s, kv_tenant *tenant, int lane);
/* A task read at start gets its stored tag again (0: a fresh one); its attempt, not_before and
 * lane are there already. Before the first kv_lanes_begun of the service. O(1). */
void kv_lanes_restore(kv_service *s, kv_task *t, uint64_t tag);
/* A waiting task into and out of its lane; t->tag and t->seq are its key. */
void kv_lanes_add(kv_service *s, kv_task *t);
void kv_lanes_remove(kv_service *s, kv_task *t);
/* The task that begins next, or NULL: none waits, or limits hold all back. Asks nothing of
 * workers. */
kv_task *kv_lanes_next(kv_core *c, kv_service *s);
/* It begins (it was taken out of its lane by kv_lanes_remove before): clock, turns and rates move
 * on. */
void kv_lanes_begun(kv_core *c, kv_service *s, const kv_task *t);
/* It did not begin after all: the tokens of the rates are there again. The caller dispatches. */
void kv_lanes_not_begun(kv_core *c, kv_service *s, const kv_task *t);
/* It counts as running: a new lease, one read at start, one taken over; and no longer. */
void kv_lanes_running(kv_service *s, kv_task *t);
void kv_lanes_ended(kv_service *s, kv_task *t);
/* Mono ms at which a rate limit lets the next one begin; INT64_MAX: nothing waits for time. O(log
 * tenants). */
int64_t kv_lanes_wake_at(const kv_service *s);
/* Forgets idle tenants whose rate has nothing to remember. True: dispatch, a rate lets one begin.
 */
bool kv_lanes_tick(kv_core *c, kv_service *s);

/* No job holds it, no tenant has a rule, no rate has anything to remember. O(1) but for tenants
 * that have jobs at the ledger only. */
bool kv_lanes_idle(const kv_service *s);
uint32_t kv_lanes_waiting(const kv_service *s, int lane); /* lane -1: all. O(1) */
/* Ranks from 0 of a task in a lane: among all of the service, and inside its lane (may be NULL). */
uint32_t kv_lanes_rank(const kv_task *t, uint32_t *ret_in_lane);
/* What the limits of tenants do to a task in a lane; all 0 where no tenant that waits has any. */
typedef struct kv_tenant_place {
    uint32_t others;  /* waiting jobs of other tenants that have limits: they may be passed over */
    kv_limits limits; /* of its own tenant; without any, all below is 0 */
    uint32_t rank;    /* jobs of its tenant before it, as the lanes interleave them */
    uint32_t running;
    int64_t leased_sum, rate_full_ns; /* as of kv_service */
} kv_tenant_place;
kv_tenant_place kv_lanes_tenant_place(const kv_task *t);
/* The task with the lowest claim: the oldest of the lowest lane that has one (X08), by time and not
 * by key: a tenant that waits little has small keys. Not `but` (may be NULL). NULL: none. O(1). */
kv_task *kv_lanes_evictable(const kv_service *s, const kv_task *but);
/* The rule of KV_TENANT_EACH, if there is one, then each tenant of the service, the newest first;
 * for INSPECT. fn returns false to end it; with the place of the view it was given then as `from`
 * the next call goes on with that one, at no cost where it is the very next. From KV_PLACE_RULE it
 * is all of them. */
#define KV_PLACE_RULE (((uint64_t)1 << 40) - 1) /* more tenants there never were */
typedef struct kv_tenant_view {
    uint64_t place;
    const char *name;
    uint32_t waiting, running, weight;
    kv_limits limits;
    bool held_back; /* at a limit now */
} kv_tenant_view;
void kv_lanes_tenants(const kv_core *c, kv_service *s, uint64_t from,
                      bool (*fn)(void *arg, const kv_tenant_view *v), void *arg);

#endif
