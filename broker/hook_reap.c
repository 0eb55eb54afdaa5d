/* blob-reap: the end of a removal. */
#include "broker/hooks.h"

#include <jansson.h>

#include "proto/base/log.h"
#include "storage/write/counters.h"

kv_err kv_hooks_submit_reap(kv_exec *x, uint64_t blob, kv_slice key, bool variants,
                            int64_t not_before)
{
    char id[KV_ID_TEXT + 1];
    kv_buf params;
    kv_buf_init(&params, KV_JSON_MAX);
    kv_id_format(blob, id);
    kv_json_open(&params, '{');
    kv_json_key(&params, "blob");
    kv_json_cstr(&params, id);
    kv_json_key(&params, "keys");
    kv_json_open(&params, '[');
    if (key.len)
        kv_json_str(&params, key);
    kv_json_close(&params, ']');
    kv_json_key(&params, "variants");
    kv_json_bool(&params, variants);
    kv_json_close(&params, '}');
    kv_err err = kv_buf_ok(&params) ? kv_exec_make_job(x, 0, KV_SERVICE_REAP, kv_buf_slice(&params),
                                                       KV_REAP_ATTEMPTS, not_before, 0)
                                    : KV_E_NO_MEMORY;
    kv_buf_release(&params);
    return err;
}

static kv_err key_removed(kv_exec *x, uint64_t blob, const char *key)
{
    const char *end = strrchr(key, '/');
    if (!end)
        return KV_OK;
    if (!kv_gone_add(&x->gone, kv_slice_str(key), x->next_gone))
        return KV_E_NO_MEMORY;
    return kv_media_reaped_folder(x->db, blob, kv_slice_of(key, (size_t)(end - key)));
}

static kv_err complete(kv_exec *x, const kv_hook_job *job, kv_slice result)
{
    (void)result;
    uint64_t blob;
    json_t *params = json_loadb(job->params.ptr ? job->params.ptr : "", job->params.len, 0, NULL);
    const char *id = json_string_value(json_object_get(params, "blob"));
    const json_t *keys = json_object_get(params, "keys");
    kv_err err = KV_OK;
    if (!id || !kv_id_parse(id, strlen(id), &blob)) {
        kv_log(KV_LOG_ERROR, "job_params_malformed", KV_ID("jobId", job->id));
        goto done;
    }
    err = kv_counter_add(x->db, "gone_seq", 1, &x->next_gone);
    for (size_t i = 0; i < json_array_size(keys) && err == KV_OK; i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        if (key)
            err = key_removed(x, blob, key);
    }
    if (err == KV_OK)
        err = kv_media_reaped_blob(x->db, blob);
done:
    json_decref(params);
    return err;
}

/* Its rows would stay dying for ever: a new job goes on. */
static kv_err failed(kv_exec *x, const kv_hook_job *job, kv_slice slug, kv_slice detail)
{
    kv_log(KV_LOG_ERROR, "removal_failed", KV_ID("jobId", job->id), KV_SLICE("code", slug),
           KV_SLICE("detail", detail));
    return kv_exec_make_job(x, 0, KV_SERVICE_REAP, job->params, KV_REAP_ATTEMPTS,
                            x->now + KV_LATER_MS, job->id);
}

const kv_hook kv_hook_reap = {KV_SERVICE_REAP, NULL, complete, failed};
