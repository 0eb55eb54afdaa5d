/* dedup: ends every upload, exactly once. It waits for scanner, hasher and store, has the file
 * placed under its key, commits the row with the broker (which knows whether the bytes are here
 * already), has the temporary file released, and answers.
 *
 * A failure before the file is placed waits until the others have let go of the upload. One behind
 * that leaves a linked file without a row, which is taken back (orphan.c). Once PLACE was sent an
 * abort comes too late and the upload runs to its end. */
#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "actors/dedup/ending.h"

/* Goes on once everybody has spoken. */
static void settle(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    if (!e->begun || !e->scanned || !e->hashed || !e->closed)
        return;
    if (e->failure == KV_OK)
        kv_ending_complete(a, e, NULL, out);
    else if (e->has_file)
        kv_ending_release(a, e, out);
    else
        kv_ending_end(a, e, out);
}

/* ---- handlers ---- */

static void on_begin(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_begin *b = &in->msg->upload_begin;
    kv_ending *e = kv_dedup_record(a, b->upload, in->head);
    assert(b->loop < a->ingest->loops && b->pipeline < a->ingest->pipelines && !e->begun);
    e->begun = true;
    e->loop = (unsigned)b->loop;
    e->pipeline = (unsigned)b->pipeline;
    e->placer = a->next_placer++ % KV_PLACERS_SMALL;
    e->begun_us = kv_ending_now(out);
    kv_ending_copy(e->folder, sizeof e->folder, b->folder);
    kv_ending_copy(e->filename, sizeof e->filename, b->filename);
    if (e->failure != KV_OK)
        kv_ending_drop_upstream(a, e, out);
    settle(a, e, out);
}

/* The upload fails in hasher or store: the others are told. (When it was they who were told, the
 * scanner knows it no more.) */
static void fail_from_behind(kv_dedup_actor *a, kv_ending *e, kv_err err, kv_out *out)
{
    bool first = e->failure == KV_OK;
    kv_ending_fail(e, err, (kv_slice){0});
    if (first && e->begun) /* else BEGIN does it: it knows the pipeline */
        kv_ending_drop_upstream(a, e, out);
}

static void on_scanned(void *self, const kv_in *in, kv_out *out)
{
    const kv_upload_scanned *s = &in->msg->upload_scanned;
    kv_ending *e = kv_dedup_record(self, s->upload, in->head);
    e->scanned = true;
    if (s->number)
        kv_ending_fail(e, (kv_err)s->number, s->detail);
    if (s->folder.len) /* it came behind the file */
        kv_ending_copy(e->folder, sizeof e->folder, s->folder);
    kv_ending_copy(e->mime, sizeof e->mime, s->mime);
    kv_ending_copy(e->ext, sizeof e->ext, s->ext);
    e->width = (uint32_t)s->width;
    e->height = (uint32_t)s->height;
    e->strip_version = (uint32_t)s->strip_version;
    e->metadata_kept = s->metadata_kept;
    e->kept_size = s->kept_size;
    settle(self, e, out);
}

static void on_hashed(void *self, const kv_in *in, kv_out *out)
{
    const kv_upload_hashed *h = &in->msg->upload_hashed;
    kv_ending *e = kv_dedup_record(self, h->upload, in->head);
    e->hashed = true;
    e->has_hash = h->number == KV_OK;
    if (e->has_hash) {
        assert(h->hash.len == KV_HASH_LEN && h->stored_hash.len == KV_HASH_LEN);
        memcpy(e->hash, h->hash.ptr, KV_HASH_LEN);
        memcpy(e->stored_hash, h->stored_hash.ptr, KV_HASH_LEN);
    } else {
        fail_from_behind(self, e, (kv_err)h->number, out);
    }
    settle(self, e, out);
}

static void on_written(void *self, const kv_in *in, kv_out *out)
{
    const kv_upload_written *w = &in->msg->upload_written;
    kv_ending *e = kv_dedup_record(self, w->upload, in->head);
    e->closed = true;
    e->has_file = w->number == KV_OK;
    e->written = w->size;
    if (w->number)
        fail_from_behind(self, e, (kv_err)w->number, out);
    settle(self, e, out);
}

/* Forwarded by the scanner when the body was complete already. Behind GATHER it comes too late: the
 * row may be there. */
static void on_abort(void *self, const kv_in *in, kv_out *out)
{
    const kv_upload_abort *m = &in->msg->upload_abort;
    kv_ending *e = kv_ending_find(self, m->upload);
    (void)out;
    if (e && e->state == KV_GATHER)
        kv_ending_fail(e, m->number ? (kv_err)m->number : KV_E_CLIENT_GONE, (kv_slice){0});
}

static void on_placed(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = kv_ending_find(a, in->msg->placed.upload);
    assert(e && e->state == KV_PLACING);
    if (e->placed_us == 0)
        e->placed_us = kv_ending_now(out);
    if (in->msg->placed.number) {
        kv_ending_fail(e, (kv_err)in->msg->placed.number, (kv_slice){0});
        if (in->msg->placed.nothing)
            kv_ending_end(a, e, out);
        else
            kv_ending_undo(a, e, out);
    } else {
        kv_ending_commit(a, e, out);
    }
}

static void on_released(void *self, const kv_in *in, kv_out *out)
{
    kv_slice ids = in->msg->released.uploads;
    for (size_t i = 0; i < ids.len / KV_ID_BYTES; i++) {
        kv_ending *e = kv_ending_find(self, kv_id_at(ids, i));
        assert(e && e->state == KV_RELEASING);
        kv_ending_end(self, e, out);
    }
}

static void tick(void *self, int64_t now_us, kv_out *out)
{
    kv_dedup_run_due(self, out);
    kv_dedup_sweep(self, now_us, out);
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    kv_dedup_actor *a = calloc(1, sizeof *a);
    if (!a)
        return KV_E_NO_MEMORY;
    a->cfg = cfg;
    a->ingest = arg;
    a->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (a->timer_fd < 0) {
        free(a);
        return KV_E_IO;
    }
    kv_id_maker_init(&a->ids, kv_id_random_node());
    *ret_self = a;
    return KV_OK;
}

static void destroy(void **self)
{
    kv_dedup_actor *a = *self;
    kv_sweep_result unfinished;
    if (a->sweep)
        kv_sweep_end(&a->sweep, &unfinished);
    tdestroy(a->endings, kv_ending_free);
    kv_db_close(&a->db);
    close(a->timer_fd);
    free(a);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_UPLOAD_BEGIN, on_begin},
    {KV_UPLOAD_SCANNED, on_scanned},
    {KV_UPLOAD_HASHED, on_hashed},
    {KV_UPLOAD_WRITTEN, on_written},
    {KV_UPLOAD_ABORT, on_abort},
    {KV_PLACED, on_placed},
    {KV_RELEASED, on_released},
    {KV_WHOLE_JUDGED, kv_dedup_whole},
    {0, NULL},
};

const kv_actor_def kv_dedup = {
    .name = "dedup",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .tick = tick,
    .tick_ms = 1000,
    .batch_end = kv_dedup_release,
};
