/* The actor shell: real threads over inproc, a broker that the test plays, and the fake kv_out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/actor.h"
#include "proto/base/metrics.h"

#define WAIT_MS 5000

/* An actor that hands UPLOAD_CHUNK on, and speaks about everything else it sees in UPLOAD_ABORTs
 * (upload: what, number: more). */
enum { SAW_BATCH_END = 1, SAW_TICK, SAW_FD, SAW_JOB, SAW_CANCEL, SAW_ANSWER, SAW_STOP };

typedef struct echo {
    uint64_t in_batch, most_in_batch;
    int fd; /* to watch; -1: none */
    uint64_t open_jobs;
    uint64_t attempt[16]; /* newest, by job */
} echo;

static void say(kv_out *out, uint64_t what, uint64_t number)
{
    kv_msg m;

    kv_msg_defaults(KV_UPLOAD_ABORT, &m);
    m.upload_abort.upload = what;
    m.upload_abort.number = number;
    kv_out_send(out, 0, NULL, &m, NULL);
}

static kv_err echo_create(const kv_config *cfg, const void *arg, void **ret)
{
    echo *e = calloc(1, sizeof *e);

    (void)cfg;
    if (arg && strcmp(arg, "fail") == 0) {
        free(e);
        return KV_E_DISK_FULL;
    }
    e->fd = arg ? atoi(arg) : -1;
    *ret = e;
    return KV_OK;
}

static void echo_destroy(void **self)
{
    free(*self);
    *self = NULL;
}

static void echo_chunk(void *self, const kv_in *in, kv_out *out)
{
    echo *e = self;

    if (++e->in_batch > e->most_in_batch)
        e->most_in_batch = e->in_batch;
    kv_out_send(out, 0, in->head, in->msg, in->payload);
}

static void on_fd(void *self, int fd, kv_out *out)
{
    char byte;

    (void)self;
    if (read(fd, &byte, 1) == 1) {
        say(out, SAW_FD, (uint64_t)byte);
        if (byte == 'u')
            kv_out_unwatch_fd(out, fd);
    }
}

static void on_answer(void *self, void *arg, kv_err err, const kv_msg *answer, kv_out *out)
{
    (void)self, (void)arg;
    say(out, SAW_ANSWER, err ? (uint64_t)err : answer->okay.id);
}

/* UPLOAD_END is a command of the test: size says which. */
static void echo_command(void *self, const kv_in *in, kv_out *out)
{
    echo *e = self;
    kv_msg m;

    switch (in->msg->upload_end.size) {
    case 1:
        kv_out_watch_fd(out, e->fd, on_fd);
        break;
    case 2:
        kv_msg_defaults(KV_MEDIA_DELETE, &m);
        m.media_delete.media = 5;
        assert_int_equal(kv_out_ask(out, in->head, &m, 60000, on_answer, NULL), KV_OK);
        break;
    case 3:
        kv_out_set_credit(out, 9);
        break;
    case 4:
        e->open_jobs--;
        kv_out_lease_done(out, in->msg->upload_end.upload, 1,
                          e->attempt[in->msg->upload_end.upload]);
        break;
    case 5: /* an old attempt ends late */
        kv_out_lease_done(out, in->msg->upload_end.upload, 1,
                          e->attempt[in->msg->upload_end.upload] - 1);
        break;
    default:
        fail();
    }
}

static void echo_job(void *self, const kv_in *in, kv_out *out)
{
    assert_null(in->payload);
    ((echo *)self)->open_jobs++;
    ((echo *)self)->attempt[in->msg->job.job] = in->msg->job.attempt;
    say(out, SAW_JOB, in->msg->job.job);
}

static void echo_cancel(void *self, const kv_in *in, kv_out *out)
{
    ((echo *)self)->open_jobs--;
    kv_out_lease_done(out, in->msg->job_cancel.job, in->msg->job_cancel.epoch,
                      in->msg->job_cancel.attempt);
    say(out, SAW_CANCEL, in->msg->job_cancel.job);
}

static void echo_batch_end(void *self, kv_out *out)
{
    echo *e = self;

    assert_true(e->in_batch <= 64);
    if (e->in_batch)
        say(out, SAW_BATCH_END, e->in_batch);
    e->in_batch = 0;
}

static void echo_tick(void *self, int64_t now_us, kv_out *out)
{
    (void)self, (void)now_us;
    say(out, SAW_TICK, 0);
}

static bool echo_drained(void *self)
{
    return ((echo *)self)->open_jobs == 0;
}

static const kv_handler handlers[] = {{KV_UPLOAD_CHUNK, echo_chunk},
                                      {KV_UPLOAD_END, echo_command},
                                      {KV_JOB, echo_job},
                                      {KV_JOB_CANCEL, echo_cancel},
                                      {0, NULL}};
static const kv_actor_def def = {"echo",         handlers, echo_create, echo_destroy,
                                 echo_batch_end, NULL,     0,           echo_drained};
static const kv_actor_def ticking = {"ticker", handlers,  echo_create, echo_destroy,
                                     NULL,     echo_tick, 20,          NULL};

static struct world {
    void *zmq, *push, *sink, *router;
    kv_actor *actor;
    uint8_t peer[64];
    size_t peer_len;
    kv_header head;
    kv_msg msg;
    uint8_t body[4096];
} w;

static const char *const peers[] = {"inproc://sink", NULL};

static void *open_socket(int type, const char *endpoint, bool bound)
{
    void *s = zmq_socket(w.zmq, type);
    int zero = 0;

    zmq_setsockopt(s, ZMQ_LINGER, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_SNDHWM, &zero, sizeof zero);
    zmq_setsockopt(s, ZMQ_RCVHWM, &zero, sizeof zero);
    assert_int_equal(bound ? zmq_bind(s, endpoint) : zmq_connect(s, endpoint), 0);
    return s;
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    w.zmq = zmq_ctx_new();
    w.push = open_socket(ZMQ_PUSH, "inproc://echo-3", false); /* before the actor is there */
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kv_actor_stop(&w.actor, 1000);
    zmq_close(w.push);
    if (w.sink)
        zmq_close(w.sink);
    if (w.router)
        zmq_close(w.router);
    zmq_ctx_term(w.zmq);
    return 0;
}

static kv_err start(const kv_actor_def *d, const char *arg, bool with_broker)
{
    kv_actor_spec spec = {.def = d,
                          .arg = arg,
                          .zmq = w.zmq,
                          .clock = &kv_clock_real,
                          .inbox = "inproc://echo-3",
                          .peers = peers};

    if (with_broker) {
        w.router = open_socket(ZMQ_ROUTER, "inproc://broker", true);
        spec.broker = "inproc://broker";
        spec.role = "worker";
        spec.service = "echo";
        spec.credit = 4;
    }
    kv_err err = kv_actor_start(&spec, &w.actor);
    w.sink = open_socket(ZMQ_PULL, "inproc://sink", true); /* after it */
    return err;
}

static void post(uint16_t code, uint64_t upload, uint64_t number, zmq_msg_t *payload)
{
    kv_msg m;

    kv_msg_defaults(code, &m);
    if (code == KV_UPLOAD_CHUNK)
        m.upload_chunk.upload = upload, m.upload_chunk.offset = number;
    else
        m.upload_end.upload = upload, m.upload_end.size = number;
    kv_actor_post(w.push, &(kv_header){.request = upload}, &m, payload);
}

static bool wait_for(void *socket)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};

    return zmq_poll(&item, 1, WAIT_MS) > 0;
}

/* The next message at the sink. */
static uint16_t sink_take(kv_header *head, kv_msg *m, uint64_t *ret_payload)
{
    zmq_msg_t storage, payload;

    if (!wait_for(w.sink) || !kv_actor_take(w.sink, head, m, &storage, &payload))
        return 0;
    if (ret_payload) {
        *ret_payload = 0;
        if (zmq_msg_size(&payload) == sizeof *ret_payload)
            memcpy(ret_payload, zmq_msg_data(&payload), sizeof *ret_payload);
    }
    zmq_msg_close(&storage);
    zmq_msg_close(&payload);
    return head->code;
}

/* What the actor says; what it says of batches is passed over. */
static void expect_said(uint64_t what, uint64_t number)
{
    kv_header head;
    kv_msg m;

    do
        assert_int_equal(sink_take(&head, &m, NULL), KV_UPLOAD_ABORT);
    while (m.upload_abort.upload == SAW_BATCH_END);
    assert_int_equal(m.upload_abort.upload, what);
    assert_int_equal(m.upload_abort.number, number);
}

static void test_order_and_payload(void **state)
{
    enum { COUNT = 5000 };
    kv_header head;
    kv_msg m;
    uint64_t next = 1, batched = 0, payload;

    (void)state;
    for (uint64_t i = 1; i <= COUNT; i++) {
        zmq_msg_t p;
        zmq_msg_init_size(&p, sizeof i);
        memcpy(zmq_msg_data(&p), &i, sizeof i);
        post(KV_UPLOAD_CHUNK, i, i * 2, &p);
        if (i == COUNT / 2)
            assert_int_equal(start(&def, NULL, false), KV_OK);
    }
    while (batched < COUNT) {
        uint16_t code = sink_take(&head, &m, &payload);
        if (code == KV_UPLOAD_ABORT) {
            batched += m.upload_abort.number;
            continue;
        }
        assert_int_equal(code, KV_UPLOAD_CHUNK);
        assert_int_equal(m.upload_chunk.upload, next);
        assert_int_equal(m.upload_chunk.offset, next * 2);
        assert_int_equal(head.request, next);
        assert_int_equal(payload, next);
        next++;
    }
    assert_int_equal(next, COUNT + 1);
    kv_actor_stop(&w.actor, 1000);
    kv_buf text; /* one series a thread: it is named by its inbox */
    kv_buf_init(&text, 0);
    kv_metrics_render(&text);
    assert_non_null(strstr(kv_buf_str(&text), "kervan_actor_messages_total{actor=\"echo-3\"} "));
    assert_null(strstr(kv_buf_str(&text), "{actor=\"echo\"}"));
    kv_buf_release(&text);
}

static void test_bad_messages_are_dropped(void **state)
{
    kv_header head;
    kv_msg m;
    uint8_t bytes[KV_HEADER_SIZE];

    (void)state;
    assert_int_equal(start(&def, NULL, false), KV_OK);
    zmq_send(w.push, "x", 1, 0);
    for (int i = 0; i < 6; i++)
        zmq_send(w.push, "x", 1, i < 5 ? ZMQ_SNDMORE : 0);
    kv_header_encode(&(kv_header){.code = KV_UPLOAD_CHUNK}, bytes);
    zmq_send(w.push, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(w.push, "\xc1", 1, 0);
    kv_msg_defaults(KV_UPLOAD_BEGIN, &m); /* fine, but the actor has no handler */
    kv_actor_post(w.push, NULL, &m, NULL);
    post(KV_UPLOAD_CHUNK, 3, 0, NULL);
    assert_int_equal(sink_take(&head, &m, NULL), KV_UPLOAD_CHUNK);
    assert_int_equal(m.upload_chunk.upload, 3);
}

static void test_create_fails(void **state)
{
    (void)state;
    assert_int_equal(start(&def, "fail", false), KV_E_DISK_FULL);
    assert_null(w.actor);
    kv_actor_stop(&w.actor, 1000);
}

static void test_fds_and_ticks(void **state)
{
    int fds[2];
    char arg[16];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    snprintf(arg, sizeof arg, "%d", fds[0]);
    assert_int_equal(start(&def, arg, false), KV_OK);
    post(KV_UPLOAD_END, 0, 1, NULL);
    assert_int_equal(write(fds[1], "a", 1), 1);
    expect_said(SAW_FD, 'a');
    assert_int_equal(write(fds[1], "u", 1), 1);
    expect_said(SAW_FD, 'u');
    assert_int_equal(write(fds[1], "b", 1), 1); /* not watched any more */
    kv_header head;
    kv_msg m;
    for (int turn = 0; turn < 3; turn++) {
        post(KV_UPLOAD_CHUNK, 8, 0, NULL);
        do
            assert_int_not_equal(sink_take(&head, &m, NULL), 0);
        while (head.code != KV_UPLOAD_CHUNK);
    }
    kv_actor_stop(&w.actor, 1000);
    assert_null(w.actor);
    struct pollfd left = {.fd = fds[0], .events = POLLIN};
    assert_int_equal(poll(&left, 1, 0), 1); /* nobody read it */
    zmq_unbind(w.sink, "inproc://sink");
    zmq_close(w.sink);
    assert_int_equal(start(&ticking, NULL, false), KV_OK);
    expect_said(SAW_TICK, 0);
    expect_said(SAW_TICK, 0);
    close(fds[0]);
    close(fds[1]);
}

/* ---- the broker ---- */

static uint16_t broker_take(void)
{
    uint8_t head[KV_HEADER_SIZE];
    const char *why;

    if (!wait_for(w.router))
        return 0;
    w.peer_len = (size_t)zmq_recv(w.router, w.peer, sizeof w.peer, 0);
    assert_int_equal(zmq_recv(w.router, head, sizeof head, 0), KV_HEADER_SIZE);
    int n = zmq_recv(w.router, w.body, sizeof w.body, 0);
    assert_int_equal(kv_header_decode(head, sizeof head, &w.head), KV_OK);
    assert_int_equal(kv_body_decode(w.head.code, w.body, (size_t)n, &w.msg, &why), KV_OK);
    return w.head.code;
}

static void broker_give(uint64_t request, const kv_msg *m)
{
    kv_buf body;
    uint8_t head[KV_HEADER_SIZE];

    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    kv_header_encode(&(kv_header){.code = m->code, .request = request}, head);
    zmq_send(w.router, w.peer, w.peer_len, ZMQ_SNDMORE);
    zmq_send(w.router, head, sizeof head, ZMQ_SNDMORE);
    zmq_send(w.router, body.data, body.len, 0);
    kv_buf_release(&body);
}

static void broker_okay(uint64_t id)
{
    kv_msg m;

    kv_msg_defaults(KV_OKAY, &m);
    m.okay.id = id;
    broker_give(w.head.request, &m);
}

/* The next message of the actor but beats, which are answered here. */
static void broker_expect(uint16_t code)
{
    uint16_t got;

    while ((got = broker_take()) == KV_BEAT && code != KV_BEAT) {
        kv_msg m;
        kv_msg_defaults(KV_BEAT_OK, &m);
        m.beat_ok = (kv_beat_ok){.epoch = 1, .known = true};
        broker_give(w.head.request, &m);
    }
    if (got != code)
        fail_msg("wanted %s, got %s", kv_code_name(code), kv_code_name(got));
}

static void broker_hello_ok(uint64_t epoch)
{
    kv_msg m;

    broker_expect(KV_HELLO);
    kv_msg_defaults(KV_HELLO_OK, &m);
    m.hello_ok.epoch = epoch;
    broker_give(w.head.request, &m);
}

static void broker_job(uint64_t job, uint64_t attempt)
{
    kv_msg m;

    kv_msg_defaults(KV_JOB, &m);
    m.job.job = job;
    m.job.epoch = 1;
    m.job.attempt = attempt;
    m.job.service = kv_slice_str("echo");
    m.job.params = kv_slice_str("{}");
    broker_give(0, &m);
}

static void broker_forgets(void)
{
    kv_msg m;

    kv_msg_defaults(KV_BEAT_OK, &m);
    m.beat_ok = (kv_beat_ok){.epoch = 2, .known = false};
    broker_give(0, &m);
}

static void expect_ready(uint64_t credit)
{
    broker_expect(KV_READY);
    assert_true(kv_slice_is(w.msg.ready.service, "echo"));
    assert_int_equal(w.msg.ready.credit, credit);
    broker_okay(0);
}

static void test_worker(void **state)
{
    kv_msg m;

    (void)state;
    assert_int_equal(start(&def, NULL, true), KV_OK);
    broker_hello_ok(1);
    expect_ready(4);
    broker_job(10, 1);
    broker_job(10, 1); /* sent twice: handled once */
    broker_job(11, 1);
    broker_job(12, 1);
    expect_said(SAW_JOB, 10);
    expect_said(SAW_JOB, 11);
    expect_said(SAW_JOB, 12);
    post(KV_UPLOAD_END, 11, 4, NULL); /* 11 is done */
    post(KV_UPLOAD_END, 0, 3, NULL);  /* another credit */
    expect_ready(9);
    broker_job(10, 2); /* a newer attempt: the old one is cancelled first */
    expect_said(SAW_CANCEL, 10);
    expect_said(SAW_JOB, 10);
    post(KV_UPLOAD_END, 10, 5, NULL); /* the new lease stays */
    post(KV_UPLOAD_END, 0, 3, NULL);
    expect_ready(9);

    broker_forgets();
    broker_hello_ok(2);
    uint64_t held = 0, stale = 0;
    for (int i = 0; i < 2; i++) { /* leases are held again before READY */
        broker_expect(KV_LEASE_HELD);
        assert_int_equal(w.msg.lease_held.epoch, 1);
        held |= w.msg.lease_held.job == 10 && w.msg.lease_held.attempt == 2 ? 1 : 2;
        if (w.msg.lease_held.job == 12)
            stale = w.head.request;
        else
            broker_okay(10);
    }
    assert_int_equal(held, 3);
    expect_ready(9);
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = KV_E_STALE_LEASE;
    broker_give(stale, &m);
    expect_said(SAW_CANCEL, 12);

    post(KV_UPLOAD_END, 6, 2, NULL); /* a question of the actor */
    broker_expect(KV_MEDIA_DELETE);
    broker_okay(5);
    expect_said(SAW_ANSWER, 5);
    post(KV_UPLOAD_END, 10, 4, NULL);
}

static void broker_refuse(kv_err err, uint64_t retry_after_ms)
{
    kv_msg m;

    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = err;
    m.error.retry_after_ms = retry_after_ms;
    broker_give(w.head.request, &m);
}

/* The broker does not know yet whether the lease is over: it is asked again, and the job goes on.
 */
static void test_held_later(void **state)
{
    (void)state;
    assert_int_equal(start(&def, NULL, true), KV_OK);
    broker_hello_ok(1);
    expect_ready(4);
    broker_job(10, 1);
    expect_said(SAW_JOB, 10);
    broker_forgets();
    broker_hello_ok(1);
    broker_expect(KV_LEASE_HELD);
    broker_refuse(KV_E_BUSY, 100);
    expect_ready(4);
    for (int i = 0; i < 2; i++) {
        broker_expect(KV_LEASE_HELD);
        assert_int_equal(w.msg.lease_held.job, 10);
        broker_refuse(i == 0 ? KV_E_BUSY : KV_E_STALE_LEASE, i == 0 ? 100 : 0);
    }
    expect_said(SAW_CANCEL, 10);
}

static void *stop_it(void *arg)
{
    (void)arg;
    kv_actor_stop(&w.actor, WAIT_MS);
    return NULL;
}

/* Stopping: no new jobs, those in hand are ended, then BYE. */
static void test_drain(void **state)
{
    pthread_t stopper;

    (void)state;
    assert_int_equal(start(&def, NULL, true), KV_OK);
    broker_hello_ok(1);
    expect_ready(4);
    broker_job(10, 1);
    expect_said(SAW_JOB, 10);
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, NULL), 0);
    expect_ready(0);
    post(KV_UPLOAD_CHUNK, 1, 1, NULL); /* still at work */
    kv_header head;
    kv_msg m;
    assert_int_equal(sink_take(&head, &m, NULL), KV_UPLOAD_CHUNK);
    post(KV_UPLOAD_END, 10, 4, NULL);
    broker_expect(KV_BYE);
    pthread_join(stopper, NULL);
    assert_null(w.actor);
}

/* What is not answered is sent again, but of READYs only the newest: an older one would undo it. */
static void test_newest_ready(void **state)
{
    pthread_t stopper;
    uint64_t undone = 0;

    (void)state;
    assert_int_equal(start(&def, NULL, true), KV_OK);
    broker_hello_ok(1);
    broker_expect(KV_READY);
    assert_int_equal(w.msg.ready.credit, 4);
    broker_job(10, 1);
    expect_said(SAW_JOB, 10);
    assert_int_equal(pthread_create(&stopper, NULL, stop_it, NULL), 0);
    for (int i = 0; i < 3; i++) {
        broker_expect(KV_READY);
        undone += w.msg.ready.credit;
    }
    broker_forgets();
    broker_hello_ok(1);
    broker_expect(KV_LEASE_HELD);
    broker_okay(10);
    for (int i = 0; i < 2; i++) {
        broker_expect(KV_READY);
        undone += w.msg.ready.credit;
    }
    broker_okay(0);
    post(KV_UPLOAD_END, 10, 4, NULL);
    broker_expect(KV_BYE);
    pthread_join(stopper, NULL);
    assert_int_equal(undone, 0);
}

static void test_stop_at_deadline(void **state)
{
    (void)state;
    assert_int_equal(start(&def, NULL, true), KV_OK);
    broker_hello_ok(1);
    expect_ready(4);
    broker_job(10, 1);
    expect_said(SAW_JOB, 10);
    int64_t before = kv_mono_ms(&kv_clock_real);
    kv_actor_stop(&w.actor, 50); /* the job never ends; READY and questions are never answered */
    int64_t took = kv_mono_ms(&kv_clock_real) - before;
    assert_true(took >= 50 && took < WAIT_MS);
}

/* ---- the fake ---- */

static void test_fake(void **state)
{
    kv_fake_clock clock;
    void *self;
    zmq_msg_t payload;
    kv_slice got;
    kv_msg m, okay;
    int peer = -1;

    (void)state;
    kv_fake_clock_init(&clock, 1);
    kv_out *out = kv_out_fake(&clock.clock);
    assert_int_equal(echo_create(NULL, NULL, &self), KV_OK);
    zmq_msg_init_size(&payload, 2);
    memcpy(zmq_msg_data(&payload), "hi", 2);
    kv_msg_defaults(KV_UPLOAD_CHUNK, &m);
    m.upload_chunk.upload = 4;
    kv_in in = {&(kv_header){.code = KV_UPLOAD_CHUNK}, &m, &payload, 0};
    echo_chunk(self, &in, out);
    zmq_msg_close(&payload);
    assert_int_equal(kv_out_fake_count(out), 1);
    const kv_msg *sent = kv_out_fake_at(out, 0, &peer, &got);
    assert_int_equal(sent->upload_chunk.upload, 4);
    assert_int_equal(peer, 0);
    assert_true(kv_slice_is(got, "hi"));
    assert_null(kv_out_fake_at(out, 1, NULL, NULL));
    kv_out_fake_clear(out);
    assert_int_equal(kv_out_fake_count(out), 0);

    kv_msg_defaults(KV_UPLOAD_END, &m);
    m.upload_end.size = 2;
    in = (kv_in){&(kv_header){.code = KV_UPLOAD_END}, &m, NULL, 0};
    echo_command(self, &in, out);
    assert_int_equal(kv_out_fake_asked(out, 0)->cancel.job, 5);
    assert_null(kv_out_fake_asked(out, 1));
    kv_msg_defaults(KV_OKAY, &okay);
    okay.okay.id = 8;
    kv_out_fake_answer(out, self, 0, KV_OK, &okay);
    assert_int_equal(kv_out_fake_at(out, 0, NULL, NULL)->upload_abort.number, 8);
    assert_null(kv_out_fake_asked(out, 0));
    assert_ptr_equal(kv_out_clock(out), &clock.clock);
    echo_destroy(&self);
    kv_out_fake_destroy(&out);
    assert_null(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order_and_payload, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bad_messages_are_dropped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_create_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fds_and_ticks, setup, teardown),
        cmocka_unit_test_setup_teardown(test_worker, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_later, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drain, setup, teardown),
        cmocka_unit_test_setup_teardown(test_newest_ready, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stop_at_deadline, setup, teardown),
        cmocka_unit_test(test_fake),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
