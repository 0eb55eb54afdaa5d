/* What clients and the notifier change besides the state of a job: metadata, dead letters done
 * again, credits, notifications. The ledger judges; here they are checked, passed on and answered.
 */
#include "broker/core_types.h"

/* What is wrong with it is refused; true: go on. */
static bool sound(kv_core *c, const kv_from *from, const char *wrong)
{
    if (wrong)
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, wrong);
    return !wrong;
}

static bool id_valid(uint64_t id)
{
    return id != 0 && id >> 63 == 0;
}

/* ---- metadata ---- */

static void give_metadata(kv_core *c, const kv_from *from, const kv_metadata *m)
{
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_METADATA, m->patch.len);
    if (!cmd)
        return;
    cmd->metadata = (kv_cmd_metadata){m->job, m->version, m->exact, kv_cmd_keep(cmd, m->patch)};
    kv_core_give(c, cmd);
}

void kv_account_metadata(kv_core *c, const kv_from *from, const kv_metadata *m)
{
    const char *wrong = !id_valid(m->job)              ? "METADATA needs a job"
                        : !kv_json_is_object(m->patch) ? "patch is not a JSON object"
                                                       : NULL;
    if (!sound(c, from, wrong))
        return;
    kv_task *t = kv_ids_find(&c->jobs, m->job);
    if (t && t->offer && t->offer->session == from->session)
        t->since = c->now.mono_ms; /* its worker does something */
    give_metadata(c, from, m);
}

/* It was merged, and asked again because the answer got lost: merged twice it would undo what came
 * between. */
void kv_account_metadata_again(kv_core *c, const kv_from *from, uint64_t job)
{
    give_metadata(c, from, &(kv_metadata){.job = job, .patch = kv_slice_str("{}")});
}

static void take_metadata(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    kv_session *s = cmd->request ? kv_ids_find(&c->sessions, cmd->session) : NULL;
    if (s && (cmd->err == KV_OK || kv_err_final(cmd->err)))
        kv_answered_keep(c, s, cmd->request, cmd->err, cmd->metadata.job);
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_METADATA_OK, &m);
    m.metadata_ok.job = cmd->metadata.job;
    m.metadata_ok.version = cmd->other;
    m.metadata_ok.metadata = kv_buf_slice(&cmd->text);
    kv_reply(c, cmd, &m);
}

/* ---- dead letters ---- */

/* A retry is not refused for the bound of its queue: an operator wants it, and which queue it is
 * stands in the row only. */
void kv_account_retry(kv_core *c, const kv_from *from, const kv_retry *m)
{
    const char *wrong = !id_valid(m->job) || !id_valid(m->new_job)
                            ? "RETRY needs a job, and the id of the new one"
                        : m->job == m->new_job ? "the new job needs an id of its own"
                                               : NULL;
    if (!sound(c, from, wrong))
        return;
    if (kv_ids_find(&c->jobs, m->new_job)) { /* sent again */
        kv_jobs_find(c, from, m->new_job, 0, 0);
        return;
    }
    if (kv_ids_find(&c->retries, m->new_job)) {
        kv_core_refuse(c, from, KV_E_BUSY, "another RETRY makes a job of this id now");
        return;
    }
    kv_cmd *cmd = kv_submit_open(c, from) ? kv_core_cmd(c, from, KV_CMD_RETRY, 0) : NULL;
    if (!cmd)
        return;
    cmd->retry = (kv_cmd_retry){.job = m->job, .new_job = m->new_job};
    cmd->seq = kv_core_seq(c);
    if (!kv_ids_add(&c->retries, &cmd->retry)) {
        kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        kv_cmd_free(&cmd);
        return;
    }
    c->submits_in_flight++;
    kv_core_give(c, cmd);
}

static void take_retry(kv_core *c, const kv_cmd *cmd)
{
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
        return;
    }
    uint64_t job = cmd->other ? cmd->other : cmd->retry.new_job;
    kv_reply_submit(c, cmd, job, cmd->created ? KV_JOB_QUEUED : cmd->place.state, cmd->created);
}

/* ---- credits ---- */

static const char *credit_wrong(const kv_credit *m)
{
    bool names_user = m->what < 2; /* grant, reserve */
    if (!id_valid(m->transaction))
        return "a transaction is a number of 63 bits, not 0";
    if (names_user && (!m->user.len || !m->amount))
        return "grant and reserve need a user and an amount";
    if (!names_user && (m->user.len || m->amount))
        return "confirm and refund name the transaction only";
    if (m->key.len && m->what != 0)
        return "a key goes with a grant";
    return kv_text_plain(m->user) && kv_text_plain(m->operation) && kv_text_plain(m->key)
               ? NULL
               : "user, operation and key hold no control characters";
}

void kv_account_credit(kv_core *c, const kv_from *from, const kv_credit *m)
{
    if (!sound(c, from, credit_wrong(m)))
        return;
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_CREDIT, m->user.len + m->operation.len + m->key.len);
    if (!cmd)
        return;
    cmd->credit = *m;
    cmd->credit.user = kv_cmd_keep(cmd, m->user);
    cmd->credit.operation = kv_cmd_keep(cmd, m->operation);
    cmd->credit.key = kv_cmd_keep(cmd, m->key);
    kv_core_give(c, cmd);
}

/* Sent again, the ledger gives the first outcome: a transaction has an id, and a grant may have a
 * key. */
static void take_credit(kv_core *c, const kv_cmd *cmd)
{
    kv_msg m;
    if (cmd->err != KV_OK) {
        kv_reply_error(c, cmd, cmd->err);
        return;
    }
    kv_msg_defaults(KV_CREDIT_OK, &m);
    m.credit_ok = cmd->account;
    kv_reply(c, cmd, &m);
}

/* ---- notifications ---- */

void kv_account_notify(kv_core *c, const kv_from *from, const kv_notify *m)
{
    const char *wrong = !id_valid(m->event) ? "NOTIFY needs an event"
                        : m->user.len && (!m->kind.len || !kv_json_is_object(m->json))
                            ? "a notification needs a kind, and a JSON object"
                        : !kv_text_plain(m->user) || !kv_text_plain(m->kind)
                            ? "user and kind hold no control characters"
                            : NULL;
    if (!sound(c, from, wrong))
        return;
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_NOTIFY, m->user.len + m->kind.len + m->json.len);
    if (!cmd)
        return;
    cmd->notify = *m;
    cmd->notify.user = kv_cmd_keep(cmd, m->user);
    cmd->notify.kind = kv_cmd_keep(cmd, m->kind);
    cmd->notify.json = kv_cmd_keep(cmd, m->json);
    kv_core_give(c, cmd);
}

void kv_account_seen(kv_core *c, const kv_from *from, const kv_seen *m)
{
    const char *wrong = !m->user.len || !kv_text_plain(m->user) ? "SEEN needs a user"
                        : m->notification >> 63 ? "a notification is a number of 63 bits"
                                                : NULL;
    if (!sound(c, from, wrong))
        return;
    kv_cmd *cmd = kv_core_cmd(c, from, KV_CMD_SEEN, m->user.len);
    if (!cmd)
        return;
    cmd->seen = *m;
    cmd->seen.user = kv_cmd_keep(cmd, m->user);
    kv_core_give(c, cmd);
}

/* A user who never looked may have very many: they are marked in slices, so that others need not
 * wait for all. */
static bool seen_on(kv_core *c, const kv_cmd *slice)
{
    kv_cmd *cmd = slice->err == KV_OK && slice->other
                      ? kv_core_cmd(c, NULL, KV_CMD_SEEN, slice->seen.user.len)
                      : NULL;
    if (!cmd)
        return false;
    cmd->request = slice->request;
    cmd->session = slice->session;
    cmd->code = slice->code;
    cmd->seen.user = kv_cmd_keep(cmd, slice->seen.user);
    cmd->seen.notification = slice->other;
    kv_core_give(c, cmd);
    return true;
}

static void take_seen(kv_core *c, kv_cmd *cmd)
{
    if (seen_on(c, cmd))
        return;
    if (cmd->err == KV_OK && cmd->other)
        cmd->err = KV_E_NO_MEMORY;
    kv_reply_done(c, cmd,
                  cmd->seen.notification); /* sent again, "all" would be more than was seen */
}

/* ---- results ---- */

void kv_account_result(kv_core *c, kv_cmd *cmd)
{
    switch (cmd->type) {
    case KV_CMD_METADATA:
        take_metadata(c, cmd);
        break;
    case KV_CMD_RETRY:
        take_retry(c, cmd);
        break;
    case KV_CMD_CREDIT:
        take_credit(c, cmd);
        break;
    case KV_CMD_NOTIFY: /* handled before, it changes nothing */
        kv_reply_done(c, cmd, cmd->notify.event);
        break;
    default:
        take_seen(c, cmd);
        break;
    }
}
