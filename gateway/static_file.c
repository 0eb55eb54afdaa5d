/* The headers of a served file. */
#include "gateway/static_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "proto/base/media_name.h"

#define EXACT_CACHE "public, max-age=31536000, immutable"

static bool attr_char(unsigned char c) /* RFC 8187 */
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("!#$&+-.^_`|~", c) != NULL);
}

void kv_disposition(kv_buf *out, bool attachment, kv_slice filename)
{
    kv_buf_adds(out, attachment ? "attachment; filename=\"" : "inline; filename=\"");
    for (size_t i = 0; i < filename.len; i++) {
        unsigned char c = (unsigned char)filename.ptr[i];
        bool plain = c >= 0x20 && c < 0x7f && c != '"' && c != '\\' && c != '%';
        if (plain)
            kv_buf_addc(out, (char)c);
        else if (c < 0x80 || c >= 0xc0) /* one "_" a character */
            kv_buf_addc(out, '_');
    }
    kv_buf_adds(out, "\"; filename*=UTF-8''");
    for (size_t i = 0; i < filename.len; i++) {
        unsigned char c = (unsigned char)filename.ptr[i];
        if (attr_char(c))
            kv_buf_addc(out, (char)c);
        else
            kv_buf_addf(out, "%%%02X", c);
    }
}

static void set(kv_static_file *f, unsigned at, const h2o_token_t *token, h2o_iovec_t *name,
                const char *value)
{
    f->headers[at] = (h2o_header_t){.name = token != NULL ? (h2o_iovec_t *)&token->buf : name,
                                    .value = h2o_iovec_init(value, strlen(value))};
}

/* "photo.jpg" served as WebP is "photo.webp". */
static void name_of_variant(kv_buf *out, kv_slice filename, kv_slice ext)
{
    kv_slice old = kv_filename_ext(filename);
    size_t stem = filename.len - (old.len != 0 ? old.len + 1 : 0);
    kv_buf_add(out, filename.ptr, stem);
    kv_buf_addc(out, '.');
    kv_buf_add(out, ext.ptr, ext.len);
}

/* Whatever a file holds, it runs nothing and loads nothing. A player is a page of the browser's own
 * that loads the file once more; in a sandbox it may not. */
static const char *policy_of(const char *mime)
{
    if (strncmp(mime, "audio/", 6) == 0 || strncmp(mime, "video/", 6) == 0)
        return "default-src 'none'; media-src 'self'";
    return "sandbox; default-src 'none'";
}

kv_err kv_static_file_describe(kv_static_file *f, kv_slice filename, kv_slice ext)
{
    static h2o_iovec_t nosniff = {H2O_STRLIT("x-content-type-options")},
                       corp = {H2O_STRLIT("cross-origin-resource-policy")},
                       csp = {H2O_STRLIT("content-security-policy")};
    const kv_mime_info *info = kv_mime_find(kv_slice_str(f->mime));
    bool image = info != NULL && info->image;
    kv_buf name, disposition;
    kv_buf_init(&name, 1024);
    kv_buf_init(&disposition, 4096);
    if (f->is_variant)
        name_of_variant(&name, filename, ext);
    else if (filename.len != 0)
        kv_buf_add(&name, filename.ptr, filename.len);
    kv_disposition(&disposition, info == NULL || !info->inline_ok, kv_buf_slice(&name));
    f->disposition =
        kv_buf_ok(&name) && kv_buf_ok(&disposition) ? strdup(kv_buf_str(&disposition)) : NULL;
    kv_buf_release(&name);
    kv_buf_release(&disposition);
    if (f->disposition == NULL)
        return KV_E_NO_MEMORY;

    time_t t = (time_t)f->modified_s;
    struct tm tm;
    gmtime_r(&t, &tm);
    h2o_time2str_rfc1123(f->modified, &tm);
    /* text without a charset would be guessed by browsers */
    static const char charset[] = "; charset=utf-8";
    size_t n = strlen(f->mime);
    if (strncmp(f->mime, "text/", 5) == 0 && n + sizeof(charset) <= sizeof(f->mime))
        memcpy(f->mime + n, charset, sizeof(charset));

    set(f, KV_H_CACHE_CONTROL, H2O_TOKEN_CACHE_CONTROL, NULL, EXACT_CACHE);
    set(f, KV_H_ETAG, H2O_TOKEN_ETAG, NULL, f->etag);
    set(f, KV_H_LAST_MODIFIED, H2O_TOKEN_LAST_MODIFIED, NULL, f->modified);
    set(f, KV_H_NOSNIFF, NULL, &nosniff, "nosniff");
    set(f, KV_H_CORP, NULL, &corp, "cross-origin");
    set(f, KV_H_CONTENT_TYPE, H2O_TOKEN_CONTENT_TYPE, NULL, f->mime);
    set(f, KV_H_DISPOSITION, H2O_TOKEN_CONTENT_DISPOSITION, NULL, f->disposition);
    set(f, KV_H_ACCEPT_RANGES, H2O_TOKEN_ACCEPT_RANGES, NULL, "bytes");
    f->header_count = KV_H_CSP;
    if (!image) {
        set(f, KV_H_CSP, NULL, &csp, policy_of(f->mime));
        f->header_count = KV_H_COUNT;
    }
    return KV_OK;
}
