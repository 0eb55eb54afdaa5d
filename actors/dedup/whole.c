/* A whole upload: scanner and hasher have spoken in one message, and nothing is written yet. */
#include <assert.h>
#include <string.h>

#include "actors/dedup/ending.h"

static void take_digests(kv_ending *e, const kv_whole_judged *j)
{
    assert(j->hash.len == KV_HASH_LEN && j->stored_hash.len == KV_HASH_LEN);
    memcpy(e->hash, j->hash.ptr, KV_HASH_LEN);
    memcpy(e->stored_hash, j->stored_hash.ptr, KV_HASH_LEN);
    e->has_hash = true;
}

static void take(kv_ending *e, const kv_whole_judged *j, size_t size)
{
    e->kept_size = e->written = size;
    kv_ending_copy(e->mime, sizeof e->mime, j->mime);
    kv_ending_copy(e->ext, sizeof e->ext, j->ext);
    e->width = (uint32_t)j->width;
    e->height = (uint32_t)j->height;
    e->strip_version = (uint32_t)j->strip_version;
    e->metadata_kept = j->metadata_kept;
}

void kv_dedup_whole(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_whole_judged *j = &in->msg->whole_judged;
    kv_ending *e = kv_dedup_record(a, j->upload, in->head);
    assert(j->loop < a->ingest->loops && !e->begun);
    e->begun = e->scanned = e->hashed = e->closed = true;
    e->loop = (unsigned)j->loop;
    e->begun_us = j->began_us;
    kv_ending_copy(e->folder, sizeof e->folder, j->folder);
    kv_ending_copy(e->filename, sizeof e->filename, j->filename);
    if (j->number) {
        kv_ending_fail(e, (kv_err)j->number, j->detail);
        kv_ending_end(a, e, out);
        return;
    }
    assert(in->payload);
    e->placer = a->next_placer++ % KV_PLACERS_SMALL;
    take(e, j, zmq_msg_size(in->payload));
    take_digests(e, j);
    e->has_file = true;
    kv_ending_complete(a, e, in->payload, out);
}
