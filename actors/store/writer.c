/* The writing half of the store: kept bytes go into a temporary file. Every UPLOAD_BEGIN is
 * answered with exactly one UPLOAD_WRITTEN: 0 when all bytes are there (the file then waits in
 * kv_puts for the placer), an error as soon as it happens, the number of the UPLOAD_ABORT
 * otherwise; with an error nothing is left of the file. */
#include <assert.h>
#include <search.h>
#include <stdlib.h>

#include "actors/ingest_actors.h"
#include "actors/store/puts.h"
#include "proto/base/log.h"

typedef struct kv_write {
    uint64_t upload; /* first: the key of the tree */
    kv_header head;
    uint64_t length_hint;
    kv_put *put;   /* made at the first byte: a refused head leaves no file */
    bool answered; /* failed: what still comes is ignored */
} kv_write;

typedef struct kv_writer_actor {
    kv_ingest_state *state;
    kv_store *store;
    kv_puts *puts;
    void *writes; /* tsearch(3) tree of kv_write */
} kv_writer_actor;

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static kv_write *find(kv_writer_actor *a, uint64_t upload)
{
    kv_write **node = tfind(&upload, &a->writes, by_upload);
    return node ? *node : NULL;
}

static void free_write(void *write)
{
    kv_write *w = write;
    if (w->put)
        kv_put_abort(&w->put);
    free(w);
}

static void forget(kv_writer_actor *a, kv_write *w)
{
    tdelete(w, &a->writes, by_upload);
    free_write(w);
}

static void answer(kv_writer_actor *a, kv_out *out, const kv_header *head, uint64_t upload,
                   uint64_t number, uint64_t size)
{
    kv_msg m = {.code = KV_UPLOAD_WRITTEN};
    m.upload_written.upload = upload;
    m.upload_written.number = number;
    m.upload_written.size = size;
    if (!atomic_load(&a->state->halted))
        kv_out_send(out, KV_STORE_TO_DEDUP, head, &m, NULL);
}

static void fail(kv_writer_actor *a, kv_write *w, kv_err err, kv_out *out)
{
    if (w->put)
        kv_put_abort(&w->put);
    w->put = NULL;
    w->answered = true;
    answer(a, out, &w->head, w->upload, err, 0);
}

static void on_begin(void *self, const kv_in *in, kv_out *out)
{
    kv_writer_actor *a = self;
    const kv_upload_begin *b = &in->msg->upload_begin;
    kv_write *w = calloc(1, sizeof *w);
    if (w) {
        *w = (kv_write){.upload = b->upload, .head = *in->head, .length_hint = b->length_hint};
        if (tsearch(w, &a->writes, by_upload))
            return;
        free(w);
    }
    answer(a, out, in->head, b->upload, KV_E_NO_MEMORY, 0);
}

static void on_chunk(void *self, const kv_in *in, kv_out *out)
{
    kv_writer_actor *a = self;
    kv_write *w = find(a, in->msg->upload_chunk.upload);
    if (!w || w->answered || !in->payload)
        return;
    kv_err err = KV_OK;
    if (!w->put)
        err = kv_put_begin(a->store, w->upload, w->length_hint, &w->put);
    if (err == KV_OK) {
        assert(kv_put_size(w->put) == in->msg->upload_chunk.offset);
        err = kv_put_write(w->put, zmq_msg_data(in->payload), zmq_msg_size(in->payload));
    }
    if (err != KV_OK)
        fail(a, w, err, out);
}

static void on_end(void *self, const kv_in *in, kv_out *out)
{
    kv_writer_actor *a = self;
    kv_write *w = find(a, in->msg->upload_end.upload);
    if (!w)
        return;
    if (!w->answered) {
        assert(w->put); /* an empty file is refused by the scanner */
        uint64_t size = kv_put_size(w->put);
        assert(size == in->msg->upload_end.size);
        kv_err err = kv_puts_add(a->puts, w->upload, w->put);
        if (err == KV_OK) {
            w->put = NULL;
            answer(a, out, &w->head, w->upload, KV_OK, size);
        } else {
            fail(a, w, err, out);
        }
    }
    forget(a, w);
}

static void on_abort(void *self, const kv_in *in, kv_out *out)
{
    kv_writer_actor *a = self;
    const kv_upload_abort *m = &in->msg->upload_abort;
    kv_write *w = find(a, m->upload);
    if (!w)
        return;
    if (!w->answered)
        fail(a, w, m->number ? (kv_err)m->number : KV_E_CLIENT_GONE, out);
    forget(a, w);
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    (void)cfg;
    const kv_ingest_arg *ingest = arg;
    kv_writer_actor *a = calloc(1, sizeof *a);
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
    kv_writer_actor *a = *self;
    tdestroy(a->writes, free_write);
    free(a);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_UPLOAD_BEGIN, on_begin},
    {KV_UPLOAD_CHUNK, on_chunk},
    {KV_UPLOAD_END, on_end},
    {KV_UPLOAD_ABORT, on_abort},
    {0, NULL},
};

const kv_actor_def kv_store_writer = {
    .name = "store",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
};
