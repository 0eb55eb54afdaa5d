#include "gateway/static.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/route.h"
#include "gateway/send_file.h"
#include "gateway/static_cache.h"
#include "proto/base/log.h"
#include "storage/read/variants.h"

#define MAX_WIDTH     16384
#define AGE_CONTROL   "public, max-age=86400"
#define AGAIN_CONTROL "no-cache"
#define NO_DATE       INT64_MAX /* later than any date a condition can name */

/* ---- one answer ---- */

typedef struct conditions {
    kv_slice range, if_range, if_match, if_none_match, if_modified_since, if_unmodified_since;
} conditions;

static conditions conditions_of(h2o_req_t *req)
{
    conditions c = {0};
    for (size_t i = 0; i < req->headers.size; i++) {
        const h2o_header_t *h = &req->headers.entries[i];
        kv_slice *to = NULL;
        const char *list = NULL;
        if (h->name == &H2O_TOKEN_RANGE->buf)
            to = &c.range;
        else if (h->name == &H2O_TOKEN_IF_RANGE->buf)
            to = &c.if_range;
        else if (h->name == &H2O_TOKEN_IF_NONE_MATCH->buf)
            to = &c.if_none_match, list = "if-none-match";
        else if (h->name == &H2O_TOKEN_IF_MATCH->buf)
            to = &c.if_match, list = "if-match";
        else if (h->name == &H2O_TOKEN_IF_MODIFIED_SINCE->buf)
            to = &c.if_modified_since;
        else if (h->name == &H2O_TOKEN_IF_UNMODIFIED_SINCE->buf)
            to = &c.if_unmodified_since;
        if (to != NULL && to->ptr == NULL)
            *to = kv_slice_of(h->value.base, h->value.len);
        else if (list != NULL)
            *to = kv_header_list(req, list); /* the lines of one name are one list */
    }
    return c;
}

/* RFC 9110 13.1.1: who goes on with a file that became another one must not get a piece of that. */
static bool another(const conditions *c, const kv_static_file *f, int64_t modified_s)
{
    int64_t since;
    if (c->if_match.ptr != NULL)
        return !kv_etag_matches(c->if_match, kv_slice_str(f->etag));
    return c->if_unmodified_since.ptr != NULL && modified_s != NO_DATE &&
           kv_http_date_parse(c->if_unmodified_since, &since) && modified_s > since;
}

static bool not_modified(const conditions *c, const kv_static_file *f, int64_t modified_s)
{
    int64_t since;
    if (c->if_none_match.ptr != NULL)
        return kv_etag_listed(c->if_none_match, kv_slice_str(f->etag));
    return c->if_modified_since.ptr != NULL && kv_http_date_parse(c->if_modified_since, &since) &&
           modified_s <= since;
}

/* The ready-made headers before `end`. A negotiated answer has `cache_control` and Vary, and no
 * date. */
static void put_headers(h2o_req_t *req, const kv_static_file *f, size_t end,
                        const char *cache_control)
{
    h2o_headers_t *to = &req->res.headers;
    size_t begin = cache_control != NULL ? KV_H_LAST_MODIFIED + 1 : 0, count = end - begin;
    h2o_vector_reserve(&req->pool, to, to->size + count + 2);
    h2o_header_t *at = to->entries + to->size;
    memcpy(at, f->headers + begin, count * sizeof(*at));
    to->size += count;
    if (cache_control == NULL)
        return;
    at[KV_H_CACHE_CONTROL - begin].value = h2o_iovec_init(cache_control, strlen(cache_control));
    kv_add_vary(req, "accept");
}

static void put_content_range(h2o_req_t *req, uint64_t first, uint64_t last, uint64_t size)
{
    char *text = h2o_mem_alloc_pool(&req->pool, 80);
    int n = snprintf(text, 80, "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first, last, size);
    h2o_add_header(&req->pool, &req->res.headers, H2O_TOKEN_CONTENT_RANGE, NULL, text, (size_t)n);
}

static void send_nothing(h2o_req_t *req)
{
    static h2o_generator_t nothing = {NULL, NULL};
    h2o_start_response(req, &nothing);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* -1: not there any more; answered. */
static int open_file(kv_request *r, kv_static_file *f)
{
    int fd;
    kv_object_info info;
    kv_err err = kv_store_open(r->loop->gw->store, f->key, &fd, &info);
    if (err == KV_OK && info.size == f->size)
        return fd;
    if (err == KV_OK)
        close(fd);
    kv_static_forget(r->loop->cache, f);
    kv_answer_problem(r->req, err == KV_OK ? KV_E_NOT_FOUND : err, NULL, 0);
    return -1;
}

/* `fd` is taken; -1: the file's own. */
static void send_part(h2o_req_t *req, kv_static_file *f, int fd, uint64_t first, uint64_t len)
{
    static h2o_generator_t memory = {NULL, NULL};
    if (f->body == NULL) {
        kv_send_file(req, f, fd, first, len);
        return;
    }
    h2o_iovec_t v = h2o_iovec_init(f->body + first, (size_t)len);
    h2o_start_response(req, &memory);
    h2o_send(req, &v, 1, H2O_SEND_STATE_FINAL);
}

static void answer(kv_request *r, kv_static_file *f, const char *cache_control)
{
    assert(f != NULL);
    h2o_req_t *req = r->req;
    conditions c = conditions_of(req);
    /* all files behind a negotiated address have one date: it tells none from the other */
    int64_t modified_s = cache_control != NULL ? NO_DATE : f->modified_s;
    if (another(&c, f, modified_s)) {
        kv_answer_problem(req, KV_E_PRECONDITION, NULL, 0);
        return;
    }
    if (not_modified(&c, f, modified_s)) {
        req->res.status = 304;
        req->res.reason = "Not Modified";
        put_headers(req, f, KV_H_ALWAYS, cache_control);
        send_nothing(req);
        return;
    }
    uint64_t first = 0, last = 0, len = f->size;
    kv_range_kind range = KV_RANGE_NONE;
    bool head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    if (c.range.ptr != NULL && !head &&
        (c.if_range.ptr == NULL ||
         kv_if_range_holds(c.if_range, kv_slice_str(f->etag), modified_s)))
        range = kv_range_parse(c.range, f->size, &first, &last);
    if (range == KV_RANGE_BAD) {
        char text[48];
        snprintf(text, sizeof(text), "bytes */%" PRIu64, f->size);
        kv_add_header(req, "content-range", text);
        kv_answer_problem(req, KV_E_RANGE, NULL, 0);
        return;
    }
    bool body = !head && len != 0;
    int fd = -1;
    if (body && f->body == NULL && f->fd < 0 && (fd = open_file(r, f)) < 0)
        return;
    put_headers(req, f, f->header_count, cache_control);
    req->res.status = 200;
    req->res.reason = "OK";
    if (range == KV_RANGE_ONE) {
        req->res.status = 206;
        req->res.reason = "Partial Content";
        len = last - first + 1;
        put_content_range(req, first, last, f->size);
    }
    req->res.content_length = (size_t)len;
    if (body)
        send_part(req, f, fd, first, len);
    else
        send_nothing(req);
}

/* ---- negotiation ---- */

typedef struct wish {
    bool negotiated;
    uint32_t width;
    unsigned quality[KV_PICK_FORMATS];
} wish;

static bool parse_width(kv_slice s, uint32_t *ret)
{
    uint32_t n = 0;
    if (s.len == 0 || s.len > 5)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        n = n * 10 + (uint32_t)(s.ptr[i] - '0');
    }
    *ret = n;
    return n <= MAX_WIDTH;
}

/* ?w=, ?auto and ?format=. BAD_PARAMETER with what was wrong. */
static kv_err read_wish(kv_request *r, wish *ret, const char **why)
{
    kv_slice v;
    kv_err err = KV_OK;
    *ret = (wish){0};
    *why = "w: 0 to 16384";
    if (kv_query_get(r, "w", &v, &err)) {
        ret->negotiated = true;
        if (!parse_width(v, &ret->width))
            return KV_E_BAD_PARAMETER;
    }
    if (err != KV_OK)
        return err;
    *why = "auto: a malformed percent escape";
    if (kv_query_get(r, "auto", &v, &err))
        ret->negotiated = true;
    if (err != KV_OK)
        return err;
    *why = "format: webp, avif or original";
    if (kv_query_get(r, "format", &v, &err)) {
        ret->negotiated = true;
        if (kv_slice_is(v, "webp"))
            ret->quality[KV_PICK_WEBP] = 1000;
        else if (kv_slice_is(v, "avif"))
            ret->quality[KV_PICK_AVIF] = 1000;
        else if (!kv_slice_is(v, "original"))
            return KV_E_BAD_PARAMETER;
    } else if (err == KV_OK && ret->negotiated) {
        kv_slice accept = kv_header_list(r->req, "accept");
        ret->quality[KV_PICK_WEBP] = kv_accept_names(accept, "image/webp");
        ret->quality[KV_PICK_AVIF] = kv_accept_names(accept, "image/avif");
    }
    return err;
}

/* The variant that serves the wish, or the original where there is none (yet); how long caches may
 * keep that: what stands in for a variant that could not be read, not at all. */
static kv_static_file *choose(kv_request *r, kv_static_file *original, const wish *w,
                              const char **ret_cache_control)
{
    kv_pick_variant picks[KV_VARIANTS_MAX];
    for (unsigned i = 0; i < original->variant_count; i++)
        picks[i] = original->variants[i].pick;
    int at = original->ready
                 ? kv_pick(picks, original->variant_count, w->quality, w->width, original->width)
                 : -1;
    *ret_cache_control = original->ready ? AGE_CONTROL : AGAIN_CONTROL;
    if (at < 0)
        return original;
    kv_static_file *variant;
    kv_buf url;
    kv_buf_init(&url, 1024);
    kv_err err =
        kv_static_find(r->loop->cache, &r->req->pool,
                       kv_static_variant_path(original, &original->variants[at], &url), &variant);
    kv_buf_release(&url);
    if (err == KV_OK)
        return variant;
    *ret_cache_control = AGAIN_CONTROL;
    return original;
}

void kv_route_static(kv_request *r)
{
    kv_static_file *f;
    kv_err err = kv_static_find(r->loop->cache, &r->req->pool, r->param, &f);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, NULL, err == KV_E_BROKER_AWAY ? 2000 : 0);
        return;
    }
    if (r->query.len == 0 || f->is_variant) {
        answer(r, f, NULL);
        return;
    }
    wish w;
    const char *why, *cache_control;
    err = read_wish(r, &w, &why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
    } else if (!w.negotiated) {
        answer(r, f, NULL);
    } else {
        f = choose(r, f, &w, &cache_control);
        answer(r, f, cache_control);
    }
}
