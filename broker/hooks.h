/* What the end of a job does to other tables, by service, in the transaction of the job's change.
 * The ledger's thread.
 *
 * image-process: params {"blob":"<id>","key":"banners/<hash>.jpg","mime":"image/jpeg"}; result
 * {"width":W,"height":H,"thumbhash":"<base64>",
 * "variants":[{"format","width","height","size","params","full"}]}. Its blob and media rows become
 * READY or FAILED. blob-reap: params {"blob":"<id>","keys":["banners/<hash>.jpg"],"variants":true};
 * its end completes a removal and counts gone_seq. */
#ifndef KV_BROKER_HOOKS_H
#define KV_BROKER_HOOKS_H

#include "broker/exec.h"
#include "broker/services.h"
#include "storage/write/media.h"

typedef struct kv_hook_job {
    uint64_t id;
    kv_slice params;
    bool leased; /* some worker had it */
} kv_hook_job;

typedef struct kv_hook {
    const char *service;
    kv_err (*begun)(kv_exec *x, const kv_hook_job *job); /* leased; may be NULL */
    kv_err (*complete)(kv_exec *x, const kv_hook_job *job, kv_slice result);
    kv_err (*failed)(kv_exec *x, const kv_hook_job *job, kv_slice slug,
                     kv_slice detail); /* error or cancelled */
} kv_hook;
const kv_hook *kv_hook_of(kv_slice service); /* NULL: none */

/* The job is named in the blob already. `retry_of`: an ended one that it does again; 0: none. */
kv_err kv_hooks_submit_image(kv_exec *x, uint64_t job, const kv_media_where *where,
                             uint64_t retry_of);
/* An ended job of image-process again, as MEDIA_RETRY would. *ret_refused: why not (a literal), or
 * NULL. */
kv_err kv_hooks_image_again(kv_exec *x, const kv_hook_job *old, uint64_t new_job,
                            const char **ret_refused);
/* `key` empty: variants only. */
kv_err kv_hooks_submit_reap(kv_exec *x, uint64_t blob, kv_slice key, bool variants,
                            int64_t not_before);

/* ---- hook_image.c, hook_reap.c ---- */
extern const kv_hook kv_hook_image, kv_hook_reap;

#endif
