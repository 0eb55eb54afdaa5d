/* Executes commands in the database: one transaction at a time, its events, and what the ledger
 * remembers. One thread at a time.
 *
 * kv_exec_run returns an error only for what the database or the disk did; a business refusal is
 * the command's `err`. After an error the transaction must be rolled back. */
#ifndef KV_BROKER_EXEC_H
#define KV_BROKER_EXEC_H

#include "broker/command.h"
#include "broker/gone.h"
#include "broker/keep.h"
#include "broker/table.h"
#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "proto/base/id.h"
#include "proto/base/words.h"
#include "storage/db.h"
#include "storage/write/jobs.h"

/* Events of one row of the log, and of one EVENTS message. */
typedef struct kv_event_row {
    struct kv_event_row *next;
    uint64_t prev, first, last;
    kv_buf body; /* "[{…},…]" */
    kv_buf kept; /* the same as the log has it; until it is written */
} kv_event_row;

typedef struct kv_exec {
    kv_db *db;
    const kv_clock *clock;
    const char *base; /* MEDIA_BASE_URL, of the configuration */
    uint64_t job_max_attempts;
    kv_id_maker ids;
    uint64_t epoch, last_event, gone_seq; /* as committed */
    kv_names services;                    /* name -> id of the row */
    kv_gone gone;
    kv_jobs_open open, open_kept; /* of the transaction that runs; as committed */
    bool wrote_over;              /* in this transaction */
    bool log_doubtful;            /* the last commit failed: its frames may be in the log */
    bool unsure;                  /* the database could not say how the last commit ended */
    uint64_t *plain; /* jobs known to have no owner, by a hash of the id (exec_jobs.c) */
    /* of the transaction that runs */
    kv_cmd *cmd;
    const kv_cmd *ahead;  /* runs after `cmd` in this transaction, for sure; NULL: not known */
    const kv_cmd *leased; /* a SUBMIT whose row was written with the lease that `ahead` is */
    int64_t now;          /* Unix ms */
    char at[32];          /* the same as text */
    uint64_t next_event, next_gone;
    kv_event_row *rows, *row;       /* first and last */
    kv_keep keep;                   /* of the last */
    size_t event_bytes;             /* of all rows */
    size_t type_at, at_at, rest_at; /* of the event being made, in row->body */
    size_t own_at; /* the same: what is only this job's; 0: not an event of a job */
    kv_buf scratch, spare;
} kv_exec;

/* Opens and migrates the database and counts the epoch up. */
kv_err kv_exec_open(const kv_config *cfg, const kv_clock *clock, kv_exec *x);
/* Takes an open, migrated database (tests); it is closed by kv_exec_close, also after an error. */
kv_err kv_exec_attach(kv_db *db, const char *base, uint64_t job_max_attempts, const kv_clock *clock,
                      kv_exec *x);
void kv_exec_close(kv_exec *x);

kv_err kv_exec_begin(kv_exec *x);
/* `ahead` (may be NULL) is the next command. While kv_exec_owes says so, it must run in the same
 * transaction. */
kv_err kv_exec_run(kv_exec *x, kv_cmd *cmd, const kv_cmd *ahead);
bool kv_exec_owes(const kv_exec *x);
/* On an error the transaction is rolled back. */
kv_err kv_exec_commit(kv_exec *x);
void kv_exec_rollback(kv_exec *x);
/* A transaction of its own that writes something that matters to nobody: would one go through now?
 */
kv_err kv_exec_probe(kv_exec *x);
/* For an answer "not there" that must last. The frames of a commit that failed may lie behind the
 * end of the log, whole, and the next start would take them for committed: if there are some, this
 * writes a frame over the first of them. */
kv_err kv_exec_write_over(kv_exec *x);
/* The event rows of the last commit; the caller frees them with kv_event_rows_free. */
kv_event_row *kv_exec_take_rows(kv_exec *x);
void kv_event_rows_free(kv_event_row **rows);

/* ---- for hooks and commands, inside a transaction ---- */

/* Begins an event: {"id":…,"type":…,"at":…  Add members to the returned buffer, then
 * kv_exec_event_end. NULL: out of memory. */
kv_buf *kv_exec_event(kv_exec *x, kv_event_type type);
kv_err kv_exec_event_end(kv_exec *x);
/* An event of a media row with the row as JSON. */
kv_err kv_exec_media_event(kv_exec *x, kv_event_type type, uint64_t media, kv_slice json);
/* The same for the newest rows of a blob (at most 1000: what has more is a test, not a gallery). */
kv_err kv_exec_blob_event(kv_exec *x, kv_event_type type, uint64_t blob);
/* A job of a literal `service`; the core is told after the commit. `id` 0: made here. `retry_of`:
 * an ended job that it does again; 0: none. */
kv_err kv_exec_make_job(kv_exec *x, uint64_t id, const char *service, kv_slice params,
                        uint64_t max_attempts, int64_t not_before, uint64_t retry_of);
uint64_t kv_exec_id(kv_exec *x);
/* An id as text: `key` is `,"jobId":"` or the like; the closing quote is added. */
void kv_exec_add_id(kv_buf *b, const char *key, uint64_t id);

/* ---- exec_jobs.c ---- */
kv_err kv_exec_jobs_init(kv_exec *x);
void kv_exec_jobs_forget(kv_exec *x); /* after a rollback */
/* What the events of a job say. */
typedef struct kv_job_event {
    uint64_t job, attempt;
    int state, lane; /* lane -1: not said */
    kv_slice service;
    kv_slice user, tenant;        /* len 0: none */
    kv_slice error, error_detail; /* ptr NULL: none */
} kv_job_event;
kv_err kv_exec_job_event(kv_exec *x, const kv_job_event *e);

/* ---- exec_submit.c, exec_move.c ---- */
kv_err kv_exec_submit(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_retry(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_move(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_promote(kv_exec *x, kv_cmd *cmd);

/* ---- exec_metadata.c ---- */
kv_err kv_exec_progress(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_metadata(kv_exec *x, kv_cmd *cmd);

/* ---- exec_account.c ---- */
kv_err kv_exec_credit(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_notify(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_seen(kv_exec *x, kv_cmd *cmd);

/* ---- exec_steer.c ---- */
kv_err kv_exec_queue_set(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_purge_dead(kv_exec *x, kv_cmd *cmd);

/* ---- exec_media.c ---- */
kv_err kv_exec_media_commit(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_media_delete(kv_exec *x, kv_cmd *cmd);
kv_err kv_exec_media_retry(kv_exec *x, kv_cmd *cmd);

#endif
