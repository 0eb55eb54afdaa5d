/* What SUBMIT_BATCH and its answer hold: msgpack arrays, one behind the other. Pure; any thread. */
#ifndef KV_BATCH_H
#define KV_BATCH_H

#include "proto/base/buf.h"
#include "proto/base/error.h"

#define KV_BATCH_MAX 1000 /* jobs of a SUBMIT_BATCH */

/* How many msgpack values stand in `bodies`; -1: they are broken, cut off or nested too deeply.
 * Stops above KV_BATCH_MAX. The bodies themselves are made with kv_body_encode and read with
 * kv_body_decode_next. */
int kv_batch_count(kv_slice bodies);

/* One element of SUBMIT_BATCH_OK's `results`. */
typedef struct kv_batch_result {
    uint64_t job;
    kv_err err;      /* KV_OK: committed */
    kv_slice status; /* of the job; empty with an error */
    bool created;
} kv_batch_result;

void kv_batch_result_add(kv_buf *out, const kv_batch_result *result);
/* Reads the first of `rest` and moves it on; `status` points into it. False: there is none, or it
 * is broken. */
bool kv_batch_result_next(kv_slice *rest, kv_batch_result *ret);

#endif
