/* What clients send about jobs, queues, notifications and watches. Limits are those of
 * proto/messages.h. Pure; any thread. */
#ifndef KV_GATEWAY_JOB_BODY_H
#define KV_GATEWAY_JOB_BODY_H

#include "proto/base/text.h"
#include "gateway/body.h"
#include "proto/messages.h"

#define KV_NAME_MAX 64 /* bytes of a service, tenant, user */

/* A body of POST /api/jobs. submit.job 0: the client made no id. Slices point into the text and
 * into `tree`. BAD_REQUEST, BAD_PARAMETER, BAD_ID, with `why` in English. */
typedef struct kv_job_body {
    kv_submit submit;
    char tags[KV_TAGS_MAX * (KV_TAG_MAX + 1)]; /* with their commas */
    json_t *tree;                              /* owned */
} kv_job_body;
kv_err kv_job_body_read(kv_slice text, kv_job_body *ret, char why[KV_BODY_WHY]);
void kv_job_body_release(kv_job_body *b); /* after a failure too */

/* Whether `text` is one JSON object that may be merged into metadata. */
kv_err kv_patch_check(kv_slice text, char why[KV_BODY_WHY]);

/* A body of PATCH /api/admin/queues/:service; what is not named stays as it is (-1). `tree` is
 * freed by the caller (json_decref), also after a failure. */
kv_err kv_queue_body_read(kv_slice text, kv_queue_set *ret, json_t **tree, char why[KV_BODY_WHY]);

/* {"user":"…","id":"…"}: notification 0 when there is no id: all. */
kv_err kv_seen_body_read(kv_slice text, kv_seen *ret, json_t **tree, char why[KV_BODY_WHY]);

/* What a WebSocket client says: {"watch":["id",…],"unwatch":["id",…],"queues":true}. Calls
 * `watch` for each id; what it returns ends the reading. queues: -1 not said, else 0 or 1. */
typedef struct kv_watch_say {
    kv_err (*watch)(void *arg, uint64_t job, bool on);
    void *arg;
    int queues;
} kv_watch_say;
kv_err kv_watch_body_read(kv_slice text, kv_watch_say *say, char why[KV_BODY_WHY]);

#endif
