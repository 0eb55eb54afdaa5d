#include "actors/image/zygote_link.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "actors/image/passfd.h"
#include "proto/base/log.h"

extern char **environ;

enum { ENV_MAX = 16 };

/* Only what it needs: no secret of the configuration gets near a picture. */
static void small_environment(char *to[ENV_MAX])
{
    static const char *const passed[] = {
        "PATH=",          "LANG=",         "LD_LIBRARY_PATH=", "ASAN_OPTIONS=",
        "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TSAN_OPTIONS="};
    /* Freed pictures go back to the system at once; threads share few heaps. */
    static char arenas[] = "MALLOC_ARENA_MAX=2", mmap_from[] = "MALLOC_MMAP_THRESHOLD_=1048576",
                slices[] = "G_SLICE=always-malloc";
    int n = 0;
    to[n++] = arenas;
    to[n++] = mmap_from;
    to[n++] = slices;
    for (char **e = environ; *e; e++) {
        for (size_t i = 0; i < sizeof passed / sizeof passed[0]; i++) {
            if (n < ENV_MAX - 1 && strncmp(*e, passed[i], strlen(passed[i])) == 0)
                to[n++] = *e;
        }
    }
    to[n] = NULL;
}

static int spawn(int control, pid_t *ret)
{
    char *argv[] = {(char *)"kervan", (char *)"image-zygote", NULL}, *envp[ENV_MAX];
    posix_spawn_file_actions_t actions;
    small_environment(envp);
    if (posix_spawn_file_actions_init(&actions))
        return ENOMEM;
    int e = posix_spawn_file_actions_adddup2(&actions, control, KV_IMAGE_CONTROL_FD);
    if (!e)
        e = posix_spawn(ret, "/proc/self/exe", &actions, NULL, argv, envp);
    posix_spawn_file_actions_destroy(&actions);
    return e;
}

kv_err kv_zygote_start(kv_zygote *z)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair))
        return kv_err_from_errno(errno);
    int e = spawn(pair[1], &z->pid);
    close(pair[1]);
    if (e) {
        close(pair[0]);
        z->pid = 0;
        kv_log(KV_LOG_ERROR, "image_zygote_not_started", KV_STR("error", strerror(e)));
        return kv_err_from_errno(e);
    }
    z->fd = pair[0];
    return KV_OK;
}

kv_err kv_zygote_await(kv_zygote *z, int timeout_ms)
{
    kv_image_event event;
    while (z->versions[0] == '\0') {
        struct pollfd p = {.fd = z->fd, .events = POLLIN};
        int n = poll(&p, 1, timeout_ms);
        if (n == 0)
            return KV_E_TIMEOUT;
        if (n > 0 && kv_zygote_take(z, &event) < 0)
            return KV_E_IO;
    }
    return KV_OK;
}

kv_err kv_zygote_run(kv_zygote *z, const kv_image_order *order, const int fds[3])
{
    if (z->fd < 0)
        return KV_E_IO;
    if (kv_pass_send(z->fd, order, sizeof *order, fds, KV_PASS_FDS))
        return KV_OK;
    return errno == EAGAIN ? KV_E_BUSY : KV_E_IO;
}

void kv_zygote_kill_child(kv_zygote *z, uint64_t id)
{
    kv_image_order order = {.what = KV_IMAGE_KILL, .id = id};
    /* Lost with a full socket, its own time limit ends the child. */
    if (z->fd >= 0)
        (void)kv_pass_send(z->fd, &order, sizeof order, NULL, 0);
}

int kv_zygote_take(kv_zygote *z, kv_image_event *ret)
{
    int fds[KV_PASS_FDS];
    while (z->fd >= 0) {
        ssize_t n = kv_pass_receive(z->fd, ret, sizeof *ret, fds);
        if (n < 0)
            return errno == EAGAIN ? 0 : -1;
        if (n != (ssize_t)sizeof *ret)
            return -1; /* closed, or not our build */
        if (ret->what != KV_IMAGE_HELLO)
            return 1;
        memcpy(z->versions, ret->versions, sizeof z->versions);
        z->versions[sizeof z->versions - 1] = '\0';
    }
    return -1;
}

void kv_zygote_stop(kv_zygote *z)
{
    if (z->fd >= 0)
        close(z->fd);
    z->fd = -1;
    if (z->pid == 0)
        return;
    kill(z->pid, SIGKILL); /* its children go with it (PDEATHSIG) */
    while (waitpid(z->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    z->pid = 0;
}
