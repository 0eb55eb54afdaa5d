/* The event log, followed: live from the PUB socket, what was missed from the log. */
#include <jansson.h>
#include <stdlib.h>
#include <zmq.h>

#include "proto/endpoints.h"
#include "proto/frames.h"
#include "proto/jobs_state.h"

enum { PAGE_EVENTS = 1000, PIPE_MESSAGES = 1000, TURN_US = 1000000, AGAIN_US = 100000 };

typedef struct follower {
    kv_job_client *jobs;
    void *socket;
    uint64_t last; /* event that was handed on */
    bool stopped;  /* by fn */
    kv_job_client_event_fn fn;
    void *arg;
    /* what an answer brought: handed on when the question is over, so that fn may ask */
    kv_buf page;
    uint64_t page_last;
} follower;

static kv_err hand_on_one(follower *f, const json_t *event)
{
    uint64_t id = (uint64_t)json_integer_value(json_object_get(event, "id"));
    const char *type = json_string_value(json_object_get(event, "type"));
    if (!id || !type)
        return KV_E_BAD_MESSAGE;
    if (id <= f->last)
        return KV_OK;
    char *text = json_dumps(event, JSON_COMPACT);
    if (!text)
        return KV_E_NO_MEMORY;
    f->last = id;
    f->stopped = !f->fn(f->arg, id, kv_slice_str(type), kv_slice_str(text));
    free(text);
    return KV_OK;
}

static kv_err hand_on(follower *f, kv_slice events, uint64_t last)
{
    json_t *array = json_loadb(events.ptr, events.len, JSON_ALLOW_NUL, NULL);
    kv_err err = json_is_array(array) ? KV_OK : KV_E_BAD_MESSAGE;
    for (size_t i = 0; err == KV_OK && !f->stopped && i < json_array_size(array); i++)
        err = hand_on_one(f, json_array_get(array, i));
    if (err == KV_OK && !f->stopped)
        f->last = last;
    json_decref(array);
    return err;
}

/* ---- the log ---- */

static kv_err take_page(void *arg, const kv_msg *answer)
{
    follower *f = arg;
    kv_buf_clear(&f->page);
    kv_buf_add(&f->page, answer->events.events.ptr, answer->events.events.len);
    f->page_last = answer->events.last;
    return kv_buf_ok(&f->page) ? KV_OK : KV_E_NO_MEMORY;
}

/* Reads until there is nothing newer. */
static kv_err read_log(follower *f)
{
    for (;;) {
        kv_msg m = {.code = KV_EVENTS_GET, .events_get = {.after = f->last, .limit = PAGE_EVENTS}};
        kv_err err = kv_job_client_ask(f->jobs, &m, take_page, f);
        if (f->jobs->for_now) { /* it comes back, or `stop` ends this */
            KV_TRY(kv_job_client_turn(f->jobs, NULL, kv_mono_us(&kv_clock_real) + AGAIN_US));
            continue;
        }
        if (err != KV_OK)
            return err;
        if (f->page_last == f->last)
            return KV_OK;
        err = hand_on(f, kv_buf_slice(&f->page), f->page_last);
        if (err != KV_OK || f->stopped)
            return err;
    }
}

/* ---- live ---- */

static kv_err open_socket(follower *f)
{
    int hwm = PIPE_MESSAGES, linger = 0;
    int64_t largest = KV_BODY_MAX;
    f->socket = zmq_socket(f->jobs->zmq, ZMQ_SUB);
    if (!f->socket || zmq_setsockopt(f->socket, ZMQ_RCVHWM, &hwm, sizeof hwm) ||
        zmq_setsockopt(f->socket, ZMQ_LINGER, &linger, sizeof linger) ||
        zmq_setsockopt(f->socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest) ||
        zmq_setsockopt(f->socket, ZMQ_SUBSCRIBE, "", 0) ||
        !kv_endpoint_connect(f->socket, f->jobs->events))
        return KV_E_IO;
    return KV_OK;
}

static kv_err on_live(follower *f, const kv_msg *m)
{
    if (m->code == KV_EVENT_HEAD)
        return m->event_head.last == f->last ? KV_OK : read_log(f);
    if (m->code != KV_EVENTS || m->events.last <= f->last)
        return KV_OK;
    if (m->events.prev != f->last)
        return read_log(f);
    return hand_on(f, m->events.events, m->events.last);
}

/* Two frames each; what is malformed is missed, and seen by that. *ret_any: there was one. */
static kv_err take_live(follower *f, bool *ret_any)
{
    kv_header head;
    kv_msg m;
    zmq_msg_t frames[2];
    kv_err err = KV_OK;
    zmq_msg_init(&frames[0]);
    zmq_msg_init(&frames[1]);
    int count = kv_frames_receive(f->socket, (zmq_msg_t *[]){&frames[0], &frames[1]}, 2);
    *ret_any = count > 0;
    if (count == 2 &&
        !kv_header_decode(zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]), &head) &&
        !kv_body_decode(head.code, zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]), &m, NULL))
        err = on_live(f, &m);
    zmq_msg_close(&frames[0]);
    zmq_msg_close(&frames[1]);
    return err;
}

static kv_err follow(follower *f)
{
    kv_err err = read_log(f);
    while (err == KV_OK && !f->stopped) {
        bool any;
        err = take_live(f, &any);
        if (err == KV_OK && !any)
            err = kv_job_client_turn(f->jobs, f->socket, kv_mono_us(&kv_clock_real) + TURN_US);
    }
    return err;
}

/* Where the log ends now: a session tells it as it begins, and that of `self` may stand for long.
 */
static kv_err newest(const kv_job_client *self, uint64_t *ret)
{
    kv_job_client *one;
    kv_msg m = {.code = KV_STATS, .stats.what = 1};
    kv_job_client_opts opts = {.broker = self->broker,
                               .events = self->events,
                               .name = "newest",
                               .stop = self->stop,
                               .timeout_ms = self->timeout_ms};
    KV_TRY(kv_job_client_open(&opts, &one));
    kv_err err = kv_job_client_ask(one, &m, NULL, NULL);
    *ret = one->last_event;
    kv_job_client_close(&one);
    return err;
}

kv_err kv_job_client_follow(kv_job_client *self, uint64_t after, kv_job_client_event_fn fn,
                            void *arg)
{
    follower f = {.jobs = self, .last = after, .fn = fn, .arg = arg};
    kv_buf_init(&f.page, KV_BODY_MAX);
    kv_err err = open_socket(&f); /* first: what comes from now on is held */
    if (err == KV_OK && after == KV_EVENTS_FROM_NOW)
        err = newest(self, &f.last);
    if (err == KV_OK)
        err = follow(&f);
    if (f.socket)
        zmq_close(f.socket);
    kv_buf_release(&f.page);
    return err == KV_E_DRAINING ? KV_OK : err;
}
