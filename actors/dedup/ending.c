#include "actors/dedup/ending.h"

#include <assert.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/log.h"
#include "proto/base/metrics.h"

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

kv_ending *kv_ending_find(kv_dedup_actor *a, uint64_t upload)
{
    kv_ending **node = tfind(&upload, &a->endings, by_upload);
    return node ? *node : NULL;
}

static kv_ending *find_or_make(kv_dedup_actor *a, uint64_t upload, const kv_header *head)
{
    kv_ending *e = kv_ending_find(a, upload);
    if (e)
        return e;
    e = calloc(1, sizeof *e);
    if (!e)
        return NULL;
    e->upload = upload;
    e->head = *head;
    kv_buf_init(&e->json, 4 * KV_JSON_MAX + 1);
    if (!tsearch(e, &a->endings, by_upload)) {
        free(e);
        return NULL;
    }
    return e;
}

kv_ending *kv_dedup_record(kv_dedup_actor *a, uint64_t upload, const kv_header *head)
{
    kv_ending *e = find_or_make(a, upload, head);
    if (!e)
        abort();
    return e;
}

void kv_ending_free(void *ending)
{
    kv_ending *e = ending;
    kv_buf_release(&e->json);
    free(e);
}

void kv_ending_set_state(kv_dedup_actor *a, kv_ending *e, kv_ending_state state)
{
    a->waiting += (size_t)(state == KV_WAITING) - (size_t)(e->state == KV_WAITING);
    a->orphans += (size_t)(state == KV_ORPHAN) - (size_t)(e->state == KV_ORPHAN);
    e->state = state;
}

void kv_ending_copy(char *to, size_t size, kv_slice from)
{
    size_t n = from.len < size ? from.len : size - 1;
    if (n > 0)
        memcpy(to, from.ptr, n);
    to[n] = '\0';
}

void kv_ending_hex(const uint8_t hash[KV_HASH_LEN], char out[KV_HASH_HEX])
{
    kv_hex_encode(hash, KV_HASH_LEN, out);
}

int64_t kv_ending_now(kv_out *out)
{
    return kv_mono_us(kv_out_clock(out));
}

void kv_dedup_send(kv_dedup_actor *a, kv_out *out, unsigned peer, const kv_ending *e,
                   const kv_msg *m, zmq_msg_t *payload)
{
    if (!atomic_load(&a->ingest->state->halted))
        kv_out_send(out, (int)peer, e ? &e->head : NULL, m, payload);
}

static unsigned placer_at(const kv_dedup_actor *a, unsigned which)
{
    return a->ingest->loops + a->ingest->pipelines + which;
}

unsigned kv_dedup_placer(const kv_dedup_actor *a, const kv_ending *e)
{
    return placer_at(a, e->written >= KV_PLACE_LARGE ? KV_PLACER_LARGE : e->placer);
}

/* One line an upload, whatever became of it. */
static void log_end(const kv_ending *e, const char *hash, int64_t now)
{
    char trace[2 * sizeof e->head.trace + 1];
    kv_hex_encode(e->head.trace, sizeof e->head.trace, trace);
    if (e->failure != KV_OK) {
        kv_log(KV_LOG_WARN, "upload_failed", KV_ID("uploadId", e->upload),
               KV_ERRNAME("code", e->failure), KV_STR("detail", e->detail),
               KV_STR("folder", e->folder), KV_STR("filename", e->filename),
               KV_U64("size", e->kept_size), KV_STR("hash", hash), KV_STR("mime", e->mime),
               KV_I64("ms", (now - e->begun_us) / 1000), KV_STR("traceId", trace));
        return;
    }
    char stored[KV_HASH_HEX];
    kv_ending_hex(e->stored_hash, stored);
    kv_log(KV_LOG_INFO, "upload_done", KV_ID("uploadId", e->upload), KV_ID("mediaId", e->media),
           KV_STR("folder", e->folder), KV_STR("filename", e->filename),
           KV_U64("size", e->kept_size), KV_STR("hash", hash), KV_STR("stored_hash", stored),
           KV_STR("mime", e->mime), KV_BOOL("deduplicated", e->deduplicated),
           KV_I64("receiveMs", (e->gathered_us - e->begun_us) / 1000),
           KV_I64("placeMs", (e->placed_us - e->gathered_us) / 1000),
           KV_I64("commitMs", (e->committed_us - e->placed_us) / 1000),
           KV_I64("ms", (now - e->begun_us) / 1000), KV_STR("traceId", trace));
}

void kv_ending_answer(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    char hex[KV_HASH_HEX] = "";
    kv_msg m = {.code = KV_UPLOAD_DONE};
    kv_upload_done *d = &m.upload_done;
    assert(e->begun && !e->answered);
    e->answered = true;
    if (e->has_hash)
        kv_ending_hex(e->hash, hex);
    d->upload = e->upload;
    d->number = e->failure;
    d->detail = kv_slice_str(e->detail);
    d->deduplicated = e->deduplicated;
    d->hash_hex = kv_slice_str(hex);
    d->retry_after_ms = e->retry_after_ms;
    if (e->failure == KV_OK) {
        d->json = kv_buf_slice(&e->json);
        d->media = e->media;
        if (e->deduplicated)
            kv_metric_add(KV_M_UPLOADS_DEDUPLICATED, 1);
    }
    log_end(e, hex, kv_ending_now(out));
    kv_dedup_send(a, out, e->loop, e, &m, NULL);
    atomic_fetch_sub(&a->ingest->state->in_flight, 1);
}

void kv_ending_release(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    if (a->releases == KV_RELEASES_MAX)
        kv_dedup_release(a, out);
    kv_id_put(a->to_release, a->releases++, e->upload);
    kv_ending_set_state(a, e, KV_RELEASING);
}

void kv_dedup_release(void *self, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_msg m = {.code = KV_RELEASE};
    if (a->releases == 0)
        return;
    m.release.uploads = kv_slice_of(a->to_release, a->releases * KV_ID_BYTES);
    a->releases = 0;
    kv_dedup_send(a, out, placer_at(a, KV_PLACER_RELEASES), NULL, &m, NULL);
}

void kv_ending_fail(kv_ending *e, kv_err err, kv_slice detail)
{
    if (e->failure == KV_OK)
        e->failure = err;
    if (e->failure == err && !e->detail[0])
        kv_ending_copy(e->detail, sizeof e->detail, detail);
}

void kv_ending_drop_upstream(kv_dedup_actor *a, const kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_UPLOAD_ABORT};
    m.upload_abort.upload = e->upload;
    m.upload_abort.number = e->failure;
    kv_dedup_send(a, out, a->ingest->loops + e->pipeline, e, &m, NULL);
}

void kv_ending_end(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    if (!e->answered)
        kv_ending_answer(a, e, out);
    kv_ending_set_state(a, e, KV_GATHER); /* no longer counted */
    tdelete(e, &a->endings, by_upload);
    kv_ending_free(e);
}
