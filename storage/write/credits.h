/* Credits: granted = available + held + spent, for each user, always. The ledger's thread, inside
 * its transaction; whether a write happened is judged by its row count. */
#ifndef KV_STORAGE_WRITE_CREDITS_H
#define KV_STORAGE_WRITE_CREDITS_H

#include "proto/base/slice.h"
#include "storage/db.h"

enum { KV_CREDIT_GRANTED, KV_CREDIT_HELD, KV_CREDIT_SPENT, KV_CREDIT_REFUNDED };

typedef struct kv_credit_tx {
    uint64_t id, job; /* job 0: none */
    uint64_t amount;
    int state;
    char user[65], operation[65];
} kv_credit_tx;
kv_err kv_credit_find(kv_db *db, uint64_t id, kv_credit_tx *ret, bool *ret_found);

typedef struct kv_credit_new {
    uint64_t id, job; /* job 0: none */
    uint64_t amount;
    kv_slice user, operation;
    int64_t now; /* Unix ms */
} kv_credit_new;
/* The transaction must be new (kv_credit_find). The account is made with the first grant. */
kv_err kv_credit_grant(kv_db *db, const kv_credit_new *credit);
/* *ret_held false: not enough there, nothing was written. */
kv_err kv_credit_hold(kv_db *db, const kv_credit_new *credit, bool *ret_held);
/* The key of a grant. find: *ret_id stays where the key is new. */
kv_err kv_credit_key_find(kv_db *db, kv_slice key, uint64_t *ret_id);
kv_err kv_credit_key_add(kv_db *db, kv_slice key, uint64_t id);
/* A hold ends as SPENT or REFUNDED. *ret_settled false: it is not held, nothing was written. */
kv_err kv_credit_settle(kv_db *db, uint64_t id, int to, int64_t now, bool *ret_settled);

#endif
