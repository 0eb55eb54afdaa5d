/* What users have: credits and notifications. */
#include "broker/exec.h"

#include "broker/merge.h"
#include "storage/read/credits.h"
#include "storage/read/notifications.h"
#include "storage/write/credits.h"
#include "storage/write/notifications.h"

enum { SEEN_ROWS = 2000 /* about 10 ms */ };

/* ---- CREDIT ---- */

enum { GRANT, RESERVE, CONFIRM, REFUND };

static bool new_valid(const kv_credit *m)
{
    return m->transaction && m->transaction >> 63 == 0 && m->user.len && m->amount;
}

/* A grant or a reserve that was made before: the same again is answered again. A key that comes
 * only now stands for it from here on, else it would stand for a second one. */
static kv_err made_before(kv_exec *x, kv_cmd *cmd, const kv_credit_tx *tx, uint64_t keyed)
{
    const kv_credit *m = &cmd->credit;
    bool granted = tx->state == KV_CREDIT_GRANTED;
    if (granted != (m->what == GRANT) || tx->job || tx->amount != m->amount ||
        !kv_slice_is(m->user, tx->user))
        cmd->err = KV_E_CONFLICT;
    return cmd->err == KV_OK && m->key.len && !keyed ? kv_credit_key_add(x->db, m->key, tx->id)
                                                     : KV_OK;
}

static kv_err make(kv_exec *x, kv_cmd *cmd, kv_credit_tx *tx)
{
    const kv_credit *m = &cmd->credit;
    kv_credit_new credit = {.id = m->transaction,
                            .amount = m->amount,
                            .user = m->user,
                            .operation = m->operation,
                            .now = x->now};
    bool held;
    if (m->what == GRANT) {
        KV_TRY(kv_credit_grant(x->db, &credit));
    } else {
        KV_TRY(kv_credit_hold(x->db, &credit, &held));
        if (!held)
            cmd->err = KV_E_NO_CREDIT;
    }
    tx->id = m->transaction;
    tx->state = m->what == GRANT ? KV_CREDIT_GRANTED : KV_CREDIT_HELD;
    return m->key.len && cmd->err == KV_OK ? kv_credit_key_add(x->db, m->key, tx->id) : KV_OK;
}

/* The hold of a job ends with the job, not by hand: money and job always agree. */
static kv_err end(kv_exec *x, kv_cmd *cmd, kv_credit_tx *tx)
{
    int to = cmd->credit.what == CONFIRM ? KV_CREDIT_SPENT : KV_CREDIT_REFUNDED;
    bool settled;
    if (tx->state == to)
        return KV_OK; /* the same again */
    if (tx->state != KV_CREDIT_HELD || tx->job) {
        cmd->err = KV_E_CONFLICT;
        return KV_OK;
    }
    KV_TRY(kv_credit_settle(x->db, tx->id, to, x->now, &settled));
    tx->state = to;
    return settled ? KV_OK : KV_E_DB;
}

static kv_err tell_account(kv_exec *x, kv_cmd *cmd, const kv_credit_tx *tx, kv_slice user)
{
    kv_account a;
    KV_TRY(kv_account_get(x->db, user, &a));
    cmd->account = (kv_credit_ok){.transaction = tx->id,
                                  .state = kv_slice_str(kv_credit_state_name(tx->state)),
                                  .available = a.available,
                                  .held = a.held,
                                  .spent = a.spent};
    return KV_OK;
}

kv_err kv_exec_credit(kv_exec *x, kv_cmd *cmd)
{
    const kv_credit *m = &cmd->credit;
    bool begins = m->what == GRANT || m->what == RESERVE, found;
    kv_credit_tx tx = {.id = 0};
    if (begins && !new_valid(m)) {
        cmd->err = KV_E_BAD_PARAMETER;
        return KV_OK;
    }
    uint64_t keyed = 0;
    if (begins && m->key.len)
        KV_TRY(kv_credit_key_find(x->db, m->key, &keyed));
    KV_TRY(kv_credit_find(x->db, keyed ? keyed : m->transaction, &tx, &found));
    if (begins && found)
        KV_TRY(made_before(x, cmd, &tx, keyed));
    else if (begins)
        KV_TRY(make(x, cmd, &tx));
    else if (found)
        KV_TRY(end(x, cmd, &tx));
    else
        cmd->err = KV_E_NOT_FOUND;
    if (cmd->err != KV_OK)
        return KV_OK;
    return tell_account(x, cmd, &tx, begins ? m->user : kv_slice_str(tx.user));
}

/* ---- NOTIFY and SEEN ---- */

/* The mark and the notification are one commit: an event is told once. The body is written anew:
 * it stands in an event, which is one line to those who read it, and parsed by all of them. */
kv_err kv_exec_notify(kv_exec *x, kv_cmd *cmd)
{
    const kv_notify *m = &cmd->notify;
    bool moved;
    kv_buf_clear(&x->scratch);
    if (m->event == 0 || m->event > x->last_event) { /* it would skip what comes */
        cmd->err = KV_E_BAD_PARAMETER;
        return KV_OK;
    }
    kv_err err =
        kv_merge(kv_slice_of(NULL, 0), m->json.len ? m->json : kv_slice_str("{}"), &x->scratch);
    if (err == KV_E_BAD_PARAMETER) {
        cmd->err = err;
        return KV_OK;
    }
    KV_TRY(err);
    kv_slice body = kv_buf_slice(&x->scratch);
    KV_TRY(kv_notified_set(x->db, m->event, &moved));
    if (!moved || !m->user.len)
        return KV_OK;
    KV_TRY(kv_notification_add(x->db, m->event, m->user, m->kind, x->now, body));
    kv_buf *b = kv_exec_event(x, KV_EVENT_NOTIFICATION_CREATED);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_json_key(b, "user");
    kv_json_str(b, m->user);
    kv_json_key(b, "notification");
    kv_notification_json(m->event, m->kind, x->now, body, b);
    return kv_exec_event_end(x);
}

/* A slice, the oldest first: the core asks for the others. */
kv_err kv_exec_seen(kv_exec *x, kv_cmd *cmd)
{
    const kv_seen *m = &cmd->seen;
    uint64_t newest, upto;
    KV_TRY(
        kv_notifications_seen(x->db, m->user, m->notification, SEEN_ROWS, x->now, &newest, &upto));
    cmd->other = upto > newest ? upto : 0;
    if (newest == 0)
        return KV_OK;
    kv_buf *b = kv_exec_event(x, KV_EVENT_NOTIFICATION_SEEN);
    if (!b)
        return KV_E_NO_MEMORY;
    kv_json_key(b, "user");
    kv_json_str(b, m->user);
    kv_exec_add_id(b, ",\"upto\":\"", newest);
    return kv_exec_event_end(x);
}
