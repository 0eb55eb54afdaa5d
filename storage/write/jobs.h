/* Jobs, written: one function a statement, conditional where it can be refused. The ledger's
 * thread, inside its transaction. States are those of storage/read/jobs.h. `history` is one JSON
 * object: the entry of this transition. */
#ifndef KV_STORAGE_WRITE_JOBS_H
#define KV_STORAGE_WRITE_JOBS_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* The row of a service, made on first use. */
kv_err kv_service_id(kv_db *db, kv_slice name, int64_t *ret_id);

typedef struct kv_job_new {
    uint64_t id, seq, max_attempts;
    int64_t service;    /* kv_service_id */
    int64_t not_before; /* Unix ms; 0: at once */
    int64_t now;        /* Unix ms */
    int lane;
    kv_slice tenant, params, history;
} kv_job_new;
/* *ret_created false: a job of this id is there already, nothing was written. */
kv_err kv_job_insert(kv_db *db, const kv_job_new *job, bool *ret_created);

/* A transition: written only where the row still is in state `from` under the lease (epoch,
 * attempt). */
typedef struct kv_job_move {
    uint64_t id;
    int from, to;
    uint64_t epoch, attempt;         /* the row's now */
    uint64_t new_epoch, new_attempt; /* the row's then */
    uint64_t max_attempts;
    int64_t not_before, now;
    uint64_t progress;
    kv_slice result;              /* JSON; ptr NULL: none */
    kv_slice error, error_detail; /* slug and sentence; ptr NULL: none */
    kv_slice history;
} kv_job_move;
/* *ret_moved false: the row is elsewhere, nothing was written. `ret_params` (may be NULL) gets the
 * job's params appended. */
kv_err kv_job_move_row(kv_db *db, const kv_job_move *move, kv_buf *ret_params, bool *ret_moved);

kv_err kv_job_set_progress(kv_db *db, uint64_t id, uint64_t epoch, uint64_t attempt,
                           uint64_t progress, int64_t now, bool *ret_written);

/* Where a row is now. */
typedef struct kv_job_place {
    bool found;
    int state;
    uint64_t epoch, attempt, max_attempts;
    int64_t not_before;
} kv_job_place;
kv_err kv_job_find(kv_db *db, uint64_t id, kv_job_place *ret);

/* Retention: looks at up to `max_rows` jobs after *cursor (0: the oldest) and removes those that
 * are terminal and not touched since `before_ms`. Ids are time-ordered, so it stops at those made
 * after `before_ms`; *cursor is then 0, else where to go on. */
kv_err kv_jobs_prune(kv_db *db, int64_t before_ms, int max_rows, uint64_t *cursor,
                     int64_t *ret_removed);

#endif
