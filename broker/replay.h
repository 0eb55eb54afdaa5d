/* EVENTS_GET: the event log read for peers, on a thread of its own with a reading handle, so that a
 * long replay never stops the broker's loop or its ledger. */
#ifndef KV_BROKER_REPLAY_H
#define KV_BROKER_REPLAY_H

#include "proto/base/config.h"
#include "proto/codec.h"

typedef struct kv_replay kv_replay;

/* The database is migrated. NO_MEMORY, or what opening it gives. */
kv_err kv_replay_start(const kv_config *cfg, kv_replay **ret);
/* What waits gets no answer; it is asked again of the next broker. */
void kv_replay_stop(kv_replay **self);

/* From the loop's thread. BUSY: too many wait; NO_MEMORY. */
kv_err kv_replay_ask(kv_replay *self, kv_slice peer, uint64_t request, const kv_events_get *m);
int kv_replay_fd(const kv_replay *self); /* readable when there is something to take */
/* Calls `send` for each that was read since; slices live during the call. */
void kv_replay_take(kv_replay *self,
                    void (*send)(void *arg, kv_slice peer, uint64_t request, const kv_msg *m),
                    void *arg);

#endif
