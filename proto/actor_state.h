/* What the files of the actor shell share: actor.c runs the thread, session.c speaks with the
 * broker. For proto/ only. */
#ifndef KV_ACTOR_STATE_H
#define KV_ACTOR_STATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "proto/out.h"

typedef struct kv_lease {
    uint64_t job, epoch, attempt;
    bool unheld; /* a LEASE_HELD failed: say it again at held_at_us */
} kv_lease;

typedef struct kv_watch {
    int fd; /* -1: unwatched during a round, taken out after it */
    kv_out_fd_fn fn;
} kv_watch;

typedef struct kv_question kv_question; /* a kv_out_ask under way */

struct kv_actor {
    kv_out out;         /* first: handlers get &out */
    kv_actor_spec spec; /* what its pointers point to lives as long as the actor */
    const kv_handler *by_code[256];
    void *self;

    /* thread */
    pthread_t thread;
    sem_t ready;
    kv_err start_err;
    int wake_fd;                   /* by kv_actor_stop */
    _Atomic int64_t stop_until_ms; /* kv_clock_real, monotonic; 0: run on */

    /* sockets */
    void *inbox;
    bool inbox_more; /* the last batch ended with it, not because it was empty */
    void **peers;
    int peer_count;
    kv_watch *watches;
    size_t watch_count;

    /* session */
    kv_client *client;
    uint64_t credit;
    bool draining;
    bool ready_due;                  /* a READY failed: say it again at ready_at_us */
    int64_t ready_at_us, held_at_us; /* held_at_us 0: no lease is to be held again */
    kv_lease *leases;
    size_t lease_count, lease_room;
    kv_question *questions;

    int64_t batch_us; /* monotonic: when the batch was begun */
    int64_t next_tick_us;
    uint64_t handled; /* handlers and callbacks run */
};

/* session.c */
kv_err kv_session_open(kv_actor *a);
void kv_session_close(kv_actor *a);
int64_t kv_session_poll(kv_actor *a); /* as kv_client_poll */
kv_err kv_session_ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                      kv_out_answer_fn fn, void *arg);
void kv_session_set_credit(kv_out *out, uint64_t credit);
void kv_session_lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt);

/* actor.c: hands a message to its handler; false: there is none. */
bool kv_actor_dispatch(kv_actor *a, const kv_header *head, const kv_msg *m, zmq_msg_t *payload);

#endif
