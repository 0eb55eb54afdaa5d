/* Which object keys were removed lately, and at which count of removals (gone_seq). Memory of the
 * ledger's thread: it says whether a file that a gateway linked may have been removed since. What
 * is forgotten, or was before this start, counts as removed (the floor). */
#ifndef KV_BROKER_GONE_H
#define KV_BROKER_GONE_H

#include "broker/table.h"

typedef struct kv_gone_key {
    char *key; /* owned; NULL: free */
    uint64_t seq;
} kv_gone_key;

typedef struct kv_gone {
    kv_names seqs; /* key -> seq */
    kv_gone_key *ring;
    size_t cap, at;
    kv_gone_key *pending; /* of the transaction that runs */
    size_t pending_n, pending_cap;
    uint64_t floor;
} kv_gone;

bool kv_gone_init(kv_gone *g, size_t cap, uint64_t floor); /* false: out of memory */
void kv_gone_release(kv_gone *g);
bool kv_gone_add(
    kv_gone *g, kv_slice key,
    uint64_t seq); /* counts from now on, lasts after kv_gone_keep; false: out of memory */
void kv_gone_keep(kv_gone *g); /* the transaction is committed */
void kv_gone_drop(kv_gone *g); /* it is rolled back */
/* Whether the key may have been removed after a gateway knew count `known`. */
bool kv_gone_since(const kv_gone *g, kv_slice key, uint64_t known);

#endif
