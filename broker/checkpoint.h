/* The checkpoint thread: copies the write-ahead log into the database beside the ledger, on its own
 * handle, and never waits for anyone. Each second when something was written, at once above 16 MB.
 * The ledger is told how far it came: when little is left the ledger copies that itself between two
 * commits, and the log begins anew. */
#ifndef KV_BROKER_CHECKPOINT_H
#define KV_BROKER_CHECKPOINT_H

#include "broker/ledger.h"

typedef struct kv_checkpoint kv_checkpoint;
/* Stop it before the ledger is closed. */
kv_err kv_checkpoint_start(const kv_config *cfg, kv_ledger *ledger, kv_checkpoint **ret);
/* Why the last one failed, and so the log only grows; KV_OK: it did not. Any thread. */
kv_err kv_checkpoint_state(const kv_checkpoint *self);
void kv_checkpoint_stop(kv_checkpoint **self);

#endif
