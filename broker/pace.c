#include "broker/pace.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "broker/gauges.h"
#include "broker/lanes.h"
#include "broker/rate.h"

/* A histogram of milliseconds: exact below 16, then 16 buckets to each doubling, so a value read
 * back is at most 1/32 off. Up to 49 days. */
enum {
    SUB = 16,
    SUB_BITS = 4,
    BUCKETS = SUB + (32 - SUB_BITS) * SUB,
    SECONDS = 300,
    GENERATION_MS = 300 * 1000,
    WAIT_SORT_STEPS = 64 /* a job that came earlier than the last ones goes up so far in the row */
};

typedef struct histogram {
    uint32_t n;
    double sum, squares; /* of the values */
    uint32_t bucket[BUCKETS];
} histogram;

/* The present 5 minutes and the 5 before; one without a job is left out. */
typedef struct measured {
    histogram now, before;
    int64_t since;
} measured;

typedef struct second {
    uint32_t ended, failed; /* cancelled ones are in neither */
} second;

struct kv_pace {
    measured wait, service;
    second ring[SECONDS];
    int64_t at;    /* mono s that `ring` is filled up to */
    int64_t first; /* mono s of the first lease */
    int64_t last_begun, last_ended;
    uint64_t begun, ended[KV_JOB_CANCELLED + 1];
};

/* ---- histograms ---- */

static int bucket_of(uint32_t v)
{
    if (v < SUB)
        return (int)v;
    int e = 31 - __builtin_clz(v);
    return SUB + (e - SUB_BITS) * SUB + (int)(v >> (e - SUB_BITS) & (SUB - 1));
}

static double bucket_low(int i)
{
    if (i < SUB)
        return i;
    int e = (i - SUB) / SUB;
    return ldexp(SUB + (i - SUB) % SUB, e);
}

static void observe(measured *m, int64_t now, int64_t ms)
{
    if (m->now.n && now - m->since >= GENERATION_MS) {
        m->before = m->now;
        m->now = (histogram){.n = 0};
    }
    if (!m->now.n)
        m->since = now;
    uint32_t v = ms < 0 ? 0 : ms > UINT32_MAX ? UINT32_MAX : (uint32_t)ms;
    m->now.n++;
    m->now.sum += v;
    m->now.squares += (double)v * v;
    m->now.bucket[bucket_of(v)]++;
}

/* The values that a share of 0.5, 0.9 and 0.99 are not above. */
static kv_pace_spread spread_of(const measured *m)
{
    static const double share[] = {0.5, 0.9, 0.99};
    uint32_t value[3] = {0, 0, 0}, n = m->now.n + m->before.n, seen = 0;
    int at = 0;
    for (int i = 0; i < BUCKETS && at < 3 && n; i++) {
        uint32_t here = m->now.bucket[i] + m->before.bucket[i];
        seen += here;
        while (at < 3 && here && seen >= share[at] * n)
            value[at++] = (uint32_t)((bucket_low(i) + bucket_low(i + 1)) / 2);
    }
    return (kv_pace_spread){n, value[0], value[1], value[2]};
}

/* ---- the row of those that wait ---- */

void kv_pace_wait(kv_task *t, int64_t since)
{
    kv_task_row *row = &t->service->waiting[t->lane];
    kv_task *after = row->last;
    t->since = since;
    for (int i = 0; i < WAIT_SORT_STEPS && after && after->since > since; i++)
        after = after->prev;
    t->prev = after;
    t->next = after ? after->next : row->first;
    if (t->next)
        t->next->prev = t;
    else
        row->last = t;
    if (after)
        after->next = t;
    else
        row->first = t;
}

void kv_pace_leave(kv_task *t)
{
    kv_task_row *row = &t->service->waiting[t->lane];
    if (t->prev)
        t->prev->next = t->next;
    else
        row->first = t->next;
    if (t->next)
        t->next->prev = t->prev;
    else
        row->last = t->prev;
    t->prev = t->next = NULL;
}

void kv_pace_loaded(const kv_core *c, kv_task *t, int64_t created)
{
    if (t->at != KV_AT_LANE)
        return;
    int64_t from = t->not_before > created ? t->not_before : created;
    int64_t waited = c->now.wall_ms > from ? c->now.wall_ms - from : 0;
    kv_pace_leave(t);
    kv_pace_wait(t, c->now.mono_ms - waited);
}

int64_t kv_pace_oldest_ms(const kv_core *c, const kv_service *s)
{
    int64_t oldest = -1;
    for (int lane = 0; lane < KV_LANES; lane++) {
        const kv_task *t = s->waiting[lane].first;
        if (t && c->now.mono_ms - t->since > oldest)
            oldest = c->now.mono_ms - t->since;
    }
    return oldest;
}

/* ---- what happens ---- */

static void forward(kv_pace *p, int64_t now_s)
{
    if (now_s - p->at >= SECONDS)
        p->at = now_s - SECONDS;
    while (p->at < now_s)
        p->ring[++p->at % SECONDS] = (second){0, 0};
}

static kv_pace *pace_of(kv_core *c, kv_service *s)
{
    if (!s->pace && (s->pace = calloc(1, sizeof *s->pace)))
        s->pace->at = s->pace->first = c->now.mono_ms / 1000;
    return s->pace;
}

/* A lease of before the restart began we do not know when. */
static void left_worker(kv_core *c, kv_pace *p, const kv_task *t, int to)
{
    if (t->epoch != c->opts.epoch || to == KV_JOB_CANCELLED)
        return;
    int64_t ms = c->now.mono_ms - t->leased_at;
    observe(&p->service, c->now.mono_ms, ms);
    kv_gauges_service(t->service, ms);
}

void kv_pace_change(kv_core *c, const kv_task *t, int to)
{
    kv_pace *p = pace_of(c, t->service);
    if (!p)
        return;
    if (to == KV_JOB_PROCESSING) {
        int64_t ms = t->at == KV_AT_LANE ? c->now.mono_ms - t->since : 0;
        p->begun++;
        p->last_begun = c->now.mono_ms;
        observe(&p->wait, c->now.mono_ms, ms);
        kv_gauges_wait(t->service, ms);
    } else if (t->state == KV_JOB_PROCESSING) {
        left_worker(c, p, t, to);
    }
    if (to >= KV_JOB_COMPLETE) {
        forward(p, c->now.mono_ms / 1000);
        second *now = &p->ring[p->at % SECONDS];
        now->ended += to != KV_JOB_CANCELLED;
        now->failed += to == KV_JOB_ERROR;
        p->ended[to]++;
        p->last_ended = c->now.mono_ms;
    }
}

void kv_pace_release(kv_service *s)
{
    free(s->pace);
    s->pace = NULL;
}

int64_t kv_pace_last(const kv_service *s)
{
    const kv_pace *p = s->pace;
    return !p ? -1 : p->last_begun > p->last_ended ? p->last_begun : p->last_ended;
}

/* ---- what was measured ---- */

/* Of the last `n` whole seconds. */
static second ended_in(const kv_pace *p, int64_t now_s, int n)
{
    second sum = {0, 0};
    for (int64_t s = now_s - n; s < now_s; s++) {
        if (s < 0 || s > p->at || s <= p->at - SECONDS)
            continue;
        sum.ended += p->ring[s % SECONDS].ended;
        sum.failed += p->ring[s % SECONDS].failed;
    }
    return sum;
}

static double rate_in(const kv_pace *p, int64_t now_s, int n)
{
    int64_t over = now_s - p->first < n ? now_s - p->first : n;
    return over > 0 ? (double)ended_in(p, now_s, n).ended / (double)over : 0;
}

uint32_t kv_pace_ended_10s(const kv_core *c, const kv_service *s)
{
    return s->pace ? ended_in(s->pace, c->now.mono_ms / 1000, 10).ended : 0;
}

uint64_t kv_pace_errors(const kv_service *s)
{
    return s->pace ? s->pace->ended[KV_JOB_ERROR] : 0;
}

void kv_pace_look(const kv_core *c, const kv_service *s, kv_pace_view *ret)
{
    const kv_pace *p = s->pace;
    int64_t now_s = c->now.mono_ms / 1000;
    *ret = (kv_pace_view){.last_begun_ms = -1, .last_ended_ms = -1};
    if (!p)
        return;
    second last = ended_in(p, now_s, SECONDS - 1);
    uint64_t ended = 0;
    for (int i = 0; i <= KV_JOB_CANCELLED; i++)
        ended += p->ended[i];
    ret->begun = p->begun;
    ret->complete = p->ended[KV_JOB_COMPLETE];
    ret->error = p->ended[KV_JOB_ERROR];
    ret->cancelled = p->ended[KV_JOB_CANCELLED];
    ret->s10 = rate_in(p, now_s, 10);
    ret->min1 = rate_in(p, now_s, 60);
    ret->min5 = rate_in(p, now_s, SECONDS - 1);
    ret->error_rate = last.ended ? (double)last.failed / last.ended : 0;
    ret->wait = spread_of(&p->wait);
    ret->service = spread_of(&p->service);
    if (p->begun)
        ret->last_begun_ms = c->now.mono_ms - p->last_begun;
    if (ended)
        ret->last_ended_ms = c->now.mono_ms - p->last_ended;
}

/* ---- when will it begin ---- */

/* The estimate, for a job with n - 1 before it, on c places (leases at once that workers and limits
 * allow):
 *
 *   mean = (n - 1 + rest) m / c       sd = s / c * sqrt(n + n^2 / N)       mean -+ 1.28 sd
 *
 * m, s: mean and standard deviation of the service times measured, N of them. The n-th end of c
 * workers that work side by side is near normal with mean n m / c and variance n s^2 / c^2 (central
 * limit of renewal processes: Cox, Renewal Theory, 1962, 3.3); n^2 / N is what m itself may be off
 * (prediction interval of a sum); 1.28 leaves a tenth on each side. s^2 counts one more value that
 * is m off: with one measurement s is m.
 *
 * v = (s / m)^2, at most 1, says how much the time a running job has had tells: of equal jobs (0)
 * all, of exponential ones (1) nothing. So `rest`, the part of a service time that those who run
 * still need, is 1 - (1 - v) age / m: the estimate falls while a single long job runs. And those
 * who run are the long ones more often than not: v times their age counts to the sum that m is made
 * of (total time on test: Epstein and Sobel, Life Testing, 1953). tests/unit/test_pace.c holds
 * forecasts against what came: two thirds to nine tenths hold, with as few as 44 measured.
 *
 * Limits come on top: a rate begins one at known times (the token bucket), and the jobs of a tenant
 * that may run k at once wait for one another on k places, by their rank among themselves; the
 * slowest decides. Jobs of other tenants that have limits may be passed over, or not: at best all
 * of them are, at worst none. What will arrive ahead of the job later is not in it. */
enum { FREE_STEPS = 64 };

typedef struct estimate {
    double mean, sd, n; /* of the service time, ms */
    double v;           /* see above */
    double places;
} estimate;

/* ms from now. */
typedef struct range {
    double low, high;
} range;

/* While jobs wait and no limit holds them back, every free place of a worker is in use: so what
 * runs is what can run. */
static double places_of(const kv_service *s)
{
    uint64_t places = s->running;
    const kv_offer *o = s->free_first;
    for (int i = 0; i < FREE_STEPS && o; i++, o = o->free_next)
        places += o->credit - o->leased - o->zombies;
    if (s->limits.concurrency && places > s->limits.concurrency)
        places = s->limits.concurrency;
    return (double)places;
}

static double ages_of(const kv_core *c, uint32_t running, int64_t leased_sum)
{
    return (double)running * (double)c->now.mono_ms - (double)leased_sum;
}

static bool estimate_of(const kv_core *c, const kv_service *s, estimate *e)
{
    const kv_pace *p = s->pace;
    if (!p || s->paused)
        return false;
    const histogram *a = &p->service.now, *b = &p->service.before;
    double sum = a->sum + b->sum;
    e->n = (double)a->n + b->n;
    e->places = places_of(s);
    if (e->n < 1 || e->places < 1)
        return false;
    double plain = sum / e->n, off = a->squares + b->squares - e->n * plain * plain;
    double sd = sqrt(((off > 0 ? off : 0) + plain * plain) / e->n);
    e->v = plain > 0 && sd < plain ? sd / plain * sd / plain : 1;
    double ages = ages_of(c, s->running, s->leased_sum);
    e->mean = (sum + e->v * ages) / e->n;
    e->sd = plain > 0 ? sd * e->mean / plain : sd;
    return true;
}

/* Of one with `rank` before it, all on so many places. */
static range on_places(const kv_core *c, const estimate *e, double rank, double places,
                       uint32_t running, int64_t leased_sum)
{
    double n = rank + 1, spare = places - running, rest = 1;
    if (running && e->mean > 0)
        rest = 1 - (1 - e->v) * ages_of(c, running, leased_sum) / running / e->mean;
    rest = rest < 0.1 ? 0.1 : rest;
    n -= spare > 0 ? spare : 0; /* these begin at once */
    double mean = n > 0 ? (n - 1 + rest) * e->mean / places : 0;
    double sd = n > 0 ? e->sd / places * sqrt(n + n * n / e->n) : 0;
    return (range){mean - 1.28 * sd, ceil(mean + 1.28 * sd)};
}

/* With so many before it at best, and at worst. */
static range on_rate(const kv_core *c, uint32_t rate, int64_t full_ns, uint64_t low, uint64_t high)
{
    return (range){(double)kv_rate_wait_ms(full_ns, rate, low, c->now.mono_ms),
                   (double)kv_rate_wait_ms(full_ns, rate, high, c->now.mono_ms) +
                       ceil(60000.0 / rate)};
}

static void slower(range *r, range other)
{
    r->low = other.low > r->low ? other.low : r->low;
    r->high = other.high > r->high ? other.high : r->high;
}

static void slower_by_tenant(const kv_core *c, const estimate *e, const kv_tenant_place *own,
                             range *r)
{
    kv_limits limits = own->limits;
    if (limits.rate_per_minute)
        slower(r, on_rate(c, limits.rate_per_minute, own->rate_full_ns, own->rank, own->rank));
    if (!limits.concurrency)
        return;
    double places = e->places < limits.concurrency ? e->places : limits.concurrency;
    slower(r, on_places(c, e, own->rank, places, own->running, own->leased_sum));
}

static uint64_t whole_ms(double ms)
{
    return ms < 0 ? 0 : ms < 1e15 ? (uint64_t)ms : (uint64_t)1e15;
}

void kv_pace_eta_rank(const kv_core *c, const kv_task *t, uint64_t rank, uint64_t *low_ms,
                      uint64_t *high_ms)
{
    estimate e;
    const kv_service *s = t->service;
    *low_ms = *high_ms = 0;
    if (!estimate_of(c, s, &e))
        return;
    kv_tenant_place own = kv_lanes_tenant_place(t);
    uint64_t best = rank > own.others ? rank - own.others : 0;
    best = best > own.rank ? best : own.rank;
    best = best < rank ? best : rank;
    range r = on_places(c, &e, (double)rank, e.places, s->running, s->leased_sum);
    if (best < rank)
        r.low = on_places(c, &e, (double)best, e.places, s->running, s->leased_sum).low;
    if (s->limits.rate_per_minute)
        slower(&r, on_rate(c, s->limits.rate_per_minute, s->rate_full_ns, best, rank));
    slower_by_tenant(c, &e, &own, &r);
    *low_ms = whole_ms(r.low);
    *high_ms = whole_ms(r.high > 1 ? r.high : 1);
}
