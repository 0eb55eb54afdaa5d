#include "proto/out.h"

#include <assert.h>

void kv_out_send(kv_out *out, int peer, const kv_header *head, const kv_msg *m, zmq_msg_t *payload)
{
    out->ops->send(out, peer, head, m, payload);
}

kv_err kv_out_ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                  kv_out_answer_fn fn, void *arg)
{
    assert(fn);
    return out->ops->ask(out, head, m, timeout_ms, fn, arg);
}

void kv_out_watch_fd(kv_out *out, int fd, kv_out_fd_fn fn)
{
    assert(fd >= 0 && fn);
    out->ops->watch_fd(out, fd, fn);
}

void kv_out_unwatch_fd(kv_out *out, int fd)
{
    out->ops->unwatch_fd(out, fd);
}

void kv_out_set_credit(kv_out *out, uint64_t credit)
{
    out->ops->set_credit(out, credit);
}

void kv_out_lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    out->ops->lease_done(out, job, epoch, attempt);
}

kv_err kv_out_end_job(kv_out *out, const kv_header *head, const kv_job_end *end,
                      kv_out_answer_fn fn, void *arg)
{
    kv_msg m;
    if (end->err == KV_OK) {
        kv_msg_defaults(KV_JOB_DONE, &m);
        m.job_done.job = end->job;
        m.job_done.epoch = end->epoch;
        m.job_done.attempt = end->attempt;
        m.job_done.result = end->result;
    } else {
        kv_msg_defaults(KV_JOB_FAIL, &m);
        m.job_fail.job = end->job;
        m.job_fail.epoch = end->epoch;
        m.job_fail.attempt = end->attempt;
        m.job_fail.number = (uint64_t)end->err;
        m.job_fail.detail = kv_slice_str(end->detail);
        m.job_fail.retry = end->retry;
    }
    return kv_out_ask(out, head, &m, KV_JOB_END_MS, fn, arg);
}

const kv_clock *kv_out_clock(kv_out *out)
{
    return out->clock;
}
