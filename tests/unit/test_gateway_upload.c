/* The running gateway over loopback, with a fake ingest side behind it: bodies in every framing,
 * refusals, aborts, drain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "gateway/gateway.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "tests/unit/fake_ingest.h"
#include "tests/unit/scratch.h"

#define MB (1u << 20)

typedef struct server {
    kv_config cfg;
    scratch dir;
    char env[5][320];
    int port, stop[2], status;
    pthread_t thread;
} server;

static void *serve(void *arg)
{
    server *s = arg;
    static const kv_ingest_hooks hooks = {fake_start, fake_stop};
    s->status = kv_gateway_run(&s->cfg, s->stop[0], &hooks);
    return NULL;
}

static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    close(fd);
    return ntohs(a.sin_port);
}

static int dial(const server *s)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)s->port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    for (int i = 0; i < 500; i++) { /* until it listens */
        int fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
            setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
            return fd;
        }
        close(fd);
        usleep(10000);
    }
    fail_msg("the gateway does not listen");
    return -1;
}

static void start(server *s, const char *more, const char *more2)
{
    memset(s, 0, sizeof(*s));
    kv_buf problems, warnings;
    kv_buf_init(&problems, 0);
    kv_buf_init(&warnings, 0);
    scratch_make(&s->dir);
    s->port = free_port();
    snprintf(s->env[0], sizeof(s->env[0]), "KERVAN_DATA=%s", s->dir.dir);
    snprintf(s->env[1], sizeof(s->env[1]), "KERVAN_LISTEN=127.0.0.1:%d", s->port);
    snprintf(s->env[2], sizeof(s->env[2]), "MAX_UPLOAD_SIZE_MB=1");
    snprintf(s->env[3], sizeof(s->env[3]), "%s", more);
    snprintf(s->env[4], sizeof(s->env[4]), "%s", more2);
    char *envp[] = {s->env[0], s->env[1], s->env[2], s->env[3], s->env[4], NULL};
    if (kv_config_load(&s->cfg, envp, &problems, &warnings) != KV_OK)
        fail_msg("%s", kv_buf_str(&problems));
    kv_buf_release(&problems);
    kv_buf_release(&warnings);
    kv_metrics_reset();
    fake_begun = fake_refused = fake_aborted = fake_ended = fake_whole = 0;
    assert_int_equal(pipe(s->stop), 0);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    close(dial(s));
}

static void ask_stop(server *s)
{
    struct signalfd_siginfo info;
    memset(&info, 0, sizeof(info));
    assert_int_equal(write(s->stop[1], &info, sizeof(info)), sizeof(info));
}

static void finish(server *s)
{
    pthread_join(s->thread, NULL);
    assert_int_equal(s->status, 0);
    assert_int_equal(kv_metric_get(KV_M_UPLOADS_ACTIVE), 0);
    assert_int_equal(kv_metric_get(KV_M_UPLOAD_BUFFER_BYTES), 0);
    assert_int_equal(fake_begun, fake_ended + fake_aborted + fake_refused);
    close(s->stop[0]);
    close(s->stop[1]);
    kv_config_release(&s->cfg);
    scratch_remove(&s->dir);
}

static void send_all(int fd, const void *bytes, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = send(fd, (const char *)bytes + at, len - at, MSG_NOSIGNAL);
        assert_true(n > 0);
        at += (size_t)n;
    }
}

/* One answer; its status, body in `body` (at least 4096 bytes). 0: closed. */
static int answer(int fd, char *body)
{
    char head[4096];
    size_t n = 0;
    while (n < sizeof(head) - 1) {
        if (recv(fd, head + n, 1, 0) != 1)
            return 0;
        head[++n] = 0;
        if (n >= 4 && memcmp(head + n - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    const char *length = strstr(head, "Content-Length: ");
    size_t len = length != NULL ? strtoul(length + 16, NULL, 10) : 0;
    assert_true(len < 4096);
    assert_int_equal(len > 0 ? recv(fd, body, len, MSG_WAITALL) : 0, len);
    body[len] = 0;
    return atoi(head + 9);
}

static size_t raw_head(char *out, size_t room, const char *query, size_t len)
{
    return (size_t)snprintf(out, room,
                            "POST /api/media?%s HTTP/1.1\r\nHost: a\r\nContent-Length: %zu\r\n\r\n",
                            query, len);
}

static void expect_hash(const char *body, const void *bytes, size_t len)
{
    uint8_t digest[32];
    kv_buf hex;
    unsigned n = 32;
    EVP_Digest(bytes, len, digest, &n, EVP_sha256(), NULL);
    kv_buf_init(&hex, 0);
    kv_buf_add_hex(&hex, digest, 32);
    if (strstr(body, kv_buf_str(&hex)) == NULL)
        fail_msg("%s", body);
    kv_buf_release(&hex);
}

static char *bytes_of(size_t len)
{
    char *b = malloc(len);
    for (size_t i = 0; i < len; i++)
        b[i] = (char)(i * 2654435761u >> 13);
    return b;
}

static int post_raw(int fd, const char *query, const char *bytes, size_t len, char *body)
{
    char head[256];
    send_all(fd, head, raw_head(head, sizeof(head), query, len));
    send_all(fd, bytes, len);
    return answer(fd, body);
}

/* S0-15, S0-34, S0-53: framings, keep-alive, pipelining; the folder behind the file */
static void test_bodies(void **state)
{
    (void)state;
    server s;
    char body[4096], form[4096];
    start(&s, "UPLOAD_RATE_LIMIT=0", "LOG_LEVEL=error");
    char *bytes = bytes_of(MB);
    int fd = dial(&s);
    static const size_t sizes[] = {1, 4095, 4096, 65536, 300000, MB};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        assert_int_equal(post_raw(fd, "filename=slow&folder=a/b", bytes, sizes[i], body), 201);
        expect_hash(body, bytes, sizes[i]);
        assert_non_null(strstr(body, "\"folder\":\"a/b\""));
        assert_non_null(strstr(body, "\"deduplicated\":false}"));
        assert_int_equal(fake_whole, i < 4 ? i + 1 : 4); /* up to 256 KiB in one message */
    }
    static const char parts[] =
        "--X\r\nContent-Disposition: form-data; name=\"file\"; "
        "filename=\"y\"\r\n\r\nhello\r\n--X\r\n"
        "Content-Disposition: form-data; name=\"folder\"\r\n\r\nlate\r\n--X--\r\n";
    int n = snprintf(
        form, sizeof(form),
        "POST /api/media HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; "
        "boundary=X\r\nContent-Length: %zu\r\n\r\n%s"
        "POST /api/v1/media/?filename=z HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        "2\r\nhe\r\n3;x\r\nllo\r\n0\r\n\r\nGET /nope HTTP/1.1\r\nHost: a\r\n\r\n",
        sizeof(parts) - 1, parts);
    for (int cut = 1; cut < n; cut += 41) { /* three requests in one line, cut anywhere */
        send_all(fd, form, (size_t)cut);
        send_all(fd, form + cut, (size_t)(n - cut));
        assert_int_equal(answer(fd, body), 201);
        expect_hash(body, "hello", 5);
        assert_non_null(strstr(body, "\"folder\":\"late\""));
        assert_int_equal(answer(fd, body), 201);
        expect_hash(body, "hello", 5);
        assert_int_equal(answer(fd, body), 404);
    }
    close(fd);
    ask_stop(&s);
    finish(&s);
    free(bytes);
}

/* Small bodies that come in pieces, all at once: each keeps its place in memory until that is
 * scarce, then it is streamed. None is mixed with another, none waits for another. */
static void test_pieces(void **state)
{
    (void)state;
    enum { CONNECTIONS = 60, SIZE = 60000 };
    server s;
    char body[4096], head[256];
    static char bytes[CONNECTIONS][SIZE];
    int fds[CONNECTIONS];
    start(&s, "UPLOAD_RATE_LIMIT=0", "UPLOAD_BUFFER_MB=4");
    size_t n = raw_head(head, sizeof(head), "filename=a&folder=x", SIZE);
    for (int i = 0; i < CONNECTIONS; i++) {
        for (int k = 0; k < SIZE; k++)
            bytes[i][k] = (char)((k * 31 + i * 7) ^ (k >> 8));
        fds[i] = dial(&s);
        send_all(fds[i], head, n);
        send_all(fds[i], bytes[i], SIZE / 3);
    }
    while (kv_metric_get(KV_M_UPLOADS_ACTIVE) < CONNECTIONS ||
           kv_metric_get(KV_M_UPLOAD_BUFFER_BYTES) <= 2 * MB) /* more than half of the budget */
        usleep(1000);
    for (int i = 0; i < CONNECTIONS; i += 2)
        send_all(fds[i], bytes[i] + SIZE / 3, SIZE / 3);
    for (int i = CONNECTIONS - 1; i >= 0; i--) {
        size_t sent = SIZE / 3 * (i % 2 ? 1 : 2);
        send_all(fds[i], bytes[i] + sent, SIZE - sent);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(answer(fds[i], body), 201);
        expect_hash(body, bytes[i], SIZE);
        close(fds[i]);
    }
    assert_true(fake_whole > 10 && fake_whole < CONNECTIONS);
    /* one that goes in the middle was nobody's business yet */
    unsigned begun = fake_begun;
    int fd = dial(&s);
    send_all(fd, head, n);
    send_all(fd, bytes[0], SIZE / 2);
    shutdown(fd, SHUT_WR);
    assert_int_equal(answer(fd, body), 400);
    close(fd);
    assert_int_equal(fake_begun, begun);
    ask_stop(&s);
    finish(&s);
}

/* More comes than may be held while the ingest side is slow: it waits in the sockets, and goes on
 * as soon as there is room. */
static void test_scarce_memory(void **state)
{
    (void)state;
    enum { CONNECTIONS = 16, BUDGET = 4 * MB };
    server s;
    char body[4096], head[256];
    int fds[CONNECTIONS];
    int64_t most = 0;
    start(&s, "UPLOAD_RATE_LIMIT=0", "UPLOAD_BUFFER_MB=4");
    char *bytes = bytes_of(MB);
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = dial(&s);
        send_all(fds[i], head, raw_head(head, sizeof(head), "filename=slow", MB));
        send_all(fds[i], bytes, MB);
    }
    while (fake_ended < CONNECTIONS / 2) {
        int64_t held = kv_metric_get(KV_M_UPLOAD_BUFFER_BYTES);
        most = held > most ? held : most;
        usleep(1000);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(answer(fds[i], body), 201);
        expect_hash(body, bytes, MB);
        close(fds[i]);
    }
    assert_in_range(most, BUDGET / 2, BUDGET);
    ask_stop(&s);
    finish(&s);
    free(bytes);
}

/* The same in pieces so small that they are copied: the copies count, too. */
static void test_scarce_memory_for_small_pieces(void **state)
{
    (void)state;
    enum { CONNECTIONS = 16, BUDGET = 4 * MB, PIECE = 3000, PIECES = 150 };
    server s;
    char body[4096], head[256];
    int fds[CONNECTIONS];
    int64_t most = 0;
    start(&s, "UPLOAD_RATE_LIMIT=0", "UPLOAD_BUFFER_MB=4");
    char *bytes = bytes_of((size_t)PIECE * PIECES);
    for (int i = 0; i < CONNECTIONS; i++) {
        fds[i] = dial(&s);
        send_all(fds[i], head,
                 raw_head(head, sizeof(head), "filename=slow", (size_t)PIECE * PIECES));
    }
    for (int k = 0; k < PIECES; k++) {
        for (int i = 0; i < CONNECTIONS; i++)
            send_all(fds[i], bytes + (size_t)k * PIECE, PIECE);
        usleep(2000); /* or they are read as one, which is not copied */
        int64_t held = kv_metric_get(KV_M_UPLOAD_BUFFER_BYTES);
        most = held > most ? held : most;
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        assert_int_equal(answer(fds[i], body), 201);
        expect_hash(body, bytes, (size_t)PIECE * PIECES);
        close(fds[i]);
    }
    assert_in_range(most, BUDGET / 2, BUDGET);
    ask_stop(&s);
    finish(&s);
    free(bytes);
}

/* A form whose file comes in one piece, though its folder follows and the parser stumbles. */
static void test_form_pieces(void **state)
{
    (void)state;
    server s;
    char body[4096], form[4096];
    static const char file[] = "a\r\n--b\r\n--\r\r\n--BOUNDAR\r\n-";
    start(&s, "UPLOAD_RATE_LIMIT=0", "LOG_LEVEL=error");
    int len = snprintf(form, sizeof(form),
                       "--BOUNDARY\r\nContent-Disposition: form-data; name=\"file\"; "
                       "filename=\"y\"\r\n\r\n%s\r\n--BOUNDARY\r\n"
                       "Content-Disposition: form-data; name=\"folder\"\r\n\r\nlate\r\n"
                       "--BOUNDARY--\r\n",
                       file);
    int fd = dial(&s);
    for (int cut = 0; cut < len; cut++) {
        char head[256];
        int n = snprintf(head, sizeof(head),
                         "POST /api/media HTTP/1.1\r\nHost: a\r\nContent-Type: "
                         "multipart/form-data; boundary=BOUNDARY\r\nContent-Length: %d\r\n\r\n",
                         len);
        send_all(fd, head, (size_t)n);
        send_all(fd, form, (size_t)cut);
        send_all(fd, form + cut, (size_t)(len - cut));
        assert_int_equal(answer(fd, body), 201);
        expect_hash(body, file, strlen(file));
        assert_non_null(strstr(body, "\"folder\":\"late\""));
    }
    close(fd);
    assert_true(fake_whole > 0);
    ask_stop(&s);
    finish(&s);
}

/* S0-57, S0-59: refusals are answered, leave nothing, and the connection is usable or closed
 * cleanly */
static void test_refusals(void **state)
{
    (void)state;
    server s;
    char body[4096], head[256];
    start(&s, "UPLOAD_RATE_LIMIT=0", "LOG_LEVEL=error");
    char *bytes = bytes_of(MB);
    int fd = dial(&s);
    assert_int_equal(post_raw(fd, "filename=late", bytes, 1000, body), 422);
    assert_int_equal(post_raw(fd, "filename=late", bytes, 0, body), 400);
    assert_int_equal(post_raw(fd, "filename=ok", bytes, 10, body), 201);
    /* refused at its head while the rest is still being sent: the answer is not lost to a reset */
    send_all(fd, head, raw_head(head, sizeof(head), "filename=early", MB));
    send_all(fd, bytes, MB / 2);
    while (fake_refused == 0)
        usleep(1000);
    send_all(fd, bytes, MB / 2 - 1);
    assert_int_equal(answer(fd, body), 422);
    assert_non_null(strstr(body, "\"code\":\"type_refused\""));
    assert_int_equal(answer(fd, body), 0);
    close(fd);
    /* too large by its length: before the body */
    fd = dial(&s);
    send_all(fd, head, raw_head(head, sizeof(head), "filename=b", MB + 1));
    assert_int_equal(answer(fd, body), 413);
    close(fd);
    /* the end comes early */
    fd = dial(&s);
    send_all(fd, head, raw_head(head, sizeof(head), "filename=b", 1000));
    send_all(fd, bytes, 999);
    shutdown(fd, SHUT_WR);
    assert_int_equal(answer(fd, body), 400);
    assert_non_null(strstr(body, "\"code\":\"length_mismatch\""));
    close(fd);
    /* gone without a word, at many places */
    size_t n = raw_head(head, sizeof(head), "filename=b", 100000);
    for (size_t cut = 1; cut < 100000; cut = cut * 3 / 2 + 1) {
        fd = dial(&s);
        send_all(fd, head, cut < n ? cut : n);
        if (cut > n)
            send_all(fd, bytes, cut - n);
        struct linger reset = {.l_onoff = 1};
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
        close(fd);
    }
    /* what a browser sends where no file was chosen */
    static const char none[] = "--X\r\nContent-Disposition: form-data; name=\"file\"; "
                               "filename=\"\"\r\nContent-Type: application/octet-stream\r\n\r\n"
                               "\r\n--X--\r\n";
    fd = dial(&s);
    snprintf(head, sizeof(head),
             "POST /api/media HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; "
             "boundary=X\r\nContent-Length: %zu\r\n\r\n",
             sizeof(none) - 1);
    send_all(fd, head, strlen(head));
    send_all(fd, none, sizeof(none) - 1);
    assert_int_equal(answer(fd, body), 400);
    assert_non_null(strstr(body, "\"code\":\"missing_file\""));
    close(fd);
    fd = dial(&s);
    send_all(
        fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        75);
    assert_int_equal(answer(fd, body), 400);
    assert_non_null(strstr(body, "\"code\":\"bad_head\""));
    assert_int_equal(answer(fd, body), 0);
    close(fd);
    ask_stop(&s);
    finish(&s);
    free(bytes);
}

/* The upload in flight at SIGTERM ends well; idle connections and new ones do not hold the gateway
 * up. */
static void test_drain(void **state)
{
    (void)state;
    server s;
    char body[4096], head[256];
    start(&s, "UPLOAD_RATE_LIMIT=0", "LOG_LEVEL=error");
    char *bytes = bytes_of(MB);
    int idle = dial(&s), busy = dial(&s);
    send_all(busy, head, raw_head(head, sizeof(head), "filename=b", MB));
    send_all(busy, bytes, MB / 2);
    while (fake_begun == 0)
        usleep(1000);
    ask_stop(&s);
    assert_int_equal(recv(idle, body, 1, 0), 0); /* closed by the drain */
    send_all(busy, bytes + MB / 2, MB / 2);
    assert_int_equal(answer(busy, body), 201);
    expect_hash(body, bytes, MB);
    assert_int_equal(answer(busy, body), 0);
    finish(&s);
    close(idle);
    close(busy);
    free(bytes);
}

/* S0-98: the buffered path of the roll-back */
static void test_buffered(void **state)
{
    (void)state;
    server s;
    char body[4096];
    start(&s, "UPLOAD_STREAM_ENABLED=false", "UPLOAD_BUFFERED_MAX_MB=1");
    char *bytes = bytes_of(MB + 1);
    int fd = dial(&s);
    assert_int_equal(post_raw(fd, "filename=b", bytes, MB, body), 201);
    expect_hash(body, bytes, MB);
    assert_int_equal(post_raw(fd, "filename=slow", bytes, 100, body), 201);
    static const char chunked[] = "POST /api/media?filename=z HTTP/1.1\r\nHost: "
                                  "a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    send_all(fd, chunked, sizeof(chunked) - 1);
    assert_int_equal(answer(fd, body), 201);
    expect_hash(body, "hello", 5);
    assert_int_equal(post_raw(fd, "filename=b", bytes, MB + 1, body), 413);
    close(fd);
    ask_stop(&s);
    finish(&s);
    free(bytes);
}

/* S0-24: so many uploads a minute and address, then 429 with Retry-After */
static void test_rate(void **state)
{
    (void)state;
    server s;
    char body[4096];
    start(&s, "UPLOAD_RATE_LIMIT=3", "LOG_LEVEL=error");
    int fd = dial(&s);
    for (int i = 0; i < 3; i++)
        assert_int_equal(post_raw(fd, "filename=b", "x", 1, body), 201);
    assert_int_equal(post_raw(fd, "filename=b", "x", 1, body), 429);
    assert_non_null(strstr(body, "\"error\":\"Rate limit\""));
    close(fd);
    ask_stop(&s);
    finish(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bodies),        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_scarce_memory), cmocka_unit_test(test_scarce_memory_for_small_pieces),
        cmocka_unit_test(test_form_pieces),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_drain),         cmocka_unit_test(test_buffered),
        cmocka_unit_test(test_rate),
    };
    kv_log_setup("gateway", KV_LOG_ERROR);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
