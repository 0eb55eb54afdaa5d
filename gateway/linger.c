/* Closing without a reset: the write side is shut, what still comes is dropped unread, then the
 * descriptor closes. */
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/tap.h"
#include "proto/base/metrics.h"

/* A plain client, and most browsers, send the whole body before they read the answer. So it may
 * take as long as an upload: as many bytes and some more, and no slower. */
#define LINGER_MORE     (128u << 20)
#define LINGER_WINDOW_S 10
#define LINGER_PIECE    (256u << 10)

typedef struct lingering {
    kv_loop_own *loop;
    h2o_socket_t *sock;
    kv_timer timer;
    uint64_t dropped, needed; /* bytes: so many had to come by until_ms */
    int64_t until_ms;
} lingering;

static void finish(lingering *g)
{
    kv_loop_own *l = g->loop;
    kv_timer_clear(&g->timer);
    h2o_socket_close(g->sock);
    free(g);
    l->nconns--;
    kv_metric_add(KV_M_CONNECTIONS, -1);
    kv_accept_check(l);
}

static void on_timer(kv_timer *t)
{
    finish(H2O_STRUCT_FROM_MEMBER(lingering, timer, t));
}

/* Whether what comes is still worth waiting for. */
static bool goes_on(lingering *g)
{
    const kv_gw *gw = g->loop->loop.gw;
    int64_t now = kv_mono_ms(gw->clock);
    if (g->dropped >= LINGER_MORE + ((uint64_t)gw->cfg->max_upload_size_mb << 20))
        return false;
    if (now < g->until_ms)
        return true;
    if (gw->draining || g->dropped < g->needed)
        return false;
    g->until_ms = now + LINGER_WINDOW_S * 1000;
    g->needed = g->dropped + (uint64_t)gw->cfg->upload_min_rate * LINGER_WINDOW_S;
    return true;
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
    if (n > 0)
        g->dropped += (size_t)n;
    if (n <= 0 || !goes_on(g)) {
        finish(g);
        return;
    }
    kv_timer_set(&g->loop->loop, KV_WAIT_LINGER, &g->timer); /* silence is counted anew */
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
    g->timer.fn = on_timer;
    g->needed = (uint64_t)l->loop.gw->cfg->upload_min_rate * LINGER_WINDOW_S;
    g->until_ms = kv_mono_ms(l->loop.gw->clock) + LINGER_WINDOW_S * 1000;
    l->nconns++;
    kv_metric_add(KV_M_CONNECTIONS, 1);
    kv_timer_set(&l->loop, KV_WAIT_LINGER, &g->timer);
    h2o_socket_read_start(g->sock, on_readable);
}
