#include "broker/load.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "storage/read/jobs.h"

enum { ROWS = 256, BLOCKS_AHEAD = 16, NAME_MAX_BYTES = 64 };

typedef struct row {
    kv_job_row job;
    char service[NAME_MAX_BYTES + 1], tenant[NAME_MAX_BYTES], worker[NAME_MAX_BYTES];
} row;

typedef struct block {
    struct block *next;
    size_t n;
    row rows[ROWS];
} block;

typedef struct reading {
    kv_db *db;
    block *filling; /* of the reader alone */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    block *first, *last; /* full ones, in order */
    size_t waiting;
    bool over, abandoned;
    kv_err err;
} reading;

/* ---- the reader ---- */

/* False: nobody wants more. */
static bool hand_over(reading *r)
{
    block *b = r->filling;
    r->filling = NULL;
    b->next = NULL;
    pthread_mutex_lock(&r->lock);
    while (r->waiting >= BLOCKS_AHEAD && !r->abandoned)
        pthread_cond_wait(&r->wake, &r->lock);
    if (r->last)
        r->last->next = b;
    else
        r->first = b;
    r->last = b;
    r->waiting++;
    bool wanted = !r->abandoned;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return wanted;
}

/* A slice of `to`, which has NAME_MAX_BYTES. */
static kv_slice copy_name(char *to, kv_slice from)
{
    size_t len = from.len < NAME_MAX_BYTES ? from.len : NAME_MAX_BYTES;
    if (len)
        memcpy(to, from.ptr, len);
    return kv_slice_of(to, len);
}

static bool copy_row(void *arg, const kv_job_row *from)
{
    reading *r = arg;
    block *b = r->filling;
    if (!b) {
        b = r->filling = malloc(sizeof *b);
        if (!b) {
            r->err = KV_E_NO_MEMORY;
            return false;
        }
        b->n = 0;
    }
    row *to = &b->rows[b->n++];
    size_t service = strnlen(from->service, NAME_MAX_BYTES);
    to->job = *from;
    memcpy(to->service, from->service, service);
    to->service[service] = '\0';
    to->job.service = to->service;
    to->job.tenant = copy_name(to->tenant, from->tenant);
    to->job.worker = copy_name(to->worker, from->worker);
    return b->n < ROWS || hand_over(r);
}

static void *reader_main(void *arg)
{
    reading *r = arg;
    pthread_setname_np(pthread_self(), "load");
    kv_err err = kv_jobs_unfinished(r->db, copy_row, r);
    if (r->filling)
        (void)hand_over(r);
    pthread_mutex_lock(&r->lock);
    if (r->err == KV_OK)
        r->err = err;
    r->over = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return NULL;
}

/* ---- the core's side ---- */

/* All blocks that are there; NULL: that was all. */
static block *take(reading *r)
{
    pthread_mutex_lock(&r->lock);
    while (!r->first && !r->over)
        pthread_cond_wait(&r->wake, &r->lock);
    block *b = r->first;
    r->first = r->last = NULL;
    r->waiting = 0;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    return b;
}

static kv_err load_block(const block *b, kv_core *core, kv_now now)
{
    for (size_t i = 0; i < b->n; i++)
        KV_TRY(kv_core_load(core, now, &b->rows[i].job));
    return KV_OK;
}

static void abandon(reading *r)
{
    pthread_mutex_lock(&r->lock);
    r->abandoned = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
}

kv_err kv_load_jobs(kv_db *db, kv_core *core, kv_now now)
{
    reading r = {.db = db, .err = KV_OK};
    kv_err err = KV_OK;
    pthread_t thread;
    pthread_mutex_init(&r.lock, NULL);
    pthread_cond_init(&r.wake, NULL);
    if (pthread_create(&thread, NULL, reader_main, &r) != 0) {
        err = KV_E_NO_MEMORY;
        goto done;
    }
    for (block *b, *next; (b = take(&r));) {
        for (; b; b = next) {
            next = b->next;
            if (err == KV_OK && (err = load_block(b, core, now)) != KV_OK)
                abandon(&r);
            free(b);
        }
    }
    pthread_join(thread, NULL);
    if (err == KV_OK)
        err = r.err;
done:
    pthread_cond_destroy(&r.wake);
    pthread_mutex_destroy(&r.lock);
    return err;
}
