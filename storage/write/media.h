/* Media, written: rows, references, and what processing leaves behind. The ledger's thread, inside
 * its transaction.
 *
 * Every refusal is decided before the first write, so a refused call leaves nothing behind. A blob
 * or a placement is dying from its last reference until its files are removed; nothing is added to
 * it meanwhile. Media.c holds references, media_work.c processing. */
#ifndef KV_STORAGE_WRITE_MEDIA_H
#define KV_STORAGE_WRITE_MEDIA_H

#include "proto/base/buf.h"
#include "storage/db.h"

/* A placed file on its way to be a row. */
typedef struct kv_media_new {
    uint64_t media;
    uint64_t blob; /* id to use if the bytes are new */
    uint64_t job;  /* id of the image-process job to name in the blob if one is wanted */
    kv_slice folder, filename;
    kv_slice hash, stored_hash; /* 32 bytes each */
    uint64_t size, width, height, strip_version;
    kv_slice mime, ext;
    bool dedup, process, metadata_kept;
    int64_t now;
    /* Asked before a placement is made that was not live: may it be, or was its file removed since
     * it was linked? */
    bool (*may_place)(void *arg);
    void *arg;
} kv_media_new;

typedef enum kv_media_outcome {
    KV_MEDIA_MADE,   /* a row was made */
    KV_MEDIA_WAS,    /* this media id has its row already: the message came twice */
    KV_MEDIA_SHARED, /* the same hash in the same folder: the row that was there */
    KV_MEDIA_DYING,  /* refused: being removed */
    KV_MEDIA_RELINK  /* refused by may_place */
} kv_media_outcome;

typedef struct kv_media_added {
    kv_media_outcome outcome;
    uint64_t media, blob; /* the row and its blob */
    bool deduplicated;    /* the bytes were here already */
    bool wants_job;       /* blob.job is set to the id given: the caller inserts that job now */
    uint64_t job_before;  /* the one it was set to, which has ended; 0: none */
} kv_media_added;
kv_err kv_media_add(kv_db *db, const kv_media_new *m, kv_media_added *ret);

/* What stands behind a media row, copied. */
typedef struct kv_media_where {
    uint64_t blob;
    uint64_t job; /* the last one that processed the blob; 0: none, or not asked for */
    int status;   /* of the media row, or where a blob was asked for, of it */
    char folder[256], ext[16], mime[128];
    uint8_t stored_hash[32];
} kv_media_where;
/* The object key of it, "banners/<hash>.jpg", appended. */
void kv_media_where_key(const kv_media_where *w, kv_buf *out);

typedef struct kv_media_removed {
    bool found;
    bool placement_dying, blob_dying; /* last reference: the files are to be removed now */
    uint64_t job;                     /* unfinished, of a dying blob; 0: none */
    kv_media_where where;
} kv_media_removed;
kv_err kv_media_remove(kv_db *db, uint64_t media, kv_media_removed *ret);

/* Files of these folders of a dying blob are gone: its rows go. */
kv_err kv_media_reaped_folder(kv_db *db, uint64_t blob, kv_slice folder);
/* After the folders: the blob and its aliases go once it is dying and no placement is left. */
kv_err kv_media_reaped_blob(kv_db *db, uint64_t blob);

/* ---- processing (media_work.c) ---- */

/* A FAILED row is PENDING again under a new job. *ret_found, then ret->status tells: only
 * KV_STATUS_FAILED was changed. */
kv_err kv_media_again(kv_db *db, uint64_t media, uint64_t job, int64_t now, bool *ret_found,
                      kv_media_where *ret);

/* The rest act on live blobs only; *ret_live false: the blob is dying or gone, nothing was written.
 */
kv_err kv_blob_begun(kv_db *db, uint64_t blob, uint64_t job, int64_t now, bool *ret_live);
typedef struct kv_blob_result {
    uint64_t width, height; /* 0: keep */
    kv_slice thumbhash;     /* bytes */
    kv_slice variants;      /* JSON array, storage/read/media.h */
} kv_blob_result;
kv_err kv_blob_processed(kv_db *db, uint64_t blob, int64_t now, const kv_blob_result *r,
                         bool *ret_live);
/* Only while `job` is the blob's job; rows that did not wait for it keep their status. */
kv_err kv_blob_failed(kv_db *db, uint64_t blob, uint64_t job, int64_t now, kv_slice slug,
                      kv_slice detail, bool *ret_live);
/* Names a new job for a live blob: the row is PENDING, so are its FAILED media rows. */
kv_err kv_blob_set_job(kv_db *db, uint64_t blob, uint64_t job, int64_t now);
/* A live placement of a live blob: `folder` itself if it is live, else another one. *ret_found
 * false: none. */
kv_err kv_blob_place(kv_db *db, uint64_t blob, kv_slice folder, bool *ret_found,
                     kv_media_where *ret);
/* Newest media rows of a blob, at most `max`. */
kv_err kv_blob_media(kv_db *db, uint64_t blob, uint64_t *ids, int max, int *ret_n);

#endif
