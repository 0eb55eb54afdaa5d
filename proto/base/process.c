#include "proto/base/process.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "proto/base/log.h"

static int failed(const char *name, const char *what)
{
    kv_log(KV_LOG_ERROR, "process_setup_failed", KV_STR("name", name), KV_STR("call", what),
           KV_STR("error", strerror(errno)));
    return -1;
}

/* The end of a terminal stops as SIGTERM does, but under nohup, which has it ignored. */
static bool hangup_stops(void)
{
    struct sigaction now;

    return sigaction(SIGHUP, NULL, &now) == 0 && now.sa_handler != SIG_IGN;
}

/* SIGTERM when the supervisor dies. One that died before we asked is seen by our new parent. */
static bool follow_supervisor(const char *pid)
{
    if (prctl(PR_SET_PDEATHSIG, SIGTERM))
        return false;
    errno = ESRCH;
    return getppid() == (pid_t)strtol(pid, NULL, 10);
}

int kv_process_setup(const char *name)
{
    const char *supervisor = getenv("KERVAN_SUPERVISED");
    sigset_t stop;

    if (setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0}))
        return failed(name, "setrlimit");
    /* A closed peer and a file-size limit are errors of a call, not deaths. Where our own parent
     * ignores SIGCHLD, ended children could not be waited for. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || signal(SIGXFSZ, SIG_IGN) == SIG_ERR ||
        signal(SIGCHLD, SIG_DFL) == SIG_ERR)
        return failed(name, "signal");
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    if (hangup_stops())
        sigaddset(&stop, SIGHUP);
    if (sigprocmask(SIG_BLOCK, &stop, NULL))
        return failed(name, "sigprocmask");
    if (supervisor && !follow_supervisor(supervisor))
        return failed(name, "follow_supervisor");
    int fd = signalfd(-1, &stop, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd < 0 ? failed(name, "signalfd") : fd;
}

bool kv_process_stop_asked(int signal_fd)
{
    struct signalfd_siginfo info;

    return read(signal_fd, &info, sizeof info) == sizeof info;
}

void kv_process_ready(void)
{
    const char *text = getenv("KERVAN_READY_FD");
    char *end;

    if (!text || !*text)
        return;
    errno = 0;
    long fd = strtol(text, &end, 10);
    if (errno || *end || fd < 3 || fd > 1 << 20) {
        kv_log(KV_LOG_WARN, "bad_ready_fd", KV_STR("value", text));
        return;
    }
    ssize_t n;
    do
        n = write((int)fd, "r", 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        kv_log(KV_LOG_WARN, "ready_not_told", KV_STR("error", strerror(errno)));
    close((int)fd);
    unsetenv("KERVAN_READY_FD"); /* the number may be another file's from now on */
}
