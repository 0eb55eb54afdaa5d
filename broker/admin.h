/* The admin socket: one text command a line, for operators (`kervan ctl`, `nc -U`).
 *
 * A thread of its own, so that a slow operator or a long list never stops the broker. It is a peer
 * like others: it asks over the broker's endpoint, and reads lists from a reading handle of its
 * own. Each reply ends with a line "OK" or "ERROR <slug> <sentence>". Bounds: 16 connections, lines
 * of 4 KiB, 10 min of silence, output made only as fast as it is read. */
#ifndef KV_BROKER_ADMIN_H
#define KV_BROKER_ADMIN_H

#include "proto/base/clock.h"
#include "proto/base/config.h"

typedef struct kv_admin kv_admin;

/* Binds cfg->admin (mode 0600; a socket that nobody listens on is replaced) and starts the thread.
 * The caller holds the lock of the data folder and has migrated the database. `zmq`: the broker's
 * context; stop before it is terminated. LOCKED: somebody listens there. CONFIG: the path is too
 * long, or something else is in its place. All errors are logged. */
kv_err kv_admin_start(const kv_config *cfg, const kv_clock *clock, void *zmq, kv_admin **ret);
void kv_admin_stop(kv_admin **self);

#endif
