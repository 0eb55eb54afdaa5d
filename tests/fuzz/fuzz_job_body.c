/* Bodies of the job routes and messages of WebSocket clients. */
#include <stdint.h>

#include "gateway/job_body.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static kv_err see(void *arg, uint64_t job, bool on)
{
    (void)arg;
    (void)on;
    return job == 7 ? KV_E_BUSY : KV_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[KV_BODY_WHY];
    kv_slice text = kv_slice_of((const char *)data, size);
    kv_job_body job;
    kv_queue_set queue;
    kv_seen seen;
    json_t *tree = NULL;
    kv_watch_say say = {.watch = see};
    (void)kv_job_body_read(text, &job, why);
    kv_job_body_release(&job);
    (void)kv_queue_body_read(text, &queue, &tree, why);
    json_decref(tree);
    tree = NULL;
    (void)kv_seen_body_read(text, &seen, &tree, why);
    json_decref(tree);
    (void)kv_watch_body_read(text, &say, why);
    (void)kv_patch_check(text, why);
    return 0;
}
