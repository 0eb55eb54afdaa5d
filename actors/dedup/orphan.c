/* Linked files without a row: those of our own failures, and those a dead process left in .tmp. */
#include <search.h>
#include <string.h>

#include "actors/dedup/ending.h"
#include "proto/base/log.h"
#include "storage/read/media.h"

#define ASK_MS         60000
#define ASK_AGAIN_US   INT64_C(1000000)
#define SWEEP_AGE_MS   15000 /* by then a commit of the dead was begun, or comes too late */
#define SWEEP_AGAIN_US (20 * INT64_C(1000000))
#define SWEEP_EVERY_US (3600 * INT64_C(1000000))
#define SWEEP_SLICE    100 /* entries of folders: about 2 ms */

kv_db *kv_dedup_reader(kv_dedup_actor *a)
{
    if (!a->db && kv_db_open(a->cfg, KV_DB_READ, &a->db) != KV_OK)
        a->db = NULL;
    return a->db;
}

static kv_err key_live(kv_dedup_actor *a, const char *key, bool *ret_live)
{
    kv_db *db = kv_dedup_reader(a);
    return db ? kv_media_key_live(db, key, ret_live) : KV_E_DB;
}

typedef struct kv_look {
    const kv_ending *except; /* this one is not meant */
    const char *key;
    uint64_t media;
    kv_ending *found;
} kv_look;

static void look_for_key(const void *node, VISIT visit, void *arg)
{
    kv_ending *e = *(kv_ending *const *)node;
    kv_look *l = arg;
    if ((visit == postorder || visit == leaf) && e != l->except && e->linked && !e->answered &&
        strcmp(e->key, l->key) == 0)
        l->found = e;
}

/* Every PLACE goes through this thread, so nobody can begin to rely on the file between the look
 * and the removal. */
static bool relied_on(const kv_dedup_actor *a, const char *key, const kv_ending *except)
{
    kv_look l = {.except = except, .key = key};
    twalk_r(a->endings, look_for_key, &l);
    return l.found;
}

/* When in doubt nothing is removed. */
static kv_err remove_orphan(kv_dedup_actor *a, const kv_ending *e)
{
    bool live;
    if (relied_on(a, e->key, e))
        return KV_OK;
    kv_err err = key_live(a, e->key, &live);
    if (err == KV_OK && live)
        return KV_OK;
    if (err == KV_OK)
        err = kv_store_delete(a->ingest->store, e->key);
    kv_log(err == KV_OK ? KV_LOG_INFO : KV_LOG_ERROR,
           err == KV_OK ? "orphan_removed" : "orphan_left", KV_ID("uploadId", e->upload),
           KV_STR("key", e->key), KV_ERRNAME("code", err));
    return err;
}

bool kv_ending_take_back(kv_dedup_actor *a, kv_ending *e)
{
    if (e->linked && remove_orphan(a, e) != KV_OK)
        return false;
    e->linked = false;
    return true;
}

/* ---- rows that are not decided ---- */

static void look_for_media(const void *node, VISIT visit, void *arg)
{
    kv_ending *e = *(kv_ending *const *)node;
    kv_look *l = arg;
    bool undecided = e->state == KV_COMMITTING || e->state == KV_ORPHAN;
    if ((visit == postorder || visit == leaf) && e != l->except && undecided &&
        e->media == l->media)
        l->found = e;
}

bool kv_ending_share(kv_dedup_actor *a, kv_ending *e, uint64_t media)
{
    kv_look l = {.except = e, .media = media};
    twalk_r(a->endings, look_for_media, &l);
    if (!l.found)
        return false;
    l.found->shared = true;
    return l.found->state == KV_ORPHAN;
}

static void on_unrow(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = arg;
    (void)answered;
    if (err == KV_OK || err == KV_E_NOT_FOUND) {
        kv_ending_undo(a, e, out);
    } else {
        e->again_us = kv_ending_now(out) + ASK_AGAIN_US;
    }
}

bool kv_ending_has_row(kv_dedup_actor *a, const kv_ending *e)
{
    kv_buf json;
    kv_db *db = kv_dedup_reader(a);
    kv_buf_init(&json, 4 * KV_JSON_MAX);
    kv_err err = db ? kv_media_get_json(db, "", e->media, &json) : KV_E_NOT_FOUND;
    kv_buf_release(&json);
    return err != KV_E_NOT_FOUND;
}

/* The ledger sees this behind the MEDIA_COMMIT, if that still arrives: after the answer there is no
 * row of this upload. */
void kv_ending_unrow(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_msg m = {.code = KV_MEDIA_DELETE};
    m.media_delete.media = e->media;
    kv_ending_set_state(a, e, KV_ORPHAN);
    e->again_us = INT64_MAX;
    if (kv_out_ask(out, &e->head, &m, ASK_MS, on_unrow, e) != KV_OK)
        e->again_us = kv_ending_now(out) + ASK_AGAIN_US;
}

void kv_ending_doubt(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_ending_answer(a, e, out);
    if (e->shared)
        kv_ending_release(a, e, out); /* the row is there, and somebody's */
    else
        kv_ending_unrow(a, e, out);
}

/* ---- what a dead process left ---- */

static kv_key_fate judge(void *arg, const char *key)
{
    bool live;
    if (relied_on(arg, key, NULL) || key_live(arg, key, &live) != KV_OK)
        return KV_KEY_LATER;
    return live ? KV_KEY_STAYS : KV_KEY_GOES;
}

static void on_heard(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
{
    kv_dedup_actor *a = self;
    (void)arg, (void)answered, (void)out;
    a->sweep_may = err == KV_OK || err == KV_E_NOT_FOUND;
    a->sweep_asked = false;
}

/* A commit of the dead process may hang in its sync for longer than any age: what goes through the
 * ledger now is behind it. The id is nobody's. */
static void ask_ledger(kv_dedup_actor *a, kv_out *out)
{
    kv_msg m = {.code = KV_MEDIA_DELETE};
    m.media_delete.media = kv_id_make(&a->ids, kv_out_clock(out));
    if (!a->sweep_asked)
        a->sweep_asked = kv_out_ask(out, NULL, &m, ASK_MS, on_heard, NULL) == KV_OK;
}

/* Links that are too young to be judged are looked at again. */
static void end_sweep(kv_dedup_actor *a, int64_t now_us, kv_err err)
{
    kv_sweep_result r = {0};
    if (a->sweep)
        kv_sweep_end(&a->sweep, &r);
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "sweep_failed", KV_ERRNAME("code", err));
    if (r.removed || r.orphans || r.later)
        kv_log(KV_LOG_INFO, "swept", KV_U64("removed", r.removed), KV_U64("orphans", r.orphans),
               KV_U64("later", r.later));
    bool clean = err == KV_OK && r.later == 0;
    a->sweep_at_us = now_us + (clean ? SWEEP_EVERY_US : SWEEP_AGAIN_US);
}

void kv_dedup_sweep_on(kv_dedup_actor *a, kv_out *out)
{
    bool done = false;
    if (!a->sweep)
        return;
    kv_err err = kv_sweep_on(a->sweep, SWEEP_SLICE, &done);
    if (done)
        end_sweep(a, kv_ending_now(out), err);
}

/* What one slice does not come to follows by the timer, and by the tick: uploads go on meanwhile.
 */
void kv_dedup_sweep(kv_dedup_actor *a, int64_t now_us, kv_out *out)
{
    if (a->sweep) {
        kv_dedup_sweep_on(a, out);
        return;
    }
    if (now_us < a->sweep_at_us || !kv_dedup_reader(a))
        return; /* without a database nothing can be said about links: the next tick */
    if (!a->sweep_may) {
        ask_ledger(a, out);
        return;
    }
    kv_err err = kv_sweep_begin(a->ingest->store, SWEEP_AGE_MS, judge, a, &a->sweep);
    if (err != KV_OK) {
        end_sweep(a, now_us, err);
        return;
    }
    kv_dedup_sweep_on(a, out);
    if (a->sweep)
        kv_dedup_wake(a, out);
}
