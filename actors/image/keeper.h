/* A thread that makes variants durable, so that the actor's shell is never held up by a disk. */
#ifndef KV_IMAGE_KEEPER_H
#define KV_IMAGE_KEEPER_H

#include "actors/image/variants.h"
#include "proto/base/id.h"
#include "storage/object.h"

/* Handed to the keeper and back. */
typedef struct kv_keeping {
    uint64_t run; /* the actor's number */
    uint64_t blob;
    int output_fd; /* what the child wrote; stays the actor's */
    kv_image_settings settings;
    char versions[KV_IMAGE_VERSIONS];
    kv_image_variant variants[KV_IMAGE_OUTPUTS_MAX]; /* the kept ones */
    uint32_t count;
    kv_err
        err; /* back: KV_OK; IMAGE_CRASH: the child's output is not what it said; DISK_FULL, IO … */
} kv_keeping;

typedef struct kv_keeper kv_keeper;

/* `store` stays the caller's and outlives the keeper. */
kv_err kv_keeper_start(kv_store *store, kv_keeper **ret);
/* Waits for the one in hand, drops the rest. */
void kv_keeper_stop(kv_keeper **self);
int kv_keeper_fd(const kv_keeper *self);             /* readable: kv_keeper_take */
bool kv_keeper_give(kv_keeper *self, kv_keeping *k); /* false: its queue is full (4096 and more) */
kv_keeping *kv_keeper_take(kv_keeper *self);         /* NULL: none now */

/* What the thread does with each; here for tests. */
kv_err kv_keep(kv_store *store, kv_id_maker *ids, const kv_keeping *k);

#endif
