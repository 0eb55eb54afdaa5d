/* Media, read. A handle of KV_DB_READ (gateway) or the ledger's own. */
#ifndef KV_STORAGE_READ_MEDIA_H
#define KV_STORAGE_READ_MEDIA_H

#include "proto/base/buf.h"
#include "storage/db.h"

enum { KV_STATUS_PENDING, KV_STATUS_READY, KV_STATUS_FAILED };
const char *kv_status_name(int status); /* "PENDING" … */

/* One row as JSON, the only place that makes it:
 * {"id","url","hash","stored_hash","size","mime","folder","filename","status","jobId" (while
 * PENDING),"width","height","thumbhash"
 * (base64 or
 * null),"metadata_kept","variants":[{"url","format","width","height","size"}],"error","error_detail","processingStartedAt",
 * "processingCompletedAt","created_at","updated_at","original_saved_bytes"}. Times as text;
 * width/height null when 0. `base` is MEDIA_BASE_URL. blob.variants holds
 * [{"format":"webp","width":640,"height":480,"size":123,"params":"q80e4-1a2b3c","full":false}]. */
kv_err kv_media_get_json(kv_db *db, const char *base, uint64_t id, kv_buf *out); /* NOT_FOUND */

typedef struct kv_media_filter {
    kv_slice folder; /* empty: all; else this folder and those below it */
    int status;      /* -1: all */
    kv_slice search; /* part of the file name, see name_match.h; empty: all */
    uint64_t before; /* cursor: ids below this one; 0: newest */
    uint32_t limit;  /* 1..200 */
} kv_media_filter;
/* {"items":[…],"next":"cursor id or null"}: newest first. A page looks at a bounded number of rows,
 * so under a filter that few rows pass it may hold fewer than `limit` items, even none, and still
 * have a next: go on until it is null. BAD_PARAMETER: a field out of range. */
kv_err kv_media_list_json(kv_db *db, const char *base, const kv_media_filter *f, kv_buf *out);
/* {"folders":[{"folder":"banners","count":3}],"next":"name or null"}: by name, those behind `after`
 * (empty: from the first). */
#define KV_FOLDERS_PAGE_MAX 10000 /* about 5 ms */
kv_err kv_media_folders_json(kv_db *db, kv_slice after, uint32_t limit, kv_buf *out);

/* What serving needs to know of one public path. NOT_FOUND when there is no live placement. Strings
 * are copied into `out`. */
typedef struct kv_media_file {
    uint64_t blob, size;
    int status;
    char mime[128], ext[8];
    char filename[256]; /* of the oldest media row, for Content-Disposition */
    uint32_t width, height;
    int64_t created_at;
} kv_media_file;
kv_err kv_media_file_find(kv_db *db, kv_slice folder, const uint8_t stored_hash[32],
                          kv_media_file *ret, kv_buf *variants_json);
/* The object key of a live placement of these kept bytes, in `folder` if there is one, else in any
 * other folder; appended to `key`. NOT_FOUND when the bytes are not here. */
kv_err kv_media_placement_find(kv_db *db, const uint8_t stored_hash[32], kv_slice folder,
                               kv_buf *key);
/* Whether a live row stands behind an object key ("banners/<hash>.jpg"): the sweep asks. */
kv_err kv_media_key_live(kv_db *db, const char *key, bool *ret_live);

#endif
