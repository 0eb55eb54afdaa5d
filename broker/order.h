/* How the three lanes of a service are interleaved: which begins next, and the place that follows
 * from it. One definition for dispatcher and rank. Pure.
 *
 * Between a higher lane A and a lower one B, while both wait, B gets every share-th start. p counts
 * A's starts since B's last, at most share - 1, so that a lane that was empty does not save up
 * turns. Then, from 0, i jobs of A and i + min(nB, (p + i) / (share - 1)) in all begin before A's
 * i-th, and j + min(nA, max(0, (j + 1)(share - 1) - p)) before B's j-th. Applied twice: urgent over
 * normal, and those two over background. share 0 is strict order: B when A is empty. share 1 would
 * let the lower lane always go first and is no share; it is refused in the configuration. */
#ifndef KV_BROKER_ORDER_H
#define KV_BROKER_ORDER_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/words.h"

typedef struct kv_order {
    uint32_t share;    /* LANE_SHARE: 0, or 2 and more */
    uint32_t since[2]; /* p of normal (starts of urgent), p of background (of the two above) */
} kv_order;

/* The lane that begins next among those where something waits; -1: none. */
int kv_order_next(const kv_order *o, const bool waits[KV_LANES]);
void kv_order_begun(kv_order *o, int lane);
/* How many jobs begin before the one that has `at` before it in its lane; n: waiting per lane. */
uint32_t kv_order_rank(const kv_order *o, const uint32_t n[KV_LANES], int lane, uint32_t at);

#endif
