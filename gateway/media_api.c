/* The media API besides upload: list, get, delete, retry, folders. Reads come from the loop's own
 * handle, changes go to the broker. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "gateway/answer.h"
#include "proto/base/json_scan.h"
#include "gateway/query.h"
#include "gateway/route.h"
#include "gateway/static.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
#include "proto/base/text.h"
#include "storage/read/media.h"

#define LIST_DEFAULT 50
#define LIST_MAX     200
#define SEARCH_MAX   100

/* ---- list ---- */

static bool parse_status(kv_slice s, int *ret)
{
    for (int i = KV_STATUS_PENDING; i <= KV_STATUS_FAILED; i++) {
        const char *name = kv_status_name(i);
        if (s.len == strlen(name) && strncasecmp(s.ptr, name, s.len) == 0) {
            *ret = i;
            return true;
        }
    }
    return false;
}

static kv_err take_folder(void *out, kv_slice v)
{
    ((kv_media_filter *)out)->folder = v;
    return kv_body_judged(kv_folder_valid(v));
}

static kv_err take_status(void *out, kv_slice v)
{
    return kv_body_judged(parse_status(v, &((kv_media_filter *)out)->status));
}

static kv_err take_search(void *out, kv_slice v)
{
    ((kv_media_filter *)out)->search = v;
    return kv_body_judged(v.len <= SEARCH_MAX && kv_utf8_valid(v));
}

static kv_err take_cursor(void *out, kv_slice v)
{
    return kv_body_judged(kv_id_parse(v.ptr, v.len, &((kv_media_filter *)out)->before));
}

static kv_err take_limit(void *out, kv_slice v)
{
    uint64_t n;
    if (!kv_query_uint(v, 1, LIST_MAX, &n))
        return KV_E_BAD_PARAMETER;
    ((kv_media_filter *)out)->limit = (uint32_t)n;
    return KV_OK;
}

static const kv_parameter parameters[] = {
    {"folder", take_folder, "names of [a-z0-9_-] joined by \"/\""},
    {"status", take_status, "PENDING, READY or FAILED"},
    {"search", take_search, "at most 100 bytes of UTF-8"},
    {"cursor", take_cursor, "the \"next\" of a page before"},
    {"limit", take_limit, "1 to 200"},
};

void kv_route_media_list(kv_request *r)
{
    kv_media_filter filter = {.status = -1, .limit = LIST_DEFAULT};
    char why[KV_BODY_WHY];
    kv_err err =
        kv_query_read(r, parameters, sizeof(parameters) / sizeof(*parameters), &filter, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf out;
    kv_buf_init(&out, 0);
    err = db == NULL ? KV_E_BROKER_AWAY
                     : kv_media_list_json(db, r->loop->gw->cfg->media_base_url, &filter, &out);
    kv_answer_buf(r->req, err, 200, &out);
    kv_buf_release(&out);
}

/* ---- folders ---- */

typedef struct folders_page {
    kv_slice after;
    uint32_t limit;
} folders_page;

static kv_err take_folders_cursor(void *out, kv_slice v)
{
    ((folders_page *)out)->after = v;
    return kv_body_judged(kv_folder_valid(v));
}

static kv_err take_folders_limit(void *out, kv_slice v)
{
    uint64_t n;
    if (!kv_query_uint(v, 1, KV_FOLDERS_PAGE_MAX, &n))
        return KV_E_BAD_PARAMETER;
    ((folders_page *)out)->limit = (uint32_t)n;
    return KV_OK;
}

static const kv_parameter folders_parameters[] = {
    {"cursor", take_folders_cursor, "the \"next\" of a page before"},
    {"limit", take_folders_limit, "1 to 10000"},
};

void kv_route_folders(kv_request *r)
{
    folders_page page = {.limit = KV_FOLDERS_PAGE_MAX};
    char why[KV_BODY_WHY];
    kv_err err =
        kv_query_read(r, folders_parameters,
                      sizeof(folders_parameters) / sizeof(*folders_parameters), &page, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    kv_db *db = kv_loop_db(r->loop);
    kv_buf out;
    kv_buf_init(&out, 0);
    err = db == NULL ? KV_E_BROKER_AWAY : kv_media_folders_json(db, page.after, page.limit, &out);
    kv_answer_buf(r->req, err, 200, &out);
    kv_buf_release(&out);
}

/* ---- one row ---- */

static kv_err read_row(kv_loop *loop, uint64_t id, kv_buf *out)
{
    kv_db *db = kv_loop_db(loop);
    return db == NULL ? KV_E_BROKER_AWAY
                      : kv_media_get_json(db, loop->gw->cfg->media_base_url, id, out);
}

/* Answers BAD_ID itself. */
static bool take_id(kv_request *r, uint64_t *ret)
{
    if (kv_id_parse(r->param.ptr, r->param.len, ret))
        return true;
    kv_answer_problem(r->req, KV_E_BAD_ID, NULL, 0);
    return false;
}

void kv_route_media_get(kv_request *r)
{
    uint64_t id;
    if (!take_id(r, &id))
        return;
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_answer_buf(r->req, read_row(r->loop, id, &out), 200, &out);
    kv_buf_release(&out);
}

/* ---- changes ---- */

typedef struct change {
    uint64_t id;
    char hash_hex[65]; /* of the row before a delete; empty: not known */
} change;

static void on_deleted(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    change *c = arg;
    /* Not there any more: another one's delete, or ours, asked again after its answer was lost. */
    bool gone = err == KV_OK || (err == KV_E_NOT_FOUND && c->hash_hex[0] != '\0');
    if (gone && loop->cache != NULL) /* the event may come to the loops later */
        kv_static_cache_deleted(loop->cache, kv_slice_str(c->hash_hex));
    if (gone)
        kv_answer_empty(req, 204);
    else
        kv_answer_refusal(req, err, answer);
}

void kv_route_media_delete(kv_request *r)
{
    change *c = h2o_mem_alloc_pool(
        &r->req->pool, sizeof(*c)); /* on_deleted is not called once the request is gone */
    *c = (change){0};
    if (!take_id(r, &c->id))
        return;
    kv_buf row;
    kv_slice hash;
    kv_buf_init(&row, 0);
    if (read_row(r->loop, c->id, &row) == KV_OK &&
        kv_scan_text(kv_buf_slice(&row), "stored_hash", &hash) && hash.len == 64)
        memcpy(c->hash_hex, hash.ptr, 64);
    kv_buf_release(&row);
    kv_msg m;
    kv_msg_defaults(KV_MEDIA_DELETE, &m);
    m.media_delete.media = c->id;
    kv_ask_broker(r, &m, on_deleted, c);
}

static void on_retried(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    change *c = arg;
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_answer_buf(req, read_row(loop, c->id, &out), 202, &out);
    kv_buf_release(&out);
}

void kv_route_media_retry(kv_request *r)
{
    change *c = h2o_mem_alloc_pool(&r->req->pool, sizeof(*c));
    *c = (change){0};
    if (!take_id(r, &c->id))
        return;
    kv_msg m;
    kv_msg_defaults(KV_MEDIA_RETRY, &m);
    m.media_retry.media = c->id;
    kv_ask_broker(r, &m, on_retried, c);
}
