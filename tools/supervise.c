#include "tools/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/base/process.h"
#include "proto/base/words.h"
#include "tools/readable.h"

enum { BACKOFF_FIRST_MS = 100, BACKOFF_MAX_MS = 5000, STEADY_MS = 10000 };
enum { GIVE_UP_MS = 1600 }; /* the fifth death in a row, after three seconds */

/* In start order; stopped gateway first, then worker, then broker. */
enum { BROKER, GATEWAY, WORKER, CHILDREN };
#define COMMA ,
static char *const child_args[CHILDREN][6] = {
    [BROKER] = {"kervan", "broker", NULL},
    [GATEWAY] = {"kervan", "gateway", NULL},
    [WORKER] = {"kervan", "worker", KV_WORKERS(COMMA), NULL},
};
static const int stop_order[CHILDREN] = {GATEWAY, WORKER, BROKER};

typedef struct child {
    pid_t pid;    /* 0: not running */
    int ready_fd; /* -1 once it said that it is ready, or died */
    int out_fd;   /* its stdout, when lines are made readable; else -1 */
    bool ready;
    int64_t started_ms; /* monotonic */
    int64_t restart_at; /* monotonic; 0: none planned */
    int64_t backoff_ms;
    kv_buf line;
} child;

typedef struct supervisor {
    const kv_config *cfg;
    int signal_fd, sigchld_fd, lock_fd;
    bool readable, color, announced, stopping;
    char self[4096];
    char url[256];
    child children[CHILDREN];
} supervisor;

static int64_t now_ms(void)
{
    return kv_mono_ms(&kv_clock_real);
}

static bool in_color(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(STDOUT_FILENO) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static const char *name_of(int i)
{
    return child_args[i][1];
}

static bool make_folder(const char *base, const char *name, mode_t mode)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s%s", base, *name ? "/" : "", name);
    if (mkdir(path, mode) == 0 || errno == EEXIST)
        return true;
    fprintf(stderr, "kervan up: cannot make %s: %s\n", path, strerror(errno));
    return false;
}

static void print_running(const kv_config *cfg)
{
    char path[4096], url[256] = "";
    snprintf(path, sizeof path, "%s/run/url", cfg->data);
    FILE *f = fopen(path, "re");
    if (f) {
        if (!fgets(url, sizeof url, f))
            url[0] = '\0';
        fclose(f);
    }
    url[strcspn(url, "\n")] = '\0';
    fprintf(stderr, "kervan is running already with the data folder %s%s%s\n", cfg->data,
            *url ? ": " : "", url);
}

/* 0, 3 (another kervan holds it) or 1. */
static int lock_data(supervisor *s)
{
    if (!make_folder(s->cfg->data, "", 0755) || !make_folder(s->cfg->data, "run", 0750))
        return 1;
    char path[4096];
    snprintf(path, sizeof path, "%s/kervan.lock", s->cfg->data);
    s->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (s->lock_fd < 0) {
        fprintf(stderr, "kervan up: cannot open %s: %s\n", path, strerror(errno));
        return 1;
    }
    if (flock(s->lock_fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    if (errno == EWOULDBLOCK) {
        print_running(s->cfg);
        return 3;
    }
    fprintf(stderr, "kervan up: cannot lock %s: %s\n", path, strerror(errno));
    return 1;
}

static void write_url(const supervisor *s)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/run/url", s->cfg->data);
    FILE *f = fopen(path, "we");
    if (!f)
        return;
    fprintf(f, "%s\n", s->url);
    fclose(f);
}

static void child_exec(const supervisor *s, int i, pid_t parent, int ready_fd, int out_fd)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    char text[16];
    snprintf(text, sizeof text, "%d", ready_fd);
    setenv("KERVAN_READY_FD", text, 1);
    snprintf(text, sizeof text, "%ld", (long)parent);
    setenv("KERVAN_SUPERVISED", text, 1);
    if (out_fd >= 0)
        dup2(out_fd, STDOUT_FILENO);
    fcntl(ready_fd, F_SETFD, 0);
    execv(s->self, child_args[i]);
    _exit(127);
}

static void child_start(supervisor *s, int i)
{
    child *c = &s->children[i];
    int ready[2] = {-1, -1}, out[2] = {-1, -1};
    if (pipe2(ready, O_CLOEXEC) != 0 || (s->readable && pipe2(out, O_CLOEXEC) != 0)) {
        kv_log(KV_LOG_ERROR, "pipe_failed", KV_STR("error", strerror(errno)));
        for (int end = 0; end < 2 && ready[end] >= 0; end++)
            close(ready[end]);
        c->restart_at = now_ms() + BACKOFF_MAX_MS;
        return;
    }
    pid_t self = getpid(), pid = fork();
    if (pid == 0)
        child_exec(s, i, self, ready[1], out[1]);
    close(ready[1]);
    if (out[1] >= 0)
        close(out[1]);
    if (pid < 0) {
        kv_log(KV_LOG_ERROR, "fork_failed", KV_STR("error", strerror(errno)));
        close(ready[0]);
        if (out[0] >= 0)
            close(out[0]);
        c->restart_at = now_ms() + BACKOFF_MAX_MS;
        return;
    }
    setpgid(pid, pid); /* both sides set it: whoever comes first */
    fcntl(ready[0], F_SETFL, O_NONBLOCK);
    if (out[0] >= 0)
        fcntl(out[0], F_SETFL, O_NONBLOCK);
    c->pid = pid;
    c->ready = false;
    c->ready_fd = ready[0];
    if (c->out_fd >= 0)
        close(c->out_fd);
    c->out_fd = out[0];
    c->started_ms = now_ms();
    c->restart_at = 0;
}

/* Whole lines of `text`, made readable; what is left behind the last newline stays. */
static size_t show_lines(const char *text, size_t len, bool color)
{
    const char *begin = text, *end = text + len, *nl;
    kv_buf out;
    kv_buf_init(&out, 0);
    while ((nl = memchr(begin, '\n', (size_t)(end - begin)))) {
        kv_readable_line(kv_slice_of(begin, (size_t)(nl - begin)), color, &out);
        begin = nl + 1;
    }
    fwrite(kv_buf_str(&out), 1, out.len, stdout);
    fflush(stdout);
    kv_buf_release(&out);
    return (size_t)(begin - text);
}

/* The supervisor's own lines look like those of its children. */
static void show_own(const char *lines, size_t len)
{
    show_lines(lines, len, in_color());
}

static void pass_lines(supervisor *s, child *c)
{
    for (;;) {
        char *room = kv_buf_reserve(&c->line, 4096);
        ssize_t n = room ? read(c->out_fd, room, 4096) : -1;
        if (n <= 0)
            break;
        c->line.len += (size_t)n;
        size_t shown = show_lines(c->line.data, c->line.len, s->color);
        c->line.len -= shown;
        memmove(c->line.data, c->line.data + shown, c->line.len);
        if (c->line.len > 65536)
            kv_buf_clear(&c->line);
    }
}

static void announce(supervisor *s)
{
    if (s->announced || !s->children[BROKER].ready || !s->children[GATEWAY].ready ||
        !s->children[WORKER].ready)
        return;
    s->announced = true;
    write_url(s);
    if (s->readable) {
        printf("kervan is ready: %s\n", s->url);
        fflush(stdout);
    } else {
        kv_log(KV_LOG_INFO, "ready", KV_STR("url", s->url)); /* who reads JSON reads nothing else */
    }
    kv_process_ready();
}

static void check_ready(supervisor *s, child *c)
{
    char byte;
    ssize_t n = read(c->ready_fd, &byte, 1);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    c->ready = n == 1;
    close(c->ready_fd);
    c->ready_fd = -1;
    announce(s);
}

static void child_died(supervisor *s, int i, int status)
{
    child *c = &s->children[i];
    bool steady = now_ms() - c->started_ms >= STEADY_MS;
    c->pid = 0;
    c->ready = false;
    if (c->ready_fd >= 0)
        close(c->ready_fd);
    c->ready_fd = -1;
    if (s->stopping)
        return;
    c->backoff_ms = steady || c->backoff_ms == 0 ? BACKOFF_FIRST_MS : c->backoff_ms * 2;
    if (c->backoff_ms > BACKOFF_MAX_MS)
        c->backoff_ms = BACKOFF_MAX_MS;
    c->restart_at = now_ms() + c->backoff_ms;
    kv_log(KV_LOG_WARN, "child_died", KV_STR("child", name_of(i)),
           KV_I64("exit", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
           KV_I64("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0),
           KV_I64("restart_ms", c->backoff_ms));
}

static void reap(supervisor *s)
{
    struct signalfd_siginfo info;
    while (read(s->sigchld_fd, &info, sizeof info) == sizeof info)
        ;
    int status;
    pid_t pid;
    while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
        for (int i = 0; i < CHILDREN; i++)
            if (s->children[i].pid == pid)
                child_died(s, i, status);
}

/* Gateway and worker wait for the first broker only; later ones find it by themselves. */
static void start_due(supervisor *s)
{
    int64_t now = now_ms();
    for (int i = 0; i < CHILDREN; i++) {
        child *c = &s->children[i];
        bool first = c->started_ms == 0;
        if (c->pid != 0 || (first && i != BROKER && !s->children[BROKER].ready))
            continue;
        if ((first || c->restart_at != 0) && now >= c->restart_at)
            child_start(s, i);
    }
}

static void turn(supervisor *s, int timeout_ms)
{
    struct pollfd fds[2 + 2 * CHILDREN] = {{s->signal_fd, POLLIN, 0}, {s->sigchld_fd, POLLIN, 0}};
    for (int i = 0; i < CHILDREN; i++) {
        fds[2 + 2 * i] = (struct pollfd){s->children[i].ready_fd, POLLIN, 0};
        fds[3 + 2 * i] = (struct pollfd){s->children[i].out_fd, POLLIN, 0};
    }
    if (poll(fds, 2 + 2 * CHILDREN, timeout_ms) < 0 && errno != EINTR)
        return;
    for (int i = 0; i < CHILDREN; i++) {
        child *c = &s->children[i];
        if (fds[2 + 2 * i].revents && c->ready_fd >= 0)
            check_ready(s, c);
        if (fds[3 + 2 * i].revents && c->out_fd >= 0) {
            pass_lines(s, c);
            if ((fds[3 + 2 * i].revents & POLLHUP) && c->pid == 0) {
                close(c->out_fd);
                c->out_fd = -1;
            }
        }
    }
    reap(s);
}

static void stop_child(supervisor *s, int i, int64_t limit_ms)
{
    child *c = &s->children[i];
    if (c->pid == 0)
        return;
    kill(c->pid, SIGTERM);
    int64_t until = now_ms() + limit_ms;
    while (c->pid != 0 && now_ms() < until)
        turn(s, 50);
    if (c->pid == 0)
        return;
    kv_log(KV_LOG_WARN, "child_killed", KV_STR("child", name_of(i)), KV_I64("after_ms", limit_ms));
    kill(-c->pid, SIGKILL);
    while (c->pid != 0)
        turn(s, 50);
}

static bool setup(supervisor *s)
{
    ssize_t n = readlink("/proc/self/exe", s->self, sizeof s->self - 1);
    if (n <= 0) {
        fprintf(stderr, "kervan up: cannot read /proc/self/exe: %s\n", strerror(errno));
        return false;
    }
    s->self[n] = '\0';
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->sigchld_fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    if (s->sigchld_fd < 0) {
        fprintf(stderr, "kervan up: no signalfd: %s\n", strerror(errno));
        return false;
    }
    const char *listen = s->cfg->listen;
    const char *port = strrchr(listen, ':');
    if (strncmp(listen, "0.0.0.0:", 8) == 0)
        snprintf(s->url, sizeof s->url, "http://127.0.0.1%s/", port);
    else if (strncmp(listen, "[::]:", 5) == 0)
        snprintf(s->url, sizeof s->url, "http://[::1]%s/", port);
    else
        snprintf(s->url, sizeof s->url, "http://%s/", listen);
    for (int i = 0; i < CHILDREN; i++) {
        s->children[i].ready_fd = s->children[i].out_fd = -1;
        kv_buf_init(&s->children[i].line, 1 << 20);
    }
    return true;
}

/* A part that died again and again before all were ready: its name. */
static const char *never_started(const supervisor *s)
{
    for (int i = 0; i < CHILDREN; i++)
        if (s->children[i].started_ms != 0 && s->children[i].backoff_ms >= GIVE_UP_MS)
            return name_of(i);
    return NULL;
}

int kv_supervise(const kv_config *cfg, int signal_fd, bool readable)
{
    supervisor s = {.cfg = cfg, .signal_fd = signal_fd, .lock_fd = -1};
    s.color = in_color();
    s.readable = isatty(STDOUT_FILENO) || readable;
    int rc = lock_data(&s);
    if (rc != 0)
        return rc;
    if (s.readable)
        kv_log_divert(show_own);
    if (!setup(&s))
        return 1;
    while (!kv_process_stop_asked(signal_fd)) {
        start_due(&s);
        turn(&s, 100);
        const char *hopeless = s.announced ? NULL : never_started(&s);
        if (hopeless) {
            fprintf(stderr, "kervan up: the %s does not start; the lines above say why\n",
                    hopeless);
            rc = 1;
            break;
        }
    }
    s.stopping = true;
    for (int i = 0; i < CHILDREN; i++)
        stop_child(&s, stop_order[i], cfg->drain_timeout * 1000 + 2000);
    turn(&s, 0);
    for (int i = 0; i < CHILDREN; i++)
        kv_buf_release(&s.children[i].line);
    char path[4096];
    snprintf(path, sizeof path, "%s/run/url", cfg->data);
    unlink(path);
    close(s.lock_fd);
    return rc;
}
