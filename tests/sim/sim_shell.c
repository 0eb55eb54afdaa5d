#include "tests/sim/sim_shell.h"

#include <string.h>

#include "tests/sim/sim_media.h"
#include "tests/sim/sim_os.h"

enum { AGAIN_MS = 1000 };

/* ---- letters ---- */

void sim_drop_letter(sim *s, sim_box *box, const kv_header *head, const kv_msg *m,
                     zmq_msg_t *payload)
{
    sim_letter *l = calloc(1, sizeof *l);
    SIM_HOLDS(s, l, "no memory");
    if (head)
        l->head = *head;
    l->head.code = m->code;
    kv_buf_init(&l->body, KV_BODY_MAX);
    kv_buf_init(&l->payload, 0);
    kv_body_encode(m, &l->body);
    SIM_HOLDS(s, kv_buf_ok(&l->body), "%s breaks a limit", kv_code_name(m->code));
    if (payload)
        kv_buf_add(&l->payload, zmq_msg_data(payload), zmq_msg_size(payload));
    if (box->last)
        box->last->next = l;
    else
        box->first = l;
    box->last = l;
}

sim_letter *sim_take_letter(sim_box *box)
{
    sim_letter *l = box->first;
    if (!l)
        return NULL;
    box->first = l->next;
    if (!box->first)
        box->last = NULL;
    return l;
}

void sim_letter_free(sim_letter *l)
{
    kv_buf_release(&l->body);
    kv_buf_release(&l->payload);
    free(l);
}

void sim_box_clear(sim_box *box)
{
    for (sim_letter *l; (l = sim_take_letter(box));)
        sim_letter_free(l);
}

/* ---- questions ---- */

static sim_question *take_question(sim_shell *sh, uint64_t request)
{
    sim_question *before = NULL;
    for (sim_question *q = sh->first; q; before = q, q = q->next) {
        if (q->request != request)
            continue;
        if (before)
            before->next = q->next;
        else
            sh->first = q->next;
        if (sh->last == q)
            sh->last = before;
        return q;
    }
    return NULL;
}

static void free_question(sim_question *q)
{
    free(q->packet);
    free(q);
}

static kv_err ask(kv_out *out, const kv_header *head, const kv_msg *m, int64_t timeout_ms,
                  kv_out_answer_fn fn, void *arg)
{
    sim_shell *sh = (sim_shell *)out;
    sim *s = sh->s;
    sim_question *q = calloc(1, sizeof *q);
    (void)head;
    SIM_HOLDS(s, q, "no memory");
    q->request = ++s->next_request;
    q->packet = sim_packet_new(s, m, q->request);
    q->packet->head.deadline_ms = (uint64_t)(s->clock.wall_ms_now + timeout_ms);
    q->until_us = s->clock.mono_us_now + timeout_ms * 1000;
    q->fn = fn;
    q->arg = arg;
    if (sh->last)
        sh->last->next = q;
    else
        sh->first = q;
    sh->last = q;
    q->again_ms = sim_ms(s) + AGAIN_MS;
    if (sh->node.session)
        sim_post(s, &sh->node, q->packet);
    return KV_OK;
}

typedef struct answered {
    sim_question *q;
    kv_err err;
    const kv_msg *m;
} answered;

static void give_answer(sim_shell *sh, void *arg)
{
    const answered *a = arg;
    a->q->fn(sh->self, a->q->arg, a->err, a->m, &sh->out);
}

static bool answer(sim_shell *sh, sim_question *q, kv_err err, const kv_msg *m)
{
    answered a = {q, err, m};
    bool lives = sim_shell_run(sh, give_answer, &a);
    free_question(q);
    return lives;
}

bool sim_shell_waits(const sim_shell *sh)
{
    return sh->first || sh->leases_n;
}

/* ---- leases ---- */

static sim_lease *lease_of(sim_shell *sh, uint64_t job)
{
    for (int i = 0; i < sh->leases_n; i++) {
        if (sh->leases[i].job == job)
            return &sh->leases[i];
    }
    return NULL;
}

static void lease_done(kv_out *out, uint64_t job, uint64_t epoch, uint64_t attempt)
{
    sim_shell *sh = (sim_shell *)out;
    sim_lease *l = lease_of(sh, job);
    if (l && l->epoch == epoch && l->attempt == attempt)
        *l = sh->leases[--sh->leases_n];
}

static void handle_message(sim_shell *sh, void *arg)
{
    const kv_msg *m = arg;
    kv_header head = {.code = m->code};
    kv_in in = {&head, m, NULL, sh->s->clock.mono_us_now};
    for (const kv_handler *h = sh->def->handlers; h->code; h++) {
        if (h->code == m->code)
            h->fn(sh->self, &in, &sh->out);
    }
}

/* As the session of the shell does it. */
static void take_job(sim_shell *sh, const kv_msg *m)
{
    const kv_job *job = &m->job;
    sim_lease *had = lease_of(sh, job->job);
    if (had && had->epoch == job->epoch && had->attempt == job->attempt)
        return;
    if (had)
        *had = sh->leases[--sh->leases_n];
    SIM_HOLDS(sh->s, sh->leases_n < SIM_LEASES, "%s was given more than its credit", sh->node.name);
    sh->leases[sh->leases_n++] = (sim_lease){job->job, job->epoch, job->attempt};
    (void)sim_shell_run(sh, handle_message, (void *)m);
}

static void say_ready(sim_shell *sh)
{
    kv_msg m;
    if (!sh->service || !sh->node.session)
        return;
    kv_msg_defaults(KV_READY, &m);
    m.ready.service = kv_slice_str(sh->service);
    m.ready.credit = sh->credit;
    sim_send(sh->s, &sh->node, &m, 0);
}

static void set_credit(kv_out *out, uint64_t credit)
{
    sim_shell *sh = (sim_shell *)out;
    sh->credit = credit;
    say_ready(sh);
}

/* ---- the network ---- */

static void on_message(sim *s, sim_node *n, const kv_header *head, const kv_msg *m)
{
    sim_shell *sh = (sim_shell *)((char *)n - offsetof(sim_shell, node));
    if (m->code == KV_JOB) {
        take_job(sh, m);
        return;
    }
    sim_question *q = head->request ? take_question(sh, head->request) : NULL;
    if (q)
        (void)answer(sh, q, m->code == KV_ERROR ? (kv_err)m->error.number : KV_OK, m);
    (void)s;
}

static void on_session(sim *s, sim_node *n)
{
    sim_shell *sh = (sim_shell *)((char *)n - offsetof(sim_shell, node));
    for (int i = 0; i < sh->leases_n; i++) {
        kv_msg m;
        kv_msg_defaults(KV_LEASE_HELD, &m);
        m.lease_held =
            (kv_lease_held){sh->leases[i].job, sh->leases[i].epoch, sh->leases[i].attempt};
        sim_send(s, n, &m, 0);
    }
    say_ready(sh);
    for (sim_question *q = sh->first; q; q = q->next) {
        q->again_ms = sim_ms(s) + AGAIN_MS;
        sim_post(s, n, q->packet);
    }
}

/* ---- the shell ---- */

static void send_out(kv_out *out, int peer, const kv_header *head, const kv_msg *m,
                     zmq_msg_t *payload)
{
    sim_shell *sh = (sim_shell *)out;
    sh->send(sh, peer, head, m, payload);
    if (payload) { /* the content has moved */
        zmq_msg_close(payload);
        zmq_msg_init(payload);
    }
}

/* The ticks of actors do what their descriptors would wake them for. */
static void watch_fd(kv_out *out, int fd, kv_out_fd_fn fn)
{
    (void)out, (void)fd, (void)fn;
}

static void unwatch_fd(kv_out *out, int fd)
{
    (void)out, (void)fd;
}

static const kv_out_ops ops = {send_out, ask, watch_fd, unwatch_fd, set_credit, lease_done};

void sim_shell_init(sim *s, sim_shell *sh, const kv_actor_def *def, int process, const char *name,
                    const char *role)
{
    *sh = (sim_shell){.s = s, .def = def, .process = process};
    sh->out = (kv_out){&ops, &s->clock.clock};
    sh->node.on_message = on_message;
    sh->node.on_session = on_session;
    snprintf(sh->node.name, sizeof sh->node.name, "%s", name);
    snprintf(sh->node.role, sizeof sh->node.role, "%s", role);
}

void sim_shell_forget(sim_shell *sh)
{
    for (sim_question *q = sh->first, *next; q; q = next) {
        next = q->next;
        free_question(q);
    }
    sh->first = sh->last = NULL;
    sh->leases_n = 0;
    sh->credit = 0;
}

bool sim_shell_run(sim_shell *sh, sim_shell_fn fn, void *arg)
{
    sim *s = sh->s;
    jmp_buf back;
    uint64_t kill_at = !s->calm && sim_pick(s, 600) == 0 ? 1 + sim_pick(s, 12) : 0;
    if (setjmp(back) == 0) {
        sim_os_enter(sh->process, kill_at, sim_media_failing(s), &back);
        fn(sh, arg);
        sim_os_leave();
        return true;
    }
    sim_os_leave();
    sim_media_died(sh->s, sh->process);
    return false;
}

void sim_shell_handle(sim_shell *sh, sim_letter *l)
{
    kv_msg m;
    const char *why = "";
    zmq_msg_t payload;
    SIM_HOLDS(sh->s, kv_body_decode(l->head.code, l->body.data, l->body.len, &m, &why) == KV_OK,
              "%s: %s", kv_code_name(l->head.code), why);
    zmq_msg_init_size(&payload, l->payload.len);
    if (l->payload.len)
        memcpy(zmq_msg_data(&payload), l->payload.data, l->payload.len);
    kv_in in = {&l->head, &m, l->payload.len ? &payload : NULL, sh->s->clock.mono_us_now};
    const kv_handler *h = sh->def->handlers;
    while (h->code && h->code != m.code)
        h++;
    SIM_HOLDS(sh->s, h->code, "%s does not take %s", sh->def->name, kv_code_name(m.code));
    h->fn(sh->self, &in, &sh->out);
    zmq_msg_close(&payload);
}

static void tick(sim_shell *sh, void *arg)
{
    (void)arg;
    if (sh->def->tick)
        sh->def->tick(sh->self, sh->s->clock.mono_us_now, &sh->out);
    if (sh->def->batch_end)
        sh->def->batch_end(sh->self, &sh->out);
}

/* At most one question expires in a step: its answer may ask others. */
static bool expire(sim_shell *sh)
{
    for (sim_question *q = sh->first; q; q = q->next) {
        if (q->until_us <= sh->s->clock.mono_us_now)
            return answer(sh, take_question(sh, q->request), KV_E_BROKER_AWAY, NULL);
    }
    return true;
}

bool sim_shell_step(sim_shell *sh)
{
    sim *s = sh->s;
    sim_beat(s, &sh->node, (uint64_t)sh->leases_n);
    for (sim_question *q = sh->first; q && sh->node.session; q = q->next) {
        if (sim_ms(s) < q->again_ms)
            continue;
        q->again_ms = sim_ms(s) + AGAIN_MS;
        sim_post(s, &sh->node, q->packet);
    }
    return expire(sh) && sim_shell_run(sh, tick, NULL);
}
