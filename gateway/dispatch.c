/* From h2o to the handlers: trace, hosts, CORS, routes, small bodies. */
#include <inttypes.h>
#include <stdio.h>

#include "gateway/guard.h"
#include "gateway/route.h"
#include "gateway/tap.h"
#include "proto/base/metrics.h"

static const kv_route_fn handlers[] = {
#define HANDLER(method, path, handler, flags, text) handler,
    KV_ROUTES(HANDLER)
#undef HANDLER
};

static void refuse(h2o_req_t *req, kv_err err, const char *detail)
{
    kv_metric_add_label(KV_M_HTTP_REFUSED, kv_err_info_of(err)->slug, 1);
    kv_answer_problem(req, err, detail, 0);
}

static void add_cors(h2o_req_t *req, kv_slice origin)
{
    h2o_iovec_t o = h2o_strdup(&req->pool, origin.ptr, origin.len);
    kv_add_header(req, "access-control-allow-origin", o.base);
    kv_add_header(req, "access-control-allow-credentials", "true");
    kv_add_header(
        req, "access-control-expose-headers",
        "location, retry-after, ratelimit, ratelimit-policy, etag, content-range, accept-ranges");
}

/* OPTIONS: a CORS preflight, or the question which methods there are. */
static void answer_options(h2o_req_t *req, kv_slice path, kv_origin from)
{
    kv_route_match m = kv_route_find(KV_METHOD_OPTIONS, path);
    char allow[64];
    if (m.allow == 0) {
        kv_answer_problem(req, KV_E_NOT_FOUND, NULL, 0);
        return;
    }
    kv_route_allow(m.allow, allow);
    kv_add_header(req, "allow", allow);
    if (from == KV_ORIGIN_LISTED && kv_header_get(req, "access-control-request-method").len > 0) {
        kv_add_header(req, "access-control-allow-methods", allow);
        kv_add_header(req, "access-control-allow-headers",
                      "content-type, accept, accept-language, authorization, idempotency-key, "
                      "cache-control, x-requested-with, " /* of Dropzone and its like */
                      "last-event-id, range, if-range, "
                      "if-match, if-none-match, if-unmodified-since, traceparent, tracestate");
        kv_add_header(req, "access-control-max-age", "600");
    }
    kv_answer_empty(req, 204);
}

static void call(kv_conn *c, h2o_req_t *req)
{
    kv_slice target = kv_slice_of(req->input.path.base, req->input.path.len);
    const char *mark = memchr(target.ptr, '?', target.len);
    kv_slice path =
        kv_slice_of(target.ptr, mark != NULL ? (size_t)(mark - target.ptr) : target.len);
    kv_request r = {.req = req, .loop = c->loop};
    if (mark != NULL)
        r.query = kv_slice_of(mark + 1, target.len - path.len - 1);
    kv_route_match m = kv_route_find(
        kv_method_of(kv_slice_of(req->input.method.base, req->input.method.len)), path);
    if (m.param.len > 0) {
        char *decoded = h2o_mem_alloc_pool(&req->pool, m.param.len);
        size_t n = kv_percent_decode(m.param, false, decoded);
        if (n == SIZE_MAX) {
            kv_answer_problem(req, KV_E_BAD_PARAMETER, "percent-encoding", 0);
            return;
        }
        r.param = kv_slice_of(decoded, n);
    }
    handlers[m.index](&r);
}

static void on_small_body(kv_conn *c, h2o_req_t *req, kv_err err)
{
    if (err != KV_OK) {
        char most[48];
        snprintf(most, sizeof(most), "body: at most %d bytes", KV_SMALL_BODY_MAX);
        refuse(req, err, err == KV_E_BODY_TOO_LARGE ? most : NULL);
        return;
    }
    call(c, req);
}

static bool unsafe(kv_method m)
{
    return m != KV_METHOD_GET && m != KV_METHOD_HEAD && m != KV_METHOD_OPTIONS;
}

/* h2o closes after any Connection header that does not name keep-alive: "Upgrade" of a client that
 * would like HTTP/2, "TE" of another. RFC 9112 9.3: only "close" ends what HTTP/1.1 keeps. */
static bool persistent(h2o_req_t *req)
{
    kv_slice asked = kv_header_list(req, "connection");
    if (h2o_contains_token(asked.ptr, asked.len, H2O_STRLIT("close"), ','))
        return false;
    return req->version >= 0x101 ||
           h2o_contains_token(asked.ptr, asked.len, H2O_STRLIT("keep-alive"), ',');
}

static int on_request(h2o_handler_t *self, h2o_req_t *req)
{
    (void)self;
    kv_conn *c = kv_conn_of(req);
    const kv_config *cfg = c->loop->gw->cfg;
    kv_slice path = kv_slice_of(req->input.path.base, req->input.path.len);
    const char *mark = memchr(path.ptr, '?', path.len);
    if (mark != NULL)
        path.len = (size_t)(mark - path.ptr);
    kv_slice host = kv_slice_of(req->input.authority.base, req->input.authority.len);
    kv_slice origin = kv_header_get(req, "origin");
    kv_method method = kv_method_of(kv_slice_of(req->input.method.base, req->input.method.len));
    kv_route_match m = kv_route_find(method, path);
    kv_origin from = kv_origin_of(cfg->cors_allowed_origins, origin, host);

    req->http1_is_persistent = persistent(req);
    c->quiet = m.index >= 0 && (m.flags & KV_ROUTE_QUIET) != 0;
    kv_trace_take(c, kv_header_get(req, "traceparent"));
    if (*cfg->cors_allowed_origins != 0)
        kv_add_vary(req, "origin");
    if (from == KV_ORIGIN_LISTED)
        add_cors(req, origin);

    const struct sockaddr *peer = (const struct sockaddr *)&c->peer;
    if (!kv_host_allowed(cfg->allowed_hosts, host) ||
        (*cfg->allowed_hosts == 0 && kv_host_rebound(peer, cfg->listen, host))) {
        refuse(req, KV_E_BAD_REQUEST, "Host, ALLOWED_HOSTS");
    } else if (method == KV_METHOD_OPTIONS) {
        answer_options(req, path, from);
    } else if (m.index < 0 && m.allow != 0) {
        char allow[64];
        kv_route_allow(m.allow, allow);
        kv_add_header(req, "allow", allow);
        kv_answer_problem(req, KV_E_METHOD_NOT_ALLOWED, NULL, 0);
    } else if (m.index < 0) {
        kv_answer_problem(req, KV_E_NOT_FOUND, NULL, 0);
    } else if (from == KV_ORIGIN_FOREIGN && unsafe(method)) {
        /* a form on another site may post without a preflight */
        refuse(req, KV_E_FORBIDDEN_ORIGIN, "CORS_ALLOWED_ORIGINS");
    } else if ((m.flags & KV_ROUTE_UPLOAD) || c->frame.over) {
        call(c, req);
    } else {
        kv_tap_small_body(c, req, on_small_body);
    }
    return 0;
}

static void on_request_over(h2o_logger_t *self, h2o_req_t *req)
{
    (void)self;
    kv_conn *c = kv_conn_of(req);
    kv_loop_own *l = kv_loop_inside(c->loop);
    int status = req->res.status != 0 ? req->res.status : 499;
    kv_access_log(c->loop, c, kv_slice_of(req->input.method.base, req->input.method.len),
                  kv_slice_of(req->input.path.base, req->input.path.len), status, req->bytes_sent);
    if (!h2o_linklist_is_linked(&c->ready))
        h2o_linklist_insert(&l->ready, &c->ready);
}

void kv_dispatch_register(kv_gw_own *gw)
{
    h2o_hostconf_t *host =
        h2o_config_register_host(&gw->conf, h2o_iovec_init(H2O_STRLIT("default")), 65535);
    h2o_pathconf_t *all = h2o_config_register_path(host, "/", 0);
    h2o_pathconf_t *both[] = {all, &host->fallback_path};
    for (int i = 0; i < 2; i++) {
        h2o_handler_t *h = h2o_create_handler(both[i], sizeof(*h));
        h->on_req = on_request;
        h2o_logger_t *log = h2o_create_logger(both[i], sizeof(*log));
        log->log_access = on_request_over;
        both[i]->error_log.emit_request_errors = 0;
    }
}

bool kv_query_get(kv_request *r, const char *name, kv_slice *ret, kv_err *ret_err)
{
    size_t want = strlen(name);
    kv_slice q = r->query;
    while (q.len > 0) {
        const char *amp = memchr(q.ptr, '&', q.len);
        kv_slice pair = kv_slice_of(q.ptr, amp != NULL ? (size_t)(amp - q.ptr) : q.len);
        q = amp != NULL ? kv_slice_of(amp + 1, q.len - pair.len - 1) : kv_slice_of(NULL, 0);
        if (pair.len < want || memcmp(pair.ptr, name, want) != 0 ||
            (pair.len > want && pair.ptr[want] != '='))
            continue;
        size_t skip = pair.len > want ? want + 1 : want;
        kv_slice value = kv_slice_of(pair.ptr + skip, pair.len - skip);
        char *decoded = h2o_mem_alloc_pool(&r->req->pool, value.len + 1);
        size_t n = kv_percent_decode(value, true, decoded);
        if (n == SIZE_MAX) {
            *ret_err = KV_E_BAD_PARAMETER;
            return false;
        }
        decoded[n] = 0;
        *ret = kv_slice_of(decoded, n);
        return true;
    }
    return false;
}
