/* What the tests of the ingest actors share: an actor outside its thread, messages in, messages
 * out. */
#ifndef KV_TESTS_INGEST_FAKE_H
#define KV_TESTS_INGEST_FAKE_H

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "actors/ingest_actors.h"

typedef struct rig {
    const kv_actor_def *def;
    void *self;
    kv_out *out;
    kv_fake_clock clock;
    kv_ingest_state state;
    kv_ingest_arg arg;
    kv_config cfg;
} rig;

static inline void rig_defaults(kv_config *cfg)
{
    cfg->allowed_mime_types =
        "image/jpeg,image/png,image/webp,image/gif,image/avif,image/heic,application/pdf,video/mp4,"
        "audio/mpeg,application/zip,text/plain";
    cfg->strip_original_metadata = true;
    cfg->dedup_enabled = true;
    cfg->image_processing_enabled = true;
    cfg->processing_folders = "";
    cfg->database_url = "";
    cfg->durability = "full";
    cfg->media_base_url = "";
}

static inline void rig_start(rig *r, const kv_actor_def *def)
{
    r->def = def;
    kv_fake_clock_init(&r->clock, 1800000000000);
    r->out = kv_out_fake(&r->clock.clock);
    r->arg.state = &r->state;
    r->arg.loops = 2;
    r->arg.pipelines = 1;
    if (def->create(&r->cfg, &r->arg, &r->self) != KV_OK)
        abort();
}

static inline void rig_stop(rig *r)
{
    r->def->destroy(&r->self);
    kv_out_fake_destroy(&r->out);
}

/* Runs the handler; `bytes` becomes the payload (a copy in a message of its own). */
static inline void rig_send(rig *r, const kv_msg *m, const void *bytes, size_t len)
{
    kv_header head = {.code = m->code};
    zmq_msg_t payload;
    zmq_msg_init_size(&payload, len);
    if (len)
        memcpy(zmq_msg_data(&payload), bytes, len);
    kv_in in = {&head, m, len ? &payload : NULL, kv_mono_us(&r->clock.clock)};
    const kv_handler *h = r->def->handlers;
    while (h->code && h->code != m->code)
        h++;
    assert(h->code);
    h->fn(r->self, &in, r->out);
    zmq_msg_close(&payload);
}

/* The i-th message with this code among those put out; NULL: none. */
static inline const kv_msg *rig_got(rig *r, uint16_t code, size_t i, int *peer, kv_slice *payload)
{
    for (size_t n = 0; n < kv_out_fake_count(r->out); n++) {
        const kv_msg *m = kv_out_fake_at(r->out, n, peer, payload);
        if (m->code == code && i-- == 0)
            return m;
    }
    return NULL;
}

static inline size_t rig_count(rig *r, uint16_t code)
{
    size_t n = 0;
    while (rig_got(r, code, n, NULL, NULL))
        n++;
    return n;
}

static inline void rig_begin(rig *r, uint64_t upload, const char *filename, const char *declared)
{
    kv_msg m = {.code = KV_UPLOAD_BEGIN};
    m.upload_begin.upload = upload;
    m.upload_begin.loop = 1;
    m.upload_begin.folder = kv_slice_str("banners");
    m.upload_begin.filename = kv_slice_str(filename);
    m.upload_begin.declared = kv_slice_str(declared);
    rig_send(r, &m, NULL, 0);
}

static inline void rig_chunk(rig *r, uint64_t upload, uint64_t offset, const void *bytes,
                             size_t len)
{
    kv_msg m = {.code = KV_UPLOAD_CHUNK};
    m.upload_chunk.upload = upload;
    m.upload_chunk.offset = offset;
    rig_send(r, &m, bytes, len);
}

static inline void rig_end(rig *r, uint64_t upload, uint64_t size)
{
    kv_msg m = {.code = KV_UPLOAD_END};
    m.upload_end.upload = upload;
    m.upload_end.size = size;
    rig_send(r, &m, NULL, 0);
}

static inline void rig_whole(rig *r, uint64_t upload, const char *filename, const char *declared,
                             const void *bytes, size_t len)
{
    kv_msg m = {.code = KV_UPLOAD_WHOLE};
    m.upload_whole.upload = upload;
    m.upload_whole.loop = 1;
    m.upload_whole.folder = kv_slice_str("banners");
    m.upload_whole.filename = kv_slice_str(filename);
    m.upload_whole.declared = kv_slice_str(declared);
    rig_send(r, &m, bytes, len);
}

static inline void rig_abort(rig *r, uint64_t upload, kv_err why)
{
    kv_msg m = {.code = KV_UPLOAD_ABORT};
    m.upload_abort.upload = upload;
    m.upload_abort.number = why;
    rig_send(r, &m, NULL, 0);
}

#endif
