/* An ordered set of jobs: a treap over nodes that live inside the jobs, ordered by (tag, seq). It
 * knows how many stand before one, so a position is asked and never stored. Pure; O(log n) each. */
#ifndef KV_BROKER_QUEUE_H
#define KV_BROKER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct kv_node {
    struct kv_node *left, *right, *parent;
    uint64_t tag, seq; /* the order; seq alone is unique. Not changed while in a queue */
    uint32_t size;     /* of the subtree; 0: in no queue */
    uint32_t prio;
} kv_node;

typedef struct kv_queue {
    kv_node *root;
} kv_queue;

void kv_queue_add(kv_queue *q, kv_node *n);    /* asserts: in no queue */
void kv_queue_remove(kv_queue *q, kv_node *n); /* asserts: in this queue */
kv_node *kv_queue_first(const kv_queue *q);    /* NULL: empty */
uint32_t kv_queue_size(const kv_queue *q);
uint32_t kv_queue_rank(const kv_node *n); /* how many stand before it */
bool kv_queue_has(const kv_node *n);      /* whether it is in some queue */

#endif
