#include "actors/worker.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zmq.h>

#include "actors/image/image.h"
#include "actors/notifier.h"
#include "actors/reaper.h"
#include "proto/actor.h"
#include "proto/base/log.h"
#include "proto/base/process.h"
#include "proto/base/words.h"

static uint64_t no_credit(const kv_config *cfg)
{
    (void)cfg;
    return 0;
}

static const struct {
    const kv_actor_def *def;
    const char *service;
    uint64_t (*credit)(const kv_config *cfg);
} table[] = {
    {&kv_image_actor, KV_SERVICE_IMAGE, kv_image_credit},
    {&kv_reaper_actor, KV_SERVICE_REAP, no_credit}, /* takes it when it is its turn */
    {&kv_notifier_actor, NULL, no_credit},          /* takes no jobs: it reads the event log */
};
enum { ACTORS = sizeof table / sizeof table[0] };

typedef struct worker {
    kv_actor *actors[ACTORS];              /* by table row; NULL: not asked for */
    char session[ACTORS][KV_SESSION_NAME]; /* the shell keeps pointers to its names */
} worker;

static int row_of(const char *name)
{
    for (int i = 0; i < ACTORS; i++) {
        if (strcmp(table[i].def->name, name) == 0)
            return i;
    }
    return -1;
}

static bool names_fit(int n, char *const *names)
{
    bool asked[ACTORS] = {false};
    for (int i = 0; i < n; i++) {
        int row = row_of(names[i]);
        if (row < 0 || asked[row]) {
            kv_log(KV_LOG_ERROR, row < 0 ? "unknown_actor" : "actor_named_twice",
                   KV_STR("actor", names[i]), KV_STR("known", KV_WORKERS(", ")));
            return false;
        }
        asked[row] = true;
    }
    if (n == 0)
        kv_log(KV_LOG_ERROR, "no_actor_named", KV_STR("known", KV_WORKERS(", ")));
    return n > 0;
}

static kv_err start(worker *w, const kv_config *cfg, void *zmq, int row)
{
    char what[32];
    snprintf(what, sizeof what, "worker-%s", table[row].def->name);
    kv_session_name(w->session[row], what);
    kv_actor_spec spec = {
        .def = table[row].def,
        .cfg = cfg,
        .zmq = zmq,
        .clock = &kv_clock_real,
        .broker = cfg->broker,
        .role = "worker",
        .session_name = w->session[row],
        .service = table[row].service,
        .credit = table[row].credit(cfg),
    };
    kv_err err = kv_actor_start(&spec, &w->actors[row]);
    if (err != KV_OK)
        kv_log(KV_LOG_ERROR, "actor_not_started", KV_STR("actor", table[row].def->name),
               KV_ERRNAME("code", err));
    return err;
}

static void wait_for_stop(int signal_fd)
{
    struct pollfd p = {.fd = signal_fd, .events = POLLIN};
    while (!kv_process_stop_asked(signal_fd))
        (void)poll(&p, 1, -1);
}

/* One after the other inside one deadline. */
static void stop_all(worker *w, int64_t drain_ms)
{
    int64_t until = kv_mono_ms(&kv_clock_real) + drain_ms;
    for (int row = ACTORS - 1; row >= 0; row--) {
        int64_t left = until - kv_mono_ms(&kv_clock_real);
        if (w->actors[row])
            kv_actor_stop(&w->actors[row], left > 0 ? left : 0);
    }
}

int kv_worker_run(const kv_config *cfg, int signal_fd, int n, char *const *actor_names)
{
    worker w = {0};
    if (!names_fit(n, actor_names))
        return 2;
    void *zmq = zmq_ctx_new();
    kv_err err = zmq ? KV_OK : KV_E_NO_MEMORY;
    for (int i = 0; err == KV_OK && i < n; i++)
        err = start(&w, cfg, zmq, row_of(actor_names[i]));
    if (err == KV_OK) {
        kv_process_ready();
        kv_log(KV_LOG_INFO, "worker_ready", KV_I64("actors", n));
        wait_for_stop(signal_fd);
        kv_log(KV_LOG_INFO, "worker_draining", KV_I64("seconds", cfg->drain_timeout));
    }
    stop_all(&w, cfg->drain_timeout * 1000);
    if (zmq)
        zmq_ctx_term(zmq);
    return err == KV_OK ? 0 : 1;
}
