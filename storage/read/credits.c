#include "storage/read/credits.h"

#include "proto/base/id.h"

enum { PAGE = 50 };

const char *kv_credit_state_name(int state)
{
    static const char *const names[] = {"granted", "held", "spent", "refunded"};
    return state >= 0 && state < 4 ? names[state] : "held";
}

kv_err kv_account_get(kv_db *db, kv_slice user, kv_account *ret)
{
    kv_stmt *s;
    bool row;
    *ret = (kv_account){.granted = 0};
    KV_TRY(kv_db_prepare(
        db, "SELECT granted, available, held, spent FROM user_credits WHERE user = $1", &s));
    kv_bind_str(s, 1, user);
    kv_err err = kv_db_step(s, &row);
    if (err == KV_OK && row)
        *ret = (kv_account){(uint64_t)kv_col_i64(s, 0), (uint64_t)kv_col_i64(s, 1),
                            (uint64_t)kv_col_i64(s, 2), (uint64_t)kv_col_i64(s, 3)};
    kv_db_done(s);
    return err;
}

static void add_id(kv_buf *out, const char *key, uint64_t id)
{
    char text[KV_ID_TEXT + 1];
    kv_json_key(out, key);
    if (id == 0) {
        kv_json_null(out);
        return;
    }
    kv_id_format(id, text);
    kv_json_cstr(out, text);
}

static void add_transaction(kv_stmt *s, kv_buf *out)
{
    kv_json_open(out, '{');
    add_id(out, "id", (uint64_t)kv_col_i64(s, 0));
    add_id(out, "jobId", (uint64_t)kv_col_i64(s, 1));
    kv_json_key(out, "amount");
    kv_json_i64(out, kv_col_i64(s, 2));
    kv_json_key(out, "state");
    kv_json_cstr(out, kv_credit_state_name((int)kv_col_i64(s, 3)));
    kv_json_key(out, "operation");
    kv_json_str(out, kv_col_str(s, 4));
    kv_json_key(out, "created_at");
    kv_json_time(out, kv_col_i64(s, 5));
    kv_json_key(out, "updated_at");
    kv_json_time(out, kv_col_i64(s, 6));
    kv_json_close(out, '}');
}

static kv_err add_transactions(kv_db *db, kv_slice user, uint64_t before, kv_buf *out)
{
    kv_stmt *s;
    bool row;
    kv_err err;
    uint64_t last = 0;
    int n = 0;
    KV_TRY(
        kv_db_prepare(db,
                      "SELECT id, job, amount, state, operation, created_at, updated_at FROM "
                      "credit_transactions WHERE user = $1 AND id <= $2 ORDER BY id DESC LIMIT $3",
                      &s));
    kv_bind_str(s, 1, user);
    kv_bind_i64(s, 2, before == 0 || before > INT64_MAX ? INT64_MAX : (int64_t)before - 1);
    kv_bind_i64(s, 3, PAGE + 1);
    kv_json_key(out, "transactions");
    kv_json_open(out, '[');
    for (; (err = kv_db_step(s, &row)) == KV_OK && row && n < PAGE; n++) {
        last = (uint64_t)kv_col_i64(s, 0);
        add_transaction(s, out);
    }
    bool more = err == KV_OK && row;
    kv_db_done(s);
    kv_json_close(out, ']');
    add_id(out, "next", more ? last : 0);
    return err;
}

kv_err kv_credits_json(kv_db *db, kv_slice user, uint64_t before, kv_buf *out)
{
    kv_account a;
    KV_TRY(kv_account_get(db, user, &a));
    kv_json_open(out, '{');
    kv_json_key(out, "user");
    kv_json_str(out, user);
    kv_json_key(out, "granted");
    kv_json_u64(out, a.granted);
    kv_json_key(out, "available");
    kv_json_u64(out, a.available);
    kv_json_key(out, "held");
    kv_json_u64(out, a.held);
    kv_json_key(out, "spent");
    kv_json_u64(out, a.spent);
    KV_TRY(add_transactions(db, user, before, out));
    kv_json_close(out, '}');
    return kv_buf_ok(out) ? KV_OK : KV_E_NO_MEMORY;
}
