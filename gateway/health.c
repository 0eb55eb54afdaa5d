/* Health: the full report, readiness (what we cannot serve without), liveness (this thread runs).
 */
#include "gateway/answer.h"
#include "gateway/route.h"
#include "gateway/stats.h"
#include "proto/base/json_scan.h"
#include "storage/read/events.h"

#define LEAST_FREE (4 << 20) /* bytes; below it every upload fails */

typedef struct checks {
    kv_err database, storage;
    kv_err checkpoint; /* the broker's word: commits last, their log grows */
    bool broker, draining;
    kv_room room;  /* where a disk is low uploads are refused, the rest works */
    int64_t bytes; /* free for media; -1: not known */
} checks;

static kv_err check_database(kv_loop *loop)
{
    uint64_t last;
    kv_db *db = kv_loop_db(loop);
    return db == NULL ? KV_E_NOT_FOUND : kv_events_last(db, &last);
}

static kv_err check_storage(kv_loop *loop, int64_t *ret_bytes)
{
    *ret_bytes = kv_store_space(loop->gw->store).bytes;
    if ((kv_store_flags(loop->gw->store) & KV_STORE_LOCAL_FD) == 0)
        return KV_OK;
    KV_TRY(kv_store_in_place(loop->gw->store));
    return *ret_bytes >= 0 && *ret_bytes < LEAST_FREE ? KV_E_DISK_FULL : KV_OK;
}

static checks run_checks(kv_loop *loop)
{
    checks c = {.broker = kv_client_up(loop->broker), .draining = loop->gw->draining};
    c.database = check_database(loop);
    c.storage = check_storage(loop, &c.bytes);
    c.room = kv_room_look(loop->gw->cfg);
    return c;
}

static bool healthy(const checks *c)
{
    return c->database == KV_OK && c->storage == KV_OK && c->room.media_error == 0 && c->broker &&
           !c->draining;
}

/* Its object stays open. */
static void put_status(kv_buf *b, const char *name, const char *status, const char *slug,
                       const char *detail)
{
    kv_json_key(b, name);
    kv_json_open(b, '{');
    kv_json_key(b, "status");
    kv_json_cstr(b, status);
    if (slug) {
        kv_json_key(b, "error");
        kv_json_cstr(b, slug);
        kv_json_key(b, "detail");
        kv_json_cstr(b, detail);
    }
}

static void put_check(kv_buf *b, const char *name, kv_err err)
{
    if (err == KV_OK)
        put_status(b, name, "ok", NULL, NULL);
    else
        put_status(b, name, "error", kv_err_info_of(err)->slug, kv_err_info_of(err)->en);
}

static void put_storage(kv_buf *b, const checks *c)
{
    const kv_room_words *words = kv_room_say(&c->room);
    if (c->storage == KV_OK && words)
        put_status(b, "storage", c->room.media_error ? "error" : "low", words->slug, words->en);
    else
        put_check(b, "storage", c->storage);
    kv_json_key(b, "free_bytes");
    kv_json_i64_or_null(b, c->bytes);
    kv_json_close(b, '}');
}

static void put_database(kv_buf *b, const checks *c)
{
    if (c->database == KV_OK && c->checkpoint != KV_OK)
        put_status(b, "database", "low", kv_err_info_of(c->checkpoint)->slug,
                   "The log of the database cannot be copied into it, and grows. "
                   "kervan ctl doctor says more.");
    else
        put_check(b, "database", c->database);
}

static void put_checks(kv_buf *b, const checks *c, kv_slice broker)
{
    put_database(b, c);
    kv_json_close(b, '}');
    put_check(b, "broker", c->broker ? KV_OK : KV_E_BROKER_AWAY);
    if (broker.len != 0) {
        kv_json_key(b, "report");
        kv_json_raw(b, broker);
    }
    kv_json_close(b, '}');
    put_storage(b, c);
    kv_json_key(b, "cache"); /* there is none to fail: the broker is the queue */
    kv_json_cstr(b, "disabled");
}

static void put_head(kv_buf *b, const kv_gw *gw, const char *status)
{
    kv_buf_init(b, 1 << 20);
    kv_json_open(b, '{');
    kv_json_key(b, "status");
    kv_json_cstr(b, status);
    kv_json_key(b, "version");
    kv_json_cstr(b, KERVAN_VERSION);
    kv_json_key(b, "uptime_seconds");
    kv_json_i64(b, (kv_mono_ms(gw->clock) - gw->started_ms) / 1000);
}

static void finish(h2o_req_t *req, bool good, kv_buf *b)
{
    kv_json_close(b, '}');
    kv_answer_buf(req, KV_OK, good ? 200 : 503, b);
    kv_buf_release(b);
}

static const char *word_of(const checks *c)
{
    if (c->draining)
        return "draining";
    if (!healthy(c))
        return "unhealthy";
    return kv_room_say(&c->room) || c->checkpoint != KV_OK ? "degraded" : "healthy";
}

/* What the broker, which alone writes, says of "database" or "checkpoint". */
static kv_err said_of(kv_slice report, const char *name)
{
    kv_slice slug;
    if (report.ptr == NULL || !kv_scan_text(report, name, &slug))
        return KV_OK;
    return kv_slice_is(slug, "ok") ? KV_OK : kv_err_of_slug(slug);
}

static void on_stats(h2o_req_t *req, kv_loop *loop, kv_slice text)
{
    checks c = run_checks(loop);
    kv_buf b;
    kv_err worse = kv_db_state() != KV_OK ? kv_db_state() : said_of(text, "database");
    if (worse != KV_OK)
        c.database = worse;
    c.checkpoint = said_of(text, "checkpoint");
    c.broker = c.broker && text.ptr != NULL;
    put_head(&b, loop->gw, word_of(&c));
    put_checks(&b, &c, text);
    finish(req, healthy(&c), &b);
}

void kv_route_health(kv_request *r)
{
    kv_stats_ask(r, KV_STATS_HEALTH, on_stats);
}

void kv_route_ready(kv_request *r)
{
    checks c = run_checks(r->loop);
    kv_buf b;
    put_head(&b, r->loop->gw, healthy(&c) ? "ready" : c.draining ? "draining" : "not_ready");
    put_checks(&b, &c, kv_slice_of(NULL, 0));
    finish(r->req, healthy(&c), &b);
}

void kv_route_live(kv_request *r)
{
    kv_buf b;
    put_head(&b, r->loop->gw, "alive");
    finish(r->req, true, &b);
}
