/* Requests that are answered later, and may lose their client meanwhile. */
#include <stdlib.h>

#include "gateway/tap.h"

#define BROKER_WAIT_MS 10000

struct kv_later {
    h2o_req_t *req; /* NULL: the client is gone */
    void *arg;
    struct guard *guard;
};

/* Lives in the request's pool; its disposal tells us that the request is gone. */
struct guard {
    kv_later *later;
};

static void on_request_gone(void *arg)
{
    struct guard *g = arg;
    if (g->later != NULL)
        g->later->req = NULL;
}

kv_later *kv_later_new(kv_request *r, void *arg)
{
    kv_later *l = h2o_mem_alloc(sizeof(*l));
    *l = (kv_later){.req = r->req, .arg = arg};
    l->guard = h2o_mem_alloc_shared(&r->req->pool, sizeof(*l->guard), on_request_gone);
    l->guard->later = l;
    return l;
}

h2o_req_t *kv_later_end(kv_later *l, void **ret_arg)
{
    h2o_req_t *req = l->req;
    if (ret_arg != NULL)
        *ret_arg = l->arg;
    if (req != NULL)
        l->guard->later = NULL;
    free(l);
    return req;
}

typedef struct asking {
    kv_later *later;
    kv_loop *loop;
    kv_broker_fn fn;
    void *arg;
} asking;

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    asking a = *(asking *)arg;
    free(arg);
    h2o_req_t *req = kv_later_end(a.later, NULL);
    if (req != NULL)
        a.fn(req, a.loop, a.arg, err, answer);
}

void kv_ask_broker_for(kv_request *r, const kv_msg *m, int64_t wait_ms, kv_broker_fn fn, void *arg)
{
    asking *a = h2o_mem_alloc(sizeof(*a));
    *a = (asking){.later = kv_later_new(r, NULL), .loop = r->loop, .fn = fn, .arg = arg};
    kv_conn *c = kv_conn_of(r->req);
    kv_header head = {0};
    memcpy(head.trace, c->trace, sizeof(head.trace));
    memcpy(head.span, c->span, sizeof(head.span));
    kv_err err = kv_client_ask_traced(r->loop->broker, &head, m, wait_ms, on_answer, a);
    if (err != KV_OK)
        on_answer(a, err, NULL);
}

void kv_ask_broker(kv_request *r, const kv_msg *m, kv_broker_fn fn, void *arg)
{
    kv_ask_broker_for(r, m, BROKER_WAIT_MS, fn, arg);
}
