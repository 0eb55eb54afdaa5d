/* The client against a broker that the test plays, over inproc and with a fake clock; once over ipc
 * with a restart. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "proto/client.h"

typedef struct answer {
    int calls;
    kv_err err;
    uint64_t id;
} answer;

static struct world {
    void *zmq, *router;
    kv_fake_clock clock;
    kv_client *client;
    /* of the last message the broker took */
    uint8_t peer[64];
    size_t peer_len;
    kv_header head;
    uint8_t body[4096];
    kv_msg msg;
    /* what the client called */
    int sessions, lost, jobs, positions;
    bool new_epoch, ask_in_session;
    answer session_answer;
} w;

static void on_answer(void *arg, kv_err err, const kv_msg *m)
{
    answer *a = arg;

    a->calls++;
    a->err = err;
    a->id = m && m->code == KV_OKAY ? m->okay.id : 0;
}

static kv_err ask_ready(uint64_t credit, int64_t timeout_ms, answer *a)
{
    kv_msg m;

    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str("image");
    m.ready.credit = credit;
    return kv_client_ask(w.client, &m, timeout_ms, on_answer, a);
}

static void on_session(void *arg, const kv_hello_ok *ok, bool new_epoch)
{
    (void)arg, (void)ok;
    w.sessions++;
    w.new_epoch = new_epoch;
    if (w.ask_in_session)
        ask_ready(77, 10000, &w.session_answer);
}

static void on_message(void *arg, const kv_header *head, const kv_msg *m)
{
    (void)arg, (void)head;
    assert_true(m->code == KV_JOB || m->code == KV_POSITIONS);
    w.jobs += m->code == KV_JOB;
    w.positions += m->code == KV_POSITIONS;
}

static void on_lost(void *arg)
{
    (void)arg;
    w.lost++;
}

static void new_client(const char *endpoint, size_t max_waiting)
{
    kv_client_opts opts = {.zmq = w.zmq,
                           .endpoint = endpoint,
                           .role = "worker",
                           .name = "tester",
                           .clock = &w.clock.clock,
                           .max_waiting = max_waiting,
                           .on_session = on_session,
                           .on_message = on_message,
                           .on_lost = on_lost};

    assert_int_equal(kv_client_new(&opts, &w.client), KV_OK);
}

/* The next message to the broker; its code, or 0. */
static uint16_t take(void)
{
    uint8_t head[KV_HEADER_SIZE];
    const char *why;
    int n = zmq_recv(w.router, w.peer, sizeof w.peer, ZMQ_DONTWAIT);

    if (n < 0)
        return 0;
    w.peer_len = (size_t)n;
    assert_int_equal(zmq_recv(w.router, head, sizeof head, 0), KV_HEADER_SIZE);
    n = zmq_recv(w.router, w.body, sizeof w.body, 0);
    assert_true(n > 0 && n <= (int)sizeof w.body);
    assert_int_equal(kv_header_decode(head, sizeof head, &w.head), KV_OK);
    assert_int_equal(kv_body_decode(w.head.code, w.body, (size_t)n, &w.msg, &why), KV_OK);
    return w.head.code;
}

static void give(uint64_t request, const kv_msg *m)
{
    kv_header head = {.code = m->code, .request = request};
    uint8_t bytes[KV_HEADER_SIZE];
    kv_buf body;

    kv_header_encode(&head, bytes);
    kv_buf_init(&body, 0);
    kv_body_encode(m, &body);
    zmq_send(w.router, w.peer, w.peer_len, ZMQ_SNDMORE);
    zmq_send(w.router, bytes, sizeof bytes, ZMQ_SNDMORE);
    zmq_send(w.router, body.data, body.len, 0);
    kv_buf_release(&body);
}

static void give_okay(uint64_t request, uint64_t id)
{
    kv_msg m;

    kv_msg_defaults(KV_OKAY, &m);
    m.okay.id = id;
    give(request, &m);
}

static void give_hello_ok(uint64_t epoch)
{
    kv_msg m;

    kv_msg_defaults(KV_HELLO_OK, &m);
    m.hello_ok.epoch = epoch;
    give(w.head.request, &m);
}

static void give_beat_ok(uint64_t request, uint64_t epoch, bool known)
{
    kv_msg m;

    kv_msg_defaults(KV_BEAT_OK, &m);
    m.beat_ok.epoch = epoch;
    m.beat_ok.known = known;
    give(request, &m);
}

/* Runs the client until the broker holds a message with `code`. */
static void expect(uint16_t code)
{
    kv_client_poll(w.client);
    uint16_t got = take();
    if (got != code)
        fail_msg("wanted %s, got %s", kv_code_name(code), kv_code_name(got));
}

static void expect_nothing(void)
{
    kv_client_poll(w.client);
    assert_int_equal(take(), 0);
}

static void stand(uint64_t epoch)
{
    expect(KV_HELLO);
    give_hello_ok(epoch);
    kv_client_poll(w.client);
    assert_true(kv_client_up(w.client));
}

static int setup(void **state)
{
    (void)state;
    memset(&w, 0, sizeof w);
    w.zmq = zmq_ctx_new();
    w.router = zmq_socket(w.zmq, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(w.router, "inproc://broker"), 0);
    kv_fake_clock_init(&w.clock, 1795255200000);
    new_client("inproc://broker", 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    kv_client_destroy(&w.client);
    int zero = 0;
    zmq_setsockopt(w.router, ZMQ_LINGER, &zero, sizeof zero);
    zmq_close(w.router);
    zmq_ctx_term(w.zmq);
    return 0;
}

static void test_session_and_beats(void **state)
{
    (void)state;
    expect(KV_HELLO);
    assert_true(kv_slice_is(w.msg.hello.role, "worker") && kv_slice_is(w.msg.hello.name, "tester"));
    assert_true(w.msg.hello.instance != 0);
    assert_int_equal(w.msg.hello.epoch, 0);
    assert_false(kv_client_up(w.client));
    uint64_t first = w.head.request;
    kv_fake_clock_advance(&w.clock, 1000); /* no answer: the same HELLO again */
    expect(KV_HELLO);
    assert_int_equal(w.head.request, first);
    give_hello_ok(7);
    kv_client_poll(w.client);
    assert_int_equal(w.sessions, 1);
    assert_true(w.new_epoch);
    assert_int_equal(kv_client_epoch(w.client), 7);
    expect_nothing();
    kv_client_set_busy(w.client, 3);
    for (int i = 0; i < 10; i++) {
        kv_fake_clock_advance(&w.clock, 1000);
        expect(KV_BEAT);
        assert_int_equal(w.msg.beat.busy, 3);
        give_beat_ok(w.head.request, 7, true);
    }
    kv_client_poll(w.client);
    assert_true(kv_client_up(w.client));
    assert_int_equal(w.lost, 0);
}

static void test_silence(void **state)
{
    (void)state;
    stand(1);
    for (int i = 0; i < 3; i++) {
        kv_fake_clock_advance(&w.clock, 1000);
        expect(KV_BEAT);
    }
    assert_int_equal(w.lost, 0);
    kv_fake_clock_advance(&w.clock, 1000);
    assert_false(kv_client_up(w.client));
    expect(KV_HELLO);
    assert_int_equal(w.lost, 1);
    give_hello_ok(1);
    kv_client_poll(w.client);
    assert_int_equal(w.sessions, 2);
    assert_false(w.new_epoch);
}

static void test_answers(void **state)
{
    answer a = {0}, b = {0}, c = {0};
    kv_msg m;

    (void)state;
    assert_int_equal(ask_ready(1, 5000, &a), KV_OK); /* before there is a session */
    assert_int_equal(kv_client_waiting(w.client), 1);
    stand(1);
    assert_int_equal(take(), KV_READY);
    assert_int_equal(w.head.deadline_ms, 1795255205000);
    uint64_t first = w.head.request;
    ask_ready(2, 5000, &b);
    ask_ready(3, 5000, &c);
    expect(KV_READY);
    uint64_t second = w.head.request;
    expect(KV_READY);
    kv_msg_defaults(KV_ERROR, &m);
    m.error.number = KV_E_BUSY;
    give(second, &m); /* not in the order they were asked */
    give_okay(first, 42);
    give_okay(first, 43); /* twice */
    kv_msg_defaults(KV_STATS_OK, &m);
    give(w.head.request, &m); /* not the answer that belongs to it */
    assert_int_equal(a.calls + b.calls + c.calls, 0);
    kv_client_poll(w.client);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, KV_OK);
    assert_int_equal(a.id, 42);
    assert_int_equal(b.err, KV_E_BUSY);
    assert_int_equal(c.err, KV_E_BAD_MESSAGE);
    assert_int_equal(kv_client_waiting(w.client), 0);
    m.code = KV_JOB;
    kv_msg_defaults(KV_JOB, &m);
    give(0, &m);
    kv_msg_defaults(KV_POSITIONS, &m); /* S3-36: a push, not an answer */
    m.positions.json = kv_slice_str("[]");
    give(0, &m);
    kv_client_poll(w.client);
    assert_int_equal(w.jobs, 1);
    assert_int_equal(w.positions, 1);
}

/* S1: a request is sent again under the same id until it is answered, and ends with BROKER_AWAY */
static void test_resend_and_timeout(void **state)
{
    answer a = {0}, b = {0};

    (void)state;
    stand(1);
    ask_ready(1, 2500, &a);
    expect(KV_READY);
    uint64_t id = w.head.request;
    kv_fake_clock_advance(&w.clock, 900);
    expect_nothing();
    kv_fake_clock_advance(&w.clock, 100);
    kv_client_poll(w.client);
    assert_int_equal(take(), KV_BEAT);
    give_beat_ok(w.head.request, 1, true);
    assert_int_equal(take(), KV_READY);
    assert_int_equal(w.head.request, id);
    ask_ready(2, 100000, &b);
    expect(KV_READY);
    kv_fake_clock_advance(&w.clock, 1499);
    kv_client_poll(w.client);
    assert_int_equal(a.calls, 0);
    kv_fake_clock_advance(&w.clock, 1);
    kv_client_poll(w.client);
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, KV_E_BROKER_AWAY);
    give_okay(id, 1); /* too late */
    kv_client_poll(w.client);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 0);
    assert_int_equal(kv_client_waiting(w.client), 1);
}

/* After a restart the broker does not know the peer: HELLO, then what on_session asks, then what
 * waited, in order. */
static void test_broker_restart(void **state)
{
    answer a = {0}, b = {0};

    (void)state;
    stand(1);
    ask_ready(1, 60000, &a);
    ask_ready(2, 60000, &b);
    expect(KV_READY);
    uint64_t id = w.head.request;
    assert_int_equal(take(), KV_READY);
    w.ask_in_session = true;
    give_beat_ok(0, 2, false);
    give_beat_ok(0, 2, false);
    expect(KV_HELLO);
    assert_int_equal(w.msg.hello.epoch, 1);
    assert_int_equal(take(), 0);
    give_hello_ok(2);
    expect(KV_READY);
    assert_true(w.new_epoch);
    assert_int_equal(w.msg.ready.credit, 77);
    assert_int_equal(take(), KV_READY);
    assert_int_equal(w.msg.ready.credit, 1);
    assert_int_equal(w.head.request, id);
    assert_int_equal(take(), KV_READY);
    assert_int_equal(w.msg.ready.credit, 2);
    give_okay(id, 9);
    kv_client_poll(w.client);
    assert_int_equal(a.id, 9);
    assert_int_equal(w.lost, 0);
}

static void test_full(void **state)
{
    static answer many[300];

    (void)state;
    kv_client_destroy(&w.client);
    new_client("inproc://broker", 300);
    stand(1);
    for (int i = 0; i < 300; i++)
        assert_int_equal(ask_ready(1, 1000 + 10 * (i * 7 % 300), &many[i]),
                         KV_OK); /* run out in a mixed order */
    assert_int_equal(ask_ready(1, 1000, &many[0]), KV_E_BUSY);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(take(), KV_READY);
        if (i % 3 == 0)
            give_okay(w.head.request, 5);
    }
    kv_client_poll(w.client);
    assert_int_equal(kv_client_waiting(w.client), 200);
    for (int i = 0; i < 400; i++) {
        kv_fake_clock_advance(&w.clock, 10);
        kv_client_poll(w.client);
    }
    assert_int_equal(kv_client_waiting(w.client), 0);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(many[i].calls, 1);
        assert_int_equal(many[i].err, i % 3 ? KV_E_BROKER_AWAY : KV_OK);
    }
}

static void test_garbage(void **state)
{
    answer a = {0};

    (void)state;
    stand(1);
    ask_ready(1, 5000, &a);
    expect(KV_READY);
    zmq_send(w.router, w.peer, w.peer_len, ZMQ_SNDMORE);
    zmq_send(w.router, "x", 1, 0);
    for (int i = 0; i < 5; i++)
        zmq_send(w.router, i ? "x" : (const void *)w.peer, i ? 1 : w.peer_len,
                 i < 4 ? ZMQ_SNDMORE : 0);
    zmq_send(w.router, w.peer, w.peer_len, ZMQ_SNDMORE);
    zmq_send(w.router, "not a header, not a header, not a header, not a ", 48, ZMQ_SNDMORE);
    zmq_send(w.router, "x", 1, 0);
    uint8_t head[KV_HEADER_SIZE];
    kv_header_encode(&(kv_header){.code = KV_OKAY, .request = w.head.request}, head);
    zmq_send(w.router, w.peer, w.peer_len, ZMQ_SNDMORE);
    zmq_send(w.router, head, sizeof head, ZMQ_SNDMORE);
    zmq_send(w.router, "\xdd\xff\xff\xff\xff", 5, 0);
    kv_client_poll(w.client);
    assert_true(kv_client_up(w.client));
    assert_int_equal(a.calls, 1);
    assert_int_equal(a.err, KV_E_BAD_MESSAGE);
}

static void test_bye(void **state)
{
    (void)state;
    stand(1);
    kv_client_destroy(&w.client);
    assert_int_equal(take(), KV_BYE);
    assert_int_equal(w.head.request, 0);
}

/* Waits for the descriptors, at most 5 s, until the broker holds a message. */
static uint16_t wait_take(void)
{
    for (int i = 0; i < 100; i++) {
        zmq_pollitem_t items[2] = {{w.router, 0, ZMQ_POLLIN, 0},
                                   {NULL, kv_client_fd(w.client), ZMQ_POLLIN, 0}};
        kv_client_poll(w.client);
        uint16_t code = take();
        if (code)
            return code;
        zmq_poll(items, 2, 50);
        kv_fake_clock_advance(&w.clock, 100);
    }
    return 0;
}

static void open_router(const char *endpoint)
{
    w.router = zmq_socket(w.zmq, ZMQ_ROUTER);
    assert_int_equal(zmq_bind(w.router, endpoint), 0);
}

static void test_ipc_restart(void **state)
{
    char folder[] = "/tmp/kv-test-client-XXXXXX", path[64], endpoint[80];
    answer a = {0};
    int zero = 0;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/b", folder);
    snprintf(endpoint, sizeof endpoint, "ipc://%s", path);
    kv_client_destroy(&w.client);
    zmq_close(w.router);
    new_client(endpoint, 0); /* before the broker is there */
    kv_client_poll(w.client);
    open_router(endpoint);
    assert_int_equal(wait_take(), KV_HELLO);
    give_hello_ok(1);
    ask_ready(5, 60000, &a);
    assert_int_equal(wait_take(), KV_READY);
    uint64_t id = w.head.request;
    zmq_setsockopt(w.router, ZMQ_LINGER, &zero, sizeof zero);
    zmq_close(w.router); /* dies without an answer */
    unlink(path);
    open_router(endpoint);
    for (uint16_t code; (code = wait_take()) != KV_HELLO;) {
        assert_int_not_equal(code, 0);
        give_beat_ok(0, 2, false);
    }
    give_hello_ok(2);
    assert_int_equal(wait_take(), KV_READY);
    assert_int_equal(w.head.request, id);
    give_okay(id, 3);
    for (int i = 0; i < 100 && !a.calls; i++) {
        zmq_pollitem_t item = {NULL, kv_client_fd(w.client), ZMQ_POLLIN, 0};
        zmq_poll(&item, 1, 50);
        kv_client_poll(w.client);
    }
    assert_int_equal(a.id, 3);
    unlink(path);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_session_and_beats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_silence, setup, teardown),
        cmocka_unit_test_setup_teardown(test_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_resend_and_timeout, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broker_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bye, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ipc_restart, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
