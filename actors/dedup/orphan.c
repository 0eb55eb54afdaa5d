/* Linked files without a row: those of our own failures, and those a dead process left in .tmp. */
#include <search.h>
#include <string.h>

#include "actors/dedup/ending.h"
#include "proto/base/log.h"
#include "storage/read/media.h"

#define AWAY_RETRY_MS  2000
#define ASK_MS         60000
#define ASK_AGAIN_US   INT64_C(1000000)
#define ORPHANS_MAX    512   /* open files during a long outage of the broker */
#define SWEEP_AGE_MS   15000 /* longer than a commit of the process that died can take */
#define SWEEP_AGAIN_US (20 * INT64_C(1000000))
#define SWEEP_EVERY_US (3600 * INT64_C(1000000))

kv_db *kv_dedup_reader(kv_dedup_actor *a)
{
    if (!a->db && kv_db_open(a->cfg, KV_DB_READ, &a->db) != KV_OK)
        a->db = NULL;
    return a->db;
}

static bool key_live(kv_dedup_actor *a, const char *key)
{
    bool live = true; /* when in doubt nothing is removed */
    kv_db *db = kv_dedup_reader(a);
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

/* Every PLACE goes through this thread, so nobody can begin to rely on the file between the look
 * and the removal. */
void kv_ending_take_back(kv_dedup_actor *a, kv_ending *e)
{
    kv_same_key same = {.of = e};
    if (!e->linked)
        return;
    e->linked = false;
    twalk_r(a->endings, look_for_key, &same);
    if (same.found || key_live(a, e->key))
        return;
    kv_err err = kv_store_delete(a->ingest->store, e->key);
    kv_log(err == KV_OK ? KV_LOG_INFO : KV_LOG_ERROR, "orphan_removed",
           KV_ID("uploadId", e->upload), KV_STR("key", e->key), KV_ERRNAME("code", err));
}

static void on_unrow(void *self, void *arg, kv_err err, const kv_msg *answered, kv_out *out)
{
    kv_dedup_actor *a = self;
    kv_ending *e = arg;
    (void)answered;
    if (err == KV_OK || err == KV_E_NOT_FOUND) {
        kv_ending_take_back(a, e);
        kv_ending_release(a, e, out);
    } else {
        e->again_us = kv_ending_now(out) + ASK_AGAIN_US;
    }
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

void kv_ending_broker_away(kv_dedup_actor *a, kv_ending *e, kv_out *out)
{
    kv_ending_fail(e, KV_E_BROKER_AWAY, (kv_slice){0});
    e->retry_after_ms = AWAY_RETRY_MS;
    kv_ending_answer(a, e, out);
    if (a->orphans < ORPHANS_MAX) {
        kv_ending_unrow(a, e, out);
        return;
    }
    kv_log(KV_LOG_WARN, "orphan_left", KV_ID("uploadId", e->upload), KV_STR("key", e->key));
    kv_ending_release(a, e, out);
}

static bool is_orphan(void *arg, const char *key)
{
    return !key_live(arg, key);
}

/* Links that are too young to be judged are looked at again. */
void kv_dedup_sweep(kv_dedup_actor *a, int64_t now_us)
{
    kv_sweep_result r = {0};
    if (now_us < a->sweep_at_us || !kv_dedup_reader(a))
        return; /* without a database nothing can be said about links: the next tick */
    kv_err err = kv_store_sweep(a->ingest->store, SWEEP_AGE_MS, is_orphan, a, &r);
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "sweep_failed", KV_ERRNAME("code", err));
    if (r.removed || r.orphans || r.kept_young)
        kv_log(KV_LOG_INFO, "swept", KV_U64("removed", r.removed), KV_U64("orphans", r.orphans),
               KV_U64("keptYoung", r.kept_young));
    bool clean = err == KV_OK && r.kept_young == 0;
    a->sweep_at_us = now_us + (clean ? SWEEP_EVERY_US : SWEEP_AGAIN_US);
}
