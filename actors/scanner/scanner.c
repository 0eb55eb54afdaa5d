/* The scanner: the first actor of a pipeline. It decides what a file is, blanks metadata and
 * measures pictures while the bytes go by, and hands them on: as received to the hasher, as kept to
 * the store. It keeps nothing but the head of a file that came in small pieces. A small upload
 * comes in one message (whole.c).
 *
 * What is judged stands in stages.c. */
#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "actors/scanner/scan.h"

/* ---- uploads ---- */

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static kv_scan *find(kv_scanner_actor *a, uint64_t upload)
{
    kv_scan **node = tfind(&upload, &a->scans, by_upload);
    return node ? *node : NULL;
}

static void free_scan(void *scan)
{
    kv_scan *s = scan;
    free(s->head_bytes);
    free(s);
}

static void forget(kv_scanner_actor *a, kv_scan *s)
{
    tdelete(s, &a->scans, by_upload);
    free_scan(s);
}

void kv_scan_send(kv_scanner_actor *a, kv_out *out, int peer, const kv_header *head,
                  const kv_msg *m, zmq_msg_t *payload)
{
    if (!atomic_load(&a->state->halted))
        kv_out_send(out, peer, head, m, payload);
    else if (payload)
        zmq_msg_close(payload);
}

/* Tells dedup why, and the others to drop it. */
static void send_refusal(kv_scanner_actor *a, kv_out *out, const kv_header *head, uint64_t upload,
                         kv_err err, const char *detail)
{
    kv_msg m = {.code = KV_UPLOAD_SCANNED};
    m.upload_scanned.upload = upload;
    m.upload_scanned.number = err;
    m.upload_scanned.detail = kv_slice_str(detail);
    kv_scan_send(a, out, KV_SCANNER_TO_DEDUP, head, &m, NULL);
    m = (kv_msg){.code = KV_UPLOAD_ABORT};
    m.upload_abort.upload = upload;
    m.upload_abort.number = err;
    kv_scan_send(a, out, KV_SCANNER_TO_HASHER, head, &m, NULL);
    kv_scan_send(a, out, KV_SCANNER_TO_STORE, head, &m, NULL);
}

/* What still comes of it is ignored from here. */
static void refuse(kv_scanner_actor *a, kv_scan *s, kv_err err, kv_out *out)
{
    send_refusal(a, out, &s->head, s->upload, err, s->detail);
    forget(a, s);
}

/* ---- bytes ---- */

static void hand_on(kv_scanner_actor *a, kv_scan *s, zmq_msg_t *received, zmq_msg_t *kept,
                    bool same, kv_out *out)
{
    size_t received_len = zmq_msg_size(received), kept_len = zmq_msg_size(kept);
    kv_msg m = {.code = KV_UPLOAD_HASH};
    m.upload_hash.upload = s->upload;
    m.upload_hash.offset = s->received;
    m.upload_hash.same = same;
    kv_scan_send(a, out, KV_SCANNER_TO_HASHER, &s->head, &m, received);
    if (!same) {
        zmq_msg_t again;
        zmq_msg_init(&again);
        zmq_msg_copy(&again, kept);
        m = (kv_msg){.code = KV_UPLOAD_KEPT};
        m.upload_kept.upload = s->upload;
        m.upload_kept.offset = s->kept;
        kv_scan_send(a, out, KV_SCANNER_TO_HASHER, &s->head, &m, &again);
    }
    if (kept_len > 0) {
        m = (kv_msg){.code = KV_UPLOAD_CHUNK};
        m.upload_chunk.upload = s->upload;
        m.upload_chunk.offset = s->kept;
        kv_scan_send(a, out, KV_SCANNER_TO_STORE, &s->head, &m, kept);
    } else {
        zmq_msg_close(kept);
    }
    s->received += received_len;
    s->kept += kept_len;
}

/* Lets the stages see a chunk and hands it on; takes the payload. */
static kv_err pass(kv_scanner_actor *a, kv_scan *s, zmq_msg_t *payload, kv_out *out)
{
    kv_cow cow;
    kv_err err = kv_scan_chunk(a, s, zmq_msg_data(payload), zmq_msg_size(payload), &cow);
    zmq_msg_t kept;
    bool same = kv_cow_same(&cow);
    if (err == KV_OK)
        err = kv_kept_make(&cow, payload, &kept);
    kv_cow_release(&cow);
    if (err != KV_OK) {
        zmq_msg_close(payload);
        return err;
    }
    hand_on(a, s, payload, &kept, same, out);
    return KV_OK;
}

/* The head is there: judge it and let it go on; takes the payload. */
static kv_err begin_flow(kv_scanner_actor *a, kv_scan *s, zmq_msg_t *payload, kv_out *out)
{
    kv_err err = kv_scan_head(a, s, zmq_msg_data(payload), zmq_msg_size(payload));
    if (err == KV_OK)
        return pass(a, s, payload, out);
    zmq_msg_close(payload);
    return err;
}

static void free_head(void *data, void *hint)
{
    (void)hint;
    free(data);
}

static kv_err flow_from_pieces(kv_scanner_actor *a, kv_scan *s, kv_out *out)
{
    zmq_msg_t m;
    if (zmq_msg_init_data(&m, s->head_bytes, s->head_len, free_head, NULL) != 0)
        return KV_E_NO_MEMORY;
    s->head_bytes = NULL;
    return begin_flow(a, s, &m, out);
}

/* A piece of a head: copied, so that its sender's credit comes back at once; what the head does not
 * need goes on behind it. Takes the payload. */
static kv_err collect_head(kv_scanner_actor *a, kv_scan *s, zmq_msg_t *payload, kv_out *out)
{
    size_t len = zmq_msg_size(payload), room = KV_TYPE_HEAD - s->head_len;
    if (s->head_len == 0 && len >= KV_TYPE_HEAD)
        return begin_flow(a, s, payload, out);
    size_t n = len < room ? len : room;
    if (!s->head_bytes)
        s->head_bytes = malloc(KV_TYPE_HEAD);
    kv_err err = s->head_bytes ? KV_OK : KV_E_NO_MEMORY;
    if (err == KV_OK) {
        memcpy(s->head_bytes + s->head_len, zmq_msg_data(payload), n);
        s->head_len += n;
        if (s->head_len == KV_TYPE_HEAD)
            err = flow_from_pieces(a, s, out);
    }
    if (err != KV_OK || n == len) {
        zmq_msg_close(payload);
        return err;
    }
    zmq_msg_t rest;
    err = kv_kept_wrap(payload, n, NULL, len - n, &rest);
    zmq_msg_close(payload);
    return err == KV_OK ? pass(a, s, &rest, out) : err;
}

/* ---- handlers ---- */

static void on_begin(void *self, const kv_in *in, kv_out *out)
{
    kv_scanner_actor *a = self;
    const kv_upload_begin *b = &in->msg->upload_begin;
    atomic_fetch_add(&a->state->in_flight, 1);
    kv_scan_send(a, out, KV_SCANNER_TO_DEDUP, in->head, in->msg, NULL);
    kv_scan_send(a, out, KV_SCANNER_TO_HASHER, in->head, in->msg, NULL);
    kv_scan_send(a, out, KV_SCANNER_TO_STORE, in->head, in->msg, NULL);
    kv_scan *s = calloc(1, sizeof *s);
    if (s) {
        s->upload = b->upload;
        s->head = *in->head;
        kv_claim_read(&s->claim, b->filename, b->declared);
        if (tsearch(s, &a->scans, by_upload))
            return;
    }
    free(s);
    send_refusal(a, out, in->head, b->upload, KV_E_NO_MEMORY, "");
}

static void on_chunk(void *self, const kv_in *in, kv_out *out)
{
    kv_scanner_actor *a = self;
    kv_scan *s = find(a, in->msg->upload_chunk.upload);
    zmq_msg_t payload;
    zmq_msg_init(&payload);
    if (in->payload)
        zmq_msg_move(&payload, in->payload);
    if (!s || zmq_msg_size(&payload) == 0) {
        zmq_msg_close(&payload); /* refused before: what the client still sends is ignored */
        return;
    }
    kv_err err = s->type ? pass(a, s, &payload, out) : collect_head(a, s, &payload, out);
    if (err != KV_OK)
        refuse(a, s, err, out);
}

static void send_scanned(kv_scanner_actor *a, kv_scan *s, kv_slice folder, kv_out *out)
{
    kv_scan_found found;
    kv_msg m = {.code = KV_UPLOAD_SCANNED};
    kv_upload_scanned *r = &m.upload_scanned;
    kv_scan_find(s, &found);
    r->upload = s->upload;
    r->mime = kv_slice_str(s->type->mime);
    r->ext = kv_slice_str(found.ext);
    r->width = found.width;
    r->height = found.height;
    r->strip_version = found.strip_version;
    r->metadata_kept = found.metadata_kept;
    r->kept_size = s->kept;
    r->folder = folder;
    kv_scan_send(a, out, KV_SCANNER_TO_DEDUP, &s->head, &m, NULL);
}

static void on_end(void *self, const kv_in *in, kv_out *out)
{
    kv_scanner_actor *a = self;
    kv_scan *s = find(a, in->msg->upload_end.upload);
    if (!s)
        return;
    kv_err err = KV_OK;
    if (!s->type)
        err = s->head_len == 0 ? KV_E_EMPTY_FILE : flow_from_pieces(a, s, out);
    if (err == KV_OK)
        err = kv_scan_end(a, s);
    if (err != KV_OK) {
        refuse(a, s, err, out);
        return;
    }
    assert(s->type); /* a head was judged, or there was an error */
    assert(s->received == in->msg->upload_end.size);
    send_scanned(a, s, in->msg->upload_end.folder, out);
    kv_msg m = {.code = KV_UPLOAD_END};
    m.upload_end.upload = s->upload;
    m.upload_end.size = s->received;
    kv_scan_send(a, out, KV_SCANNER_TO_HASHER, &s->head, &m, NULL);
    m.upload_end.size = s->kept;
    kv_scan_send(a, out, KV_SCANNER_TO_STORE, &s->head, &m, NULL);
    forget(a, s);
}

/* From the loop, at any time; or from dedup, when hasher or store failed. */
static void on_abort(void *self, const kv_in *in, kv_out *out)
{
    kv_scanner_actor *a = self;
    const kv_upload_abort *m = &in->msg->upload_abort;
    kv_scan *s = find(a, m->upload);
    if (s)
        refuse(a, s, m->number ? (kv_err)m->number : KV_E_CLIENT_GONE, out);
    else /* refused, or complete: only dedup may still know it */
        kv_scan_send(a, out, KV_SCANNER_TO_DEDUP, in->head, in->msg, NULL);
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    const kv_ingest_arg *ingest = arg;
    kv_scanner_actor *a = calloc(1, sizeof *a);
    if (!a)
        return KV_E_NO_MEMORY;
    a->cfg = cfg;
    a->state = ingest->state;
    kv_err err = kv_types_new(cfg, &a->types);
    if (err != KV_OK) {
        free(a);
        return err;
    }
    *ret_self = a;
    return KV_OK;
}

static void destroy(void **self)
{
    kv_scanner_actor *a = *self;
    tdestroy(a->scans, free_scan);
    kv_types_destroy(&a->types);
    free(a);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_UPLOAD_BEGIN, on_begin}, {KV_UPLOAD_CHUNK, on_chunk},      {KV_UPLOAD_END, on_end},
    {KV_UPLOAD_ABORT, on_abort}, {KV_UPLOAD_WHOLE, kv_scan_whole}, {0, NULL},
};

const kv_actor_def kv_scanner = {
    .name = "scanner",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
};
