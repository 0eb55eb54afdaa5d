#include <string.h>

#include "broker/merge.h"
#include "proto/base/id.h"
#include "proto/batch.h"
#include "storage/write/jobs.h"
#include "tests/sim/sim.h"

enum {
    GRANT = 120,
    FIRST_GRANT_ID = 900000,
    FIRST_HOLD_ID = 950000, /* of holds without a job */
    HOLDS = 20,
    FIRST_JOB_ID = 1000,
    LOOKED_AT = 8
};

static const char *const user_name[SIM_USERS] = {"ayse", "bo\"ra\\", "cem \xc5\x9f"};
/* The last one is the rule of those without their own. */
static const char *const ruled_name[SIM_TENANTS + 1] = {"", "ac\"me, x", "umay\\", "*"};
static const char *const key_name[] = {"k1", "k2", "k3", "k4"};

/* ---- answers ---- */

static sim_ask *ask_of(sim_client *c, uint64_t request)
{
    for (int i = 0; i < SIM_ASKS && request; i++) {
        if (c->asks[i].request == request)
            return &c->asks[i];
    }
    return NULL;
}

/* May be asked again under the same id. */
static bool passing(kv_err err)
{
    return err == KV_E_BUSY || err == KV_E_DISK_FULL || err == KV_E_DB || err == KV_E_IO ||
           err == KV_E_NO_MEMORY;
}

static void on_submit_ok(sim *s, const sim_ask *ask, const kv_submit_ok *m)
{
    sim_fact *asked = sim_fact_of(s, ask->job), *met = sim_fact_of(s, m->job);
    SIM_HOLDS(s, met, "SUBMIT_OK for a job nobody made: %llu", (unsigned long long)m->job);
    met->acknowledged = true;
    if (asked == met)
        return;
    asked->asks--;
    if (!asked->acknowledged)
        asked->refused = true;
}

/* EXPIRED says nothing of the same message when it came before. */
static void take_refusal(sim_fact *f, kv_err err)
{
    f->refused = !f->acknowledged;
    f->asks -= err != KV_E_EXPIRED;
}

static void on_message(sim *s, sim_node *n, const kv_header *head, const kv_msg *m)
{
    sim_client *c = (sim_client *)n;
    sim_ask *ask = ask_of(c, head->request);
    if (!ask)
        return;
    sim_fact *f = sim_fact_of(s, ask->job);
    if (m->code == KV_ERROR && passing((kv_err)m->error.number)) {
        sim_ask_anew(s, ask, 200);
        return;
    }
    if (m->code == KV_SUBMIT_BATCH_OK) {
        kv_slice rest = m->submit_batch_ok.results;
        kv_batch_result r;
        while (kv_batch_result_next(&rest, &r)) {
            sim_fact *one = sim_fact_of(s, r.job);
            if (r.err == KV_OK && one)
                one->acknowledged = true;
        }
    }
    if (m->code == KV_SUBMIT_OK)
        on_submit_ok(s, ask, &m->submit_ok);
    else if (m->code == KV_ERROR && (ask->code == KV_SUBMIT || ask->code == KV_RETRY) && f)
        take_refusal(f, (kv_err)m->error.number);
    else if (m->code == KV_CANCEL_OK && f)
        f->cancel_ok = true;
    else if (m->code == KV_CREDIT_OK && ask->sent > 0 && ask->job < FIRST_GRANT_ID + SIM_USERS)
        s->granted[ask->job - FIRST_GRANT_ID] = GRANT;
    sim_ask_end(ask);
}

static void on_session(sim *s, sim_node *n)
{
    sim_client *c = (sim_client *)n;
    for (int i = 0; i < SIM_ASKS; i++)
        sim_ask_again(s, n, &c->asks[i], true);
}

/* ---- questions ---- */

static sim_fact *any_fact(sim *s)
{
    return s->facts_n ? &s->facts[sim_pick(s, (uint64_t)s->facts_n)] : NULL;
}

/* NULL: there are enough. */
static sim_fact *make_submit(sim *s, kv_msg *ret)
{
    kv_msg m;
    sim_fact *f = sim_chance(s, 100) ? any_fact(s) : NULL; /* some other one's, once more */
    if (!f)
        f = sim_fact_new(s, FIRST_JOB_ID + (uint64_t)s->facts_n,
                         (int)sim_pick(s, sim_chance(s, 150) ? SIM_SERVICES : SIM_WORKED));
    if (!f)
        return NULL;
    kv_msg_defaults(KV_SUBMIT, &m);
    m.submit.job = f->id;
    m.submit.service = kv_slice_str(sim_service[f->service]);
    m.submit.lane = sim_pick(s, 3);
    m.submit.params = kv_slice_str("{\"n\":1}");
    m.submit.tenant = kv_slice_str(ruled_name[sim_pick(s, SIM_TENANTS)]);
    if (!f->max_attempts) { /* what is asked again is the same */
        f->max_attempts = 1 + sim_pick(s, 4);
        f->backoff_ms = sim_chance(s, 200) ? 1 + sim_pick(s, 2000) : 0;
    }
    m.submit.max_attempts = f->max_attempts;
    m.submit.backoff_ms = f->backoff_ms;
    if (sim_chance(s, 150))
        m.submit.delay_ms = sim_pick(s, 5000);
    if (sim_chance(s, 150))
        m.submit.unique_key = kv_slice_str(key_name[sim_pick(s, 4)]);
    if (f->service >= SIM_WORKED || sim_chance(s, 100))
        m.submit.deadline_ms = (uint64_t)s->clock.wall_ms_now + 100 + sim_pick(s, 8000);
    if (!f->sent && sim_chance(s, 500)) {
        f->user = (int)sim_pick(s, SIM_USERS);
        f->credits = 1 + sim_pick(s, 5);
    }
    if (f->user >= 0) {
        m.submit.user = kv_slice_str(user_name[f->user]);
        m.submit.credits = f->credits;
        m.submit.operation = kv_slice_str("portrait");
    }
    if (sim_chance(s, 300))
        m.submit.metadata = kv_slice_str("{\"a\":{\"b\":1}}");
    f->sent = true;
    f->asks++;
    *ret = m;
    return f;
}

static void submit(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    const sim_fact *f = make_submit(s, &m);
    if (f)
        sim_ask_begin(s, &c->node, ask, &m, f->id);
}

/* Some of them more than once. */
static void submit_batch(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    kv_buf bodies;
    kv_buf_init(&bodies, 0);
    for (uint64_t n = sim_pick(s, 6); n > 0; n--) {
        if (!make_submit(s, &m))
            break;
        for (uint64_t times = 1 + (uint64_t)sim_chance(s, 200); times > 0; times--)
            kv_body_encode(&m, &bodies);
    }
    kv_msg_defaults(KV_SUBMIT_BATCH, &m);
    m.submit_batch.jobs = kv_buf_slice(&bodies);
    sim_ask_begin(s, &c->node, ask, &m, 0);
    kv_buf_release(&bodies);
}

static void purge(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    kv_msg_defaults(KV_PURGE, &m);
    m.purge.service = kv_slice_str(sim_service[sim_pick(s, SIM_SERVICES)]);
    sim_ask_begin(s, &c->node, ask, &m, 0);
}

/* What changes nothing, and must not. */
static void look(sim *s, sim_client *c)
{
    static const char *const whats[] = {"queues", "workers", "leases", "tenants", "limits"};
    char ids[LOOKED_AT * KV_ID_BYTES];
    kv_msg m;
    if (sim_chance(s, 300)) {
        kv_msg_defaults(KV_MAINTAIN, &m);
    } else if (sim_chance(s, 300)) {
        kv_msg_defaults(KV_INSPECT, &m);
        m.inspect.what = kv_slice_str(whats[sim_pick(s, 5)]);
    } else {
        size_t n = 0;
        for (; n < LOOKED_AT && s->facts_n; n++)
            kv_id_put(ids, n, s->facts[sim_pick(s, (uint64_t)s->facts_n)].id);
        kv_msg_defaults(KV_POSITION, &m);
        m.position.jobs = kv_slice_of(ids, n * KV_ID_BYTES);
        m.position.watch = sim_chance(s, 600);
        m.position.unwatch = !m.position.watch && sim_chance(s, 300);
    }
    sim_send(s, &c->node, &m, 0);
}

/* Money held, spent and given back by hand, in any order. */
static void credit(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    kv_msg_defaults(KV_CREDIT, &m);
    m.credit.transaction = FIRST_HOLD_ID + sim_pick(s, HOLDS);
    m.credit.what = 1 + sim_pick(s, 3);
    if (m.credit.what == 1) {
        m.credit.user = kv_slice_str(user_name[sim_pick(s, SIM_USERS)]);
        m.credit.amount = 1 + sim_pick(s, 3);
    }
    sim_ask_begin(s, &c->node, ask, &m, m.credit.transaction);
}

static void retry(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    sim_fact *old = any_fact(s);
    if (!old || old->last_terminal < KV_JOB_ERROR)
        return;
    int service = old->service;
    uint64_t id = old->id;
    sim_fact *f = sim_fact_new(s, FIRST_JOB_ID + (uint64_t)s->facts_n, service);
    if (!f)
        return;
    f->sent = true;
    f->asks++;
    f->max_attempts = old->max_attempts;
    f->backoff_ms = old->backoff_ms;
    kv_msg_defaults(KV_RETRY, &m);
    m.retry.job = id;
    m.retry.new_job = f->id;
    sim_ask_begin(s, &c->node, ask, &m, f->id);
}

static void about_a_job(sim *s, sim_client *c, sim_ask *ask, uint16_t code)
{
    kv_msg m;
    const sim_fact *f = any_fact(s);
    if (!f)
        return;
    kv_msg_defaults(code, &m);
    if (code == KV_CANCEL) {
        m.cancel.job = f->id;
    } else if (code == KV_JOB_GET) {
        m.job_get.job = f->id;
    } else if (code == KV_PROMOTE) {
        m.promote.job = f->id;
        m.promote.lane = sim_pick(s, 3);
    } else {
        m.metadata.job = f->id;
        m.metadata.patch = kv_slice_str("{\"a\":{\"c\":2}}");
    }
    sim_ask_begin(s, &c->node, ask, &m, f->id);
}

/* To another lane at once again: whoever presses twice. */
static void promote_twice(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    about_a_job(s, c, ask, KV_PROMOTE);
    if (!ask->request)
        return;
    kv_msg_defaults(KV_PROMOTE, &m);
    m.promote.job = ask->job;
    m.promote.lane = sim_pick(s, 3);
    sim_send(s, &c->node, &m, 0);
}

/* Metadata of one job that grows to its limit, and to a few bytes below and above it. */
static void fatten(sim *s, sim_client *c, sim_ask *ask)
{
    static char patch[KV_PATCH_MAX + 1];
    kv_job_face face;
    kv_msg m;
    if (!s->facts_n)
        return;
    uint64_t job = s->facts[0].id;
    SIM_HOLDS(s, kv_job_face_get(s->x.db, job, &face) == KV_OK, "metadata of %llu",
              (unsigned long long)job);
    size_t had = face.found ? face.metadata.len : 0;
    uint64_t version = face.found ? face.version : 0;
    kv_job_face_done(&face);
    if (had == 0)
        had = 2; /* {} */
    size_t name =
        (size_t)snprintf(patch, sizeof patch, "{\"k%llu\":\"", (unsigned long long)version);
    size_t want = KV_MERGE_BYTES - 3 + sim_pick(s, 8); /* bytes, merged */
    size_t more = want > had + name + 1 ? want - had - name - 1 : 0;
    if (more > KV_PATCH_MAX - 32)
        more = KV_PATCH_MAX - 1000;
    memset(patch + name, 'x', more);
    memcpy(patch + name + more, "\"}", 3);
    kv_msg_defaults(KV_METADATA, &m);
    m.metadata.job = job;
    m.metadata.patch = kv_slice_str(patch);
    sim_ask_begin(s, &c->node, ask, &m, job);
}

static void steer(sim *s, sim_client *c, sim_ask *ask)
{
    kv_msg m;
    kv_msg_defaults(KV_QUEUE_SET, &m);
    m.queue_set.service =
        kv_slice_str(sim_service[sim_pick(s, sim_chance(s, 200) ? SIM_SERVICES : SIM_WORKED)]);
    switch (sim_pick(s, 7)) {
    case 0:
        m.queue_set.paused = (int64_t)sim_pick(s, 2);
        break;
    case 1:
        m.queue_set.concurrency = (int64_t)sim_pick(s, 3);
        break;
    case 2:
        m.queue_set.max_waiting = 5 + (int64_t)sim_pick(s, 10);
        m.queue_set.overflow = (int64_t)sim_pick(s, 2);
        break;
    case 3:
        m.queue_set.draining = (int64_t)sim_pick(s, 2);
        break;
    case 4:
        m.queue_set.rate_per_minute = sim_chance(s, 500) ? 30 + (int64_t)sim_pick(s, 100) : 0;
        break;
    default:
        m.queue_set.tenant_set = true;
        m.queue_set.tenant = kv_slice_str(ruled_name[sim_pick(s, SIM_TENANTS + 1)]);
        m.queue_set.weight = 1 + (int64_t)sim_pick(s, 5);
        m.queue_set.concurrency = (int64_t)sim_pick(s, 3);
        m.queue_set.rate_per_minute = sim_chance(s, 500) ? 60 : 0;
        break;
    }
    sim_ask_begin(s, &c->node, ask, &m, 0);
}

void sim_unsteer(sim *s)
{
    sim_client *c = &s->clients[0];
    for (int i = 0; i < SIM_SERVICES; i++) {
        for (int t = -1; t <= SIM_TENANTS; t++) {
            kv_msg m;
            kv_msg_defaults(KV_QUEUE_SET, &m);
            m.queue_set.service = kv_slice_str(sim_service[i]);
            m.queue_set.concurrency = m.queue_set.rate_per_minute = 0;
            if (t < 0) {
                m.queue_set.paused = m.queue_set.draining = m.queue_set.max_waiting = 0;
            } else {
                m.queue_set.tenant_set = true;
                m.queue_set.tenant = kv_slice_str(ruled_name[t]);
            }
            sim_send(s, &c->node, &m, 0);
        }
    }
}

void sim_grant(sim *s)
{
    sim_client *c = &s->clients[0];
    for (int i = 0; i < SIM_USERS; i++) {
        kv_msg m;
        kv_msg_defaults(KV_CREDIT, &m);
        m.credit.transaction = FIRST_GRANT_ID + (uint64_t)i;
        m.credit.user = kv_slice_str(user_name[i]);
        m.credit.amount = GRANT;
        m.credit.operation = kv_slice_str("sale");
        sim_ask_begin(s, &c->node, &c->asks[i], &m, m.credit.transaction);
    }
}

static void new_question(sim *s, sim_client *c, sim_ask *ask)
{
    uint64_t what = sim_pick(s, 100);
    if (what < 5)
        submit_batch(s, c, ask);
    else if (what < 9)
        look(s, c);
    else if (what < 12)
        credit(s, c, ask);
    else if (what < 13 && s->held_back)
        purge(s, c, ask);
    else if (what < 70)
        submit(s, c, ask);
    else if (what < 78)
        about_a_job(s, c, ask, KV_CANCEL);
    else if (what < 84)
        retry(s, c, ask);
    else if (what < 88)
        about_a_job(s, c, ask, KV_JOB_GET);
    else if (what < 93 && s->seed % 5 == 3 && sim_chance(s, 500))
        fatten(s, c, ask);
    else if (what < 93)
        about_a_job(s, c, ask, KV_METADATA);
    else if (what < 96 && sim_chance(s, 300))
        promote_twice(s, c, ask);
    else if (what < 96)
        about_a_job(s, c, ask, KV_PROMOTE);
    else if (s->held_back && c == &s->clients[0])
        steer(s, c, ask);
}

void sim_client_init(sim *s, sim_client *c, int i)
{
    c->node.on_message = on_message;
    c->node.on_session = on_session;
    snprintf(c->node.name, sizeof c->node.name, "c%d", i);
    snprintf(c->node.role, sizeof c->node.role, "client");
    c->node.instance = ++s->next_instance;
    sim_connect(s, &c->node);
}

void sim_client_step(sim *s, sim_client *c)
{
    sim_ask *idle = NULL;
    sim_beat(s, &c->node, 0);
    for (int i = 0; i < SIM_ASKS; i++) {
        if (!c->asks[i].request)
            idle = &c->asks[i];
        else if (!s->calm && c->asks[i].sent > 8 && sim_chance(s, 20))
            sim_ask_end(&c->asks[i]); /* the client gives up and will never know */
        else
            sim_ask_again(s, &c->node, &c->asks[i], false);
    }
    if (!s->calm && idle && c->node.session && sim_chance(s, 400))
        new_question(s, c, idle);
    if (!s->calm && sim_chance(s, 3)) { /* sent once more though nobody waits long enough */
        for (int i = 0; i < SIM_ASKS; i++)
            sim_ask_again(s, &c->node, &c->asks[i], true);
    }
}

void sim_client_release(sim_client *c)
{
    for (int i = 0; i < SIM_ASKS; i++)
        sim_ask_end(&c->asks[i]);
    sim_node_release(&c->node);
}
