#include "broker/watch.h"

#include <assert.h>
#include <stdlib.h>

#include "broker/pace.h"
#include "proto/base/id.h"

enum {
    WHEEL = 32, /* slots; more than the longest wait */
    NEAR = 10,
    MIDDLE = 100, /* positions */
    NEAR_SLOTS = 1,
    MIDDLE_SLOTS = 4,
    FAR_SLOTS = 20,
    LOOKS_A_TICK = 4096, /* so that a tick stays short; the others come with the next */
    NEVER_SENT = -2
};

typedef struct link {
    struct link *prev, *next;
} link;

/* One session watches one job. */
typedef struct watch {
    uint64_t job; /* first: kv_ids */
    link in;      /* a slot, or those due; on itself: nowhere */
    kv_watching *owner;
    kv_task *task; /* NULL: gone, the last push is to be made */
    struct watch *same_prev, *same_next;
    int64_t queue_position, lane_position; /* as told */
    int64_t pushed;                        /* slot */
    int8_t last_state;                     /* of a task that is gone; -1: not known */
} watch;

struct kv_watching {
    kv_session *session;
    kv_watching *prev, *next;
    kv_ids by_job;
    link slots[WHEEL], due;
};

static watch *watch_of(link *l)
{
    return (watch *)((char *)l - offsetof(watch, in));
}

static void link_alone(link *l)
{
    l->prev = l->next = l;
}

static void unlink_one(link *l)
{
    l->prev->next = l->next;
    l->next->prev = l->prev;
    link_alone(l);
}

static void link_last(link *list, link *l)
{
    l->prev = list->prev;
    l->next = list;
    list->prev->next = l;
    list->prev = l;
}

/* All of `from` behind `to`. */
static void link_all(link *to, link *from)
{
    if (from->next == from)
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    link_alone(from);
}

static int64_t slot_now(const kv_core *c)
{
    return c->now.mono_ms / KV_WATCH_SLOT_MS;
}

static void due_in(const kv_core *c, watch *w, int64_t slots)
{
    assert(slots > 0 && slots < WHEEL);
    unlink_one(&w->in);
    link_last(&w->owner->slots[(uint64_t)(slot_now(c) + slots) % WHEEL], &w->in);
}

/* ---- birth and death ---- */

static kv_watching *watching_of(kv_core *c, kv_session *s)
{
    if (s->watching)
        return s->watching;
    kv_watching *o = calloc(1, sizeof *o);
    if (!o)
        return NULL;
    o->session = s;
    for (int i = 0; i < WHEEL; i++)
        link_alone(&o->slots[i]);
    link_alone(&o->due);
    if (!c->watchings)
        c->watch_slot = slot_now(c); /* nothing was due before */
    o->next = c->watchings;
    if (o->next)
        o->next->prev = o;
    c->watchings = o;
    s->watching = o;
    return o;
}

/* In the table of the jobs there is one watch of a job, and the others hang on it. */
static bool join_job(kv_core *c, watch *w, kv_task *t)
{
    watch *first = kv_ids_find(&c->watched, w->job);
    if (first) {
        w->same_prev = first;
        w->same_next = first->same_next;
        if (w->same_next)
            w->same_next->same_prev = w;
        first->same_next = w;
    } else if (!kv_ids_add(&c->watched, w)) {
        return false;
    }
    w->task = t;
    t->watched = true;
    return true;
}

static void leave_job(kv_core *c, watch *w)
{
    if (!w->task)
        return;
    if (w->same_prev) {
        w->same_prev->same_next = w->same_next;
    } else {
        kv_ids_remove(&c->watched, w->job);
        w->task->watched = w->same_next != NULL;
        if (w->same_next) /* there is room: one was just removed */
            (void)kv_ids_add(&c->watched, w->same_next);
    }
    if (w->same_next)
        w->same_next->same_prev = w->same_prev;
    w->same_prev = w->same_next = NULL;
    w->task = NULL;
}

static void watch_free(kv_core *c, watch *w)
{
    leave_job(c, w);
    unlink_one(&w->in);
    kv_ids_remove(&w->owner->by_job, w->job);
    c->watches--;
    free(w);
}

static kv_err watch_new(kv_core *c, kv_session *s, kv_task *t, watch **ret)
{
    kv_watching *o = watching_of(c, s);
    *ret = o ? kv_ids_find(&o->by_job, t->id) : NULL;
    if (*ret)
        return KV_OK;
    if (!o)
        return KV_E_NO_MEMORY;
    if (o->by_job.n >= KV_WATCHES_SESSION || c->watches >= KV_WATCHES_MAX)
        return KV_E_BUSY;
    watch *w = calloc(1, sizeof *w);
    if (!w)
        return KV_E_NO_MEMORY;
    w->job = t->id;
    w->owner = o;
    w->queue_position = w->lane_position = NEVER_SENT;
    link_alone(&w->in);
    if (!kv_ids_add(&o->by_job, w)) {
        free(w);
        return KV_E_NO_MEMORY;
    }
    c->watches++;
    if (!join_job(c, w, t)) {
        watch_free(c, w);
        return KV_E_NO_MEMORY;
    }
    *ret = w;
    return KV_OK;
}

void kv_watch_forget(kv_core *c, kv_session *s)
{
    kv_watching *o = s->watching;
    if (!o)
        return;
    for (size_t at = 0; o->by_job.n > 0;) {
        watch *w = kv_ids_next(&o->by_job, &at);
        if (!w) /* removing moves others up: those passed by are met in another round */
            at = 0;
        else
            watch_free(c, w);
    }
    kv_ids_release(&o->by_job);
    if (o->prev)
        o->prev->next = o->next;
    else
        c->watchings = o->next;
    if (o->next)
        o->next->prev = o->prev;
    s->watching = NULL;
    free(o);
    if (!c->watchings)
        kv_ids_release(&c->watched);
}

/* ---- what is told ---- */

typedef struct letter {
    kv_core *c;
    kv_session *to;
    uint64_t request;
    kv_buf json;
    int entries;
} letter;

static void letter_open(letter *l, kv_core *c, kv_session *to, uint64_t request)
{
    *l = (letter){.c = c, .to = to, .request = request};
    kv_buf_init(&l->json, KV_JSON_MAX);
    kv_buf_addc(&l->json, '[');
}

/* Without memory for the text it is lost like a message on the wire; an answer is refused. */
static void letter_send(letter *l)
{
    kv_msg m;
    kv_buf_addc(&l->json, ']');
    kv_msg_defaults(KV_POSITIONS, &m);
    m.positions.json = kv_buf_slice(&l->json);
    if (kv_buf_ok(&l->json)) {
        kv_core_send(l->c, l->to, l->request, &m);
    } else if (l->request) {
        kv_from from = {.session = l->to, .request = l->request, .code = KV_POSITION};
        kv_core_refuse(l->c, &from, KV_E_NO_MEMORY, NULL);
    }
    kv_buf_clear(&l->json);
    kv_buf_addc(&l->json, '[');
    l->entries = 0;
}

static void add_position(kv_buf *out, const char *key, int64_t position)
{
    kv_buf_adds(out, key);
    if (position < 0)
        kv_buf_adds(out, "null");
    else
        kv_buf_addi(out, position);
}

/* state -1: null. Positions are asked by the thousand: written by hand, not by the JSON writer. */
static void letter_add(letter *l, uint64_t job, int state, const kv_standing *at)
{
    char id[KV_ID_TEXT + 1];
    kv_buf *out = &l->json;
    kv_id_format(job, id);
    kv_buf_adds(out, l->entries++ ? ",{\"jobId\":\"" : "{\"jobId\":\"");
    kv_buf_adds(out, id);
    kv_buf_adds(out, state < 0 ? "\",\"status\":null" : "\",\"status\":\"");
    if (state >= 0) {
        kv_buf_adds(out, kv_job_state_name(state));
        kv_buf_addc(out, '"');
    }
    add_position(out, ",\"queue_position\":", at->queue_position);
    add_position(out, ",\"lane_position\":", at->lane_position);
    if (at->eta_high_ms == 0) {
        kv_buf_adds(out, ",\"eta_seconds\":null}");
    } else { /* whole seconds, the range never smaller than it is */
        kv_buf_adds(out, ",\"eta_seconds\":[");
        kv_buf_addu(out, at->eta_low_ms / 1000);
        kv_buf_addc(out, ',');
        kv_buf_addu(out, (at->eta_high_ms + 999) / 1000);
        kv_buf_adds(out, "]}");
    }
}

static const kv_standing nowhere = {.queue_position = -1, .lane_position = -1};

/* What ended is told when it is committed. */
static bool known(const kv_task *t)
{
    return t && t->state < KV_JOB_COMPLETE;
}

/* A lease that could not be written: the job waits, without a place until its row was read. */
static int state_of(const kv_task *t)
{
    return t->doubtful ? KV_JOB_QUEUED : t->state;
}

/* ---- POSITION ---- */

static int64_t slots_between(int64_t position)
{
    return position <= NEAR ? NEAR_SLOTS : position <= MIDDLE ? MIDDLE_SLOTS : FAR_SLOTS;
}

/* Those far behind are spread over the slots, however they came. */
static int64_t first_slot(const watch *w)
{
    int64_t slots = slots_between(w->queue_position);
    return slots < FAR_SLOTS ? slots
                             : 1 + (int64_t)((w->job * 0x9e3779b97f4a7c15u >> 32) % FAR_SLOTS);
}

static void told(const kv_core *c, watch *w, const kv_standing *at)
{
    w->queue_position = at->queue_position;
    w->lane_position = at->lane_position;
    w->pushed = slot_now(c);
}

static kv_err one_position(letter *l, const kv_position *m, uint64_t job)
{
    kv_core *c = l->c;
    kv_task *t = kv_ids_find(&c->jobs, job);
    kv_watching *o = l->to->watching;
    watch *w = o ? kv_ids_find(&o->by_job, job) : NULL;
    bool is_new = false;
    if (m->unwatch && w) {
        watch_free(c, w);
        w = NULL;
    } else if (m->watch && t && !w) {
        KV_TRY(watch_new(c, l->to, t, &w));
        is_new = true;
    }
    kv_standing at = known(t) ? kv_task_standing(c, t) : nowhere;
    letter_add(l, job, known(t) ? state_of(t) : -1, &at);
    if (w && w->task == t && known(t))
        told(c, w, &at);
    if (is_new && t->at == KV_AT_LANE)
        due_in(c, w, first_slot(w));
    return KV_OK;
}

void kv_watch_position(kv_core *c, const kv_from *from, const kv_position *m)
{
    letter l;
    kv_err err = KV_OK;
    if (m->jobs.len % KV_ID_BYTES || m->jobs.len / KV_ID_BYTES > KV_POSITIONS_ONE ||
        (m->watch && m->unwatch)) {
        kv_core_refuse(c, from, KV_E_BAD_MESSAGE,
                       "POSITION takes up to 256 ids of 8 bytes, and watch or unwatch");
        return;
    }
    letter_open(&l, c, from->session, from->request);
    for (size_t i = 0; i < m->jobs.len / KV_ID_BYTES && err == KV_OK; i++)
        err = one_position(&l, m, kv_id_at(m->jobs, i));
    if (err != KV_OK)
        kv_core_refuse(
            c, from, err,
            err == KV_E_BUSY ? "a session watches at most 65536 jobs, all together 1048576" : NULL);
    else
        letter_send(&l);
    kv_buf_release(&l.json);
}

/* ---- pushes ---- */

void kv_watch_changed(kv_core *c, const kv_task *t)
{
    for (watch *w = kv_ids_find(&c->watched, t->id); w; w = w->same_next)
        due_in(c, w, 1);
}

void kv_watch_gone(kv_core *c, const kv_task *t)
{
    watch *w = kv_ids_find(&c->watched, t->id);
    kv_ids_remove(&c->watched, t->id);
    for (watch *next; w; w = next) {
        next = w->same_next;
        w->same_prev = w->same_next = NULL;
        w->task = NULL;
        w->last_state = t->state >= KV_JOB_COMPLETE && !t->doubtful ? (int8_t)t->state : -1;
        due_in(c, w, 1);
    }
}

/* When to look again: when it may be told again, and earlier where the queue is so fast that by
 * then it stands where more is told. */
static int64_t next_look(const kv_core *c, const watch *w, int64_t position)
{
    int64_t slots = w->pushed + slots_between(position) - slot_now(c);
    if (position > MIDDLE) {
        int64_t in_40_slots = kv_pace_ended_10s(c, w->task->service);
        int64_t near = in_40_slots ? (position - MIDDLE) * 40 / in_40_slots : slots;
        near = near < MIDDLE_SLOTS ? MIDDLE_SLOTS : near;
        slots = slots < near ? slots : near;
    }
    return slots < 1 ? 1 : slots > FAR_SLOTS ? FAR_SLOTS : slots;
}

static void look(letter *l, watch *w)
{
    kv_core *c = l->c;
    unlink_one(&w->in);
    if (!w->task) {
        letter_add(l, w->job, w->last_state, &nowhere);
        watch_free(c, w);
        return;
    }
    if (!known(w->task))
        return; /* ended, not yet committed: kv_watch_gone comes */
    kv_standing at = kv_task_standing(c, w->task);
    bool changed = at.queue_position != w->queue_position || at.lane_position != w->lane_position;
    bool may = at.queue_position <= 0 || w->queue_position <= 0 ||
               slot_now(c) - w->pushed >= slots_between(at.queue_position);
    if (changed && may) {
        letter_add(l, w->job, state_of(w->task), &at);
        told(c, w, &at);
    } else if (!changed && may) {
        w->pushed = slot_now(c); /* as if: the next look is as far away */
    }
    if (w->task->at == KV_AT_LANE)
        due_in(c, w, next_look(c, w, at.queue_position));
}

/* False: more than may be looked at now. */
static bool push_to(kv_core *c, kv_watching *o, int *left)
{
    letter l;
    if (o->due.next == &o->due)
        return true;
    letter_open(&l, c, o->session, 0);
    for (; o->due.next != &o->due && *left > 0; --*left) {
        const link *first = o->due.next;
        look(&l, watch_of(o->due.next));
        assert(o->due.next != first); /* it went elsewhere, or is freed */
        if (l.entries == KV_POSITIONS_ONE)
            letter_send(&l);
    }
    if (l.entries)
        letter_send(&l);
    kv_buf_release(&l.json);
    return o->due.next == &o->due;
}

/* A session that was not finished goes behind the others. */
static void go_last(kv_core *c, kv_watching *o)
{
    kv_watching *last = o;
    while (last->next)
        last = last->next;
    if (last == o)
        return;
    o->next->prev = o->prev;
    if (o->prev)
        o->prev->next = o->next;
    else
        c->watchings = o->next;
    o->prev = last;
    o->next = NULL;
    last->next = o;
}

void kv_watch_tick(kv_core *c)
{
    int64_t now = slot_now(c), from = c->watch_slot + 1;
    int left = LOOKS_A_TICK;
    if (from <= now - WHEEL)
        from = now - WHEEL + 1;
    for (kv_watching *o = c->watchings; o; o = o->next) {
        for (int64_t s = from; s <= now; s++)
            link_all(&o->due, &o->slots[(uint64_t)s % WHEEL]);
    }
    c->watch_slot = now;
    for (kv_watching *o = c->watchings; o; o = o->next) {
        if (push_to(c, o, &left))
            continue;
        go_last(c, o);
        break;
    }
}
