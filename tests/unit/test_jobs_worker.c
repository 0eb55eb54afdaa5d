/* The C client for services that work, against a broker that the test plays in a thread. */
#include "proto/batch.h"
#include "tests/unit/played_broker.h"

static void give_job(stage *s, uint64_t job, const char *params)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB, &m);
    m.job = (kv_job){.job = job,
                     .epoch = 1,
                     .attempt = 4,
                     .service = kv_slice_str("work"),
                     .params = kv_slice_str(params)};
    reply(s, 0, &m);
}

static void take_done(stage *s, const kv_header *head, const kv_job_done *m)
{
    assert(m->epoch == 1 && m->attempt == 4);
    if (m->job == 1 && s->script++ == 0) {
        assert(s->count[KV_JOB_PROGRESS] >= 2); /* reports come first */
        assert(kv_slice_is(m->result, "{\"n\":5}"));
        refuse(s, head->request, KV_E_DISK_FULL, 10);
    } else if (m->job == 1) {
        okay(s, head->request);
        give_job(s, 2, "\"cancel\"");
    } else {
        assert(m->job == 3);
        refuse(s, head->request, KV_E_BAD_MESSAGE, 0);
    }
}

/* A detail is whole characters of UTF-8: the stage reads no other. */
static void take_fail(stage *s, const kv_header *head, const kv_job_fail *m)
{
    static const char *const next[] = {[3] = "\"fail\"", [4] = "\"odd\""};
    s->ids[m->job] = m->number;
    assert(m->retry == (m->job == 4));
    okay(s, head->request);
    if (m->job < 5)
        give_job(s, m->job + 1, next[m->job]);
    else
        assert(m->detail.len == 1023 && memcmp(m->detail.ptr, "a?z", 3) == 0);
}

static void play_work(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg cancel;
    switch (m->code) {
    case KV_READY:
        okay(s, head->request);
        if (m->ready.credit == 2)
            give_job(s, 1, "\"well\"");
        break;
    case KV_JOB_PROGRESS:
        okay(s, head->request);
        if (m->job_progress.job == 2) {
            kv_msg_defaults(KV_JOB_CANCEL, &cancel);
            cancel.job_cancel = (kv_job_cancel){.job = 2, .epoch = 1, .attempt = 4};
            reply(s, 0, &cancel);
            give_job(s, 3, "\"nonsense\"");
        }
        break;
    case KV_JOB_DONE:
        take_done(s, head, &m->job_done);
        break;
    case KV_JOB_FAIL:
        take_fail(s, head, &m->job_fail);
        break;
    default:
        abort();
    }
}

static atomic_int heard, stopped;

/* What is no UTF-8 goes into no message. */
static kv_err fail_oddly(kv_work *job)
{
    char detail[1100];
    if (kv_work_progress(job, 1, "{\"a\":\"\xff\"}") != KV_E_BAD_PARAMETER ||
        kv_work_result(job, "\"\xc5\"") != KV_E_BAD_PARAMETER)
        abort();
    memset(detail, 'a', sizeof detail);
    memcpy(detail, "a\377z", 3);
    memcpy(detail + 1023, "\xc5\x9f", 3); /* over the limit by a byte */
    kv_work_fail(job, false, detail);
    return KV_E_INTERNAL;
}

static kv_err handle(kv_work *job, void *arg)
{
    kv_slice what = kv_work_params(job);
    (void)arg;
    if (kv_slice_is(what, "\"well\"")) {
        kv_err err = kv_work_progress(job, 10, "{\"seen\":true}");
        if (err == KV_OK)
            err = kv_work_progress(job, 60, NULL);
        if (kv_work_progress(job, 101, NULL) != KV_E_BAD_PARAMETER || kv_work_attempt(job) != 4)
            return KV_E_INTERNAL;
        return err == KV_OK ? kv_work_result(job, "{\"n\":5}") : err;
    }
    if (kv_slice_is(what, "\"cancel\"")) {
        (void)kv_work_progress(job, 1, NULL);
        while (!kv_work_cancelled(job))
            zmq_poll(NULL, 0, 1);
        stopped++;
        return KV_OK;
    }
    if (kv_slice_is(what, "\"nonsense\""))
        return kv_work_result(job, "{");
    if (kv_slice_is(what, "\"odd\""))
        return fail_oddly(job);
    kv_work_fail(job, true, "not today");
    return KV_E_IO;
}

static void on_cancel(kv_work *job, void *arg)
{
    (void)arg;
    heard += kv_work_id(job) == 2;
}

static void jobs_are_worked_cancelled_and_failed(void **state)
{
    stage *s = begin(state, play_work);
    kv_job_worker *w;
    kv_job_worker_opts opts = {.broker = s->broker,
                               .name = "test",
                               .service = "work",
                               .threads = 2,
                               .handler = handle,
                               .on_cancel = on_cancel};
    opts.threads = 0;
    assert_int_equal(kv_job_worker_start(&opts, &w), KV_E_BAD_PARAMETER);
    opts.threads = 2;
    opts.service = "No Service";
    assert_int_equal(kv_job_worker_start(&opts, &w), KV_E_BAD_PARAMETER);
    opts.service = "work";
    assert_int_equal(kv_job_worker_start(&opts, &w), KV_OK);
    await(s, KV_JOB_FAIL, 3);
    kv_job_worker_stop(&w, WAIT_MS);
    await(s, KV_BYE, 1);
    assert_int_equal(heard, 1);
    assert_int_equal(stopped, 1);
    assert_int_equal(s->count[KV_JOB_DONE], 3);
    assert_int_equal(s->ids[3], KV_E_BAD_PARAMETER);
    assert_int_equal(s->ids[4], KV_E_IO);
    assert_int_equal(s->ids[5], KV_E_INTERNAL);
    assert_int_equal(s->count[KV_READY], 2); /* the second with credit 0 */
}

static atomic_int side_by_side, said_all, let_alone;

static void play_several(stage *s, const kv_header *head, const kv_msg *m)
{
    kv_msg cancel;
    switch (m->code) {
    case KV_READY:
        okay(s, head->request);
        for (uint64_t job = 1; m->ready.credit == 3 && job <= 3; job++)
            give_job(s, job, "\"together\"");
        break;
    case KV_JOB_PROGRESS:
        while (!said_all) /* the answer comes late */
            zmq_poll(NULL, 0, 1);
        s->requests[0] = m->job_progress.progress;
        okay(s, head->request);
        break;
    case KV_JOB_DONE:
        assert(m->job_done.job != 4);
        if (s->count[KV_JOB_DONE] == 3) {
            give_job(s, 4, "\"alone\"");
            give_job(s, 5, "\"behind it\"");
        } else if (m->job_done.job == 5) {
            kv_msg_defaults(KV_JOB_CANCEL, &cancel);
            cancel.job_cancel = (kv_job_cancel){.job = 4, .epoch = 1, .attempt = 4};
            reply(s, 0, &cancel);
        }
        okay(s, head->request);
        break;
    default:
        abort();
    }
}

static kv_err handle_several(kv_work *job, void *arg)
{
    (void)arg;
    if (kv_slice_is(kv_work_params(job), "\"alone\"")) {
        while (!kv_work_cancelled(job))
            zmq_poll(NULL, 0, 1);
        let_alone++;
        return KV_OK;
    }
    for (side_by_side++; side_by_side < 3;)
        zmq_poll(NULL, 0, 1);
    for (unsigned i = 1; kv_work_id(job) == 1 && i <= 1000; i++) {
        if (kv_work_progress(job, i / 10, NULL) != KV_OK)
            return KV_E_INTERNAL;
    }
    said_all |= kv_work_id(job) == 1;
    return KV_OK;
}

/* As many jobs at once as there are threads, each with its own reports, answer and end; of percents
 * that cannot be sent yet the newest is. */
static void several_jobs_are_worked_at_once(void **state)
{
    stage *s = begin(state, play_several);
    kv_job_worker *w;
    kv_job_worker_opts opts = {
        .broker = s->broker, .service = "work", .threads = 3, .handler = handle_several};
    assert_int_equal(kv_job_worker_start(&opts, &w), KV_OK);
    await(s, KV_JOB_DONE, 4);
    kv_job_worker_stop(&w, WAIT_MS);
    await(s, KV_BYE, 1);
    assert_int_equal(s->count[KV_JOB_DONE], 4);
    assert_int_equal(let_alone, 1);
    assert_int_equal(s->requests[0], 100);
    assert_in_range(s->count[KV_JOB_PROGRESS], 1, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(jobs_are_worked_cancelled_and_failed, make, drop),
        cmocka_unit_test_setup_teardown(several_jobs_are_worked_at_once, make, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
