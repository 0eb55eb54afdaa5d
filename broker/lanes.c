#include "broker/lanes.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/rate.h"

/* A turn of weight 1 in the clock of a lane: fine enough for 1/100 (0.1 % off), and 2^63 is 40
 * years of 100,000 starts a second. */
enum { TURN = 1 << 16, WEIGHT_MAX = 100 };
#define TAG_MAX ((uint64_t)INT64_MAX) /* a column of the database holds it */

/* A tenant in one lane. */
typedef struct turn {
    kv_node head;  /* among the lane's ready ones, with the key of its first job; else in none */
    kv_queue jobs; /* by kv_task.turn */
    uint64_t last; /* the tag given last */
} turn;

struct kv_tenant {
    kv_tenant *prev, *next; /* of the service */
    kv_node timer;          /* in rate_waiting or fading of the service, or in none */
    turn turns[KV_LANES];
    kv_tenant_rule own;
    int64_t rate_full_ns; /* as of kv_service */
    int64_t leased_sum;   /* the same */
    uint64_t number;
    uint32_t tasks, waiting, running;
    bool rate_spent;
    bool limited; /* it has limits: its waiting jobs are counted in limited_waiting */
    uint32_t name_len;
    char name[]; /* and a NUL */
};

/* ---- what holds back ---- */

static kv_limits limits_of(const kv_service *s, const kv_tenant *t)
{
    int64_t concurrency = t->own.concurrency >= 0 ? t->own.concurrency : s->each.concurrency;
    int64_t rate = t->own.rate_per_minute >= 0 ? t->own.rate_per_minute : s->each.rate_per_minute;
    return (kv_limits){concurrency > 0 ? (uint32_t)concurrency : 0, rate > 0 ? (uint32_t)rate : 0};
}

static uint32_t weight_of(const kv_service *s, const kv_tenant *t)
{
    int64_t weight = t->own.weight >= 0 ? t->own.weight : s->each.weight;
    return weight > 0 ? (uint32_t)weight : 1;
}

static bool is_full(kv_limits limits, uint32_t running)
{
    return limits.concurrency && running >= limits.concurrency;
}

static bool tenant_full(const kv_service *s, const kv_tenant *t)
{
    return is_full(limits_of(s, t), t->running);
}

/* Whether it has limits, after they may have changed. */
static void count_limited(kv_service *s, kv_tenant *t)
{
    kv_limits limits = limits_of(s, t);
    bool limited = limits.concurrency || limits.rate_per_minute;
    if (limited && !t->limited)
        s->limited_waiting += t->waiting;
    else if (!limited && t->limited)
        s->limited_waiting -= t->waiting;
    t->limited = limited;
}

/* ---- the order of tenants ---- */

/* In or out of the ready ones of the lane, under the key of its first job there. */
static void place_turn(kv_service *s, kv_tenant *t, int lane, bool held)
{
    turn *u = &t->turns[lane];
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
    bool wants = t->rate_spent && t->waiting > 0 && !tenant_full(s, t);
    if (wants == kv_queue_has(&t->timer))
        return;
    if (!wants) {
        kv_queue_remove(&s->rate_waiting, &t->timer);
        return;
    }
    uint32_t rate = limits_of(s, t).rate_per_minute;
    t->timer.tag = (uint64_t)kv_rate_free_ms(t->rate_full_ns, rate);
    t->timer.seq = t->number;
    kv_queue_add(&s->rate_waiting, &t->timer);
}

/* Its limits, or what they count, changed. */
static void place_tenant(kv_service *s, kv_tenant *t)
{
    bool held = t->rate_spent || tenant_full(s, t);
    for (int lane = 0; lane < KV_LANES; lane++)
        place_turn(s, t, lane, held);
    place_timer(s, t);
}

/* ---- tenants ---- */

static bool has_rule(const kv_tenant_rule *r)
{
    return r->concurrency >= 0 || r->rate_per_minute >= 0 || r->weight >= 0;
}

static kv_tenant *tenant_new(kv_service *s, kv_slice name)
{
    kv_tenant *t = calloc(1, sizeof *t + name.len + 1);
    if (!t)
        return NULL;
    if (!kv_names_set(&s->tenants, name, t)) {
        free(t);
        return NULL;
    }
    if (name.len)
        memcpy(t->name, name.ptr, name.len);
    t->name_len = (uint32_t)name.len;
    t->own = (kv_tenant_rule){-1, -1, -1};
    t->number = ++s->tenants_made;
    count_limited(s, t);
    t->next = s->tenant_list;
    if (t->next)
        t->next->prev = t;
    s->tenant_list = t;
    return t;
}

static void tenant_free(kv_service *s, kv_tenant *t)
{
    assert(t->tasks == 0 && t->waiting == 0 && t->running == 0);
    if (t->prev)
        t->prev->next = t->next;
    else
        s->tenant_list = t->next;
    if (t->next)
        t->next->prev = t->prev;
    kv_names_remove(&s->tenants, kv_slice_of(t->name, t->name_len));
    free(t);
}

/* Of a tenant without jobs: it goes, or stays for what is known of it. The unnamed one always
 * stays: most queues have no other. */
static void settle_idle(kv_service *s, kv_tenant *t)
{
    assert(t->tasks == 0);
    if (kv_queue_has(&t->timer))
        kv_queue_remove(&s->fading, &t->timer);
    if (has_rule(&t->own) || t->name_len == 0)
        return;
    if (t->rate_full_ns == 0 || limits_of(s, t).rate_per_minute == 0) {
        tenant_free(s, t);
        return;
    }
    t->timer.tag = (uint64_t)kv_rate_full_ms(t->rate_full_ns);
    t->timer.seq = t->number;
    kv_queue_add(&s->fading, &t->timer);
}

kv_tenant *kv_tenant_hold(kv_service *s, kv_slice name)
{
    kv_tenant *t = kv_names_find(&s->tenants, name);
    if (!t)
        t = tenant_new(s, name);
    if (!t)
        return NULL;
    if (t->tasks++ == 0 && kv_queue_has(&t->timer))
        kv_queue_remove(&s->fading, &t->timer);
    return t;
}

void kv_tenant_release(kv_service *s, kv_tenant *t)
{
    if (!t)
        return;
    assert(t->tasks > 0);
    if (--t->tasks == 0)
        settle_idle(s, t);
}

const char *kv_tenant_name(const kv_tenant *t)
{
    return t->name;
}

/* ---- settings ---- */

static void set_field(int64_t *field, int64_t value, int64_t limit)
{
    if (value >= 0)
        *field = value < limit ? value : limit;
}

static void set_rule(kv_tenant_rule *rule, int64_t concurrency, int64_t rate, int64_t weight)
{
    set_field(&rule->concurrency, concurrency, UINT32_MAX);
    set_field(&rule->rate_per_minute, rate, UINT32_MAX);
    set_field(&rule->weight, weight ? weight : 1, WEIGHT_MAX);
}

static void rate_changed(kv_service *s, kv_tenant *t, uint32_t rate_before)
{
    count_limited(s, t);
    if (limits_of(s, t).rate_per_minute == rate_before)
        return;
    if (t->tasks && kv_queue_has(&t->timer)) /* its time was of the old rate */
        kv_queue_remove(&s->rate_waiting, &t->timer);
    t->rate_full_ns = 0;
    t->rate_spent = false;
}

static void rule_changed(kv_service *s, kv_tenant *t, uint32_t rate_before)
{
    rate_changed(s, t, rate_before);
    if (t->tasks)
        place_tenant(s, t);
    else
        settle_idle(s, t);
}

static void set_each(kv_service *s, int64_t concurrency, int64_t rate, int64_t weight)
{
    kv_tenant_rule before = s->each, after = s->each;
    set_rule(&after, concurrency, rate, weight);
    for (kv_tenant *t = s->tenant_list, *next; t; t = next) {
        next = t->next;
        s->each = before;
        uint32_t rate_before = limits_of(s, t).rate_per_minute;
        s->each = after;
        rule_changed(s, t, rate_before);
    }
    s->each = after;
}

bool kv_tenant_set(kv_core *c, kv_service *s, kv_slice name, int64_t concurrency, int64_t rate,
                   int64_t weight)
{
    (void)c;
    if (kv_slice_is(name, KV_TENANT_EACH)) {
        set_each(s, concurrency, rate, weight);
        return true;
    }
    kv_tenant *t = kv_tenant_hold(s, name);
    if (!t)
        return false;
    uint32_t rate_before = limits_of(s, t).rate_per_minute;
    set_rule(&t->own, concurrency, rate, weight);
    rate_changed(s, t, rate_before);
    place_tenant(s, t); /* it is held: it has a task, or this is one */
    kv_tenant_release(s, t);
    return true;
}

void kv_tenant_unset(kv_service *s, kv_slice name)
{
    if (kv_slice_is(name, KV_TENANT_EACH)) {
        s->each = (kv_tenant_rule){-1, -1, -1};
        return;
    }
    kv_tenant *t = kv_tenant_hold(s, name);
    if (!t)
        return;
    t->own = (kv_tenant_rule){-1, -1, -1};
    kv_tenant_release(s, t);
}

void kv_service_set_limits(kv_core *c, kv_service *s, int64_t concurrency, int64_t rate)
{
    (void)c;
    if (concurrency >= 0)
        s->limits.concurrency = concurrency < UINT32_MAX ? (uint32_t)concurrency : UINT32_MAX;
    if (rate < 0 || rate == s->limits.rate_per_minute)
        return;
    s->limits.rate_per_minute = rate < UINT32_MAX ? (uint32_t)rate : UINT32_MAX;
    s->rate_full_ns = 0;
    s->rate_spent = false;
}

void kv_lanes_open(kv_service *s, uint32_t lane_share)
{
    s->order.share = lane_share;
    s->each = (kv_tenant_rule){-1, -1, -1};
}

void kv_lanes_close(kv_service *s)
{
    for (kv_tenant *t = s->tenant_list, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    s->tenant_list = NULL;
    kv_names_release(&s->tenants);
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
    turn *u = &t->turns[lane];
    uint64_t tag = larger(clock_of(&s->lanes[lane]), u->last) + TURN / weight_of(s, t);
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
    turn *u = &t->tenant->turns[t->lane];
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
                         (size_t)lane * sizeof(turn));
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
    place_turn(s, tenant, t->lane, tenant->rate_spent || tenant_full(s, tenant));
    place_timer(s, tenant);
}

void kv_lanes_remove(kv_service *s, kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    kv_queue_remove(&s->lanes[t->lane].all, &t->node);
    kv_queue_remove(&tenant->turns[t->lane].jobs, &t->turn);
    tenant->waiting--;
    s->limited_waiting -= tenant->limited;
    place_turn(s, tenant, t->lane, tenant->rate_spent || tenant_full(s, tenant));
    place_timer(s, tenant);
}

bool kv_lanes_idle(const kv_service *s)
{
    if (s->running || s->delayed || kv_lanes_waiting(s, -1) || has_rule(&s->each))
        return false;
    for (const kv_tenant *t = s->tenant_list; t; t = t->next) {
        if (t->tasks || has_rule(&t->own) || kv_queue_has(&t->timer))
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

uint32_t kv_lanes_rank(const kv_core *c, const kv_task *t, uint32_t *ret_in_lane)
{
    (void)c;
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
    at.limits = limits_of(s, tenant);
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
        place_tenant(s, t);
    }
}

kv_task *kv_lanes_next(kv_core *c, kv_service *s)
{
    bool waits[KV_LANES];
    end_rates(s, c->now.mono_ms);
    if (s->rate_spent || is_full(s->limits, s->running))
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
    uint32_t rate = limits_of(s, tenant).rate_per_minute;
    s->lanes[t->lane].started = larger(s->lanes[t->lane].started, t->tag);
    kv_order_begun(&s->order, t->lane);
    if (s->limits.rate_per_minute)
        s->rate_spent = kv_rate_take(&s->rate_full_ns, s->limits.rate_per_minute, c->now.mono_ms);
    if (rate) {
        tenant->rate_spent = kv_rate_take(&tenant->rate_full_ns, rate, c->now.mono_ms);
        if (tenant->rate_spent)
            place_tenant(s, tenant);
    }
}

void kv_lanes_not_begun(kv_core *c, kv_service *s, const kv_task *t)
{
    kv_tenant *tenant = t->tenant;
    uint32_t rate = limits_of(s, tenant).rate_per_minute;
    int64_t now = c->now.mono_ms;
    if (s->limits.rate_per_minute)
        s->rate_spent = kv_rate_return(&s->rate_full_ns, s->limits.rate_per_minute, now);
    if (!rate)
        return;
    if (kv_queue_has(&tenant->timer)) /* it has a task: it waits for its rate, until later */
        kv_queue_remove(&s->rate_waiting, &tenant->timer);
    tenant->rate_spent = kv_rate_return(&tenant->rate_full_ns, rate, now);
    place_tenant(s, tenant);
}

void kv_lanes_running(kv_service *s, kv_task *t)
{
    t->tenant->running++;
    t->tenant->leased_sum += t->leased_at;
    if (tenant_full(s, t->tenant))
        place_tenant(s, t->tenant);
}

void kv_lanes_ended(kv_service *s, kv_task *t)
{
    bool was_full = tenant_full(s, t->tenant);
    t->tenant->running--;
    t->tenant->leased_sum -= t->leased_at;
    if (was_full)
        place_tenant(s, t->tenant);
}

/* ---- time ---- */

int64_t kv_lanes_wake_at(const kv_service *s)
{
    bool ready = s->lanes[0].ready.root || s->lanes[1].ready.root || s->lanes[2].ready.root;
    const kv_node *n = kv_queue_first(&s->rate_waiting);
    if (is_full(s->limits, s->running) || (!ready && !n))
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
        tenant_free(s, t);
    }
    return kv_lanes_wake_at(s) <= c->now.mono_ms;
}

/* ---- looking in ---- */

void kv_lanes_tenants(const kv_core *c, const kv_service *s,
                      bool (*fn)(void *arg, const kv_tenant_view *v), void *arg)
{
    static const kv_tenant each = {.own = {-1, -1, -1}};
    kv_tenant_view rule = {
        .name = KV_TENANT_EACH, .weight = weight_of(s, &each), .limits = limits_of(s, &each)};
    if (has_rule(&s->each) && !fn(arg, &rule))
        return;
    for (const kv_tenant *t = s->tenant_list; t; t = t->next) {
        kv_limits limits = limits_of(s, t);
        bool spent = t->rate_spent &&
                     kv_rate_free_ms(t->rate_full_ns, limits.rate_per_minute) > c->now.mono_ms;
        kv_tenant_view v = {.name = t->name,
                            .waiting = t->waiting,
                            .running = t->running,
                            .weight = weight_of(s, t),
                            .limits = limits,
                            .held_back = spent || is_full(limits, t->running)};
        if (!fn(arg, &v))
            return;
    }
}
