#include "broker/checkpoint.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "proto/base/buf.h"
#include "proto/base/cond.h"
#include "storage/db.h"

enum { LOOK_MS = 100, EACH_MS = 1000 };
static const int64_t SOON_BYTES = 16 << 20;

struct kv_checkpoint {
    const kv_config *cfg;
    kv_ledger *ledger;
    kv_db *db;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stop;
    _Atomic kv_err state;
};

/* Sleeps; true: stop. */
static bool nap(kv_checkpoint *c)
{
    struct timespec until = kv_cond_in_ms(LOOK_MS);
    int rc = 0;
    pthread_mutex_lock(&c->lock);
    while (!c->stop && rc == 0)
        rc = pthread_cond_timedwait(&c->wake, &c->lock, &until);
    bool stop = c->stop;
    pthread_mutex_unlock(&c->lock);
    return stop;
}

/* The log's time of change tells whether something was written: its size does not, for it is
 * written over from its beginning. */
static int64_t changed_at(const kv_checkpoint *c)
{
    kv_buf path;
    struct stat st;
    kv_buf_init(&path, 0);
    kv_buf_addf(&path, "%s/kervan.db-wal", c->cfg->data);
    bool there = kv_buf_ok(&path) && stat(path.data, &st) == 0;
    kv_buf_release(&path);
    return there ? (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec : 0;
}

static void *thread_main(void *arg)
{
    kv_checkpoint *c = arg;
    int64_t done_at = 0, copied = 0;
    int waited = 0;
    pthread_setname_np(pthread_self(), "checkpoint");
    while (!nap(c)) {
        int64_t changed = changed_at(c), used = kv_ledger_log_used(c->ledger);
        bool due = (waited += LOOK_MS) >= EACH_MS;
        bool soon = used - (copied > used ? 0 : copied) > SOON_BYTES; /* else it began anew */
        if (changed == done_at || !(due || soon))
            continue;
        waited = 0;
        kv_err err = kv_db_checkpoint(c->db, true, &copied);
        atomic_store(&c->state, err);
        if (err != KV_OK)
            continue; /* logged there; tried again in a second */
        kv_ledger_log_copied(c->ledger, copied);
        done_at = changed;
    }
    return NULL;
}

kv_err kv_checkpoint_start(const kv_config *cfg, kv_ledger *ledger, kv_checkpoint **ret)
{
    kv_checkpoint *c = calloc(1, sizeof *c);
    *ret = NULL;
    if (!c)
        return KV_E_NO_MEMORY;
    c->cfg = cfg;
    c->ledger = ledger;
    kv_err err = kv_db_open(cfg, KV_DB_WRITE, &c->db);
    if (err != KV_OK) {
        free(c);
        return err;
    }
    pthread_mutex_init(&c->lock, NULL);
    if (!kv_cond_init(&c->wake) || pthread_create(&c->thread, NULL, thread_main, c) != 0) {
        kv_db_close(&c->db);
        free(c);
        return KV_E_NO_MEMORY;
    }
    *ret = c;
    return KV_OK;
}

kv_err kv_checkpoint_state(const kv_checkpoint *self)
{
    return atomic_load(&self->state);
}

void kv_checkpoint_stop(kv_checkpoint **self)
{
    kv_checkpoint *c = *self;
    if (!c)
        return;
    pthread_mutex_lock(&c->lock);
    c->stop = true;
    pthread_cond_signal(&c->wake);
    pthread_mutex_unlock(&c->lock);
    pthread_join(c->thread, NULL);
    kv_db_close(&c->db);
    pthread_cond_destroy(&c->wake);
    pthread_mutex_destroy(&c->lock);
    free(c);
    *self = NULL;
}
