/* The history of a job as its row holds it: a record a transition, short, for every move rewrites
 * it. The first entry (queued, at created_at, attempt 0) is not written. Pure.
 *
 * A record: state, ms since KV_ID_EPOCH_MS and attempt as decimals with a blank between, then
 * US worker, US reason, US error, US error_detail, as far as there are any, RS. One in the middle
 * of a long history may say how many stood in its place: these four empty, US number. */
#ifndef KV_STORAGE_READ_JOB_HISTORY_H
#define KV_STORAGE_READ_JOB_HISTORY_H

#include "proto/base/buf.h"

typedef struct kv_job_step {
    int state;               /* KV_JOB_… */
    int64_t at;              /* Unix ms */
    uint64_t attempt;        /* of those that count, as far as they were begun */
    kv_slice worker, reason; /* may be empty; control characters become blanks */
    kv_slice error, detail;  /* the same: what the worker said of a failed attempt, slug first */
} kv_job_step;

void kv_job_history_add(kv_buf *b, const kv_job_step *step);

/* Above KV_HISTORY_LONG a row's history is due for a cut, which leaves at most half of that: whole
 * steps in the middle go, the first few and the newest ones stay. Above KV_HISTORY_MAX it is cut
 * when it is read, so that a job with all it may have fits into JOB_STATUS. */
enum { KV_HISTORY_LONG = 8192, KV_HISTORY_MAX = 12288 };
void kv_job_history_cut(kv_slice history, kv_buf *out);

/* Appends [{"status","at","attempt","worker","reason","error","error_detail"},…], oldest first, the
 * last four where there are any. Steps that were cut out are one with "left_out": how many; its
 * status, time and attempt are those of the newest of them. */
void kv_job_history_read(kv_slice history, int64_t created_at, kv_buf *out);

/* Who got the lease, of a job in processing: the worker of the newest step, a slice of `history`.
 * Empty: another state, or nobody was named. */
kv_slice kv_job_history_holder(kv_slice history);

#endif
