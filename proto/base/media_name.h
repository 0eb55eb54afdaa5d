/* Names of media: folders, file names, types, and the one function that makes a media URL
 * (getMediaUrl of the requirements). Pure; any thread. */
#ifndef KV_BASE_MEDIA_NAME_H
#define KV_BASE_MEDIA_NAME_H

#include <stdbool.h>
#include <stdint.h>

#include "proto/base/buf.h"
#include "proto/base/error.h"

#define KV_FOLDER_MAX   255 /* bytes of a whole folder path */
#define KV_FILENAME_MAX 255 /* bytes of UTF-8 */

/* "haber/2026": 1..4 parts of 1..64 [a-z0-9_-]; not "static", not starting with "-". Empty is
 * allowed by the callers as the default folder "genel" before they ask. */
bool kv_folder_valid(kv_slice folder);
/* Whether `folder` is `root` or below it ("haber/2026" is below "haber"). */
bool kv_folder_below(kv_slice folder, kv_slice root);

/* The name a client gave: valid UTF-8, 1..255 bytes, no control characters, no / or \, no bidi
 * overrides (U+202A..E, U+2066..9, U+200E/F), not "." or "..", no reserved device names (CON, NUL,
 * COM1 …). BAD_FILENAME otherwise. */
kv_err kv_filename_check(kv_slice name);
kv_slice
kv_filename_ext(kv_slice name); /* "jpg" of "a.JPG" as written, without the dot; empty if none */

/* Types kervan knows; a row each. `exts` are accepted extensions, the first one is used in URLs. */
typedef enum kv_strip {
    KV_STRIP_NONE,
    KV_STRIP_JPEG,
    KV_STRIP_PNG,
    KV_STRIP_WEBP,
    KV_STRIP_GIF
} kv_strip; /* GIF: dimensions only */
typedef struct kv_mime_info {
    const char *mime;
    const char *exts; /* "jpg jpeg jfif" */
    const char
        *aliases;   /* other names clients declare or libmagic gives: "image/jpg image/pjpeg" */
    bool image;     /* goes to image-process */
    bool inline_ok; /* may be shown by a browser on our origin */
    kv_strip strip;
    bool not_yet; /* known, and refused with TYPE_NOT_YET (TIFF, SVG) */
} kv_mime_info;
const kv_mime_info *
kv_mime_find(kv_slice mime); /* by name or alias, parameters ignored; NULL: unknown */
const kv_mime_info *kv_mime_by_ext(kv_slice ext);            /* case-insensitive; NULL: unknown */
const char *kv_mime_ext(const kv_mime_info *m, char out[8]); /* first of exts */

/* The canonical URL: <base>/api/static/<folder>/<stored_hash>.<ext>. `base` is MEDIA_BASE_URL (""
 * or "https://cdn…"). */
void kv_media_url(kv_buf *out, const char *base, kv_slice folder, const char *stored_hash_hex,
                  kv_slice ext);
/* A variant's: <base>/api/static/<folder>/<stored_hash>.w640-<params>.webp ; full size has width 0
 * and "full". */
void kv_variant_url(kv_buf *out, const char *base, kv_slice folder, const char *stored_hash_hex,
                    uint32_t width, kv_slice params, kv_slice ext);

/* Splits what follows /api/static/: folder, 64 hex digits, optional variant. false: not a media
 * path. Rejects "..", ".tmp", upper-case hex, empty parts, escapes (already decoded once by the
 * caller). */
typedef struct kv_static_path {
    kv_slice folder, hash_hex, ext;
    bool is_variant;
    uint32_t width; /* 0: full */
    kv_slice params;
} kv_static_path;
bool kv_static_path_parse(kv_slice path, kv_static_path *ret);

/* Object keys (storage/object.h) of the same things. */
void kv_media_key(kv_buf *out, kv_slice folder, const char *stored_hash_hex,
                  kv_slice ext); /* "banners/<hash>.jpg" */
void kv_variant_key(kv_buf *out, uint64_t blob_id, uint32_t width, kv_slice params,
                    kv_slice ext);                     /* ".variants/<id>/w640-<params>.webp" */
void kv_variant_prefix(kv_buf *out, uint64_t blob_id); /* ".variants/<id>/" */

#endif
