#include "actors/image/answer.h"

#include <assert.h>
#include <stdlib.h>

#include "proto/base/log.h"

enum { PROGRESS_MS = 5000 };

void kv_image_let_go(kv_image_job *j, kv_out *out)
{
    if (j->report_fd >= 0)
        kv_out_unwatch_fd(out, j->report_fd);
    kv_out_lease_done(out, j->job, j->epoch, j->attempt);
    kv_image_job_close(j);
}

static void on_progress_answer(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    (void)self;
    (void)arg;
    (void)err; /* a stale lease is told by JOB_CANCEL, or by the answer to the result */
    (void)answer;
    (void)out;
}

static void on_answer(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    kv_image_job *j = arg;
    (void)self;
    assert(j->phase == KV_PHASE_ANSWERED);
    if (kv_answer_again(err, answer)) {
        j->phase = KV_PHASE_ANSWER; /* the next tick sends it again */
        return;
    }
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "image_answer_refused", KV_ID("jobId", j->job),
               KV_ERRNAME("code", err));
    kv_image_let_go(j, out);
}

void kv_image_answer(kv_image_job *j, kv_out *out)
{
    kv_job_end end = {.job = j->job,
                      .epoch = j->epoch,
                      .attempt = j->attempt,
                      .result = kv_buf_slice(&j->result),
                      .err = j->err,
                      .detail = j->detail,
                      .retry = j->retry};
    j->phase = KV_PHASE_ANSWERED;
    if (kv_out_end_job(out, &j->head, &end, on_answer, j) != KV_OK)
        j->phase = KV_PHASE_ANSWER;
}

void kv_image_finish(kv_image_job *j, kv_out *out)
{
    if (j->cancelled) {
        kv_image_let_go(j, out);
        return;
    }
    kv_log(j->err == KV_OK ? KV_LOG_INFO : KV_LOG_WARN,
           j->err == KV_OK ? "image_done" : "image_failed", KV_ID("jobId", j->job),
           KV_ID("blob", j->keeping.blob), KV_U64("width", j->width), KV_U64("height", j->height),
           KV_U64("variants", j->keeping.count),
           KV_I64("ms", (kv_mono_us(kv_out_clock(out)) - j->begun_us) / 1000),
           KV_ERRNAME("code", j->err), KV_STR("detail", j->detail), KV_BOOL("retry", j->retry));
    kv_image_answer(j, out);
}

void kv_image_fail(kv_image_job *j, kv_err err, bool retry, const char *detail, kv_out *out)
{
    kv_image_job_fail(j, err, retry, detail);
    kv_image_finish(j, out);
}

void kv_image_tell_progress(kv_image_job *j, uint64_t progress, kv_out *out)
{
    kv_msg m;
    if (progress == 0 || j->cancelled)
        return;
    kv_msg_defaults(KV_JOB_PROGRESS, &m);
    m.job_progress.job = j->job;
    m.job_progress.epoch = j->epoch;
    m.job_progress.attempt = j->attempt;
    m.job_progress.progress = progress;
    /* A lost one is made good by the next. */
    (void)kv_out_ask(out, &j->head, &m, PROGRESS_MS, on_progress_answer, NULL);
}

static void on_refusal_answer(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    (void)self;
    (void)err;
    (void)answer;
    kv_job *job = arg;
    kv_out_lease_done(out, job->job, job->epoch, job->attempt);
    free(job);
}

void kv_image_refuse(const kv_in *in, kv_out *out)
{
    kv_job *job = malloc(sizeof *job);
    if (!job)
        return; /* the lease ends by the Stuck Job Guard */
    *job = in->msg->job;
    kv_job_end end = {.job = job->job,
                      .epoch = job->epoch,
                      .attempt = job->attempt,
                      .err = KV_E_BUSY,
                      .detail = "over the credit of this worker",
                      .retry = true};
    if (kv_out_end_job(out, in->head, &end, on_refusal_answer, job) != KV_OK) {
        kv_out_lease_done(out, job->job, job->epoch, job->attempt);
        free(job);
    }
}
