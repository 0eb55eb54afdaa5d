/* The actor shell: one thread, one inbox, handlers that touch no sockets.
 *
 * An actor is a struct, a handler table, create/destroy (one file). The shell connects, registers
 * with the broker when asked to, beats, decodes, looks the handler up, times and counts, sends what
 * the handler put out, drains and stops. A unit test calls handlers with a kv_out made by
 * kv_out_fake() and reads what was put out.
 *
 * Inboxes are PULL sockets on inproc:// endpoints; peers PUSH to them. Within one pair of threads
 * order is kept. inproc queues are unbounded: what may be in flight is bounded by the senders
 * (upload credit). */
#ifndef KV_ACTOR_H
#define KV_ACTOR_H

#include <zmq.h>

#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "proto/client.h"
#include "proto/codec.h"

typedef struct kv_out kv_out;
typedef struct kv_actor kv_actor;

/* What a handler gets. `payload` is frame 2 or NULL; the handler may move it on (kv_out_send takes
 * the content). */
typedef struct kv_in {
    const kv_header *head;
    const kv_msg *msg;
    zmq_msg_t *payload;
    int64_t now_us; /* monotonic, when the batch was begun */
} kv_in;

/* Puts a message out to a peer of the spec (its index). `payload` may be NULL; else its content is
 * moved. `head` may be NULL (no request, no trace) or gives request id and trace. Never fails:
 * peers are in this process. */
void kv_out_send(kv_out *out, int peer, const kv_header *head, const kv_msg *m, zmq_msg_t *payload);
/* Asks the broker (actors with a broker session only); `fn` runs later, once, in the actor's
 * thread. It does not run when the actor is stopped before, nor when an error is returned (BUSY,
 * NO_MEMORY). */
typedef void (*kv_out_answer_fn)(void *self, void *arg, kv_err err, const kv_msg *answer,
                                 kv_out *out);
kv_err kv_out_ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                  kv_out_answer_fn fn, void *arg);
/* Calls `fn` when `fd` is readable, until unwatched. */
typedef void (*kv_out_fd_fn)(void *self, int fd, kv_out *out);
void kv_out_watch_fd(kv_out *out, int fd, kv_out_fd_fn fn);
void kv_out_unwatch_fd(kv_out *out, int fd);
/* Changes the worker credit that the spec began with. */
void kv_out_set_credit(kv_out *out, uint64_t credit);
/* The shell forgets the lease (it re-registers held ones after a restart). The token tells it from
 * a newer one of the same job. */
void kv_out_lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt);
/* How a leased job ended: JOB_DONE with `result` where err is KV_OK, else JOB_FAIL. */
typedef struct kv_job_end {
    uint64_t job, epoch, attempt;
    kv_slice result; /* JSON */
    kv_err err;
    const char *detail; /* not NULL where err is set */
    bool retry;
} kv_job_end;
/* Asks it for KV_JOB_END_MS; a broker may be away for long, then the caller sends it again
 * (kv_answer_again). Errors as of kv_out_ask. */
enum { KV_JOB_END_MS = 60000 };
kv_err kv_out_end_job(kv_out *out, const kv_header *head, const kv_job_end *end,
                      kv_out_answer_fn fn, void *arg);
const kv_clock *kv_out_clock(kv_out *out);

typedef struct kv_handler {
    uint16_t code;
    void (*fn)(void *self, const kv_in *in, kv_out *out);
} kv_handler;

typedef struct kv_actor_def {
    const char *name;           /* "hasher" */
    const kv_handler *handlers; /* ends with code 0 */
    kv_err (*create)(const kv_config *cfg, const void *arg, void **ret_self);
    void (*destroy)(void **self);
    void (*batch_end)(void *self,
                      kv_out *out); /* after a run of messages (at most 64); may be NULL */
    void (*tick)(void *self, int64_t now_us, kv_out *out); /* each tick_ms; may be NULL */
    int64_t tick_ms;
    bool (*drained)(void *self); /* may the shell stop? NULL: yes when the inbox is empty */
} kv_actor_def;

typedef struct kv_actor_spec {
    const kv_actor_def *def;
    const kv_config *cfg;
    const void *arg; /* to create */
    void *zmq;
    const kv_clock *clock;
    const char *inbox;        /* inproc endpoint, bound; NULL: none */
    const char *const *peers; /* inproc endpoints, connected; index = peer; NULL ends */
    const char *broker;       /* NULL: no session */
    const char *role;         /* "worker", "gateway" */
    const char *session_name; /* HELLO name; NULL: def->name */
    const char *service;      /* worker: queue it serves; NULL: none */
    uint64_t credit;
} kv_actor_spec;

/* Starts the thread and returns once the actor is ready (inbox bound, create done). Peers may be
 * bound later. */
kv_err kv_actor_start(const kv_actor_spec *spec, kv_actor **ret);
/* Drains (credit 0, wait for drained(), at most deadline_ms), stops, joins, frees. */
void kv_actor_stop(kv_actor **self, int64_t deadline_ms);

/* For threads that are not actors (the HTTP loops): encode and send / receive one message. */
void kv_actor_post(void *push_socket, const kv_header *head, const kv_msg *m, zmq_msg_t *payload);
/* Initialises `storage` and `payload` itself; where it returns 1 the caller closes both, where it
 * returns 0 there is nothing to close. 1: got one (`storage` holds the frame the slices point into,
 * close it after use; payload init'ed, maybe empty), 0: none now. Bad ones are logged and skipped.
 */
int kv_actor_take(void *pull_socket, kv_header *head, kv_msg *m, zmq_msg_t *storage,
                  zmq_msg_t *payload);

/* Unit tests: a kv_out that keeps what is put out. Messages are encoded and decoded again, so one
 * that breaks a limit is found. kv_out_fake_clear forgets what was sent; questions stay until they
 * are answered. Indexes beyond the end give NULL. */
kv_out *kv_out_fake(const kv_clock *clock);
void kv_out_fake_destroy(kv_out **out);
size_t kv_out_fake_count(const kv_out *out);
const kv_msg *kv_out_fake_at(const kv_out *out, size_t i, int *ret_peer, kv_slice *ret_payload);
void kv_out_fake_clear(kv_out *out);
uint64_t kv_out_fake_credit(const kv_out *out);   /* the last kv_out_set_credit; 0 before */
void kv_out_fake_refuse(kv_out *out, kv_err err); /* what kv_out_ask says from now on */
/* Answers the i-th unanswered kv_out_ask of the fake. */
void kv_out_fake_answer(kv_out *out, void *self, size_t i, kv_err err, const kv_msg *answer);
const kv_msg *kv_out_fake_asked(const kv_out *out, size_t i);

#endif
