/* A whole upload: judged in one go, and handed on in one message that goes from actor to actor. */
#include <assert.h>
#include <string.h>

#include "actors/scanner/scan.h"

static void fill(const kv_upload_whole *w, const kv_scan *s, kv_err err, kv_whole_judged *ret)
{
    *ret = (kv_whole_judged){.upload = w->upload,
                             .loop = w->loop,
                             .folder = w->folder,
                             .filename = w->filename,
                             .began_us = w->began_us,
                             .number = err,
                             .detail = kv_slice_str(s->detail)};
}

/* Refused: there is nothing for the others to forget, only dedup has to answer. */
static void refuse(kv_scanner_actor *a, const kv_upload_whole *w, const kv_scan *s, kv_err err,
                   kv_out *out)
{
    kv_msg m = {.code = KV_WHOLE_JUDGED};
    fill(w, s, err, &m.whole_judged);
    kv_scan_send(a, out, KV_SCANNER_TO_DEDUP, &s->head, &m, NULL);
}

/* Takes both payloads. */
static void hand_on(kv_scanner_actor *a, const kv_upload_whole *w, const kv_scan *s, bool same,
                    zmq_msg_t *received, zmq_msg_t *kept, kv_out *out)
{
    kv_scan_found found;
    if (!same) {
        kv_msg before = {.code = KV_WHOLE_RECEIVED};
        before.whole_received.upload = w->upload;
        kv_scan_send(a, out, KV_SCANNER_TO_HASHER, &s->head, &before, received);
    } else {
        zmq_msg_close(received);
    }
    kv_msg m = {.code = KV_WHOLE_JUDGED};
    kv_whole_judged *j = &m.whole_judged;
    fill(w, s, KV_OK, j);
    kv_scan_find(s, &found);
    j->mime = kv_slice_str(s->type->mime);
    j->ext = kv_slice_str(found.ext);
    j->width = found.width;
    j->height = found.height;
    j->strip_version = found.strip_version;
    j->metadata_kept = found.metadata_kept;
    j->same = same;
    kv_scan_send(a, out, KV_SCANNER_TO_HASHER, &s->head, &m, kept);
}

/* Head, bytes and end at once; sets `cow` up, to be released. */
static kv_err judge(kv_scanner_actor *a, kv_scan *s, zmq_msg_t *payload, kv_cow *cow)
{
    const void *bytes = zmq_msg_data(payload);
    size_t len = zmq_msg_size(payload);
    KV_TRY(kv_scan_head(a, s, bytes, len));
    KV_TRY(kv_scan_chunk(a, s, bytes, len, cow));
    return kv_scan_end(a, s);
}

void kv_scan_whole(void *self, const kv_in *in, kv_out *out)
{
    kv_scanner_actor *a = self;
    const kv_upload_whole *w = &in->msg->upload_whole;
    kv_scan s = {.upload = w->upload, .head = *in->head};
    kv_cow cow = {.copy = NULL};
    zmq_msg_t received, kept;
    bool same = true;
    atomic_fetch_add(&a->state->in_flight, 1);
    kv_claim_read(&s.claim, w->filename, w->declared);
    kv_err err = in->payload ? judge(a, &s, in->payload, &cow) : KV_E_EMPTY_FILE;
    if (err == KV_OK) {
        assert(cow.keep > 0); /* a picture of which nothing is kept is refused */
        same = kv_cow_same(&cow);
        err = kv_kept_make(&cow, in->payload, &kept);
    }
    kv_cow_release(&cow);
    if (err != KV_OK) {
        refuse(a, w, &s, err, out);
        return;
    }
    zmq_msg_init(&received);
    zmq_msg_move(&received, in->payload);
    hand_on(a, w, &s, same, &received, &kept, out);
}
