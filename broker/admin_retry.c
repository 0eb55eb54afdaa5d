/* RETRY for one job, or one after the other for the dead letters of a queue, the oldest first. */
#include "broker/admin_retry.h"

#include <stdlib.h>

#include "broker/admin_inspect.h"
#include "storage/read/jobs_list.h"

enum { MANY_DEFAULT = 100, MANY_MAX = 10000 };

typedef struct many {
    kv_slice service; /* the call's word */
    uint64_t *ids;
    uint64_t limit;
    size_t n, at;
    size_t done, refused;
    char first_refusal[256];
} many;

static void drop(void *state)
{
    many *m = state;
    free(m->ids);
    free(m);
}

/* ---- one ---- */

static void on_one(kv_admin_call *call, const kv_msg *answer)
{
    const kv_submit_ok *ok = &answer->submit_ok;
    char id[KV_ID_TEXT + 1];
    kv_id_format(ok->job, id);
    if (call->json)
        kv_buf_addf(call->out, "{\"jobId\":\"%s\",\"created\":%s}\n", id,
                    ok->created ? "true" : "false");
    else
        kv_buf_addf(call->out,
                    ok->created ? "done again as job %s\n" : "job %s does it again already\n", id);
    kv_admin_ok(call);
}

static void retry_message(kv_admin_call *call, uint64_t job, kv_msg *ret)
{
    kv_msg_defaults(KV_RETRY, ret);
    ret->retry.job = job;
    ret->retry.new_job = kv_id_make(call->ids, call->clock);
}

static void retry_one(kv_admin_call *call, kv_slice word)
{
    kv_msg m;
    uint64_t job;
    if (!kv_admin_id(call, word, &job))
        return;
    retry_message(call, job, &m);
    kv_admin_ask(call, &m, KV_ADMIN_ASK_MS, on_one);
}

/* ---- many ---- */

static void end(kv_admin_call *call, const char *slug, const char *why)
{
    const many *m = call->state;
    if (call->json) {
        kv_buf_addf(call->out, "{\"jobs\":%zu,\"refused\":%zu}\n", m->done, m->refused);
    } else {
        kv_human_count(m->done, "job", call->out);
        kv_buf_adds(call->out, " done again\n");
    }
    if (slug)
        kv_admin_error(call, slug, "%zu of %zu: %s", m->refused, m->n, why);
    else if (m->refused > 0)
        kv_admin_error(call, "refused", "%zu of %zu could not be done again: %s", m->refused, m->n,
                       m->first_refusal);
    else
        kv_admin_ok(call);
}

/* What concerns this one job only: the others may go. */
static bool of_the_job(kv_err err)
{
    return err == KV_E_NOT_FOUND || err == KV_E_CONFLICT || err == KV_E_NO_CREDIT;
}

static void next(kv_admin_call *call);

static void on_next(kv_admin_call *call, const kv_msg *answer)
{
    many *m = call->state;
    if (answer && answer->code != KV_ERROR) {
        m->done++;
        kv_admin_again(call, 0, next);
        return;
    }
    kv_err err = answer ? (kv_err)answer->error.number : KV_E_BROKER_AWAY;
    char why[sizeof m->first_refusal];
    if (answer && answer->error.detail.len > 0)
        snprintf(why, sizeof why, "%.*s", KV_SLICE_FMT(answer->error.detail));
    else
        snprintf(why, sizeof why, "%s", kv_err_info_of(err)->en);
    if (m->refused++ == 0)
        memcpy(m->first_refusal, why, sizeof why);
    if (of_the_job(err)) {
        kv_admin_again(call, 0, next);
        return;
    }
    m->refused = m->n - m->done;
    end(call, kv_err_info_of(err)->slug, why);
}

static void next(kv_admin_call *call)
{
    many *m = call->state;
    kv_msg message;
    if (m->at == m->n) {
        end(call, NULL, NULL);
        return;
    }
    retry_message(call, m->ids[m->at++], &message);
    kv_admin_ask_any(call, &message, KV_ADMIN_ASK_MS, on_next);
}

static void gather(kv_admin_call *call)
{
    many *m = call->state;
    kv_db *db = kv_admin_db(call);
    int n = 0;
    if (!db)
        return;
    kv_err err = kv_jobs_dead_oldest(db, m->service, 0, (int)m->limit, m->ids, &n);
    m->n = (size_t)n;
    if (err != KV_OK)
        kv_admin_fail(call, err);
    else if (m->n > 0 && !kv_admin_agreed(kv_admin_word(call, 0), m->n))
        kv_admin_error(call, "confirm",
                       "This does %zu dead letter%s of \"%.*s\" again%s. Repeat it with: yes-%zu",
                       m->n, m->n == 1 ? "" : "s", KV_SLICE_FMT(m->service),
                       m->n == 1 ? "" : ", the oldest first", m->n);
    else
        next(call);
}

static void retry_many(kv_admin_call *call, kv_slice service)
{
    uint64_t limit = MANY_DEFAULT;
    if (!kv_admin_service_name(call, service) ||
        !kv_admin_number_option(call, "limit", 1, MANY_MAX, &limit))
        return;
    many *m = calloc(1, sizeof *m);
    if (m)
        m->ids = calloc(limit, sizeof *m->ids);
    if (!m || !m->ids) {
        free(m);
        kv_admin_fail(call, KV_E_NO_MEMORY);
        return;
    }
    m->service = service;
    m->limit = limit;
    call->state = m;
    call->drop = drop;
    kv_admin_with_queue(call, service, true, gather);
}

void kv_admin_retry(kv_admin_call *call)
{
    kv_slice service = kv_admin_option(call, "service"), word = kv_admin_word(call, 0);
    if (service.ptr && (word.len == 0 || (word.len > 4 && memcmp(word.ptr, "yes-", 4) == 0)))
        retry_many(call, service);
    else if (!service.ptr && word.len > 0 && !kv_admin_option(call, "limit").ptr)
        retry_one(call, word);
    else
        kv_admin_error(call, "usage", "usage: retry ID, or retry service=NAME [limit=N]");
}
