#include "actors/image/image.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "actors/image/answer.h"
#include "actors/image/zygote_link.h"
#include "proto/base/log.h"
#include "proto/base/words.h"

enum {
    CREDIT_MAX = 256, /* what the zygote has room for */
    HELLO_MS = 20000, /* a cold start with libvips' modules on a slow disk */
    TICK_MS = 1000,
    SPARING_S = 300, /* from the last child that was killed */
    PATIENCE_S = 120 /* with a machine that has no room for a child; below STUCK_AFTER */
};

typedef struct image {
    kv_image_settings settings;
    kv_store *store;
    kv_keeper *keeper;
    kv_zygote zygote;
    int64_t zygote_started_us; /* the last try to start it again */
    int64_t sparing_until_us;  /* one picture at a time; 0: as many as there are slots */
    bool watched;              /* keeper and zygote */
    uint64_t last_run;
    kv_image_job *jobs; /* credit slots */
    uint64_t job_count;
} image;

uint64_t kv_image_credit(const kv_config *cfg)
{
    cpu_set_t set;
    if (cfg->image_concurrency > 0)
        return (uint64_t)cfg->image_concurrency;
    if (sched_getaffinity(0, sizeof set, &set))
        return 1;
    int cores = CPU_COUNT(&set);
    return (uint64_t)(cores < 1 ? 1 : cores > CREDIT_MAX ? CREDIT_MAX : cores);
}

static void on_zygote(void *self, int fd, kv_out *out);
static void on_keeper(void *self, int fd, kv_out *out);
static void on_report(void *self, int fd, kv_out *out);

/* ---- phases ---- */

static void close_report(kv_image_job *j, kv_out *out)
{
    if (j->report_fd < 0)
        return;
    kv_out_unwatch_fd(out, j->report_fd);
    close(j->report_fd);
    j->report_fd = -1;
}

static void take_reports(kv_image_job *j, kv_out *out)
{
    kv_image_report r;
    uint64_t progress = 0;
    ssize_t n = 0;
    bool heard_out = false; /* it said how it ended, or nonsense */
    while (j->report_fd >= 0 && !heard_out &&
           (n = recv(j->report_fd, &r, sizeof r, MSG_DONTWAIT)) == (ssize_t)sizeof r) {
        uint64_t p = kv_image_job_report(j, &r);
        progress = p > 0 ? p : progress;
        heard_out = j->done || j->err != KV_OK;
    }
    bool later = !heard_out && n < 0 && (errno == EAGAIN || errno == EINTR);
    kv_image_tell_progress(j, progress, out);
    if (!later) /* its end says the rest */
        close_report(j, out);
}

/* Two pictures at once may be more than the machine has memory for, where each alone is not. */
static void spare_memory(image *im, kv_out *out)
{
    if (im->sparing_until_us == 0) {
        kv_out_set_credit(out, 1);
        kv_log(KV_LOG_WARN, "image_memory_short", KV_U64("at_once", im->job_count),
               KV_STR("next", "one picture at a time for some minutes; more memory, or a lower "
                              "IMAGE_CONCURRENCY or IMAGE_MAX_MEGAPIXELS, lets none be killed"));
    }
    im->sparing_until_us = kv_mono_us(kv_out_clock(out)) + (int64_t)SPARING_S * 1000000;
}

static void end_sparing(image *im, kv_out *out)
{
    if (im->sparing_until_us == 0 || kv_mono_us(kv_out_clock(out)) < im->sparing_until_us)
        return;
    im->sparing_until_us = 0;
    kv_out_set_credit(out, im->job_count);
    kv_log(KV_LOG_INFO, "image_memory_again", KV_U64("at_once", im->job_count));
}

/* No descriptors, no memory, no process to be had, or a disk that fails: it waits in its slot, so
 * that no more pictures come, and no attempt is used up. */
static void wait_or_fail(kv_image_job *j, kv_err err, const char *what, kv_out *out)
{
    if (kv_mono_us(kv_out_clock(out)) - j->begun_us >= (int64_t)PATIENCE_S * 1000000) {
        kv_image_fail(j, err, true, what, out);
        return;
    }
    if (!j->waited)
        kv_log(KV_LOG_WARN, "image_waits", KV_ID("jobId", j->job), KV_ERRNAME("code", err),
               KV_STR("what", what));
    j->waited = true;
    close_report(j, out);
    if (j->keeping.output_fd >= 0)
        close(j->keeping.output_fd);
    j->keeping.output_fd = -1;
    j->phase = KV_PHASE_WAITING;
}

static void child_ended(image *im, kv_image_job *j, const kv_image_event *e, kv_out *out)
{
    take_reports(j, out);
    kv_image_job_verdict(j, e);
    kv_log(KV_LOG_DEBUG, "image_child_ended", KV_ID("jobId", j->job), KV_I64("status", e->status),
           KV_U64("cpu_ms", e->cpu_us / 1000), KV_U64("peak_kib", e->peak_kib));
    if ((j->err == KV_E_NO_MEMORY || j->err == KV_E_IO) && !j->cancelled) {
        kv_err err = j->err;
        const char *what = err == KV_E_IO    ? "the original could not be read"
                           : e->status == -1 ? "no image process could be made"
                                             : "no thread could be made";
        kv_image_job_forget(j);
        wait_or_fail(j, err, what, out);
        return;
    }
    if (j->err != KV_OK || j->cancelled) {
        if (j->starved && !j->cancelled)
            spare_memory(im, out);
        kv_image_finish(j, out);
        return;
    }
    kv_keeping *k = &j->keeping;
    k->count = kv_image_choose(k->variants, k->count, j->source_size);
    memcpy(k->versions, im->zygote.versions, sizeof k->versions);
    j->phase = KV_PHASE_KEEPING;
    if (!kv_keeper_give(im->keeper, k))
        kv_image_fail(j, KV_E_BUSY, true, "the storing queue is full", out);
}

static void kept(kv_image_job *j, kv_out *out)
{
    kv_keeping *k = &j->keeping;
    if (k->err == KV_E_IMAGE_CRASH) {
        kv_image_fail(j, k->err, false, "the image process wrote something else than variants",
                      out);
        return;
    }
    if (k->err != KV_OK) {
        kv_image_fail(j, k->err, true, "the variants could not be stored", out);
        return;
    }
    kv_image_result_json(&j->result, &k->settings, k->versions, j->width, j->height,
                         kv_slice_of((const char *)j->thumb, j->thumb_len), k->variants, k->count);
    if (!kv_buf_ok(&j->result))
        kv_image_job_fail(j, KV_E_NO_MEMORY, true, "no memory for the result");
    kv_image_finish(j, out);
}

/* ---- descriptors ---- */

static kv_image_job *job_of_run(image *im, uint64_t run, kv_image_phase phase)
{
    for (uint64_t i = 0; i < im->job_count; i++) {
        if (im->jobs[i].phase == phase && im->jobs[i].keeping.run == run)
            return &im->jobs[i];
    }
    return NULL;
}

/* At most once a second: one that cannot start must not keep the machine busy. */
static void restart_zygote(image *im, kv_out *out)
{
    int64_t now = kv_mono_us(kv_out_clock(out));
    if (im->zygote.fd >= 0 || now - im->zygote_started_us < TICK_MS * 1000)
        return;
    im->zygote_started_us = now;
    if (kv_zygote_start(&im->zygote) == KV_OK)
        kv_out_watch_fd(out, im->zygote.fd, on_zygote);
}

static void zygote_gone(image *im, kv_out *out)
{
    if (im->zygote.fd >= 0)
        kv_out_unwatch_fd(out, im->zygote.fd);
    kv_zygote_stop(&im->zygote);
    kv_log(KV_LOG_ERROR, "image_zygote_gone",
           KV_STR("next", "it is started again and its pictures are retried"));
    for (uint64_t i = 0; i < im->job_count; i++) {
        kv_image_job *j = &im->jobs[i];
        if (j->phase == KV_PHASE_RUNNING)
            kv_image_fail(j, KV_E_INTERNAL, true, "the image process was ended from outside", out);
    }
    restart_zygote(im, out);
}

static void on_zygote(void *self, int fd, kv_out *out)
{
    image *im = self;
    kv_image_event e;
    int got;
    (void)fd;
    while ((got = kv_zygote_take(&im->zygote, &e)) > 0) {
        kv_image_job *j = job_of_run(im, e.id, KV_PHASE_RUNNING);
        if (j && e.what == KV_IMAGE_EXITED)
            child_ended(im, j, &e, out);
    }
    if (got < 0 && im->zygote.fd >= 0)
        zygote_gone(im, out);
}

static void on_keeper(void *self, int fd, kv_out *out)
{
    image *im = self;
    kv_keeping *k;
    (void)fd;
    while ((k = kv_keeper_take(im->keeper))) {
        kv_image_job *j = job_of_run(im, k->run, KV_PHASE_KEEPING);
        assert(j && k == &j->keeping);
        kept(j, out);
    }
}

static void on_report(void *self, int fd, kv_out *out)
{
    image *im = self;
    for (uint64_t i = 0; i < im->job_count; i++) {
        if (im->jobs[i].phase == KV_PHASE_RUNNING && im->jobs[i].report_fd == fd)
            take_reports(&im->jobs[i], out);
    }
}

/* The shell gives no kv_out to create, so watching begins with the first call that has one. */
static void watch(image *im, kv_out *out)
{
    if (im->watched)
        return;
    im->watched = true;
    kv_out_watch_fd(out, kv_keeper_fd(im->keeper), on_keeper);
    kv_out_watch_fd(out, im->zygote.fd, on_zygote);
}

/* ---- messages ---- */

static kv_err open_source(image *im, kv_image_job *j, int *ret_fd)
{
    kv_object_info info;
    kv_err err = kv_store_open(im->store, j->key, ret_fd, &info);
    j->source_size = err == KV_OK ? info.size : 0;
    return err;
}

static void begin(image *im, kv_image_job *j, kv_out *out)
{
    j->phase = KV_PHASE_RUNNING;
    j->keeping.run = ++im->last_run;
    int source = -1, pair[2] = {-1, -1};
    const char *what = "the original could not be opened";
    kv_err err = open_source(im, j, &source);
    if (err == KV_OK) {
        what = "no descriptors for an image process";
        j->keeping.output_fd = memfd_create("variants", MFD_CLOEXEC);
        if (j->keeping.output_fd < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
            err = kv_err_from_errno(errno);
    }
    if (err == KV_OK) {
        what = "the image zygote does not answer";
        kv_image_order order = {.what = KV_IMAGE_RUN,
                                .input = j->input,
                                .id = j->keeping.run,
                                .settings = im->settings};
        err = kv_zygote_run(&im->zygote, &order, (int[]){source, j->keeping.output_fd, pair[1]});
    }
    if (source >= 0)
        close(source);
    if (pair[1] >= 0)
        close(pair[1]);
    j->report_fd = pair[0];
    if (j->report_fd >= 0)
        kv_out_watch_fd(out, j->report_fd, on_report);
    if (err == KV_E_NOT_FOUND || err == KV_E_BAD_PARAMETER)
        kv_image_fail(j, err, false, what, out);
    else if (err != KV_OK)
        wait_or_fail(j, err, what, out);
}

static kv_image_job *free_slot(image *im)
{
    for (uint64_t i = 0; i < im->job_count; i++) {
        if (im->jobs[i].phase == KV_PHASE_FREE)
            return &im->jobs[i];
    }
    return NULL;
}

static void on_job(void *self, const kv_in *in, kv_out *out)
{
    image *im = self;
    const kv_job *m = &in->msg->job;
    kv_image_job *j = free_slot(im);
    const char *mime;
    watch(im, out);
    for (uint64_t i = 0; i < im->job_count; i++) {
        if (im->jobs[i].phase != KV_PHASE_FREE && !im->jobs[i].cancelled &&
            im->jobs[i].job == m->job && im->jobs[i].epoch == m->epoch &&
            im->jobs[i].attempt == m->attempt)
            return; /* sent twice */
    }
    if (!j) {
        kv_image_refuse(in, out);
        return;
    }
    *j = (kv_image_job){.phase = KV_PHASE_RUNNING,
                        .job = m->job,
                        .epoch = m->epoch,
                        .attempt = m->attempt,
                        .report_fd = -1,
                        .begun_us = kv_mono_us(kv_out_clock(out)),
                        .keeping = {.output_fd = -1, .settings = im->settings}};
    if (in->head)
        j->head = *in->head;
    kv_buf_init(&j->result, KV_JSON_MAX);
    if (!kv_image_params_read(m->params, &j->params, &j->keeping.blob, &j->key, &mime))
        kv_image_fail(j, KV_E_BAD_PARAMETER, false, "params need blob, key and mime", out);
    else if (!kv_image_input_of(kv_slice_str(mime), &j->input))
        kv_image_fail(j, KV_E_UNSUPPORTED, false, "no decoder for this type", out);
    else
        begin(im, j, out);
}

static void on_cancel(void *self, const kv_in *in, kv_out *out)
{
    image *im = self;
    const kv_job_cancel *m = &in->msg->job_cancel;
    (void)out;
    for (uint64_t i = 0; i < im->job_count; i++) {
        kv_image_job *j = &im->jobs[i];
        if (j->phase == KV_PHASE_FREE || j->job != m->job || j->epoch != m->epoch ||
            j->attempt != m->attempt)
            continue;
        j->cancelled = true;
        if (j->phase == KV_PHASE_RUNNING)
            kv_zygote_kill_child(&im->zygote, j->keeping.run);
        kv_log(KV_LOG_INFO, "image_cancelled", KV_ID("jobId", j->job));
    }
}

/* ---- shell ---- */

static void tick(void *self, int64_t now_us, kv_out *out)
{
    image *im = self;
    (void)now_us;
    watch(im, out);
    restart_zygote(im, out);
    end_sparing(im, out);
    on_zygote(im, -1, out);
    on_keeper(im, -1, out);
    for (uint64_t i = 0; i < im->job_count; i++) {
        kv_image_job *j = &im->jobs[i];
        if (j->phase == KV_PHASE_RUNNING)
            take_reports(j, out);
        else if (j->phase == KV_PHASE_WAITING && !j->cancelled)
            begin(im, j, out);
        else if ((j->phase == KV_PHASE_ANSWER || j->phase == KV_PHASE_WAITING) && j->cancelled)
            kv_image_let_go(j, out);
        else if (j->phase == KV_PHASE_ANSWER)
            kv_image_answer(j, out);
    }
}

/* Those that wait go back unbegun. */
static bool drained(void *self)
{
    image *im = self;
    for (uint64_t i = 0; i < im->job_count; i++) {
        if (im->jobs[i].phase != KV_PHASE_FREE && im->jobs[i].phase != KV_PHASE_WAITING)
            return false;
    }
    return true;
}

static void destroy(void **self)
{
    image *im = *self;
    if (!im)
        return;
    kv_zygote_stop(&im->zygote);
    kv_keeper_stop(&im->keeper);
    for (uint64_t i = 0; i < im->job_count; i++)
        kv_image_job_close(&im->jobs[i]);
    kv_store_close(&im->store);
    free(im->jobs);
    free(im);
    *self = NULL;
}

static kv_err create(const kv_config *cfg, const void *arg, void **ret_self)
{
    (void)arg;
    image *im = calloc(1, sizeof *im);
    if (!im)
        return KV_E_NO_MEMORY;
    im->zygote.fd = -1;
    im->jobs = calloc(kv_image_credit(cfg), sizeof *im->jobs);
    im->job_count = im->jobs ? kv_image_credit(cfg) : 0;
    kv_err err = im->jobs ? KV_OK : KV_E_NO_MEMORY;
    for (uint64_t i = 0; i < im->job_count; i++)
        im->jobs[i] = (kv_image_job){.report_fd = -1, .keeping.output_fd = -1};
    if (err == KV_OK)
        err = kv_image_settings_of(cfg, &im->settings);
    if (err == KV_OK)
        err = kv_store_open_config(cfg, &im->store);
    if (err == KV_OK)
        err = kv_keeper_start(im->store, &im->keeper);
    if (err == KV_OK)
        err = kv_zygote_start(&im->zygote);
    if (err == KV_OK)
        err = kv_zygote_await(&im->zygote, HELLO_MS);
    if (err != KV_OK) {
        kv_log(KV_LOG_ERROR, "image_actor_not_started", KV_ERRNAME("code", err));
        destroy((void **)&im);
        return err;
    }
    kv_log(KV_LOG_INFO, "image_actor_ready", KV_STR("encoders", im->zygote.versions),
           KV_U64("at_once", im->job_count));
    *ret_self = im;
    return KV_OK;
}

static const kv_handler handlers[] = {{KV_JOB, on_job}, {KV_JOB_CANCEL, on_cancel}, {0, NULL}};

const kv_actor_def kv_image_actor = {
    .name = KV_WORKER_IMAGE,
    .handlers = handlers,
    .create = create,
    .destroy = destroy,
    .tick = tick,
    .tick_ms = TICK_MS,
    .drained = drained,
};
