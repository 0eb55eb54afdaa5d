#include "broker/queue.h"

#include <assert.h>
#include <stddef.h>

static uint32_t size_of(const kv_node *n)
{
    return n ? n->size : 0;
}

static void count(kv_node *n)
{
    n->size = 1 + size_of(n->left) + size_of(n->right);
}

static bool before(const kv_node *a, const kv_node *b)
{
    return a->tag != b->tag ? a->tag < b->tag : a->seq < b->seq;
}

/* Priorities come from seq by a mixing function: the same history gives the same tree. */
static uint32_t prio_of(uint64_t seq)
{
    uint64_t v = seq * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 31) * 0x94d049bb133111ebu;
    return (uint32_t)(v >> 32);
}

static void replace(kv_queue *q, const kv_node *old, kv_node *parent, kv_node *with)
{
    if (!parent)
        q->root = with;
    else if (parent->left == old)
        parent->left = with;
    else
        parent->right = with;
    if (with)
        with->parent = parent;
}

/* `n` goes up, its parent below it. */
static void rotate_up(kv_queue *q, kv_node *n)
{
    kv_node *p = n->parent;
    replace(q, p, p->parent, n);
    if (p->left == n) {
        p->left = n->right;
        if (n->right)
            n->right->parent = p;
        n->right = p;
    } else {
        p->right = n->left;
        if (n->left)
            n->left->parent = p;
        n->left = p;
    }
    p->parent = n;
    count(p);
    count(n);
}

void kv_queue_add(kv_queue *q, kv_node *n)
{
    assert(n->size == 0);
    kv_node *parent = NULL, **at = &q->root;
    while (*at) {
        parent = *at;
        parent->size++;
        at = before(n, parent) ? &parent->left : &parent->right;
    }
    n->left = n->right = NULL;
    n->parent = parent;
    n->size = 1;
    n->prio = prio_of(n->seq);
    *at = n;
    while (n->parent && n->parent->prio < n->prio)
        rotate_up(q, n);
}

void kv_queue_remove(kv_queue *q, kv_node *n)
{
    assert(n->size > 0);
    while (n->left && n->right)
        rotate_up(q, n->left->prio > n->right->prio ? n->left : n->right);
    replace(q, n, n->parent, n->left ? n->left : n->right);
    for (kv_node *p = n->parent; p; p = p->parent)
        p->size--;
    n->left = n->right = n->parent = NULL;
    n->size = 0;
}

kv_node *kv_queue_first(const kv_queue *q)
{
    kv_node *n = q->root;
    while (n && n->left)
        n = n->left;
    return n;
}

uint32_t kv_queue_size(const kv_queue *q)
{
    return size_of(q->root);
}

uint32_t kv_queue_rank(const kv_node *n)
{
    uint32_t rank = size_of(n->left);
    for (; n->parent; n = n->parent) {
        if (n->parent->right == n)
            rank += 1 + size_of(n->parent->left);
    }
    return rank;
}

bool kv_queue_has(const kv_node *n)
{
    return n->size > 0;
}
