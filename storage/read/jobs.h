/* Jobs, read. */
#ifndef KV_STORAGE_READ_JOBS_H
#define KV_STORAGE_READ_JOBS_H

#include "proto/base/buf.h"
#include "proto/base/words.h"
#include "storage/db.h"

const char *kv_job_state_name(int state); /* of a row; "error" where it has none of them */

/* job.options, bits. 0: a plain job, which has no row but its own. */
enum {
    KV_JOB_HAS_OPTIONS = 1 /* a row in job_option */,
    KV_JOB_HAS_KEY = 2 /* a unique key in it */
};

/* Appends {"jobId","service","lane","status","progress","attempts","max_attempts","params",
 * "metadata","metadata_version","result","error","error_detail","tenant","user","tags":[…],
 * "unique_key","credits","deadline","not_before","retry_of","retried_by","created_at","updated_at",
 * "history":[…]}. `attempts` are those that count: leases but for those given back. */
kv_err kv_job_get_json(kv_db *db, uint64_t id, kv_buf *out); /* NOT_FOUND */

/* Unfinished jobs in seq order, at start of the broker. Their order (28 bytes each) is known before
 * the first is read. NO_MEMORY. */
typedef struct kv_job_row {
    uint64_t id, seq, epoch, attempt, given_back, max_attempts, not_before, created_at;
    uint64_t tag, backoff_ms, backoff_max_ms, deadline_ms;
    int lane, state;
    const char *service; /* this and the tenant: valid during the call */
    kv_slice tenant;
    kv_slice worker; /* processing: who got the lease; else empty. As long as the tenant */
} kv_job_row;
kv_err kv_jobs_unfinished(kv_db *db, bool (*fn)(void *arg, const kv_job_row *row), void *arg);

#endif
