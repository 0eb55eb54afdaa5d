#include "tools/ctl_reply.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int no_broker(const char *path, int e)
{
    if (e == ENOENT || e == ECONNREFUSED)
        fprintf(stderr,
                "kervan ctl: no broker listens at %s. Start kervan, or name its socket with -s, "
                "KERVAN_ADMIN or KERVAN_DATA.\n",
                path);
    else if (e == EACCES)
        fprintf(stderr, "kervan ctl: only the user kervan runs as may use %s.\n", path);
    else
        fprintf(stderr, "kervan ctl: cannot connect to %s: %s\n", path, strerror(e));
    return KV_CTL_GONE;
}

int kv_ctl_connect(kv_ctl_link *link, const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memset(link, 0, sizeof *link);
    link->fd = -1;
    if (strlen(path) >= sizeof at.sun_path)
        return no_broker(path, ENAMETOOLONG);
    memcpy(at.sun_path, path, strlen(path));
    link->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (link->fd >= 0 && connect(link->fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return KV_CTL_OK;
    int e = errno;
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
    return no_broker(path, e);
}

static int gone(void)
{
    fprintf(stderr, "kervan ctl: the broker closed the connection\n");
    return KV_CTL_GONE;
}

static bool send_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

int kv_ctl_send(kv_ctl_link *link, const char *line, size_t len)
{
    return send_all(link->fd, line, len) && send_all(link->fd, "\n", 1) ? KV_CTL_OK : gone();
}

/* A line of stdin, if one came, is taken and passed on as an empty line. */
static void look_at_stdin(kv_ctl_link *link, struct pollfd *in)
{
    char bytes[4096];
    if (!in->revents)
        return;
    ssize_t n = read(STDIN_FILENO, bytes, sizeof bytes);
    (void)send_all(link->fd, "\n", 1);
    (void)n;
    in->fd = -1; /* once is enough */
}

static bool fill(kv_ctl_link *link, struct pollfd *in)
{
    for (;;) {
        struct pollfd fds[2] = {{link->fd, POLLIN, 0}, *in};
        if (poll(fds, 2, -1) < 0 && errno != EINTR)
            return false;
        in->revents = fds[1].revents;
        look_at_stdin(link, in);
        if (!fds[0].revents)
            continue;
        ssize_t n = read(link->fd, link->bytes, sizeof link->bytes);
        if (n < 0 && errno == EINTR)
            continue;
        link->at = 0;
        link->len = n > 0 ? (size_t)n : 0;
        return n > 0;
    }
}

static bool begins(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);
    return memcmp(text, with, len < n ? len : n) == 0;
}

/* What the line in hand is, as far as it can be told. */
static enum { OPEN, DATA, OKAY, FAILED } judge(kv_ctl_link *link)
{
    const char *h = link->head;
    size_t n = link->head_len;
    bool whole = n > 0 && h[n - 1] == '\n';
    if (whole && n == 3 && memcmp(h, "OK\n", 3) == 0)
        return OKAY;
    if (n >= 6 && memcmp(h, "ERROR ", 6) == 0) {
        if (!whole && n < sizeof link->head - 1)
            return OPEN;
        memmove(link->head, h + 6, n - 6);
        link->head[n - 6 - (whole ? 1 : 0)] = '\0';
        return FAILED;
    }
    return !whole && (begins(h, n, "OK\n") || begins(h, n, "ERROR ")) ? OPEN : DATA;
}

static void pass(kv_ctl_link *link, void (*put)(void *arg, const char *bytes, size_t len),
                 void *arg)
{
    const char *from = link->bytes + link->at;
    const char *nl = memchr(from, '\n', link->len - link->at);
    size_t n = nl ? (size_t)(nl + 1 - from) : link->len - link->at;
    put(arg, from, n);
    link->at += n;
    link->passing = !nl;
}

int kv_ctl_reply(kv_ctl_link *link, void (*put)(void *arg, const char *bytes, size_t len),
                 void *arg, bool until_line)
{
    struct pollfd in = {until_line ? STDIN_FILENO : -1, POLLIN, 0};
    link->head_len = 0;
    link->passing = false;
    for (;;) {
        if (link->at == link->len && !fill(link, &in))
            return gone();
        if (link->passing) {
            pass(link, put, arg);
            continue;
        }
        link->head[link->head_len++] = link->bytes[link->at++];
        switch (judge(link)) {
        case OPEN:
            break;
        case DATA:
            put(arg, link->head, link->head_len);
            link->passing = link->head[link->head_len - 1] != '\n';
            link->head_len = 0;
            break;
        case OKAY:
            return KV_CTL_OK;
        case FAILED:
            return KV_CTL_ERROR;
        }
    }
}
