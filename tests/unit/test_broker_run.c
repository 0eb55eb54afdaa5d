/* The whole broker with real sockets in a folder of its own: a session, an upload's commit, a
 * worker, events, a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/broker.h"
#include "proto/base/metrics.h"
#include "proto/client.h"
#include "tests/unit/scratch.h"

/* ---- a broker in a thread ---- */

typedef struct running {
    kv_config cfg;
    pthread_t thread;
    int signal[2]; /* stands for the signalfd */
    int status;
} running;

static void *run(void *arg)
{
    running *b = arg;
    b->status = kv_broker_run(&b->cfg, b->signal[0]);
    return NULL;
}

static void broker_start(running *b, const scratch *s)
{
    char data[300];
    kv_buf problems, warnings;
    snprintf(data, sizeof data, "KERVAN_DATA=%s", s->dir);
    char *env[] = {data, NULL};
    kv_buf_init(&problems, 0);
    kv_buf_init(&warnings, 0);
    memset(b, 0, sizeof *b);
    assert_int_equal(kv_config_load(&b->cfg, env, &problems, &warnings), KV_OK);
    kv_buf_release(&problems);
    kv_buf_release(&warnings);
    assert_int_equal(pipe(b->signal), 0);
    assert_int_equal(pthread_create(&b->thread, NULL, run, b), 0);
}

static int broker_stop(running *b)
{
    struct signalfd_siginfo info = {.ssi_signo = SIGTERM};
    assert_int_equal(write(b->signal[1], &info, sizeof info), sizeof info);
    pthread_join(b->thread, NULL);
    close(b->signal[0]);
    close(b->signal[1]);
    kv_config_release(&b->cfg);
    return b->status;
}

/* ---- a peer ---- */

typedef struct peer {
    kv_client *client;
    bool answered;
    kv_err err;
    kv_msg answer;
    char text[8192]; /* json of the answer */
    int sessions, jobs;
    kv_job job;
} peer;

static void on_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    peer *p = arg;
    (void)ok, (void)new_epoch;
    p->sessions++;
}

static void on_message(void *arg, const kv_header *head, const kv_msg *m)
{
    peer *p = arg;
    (void)head;
    if (m->code == KV_JOB) {
        p->jobs++;
        p->job = m->job;
    }
}

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    peer *p = arg;
    p->answered = true;
    p->err = err;
    if (!answer)
        return;
    p->answer = *answer;
    kv_slice text = answer->code == KV_MEDIA_COMMITTED ? answer->media_committed.json
                    : answer->code == KV_STATS_OK      ? answer->stats_ok.text
                    : answer->code == KV_JOB_STATUS    ? answer->job_status.json
                                                       : kv_slice_of(NULL, 0);
    snprintf(p->text, sizeof p->text, "%.*s", KV_SLICE_FMT(text));
}

static void peer_open(peer *p, void *zmq, const kv_config *cfg, const char *role, const char *name)
{
    memset(p, 0, sizeof *p);
    kv_client_opts opts = {.zmq = zmq,
                           .endpoint = cfg->broker,
                           .role = role,
                           .name = name,
                           .clock = &kv_clock_real,
                           .resend_ms = 300,
                           .arg = p,
                           .on_session = on_session,
                           .on_message = on_message};
    assert_int_equal(kv_client_new(&opts, &p->client), KV_OK);
}

#define wait_until(p, condition)                                                                   \
    do {                                                                                           \
        int64_t until_ = kv_mono_ms(&kv_clock_real) + 20000;                                       \
        while (!(condition)) {                                                                     \
            assert_true(kv_mono_ms(&kv_clock_real) < until_);                                      \
            int64_t ms_ = kv_client_poll((p)->client);                                             \
            struct pollfd fd_ = {.fd = kv_client_fd((p)->client), .events = POLLIN};               \
            if (!(condition))                                                                      \
                poll(&fd_, 1, ms_ > 20 ? 20 : (int)ms_);                                           \
        }                                                                                          \
    } while (0)

static kv_err ask(peer *p, const kv_msg *m)
{
    p->answered = false;
    assert_int_equal(kv_client_ask(p->client, m, 15000, on_answer, p), KV_OK);
    wait_until(p, p->answered);
    return p->err;
}

static kv_err commit_media(peer *p, uint64_t media, char fill, bool process)
{
    char hash[32];
    kv_msg m;
    memset(hash, fill, sizeof hash);
    kv_msg_defaults(KV_MEDIA_COMMIT, &m);
    m.media_commit.media = media;
    m.media_commit.folder = kv_slice_str("banners");
    m.media_commit.filename = kv_slice_str("çiçek.jpg");
    m.media_commit.hash = m.media_commit.stored_hash = kv_slice_of(hash, 32);
    m.media_commit.size = 5;
    m.media_commit.mime = kv_slice_str("image/jpeg");
    m.media_commit.ext = kv_slice_str("jpg");
    m.media_commit.process = process;
    return ask(p, &m);
}

static void ready(peer *p, const char *service)
{
    kv_msg m;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(service);
    m.ready.credit = 2;
    assert_int_equal(ask(p, &m), KV_OK);
}

static kv_err done(peer *p, const char *result)
{
    kv_msg m;
    kv_msg_defaults(KV_JOB_DONE, &m);
    m.job_done = (kv_job_done){p->job.job, p->job.epoch, p->job.attempt, kv_slice_str(result)};
    return ask(p, &m);
}

/* Reads the event stream until an event of this type came; type NULL: until anything came, so that
 * the subscription stands. */
static bool heard(void *sub, const char *type, uint64_t *last)
{
    for (int i = 0; i < 50; i++) {
        zmq_msg_t frames[2];
        kv_header head;
        kv_msg m;
        for (int f = 0; f < 2; f++) {
            zmq_msg_init(&frames[f]);
            if (zmq_msg_recv(&frames[f], sub, 0) < 0)
                return false;
        }
        assert_int_equal(
            kv_header_decode(zmq_msg_data(&frames[0]), zmq_msg_size(&frames[0]), &head), KV_OK);
        assert_int_equal(
            kv_body_decode(head.code, zmq_msg_data(&frames[1]), zmq_msg_size(&frames[1]), &m, NULL),
            KV_OK);
        bool found = !type;
        if (m.code == KV_EVENTS && type) {
            assert_true(*last == 0 || m.events.prev == *last);
            *last = m.events.last;
            found = memmem(m.events.events.ptr, m.events.events.len, type, strlen(type)) != NULL;
        }
        zmq_msg_close(&frames[0]);
        zmq_msg_close(&frames[1]);
        if (found)
            return true;
    }
    return false;
}

static void test_upload_to_ready(void **state)
{
    scratch s;
    running b;
    peer gateway, worker;
    void *zmq = zmq_ctx_new();
    uint64_t last = 0;
    int timeout = 15000;
    (void)state;
    scratch_make(&s);
    broker_start(&b, &s);
    void *sub = zmq_socket(zmq, ZMQ_SUB);
    zmq_setsockopt(sub, ZMQ_SUBSCRIBE, "", 0);
    zmq_setsockopt(sub, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(zmq_connect(sub, b.cfg.events), 0);
    assert_true(heard(sub, NULL, &last));
    peer_open(&gateway, zmq, &b.cfg, "gateway", "dedup");
    peer_open(&worker, zmq, &b.cfg, "worker", "image");
    wait_until(&worker, worker.sessions == 1);
    ready(&worker, "image-process");

    assert_int_equal(commit_media(&gateway, 77, 'a', true), KV_OK);
    assert_true(gateway.answer.media_committed.created);
    assert_non_null(strstr(gateway.text, "çiçek.jpg"));
    wait_until(&worker, worker.jobs == 1);
    assert_int_equal(worker.job.epoch, 1);
    assert_int_equal(done(&worker, "{\"width\":8,\"height\":8,\"variants\":[]}"), KV_OK);
    assert_true(heard(sub, "media.ready", &last));
    assert_int_equal(done(&worker, "{\"width\":8,\"height\":8,\"variants\":[]}"),
                     KV_OK); /* sent again after its commit */

    kv_msg m;
    kv_msg_defaults(KV_STATS, &m);
    m.stats.what = 1;
    assert_int_equal(ask(&gateway, &m), KV_OK);
    assert_non_null(strstr(gateway.text, "\"database\":\"ok\""));
    m.stats.what = 0;
    assert_int_equal(ask(&gateway, &m), KV_OK);
    assert_non_null(strstr(gateway.text, "kervan_"));

    kv_client_destroy(&gateway.client);
    kv_client_destroy(&worker.client);
    zmq_close(sub);
    assert_int_equal(broker_stop(&b), 0);
    zmq_ctx_term(zmq);
    scratch_remove(&s);
}

/* The broker goes away with a job leased; its worker keeps it over the restart, and a commit that
 * was sent meanwhile waits. */
static void test_restart(void **state)
{
    scratch s;
    running b;
    peer gateway, worker;
    void *zmq = zmq_ctx_new();
    (void)state;
    scratch_make(&s);
    broker_start(&b, &s);
    peer_open(&gateway, zmq, &b.cfg, "gateway", "dedup");
    peer_open(&worker, zmq, &b.cfg, "worker", "image");
    wait_until(&worker, worker.sessions == 1);
    ready(&worker, "image-process");
    assert_int_equal(commit_media(&gateway, 1, 'a', true), KV_OK);
    wait_until(&worker, worker.jobs == 1);
    assert_int_equal(broker_stop(&b), 0);

    broker_start(&b, &s);
    wait_until(&worker, worker.sessions == 2);
    kv_msg m;
    kv_msg_defaults(KV_LEASE_HELD, &m);
    m.lease_held = (kv_lease_held){worker.job.job, worker.job.epoch, worker.job.attempt};
    assert_int_equal(ask(&worker, &m), KV_OK);
    assert_int_equal(kv_client_epoch(worker.client), 2);
    assert_int_equal(commit_media(&gateway, 2, 'b', false), KV_OK);
    assert_int_equal(done(&worker, "{\"width\":8,\"height\":8,\"variants\":[]}"), KV_OK);
    kv_client_destroy(&gateway.client);
    kv_client_destroy(&worker.client);
    assert_int_equal(broker_stop(&b), 0);
    zmq_ctx_term(zmq);
    scratch_remove(&s);
}

/* A second bind on the path would steal it: the second broker ends with an error, the first one
 * serves on. */
static void test_second_broker(void **state)
{
    scratch s;
    running b, second;
    peer gateway;
    void *zmq = zmq_ctx_new();
    (void)state;
    scratch_make(&s);
    broker_start(&b, &s);
    peer_open(&gateway, zmq, &b.cfg, "gateway", "dedup");
    wait_until(&gateway, gateway.sessions == 1);
    broker_start(&second, &s);
    assert_int_equal(broker_stop(&second), 1);
    assert_int_equal(commit_media(&gateway, 1, 'a', false), KV_OK);
    kv_client_destroy(&gateway.client);
    assert_int_equal(broker_stop(&b), 0);
    zmq_ctx_term(zmq);
    scratch_remove(&s);
}

/* Garbage, ingest codes and wrong frames do not disturb it. */
static void test_bad_input(void **state)
{
    scratch s;
    running b;
    peer gateway;
    void *zmq = zmq_ctx_new();
    int timeout = 15000;
    uint8_t head[KV_HEADER_SIZE];
    kv_header h = {.code = KV_UPLOAD_CHUNK, .request = 9};
    (void)state;
    scratch_make(&s);
    broker_start(&b, &s);
    peer_open(&gateway, zmq, &b.cfg, "gateway", "dedup");
    wait_until(&gateway, gateway.sessions == 1);
    int64_t bad = kv_metric_get(KV_M_BAD_MESSAGES);
    void *raw = zmq_socket(zmq, ZMQ_DEALER);
    zmq_setsockopt(raw, ZMQ_RCVTIMEO, &timeout, sizeof timeout);
    assert_int_equal(zmq_connect(raw, b.cfg.broker), 0);
    zmq_send(raw, "x", 1, 0);
    zmq_send(raw, "x", 1, ZMQ_SNDMORE);
    zmq_send(raw, "\x93\xff", 2, 0);
    for (int i = 0; i < 20; i++)
        zmq_send(raw, "x", 1, i < 19 ? ZMQ_SNDMORE : 0);
    kv_header_encode(&h, head);
    zmq_send(raw, head, sizeof head, ZMQ_SNDMORE);
    zmq_send(raw, "\x90", 1, 0);
    assert_true(zmq_recv(raw, head, sizeof head, 0) == sizeof head);
    assert_int_equal(kv_header_decode(head, sizeof head, &h), KV_OK);
    assert_int_equal(h.code, KV_ERROR);
    assert_int_equal(h.request, 9);
    assert_int_equal(kv_metric_get(KV_M_BAD_MESSAGES), bad + 4);
    assert_int_equal(commit_media(&gateway, 1, 'a', false), KV_OK);
    int linger = 0;
    zmq_setsockopt(raw, ZMQ_LINGER, &linger, sizeof linger);
    zmq_close(raw);
    kv_client_destroy(&gateway.client);
    assert_int_equal(broker_stop(&b), 0);
    zmq_ctx_term(zmq);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_upload_to_ready),
        cmocka_unit_test(test_restart),
        cmocka_unit_test(test_second_broker),
        cmocka_unit_test(test_bad_input),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
