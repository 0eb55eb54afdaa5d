/* The order itself: tags, turns, ranks, and what begins next. */
#include "broker/lanes.h"

#include "broker/lanes_parts.h"
#include "broker/rate.h"

/* A turn of weight 1 in the clock of a lane: fine enough for 1/100 (0.1 % off), and 2^63 is 40
 * years of 100,000 starts a second. */
enum { TURN = 1 << 16 };
#define TAG_MAX ((uint64_t)INT64_MAX) /* a column of the database holds it */

/* ---- the order of tenants ---- */

/* In or out of the ready ones of the lane, under the key of its first job there. */
static void place_turn(kv_service *s, kv_tenant *t, int lane, bool held)
{
    kv_turn *u = &t->turns[lane];
    kv_queue *ready = &s->lanes[lane].ready;
    const kv_node *first = held ? NULL : kv_queue_first(&u->jobs);
    if (kv_queue_has(&u->head)) {
        if (first && first->seq == u->head.seq && first->tag == u->head.tag)
            return;
        kv_queue_remove(ready, &u->head);
    }
    if (!first)
        return;
    u->head.tag = first->tag;
    u->head.seq = first->seq;
    kv_queue_add(ready, &u->head);
}

/* Where its timer belongs: with those that wait for their rate, if that alone holds jobs back. */
static void place_timer(kv_service *s, kv_tenant *t)
{
    bool wants = t->rate_spent && t->waiting > 0 && !kv_tenant_full(s, t);
    if (wants == kv_queue_has(&t->timer))
        return;
    if (!wants) {
        kv_queue_remove(&s->rate_waiting, &t->timer);
        return;
    }
    uint32_t rate = kv_tenant_limits(s, t).rate_per_minute;
    t->timer.tag = (uint64_t)kv_rate_free_ms(t->rate_full_ns, rate);
    t->timer.seq = t->number;
    kv_queue_add(&s->rate_waiting, &t->timer);
}

/* Its limits, or what they count, changed. */
void kv_lanes_place_tenant(kv_service *s, kv_tenant *t)
{
    bool held = t->rate_spent || kv_tenant_full(s, t);
    for (int lane = 0; lane < KV_LANES; lane++)
        place_turn(s, t, lane, held);
    place_timer(s, t);
}

/* ---- keys ---- */

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t turn_before(uint64_t tag)
{
    return tag > TURN ? tag - TURN : 0;
}

/* V. After a restart it is not known, only that it was not behind what had begun, and less than a
 * turn behind the first of what never began. A delayed job says least, it may have come long ago.
 */
static uint64_t clock_of(const kv_lane *lane)
{
    if (lane->started || lane->fresh)
        return larger(lane->started, turn_before(lane->fresh));
    return turn_before(lane->late);
}

uint64_t kv_lanes_tag(kv_service *s, kv_tenant *t, int lane)
{
    kv_turn *u = &t->turns[lane];
    uint64_t tag = larger(clock_of(&s->lanes[lane]), u->last) + TURN / kv_tenant_weight(s, t);
    return u->last = tag < TAG_MAX ? tag : TAG_MAX;
}

static void keep_smallest(uint64_t *smallest, uint64_t tag)
{
    if (*smallest == 0 || tag < *smallest)
        *smallest = tag;
}

void kv_lanes_restore(kv_service *s, kv_task *t, uint64_t tag)
{
    kv_lane *lane = &s->lanes[t->lane];
    kv_turn *u = &t->tenant->turns[t->lane];
    if (tag == 0) {
        t->tag = kv_lanes_tag(s, t->tenant, t->lane);
        return;
    }
    t->tag = tag < TAG_MAX ? tag : TAG_MAX;
    u->last = larger(u->last, t->tag);
    if (t->attempt > 0)
        lane->started = larger(lane->started, t->tag);
    else
        keep_smallest(t->not_before ? &lane->late : &lane->fresh, t->tag);
}

/* ---- waiting ---- */

static kv_task *task_of_turn(kv_node *n)
{
    return (kv_task *)((char *)n - offsetof(kv_task, turn));
}

static kv_tenant *tenant_of_head(kv_node *n, int lane)
{
    return (kv_tenant *)((char *)n - offsetof(kv_tenant, turns[0].head) -
                         (size_t)lane * sizeof(kv_turn));
}

static kv_tenant *tenant_of_timer(kv_node *n)
{
    return (kv_tenant *)((char *)n - offsetof(kv_tenant, timer));
}

void kv_lanes_add(kv_service *s, kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    t->node.tag = t->turn.tag = t->tag;
    t->turn.seq = t->node.seq;
    kv_queue_add(&s->lanes[t->lane].all, &t->node);
    kv_queue_add(&tenant->turns[t->lane].jobs, &t->turn);
    tenant->waiting++;
    s->limited_waiting += tenant->limited;
    place_turn(s, tenant, t->lane, tenant->rate_spent || kv_tenant_full(s, tenant));
    place_timer(s, tenant);
}

void kv_lanes_remove(kv_service *s, kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    kv_queue_remove(&s->lanes[t->lane].all, &t->node);
    kv_queue_remove(&tenant->turns[t->lane].jobs, &t->turn);
    tenant->waiting--;
    s->limited_waiting -= tenant->limited;
    place_turn(s, tenant, t->lane, tenant->rate_spent || kv_tenant_full(s, tenant));
    place_timer(s, tenant);
}

bool kv_lanes_idle(const kv_service *s)
{
    if (s->running || s->delayed || kv_lanes_waiting(s, -1) || kv_tenant_has_rule(&s->each))
        return false;
    for (const kv_tenant *t = s->tenant_list; t; t = t->next) {
        if (t->tasks || kv_tenant_has_rule(&t->own) || kv_queue_has(&t->timer))
            return false;
    }
    return true;
}

uint32_t kv_lanes_waiting(const kv_service *s, int lane)
{
    uint32_t n = 0;
    if (lane >= 0)
        return kv_queue_size(&s->lanes[lane].all);
    for (int i = 0; i < KV_LANES; i++)
        n += kv_queue_size(&s->lanes[i].all);
    return n;
}

uint32_t kv_lanes_rank(const kv_task *t, uint32_t *ret_in_lane)
{
    const kv_service *s = t->service;
    uint32_t n[KV_LANES], at = kv_queue_rank(&t->node);
    for (int i = 0; i < KV_LANES; i++)
        n[i] = kv_queue_size(&s->lanes[i].all);
    if (ret_in_lane)
        *ret_in_lane = at;
    return kv_order_rank(&s->order, n, t->lane, at);
}

kv_tenant_place kv_lanes_tenant_place(const kv_task *t)
{
    const kv_service *s = t->service;
    const kv_tenant *tenant = t->tenant;
    kv_tenant_place at = {.others = s->limited_waiting};
    if (!tenant->limited)
        return at;
    uint32_t n[KV_LANES];
    for (int i = 0; i < KV_LANES; i++)
        n[i] = kv_queue_size(&tenant->turns[i].jobs);
    at.limits = kv_tenant_limits(s, tenant);
    at.rank = kv_order_rank(&s->order, n, t->lane, kv_queue_rank(&t->turn));
    at.others -= tenant->waiting;
    at.running = tenant->running;
    at.leased_sum = tenant->leased_sum;
    at.rate_full_ns = tenant->rate_full_ns;
    return at;
}

kv_task *kv_lanes_evictable(const kv_service *s, const kv_task *but)
{
    for (int lane = KV_LANES - 1; lane >= 0; lane--) {
        kv_task *oldest = s->waiting[lane].first;
        if (oldest && oldest == but)
            oldest = oldest->next;
        if (oldest)
            return oldest;
    }
    return NULL;
}

/* ---- beginning ---- */

static void end_rates(kv_service *s, int64_t now_ms)
{
    if (s->rate_spent && kv_rate_free_ms(s->rate_full_ns, s->limits.rate_per_minute) <= now_ms)
        s->rate_spent = false;
    for (kv_node *n; (n = kv_queue_first(&s->rate_waiting)) && (int64_t)n->tag <= now_ms;) {
        kv_tenant *t = tenant_of_timer(n);
        t->rate_spent = false;
        kv_lanes_place_tenant(s, t);
    }
}

kv_task *kv_lanes_next(kv_core *c, kv_service *s)
{
    bool waits[KV_LANES];
    end_rates(s, c->now.mono_ms);
    if (s->rate_spent || kv_limits_full(s->limits, s->running))
        return NULL;
    for (int i = 0; i < KV_LANES; i++)
        waits[i] = s->lanes[i].ready.root != NULL;
    int lane = kv_order_next(&s->order, waits);
    if (lane < 0)
        return NULL;
    const kv_tenant *t = tenant_of_head(kv_queue_first(&s->lanes[lane].ready), lane);
    return task_of_turn(kv_queue_first(&t->turns[lane].jobs));
}

void kv_lanes_begun(kv_core *c, kv_service *s, const kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    uint32_t rate = kv_tenant_limits(s, tenant).rate_per_minute;
    s->lanes[t->lane].started = larger(s->lanes[t->lane].started, t->tag);
    kv_order_begun(&s->order, t->lane);
    if (s->limits.rate_per_minute)
        s->rate_spent = kv_rate_take(&s->rate_full_ns, s->limits.rate_per_minute, c->now.mono_ms);
    if (rate) {
        tenant->rate_spent = kv_rate_take(&tenant->rate_full_ns, rate, c->now.mono_ms);
        if (tenant->rate_spent)
            kv_lanes_place_tenant(s, tenant);
    }
}

void kv_lanes_not_begun(kv_core *c, kv_service *s, const kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    uint32_t rate = kv_tenant_limits(s, tenant).rate_per_minute;
    int64_t now = c->now.mono_ms;
    if (s->limits.rate_per_minute)
        s->rate_spent = kv_rate_return(&s->rate_full_ns, s->limits.rate_per_minute, now);
    if (!rate)
        return;
    if (kv_queue_has(&tenant->timer)) /* it has a task: it waits for its rate, until later */
        kv_queue_remove(&s->rate_waiting, &tenant->timer);
    tenant->rate_spent = kv_rate_return(&tenant->rate_full_ns, rate, now);
    kv_lanes_place_tenant(s, tenant);
}

void kv_lanes_running(kv_service *s, kv_task *t)
{
    t->tenant->running++;
    t->tenant->leased_sum += t->leased_at;
    if (kv_tenant_full(s, t->tenant))
        kv_lanes_place_tenant(s, t->tenant);
}

void kv_lanes_ended(kv_service *s, kv_task *t)
{
    bool was_full = kv_tenant_full(s, t->tenant);
    t->tenant->running--;
    t->tenant->leased_sum -= t->leased_at;
    if (was_full)
        kv_lanes_place_tenant(s, t->tenant);
}

/* ---- time ---- */

int64_t kv_lanes_wake_at(const kv_service *s)
{
    bool ready = s->lanes[0].ready.root || s->lanes[1].ready.root || s->lanes[2].ready.root;
    const kv_node *n = kv_queue_first(&s->rate_waiting);
    if (kv_limits_full(s->limits, s->running) || (!ready && !n))
        return INT64_MAX;
    int64_t tenants = ready ? 0 : (int64_t)n->tag;
    if (!s->rate_spent)
        return ready ? INT64_MAX : tenants;
    int64_t own = kv_rate_free_ms(s->rate_full_ns, s->limits.rate_per_minute);
    return own > tenants ? own : tenants;
}

bool kv_lanes_tick(kv_core *c, kv_service *s)
{
    for (kv_node *n; (n = kv_queue_first(&s->fading)) && (int64_t)n->tag <= c->now.mono_ms;) {
        kv_tenant *t = tenant_of_timer(n);
        kv_queue_remove(&s->fading, n);
        kv_tenant_free(s, t);
    }
    return kv_lanes_wake_at(s) <= c->now.mono_ms;
}
