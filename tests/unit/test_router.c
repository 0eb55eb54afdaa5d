/* The broker's sockets, and peers that do not read, or send what nobody asked for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#include "broker/publish.h"
#include "broker/router.h"
#include "tests/unit/scratch.h"

enum { LARGE = 64 << 10, MIB = 1 << 20 };

typedef struct bed {
    void *zmq, *peer;
    kv_router *router;
    scratch scratch;
    char endpoint[300];
    char id[16];
    size_t id_len;
    int overflows;
} bed;

static void on_message(void *arg, kv_slice peer, const kv_header *head, const kv_msg *m)
{
    bed *b = arg;
    (void)head;
    (void)m;
    assert_true(peer.len <= sizeof b->id);
    memcpy(b->id, peer.ptr, peer.len);
    b->id_len = peer.len;
}

static void on_overflow(void *arg, kv_slice peer)
{
    bed *b = arg;
    assert_int_equal(peer.len, b->id_len);
    b->overflows++;
}

/* For something to read, a moment at most: room in the pipe is announced to nobody. */
static void await(void *socket)
{
    zmq_pollitem_t item = {socket, 0, ZMQ_POLLIN, 0};
    (void)zmq_poll(&item, 1, 10);
}

/* A peer that said one word, and reads no more than it must. */
static void bed_start(bed *b)
{
    int one = 1, none = 0;
    kv_header head = {.code = KV_BEAT, .request = 1};
    uint8_t bytes[KV_HEADER_SIZE];
    *b = (bed){.zmq = zmq_ctx_new()};
    scratch_make(&b->scratch);
    snprintf(b->endpoint, sizeof b->endpoint, "ipc://%s/s", b->scratch.dir);
    kv_router_opts opts = {b->zmq, b->endpoint, b, on_message, on_overflow};
    assert_int_equal(kv_router_open(&opts, &b->router), KV_OK);
    b->peer = zmq_socket(b->zmq, ZMQ_DEALER);
    zmq_setsockopt(b->peer, ZMQ_RCVHWM, &one, sizeof one);
    zmq_setsockopt(b->peer, ZMQ_LINGER, &none, sizeof none);
    assert_int_equal(zmq_connect(b->peer, b->endpoint), 0);
    kv_header_encode(&head, bytes);
    assert_true(zmq_send(b->peer, bytes, sizeof bytes, ZMQ_SNDMORE) > 0);
    assert_true(zmq_send(b->peer, "\x90", 1, 0) > 0);
    for (int i = 0; i < 5000 && b->id_len == 0; i++) {
        await(kv_router_socket(b->router));
        kv_router_receive(b->router, 1);
    }
    assert_true(b->id_len > 0);
}

static void bed_stop(bed *b)
{
    zmq_close(b->peer);
    kv_router_close(&b->router); /* bodies in its pipe are libzmq's until it ends */
    zmq_ctx_term(b->zmq);
    scratch_remove(&b->scratch);
}

static void say(bed *b, uint64_t request, size_t len)
{
    static char text[LARGE];
    kv_msg m;
    kv_msg_defaults(KV_STATS_OK, &m);
    m.stats_ok.text = kv_slice_of(text, len);
    kv_router_send(b->router, kv_slice_of(b->id, b->id_len), request, &m);
}

/* The bound is one of bytes: 32 MiB wait behind the pipe, and the pipe has a few. */
static void test_large_bodies_are_bounded(void **state)
{
    bed b;
    size_t sent = 0;
    (void)state;
    bed_start(&b);
    while (b.overflows == 0 && sent < 256 * (size_t)MIB) {
        say(&b, 1, LARGE);
        sent += LARGE;
        (void)kv_router_flush(b.router);
    }
    assert_in_range(sent, 32 * MIB, 40 * MIB);
    bed_stop(&b);
}

/* Small ones pass at the pace of the pipe's messages. */
static void test_small_bodies_fill_the_pipe(void **state)
{
    bed b;
    (void)state;
    bed_start(&b);
    for (int i = 0; i < 2000; i++)
        say(&b, 1, 100);
    assert_false(kv_router_flush(b.router)); /* nothing waits */
    bed_stop(&b);
}

/* What waits comes in its order, large or small, once the peer reads. */
static void test_order_is_kept(void **state)
{
    enum { N = 400 };
    bed b;
    (void)state;
    bed_start(&b);
    for (uint64_t i = 1; i <= N; i++)
        say(&b, i, i % 3 ? LARGE : 10);
    assert_true(kv_router_flush(b.router));
    for (uint64_t i = 1; i <= N; i++) {
        uint8_t bytes[KV_HEADER_SIZE];
        static char body[LARGE + 64];
        kv_header head;
        int n = -1;
        for (int tries = 0; tries < 5000 && n < 0; tries++) {
            (void)kv_router_flush(b.router);
            n = zmq_recv(b.peer, bytes, sizeof bytes, ZMQ_DONTWAIT);
            if (n < 0)
                await(b.peer);
        }
        assert_int_equal(n, KV_HEADER_SIZE);
        assert_int_equal(kv_header_decode(bytes, sizeof bytes, &head), KV_OK);
        assert_int_equal(head.request, i);
        n = zmq_recv(b.peer, body, sizeof body, 0);
        assert_in_range(n, i % 3 ? LARGE : 10, (i % 3 ? LARGE : 10) + 16);
    }
    assert_false(kv_router_flush(b.router));
    assert_int_equal(b.overflows, 0);
    bed_stop(&b);
}

/* What a subscriber sends is held in memory until it is whole: the head of a large frame is enough
 * to be cut off. ZMTP 3.0: greeting, READY, a frame of a GiB. */
static void test_subscribers_send_little(void **state)
{
    static const char ready[] = "\x04\x19\x05READY\x0bSocket-Type\0\0\0\3SUB";
    static const char frame[] = {2, 0, 0, 0, 0, 0x40, 0, 0, 0, 1};
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char greeting[64] = "\xff\0\0\0\0\0\0\0\0\x7f\3\0NULL", bytes[256], endpoint[300];
    kv_publish *p;
    scratch s;
    ssize_t n;
    (void)state;
    scratch_make(&s);
    void *zmq = zmq_ctx_new();
    snprintf(endpoint, sizeof endpoint, "ipc://%s/p", s.dir);
    assert_true(snprintf(at.sun_path, sizeof at.sun_path, "%.90s/p", s.dir) > 0);
    assert_int_equal(kv_publish_open(zmq, endpoint, &p), KV_OK);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof at), 0);
    assert_int_equal(send(fd, greeting, sizeof greeting, 0), sizeof greeting);
    assert_int_equal(send(fd, ready, sizeof ready - 1, 0), sizeof ready - 1);
    assert_int_equal(send(fd, frame, sizeof frame, MSG_NOSIGNAL), sizeof frame);
    do { /* its own greeting and READY, then the end */
        struct pollfd item = {.fd = fd, .events = POLLIN};
        assert_int_equal(poll(&item, 1, 10000), 1);
        n = recv(fd, bytes, sizeof bytes, 0);
    } while (n > 0);
    close(fd);
    kv_publish_close(&p);
    zmq_ctx_term(zmq);
    scratch_remove(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_large_bodies_are_bounded),
        cmocka_unit_test(test_small_bodies_fill_the_pipe),
        cmocka_unit_test(test_order_is_kept),
        cmocka_unit_test(test_subscribers_send_little),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
