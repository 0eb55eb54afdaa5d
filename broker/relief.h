/* Who does the loop's rounds while the loop waits for the disk.
 *
 * Where few wait the loop commits by itself (docs/decisions/0030). A sync may take seconds, and
 * heartbeats and questions must not wait for it. So there is one desk, a lock that whoever does
 * rounds holds: the loop leaves it for the time of a commit, and when it is not back after some
 * KV_RELIEF_AFTER_MS another thread does rounds until it is. That thread sleeps for good when no
 * commit came for a second. */
#ifndef KV_BROKER_RELIEF_H
#define KV_BROKER_RELIEF_H

#include "proto/base/clock.h"
#include "proto/base/error.h"

enum { KV_RELIEF_AFTER_MS = 5 }; /* at most twice that until the first round */

typedef struct kv_relief kv_relief;

/* `round` is called with the desk held, again and again; it must return soon, for the loop that has
 * come back waits for that. The caller is at the desk afterwards. */
kv_err kv_relief_start(const kv_clock *clock, void (*round)(void *arg), void *arg, kv_relief **ret);
/* The loop's thread, in turn. */
void kv_relief_leave(kv_relief *r);
void kv_relief_return(kv_relief *r);
void kv_relief_stop(kv_relief **r); /* at the desk */

#endif
