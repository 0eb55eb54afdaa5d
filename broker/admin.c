/* The admin thread: connections, their bytes, and when their calls run. */
#include "broker/admin.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "broker/admin_conn.h"
#include "broker/admin_listen.h"
#include "proto/base/log.h"
#include "proto/base/wake.h"

enum {
    IDLE_MS = 600 * 1000,
    OUT_MAX = 4 << 20,  /* bytes of replies that wait for one operator */
    OUT_LOW = 64 << 10, /* below it a long reply goes on */
    STEPS = 64,         /* of one connection before others have their turn */
    ACCEPT_MS = 100,    /* until it is tried again, where there was no descriptor */
    GAUGE_MS = 10 * 1000
};

static int64_t now_ms(const kv_admin *a)
{
    return kv_mono_ms(a->clock);
}

/* ---- connections ---- */

static void conn_close(kv_admin_conn *c)
{
    if (c->busy)
        kv_admin_end(&c->call);
    kv_admin_ask_drop(c);
    close(c->fd);
    c->fd = -1;
    kv_buf_release(&c->out);
}

static void conn_open(kv_admin *a, int fd)
{
    static const char full[] = "ERROR busy 16 connections are open already; close one.\n";
    kv_admin_conn *c = NULL;
    for (int i = 0; i < KV_ADMIN_CONNS && !c; i++)
        c = a->conns[i].fd < 0 ? &a->conns[i] : NULL;
    if (!c) {
        (void)!send(fd, full, sizeof full - 1, MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
        return;
    }
    struct ucred who = {.pid = 0, .uid = (uid_t)-1};
    socklen_t len = sizeof who;
    (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &len);
    *c = (kv_admin_conn){
        .admin = a, .fd = fd, .uid = who.uid, .pid = who.pid, .active_ms = now_ms(a)};
    kv_buf_init(&c->out, OUT_MAX);
}

/* Who waits stays readable: where there is no descriptor for it, poll must not be asked at once. */
static void accept_all(kv_admin *a)
{
    int fd;
    while ((fd = accept4(a->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        conn_open(a, fd);
        a->accept_failed = false;
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    if (!a->accept_failed)
        kv_log(KV_LOG_WARN, "admin_accept_failed", KV_STR("error", strerror(errno)));
    a->accept_failed = true;
    a->accept_again_ms = now_ms(a) + ACCEPT_MS;
}

/* False: it is gone. */
static bool conn_read(kv_admin_conn *c)
{
    char *where;
    size_t room = kv_admin_input_room(&c->in, &where);
    ssize_t n = room > 0 ? read(c->fd, where, room) : -1;
    if (n > 0) {
        c->in.len += (size_t)n;
        c->active_ms = now_ms(c->admin);
    } else if (n == 0) {
        c->in.ended = true; /* it may still read: `nc -N` */
    } else if (room > 0 && errno != EAGAIN && errno != EINTR) {
        return false;
    }
    return true;
}

static size_t unsent(const kv_admin_conn *c)
{
    return c->out.len - c->out_at;
}

static bool conn_send(kv_admin_conn *c)
{
    while (unsent(c) > 0) {
        ssize_t n = send(c->fd, c->out.data + c->out_at, unsent(c), MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno != EAGAIN)
            return false;
        if (n < 0)
            break;
        c->out_at += (size_t)n;
        c->active_ms = now_ms(c->admin);
    }
    if (c->out_at > OUT_LOW || (c->out_at > 0 && unsent(c) == 0)) {
        c->out.len -= c->out_at;
        memmove(c->out.data, c->out.data + c->out_at, c->out.len);
        c->out_at = 0;
    }
    return kv_buf_ok(&c->out);
}

/* ---- calls ---- */

static void log_change(const kv_admin_conn *c, kv_slice line)
{
    kv_log(KV_LOG_INFO, "admin_command", KV_SLICE("line", line), KV_U64("uid", c->uid),
           KV_I64("pid", c->pid));
}

static void new_call(kv_admin_conn *c)
{
    const kv_admin *a = c->admin;
    c->call = (kv_admin_call){
        .cfg = a->cfg, .clock = a->clock, .ids = &c->admin->ids, .out = &c->out, .conn = c};
}

/* A command does one of three things; one that does none would never end. */
static void run(kv_admin_conn *c, kv_admin_fn fn)
{
    fn(&c->call);
    assert(c->call.ended || c->ask || c->call.again);
}

static void refuse_line(kv_admin_conn *c, const char *slug, const char *why)
{
    c->busy = true;
    kv_admin_error(&c->call, slug, "%s", why);
}

static void begin_call(kv_admin_conn *c, kv_slice line)
{
    kv_admin_call *call = &c->call;
    const char *why = kv_admin_parse(line, &call->line);
    if (why) {
        refuse_line(c, "bad_line", why);
        return;
    }
    if (call->line.n == 0)
        return; /* an empty line ends `events follow`, and else does nothing */
    call->json = call->line.json;
    call->command = kv_admin_find(call->line.words[0]);
    c->busy = true;
    if (!call->command) {
        kv_admin_error(call, "unknown_command",
                       "There is no command \"%.*s\"; \"help\" lists them.",
                       KV_SLICE_FMT(call->line.words[0]));
        return;
    }
    kv_buf wrong;
    kv_buf_init(&wrong, 4096);
    if (!kv_admin_check(call->command, &call->line, &wrong)) {
        kv_admin_error(call, "usage", "%s", kv_buf_str(&wrong));
    } else {
        if (call->command->changes)
            log_change(c, line);
        run(c, call->command->run);
    }
    kv_buf_release(&wrong);
}

/* True: something was done, look again. */
static bool conn_step(kv_admin_conn *c)
{
    kv_admin_call *call = &c->call;
    if (c->closing || unsent(c) > OUT_LOW)
        return false;
    if (c->busy) {
        if (c->ask || !call->again || now_ms(c->admin) < call->again_at)
            return false;
        kv_admin_fn fn = call->again;
        call->again = NULL;
        run(c, fn);
        return true;
    }
    kv_slice line;
    kv_admin_took took = kv_admin_input_take(&c->in, &line);
    if (took == KV_ADMIN_NOTHING) {
        c->closing = c->in.ended;
        return false;
    }
    new_call(c);
    if (took == KV_ADMIN_TOO_LONG)
        refuse_line(c, "bad_line", "A line has at most 4096 bytes.");
    else
        begin_call(c, line);
    return true;
}

static void conn_turn(kv_admin_conn *c)
{
    bool open = true, more = true;
    for (int i = 0; i < STEPS && open && more; i++) {
        more = conn_step(c);
        open = conn_send(c);
    }
    bool idle = now_ms(c->admin) - c->active_ms > IDLE_MS && (!c->busy || unsent(c) > 0);
    if (!open || idle || (c->closing && unsent(c) == 0))
        conn_close(c);
}

/* ---- the loop ---- */

/* How long a connection can wait, when nothing comes; it was given its turn. */
static int64_t conn_wait(const kv_admin_conn *c)
{
    int64_t now = now_ms(c->admin), left = c->active_ms + IDLE_MS + 1 - now;
    if (c->busy && !c->ask && c->call.again && unsent(c) <= OUT_LOW)
        left = c->call.again_at - now;
    else if (!c->busy && !c->closing && unsent(c) <= OUT_LOW && kv_admin_input_waits(&c->in))
        left = 0;
    return left < 0 ? 0 : left;
}

/* The time to the next one. */
static int64_t read_gauge(kv_admin *a)
{
    int64_t now = now_ms(a);
    if (now >= a->next_gauge_ms) {
        a->next_gauge_ms = now + GAUGE_MS;
        if (a->db || kv_db_open(a->cfg, KV_DB_READ, &a->db) == KV_OK)
            kv_dead_gauge_read(&a->dead, a->db);
    }
    return a->next_gauge_ms - now;
}

static int64_t serve(kv_admin *a)
{
    int64_t wait = read_gauge(a);
    if (a->client) {
        int64_t ms = kv_client_poll(a->client);
        wait = ms < wait ? ms : wait;
    }
    for (int i = 0; i < KV_ADMIN_CONNS; i++) {
        kv_admin_conn *c = &a->conns[i];
        if (c->fd >= 0)
            conn_turn(c);
        if (c->fd >= 0 && conn_wait(c) < wait)
            wait = conn_wait(c);
    }
    size_t asked = a->client ? kv_client_waiting(a->client) : 0;
    if (asked > 0) { /* what the calls asked goes out now */
        int64_t ms = kv_client_poll(a->client);
        wait = kv_client_waiting(a->client) < asked ? 0 : ms < wait ? ms : wait;
    }
    return wait;
}

static void wait_and_read(kv_admin *a, int64_t wait)
{
    int64_t accept_ms = a->accept_again_ms - now_ms(a);
    if (accept_ms > 0 && accept_ms < wait)
        wait = accept_ms;
    struct pollfd fds[3 + KV_ADMIN_CONNS] = {{a->wake_fd, POLLIN, 0},
                                             {accept_ms > 0 ? -1 : a->listen_fd, POLLIN, 0},
                                             {a->client ? kv_client_fd(a->client) : -1, POLLIN, 0}};
    for (int i = 0; i < KV_ADMIN_CONNS; i++) {
        kv_admin_conn *c = &a->conns[i];
        char *where;
        short events = 0;
        if (c->fd >= 0 && !c->in.ended && kv_admin_input_room(&c->in, &where) > 0)
            events = POLLIN;
        if (c->fd >= 0 && unsent(c) > 0)
            events |= POLLOUT;
        fds[3 + i] = (struct pollfd){c->fd, events, 0};
    }
    if (poll(fds, 3 + KV_ADMIN_CONNS, wait > 60000 ? 60000 : (int)wait) <= 0)
        return;
    for (int i = 0; i < KV_ADMIN_CONNS; i++) {
        kv_admin_conn *c = &a->conns[i];
        short got = fds[3 + i].revents;
        if (c->fd < 0 || got == 0)
            continue;
        if ((got & (POLLHUP | POLLERR)) || ((got & POLLIN) && !conn_read(c)))
            conn_close(c); /* nobody reads an answer any more */
    }
    if (fds[1].revents)
        accept_all(a);
}

static void *thread_main(void *arg)
{
    kv_admin *a = arg;
    pthread_setname_np(pthread_self(), "admin");
    while (!kv_wake_taken(a->wake_fd))
        wait_and_read(a, serve(a));
    for (int i = 0; i < KV_ADMIN_CONNS; i++) {
        if (a->conns[i].fd >= 0)
            conn_close(&a->conns[i]);
    }
    kv_admin_backups_end();
    kv_client_destroy(&a->client);
    kv_admin_asks_free(a);
    kv_db_close(&a->db);
    return NULL;
}

/* ---- start and stop ---- */

kv_err kv_admin_start(const kv_config *cfg, const kv_clock *clock, void *zmq, kv_admin **ret)
{
    *ret = NULL;
    kv_admin *a = calloc(1, sizeof *a);
    if (!a)
        return KV_E_NO_MEMORY;
    a->cfg = cfg;
    a->clock = clock;
    a->zmq = zmq;
    a->next_gauge_ms = now_ms(a) + 1000; /* who starts has other things to do first */
    a->wake_fd = kv_wake_open();
    kv_id_maker_init(&a->ids, kv_id_random_node());
    for (int i = 0; i < KV_ADMIN_CONNS; i++)
        a->conns[i].fd = -1;
    kv_err err = a->wake_fd < 0 ? KV_E_NO_MEMORY : kv_admin_listen(cfg->admin, &a->listen_fd);
    if (err == KV_OK && pthread_create(&a->thread, NULL, thread_main, a) != 0) {
        kv_admin_unlisten(cfg->admin, a->listen_fd);
        err = KV_E_NO_MEMORY;
    }
    if (err == KV_OK) {
        *ret = a;
        return KV_OK;
    }
    if (a->wake_fd >= 0)
        close(a->wake_fd);
    free(a);
    return err;
}

void kv_admin_stop(kv_admin **self)
{
    kv_admin *a = *self;
    if (!a)
        return;
    kv_wake(a->wake_fd);
    pthread_join(a->thread, NULL);
    kv_admin_unlisten(a->cfg->admin, a->listen_fd);
    close(a->wake_fd);
    free(a);
    *self = NULL;
}
