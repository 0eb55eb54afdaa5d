/* A load generator for uploads: N keep-alive connections, one thread, each picture a new valid PNG
 * of the given size.
 *
 *   load PORT MODE PATH CONNECTIONS COUNT SIZE
 *
 * MODE: raw (POST, the file is the body), put (PUT to PATH with a new name each), multipart (POST,
 * field "file"). Prints one JSON object: seconds, count, errors, MB/s, uploads/s, latencies in ms.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <fcntl.h>

enum { HEAD_MAX = 1024, UNIQUE = 8 + 25 + 24 + 28 };

typedef struct conn {
    int fd;
    char head[HEAD_MAX]; /* request head, multipart head, unique head of the picture */
    size_t head_len, sent, total;
    double began;
    char answer[16384];
    size_t answer_len;
    bool busy;
} conn;

static int port, connections;
static const char *mode, *path;
static size_t size, tail_len, foot_len;
static long count, started, done, errors;
static char *tail; /* the shared rest of every picture */
static const char *foot = "";
static double *latency;
static uint32_t crc_table[256];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint32_t crc(const unsigned char *p, size_t n)
{
    uint32_t c = 0xffffffffu;
    while (n--)
        c = crc_table[(c ^ *p++) & 255] ^ (c >> 8);
    return c ^ 0xffffffffu;
}

static void put32(unsigned char *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (unsigned char)(v >> (24 - 8 * i));
}

/* A chunk at p with `n` bytes of data that are there already; returns its whole length. */
static size_t chunk(unsigned char *p, const char *kind, uint32_t n)
{
    put32(p, n);
    memcpy(p + 4, kind, 4);
    put32(p + 8 + n, crc(p + 4, n + 4));
    return n + 12;
}

static void make_tail(void)
{
    tail_len = size - UNIQUE;
    size_t fill = tail_len - 12 - 12;
    unsigned char *p = malloc(tail_len);
    uint64_t x = 88172645463325252u;
    for (size_t i = 0; i < fill; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        p[8 + i] = (unsigned char)x;
    }
    chunk(p + chunk(p, "IDAT", (uint32_t)fill), "IEND", 0);
    tail = (char *)p;
}

/* Signature, IHDR 1x1, the image data, and 16 bytes behind it that no other picture has. */
static void unique_head(unsigned char *p)
{
    static uint64_t serial;
    static uint64_t salt;
    static const unsigned char idat[] = {0x78, 0x9c, 0x63, 0x60, 0x60, 0x60,
                                         0x00, 0x00, 0x00, 0x04, 0x00, 0x01};
    if (salt == 0)
        salt = (uint64_t)(now() * 1e9) ^ ((uint64_t)getpid() << 40);
    memcpy(p, "\x89PNG\r\n\x1a\n", 8);
    memcpy(p + 16, "\0\0\0\1\0\0\0\1\10\2\0\0\0", 13);
    chunk(p + 8, "IHDR", 13);
    serial++;
    memcpy(p + 33 + 8, idat, sizeof idat);
    p += 33 + chunk(p + 33, "IDAT", sizeof idat);
    memcpy(p + 8, &serial, 8);
    memcpy(p + 16, &salt, 8);
    chunk(p, "IDAT", 16);
}

static void begin(conn *c)
{
    static const char part[] = "--BOUNDARY\r\nContent-Disposition: form-data; name=\"file\"; "
                               "filename=\"a.png\"\r\nContent-Type: image/png\r\n\r\n";
    bool multipart = strcmp(mode, "multipart") == 0, put = strcmp(mode, "put") == 0;
    size_t length = size + (multipart ? sizeof part - 1 + foot_len : 0);
    int n =
        put ? snprintf(
                  c->head, HEAD_MAX,
                  "PUT %s/%ld-%d.png HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
                  path, started, getpid(), length)
            : snprintf(c->head, HEAD_MAX,
                       "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: "
                       "%zu\r\n\r\n",
                       path, multipart ? "multipart/form-data; boundary=BOUNDARY" : "image/png",
                       length);
    if (multipart) {
        memcpy(c->head + n, part, sizeof part - 1);
        n += (int)sizeof part - 1;
    }
    unique_head((unsigned char *)c->head + n);
    c->head_len = (size_t)n + UNIQUE;
    c->total = c->head_len + tail_len + foot_len;
    c->sent = c->answer_len = 0;
    c->busy = true;
    c->began = now();
    started++;
}

static int open_connection(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (connect(fd, (struct sockaddr *)&a, sizeof a) != 0) {
        perror("connect");
        exit(1);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

static void pump(conn *c)
{
    while (c->busy && c->sent < c->total) {
        struct iovec v[3];
        int n = 0;
        size_t at = c->sent, parts[3] = {c->head_len, tail_len, foot_len};
        const char *from[3] = {c->head, tail, foot};
        for (int i = 0; i < 3; i++) {
            if (at < parts[i]) {
                v[n++] = (struct iovec){(char *)(uintptr_t)from[i] + at, parts[i] - at};
                at = 0;
            } else {
                at -= parts[i];
            }
        }
        ssize_t w = writev(c->fd, v, n);
        if (w < 0)
            return;
        c->sent += (size_t)w;
    }
}

/* Whole answer with Content-Length or an empty one; true when it is here. */
static bool answered(const conn *c, int *status)
{
    const char *end = memmem(c->answer, c->answer_len, "\r\n\r\n", 4);
    if (!end)
        return false;
    *status = atoi(c->answer + 9);
    const char *length = strcasestr(c->answer, "content-length:");
    size_t body = length && length < end ? (size_t)atol(length + 15) : 0;
    if (strcasestr(c->answer, "transfer-encoding: chunked"))
        return memmem(end, c->answer_len - (size_t)(end - c->answer), "0\r\n\r\n", 5) != NULL;
    return c->answer_len >= (size_t)(end + 4 - c->answer) + body;
}

static void take(conn *c)
{
    ssize_t n = read(c->fd, c->answer + c->answer_len, sizeof c->answer - 1 - c->answer_len);
    int status = 0;
    if (n < 0)
        return;
    c->answer_len += (size_t)n;
    c->answer[c->answer_len] = '\0';
    if (n > 0 && !answered(c, &status))
        return;
    if (c->busy) {
        latency[done++] = (now() - c->began) * 1e3;
        if (status != 201 && status != 204 && status != 200) {
            if (errors++ == 0)
                fprintf(stderr, "first error: %.*s\n",
                        (int)(c->answer_len < 600 ? c->answer_len : 600), c->answer);
        }
    }
    c->busy = false;
    if (n == 0) {
        close(c->fd);
        c->fd = -1;
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    if (argc != 7) {
        fprintf(stderr, "usage: load PORT raw|put|multipart PATH CONNECTIONS COUNT SIZE\n");
        return 2;
    }
    port = atoi(argv[1]);
    mode = argv[2];
    path = argv[3];
    connections = atoi(argv[4]);
    count = atol(argv[5]);
    size = (size_t)atoll(argv[6]);
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int k = 0; k < 8; k++)
            c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
        crc_table[i] = c;
    }
    make_tail();
    if (strcmp(mode, "multipart") == 0) {
        foot = "\r\n--BOUNDARY--\r\n";
        foot_len = strlen(foot);
    }
    latency = calloc((size_t)count, sizeof *latency);
    conn *conns = calloc((size_t)connections, sizeof *conns);
    int ep = epoll_create1(0);
    for (int i = 0; i < connections; i++) {
        conns[i].fd = open_connection();
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &conns[i]};
        epoll_ctl(ep, EPOLL_CTL_ADD, conns[i].fd, &e);
    }
    double t0 = now();
    for (int i = 0; i < connections && started < count; i++) {
        begin(&conns[i]);
        pump(&conns[i]);
    }
    struct epoll_event events[256];
    while (done < count) {
        int n = epoll_wait(ep, events, 256, 30000);
        if (n == 0) {
            fprintf(stderr, "no answer for 30 s; %ld of %ld done\n", done, count);
            return 1;
        }
        for (int i = 0; i < n; i++) {
            conn *c = events[i].data.ptr;
            if (events[i].events & (EPOLLIN | EPOLLHUP))
                take(c);
            if (c->fd < 0) {
                c->fd = open_connection();
                struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
                epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e);
            }
            if (!c->busy && started < count)
                begin(c);
            pump(c);
        }
    }
    double seconds = now() - t0;
    qsort(latency, (size_t)count, sizeof *latency, by_value);
    printf("{\"seconds\":%.4f,\"count\":%ld,\"errors\":%ld,\"mb_s\":%.1f,\"per_s\":%.1f,\"p50\":%."
           "2f,\"p95\":%.2f,\"p99\":%.2f,\"max\":%.2f}\n",
           seconds, count, errors, (double)count * (double)size / 1e6 / seconds,
           (double)count / seconds, latency[count / 2], latency[count * 95 / 100],
           latency[count * 99 / 100], latency[count - 1]);
    return errors ? 1 : 0;
}
