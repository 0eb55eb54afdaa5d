/* Lists of jobs, read page by page: a page looks at a bounded number of rows, so that a read stays
 * short among millions. */
#ifndef KV_STORAGE_READ_JOBS_LIST_H
#define KV_STORAGE_READ_JOBS_LIST_H

#include "proto/base/buf.h"
#include "storage/db.h"

enum { KV_JOBS_PAGE_MAX = 200 };

typedef struct kv_jobs_query {
    kv_slice service, tenant, user, tag; /* len 0: any */
    int state, lane;                     /* -1: any; state as KV_JOB_…; -2: any unfinished one.
                                          * KV_JOB_ERROR: dead letters, so none that was done again */
    uint64_t before;                     /* older than this id; 0: from the newest */
    int limit;                           /* 1..KV_JOBS_PAGE_MAX */
} kv_jobs_query;

/* Appends a JSON array, newest first: each job as kv_job_get_json without params, result and
 * history. *ret_next: `before` of the next page, also where rows were looked at without a hit (the
 * page may be short, even empty); 0: that was all. */
kv_err kv_jobs_list_json(kv_db *db, const kv_jobs_query *query, kv_buf *out, uint64_t *ret_next);

/* Whether a job of this service was ever submitted. */
kv_err kv_jobs_service_known(kv_db *db, kv_slice service, bool *ret);

/* The oldest dead letters of a service with an id above `after`, up to `max`: fewer, that was all.
 */
kv_err kv_jobs_dead_oldest(kv_db *db, kv_slice service, uint64_t after, int max, uint64_t *ret_ids,
                           int *ret_n);

/* Dead letters (jobs in error that were not done again) of a service, counted up to `max`. */
kv_err kv_jobs_dead_count(kv_db *db, kv_slice service, uint64_t max, uint64_t *ret);

#endif
