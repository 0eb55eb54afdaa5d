#include "gateway/watch.h"

#include <assert.h>
#include <stdlib.h>

#define BUCKETS_MIN 64

/* What the broker knows of a job here. */
typedef enum asked { ASK_WATCH, ASK_UNWATCH, ASKED } asked;

typedef struct job {
    uint64_t id;
    struct job *next;                  /* in its bucket */
    struct job *todo_prev, *todo_next; /* in `todo`, while asked is not ASKED */
    kv_watch_pair *pairs;              /* NULL: nobody, the broker is yet to hear of it */
    asked state;
    bool told; /* the session may have it: it needs a goodbye */
    bool last;
    char *json; /* newest position; NULL: none came yet */
    size_t json_len;
} job;

struct kv_watch_pair {
    job *job;
    kv_watcher *watcher;
    kv_watch_pair *job_prev, *job_next;
    kv_watch_pair *own_prev, *own_next;
    kv_watch_pair *fresh_prev, *fresh_next;
    bool fresh;
};

struct kv_watches {
    job **buckets;
    size_t nbuckets, njobs; /* a power of two */
    job *todo, *todo_last;
};

kv_err kv_watches_new(kv_watches **ret)
{
    kv_watches *t = calloc(1, sizeof(*t));
    if (t != NULL)
        t->buckets = calloc(BUCKETS_MIN, sizeof(job *));
    if (t == NULL || t->buckets == NULL) {
        free(t);
        return KV_E_NO_MEMORY;
    }
    t->nbuckets = BUCKETS_MIN;
    *ret = t;
    return KV_OK;
}

/* ---- jobs ---- */

static size_t bucket_of(const kv_watches *t, uint64_t id)
{
    return (size_t)((id * 0x9e3779b97f4a7c15u) >> 20) & (t->nbuckets - 1);
}

static job *find(const kv_watches *t, uint64_t id)
{
    job *j = t->buckets[bucket_of(t, id)];
    while (j != NULL && j->id != id)
        j = j->next;
    return j;
}

/* Without memory chains get longer, that is all. */
static void grow(kv_watches *t)
{
    size_t old_n = t->nbuckets;
    job **old = t->buckets, **more = calloc(old_n * 2, sizeof(job *));
    if (more == NULL)
        return;
    t->buckets = more;
    t->nbuckets = old_n * 2;
    for (size_t i = 0; i < old_n; i++)
        for (job *j = old[i], *next; j != NULL; j = next) {
            next = j->next;
            size_t b = bucket_of(t, j->id);
            j->next = t->buckets[b];
            t->buckets[b] = j;
        }
    free(old);
}

static void todo_out(kv_watches *t, job *j)
{
    if (j->todo_prev != NULL)
        j->todo_prev->todo_next = j->todo_next;
    else
        t->todo = j->todo_next;
    if (j->todo_next != NULL)
        j->todo_next->todo_prev = j->todo_prev;
    else
        t->todo_last = j->todo_prev;
    j->todo_prev = j->todo_next = NULL;
}

static void set_state(kv_watches *t, job *j, asked state)
{
    bool was = j->state != ASKED, is = state != ASKED;
    j->state = state;
    if (was == is)
        return;
    if (!is) {
        todo_out(t, j);
        return;
    }
    j->todo_prev = t->todo_last;
    if (t->todo_last != NULL)
        t->todo_last->todo_next = j;
    else
        t->todo = j;
    t->todo_last = j;
}

static void job_free(kv_watches *t, job *j)
{
    set_state(t, j, ASKED);
    job **at = &t->buckets[bucket_of(t, j->id)];
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    t->njobs--;
    free(j->json);
    free(j);
}

static job *job_new(kv_watches *t, uint64_t id)
{
    job *j = calloc(1, sizeof(*j));
    if (j == NULL)
        return NULL;
    if (t->njobs >= t->nbuckets)
        grow(t);
    *j = (job){.id = id, .state = ASKED};
    size_t b = bucket_of(t, id);
    j->next = t->buckets[b];
    t->buckets[b] = j;
    t->njobs++;
    set_state(t, j, ASK_WATCH);
    return j;
}

/* ---- pairs ---- */

static void fresh_out(kv_watch_pair *p)
{
    kv_watcher *w = p->watcher;
    if (!p->fresh)
        return;
    if (p->fresh_prev != NULL)
        p->fresh_prev->fresh_next = p->fresh_next;
    else
        w->fresh = p->fresh_next;
    if (p->fresh_next != NULL)
        p->fresh_next->fresh_prev = p->fresh_prev;
    else
        w->fresh_last = p->fresh_prev;
    p->fresh_prev = p->fresh_next = NULL;
    p->fresh = false;
}

static void fresh_in(kv_watch_pair *p)
{
    kv_watcher *w = p->watcher;
    if (p->fresh)
        return;
    p->fresh = true;
    p->fresh_prev = w->fresh_last;
    if (w->fresh_last != NULL)
        w->fresh_last->fresh_next = p;
    else
        w->fresh = p;
    w->fresh_last = p;
}

static void pair_free(kv_watches *t, kv_watch_pair *p)
{
    job *j = p->job;
    kv_watcher *w = p->watcher;
    fresh_out(p);
    if (p->job_prev != NULL)
        p->job_prev->job_next = p->job_next;
    else
        j->pairs = p->job_next;
    if (p->job_next != NULL)
        p->job_next->job_prev = p->job_prev;
    if (p->own_prev != NULL)
        p->own_prev->own_next = p->own_next;
    else
        w->pairs = p->own_next;
    if (p->own_next != NULL)
        p->own_next->own_prev = p->own_prev;
    w->n--;
    free(p);
    if (j->pairs != NULL)
        return;
    if (j->last || !j->told)
        job_free(t, j);
    else
        set_state(t, j, ASK_UNWATCH);
}

static kv_watch_pair *pair_of(const job *j, const kv_watcher *w)
{
    /* the shorter walk of the two is not known; both are short nearly always */
    for (kv_watch_pair *a = j->pairs, *b = w->pairs; a != NULL && b != NULL;
         a = a->job_next, b = b->own_next) {
        if (a->watcher == w)
            return a;
        if (b->job == j)
            return b;
    }
    return NULL;
}

kv_err kv_watches_add(kv_watches *t, kv_watcher *w, uint64_t id)
{
    job *j = find(t, id);
    kv_watch_pair *p = j != NULL ? pair_of(j, w) : NULL;
    if (p != NULL) {
        if (j->json != NULL)
            fresh_in(p);
        return KV_OK;
    }
    if (w->n >= KV_WATCH_CLIENT_MAX)
        return KV_E_BAD_PARAMETER;
    if (j == NULL && t->njobs >= KV_WATCH_LOOP_MAX)
        return KV_E_BUSY;
    p = calloc(1, sizeof(*p));
    if (p != NULL && j == NULL)
        j = job_new(t, id);
    if (p == NULL || j == NULL) {
        free(p);
        return KV_E_NO_MEMORY;
    }
    if (j->state == ASK_UNWATCH)
        set_state(t, j, ASK_WATCH); /* the broker may have dropped it already */
    *p = (kv_watch_pair){.job = j, .watcher = w, .job_next = j->pairs, .own_next = w->pairs};
    if (j->pairs != NULL)
        j->pairs->job_prev = p;
    j->pairs = p;
    if (w->pairs != NULL)
        w->pairs->own_prev = p;
    w->pairs = p;
    w->n++;
    if (j->json != NULL)
        fresh_in(p);
    return KV_OK;
}

void kv_watches_remove(kv_watches *t, kv_watcher *w, uint64_t id)
{
    job *j = find(t, id);
    kv_watch_pair *p = j != NULL ? pair_of(j, w) : NULL;
    if (p != NULL)
        pair_free(t, p);
}

void kv_watches_drop(kv_watches *t, kv_watcher *w)
{
    for (kv_watch_pair *p = w->pairs, *next; p != NULL; p = next) {
        next = p->own_next;
        pair_free(t, p);
    }
    assert(w->n == 0 && w->fresh == NULL);
}

/* ---- the broker ---- */

size_t kv_watches_take(kv_watches *t, uint64_t ids[KV_WATCH_ASK_MAX], bool *ret_watch)
{
    size_t n = 0;
    if (t->todo == NULL)
        return 0;
    asked kind = t->todo->state;
    *ret_watch = kind == ASK_WATCH;
    for (job *j = t->todo, *next; j != NULL && j->state == kind && n < KV_WATCH_ASK_MAX; j = next) {
        next = j->todo_next;
        ids[n++] = j->id;
        j->told = true;
        if (kind == ASK_UNWATCH)
            job_free(t, j);
        else
            set_state(t, j, ASKED);
    }
    return n;
}

void kv_watches_again(kv_watches *t, const uint64_t *ids, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        job *j = find(t, ids[i]);
        if (j != NULL && j->state == ASKED && !j->last)
            set_state(t, j, ASK_WATCH);
    }
}

void kv_watches_all_again(kv_watches *t)
{
    for (size_t i = 0; i < t->nbuckets; i++)
        for (job *j = t->buckets[i], *next; j != NULL; j = next) {
            next = j->next;
            j->told = false; /* the session that had it is gone */
            if (j->pairs == NULL)
                job_free(t, j);
            else if (j->state == ASKED && !j->last)
                set_state(t, j, ASK_WATCH);
        }
}

/* ---- positions ---- */

bool kv_watches_tell(kv_watches *t, uint64_t id, kv_slice json, bool last)
{
    job *j = find(t, id);
    if (j == NULL || j->pairs == NULL)
        return false;
    char *copy = realloc(j->json, json.len);
    if (copy == NULL)
        return false;
    memcpy(copy, json.ptr, json.len);
    j->json = copy;
    j->json_len = json.len;
    j->last = last;
    if (last)
        set_state(t, j, ASKED);
    for (kv_watch_pair *p = j->pairs; p != NULL; p = p->job_next)
        fresh_in(p);
    return true;
}

bool kv_watcher_peek(const kv_watcher *w, kv_slice *ret_json)
{
    if (w->fresh == NULL)
        return false;
    *ret_json = kv_slice_of(w->fresh->job->json, w->fresh->job->json_len);
    return true;
}

void kv_watcher_told(kv_watches *t, kv_watcher *w)
{
    kv_watch_pair *p = w->fresh;
    if (p->job->last)
        pair_free(t, p);
    else
        fresh_out(p);
}

size_t kv_watches_jobs(const kv_watches *t)
{
    return t->njobs;
}

void kv_watches_destroy(kv_watches **self)
{
    kv_watches *t = *self;
    if (t == NULL)
        return;
    for (size_t i = 0; i < t->nbuckets; i++)
        for (job *j = t->buckets[i], *next; j != NULL; j = next) {
            next = j->next;
            free(j->json);
            free(j);
        }
    free(t->buckets);
    free(t);
    *self = NULL;
}
