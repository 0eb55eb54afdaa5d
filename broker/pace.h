/* How fast a service goes, measured from the core's own transitions: how long jobs wait and run,
 * how many end a second, how many of them fail; and from that, when a waiting job will begin. Part
 * of the core; pure. Fixed memory for each service, made with its first lease; without memory
 * nothing is measured and nothing else fails. */
#ifndef KV_BROKER_PACE_H
#define KV_BROKER_PACE_H

#include "broker/core_types.h"

/* A job came into its lane, and left it. `since`: mono ms since when it could have begun. */
void kv_pace_wait(kv_task *t, int64_t since);
void kv_pace_leave(kv_task *t);
/* At start: it waits since it was made, or its delay was over (wall ms). */
void kv_pace_loaded(const kv_core *c, kv_task *t, int64_t created);
/* A job is about to change its state; it still is what it was. */
void kv_pace_change(kv_core *c, const kv_task *t, int to);
void kv_pace_release(kv_service *s);
int64_t kv_pace_last(const kv_service *s); /* mono ms: when a job began or ended; -1: never */

/* When a job in a lane begins, by its rank there: from now, 8 times in 10 between the two. Both 0:
 * not known (nothing measured, no worker, paused). pace.c has the formula. */
void kv_pace_eta_rank(const kv_core *c, const kv_task *t, uint64_t rank, uint64_t *low_ms,
                      uint64_t *high_ms);
int64_t kv_pace_oldest_ms(const kv_core *c, const kv_service *s); /* age; -1: none waits */
uint64_t kv_pace_errors(const kv_service *s); /* jobs that ended so, since start */
/* Jobs of this service that end in ten seconds, as of the last ten. */
uint32_t kv_pace_ended_10s(const kv_core *c, const kv_service *s);

typedef struct kv_pace_spread {
    uint32_t n;             /* measured in the last 5 to 10 minutes in which there were any */
    uint32_t p50, p90, p99; /* ms, within 3 % */
} kv_pace_spread;

typedef struct kv_pace_view {
    uint64_t begun; /* leases, since start */
    uint64_t complete, error, cancelled;
    double s10, min1, min5; /* jobs ended a second */
    double error_rate;      /* of those that ended in 5 minutes, cancelled ones aside; 0 to 1 */
    kv_pace_spread wait, service;
    int64_t last_begun_ms, last_ended_ms; /* ago; -1: never */
} kv_pace_view;
void kv_pace_look(const kv_core *c, const kv_service *s, kv_pace_view *ret);

#endif
