/* SUBMIT_BATCH: each job is judged alone, as a SUBMIT; what became of them is gathered, and
 * answered when the last one is known. */
#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/batch.h"

typedef struct outcome {
    uint64_t job;
    uint16_t err;
    int8_t state; /* -1: none */
    bool created, known;
} outcome;

struct kv_batch {
    uint64_t request; /* first: kv_ids, of the session's requests in flight */
    uint64_t session;
    kv_batch *prev, *next;
    int64_t retry_after_ms;
    uint32_t n, open; /* not known yet; and one more while the batch is read */
    bool made_none;   /* of one of them */
    outcome of[];
};

/* ---- life ---- */

static kv_batch *batch_new(kv_core *c, const kv_from *from, uint32_t n)
{
    kv_batch *b = calloc(1, sizeof *b + n * sizeof *b->of);
    if (!b)
        return NULL;
    b->request = from->request;
    b->session = from->session->id;
    b->n = n;
    b->open = n + 1;
    b->next = c->batches;
    if (b->next)
        b->next->prev = b;
    c->batches = b;
    if (b->request) /* without memory for the entry a resend is judged again, which all bear */
        (void)kv_ids_add(&from->session->in_flight, b);
    return b;
}

static void batch_free(kv_core *c, kv_batch *b)
{
    if (b->prev)
        b->prev->next = b->next;
    else
        c->batches = b->next;
    if (b->next)
        b->next->prev = b->prev;
    free(b);
}

void kv_batches_release(kv_core *c)
{
    for (kv_batch *b = c->batches, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    c->batches = NULL;
}

/* ---- the answer ---- */

static void send_results(kv_core *c, const kv_batch *b, const kv_session *s)
{
    kv_msg m;
    kv_buf out;
    kv_buf_init(&out, 0);
    (void)kv_buf_reserve(&out, b->n * (size_t)32);
    for (uint32_t i = 0; i < b->n; i++) {
        const outcome *o = &b->of[i];
        kv_slice status = kv_slice_str(o->state >= 0 ? kv_job_state_name(o->state) : "");
        kv_batch_result r = {o->job, (kv_err)o->err, status, o->created};
        kv_batch_result_add(&out, &r);
    }
    if (kv_buf_ok(&out)) {
        kv_msg_defaults(KV_SUBMIT_BATCH_OK, &m);
        m.submit_batch_ok.results = kv_buf_slice(&out);
        m.submit_batch_ok.retry_after_ms = (uint64_t)b->retry_after_ms;
    } else { /* sent again, it meets its rows */
        kv_msg_defaults(KV_ERROR, &m);
        m.error.number = KV_E_NO_MEMORY;
    }
    kv_core_send(c, s, b->request, &m);
    kv_buf_release(&out);
}

static void one_less(kv_core *c, kv_batch *b)
{
    assert(b->open > 0);
    if (--b->open > 0)
        return;
    kv_session *s = kv_ids_find(&c->sessions, b->session);
    if (s && b->request && kv_ids_find(&s->in_flight, b->request) == b)
        kv_ids_remove(&s->in_flight, b->request);
    if (s && b->request && !s->fenced)
        send_results(c, b, s);
    if (b->made_none)
        kv_answered_made_none(c, s, b->request, KV_SUBMIT_BATCH, KV_E_BUSY);
    batch_free(c, b);
}

static outcome *outcome_of(kv_batch *b, uint32_t at)
{
    assert(at < b->n && !b->of[at].known);
    b->of[at].known = true;
    return &b->of[at];
}

void kv_batch_put(kv_core *c, kv_batch *b, uint32_t at, kv_err err, int64_t retry_after_ms)
{
    outcome *o = outcome_of(b, at);
    o->err = (uint16_t)err;
    o->state = -1;
    b->made_none = true;
    if (retry_after_ms > b->retry_after_ms)
        b->retry_after_ms = retry_after_ms;
    one_less(c, b);
}

void kv_batch_put_job(kv_core *c, kv_batch *b, uint32_t at, uint64_t job, int state, bool created)
{
    outcome *o = outcome_of(b, at);
    b->made_none |= job != o->job;
    o->job = job;
    o->state = (int8_t)state;
    o->created = created;
    one_less(c, b);
}

/* ---- the message ---- */

void kv_batch_submit(kv_core *c, const kv_from *from, const kv_submit_batch *m)
{
    int n = kv_batch_count(m->jobs);
    if (n < 0 || n > KV_BATCH_MAX) {
        kv_core_refuse(c, from, n < 0 ? KV_E_BAD_MESSAGE : KV_E_BAD_PARAMETER,
                       n < 0 ? "jobs is not a row of msgpack arrays" : "more than 1000 jobs");
        return;
    }
    kv_batch *b = batch_new(c, from, (uint32_t)n);
    if (!b) {
        kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        return;
    }
    kv_slice rest = m->jobs;
    kv_from one = *from;
    one.batch = b;
    for (; one.batch_at < (uint32_t)n; one.batch_at++) {
        kv_msg job;
        size_t used;
        kv_err err = kv_body_decode_next(KV_SUBMIT, rest.ptr, rest.len, &job, &used, NULL);
        assert(used > 0); /* counted */
        rest = kv_slice_of(rest.ptr + used, rest.len - used);
        b->of[one.batch_at].job = job.submit.job;
        if (err == KV_OK)
            kv_jobs_submit(c, &one, &job.submit);
        else
            kv_core_refuse(c, &one, err, NULL);
    }
    one_less(c, b);
}
