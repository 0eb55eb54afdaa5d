/* Working: handlers in threads of their own, before them an actor that holds leases, answers and
 * hears cancels. */
#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "proto/actor.h"
#include "proto/base/log.h"
#include "proto/base/text.h"
#include "proto/base/wake.h"
#include "proto/jobs_state.h"

enum {
    TICK_MS = 500,
    REPORT_MS = 60000, /* then it is sent again: the broker may be away for long */
    THREADS_MAX = 256,
    REPORTS_MAX = 64 /* of a job, not sent yet */
};

typedef struct report {
    struct report *next;
    unsigned percent;
    bool sent;   /* nothing may be put into it any more */
    char *patch; /* NULL: none */
} report;

typedef struct row {
    kv_work *first, *last;
} row;

struct kv_work {
    kv_work *next, *next_queued; /* next: of all in hand, the actor's */
    kv_job_worker *worker;
    kv_header head;
    uint64_t job, epoch, attempt;
    atomic_bool cancelled;
    /* under the lock */
    report *first_report, *last_report;
    unsigned reports;
    bool finished; /* the handler has returned: all below is the actor's */
    /* the handler's, then the actor's */
    kv_err err;
    bool retry;
    char *result;
    char detail[KV_DETAIL_MAX + 1];
    /* the actor's */
    bool asking; /* a report or the answer is on its way */
    bool heard_cancel;
    size_t params_len;
    char params[];
};

struct kv_job_worker {
    kv_job_worker_opts opts;
    char *broker, *service, name[KV_SESSION_NAME];
    void *zmq;
    kv_actor *actor;
    pthread_t threads[THREADS_MAX];
    unsigned running;
    int fd; /* something for the actor to look at */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    row queued; /* for a thread to take */
    bool stop;
    kv_work *all; /* the actor's */
    bool watched;
};

/* ---- handlers ---- */

static kv_work *next_queued(kv_job_worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->stop && !w->queued.first)
        pthread_cond_wait(&w->wake, &w->lock);
    kv_work *j = w->stop ? NULL : w->queued.first;
    if (j && !(w->queued.first = j->next_queued))
        w->queued.last = NULL;
    pthread_mutex_unlock(&w->lock);
    return j;
}

static void *handle_jobs(void *arg)
{
    kv_job_worker *w = arg;
    pthread_setname_np(pthread_self(), "handler");
    for (kv_work *j; (j = next_queued(w));) {
        if (!kv_work_cancelled(j))
            j->err = w->opts.handler(j, w->opts.arg);
        pthread_mutex_lock(&w->lock);
        j->finished = true;
        pthread_mutex_unlock(&w->lock);
        kv_wake(w->fd);
    }
    return NULL;
}

uint64_t kv_work_id(const kv_work *job)
{
    return job->job;
}

uint64_t kv_work_attempt(const kv_work *job)
{
    return job->attempt;
}

kv_slice kv_work_params(const kv_work *job)
{
    return kv_slice_of(job->params, job->params_len);
}

bool kv_work_cancelled(const kv_work *job)
{
    return atomic_load(&job->cancelled);
}

static kv_err add_report(kv_work *job, report *r)
{
    kv_err err = KV_OK;
    pthread_mutex_lock(&job->worker->lock);
    if (job->last_report && !job->last_report->sent && !job->last_report->patch && !r->patch) {
        job->last_report->percent = r->percent;
        err = KV_E_CONFLICT; /* there is no need of it */
    } else if (job->reports >= REPORTS_MAX) {
        err = KV_E_BUSY;
    } else {
        if (job->last_report)
            job->last_report->next = r;
        else
            job->first_report = r;
        job->last_report = r;
        job->reports++;
    }
    pthread_mutex_unlock(&job->worker->lock);
    return err;
}

static void report_free(report *r)
{
    free(r->patch);
    free(r);
}

kv_err kv_work_progress(kv_work *job, unsigned percent, const char *patch)
{
    if (percent > 100 || (patch && !kv_job_text_fits(kv_slice_str(patch), KV_PATCH_MAX)))
        return KV_E_BAD_PARAMETER;
    if (kv_work_cancelled(job))
        return KV_OK;
    report *r = calloc(1, sizeof *r);
    if (!r)
        return KV_E_NO_MEMORY;
    r->percent = percent;
    if (patch && !(r->patch = strdup(patch))) {
        free(r);
        return KV_E_NO_MEMORY;
    }
    kv_err err = add_report(job, r);
    if (err != KV_OK)
        report_free(r);
    else
        kv_wake(job->worker->fd);
    return err == KV_E_CONFLICT ? KV_OK : err;
}

kv_err kv_work_result(kv_work *job, const char *json)
{
    if (!kv_job_text_fits(kv_slice_str(json), KV_JSON_MAX))
        return KV_E_BAD_PARAMETER;
    char *copy = strdup(json);
    if (!copy)
        return KV_E_NO_MEMORY;
    free(job->result);
    job->result = copy;
    return KV_OK;
}

void kv_work_fail(kv_work *job, bool retry, const char *detail)
{
    job->retry = retry;
    kv_job_detail_set(job->detail, detail);
}

/* ---- the actor: what is sent ---- */

static void work_free(kv_work *j)
{
    for (report *r = j->first_report, *next; r; r = next) {
        next = r->next;
        report_free(r);
    }
    free(j->result);
    free(j);
}

static void let_go(kv_job_worker *w, kv_work *j, kv_out *out)
{
    kv_work **at = &w->all;
    while (*at != j)
        at = &(*at)->next;
    *at = j->next;
    kv_out_lease_done(out, j->job, j->epoch, j->attempt);
    work_free(j);
}

static void cancel(kv_job_worker *w, kv_work *j)
{
    if (j->heard_cancel)
        return;
    j->heard_cancel = true;
    atomic_store(&j->cancelled, true);
    pthread_mutex_lock(&w->lock);
    bool in_hand = !j->finished;
    pthread_mutex_unlock(&w->lock);
    if (in_hand && w->opts.on_cancel)
        w->opts.on_cancel(j, w->opts.arg);
}

static void send_answer(kv_work *j, kv_out *out);

static void on_answer(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    kv_work *j = arg;
    j->asking = false;
    if (kv_answer_again(err, answer))
        return; /* the tick sends it again */
    if (err != KV_OK)
        kv_log(KV_LOG_WARN, "answer_refused", KV_ID("jobId", j->job), KV_ERRNAME("code", err));
    if (err == KV_E_BAD_MESSAGE && j->err == KV_OK) { /* else the job would hang */
        j->err = KV_E_BAD_PARAMETER;
        kv_work_fail(j, false, "the handler's result is not valid JSON");
        send_answer(j, out);
        return;
    }
    let_go(self, j, out);
}

static void send_answer(kv_work *j, kv_out *out)
{
    kv_job_end end = {.job = j->job,
                      .epoch = j->epoch,
                      .attempt = j->attempt,
                      .result = kv_slice_str(j->result ? j->result : "{}"),
                      .err = j->err,
                      .detail = j->detail,
                      .retry = j->retry};
    j->asking = kv_out_end_job(out, &j->head, &end, on_answer, j) == KV_OK;
}

static void look_at(kv_job_worker *w, kv_work *j, kv_out *out);

static void on_reported(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    kv_work *j = arg;
    kv_job_worker *w = self;
    j->asking = false;
    if (err == KV_E_STALE_LEASE)
        cancel(w, j);
    if (kv_answer_again(err, answer) && !j->heard_cancel)
        return; /* it is still the first */
    if (err != KV_OK && err != KV_E_STALE_LEASE)
        kv_log(KV_LOG_WARN, "progress_refused", KV_ID("jobId", j->job), KV_ERRNAME("code", err));
    pthread_mutex_lock(&w->lock);
    report *r = j->first_report;
    j->first_report = r->next;
    if (!r->next)
        j->last_report = NULL;
    j->reports--;
    pthread_mutex_unlock(&w->lock);
    report_free(r);
    look_at(w, j, out);
}

/* The first report; a handler may still change its percent until it is sent. */
static void send_report(kv_job_worker *w, kv_work *j, kv_out *out)
{
    pthread_mutex_lock(&w->lock);
    report *r = j->first_report;
    r->sent = true;
    kv_msg m = {.code = KV_JOB_PROGRESS,
                .job_progress = {.job = j->job,
                                 .epoch = j->epoch,
                                 .attempt = j->attempt,
                                 .progress = r->percent,
                                 .patch = kv_slice_str(r->patch ? r->patch : "")}};
    pthread_mutex_unlock(&w->lock);
    j->asking = kv_out_ask(out, &j->head, &m, REPORT_MS, on_reported, j) == KV_OK;
}

/* What is to be said of it now: reports before the answer. */
static void look_at(kv_job_worker *w, kv_work *j, kv_out *out)
{
    pthread_mutex_lock(&w->lock);
    bool finished = j->finished, reports = j->first_report != NULL;
    pthread_mutex_unlock(&w->lock);
    if (j->asking)
        return;
    if (j->heard_cancel) {
        if (finished)
            let_go(w, j, out);
    } else if (reports) {
        send_report(w, j, out);
    } else if (finished) {
        send_answer(j, out);
    }
}

/* ---- the actor: what comes ---- */

static void look_at_all(kv_job_worker *w, kv_out *out)
{
    for (kv_work *j = w->all, *next; j; j = next) {
        next = j->next;
        look_at(w, j, out);
    }
}

static void on_fd(void *self, int fd, kv_out *out)
{
    kv_wake_taken(fd);
    look_at_all(self, out);
}

static void watch(kv_job_worker *w, kv_out *out)
{
    if (!w->watched)
        kv_out_watch_fd(out, w->fd, on_fd);
    w->watched = true;
}

static void tick(void *self, int64_t now_us, kv_out *out)
{
    (void)now_us;
    watch(self, out);
    look_at_all(self, out);
}

static void on_job(void *self, const kv_in *in, kv_out *out)
{
    kv_job_worker *w = self;
    const kv_job *m = &in->msg->job;
    kv_work *j = calloc(1, sizeof *j + m->params.len + 1);
    watch(w, out);
    if (!j) {
        kv_log(KV_LOG_ERROR, "job_dropped", KV_ID("jobId", m->job),
               KV_ERRNAME("code", KV_E_NO_MEMORY));
        kv_out_lease_done(out, m->job, m->epoch, m->attempt);
        return; /* the Stuck Job Guard ends it */
    }
    j->worker = w;
    j->job = m->job;
    j->epoch = m->epoch;
    j->attempt = m->attempt;
    j->params_len = m->params.len;
    if (m->params.len)
        memcpy(j->params, m->params.ptr, m->params.len);
    if (in->head)
        j->head = *in->head;
    j->next = w->all;
    w->all = j;
    pthread_mutex_lock(&w->lock);
    if (w->queued.last)
        w->queued.last->next_queued = j;
    else
        w->queued.first = j;
    w->queued.last = j;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}

static void on_cancel(void *self, const kv_in *in, kv_out *out)
{
    kv_job_worker *w = self;
    const kv_job_cancel *m = &in->msg->job_cancel;
    for (kv_work *j = w->all, *next; j; j = next) {
        next = j->next;
        if (j->job != m->job || j->epoch != m->epoch || j->attempt != m->attempt)
            continue;
        cancel(w, j);
        look_at(w, j, out);
    }
}

/* ---- life ---- */

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    kv_job_worker *w = *(kv_job_worker *const *)arg;
    (void)cfg;
    *ret_self = w;
    for (; w->running < w->opts.threads; w->running++) {
        if (pthread_create(&w->threads[w->running], NULL, handle_jobs, w) != 0)
            return KV_E_NO_MEMORY;
    }
    return KV_OK;
}

/* What the session held is given back already. */
static void destroy(void **self)
{
    kv_job_worker *w = *self;
    for (kv_work *j = w->all; j; j = j->next)
        cancel(w, j);
    pthread_mutex_lock(&w->lock);
    w->stop = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (unsigned i = 0; i < w->running; i++)
        pthread_join(w->threads[i], NULL);
    for (kv_work *j = w->all, *next; j; j = next) {
        next = j->next;
        work_free(j);
    }
    *self = NULL;
}

static bool drained(void *self)
{
    return ((const kv_job_worker *)self)->all == NULL;
}

static const kv_handler handlers[] = {{KV_JOB, on_job}, {KV_JOB_CANCEL, on_cancel}, {0, NULL}};
static const kv_actor_def def = {.name = "jobs",
                                 .handlers = handlers,
                                 .create = create,
                                 .destroy = destroy,
                                 .tick = tick,
                                 .tick_ms = TICK_MS,
                                 .drained = drained};

kv_err kv_job_worker_start(const kv_job_worker_opts *opts, kv_job_worker **ret)
{
    *ret = NULL;
    if (opts->threads < 1 || opts->threads > THREADS_MAX || !opts->service ||
        !kv_service_name_valid(kv_slice_str(opts->service)))
        return KV_E_BAD_PARAMETER;
    kv_job_worker *w = calloc(1, sizeof *w);
    if (!w)
        return KV_E_NO_MEMORY;
    w->opts = *opts;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    kv_session_name(w->name, opts->name ? opts->name : "worker");
    w->broker = kv_job_client_endpoint(opts->broker, "KERVAN_BROKER", "broker.sock");
    w->service = strdup(opts->service);
    w->zmq = zmq_ctx_new();
    w->fd = kv_wake_open();
    kv_err err = w->broker && w->service && w->zmq && w->fd >= 0 ? KV_OK : KV_E_NO_MEMORY;
    kv_actor_spec spec = {.def = &def,
                          .arg = &w,
                          .zmq = w->zmq,
                          .clock = &kv_clock_real,
                          .broker = w->broker,
                          .role = "worker",
                          .session_name = w->name,
                          .service = w->service,
                          .credit = opts->threads};
    if (err == KV_OK)
        err = kv_actor_start(&spec, &w->actor);
    *ret = w;
    if (err != KV_OK)
        kv_job_worker_stop(ret, 0);
    return err;
}

void kv_job_worker_stop(kv_job_worker **self, int64_t drain_ms)
{
    kv_job_worker *w = *self;
    if (!w)
        return;
    kv_actor_stop(&w->actor, drain_ms);
    if (w->zmq)
        zmq_ctx_term(w->zmq);
    if (w->fd >= 0)
        close(w->fd);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    free(w->broker);
    free(w->service);
    free(w);
    *self = NULL;
}
