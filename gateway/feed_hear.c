/* What live clients say over WebSocket. */
#include "gateway/feed_watch.h"
#include "gateway/job_body.h"

static kv_err hear_watch(void *arg, uint64_t job, bool on)
{
    kv_feed_client *c = arg;
    return kv_feed_watch_job(kv_feed_watch_of(c), c, job, on);
}

static void answer_error(kv_feed_client *c, kv_err err, const char *why)
{
    kv_buf json;
    kv_buf_init(&json, 4096);
    kv_json_open(&json, '{');
    kv_json_key(&json, "type");
    kv_json_cstr(&json, "error");
    kv_json_key(&json, "code");
    kv_json_cstr(&json, kv_err_info_of(err)->slug);
    kv_json_key(&json, "detail");
    kv_json_cstr(&json, *why != '\0' ? why : kv_err_info_of(err)->en);
    kv_json_close(&json, '}');
    if (kv_buf_ok(&json) && c->q.pending.len + c->unsent < c->q.limit)
        (void)kv_live_put(&c->q, "error", kv_buf_slice(&json)); /* who reads nothing gets none */
    kv_buf_release(&json);
}

void kv_feed_hear(kv_feed_client *c, kv_slice text)
{
    kv_feed_watch *watch = kv_feed_watch_of(c);
    if (watch == NULL)
        return;
    char why[KV_BODY_WHY] = "";
    kv_watch_say say = {.watch = hear_watch, .arg = c};
    kv_err err = kv_watch_body_read(text, &say, why);
    if (err == KV_OK && say.queues == 1 && !c->admin)
        err = KV_E_FORBIDDEN;
    if (err != KV_OK)
        answer_error(c, err, why);
    else if (say.queues >= 0)
        kv_feed_watch_queues(watch, c, say.queues == 1);
    kv_feed_watch_send(watch);
    kv_feed_watch_flush(watch, c);
    if (c->q.pending.len != 0)
        c->transport->wake(c);
}
