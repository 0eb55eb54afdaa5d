/* The history of a job as its row holds it: a record a transition, short, for every move rewrites
 * it. The first entry (queued, at created_at, attempt 0) is not written. Pure.
 *
 * A record: state, ms since KV_ID_EPOCH_MS and attempt as decimals with a blank between, then
 * US worker, US reason where there is one, RS. */
#ifndef KV_STORAGE_READ_JOB_HISTORY_H
#define KV_STORAGE_READ_JOB_HISTORY_H

#include "proto/base/buf.h"

typedef struct kv_job_step {
    int state;  /* KV_JOB_… */
    int64_t at; /* Unix ms */
    uint64_t attempt;
    kv_slice worker, reason; /* may be empty; control characters become blanks */
} kv_job_step;

void kv_job_history_add(kv_buf *b, const kv_job_step *step);
/* Appends [{"status","at","attempt","worker","reason"},…], oldest first. */
void kv_job_history_read(kv_slice history, int64_t created_at, kv_buf *out);

#endif
