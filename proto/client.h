/* A session with the broker over a DEALER socket: HELLO, beats, requests with answers, resends.
 *
 * Used by the actor shell, by the gateway's loop (through kv_client_fd) and by tools. One thread.
 * Nothing here blocks: ZeroMQ drops or blocks silently at its high-water marks, so sends are
 * DONTWAIT with a bounded queue of our own, and every request is sent again under the same id, each
 * `resend_ms`, until it is answered or its time is up (then the callback gets KV_E_BROKER_AWAY).
 * Requests survive a broker restart: they are sent again after the new HELLO_OK. */
#ifndef KV_CLIENT_H
#define KV_CLIENT_H

#include "proto/base/clock.h"
#include "proto/codec.h"

typedef struct kv_client kv_client;

/* `err` KV_OK: `answer` is the decoded answer, valid during the call. Otherwise an ERROR came
 * (answer is that ERROR), or time ran out (answer NULL). */
typedef void (*kv_answer_fn)(void *arg, kv_err err, const kv_msg *answer);

typedef struct kv_client_opts {
    void *zmq;            /* context */
    const char *endpoint; /* ipc:// or loopback tcp:// */
    const char *role, *name;
    const kv_clock *clock;
    const char *data;   /* folder whose database must be the broker's; NULL: of no concern */
    int64_t resend_ms;  /* 0: 1000 */
    size_t max_waiting; /* requests waiting for answers at most; 0: 65536. BUSY above it */
    void *arg;
    /* After each HELLO_OK; may be NULL. new_epoch: the broker is another than before (true the
     * first time). What it asks is sent before the requests that waited: leases are held again
     * before an old JOB_DONE is sent again. */
    void (*on_session)(void *arg, const kv_hello_ok *ok, bool new_epoch);
    void (*on_message)(void *arg, const kv_header *head,
                       const kv_msg *m); /* unasked: JOB, JOB_CANCEL, POSITIONS; may be NULL */
    void (*on_lost)(void *arg);          /* the broker fell silent (3 beats); may be NULL */
} kv_client_opts;

/* For callbacks: nothing is decided yet, the same may be asked again. */
bool kv_answer_again(kv_err err, const kv_msg *answer);

/* A session name that no other process has: "<what>-<pid>-<random>". A name used twice would fence
 * the older session off. */
#define KV_SESSION_NAME 64
void kv_session_name(char out[KV_SESSION_NAME], const char *what);

kv_err kv_client_new(const kv_client_opts *opts, kv_client **ret);
/* Says BYE if the session stands. Requests still waiting are dropped without a call. Not from a
 * callback. */
void kv_client_destroy(kv_client **self);

/* Sends `m` and calls `fn` exactly once, later, from kv_client_poll. `timeout_ms` from now. BUSY,
 * NO_MEMORY: not taken, no call. */
kv_err kv_client_ask(kv_client *self, const kv_msg *m, int64_t timeout_ms, kv_answer_fn fn,
                     void *arg);
/* Ask with a trace: `head` gives trace id and span. */
kv_err kv_client_ask_traced(kv_client *self, const kv_header *head, const kv_msg *m,
                            int64_t timeout_ms, kv_answer_fn fn, void *arg);
/* Drops all requests that wait, without a call; what comes of them is not known. */
void kv_client_forget(kv_client *self);
/* The same for those of one code: what is asked now takes their place. */
void kv_client_withdraw(kv_client *self, uint16_t code);
void kv_client_set_busy(kv_client *self, uint64_t jobs); /* shown in BEAT */

int kv_client_fd(const kv_client *self); /* readable edge: tells of what comes once it is settled */
/* Nothing was asked since the last kv_client_poll, and that left nothing unread. */
bool kv_client_settled(const kv_client *self);
int64_t
kv_client_poll(kv_client *self); /* does all there is to do; ms until it wants to be called again */
bool kv_client_up(
    const kv_client *self); /* session stands and the broker was heard within 3 beats */
uint64_t kv_client_epoch(const kv_client *self);
size_t kv_client_waiting(const kv_client *self);

#endif
