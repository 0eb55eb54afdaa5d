/* Credits, read. */
#ifndef KV_STORAGE_READ_CREDITS_H
#define KV_STORAGE_READ_CREDITS_H

#include "proto/base/buf.h"
#include "storage/db.h"

typedef struct kv_account {
    uint64_t granted, available, held, spent;
} kv_account;
kv_err kv_account_get(kv_db *db, kv_slice user, kv_account *ret); /* all 0: never heard of */

const char *kv_credit_state_name(int state); /* "granted", "held", "spent", "refunded" */

/* {"user","granted","available","held","spent","transactions":[{"id","jobId","amount","state",
 * "operation","created_at","updated_at"},…]}: the 50 newest transactions before `before` (0: from
 * the newest), newest first; jobId null without a job. "next": `before` of the next page, or null.
 */
kv_err kv_credits_json(kv_db *db, kv_slice user, uint64_t before, kv_buf *out);

#endif
