#include "broker/inspect.h"

#include <stdio.h>
#include <stdlib.h>

#include "broker/lanes.h"
#include "broker/pace.h"
#include "broker/services.h"
#include "proto/base/id.h"
#include "proto/base/words.h"

enum {
    PAGE_BYTES = KV_JSON_MAX * 6, /* a page ends above this; an item is far below the rest */
    LOOKS = 10000,   /* and when it has looked at so many: little may be found among them */
    PLACE_BITS = 24, /* of a cursor: place among the leases or the queues of a session */
    PLACE_MASK = (1 << PLACE_BITS) - 1,
    TENANT_BITS = 40 /* of a cursor: place of a tenant in a queue, KV_PLACE_RULE at most */
};

/* One answer being written. `next`: where the following page begins; 0: nowhere. */
typedef struct page {
    kv_core *c;
    const kv_inspect *m;
    kv_buf out;
    uint64_t items, looked, next;
} page;

static bool full(const page *p)
{
    return p->items >= p->m->limit || p->out.len >= PAGE_BYTES || p->looked >= LOOKS;
}

static bool wanted(const page *p, const kv_service *s)
{
    return p->m->service.len == 0 || kv_slice_is(p->m->service, s->name);
}

/* ---- pieces ---- */

static void put_u64(kv_buf *out, const char *key, uint64_t v)
{
    kv_json_key(out, key);
    kv_json_u64(out, v);
}

static void put_text(kv_buf *out, const char *key, const char *v)
{
    kv_json_key(out, key);
    kv_json_cstr(out, v);
}

/* Negative: null. */
static void put_age(kv_buf *out, const char *key, int64_t v)
{
    kv_json_key(out, key);
    kv_json_i64_or_null(out, v);
}

static void put_number(kv_buf *out, const char *key, double v, int digits)
{
    char text[48];
    int n = snprintf(text, sizeof text, "%.*f", digits, v);
    kv_json_key(out, key);
    kv_json_raw(out, kv_slice_of(text, (size_t)n));
}

static void put_spread(kv_buf *out, const char *key, const kv_pace_spread *v)
{
    kv_json_key(out, key);
    if (!v->n) {
        kv_json_null(out);
        return;
    }
    kv_json_open(out, '{');
    put_u64(out, "p50", v->p50);
    put_u64(out, "p90", v->p90);
    put_u64(out, "p99", v->p99);
    put_u64(out, "n", v->n);
    kv_json_close(out, '}');
}

static void put_limits(kv_buf *out, const kv_limits *limits)
{
    put_u64(out, "concurrency", limits->concurrency);
    put_u64(out, "rate_per_minute", limits->rate_per_minute);
}

/* ---- queues ---- */

static void put_queue_limits(page *p, const kv_service *s)
{
    kv_buf *out = &p->out;
    bool evict = s->overflow >= 0 ? s->overflow == 1 : p->c->opts.evict;
    kv_json_key(out, "limits");
    kv_json_open(out, '{');
    put_limits(out, &s->limits);
    put_u64(out, "max_waiting", s->max_waiting ? s->max_waiting : p->c->opts.max_waiting);
    put_text(out, "overflow", kv_overflow_names[evict]);
    kv_json_close(out, '}');
}

static void put_counts(page *p, const kv_service *s)
{
    kv_buf *out = &p->out;
    uint64_t credit = 0;
    for (const kv_offer *o = s->free_first; o; o = o->free_next)
        credit += o->credit - o->leased - o->zombies;
    kv_json_key(out, "lanes");
    kv_json_open(out, '{');
    for (int i = 0; i < KV_LANES; i++)
        put_u64(out, kv_lane_names[i], kv_lanes_waiting(s, i));
    kv_json_close(out, '}');
    put_u64(out, "waiting", kv_lanes_waiting(s, -1));
    put_u64(out, "delayed", s->delayed);
    put_u64(out, "running", s->running);
    put_u64(out, "workers", s->workers);
    put_u64(out, "credit_free", credit);
}

static void put_pace(page *p, const kv_service *s)
{
    kv_buf *out = &p->out;
    kv_pace_view v;
    kv_pace_look(p->c, s, &v);
    kv_json_key(out, "throughput");
    kv_json_open(out, '{');
    put_number(out, "s10", v.s10, 2);
    put_number(out, "min1", v.min1, 2);
    put_number(out, "min5", v.min5, 3);
    kv_json_close(out, '}');
    put_spread(out, "wait_ms", &v.wait);
    put_spread(out, "service_ms", &v.service);
    put_number(out, "error_rate", v.error_rate, 4);
    int64_t oldest_ms = kv_pace_oldest_ms(p->c, s);
    put_age(out, "oldest_waiting_s", oldest_ms < 0 ? -1 : oldest_ms / 1000);
    put_age(out, "last_lease_s", v.last_begun_ms < 0 ? -1 : v.last_begun_ms / 1000);
    put_age(out, "last_end_s", v.last_ended_ms < 0 ? -1 : v.last_ended_ms / 1000);
    kv_json_key(out, "counts");
    kv_json_open(out, '{');
    put_u64(out, "attempts", v.begun);
    put_u64(out, "complete", v.complete);
    put_u64(out, "error", v.error);
    put_u64(out, "cancelled", v.cancelled);
    kv_json_close(out, '}');
}

static void put_queue(page *p, kv_service *s)
{
    kv_buf *out = &p->out;
    kv_health health = kv_health_of(p->c, s);
    kv_json_open(out, '{');
    put_text(out, "service", s->name);
    kv_json_key(out, "own"); /* kervan makes its jobs itself: it is never drained */
    kv_json_bool(out, kv_service_reserved(kv_slice_str(s->name)));
    kv_json_key(out, "paused");
    kv_json_bool(out, s->paused);
    kv_json_key(out, "draining");
    kv_json_bool(out, s->draining);
    put_queue_limits(p, s);
    put_counts(p, s);
    put_pace(p, s);
    put_text(out, "health", kv_health_names[health]);
    put_text(out, "remedy", kv_health_remedy(health, false));
    put_text(out, "remedy_tr", kv_health_remedy(health, true));
    kv_json_close(out, '}');
    p->items++;
}

/* The newest first; the cursor is the index of the last one shown. */
static void list_queues(page *p)
{
    uint64_t last = 0;
    for (kv_service *s = p->c->service_list; s; s = s->next) {
        if ((p->m->after && s->index >= p->m->after) || !wanted(p, s))
            continue;
        if (full(p)) {
            p->next = last;
            return;
        }
        put_queue(p, s);
        last = s->index;
    }
}

/* ---- workers ---- */

static int by_id(const void *a, const void *b)
{
    uint64_t x = (*(kv_session *const *)a)->id, y = (*(kv_session *const *)b)->id;
    return x < y ? -1 : x > y;
}

/* The sessions from this id on, in order; *ret_n of them. NULL: no memory, or none. */
static kv_session **sessions_from(const kv_core *c, uint64_t id, size_t *ret_n)
{
    kv_session **list = malloc((c->sessions.n + 1) * sizeof(kv_session *));
    size_t at = 0, n = 0;
    for (kv_session *s; list && (s = kv_ids_next(&c->sessions, &at));) {
        if (s->id >= id)
            list[n++] = s;
    }
    if (list)
        qsort(list, n, sizeof *list, by_id);
    *ret_n = n;
    return list;
}

static uint64_t cursor_of(uint64_t session, uint64_t place)
{
    return session << PLACE_BITS | (place & PLACE_MASK);
}

static void put_worker(page *p, const kv_session *s, const kv_offer *o)
{
    kv_buf *out = &p->out;
    kv_json_open(out, '{');
    put_text(out, "role", s->role);
    put_text(out, "name", s->name);
    put_text(out, "service", o->service->name);
    put_u64(out, "credit", o->credit);
    put_u64(out, "leased", o->leased);
    put_u64(out, "zombies", o->zombies);
    put_age(out, "heard_ms", p->c->now.mono_ms - s->heard);
    kv_json_close(out, '}');
    p->items++;
}

/* False: the page is full. */
static bool put_offers(page *p, const kv_session *s, uint64_t skip)
{
    uint64_t i = 0;
    for (const kv_offer *o = s->offers; o; o = o->next, i++) {
        if (i < skip)
            continue;
        if (full(p)) {
            p->next = cursor_of(s->id, i);
            return false;
        }
        p->looked++;
        if (wanted(p, o->service))
            put_worker(p, s, o);
    }
    return true;
}

/* Session by session: one may serve so many queues that they do not fit into a page. */
static bool list_workers(page *p)
{
    size_t n;
    uint64_t first = p->m->after >> PLACE_BITS, skip = p->m->after & PLACE_MASK;
    kv_session **list = sessions_from(p->c, first, &n);
    bool more = true;
    if (!list)
        return false;
    for (size_t i = 0; i < n && more; i++)
        more = put_offers(p, list[i], list[i]->id == first ? skip : 0);
    free(list);
    return true;
}

/* ---- leases ---- */

static void put_lease(page *p, const kv_task *t)
{
    char id[KV_ID_TEXT + 1];
    kv_buf *out = &p->out;
    kv_id_format(t->id, id);
    kv_json_open(out, '{');
    put_text(out, "jobId", id);
    put_text(out, "service", t->service->name);
    kv_json_key(out, "worker");
    if (t->offer)
        kv_json_cstr(out, t->offer->session->name);
    else
        kv_json_null(out); /* not heard of since the restart */
    put_text(out, "lane", kv_lane_names[t->lane]);
    put_text(out, "tenant", kv_tenant_name(t->tenant));
    put_u64(out, "attempt", kv_task_attempts(t));
    put_u64(out, "max_attempts", t->max_attempts);
    put_age(out, "age_ms", p->c->now.mono_ms - t->leased_at);
    put_age(out, "progress_age_ms", t->offer ? p->c->now.mono_ms - t->since : -1);
    kv_json_close(out, '}');
    p->items++;
}

/* False: the page is full. */
static bool put_leases(page *p, const kv_task_list *list, uint64_t session, uint64_t skip)
{
    uint64_t i = 0;
    for (const kv_task *t = list->first; t; t = t->next, i++) {
        if (i < skip)
            continue;
        if (full(p)) {
            p->next = cursor_of(session, i);
            return false;
        }
        p->looked++;
        if (wanted(p, t->service))
            put_lease(p, t);
    }
    return true;
}

/* Those without a worker first, then session by session; the cursor is the session and the place
 * among its leases, newest first. What begins or ends between two pages may shift them by one. */
static bool list_leases(page *p)
{
    size_t n;
    uint64_t first = p->m->after >> PLACE_BITS, skip = p->m->after & PLACE_MASK;
    kv_session **list = sessions_from(p->c, first, &n);
    if (!list)
        return false;
    bool more = first > 0 || put_leases(p, &p->c->orphans, 0, skip);
    for (size_t i = 0; i < n && more; i++)
        more = put_leases(p, &list[i]->leases, list[i]->id, list[i]->id == first ? skip : 0);
    free(list);
    return true;
}

/* ---- tenants and limits ---- */

typedef struct tenant_walk {
    page *p;
    const kv_service *s;
    bool only_set;
} tenant_walk;

static void put_tenant(page *p, const kv_service *s, const kv_tenant_view *v)
{
    kv_buf *out = &p->out;
    kv_json_open(out, '{');
    put_text(out, "service", s->name);
    put_text(out, "tenant", v->name);
    put_u64(out, "waiting", v->waiting);
    put_u64(out, "running", v->running);
    put_u64(out, "weight", v->weight);
    put_limits(out, &v->limits);
    kv_json_key(out, "held_back");
    kv_json_bool(out, v->held_back);
    kv_json_close(out, '}');
    p->items++;
}

static bool on_tenant(void *arg, const kv_tenant_view *v)
{
    tenant_walk *w = arg;
    page *p = w->p;
    bool set = v->limits.concurrency || v->limits.rate_per_minute || v->weight != 1;
    if (full(p)) {
        p->next = (uint64_t)w->s->index << TENANT_BITS | v->place;
        return false;
    }
    p->looked++;
    if (set || !w->only_set)
        put_tenant(p, w->s, v);
    return true;
}

/* Queue settings that differ from the configuration, under tenant null. */
static void put_queue_setting(page *p, const kv_service *s)
{
    kv_buf *out = &p->out;
    if (!s->paused && !s->draining && s->overflow < 0 && !s->max_waiting &&
        !s->limits.concurrency && !s->limits.rate_per_minute)
        return;
    kv_json_open(out, '{');
    put_text(out, "service", s->name);
    kv_json_key(out, "tenant");
    kv_json_null(out);
    kv_json_key(out, "paused");
    kv_json_bool(out, s->paused);
    kv_json_key(out, "draining");
    kv_json_bool(out, s->draining);
    put_limits(out, &s->limits);
    put_u64(out, "max_waiting", s->max_waiting);
    kv_json_key(out, "overflow");
    if (s->overflow < 0)
        kv_json_null(out);
    else
        kv_json_cstr(out, kv_overflow_names[s->overflow]);
    kv_json_close(out, '}');
    p->items++;
}

/* Queue by queue, the newest first; the cursor is the queue and the place in it: 0 for what was set
 * for itself, then those of kv_lanes_tenants. */
static void list_tenants(page *p, bool only_set)
{
    uint64_t first = p->m->after >> TENANT_BITS;
    uint64_t place = p->m->after & KV_PLACE_RULE;
    for (kv_service *s = p->c->service_list; s && p->next == 0; s = s->next) {
        tenant_walk w = {.p = p, .s = s, .only_set = only_set};
        if ((p->m->after && s->index > first) || !wanted(p, s))
            continue;
        bool resumed = p->m->after && s->index == first && place > 0;
        if (full(p)) {
            p->next = (uint64_t)s->index << TENANT_BITS;
            return;
        }
        if (only_set && !resumed)
            put_queue_setting(p, s);
        kv_lanes_tenants(p->c, s, resumed ? place : KV_PLACE_RULE, on_tenant, &w);
    }
}

/* ---- the answer ---- */

static kv_err list(page *p)
{
    kv_slice what = p->m->what;
    bool ok = true;
    if (kv_slice_is(what, "queues"))
        list_queues(p);
    else if (kv_slice_is(what, "workers"))
        ok = list_workers(p);
    else if (kv_slice_is(what, "leases"))
        ok = list_leases(p);
    else if (kv_slice_is(what, "tenants"))
        list_tenants(p, false);
    else if (kv_slice_is(what, "limits"))
        list_tenants(p, true);
    else
        return KV_E_BAD_PARAMETER;
    return ok && kv_buf_ok(&p->out) ? KV_OK : KV_E_NO_MEMORY;
}

void kv_inspect_answer(kv_core *c, const kv_from *from, const kv_inspect *m)
{
    page p = {.c = c, .m = m};
    kv_msg answer;
    if (m->service.len && !kv_service_name_valid(m->service)) {
        kv_core_refuse(c, from, KV_E_BAD_PARAMETER, KV_SERVICE_NAMES);
        return;
    }
    kv_buf_init(&p.out, KV_JSON_MAX * 8);
    kv_json_open(&p.out, '{');
    kv_json_name(&p.out, m->what);
    kv_json_open(&p.out, '[');
    kv_err err = m->limit ? list(&p) : KV_E_BAD_PARAMETER;
    kv_json_close(&p.out, ']');
    put_u64(&p.out, "next", p.next);
    kv_json_close(&p.out, '}');
    if (err == KV_OK && !kv_buf_ok(&p.out))
        err = KV_E_NO_MEMORY;
    if (err != KV_OK) {
        kv_core_refuse(
            c, from, err,
            err == KV_E_BAD_PARAMETER
                ? "what is queues, workers, leases, tenants or limits; limit is 1 to 1000"
                : NULL);
    } else if (from->request) {
        kv_msg_defaults(KV_STATS_OK, &answer);
        answer.stats_ok.text = kv_buf_slice(&p.out);
        kv_core_send(c, from->session, from->request, &answer);
    }
    kv_buf_release(&p.out);
}
