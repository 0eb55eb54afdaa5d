/* What a session was answered lately and must not be done twice. A message comes twice when its
 * sender waits for longer than a second: the copy may lie behind the answer, for as long as this
 * process was held up. */
#include "broker/core_types.h"

#include <stdlib.h>

enum {
    KEPT_MAX = 1024,    /* of a session */
    KEPT_MS = 30 * 1000 /* and longer, until what was sent meanwhile has been read */
};

struct kv_answered {
    uint64_t request; /* first: kv_ids */
    uint64_t id;
    kv_err err;
    int64_t at;
    kv_answered *next; /* the next newer one */
};

static void drop_oldest(kv_session *s)
{
    kv_answered *a = s->answered_first;
    s->answered_first = a->next;
    if (!a->next)
        s->answered_last = NULL;
    kv_ids_remove(&s->answered, a->request);
    free(a);
}

void kv_answered_expire(const kv_core *c, kv_session *s)
{
    while (s->answered_first && c->now.mono_ms - s->answered_first->at > KEPT_MS)
        drop_oldest(s);
}

void kv_answered_release(kv_session *s)
{
    while (s->answered_first)
        drop_oldest(s);
    kv_ids_release(&s->answered);
}

/* Without memory a copy is judged again, which most messages bear. */
void kv_answered_keep(const kv_core *c, kv_session *s, uint64_t request, kv_err err, uint64_t id)
{
    kv_answered *a = kv_ids_find(&s->answered, request);
    if (a || !(a = malloc(sizeof *a)))
        return;
    *a = (kv_answered){.request = request, .id = id, .err = err, .at = c->now.mono_ms};
    if (!kv_ids_add(&s->answered, a)) {
        free(a);
        return;
    }
    if (s->answered_last)
        s->answered_last->next = a;
    else
        s->answered_first = a;
    s->answered_last = a;
    if (s->answered.n > KEPT_MAX)
        drop_oldest(s);
}

void kv_answered_made_none(const kv_core *c, kv_session *s, uint64_t request, uint16_t code,
                           kv_err err)
{
    bool makes =
        code == KV_SUBMIT || code == KV_SUBMIT_BATCH || code == KV_RETRY || code == KV_MEDIA_COMMIT;
    if (s && request && makes)
        kv_answered_keep(c, s, request, err, 0);
}

bool kv_answered_again(kv_core *c, const kv_from *from)
{
    if (!from->request)
        return false;
    if (kv_ids_find(&from->session->in_flight, from->request))
        return true; /* its answer is on its way */
    const kv_answered *a = kv_ids_find(&from->session->answered, from->request);
    if (!a)
        return false;
    if (a->err == KV_OK && from->code == KV_METADATA)
        kv_account_metadata_again(c, from, a->id);
    else if (a->err == KV_OK)
        kv_core_okay(c, from, a->id);
    else
        kv_core_refuse_for(c, from, a->err, NULL, kv_err_again_ms(a->err));
    return true;
}
