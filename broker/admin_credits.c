/* Credits: what a user has, and more of them. */
#include "broker/admin_cmd.h"
#include "storage/read/credits.h"

enum { NAME_BYTES = 64, AMOUNT_MAX = 1000000000 };

static const kv_column columns[] = {
    {"TRANSACTION", "id", KV_COLUMN_TEXT}, {">AMOUNT", "amount", KV_COLUMN_TEXT},
    {"STATE", "state", KV_COLUMN_TEXT},    {"AT", "created_at", KV_COLUMN_TIME},
    {"JOB", "jobId", KV_COLUMN_TEXT},      {"WHAT FOR", "operation", KV_COLUMN_TEXT},
};
enum { COLUMNS = sizeof columns / sizeof *columns };

/* 1 to 64 bytes; the line had no control characters. */
static bool name_fits(kv_admin_call *call, const char *what, kv_slice name)
{
    bool ok = name.len >= 1 && name.len <= NAME_BYTES;
    if (!ok)
        kv_admin_error(call, "bad_parameter", "%s has 1 to 64 bytes.", what);
    return ok;
}

/* ---- credits ---- */

static void show(kv_admin_call *call, kv_slice user, const json_t *account)
{
    const json_t *list = json_object_get(account, "transactions");
    kv_table t;
    kv_plain_text(user, 0, call->out);
    if (json_array_size(list) == 0) {
        kv_buf_adds(call->out, " never had credits\n");
        return;
    }
    static const char *const parts[] = {"available", "held", "spent", "granted"};
    for (int i = 0; i < 4; i++)
        kv_buf_addf(call->out, "%s%lld %s", i ? ", " : ": ",
                    (long long)json_integer_value(json_object_get(account, parts[i])), parts[i]);
    kv_buf_adds(call->out, "\n\n");
    kv_table_init_columns(&t, columns, COLUMNS);
    for (size_t i = 0; i < json_array_size(list); i++)
        kv_table_row(&t, columns, json_array_get(list, i));
    kv_table_write(&t, call->out);
    kv_table_release(&t);
    if (!json_is_null(json_object_get(account, "next")))
        kv_buf_adds(call->out, "there are older ones: GET /api/credits/USER?before=ID\n");
}

static void credits(kv_admin_call *call)
{
    kv_slice user = kv_admin_word(call, 0);
    kv_db *db = name_fits(call, "The name of a user", user) ? kv_admin_db(call) : NULL;
    if (!db)
        return;
    kv_buf text;
    kv_buf_init(&text, 1 << 20);
    kv_err err = kv_credits_json(db, user, 0, &text);
    json_t *account = err == KV_OK ? kv_admin_json(call, kv_buf_slice(&text)) : NULL;
    if (err != KV_OK)
        kv_admin_fail(call, err);
    kv_buf_release(&text);
    if (!account)
        return;
    if (call->json)
        kv_admin_dump(call, account);
    else
        show(call, user, account);
    json_decref(account);
    kv_admin_ok(call);
}

/* ---- grant ---- */

static void on_grant(kv_admin_call *call, const kv_msg *answer)
{
    const kv_credit_ok *ok = &answer->credit_ok;
    kv_slice user = kv_admin_word(call, 0);
    char id[KV_ID_TEXT + 1];
    kv_id_format(ok->transaction, id);
    if (call->json) {
        json_t *done =
            json_pack("{s:s,s:s%,s:I,s:I,s:I}", "transaction", id, "state", ok->state.ptr,
                      ok->state.len, "available", (json_int_t)ok->available, "held",
                      (json_int_t)ok->held, "spent", (json_int_t)ok->spent);
        kv_admin_dump(call, done);
        json_decref(done);
    } else {
        kv_plain_text(user, 0, call->out);
        kv_buf_addf(call->out, " has %llu credits now, %llu more are held; transaction %s\n",
                    (unsigned long long)ok->available, (unsigned long long)ok->held, id);
    }
    kv_admin_ok(call);
}

static void on_answer(kv_admin_call *call, const kv_msg *answer)
{
    kv_slice key = kv_admin_option(call, "key");
    if (answer && answer->code == KV_CREDIT_OK)
        on_grant(call, answer);
    else if (answer && answer->code == KV_ERROR && answer->error.number == KV_E_CONFLICT)
        kv_admin_error(call, "conflict",
                       "key=%.*s was used for another user or amount; nothing was granted.",
                       KV_SLICE_FMT(key));
    else if (answer && answer->code == KV_ERROR && answer->error.detail.len > 0)
        kv_admin_error(call, kv_err_info_of((kv_err)answer->error.number)->slug, "%.*s",
                       KV_SLICE_FMT(answer->error.detail));
    else if (answer && answer->code == KV_ERROR)
        kv_admin_fail(call, (kv_err)answer->error.number);
    else
        kv_admin_error(call, "broker_away",
                       "The broker does not answer. The grant may come yet: repeat it with the "
                       "same key, it counts once.");
}

static bool read_amount(kv_admin_call *call, uint64_t *ret)
{
    if (kv_admin_number(kv_admin_word(call, 1), AMOUNT_MAX, ret) && *ret > 0)
        return true;
    kv_admin_error(call, "bad_parameter", "An amount is a whole number from 1 to 1000000000.");
    return false;
}

static void grant(kv_admin_call *call)
{
    kv_slice key = kv_admin_option(call, "key"), reason = kv_admin_option(call, "reason");
    kv_msg m;
    kv_msg_defaults(KV_CREDIT, &m);
    m.credit.user = kv_admin_word(call, 0);
    m.credit.key = key;
    m.credit.operation = reason.ptr ? reason : kv_slice_of("", 0);
    if (!key.ptr) {
        kv_admin_error(call, "usage",
                       "key=NAME is missing: your own name for this grant (an order, a ticket). "
                       "Given twice, it counts once.");
        return;
    }
    if (!name_fits(call, "The name of a user", m.credit.user) ||
        !read_amount(call, &m.credit.amount) || !name_fits(call, "key=", key) ||
        (reason.ptr && !name_fits(call, "reason=", reason)))
        return;
    m.credit.transaction = kv_id_make(call->ids, call->clock);
    kv_admin_ask_any(call, &m, KV_ADMIN_ASK_MS, on_answer);
}

static const kv_admin_command commands[] = {
    {"credits", "USER", "what a user has, holds and spent, and the last transactions", 1, 1, NULL,
     false, credits},
    {"grant", "USER AMOUNT key=NAME [reason=]",
     "give credits; key is your name for it: given twice, it counts once", 2, 2, "key,reason", true,
     grant},
};
const kv_admin_module kv_admin_credits = {"Credits", commands,
                                          sizeof commands / sizeof commands[0]};
