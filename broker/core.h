/* The broker's core: (state, message, now) -> (state, outputs). No sockets, clock, threads or
 * database: all that comes in is an argument, all that goes out goes through the sink. The same
 * inputs give the same outputs. One thread.
 *
 * The core is ahead of the ledger: it changes its state when it gives a command away, and answers
 * when the command comes back committed. A command that comes back refused says where the row is;
 * the core then takes the row's word. */
#ifndef KV_BROKER_CORE_H
#define KV_BROKER_CORE_H

#include "broker/command.h"
#include "proto/codec.h"
#include "storage/read/jobs.h"
#include "storage/read/settings.h"

typedef struct kv_core kv_core;

typedef struct kv_now {
    int64_t wall_ms; /* Unix time: deadlines, delays that clients ask for */
    int64_t mono_ms; /* monotonic: leases, silence, waits before another attempt */
} kv_now;

typedef struct kv_core_sink {
    void *arg;
    /* To a peer, by routing id. What `m` points to is valid during the call. */
    void (*send)(void *arg, kv_slice peer, uint64_t request, const kv_msg *m);
    /* To the ledger, in this order; the command is the ledger's until it comes back by
     * kv_core_result. */
    void (*command)(void *arg, kv_cmd *cmd);
} kv_core_sink;

typedef struct kv_core_opts {
    kv_core_sink sink;
    uint64_t epoch; /* of this start */
    uint64_t place; /* kv_place_of its data folder; 0: HELLOs are not held against it */
    uint64_t beat_ms, silent_beats;
    int64_t stuck_after_ms;    /* STUCK_AFTER */
    uint64_t job_max_attempts; /* JOB_MAX_ATTEMPTS: of a SUBMIT that says nothing */
    int64_t backoff_ms,
        backoff_max_ms; /* first delay of a retry, doubled each time, and its limit */
    uint64_t
        max_waiting;     /* QUEUE_MAX_WAITING: bound of a queue that has none of its own; 0: none */
    bool evict;          /* QUEUE_OVERFLOW */
    size_t submits_max;  /* SUBMITs on their way to the ledger; BUSY above it */
    size_t services_max; /* queues at once, kervan's own aside; BUSY above it */
    uint32_t lane_share; /* LANE_SHARE (order.h); not 1 */
    uint64_t seed;       /* of the jitter */
} kv_core_opts;

/* Defaults of all but sink, epoch and seed. */
void kv_core_defaults(kv_core_opts *opts);
kv_err kv_core_new(const kv_core_opts *opts, kv_now now, kv_core **ret);
void kv_core_destroy(kv_core **core);

/* An unfinished job at start, in seq order. A job in processing waits `silent_beats` for its worker
 * (LEASE_HELD). */
kv_err kv_core_load(kv_core *core, kv_now now, const kv_job_row *row);

/* What an operator set, at start, before the jobs. */
kv_err kv_core_setting(kv_core *core, kv_now now, const kv_setting *set);

/* A queue that has dead letters only, at start, behind the jobs: it is listed as before, and gives
 * way where another needs its place. NO_MEMORY. */
kv_err kv_core_dead_letters_of(kv_core *core, kv_now now, kv_slice service);

/* A decoded message of a peer. STATS is the router's. */
void kv_core_message(kv_core *core, kv_now now, kv_slice peer, const kv_header *head,
                     const kv_msg *m);
/* A peer does not read, messages to it were dropped: its session is lost as by silence. */
void kv_core_overflow(kv_core *core, kv_now now, kv_slice peer);
/* A command after its commit, or after it failed. Frees it. */
void kv_core_result(kv_core *core, kv_now now, kv_cmd *cmd);
/* Silence, stuck jobs, delays that ran out. Only when all input is drained, more often than once a
 * beat: after a longer gap the broker itself was away (stopped, or starved), and nobody is judged
 * by their silence until they had time to be heard. */
void kv_core_tick(kv_core *core, kv_now now);

/* What HELLO_OK says besides the epoch; the router keeps it up to date. */
void kv_core_set_heads(kv_core *core, uint64_t last_event, uint64_t gone_seq);

/* Too little space is left: new jobs are refused with DISK_FULL and pictures wait; what else is
 * under way goes on. Where only the media's own disk is low, or the media folder cannot be
 * written to, new jobs are taken. */
void kv_core_set_disk_low(kv_core *core, bool low);
void kv_core_set_media_low(kv_core *core, bool low);

/* Appends
 * {"epoch":…,"sessions":…,"queues_in_use":…,"queues":[{"service","waiting","delayed","running","workers"}],…}
 * members, without the outer braces. */
void kv_core_health(const kv_core *core, kv_buf *out);
void kv_core_gauges(const kv_core *core); /* sets the gauges of metrics_table.h */

/* For tests and positions: -1 not held, else the state; rank counts the jobs dispatched before it
 * in its service (0 while processing). */
int kv_core_job_state(const kv_core *core, uint64_t job, uint64_t *ret_attempt);
bool kv_core_job_rank(const kv_core *core, uint64_t job,
                      uint64_t *ret_rank); /* false: not waiting in a lane */
size_t kv_core_jobs(const kv_core *core);
size_t kv_core_sessions(const kv_core *core);

#endif
