/* GET /api/events for those who want application/json: the same log, a page a request. One that
 * finds nothing waits as a client of the feed, as streams do, and costs what those cost. */
#include <poll.h>

#include "gateway/answer.h"
#include "gateway/feed.h"
#include "gateway/negotiate.h"
#include "gateway/query.h"
#include "gateway/timer.h"

#define READ_MORE_MS 2000 /* behind its time, when the log is not read to its end yet */

typedef struct poller {
    kv_feed_client c; /* first */
    h2o_req_t *req;   /* whose pool this lives in */
    kv_loop *loop;
    kv_timer answer; /* next turn: those who wake us go on with the client afterwards */
    int64_t until_ms;
    uint64_t from; /* where it began to read */
    bool ended;    /* draining, or nobody listens any more */
} poller;

static poller *poller_of(kv_feed_client *c)
{
    return (poller *)c;
}

static void forget(poller *p)
{
    kv_timer_clear(&p->answer);
    kv_feed_detach(&p->c);
}

static void on_request_gone(void *arg)
{
    forget(arg);
}

static void put_answer(kv_buf *out, const poller *p)
{
    char last[24];
    snprintf(last, sizeof(last), "%llu", (unsigned long long)p->c.q.pos);
    kv_json_open(out, '{');
    kv_json_key(out, "events");
    kv_json_open(out, '[');
    if (p->c.q.pending.len != 0)
        kv_json_raw(out, kv_buf_slice(&p->c.q.pending));
    kv_json_close(out, ']');
    kv_json_key(out, "last");
    kv_json_cstr(out, last);
    kv_json_key(out, "resync");
    kv_json_bool(out, p->c.q.resyncs != 0);
    kv_json_close(out, '}');
}

static bool found(const poller *p)
{
    return p->c.q.pending.len != 0 || p->c.q.resyncs != 0;
}

static void answer(poller *p)
{
    kv_buf out;
    kv_buf_init(&out, 0);
    bool unread = p->c.q.behind && !found(p) && p->c.q.pos == p->from && !p->ended;
    put_answer(&out, p);
    forget(p);
    kv_answer_buf(p->req, unread ? KV_E_DB : KV_OK, 200, &out);
    kv_buf_release(&out);
}

static void on_answer(kv_timer *t)
{
    answer(H2O_STRUCT_FROM_MEMBER(poller, answer, t));
}

static void answer_soon(poller *p)
{
    if (!kv_timer_is_set(&p->answer))
        kv_timer_set(p->loop, KV_WAIT_TURN, &p->answer);
}

/* ---- transport ---- */

static void poll_wake(kv_feed_client *c)
{
    if (found(poller_of(c)))
        answer_soon(poller_of(c));
}

/* h2o does not read while a request is under way, so nobody tells us. Who has only closed its
 * sending side gets an answer before its time. */
static bool hung_up(h2o_req_t *req)
{
    struct pollfd at = {.fd = h2o_socket_get_fd(req->conn->callbacks->get_socket(req->conn)),
                        .events = POLLRDHUP};
    return poll(&at, 1, 0) > 0 && (at.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void poll_tick(kv_feed_client *c, int64_t now_ms)
{
    poller *p = poller_of(c);
    p->ended |= hung_up(p->req);
    if (p->ended || now_ms >= p->until_ms + (c->q.behind ? READ_MORE_MS : 0))
        answer_soon(p);
}

static void poll_drain(kv_feed_client *c)
{
    poller_of(c)->ended = true;
    answer_soon(poller_of(c));
}

static void poll_drop(kv_feed_client *c)
{
    forget(poller_of(c)); /* the memory goes with the request */
}

static const kv_feed_transport poll_transport = {
    .name = "poll", .wake = poll_wake, .tick = poll_tick, .drain = poll_drain, .drop = poll_drop};

/* ---- the route ---- */

bool kv_poll_wanted(kv_request *r)
{
    kv_slice accept = kv_header_list(r->req, "accept");
    return kv_accept_names(accept, "application/json") > 0 &&
           kv_accept_names(accept, "text/event-stream") == 0;
}

static poller *poller_new(kv_request *r)
{
    poller *p = h2o_mem_alloc_shared(&r->req->pool, sizeof(*p), on_request_gone);
    *p = (poller){.req = r->req, .loop = r->loop, .answer = {.fn = on_answer}};
    p->c.transport = &poll_transport;
    kv_live_queue_init(&p->c.q, KV_LIVE_POLL,
                       (size_t)r->loop->gw->cfg->event_client_buffer_kb * 1024);
    return p;
}

void kv_poll(kv_request *r)
{
    h2o_req_t *req = r->req;
    bool head = h2o_memis(req->input.method.base, req->input.method.len, H2O_STRLIT("HEAD"));
    poller *p = poller_new(r);
    kv_feed_asks asks;
    char why[KV_BODY_WHY] = "";
    kv_err err = kv_feed_parameters(r, &p->c.q, &asks, why);
    if (err == KV_OK) {
        p->c.q.room = (size_t)asks.limit;
        p->until_ms = kv_mono_ms(r->loop->gw->clock) + (head ? 0 : (int64_t)asks.wait_s * 1000);
        err = kv_feed_attach(r->loop->feed, &p->c, &asks);
    }
    if (err != KV_OK) {
        forget(p);
        kv_answer_problem(req, err, why, 0);
        return;
    }
    p->from = asks.has_after ? asks.after : p->c.q.pos;
    bool over = !p->c.q.behind && kv_mono_ms(r->loop->gw->clock) >= p->until_ms;
    if (found(p) || over)
        answer(p);
}
