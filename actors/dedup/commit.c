/* From a complete upload to its row: place, commit, and what the broker may say to that. */
#include <assert.h>
#include <search.h>
#include <string.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "actors/dedup/ending.h"
#include "storage/read/media.h"

#define COMMIT_US     (10 * INT64_C(1000000)) /* first MEDIA_COMMIT to BROKER_AWAY */
#define DYING_US      (5 * INT64_C(1000))
#define UNDO_AGAIN_US (20 * INT64_C(1000000))
#define AWAY_RETRY_MS 2000

/* The key of the kept bytes. */
static bool make_key(kv_ending *e)
{
    char hex[KV_HASH_HEX];
    kv_buf key;
    kv_ending_hex(e->stored_hash, hex);
    kv_buf_init(&key, sizeof e->key - 1);
    kv_media_key(&key, kv_slice_str(e->folder), hex, kv_slice_str(e->ext));
    bool ok = kv_buf_ok(&key);
    if (ok)
        kv_ending_copy(e->key, sizeof e->key, kv_buf_slice(&key));
    kv_buf_release(&key);
    return ok;
}

/* `same`: a key that holds these bytes already; only a hint: the ledger decides, and the placer
 * falls back to the file that has just come. */
static void place(kv_dedup_actor *a, kv_ending *e, kv_slice same, zmq_msg_t *bytes, kv_out *out)
{
    kv_msg m = {.code = bytes ? KV_PLACE_WHOLE : KV_PLACE};
    if (bytes)
        m.place_whole = (kv_place_whole){e->upload, kv_slice_str(e->key), same};
    else
        m.place = (kv_place){e->upload, kv_slice_str(e->key), same};
    e->gone_seq = a->gone_seq;
    e->linked = true;
    kv_ending_set_state(a, e, KV_PLACING);
    kv_dedup_send(a, out, kv_dedup_placer(a, e), e, &m, bytes);
}

void kv_ending_complete(kv_dedup_actor *a, kv_ending *e, zmq_msg_t *bytes, kv_out *out)
{
    kv_buf same;
    assert(e->has_file && e->has_hash && e->written == e->kept_size);
    e->gathered_us = kv_ending_now(out);
    e->media = kv_id_make(&a->ids, kv_out_clock(out));
    bool doubts = a->orphans >= KV_ORPHANS_MAX; /* nobody answers: do not add to what is linked */
    if (doubts || !make_key(e)) {
        kv_ending_fail(e, doubts ? KV_E_BROKER_AWAY : KV_E_NO_MEMORY, (kv_slice){0});
        e->retry_after_ms = doubts ? AWAY_RETRY_MS : 0;
        if (bytes)
            kv_ending_end(a, e, out);
        else
            kv_ending_release(a, e, out);
        return;
    }
    kv_buf_init(&same, sizeof e->key);
    kv_db *db = kv_dedup_reader(a);
    bool known =
        db && kv_media_placement_find(db, e->stored_hash, kv_slice_str(e->folder), &same) == KV_OK;
    place(a, e, known ? kv_buf_slice(&same) : (kv_slice){0}, bytes, out);
    kv_buf_release(&same);
}

/* The file has gone: again. */
static void relink(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    place(a, e, (kv_slice){0}, NULL, out);
}

void kv_ending_undo(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    e->rowless = true;
    if (kv_ending_take_back(a, e)) {
        kv_ending_release(a, e, out);
        return;
    }
    if (!e->answered)
        kv_ending_answer(a, e, out);
    kv_ending_set_state(a, e, KV_ORPHAN);
    e->again_us = kv_ending_now(out) + UNDO_AGAIN_US;
}

static void on_timer(void *self, int fd, kv_out *out)
{
    kv_dedup_actor *a = self;
    uint64_t ticks;
    if (read(fd, &ticks, sizeof ticks) != sizeof ticks)
        return;
    kv_dedup_run_due(a, out);
    kv_dedup_sweep_on(a, out);
    if (a->waiting == 0 && !a->sweep)
        timerfd_settime(fd, 0, &(struct itimerspec){0}, NULL);
}

void kv_dedup_wake(kv_dedup_actor *a, kv_out *out)
{
    struct itimerspec t = {.it_value.tv_nsec = DYING_US * 1000,
                           .it_interval.tv_nsec = DYING_US * 1000};
    if (!a->timer_watched)
        kv_out_watch_fd(out, a->timer_fd, on_timer);
    a->timer_watched = true;
    timerfd_settime(a->timer_fd, 0, &t, NULL);
}

/* Tries again in a moment; the timer ticks while somebody waits. */
static void wait_a_moment(kv_dedup_actor *a, kv_ending *e, uint64_t ms, kv_out *out)
{
    e->again_us = kv_ending_now(out) + (ms ? (int64_t)ms * 1000 : DYING_US);
    kv_ending_set_state(a, e, KV_WAITING);
    kv_dedup_wake(a, out);
}

static void note_gone_seq(kv_dedup_actor *a, uint64_t gone_seq)
{
    if (gone_seq > a->gone_seq)
        a->gone_seq = gone_seq;
}

static void committed(kv_dedup_actor *a, kv_ending *e, const kv_media_committed *c, kv_out *out)
{
    note_gone_seq(a, c->gone_seq);
    if (c->media != e->media && kv_ending_share(a, e, c->media)) {
        wait_a_moment(a, e, 0, out); /* asked again behind the removal of that row */
        return;
    }
    e->committed_us = kv_ending_now(out);
    kv_db_close_moved(&a->db); /* not before the broker, too, has the one that took its place */
    e->media = c->media;
    e->deduplicated = c->deduplicated;
    kv_buf_add(&e->json, c->json.ptr, c->json.len);
    if (!kv_buf_ok(&e->json)) /* the row stands; the same upload will find it */
        kv_ending_fail(e, KV_E_NO_MEMORY, (kv_slice){0});
    kv_ending_release(a, e, out);
}

/* A commit whose sync failed may still be found in the log by the next start. One for which there
 * was no room is not: its last frame is missing; and its file must not keep the room. But an answer
 * may be that of a message sent again: the first one may have been committed before the broker died
 * (then the row is there), or be on its way through the ledger while the second has expired. */
static bool leaves_doubt(kv_dedup_actor *a, const kv_ending *e, kv_err err)
{
    return err == KV_E_IO || err == KV_E_DB || err == KV_E_DB_DAMAGED || err == KV_E_NO_MEMORY ||
           err == KV_E_EXPIRED || kv_ending_has_row(a, e);
}

static void on_answer(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
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
    bool in_time = kv_ending_now(out) < e->commit_until_us;
    if (!why && err == KV_E_BROKER_AWAY) {
        kv_ending_fail(e, KV_E_BROKER_AWAY, (kv_slice){0});
        e->retry_after_ms = AWAY_RETRY_MS;
        kv_ending_doubt(a, e, out);
    } else if (err == KV_E_DYING && in_time) {
        wait_a_moment(a, e, why ? why->retry_after_ms : 0, out);
    } else if (err == KV_E_RELINK && in_time) {
        relink(a, e, out);
    } else {
        e->retry_after_ms = why ? why->retry_after_ms : 0;
        kv_ending_fail(e, err, why ? why->detail : (kv_slice){0});
        if (leaves_doubt(a, e, err))
            kv_ending_doubt(a, e, out);
        else
            kv_ending_undo(a, e, out);
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

static void fill_commit(const kv_dedup_actor *a, const kv_ending *e, kv_media_commit *c)
{
    c->media = e->media;
    c->upload = e->upload;
    c->folder = kv_slice_str(e->folder);
    c->filename = kv_slice_str(e->filename);
    c->hash = kv_slice_of((const char *)e->hash, KV_HASH_LEN);
    c->stored_hash = kv_slice_of((const char *)e->stored_hash, KV_HASH_LEN);
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
}

void kv_ending_commit(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_MEDIA_COMMIT};
    int64_t now = kv_ending_now(out);
    fill_commit(a, e, &m.media_commit);
    if (e->commit_until_us == 0)
        e->commit_until_us = now + COMMIT_US;
    int64_t left_ms = (e->commit_until_us - now) / 1000;
    kv_ending_set_state(a, e, KV_COMMITTING);
    kv_err err = kv_out_ask(out, &e->head, &m, left_ms > 1 ? left_ms : 1, on_answer, e);
    if (err == KV_E_BUSY && left_ms > 0) {
        wait_a_moment(a, e, 0, out);
    } else if (err != KV_OK) {
        kv_ending_fail(e, err, (kv_slice){0});
        kv_ending_undo(a, e, out);
    }
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
    if ((visit == postorder || visit == leaf) && e->again_us <= d->now &&
        (e->state == KV_WAITING || e->state == KV_ORPHAN))
        d->found = e;
}

void kv_dedup_run_due(kv_dedup_actor *a, kv_out *out)
{
    kv_due due = {.now = kv_ending_now(out)};
    while (a->waiting + a->orphans > 0) {
        due.found = NULL;
        twalk_r(a->endings, look_for_due, &due);
        kv_ending *e = due.found;
        if (!e)
            return;
        if (e->state == KV_ORPHAN && e->rowless) {
            kv_ending_undo(a, e, out);
        } else if (e->state == KV_ORPHAN) {
            kv_ending_unrow(a, e, out);
        } else if (due.now < e->commit_until_us) {
            kv_ending_commit(a, e, out);
        } else {
            kv_ending_fail(e, KV_E_BUSY, (kv_slice){0});
            kv_ending_undo(a, e, out);
        }
    }
}
