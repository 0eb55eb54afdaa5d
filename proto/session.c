/* The actor shell's session with the broker: register, hold leases, offer credit, ask. */
#include <assert.h>
#include <stdlib.h>

#include "proto/actor_state.h"
#include "proto/base/log.h"

#define ASK_MS         10000 /* READY and LEASE_HELD */
#define READY_AGAIN_US 1000000
#define HELD_AGAIN_US  200000

struct kv_question {
    kv_actor *actor;
    kv_out_answer_fn fn; /* of kv_out_ask */
    void *arg;
    kv_lease lease; /* of LEASE_HELD */
    kv_question *prev, *next;
};

static kv_actor *actor_of(kv_out *out)
{
    return (kv_actor *)out;
}

/* ---- questions under way: kept in a list, so that a stop can free them ---- */

static kv_err begin_question(kv_question question, const kv_header *head, const kv_msg *m,
                             int64_t timeout_ms, kv_answer_fn answered)
{
    kv_actor *a = question.actor;
    kv_question *q = malloc(sizeof *q);

    if (!q)
        return KV_E_NO_MEMORY;
    *q = question;
    kv_err err = kv_client_ask_traced(a->client, head, m, timeout_ms, answered, q);
    if (err) {
        free(q);
        return err;
    }
    q->prev = NULL;
    q->next = a->questions;
    if (q->next)
        q->next->prev = q;
    a->questions = q;
    return KV_OK;
}

static kv_question end_question(kv_question *q)
{
    kv_question ended = *q;

    if (q->prev)
        q->prev->next = q->next;
    else
        q->actor->questions = q->next;
    if (q->next)
        q->next->prev = q->prev;
    free(q);
    return ended;
}

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    kv_question q = end_question(arg);

    q.actor->handled++;
    q.fn(q.actor->self, q.arg, err, answer, &q.actor->out);
}

kv_err kv_session_ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                      kv_out_answer_fn fn, void *arg)
{
    kv_question q = {.actor = actor_of(out), .fn = fn, .arg = arg};

    assert(q.actor->client); /* the spec names no broker: a bug */
    return begin_question(q, head, m, timeout_ms, on_answer);
}

/* ---- leases ---- */

static kv_lease *find_lease(kv_actor *a, uint64_t job)
{
    for (size_t i = 0; i < a->lease_count; i++) {
        if (a->leases[i].job == job)
            return &a->leases[i];
    }
    return NULL;
}

static bool add_lease(kv_actor *a, const kv_job *job)
{
    if (a->lease_count == a->lease_room) {
        size_t room = a->lease_room ? a->lease_room * 2 : 16;
        kv_lease *leases = realloc(a->leases, room * sizeof *leases);
        if (!leases)
            return false;
        a->leases = leases;
        a->lease_room = room;
    }
    a->leases[a->lease_count++] =
        (kv_lease){.job = job->job, .epoch = job->epoch, .attempt = job->attempt};
    kv_client_set_busy(a->client, a->lease_count);
    return true;
}

static void drop_lease(kv_actor *a, kv_lease *lease)
{
    *lease = a->leases[--a->lease_count];
    kv_client_set_busy(a->client, a->lease_count);
}

static bool is_of(const kv_lease *lease, uint64_t epoch, uint64_t attempt)
{
    return lease && lease->epoch == epoch && lease->attempt == attempt;
}

void kv_session_lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    kv_actor *a = actor_of(out);
    kv_lease *lease = find_lease(a, job);

    if (is_of(lease, epoch, attempt))
        drop_lease(a, lease);
}

/* ---- READY ---- */

static void on_ready(void *arg, kv_err err, const kv_msg *answer)
{
    kv_actor *a = arg;

    (void)answer;
    if (!err)
        return;
    kv_log(KV_LOG_WARN, "ready_refused", KV_STR("actor", a->spec.def->name),
           KV_STR("code", kv_err_info_of(err)->slug));
    a->ready_due = true;
    a->ready_at_us = kv_mono_us(a->spec.clock) + READY_AGAIN_US;
}

static void say_ready(kv_actor *a)
{
    kv_msg m;

    a->ready_due = false;
    if (!a->spec.service)
        return;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(a->spec.service);
    m.ready.credit = a->draining ? 0 : a->credit;
    kv_client_withdraw(a->client, KV_READY); /* sent again behind this one it would undo it */
    kv_err err = kv_client_ask(a->client, &m, ASK_MS, on_ready, a);
    if (err)
        on_ready(a, err, NULL);
}

void kv_session_set_credit(kv_out *out, uint64_t credit)
{
    kv_actor *a = actor_of(out);

    a->credit = credit;
    if (kv_client_up(a->client)) /* else the next HELLO_OK says it */
        say_ready(a);
}

/* ---- what the client calls ---- */

static void cancel(kv_actor *a, kv_lease *lease)
{
    kv_header head = {.code = KV_JOB_CANCEL};
    kv_msg m;

    kv_msg_defaults(KV_JOB_CANCEL, &m);
    m.job_cancel =
        (kv_job_cancel){.job = lease->job, .epoch = lease->epoch, .attempt = lease->attempt};
    drop_lease(a, lease);
    kv_actor_dispatch(a, &head, &m, NULL);
}

/* STALE_LEASE: the broker gave the job to someone else meanwhile. For the actor that is a cancel.
 * BUSY: it does not know yet. */
static void on_lease_held(void *arg, kv_err err, const kv_msg *answer)
{
    kv_question q = end_question(arg);
    kv_lease *lease = find_lease(q.actor, q.lease.job);

    if (!is_of(lease, q.lease.epoch, q.lease.attempt))
        return;
    if (err == KV_E_STALE_LEASE) {
        cancel(q.actor, lease);
    } else if (answer && kv_answer_again(err, answer)) {
        lease->unheld = true;
        q.actor->held_at_us = kv_mono_us(q.actor->spec.clock) + HELD_AGAIN_US;
    }
}

static void hold_again(kv_actor *a, kv_lease *lease)
{
    kv_msg m;

    lease->unheld = false;
    kv_msg_defaults(KV_LEASE_HELD, &m);
    m.lease_held =
        (kv_lease_held){.job = lease->job, .epoch = lease->epoch, .attempt = lease->attempt};
    kv_question q = {.actor = a, .lease = *lease};
    kv_err err = begin_question(q, NULL, &m, ASK_MS, on_lease_held);
    if (err)
        kv_log(KV_LOG_ERROR, "lease_not_held", KV_STR("actor", a->spec.def->name),
               KV_ID("jobId", lease->job), KV_STR("code", kv_err_info_of(err)->slug));
}

static void hold_unheld(kv_actor *a)
{
    for (size_t i = 0; i < a->lease_count; i++) {
        if (a->leases[i].unheld)
            hold_again(a, &a->leases[i]);
    }
}

static void on_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    kv_actor *a = arg;

    kv_log(KV_LOG_INFO, "session", KV_STR("actor", a->spec.def->name), KV_U64("epoch", ok->epoch),
           KV_BOOL("newEpoch", new_epoch), KV_U64("leases", a->lease_count));
    for (size_t i = 0; i < a->lease_count; i++)
        hold_again(a, &a->leases[i]);
    say_ready(a);
}

static void on_lost(void *arg)
{
    const kv_actor *a = arg;

    kv_log(KV_LOG_WARN, "broker_silent", KV_STR("actor", a->spec.def->name));
}

static void on_job(kv_actor *a, const kv_header *head, const kv_msg *m)
{
    kv_lease *had = find_lease(a, m->job.job);

    if (is_of(had, m->job.epoch, m->job.attempt))
        return; /* sent twice */
    if (had)
        cancel(a, had); /* the old attempt is over before the new one begins */
    if (!add_lease(a, &m->job)) {
        kv_log(KV_LOG_ERROR, "job_dropped", KV_ID("jobId", m->job.job),
               KV_STR("code", kv_err_info_of(KV_E_NO_MEMORY)->slug));
        return; /* the Stuck Job Guard ends it */
    }
    kv_actor_dispatch(a, head, m, NULL);
}

static void on_message(void *arg, const kv_header *head, const kv_msg *m)
{
    kv_actor *a = arg;

    if (m->code == KV_JOB)
        on_job(a, head, m);
    else
        kv_actor_dispatch(a, head, m, NULL);
}

/* ---- life ---- */

kv_err kv_session_open(kv_actor *a)
{
    const kv_actor_spec *s = &a->spec;

    a->credit = s->credit;
    if (!s->broker)
        return KV_OK;
    return kv_client_new(&(kv_client_opts){.zmq = s->zmq,
                                           .endpoint = s->broker,
                                           .role = s->role,
                                           .name = s->session_name ? s->session_name : s->def->name,
                                           .clock = s->clock,
                                           .data = s->cfg ? s->cfg->data : NULL,
                                           .arg = a,
                                           .on_session = on_session,
                                           .on_message = on_message,
                                           .on_lost = on_lost},
                         &a->client);
}

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

int64_t kv_session_poll(kv_actor *a)
{
    int64_t now = kv_mono_us(a->spec.clock);

    /* without a session the next HELLO_OK says both */
    if (a->ready_due && now >= a->ready_at_us) {
        a->ready_due = false;
        if (kv_client_up(a->client))
            say_ready(a);
    }
    if (a->held_at_us && now >= a->held_at_us) {
        if (kv_client_up(a->client))
            hold_unheld(a);
        a->held_at_us = 0;
    }
    int64_t ms = kv_client_poll(a->client);
    if (a->ready_due)
        ms = least(ms, (a->ready_at_us - now) / 1000 + 1);
    return a->held_at_us ? least(ms, (a->held_at_us - now) / 1000 + 1) : ms;
}

void kv_session_close(kv_actor *a)
{
    kv_client_destroy(&a->client);
    for (kv_question *q = a->questions, *next; q; q = next) {
        next = q->next;
        free(q);
    }
    a->questions = NULL;
    free(a->leases);
    a->leases = NULL;
}
