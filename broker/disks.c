#include "broker/disks.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/cond.h"
#include "proto/base/log.h"
#include "storage/db.h"

enum { LOOK_MS = 1000 };

struct kv_disks {
    const kv_config *cfg;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    kv_room room;
    bool spare_kept;
};

static void say(const kv_disks *d, bool low, kv_space space, const char *event_low,
                const char *event_enough)
{
    kv_log(low ? KV_LOG_ERROR : KV_LOG_INFO, low ? event_low : event_enough,
           KV_I64("freeBytes", space.bytes), KV_I64("freeFiles", space.files),
           KV_I64("reserveBytes", d->cfg->disk_reserve_mb << 20));
}

static void say_writing(const kv_disks *d, int error)
{
    kv_log(error ? KV_LOG_ERROR : KV_LOG_INFO, error ? "media_not_writable" : "media_writable",
           KV_STR("data", d->cfg->data), KV_STR("error", error ? strerror(error) : ""));
}

/* Only this thread writes what it compares with. */
static void look(kv_disks *d)
{
    kv_room now = kv_room_look(d->cfg), before = d->room;
    if (now.disk_low != before.disk_low)
        say(d, now.disk_low, now.disk, "disk_low", "disk_enough");
    if (now.media_low != before.media_low)
        say(d, now.media_low, now.media, "media_disk_low", "media_disk_enough");
    if (now.media_error != before.media_error)
        say_writing(d, now.media_error);
    if (!d->spare_kept)
        d->spare_kept = kv_db_spare_keep(d->cfg, now.disk.bytes);
    pthread_mutex_lock(&d->lock);
    d->room = now;
    pthread_mutex_unlock(&d->lock);
}

/* Sleeps; true: stop. */
static bool nap(kv_disks *d)
{
    struct timespec until = kv_cond_in_ms(LOOK_MS);
    int rc = 0;
    pthread_mutex_lock(&d->lock);
    while (!d->stop && rc == 0)
        rc = pthread_cond_timedwait(&d->wake, &d->lock, &until);
    bool stop = d->stop;
    pthread_mutex_unlock(&d->lock);
    return stop;
}

static void *thread_main(void *arg)
{
    kv_disks *d = arg;
    pthread_setname_np(pthread_self(), "disks");
    do
        look(d);
    while (!nap(d));
    return NULL;
}

kv_err kv_disks_start(const kv_config *cfg, kv_disks **ret)
{
    kv_disks *d = calloc(1, sizeof *d);
    *ret = NULL;
    if (!d)
        return KV_E_NO_MEMORY;
    d->cfg = cfg;
    d->room = (kv_room){.disk = {-1, -1}, .media = {-1, -1}};
    pthread_mutex_init(&d->lock, NULL);
    if (!kv_cond_init(&d->wake) || pthread_create(&d->thread, NULL, thread_main, d) != 0) {
        free(d);
        return KV_E_NO_MEMORY;
    }
    *ret = d;
    return KV_OK;
}

void kv_disks_stop(kv_disks **self)
{
    kv_disks *d = *self;
    if (!d)
        return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->wake);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->thread, NULL);
    pthread_cond_destroy(&d->wake);
    pthread_mutex_destroy(&d->lock);
    free(d);
    *self = NULL;
}

kv_room kv_disks_room(kv_disks *self)
{
    pthread_mutex_lock(&self->lock);
    kv_room room = self->room;
    pthread_mutex_unlock(&self->lock);
    return room;
}
