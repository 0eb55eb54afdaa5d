/* image-process: what it leaves in blob and media rows. */
#include "broker/hooks.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>

#include "proto/base/log.h"
#include "storage/read/media.h"
#include "storage/read/variants.h"

enum { THUMBHASH_MAX = 64 };

kv_err kv_hooks_submit_image(kv_exec *x, uint64_t job, const kv_media_where *where,
                             uint64_t retry_of)
{
    char id[KV_ID_TEXT + 1];
    kv_buf key, params;
    kv_buf_init(&key, 0);
    kv_buf_init(&params, KV_JSON_MAX);
    kv_id_format(where->blob, id);
    kv_media_where_key(where, &key);
    kv_json_open(&params, '{');
    kv_json_key(&params, "blob");
    kv_json_cstr(&params, id);
    kv_json_key(&params, "key");
    kv_json_str(&params, kv_buf_slice(&key));
    kv_json_key(&params, "mime");
    kv_json_cstr(&params, where->mime);
    kv_json_close(&params, '}');
    kv_err err = kv_buf_ok(&key) && kv_buf_ok(&params)
                     ? kv_exec_make_job(x, job, KV_SERVICE_IMAGE, kv_buf_slice(&params),
                                        x->job_max_attempts, 0, retry_of)
                     : KV_E_NO_MEMORY;
    kv_buf_release(&key);
    kv_buf_release(&params);
    return err;
}

/* ---- params and result ---- */

static json_t *load(kv_slice text)
{
    return json_loadb(text.ptr ? text.ptr : "", text.len, JSON_REJECT_DUPLICATES, NULL);
}

static bool read_blob(const json_t *params, uint64_t *ret)
{
    const char *text = json_string_value(json_object_get(params, "blob"));
    return text && kv_id_parse(text, strlen(text), ret);
}

static bool word_valid(const json_t *v)
{
    const char *text = json_string_value(v);
    size_t len = text ? strlen(text) : 0;
    return len >= 1 && len <= 64 && strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-") == len;
}

static bool size_valid(const json_t *v, json_int_t least, json_int_t most)
{
    return json_is_integer(v) && json_integer_value(v) >= least && json_integer_value(v) <= most;
}

static bool variant_valid(const json_t *v)
{
    return json_is_object(v) && word_valid(json_object_get(v, "format")) &&
           word_valid(json_object_get(v, "params")) &&
           size_valid(json_object_get(v, "width"), 1, INT32_MAX) &&
           size_valid(json_object_get(v, "height"), 1, INT32_MAX) &&
           size_valid(json_object_get(v, "size"), 1, INT64_MAX) &&
           json_is_boolean(json_object_get(v, "full"));
}

static bool variants_valid(const json_t *list)
{
    if (!json_is_array(list) || json_array_size(list) > KV_VARIANTS_MAX)
        return false;
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!variant_valid(json_array_get(list, i)))
            return false;
    }
    return true;
}

typedef struct parsed {
    json_t *root;
    char *variants; /* of malloc */
    uint8_t thumbhash[THUMBHASH_MAX];
    kv_blob_result result;
} parsed;

static bool parse_result(kv_slice text, parsed *p)
{
    *p = (parsed){.root = load(text)};
    const json_t *width = json_object_get(p->root, "width"),
                 *height = json_object_get(p->root, "height");
    const json_t *variants = json_object_get(p->root, "variants");
    const char *thumb = json_string_value(json_object_get(p->root, "thumbhash"));
    size_t n = 0;
    bool thumb_valid = !thumb || kv_base64_decode(thumb, p->thumbhash, sizeof p->thumbhash, &n);
    if (!size_valid(width, 0, INT32_MAX) || !size_valid(height, 0, INT32_MAX) ||
        !variants_valid(variants) || !thumb_valid)
        return false;
    p->variants = json_dumps(variants, JSON_COMPACT);
    p->result = (kv_blob_result){.width = (uint64_t)json_integer_value(width),
                                 .height = (uint64_t)json_integer_value(height),
                                 .thumbhash = kv_slice_of((const char *)p->thumbhash, n),
                                 .variants = kv_slice_str(p->variants)};
    return p->variants != NULL;
}

static void parsed_release(parsed *p)
{
    json_decref(p->root);
    free(p->variants);
}

/* ---- the hook ---- */

static bool blob_of(const kv_hook_job *job, uint64_t *ret)
{
    json_t *params = load(job->params);
    bool ok = read_blob(params, ret);
    json_decref(params);
    if (!ok)
        kv_log(KV_LOG_ERROR, "job_params_malformed", KV_ID("jobId", job->id));
    return ok;
}

static kv_err begun(kv_exec *x, const kv_hook_job *job)
{
    uint64_t blob;
    bool live;
    if (!blob_of(job, &blob))
        return KV_OK;
    KV_TRY(kv_blob_begun(x->db, blob, job->id, x->now, &live));
    return live ? kv_exec_blob_event(x, KV_EVENT_MEDIA_PROCESSING, blob) : KV_OK;
}

static kv_err mark_failed(kv_exec *x, uint64_t blob, const kv_hook_job *job, kv_slice slug,
                          kv_slice detail)
{
    bool live;
    KV_TRY(kv_blob_failed(x->db, blob, job->id, x->now, slug, detail, &live));
    return live ? kv_exec_blob_event(x, KV_EVENT_MEDIA_FAILED, blob) : KV_OK;
}

static kv_err complete(kv_exec *x, const kv_hook_job *job, kv_slice result)
{
    uint64_t blob;
    bool live;
    parsed p;
    if (!blob_of(job, &blob))
        return KV_OK;
    if (!parse_result(result, &p)) {
        parsed_release(&p);
        kv_log(KV_LOG_ERROR, "image_result_malformed", KV_ID("jobId", job->id));
        return mark_failed(x, blob, job, kv_slice_str(kv_err_info_of(KV_E_INTERNAL)->slug),
                           kv_slice_str("the worker's result is malformed"));
    }
    kv_err err = kv_blob_processed(x->db, blob, x->now, &p.result, &live);
    if (err == KV_OK && live)
        err = kv_exec_blob_event(x, KV_EVENT_MEDIA_READY, blob);
    else if (err == KV_OK) /* deleted meanwhile: what was made for it goes, too */
        err = kv_hooks_submit_reap(x, blob, kv_slice_of(NULL, 0), true, 0);
    parsed_release(&p);
    return err;
}

/* Of the file that is read; ptr NULL: none is named. */
static kv_slice folder_of(const json_t *params)
{
    const char *key = json_string_value(json_object_get(params, "key"));
    const char *end = key ? strrchr(key, '/') : NULL;
    return end ? kv_slice_of(key, (size_t)(end - key)) : kv_slice_of(NULL, 0);
}

/* The file that was to be read went with its folder's last row. While the blob lives in another
 * folder, a new job reads it there. Without it, what an attempt has kept before its worker was lost
 * is nobody's. */
static kv_err file_gone(kv_exec *x, uint64_t blob, const kv_hook_job *job, bool *ret_gone)
{
    json_t *params = load(job->params);
    kv_slice folder = folder_of(params);
    kv_media_where where;
    bool found = false;
    kv_err err = folder.ptr ? kv_blob_place(x->db, blob, folder, &found, &where) : KV_OK;
    *ret_gone = folder.ptr && !(found && kv_slice_is(folder, where.folder));
    if (err == KV_OK && *ret_gone && found) {
        uint64_t again = kv_exec_id(x);
        err = kv_blob_set_job(x->db, blob, again, x->now);
        if (err == KV_OK)
            err = kv_hooks_submit_image(x, again, &where, job->id);
    } else if (err == KV_OK && *ret_gone && job->leased) {
        /* a worker that was silent may still be at it */
        err = kv_hooks_submit_reap(x, blob, kv_slice_of(NULL, 0), true, x->now + KV_LATER_MS);
    }
    json_decref(params);
    return err;
}

static kv_err failed(kv_exec *x, const kv_hook_job *job, kv_slice slug, kv_slice detail)
{
    uint64_t blob;
    bool gone;
    if (!blob_of(job, &blob))
        return KV_OK;
    KV_TRY(file_gone(x, blob, job, &gone));
    return gone ? KV_OK : mark_failed(x, blob, job, slug, detail);
}

/* ---- once more ---- */

kv_err kv_hooks_image_again(kv_exec *x, const kv_hook_job *old, uint64_t new_job,
                            const char **ret_refused)
{
    json_t *params = load(old->params);
    uint64_t blob;
    kv_media_where where;
    bool found = false;
    kv_err err = KV_OK;
    if (read_blob(params, &blob))
        err = kv_blob_place(x->db, blob, folder_of(params), &found, &where);
    json_decref(params);
    if (err != KV_OK)
        return err;
    bool own = found && where.job == old->id && where.status == KV_STATUS_FAILED;
    *ret_refused = !found ? "its media was deleted"
                   : !own ? "its media is not FAILED by this job (any more)"
                          : NULL;
    if (!own)
        return KV_OK;
    KV_TRY(kv_blob_set_job(x->db, blob, new_job, x->now));
    KV_TRY(kv_exec_blob_event(x, KV_EVENT_MEDIA_PROCESSING, blob));
    return kv_hooks_submit_image(x, new_job, &where, old->id);
}

const kv_hook kv_hook_image = {KV_SERVICE_IMAGE, begun, complete, failed};
