/* Who works on what: offers of workers, dispatch, claims after a restart, silence and stuck jobs.
 */
#include "broker/core_types.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/lanes.h"
#include "broker/gauges.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"

#define LOST "lost on the way to the worker"

/* ---- offers ---- */

static bool has_room(const kv_offer *o)
{
    return o->session->alive && o->leased + o->zombies < o->credit;
}

static void unlist(kv_offer *o)
{
    kv_service *s = o->service;
    if (o->free_prev)
        o->free_prev->free_next = o->free_next;
    else
        s->free_first = o->free_next;
    if (o->free_next)
        o->free_next->free_prev = o->free_prev;
    else
        s->free_last = o->free_prev;
    o->free_prev = o->free_next = NULL;
    o->listed = false;
}

static void list_last(kv_offer *o)
{
    kv_service *s = o->service;
    o->free_prev = s->free_last;
    if (s->free_last)
        s->free_last->free_next = o;
    else
        s->free_first = o;
    s->free_last = o;
    o->listed = true;
}

void kv_offer_update(kv_offer *o)
{
    bool room = has_room(o);
    if (o->listed && !room)
        unlist(o);
    else if (!o->listed && room)
        list_last(o);
}

static kv_offer *offer_of(kv_session *s, kv_service *service)
{
    for (kv_offer *o = s->offers; o; o = o->next) {
        if (o->service == service)
            return o;
    }
    kv_offer *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->session = s;
    o->service = service;
    o->next = s->offers;
    s->offers = o;
    service->workers++;
    return o;
}

void kv_offers_release(kv_session *s)
{
    assert(!s->leases.first);
    for (kv_offer *o = s->offers, *next; o; o = next) {
        next = o->next;
        if (o->listed)
            unlist(o);
        o->service->workers--;
        free(o);
    }
    s->offers = NULL;
}

/* ---- leases ---- */

void kv_tasks_add(kv_task_list *list, kv_task *t)
{
    t->prev = NULL;
    t->next = list->first;
    if (list->first)
        list->first->prev = t;
    else
        list->last = t;
    list->first = t;
    list->n++;
}

void kv_tasks_remove(kv_task_list *list, kv_task *t)
{
    if (t->prev)
        t->prev->next = t->next;
    else
        list->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        list->last = t->prev;
    t->prev = t->next = NULL;
    list->n--;
}

static int64_t silence_ms(const kv_core *c)
{
    return (int64_t)(c->opts.beat_ms * c->opts.silent_beats);
}

void kv_lease_take(kv_core *c, kv_task *t, kv_offer *offer)
{
    assert(t->at == KV_AT_NONE && t->state == KV_JOB_PROCESSING);
    t->at = KV_AT_LEASE;
    t->offer = offer;
    t->unsure = false;
    t->leased_at = c->now.mono_ms;
    t->since = offer ? c->now.mono_ms : c->now.mono_ms + silence_ms(c);
    t->service->running++;
    t->service->leased_sum += t->leased_at;
    kv_lanes_running(t->service, t);
    kv_tasks_add(offer ? &offer->session->leases : &c->orphans, t);
    if (offer) {
        offer->leased++;
        kv_offer_update(offer);
    }
}

void kv_lease_drop(kv_core *c, kv_task *t, bool zombie)
{
    kv_offer *offer = t->offer;
    assert(t->at == KV_AT_LEASE);
    kv_tasks_remove(offer ? &offer->session->leases : &c->orphans, t);
    if (!offer)
        kv_orphan_forget(c, t);
    t->at = KV_AT_NONE;
    t->offer = NULL;
    t->service->running--;
    t->service->leased_sum -= t->leased_at;
    kv_lanes_ended(t->service, t);
    if (offer) {
        offer->leased--;
        offer->zombies += zombie;
        kv_offer_update(offer);
    }
}

bool kv_lease_no_room(const kv_core *c, const kv_service *s)
{
    return s->fills_disk && (c->disk_low || c->media_low);
}

/* A lease that were given behind a pause at the ledger would begin behind its answer. */
static bool may_begin(const kv_core *c, const kv_service *s)
{
    return !s->paused && s->pausing == 0 && !kv_lease_no_room(c, s);
}

void kv_lease_dispatch(kv_core *c, kv_service *service)
{
    while (service->free_first && may_begin(c, service)) {
        kv_offer *offer = service->free_first;
        kv_task *t = kv_lanes_next(c, service);
        kv_change ch = {.offer = offer};
        if (!t)
            return;
        if (kv_due_passed(c, t)) { /* the tick was not here yet */
            if (!kv_due_end(c, t))
                return;
            continue;
        }
        unlist(offer); /* to the end of the row: workers take turns */
        if (!kv_task_change(c, t, KV_JOB_PROCESSING, &ch)) {
            kv_offer_update(offer);
            return; /* no memory; the next message tries again */
        }
    }
}

/* ---- back to the queue ---- */

static uint64_t random_next(kv_core *c)
{
    uint64_t v = c->random += 0x9e3779b97f4a7c15u;
    v = (v ^ v >> 30) * 0xbf58476d1ce4e5b9u;
    v = (v ^ v >> 27) * 0x94d049bb133111ebu;
    return v ^ v >> 31;
}

/* Doubled with each failed attempt. */
static int64_t longest_backoff(const kv_core *c, const kv_task *t)
{
    const kv_extras *x = t->extras;
    int64_t delay = x && x->backoff_ms ? x->backoff_ms : c->opts.backoff_ms;
    int64_t max = x && x->backoff_max_ms ? x->backoff_max_ms : c->opts.backoff_max_ms;
    if (max < delay && !(x && x->backoff_max_ms)) /* its own first delay, above our longest */
        max = delay;
    for (unsigned i = 1; i < kv_task_attempts(t) && delay < max; i++)
        delay *= 2;
    return delay < max ? delay : max;
}

int64_t kv_lease_longest_wait(const kv_core *c, const kv_task *t)
{
    int64_t delay = longest_backoff(c, t);
    int64_t other = t->service->own ? KV_LATER_MS : KV_GIVEN_BACK_WAIT_MS;
    return delay > other ? delay : other;
}

/* Between half of it and all of it, so that what failed together does not come back together. */
static int64_t backoff(kv_core *c, const kv_task *t)
{
    int64_t delay = longest_backoff(c, t);
    return delay / 2 + (int64_t)(random_next(c) % (uint64_t)(delay / 2 + 1));
}

static bool attempts_left(const kv_task *t)
{
    return kv_task_attempts(t) < t->max_attempts;
}

/* To be tried again, or not: `ch` says why. */
static void try_again(kv_core *c, kv_task *t, kv_change *ch, kv_err err, kv_slice detail)
{
    kv_buf text;
    if (attempts_left(t)) {
        ch->not_before = c->now.wall_ms + backoff(c, t);
        (void)kv_task_change(c, t, KV_JOB_QUEUED, ch);
        return;
    }
    kv_buf_init(&text, 2048);
    kv_buf_adds(&text, kv_err_info_of(err)->slug);
    if (detail.len) {
        kv_buf_adds(&text, ": ");
        kv_buf_add(&text, detail.ptr, detail.len);
    }
    ch->err = KV_E_EXHAUSTED;
    ch->detail = kv_buf_slice(&text);
    (void)kv_task_change(c, t, KV_JOB_ERROR, ch);
    kv_buf_release(&text);
}

/* Nobody is to blame, and how long it lasts nobody knows: no attempt is used up. */
static void wait_for_room(kv_core *c, kv_task *t, const kv_from *from, kv_slice detail)
{
    kv_change ch = {.from = from,
                    .given_back = true,
                    .not_before = c->now.wall_ms + KV_NO_ROOM_WAIT_MS,
                    .reason = "no room on the disk",
                    .failure = KV_E_DISK_FULL,
                    .failure_detail = detail};
    (void)kv_task_change(c, t, KV_JOB_QUEUED, &ch);
}

void kv_lease_failed(kv_core *c, kv_task *t, const kv_from *from, kv_err err, kv_slice detail)
{
    if (t->service->fills_disk && err == KV_E_DISK_FULL && t->attempt < KV_LEASES_FREE) {
        wait_for_room(c, t, from, detail);
        return;
    }
    kv_change ch = {.from = from,
                    .reason = attempts_left(t) ? "failed, to be tried again" : "failed",
                    .failure = err,
                    .failure_detail = detail};
    try_again(c, t, &ch, err, detail);
}

/* A worker that is gone; its job goes to another. */
static void worker_failed(kv_core *c, kv_task *t, const char *reason)
{
    kv_change ch = {.reason = reason};
    if (attempts_left(t))
        kv_metric_add_label(KV_M_JOB_REQUEUES, kv_gauges_label(t->service), 1);
    try_again(c, t, &ch, KV_E_INTERNAL, kv_slice_str(reason));
}

/* Nobody is to blame, so it is no attempt. But a worker that crashes politely, or loses what it is
 * sent, must not turn a job around as fast as it can, nor for ever. */
static void give_back(kv_core *c, kv_task *t, const char *reason)
{
    kv_change ch = {.given_back = true, .reason = reason};
    if (t->attempt >= KV_LEASES_FREE) {
        worker_failed(c, t, reason);
        return;
    }
    if (t->given_back >= KV_GIVEN_BACK_AT_ONCE)
        ch.not_before = c->now.wall_ms + KV_GIVEN_BACK_WAIT_MS;
    (void)kv_task_change(c, t, KV_JOB_QUEUED, &ch);
}

void kv_lease_return_all(kv_core *c, kv_session *s, bool fault, const char *reason)
{
    for (kv_offer *o = s->offers; o; o = o->next) { /* nothing comes back to it meanwhile */
        o->credit = 0;
        kv_offer_update(o);
    }
    for (kv_task *t; (t = s->leases.first);) {
        if (fault)
            worker_failed(c, t, reason);
        else
            give_back(c, t, reason);
        if (s->leases.first == t) { /* no memory: an orphan, tried again by the tick */
            kv_lease_drop(c, t, false);
            kv_lease_take(c, t, NULL);
        }
    }
}

/* ---- what workers say ---- */

/* A worker that said HELLO again names what it holds before READY. What it does not name got lost
 * on the way to it: also what a broker that is gone leased to it. */
static void return_unsure(kv_core *c, kv_session *s)
{
    kv_task *next;
    for (kv_task *t = s->leases.first; t; t = next) {
        next = t->next;
        if (t->unsure && t->in_flight == 0)
            give_back(c, t, LOST);
    }
    for (kv_task *t = s->before ? c->orphans.first : NULL; t; t = next) {
        next = t->next;
        if (kv_orphan_of(c, t, s) && t->in_flight == 0)
            give_back(c, t, LOST);
    }
    s->before = 0;
}

/* The READY before it counts no more: a copy of that, sent while it was not answered, may still be
 * on its way and must not undo this one. */
static void take_credit(kv_core *c, const kv_from *from, kv_offer *offer, uint64_t credit)
{
    if (offer->ready && offer->ready != from->request)
        kv_answered_keep(c, from->session, offer->ready, KV_OK, 0);
    offer->ready = from->request;
    offer->credit = credit;
    kv_offer_update(offer);
}

void kv_lease_ready(kv_core *c, const kv_from *from, const kv_ready *m)
{
    if (!kv_service_name_valid(m->service)) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, KV_SERVICE_NAMES);
        return;
    }
    kv_service *service = kv_service_open(c, from, m->service);
    kv_offer *offer = service ? offer_of(from->session, service) : NULL;
    if (!offer) {
        if (service)
            kv_core_refuse(c, from, KV_E_NO_MEMORY, NULL);
        return;
    }
    return_unsure(c, from->session);
    take_credit(c, from, offer, m->credit);
    kv_core_okay(c, from, 0);
    kv_lease_dispatch(c, service);
}

void kv_lease_claim(kv_core *c, const kv_from *from, const kv_lease_held *m)
{
    kv_task *t = kv_ids_find(&c->jobs, m->job);
    bool same = t && !t->doubtful && t->state == KV_JOB_PROCESSING && t->epoch == m->epoch &&
                t->attempt == m->attempt;
    if (same && t->offer && t->offer->session == from->session) {
        t->unsure = false;
        kv_core_okay(c, from, m->job);
        return;
    }
    kv_offer *offer = same && !t->offer ? offer_of(from->session, t->service) : NULL;
    if (!offer && t && (t->doubtful || t->in_flight > 0)) {
        kv_core_refuse(c, from, KV_E_BUSY, "what becomes of the job is being written");
        return;
    }
    if (!offer) {
        kv_core_stale(c, from);
        return;
    }
    kv_lease_drop(c, t, false);
    kv_lease_take(c, t, offer);
    kv_core_okay(c, from, m->job);
}

void kv_lease_cancel_worker(kv_core *c, const kv_task *t)
{
    kv_msg m;
    if (t->at != KV_AT_LEASE || !t->offer)
        return;
    kv_msg_defaults(KV_JOB_CANCEL, &m);
    m.job_cancel.job = t->id;
    m.job_cancel.epoch = t->epoch;
    m.job_cancel.attempt = t->attempt;
    kv_core_send(c, t->offer->session, 0, &m);
}

static void free_zombie(kv_core *c, kv_offer *o)
{
    o->zombies--;
    kv_offer_update(o);
    kv_lease_dispatch(c, o->service);
}

void kv_lease_late(kv_core *c, const kv_from *from)
{
    for (kv_offer *o = from->session->offers; o; o = o->next) {
        if (o->zombies) {
            free_zombie(c, o);
            return;
        }
    }
}

/* A worker that says it has fewer jobs than we count has let go of those we took from it. */
void kv_lease_busy(kv_core *c, kv_session *s, uint64_t busy)
{
    uint64_t counted = s->leases.n;
    for (kv_offer *o = s->offers; o; o = o->next)
        counted += o->zombies;
    for (kv_offer *o = s->offers; o; o = o->next) {
        for (; o->zombies && busy < counted; counted--)
            free_zombie(c, o);
    }
}

/* ---- time ---- */

/* Of this broker, and nobody was sent it: what was to follow the lease could not be written. */
static bool never_sent(const kv_core *c, const kv_task *t)
{
    return t->epoch == c->opts.epoch && t->sent != t->attempt;
}

static void expire_orphans(kv_core *c)
{
    kv_task *next;
    for (kv_task *t = c->orphans.first; t; t = next) {
        next = t->next;
        if (t->since > c->now.mono_ms)
            continue;
        t->since = c->now.mono_ms + silence_ms(c); /* should there be no memory now */
        if (never_sent(c, t))
            give_back(c, t, LOST);
        else
            worker_failed(c, t, "worker did not come back");
    }
}

static void end_stuck(kv_core *c, kv_task *t)
{
    kv_log(KV_LOG_WARN, "job_stuck", KV_ID("jobId", t->id), KV_STR("service", t->service->name),
           KV_STR("worker", t->offer->session->name));
    kv_metric_add_label(KV_M_JOBS_STUCK, kv_gauges_label(t->service), 1);
    kv_lease_cancel_worker(c, t);
    kv_change ch = {.taken = true,
                    .err = KV_E_STUCK,
                    .detail = kv_slice_str(kv_err_info_of(KV_E_STUCK)->tr),
                    .reason = "Stuck Job Guard"};
    (void)kv_task_change(c, t, KV_JOB_ERROR, &ch);
}

void kv_lease_stood_still(kv_core *c, int64_t gap_ms)
{
    size_t at = 0;
    for (kv_session *s; (s = kv_ids_next(&c->sessions, &at));) {
        for (kv_task *t = s->leases.first; t; t = t->next) {
            int64_t since = t->since + gap_ms; /* not after now: it may have been heard since */
            t->since = since < c->now.mono_ms ? since : c->now.mono_ms;
        }
    }
}

void kv_lease_expire(kv_core *c)
{
    size_t at = 0;
    expire_orphans(c);
    for (kv_session *s; (s = kv_ids_next(&c->sessions, &at));) {
        kv_task *next;
        for (kv_task *t = s->leases.first; t; t = next) {
            next = t->next;
            if (c->now.mono_ms - t->since >= c->opts.stuck_after_ms)
                end_stuck(c, t);
        }
    }
}
