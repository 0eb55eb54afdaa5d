/* Wires the ingest actors: who is a thread, who sends to whom. The only file that knows them all. */
#include "actors/ingest.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "actors/ingest_actors.h"
#include "actors/store/puts.h"
#include "proto/base/log.h"
#include "proto/endpoints.h"

#define EP_HASHER "inproc://hasher-%u"
#define EP_STORE  "inproc://store-%u"
#define EP_PLACER "inproc://placer-%u"
#define EP_DEDUP  "inproc://dedup"

#define LOOPS_MAX     64
#define PIPELINES_MAX 16
#define PEERS_MAX     (LOOPS_MAX + PIPELINES_MAX + KV_PLACERS)
#define ENDPOINT_MAX  40
#define POLL_NS       (5 * 1000000L)

typedef struct kv_ingest {
    kv_ingest_state state;
    kv_ingest_arg arg;
    kv_store *store;
    kv_puts *puts;
    kv_actor *dedup, *placers[KV_PLACERS];
    kv_actor *scanners[PIPELINES_MAX], *hashers[PIPELINES_MAX], *writers[PIPELINES_MAX];
} kv_ingest;

/* Endpoints of an actor's peers, in the order of its indices. */
typedef struct kv_peers {
    char text[PEERS_MAX][ENDPOINT_MAX];
    const char *list[PEERS_MAX + 1];
    size_t count;
} kv_peers;

/* Room for one more endpoint, ENDPOINT_MAX bytes. */
static char *add_peer(kv_peers *p)
{
    char *text = p->text[p->count];
    p->list[p->count++] = text;
    p->list[p->count] = NULL;
    return text;
}

static kv_err start(const kv_ingest *i, const kv_actor_spec *base, const kv_actor_def *def,
                    const char *inbox, const kv_peers *peers, kv_actor **ret)
{
    kv_actor_spec spec = *base;
    spec.def = def;
    spec.arg = &i->arg;
    spec.inbox = inbox;
    spec.peers = peers->list;
    return kv_actor_start(&spec, ret);
}

static kv_err start_dedup(kv_ingest *i, const kv_actor_spec *base)
{
    kv_peers *peers = calloc(1, sizeof *peers);
    if (!peers)
        return KV_E_NO_MEMORY;
    for (unsigned n = 0; n < i->arg.loops; n++)
        snprintf(add_peer(peers), ENDPOINT_MAX, KV_EP_LOOP, n);
    for (unsigned n = 0; n < i->arg.pipelines; n++)
        snprintf(add_peer(peers), ENDPOINT_MAX, KV_EP_SCANNER, n);
    for (unsigned n = 0; n < KV_PLACERS; n++)
        snprintf(add_peer(peers), ENDPOINT_MAX, EP_PLACER, n);
    kv_actor_spec spec = *base;
    spec.broker = base->cfg->broker;
    spec.role = "gateway";
    spec.session_name = "dedup";
    kv_err err = start(i, &spec, &kv_dedup, EP_DEDUP, peers, &i->dedup);
    free(peers);
    return err;
}

static kv_err start_placers(kv_ingest *i, const kv_actor_spec *base)
{
    kv_peers peers = {.count = 0};
    snprintf(add_peer(&peers), ENDPOINT_MAX, EP_DEDUP);
    for (unsigned n = 0; n < KV_PLACERS; n++) {
        char inbox[ENDPOINT_MAX];
        snprintf(inbox, sizeof inbox, EP_PLACER, n);
        KV_TRY(start(i, base, &kv_placer, inbox, &peers, &i->placers[n]));
    }
    return KV_OK;
}

static kv_err start_pipeline(kv_ingest *i, const kv_actor_spec *base, unsigned n)
{
    kv_peers down = {.count = 0}, up = {.count = 0};
    char inbox[ENDPOINT_MAX];
    snprintf(add_peer(&down), ENDPOINT_MAX, EP_DEDUP);
    snprintf(inbox, sizeof inbox, EP_HASHER, n);
    KV_TRY(start(i, base, &kv_hasher, inbox, &down, &i->hashers[n]));
    snprintf(inbox, sizeof inbox, EP_STORE, n);
    KV_TRY(start(i, base, &kv_store_writer, inbox, &down, &i->writers[n]));
    snprintf(add_peer(&up), ENDPOINT_MAX, EP_HASHER, n);
    snprintf(add_peer(&up), ENDPOINT_MAX, EP_STORE, n);
    snprintf(add_peer(&up), ENDPOINT_MAX, EP_DEDUP);
    snprintf(inbox, sizeof inbox, KV_EP_SCANNER, n);
    return start(i, base, &kv_scanner, inbox, &up, &i->scanners[n]);
}

kv_err kv_ingest_start(void *zmq, const kv_config *cfg, const kv_clock *clock, unsigned loops,
                       void **ret)
{
    unsigned pipelines = (unsigned)cfg->ingest_pipelines;
    if (loops == 0 || loops > LOOPS_MAX || pipelines == 0 || pipelines > PIPELINES_MAX)
        return KV_E_CONFIG;
    kv_ingest *i = calloc(1, sizeof *i);
    if (!i)
        return KV_E_NO_MEMORY;
    kv_actor_spec base = {.cfg = cfg, .zmq = zmq, .clock = clock};
    kv_err err = kv_store_open_config(cfg, &i->store);
    if (err == KV_OK)
        err = kv_puts_new(&i->puts);
    i->arg = (kv_ingest_arg){&i->state, i->store, i->puts, loops, pipelines};
    if (err == KV_OK)
        err = start_dedup(i, &base);
    if (err == KV_OK)
        err = start_placers(i, &base);
    for (unsigned n = 0; n < pipelines && err == KV_OK; n++)
        err = start_pipeline(i, &base, n);
    *ret = i;
    if (err != KV_OK)
        kv_ingest_stop(ret, 0);
    return err;
}

static bool drain(kv_ingest *i, int64_t deadline_ms)
{
    int64_t until = kv_mono_ms(&kv_clock_real) + deadline_ms;
    while (atomic_load(&i->state.in_flight) > 0) {
        if (kv_mono_ms(&kv_clock_real) >= until)
            return false;
        nanosleep(&(struct timespec){.tv_nsec = POLL_NS}, NULL);
    }
    return true;
}

void kv_ingest_stop(void **self, int64_t deadline_ms)
{
    kv_ingest *i = *self;
    if (!i)
        return;
    if (!drain(i, deadline_ms))
        kv_log(KV_LOG_WARN, "uploads_cut_off",
               KV_U64("uploads", atomic_load(&i->state.in_flight)));
    /* From here nobody sends: the one it would go to may be gone. */
    atomic_store(&i->state.halted, true);
    for (unsigned n = 0; n < PIPELINES_MAX; n++) {
        kv_actor_stop(&i->scanners[n], 0);
        kv_actor_stop(&i->hashers[n], 0);
        kv_actor_stop(&i->writers[n], 0);
    }
    for (unsigned n = 0; n < KV_PLACERS; n++)
        kv_actor_stop(&i->placers[n], 0);
    kv_actor_stop(&i->dedup, 0);
    kv_puts_destroy(&i->puts);
    kv_store_close(&i->store);
    free(i);
    *self = NULL;
}
