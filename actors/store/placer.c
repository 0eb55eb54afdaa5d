/* The placing half of the store: makes files durable under their keys. What arrived together is
 * synced together: write-back of all is begun before the first is waited for, folders are synced
 * once. Whole uploads are written here, too. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "actors/ingest_actors.h"
#include "actors/store/puts.h"
#include "proto/base/id.h"
#include "proto/base/log.h"

#define KEY_MAX   400
#define BATCH_MAX 64 /* messages between two batch_end */

typedef struct kv_place_job {
    uint64_t upload;
    kv_header head;
    kv_put *put;
    kv_err err;
    bool done;    /* linked to bytes that stood here already */
    bool nothing; /* could not be written */
    char key[KEY_MAX + 1], same[KEY_MAX + 1];
} kv_place_job;

typedef struct kv_placer_actor {
    kv_ingest_state *state;
    kv_store *store;
    kv_puts *puts;
    size_t count;
    kv_place_job jobs[BATCH_MAX];
} kv_placer_actor;

static void sync_and_link(kv_placer_actor *a)
{
    for (size_t i = 0; i < a->count; i++) {
        kv_place_job *j = &a->jobs[i];
        /* Bytes that are durable here already: one more name for them, nothing to sync. They may
         * have gone meanwhile: then ours. */
        if (j->nothing)
            continue;
        j->done = *j->same && kv_put_link_same(j->put, j->same, j->key, NULL) == KV_OK;
        if (!j->done)
            j->err = kv_put_start_sync(j->put);
    }
    for (size_t i = 0; i < a->count; i++) {
        kv_place_job *j = &a->jobs[i];
        if (j->err == KV_OK && !j->done)
            j->err = kv_put_sync(j->put);
        if (j->err == KV_OK && !j->done)
            j->err = kv_put_link(j->put, j->key, NULL);
    }
}

static void sync_folders(kv_placer_actor *a)
{
    const char *keys[BATCH_MAX];
    size_t n = 0;
    for (size_t i = 0; i < a->count; i++) {
        if (a->jobs[i].err == KV_OK)
            keys[n++] = a->jobs[i].key;
    }
    kv_err err = n ? kv_store_sync_folders(a->store, keys, n) : KV_OK;
    for (size_t i = 0; i < a->count; i++) {
        if (a->jobs[i].err == KV_OK)
            a->jobs[i].err = err;
    }
}

static void place_all(kv_placer_actor *a, kv_out *out)
{
    if (a->count == 0)
        return;
    sync_and_link(a);
    sync_folders(a);
    for (size_t i = 0; i < a->count; i++) {
        kv_place_job *j = &a->jobs[i];
        kv_msg m = {.code = KV_PLACED};
        m.placed.upload = j->upload;
        m.placed.number = j->err;
        m.placed.nothing = j->nothing;
        if (!atomic_load(&a->state->halted))
            kv_out_send(out, KV_STORE_TO_DEDUP, &j->head, &m, NULL);
    }
    a->count = 0;
}

static void copy_key(char to[KEY_MAX + 1], kv_slice key)
{
    assert(key.len <= KEY_MAX);
    if (key.len > 0)
        memcpy(to, key.ptr, key.len);
}

static kv_place_job *new_job(kv_placer_actor *a, uint64_t upload, const kv_header *head,
                             kv_slice key, kv_slice same, kv_out *out)
{
    if (a->count == BATCH_MAX)
        place_all(a, out);
    kv_place_job *j = &a->jobs[a->count++];
    *j = (kv_place_job){.upload = upload, .head = *head};
    copy_key(j->key, key);
    copy_key(j->same, same);
    return j;
}

static void on_place(void *self, const kv_in *in, kv_out *out)
{
    kv_placer_actor *a = self;
    const kv_place *m = &in->msg->place;
    kv_place_job *j = new_job(a, m->upload, in->head, m->key, m->same, out);
    j->put = kv_puts_get(a->puts, m->upload);
    assert(j->put);
}

/* The bytes are given back as soon as they are written. */
static kv_err write_whole(kv_placer_actor *a, uint64_t upload, zmq_msg_t *payload, kv_put **ret)
{
    size_t len = zmq_msg_size(payload);
    kv_err err = kv_put_begin(a->store, upload, len, ret);
    if (err != KV_OK)
        return err;
    err = kv_put_write(*ret, zmq_msg_data(payload), len);
    if (err == KV_OK)
        err = kv_puts_add(a->puts, upload, *ret);
    if (err != KV_OK)
        kv_put_abort(ret);
    return err;
}

static void on_place_whole(void *self, const kv_in *in, kv_out *out)
{
    kv_placer_actor *a = self;
    const kv_place_whole *m = &in->msg->place_whole;
    kv_place_job *j = new_job(a, m->upload, in->head, m->key, m->same, out);
    assert(in->payload); /* an empty file is refused by the scanner */
    j->err = write_whole(a, m->upload, in->payload, &j->put);
    j->nothing = j->err != KV_OK;
}

static void on_release(void *self, const kv_in *in, kv_out *out)
{
    kv_placer_actor *a = self;
    kv_slice ids = in->msg->release.uploads;
    for (size_t i = 0; i < ids.len / KV_ID_BYTES; i++) {
        kv_put *put = kv_puts_take(a->puts, kv_id_at(ids, i));
        assert(put);
        kv_put_finish(&put);
    }
    kv_msg m = {.code = KV_RELEASED};
    m.released.uploads = ids;
    if (!atomic_load(&a->state->halted))
        kv_out_send(out, KV_STORE_TO_DEDUP, in->head, &m, NULL);
}

static void batch_end(void *self, kv_out *out)
{
    place_all(self, out);
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    (void)cfg;
    const kv_ingest_arg *ingest = arg;
    kv_placer_actor *a = calloc(1, sizeof *a);
    if (!a)
        return KV_E_NO_MEMORY;
    a->state = ingest->state;
    a->store = ingest->store;
    a->puts = ingest->puts;
    *ret_self = a;
    return KV_OK;
}

static void destroy(void **self)
{
    free(*self);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_PLACE, on_place},
    {KV_PLACE_WHOLE, on_place_whole},
    {KV_RELEASE, on_release},
    {0, NULL},
};

const kv_actor_def kv_placer = {
    .name = "placer",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .batch_end = batch_end,
};
