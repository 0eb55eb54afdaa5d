/* The floor: what this machine can do at best with one thread. PUT, SHA-256 while it streams, fsync
 * (unless "relaxed"), rename; no parsing beyond Content-Length, no limits, no rows, no checks.
 * tools/bench runs it beside kervan as the limit.
 *
 *   floor PORT FOLDER durable|relaxed */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BUFFER = 256 * 1024 };

typedef struct conn {
    int fd, file;
    size_t head_len;
    long long left; /* bytes of the body still to come; -1: reading a head */
    char head[4096];
    char temp[512];
    EVP_MD_CTX *sha;
} conn;

static char buffer[BUFFER];
static const char *folder;
static bool durable;
static unsigned long counter;

static void fail(const char *what)
{
    perror(what);
    exit(1);
}

static void finish(conn *c)
{
    unsigned char digest[32];
    unsigned n = 0;
    EVP_DigestFinal_ex(c->sha, digest, &n);
    if (durable && fsync(c->file) != 0)
        fail("fsync");
    close(c->file);
    char name[600];
    int at = snprintf(name, sizeof name, "%s/", folder);
    for (int i = 0; i < 32; i++)
        at += snprintf(name + at, sizeof name - (size_t)at, "%02x", digest[i]);
    if (rename(c->temp, name) != 0)
        fail("rename");
    static const char ok[] = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
    if (write(c->fd, ok, sizeof ok - 1) < 0)
        fail("answer");
    c->left = -1;
    c->head_len = 0;
}

static void body(conn *c, const char *bytes, size_t len)
{
    EVP_DigestUpdate(c->sha, bytes, len);
    for (size_t at = 0; at < len;) {
        ssize_t n = write(c->file, bytes + at, len - at);
        if (n < 0)
            fail("write");
        at += (size_t)n;
    }
    c->left -= (long long)len;
    if (c->left == 0)
        finish(c);
}

static void head(conn *c, const char *bytes, size_t len)
{
    if (c->head_len + len > sizeof c->head - 1)
        len = sizeof c->head - 1 - c->head_len;
    size_t before = c->head_len;
    memcpy(c->head + c->head_len, bytes, len);
    c->head_len += len;
    c->head[c->head_len] = '\0';
    char *end = strstr(c->head, "\r\n\r\n");
    if (!end)
        return;
    char *length = strcasestr(c->head, "content-length:");
    c->left = length ? atoll(length + 15) : 0;
    snprintf(c->temp, sizeof c->temp, "%s/tmp-%lu", folder, counter++);
    c->file = open(c->temp, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (c->file < 0)
        fail(c->temp);
    EVP_DigestInit_ex(c->sha, EVP_sha256(), NULL);
    size_t used = (size_t)(end + 4 - c->head) - before;
    body(c, bytes + used, len - used);
}

static void readable(conn *c)
{
    size_t want = c->left > 0 ? (c->left < BUFFER ? (size_t)c->left : BUFFER)
                              : sizeof c->head - 1 - c->head_len;
    ssize_t n = read(c->fd, buffer, want);
    if (n <= 0) {
        close(c->fd);
        EVP_MD_CTX_free(c->sha);
        free(c);
        return;
    }
    if (c->left > 0)
        body(c, buffer, (size_t)n);
    else
        head(c, buffer, (size_t)n);
}

static void add_connection(int ep, int fd)
{
    conn *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->left = -1;
    c->sha = EVP_MD_CTX_new();
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: floor PORT FOLDER durable|relaxed\n");
        return 2;
    }
    folder = argv[2];
    durable = strcmp(argv[3], "durable") == 0;
    int listener = socket(AF_INET, SOCK_STREAM, 0), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)atoi(argv[1])),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (bind(listener, (struct sockaddr *)&a, sizeof a) != 0 || listen(listener, 512) != 0)
        fail("listen");
    int ep = epoll_create1(0);
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = NULL}, events[64];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    for (;;) {
        int n = epoll_wait(ep, events, 64, -1);
        for (int i = 0; i < n; i++) {
            if (events[i].data.ptr)
                readable(events[i].data.ptr);
            else
                add_connection(ep, accept(listener, NULL, NULL));
        }
    }
}
