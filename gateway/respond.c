#include "gateway/respond.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "gateway/head.h"
#include "gateway/tap.h"

static const struct {
    int status;
    const char *text;
} reasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {426, "Upgrade Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {507, "Insufficient Storage"},
};

const char *kv_reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].text;
    return "";
}

/* ---- language ---- */

/* q in thousandths of one range ("en-US;q=0.8"). */
static int quality(kv_slice params)
{
    const char *q = params.len > 0 ? memchr(params.ptr, '=', params.len) : NULL;
    if (q == NULL)
        return 1000;
    const char *end = params.ptr + params.len;
    if (++q == end || (*q != '0' && *q != '1'))
        return 0;
    int v = (*q++ - '0') * 1000, unit = 100;
    if (q < end && *q == '.')
        for (q++; q < end && *q >= '0' && *q <= '9' && unit > 0; q++, unit /= 10)
            v += (*q - '0') * unit;
    return v > 1000 ? 1000 : v;
}

bool kv_language_is_english(kv_slice s)
{
    int english = 0, turkish = 0, any = 0;
    for (int ranges = 0; s.len > 0 && ranges < 32; ranges++) {
        const char *comma = memchr(s.ptr, ',', s.len);
        kv_slice one = kv_slice_of(s.ptr, comma != NULL ? (size_t)(comma - s.ptr) : s.len);
        s = comma != NULL ? kv_slice_of(comma + 1, s.len - one.len - 1) : kv_slice_of(NULL, 0);
        const char *semi = one.len > 0 ? memchr(one.ptr, ';', one.len) : NULL;
        size_t n = semi != NULL ? (size_t)(semi - one.ptr) : one.len;
        int q = quality(kv_slice_of(semi, one.len - n));
        kv_slice tag = kv_slice_trim(kv_slice_of(one.ptr, n));
        const char *dash = tag.len > 0 ? memchr(tag.ptr, '-', tag.len) : NULL;
        if (dash != NULL)
            tag.len = (size_t)(dash - tag.ptr);
        int *which = kv_slice_is_nocase(tag, "en")   ? &english
                     : kv_slice_is_nocase(tag, "tr") ? &turkish
                     : kv_slice_is(tag, "*")         ? &any
                                                     : NULL;
        if (which != NULL && q > *which)
            *which = q;
    }
    return english > turkish && english > any; /* "*" takes what is ours: Turkish */
}

/* By Accept-Language; Turkish is the default. */
static bool wants_english(h2o_req_t *req)
{
    return kv_language_is_english(kv_header_list(req, "accept-language"));
}

/* ---- headers ---- */

/* The next value of this name from *at on. */
static bool next_value(h2o_req_t *req, const char *name, size_t *at, kv_slice *ret)
{
    size_t len = strlen(name);
    while (*at < req->headers.size) {
        const h2o_header_t *h = &req->headers.entries[(*at)++];
        if (h->name->len != len || memcmp(h->name->base, name, len) != 0)
            continue;
        size_t n = h->value.len; /* blanks behind a value are none of it: RFC 9110 5.5 */
        while (n > 0 && (h->value.base[n - 1] == ' ' || h->value.base[n - 1] == '\t'))
            n--;
        *ret = kv_slice_of(h->value.base, n);
        return true;
    }
    return false;
}

kv_slice kv_header_get(h2o_req_t *req, const char *name)
{
    size_t at = 0;
    kv_slice v;
    return next_value(req, name, &at, &v) ? v : kv_slice_of(NULL, 0);
}

kv_slice kv_header_list(h2o_req_t *req, const char *name)
{
    size_t at = 0, len = 0, lines = 0;
    kv_slice v, first = {0};
    while (next_value(req, name, &at, &v)) {
        if (lines++ == 0)
            first = v;
        len += v.len + 1;
    }
    if (lines < 2)
        return first;
    char *all = h2o_mem_alloc_pool(&req->pool, len), *end = all;
    for (at = 0; next_value(req, name, &at, &v); *end++ = ',') {
        memcpy(end, v.ptr, v.len);
        end += v.len;
    }
    return kv_slice_of(all, len - 1);
}

void kv_add_header(h2o_req_t *req, const char *name, const char *value)
{
    h2o_iovec_t v = h2o_strdup(&req->pool, value, SIZE_MAX);
    h2o_add_header_by_str(&req->pool, &req->res.headers, name, strlen(name), 1, NULL, v.base,
                          v.len);
}

void kv_add_vary(h2o_req_t *req, const char *name)
{
    h2o_set_header_token(&req->pool, &req->res.headers, H2O_TOKEN_VARY, name, strlen(name));
}

/* ---- answers ---- */

static void answer(h2o_req_t *req, int status, const char *type, kv_slice body)
{
    kv_tap_before_answer(req);
    req->res.status = status;
    req->res.reason = kv_reason(status);
    req->res.content_length = body.len;
    if (type != NULL) {
        kv_add_header(req, "content-type", type);
        kv_add_header(req, "x-content-type-options", "nosniff");
        h2o_set_header(&req->pool, &req->res.headers, H2O_TOKEN_CACHE_CONTROL,
                       H2O_STRLIT("no-store"), 0);
    }
    h2o_send_inline(req, body.ptr != NULL ? body.ptr : "", body.len);
}

void kv_answer_json(h2o_req_t *req, int status, kv_slice body)
{
    answer(req, status, "application/json; charset=utf-8", body);
}

void kv_answer_empty(h2o_req_t *req, int status)
{
    kv_tap_before_answer(req);
    req->res.status = status;
    req->res.reason = kv_reason(status);
    /* RFC 9110 8.6: no Content-Length in a 204; in a 304 it would be that of the 200 */
    req->res.content_length = status == 204 || status == 304 ? SIZE_MAX : 0;
    h2o_send_inline(req, "", 0);
}

void kv_problem_json(kv_buf *out, kv_err err, const char *detail, bool english, kv_slice instance,
                     const uint8_t trace[16])
{
    const kv_err_info *info = kv_err_info_of(err);
    const char *sentence = english ? info->en : info->tr;
    char type[96] = "urn:kervan:problem:";
    size_t n = strlen(type);
    for (const char *p = info->name; *p != 0 && n < sizeof(type) - 1; p++)
        type[n++] = *p >= 'A' && *p <= 'Z' ? (char)(*p + 32) : *p;
    type[n] = 0;

    kv_buf text;
    kv_buf_init(&text, 4096);
    kv_buf_adds(&text, sentence);
    if (detail != NULL && *detail != 0)
        kv_buf_addf(&text, " (%s)", detail);
    kv_json_open(out, '{');
    kv_json_key(out, "type");
    kv_json_cstr(out, type);
    kv_json_key(out, "title");
    kv_json_cstr(out, kv_reason(info->http));
    kv_json_key(out, "status");
    kv_json_u64(out, (uint64_t)info->http);
    kv_json_key(out, "code");
    kv_json_cstr(out, info->slug);
    kv_json_key(out, "error");
    kv_json_cstr(out, info->slug);
    kv_json_key(out, "detail");
    if (kv_buf_ok(&text))
        kv_json_str(out, kv_buf_slice(&text));
    else
        kv_json_cstr(out, sentence);
    if (instance.len > 0) {
        kv_json_key(out, "instance");
        kv_json_str(out, instance);
    }
    kv_json_key(out, "traceId");
    kv_json_hex(out, trace, 16);
    kv_json_close(out, '}');
    kv_buf_release(&text);
}

void kv_answer_problem(h2o_req_t *req, kv_err err, const char *detail, uint64_t retry_after_ms)
{
    const kv_err_info *info = kv_err_info_of(err);
    kv_buf body;
    kv_buf_init(&body, 32768);
    size_t path = 0;
    while (path < req->input.path.len && req->input.path.base[path] != '?' && path < 2048)
        path++;
    bool english = wants_english(req);
    kv_problem_json(&body, err, detail, english, kv_slice_of(req->input.path.base, path),
                    kv_conn_of(req)->trace);
    kv_add_header(req, "content-language", english ? "en" : "tr");
    if (retry_after_ms == 0 && info->http == 503)
        retry_after_ms = 2000;
    if (retry_after_ms > 0) {
        char seconds[24];
        snprintf(seconds, sizeof(seconds), "%" PRIu64, (retry_after_ms + 999) / 1000);
        kv_add_header(req, "retry-after", seconds);
    }
    static const char short_of_memory[] = "{}";
    answer(req, info->http, "application/problem+json; charset=utf-8",
           kv_buf_ok(&body) ? kv_buf_slice(&body) : kv_slice_str(short_of_memory));
    kv_buf_release(&body);
}
