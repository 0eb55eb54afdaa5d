/* Which live client watches which job, and the newest position of each: without sockets.
 *
 * One table a loop. The broker is asked for the union, so a job that many watch costs it one watch
 * for this loop. Positions are states, not events: a client that is slow gets the newest one of
 * each job when it has read what came before, never a queue of old ones. Pure: no h2o, no ZeroMQ,
 * no clock; feed_watch.c drives it. One thread. */
#ifndef KV_GATEWAY_WATCH_H
#define KV_GATEWAY_WATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/error.h"
#include "proto/base/slice.h"

#define KV_WATCH_CLIENT_MAX 1000  /* jobs a client may watch */
#define KV_WATCH_LOOP_MAX   60000 /* jobs a loop may watch: below what the broker gives a session */
#define KV_WATCH_ASK_MAX    256   /* ids of one POSITION message */

typedef struct kv_watches kv_watches;
typedef struct kv_watch_pair kv_watch_pair;

/* One client's side; embedded in the client. Zeroed is ready. */
typedef struct kv_watcher {
    kv_watch_pair *pairs;              /* all */
    kv_watch_pair *fresh, *fresh_last; /* those with something to be told, oldest first */
    size_t n;
} kv_watcher;

kv_err kv_watches_new(kv_watches **ret); /* NO_MEMORY */
void kv_watches_destroy(kv_watches **self);

/* Watching twice is watching once, but tells the position anew. BAD_PARAMETER: the client has
 * KV_WATCH_CLIENT_MAX. BUSY: the loop is full. NO_MEMORY. */
kv_err kv_watches_add(kv_watches *t, kv_watcher *w, uint64_t job);
void kv_watches_remove(kv_watches *t, kv_watcher *w, uint64_t job);
void kv_watches_drop(kv_watches *t, kv_watcher *w); /* all of a client */

/* What the broker must be told next, at most KV_WATCH_ASK_MAX ids of one kind: *ret_watch true:
 * these are watched, false: they are not any more. 0: nothing. */
size_t kv_watches_take(kv_watches *t, uint64_t ids[KV_WATCH_ASK_MAX], bool *ret_watch);
/* It did not come through: what is still watched of these is asked again. Also after an unwatch
 * was answered late. */
void kv_watches_again(kv_watches *t, const uint64_t *ids, size_t n);
void kv_watches_all_again(kv_watches *t); /* a new session knows of nothing */

/* A position came: `json` is what clients are told, copied. Those who watch it become fresh.
 * `last`: the job has ended; the watches end when they were told. false: nobody watches it (or no
 * memory: they hear of the next one). */
bool kv_watches_tell(kv_watches *t, uint64_t job, kv_slice json, bool last);

/* The next thing to tell this client, valid until the table changes; false: nothing. */
bool kv_watcher_peek(const kv_watcher *w, kv_slice *ret_json);
/* It was told. A job that has ended is not watched any more. */
void kv_watcher_told(kv_watches *t, kv_watcher *w);

size_t kv_watches_jobs(const kv_watches *t);

#endif
