/* Ids made from an Idempotency-Key. Pure; any thread.
 *
 * A job made under a key has an id computed from it, so a repeat meets its own row, also after the
 * job has ended. Ids must stay ordered by time (the primary key of the table, the order of lists),
 * so only the place within a day comes from the key: SHA-256 of scope and key, 48 bits of it,
 * behind the day (UTC). Who submits looks for yesterday's id first, and for tomorrow's; a key is
 * remembered for 24 hours at least. */
#ifndef KV_GATEWAY_JOB_KEY_H
#define KV_GATEWAY_JOB_KEY_H

#include <stdint.h>

#include "proto/base/slice.h"

#define KV_JOB_KEY_MAX  255      /* bytes of a key */
#define KV_JOB_KEY_MS   86400000 /* a day */
#define KV_JOB_KEY_TEXT 64

/* `scope` says what the key was given for: the same key elsewhere is another. */
uint64_t kv_job_key_id(const char *scope, kv_slice key, int64_t wall_ms);
/* "idempotency:<hex>", for SUBMIT's unique_key. */
void kv_job_key_text(const char *scope, kv_slice key, char out[KV_JOB_KEY_TEXT]);

#endif
