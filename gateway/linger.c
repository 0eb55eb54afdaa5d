/* Closing without a reset: the write side is shut, what still comes is dropped unread, then the
 * descriptor closes. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/tap.h"
#include "proto/base/metrics.h"

/* A plain client sends its whole body before it reads the answer: room for one over the default
 * MAX_UPLOAD_SIZE_MB. */
#define LINGER_BYTES  (128u << 20)
#define LINGER_ALL_MS 10000
#define LINGER_PIECE  (256u << 10)

typedef struct lingering {
    kv_loop_own *loop;
    h2o_socket_t *sock;
    h2o_timeout_entry_t timer;
    size_t dropped;
    int64_t until_ms;
} lingering;

static void finish(lingering *g)
{
    kv_loop_own *l = g->loop;
    h2o_timeout_unlink(&g->timer);
    h2o_socket_close(g->sock);
    free(g);
    l->nconns--;
    kv_metric_add(KV_M_CONNECTIONS, -1);
    kv_accept_check(l);
}

static void on_timer(h2o_timeout_entry_t *entry)
{
    finish(H2O_STRUCT_FROM_MEMBER(lingering, timer, entry));
}

static void on_readable(h2o_socket_t *sock, const char *err)
{
    lingering *g = sock->data;
    /* MSG_TRUNC on TCP: the bytes are dropped in the kernel */
    ssize_t n = err != NULL
                    ? 0
                    : recv(h2o_socket_get_fd(sock), NULL, LINGER_PIECE, MSG_TRUNC | MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0 || (g->dropped += (size_t)n) >= LINGER_BYTES ||
        kv_mono_ms(g->loop->loop.gw->clock) >= g->until_ms) {
        finish(g);
        return;
    }
    h2o_timeout_unlink(&g->timer); /* silence is counted anew */
    h2o_timeout_link(g->loop->loop.evloop, &g->loop->linger_timeout, &g->timer);
}

void kv_linger(kv_loop_own *l, int fd)
{
    lingering *g = shutdown(fd, SHUT_WR) == 0 ? calloc(1, sizeof(*g)) : NULL;
    if (g == NULL) {
        close(fd);
        return;
    }
    g->loop = l;
    g->sock = h2o_evloop_socket_create(l->loop.evloop, fd, H2O_SOCKET_FLAG_DONT_READ);
    g->sock->data = g;
    g->timer.cb = on_timer;
    g->until_ms = kv_mono_ms(l->loop.gw->clock) + LINGER_ALL_MS;
    l->nconns++;
    kv_metric_add(KV_M_CONNECTIONS, 1);
    h2o_timeout_link(l->loop.evloop, &l->linger_timeout, &g->timer);
    h2o_socket_read_start(g->sock, on_readable);
}
