#include "tools/ctl_reply.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
    QUIET_MS = 3000, /* of silence, then it is looked whether the broker answers others */
    LOOK_MS = 2000   /* so long, that is */
};

/* ---- ends ---- */

static kv_ctl_end end_of(kv_ctl_link *link, kv_ctl_end end, const char *slug, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

static kv_ctl_end end_of(kv_ctl_link *link, kv_ctl_end end, const char *slug, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(link->why, sizeof link->why, fmt, args); /* NOLINT(clang-analyzer-valist.*) */
    va_end(args);
    snprintf(link->slug, sizeof link->slug, "%s", slug);
    return end;
}

static kv_ctl_end no_broker(kv_ctl_link *link, int e)
{
    if (e == ENOENT || e == ECONNREFUSED)
        return end_of(link, KV_CTL_GONE, "no_broker",
                      "no broker listens at %s. Start kervan, or name its socket with -s, "
                      "KERVAN_ADMIN or KERVAN_DATA.",
                      link->path);
    if (e == EACCES)
        return end_of(link, KV_CTL_GONE, "forbidden", "only the user kervan runs as may use %s.",
                      link->path);
    return end_of(link, KV_CTL_GONE, "no_broker", "cannot connect to %s: %s", link->path,
                  strerror(e));
}

static kv_ctl_end gone(kv_ctl_link *link)
{
    return end_of(link, KV_CTL_GONE, "no_broker", "the broker closed the connection");
}

/* Who listens at the other end; 0: not to be seen from here. */
static pid_t broker_pid(const kv_ctl_link *link)
{
    struct ucred who = {.pid = 0};
    socklen_t len = sizeof who;
    return getsockopt(link->fd, SOL_SOCKET, SO_PEERCRED, &who, &len) == 0 ? who.pid : 0;
}

static bool is_stopped(pid_t pid)
{
    char path[64], state = 0;
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    FILE *f = fopen(path, "re");
    if (!f)
        return false;
    bool read = fscanf(f, "%*d (%*[^)]) %c", &state) == 1;
    fclose(f);
    return read && (state == 'T' || state == 't');
}

static kv_ctl_end silent(kv_ctl_link *link)
{
    pid_t pid = broker_pid(link);
    bool stopped = pid > 0 && is_stopped(pid);
    char process[48] = "";
    if (pid > 0)
        snprintf(process, sizeof process, " (process %ld)", (long)pid);
    snprintf(link->what, sizeof link->what, "it%s does not answer%s", process,
             stopped ? ": it is stopped" : "");
    if (stopped)
        snprintf(link->remedy, sizeof link->remedy,
                 "kill -CONT %ld lets it go on (SIGSTOP, or a debugger, stopped it)", (long)pid);
    else
        snprintf(link->remedy, sizeof link->remedy,
                 "Look at its CPU and log, then restart it; committed jobs are safe");
    return end_of(link, KV_CTL_SILENT, "no_answer", "the broker%s does not answer%s. %s.", process,
                  stopped ? ": it is stopped" : "", link->remedy);
}

/* ---- the socket ---- */

/* `wait_ms`: to connect where many wait already, and to send. */
static int dial(const char *path, int wait_ms)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    struct timeval wait = {.tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000};
    if (strlen(path) >= sizeof at.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(at.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof wait);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0)
        return fd;
    int e = errno;
    close(fd);
    errno = e;
    return -1;
}

kv_ctl_end kv_ctl_connect(kv_ctl_link *link)
{
    link->fd = dial(link->path, QUIET_MS + LOOK_MS);
    if (link->fd >= 0)
        return KV_CTL_OK;
    return errno == EAGAIN ? silent(link) : no_broker(link, errno);
}

void kv_ctl_close(kv_ctl_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
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

kv_ctl_end kv_ctl_send(kv_ctl_link *link, const char *line, size_t len)
{
    if (send_all(link->fd, line, len) && send_all(link->fd, "\n", 1))
        return KV_CTL_OK;
    return errno == EAGAIN ? silent(link) : gone(link);
}

/* ---- silence ---- */

/* Whether the broker answers anybody: this connection, or a new one. What is asked there is the
 * thread that serves both, so a long command is told from a broker that hangs. */
static bool answers(const kv_ctl_link *link)
{
    int fd = dial(link->path, LOOK_MS);
    if (fd < 0)
        return errno != EAGAIN; /* it ends: the connection in hand will say so */
    struct pollfd fds[2] = {{link->fd, POLLIN, 0}, {fd, POLLIN, 0}};
    bool sent = send_all(fd, "version\n", 8);
    int n;
    do
        n = poll(fds, sent ? 2 : 1, LOOK_MS);
    while (n < 0 && errno == EINTR);
    close(fd);
    return n > 0;
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

/* More bytes; OK: there are some. */
static kv_ctl_end fill(kv_ctl_link *link, struct pollfd *in)
{
    for (;;) {
        struct pollfd fds[2] = {{link->fd, POLLIN, 0}, *in};
        int ready = poll(fds, 2, QUIET_MS);
        if (ready < 0 && errno != EINTR)
            return gone(link);
        if (ready == 0 && !answers(link))
            return silent(link);
        if (ready <= 0)
            continue;
        in->revents = fds[1].revents;
        look_at_stdin(link, in);
        if (!fds[0].revents)
            continue;
        ssize_t n = read(link->fd, link->bytes, sizeof link->bytes);
        if (n < 0 && errno == EINTR)
            continue;
        link->at = 0;
        link->len = n > 0 ? (size_t)n : 0;
        return n > 0 ? KV_CTL_OK : gone(link);
    }
}

static bool begins(const char *text, size_t len, const char *with)
{
    size_t n = strlen(with);
    return memcmp(text, with, len < n ? len : n) == 0;
}

/* "ERROR <slug> <sentence>" */
static void keep_error(kv_ctl_link *link, size_t len)
{
    char *slug = link->head + 6, *sentence;
    link->head[len] = '\0';
    sentence = strchr(slug, ' ');
    if (sentence)
        *sentence++ = '\0';
    (void)end_of(link, KV_CTL_ERROR, slug, "%s", sentence ? sentence : slug);
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
        keep_error(link, n - (whole ? 1 : 0));
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

kv_ctl_end kv_ctl_reply(kv_ctl_link *link, void (*put)(void *arg, const char *bytes, size_t len),
                        void *arg, bool until_line)
{
    struct pollfd in = {until_line ? STDIN_FILENO : -1, POLLIN, 0};
    link->head_len = 0;
    link->passing = false;
    for (;;) {
        kv_ctl_end more = link->at == link->len ? fill(link, &in) : KV_CTL_OK;
        if (more != KV_CTL_OK)
            return more;
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
