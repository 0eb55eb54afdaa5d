#include "broker/replay.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/wake.h"
#include "storage/read/event_text.h"
#include "storage/read/events.h"

enum {
    WAITING_MAX = 1024,     /* asked and not taken yet, of all peers */
    BUSY_AGAIN_MS = 100,    /* a reader was stopped, or too many wait */
    COMMITS_MAX = 1000,     /* of an answer */
    PAGE_BYTES = 256 << 10, /* an answer ends behind the commit that goes over it */
    LIMIT_DEFAULT = 1000
};

typedef struct question {
    struct question *next;
    uint64_t request, after, limit;
    kv_err err;
    uint64_t prev, last;
    bool any;
    kv_buf events;
    size_t peer_len;
    char peer[255];
} question;

typedef struct row {
    question *first, *last;
} row;

struct kv_replay {
    kv_db *db;
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    row asked, answered;
    size_t waiting; /* in both rows, and the one being read */
    atomic_bool any_answered;
};

static void push(row *r, question *q)
{
    q->next = NULL;
    if (r->last)
        r->last->next = q;
    else
        r->first = q;
    r->last = q;
}

static question *pop(row *r)
{
    question *q = r->first;
    if (q && !(r->first = q->next))
        r->last = NULL;
    return q;
}

static void question_free(question *q)
{
    kv_buf_release(&q->events);
    free(q);
}

/* ---- reading ---- */

/* The elements of a JSON array but the first `skip`, without the brackets. */
static kv_slice elements(kv_slice array, uint64_t skip)
{
    size_t end = array.len - 1, at = 1;
    for (; skip > 0 && at < end; skip--)
        at = kv_event_end(array, at) + 1;
    return at < end ? kv_slice_of(array.ptr + at, end - at) : kv_slice_of(array.ptr, 0);
}

/* "[a,b]" behind "[c]" is "[c,a,b]". `after` may lie inside the first one. */
static bool on_commit(void *arg, uint64_t first, uint64_t last, kv_slice json_array)
{
    question *q = arg;
    if (json_array.len < 2)
        return true;
    if (q->any && q->events.len + json_array.len > PAGE_BYTES)
        return false; /* it begins the next page */
    uint64_t skip = q->after >= first ? q->after - first + 1 : 0;
    kv_slice more = elements(json_array, skip);
    if (!q->any)
        q->prev = first - 1 + skip;
    kv_buf_addc(&q->events, q->any ? ',' : '[');
    kv_buf_add(&q->events, more.ptr, more.len);
    q->any = true;
    q->last = last;
    return kv_buf_ok(&q->events) && last - q->prev < q->limit;
}

static void read_log(kv_replay *r, question *q)
{
    q->prev = q->last = q->after;
    q->err = kv_events_after(r->db, q->after, COMMITS_MAX, on_commit, q);
    kv_buf_adds(&q->events, q->any ? "]" : "[]");
    if (q->err == KV_OK && !kv_buf_ok(&q->events))
        q->err = KV_E_NO_MEMORY;
}

static void hand_over(kv_replay *r, question *q)
{
    pthread_mutex_lock(&r->lock);
    push(&r->answered, q);
    pthread_mutex_unlock(&r->lock);
    kv_wake(r->fd);
    atomic_store(&r->any_answered,
                 true); /* last: else a taker could leave the descriptor readable */
}

static question *next_question(kv_replay *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->stop && !r->asked.first)
        pthread_cond_wait(&r->wake, &r->lock);
    question *q = r->stop ? NULL : pop(&r->asked);
    pthread_mutex_unlock(&r->lock);
    return q;
}

static void *thread_main(void *arg)
{
    kv_replay *r = arg;
    pthread_setname_np(pthread_self(), "replay");
    for (question *q; (q = next_question(r));) {
        read_log(r, q);
        hand_over(r, q);
    }
    return NULL;
}

/* ---- what the loop calls ---- */

kv_err kv_replay_ask(kv_replay *self, kv_slice peer, uint64_t request, const kv_events_get *m)
{
    question *q = peer.len <= sizeof q->peer ? calloc(1, sizeof *q) : NULL;
    if (!q)
        return KV_E_NO_MEMORY;
    q->request = request;
    q->after = m->after;
    q->limit = m->limit ? m->limit : LIMIT_DEFAULT;
    q->peer_len = peer.len;
    memcpy(q->peer, peer.ptr, peer.len);
    kv_buf_init(&q->events, KV_BODY_MAX);
    pthread_mutex_lock(&self->lock);
    bool room = self->waiting < WAITING_MAX;
    if (room) {
        self->waiting++;
        push(&self->asked, q);
        pthread_cond_signal(&self->wake);
    }
    pthread_mutex_unlock(&self->lock);
    if (!room)
        question_free(q);
    return room ? KV_OK : KV_E_BUSY;
}

int kv_replay_fd(const kv_replay *self)
{
    return self->fd;
}

static void answer_of(const question *q, kv_msg *m)
{
    if (q->err != KV_OK) {
        kv_msg_defaults(KV_ERROR, m);
        m->error.number = q->err;
        m->error.detail = kv_slice_str(
            q->err == KV_E_NOT_FOUND
                ? "the log does not reach back to that event, or has not come to it: resync"
                : kv_err_info_of(q->err)->en);
        if (q->err != KV_E_NOT_FOUND)
            m->error.retry_after_ms = BUSY_AGAIN_MS;
        return;
    }
    kv_msg_defaults(KV_EVENTS, m);
    m->events.prev = q->prev;
    m->events.first = q->prev + 1;
    m->events.last = q->last;
    m->events.events = kv_buf_slice(&q->events);
}

void kv_replay_take(kv_replay *self,
                    void (*send)(void *arg, kv_slice peer, uint64_t request, const kv_msg *m),
                    void *arg)
{
    if (!atomic_exchange(&self->any_answered, false)) /* asked each round of the loop */
        return;
    kv_wake_taken(self->fd);
    for (;;) {
        pthread_mutex_lock(&self->lock);
        question *q = pop(&self->answered);
        self->waiting -= q != NULL;
        pthread_mutex_unlock(&self->lock);
        if (!q)
            return;
        kv_msg m;
        answer_of(q, &m);
        send(arg, kv_slice_of(q->peer, q->peer_len), q->request, &m);
        question_free(q);
    }
}

/* ---- life ---- */

kv_err kv_replay_start(const kv_config *cfg, kv_replay **ret)
{
    kv_replay *r = calloc(1, sizeof *r);
    *ret = NULL;
    if (!r)
        return KV_E_NO_MEMORY;
    r->fd = kv_wake_open();
    kv_err err = r->fd >= 0 ? kv_db_open(cfg, KV_DB_READ, &r->db) : kv_err_from_errno(errno);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->wake, NULL);
    if (err == KV_OK && pthread_create(&r->thread, NULL, thread_main, r) != 0)
        err = KV_E_NO_MEMORY;
    if (err == KV_OK) {
        *ret = r;
        return KV_OK;
    }
    kv_db_close(&r->db);
    if (r->fd >= 0)
        close(r->fd);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
    return err;
}

void kv_replay_stop(kv_replay **self)
{
    kv_replay *r = *self;
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    for (question *q; (q = pop(&r->asked)) || (q = pop(&r->answered));)
        question_free(q);
    kv_db_close(&r->db);
    close(r->fd);
    pthread_cond_destroy(&r->wake);
    pthread_mutex_destroy(&r->lock);
    free(r);
    *self = NULL;
}
