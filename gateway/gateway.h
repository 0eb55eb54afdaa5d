/* The gateway: HTTP in front, messages behind. `kervan gateway`.
 *
 * One kv_loop is one thread with its own h2o context, broker session, read-only database handle and
 * event feed; nothing in it is shared. */
#ifndef KV_GATEWAY_H
#define KV_GATEWAY_H

#include <h2o.h>

#include "proto/base/clock.h"
#include "proto/base/config.h"
#include "proto/base/error.h"
#include "proto/client.h"
#include "storage/db.h"
#include "storage/object.h"

/* The ingest actors live in actors/, which the gateway does not know: tools/kervan.c hands their
 * start and stop in (kv_ingest_start and kv_ingest_stop of actors/ingest.h have this contract). */
typedef struct kv_ingest_hooks {
    kv_err (*start)(void *zmq, const kv_config *cfg, const kv_clock *clock, unsigned loops,
                    void **ret);
    void (*stop)(void **self, int64_t deadline_ms);
} kv_ingest_hooks;

/* Blocks until SIGTERM has drained it; returns the exit status. */
int kv_gateway_run(const kv_config *cfg, int signal_fd, const kv_ingest_hooks *ingest);

struct kv_feed;         /* gateway/feed.h: live events of this loop */
struct kv_static_cache; /* gateway/static.h */
struct kv_uploads;      /* gateway/upload.h */

#define KV_DELETES 4096 /* counters: each for the hashes of some first digits */

typedef struct kv_gw {
    const kv_config *cfg;
    const kv_clock *clock;
    void *zmq;
    kv_store *store;
    int64_t started_ms; /* mono */
    _Atomic bool draining;
    _Atomic uint32_t deletes[KV_DELETES]; /* every loop's cache looks here (static_cache.c) */
    unsigned loops;
    size_t files_kept; /* descriptors that the caches of all loops may keep open (static_cache.c) */
} kv_gw;

typedef struct kv_loop {
    kv_gw *gw;
    unsigned index;
    h2o_evloop_t *evloop;
    h2o_context_t ctx;
    void *inbox;       /* PULL inproc://loop-N: UPLOAD_DONE */
    kv_client *broker; /* session "gateway-loop-N" */
    kv_db *db;         /* reader; NULL until the broker has made the database: use kv_loop_db() */
    struct kv_feed *feed;
    struct kv_static_cache *cache;
    struct kv_uploads *uploads;
} kv_loop;

/* The loop's reader, opened on first use; NULL: not there yet (answer BROKER_AWAY). */
kv_db *kv_loop_db(kv_loop *loop);
/* Calls `fn` in the loop's thread when `fd` is readable (edge or level) and also after every turn
 * of the loop. For ZeroMQ descriptors. */
void kv_loop_watch(kv_loop *loop, int fd, void (*fn)(void *arg), void *arg);
/* Calls `fn` every `ms` until the loop ends. */
void kv_loop_every(kv_loop *loop, int64_t ms, void (*fn)(void *arg), void *arg);

/* ---- routes (gateway/routes.h is the table) ---- */
typedef struct kv_request {
    h2o_req_t *req;
    kv_loop *loop;
    kv_slice param; /* what stood for :id, or the tail of a "*" route; percent-decoded, in the
                       request pool */
    kv_slice query; /* behind "?", undecoded */
} kv_request;
/* Handlers answer before they return, or later (kv_later below). */
typedef void (*kv_route_fn)(kv_request *r);

/* A query parameter, percent-decoded into the request pool. false: absent. Malformed escapes give
 * BAD_PARAMETER in *ret_err. */
bool kv_query_get(kv_request *r, const char *name, kv_slice *ret, kv_err *ret_err);
kv_slice kv_header_get(h2o_req_t *req,
                       const char *lower_case_name); /* empty if absent; first one */
/* For headers whose value is a list: all lines of it, joined by commas. */
kv_slice kv_header_list(h2o_req_t *req, const char *lower_case_name);

/* Whole answers. `body` is copied into the request pool. */
void kv_answer_json(h2o_req_t *req, int status, kv_slice body);
void kv_answer_problem(h2o_req_t *req, kv_err err, const char *detail_or_null,
                       uint64_t retry_after_ms);
void kv_answer_empty(h2o_req_t *req, int status);
void kv_add_header(h2o_req_t *req, const char *lower_case_name,
                   const char *value); /* value copied */
/* The one Vary line names this header, too: caches there are that read one line only. `name` is
 * static. */
void kv_add_vary(h2o_req_t *req, const char *name);

/* A request that is answered when the broker has answered: survives the client's leaving. */
typedef struct kv_later kv_later;
kv_later *kv_later_new(kv_request *r, void *arg);     /* arg is handed back */
h2o_req_t *kv_later_end(kv_later *l, void **ret_arg); /* NULL: the client is gone. Frees l. */
/* Sends `m` to the broker and calls `fn` with the outcome unless the client has gone. */
typedef void (*kv_broker_fn)(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err,
                             const kv_msg *answer);
void kv_ask_broker(kv_request *r, const kv_msg *m, kv_broker_fn fn, void *arg);
void kv_ask_broker_for(kv_request *r, const kv_msg *m, int64_t wait_ms, kv_broker_fn fn, void *arg);

#endif
