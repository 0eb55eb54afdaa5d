/* Listening and accepting. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "gateway/tap.h"
#include "proto/base/log.h"

#define ACCEPTS_A_TURN 64
#define BACKLOG        1024
#define UNSENT_MAX                                                                                 \
    (256 << 10) /* bytes the kernel holds of an answer that its client does not read */

/* "127.0.0.1:8080", "[::1]:8080", ":8080" (all addresses). */
static bool split(const char *address, char host[256], char port[8])
{
    const char *colon = strrchr(address, ':');
    if (colon == NULL)
        return false;
    size_t digits = strlen(colon + 1);
    if (digits == 0 || digits > 5)
        return false;
    size_t n = (size_t)(colon - address);
    if (n >= 2 && address[0] == '[' && address[n - 1] == ']') {
        address++;
        n -= 2;
    } else if (memchr(address, ':', n) != NULL) {
        return false;
    }
    if (n >= 256)
        return false;
    memcpy(host, address, n);
    host[n] = 0;
    memcpy(port, colon + 1, digits + 1);
    return true;
}

static void say(int fd)
{
    struct sockaddr_storage a = {0};
    socklen_t len = sizeof(a);
    char host[NI_MAXHOST], port[NI_MAXSERV], text[NI_MAXHOST + NI_MAXSERV + 4];
    if (getsockname(fd, (struct sockaddr *)&a, &len) != 0 ||
        getnameinfo((struct sockaddr *)&a, len, host, sizeof(host), port, sizeof(port),
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return;
    snprintf(text, sizeof(text), a.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host, port);
    kv_log(KV_LOG_INFO, "listening", KV_STR("address", text));
}

/* The loops share the port by SO_REUSEPORT, and so would another kervan of the same user, silently:
 * each would get half of the requests. A bind without it is refused while anybody listens. */
static int taken(const struct addrinfo *at)
{
    int on = 1, fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int failed = fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
                 bind(fd, at->ai_addr, at->ai_addrlen) != 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    errno = why;
    return failed;
}

int kv_listen(const char *address, bool first)
{
    char host[256], port[8];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    int fd = -1, on = 1;
    const char *call = "address";
    errno = EINVAL;
    if (!split(address, host, port) ||
        getaddrinfo(host[0] ? host : NULL, port, &hints, &found) != 0)
        goto fail;
    call = "socket";
    fd = socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        goto fail;
    call = "bind";
    if (first && taken(found))
        goto fail;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        bind(fd, found->ai_addr, found->ai_addrlen) != 0)
        goto fail;
    call = "listen";
    if (listen(fd, BACKLOG) != 0)
        goto fail;
    freeaddrinfo(found);
    if (first)
        say(fd);
    return fd;
fail:
    kv_log(KV_LOG_ERROR, "listen_failed", KV_STR("address", address), KV_STR("call", call),
           KV_STR("error", strerror(errno)),
           KV_STR("remedy", errno == EADDRINUSE
                                ? "stop what listens there, or choose another KERVAN_LISTEN"
                                : ""));
    if (fd >= 0)
        close(fd);
    if (found != NULL)
        freeaddrinfo(found);
    return -1;
}

static void pause_accepting(kv_loop_own *l)
{
    h2o_socket_read_stop(l->listener);
    l->accepting = false;
}

/* Who waits stays readable: tried ten times a second, and said once. */
static void try_again_later(kv_loop_own *l)
{
    if (!l->accept_failed)
        kv_log(KV_LOG_WARN, "accept_failed", KV_STR("error", strerror(errno)));
    l->accept_failed = true;
    pause_accepting(l);
    kv_timer_set(&l->loop, KV_WAIT_ACCEPT, &l->accept_again);
}

/* One of those that wait. false: none is left, or none can be taken now. */
static bool take_one(kv_loop_own *l)
{
    h2o_socket_t *sock = h2o_evloop_socket_accept(l->listener);
    if (sock == NULL) {
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            try_again_later(l);
        return false;
    }
    l->accept_failed = false;
    /* a client that does not read its answer is dropped by the kernel */
    unsigned stalled_ms =
        (unsigned)(l->loop.gw->cfg->keepalive_timeout < 30 ? 30
                                                           : l->loop.gw->cfg->keepalive_timeout) *
        1000;
    int unsent = UNSENT_MAX, fd = h2o_socket_get_fd(sock);
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &stalled_ms, sizeof(stalled_ms));
    setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
    kv_tap_new(l, sock);
    return true;
}

static void on_acceptable(h2o_socket_t *listener, const char *err)
{
    kv_loop_own *l = listener->data;
    if (err != NULL)
        return;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        if (l->nconns >= l->nconns_max) {
            pause_accepting(l);
            return;
        }
        if (!take_one(l))
            return;
    }
}

void kv_accept_check(kv_loop_own *l)
{
    if (l->listener == NULL || l->accepting || l->nconns >= l->nconns_max ||
        kv_timer_is_set(&l->accept_again))
        return;
    l->accepting = true;
    h2o_socket_read_start(l->listener, on_acceptable);
}

static void on_accept_again(kv_timer *t)
{
    kv_accept_check(H2O_STRUCT_FROM_MEMBER(kv_loop_own, accept_again, t));
}

void kv_accept_start(kv_loop_own *l)
{
    l->accept_again.fn = on_accept_again;
    l->listener = h2o_evloop_socket_create(l->loop.evloop, l->listen_fd, H2O_SOCKET_FLAG_DONT_READ);
    l->listener->data = l;
    kv_accept_check(l);
}

void kv_accept_stop(kv_loop_own *l)
{
    if (l->listener == NULL)
        return;
    /* closing resets who waits, and they may have asked already; so many at most, MAX_CONNECTIONS
     * or not */
    for (int i = 0; i <= BACKLOG && take_one(l); i++) {
    }
    kv_timer_clear(&l->accept_again);
    h2o_socket_close(l->listener);
    l->listener = NULL;
}
