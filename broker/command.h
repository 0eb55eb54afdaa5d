/* What core and ledger say to each other: a command goes to the ledger, and comes back as its own
 * result.
 *
 * The core makes it and gives it away; the ledger's thread fills the result part; after the commit
 * the core gets it again and frees it. Strings live inside the command. Only the request part may
 * be read by the core meanwhile. */
#ifndef KV_BROKER_COMMAND_H
#define KV_BROKER_COMMAND_H

#include "proto/base/buf.h"
#include "proto/base/error.h"
#include "proto/messages.h"
#include "storage/read/settings.h"
#include "storage/write/jobs.h"

typedef enum kv_cmd_type {
    KV_CMD_SUBMIT,
    KV_CMD_MOVE, /* a job changes state */
    KV_CMD_PROGRESS,
    KV_CMD_FIND, /* where a job is that the core does not hold */
    KV_CMD_JOB_GET,
    KV_CMD_MEDIA_COMMIT,
    KV_CMD_MEDIA_DELETE,
    KV_CMD_MEDIA_RETRY,
    KV_CMD_PROMOTE,
    KV_CMD_METADATA,
    KV_CMD_RETRY, /* a terminal job as a new one: result as of SUBMIT, and `jobs` */
    KV_CMD_CREDIT,
    KV_CMD_NOTIFY,
    KV_CMD_SEEN,
    KV_CMD_QUEUE_SET,
    KV_CMD_PURGE_DEAD,
    KV_CMD_NOTHING /* answers when all before it is committed */
} kv_cmd_type;

/* A job the core must know after the commit. */
typedef struct kv_cmd_job {
    uint64_t id, seq, max_attempts;
    int64_t not_before;
    int lane;
    const char *service; /* a literal, or inside the command */
    const char *tenant;  /* the same; "" for what kervan makes itself */
    uint64_t backoff_ms, backoff_max_ms;
    int64_t deadline_ms;
} kv_cmd_job;

enum { KV_CMD_NEW_JOBS = 2 };

typedef struct kv_cmd_submit {
    uint64_t job, max_attempts;
    int lane;
    int64_t not_before;
    uint64_t tag; /* fair order inside the lane (lanes.h) */
    uint64_t backoff_ms, backoff_max_ms, retention_s, credits, retry_of;
    int64_t deadline_ms; /* Unix ms; 0: none */
    kv_slice service, tenant, params;
    kv_slice unique_key, tags, user, operation, metadata; /* ptr NULL: none */
} kv_cmd_submit;

typedef struct kv_cmd_promote {
    uint64_t job, epoch, attempt; /* of the row, in state queued */
    uint64_t given_back;          /* of them */
    int lane;
    uint64_t new_seq, tag; /* its place in the lane from now on */
    int old_lane;          /* for the core, when it fails */
    uint64_t old_seq, old_tag;
} kv_cmd_promote;

typedef struct kv_cmd_metadata {
    uint64_t job, version;
    bool exact;     /* else version 0 is any */
    kv_slice patch; /* a JSON object */
} kv_cmd_metadata;

typedef struct kv_cmd_retry {
    uint64_t new_job, job; /* new_job first: kv_ids */
} kv_cmd_retry;

typedef struct kv_cmd_move {
    uint64_t job;
    int from, to;
    uint64_t epoch, attempt;         /* before */
    uint64_t new_epoch, new_attempt; /* after */
    uint64_t given_back;             /* after: leases that do not count as attempts */
    uint64_t progress;               /* of what did not fail */
    int64_t not_before;              /* Unix ms */
    kv_slice service;
    kv_slice worker;                  /* for the history; may be empty */
    kv_slice reason;                  /* for the history; may be empty */
    kv_slice result;                  /* JSON; ptr NULL: none */
    kv_slice error, error_detail;     /* of the job; ptr NULL: none */
    kv_slice failure, failure_detail; /* of the attempt, for the history; may be empty */
} kv_cmd_move;

typedef struct kv_cmd_progress {
    uint64_t job, epoch, attempt, progress;
    kv_slice patch; /* of the metadata; ptr NULL: none */
} kv_cmd_progress;

typedef struct kv_cmd {
    /* ---- request: written before it is given to the ledger ---- */
    uint64_t request; /* first: a session finds its commands in flight by it. 0: nobody waits */
    uint64_t session; /* who asked; 0: the core itself */
    struct kv_cmd *next;
    kv_cmd_type type;
    uint16_t code;        /* of the message that asked; 0: none */
    uint64_t deadline_ms; /* Unix ms; past it a media command or SUBMIT is refused; 0: none */
    uint64_t seq;         /* for a job that the ledger makes on its way */
    uint64_t token_epoch, token_attempt; /* FIND: the lease the asker believes in */
    kv_err if_none;                      /* FIND for a SUBMIT: the answer when there is no row */
    const char *none_detail;             /* of it, a literal; NULL: the sentence of the error */
    int64_t none_after_ms;               /* of it: retry_after_ms; 0: as the error has it */
    bool counted;                        /* FIND for a SUBMIT: one of the SUBMITs in flight */
    struct kv_batch *batch;              /* the core's: one of a SUBMIT_BATCH; NULL: alone */
    uint32_t batch_at;
    union {
        kv_cmd_submit submit;
        kv_cmd_move move;
        kv_cmd_progress progress;
        kv_media_commit commit;
        kv_cmd_promote promote;
        kv_cmd_metadata metadata;
        kv_cmd_retry retry;
        kv_credit credit;
        kv_notify notify;
        kv_seen seen;
        kv_queue_set queue_set;
        kv_slice service; /* PURGE_DEAD */
        uint64_t id;      /* FIND, JOB_GET, MEDIA_DELETE, MEDIA_RETRY */
    };
    /* ---- result: written by the ledger ---- */
    kv_err err;
    const char *detail; /* with err, a literal; NULL: the sentence of the error */
    kv_job_place place; /* where the job is: with a refused SUBMIT, MOVE, PROGRESS, and FIND */
    bool created, deduplicated;
    bool setting_removed; /* QUEUE_SET: nothing is set any more */
    uint64_t media, gone_seq;
    uint64_t other; /* SUBMIT: the job that has its unique key; RETRY: that does it again already;
                     * PURGE_DEAD: how many went; MEDIA_DELETE: the
                     * job that waited for what is gone; METADATA: the version; SEEN: up to which
                     * there are more, 0: nowhere */
    kv_credit_ok account; /* CREDIT; its strings are literals */
    kv_buf text;          /* JSON of a media row or a job; params of a leased job; merged metadata;
                           * RETRY: what the strings of `jobs` point into */
    kv_cmd_job jobs[KV_CMD_NEW_JOBS];
    int jobs_n;
    /* ---- memory of the strings ---- */
    size_t used, cap;
    char store[];
} kv_cmd;

kv_setting kv_cmd_setting(const kv_cmd *cmd); /* of a QUEUE_SET; its strings are the command's */

/* "the job is complete" and the like, for the detail of a refusal. */
const char *kv_cmd_job_is(int state);

/* With room for `bytes` of strings; NULL: out of memory. */
kv_cmd *kv_cmd_new(kv_cmd_type type, size_t bytes);
void kv_cmd_free(kv_cmd **cmd);
/* Copies into the command; asserts that there is room. A slice with ptr NULL stays one. */
kv_slice kv_cmd_keep(kv_cmd *cmd, kv_slice s);
/* The result part as it was before execution (the ledger may execute twice). */
void kv_cmd_reset(kv_cmd *cmd);

/* First in, first out, not locked. */
typedef struct kv_cmd_list {
    kv_cmd *first, *last;
    size_t n, asked; /* asked: those that a peer sent; the others, leases, follow from them */
} kv_cmd_list;
void kv_cmd_push(kv_cmd_list *list, kv_cmd *cmd);
kv_cmd *kv_cmd_pop(kv_cmd_list *list);                    /* NULL: empty */
void kv_cmd_append(kv_cmd_list *list, kv_cmd_list *tail); /* empties tail */

#endif
