#include "actors/reaper.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/id.h"
#include "proto/base/lock.h"
#include "proto/base/log.h"
#include "proto/base/media_name.h"
#include "proto/base/words.h"
#include "storage/object.h"

enum { KEYS_MAX = 4096, KEY_LEN_MAX = 400, CREDIT = 16, TICK_MS = 1000 };

typedef struct answer {
    struct answer *next;
    bool due; /* to be sent (again) by the next tick */
    kv_header head;
    uint64_t job, epoch, attempt;
    kv_err err;
    bool retry;
} answer;

typedef struct reaper {
    const char *data;
    kv_store *store;
    answer *answers; /* without their OKAY */
    int lock_fd;     /* -1: another reaper is at work, no jobs for this one */
    bool waits;      /* has said so */
} reaper;

/* ---- the work ---- */

/* Keys of media only: what begins with a dot (.tmp, .variants) is never named by a job. */
static bool key_fits(const char *key)
{
    size_t len = strlen(key);
    return len > 0 && len <= KEY_LEN_MAX && key[0] != '.' && key[0] != '/' && !strstr(key, "..");
}

static kv_err check_keys(const json_t *keys)
{
    if (!json_is_array(keys) || json_array_size(keys) > KEYS_MAX)
        return KV_E_BAD_PARAMETER;
    for (size_t i = 0; i < json_array_size(keys); i++) {
        const char *key = json_string_value(json_array_get(keys, i));
        if (!key || !key_fits(key))
            return KV_E_BAD_PARAMETER;
    }
    return KV_OK;
}

static kv_err remove_variants(kv_store *store, uint64_t blob)
{
    kv_buf prefix;
    kv_buf_init(&prefix, 0);
    kv_variant_prefix(&prefix, blob);
    kv_err err =
        kv_buf_ok(&prefix) ? kv_store_delete_prefix(store, kv_buf_str(&prefix)) : KV_E_NO_MEMORY;
    if (err == KV_OK) {
        prefix.data[--prefix.len] = '\0'; /* the slash */
        err = kv_store_sync_folders(store, (const char *const[]){prefix.data}, 1);
    }
    kv_buf_release(&prefix);
    return err;
}

/* The rows go next: what came back after a power cut would be nobody's. */
static kv_err remove_keys(kv_store *store, const json_t *keys)
{
    size_t n = json_array_size(keys);
    const char **list = calloc(n ? n : 1, sizeof *list);
    kv_err err = list ? KV_OK : KV_E_NO_MEMORY;
    for (size_t i = 0; err == KV_OK && i < n; i++) {
        list[i] = json_string_value(json_array_get(keys, i));
        err = kv_store_delete(store, list[i]);
    }
    if (err == KV_OK && n)
        err = kv_store_sync_folders(store, list, n);
    free(list);
    return err;
}

static kv_err reap(kv_store *store, kv_slice params)
{
    const char *blob_text = NULL;
    uint64_t blob = 0;
    json_t *keys = NULL;
    int variants = 0;
    kv_err err = KV_E_BAD_PARAMETER;
    json_t *root = json_loadb(params.ptr, params.len, JSON_REJECT_DUPLICATES, NULL);
    if (!root ||
        json_unpack(root, "{s:s,s:o,s:b}", "blob", &blob_text, "keys", &keys, "variants",
                    &variants) ||
        !kv_id_parse(blob_text, strlen(blob_text), &blob))
        goto cleanup;
    err = check_keys(keys); /* all before the first is removed */
    if (err == KV_OK)
        err = kv_store_in_place(store);
    if (err == KV_OK)
        err = remove_keys(store, keys);
    if (err == KV_OK && variants)
        err = remove_variants(store, blob);
cleanup:
    json_decref(root);
    return err;
}

/* ---- answers ---- */

static void forget(reaper *r, answer *a)
{
    answer **at = &r->answers;
    while (*at != a)
        at = &(*at)->next;
    *at = a->next;
    free(a);
}

static void on_answer(void *self, void *arg, kv_err err, const kv_msg *msg, kv_out *out)
{
    answer *a = arg;
    if (kv_answer_again(err, msg)) {
        a->due = true;
        return;
    }
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "reap_answer_refused", KV_ID("jobId", a->job), KV_ERRNAME("code", err));
    kv_out_lease_done(out, a->job, a->epoch, a->attempt);
    forget(self, a);
}

static void send_answer(answer *a, kv_out *out)
{
    kv_job_end end = {.job = a->job,
                      .epoch = a->epoch,
                      .attempt = a->attempt,
                      .result = kv_slice_str("{}"),
                      .err = a->err,
                      .detail = kv_err_info_of(a->err)->en,
                      .retry = a->retry};
    a->due = kv_out_end_job(out, &a->head, &end, on_answer, a) != KV_OK;
}

/* ---- shell ---- */

static void on_job(void *self, const kv_in *in, kv_out *out)
{
    reaper *r = self;
    const kv_job *m = &in->msg->job;
    answer *a = calloc(1, sizeof *a);
    if (!a) {
        kv_log(KV_LOG_ERROR, "reap_no_memory",
               KV_ID("jobId", m->job)); /* the Stuck Job Guard ends it */
        return;
    }
    *a = (answer){.job = m->job, .epoch = m->epoch, .attempt = m->attempt};
    if (in->head)
        a->head = *in->head;
    a->err = reap(r->store, m->params);
    a->retry = a->err != KV_OK && a->err != KV_E_BAD_PARAMETER;
    kv_log(a->err == KV_OK ? KV_LOG_INFO : KV_LOG_ERROR, "blob_reaped", KV_ID("jobId", m->job),
           KV_ERRNAME("code", a->err));
    a->next = r->answers;
    r->answers = a;
    send_answer(a, out);
}

/* Removing takes no time worth stopping for. */
static void on_cancel(void *self, const kv_in *in, kv_out *out)
{
    (void)self;
    (void)in;
    (void)out;
}

/* One reaper of a data folder. A second one could finish a job whose first holder is stopped; once
 * that one goes on it would remove files that were stored anew meanwhile. */
static void take_turn(reaper *r, kv_out *out)
{
    kv_err err = kv_lock_take(r->data, "reaper", &r->lock_fd);
    if (err == KV_OK)
        kv_out_set_credit(out, CREDIT);
    else if (!r->waits)
        kv_log(KV_LOG_WARN, "reaper_waits", KV_ERRNAME("code", err),
               KV_STR("what", "another worker removes files of this data folder"));
    r->waits = err != KV_OK;
}

static void tick(void *self, int64_t now_us, kv_out *out)
{
    reaper *r = self;
    (void)now_us;
    if (r->lock_fd < 0)
        take_turn(r, out);
    for (answer *a = r->answers; a; a = a->next) {
        if (a->due)
            send_answer(a, out);
    }
}

static bool drained(void *self)
{
    const reaper *r = self;
    return !r->answers;
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    (void)arg;
    reaper *r = calloc(1, sizeof *r);
    if (!r)
        return KV_E_NO_MEMORY;
    r->data = cfg->data;
    r->lock_fd = -1;
    kv_err err = kv_store_open_config(cfg, &r->store);
    if (err != KV_OK) {
        free(r);
        return err;
    }
    *ret_self = r;
    return KV_OK;
}

static void destroy(void **self)
{
    reaper *r = *self;
    if (!r)
        return;
    for (answer *a = r->answers, *next; a; a = next) {
        next = a->next;
        free(a);
    }
    kv_store_close(&r->store);
    if (r->lock_fd >= 0)
        close(r->lock_fd);
    free(r);
    *self = NULL;
}

static const kv_handler handlers[] = {{KV_JOB, on_job}, {KV_JOB_CANCEL, on_cancel}, {0, NULL}};

const kv_actor_def kv_reaper_actor = {
    .name = KV_WORKER_REAPER,
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .tick = tick,
    .tick_ms = TICK_MS,
    .drained = drained,
};
