/* Bodies of the job routes and messages of WebSocket clients: what they are read to keeps the
 * limits of its message, for the codec asserts them, and the broker takes it for a message. */
#include <stdint.h>
#include <stdlib.h>

#include "gateway/job_body.h"
#include "proto/codec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool good)
{
    if (!good)
        abort();
}

static kv_err see(void *arg, uint64_t job, bool on)
{
    (void)arg;
    (void)on;
    demand(job != 0 && job >> 63 == 0);
    return job == 7 ? KV_E_BUSY : KV_OK;
}

static void check_message(const kv_msg *m)
{
    kv_buf out;
    kv_msg again;
    kv_buf_init(&out, 0);
    kv_body_encode(m, &out);
    demand(kv_buf_ok(&out));
    demand(kv_body_decode(m->code, out.data, out.len, &again, NULL) == KV_OK);
    kv_buf_release(&out);
}

static void check_job(kv_slice text)
{
    char why[KV_BODY_WHY] = "";
    kv_job_body job;
    kv_err err = kv_job_body_read(text, &job, why);
    demand((err == KV_OK) == (why[0] == '\0'));
    if (err == KV_OK)
        check_message(&(kv_msg){.code = KV_SUBMIT, .submit = job.submit});
    kv_job_body_release(&job);
}

static void check_queue(kv_slice text)
{
    char why[KV_BODY_WHY] = "";
    json_t *tree = NULL;
    kv_queue_set queue;
    kv_err err = kv_queue_body_read(text, &queue, &tree, why);
    demand((err == KV_OK) == (why[0] == '\0'));
    if (err == KV_OK)
        check_message(&(kv_msg){.code = KV_QUEUE_SET, .queue_set = queue});
    json_decref(tree);
}

static void check_seen(kv_slice text)
{
    char why[KV_BODY_WHY] = "";
    json_t *tree = NULL;
    kv_seen seen;
    kv_err err = kv_seen_body_read(text, &seen, &tree, why);
    demand((err == KV_OK) == (why[0] == '\0'));
    if (err == KV_OK)
        check_message(&(kv_msg){.code = KV_SEEN, .seen = seen});
    json_decref(tree);
}

static void check_patch(kv_slice text)
{
    char why[KV_BODY_WHY] = "";
    kv_msg m;
    kv_msg_defaults(KV_METADATA, &m);
    m.metadata.patch = text;
    if (kv_patch_check(text, why) == KV_OK)
        check_message(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char why[KV_BODY_WHY] = "";
    kv_slice text = kv_slice_of((const char *)data, size);
    kv_watch_say say = {.watch = see};
    check_job(text);
    check_queue(text);
    check_seen(text);
    check_patch(text);
    (void)kv_watch_body_read(text, &say, why);
    return 0;
}
