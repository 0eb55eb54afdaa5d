/* Positions, asked for and watched. Part of the core; pure.
 *
 * Time goes in slots of 250 ms. A watch is looked at in the slot it is due in and goes into another
 * one: the next near the head of the queue, the 4th up to position 100, the 20th beyond. What did
 * not change is not pushed. A job that begins or ends makes its watches due in the next slot. So a
 * tick costs what is due in it, not what is watched. */
#ifndef KV_BROKER_WATCH_H
#define KV_BROKER_WATCH_H

#include "broker/core_types.h"

enum {
    KV_WATCH_SLOT_MS = 250,
    KV_WATCHES_SESSION = 65536,
    KV_WATCHES_MAX = 1 << 20, /* of all sessions */
    KV_POSITIONS_ONE = 256    /* entries of a message */
};

void kv_watch_position(kv_core *c, const kv_from *from, const kv_position *m);
/* The watches of a job whose state or place changed; where `watched` is set. */
void kv_watch_changed(kv_core *c, const kv_task *t);
/* The task goes: its watches end with a last push. */
void kv_watch_gone(kv_core *c, const kv_task *t);
void kv_watch_forget(kv_core *c, kv_session *s); /* all of a session */
void kv_watch_tick(kv_core *c);

#endif
