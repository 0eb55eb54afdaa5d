#include "storage/write/credits.h"

#include <assert.h>

#include "storage/write/run.h"

kv_err kv_credit_find(kv_db *db, uint64_t id, kv_credit_tx *ret, bool *ret_found)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(
        db, "SELECT job, amount, state, user, operation FROM credit_transactions WHERE id = $1",
        &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_err err = kv_db_step(s, ret_found);
    if (err == KV_OK && *ret_found) {
        *ret = (kv_credit_tx){.id = id,
                              .job = (uint64_t)kv_col_i64(s, 0),
                              .amount = (uint64_t)kv_col_i64(s, 1),
                              .state = (int)kv_col_i64(s, 2)};
        kv_copy_name(ret->user, kv_col_str(s, 3));
        kv_copy_name(ret->operation, kv_col_str(s, 4));
    }
    kv_db_done(s);
    return err;
}

static kv_err add_transaction(kv_db *db, const kv_credit_new *c, int state)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO credit_transactions (id, user, job, amount, state, "
                         "operation, created_at, updated_at) "
                         "VALUES ($1, $2, $3, $4, $5, $6, $7, $7)",
                         &s));
    kv_bind_i64(s, 1, (int64_t)c->id);
    kv_bind_str(s, 2, c->user);
    if (c->job)
        kv_bind_i64(s, 3, (int64_t)c->job);
    else
        kv_bind_null(s, 3);
    kv_bind_i64(s, 4, (int64_t)c->amount);
    kv_bind_i64(s, 5, state);
    kv_bind_str(s, 6, c->operation.ptr ? c->operation : kv_slice_str(""));
    kv_bind_i64(s, 7, c->now);
    return kv_run(s);
}

kv_err kv_credit_grant(kv_db *db, const kv_credit_new *c)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "INSERT INTO user_credits (user, granted, available, updated_at) "
                         "VALUES ($1, $2, $2, $3) ON CONFLICT (user) DO UPDATE SET "
                         "granted = granted + $2, available = available + $2, updated_at = $3",
                         &s));
    kv_bind_str(s, 1, c->user);
    kv_bind_i64(s, 2, (int64_t)c->amount);
    kv_bind_i64(s, 3, c->now);
    KV_TRY(kv_run(s));
    return add_transaction(db, c, KV_CREDIT_GRANTED);
}

kv_err kv_credit_key_find(kv_db *db, kv_slice key, uint64_t *ret_id)
{
    kv_stmt *s;
    bool row;
    KV_TRY(kv_db_prepare(db, "SELECT id FROM grant_key WHERE key = $1", &s));
    kv_bind_str(s, 1, key);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row)
        *ret_id = (uint64_t)kv_col_i64(s, 0);
    kv_db_done(s);
    return err;
}

kv_err kv_credit_key_add(kv_db *db, kv_slice key, uint64_t id)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db, "INSERT INTO grant_key (key, id) VALUES ($1, $2)", &s));
    kv_bind_str(s, 1, key);
    kv_bind_i64(s, 2, (int64_t)id);
    return kv_run(s);
}

kv_err kv_credit_hold(kv_db *db, const kv_credit_new *c, bool *ret_held)
{
    kv_stmt *s;
    KV_TRY(kv_db_prepare(db,
                         "UPDATE user_credits SET available = available - $2, held = held + $2, "
                         "updated_at = $3 WHERE user = $1 AND available >= $2",
                         &s));
    kv_bind_str(s, 1, c->user);
    kv_bind_i64(s, 2, (int64_t)c->amount);
    kv_bind_i64(s, 3, c->now);
    KV_TRY(kv_run_one(db, s, ret_held));
    return *ret_held ? add_transaction(db, c, KV_CREDIT_HELD) : KV_OK;
}

static kv_err move_amount(kv_db *db, const char *sql, uint64_t id, int64_t now)
{
    kv_stmt *s;
    bool written;
    KV_TRY(kv_db_prepare(db, sql, &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_i64(s, 2, now);
    KV_TRY(kv_run_one(db, s, &written));
    assert(written); /* a transaction always has its account */
    return KV_OK;
}

#define OF_TRANSACTION                                                                             \
    ", updated_at = $2 FROM (SELECT user AS owner, amount FROM credit_transactions "               \
    "WHERE id = $1) AS t WHERE user_credits.user = t.owner"

kv_err kv_credit_settle(kv_db *db, uint64_t id, int to, int64_t now, bool *ret_settled)
{
    kv_stmt *s;
    assert(to == KV_CREDIT_SPENT || to == KV_CREDIT_REFUNDED);
    KV_TRY(kv_db_prepare(
        db,
        "UPDATE credit_transactions SET state = $2, updated_at = $3 WHERE id = $1 AND state = 1",
        &s));
    kv_bind_i64(s, 1, (int64_t)id);
    kv_bind_i64(s, 2, to);
    kv_bind_i64(s, 3, now);
    KV_TRY(kv_run_one(db, s, ret_settled));
    if (!*ret_settled)
        return KV_OK;
    return to == KV_CREDIT_SPENT ? move_amount(db,
                                               "UPDATE user_credits SET held = held - amount, "
                                               "spent = spent + amount" OF_TRANSACTION,
                                               id, now)
                                 : move_amount(db,
                                               "UPDATE user_credits SET held = held - amount, "
                                               "available = available + amount" OF_TRANSACTION,
                                               id, now);
}
