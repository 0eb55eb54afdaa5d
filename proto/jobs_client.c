/* Asking the broker, one call at a time. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zmq.h>

#include "proto/base/id.h"
#include "proto/base/json_scan.h"
#include "proto/base/words.h"
#include "proto/batch.h"
#include "proto/jobs_state.h"

enum {
    TIMEOUT_MS = 30000,
    TURN_MS = 1000, /* longest sleep: `stop` is looked at */
    AGAIN_MS = 250, /* a job that has just ended may not be written yet */
    BATCH_BYTES = 4 << 20
};

/* ---- life ---- */

char *kv_job_client_endpoint(const char *given, const char *name, const char *file)
{
    const char *env = getenv(name), *data = getenv("KERVAN_DATA");
    char *made = NULL;
    if (given && given[0])
        return strdup(given);
    if (env && env[0])
        return strdup(env);
    if (asprintf(&made, "ipc://%s/run/%s", data && data[0] ? data : "./data", file) < 0)
        return NULL;
    return made;
}

static void on_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    kv_job_client *self = arg;
    (void)new_epoch;
    self->last_event = ok->last_event;
    self->sessions++;
}

static void on_message(void *arg, const kv_header *head, const kv_msg *m)
{
    kv_job_client *self = arg;
    (void)head;
    if (m->code == KV_POSITIONS && self->on_positions)
        self->on_positions(self->on_positions_arg, m->positions.json);
}

kv_err kv_job_client_open(const kv_job_client_opts *opts, kv_job_client **ret)
{
    char name[KV_SESSION_NAME];
    kv_job_client *self = calloc(1, sizeof *self);
    kv_err err = KV_E_NO_MEMORY;
    *ret = NULL;
    if (!self)
        return err;
    self->stop = opts->stop;
    self->timeout_ms = opts->timeout_ms > 0 ? opts->timeout_ms : TIMEOUT_MS;
    self->broker = kv_job_client_endpoint(opts->broker, "KERVAN_BROKER", "broker.sock");
    self->events = kv_job_client_endpoint(opts->events, "KERVAN_EVENTS", "events.sock");
    self->zmq = zmq_ctx_new();
    if (self->broker && self->events && self->zmq) {
        kv_session_name(name, opts->name ? opts->name : "client");
        err = kv_client_new(&(kv_client_opts){.zmq = self->zmq,
                                              .endpoint = self->broker,
                                              .role = "client",
                                              .name = name,
                                              .clock = &kv_clock_real,
                                              .arg = self,
                                              .on_session = on_session,
                                              .on_message = on_message},
                            &self->client);
    }
    if (err != KV_OK)
        kv_job_client_close(&self);
    *ret = self;
    return err;
}

void kv_job_client_close(kv_job_client **selfp)
{
    kv_job_client *self = *selfp;
    if (!self)
        return;
    kv_client_destroy(&self->client);
    if (self->zmq)
        zmq_ctx_term(self->zmq);
    free(self->broker);
    free(self->events);
    free(self);
    *selfp = NULL;
}

const char *kv_job_client_detail(const kv_job_client *self)
{
    return self->detail;
}

/* ---- one question ---- */

kv_err kv_job_client_turn(kv_job_client *self, void *socket, int64_t until_us)
{
    if (self->stop && *self->stop)
        return KV_E_DRAINING;
    int64_t ms = kv_client_poll(self->client);
    int64_t left = (until_us - kv_mono_us(&kv_clock_real) + 999) / 1000;
    ms = left < ms ? left : ms;
    ms = ms < 0 ? 0 : ms > TURN_MS ? TURN_MS : ms;
    zmq_pollitem_t items[2] = {{NULL, kv_client_fd(self->client), ZMQ_POLLIN, 0},
                               {socket, 0, ZMQ_POLLIN, 0}};
    if (zmq_poll(items, socket ? 2 : 1, ms) < 0 && errno != EINTR)
        return KV_E_IO;
    (void)kv_client_poll(self->client);
    return KV_OK;
}

typedef struct call {
    kv_job_client *jobs;
    kv_job_client_take_fn take;
    void *arg;
    bool done;
    kv_err err;
    uint64_t retry_after_ms;
} call;

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    call *c = arg;
    c->done = true;
    c->err = err;
    if (err == KV_OK && c->take)
        c->err = c->take(c->arg, answer);
    if (err == KV_OK || !answer || answer->code != KV_ERROR)
        return;
    c->retry_after_ms = answer->error.retry_after_ms;
    snprintf(c->jobs->detail, sizeof c->jobs->detail, "%.*s", KV_SLICE_FMT(answer->error.detail));
}

/* The answer comes, or the client gives up: in any case the call is over before this returns. */
static void ask_once(kv_job_client *self, const kv_msg *m, int64_t until_us, call *c)
{
    int64_t ms = (until_us - kv_mono_us(&kv_clock_real)) / 1000;
    c->done = false;
    c->retry_after_ms = 0;
    c->err = kv_client_ask(self->client, m, ms > 1 ? ms : 1, on_answer, c);
    if (c->err != KV_OK)
        return;
    while (!c->done) {
        kv_err err = kv_job_client_turn(self, NULL, until_us);
        if (err == KV_OK || c->done)
            continue;
        /* stopped: the question is taken back with its session, so that nothing points here */
        kv_client_forget(self->client);
        c->err = err;
        return;
    }
}

static bool past(int64_t until_us)
{
    return kv_mono_us(&kv_clock_real) >= until_us;
}

static kv_err sleep_until(kv_job_client *self, int64_t until_us)
{
    while (!past(until_us)) {
        kv_err err = kv_job_client_turn(self, NULL, until_us);
        if (err != KV_OK)
            return err;
    }
    return KV_OK;
}

kv_err kv_job_client_ask(kv_job_client *self, const kv_msg *m, kv_job_client_take_fn take,
                         void *arg)
{
    call c = {.jobs = self, .take = take, .arg = arg};
    int64_t until_us = kv_mono_us(&kv_clock_real) + self->timeout_ms * 1000;
    self->detail[0] = '\0';
    self->for_now = false;
    for (;;) {
        ask_once(self, m, until_us, &c);
        int64_t again_us = kv_mono_us(&kv_clock_real) + (int64_t)c.retry_after_ms * 1000;
        if (c.err == KV_OK || c.retry_after_ms == 0 || again_us >= until_us) {
            self->for_now = c.err == KV_E_BROKER_AWAY || c.retry_after_ms != 0;
            return c.err;
        }
        kv_err err = sleep_until(self, again_us);
        if (err != KV_OK)
            return err;
    }
}

/* ---- jobs ---- */

static void copy_status(char out[17], kv_slice status)
{
    snprintf(out, 17, "%.*s", KV_SLICE_FMT(status));
}

void kv_job_client_new(kv_job_client *self, kv_submit *ret, const char *service, const char *params)
{
    static _Thread_local kv_id_maker ids;
    static _Thread_local bool made;
    kv_msg m;
    (void)self;
    if (!made)
        kv_id_maker_init(&ids, kv_id_random_node());
    made = true;
    kv_msg_defaults(KV_SUBMIT, &m);
    *ret = m.submit;
    ret->job = kv_id_make(&ids, &kv_clock_real);
    ret->service = kv_slice_str(service);
    ret->params = kv_slice_str(params);
}

static kv_err take_submit(void *arg, const kv_msg *answer)
{
    const kv_submit_ok *ok = &answer->submit_ok;
    kv_job_client_state *ret = arg;
    *ret = (kv_job_client_state){.job = ok->job,
                                 .created = ok->created,
                                 .queue_position = ok->queue_position,
                                 .lane_position = ok->lane_position,
                                 .eta_low_ms = ok->eta_low_ms,
                                 .eta_high_ms = ok->eta_high_ms};
    copy_status(ret->status, ok->status);
    return KV_OK;
}

kv_err kv_job_client_submit(kv_job_client *self, const kv_submit *job, kv_job_client_state *ret)
{
    kv_msg m = {.code = KV_SUBMIT, .submit = *job};
    kv_job_client_state unused;
    if (!kv_job_submit_fits(job))
        return KV_E_BAD_PARAMETER;
    return kv_job_client_ask(self, &m, take_submit, ret ? ret : &unused);
}

typedef struct batch {
    size_t n;
    kv_job_client_state *states;
    kv_err *errs;
} batch;

static kv_err take_batch(void *arg, const kv_msg *answer)
{
    const batch *b = arg;
    kv_slice rest = answer->submit_batch_ok.results;
    for (size_t i = 0; i < b->n; i++) {
        kv_batch_result r;
        if (!kv_batch_result_next(&rest, &r))
            return KV_E_BAD_MESSAGE;
        b->errs[i] = r.err;
        b->states[i] = (kv_job_client_state){
            .job = r.job, .created = r.created, .queue_position = -1, .lane_position = -1};
        copy_status(b->states[i].status, r.status);
    }
    return KV_OK;
}

kv_err kv_job_client_submit_batch(kv_job_client *self, const kv_submit *jobs, size_t n,
                                  kv_job_client_state *ret, kv_err *ret_errs)
{
    batch b = {n, ret, ret_errs};
    kv_buf bodies;
    kv_err err = n > KV_BATCH_MAX ? KV_E_BAD_PARAMETER : KV_OK;
    kv_buf_init(&bodies, BATCH_BYTES);
    for (size_t i = 0; i < n && err == KV_OK; i++) {
        kv_msg one = {.code = KV_SUBMIT, .submit = jobs[i]};
        if (kv_job_submit_fits(&jobs[i]))
            kv_body_encode(&one, &bodies);
        else
            err = KV_E_BAD_PARAMETER;
    }
    if (err == KV_OK && !kv_buf_ok(&bodies))
        err = KV_E_TOO_LARGE;
    if (err == KV_OK) {
        kv_msg m = {.code = KV_SUBMIT_BATCH, .submit_batch.jobs = kv_buf_slice(&bodies)};
        err = kv_job_client_ask(self, &m, take_batch, &b);
    }
    kv_buf_release(&bodies);
    return err;
}

/* ---- one job ---- */

typedef struct taken_job {
    kv_job_client_state *state;
    kv_buf *json;
} taken_job;

static kv_err take_job(void *arg, const kv_msg *answer)
{
    const kv_job_status *s = &answer->job_status;
    const taken_job *to = arg;
    kv_slice status = {0};
    kv_err err = kv_scan_text(s->json, "status", &status) ? KV_OK : KV_E_BAD_MESSAGE;
    uint64_t job = to->state->job;
    *to->state = (kv_job_client_state){.job = job,
                                       .queue_position = s->queue_position,
                                       .lane_position = s->lane_position,
                                       .eta_low_ms = s->eta_low_ms,
                                       .eta_high_ms = s->eta_high_ms};
    copy_status(to->state->status, status);
    if (to->json) {
        kv_buf_add(to->json, s->json.ptr, s->json.len);
        if (!kv_buf_ok(to->json))
            err = KV_E_NO_MEMORY;
    }
    return err;
}

kv_err kv_job_client_get(kv_job_client *self, uint64_t job, kv_job_client_state *ret,
                         kv_buf *ret_json)
{
    kv_job_client_state unused;
    taken_job to = {ret ? ret : &unused, ret_json};
    kv_msg m = {.code = KV_JOB_GET, .job_get.job = job};
    to.state->job = job;
    return kv_job_client_ask(self, &m, take_job, &to);
}

static kv_err take_cancel(void *arg, const kv_msg *answer)
{
    copy_status(arg, answer->cancel_ok.was);
    return KV_OK;
}

kv_err kv_job_client_cancel(kv_job_client *self, uint64_t job, char ret_was[17])
{
    kv_msg m = {.code = KV_CANCEL, .cancel.job = job};
    return kv_job_client_ask(self, &m, take_cancel, ret_was);
}

kv_err kv_job_client_retry(kv_job_client *self, uint64_t job, kv_job_client_state *ret)
{
    kv_submit again;
    kv_job_client_new(self, &again, "", ""); /* for its id */
    kv_msg m = {.code = KV_RETRY, .retry = {.job = job, .new_job = again.job}};
    return kv_job_client_ask(self, &m, take_submit, ret);
}

typedef struct taken_metadata {
    uint64_t *version;
    kv_buf *json;
} taken_metadata;

static kv_err take_metadata(void *arg, const kv_msg *answer)
{
    const taken_metadata *to = arg;
    if (to->version)
        *to->version = answer->metadata_ok.version;
    if (to->json)
        kv_buf_add(to->json, answer->metadata_ok.metadata.ptr, answer->metadata_ok.metadata.len);
    return !to->json || kv_buf_ok(to->json) ? KV_OK : KV_E_NO_MEMORY;
}

kv_err kv_job_client_metadata(kv_job_client *self, uint64_t job, const char *patch,
                              uint64_t version, uint64_t *ret_version, kv_buf *ret_json)
{
    taken_metadata to = {ret_version, ret_json};
    kv_msg m = {.code = KV_METADATA,
                .metadata = {.job = job, .patch = kv_slice_str(patch), .version = version}};
    if (!kv_job_text_fits(m.metadata.patch, KV_PATCH_MAX))
        return KV_E_BAD_PARAMETER;
    return kv_job_client_ask(self, &m, take_metadata, &to);
}

/* ---- waiting for the end ---- */

typedef struct waiting {
    uint64_t job;
    char text[KV_ID_TEXT + 1];
    kv_job_client_position_fn fn;
    void *arg;
    bool over; /* not among the unfinished any more: ask for the row */
} waiting;

static int64_t position_of(const json_t *entry, const char *key)
{
    const json_t *v = json_object_get(entry, key);
    return json_is_integer(v) ? json_integer_value(v) : -1;
}

static void told(waiting *w, const json_t *entry)
{
    const char *id = json_string_value(json_object_get(entry, "jobId"));
    const char *status = json_string_value(json_object_get(entry, "status"));
    const json_t *eta = json_object_get(entry, "eta_seconds");
    if (!id || strcmp(id, w->text) != 0)
        return;
    kv_job_client_state s = {
        .job = w->job,
        .queue_position = position_of(entry, "queue_position"),
        .lane_position = position_of(entry, "lane_position"),
        .eta_low_ms = (uint64_t)json_number_value(json_array_get(eta, 0)) * 1000,
        .eta_high_ms = (uint64_t)json_number_value(json_array_get(eta, 1)) * 1000};
    w->over = !status || kv_state_ends(kv_slice_str(status));
    if (status)
        copy_status(s.status, kv_slice_str(status));
    if (!w->over && w->fn)
        w->fn(w->arg, &s);
}

static void on_positions(void *arg, kv_slice json)
{
    json_t *array = json_loadb(json.ptr, json.len, 0, NULL);
    for (size_t i = 0; i < json_array_size(array); i++)
        told(arg, json_array_get(array, i));
    json_decref(array);
}

static kv_err take_positions(void *arg, const kv_msg *answer)
{
    on_positions(arg, answer->positions.json);
    return KV_OK;
}

/* Watches anew with each session: a watch ends with the one it was asked in. */
static kv_err watch(kv_job_client *self, waiting *w, int64_t until_us)
{
    char id[KV_ID_BYTES];
    uint64_t session;
    kv_id_put(id, 0, w->job);
    kv_msg m = {.code = KV_POSITION,
                .position = {.jobs = kv_slice_of(id, sizeof id), .watch = true}};
    kv_err err;
    bool first;
    do { /* the answer may be of the session before */
        session = self->sessions;
        err = kv_job_client_ask(self, &m, take_positions, w);
        first = session == 0 && self->sessions == 1;
    } while (err == KV_OK && session != self->sessions && !first);
    session = self->sessions;
    while (err == KV_OK && !w->over && session == self->sessions) {
        if (past(until_us))
            return KV_E_BROKER_AWAY;
        err = kv_job_client_turn(self, NULL, until_us);
    }
    return err;
}

kv_err kv_job_client_wait(kv_job_client *self, uint64_t job, int64_t timeout_ms,
                          kv_job_client_position_fn fn, void *arg, kv_buf *ret_json)
{
    waiting w = {.job = job, .fn = fn, .arg = arg};
    int64_t until_us = kv_mono_us(&kv_clock_real) + timeout_ms * 1000;
    kv_job_client_state state = {0};
    size_t begun = ret_json->len;
    kv_id_format(job, w.text);
    self->on_positions = on_positions;
    self->on_positions_arg = &w;
    kv_err err = KV_OK;
    while (err == KV_OK) {
        err = watch(self, &w, until_us);
        if (err == KV_OK && w.over)
            err = kv_job_client_get(self, job, &state, ret_json);
        if (err == KV_OK && w.over && kv_state_ends(kv_slice_str(state.status)))
            break;
        if (err == KV_E_BROKER_AWAY && !past(until_us))
            err = KV_OK;              /* it may come back in time */
        if (err == KV_OK && w.over) { /* its end is not written yet */
            ret_json->len = begun;
            w.over = false;
            err = sleep_until(self, kv_mono_us(&kv_clock_real) + AGAIN_MS * 1000);
        }
    }
    self->on_positions = NULL;
    return err;
}
