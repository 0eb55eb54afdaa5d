#include "gateway/loop.h"

#define RATE_MS   10000
#define LINGER_MS 2000
#define ACCEPT_MS 100

void kv_timers_init(kv_timers *self, const kv_config *cfg)
{
    *self = (kv_timers){.ms = {[KV_WAIT_HEAD] = cfg->header_timeout * 1000,
                               [KV_WAIT_IDLE] = cfg->keepalive_timeout * 1000,
                               [KV_WAIT_RATE] = RATE_MS,
                               [KV_WAIT_LINGER] = LINGER_MS,
                               [KV_WAIT_ACCEPT] = ACCEPT_MS}};
    for (int i = 0; i < KV_WAITS; i++)
        h2o_linklist_init_anchor(&self->rows[i]);
}

static kv_timer *timer_of(h2o_linklist_t *link)
{
    return H2O_STRUCT_FROM_MEMBER(kv_timer, link, link);
}

void kv_timers_run(kv_timers *self, int64_t now_ms)
{
    h2o_linklist_t due;
    h2o_linklist_init_anchor(&due);
    for (int i = 0; i < KV_WAITS; i++) {
        h2o_linklist_t *row = &self->rows[i];
        while (!h2o_linklist_is_empty(row) && timer_of(row->next)->due_ms <= now_ms) {
            h2o_linklist_t *first = row->next;
            h2o_linklist_unlink(first);
            h2o_linklist_insert(&due, first);
        }
    }
    while (!h2o_linklist_is_empty(&due)) { /* one may clear another */
        kv_timer *t = timer_of(due.next);
        h2o_linklist_unlink(&t->link);
        t->fn(t);
    }
}

int64_t kv_timers_left(const kv_timers *self, int64_t now_ms, int64_t most)
{
    for (int i = 0; i < KV_WAITS; i++) {
        const h2o_linklist_t *row = &self->rows[i];
        int64_t left = row->next != row ? timer_of(row->next)->due_ms - now_ms : most;
        if (left < most)
            most = left > 0 ? left : 0;
    }
    return most;
}

void kv_timer_set(kv_loop *loop, kv_wait wait, kv_timer *t)
{
    kv_timers *all = &kv_loop_inside(loop)->timers;
    kv_timer_clear(t);
    t->due_ms = kv_mono_ms(loop->gw->clock) + all->ms[wait];
    h2o_linklist_insert(&all->rows[wait], &t->link);
}

void kv_timer_clear(kv_timer *t)
{
    kv_unlink(&t->link);
}

bool kv_timer_is_set(const kv_timer *t)
{
    return t->link.next != NULL;
}
