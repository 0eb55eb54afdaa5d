#include "gateway/feed_watch.h"

#include <stdlib.h>

#include "proto/base/json_scan.h"
#include "gateway/position.h"
#include "gateway/queue_api.h"
#include "proto/base/id.h"
#include "proto/base/log.h"
#include "proto/base/words.h"
#include "storage/read/jobs.h"

#define ASK_MS 10000

struct kv_feed_watch {
    kv_loop *loop;
    kv_watches *watches;
    void (*news)(void *arg);
    void *arg;
    size_t queue_clients;
    bool asking_queues;
    kv_buf queues; /* the newest state, as clients are told */
    uint64_t queues_version;
};

kv_err kv_feed_watch_new(kv_loop *loop, void (*news)(void *arg), void *arg, kv_feed_watch **ret)
{
    kv_feed_watch *f = calloc(1, sizeof(*f));
    if (f == NULL || kv_watches_new(&f->watches) != KV_OK) {
        free(f);
        return KV_E_NO_MEMORY;
    }
    f->loop = loop;
    f->news = news;
    f->arg = arg;
    kv_buf_init(&f->queues, 1 << 20);
    *ret = f;
    return KV_OK;
}

void kv_feed_watch_destroy(kv_feed_watch **self)
{
    kv_feed_watch *f = *self;
    if (f == NULL)
        return;
    kv_watches_destroy(&f->watches);
    kv_buf_release(&f->queues);
    free(f);
    *self = NULL;
}

/* ---- what clients want ---- */

kv_err kv_feed_watch_job(kv_feed_watch *f, kv_feed_client *c, uint64_t job, bool on)
{
    if (on)
        return kv_watches_add(f->watches, &c->watcher, job);
    kv_watches_remove(f->watches, &c->watcher, job);
    return KV_OK;
}

static void ask_queues(kv_feed_watch *f);

void kv_feed_watch_queues(kv_feed_watch *f, kv_feed_client *c, bool on)
{
    if (on == c->wants_queues)
        return;
    c->wants_queues = on;
    c->queues_version = 0;
    f->queue_clients += on ? 1 : (size_t)-1;
    if (on)
        ask_queues(f);
}

void kv_feed_watch_drop(kv_feed_watch *f, kv_feed_client *c)
{
    kv_watches_drop(f->watches, &c->watcher);
    kv_feed_watch_queues(f, c, false);
}

/* ---- positions from the broker ---- */

/* The broker holds unfinished jobs only; how the others ended stands in the database. */
static bool ended(kv_feed_watch *f, uint64_t job, kv_buf *status)
{
    kv_db *db = kv_loop_db(f->loop);
    kv_buf row;
    kv_slice text;
    kv_buf_init(&row, 0);
    kv_err err = db == NULL ? KV_E_BROKER_AWAY : kv_job_get_json(db, job, &row);
    bool read = err == KV_OK && kv_scan_text(kv_buf_slice(&row), "status", &text);
    bool over = read && kv_state_ends(text);
    if (over)
        kv_json_str(status, text);
    else if (err == KV_E_NOT_FOUND)
        kv_buf_adds(status, "null");
    kv_buf_release(&row);
    return over || err == KV_E_NOT_FOUND;
}

static void tell(kv_feed_watch *f, const kv_rank *rank, kv_slice status, bool last)
{
    kv_buf json;
    char id[KV_ID_TEXT + 1];
    kv_buf_init(&json, 4096);
    kv_id_format(rank->job, id);
    kv_json_open(&json, '{');
    kv_json_key(&json, "type");
    kv_json_cstr(&json, "job.position");
    kv_json_key(&json, "jobId");
    kv_json_cstr(&json, id);
    kv_json_key(&json, "status");
    kv_json_raw(&json, status);
    kv_position_put(&json, rank);
    kv_json_close(&json, '}');
    if (kv_buf_ok(&json))
        kv_watches_tell(f->watches, rank->job, kv_buf_slice(&json), last);
    kv_buf_release(&json);
}

static void on_rank(kv_feed_watch *f, const kv_rank *rank)
{
    bool unfinished =
        kv_slice_is(rank->status, "\"queued\"") || kv_slice_is(rank->status, "\"processing\"");
    if (!kv_slice_is(rank->status, "null")) {
        tell(f, rank, rank->status, !unfinished);
        return;
    }
    kv_buf status;
    kv_buf_init(&status, 64);
    if (ended(f, rank->job, &status))
        tell(f, rank, kv_buf_slice(&status), true);
    else
        kv_watches_again(f->watches, &rank->job, 1); /* on its way there; with the next tick */
    kv_buf_release(&status);
}

void kv_feed_watch_positions(kv_feed_watch *f, kv_slice array)
{
    size_t pos = 0;
    kv_slice one;
    kv_rank rank;
    while (kv_scan_next(array, &pos, &one)) {
        if (kv_position_of(one, &rank))
            on_rank(f, &rank);
        else
            kv_log(KV_LOG_ERROR, "position_malformed", KV_SLICE("json", one));
    }
    f->news(f->arg);
}

/* ---- telling the broker ---- */

typedef struct asked_ids {
    kv_feed_watch *f;
    bool watch;
    size_t n;
    uint64_t ids[];
} asked_ids;

static void on_asked(void *arg, kv_err err, const kv_msg *answer)
{
    asked_ids *a = arg;
    if (err == KV_OK && a->watch)
        kv_feed_watch_positions(a->f, answer->positions.json);
    else /* not watched yet, or watched again while it was being unwatched */
        kv_watches_again(a->f->watches, a->ids, a->n);
    free(a);
}

static bool ask(kv_feed_watch *f, const uint64_t *ids, size_t n, bool watch)
{
    char bytes[KV_ID_BYTES * KV_WATCH_ASK_MAX];
    asked_ids *a = malloc(sizeof(*a) + n * sizeof(*ids));
    kv_msg m;
    if (a == NULL) {
        kv_watches_again(f->watches, ids, n);
        return false;
    }
    *a = (asked_ids){.f = f, .watch = watch, .n = n};
    for (size_t i = 0; i < n; i++) {
        a->ids[i] = ids[i];
        kv_id_put(bytes, i, ids[i]);
    }
    kv_msg_defaults(KV_POSITION, &m);
    m.position.jobs = kv_slice_of(bytes, KV_ID_BYTES * n);
    m.position.watch = watch;
    m.position.unwatch = !watch;
    kv_err err = kv_client_ask(f->loop->broker, &m, ASK_MS, on_asked, a);
    if (err != KV_OK)
        on_asked(a, err, NULL);
    return err == KV_OK;
}

void kv_feed_watch_send(kv_feed_watch *f)
{
    uint64_t ids[KV_WATCH_ASK_MAX];
    bool watch;
    size_t n;
    if (!kv_client_up(f->loop->broker))
        return; /* all is asked again when it is back */
    while ((n = kv_watches_take(f->watches, ids, &watch)) != 0)
        if (!ask(f, ids, n, watch))
            return; /* with the next tick */
}

void kv_feed_watch_session(kv_feed_watch *f)
{
    kv_watches_all_again(f->watches);
    kv_feed_watch_send(f);
}

/* ---- queues ---- */

static void on_queues(void *arg, kv_err err, const kv_msg *answer)
{
    kv_feed_watch *f = arg;
    f->asking_queues = false;
    if (err != KV_OK || answer->code != KV_STATS_OK)
        return; /* the page sees the age of what it has */
    kv_buf now;
    kv_buf_init(&now, 1 << 20);
    kv_json_open(&now, '{');
    kv_json_key(&now, "type");
    kv_json_cstr(&now, "queues");
    kv_queues_put(f->loop, &now, answer->stats_ok.text);
    kv_json_close(&now, '}');
    if (kv_buf_ok(&now)) {
        kv_buf old = f->queues;
        f->queues = now;
        now = old;
        f->queues_version++;
        f->news(f->arg);
    }
    kv_buf_release(&now);
}

static void ask_queues(kv_feed_watch *f)
{
    kv_msg m;
    if (f->asking_queues || !kv_client_up(f->loop->broker))
        return;
    kv_queues_question(&m);
    f->asking_queues = kv_client_ask(f->loop->broker, &m, ASK_MS, on_queues, f) == KV_OK;
}

void kv_feed_watch_tick(kv_feed_watch *f)
{
    kv_feed_watch_send(f);
    if (f->queue_clients != 0)
        ask_queues(f);
}

/* ---- to the client ---- */

bool kv_feed_watch_flush(kv_feed_watch *f, kv_feed_client *c)
{
    kv_slice json;
    bool any = false;
    if (c->unsent != 0)
        return false; /* newer ones may come until it can take them */
    while (kv_watcher_peek(&c->watcher, &json) && kv_live_put(&c->q, "job.position", json)) {
        kv_watcher_told(f->watches, &c->watcher);
        any = true;
    }
    if (c->wants_queues && c->queues_version != f->queues_version &&
        kv_live_put(&c->q, "queues", kv_buf_slice(&f->queues))) {
        c->queues_version = f->queues_version;
        any = true;
    }
    return any;
}
