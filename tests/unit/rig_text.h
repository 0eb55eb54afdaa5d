/* The core's rig for answers that are long JSON: each is parsed and kept until the next. */
#ifndef KV_TESTS_RIG_TEXT_H
#define KV_TESTS_RIG_TEXT_H

#include "tests/unit/core_rig.h"

#include <jansson.h>

#include "broker/core_types.h"
#include "proto/base/id.h"

typedef struct text_rig {
    rig r; /* first: the sink's argument is both */
    json_t *last;
    uint64_t request;      /* of it */
    int messages, entries; /* POSITIONS: how many came, with how many entries in all */
} text_rig;

static inline void text_send(void *arg, kv_slice peer, uint64_t request, const kv_msg *m)
{
    text_rig *t = arg;
    kv_slice text = m->code == KV_POSITIONS  ? m->positions.json
                    : m->code == KV_STATS_OK ? m->stats_ok.text
                                             : kv_slice_of(NULL, 0);
    if (!text.ptr) {
        rig_send(arg, peer, request, m);
        return;
    }
    json_decref(t->last);
    t->last = json_loadb(text.ptr, text.len, 0, NULL);
    assert_non_null(t->last);
    t->request = request;
    t->messages++;
    t->entries += (int)json_array_size(t->last);
}

static inline void text_start(text_rig *t, uint64_t epoch)
{
    kv_core_opts opts = rig_opts(&t->r, epoch);
    *t = (text_rig){.messages = 0};
    opts.sink.send = text_send;
    rig_start_with(&t->r, &opts);
}

/* With a client "c", and nothing else. */
static inline void text_client(text_rig *t)
{
    text_start(t, 1);
    rig_hello(&t->r, "c", "client", "c", 1);
    t->r.n = 0;
}

static inline void text_stop(text_rig *t)
{
    rig_stop(&t->r);
    json_decref(t->last);
}

static inline kv_service *text_service(const text_rig *t, const char *name)
{
    kv_service *s = kv_names_find(&t->r.core->services, kv_slice_str(name));
    assert_non_null(s);
    return s;
}

/* Commits, and forgets what was sent. */
static inline void text_commit(text_rig *t)
{
    rig_commit(&t->r);
    t->r.n = 0;
}

/* Time goes on in ticks as the broker makes them. */
static inline void text_wait(text_rig *t, int64_t ms)
{
    for (; ms > 0; ms -= 100)
        rig_tick(&t->r, ms < 100 ? ms : 100);
    t->r.n = 0;
}

#endif
