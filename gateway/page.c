/* The page and its assets out of the binary. Assets have their hash in the name and never change;
 * index.html always asks. */
#include "gateway/page.h"

#include <stdio.h>

#include "gateway/answer.h"
#include "gateway/negotiate.h"
#include "gateway/route.h"

static const kv_page_file *find(const char *folder, kv_slice name)
{
    size_t n = strlen(folder);
    for (const kv_page_file *f = kv_page_files; f->path != NULL; f++)
        if (strncmp(f->path, folder, n) == 0 && kv_slice_is(name, f->path + n))
            return f;
    return NULL;
}

static bool host_plain(h2o_iovec_t h)
{
    for (size_t i = 0; i < h.len; i++) {
        char c = h.base[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '.' || c == '-' || c == ':' || c == '[' || c == ']';
        if (!ok)
            return false;
    }
    return h.len != 0 && h.len < 256;
}

/* scheme://host[:port] of MEDIA_BASE_URL, or nothing. */
static kv_slice media_origin(const char *base)
{
    const char *host = strstr(base, "://");
    if (host == NULL)
        return kv_slice_of(NULL, 0);
    host += 3;
    return kv_slice_of(base, (size_t)(host - base) + strcspn(host, "/; ,"));
}

/* Own scripts and styles only; pictures may be blobs (previews), data (thumbhash) or come from the
 * CDN. ws:// is named because not every browser takes 'self' for it. */
static void add_policy(kv_request *r)
{
    kv_slice cdn = media_origin(r->loop->gw->cfg->media_base_url);
    h2o_iovec_t host = r->req->input.authority;
    kv_buf b;
    kv_buf_init(&b, 4096);
    kv_buf_addf(&b,
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: "
                "blob: %.*s; media-src 'self' blob: %.*s; ",
                KV_SLICE_FMT(cdn), KV_SLICE_FMT(cdn));
    kv_buf_adds(&b, "connect-src 'self'");
    if (host_plain(host))
        kv_buf_addf(&b, " ws://%.*s wss://%.*s", (int)host.len, host.base, (int)host.len,
                    host.base);
    kv_buf_adds(&b, "; base-uri 'none'; form-action 'none'; frame-ancestors 'none'");
    kv_add_header(r->req, "content-security-policy", kv_buf_str(&b));
    kv_buf_release(&b);
    kv_add_header(r->req, "referrer-policy", "same-origin");
    kv_add_header(r->req, "cross-origin-opener-policy", "same-origin");
}

/* gzip named with a quality above 0. */
static bool takes_gzip(kv_request *r)
{
    return kv_accept_names(kv_header_list(r->req, "accept-encoding"), "gzip") != 0;
}

static void serve(kv_request *r, const kv_page_file *f, const char *cache_control)
{
    h2o_req_t *req = r->req;
    bool gzip = f->gzip != NULL && takes_gzip(r);
    char etag[96];
    size_t n = strlen(f->etag);
    /* another coding is another representation */
    snprintf(etag, sizeof(etag), "%.*s%s\"", (int)(n - 1), f->etag, gzip ? "-gz" : "");
    kv_add_header(req, "etag", etag);
    kv_add_header(req, "cache-control", cache_control);
    kv_add_vary(req, "accept-encoding");
    kv_slice match = kv_header_list(req, "if-none-match");
    if (match.len != 0 && kv_etag_listed(match, kv_slice_str(etag))) {
        kv_answer_empty(req, 304);
        return;
    }
    if (gzip)
        kv_add_header(req, "content-encoding", "gzip");
    kv_answer_static(req, 200, f->type, gzip ? f->gzip : f->bytes, gzip ? f->gzip_len : f->len);
}

void kv_route_page(kv_request *r)
{
    const kv_page_file *f = find("", kv_slice_str("index.html"));
    if (f == NULL) {
        kv_answer_problem(r->req, KV_E_NOT_FOUND, NULL, 0);
        return;
    }
    add_policy(r);
    serve(r, f, "no-cache");
}

void kv_route_asset(kv_request *r)
{
    const kv_page_file *f = find("assets/", r->param);
    if (f == NULL)
        kv_answer_problem(r->req, KV_E_NOT_FOUND, NULL, 0);
    else
        serve(r, f, "public, max-age=31536000, immutable");
}
