/* The checkpoint thread: copies the write-ahead log into the database beside the ledger, on its own
 * handle, and never waits for anyone. Each second when something was written, at once above 16 MB.
 */
#ifndef KV_BROKER_CHECKPOINT_H
#define KV_BROKER_CHECKPOINT_H

#include "proto/base/config.h"
#include "proto/base/error.h"

typedef struct kv_checkpoint kv_checkpoint;
kv_err kv_checkpoint_start(const kv_config *cfg, kv_checkpoint **ret);
void kv_checkpoint_stop(kv_checkpoint **self);

#endif
