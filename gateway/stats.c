#include "gateway/stats.h"

#include <stdlib.h>

#define ASK_MS 1000

typedef struct stats_ask {
    kv_loop *loop;
    kv_stats_fn fn;
    kv_later *later;
} stats_ask;

static void on_answer(void *arg, kv_err err, const kv_msg *answer)
{
    stats_ask *a = arg;
    h2o_req_t *req = kv_later_end(a->later, NULL);
    if (req != NULL)
        a->fn(req, a->loop,
              err == KV_OK && answer != NULL && answer->code == KV_STATS_OK ? answer->stats_ok.text
                                                                            : kv_slice_of(NULL, 0));
    free(a);
}

void kv_stats_ask(kv_request *r, int what, kv_stats_fn fn)
{
    kv_msg m;
    stats_ask *a = NULL;
    if (!kv_client_up(r->loop->broker) || (a = malloc(sizeof(*a))) == NULL) {
        fn(r->req, r->loop, kv_slice_of(NULL, 0));
        return;
    }
    *a = (stats_ask){.loop = r->loop, .fn = fn};
    a->later = kv_later_new(r, NULL);
    kv_msg_defaults(KV_STATS, &m);
    m.stats.what = (uint64_t)what;
    kv_err err = kv_client_ask(r->loop->broker, &m, ASK_MS, on_answer, a);
    if (err != KV_OK)
        on_answer(a, err, NULL);
}
