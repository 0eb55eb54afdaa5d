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
    KV_CMD_NOTHING /* answers when all before it is committed */
} kv_cmd_type;

/* A job the core must know after the commit. */
typedef struct kv_cmd_job {
    uint64_t id, seq, max_attempts;
    int64_t not_before;
    int lane;
    const char *service; /* a literal */
} kv_cmd_job;

enum { KV_CMD_NEW_JOBS = 2 };

typedef struct kv_cmd_submit {
    uint64_t job, max_attempts;
    int lane;
    int64_t not_before;
    kv_slice service, tenant, params;
} kv_cmd_submit;

typedef struct kv_cmd_move {
    uint64_t job;
    int from, to;
    uint64_t epoch, attempt;         /* before */
    uint64_t new_epoch, new_attempt; /* after */
    uint64_t max_attempts, progress;
    int64_t not_before; /* Unix ms */
    kv_slice service;
    kv_slice worker;              /* for the history; may be empty */
    kv_slice reason;              /* for the history; may be empty */
    kv_slice result;              /* JSON; ptr NULL: none */
    kv_slice error, error_detail; /* ptr NULL: none */
} kv_cmd_move;

typedef struct kv_cmd_progress {
    uint64_t job, epoch, attempt, progress;
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
    union {
        kv_cmd_submit submit;
        kv_cmd_move move;
        kv_cmd_progress progress;
        kv_media_commit commit;
        uint64_t id; /* FIND, JOB_GET, MEDIA_DELETE, MEDIA_RETRY */
    };
    /* ---- result: written by the ledger ---- */
    kv_err err;
    kv_job_place place; /* where the job is: with a refused SUBMIT, MOVE, PROGRESS, and FIND */
    bool created, deduplicated;
    uint64_t media, gone_seq;
    kv_buf text; /* JSON of a media row or a job; params of a leased job */
    kv_cmd_job jobs[KV_CMD_NEW_JOBS];
    int jobs_n;
    /* ---- memory of the strings ---- */
    size_t used, cap;
    char store[];
} kv_cmd;

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
    size_t n;
} kv_cmd_list;
void kv_cmd_push(kv_cmd_list *list, kv_cmd *cmd);
kv_cmd *kv_cmd_pop(kv_cmd_list *list);                    /* NULL: empty */
void kv_cmd_append(kv_cmd_list *list, kv_cmd_list *tail); /* empties tail */

#endif
