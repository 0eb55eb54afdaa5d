/* The notifier actor: turns the end of jobs that have a user into notifications.
 *
 * Reads the event log behind the mark the ledger keeps ("notified") and sends a NOTIFY for each
 * job.complete, job.error and job.cancelled with a user, in order, one at a time; the ledger moves
 * the mark in the same transaction, so each is told exactly once, also over restarts and beside a
 * second notifier. */
#ifndef KV_ACTORS_NOTIFIER_H
#define KV_ACTORS_NOTIFIER_H

#include "proto/actor.h"

extern const kv_actor_def kv_notifier_actor;

/* For the unit test: what a commit of the log becomes. Calls `fn` for each notification in
 * `events` (a JSON array) with an id above `after`; `json` is the body of the NOTIFY. BAD_MESSAGE,
 * NO_MEMORY. */
typedef struct kv_notice {
    uint64_t event;
    kv_slice user, kind, json;
} kv_notice;
kv_err kv_notices_of(kv_slice events, uint64_t after, void (*fn)(void *arg, const kv_notice *n),
                     void *arg);

#endif
