/* What the order (lanes.c) and its tenants (tenants.c) share. */
#ifndef KV_BROKER_LANES_PARTS_H
#define KV_BROKER_LANES_PARTS_H

#include "broker/lanes.h"

/* A tenant in one lane. */
typedef struct kv_turn {
    kv_node head;  /* among the lane's ready ones, with the key of its first job; else in none */
    kv_queue jobs; /* by kv_task.turn */
    uint64_t last; /* the tag given last */
} kv_turn;

struct kv_tenant {
    kv_tenant *prev, *next; /* of the service */
    kv_node timer;          /* in rate_waiting or fading of the service, or in none */
    kv_turn turns[KV_LANES];
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

static inline kv_limits kv_tenant_limits(const kv_service *s, const kv_tenant *t)
{
    int64_t concurrency = t->own.concurrency >= 0 ? t->own.concurrency : s->each.concurrency;
    int64_t rate = t->own.rate_per_minute >= 0 ? t->own.rate_per_minute : s->each.rate_per_minute;
    return (kv_limits){concurrency > 0 ? (uint32_t)concurrency : 0, rate > 0 ? (uint32_t)rate : 0};
}

static inline uint32_t kv_tenant_weight(const kv_service *s, const kv_tenant *t)
{
    int64_t weight = t->own.weight >= 0 ? t->own.weight : s->each.weight;
    return weight > 0 ? (uint32_t)weight : 1;
}

static inline bool kv_limits_full(kv_limits limits, uint32_t running)
{
    return limits.concurrency && running >= limits.concurrency;
}

static inline bool kv_tenant_full(const kv_service *s, const kv_tenant *t)
{
    return kv_limits_full(kv_tenant_limits(s, t), t->running);
}

static inline bool kv_tenant_has_rule(const kv_tenant_rule *r)
{
    return r->concurrency >= 0 || r->rate_per_minute >= 0 || r->weight >= 0;
}

/* Its limits, or what they count, changed: into or out of the ready ones of its lanes. lanes.c */
void kv_lanes_place_tenant(kv_service *s, kv_tenant *t);
/* It has no task, and nothing is known of it that must stay. tenants.c */
void kv_tenant_free(kv_service *s, kv_tenant *t);

#endif
