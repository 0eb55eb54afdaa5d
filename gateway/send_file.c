#include "gateway/send_file.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "gateway/tap.h"
#include "proto/base/log.h"

#define TURN_MAX (256 * 1024) /* bytes in one go: others wait meanwhile */

typedef struct kv_sending {
    h2o_generator_t generator; /* first */
    h2o_req_t *req;
    kv_static_file *file;
    int fd; /* -1: the file's own */
    uint64_t at, left;
} sending;

static h2o_socket_t *socket_of(const h2o_req_t *req)
{
    return req->conn->callbacks->get_socket(req->conn);
}

/* Head and file leave together, as full segments; without it the head would be one of its own. */
static void cork(const sending *s, int on)
{
    setsockopt(h2o_socket_get_fd(socket_of(s->req)), IPPROTO_TCP, TCP_CORK, &on, sizeof(on));
}

static void stop(h2o_generator_t *g, h2o_req_t *req)
{
    (void)req;
    sending *s = (sending *)g;
    if (s->fd >= 0)
        close(s->fd);
}

static bool of_the_file(int why)
{
    return why == EIO || why == ESTALE || why == EINVAL || why == ENOMEM || why == EBADF;
}

/* `n`: what sendfile said. */
static void give_up(sending *s, ssize_t n)
{
    int why = errno;
    if (n == 0 || of_the_file(why)) {
        kv_log(KV_LOG_ERROR, "object_unreadable", KV_STR("key", s->file->key),
               KV_STR("error", n == 0 ? "it ends early" : strerror(why)));
        kv_static_forget(kv_conn_of(s->req)->loop->cache, s->file);
    }
    stop(&s->generator, s->req);
    h2o_send(s->req, NULL, 0, H2O_SEND_STATE_ERROR);
}

static void go_on(sending *s);

static void on_writable(h2o_socket_t *sock, const char *err)
{
    kv_conn *c = sock->on_close.data;
    (void)err; /* sendfile says it, too */
    go_on(c->sending);
}

static void go_on(sending *s)
{
    h2o_socket_t *sock = socket_of(s->req);
    int from = s->fd >= 0 ? s->fd : s->file->fd;
    uint64_t turn = s->left < TURN_MAX ? s->left : TURN_MAX;
    while (turn > 0) {
        off_t at = (off_t)s->at;
        ssize_t n = sendfile(h2o_socket_get_fd(sock), from, &at, (size_t)turn);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            break;
        if (n <= 0) {
            give_up(s, n);
            return;
        }
        s->at += (uint64_t)n;
        s->left -= (uint64_t)n;
        turn -= (uint64_t)n;
        s->req->bytes_sent += (size_t)n;
    }
    if (s->left > 0) {
        h2o_socket_notify_write(sock, on_writable);
        return;
    }
    cork(s, 0);
    stop(&s->generator, s->req);
    h2o_send(s->req, NULL, 0, H2O_SEND_STATE_FINAL);
}

/* The head is written. */
static void proceed(h2o_generator_t *g, h2o_req_t *req)
{
    (void)req;
    go_on((sending *)g);
}

void kv_send_file(h2o_req_t *req, kv_static_file *f, int fd, uint64_t at, uint64_t len)
{
    sending *s = h2o_mem_alloc_pool(&req->pool, sizeof(*s));
    *s = (sending){
        .generator = {proceed, stop}, .req = req, .file = f, .fd = fd, .at = at, .left = len};
    kv_conn_of(req)->sending = s;
    cork(s, 1);
    h2o_start_response(req, &s->generator);
    h2o_send(req, NULL, 0, H2O_SEND_STATE_IN_PROGRESS);
}
