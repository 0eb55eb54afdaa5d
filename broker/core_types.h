/* What the files of the core share; nobody else includes this.
 *
 * core.c: birth, dispatch of messages, tick. sessions.c: who talks. jobs.c: the state machine, and
 * what clients and workers say about jobs. lease.c: who works on what. results.c: what the ledger
 * answered. */
#ifndef KV_BROKER_CORE_TYPES_H
#define KV_BROKER_CORE_TYPES_H

#include "broker/core.h"
#include "broker/queue.h"
#include "broker/table.h"

enum {
    KV_LANES = 3,
    KV_ANSWERED = 32,
    KV_REPLACED = 4,
    KV_SERVICES_MAX = 1024,
    KV_SESSIONS_MAX = 8192
};

typedef struct kv_task kv_task;
typedef struct kv_service kv_service;
typedef struct kv_session kv_session;
typedef struct kv_offer kv_offer;

/* Where a job stands in the core's structures; with NONE a command about it is at the ledger. */
typedef enum kv_task_at {
    KV_AT_NONE,
    KV_AT_LANE,
    KV_AT_DELAY,
    KV_AT_LEASE,
    KV_AT_LIMBO
} kv_task_at;

/* An unfinished job; small, for there may be a million. Params stay in the database until the job
 * is leased. */
struct kv_task {
    uint64_t id;  /* first: kv_ids */
    kv_node node; /* in a lane (tag, seq), or among the delayed (not_before, seq) */
    kv_service *service;
    kv_offer *offer;      /* who holds the lease; NULL: nobody, or not heard since the restart */
    kv_task *prev, *next; /* among the leases of a session, the orphans, or in limbo */
    int64_t since;        /* mono ms: last sign of progress; of an orphan: until when it waits */
    int64_t not_before;   /* wall ms */
    int64_t leased_at;    /* mono ms */
    uint64_t seq, epoch;
    uint16_t attempt, max_attempts, in_flight; /* commands at the ledger */
    uint8_t lane, state, at;
    bool unsure;   /* its worker said HELLO again and did not yet say that it has it */
    bool doubtful; /* a command failed: the row's word counts once nothing is in flight */
};

typedef struct kv_task_list {
    kv_task *first;
    size_t n;
} kv_task_list;

struct kv_service {
    char name[65];
    kv_queue lanes[KV_LANES];
    uint32_t running, delayed, workers;
    kv_offer *free_first, *free_last; /* offers with credit left, in turn */
    kv_service *next;
};

/* A worker's readiness for one service. */
struct kv_offer {
    kv_session *session;
    kv_service *service;
    uint64_t credit;
    uint64_t leased;  /* jobs it holds */
    uint64_t zombies; /* jobs taken from it that it may still work on: they use credit */
    bool listed;      /* among the free ones of the service */
    kv_offer *free_prev, *free_next;
    kv_offer *next; /* of the session */
};

typedef struct kv_answered {
    uint64_t request; /* 0: free */
    uint64_t id;
    kv_err err;
} kv_answered;

struct kv_session {
    uint64_t id; /* first: kv_ids */
    char role[33], name[65];
    uint64_t instance;
    uint8_t peer[255]; /* routing id */
    uint8_t peer_len;
    bool alive;    /* false: lost or gone, kept a while for what it may send again */
    bool fenced;   /* another instance has its name */
    int64_t heard; /* mono ms */
    kv_offer *offers;
    kv_task_list leases;
    kv_ids in_flight;                  /* its commands at the ledger, by request */
    kv_answered answered[KV_ANSWERED]; /* of what must not be done twice */
    unsigned answered_at;
    uint64_t replaced[KV_REPLACED]; /* instances that had this name */
    unsigned replaced_at;
};

struct kv_core {
    kv_core_opts opts;
    kv_now now; /* of the input being handled */
    kv_ids jobs, sessions;
    kv_names peers; /* routing id -> session */
    kv_names named; /* "role/name" -> session */
    kv_names services;
    kv_service *service_list;
    size_t services_n;
    kv_queue delayed;     /* tag is not_before */
    kv_task_list orphans; /* processing, without a session that holds them */
    kv_task_list limbo;   /* a command failed, and so did reading the row */
    uint64_t next_session, next_seq, random;
    uint64_t last_event, gone_seq;
    size_t submits_in_flight;
    int64_t next_maintenance, now_ticked; /* mono ms */
    int64_t judge_from;                   /* nobody is silent or stuck before */
};

/* What a message handler knows. */
typedef struct kv_from {
    kv_session *session;
    uint64_t request, deadline_ms;
    uint16_t code;
} kv_from;

/* ---- core.c ---- */
void kv_core_send(kv_core *c, const kv_session *s, uint64_t request, const kv_msg *m);
void kv_core_okay(kv_core *c, const kv_from *from, uint64_t id);
void kv_core_refuse(kv_core *c, const kv_from *from, kv_err err,
                    const char *detail);             /* detail NULL: the sentence of the error */
void kv_core_stale(kv_core *c, const kv_from *from); /* refuses with STALE_LEASE, counted */
/* A command on behalf of `from` (NULL: the core's own); refuses with NO_MEMORY and gives NULL when
 * there is none. */
kv_cmd *kv_core_cmd(kv_core *c, const kv_from *from, kv_cmd_type type, size_t bytes);
void kv_core_give(kv_core *c, kv_cmd *cmd);
uint64_t kv_core_seq(kv_core *c);

/* ---- sessions.c ---- */
kv_session *kv_session_of_peer(kv_core *c, kv_slice peer);
void kv_session_hello(kv_core *c, kv_slice peer, uint64_t request, const kv_hello *m);
void kv_session_beat(kv_core *c, const kv_from *from, const kv_beat *m);
void kv_session_bye(kv_core *c, const kv_from *from);
/* A request seen before: answered again, or on its way. True: nothing is left to do. */
bool kv_session_seen(kv_core *c, const kv_from *from);
void kv_session_remember(kv_session *s, uint64_t request, kv_err err, uint64_t id);
void kv_session_lost(kv_core *c, kv_session *s, const char *reason);
void kv_sessions_expire(kv_core *c);
void kv_sessions_release(kv_core *c);

/* ---- jobs.c ---- */
kv_service *kv_service_get(kv_core *c,
                           kv_slice name); /* made on first use; NULL: too many, or no memory */
kv_task *kv_task_new(kv_core *c, uint64_t id, kv_service *service, int lane, uint64_t seq);
void kv_task_free(kv_core *c, kv_task *job);
void kv_task_detach(kv_core *c, kv_task *job);  /* out of lane, delay or lease */
void kv_task_enqueue(kv_core *c, kv_task *job); /* into its lane, or among the delayed */

typedef struct kv_change {
    const kv_from *from; /* who is answered after the commit; NULL: nobody */
    kv_offer *offer;     /* processing: who gets it */
    int64_t not_before;  /* queued: wall ms */
    bool free_attempt;   /* queued: this attempt does not count */
    bool taken;          /* from a worker that may still be at it */
    kv_slice result;     /* complete */
    kv_err err;          /* error */
    kv_slice detail;     /* error */
    const char *reason;  /* for the history; NULL: none */
} kv_change;
/* The one place where a job changes state: checks, moves it between the structures, gives the
 * command to the ledger. False: out of memory, nothing changed. */
bool kv_task_change(kv_core *c, kv_task *job, int to, const kv_change *change);

void kv_jobs_submit(kv_core *c, const kv_from *from, const kv_submit *m);
void kv_jobs_get(kv_core *c, const kv_from *from, uint64_t job);
void kv_jobs_cancel(kv_core *c, const kv_from *from, uint64_t job);
void kv_jobs_progress(kv_core *c, const kv_from *from, const kv_job_progress *m);
void kv_jobs_done(kv_core *c, const kv_from *from, const kv_job_done *m);
void kv_jobs_fail(kv_core *c, const kv_from *from, const kv_job_fail *m);

/* ---- lease.c ---- */
void kv_lease_ready(kv_core *c, const kv_from *from, const kv_ready *m);
void kv_lease_claim(kv_core *c, const kv_from *from, const kv_lease_held *m);
void kv_lease_dispatch(kv_core *c, kv_service *service);
void kv_tasks_add(kv_task_list *list, kv_task *t);
void kv_tasks_remove(kv_task_list *list, kv_task *t);
void kv_lease_take(kv_core *c, kv_task *job, kv_offer *offer); /* offer NULL: an orphan */
void kv_lease_drop(kv_core *c, kv_task *job, bool zombie);
/* Back to the queue after a failure of the worker, or to error when its attempts are used up. */
void kv_lease_retry(kv_core *c, kv_task *job, const kv_from *from, kv_err err, kv_slice detail,
                    const char *reason);
void kv_lease_return_all(kv_core *c, kv_session *s, bool fault, const char *reason);
void kv_lease_late(kv_core *c,
                   const kv_from *from); /* an answer without a lease: its credit is free again */
void kv_lease_busy(kv_core *c, kv_session *s, uint64_t busy);
void kv_lease_expire(kv_core *c);
void kv_lease_cancel_worker(kv_core *c, const kv_task *job);
void kv_offer_update(kv_offer *offer); /* in or out of the free list */
kv_offer *kv_offer_get(kv_core *c, kv_session *s, kv_service *service);
void kv_offers_release(kv_core *c, kv_session *s);

/* ---- results.c ---- */
void kv_results_take(kv_core *c, kv_cmd *cmd);
void kv_results_ask_again(kv_core *c); /* for the jobs in limbo */

#endif
