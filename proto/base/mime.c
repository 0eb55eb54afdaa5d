/* The types of media_name.h. Names are those of libmagic 5.44 and of what browsers declare. */
#include "proto/base/media_name.h"

#include <strings.h>

#define IMAGE  true
#define INLINE true

static const kv_mime_info rows[] = {
    {"image/jpeg", "jpg jpeg jfif", "image/jpg image/pjpeg image/x-citrix-jpeg", IMAGE, INLINE,
     KV_STRIP_JPEG, false},
    {"image/png", "png", "image/x-png image/x-citrix-png image/vnd.mozilla.apng image/apng", IMAGE,
     INLINE, KV_STRIP_PNG, false},
    {"image/webp", "webp", "image/x-webp", IMAGE, INLINE, KV_STRIP_WEBP, false},
    {"image/gif", "gif", "", IMAGE, INLINE, KV_STRIP_GIF, false},
    {"image/avif", "avif", "image/avif-sequence", IMAGE, INLINE, KV_STRIP_NONE, false},
    {"image/heic", "heic heif", "image/heif image/heic-sequence image/heif-sequence", IMAGE, INLINE,
     KV_STRIP_NONE, false},
    {"application/pdf", "pdf", "application/x-pdf application/acrobat", false, false, KV_STRIP_NONE,
     false},
    {"video/mp4", "mp4 m4v", "video/x-m4v application/mp4", false, INLINE, KV_STRIP_NONE, false},
    {"audio/mpeg", "mp3", "audio/mp3 audio/x-mp3 audio/mpeg3 audio/x-mpeg-3 audio/x-mpeg", false,
     INLINE, KV_STRIP_NONE, false},
    {"application/zip", "zip",
     "application/x-zip-compressed application/x-zip application/zip-compressed", false, false,
     KV_STRIP_NONE, false},
    {"text/plain", "txt text log md csv",
     "text/csv application/csv text/x-csv text/markdown text/x-markdown text/x-log", false, false,
     KV_STRIP_NONE, false},
    /* known, so that they are refused by their name */
    {"image/tiff", "tif tiff", "image/x-tiff image/tif", false, false, KV_STRIP_NONE, true},
    {"image/svg+xml", "svg svgz", "image/svg image/svg-xml", false, false, KV_STRIP_NONE, true},
};

static const size_t row_count = sizeof rows / sizeof *rows;

/* Whether `word` is one of the words of `list`, which blanks part. */
static bool in_words(const char *list, kv_slice word)
{
    while (*list) {
        size_t n = strcspn(list, " ");
        if (n == word.len && strncasecmp(list, word.ptr, n) == 0)
            return true;
        list += n;
        list += strspn(list, " ");
    }
    return false;
}

static kv_slice trim(kv_slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s.ptr++, s.len--;
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

const kv_mime_info *kv_mime_find(kv_slice mime)
{
    const char *semicolon = mime.len ? memchr(mime.ptr, ';', mime.len) : NULL;

    if (semicolon)
        mime.len = (size_t)(semicolon - mime.ptr);
    mime = trim(mime);
    if (mime.len == 0)
        return NULL;
    for (size_t i = 0; i < row_count; i++) {
        if (in_words(rows[i].mime, mime) || in_words(rows[i].aliases, mime))
            return &rows[i];
    }
    return NULL;
}

const kv_mime_info *kv_mime_by_ext(kv_slice ext)
{
    if (ext.len == 0)
        return NULL;
    for (size_t i = 0; i < row_count; i++) {
        if (in_words(rows[i].exts, ext))
            return &rows[i];
    }
    return NULL;
}

const char *kv_mime_ext(const kv_mime_info *m, char out[8])
{
    size_t n = strcspn(m->exts, " ");

    memcpy(out, m->exts, n); /* no extension of the table is longer than 7 */
    out[n] = '\0';
    return out;
}
