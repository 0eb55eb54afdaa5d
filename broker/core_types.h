/* What the files of the core share; nobody else includes this.
 *
 * core.c: birth, dispatch of messages, tick. sessions.c: who talks. services.c: the queues there
 * are. jobs.c: tasks and the state machine. submit.c, options.c, batch.c: new jobs. due.c:
 * deadlines. answers.c: what workers say. answered.c: what comes twice. account.c: metadata,
 * retries, credits, notifications. lease.c: who works on what. lanes.c, order.c: what begins next.
 * pace.c: how fast it goes. watch.c: positions pushed. steer.c, inspect.c: operators. results.c:
 * what the ledger answered. */
#ifndef KV_BROKER_CORE_TYPES_H
#define KV_BROKER_CORE_TYPES_H

#include "broker/core.h"
#include "broker/order.h"
#include "broker/queue.h"
#include "broker/services.h"
#include "broker/table.h"
#include "proto/base/text.h"

enum { KV_REPLACED = 4, KV_SESSIONS_MAX = 8192 };
enum {
    KV_GIVEN_BACK_AT_ONCE = 10,   /* leases of a job given back without a wait for the next one */
    KV_GIVEN_BACK_WAIT_MS = 1000, /* the wait after each more */
    KV_NO_ROOM_WAIT_MS = 30000,   /* of a picture whose variants the disk has no room for */
    KV_LEASES_FREE = 65000        /* from this lease on one given back counts as an attempt; the
                                     numbers of leases have 16 bits, attempts are at most 100 */
};

#define KV_SERVICE_NAMES "a service is 1 to 64 of [a-z0-9-]"

typedef struct kv_task kv_task;
typedef struct kv_service kv_service;
typedef struct kv_session kv_session;
typedef struct kv_offer kv_offer;
typedef struct kv_batch kv_batch;
typedef struct kv_tenant kv_tenant;
typedef struct kv_pace kv_pace;         /* pace.c */
typedef struct kv_watching kv_watching; /* watch.c */
typedef struct kv_purging kv_purging;   /* steer.c */

/* Where a job stands in the core's structures; with NONE a command about it is at the ledger. */
typedef enum kv_task_at {
    KV_AT_NONE,
    KV_AT_LANE,
    KV_AT_DELAY,
    KV_AT_LEASE,
    KV_AT_LIMBO
} kv_task_at;

/* What few jobs have, beside the task. */
typedef struct kv_extras {
    kv_node due; /* among those with a deadline (deadline, seq); in no queue once it has begun */
    kv_task *task;
    int64_t deadline_ms;                 /* wall; 0: none */
    uint32_t backoff_ms, backoff_max_ms; /* 0: as the core has it */
} kv_extras;

/* An unfinished job; small, for there may be a million. Params stay in the database until the job
 * is leased. */
struct kv_task {
    uint64_t id;  /* first: kv_ids */
    kv_node node; /* in a lane (tag, seq), or among the delayed (when, seq); node.seq is the
                     task's own everywhere */
    kv_node turn; /* in a lane, among those of its tenant (tag, seq) */
    kv_service *service;
    kv_tenant *tenant;
    kv_extras *extras;    /* owned; NULL: none */
    kv_offer *offer;      /* who holds the lease; NULL: nobody, or not heard since the restart */
    kv_task *prev, *next; /* among the leases of a session, the orphans, the delayed of the service,
                             in its waiting row, or in limbo */
    int64_t since;        /* mono ms: last sign of progress; of an orphan: until when it waits; in a
                             lane: since when */
    int64_t not_before;   /* wall ms */
    int64_t leased_at;    /* mono ms */
    uint64_t tag;         /* its key inside the lane, with node.seq (lanes.h) */
    uint32_t epoch;       /* of its last lease; below 2^24 (kv_core_seq) */
    uint16_t attempt;     /* number of its last lease: what the token says */
    uint16_t given_back;  /* leases among them that do not count (kv_task_attempts) */
    uint16_t sent; /* number of the last one that went out in a JOB; 0: none since the start */
    uint16_t max_attempts;
    uint16_t in_flight; /* commands at the ledger */
    uint8_t lane : 2, state : 3, at : 3;
    bool unsure : 1;    /* its worker said HELLO again and did not yet say that it has it */
    bool watched : 1;   /* c->watched has it */
    bool doubtful : 1;  /* a command failed: the row's word counts once nothing is in flight */
    bool promoting : 1; /* a PROMOTE is at the ledger */
    bool withdrawn : 1; /* what it works on was deleted: a failure is nobody's */
    bool own_wait : 1;  /* not_before is a wait that kervan made: among c->waits; changed in none */
};

typedef struct kv_task_list {
    kv_task *first, *last; /* the newest first */
    size_t n;
} kv_task_list;

/* Tasks as they came, by prev and next. */
typedef struct kv_task_row {
    kv_task *first, *last;
} kv_task_row;

/* What operators set for a service, or for one tenant in it; 0: no limit. */
typedef struct kv_limits {
    uint32_t concurrency;
    uint32_t rate_per_minute;
} kv_limits;

/* The same of a tenant, with its weight; -1: as the service has it for each. */
typedef struct kv_tenant_rule {
    int64_t concurrency, rate_per_minute, weight;
} kv_tenant_rule;

typedef struct kv_lane {
    kv_queue all;         /* the waiting jobs by (tag, seq): ranks */
    kv_queue ready;       /* the tenants that may begin one now, by the key of their first */
    uint64_t started;     /* V: the largest tag of a job that began */
    uint64_t fresh, late; /* the smallest tag read at start of a job that never began; of a delayed
                             one. 0: none */
} kv_lane;

struct kv_service {
    char name[65];
    uint32_t index;                /* its place, from 1 on; used again when it went */
    bool own;                      /* kervan makes its jobs itself */
    bool fills_disk;               /* its jobs write files: they wait while there is no room */
    bool labelled;                 /* it has metrics under its name */
    int64_t made_at;               /* mono ms */
    kv_pace *pace;                 /* NULL: nothing measured yet */
    kv_task_row waiting[KV_LANES]; /* those in a lane, oldest first: pace.c keeps it */
    kv_lane lanes[KV_LANES];
    kv_order order;
    kv_limits limits;
    kv_tenant_rule each;   /* of tenants that have none of their own */
    int64_t rate_full_ns;  /* mono: when the token bucket of its rate is full again */
    bool rate_spent;       /* and it was empty when last looked at */
    kv_queue rate_waiting; /* tenants whose rate holds their jobs back, by mono ms of its end */
    kv_queue fading;       /* tenants without jobs, by mono ms at which their bucket is full */
    kv_names tenants;
    kv_tenant *tenant_list, *looked_at; /* the newest first; where INSPECT goes on */
    uint64_t tenants_made;
    uint32_t limited_waiting; /* jobs in lanes whose tenants have limits */
    uint32_t running, delayed, workers;
    int64_t leased_sum;               /* of leased_at over those that run */
    kv_task_list later;               /* the delayed ones, newest first */
    bool paused, draining;            /* what operators set: QUEUE_SET */
    uint32_t pausing;                 /* QUEUE_SETs at the ledger that will pause it */
    uint8_t health;                   /* kv_health, as the log has it */
    int8_t overflow;                  /* -1: as the core has it, 0: reject, 1: evict */
    uint64_t max_waiting;             /* 0: as the core has it */
    kv_offer *free_first, *free_last; /* offers with credit left, in turn */
    kv_service *next;
};

/* A worker's readiness for one service. */
struct kv_offer {
    kv_session *session;
    kv_service *service;
    uint64_t credit;
    uint64_t ready;   /* request of the READY that said so; 0: none */
    uint64_t leased;  /* jobs it holds */
    uint64_t zombies; /* jobs taken from it that it may still work on: they use credit */
    bool listed;      /* among the free ones of the service */
    kv_offer *free_prev, *free_next;
    kv_offer *next; /* of the session */
};

typedef struct kv_answered kv_answered; /* answered.c */

struct kv_session {
    uint64_t id; /* first: kv_ids */
    char role[33], name[65];
    uint64_t instance;
    uint32_t before; /* epoch of the session it had with a broker that is gone; 0: none, or done */
    uint8_t peer[255]; /* routing id */
    uint8_t peer_len;
    bool alive;    /* false: lost or gone, kept a while for what it may send again */
    bool fenced;   /* another instance has its name */
    int64_t heard; /* mono ms */
    kv_offer *offers;
    kv_task_list leases;
    kv_ids in_flight;                            /* its commands at the ledger, by request */
    kv_ids answered;                             /* kv_answered */
    kv_answered *answered_first, *answered_last; /* by time */
    uint64_t replaced[KV_REPLACED];              /* instances that had this name */
    unsigned replaced_at;
    kv_watching *watching; /* NULL: it watches no positions */
};

struct kv_core {
    kv_core_opts opts;
    kv_now now; /* of the input being handled */
    kv_ids jobs, sessions;
    kv_names peers; /* routing id -> session */
    kv_names named; /* "role/name" -> session */
    kv_names services;
    kv_names labels; /* names that have metrics of their own, for ever */
    kv_service *service_list;
    size_t services_n, services_own;
    struct {
        bool any;
        int64_t attempts, ended[3];
    } went;            /* what those counted that went, without a label */
    kv_queue delayed;  /* as a client asked: tag is not_before, wall ms */
    kv_queue waits;    /* kervan's own, of seconds: by mono ms, whatever becomes of the date */
    kv_queue due;      /* waiting jobs with a deadline */
    kv_batch *batches; /* not answered yet */
    kv_ids retries;    /* RETRYs at the ledger, by the id of the new job */
    bool disk_low, media_low;
    kv_task_list orphans;   /* processing, without a session that holds them */
    kv_ids holders;         /* of those read at start, by job: who got the lease */
    kv_task_list limbo;     /* a command failed, and so did reading the row */
    kv_ids watched;         /* by job: the first watch of it */
    kv_watching *watchings; /* all sessions that watch */
    size_t watches;
    int64_t watch_slot;  /* up to here the pushes are done */
    kv_purging *purges;  /* under way */
    int64_t next_upkeep; /* mono ms */
    uint64_t next_session, next_seq, random;
    uint64_t last_event, gone_seq;
    size_t submits_in_flight;
    int64_t next_maintenance, now_ticked; /* mono ms */
    int64_t judge_from;                   /* nobody is silent or stuck before */
};

/* An answer that may still be another one. */
typedef struct kv_refusal {
    kv_err err;
    const char *detail; /* a literal; NULL: the sentence of the error */
    int64_t after_ms;   /* retry_after_ms */
} kv_refusal;

/* What a message handler knows. */
typedef struct kv_from {
    kv_session *session;
    uint64_t request, deadline_ms;
    uint16_t code;
    kv_batch *batch; /* one of a SUBMIT_BATCH: refusals and answers are gathered there */
    uint32_t batch_at;
} kv_from;

/* ---- core.c ---- */
void kv_core_send(kv_core *c, const kv_session *s, uint64_t request, const kv_msg *m);
void kv_core_okay(kv_core *c, const kv_from *from, uint64_t id);
void kv_core_refuse(kv_core *c, const kv_from *from, kv_err err,
                    const char *detail); /* detail NULL: the sentence of the error */
void kv_core_refuse_for(kv_core *c, const kv_from *from, kv_err err, const char *detail,
                        int64_t retry_after_ms);
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
void kv_session_lost(kv_core *c, kv_session *s, const char *reason);
void kv_sessions_expire(kv_core *c);
void kv_sessions_release(kv_core *c);

/* ---- services.c ---- */
/* Made on first use. There are services_max places; when all are taken, the service that was idle
 * for longest (no jobs, no workers, no settings) goes, so a pointer to an idle one is good until
 * the next call. get: for what is committed, above all places if it must be; NULL: no memory. open:
 * refuses `from` and gives NULL when there is no place. ask: the same, with what to refuse. */
kv_service *kv_service_get(kv_core *c, kv_slice name);
kv_service *kv_service_open(kv_core *c, const kv_from *from, kv_slice name);
kv_service *kv_service_ask(kv_core *c, kv_slice name, kv_refusal *ret);
void kv_service_unset(kv_core *c,
                      kv_service *service);  /* its settings went: it goes, if never used */
size_t kv_services_in_use(const kv_core *c); /* that cannot be given back, kervan's own aside */
void kv_services_release(kv_core *c);

/* ---- jobs.c ---- */
/* NULL: no memory. Its tag is 0: kv_lanes_tag or kv_lanes_restore gives it one. */
kv_task *kv_task_new(kv_core *c, uint64_t id, kv_service *service, kv_slice tenant, int lane,
                     uint64_t seq);
void kv_task_free(kv_core *c, kv_task *job);
void kv_task_detach(kv_core *c, kv_task *job);  /* out of lane, delay or lease */
void kv_task_enqueue(kv_core *c, kv_task *job); /* into its lane, or among the delayed */
/* Those begun that count: at most max_attempts. */
static inline unsigned kv_task_attempts(const kv_task *job)
{
    return (unsigned)job->attempt - job->given_back;
}

/* Reason of a job whose file went. */
#define KV_WITHDRAWN "its file was deleted"

typedef struct kv_change {
    const kv_from *from; /* who is answered after the commit; NULL: nobody */
    kv_offer *offer;     /* processing: who gets it */
    int64_t not_before;  /* queued: wall ms */
    bool given_back;     /* queued: this lease does not count as an attempt */
    bool taken;          /* from a worker that may still be at it */
    kv_slice result;     /* complete */
    kv_err err;          /* error */
    kv_slice detail;     /* error */
    const char *reason;  /* for the history; NULL: none */
    kv_err failure;      /* for the history: what the worker said of this attempt; KV_OK: nothing */
    kv_slice failure_detail;
} kv_change;
/* The one place where a job changes state: checks, moves it between the structures, gives the
 * command to the ledger. False: out of memory, nothing changed. */
bool kv_task_change(kv_core *c, kv_task *job, int to, const kv_change *change);

/* Where a job is, for an answer; NULL or one that is not waiting: 0 while processing, else -1. */
typedef struct kv_standing {
    int64_t queue_position, lane_position;
    uint64_t eta_low_ms, eta_high_ms;
} kv_standing;
kv_standing kv_task_standing(kv_core *c, const kv_task *job);

void kv_jobs_find(kv_core *c, const kv_from *from, uint64_t job, uint64_t epoch, uint64_t attempt);
void kv_jobs_get(kv_core *c, const kv_from *from, uint64_t job);
void kv_jobs_cancel(kv_core *c, const kv_from *from, uint64_t job);
/* The file it was to work on was deleted: cancelled if it waits, else when its worker finds out. */
void kv_jobs_withdraw(kv_core *c, uint64_t job);

/* ---- answers.c ---- */
void kv_jobs_progress(kv_core *c, const kv_from *from, const kv_job_progress *m);
void kv_jobs_done(kv_core *c, const kv_from *from, const kv_job_done *m);
void kv_jobs_fail(kv_core *c, const kv_from *from, const kv_job_fail *m);

/* ---- answered.c ---- */
/* A request that is here a second time: answered again, or on its way. True: nothing is left to do.
 */
bool kv_answered_again(kv_core *c, const kv_from *from);
/* OK: `id` is what OKAY names (METADATA: the job). */
void kv_answered_keep(const kv_core *c, kv_session *s, uint64_t request, kv_err err, uint64_t id);
/* A message that would have made a job or a row made none, and its sender is told so. The same
 * message may be on its way once more: it must not make one then, but is told `err`. Others are
 * left alone; NULL and 0: nothing. */
void kv_answered_made_none(const kv_core *c, kv_session *s, uint64_t request, uint16_t code,
                           kv_err err);
void kv_answered_expire(const kv_core *c, kv_session *s); /* in a tick: all input is drained */
void kv_answered_release(kv_session *s);

/* ---- options.c ---- */
const char *kv_submit_wrong(const kv_submit *m); /* BAD_PARAMETER; NULL: nothing */
/* It comes too late. Sent again it did not, maybe: then its row is there. */
bool kv_submit_late(const kv_core *c, const kv_submit *m, kv_refusal *ret);
/* NULL: refused with NO_MEMORY. */
kv_cmd *kv_submit_command(kv_core *c, const kv_from *from, const kv_submit *m);
bool kv_json_is_object(kv_slice text); /* valid, and an object */
bool kv_text_plain(kv_slice text);     /* no control characters */

/* ---- submit.c ---- */
void kv_jobs_submit(kv_core *c, const kv_from *from, const kv_submit *m);
/* Whether a RETRY may be taken now; refuses if not. */
bool kv_submit_open(kv_core *c, const kv_from *from);
/* After a job was added: when its queue is over its bound and evicts, the oldest of the lowest lane
 * goes. */
void kv_submit_evict(kv_core *c, kv_task *added);

/* ---- due.c ---- */
/* What the task keeps of these options. False: no memory. */
bool kv_task_set_extras(kv_task *job, int64_t deadline_ms, uint64_t backoff_ms,
                        uint64_t backoff_max_ms);
void kv_due_add(kv_core *c, kv_task *job); /* waiting and never begun: its deadline counts */
void kv_due_remove(kv_core *c, kv_task *job);
bool kv_due_passed(const kv_core *c, const kv_task *job);
bool kv_due_end(kv_core *c, kv_task *job); /* false: no memory, nothing changed */
void kv_due_expire(kv_core *c);

/* ---- batch.c ---- */
void kv_batch_submit(kv_core *c, const kv_from *from, const kv_submit_batch *m);
void kv_batch_put(kv_core *c, kv_batch *batch, uint32_t at, kv_err err, int64_t retry_after_ms);
void kv_batch_put_job(kv_core *c, kv_batch *batch, uint32_t at, uint64_t job, int state,
                      bool created);
void kv_batches_release(kv_core *c);

/* ---- account.c ---- */
void kv_account_metadata(kv_core *c, const kv_from *from, const kv_metadata *m);
void kv_account_retry(kv_core *c, const kv_from *from, const kv_retry *m);
void kv_account_credit(kv_core *c, const kv_from *from, const kv_credit *m);
void kv_account_notify(kv_core *c, const kv_from *from, const kv_notify *m);
void kv_account_seen(kv_core *c, const kv_from *from, const kv_seen *m);
void kv_account_metadata_again(kv_core *c, const kv_from *from, uint64_t job); /* a resend */
void kv_account_result(kv_core *c, kv_cmd *cmd);

/* ---- orphans.c ---- */
/* Who got the lease that a job read at start is under. False: no memory. */
bool kv_orphan_held_by(kv_core *c, const kv_task *t, kv_slice worker);
bool kv_orphan_of(const kv_core *c, const kv_task *t, const kv_session *s);
void kv_orphan_forget(kv_core *c, const kv_task *t);
void kv_orphans_release(kv_core *c);

/* ---- lease.c ---- */
void kv_lease_ready(kv_core *c, const kv_from *from, const kv_ready *m);
void kv_lease_claim(kv_core *c, const kv_from *from, const kv_lease_held *m);
void kv_lease_dispatch(kv_core *c, kv_service *service);
/* What cannot be written now would only use up its attempts: it waits. */
bool kv_lease_no_room(const kv_core *c, const kv_service *s);
void kv_tasks_add(kv_task_list *list, kv_task *t);
void kv_tasks_remove(kv_task_list *list, kv_task *t);
int64_t kv_lease_longest_wait(const kv_core *c, const kv_task *t); /* before its next lease: ms */
void kv_lease_take(kv_core *c, kv_task *job, kv_offer *offer);     /* offer NULL: an orphan */
void kv_lease_drop(kv_core *c, kv_task *job, bool zombie);
/* Back to the queue after JOB_FAIL, or to error when its attempts are used up. */
void kv_lease_failed(kv_core *c, kv_task *job, const kv_from *from, kv_err err, kv_slice detail);
void kv_lease_return_all(kv_core *c, kv_session *s, bool fault, const char *reason);
void kv_lease_late(kv_core *c,
                   const kv_from *from); /* an answer without a lease: its credit is free again */
void kv_lease_busy(kv_core *c, kv_session *s, uint64_t busy);
void kv_lease_expire(kv_core *c);
/* No tick for so long: maybe nobody ran, and that is not time without progress. */
void kv_lease_stood_still(kv_core *c, int64_t gap_ms);
void kv_lease_cancel_worker(kv_core *c, const kv_task *job);
void kv_offer_update(kv_offer *offer); /* in or out of the free list */
void kv_offers_release(kv_session *s);

/* ---- results.c ---- */
void kv_reply(kv_core *c, const kv_cmd *cmd, const kv_msg *m);
void kv_reply_error(kv_core *c, const kv_cmd *cmd, kv_err err);
void kv_reply_submit(kv_core *c, const kv_cmd *cmd, uint64_t job, int state, bool created);
/* OKAY or the error, remembered for a resend. */
void kv_reply_done(kv_core *c, const kv_cmd *cmd, uint64_t id);
bool kv_err_final(kv_err err);       /* the same request would meet it again */
int64_t kv_err_again_ms(kv_err err); /* what the ledger refused with: when a new try makes sense */
void kv_results_take(kv_core *c, kv_cmd *cmd);
void kv_results_ask_again(kv_core *c); /* for the jobs in limbo */

#endif
