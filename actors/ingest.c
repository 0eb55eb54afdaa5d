/* Wires the ingest actors: who is a thread, who sends to whom. The only file that knows them all.
 */
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

/* Endpoints of one actor: its inbox, and its peers in the order of its indices. They live as long
 * as its thread. */
typedef struct kv_wires {
    char inbox[ENDPOINT_MAX];
    char text[PEERS_MAX][ENDPOINT_MAX];
    const char *list[PEERS_MAX + 1]; /* into text; NULL ends */
    size_t count;
} kv_wires;

typedef struct kv_pipeline {
    kv_actor *scanner, *hasher, *writer;
    kv_wires to_scanner, to_hasher, to_writer;
} kv_pipeline;

typedef struct kv_ingest {
    kv_ingest_state state;
    kv_ingest_arg arg;
    kv_store *store;
    kv_puts *puts;
    char dedup_session[KV_SESSION_NAME];
    kv_actor *dedup, *placers[KV_PLACERS];
    kv_wires to_dedup, to_placers[KV_PLACERS];
    kv_pipeline *pipelines; /* arg.pipelines of them */
} kv_ingest;

/* Room for one more endpoint, ENDPOINT_MAX bytes. */
static char *add_peer(kv_wires *w)
{
    char *text = w->text[w->count];
    w->list[w->count++] = text;
    w->list[w->count] = NULL;
    return text;
}

static kv_err start(const kv_ingest *i, const kv_actor_spec *base, const kv_actor_def *def,
                    const kv_wires *wires, kv_actor **ret)
{
    kv_actor_spec spec = *base;
    spec.def = def;
    spec.arg = &i->arg;
    spec.inbox = wires->inbox;
    spec.peers = wires->list;
    return kv_actor_start(&spec, ret);
}

static kv_err start_dedup(kv_ingest *i, const kv_actor_spec *base)
{
    kv_wires *w = &i->to_dedup;
    snprintf(w->inbox, ENDPOINT_MAX, EP_DEDUP);
    for (unsigned n = 0; n < i->arg.loops; n++)
        snprintf(add_peer(w), ENDPOINT_MAX, KV_EP_LOOP, n);
    for (unsigned n = 0; n < i->arg.pipelines; n++)
        snprintf(add_peer(w), ENDPOINT_MAX, KV_EP_SCANNER, n);
    for (unsigned n = 0; n < KV_PLACERS; n++)
        snprintf(add_peer(w), ENDPOINT_MAX, EP_PLACER, n);
    kv_actor_spec spec = *base;
    spec.broker = base->cfg->broker;
    spec.role = "gateway";
    kv_session_name(i->dedup_session, "dedup");
    spec.session_name = i->dedup_session;
    return start(i, &spec, &kv_dedup, w, &i->dedup);
}

static kv_err start_placers(kv_ingest *i, const kv_actor_spec *base)
{
    for (unsigned n = 0; n < KV_PLACERS; n++) {
        kv_wires *w = &i->to_placers[n];
        snprintf(w->inbox, ENDPOINT_MAX, EP_PLACER, n);
        snprintf(add_peer(w), ENDPOINT_MAX, EP_DEDUP);
        KV_TRY(start(i, base, &kv_placer, w, &i->placers[n]));
    }
    return KV_OK;
}

static kv_err start_pipeline(kv_ingest *i, const kv_actor_spec *base, unsigned n)
{
    kv_pipeline *p = &i->pipelines[n];
    kv_wires *s = &p->to_scanner;
    snprintf(p->to_hasher.inbox, ENDPOINT_MAX, EP_HASHER, n);
    snprintf(p->to_writer.inbox, ENDPOINT_MAX, EP_STORE, n);
    snprintf(s->inbox, ENDPOINT_MAX, KV_EP_SCANNER, n);
    snprintf(add_peer(&p->to_hasher), ENDPOINT_MAX, EP_DEDUP);
    snprintf(add_peer(&p->to_writer), ENDPOINT_MAX, EP_DEDUP);
    snprintf(add_peer(s), ENDPOINT_MAX, EP_HASHER, n);
    snprintf(add_peer(s), ENDPOINT_MAX, EP_STORE, n);
    snprintf(add_peer(s), ENDPOINT_MAX, EP_DEDUP);
    KV_TRY(start(i, base, &kv_hasher, &p->to_hasher, &p->hasher));
    KV_TRY(start(i, base, &kv_store_writer, &p->to_writer, &p->writer));
    return start(i, base, &kv_scanner, s, &p->scanner);
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
    i->pipelines = calloc(pipelines, sizeof *i->pipelines);
    if (!i->pipelines && err == KV_OK)
        err = KV_E_NO_MEMORY;
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
        kv_log(KV_LOG_WARN, "uploads_cut_off", KV_U64("uploads", atomic_load(&i->state.in_flight)));
    /* From here nobody sends: the one it would go to may be gone. */
    atomic_store(&i->state.halted, true);
    for (unsigned n = 0; i->pipelines && n < i->arg.pipelines; n++) {
        kv_actor_stop(&i->pipelines[n].scanner, 0);
        kv_actor_stop(&i->pipelines[n].hasher, 0);
        kv_actor_stop(&i->pipelines[n].writer, 0);
    }
    for (unsigned n = 0; n < KV_PLACERS; n++)
        kv_actor_stop(&i->placers[n], 0);
    kv_actor_stop(&i->dedup, 0);
    kv_puts_destroy(&i->puts);
    kv_store_close(&i->store);
    free(i->pipelines);
    free(i);
    *self = NULL;
}
