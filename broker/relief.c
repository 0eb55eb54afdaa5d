#include "broker/relief.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "proto/base/cond.h"
#include "proto/base/log.h"

enum {
    QUIET_LOOKS = 1000 / KV_RELIEF_AFTER_MS, /* then it sleeps for good */
    STALL_MS = 500                           /* worth a line in the log */
};

struct kv_relief {
    const kv_clock *clock;
    void (*round)(void *arg);
    void *arg;
    pthread_t thread;
    pthread_mutex_t desk;
    atomic_llong left_us; /* since when the loop is away, mono; 0: it is not */
    atomic_ulong leaves;  /* so many times it left */
    atomic_bool watching;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop; /* under the lock */
};

/* ---- the thread ---- */

static void sleep_a_while(kv_relief *r)
{
    struct timespec until = kv_cond_in_ms(KV_RELIEF_AFTER_MS);
    (void)pthread_cond_timedwait(&r->wake, &r->lock, &until);
}

/* Under the lock. A loop that leaves at the same moment either sees that nobody watches and wakes
 * us, or is seen here. */
static void sleep_for_good(kv_relief *r, unsigned long leaves)
{
    atomic_store(&r->watching, false);
    while (!r->stop && !atomic_load(&r->watching) && atomic_load(&r->leaves) == leaves)
        pthread_cond_wait(&r->wake, &r->lock);
    atomic_store(&r->watching, true);
}

/* Waits until it is time to look. False: stopped. */
static bool wait_to_look(kv_relief *r, int *looks, unsigned long *leaves)
{
    pthread_mutex_lock(&r->lock);
    unsigned long now = atomic_load(&r->leaves);
    *looks = now == *leaves ? *looks + 1 : 0;
    *leaves = now;
    if (!r->stop && *looks >= QUIET_LOOKS && atomic_load(&r->left_us) == 0)
        sleep_for_good(r, now);
    if (!r->stop)
        sleep_a_while(r);
    bool go_on = !r->stop;
    pthread_mutex_unlock(&r->lock);
    return go_on;
}

static void relieve(kv_relief *r)
{
    int64_t left = atomic_load(&r->left_us), now = kv_mono_us(r->clock);
    if (left == 0 || now - left < KV_RELIEF_AFTER_MS * 1000 || pthread_mutex_trylock(&r->desk) != 0)
        return;
    while (atomic_load(&r->left_us) == left)
        r->round(r->arg);
    pthread_mutex_unlock(&r->desk);
    int64_t ms = (kv_mono_us(r->clock) - left) / 1000;
    if (ms >= STALL_MS)
        kv_log(KV_LOG_WARN, "commit_stalled", KV_I64("ms", ms));
}

static void *thread_main(void *arg)
{
    kv_relief *r = arg;
    int looks = 0;
    unsigned long leaves = 0;
    pthread_setname_np(pthread_self(), "relief");
    while (wait_to_look(r, &looks, &leaves))
        relieve(r);
    return NULL;
}

/* ---- the loop ---- */

void kv_relief_leave(kv_relief *r)
{
    atomic_store(&r->left_us, kv_mono_us(r->clock));
    atomic_fetch_add(&r->leaves, 1);
    if (!atomic_load(&r->watching)) {
        pthread_mutex_lock(&r->lock);
        atomic_store(&r->watching, true);
        pthread_cond_signal(&r->wake);
        pthread_mutex_unlock(&r->lock);
    }
    pthread_mutex_unlock(&r->desk);
}

void kv_relief_return(kv_relief *r)
{
    atomic_store(&r->left_us, 0);
    pthread_mutex_lock(&r->desk);
}

static bool init_sync(kv_relief *r)
{
    return kv_cond_init(&r->wake) && pthread_mutex_init(&r->lock, NULL) == 0 &&
           pthread_mutex_init(&r->desk, NULL) == 0;
}

kv_err kv_relief_start(const kv_clock *clock, void (*round)(void *arg), void *arg, kv_relief **ret)
{
    kv_relief *r = calloc(1, sizeof *r);
    *ret = NULL;
    if (!r)
        return KV_E_NO_MEMORY;
    r->clock = clock;
    r->round = round;
    r->arg = arg;
    if (!init_sync(r)) {
        free(r);
        return KV_E_NO_MEMORY;
    }
    pthread_mutex_lock(&r->desk);
    if (pthread_create(&r->thread, NULL, thread_main, r) != 0) {
        pthread_mutex_unlock(&r->desk);
        free(r);
        return KV_E_NO_MEMORY;
    }
    *ret = r;
    return KV_OK;
}

void kv_relief_stop(kv_relief **self)
{
    kv_relief *r = *self;
    if (!r)
        return;
    pthread_mutex_lock(&r->lock);
    r->stop = true;
    pthread_cond_signal(&r->wake);
    pthread_mutex_unlock(&r->lock);
    pthread_join(r->thread, NULL);
    pthread_mutex_unlock(&r->desk);
    pthread_mutex_destroy(&r->desk);
    pthread_mutex_destroy(&r->lock);
    pthread_cond_destroy(&r->wake);
    free(r);
    *self = NULL;
}
