#include "broker/gone.h"

#include <stdlib.h>
#include <string.h>

bool kv_gone_init(kv_gone *g, size_t cap, uint64_t floor)
{
    *g = (kv_gone){.cap = cap, .floor = floor};
    g->ring = calloc(cap, sizeof *g->ring);
    return g->ring != NULL;
}

void kv_gone_release(kv_gone *g)
{
    kv_gone_drop(g);
    for (size_t i = 0; g->ring && i < g->cap; i++)
        free(g->ring[i].key);
    free(g->ring);
    free(g->pending);
    kv_names_release(&g->seqs);
    *g = (kv_gone){.cap = 0};
}

bool kv_gone_add(kv_gone *g, kv_slice key, uint64_t seq)
{
    if (g->pending_n == g->pending_cap) {
        size_t cap = g->pending_cap ? g->pending_cap * 2 : 16;
        kv_gone_key *more = realloc(g->pending, cap * sizeof *more);
        if (!more)
            return false;
        g->pending = more;
        g->pending_cap = cap;
    }
    char *copy = strndup(key.ptr, key.len);
    if (!copy)
        return false;
    g->pending[g->pending_n++] = (kv_gone_key){copy, seq};
    return true;
}

static uint64_t seq_of(const kv_gone *g, kv_slice key)
{
    return (uint64_t)(uintptr_t)kv_names_find(&g->seqs, key);
}

/* Forgetting a key raises the floor to its count: all that is older must be linked again. */
static void forget(kv_gone *g, kv_gone_key *old)
{
    if (!old->key)
        return;
    if (old->seq > g->floor)
        g->floor = old->seq;
    if (seq_of(g, kv_slice_str(old->key)) == old->seq)
        kv_names_remove(&g->seqs, kv_slice_str(old->key));
    free(old->key);
    old->key = NULL;
}

void kv_gone_keep(kv_gone *g)
{
    for (size_t i = 0; i < g->pending_n; i++) {
        kv_gone_key *slot = &g->ring[g->at++ % g->cap];
        forget(g, slot);
        *slot = g->pending[i];
        if (!kv_names_set(&g->seqs, kv_slice_str(slot->key), (void *)(uintptr_t)slot->seq))
            g->floor = slot->seq;
    }
    g->pending_n = 0;
}

void kv_gone_drop(kv_gone *g)
{
    for (size_t i = 0; i < g->pending_n; i++)
        free(g->pending[i].key);
    g->pending_n = 0;
}

bool kv_gone_since(const kv_gone *g, kv_slice key, uint64_t known)
{
    if (known < g->floor || seq_of(g, key) > known)
        return true;
    for (size_t i = 0; i < g->pending_n; i++) {
        if (g->pending[i].seq > known && kv_slice_eq(key, kv_slice_str(g->pending[i].key)))
            return true;
    }
    return false;
}
