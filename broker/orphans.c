/* Jobs in processing at a start: whose they were. */
#include "broker/core_types.h"

#include <stdlib.h>
#include <string.h>

typedef struct holder {
    uint64_t job; /* first: kv_ids */
    size_t len;
    char worker[];
} holder;

bool kv_orphan_held_by(kv_core *c, const kv_task *t, kv_slice worker)
{
    if (worker.len == 0)
        return true;
    holder *h = malloc(sizeof *h + worker.len);
    if (!h)
        return false;
    h->job = t->id;
    h->len = worker.len;
    memcpy(h->worker, worker.ptr, worker.len);
    if (kv_ids_add(&c->holders, h))
        return true;
    free(h);
    return false;
}

/* The process that got the lease lived while the broker that gave it did: it had a session with
 * that one, under the same name. */
bool kv_orphan_of(const kv_core *c, const kv_task *t, const kv_session *s)
{
    const holder *h = kv_ids_find(&c->holders, t->id);
    return h && t->epoch == s->before && kv_slice_is(kv_slice_of(h->worker, h->len), s->name);
}

void kv_orphan_forget(kv_core *c, const kv_task *t)
{
    holder *h = kv_ids_find(&c->holders, t->id);
    if (!h)
        return;
    kv_ids_remove(&c->holders, t->id);
    free(h);
}

void kv_orphans_release(kv_core *c)
{
    size_t at = 0;
    for (holder *h; (h = kv_ids_next(&c->holders, &at));)
        free(h);
    kv_ids_release(&c->holders);
}
