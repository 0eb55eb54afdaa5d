/* Jobs, written: one function a statement, conditional where it can be refused. The ledger's
 * thread, inside its transaction. States are those of storage/read/jobs.h; `history` is what the
 * transition adds (storage/read/job_history.h). */
#ifndef KV_STORAGE_WRITE_JOBS_H
#define KV_STORAGE_WRITE_JOBS_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* The row of a service, made on first use. */
kv_err kv_service_id(kv_db *db, kv_slice name, int64_t *ret_id);

/* Which jobs are unfinished: those in state < 2 with ids from `from` on, and those in table
 * job_open, which has exactly the unfinished ones with smaller ids. So a new job that ends soon is
 * written nowhere else, and a start reads little that is finished (docs/decisions/0023). A copy of
 * what the database says, for the transaction that runs: after a rollback it is the caller's to put
 * back. */
typedef struct kv_jobs_open {
    uint64_t from;        /* counter open_from */
    uint64_t above;       /* rows from there on; at least: removed ones are not taken off */
    uint32_t keep, slice; /* from `slice` more than `keep` above, the oldest `slice` are passed */
} kv_jobs_open;
enum { KV_OPEN_KEEP = 8192, KV_OPEN_SLICE = 1024 };
/* Reads `from` and counts `above`; keep and slice are the caller's. */
kv_err kv_jobs_open_read(kv_db *db, kv_jobs_open *ret);
/* Passes a slice if one is due. */
kv_err kv_jobs_open_pass(kv_db *db, kv_jobs_open *open);

/* What few jobs have. */
typedef struct kv_job_options {
    uint64_t backoff_ms, backoff_max_ms, retention_s, credits, retry_of;
    int64_t deadline;                                     /* Unix ms; 0: none */
    kv_slice unique_key, tags, user, operation, metadata; /* len 0: none; tags as ",a,b," */
} kv_job_options;

typedef struct kv_job_new {
    uint64_t id, seq, tag, max_attempts;
    int64_t service;    /* kv_service_id */
    int64_t not_before; /* Unix ms; 0: at once */
    int64_t now;        /* Unix ms */
    int lane;
    kv_slice tenant, params;
    const kv_job_options *options; /* NULL: none */
    int state;                     /* queued, or at once processing, with its lease and history */
    uint64_t epoch, attempt;
    kv_slice history;
} kv_job_new;
/* *ret_created false: a job of this id is there already, or an unfinished one of
 * the service has its unique key; nothing was written. */
kv_err kv_job_insert(kv_db *db, kv_jobs_open *open, const kv_job_new *job, bool *ret_created);
/* Undoes an insert of this transaction. */
kv_err kv_job_unmake(kv_db *db, kv_jobs_open *open, const kv_job_new *job);
kv_err kv_job_of_key(kv_db *db, int64_t service, kv_slice unique_key,
                     uint64_t *ret_id); /* 0: none */

/* A transition: written only where the row still is in state `from` under the lease (epoch,
 * attempt). */
typedef struct kv_job_move {
    uint64_t id;
    int from, to;
    uint64_t epoch, attempt;         /* the row's now */
    uint64_t new_epoch, new_attempt; /* the row's then */
    uint64_t given_back;             /* the row's then: leases that do not count as attempts */
    int64_t not_before, now;
    uint64_t progress; /* not of a job that failed or was cancelled: that keeps its own */
    kv_slice result;   /* JSON; ptr NULL: none */
    kv_slice error, error_detail; /* slug and sentence; ptr NULL: none */
    kv_slice history;
} kv_job_move;
/* Whose job it is, for its events and its credits. */
typedef struct kv_job_owner {
    char tenant[65], user[65]; /* "": none */
    uint64_t credits, retention_s;
    int lane;
    bool keyed; /* it has a unique key */
} kv_job_owner;
/* `ret_params` (may be NULL) gets the job's params appended. */
kv_err kv_job_owner_get(kv_db *db, uint64_t id, kv_job_owner *ret_owner, kv_buf *ret_params,
                        bool *ret_found);
/* *ret_moved false: the row is elsewhere, nothing was written. Of a job that ends the caller knows
 * the owner: kv_job_free_key where it is keyed. */
kv_err kv_job_move_row(kv_db *db, const kv_jobs_open *open, const kv_job_move *move,
                       bool *ret_moved);
kv_err kv_job_free_key(kv_db *db, uint64_t id);
/* Shortens a history that has grown long (kv_job_history_cut); to be asked now and then, where one
 * may grow without end. */
kv_err kv_job_trim_history(kv_db *db, uint64_t id);

/* A waiting job to the end of a lane; its delay ends. */
typedef struct kv_job_promote {
    uint64_t id, epoch, attempt; /* of the row, in state queued */
    int lane;
    uint64_t seq, tag;
    int64_t now;
    kv_slice history;
} kv_job_promote;
kv_err kv_job_promote_row(kv_db *db, const kv_jobs_open *open, const kv_job_promote *p,
                          kv_job_owner *ret_owner, char ret_service[65], bool *ret_moved);

/* Progress and metadata: what the row says now, and the writes. `metadata` points into the open
 * statement until kv_job_face_done. */
typedef struct kv_job_face {
    bool found;
    int state;
    uint64_t epoch, attempt, progress, version;
    kv_slice metadata; /* JSON object; len 0: none */
    kv_job_owner owner;
    kv_stmt *held;
} kv_job_face;
kv_err kv_job_face_get(kv_db *db, uint64_t id, kv_job_face *ret);
void kv_job_face_done(kv_job_face *face);
kv_err kv_job_set_progress(kv_db *db, uint64_t id, uint64_t progress, int64_t now);
kv_err kv_job_set_metadata(kv_db *db, uint64_t id, uint64_t version, kv_slice metadata,
                           int64_t now);

/* Where a row is now. */
typedef struct kv_job_place {
    bool found;
    int state;
    uint64_t epoch, attempt, given_back, max_attempts;
    int64_t not_before;
} kv_job_place;
kv_err kv_job_find(kv_db *db, uint64_t id, kv_job_place *ret);

/* A job as it was submitted, to be done again. `job` and `options` point into the open statement
 * until kv_job_again_done; job.id, seq, tag and now are the caller's to fill. */
typedef struct kv_job_again {
    bool found;
    int state;
    uint64_t retried_by; /* 0: not yet */
    kv_slice service;
    kv_job_new job;
    kv_job_options options;
    kv_stmt *held;
} kv_job_again;
kv_err kv_job_again_get(kv_db *db, uint64_t id, kv_job_again *ret);
void kv_job_again_done(kv_job_again *again);
/* Only where the job is in error or cancelled. It is no dead letter any more. */
kv_err kv_job_retried(kv_db *db, uint64_t id, uint64_t by);

/* Removes up to `max_rows` dead letters (state error) of a service, oldest first. */
kv_err kv_jobs_purge_dead(kv_db *db, kv_slice service, int max_rows, int64_t *ret_removed);

/* Retention: looks at up to `max_rows` jobs after *cursor (0: the oldest) and removes those that
 * are terminal and not touched since `before_ms`. Ids are time-ordered, so it leaves out those made
 * between `before_ms` and tomorrow; *cursor is 0 at the end, else where to go on. */
kv_err kv_jobs_prune(kv_db *db, int64_t before_ms, int64_t now, int max_rows, uint64_t *cursor,
                     int64_t *ret_removed);
/* Jobs with a retention of their own: to be removed at `at` (Unix ms), noted when they end. */
kv_err kv_job_expires(kv_db *db, uint64_t id, int64_t at);
kv_err kv_jobs_prune_expired(kv_db *db, int64_t now, int max_rows, int64_t *ret_removed);

#endif
