/* Serving media: /api/static/<folder>/<stored_hash>[.w640-<params>].<ext>.
 *
 * The cache belongs to one loop and one thread: rows of served paths (LRU, bounded) and the bytes
 * of small files (STATIC_CACHE_MB / loops). */
#ifndef KV_GATEWAY_STATIC_H
#define KV_GATEWAY_STATIC_H

#include "gateway/gateway.h"

struct kv_static_cache;

/* loop->cache is set by the caller. NO_MEMORY. */
kv_err kv_static_cache_new(kv_loop *loop, struct kv_static_cache **ret);
void kv_static_cache_destroy(struct kv_static_cache **cache);
/* Something about these bytes changed (ready, deleted …): forget every path with this hash (64 hex
 * digits). */
void kv_static_cache_drop(struct kv_static_cache *cache, kv_slice stored_hash_hex);
/* Before a DELETE is answered: no loop serves these bytes from memory any more, whether or not it
 * has heard of the event. Empty hash: it is not known, all is read anew. */
void kv_static_cache_deleted(struct kv_static_cache *cache, kv_slice stored_hash_hex);
/* Events were missed: forget everything. */
void kv_static_cache_drop_all(struct kv_static_cache *cache);

#endif
