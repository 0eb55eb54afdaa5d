/* For services of your own in C: submit, follow, cancel and work jobs. The same session, resends
 * and leases that kervan's own processes use (client.h, actor.h), behind calls that block.
 *
 * Three parts: kv_job_client asks (jobs_client.c), kv_job_client_follow reads the event log
 * (jobs_follow.c), kv_job_worker works (jobs_worker.c). docs/examples/c has a program for each. */
#ifndef KV_JOBS_CLIENT_H
#define KV_JOBS_CLIENT_H

#include <signal.h>

#include "proto/base/buf.h"
#include "proto/codec.h"

/* ---- asking. A kv_job_client is for one thread. ---- */

typedef struct kv_job_client kv_job_client;

typedef struct kv_job_client_opts {
    /* NULL: KERVAN_BROKER and KERVAN_EVENTS of the environment, else those in the data folder
     * (KERVAN_DATA, else ./data). */
    const char *broker, *events;
    const char *name;   /* for operators; made unique by a suffix. At most 32 bytes are kept */
    int64_t timeout_ms; /* of each call; 0: 30 s */
    const volatile sig_atomic_t *stop; /* waits end with DRAINING within a second of it being set,
                                          or at once with a signal; NULL: never */
} kv_job_client_opts;

/* Does not wait for the broker: the first call does. IO: an endpoint that cannot be. */
kv_err kv_job_client_open(const kv_job_client_opts *opts, kv_job_client **ret);
void kv_job_client_close(kv_job_client **self);
/* What the broker said about the last call that failed; "" when it said nothing. */
const char *kv_job_client_detail(const kv_job_client *self);

typedef struct kv_job_client_state {
    uint64_t job;
    char status[17];                       /* "queued" … */
    bool created;                          /* false: it was here already */
    int64_t queue_position, lane_position; /* 1: next; 0: processing; -1: none */
    uint64_t eta_low_ms, eta_high_ms;      /* both 0: not known */
} kv_job_client_state;

/* All calls below: BROKER_AWAY when there was no answer in time (what was asked may have happened:
 * ask again), DRAINING when stopped, else what the broker refused with. Where the broker says when
 * a new try makes sense, it is made, for as long as the call has time. */

/* A SUBMIT with the defaults of PROTOCOL.md and a new id; change what else it should have. The
 * strings are borrowed until it is submitted. */
void kv_job_client_new(kv_job_client *self, kv_submit *ret, const char *service,
                       const char *params);
/* Committed when it returns. The same kv_submit again meets its own job (created false). */
kv_err kv_job_client_submit(kv_job_client *self, const kv_submit *job, kv_job_client_state *ret);
/* At most KV_BATCH_MAX (batch.h), 4 MiB together (else TOO_LARGE). KV_OK: they were judged, each
 * alone: ret_errs[i], and where that is KV_OK ret[i], without positions. */
kv_err kv_job_client_submit_batch(kv_job_client *self, const kv_submit *jobs, size_t n,
                                  kv_job_client_state *ret, kv_err *ret_errs);
/* Appends the job's JSON; either may be NULL. */
kv_err kv_job_client_get(kv_job_client *self, uint64_t job, kv_job_client_state *ret,
                         kv_buf *ret_json);
/* CONFLICT: it has ended. `was`: "queued", "processing" or "cancelled". */
kv_err kv_job_client_cancel(kv_job_client *self, uint64_t job, char ret_was[17]);
kv_err kv_job_client_retry(kv_job_client *self, uint64_t job, kv_job_client_state *ret);
/* `version` 0: any. Appends the merged metadata; may be NULL. */
kv_err kv_job_client_metadata(kv_job_client *self, uint64_t job, const char *patch,
                              uint64_t version, uint64_t *ret_version, kv_buf *ret_json);
/* Waits until the job has ended and appends its JSON; `fn` (may be NULL) gets each position that is
 * told meanwhile; it must not call functions of `self`. BROKER_AWAY: it has not ended within
 * timeout_ms. */
typedef void (*kv_job_client_position_fn)(void *arg, const kv_job_client_state *state);
kv_err kv_job_client_wait(kv_job_client *self, uint64_t job, int64_t timeout_ms,
                          kv_job_client_position_fn fn, void *arg, kv_buf *ret_json);

/* ---- events ---- */

#define KV_EVENTS_FROM_NOW UINT64_MAX
/* Calls `fn` for each event after `after`, in order, each once, over restarts of the broker, until
 * it returns false or `stop` is set (KV_OK then). NOT_FOUND: the log does not reach back to
 * `after`, or is another one: follow from now, and read the state anew meanwhile. `json`: the
 * event, an object with id, type, at and more. `fn` may call other functions of `self`. */
typedef bool (*kv_job_client_event_fn)(void *arg, uint64_t id, kv_slice type, kv_slice json);
kv_err kv_job_client_follow(kv_job_client *self, uint64_t after, kv_job_client_event_fn fn,
                            void *arg);

/* ---- working ---- */

typedef struct kv_job_worker kv_job_worker;
typedef struct kv_work kv_work; /* a job in hand */

typedef struct kv_job_worker_opts {
    const char *broker, *name, *service; /* broker, name: as above */
    unsigned threads;                    /* jobs at once, 1 to 256 */
    void *arg;
    /* Runs in one of the threads. KV_OK: complete, with the result that was set, else "{}". An
     * error: failed; the job is tried again where kv_work_fail said so. What it returns of a
     * cancelled job is not looked at. */
    kv_err (*handler)(kv_work *job, void *arg);
    /* Once, when a job in hand is cancelled or given to another worker, from another thread than
     * its handler's, which may still run; must not block. NULL: kv_work_cancelled is enough. */
    void (*on_cancel)(kv_work *job, void *arg);
} kv_job_worker_opts;

/* Takes jobs until it is stopped. */
kv_err kv_job_worker_start(const kv_job_worker_opts *opts, kv_job_worker **ret);
/* No new jobs; waits `drain_ms` for those in hand, then cancels them: the handlers should see to
 * that, for it waits for them to return. The jobs go to other workers. */
void kv_job_worker_stop(kv_job_worker **self, int64_t drain_ms);

/* For the handler; strings live until it returns. */
uint64_t kv_work_id(const kv_work *job);
uint64_t kv_work_attempt(const kv_work *job); /* number of its lease: 1 for the first */
kv_slice kv_work_params(const kv_work *job);  /* JSON, as submitted */
/* Stop working on it: nobody wants the result. Any thread. */
bool kv_work_cancelled(const kv_work *job);
/* Percent, and a JSON object that is merged into the metadata (NULL: none). Sent soon, in order;
 * percents without a patch may be passed over for newer ones. BAD_PARAMETER: too long, no UTF-8, or
 * over 100; BUSY: too much is under way, try again later. That of a cancelled job is forgotten. */
kv_err kv_work_progress(kv_work *job, unsigned percent, const char *patch);
/* JSON, kept with the job. BAD_PARAMETER: longer than 64 KiB, or no UTF-8; NO_MEMORY. */
kv_err kv_work_result(kv_work *job, const char *json);
/* Said before an error is returned: at most 1024 bytes are kept. */
void kv_work_fail(kv_work *job, bool retry, const char *detail);

#endif
