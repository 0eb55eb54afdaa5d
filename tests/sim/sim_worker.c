#include <string.h>

#include "tests/sim/sim.h"

enum { LATE_MS = 20000 }; /* of a message that is sent again; the broker knows it for 30 s */

static sim_held *held_of(sim_worker *w, uint64_t job)
{
    for (int i = 0; i < w->n; i++) {
        if (w->held[i].job == job)
            return &w->held[i];
    }
    return NULL;
}

static void drop(sim_worker *w, sim_held *h)
{
    sim_ask_end(&h->answer);
    *h = w->held[--w->n];
}

static void take_job(sim *s, sim_worker *w, const kv_job *job)
{
    sim_held *h = held_of(w, job->job);
    if (h)
        drop(w, h); /* an older lease of the same job */
    SIM_HOLDS(s, w->n < SIM_HELD, "%s was given more than its credit", w->node.name);
    w->held[w->n++] = (sim_held){.job = job->job,
                                 .epoch = job->epoch,
                                 .attempt = job->attempt,
                                 .ends_at = sim_ms(s) + 1 + (int64_t)sim_pick(s, 3000),
                                 .stuck = !s->calm && sim_chance(s, 15)};
}

static void on_answer(sim *s, sim_worker *w, const kv_header *head, const kv_msg *m)
{
    for (int i = 0; i < w->n; i++) {
        sim_held *h = &w->held[i];
        if (!head->request || h->answer.request != head->request)
            continue;
        if (m->code == KV_ERROR && kv_err_info_of((kv_err)m->error.number)->http >= 500) {
            sim_ask_anew(s, &h->answer, 300); /* the database refused: again */
            return;
        }
        sim_fact *f = sim_fact_of(s, h->job);
        if (m->code == KV_OKAY && h->answer.code == KV_JOB_DONE && f)
            f->done_ok = true;
        drop(w, h);
        return;
    }
}

static void forget_ready(sim_worker *w)
{
    free(w->old_ready);
    free(w->last_ready);
    w->old_ready = w->last_ready = NULL;
}

static void say_ready(sim *s, sim_worker *w)
{
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(sim_service[w->service]);
    m.ready.credit = w->credit;
    w->ready_at = 0;
    w->ready = ++s->next_request;
    free(w->old_ready);
    w->old_ready = w->last_ready;
    w->last_ready = sim_packet_new(s, &m, w->ready);
    w->newest_at = sim_ms(s);
    sim_post(s, &w->node, w->last_ready);
    if (w->both) {
        m.ready.service = kv_slice_str(sim_service[(w->service + 1) % SIM_WORKED]);
        sim_send(s, &w->node, &m, 0);
    }
}

static void hold(sim *s, sim_worker *w, sim_held *h)
{
    kv_msg m;
    kv_msg_defaults(KV_LEASE_HELD, &m);
    m.lease_held = (kv_lease_held){h->job, h->epoch, h->attempt};
    h->claim = sim_send(s, &w->node, &m, 0);
    h->claim_at = 0;
}

/* Held, or lost; BUSY: it is not known yet. */
static bool on_held(sim *s, sim_worker *w, const kv_header *head, const kv_msg *m)
{
    for (int i = 0; i < w->n; i++) {
        sim_held *h = &w->held[i];
        if (!head->request || h->claim != head->request)
            continue;
        h->claim = 0;
        if (m->code == KV_ERROR && m->error.number == KV_E_STALE_LEASE)
            drop(w, h);
        else if (m->code == KV_ERROR)
            h->claim_at = sim_ms(s) + 100;
        return true;
    }
    return false;
}

/* What a worker that is broken says. */
static void nonsense(sim *s, sim_worker *w)
{
    static const uint16_t codes[] = {KV_LEASE_HELD, KV_JOB_PROGRESS, KV_JOB_DONE, KV_JOB_FAIL};
    kv_msg m;
    uint16_t code = codes[sim_pick(s, 4)];
    if (!s->facts_n)
        return;
    uint64_t job = s->facts[sim_pick(s, (uint64_t)s->facts_n)].id, attempt = 0;
    (void)kv_core_job_state(s->core, job, &attempt);
    for (int i = 0; i < w->n; i++) {
        if (w->held[i].job == job)
            return;
    }
    kv_msg_defaults(code, &m);
    if (code == KV_LEASE_HELD)
        m.lease_held = (kv_lease_held){job, s->x.epoch, attempt + 3};
    else if (code == KV_JOB_PROGRESS)
        m.job_progress = (kv_job_progress){job, s->x.epoch, attempt + 2, 50, kv_slice_str("{}")};
    else if (code == KV_JOB_DONE)
        m.job_done = (kv_job_done){job, s->x.epoch, attempt + 2, kv_slice_str("1")};
    else
        m.job_fail = (kv_job_fail){job, s->x.epoch, attempt + 1, KV_E_IO, kv_slice_str("x"), true};
    sim_send(s, &w->node, &m, 0);
}

static void on_message(sim *s, sim_node *n, const kv_header *head, const kv_msg *m)
{
    sim_worker *w = (sim_worker *)n;
    if (m->code == KV_JOB) {
        take_job(s, w, &m->job);
    } else if (m->code == KV_JOB_CANCEL) {
        sim_held *h = held_of(w, m->job_cancel.job);
        if (h && h->epoch == m->job_cancel.epoch && h->attempt == m->job_cancel.attempt &&
            sim_chance(s, 700)) /* else it answers late */
            drop(w, h);
    } else if (m->code == KV_ERROR && head->request && head->request == w->ready) {
        w->ready_at = sim_ms(s) + 500; /* all places are taken */
    } else if ((m->code == KV_OKAY || m->code == KV_ERROR) && !on_held(s, w, head, m)) {
        on_answer(s, w, head, m);
    }
}

static void speak_again(sim *s, sim_worker *w)
{
    for (int i = 0; i < w->n; i++)
        hold(s, w, &w->held[i]);
    say_ready(s, w);
    for (int i = 0; i < w->n; i++)
        sim_ask_again(s, &w->node, &w->held[i].answer, true);
}

static void on_session(sim *s, sim_node *n)
{
    sim_worker *w = (sim_worker *)n;
    if (!s->calm && w->n && sim_chance(s, 50))
        drop(w, &w->held[w->n - 1]); /* as if it had got lost on its way */
    forget_ready(w);                 /* what is sent again is never of another session */
    speak_again(s, w);
}

static void new_process(sim *s, sim_worker *w)
{
    w->node.instance = ++s->next_instance;
    w->node.epoch = 0;
}

void sim_worker_init(sim *s, sim_worker *w, int i)
{
    w->node.on_message = on_message;
    w->node.on_session = on_session;
    snprintf(w->node.name, sizeof w->node.name, "w%d", i);
    snprintf(w->node.role, sizeof w->node.role, "worker");
    new_process(s, w);
    w->service = i % SIM_WORKED;
    w->credit = 1 + sim_pick(s, 3);
    w->both = s->seed % 4 == 1 && i % 2;
    w->leaves = i == 1 && s->seed % 5 == 0;
    sim_connect(s, &w->node);
}

void sim_worker_release(sim_worker *w)
{
    while (w->n)
        drop(w, &w->held[0]);
    forget_ready(w);
    sim_node_release(&w->node);
}

/* A new process under the old name. */
void sim_worker_die(sim *s, sim_worker *w)
{
    sim_worker_release(w);
    new_process(s, w);
    w->node.frozen_until = 0;
    sim_connect(s, &w->node);
}

/* What it holds goes back; it comes again as a new process. */
static void leave(sim *s, sim_worker *w)
{
    kv_msg m;
    kv_msg_defaults(KV_BYE, &m);
    sim_send(s, &w->node, &m, 0);
    while (w->n)
        drop(w, &w->held[0]);
    new_process(s, w);
    w->node.session = false;
    w->node.hello_at = 0;
}

static void finish(sim *s, sim_worker *w, sim_held *h)
{
    kv_msg m;
    char result[64];
    if (!s->calm && sim_chance(s, 200)) {
        kv_msg_defaults(KV_JOB_FAIL, &m);
        m.job_fail = (kv_job_fail){h->job,  h->epoch,          h->attempt,
                                   KV_E_IO, kv_slice_str("x"), sim_chance(s, 600)};
    } else {
        snprintf(result, sizeof result, "{\"epoch\":%llu,\"attempt\":%llu}",
                 (unsigned long long)h->epoch, (unsigned long long)h->attempt);
        kv_msg_defaults(KV_JOB_DONE, &m);
        m.job_done = (kv_job_done){h->job, h->epoch, h->attempt, kv_slice_str(result)};
    }
    sim_ask_begin(s, &w->node, &h->answer, &m, h->job);
}

static void progress(sim *s, sim_worker *w, const sim_held *h)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress.job = h->job;
    m.job_progress.epoch = h->epoch;
    m.job_progress.attempt = h->attempt;
    m.job_progress.progress = sim_pick(s, 101);
    if (sim_chance(s, 300))
        m.job_progress.patch = kv_slice_str("{\"seen\":true}");
    sim_send(s, &w->node, &m, 0);
}

void sim_worker_step(sim *s, sim_worker *w)
{
    if (sim_ms(s) < w->node.frozen_until)
        return;
    sim_beat(s, &w->node, (uint64_t)w->n);
    if (w->ready_at && w->ready_at <= sim_ms(s) && w->node.session)
        say_ready(s, w);
    for (int i = 0; i < w->n && w->node.session; i++) {
        sim_held *h = &w->held[i];
        if (h->claim_at && h->claim_at <= sim_ms(s))
            hold(s, w, h);
        if (h->answer.request && !s->calm && sim_chance(s, 20))
            sim_ask_anew(s, &h->answer, 0); /* nobody waits for the first answer any more */
        if (h->answer.request)
            sim_ask_again(s, &w->node, &h->answer, false);
        else if (sim_ms(s) >= h->ends_at && (!h->stuck || s->calm))
            finish(s, w, h);
        else if (!h->stuck && sim_chance(s, 30))
            progress(s, w, h);
    }
    if (s->calm)
        return;
    if (s->seed % 5 == 2 && sim_chance(s, 30) && w->node.session)
        nonsense(s, w);
    if (sim_chance(s, 2))
        w->node.frozen_until = sim_ms(s) + 500 + (int64_t)sim_pick(s, 6000);
    if (sim_chance(s, 2))
        sim_worker_die(s, w);
    if (w->node.session && sim_chance(s, w->leaves && w->n ? 300 : 3))
        leave(s, w);
    if (sim_chance(s, 5) && w->node.session) {
        w->credit = sim_pick(s, 4);
        speak_again(s, w); /* READY again, with what it holds */
    }
    if (sim_chance(s, 10) && w->node.session && w->old_ready && sim_ms(s) < w->newest_at + LATE_MS)
        sim_post(s, &w->node, w->old_ready); /* its answer did not come in time */
}

/* ---- what the checks know of workers ---- */

sim_worker *sim_worker_named(sim *s, const char *name)
{
    for (int i = 0; i < SIM_WORKERS; i++) {
        if (strcmp(s->workers[i].node.name, name) == 0)
            return &s->workers[i];
    }
    return NULL;
}

uint64_t sim_worker_credit(const sim_worker *w, const char *service)
{
    for (int i = 0; i < SIM_WORKED; i++) {
        if (strcmp(sim_service[i], service) == 0)
            return w->heard_credit[i];
    }
    return 0;
}

void sim_worker_heard(sim *s, const sim_node *n, const kv_header *head, const kv_msg *m)
{
    sim_worker *w = sim_worker_named(s, n->name);
    for (int i = 0; i < SIM_WORKED && w; i++) {
        if (m->code == KV_HELLO)
            w->heard_credit[i] = 0;
        if (m->code != KV_READY || !kv_slice_is(m->ready.service, sim_service[i]) ||
            head->request < w->heard_ready[i])
            continue;
        w->heard_ready[i] = head->request;
        w->heard_credit[i] = m->ready.credit;
    }
}

void sim_worker_told_stale(sim *s, const sim_node *n, uint64_t request)
{
    const sim_worker *w = sim_worker_named(s, n->name);
    for (int i = 0; w && i < w->n; i++) {
        const sim_held *h = &w->held[i];
        if (request && (h->claim == request || h->answer.request == request))
            sim_check_stale(s, h->job, h->epoch, h->attempt);
    }
}
