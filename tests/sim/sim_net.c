#include <string.h>

#include "tests/sim/sim_media.h"

enum { LATENCY_MS = 20, AGAIN_MS = 1500 };

sim_node *sim_node_at(sim *s, int i)
{
    if (i < SIM_CLIENTS)
        return &s->clients[i].node;
    if (i < SIM_CLIENTS + SIM_WORKERS)
        return &s->workers[i - SIM_CLIENTS].node;
    return sim_media_node(s, i - SIM_CLIENTS - SIM_WORKERS);
}

/* ---- packets ---- */

sim_packet *sim_packet_new(sim *s, const kv_msg *m, uint64_t request)
{
    kv_buf body;
    kv_buf_init(&body, KV_BODY_MAX);
    kv_body_encode(m, &body);
    sim_packet *p = kv_buf_ok(&body) ? malloc(sizeof *p + body.len) : NULL;
    SIM_HOLDS(s, p, "no memory, or %s breaks a limit", kv_code_name(m->code));
    *p = (sim_packet){.head = {.code = m->code, .request = request}, .len = body.len};
    memcpy(p->body, body.data, body.len);
    kv_buf_release(&body);
    return p;
}

static sim_packet *packet_copy(sim *s, const sim_packet *p)
{
    sim_packet *q = malloc(sizeof *q + p->len);
    SIM_HOLDS(s, q, "no memory");
    memcpy(q, p, sizeof *q + p->len);
    q->next = NULL;
    return q;
}

static void put(sim *s, sim_pipe *pipe, sim_packet *p)
{
    int64_t at = sim_ms(s) + (int64_t)sim_pick(s, LATENCY_MS);
    if (pipe->last && pipe->last->at_ms > at)
        at = pipe->last->at_ms; /* in order */
    p->at_ms = at;
    p->next = NULL;
    if (pipe->last)
        pipe->last->next = p;
    else
        pipe->first = p;
    pipe->last = p;
}

void sim_post(sim *s, sim_node *n, const sim_packet *p)
{
    put(s, &n->to_broker, packet_copy(s, p));
}

static void clear(sim_pipe *pipe)
{
    for (sim_packet *p = pipe->first, *next; p; p = next) {
        next = p->next;
        free(p);
    }
    *pipe = (sim_pipe){NULL, NULL};
}

void sim_node_release(sim_node *n)
{
    clear(&n->to_broker);
    clear(&n->to_node);
}

/* ---- connections ---- */

void sim_disconnect(sim_node *n)
{
    sim_node_release(n);
    n->peer[0] = '\0';
    n->session = false;
}

void sim_connect(sim *s, sim_node *n)
{
    sim_node_release(n);
    snprintf(n->peer, sizeof n->peer, "p%llu", (unsigned long long)++s->next_peer);
    n->session = false;
    n->hello_at = 0;
}

/* ZeroMQ connects again by itself, with another routing id; what the node had sent may still be
 * in its own pipe. */
void sim_broker_died(sim *s, sim_node *n)
{
    if (!n->peer[0])
        return;
    clear(&n->to_node);
    if (sim_chance(s, 500))
        clear(&n->to_broker);
    snprintf(n->peer, sizeof n->peer, "p%llu", (unsigned long long)++s->next_peer);
}

static void say(const sim *s, const sim_node *n, const char *arrow, const kv_header *head,
                const kv_msg *m)
{
    if (!s->trace)
        return;
    kv_buf text;
    kv_buf_init(&text, 0);
    kv_msg_describe(m, &text);
    fprintf(stderr, "%8lld %s %s #%llu %s\n", (long long)(sim_ms(s) % 100000000), n->name, arrow,
            (unsigned long long)head->request, kv_buf_str(&text));
    kv_buf_release(&text);
}

uint64_t sim_send(sim *s, sim_node *n, const kv_msg *m, uint64_t request)
{
    uint64_t id = request ? request : ++s->next_request;
    put(s, &n->to_broker, sim_packet_new(s, m, id));
    return id;
}

void sim_hello(sim *s, sim_node *n)
{
    kv_msg m;
    if (sim_ms(s) < n->hello_at)
        return;
    n->hello_at = sim_ms(s) + 1000;
    kv_msg_defaults(KV_HELLO, &m);
    m.hello.role = kv_slice_str(n->role);
    m.hello.name = kv_slice_str(n->name);
    m.hello.instance = n->instance;
    m.hello.epoch = n->epoch;
    sim_send(s, n, &m, 0);
}

void sim_beat(sim *s, sim_node *n, uint64_t busy)
{
    kv_msg m;
    if (!n->session) {
        sim_hello(s, n);
        return;
    }
    if (sim_ms(s) < n->beat_at)
        return;
    n->beat_at = sim_ms(s) + 1000;
    kv_msg_defaults(KV_BEAT, &m);
    m.beat.busy = busy;
    sim_send(s, n, &m, 0);
}

void sim_broker_sends(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    sim *s = arg;
    if (m->code == KV_JOB)
        sim_check_job_sent(s, &m->job);
    for (int i = 0; sim_node_at(s, i); i++) {
        sim_node *n = sim_node_at(s, i);
        if (kv_slice_is(peer, n->peer)) {
            if (m->code == KV_ERROR && m->error.number == KV_E_STALE_LEASE)
                sim_worker_told_stale(s, n, request);
            put(s, &n->to_node, sim_packet_new(s, m, request));
            return;
        }
    } /* not connected any more */
}

static sim_packet *take_due(sim *s, sim_pipe *pipe)
{
    sim_packet *p = pipe->first;
    if (!p || p->at_ms > sim_ms(s))
        return NULL;
    pipe->first = p->next;
    if (!pipe->first)
        pipe->last = NULL;
    return p;
}

bool sim_deliver(sim *s, sim_node *n, bool to_broker)
{
    kv_msg m;
    const char *why;
    sim_packet *p = take_due(s, to_broker ? &n->to_broker : &n->to_node);
    if (!p)
        return false;
    SIM_HOLDS(s, kv_body_decode(p->head.code, p->body, p->len, &m, &why) == KV_OK, "%s: %s",
              kv_code_name(p->head.code), why);
    say(s, n, to_broker ? "->" : "<-", &p->head, &m);
    if (to_broker) {
        sim_order_before(s);
        sim_worker_heard(s, n, &p->head, &m);
        kv_core_message(s->core, sim_now(s), kv_slice_str(n->peer), &p->head, &m);
        sim_order_after(s);
        sim_check_idle(s, kv_code_name(m.code));
    } else if (m.code == KV_HELLO_OK) {
        n->session = true;
        n->epoch = m.hello_ok.epoch;
        n->on_session(s, n);
    } else if (m.code == KV_BEAT_OK && !m.beat_ok.known) {
        n->session = false;
        sim_hello(s, n);
    } else {
        n->on_message(s, n, &p->head, &m);
    }
    free(p);
    return true;
}

/* ---- requests ---- */

void sim_ask_begin(sim *s, sim_node *n, sim_ask *ask, const kv_msg *m, uint64_t job)
{
    *ask = (sim_ask){.request = ++s->next_request, .code = m->code, .job = job};
    ask->packet = sim_packet_new(s, m, ask->request);
    if (s->seed % 6 == 4 && !s->calm && sim_chance(s, 100))
        ask->packet->head.deadline_ms = (uint64_t)s->clock.wall_ms_now + sim_pick(s, 200);
    ask->again_at = sim_ms(s) + AGAIN_MS;
    ask->sent = 1;
    sim_post(s, n, ask->packet);
}

void sim_ask_anew(sim *s, sim_ask *ask, int64_t ms)
{
    ask->request = ask->packet->head.request = ++s->next_request;
    ask->again_at = sim_ms(s) + ms;
}

void sim_ask_again(sim *s, sim_node *n, sim_ask *ask, bool now)
{
    if (!ask->request || !n->session || (!now && sim_ms(s) < ask->again_at))
        return;
    ask->again_at = sim_ms(s) + AGAIN_MS;
    ask->sent++;
    sim_post(s, n, ask->packet);
}

void sim_ask_end(sim_ask *ask)
{
    free(ask->packet);
    *ask = (sim_ask){.request = 0};
}
