/* Memory of upload bodies: arenas of 256 KiB, shared by the uploads of a loop, cut into slices that
 * travel as ZeroMQ payloads.
 *
 * What bounds memory: a budget over all loops (UPLOAD_BUFFER_MB) and a credit an upload. A slice is
 * given back by the free function of its message, in any thread; when a loop waits for that, its
 * eventfd is written once. */
#ifndef KV_GATEWAY_BODY_POOL_H
#define KV_GATEWAY_BODY_POOL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <zmq.h>

#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_BODY_ARENA  (256u * 1024)       /* bytes of an arena */
#define KV_BODY_CREDIT (8 * KV_BODY_ARENA) /* bytes of one upload in flight */
#define KV_BODY_SLICES 64                  /* slices of one arena */
#define KV_BODY_COPY   4096 /* shorter slices are copied: they must not hold an arena */

typedef struct kv_body_pool kv_body_pool;
typedef struct kv_body_buf kv_body_buf;

/* Bytes of one upload that downstream still holds; lives until the last of them is back. */
typedef struct kv_body_credit {
    _Atomic size_t in_flight;
    _Atomic unsigned refs; /* the upload and each slice */
} kv_body_credit;

typedef struct kv_body_slice {
    kv_body_buf *buf;
    kv_body_credit *credit;
    size_t len;
} kv_body_slice;

struct kv_body_buf {
    kv_body_pool *pool;
    kv_body_buf *next; /* free list */
    _Atomic unsigned refs;
    unsigned nslices, slices_max;
    size_t cap, fill; /* bytes; `fill` are handed out */
    char *bytes;
    kv_body_slice slices[];
};

/* `wake_fds` are eventfds, one a loop. All of it lasts until the process ends. */
kv_body_pool *kv_body_pool_new(size_t budget, const int *wake_fds, unsigned loops);

/* NULL: the budget is used up, or memory. Reference count 1: the caller's. */
kv_body_buf *kv_body_arena(kv_body_pool *pool);
/* A buffer of its own, for `slices` slices. Within the budget unless `force`: for what stands
 * nowhere else, or in a buffer whose slices are used up. */
kv_body_buf *kv_body_single(kv_body_pool *pool, size_t cap, unsigned slices, bool force);
void kv_body_drop(kv_body_buf *buf); /* one reference; any thread */
/* Whether the caller holds the only reference; then the arena is empty again. */
bool kv_body_reuse(kv_body_buf *buf);

kv_body_credit *kv_body_credit_new(void);
void kv_body_credit_drop(kv_body_credit *credit);

/* A message over `bytes` inside `buf` (a reference to buf and to credit is taken until it is
 * freed). false: no slice left in buf, or memory. */
bool kv_body_message(kv_body_buf *buf, kv_body_credit *credit, kv_slice bytes, zmq_msg_t *ret);

/* One reference more, for the caller. */
void kv_body_hold(kv_body_buf *buf);
/* Whether half of the budget is free: memory may then wait for bytes that are still to come. */
bool kv_body_pool_roomy(const kv_body_pool *pool);

/* The loop waits: the next slice given back writes its eventfd. To be called before the last look
 * at the condition. */
void kv_body_want(kv_body_pool *pool, unsigned loop);
size_t kv_body_pool_used(const kv_body_pool *pool); /* bytes */

#endif
