/* kervan gateway: starts loops and ingest, waits for SIGTERM, drains. */
#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "gateway/loop.h"
#include "gateway/static_cache.h"
#include "gateway/tap.h"
#include "proto/base/log.h"
#include "proto/base/metrics.h"
#include "proto/base/process.h"
#include "proto/base/wake.h"

#define SPARE_FDS 1024 /* besides connections: files, database, sockets */

typedef struct gateway {
    kv_gw_own own;
    kv_loop_own *loops[KV_LOOPS_MAX];
    unsigned running; /* threads */
    sem_t ended;      /* posted by each loop at its end */
    void *ingest;
    struct gateway *older;
} gateway;

/* h2o cannot be disposed of after it served a request (an assertion on its timeouts), and keeps
 * free lists per thread that nothing can clear. So what it refers to, and the threads, stay until
 * the process ends. */
static gateway *kept;

static void configure_h2o(kv_gw_own *gw)
{
    h2o_config_init(&gw->conf);
    gw->conf.server_name = h2o_iovec_init(H2O_STRLIT("kervan"));
    gw->conf.max_request_entity_size = KV_SMALL_BODY_MAX;
    gw->conf.http1.upgrade_to_http2 = 0;
    kv_dispatch_register(gw);
}

/* How many connections there may be, and how many files may be kept open for serving. Where there
 * are fewer descriptors than for MAX_CONNECTIONS, those that only wait must not take the ones that
 * uploads and files need. */
static size_t bound_connections(const kv_config *cfg, size_t *ret_files_kept)
{
    struct rlimit r;
    size_t most = (size_t)cfg->max_connections;
    rlim_t need = (rlim_t)most + SPARE_FDS, want = need + KV_STATIC_ROWS_MAX;
    *ret_files_kept = 0;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0)
        return most;
    rlim_t had = r.rlim_cur;
    if (had < want) {
        r.rlim_cur = r.rlim_max < want ? r.rlim_max : want;
        if (setrlimit(RLIMIT_NOFILE, &r) != 0)
            r.rlim_cur = had;
    }
    if (r.rlim_cur >= need) {
        *ret_files_kept = r.rlim_cur < want ? (size_t)(r.rlim_cur - need) : KV_STATIC_ROWS_MAX;
        return most;
    }
    rlim_t bound = r.rlim_cur - (r.rlim_cur / 2 < SPARE_FDS ? r.rlim_cur / 2 : SPARE_FDS);
    most = bound < most ? (size_t)bound : most;
    kv_log(KV_LOG_WARN, "few_file_descriptors", KV_U64("limit", r.rlim_cur), KV_U64("wanted", need),
           KV_U64("connections", most));
    return most;
}

static kv_err start_loops(gateway *g)
{
    kv_gw_own *own = &g->own;
    for (unsigned i = 0; i < own->gw.loops; i++) {
        int fd = kv_listen(own->gw.cfg->listen, i == 0);
        if (fd < 0)
            return KV_E_IO;
        KV_TRY(kv_loop_new(own, i, fd, &g->loops[i]));
    }
    return KV_OK;
}

static void *loop_thread(void *arg)
{
    kv_loop_own *l = arg;
    char name[16];
    snprintf(name, sizeof(name), "loop-%u", l->loop.index);
    pthread_setname_np(pthread_self(), name);
    kv_loop_run(l);
    sem_post(&((gateway *)l->loop.gw)->ended);
    for (;;)
        pause();
    return NULL;
}

static kv_err start_threads(gateway *g)
{
    for (; g->running < g->own.gw.loops; g->running++)
        if (pthread_create(&g->loops[g->running]->thread, NULL, loop_thread,
                           g->loops[g->running]) != 0)
            return KV_E_NO_MEMORY;
    return KV_OK;
}

static kv_err prepare(gateway *g, const kv_config *cfg)
{
    kv_gw_own *own = &g->own;
    own->gw.cfg = cfg;
    own->gw.clock = &kv_clock_real;
    own->gw.started_ms = kv_mono_ms(own->gw.clock);
    own->gw.loops = (unsigned)cfg->gateway_threads;
    own->id_node = kv_id_random_node();
    assert(own->gw.loops >= 1 && own->gw.loops <= KV_LOOPS_MAX);
    for (unsigned i = 0; i < own->gw.loops; i++)
        if ((own->wake_fds[i] = kv_wake_open()) < 0)
            return kv_err_from_errno(errno);
    size_t budget = (size_t)cfg->upload_buffer_mb << 20;
    if (budget <
        own->gw.loops * (size_t)4 * KV_BODY_ARENA) /* each loop fills an arena of its own */
        budget = own->gw.loops * (size_t)4 * KV_BODY_ARENA;
    own->pool = kv_body_pool_new(budget, own->wake_fds, own->gw.loops);
    own->rate = kv_ratelimit_new((uint64_t)cfg->upload_rate_limit);
    own->gw.zmq = zmq_ctx_new();
    if (own->pool == NULL || own->rate == NULL || own->gw.zmq == NULL)
        return KV_E_NO_MEMORY;
    zmq_ctx_set(own->gw.zmq, ZMQ_MAX_SOCKETS, 4096);
    configure_h2o(own);
    return kv_store_open_config(cfg, &own->gw.store);
}

static void wait_for_signal(int signal_fd)
{
    for (;;) {
        struct pollfd p = {.fd = signal_fd, .events = POLLIN};
        if (poll(&p, 1, -1) < 0 && errno != EINTR)
            return;
        if (kv_process_stop_asked(signal_fd))
            return;
    }
}

static void stop(gateway *g, const kv_ingest_hooks *ingest)
{
    kv_gw *gw = &g->own.gw;
    int64_t by_ms = kv_mono_ms(gw->clock) + gw->cfg->drain_timeout * 1000;
    atomic_store(&gw->draining, true);
    for (unsigned i = 0; i < g->running; i++)
        kv_loop_wake(g->loops[i]);
    for (unsigned i = 0; i < g->running; i++)
        while (sem_wait(&g->ended) != 0 && errno == EINTR)
            ;
    if (g->ingest != NULL) {
        int64_t left = by_ms - kv_mono_ms(gw->clock);
        ingest->stop(&g->ingest, left > 1000 ? left : 1000);
    }
    for (unsigned i = 0; i < gw->loops; i++)
        if (g->loops[i] != NULL)
            kv_loop_close_sockets(g->loops[i]);
    if (gw->store != NULL)
        kv_store_close(&gw->store);
    if (gw->zmq != NULL)
        zmq_ctx_term(gw->zmq);
    kv_ratelimit_destroy(&g->own.rate);
}

int kv_gateway_run(const kv_config *cfg, int signal_fd, const kv_ingest_hooks *ingest)
{
    static const kv_metric owned[] = {KV_M_UPLOADS,
                                      KV_M_UPLOAD_BYTES,
                                      KV_M_UPLOAD_FAILURES,
                                      KV_M_UPLOAD_SECONDS,
                                      KV_M_UPLOADS_ACTIVE,
                                      KV_M_UPLOAD_BUFFER_BYTES,
                                      KV_M_UPLOADS_DEDUPLICATED,
                                      KV_M_HTTP_REQUESTS,
                                      KV_M_HTTP_REFUSED,
                                      KV_M_CONNECTIONS,
                                      KV_M_BROKER_UP};
    kv_metrics_declare(owned, (int)(sizeof(owned) / sizeof(owned[0])));
    gateway *g = calloc(1, sizeof(*g));
    if (g == NULL || sem_init(&g->ended, 0, 0) != 0) {
        free(g);
        return 1;
    }
    g->older = kept;
    kept = g;
    g->own.connections_max = bound_connections(cfg, &g->own.gw.files_kept);
    kv_err err = prepare(g, cfg);
    if (err == KV_OK)
        err = start_loops(g);
    if (err == KV_OK) /* the loops' inboxes are bound: the ingest side may connect */
        err = ingest->start(g->own.gw.zmq, cfg, g->own.gw.clock, g->own.gw.loops, &g->ingest);
    if (err == KV_OK)
        err = start_threads(g);
    if (err == KV_OK) {
        kv_process_ready();
        wait_for_signal(signal_fd);
        kv_log(KV_LOG_INFO, "draining", KV_I64("timeout_s", cfg->drain_timeout));
    } else {
        kv_log(KV_LOG_ERROR, "gateway_start_failed", KV_ERRNAME("code", err));
    }
    stop(g, ingest);
    kv_log(KV_LOG_INFO, "stopped", KV_ERRNAME("code", err));
    return err == KV_OK ? 0 : 1;
}
