/* Two hash tables: by a 64-bit number that the value itself holds as its first member, and by
 * bytes. One thread. */
#ifndef KV_BROKER_TABLE_H
#define KV_BROKER_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/slice.h"

/* Values are pointers to structs whose first member is the uint64_t key; not owned. Zeroed memory
 * is an empty table. */
typedef struct kv_ids {
    void **slots; /* a power of two, at most 5/8 used */
    size_t cap, n;
} kv_ids;
void *kv_ids_find(const kv_ids *t, uint64_t id);
bool kv_ids_add(kv_ids *t, void *value);    /* false: out of memory; asserts that the key is new */
void kv_ids_remove(kv_ids *t, uint64_t id); /* nothing if absent */
void kv_ids_release(kv_ids *t);
/* Any order; the table must not change meanwhile. *at begins with 0; NULL ends. */
void *kv_ids_next(const kv_ids *t, size_t *at);

/* Keys are copied. */
typedef struct kv_names {
    struct kv_name **slots; /* chained, a power of two */
    size_t cap, n;
} kv_names;
void *kv_names_find(const kv_names *t, kv_slice key);
bool kv_names_set(kv_names *t, kv_slice key,
                  void *value); /* adds or replaces; false: out of memory */
void kv_names_remove(kv_names *t, kv_slice key);
void kv_names_release(kv_names *t);

#endif
