/* Forks a child for every order, reaps it, ends it when its time is up. Single-threaded for ever: a
 * fork of it is safe, and what it has loaded and touched its children need not. */
#include "actors/image/zygote.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <vips/vips.h>
#include <vips/vector.h>

#include "actors/image/passfd.h"
#include "actors/image/pipeline.h"
#include "actors/image/sandbox.h"
#include "proto/base/error.h"
#include "proto/base/log.h"

/* Pictures are background work: uploads, jobs and files are served first. On one core with pictures
 * in hand that makes the median of a job submitted 1.1 instead of 1.4–2.0 ms, of an upload 5.6
 * instead of 9 ms, and the pictures no slower. */
enum { OOM_SCORE = 500, NICER = 10, WALL_TIMES = 2 /* IMAGE_TIMEOUT, for they may wait */ };
enum { CHILDREN_MAX = 256, CHILD_SOURCE = 3, CHILD_OUTPUT, CHILD_REPORT, CHILD_FDS };

typedef struct child {
    pid_t pid; /* 0: free slot */
    uint64_t id;
    int64_t kill_at_ms; /* monotonic */
    bool timed_out;
} child;

typedef struct zygote {
    int null_fd, signal_fd;
    child children[CHILDREN_MAX];
} zygote;

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int child_report_fd = -1;

/* GLib aborts where memory ends; say so first. */
static void on_library_message(const char *domain, GLogLevelFlags level, const char *text,
                               void *arg)
{
    (void)domain;
    (void)arg;
    if (!(level & (G_LOG_FLAG_FATAL | G_LOG_LEVEL_ERROR)) || child_report_fd < 0)
        return;
    kv_image_report report = {.what = KV_IMAGE_FAILED, .error = KV_E_IMAGE_CRASH};
    if (kv_image_no_thread(text))
        report.error = KV_E_NO_MEMORY;
    else if (strstr(text, "failed to allocate") || strstr(text, "creating thread"))
        report.error = KV_E_IMAGE_LIMIT;
    snprintf(report.detail, sizeof report.detail, "%s", text);
    ssize_t n = write(child_report_fd, &report, sizeof report);
    (void)n;
    _exit(1);
}

/* Leaves exactly: 0..2 nowhere, 3 source, 4 output, 5 report. */
static bool keep_descriptors(const zygote *z, const int fds[KV_PASS_FDS])
{
    int high[KV_PASS_FDS];
    for (int i = 0; i < KV_PASS_FDS; i++) {
        if ((high[i] = fcntl(fds[i], F_DUPFD, CHILD_FDS)) < 0)
            return false;
    }
    for (int i = 0; i < CHILD_SOURCE; i++) {
        if (dup2(z->null_fd, i) < 0)
            return false;
    }
    for (int i = 0; i < KV_PASS_FDS; i++) {
        if (dup2(high[i], CHILD_SOURCE + i) < 0)
            return false;
    }
    return close_range(CHILD_FDS, ~0u, 0) == 0;
}

static void run_child(const zygote *z, const kv_image_order *order, const int fds[KV_PASS_FDS],
                      pid_t parent)
{
    sigset_t none;
    sigemptyset(&none);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent ||
        sigprocmask(SIG_SETMASK, &none, NULL))
        _exit(2);
    if (!keep_descriptors(z, fds) || !kv_image_sandbox(&order->settings, CHILD_REPORT))
        _exit(2);
    child_report_fd = CHILD_REPORT;
    _exit(kv_image_pipeline(order, CHILD_SOURCE, CHILD_OUTPUT, CHILD_REPORT));
}

/* The actor reads as long as it lives, and the socket holds more events than there can be children.
 * Where one is lost all the same its picture would wait for ever: our end has all of them tried
 * again. */
static void send_event(const kv_image_event *e)
{
    if (kv_pass_send(KV_IMAGE_CONTROL_FD, e, sizeof *e, NULL, 0))
        return;
    if (errno != EPIPE && errno != ECONNRESET) /* then the actor is gone, and nobody waits */
        kv_log(KV_LOG_WARN, "image_event_lost", KV_STR("error", strerror(errno)));
    _exit(1);
}

static child *free_slot(zygote *z)
{
    for (int i = 0; i < CHILDREN_MAX; i++) {
        if (z->children[i].pid == 0)
            return &z->children[i];
    }
    return NULL;
}

static void begin(zygote *z, const kv_image_order *order, const int fds[KV_PASS_FDS])
{
    child *c = free_slot(z);
    pid_t self = getpid(), pid = c && fds[KV_PASS_FDS - 1] >= 0 ? fork() : -1;
    if (pid == 0)
        run_child(z, order, fds, self);
    if (pid < 0) {
        send_event(&(kv_image_event){.what = KV_IMAGE_EXITED, .status = -1, .id = order->id});
        return;
    }
    int64_t time_ms = (int64_t)order->settings.timeout_s * 1000;
    *c = (child){pid, order->id, now_ms() + WALL_TIMES * time_ms, false};
}

/* false: the actor is gone. */
static bool take_orders(zygote *z)
{
    kv_image_order order;
    int fds[KV_PASS_FDS];
    for (;;) {
        ssize_t n = kv_pass_receive(KV_IMAGE_CONTROL_FD, &order, sizeof order, fds);
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        if (n == (ssize_t)sizeof order && order.what == KV_IMAGE_RUN)
            begin(z, &order, fds);
        for (int i = 0;
             n == (ssize_t)sizeof order && order.what == KV_IMAGE_KILL && i < CHILDREN_MAX; i++) {
            if (z->children[i].pid != 0 && z->children[i].id == order.id)
                kill(z->children[i].pid, SIGKILL);
        }
        for (int i = 0; i < KV_PASS_FDS; i++) {
            if (fds[i] >= 0)
                close(fds[i]);
        }
    }
}

static uint64_t micros(struct timeval t)
{
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_usec;
}

static void reap(zygote *z)
{
    struct signalfd_siginfo info;
    while (read(z->signal_fd, &info, sizeof info) > 0)
        ;
    int status;
    struct rusage used;
    for (pid_t pid; (pid = wait4(-1, &status, WNOHANG, &used)) > 0;) {
        for (int i = 0; i < CHILDREN_MAX; i++) {
            child *c = &z->children[i];
            if (c->pid != pid)
                continue;
            send_event(&(kv_image_event){.what = KV_IMAGE_EXITED,
                                         .status = status,
                                         .id = c->id,
                                         .timed_out = c->timed_out,
                                         .cpu_us = micros(used.ru_utime) + micros(used.ru_stime),
                                         .peak_kib = (uint64_t)used.ru_maxrss});
            c->pid = 0;
        }
    }
}

/* Kills those whose time is up; ms until the next one's is, -1: none. */
static int expire(zygote *z)
{
    int64_t now = now_ms(), next = -1;
    for (int i = 0; i < CHILDREN_MAX; i++) {
        child *c = &z->children[i];
        if (c->pid == 0 || c->timed_out)
            continue;
        if (c->kill_at_ms <= now) {
            c->timed_out = true;
            kill(c->pid, SIGKILL);
        } else if (next < 0 || c->kill_at_ms - now < next) {
            next = c->kill_at_ms - now;
        }
    }
    return (int)next;
}

static void say_hello(void)
{
    kv_image_event hello = {.what = KV_IMAGE_HELLO};
    kv_image_versions(hello.versions);
    send_event(&hello);
}

/* Threads do not survive a fork, and libvips would wait for them in the child. errno: EBUSY. */
static bool single_threaded(void)
{
    int threads = 0;
    DIR *tasks = opendir("/proc/self/task");
    if (!tasks)
        return false;
    for (struct dirent *e; (e = readdir(tasks));)
        threads += e->d_name[0] != '.';
    closedir(tasks);
    errno = threads == 1 ? 0 : EBUSY;
    return threads == 1;
}

/* Where memory ends a picture shall go, which is tried again, and not the broker. Half of the way:
 * who has more than half of the memory is killed before a picture. */
static void offer_to_the_oom_killer(void)
{
    char text[16] = "";
    int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
    bool done = fd >= 0 && read(fd, text, sizeof text - 1) > 0;
    if (done && atoi(text) < OOM_SCORE) { /* never back: that takes privileges */
        int len = snprintf(text, sizeof text, "%d", OOM_SCORE);
        done = write(fd, text, (size_t)len) == len;
    }
    if (!done)
        kv_log(KV_LOG_WARN, "oom_score_failed", KV_STR("error", strerror(errno)));
    if (fd >= 0)
        close(fd);
}

static bool prepare(zygote *z, const char *program)
{
    /* Its end is the closed control socket alone: a SIGTERM to the process group must not end work
     * that is drained. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}) || sigprocmask(SIG_SETMASK, &children, NULL))
        return false;
    z->null_fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    z->signal_fd = signalfd(-1, &children, SFD_NONBLOCK | SFD_CLOEXEC);
    if (z->null_fd < 0 || z->signal_fd < 0)
        return false;
    vips_vector_set_enabled(
        FALSE); /* it would write machine code at run time: refused in the sandbox */
    if (VIPS_INIT(program))
        return false;
    vips_cache_set_max(0);
    vips_concurrency_set(1);
    g_log_set_default_handler(on_library_message, NULL);
    kv_image_warm_up();
    offer_to_the_oom_killer();
    (void)!nice(NICER); /* -1 may be the new value; asking for less cannot be refused */
    return single_threaded();
}

int kv_image_zygote_main(int argc, char **argv)
{
    static zygote z;
    kv_log_setup("image-zygote", KV_LOG_INFO);
    if (argc < 1 || fcntl(KV_IMAGE_CONTROL_FD, F_GETFD) < 0 ||
        close_range(KV_IMAGE_CONTROL_FD + 1, ~0u, 0) || !prepare(&z, argv[0])) {
        kv_log(KV_LOG_ERROR, "image_zygote_failed", KV_STR("error", strerror(errno)),
               KV_STR("hint", "it is started by the image worker, not by hand"));
        return 1;
    }
    const char *missing = kv_image_missing();
    if (missing) { /* each picture would fail for ever; so they wait instead */
        kv_log(KV_LOG_ERROR, "image_zygote_failed", KV_STR("error", missing));
        return 1;
    }
    say_hello();
    for (;;) {
        struct pollfd fds[] = {{.fd = KV_IMAGE_CONTROL_FD, .events = POLLIN},
                               {.fd = z.signal_fd, .events = POLLIN}};
        if (poll(fds, 2, expire(&z)) < 0 && errno != EINTR)
            return 1;
        reap(&z);
        if (!take_orders(&z))
            return 0; /* children die with it (PDEATHSIG) */
    }
}
