/* The operator's view over HTTP: queues, and steering them. Only for this machine (guard.h), until
 * there are accounts. */
#include "gateway/queue_api.h"

#include <stdlib.h>

#include "gateway/answer.h"
#include "gateway/guard.h"
#include "gateway/job_api.h"
#include "gateway/job_body.h"
#include "proto/base/json_scan.h"
#include "gateway/query.h"
#include "gateway/route.h"
#include "gateway/tap.h"
#include "storage/read/dead_letters.h"

#define QUEUES_MAX 200   /* in one answer */
#define DEAD_MOST  10000 /* counted up to here */

bool kv_admin_request(h2o_req_t *req)
{
    static const char *const marks[] = {"forwarded",         "x-forwarded-for", "x-forwarded-host",
                                        "x-forwarded-proto", "x-real-ip",       "via"};
    bool forwarded = false;
    for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
        forwarded |= kv_header_get(req, marks[i]).ptr != NULL;
    kv_slice host = kv_slice_of(req->input.authority.base, req->input.authority.len);
    /* whom CORS_ALLOWED_ORIGINS lists is a visitor's page, in an operator's browser, too */
    if (kv_origin_of("", kv_header_get(req, "origin"), host) == KV_ORIGIN_FOREIGN)
        return false;
    return kv_admin_allowed((const struct sockaddr *)&kv_conn_of(req)->peer, forwarded, host);
}

static bool admitted(kv_request *r)
{
    if (kv_admin_request(r->req))
        return true;
    kv_answer_problem(r->req, KV_E_FORBIDDEN, NULL, 0);
    return false;
}

/* ---- looking ---- */

void kv_queues_question(kv_msg *ret)
{
    kv_msg_defaults(KV_INSPECT, ret);
    ret->inspect.what = kv_slice_str("queues");
    ret->inspect.limit = QUEUES_MAX;
}

/* Dead letters are in the database only: counted there, given to the queues by name. */
typedef struct dead {
    char service[KV_NAME_MAX + 1];
    int64_t n;
    bool shown;
} dead;

typedef struct dead_list {
    dead *items;
    size_t n, cap;
    kv_err err;
} dead_list;

static void on_dead(void *arg, kv_slice service, int64_t n)
{
    dead_list *l = arg;
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 32 : l->cap * 2;
        dead *items = realloc(l->items, cap * sizeof(*items));
        if (items == NULL) {
            l->err = KV_E_NO_MEMORY;
            return;
        }
        l->items = items;
        l->cap = cap;
    }
    dead *d = &l->items[l->n++];
    *d = (dead){.n = n};
    memcpy(d->service, service.ptr, service.len < KV_NAME_MAX ? service.len : KV_NAME_MAX);
}

static dead_list read_dead(kv_loop *loop)
{
    dead_list l = {0};
    kv_db *db = kv_loop_db(loop);
    kv_err err = db == NULL ? KV_E_BROKER_AWAY : kv_dead_letters_each(db, DEAD_MOST, on_dead, &l);
    if (err != KV_OK)
        l.err = err;
    return l;
}

static dead *dead_of(dead_list *l, kv_slice queue)
{
    kv_slice name = {0};
    kv_scan_text(queue, "service", &name);
    for (size_t i = 0; i < l->n; i++)
        if (kv_slice_is(name, l->items[i].service))
            return &l->items[i];
    return NULL;
}

static void put_queue(kv_buf *out, kv_slice queue, dead_list *l)
{
    dead *mine = dead_of(l, queue);
    while (queue.len > 0 && queue.ptr[queue.len - 1] != '}')
        queue.len--;
    if (queue.len == 0)
        return;
    kv_json_raw(out, kv_slice_of(queue.ptr, queue.len - 1));
    kv_json_key(out, "dead_letters");
    if (mine != NULL)
        mine->shown = true;
    if (l->err != KV_OK)
        kv_json_null(out); /* not counted is not none */
    else
        kv_json_i64(out, mine != NULL ? mine->n : 0);
    kv_json_close(out, '}');
}

/* Queues the broker has nothing of any more; `service` empty: all of them. */
static void put_rest(kv_buf *out, const dead_list *l, kv_slice service)
{
    for (size_t i = 0; i < l->n; i++) {
        if (l->items[i].shown || (service.len != 0 && !kv_slice_is(service, l->items[i].service)))
            continue;
        kv_json_open(out, '{');
        kv_json_key(out, "service");
        kv_json_cstr(out, l->items[i].service);
        kv_json_key(out, "dead_letters");
        kv_json_i64(out, l->items[i].n);
        kv_json_close(out, '}');
    }
}

/* The cursor of the page behind this one; 0: it is the last. */
static uint64_t next_of(kv_slice answer)
{
    uint64_t next = 0;
    return kv_scan_u64(answer, "next", &next) ? next : 0;
}

/* What is on other pages is not forgotten. */
static void mark_shown(dead_list *l, kv_slice answer)
{
    kv_slice queues = {0}, one;
    size_t pos = 0;
    if (!kv_scan_member(answer, "queues", &queues))
        return;
    while (kv_scan_next(queues, &pos, &one)) {
        dead *d = dead_of(l, one);
        if (d != NULL)
            d->shown = true;
    }
}

static void put(kv_buf *out, kv_slice answer, dead_list *l, kv_slice service)
{
    kv_slice queues = {0}, one;
    size_t pos = 0;
    uint64_t next = next_of(answer);
    kv_json_key(out, "queues");
    kv_json_open(out, '[');
    if (kv_scan_member(answer, "queues", &queues))
        while (kv_scan_next(queues, &pos, &one))
            put_queue(out, one, l);
    if (next == 0)
        put_rest(out, l, service);
    kv_json_close(out, ']');
    kv_json_key(out, "next");
    if (next == 0)
        kv_json_null(out);
    else
        kv_json_u64(out, next);
}

void kv_queues_put(kv_loop *loop, kv_buf *out, kv_slice answer)
{
    dead_list l = read_dead(loop);
    put(out, answer, &l, kv_slice_of(NULL, 0));
    free(l.items);
}

/* A question of one page; all of it lives in the request pool. */
typedef struct listing {
    kv_slice service; /* asked for; empty: all */
    uint64_t after;
    kv_slice page; /* what is answered */
    struct other {
        struct other *next;
        kv_slice answer;
    } * others; /* pages before a last one: what they have is not forgotten */
} listing;

static kv_slice keep(h2o_req_t *req, kv_slice s)
{
    h2o_iovec_t v = h2o_strdup(&req->pool, s.len != 0 ? s.ptr : "", s.len);
    return kv_slice_of(v.base, v.len);
}

static void answer_page(h2o_req_t *req, kv_loop *loop, const listing *g)
{
    kv_buf out;
    dead_list l = read_dead(loop);
    for (const struct other *o = g->others; o != NULL; o = o->next)
        mark_shown(&l, o->answer);
    kv_buf_init(&out, 0);
    kv_json_open(&out, '{');
    put(&out, g->page, &l, g->service);
    kv_json_close(&out, '}');
    kv_answer_buf(req, KV_OK, 200, &out);
    kv_buf_release(&out);
    free(l.items);
}

static void ask_other(h2o_req_t *req, kv_loop *loop, listing *g, uint64_t after);

static void on_other(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    listing *g = arg;
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    struct other *o = h2o_mem_alloc_pool(&req->pool, sizeof(*o));
    *o = (struct other){g->others, keep(req, answer->stats_ok.text)};
    g->others = o;
    uint64_t next = next_of(o->answer);
    if (next == 0)
        answer_page(req, loop, g);
    else
        ask_other(req, loop, g, next);
}

static void ask_other(h2o_req_t *req, kv_loop *loop, listing *g, uint64_t after)
{
    kv_msg m;
    kv_request r = {.req = req, .loop = loop};
    kv_queues_question(&m);
    m.inspect.after = after;
    kv_ask_broker(&r, &m, on_other, g);
}

static void on_queues(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    listing *g = arg;
    if (err != KV_OK) {
        kv_answer_refusal(req, err, answer);
        return;
    }
    g->page = keep(req, answer->stats_ok.text);
    if (g->after != 0 && g->service.len == 0 && next_of(g->page) == 0)
        ask_other(req, loop, g, 0);
    else
        answer_page(req, loop, g);
}

static kv_err take_service(void *out, kv_slice v)
{
    ((kv_inspect *)out)->service = v;
    return kv_service_name_valid(v) ? KV_OK : KV_E_BAD_PARAMETER;
}

static kv_err take_after(void *out, kv_slice v)
{
    uint64_t *after = &((kv_inspect *)out)->after;
    return kv_query_uint(v, 0, INT64_MAX, after) ? KV_OK : KV_E_BAD_PARAMETER;
}

#define SERVICE_TEXT "1 to 64 characters of [a-z0-9-]"
static const kv_parameter parameters[] = {
    {"service", take_service, SERVICE_TEXT},
    {"after", take_after, "the \"next\" of a page before"},
};

void kv_route_queues(kv_request *r)
{
    kv_msg m;
    char why[KV_BODY_WHY];
    if (!admitted(r))
        return;
    kv_queues_question(&m);
    kv_err err = kv_query_read(r, parameters, 2, &m.inspect, why);
    if (err != KV_OK) {
        kv_answer_problem(r->req, err, why, 0);
        return;
    }
    listing *g = h2o_mem_alloc_pool(&r->req->pool, sizeof(*g));
    *g = (listing){.service = m.inspect.service, .after = m.inspect.after};
    kv_ask_broker(r, &m, on_queues, g);
}

/* ---- steering ---- */

static void put_flag(kv_buf *out, int64_t v)
{
    kv_json_bool(out, v != 0);
}

static void put_count(kv_buf *out, int64_t v)
{
    kv_json_i64(out, v);
}

static void put_word(kv_buf *out, int64_t v)
{
    kv_json_cstr(out, kv_overflow_names[v]);
}

/* What was set; in the request pool. */
static kv_slice describe(h2o_req_t *req, const kv_queue_set *q)
{
    kv_buf b;
    kv_buf_init(&b, 4096);
    kv_json_open(&b, '{');
    kv_json_key(&b, "service");
    kv_json_str(&b, q->service);
    if (q->tenant_set) {
        kv_json_key(&b, "tenant");
        kv_json_str(&b, q->tenant);
    }
#define PUT(F, T, member, kind, option, low, high, unit, text)                                     \
    if (q->member >= 0) {                                                                          \
        kv_json_key(&b, #member);                                                                  \
        put_##kind(&b, q->member);                                                                 \
    }
    KV_QUEUE_SETTINGS(PUT, , )
#undef PUT
    kv_json_close(&b, '}');
    h2o_iovec_t v = h2o_strdup(&req->pool, kv_buf_str(&b), b.len);
    kv_buf_release(&b);
    return kv_slice_of(v.base, v.len);
}

static void on_set(h2o_req_t *req, kv_loop *loop, void *arg, kv_err err, const kv_msg *answer)
{
    (void)loop;
    const kv_slice *text = arg;
    if (err != KV_OK)
        kv_answer_refusal(req, err, answer);
    else
        kv_answer_json(req, 200, *text);
}

static void set(kv_request *r, const kv_queue_set *q)
{
    kv_msg m = {.code = KV_QUEUE_SET, .queue_set = *q};
    kv_slice *text = h2o_mem_alloc_pool(&r->req->pool, sizeof(*text));
    m.queue_set.service = r->param;
    if (!kv_service_name_valid(r->param)) {
        kv_answer_problem(r->req, KV_E_BAD_PARAMETER, "service: " SERVICE_TEXT, 0);
        return;
    }
    *text = describe(r->req, &m.queue_set);
    kv_ask_broker(r, &m, on_set, text);
}

void kv_route_queue_set(kv_request *r)
{
    char why[KV_BODY_WHY] = "";
    json_t *tree = NULL;
    kv_queue_set q;
    if (!admitted(r))
        return;
    kv_err err = kv_queue_body_read(kv_request_body(r), &q, &tree, why);
    if (err != KV_OK)
        kv_answer_problem(r->req, err, why, 0);
    else
        set(r, &q);
    json_decref(tree);
}

static void switch_queue(kv_request *r, int64_t paused, int64_t draining)
{
    kv_msg m;
    if (!admitted(r))
        return;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.paused = paused;
    m.queue_set.draining = draining;
    set(r, &m.queue_set);
}

void kv_route_queue_pause(kv_request *r)
{
    switch_queue(r, 1, -1);
}

void kv_route_queue_resume(kv_request *r)
{
    switch_queue(r, 0, 0);
}

void kv_route_queue_drain(kv_request *r)
{
    switch_queue(r, -1, 1);
}
