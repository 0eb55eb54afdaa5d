/* dedup: ends every upload, exactly once. It waits for scanner, hasher and store, has the file placed under its key, commits the
 * row with the broker (which knows whether the bytes are here already), has the temporary file released, and answers.
 *
 *   GATHER → PLACING → COMMITTING → RELEASING → answered
 *                ↑         ↓  ↑
 *             RELINK     DYING (WAITING, 5 ms)
 *
 * A failure before PLACING waits until the store has closed the file. One behind it leaves a linked file without a row: that is
 * taken back, at once where the broker refused. Where it did not answer, the client is told so, and the row is removed
 * and the file taken back as soon as the broker is there again (ORPHAN). Once PLACE was sent an abort comes too late and the upload
 * runs to its end. */
#include <assert.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "actors/ingest_actors.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/media_name.h"
#include "proto/base/metrics.h"
#include "storage/read/media.h"

#define HASH_LEN          32
#define COMMIT_US         (10 * INT64_C(1000000)) /* first MEDIA_COMMIT to BROKER_AWAY */
#define DYING_US          (5 * INT64_C(1000))
#define ORPHAN_ASK_MS     60000
#define ORPHAN_AGAIN_US   (1 * INT64_C(1000000))
#define ORPHANS_MAX       512 /* open files during a long outage */
#define AWAY_RETRY_MS     2000
#define SWEEP_AGE_MS      15000 /* a commit of the process that died is decided by then: COMMIT_US and some */
#define SWEEP_AGAIN_US    (20 * INT64_C(1000000))
#define SWEEP_EVERY_US    (3600 * INT64_C(1000000))

enum { GATHER, PLACING, COMMITTING, WAITING, RELEASING, ORPHAN };

typedef struct kv_ending {
    uint64_t upload; /* first: the key of the tree */
    kv_header head;
    int state;
    unsigned loop, pipeline;
    char folder[KV_FOLDER_MAX + 1], filename[KV_FILENAME_MAX + 1], key[401];
    /* what came in */
    bool scanned, hashed, closed, has_file; /* closed: the store is done; has_file: and left a file */
    uint8_t hash[HASH_LEN], stored_hash[HASH_LEN];
    char mime[129], ext[9];
    uint64_t kept_size, written;
    uint32_t width, height, strip_version;
    bool metadata_kept;
    /* commit */
    uint64_t media, gone_seq; /* gone_seq: newest known when PLACE was sent */
    int64_t commit_until_us, again_us;
    bool linked;     /* a file may stand under the key */
    unsigned placer; /* 0..KV_PLACERS-2, for a small file */
    /* result */
    kv_err failure;
    char detail[513];
    uint64_t retry_after_ms;
    bool deduplicated, answered;
    kv_buf json;
    /* times, for the log line */
    int64_t begun_us, gathered_us, placed_us, committed_us;
} kv_ending;

typedef struct kv_dedup_actor {
    const kv_config *cfg;
    const kv_ingest_arg *ingest;
    kv_id_maker ids;
    kv_db *db; /* reader; NULL until there is a database */
    void *endings; /* tsearch(3) tree of kv_ending */
    uint64_t gone_seq;
    size_t waiting; /* in WAITING */
    size_t orphans;
    unsigned next_placer;
    int timer_fd;
    bool timer_watched;
    int64_t sweep_at_us;
} kv_dedup_actor;

/* ---- small things ---- */

static int by_upload(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static kv_ending *find(kv_dedup_actor *a, uint64_t upload)
{
    kv_ending **node = tfind(&upload, &a->endings, by_upload);
    return node ? *node : NULL;
}

static void free_ending(void *ending)
{
    kv_ending *e = ending;
    kv_buf_release(&e->json);
    free(e);
}

static void copy_str(char *to, size_t size, kv_slice from)
{
    snprintf(to, size, "%.*s", KV_SLICE_FMT(from));
}

static int64_t now_us(kv_out *out)
{
    return kv_mono_us(kv_out_clock(out));
}

static void send(kv_dedup_actor *a, kv_out *out, unsigned peer, const kv_ending *e, const kv_msg *m)
{
    if (!atomic_load(&a->ingest->state->halted))
        kv_out_send(out, (int)peer, &e->head, m, NULL);
}

static unsigned scanner_of(const kv_dedup_actor *a, const kv_ending *e)
{
    return a->ingest->loops + e->pipeline;
}

static unsigned placer_of(const kv_dedup_actor *a, const kv_ending *e)
{
    unsigned which = e->written >= KV_PLACE_LARGE ? KV_PLACERS - 1 : e->placer;
    return a->ingest->loops + a->ingest->pipelines + which;
}

static void set_state(kv_dedup_actor *a, kv_ending *e, int state)
{
    a->waiting += (size_t)(state == WAITING) - (size_t)(e->state == WAITING);
    a->orphans += (size_t)(state == ORPHAN) - (size_t)(e->state == ORPHAN);
    e->state = state;
}

/* ---- the end ---- */

static void log_end(const kv_ending *e, int64_t now)
{
    char hash[2 * HASH_LEN + 1] = "", stored[2 * HASH_LEN + 1] = "";
    for (int i = 0; e->hashed && i < HASH_LEN; i++) {
        snprintf(hash + 2 * i, 3, "%02x", e->hash[i]);
        snprintf(stored + 2 * i, 3, "%02x", e->stored_hash[i]);
    }
    if (e->failure != KV_OK) {
        kv_log(KV_LOG_WARN, "upload_failed", KV_ID("uploadId", e->upload),
               KV_ERRNAME("code", e->failure), KV_STR("detail", e->detail),
               KV_STR("folder", e->folder), KV_STR("filename", e->filename),
               KV_U64("size", e->kept_size), KV_STR("hash", hash), KV_STR("mime", e->mime),
               KV_I64("ms", (now - e->begun_us) / 1000));
        return;
    }
    kv_log(KV_LOG_INFO, "upload_done", KV_ID("uploadId", e->upload), KV_ID("mediaId", e->media),
           KV_STR("folder", e->folder), KV_STR("filename", e->filename),
           KV_U64("size", e->kept_size), KV_STR("hash", hash), KV_STR("stored_hash", stored),
           KV_STR("mime", e->mime), KV_BOOL("deduplicated", e->deduplicated),
           KV_I64("receiveMs", (e->gathered_us - e->begun_us) / 1000),
           KV_I64("placeMs", (e->placed_us - e->gathered_us) / 1000),
           KV_I64("commitMs", (e->committed_us - e->placed_us) / 1000),
           KV_I64("ms", (now - e->begun_us) / 1000));
}

static void answer(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    char hex[2 * HASH_LEN + 1] = "";
    kv_msg m = {.code = KV_UPLOAD_DONE};
    kv_upload_done *d = &m.upload_done;
    assert(!e->answered);
    e->answered = true;
    for (int i = 0; e->hashed && i < HASH_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", e->hash[i]);
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
    log_end(e, now_us(out));
    send(a, out, e->loop, e, &m);
    atomic_fetch_sub(&a->ingest->state->in_flight, 1);
}

static void finish(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    if (!e->answered)
        answer(a, e, out);
    tdelete(e, &a->endings, by_upload);
    free_ending(e);
}

static void release(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_RELEASE};
    m.release.upload = e->upload;
    set_state(a, e, RELEASING);
    send(a, out, placer_of(a, e), e, &m);
}

/* ---- links without a row ---- */

/* The reader, opened when it is first needed: the broker may not have made the database yet. */
static kv_db *reader(kv_dedup_actor *a)
{
    if (!a->db && kv_db_open(a->cfg, KV_DB_READ, &a->db) != KV_OK)
        a->db = NULL;
    return a->db;
}

static bool key_live(kv_dedup_actor *a, const char *key)
{
    bool live = true; /* when in doubt nothing is removed */
    kv_db *db = reader(a);
    if (!db || kv_media_key_live(db, key, &live) != KV_OK)
        return true;
    return live;
}

typedef struct kv_same_key {
    const kv_ending *of;
    bool found;
} kv_same_key;

static void look_for_key(const void *node, VISIT visit, void *arg)
{
    const kv_ending *e = *(kv_ending *const *)node;
    kv_same_key *s = arg;
    if ((visit == postorder || visit == leaf) && e != s->of && e->linked && !e->answered &&
        strcmp(e->key, s->of->key) == 0)
        s->found = true;
}

/* Takes the file back unless a row or another upload under way relies on it. Every PLACE goes through this thread, so nobody
 * can begin to rely on it in between. */
static void take_back(kv_dedup_actor *a, kv_ending *e)
{
    kv_same_key same = {.of = e};
    if (!e->linked)
        return;
    twalk_r(a->endings, look_for_key, &same);
    if (!same.found && !key_live(a, e->key) && kv_store_delete(a->ingest->store, e->key) == KV_OK)
        kv_log(KV_LOG_INFO, "orphan_removed", KV_ID("uploadId", e->upload), KV_STR("key", e->key));
    e->linked = false;
}

/* ---- failures ---- */

/* The upload fails: answers as soon as nothing of it is left. */
static void fail(kv_dedup_actor *a, kv_ending *e, kv_err err, kv_slice detail, kv_out *out)
{
    if (e->failure == KV_OK) {
        e->failure = err;
        copy_str(e->detail, sizeof e->detail, detail);
    }
    if (!e->closed || e->state == RELEASING)
        return; /* UPLOAD_WRITTEN is still to come (once for every upload), or the end is near */
    if (e->has_file) {
        take_back(a, e);
        release(a, e, out);
    } else {
        finish(a, e, out);
    }
}

/* Lets the scanner, and behind it hasher and store, drop an upload that failed here. */
static void drop_upstream(kv_dedup_actor *a, const kv_ending *e, kv_err err, kv_out *out)
{
    kv_msg m = {.code = KV_UPLOAD_ABORT};
    m.upload_abort.upload = e->upload;
    m.upload_abort.number = err;
    send(a, out, scanner_of(a, e), e, &m);
}

static void on_unrow(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = arg;
    (void)answered;
    if (err == KV_OK || err == KV_E_NOT_FOUND) {
        take_back(a, e);
        release(a, e, out);
    } else {
        e->again_us = now_us(out) + ORPHAN_AGAIN_US;
    }
}

/* The ledger sees this behind the MEDIA_COMMIT, if that still arrives: after the answer there is no row of this upload. */
static void unrow(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_MEDIA_DELETE};
    m.media_delete.media = e->media;
    set_state(a, e, ORPHAN);
    e->again_us = INT64_MAX;
    if (kv_out_ask(out, &e->head, &m, ORPHAN_ASK_MS, on_unrow, e) != KV_OK)
        e->again_us = now_us(out) + ORPHAN_AGAIN_US;
}

/* The broker did not answer: the row may be there or still come. The client is told now; row and file go later. */
static void broker_away(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    e->failure = KV_E_BROKER_AWAY;
    e->retry_after_ms = AWAY_RETRY_MS;
    answer(a, e, out);
    if (a->orphans < ORPHANS_MAX) {
        unrow(a, e, out);
        return;
    }
    kv_log(KV_LOG_WARN, "orphan_left", KV_ID("uploadId", e->upload), KV_STR("key", e->key));
    release(a, e, out);
}

/* ---- commit ---- */

static void place(kv_dedup_actor *a, kv_ending *e, bool again, kv_out *out)
{
    kv_msg m = {.code = KV_PLACE};
    m.place.upload = e->upload;
    m.place.key = kv_slice_str(e->key);
    m.place.again = again;
    e->gone_seq = a->gone_seq;
    e->linked = true;
    set_state(a, e, PLACING);
    send(a, out, placer_of(a, e), e, &m);
}

static void on_timer(void *self, int fd, kv_out *out);

/* Tries again in a moment; the timer ticks while somebody waits. */
static void wait_a_moment(kv_dedup_actor *a, kv_ending *e, uint64_t ms, kv_out *out)
{
    int64_t us = ms ? (int64_t)ms * 1000 : DYING_US;
    struct itimerspec t = {.it_value.tv_nsec = DYING_US * 1000,
                           .it_interval.tv_nsec = DYING_US * 1000};
    e->again_us = now_us(out) + us;
    set_state(a, e, WAITING);
    if (!a->timer_watched)
        kv_out_watch_fd(out, a->timer_fd, on_timer);
    a->timer_watched = true;
    timerfd_settime(a->timer_fd, 0, &t, NULL);
}

static void note_gone_seq(kv_dedup_actor *a, uint64_t gone_seq)
{
    if (gone_seq > a->gone_seq)
        a->gone_seq = gone_seq;
}

static void committed(kv_dedup_actor *a, kv_ending *e, const kv_media_committed *c, kv_out *out)
{
    note_gone_seq(a, c->gone_seq);
    e->committed_us = now_us(out);
    e->media = c->media;
    e->deduplicated = c->deduplicated;
    kv_buf_add(&e->json, c->json.ptr, c->json.len);
    if (!kv_buf_ok(&e->json))
        e->failure = KV_E_NO_MEMORY; /* the row stands; the same upload will find it */
    release(a, e, out);
}

static void on_commit_answer(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = arg;
    if (err == KV_OK) {
        committed(a, e, &answered->media_committed, out);
        return;
    }
    const kv_error *why = answered ? &answered->error : NULL;
    if (why)
        note_gone_seq(a, why->gone_seq);
    bool in_time = now_us(out) < e->commit_until_us;
    if (!why && err == KV_E_BROKER_AWAY) {
        broker_away(a, e, out);
    } else if (err == KV_E_DYING && in_time) {
        wait_a_moment(a, e, why ? why->retry_after_ms : 0, out);
    } else if (err == KV_E_RELINK && in_time) {
        place(a, e, true, out);
    } else {
        e->retry_after_ms = why ? why->retry_after_ms : 0;
        fail(a, e, err, why ? why->detail : (kv_slice){0}, out);
    }
}

static bool process_folder(const kv_config *cfg, const char *folder)
{
    const char *list = cfg->processing_folders;
    if (!list || !*list)
        return true;
    while (*list) {
        size_t n = strcspn(list, ",");
        if (kv_folder_below(kv_slice_str(folder), kv_slice_of(list, n)))
            return true;
        list += n + (list[n] == ',');
    }
    return false;
}

static bool wants_processing(const kv_dedup_actor *a, const kv_ending *e)
{
    const kv_mime_info *type = kv_mime_find(kv_slice_str(e->mime));
    return type && type->image && a->cfg->image_processing_enabled &&
           process_folder(a->cfg, e->folder);
}

static void commit(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_MEDIA_COMMIT};
    kv_media_commit *c = &m.media_commit;
    c->media = e->media;
    c->upload = e->upload;
    c->folder = kv_slice_str(e->folder);
    c->filename = kv_slice_str(e->filename);
    c->hash = kv_slice_of((const char *)e->hash, HASH_LEN);
    c->stored_hash = kv_slice_of((const char *)e->stored_hash, HASH_LEN);
    c->size = e->kept_size;
    c->mime = kv_slice_str(e->mime);
    c->ext = kv_slice_str(e->ext);
    c->width = e->width;
    c->height = e->height;
    c->strip_version = e->strip_version;
    c->dedup = a->cfg->dedup_enabled;
    c->process = wants_processing(a, e);
    c->gone_seq = e->gone_seq;
    c->metadata_kept = e->metadata_kept;
    int64_t now = now_us(out);
    if (e->commit_until_us == 0)
        e->commit_until_us = now + COMMIT_US;
    int64_t left_ms = (e->commit_until_us - now) / 1000;
    set_state(a, e, COMMITTING);
    kv_err err = kv_out_ask(out, &e->head, &m, left_ms > 1 ? left_ms : 1, on_commit_answer, e);
    if (err == KV_E_BUSY && left_ms > 0)
        wait_a_moment(a, e, 0, out);
    else if (err != KV_OK)
        fail(a, e, err, (kv_slice){0}, out);
}

/* ---- gathering ---- */

static void gathered(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    if (e->state != GATHER || !e->scanned || !e->hashed || !e->closed)
        return;
    char hex[2 * HASH_LEN + 1];
    kv_buf key;
    for (int i = 0; i < HASH_LEN; i++)
        snprintf(hex + 2 * i, 3, "%02x", e->stored_hash[i]);
    kv_buf_init(&key, sizeof e->key);
    kv_media_key(&key, kv_slice_str(e->folder), hex, kv_slice_str(e->ext));
    bool ok = kv_buf_ok(&key);
    if (ok)
        copy_str(e->key, sizeof e->key, kv_buf_slice(&key));
    kv_buf_release(&key);
    e->gathered_us = now_us(out);
    e->media = kv_id_make(&a->ids, kv_out_clock(out));
    assert(e->written == e->kept_size);
    if (ok)
        place(a, e, false, out);
    else
        fail(a, e, KV_E_NO_MEMORY, (kv_slice){0}, out);
}

static void on_begin(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_begin *b = &in->msg->upload_begin;
    kv_ending *e = calloc(1, sizeof *e);
    assert(b->loop < a->ingest->loops && b->pipeline < a->ingest->pipelines);
    if (e) {
        e->upload = b->upload;
        e->head = *in->head;
        e->loop = (unsigned)b->loop;
        e->pipeline = (unsigned)b->pipeline;
        e->placer = a->next_placer++ % (KV_PLACERS - 1);
        e->begun_us = now_us(out);
        copy_str(e->folder, sizeof e->folder, b->folder);
        copy_str(e->filename, sizeof e->filename, b->filename);
        kv_buf_init(&e->json, 4 * KV_JSON_MAX + 1);
    }
    if (e && tsearch(e, &a->endings, by_upload))
        return;
    /* Nothing can be remembered: answer from here, and have the rest dropped; what still comes of it is not known. */
    kv_ending none = {.upload = b->upload, .head = *in->head, .failure = KV_E_NO_MEMORY};
    none.loop = (unsigned)b->loop;
    none.pipeline = (unsigned)b->pipeline;
    none.begun_us = now_us(out);
    drop_upstream(a, &none, KV_E_NO_MEMORY, out);
    answer(a, &none, out);
    free(e);
}

static void on_scanned(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_scanned *s = &in->msg->upload_scanned;
    kv_ending *e = find(a, s->upload);
    if (!e)
        return;
    if (s->number) {
        fail(a, e, (kv_err)s->number, s->detail, out);
        return;
    }
    e->scanned = true;
    if (s->folder.len) /* it came behind the file */
        copy_str(e->folder, sizeof e->folder, s->folder);
    copy_str(e->mime, sizeof e->mime, s->mime);
    copy_str(e->ext, sizeof e->ext, s->ext);
    e->width = (uint32_t)s->width;
    e->height = (uint32_t)s->height;
    e->strip_version = (uint32_t)s->strip_version;
    e->metadata_kept = s->metadata_kept;
    e->kept_size = s->kept_size;
    if (e->failure == KV_OK)
        gathered(a, e, out);
}

static void on_hashed(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_hashed *h = &in->msg->upload_hashed;
    kv_ending *e = find(a, h->upload);
    if (!e || e->failure != KV_OK)
        return;
    if (h->hash.len != HASH_LEN || h->stored_hash.len != HASH_LEN) {
        drop_upstream(a, e, KV_E_NO_MEMORY, out);
        fail(a, e, KV_E_NO_MEMORY, (kv_slice){0}, out);
        return;
    }
    memcpy(e->hash, h->hash.ptr, HASH_LEN);
    memcpy(e->stored_hash, h->stored_hash.ptr, HASH_LEN);
    e->hashed = true;
    gathered(a, e, out);
}

static void on_written(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_written *w = &in->msg->upload_written;
    kv_ending *e = find(a, w->upload);
    if (!e)
        return;
    e->closed = true;
    e->has_file = w->number == KV_OK;
    e->written = w->size;
    if (w->number && e->failure == KV_OK)
        drop_upstream(a, e, (kv_err)w->number, out);
    if (w->number || e->failure != KV_OK)
        fail(a, e, (kv_err)w->number, (kv_slice){0}, out);
    else
        gathered(a, e, out);
}

/* Forwarded by the scanner. Behind GATHER it comes too late: the row may be there already. */
static void on_abort(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    const kv_upload_abort *m = &in->msg->upload_abort;
    kv_ending *e = find(a, m->upload);
    if (e && e->state == GATHER && e->failure == KV_OK)
        fail(a, e, m->number ? (kv_err)m->number : KV_E_CLIENT_GONE, (kv_slice){0}, out);
}

static void on_placed(void *self, const kv_in *in, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = find(a, in->msg->placed.upload);
    assert(e && e->state == PLACING);
    if (e->placed_us == 0)
        e->placed_us = now_us(out);
    if (in->msg->placed.number)
        fail(a, e, (kv_err)in->msg->placed.number, (kv_slice){0}, out);
    else
        commit(a, e, out);
}

static void on_released(void *self, const kv_in *in, kv_out *out)
{
    kv_ending *e = find(self, in->msg->released.upload);
    assert(e && e->state == RELEASING);
    finish(self, e, out);
}

/* ---- time ---- */

typedef struct kv_due {
    int64_t now;
    kv_ending *found;
} kv_due;

static void look_for_due(const void *node, VISIT visit, void *arg)
{
    kv_ending *e = *(kv_ending *const *)node;
    kv_due *d = arg;
    if ((visit == postorder || visit == leaf) && (e->state == WAITING || e->state == ORPHAN) &&
        e->again_us <= d->now)
        d->found = e;
}

static void run_due(kv_dedup_actor *a, kv_out *out)
{
    while (a->waiting + a->orphans > 0) {
        kv_due due = {.now = now_us(out)};
        twalk_r(a->endings, look_for_due, &due);
        kv_ending *e = due.found;
        if (!e)
            return;
        if (e->state == WAITING && due.now < e->commit_until_us) {
            commit(a, e, out);
        } else if (e->state == WAITING) {
            fail(a, e, KV_E_BUSY, (kv_slice){0}, out);
        } else {
            unrow(a, e, out);
        }
    }
}

static void on_timer(void *self, int fd, kv_out *out)
{
    kv_dedup_actor *a = self;
    uint64_t ticks;
    if (read(fd, &ticks, sizeof ticks) != sizeof ticks)
        return;
    run_due(a, out);
    if (a->waiting == 0)
        timerfd_settime(fd, 0, &(struct itimerspec){0}, NULL);
}

static bool is_orphan(void *arg, const char *key)
{
    return !key_live(arg, key);
}

/* Temporary files of dead processes. Links that are too young to be judged are looked at again. */
static void sweep(kv_dedup_actor *a, int64_t now)
{
    kv_sweep_result r = {0};
    a->sweep_at_us = now; /* the next tick */
    if (!reader(a))
        return; /* no database yet: nothing can be said about links */
    a->sweep_at_us = now + SWEEP_AGAIN_US;
    kv_err err = kv_store_sweep(a->ingest->store, SWEEP_AGE_MS, is_orphan, a, &r);
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "sweep_failed", KV_ERRNAME("code", err));
    if (r.removed || r.orphans || r.kept_young)
        kv_log(KV_LOG_INFO, "swept", KV_U64("removed", r.removed), KV_U64("orphans", r.orphans),
               KV_U64("keptYoung", r.kept_young));
    if (err == KV_OK && r.kept_young == 0)
        a->sweep_at_us = now + SWEEP_EVERY_US;
}

static void tick(void *self, int64_t now, kv_out *out)
{
    kv_dedup_actor *a = self;
    run_due(a, out);
    if (now >= a->sweep_at_us)
        sweep(a, now);
}

/* ---- birth and death ---- */

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
    tdestroy(a->endings, free_ending);
    kv_db_close(&a->db);
    close(a->timer_fd);
    free(a);
    *self = NULL;
}

static const kv_handler handlers[] = {
    {KV_UPLOAD_BEGIN, on_begin},     {KV_UPLOAD_SCANNED, on_scanned},
    {KV_UPLOAD_HASHED, on_hashed},   {KV_UPLOAD_WRITTEN, on_written},
    {KV_UPLOAD_ABORT, on_abort},     {KV_PLACED, on_placed},
    {KV_RELEASED, on_released},      {0, NULL},
};

const kv_actor_def kv_dedup = {
    .name = "dedup",
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .tick = tick,
    .tick_ms = 1000,
};
