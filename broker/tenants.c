/* Tenants of a service: made on first use, their rules, and what is known of them. */
#include <assert.h>
#include <stdlib.h>

#include "broker/lanes_parts.h"
#include "broker/rate.h"

enum { WEIGHT_MAX = 100 };

/* Whether it has limits, after they may have changed. */
static void count_limited(kv_service *s, kv_tenant *t)
{
    kv_limits limits = kv_tenant_limits(s, t);
    bool limited = limits.concurrency || limits.rate_per_minute;
    if (limited && !t->limited)
        s->limited_waiting += t->waiting;
    else if (!limited && t->limited)
        s->limited_waiting -= t->waiting;
    t->limited = limited;
}

/* ---- tenants ---- */

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

void kv_tenant_free(kv_service *s, kv_tenant *t)
{
    assert(t->tasks == 0 && t->waiting == 0 && t->running == 0);
    if (s->looked_at == t)
        s->looked_at = t->prev; /* what follows it is found from there */
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
    if (kv_tenant_has_rule(&t->own) || t->name_len == 0)
        return;
    if (t->rate_full_ns == 0 || kv_tenant_limits(s, t).rate_per_minute == 0) {
        kv_tenant_free(s, t);
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
    if (kv_tenant_limits(s, t).rate_per_minute == rate_before)
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
        kv_lanes_place_tenant(s, t);
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
        uint32_t rate_before = kv_tenant_limits(s, t).rate_per_minute;
        s->each = after;
        rule_changed(s, t, rate_before);
    }
    s->each = after;
}

bool kv_tenant_set(kv_service *s, kv_slice name, int64_t concurrency, int64_t rate, int64_t weight)
{
    if (kv_slice_is(name, KV_TENANT_EACH)) {
        set_each(s, concurrency, rate, weight);
        return true;
    }
    kv_tenant *t = kv_tenant_hold(s, name);
    if (!t)
        return false;
    uint32_t rate_before = kv_tenant_limits(s, t).rate_per_minute;
    set_rule(&t->own, concurrency, rate, weight);
    rate_changed(s, t, rate_before);
    kv_lanes_place_tenant(s, t); /* it is held: it has a task, or this is one */
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

void kv_service_set_limits(kv_service *s, int64_t concurrency, int64_t rate)
{
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

/* ---- looking in ---- */

/* The newest one whose number is not above `from`. */
static kv_tenant *tenant_from(const kv_service *s, uint64_t from)
{
    kv_tenant *t = s->looked_at && s->looked_at->number >= from ? s->looked_at : s->tenant_list;
    while (t && t->number > from)
        t = t->next;
    return t;
}

static kv_tenant_view view_of(const kv_core *c, const kv_service *s, const kv_tenant *t)
{
    kv_limits limits = kv_tenant_limits(s, t);
    bool spent =
        t->rate_spent && kv_rate_free_ms(t->rate_full_ns, limits.rate_per_minute) > c->now.mono_ms;
    return (kv_tenant_view){.place = t->number,
                            .name = t->name,
                            .waiting = t->waiting,
                            .running = t->running,
                            .weight = kv_tenant_weight(s, t),
                            .limits = limits,
                            .held_back = spent || kv_limits_full(limits, t->running)};
}

void kv_lanes_tenants(const kv_core *c, kv_service *s, uint64_t from,
                      bool (*fn)(void *arg, const kv_tenant_view *v), void *arg)
{
    static const kv_tenant each = {.own = {-1, -1, -1}};
    kv_tenant_view rule = {.place = KV_PLACE_RULE,
                           .name = KV_TENANT_EACH,
                           .weight = kv_tenant_weight(s, &each),
                           .limits = kv_tenant_limits(s, &each)};
    if (from >= KV_PLACE_RULE && kv_tenant_has_rule(&s->each) && !fn(arg, &rule))
        return;
    for (kv_tenant *t = tenant_from(s, from); t; t = t->next) {
        kv_tenant_view v = view_of(c, s, t);
        if (!fn(arg, &v)) {
            s->looked_at = t;
            return;
        }
    }
}
