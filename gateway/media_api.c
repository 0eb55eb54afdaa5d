/* The media API besides upload: list, get, delete, retry, folders. Reads come from the loop's own
 * handle, changes go to the broker. */
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "gateway/answer.h"
#include "gateway/json_scan.h"
#include "gateway/route.h"
#include "gateway/static.h"
#include "proto/base/id.h"
#include "proto/base/media_name.h"
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

static bool parse_limit(kv_slice s, uint32_t *ret)
{
    uint32_t n = 0;
    if (s.len == 0 || s.len > 4)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(s.ptr[i] - '0');
    }
    *ret = n;
    return n >= 1 && n <= LIST_MAX;
}

/* BAD_PARAMETER with *why naming the parameter. An empty value is as good as none: forms send
 * those. */
static kv_err read_filter(kv_request *r, kv_media_filter *f, const char **why)
{
    kv_slice v;
    kv_err err = KV_OK;
    *f = (kv_media_filter){.status = -1, .limit = LIST_DEFAULT};
    *why = "folder: names of [a-z0-9_-] joined by \"/\"";
    if (kv_query_get(r, "folder", &v, &err) && v.len != 0) {
        if (!kv_folder_valid(v))
            return KV_E_BAD_PARAMETER;
        f->folder = v;
    }
    if (err != KV_OK)
        return err;
    *why = "status: PENDING, READY or FAILED";
    if (kv_query_get(r, "status", &v, &err) && v.len != 0 && !parse_status(v, &f->status))
        return KV_E_BAD_PARAMETER;
    if (err != KV_OK)
        return err;
    *why = "search: at most 100 bytes";
    if (kv_query_get(r, "search", &v, &err)) {
        if (v.len > SEARCH_MAX || (v.len != 0 && memchr(v.ptr, '\0', v.len) != NULL))
            return KV_E_BAD_PARAMETER;
        f->search = v;
    }
    if (err != KV_OK)
        return err;
    *why = "cursor: the \"next\" of a page before";
    if (kv_query_get(r, "cursor", &v, &err) && v.len != 0 && !kv_id_parse(v.ptr, v.len, &f->before))
        return KV_E_BAD_PARAMETER;
    if (err != KV_OK)
        return err;
    *why = "limit: 1 to 200";
    if (kv_query_get(r, "limit", &v, &err) && !parse_limit(v, &f->limit))
        return KV_E_BAD_PARAMETER;
    return err;
}

void kv_route_media_list(kv_request *r)
{
    kv_media_filter filter;
    const char *why;
    kv_err err = read_filter(r, &filter, &why);
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

void kv_route_folders(kv_request *r)
{
    kv_db *db = kv_loop_db(r->loop);
    kv_buf out;
    kv_buf_init(&out, 0);
    kv_answer_buf(r->req, db == NULL ? KV_E_BROKER_AWAY : kv_media_folders_json(db, &out), 200,
                  &out);
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
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    /* The event does the same on every loop; this one must not answer the next GET from memory. */
    if (loop->cache != NULL && c->hash_hex[0] != '\0')
        kv_static_cache_drop(loop->cache, kv_slice_str(c->hash_hex));
    else if (loop->cache != NULL)
        kv_static_cache_drop_all(loop->cache);
    kv_answer_empty(req, 204);
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
